"""From operators to answers: does it fit, how long does a user wait, how much does a server put out, what does it cost.

Definitions of every metric: docs/glossary.md.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from ..catalog import DEFAULT_ENGINE, GPU, Model
from ..catalog import gpu as find_gpu
from ..catalog import model as find_model
from ..catalog.loading import as_id, entries
from ..common.arguments import LEAST, check_range, whole_number, whole_numbers
from ..common.arrays import Array
from ..common.machine import check_memory
from ..common.variables import ABSENT, LIMITS, flags, labelled
from ..kernels.formats import OperandFormats, one_for_all
from ..kernels.unknowns import joined
from ..operators import COLLECTIVES, OPERATORS, PHASES
from ..servers.drafts import Draft
from ..servers.memory import assumed
from ..servers.network import NETWORK_US
from ..servers.replica import EXPERT_SPREAD, Replica, beyond_context, host_assumed
from ..servers.steps import expected_errors
from .batch import Batch
from .latency import Latency, batch_latency
from .room import ALL_FITS, CONTEXT_LENGTH, KV_CACHE, WEIGHTS, memory_fit

#: Share of its TDP that a GPU draws however little it does while it serves [1]. A guess: of A100s, decoding draws well
#: under the TDP and prefill reaches it (Patel et al. 2023, POLCA, arXiv 2308.12908).
POWER_FLOOR = 0.4
#: What a step's time is divided among, beside its operators.
OTHERS = (*COLLECTIVES, "host", "drafting")

#: Of a `Calibration`, what is measured of a server [s], [s], [1].
SERVER_FIELDS = ("step_overhead", "sequence_overhead", "gemm_efficiency")
#: What the answer takes for a setting, at least [byte].
CELL_BYTES = 2000

SIZE_DIMS = ("batch_size", "prompt", "output")


def estimate(
    gpu: str | GPU | Iterable[str | GPU],
    model: str | Model | Iterable[str | Model],
    batch_size: int | Iterable[int] = 1,
    prompt: int | Iterable[int] = 512,
    output: int | Iterable[int] = 128,
    tp: int | Iterable[int] = 1,
    *,
    pp: int = 1,
    ep: int = 1,
    dp: int | None = None,
    weight_dtype: str | None = None,
    activation_dtype: str | None = None,
    kv_dtype: str | None = None,
    lm_head_dtype: str | None = None,
    time_model: str = "kernel",
    schedule: str = "static",
    cached_prefix: int = 0,
    draft: Draft | None = None,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
    max_model_len: int | None = None,
    gpu_memory_utilization: float | None = None,
    workspace: float | None = None,
    price: float | Mapping[str, float] | None = None,
    power_floor: float = POWER_FLOOR,
    launch_latency: float = 0.0,
    step_overhead: float | None = None,
    sequence_overhead: float | None = None,
    gemm_efficiency: float = 1.0,
    gemm_rows: int | None = None,
    dequantize_rows: int | None = None,
    engine: str | None = DEFAULT_ENGINE,
    network_gbs: float | None = None,
    network_us: float = NETWORK_US,
    expert_skew: float = 0.0,
    redundant_experts: int = 0,
    expert_spread: float = EXPERT_SPREAD,
) -> xr.Dataset:
    """What one replica of a model does for a batch of requests, over every combination of settings.

    Parameters
    ----------
    gpu, model : str, GPU or Model, or several
        Ids or catalog objects.
    batch_size : int or list of int
        Sequences at a time [1].
    prompt, output : int or list of int
        Of each sequence [token].
    tp, pp, ep, dp : int
        GPUs that share attention and dense layers (one or several), stages of a pipeline, GPUs that experts are spread
        over, groups that share the sequences: see `Replica` [1].
    weight_dtype, activation_dtype, kv_dtype, lm_head_dtype : str, optional
        As for `roofline_grid`.
    time_model : str
        "kernel", or "ideal" for every operator on its roof.
    schedule : str
        "static", the batch's prompts together and then its tokens; or "continuous", a closed loop of so many users, ten
        requests of each: the means of what `simulation.simulate` says of it. ``docs/schedules.md`` has a picture.
    cached_prefix : int
        Tokens of every prompt that the KV cache has already, and holds once for all, in whole blocks [token].
    draft : Draft, optional
        Speculative decoding, made by `draft_model`, `medusa` or `mtp`.
    max_num_batched_tokens : int, optional
        Of one step; sizes a prompt's chunks and the activations; None is the engine's default (`catalog.Caps`) [token].
    max_num_seqs : int, optional
        Of one step; sizes the logits; None is the engine's default, or the largest batch if that is more [1].
    max_model_len : int, optional
        Longest prompt and output together; None is the model's own context [token].
    gpu_memory_utilization : float, optional
        Share of a GPU's memory, as its driver reports it, that the server may use, by its engine's rule
        (`left_for_cache`); None is the engine's own [1].
    workspace : float, optional
        Of that, what CUDA, its libraries, collectives and graphs take; None is the engine's [byte].
    price : float or dict, optional
        Of a GPU and hour, one or by GPU id; without it there is no `cost`.
    power_floor : float
        Share of the TDP that a busy GPU draws at least [1].
    launch_latency : float
        What every kernel call takes besides, as for `roofline_grid` [s].
    step_overhead, sequence_overhead, gemm_efficiency, gemm_rows, dequantize_rows
        What a real server is calibrated by, as for `Replica` [s], [s], [1], [token], [token].
    engine : str, optional
        Whose kernels run, and whose host's time is in every step unless one of the two overheads is given: "vllm" (the
        best measured), "sglang", "trtllm" or "pytorch". None: the kernels of "vllm" alone.
    network_gbs, network_us, expert_skew, redundant_experts, expert_spread
        Of the network between machines, and of how experts are loaded, as for `Replica`: [GB/s], [us], the others [1].

    Returns
    -------
    xarray.Dataset
        Each variable with only the dims it depends on (gpu, model, phase, operator, batch_size, prompt, output, tp).
        Memory, on one GPU: weights, activations, workspace, kv_bytes_per_token, memory, usable_memory (what the server
        may fill) [byte]; kv_capacity of the replica [token];
        fits, unfit (what does not), largest_batch. Times [s]: ttft, tpot (without the first token; the mean,
        tpot_first, tpot_last), end_to_end_latency, step_time by phase. Rates [1/s]: tokens_per_second,
        tokens_per_second_per_user, requests_per_second. By phase: mfu, mbu [1], bound (`kernels.longest`), share [%] by
        operator, expected_error [%], that of the operators' fits on timings that they did not see, by their shares.
        energy_per_token [J], an estimate; cost of a million tokens. What does not fit has NaN in all of these
        but memory's, and bound -1. The attribute `assumed` says what is not from the GPU's own catalog entry.

    Raises
    ------
    ValueError
        In one line, for what `roofline_grid` and `Replica` refuse, and for options out of range.
    """
    cards, models = entries("gpu", gpu, find_gpu), entries("model", model, find_model)
    sizes = {"batch_size": batch_size, "prompt": prompt, "output": output}
    axes = {name: whole_numbers(name, values) for name, values in sizes.items()}
    tps = whole_numbers("tp", tp)
    power_floor = check_range("power_floor", power_floor, 1, "shares")
    if gpu_memory_utilization is not None:
        gpu_memory_utilization = check_range("gpu_memory_utilization", gpu_memory_utilization, 1, "shares")
    if workspace is not None:
        workspace = check_range("workspace", workspace, unit="bytes")
    prices = _prices(price, cards)
    pp, ep = whole_number("pp", pp), whole_number("ep", ep)
    cells = prod(map(len, axes.values())) * len(tps) * len(cards) * len(models)
    check_memory(f"an estimate of {cells:,} settings", CELL_BYTES * cells, "give fewer, or use estimates")
    b, p, o = np.meshgrid(*(values.astype(float) for values in axes.values()), indexing="ij", sparse=True)
    given: dict[str, Any] = {"max_num_batched_tokens": max_num_batched_tokens, "max_num_seqs": max_num_seqs}
    batch = Batch(
        b, p, o, schedule=schedule, cached_prefix=cached_prefix, draft=draft, max_model_len=max_model_len, **given
    )
    options: dict[str, Any] = {
        "pp": pp, "ep": ep, "dp": dp, "weight_dtype": weight_dtype, "activation_dtype": activation_dtype,
        "kv_dtype": kv_dtype, "lm_head_dtype": lm_head_dtype, "time_model": time_model,
        "launch_latency": launch_latency, "step_overhead": step_overhead, "sequence_overhead": sequence_overhead,
        "gemm_efficiency": gemm_efficiency, "gemm_rows": gemm_rows, "dequantize_rows": dequantize_rows,
        "engine": engine, "network_gbs": network_gbs, "network_us": network_us, "expert_skew": expert_skew,
        "redundant_experts": redundant_experts, "expert_spread": expert_spread,
    }  # fmt: skip
    if batch.draft:
        for entry in models.values():
            batch.draft.check(entry, (p + o).max())
    answers: dict[Place, dict[str, Any]] = {}
    told, formats = list[str](), list[OperandFormats]()
    for (i, (g, card)), (j, entry), (k, t) in product(
        enumerate(cards.items()), enumerate(models.values()), enumerate(tps.tolist())
    ):
        replica = Replica(card, entry, tp=t, **options)
        own = batch.on(replica)
        room = memory_fit(replica, own, gpu_memory_utilization=gpu_memory_utilization, workspace=workspace)
        times = batch_latency(replica, own, np.equal(room["unfit"], ALL_FITS))
        told.append(assumed(replica))
        formats.append(replica.formats)
        answers[i, j, k] = room | _performance(replica, own, times, prices.get(g), power_floor)
    longer = (line for entry in models.values() for line in beyond_context(entry, batch.max_model_len))
    told = [*dict.fromkeys(told), *longer, host_assumed(replica)]
    coords = {"gpu": list(cards), "model": list(models), "phase": list(PHASES), **axes, "tp": tps}
    attrs = {
        "title": "Estimate of a server", "schedule": batch.schedule, "time_model": time_model, "pp": pp, "ep": ep,
        "dp": dp or "", "network_gbs": replica.network_gbs or "", "network_us": replica.network_us,
        "expert_skew": replica.expert_skew, "redundant_experts": replica.redundant_experts,
        "expert_spread": replica.expert_spread,
        "weight_dtype": str(weight_dtype or "as stored").lower(), "kv_dtype": one_for_all(formats, "kv"),
        "activation_dtype": one_for_all(formats, "activation"), "cached_prefix": batch.cached_prefix,
        "formats": "; ".join(dict.fromkeys(map(str, formats))),
        "gpu_memory_utilization": "as the engine" if gpu_memory_utilization is None else gpu_memory_utilization,
        "max_num_batched_tokens": batch.max_num_batched_tokens or "", "max_num_seqs": batch.max_num_seqs or "",
        "max_model_len": batch.max_model_len or "", "power_floor": power_floor,
        "engine": replica.engine or "", "launch_latency": replica.launch_latency,
        **{name: getattr(replica.calibration, name) for name in SERVER_FIELDS}, "gemm_rows": replica.gemm_rows or "",
        "dequantize_rows": replica.dequantize_rows or "", "draft": str(draft or ""),
        "max_context": [entry.max_context or 0 for entry in models.values()], "assumed": joined(told),
    }  # fmt: skip
    return _dataset(answers, coords, attrs)


# Performance ------------------------------------------------------------------------------------------------------

Place = tuple[int, int, int]  # of a GPU, a model and a tp


def _performance(
    replica: Replica, batch: Batch, times: Latency, price: float | None, power_floor: float
) -> dict[str, Any]:
    """Rates, utilization, energy and cost from a batch's times; what has a phase has it first, as in `PHASES`."""
    decoding = np.where(batch.output > 1, (batch.output - 1) * times.tpot, 0.0)
    total = times.ttft + decoding
    phases = (times.prefill, times.decode)
    mfu, mbu = (
        [amount / phase.total for amount, phase in zip(amounts, phases, strict=True)]
        for amounts in ([p.computing for p in phases], [p.bytes / replica.gpu.bandwidth for p in phases])
    )
    tdp = replica.gpu.tdp_w or np.nan
    watts = [tdp * (power_floor + (1 - power_floor) * np.maximum(*busy)) for busy in zip(mfu, mbu, strict=True)]
    tokens = batch.batch_size * batch.output
    drawn = watts[0] * times.ttft + np.where(batch.output > 1, watts[1] * decoding, 0.0)
    result = {
        "ttft": times.ttft, "tpot": times.tpot, "tpot_first": times.tpot_first, "tpot_last": times.tpot_last,
        "end_to_end_latency": total, "tokens_per_second_per_user": 1 / times.tpot,
        "tokens_per_second": tokens / total, "requests_per_second": batch.batch_size / total,
        "step_time": _by_phase([phase.total for phase in phases]), "mfu": _by_phase(mfu), "mbu": _by_phase(mbu),
        "bound": _by_phase([phase.bound for phase in phases]), "energy_per_token": replica.gpus * drawn / tokens,
        "share": _shares(replica, batch, times),
    }  # fmt: skip
    if replica.time_model == "kernel":
        result["expected_error"] = _by_phase(expected_errors(replica, result["share"]))
    if price is not None:
        result["cost"] = 1e6 * replica.gpus * price / 3600 / result["tokens_per_second"]
    return result


def _by_phase(values: list[Array]) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*values))


def _shares(replica: Replica, batch: Batch, times: Latency) -> dict[str, np.ndarray]:
    """Share of a phase's time by what takes it: operators, and where they are asked for the host and drafting [%]."""
    phases = (times.prefill, times.decode)
    shares = [dict(zip(p.operators, 100 * p.seconds.sum(1) / p.total, strict=True)) for p in phases]
    if replica.calibration.host or replica.pp > 1:
        for share, phase in zip(shares, phases, strict=True):
            share["host"] = 100 * phase.other / phase.total
    if batch.draft:
        for share, phase in zip(shares, phases, strict=True):
            share["drafting"] = 100 * phase.drafting / phase.total
    return {name: _by_phase([share[name] for share in shares]) for name in shares[0]}


# The Dataset ------------------------------------------------------------------------------------------------------

_FULL = ("gpu", "model", *SIZE_DIMS, "tp")
_PHASED = ("gpu", "model", "phase", *SIZE_DIMS, "tp")
DIMS: dict[str, tuple[str, ...]] = {
    "weights": ("model", "tp"), "activations": ("gpu", "model", "tp"), "kv_bytes_per_token": ("model", "tp"),
    "workspace": ("tp",), "usable_memory": ("gpu", "model", "tp"),
    "kv_capacity": ("gpu", "model", "tp"), "memory": _FULL, "unfit": _FULL,
    "largest_batch": ("gpu", "model", "prompt", "output", "tp"),
    "ttft": _FULL, "tpot": _FULL, "tpot_first": _FULL, "tpot_last": _FULL, "end_to_end_latency": _FULL,
    "tokens_per_second": _FULL, "tokens_per_second_per_user": _FULL, "requests_per_second": _FULL,
    "expected_error": _PHASED, "step_time": _PHASED, "mfu": _PHASED, "mbu": _PHASED, "bound": _PHASED,
    "share": ("gpu", "model", "phase", "operator", *SIZE_DIMS, "tp"), "energy_per_token": _FULL, "cost": _FULL,
}  # fmt: skip
"""The variables of an estimate, in order, each with the dims that it depends on."""

_MEMORY = {
    "weights", "activations", "workspace", "usable_memory", "kv_bytes_per_token", "kv_capacity", "memory", "unfit",
    "largest_batch",
}  # fmt: skip
#: Variables whose values are flags, and what they mean.
FLAGS = {
    "unfit": {ALL_FITS: "fits", WEIGHTS: "weights", KV_CACHE: "kv_cache", CONTEXT_LENGTH: "context_length"},
    "bound": {ABSENT: "does_not_fit", **LIMITS},
}


def _dataset(answers: dict[Place, dict[str, Any]], coords: dict[str, Any], attrs: dict[str, Any]) -> xr.Dataset:
    """One Dataset of the replicas' arrays; nothing that does not fit is reported as if it did."""
    taking = {name for answer in answers.values() for name in answer["share"]}
    operators = [name for name in (*OPERATORS, *OTHERS) if name in taking]
    coords = {dim: operators if dim == "operator" else coords[dim] for dim in DIMS["share"]}
    variables = {}
    for name, dims in DIMS.items():
        if name not in next(iter(answers.values())):
            continue
        values = np.full([len(coords[dim]) for dim in dims], 0.0 if name == "share" else np.nan)
        for (i, j, k), answer in answers.items():
            place = tuple({"gpu": i, "model": j, "tp": k}.get(dim, slice(None)) for dim in dims)
            if name == "share":
                for operator, share in answer["share"].items():
                    values[i, j, :, operators.index(operator), ..., k] = share
            else:
                values[place] = _on_sizes(answer[name], dims)
        variables[name] = values
    fits = variables["unfit"] == ALL_FITS
    for name in variables.keys() - _MEMORY:
        inner = [axis for axis, dim in enumerate(DIMS[name]) if dim in ("phase", "operator")]
        variables[name][~np.broadcast_to(np.expand_dims(fits, inner), variables[name].shape)] = (
            ABSENT if name == "bound" else np.nan
        )
    for name in FLAGS:
        variables[name] = variables[name].astype(np.int8)
    data = {name: (DIMS[name], values) for name, values in variables.items()} | {"fits": (_FULL, fits)}
    ds = labelled(data, coords, attrs)
    for name, meanings in FLAGS.items():
        ds.variables[name].attrs |= flags(meanings)
    return ds


def _on_sizes(values: Array, dims: tuple[str, ...]) -> Array:
    """An array by those of (batch_size, prompt, output) that are among `dims`, of one by all of them or of a number."""
    values = np.asarray(values)
    if values.ndim < len(SIZE_DIMS):
        return values
    return values[(..., *(slice(None) if size in dims else 0 for size in SIZE_DIMS))]


# What a user can get wrong ----------------------------------------------------------------------------------------


def _prices(price: float | Mapping[str, float] | None, cards: dict[str, GPU]) -> dict[str, float]:
    """The price of every GPU an hour; empty without prices."""
    if price is None:
        return {}
    by_gpu = price if isinstance(price, Mapping) else dict.fromkeys(cards, price)
    prices = {name if name in cards else as_id(name, "gpus"): hourly for name, hourly in by_gpu.items()}
    for name, card in cards.items():
        if not (own := [prices[each] for each in (name, card.original) if each in prices]):
            raise ValueError(f"price has no entry for {name}: it has {', '.join(map(str, prices)) or 'none'}")
        prices[name] = check_range(f"price of {name}", own[0], low=LEAST)
    return prices
