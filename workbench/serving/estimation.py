"""From operators to answers: does it fit, how long does a user wait, how much does a server put out, what does it cost.

Definitions of every metric: docs/glossary.md.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.loading import entries
from ..catalog.model_entries import Model
from ..catalog.model_entries import model as find_model
from ..common.arguments import check_range, is_number, whole_numbers
from ..common.arrays import Array
from ..common.variables import ABSENT, LINK, stamp
from ..operators.cost import PHASES
from ..operators.table import OPERATORS
from . import memory
from .drafts import Draft, draft_weights, drafting_server
from .latency import Batch, Latency, Phase, batch_latency
from .replica import Replica

#: Of `bound`, beside 0 (memory), 1 (compute) and 2 (link): the host, with what passes between pipeline stages.
HOST = 3
#: Of `unfit`.
FITS, WEIGHTS, KV_CACHE, CONTEXT_LENGTH = range(4)
#: Share of its TDP that a GPU draws however little it does while it serves [1]. A guess: of A100s, decoding draws well
#: under the TDP and prefill reaches it (Patel et al. 2023, POLCA, arXiv 2308.12908).
POWER_FLOOR = 0.4
#: What a step's time is divided among, beside its operators.
OTHERS = ("all_reduce", "all_to_all", "host", "drafting")

SIZES = ("batch_size", "prompt", "output")


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
    weight_dtype: str | None = None,
    activation_dtype: str = "fp16",
    kv_dtype: str = "fp16",
    lm_head_dtype: str | None = None,
    time_model: str = "kernel",
    schedule: str = "static",
    cached_prefix: int = 0,
    draft: Draft | None = None,
    max_num_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
    max_model_len: int | None = None,
    gpu_memory_utilization: float = 0.9,
    workspace: float = memory.WORKSPACE,
    price: float | Mapping[str, float] | None = None,
    power_floor: float = POWER_FLOOR,
    launch_latency: float = 0.0,
    step_overhead: float = 0.0,
    sequence_overhead: float = 0.0,
    gemm_efficiency: float = 1.0,
    gemm_rows: int | None = None,
    dequantize_rows: int | None = None,
) -> xr.Dataset:
    """What one replica of a model does for a batch of requests, over every combination of settings.

    gpu, model : ids or catalog objects; batch_size : sequences at a time [1]; prompt, output : of each [token]
    tp, pp, ep : GPUs that share every layer, stages of a pipeline, GPUs with some of the experts each: see
        `steps.Server`, as for what a real server is calibrated by: step_overhead, sequence_overhead [s],
        gemm_efficiency [1], gemm_rows, dequantize_rows [token]
    weight_dtype, activation_dtype, kv_dtype, lm_head_dtype, launch_latency [s] : as of `roofline_grid`
    time_model : "kernel", or "ideal" for every operator on its roof
    schedule : "static", the batch's prompts together and then its tokens; or "continuous", the steady state of an
        engine that takes a new request whenever one ends: its prompt goes, in chunks, through steps with the others'
        tokens
    cached_prefix : tokens of every prompt that the KV cache has already, and holds once for all [token]
    draft : speculative decoding, made by `speculation.draft_model`, `medusa` or `mtp`
    max_num_batched_tokens : of one step; sizes a prompt's chunks and the activations [token]
    max_num_seqs : of one step; sizes the logits [1]
    max_model_len : longest prompt and output together; None is the model's own context [token]
    gpu_memory_utilization : share of the vendor's memory that the server may use [1]
    workspace : of that, what CUDA and its libraries take [byte]
    price : of a GPU and hour, one or by GPU id; without it there is no `cost`
    power_floor : share of the TDP that a busy GPU draws at least [1]

    Returns a Dataset, each variable with only the dims it depends on (gpu, model, phase, operator, batch_size, prompt,
    output, tp), its unit and what it is. Memory, on one GPU: weights, activations, kv_bytes_per_token, memory [byte];
    kv_capacity of the replica [token]; fits, unfit (what does not), largest_batch. Times [s]: ttft, tpot (without the
    first token; the mean, tpot_first, tpot_last), end_to_end_latency, step_time by phase. Rates [1/s]:
    tokens_per_second, tokens_per_second_per_user, requests_per_second. By phase: mfu, mbu [1], bound, share [%] by
    operator. energy_per_token [J], an estimate; cost of a million tokens. What does not fit has NaN in all of these
    but memory's, and bound -1.

    Raises ValueError, in one line, for what `roofline_grid` and `steps.Server` refuse, and for options out of range.
    """
    cards, models = entries("gpu", gpu, find_gpu), entries("model", model, find_model)
    sizes = {"batch_size": batch_size, "prompt": prompt, "output": output}
    axes = {name: whole_numbers(name, values) for name, values in sizes.items()}
    tps = whole_numbers("tp", tp)
    check_range("power_floor", power_floor, 1, "shares")
    prices = _prices(price, cards)
    if schedule == "continuous" and (pp, ep) != (1, 1):
        raise ValueError("schedule 'continuous' goes with pp = ep = 1: give schedule='static'")
    b, p, o = np.meshgrid(*(values.astype(float) for values in axes.values()), indexing="ij", sparse=True)
    load = Batch(
        b, p, o, schedule, cached_prefix, draft, max_num_batched_tokens, max_num_seqs, max_model_len
    )  # fmt: skip

    coords = {"gpu": list(cards), "model": list(models), "phase": list(PHASES)} | axes | {"tp": tps}
    result: dict[tuple[str, str, int], dict[str, Any]] = {}
    for (g, card), (m, entry), t in product(cards.items(), models.items(), tps.tolist()):
        server = Replica(
            card, entry, t, pp, ep, weight_dtype, activation_dtype, kv_dtype, lm_head_dtype, time_model,
            launch_latency, step_overhead, sequence_overhead, gemm_efficiency, gemm_rows, dequantize_rows,
        )  # fmt: skip
        room = memory_fit(server, load, gpu_memory_utilization=gpu_memory_utilization, workspace=workspace)
        result[g, m, t] = room | _performance(server, load, batch_latency(server, load), prices.get(g), power_floor)
    ds = _dataset(result, coords)
    ds.attrs = {
        "title": "Estimate of a server", "schedule": schedule, "time_model": time_model, "pp": pp, "ep": ep,
        "weight_dtype": weight_dtype or "as stored", "activation_dtype": activation_dtype, "kv_dtype": kv_dtype,
        "cached_prefix": cached_prefix, "gpu_memory_utilization": gpu_memory_utilization,
        "max_num_batched_tokens": max_num_batched_tokens, "max_num_seqs": max_num_seqs, "workspace": workspace,
        "power_floor": power_floor, "launch_latency": launch_latency, "step_overhead": step_overhead,
        "sequence_overhead": sequence_overhead, "gemm_efficiency": gemm_efficiency, "gemm_rows": gemm_rows or "",
        "dequantize_rows": dequantize_rows or "", "draft": str(draft or ""),
    }  # fmt: skip
    return ds


# Memory -----------------------------------------------------------------------------------------------------------


def memory_fit(
    server: Replica, load: Batch, *, gpu_memory_utilization: float = 0.9, workspace: float = memory.WORKSPACE
) -> dict[str, Array]:
    """Memory of a workload on one GPU, and whether it fits; arrays by batch_size, prompt, output.

    Arguments and results as of `estimate`. The caches of a draft model count as well.
    """
    drafter = load.draft and drafting_server(server, load.draft)
    holders = [server, drafter] if drafter else [server]
    added = draft_weights(server, load.draft) if load.draft else 0.0
    weights = memory.weights(server) + added
    activations = memory.activations(server, tokens=load.max_num_batched_tokens, sequences=load.max_num_seqs)
    left = memory.left_for_cache(
        server, tokens=load.max_num_batched_tokens, sequences=load.max_num_seqs,
        gpu_memory_utilization=gpu_memory_utilization, workspace=workspace,
    ) - added  # fmt: skip

    def cache(tokens: Array) -> Array:
        return sum(memory.kv_bytes_per_sequence(holder, tokens) for holder in holders)

    per_token = sum(memory.kv_bytes_per_token(holder) for holder in holders)
    blocks = np.floor(max(left, 0.0) / per_token / memory.BLOCK_SIZE)
    prefix = cache(load.cached_prefix)
    tokens = load.prompt + load.output + load.candidates - 1
    each = cache(tokens) - prefix
    needed = prefix + np.ceil(load.batch_size / server.ep) * each
    longest = load.max_model_len or server.model.max_context or np.inf
    too_long = load.prompt + load.output > longest
    unfit = np.select([left <= 0, too_long, needed > left], [WEIGHTS, CONTEXT_LENGTH, KV_CACHE], FITS)
    return {
        "weights": weights, "activations": activations, "kv_bytes_per_token": per_token,
        "kv_capacity": blocks * memory.BLOCK_SIZE * server.ep, "memory": weights + activations + workspace + needed,
        "unfit": unfit, "largest_batch": np.where(too_long, 0, np.floor(max(left - prefix, 0.0) / each) * server.ep),
    }  # fmt: skip


# Performance ------------------------------------------------------------------------------------------------------


def _performance(
    server: Replica, load: Batch, times: Latency, price: float | None, power_floor: float
) -> dict[str, Array]:
    """Rates, utilization, energy and cost from a workload's times."""
    decoding = np.where(load.output > 1, (load.output - 1) * times.tpot, 0.0)
    total = times.ttft + decoding
    result: dict[str, Array] = {
        "ttft": times.ttft, "tpot": times.tpot, "tpot_first": times.tpot_first, "tpot_last": times.tpot_last,
        "end_to_end_latency": total, "tokens_per_second_per_user": 1 / times.tpot,
        "tokens_per_second": load.batch_size * load.output / total, "requests_per_second": load.batch_size / total,
    }  # fmt: skip
    tokens, watts = load.batch_size * load.output, []
    for name, phase in zip(PHASES, (times.prefill, times.decode), strict=True):
        mfu, mbu = phase.computing / phase.total, phase.bytes / server.gpu.bandwidth / phase.total
        spent = {operator: work.time for operator, work in phase.works.items()}
        if server.step_overhead or server.sequence_overhead or server.pp > 1:
            spent["host"] = phase.other
        if load.draft:
            spent["drafting"] = phase.drafting
        result |= {f"step_time {name}": phase.total, f"mfu {name}": mfu, f"mbu {name}": mbu}
        result |= {f"share {name} {operator}": 100 * time / phase.total for operator, time in spent.items()}
        result[f"bound {name}"] = _bound(phase)
        watts.append((server.gpu.tdp_w or np.nan) * (power_floor + (1 - power_floor) * np.maximum(mfu, mbu)))
    drawn = watts[0] * times.ttft + np.where(load.output > 1, watts[1] * decoding, 0.0)
    result["energy_per_token"] = server.gpus * drawn / tokens
    if price is not None:
        result["cost"] = 1e6 * server.gpus * price / 3600 / result["tokens_per_second"]
    return result


def _bound(phase: Phase) -> Array:
    """What limits the kernels that take most of a phase's time: memory, compute, link; or the host."""
    shares = [
        sum(np.where(np.equal(work.bound, limit), work.time, 0.0) for work in phase.works.values())
        for limit in (0, 1, LINK)
    ]
    return np.argmax(np.stack(np.broadcast_arrays(*shares, phase.other)), axis=0)


# The Dataset ------------------------------------------------------------------------------------------------------

_FULL = ("gpu", "model", *SIZES, "tp")
_PHASED = ("gpu", "model", "phase", *SIZES, "tp")
DIMS: dict[str, tuple[str, ...]] = {
    "weights": ("model", "tp"), "activations": ("model", "tp"), "kv_bytes_per_token": ("model", "tp"),
    "kv_capacity": ("gpu", "model", "tp"), "memory": ("model", *SIZES, "tp"), "unfit": _FULL,
    "largest_batch": ("gpu", "model", "prompt", "output", "tp"),
    "ttft": _FULL, "tpot": _FULL, "tpot_first": _FULL, "tpot_last": _FULL, "end_to_end_latency": _FULL,
    "tokens_per_second": _FULL, "tokens_per_second_per_user": _FULL, "requests_per_second": _FULL,
    "step_time": _PHASED, "mfu": _PHASED, "mbu": _PHASED, "bound": _PHASED,
    "share": ("gpu", "model", "phase", "operator", *SIZES, "tp"), "energy_per_token": _FULL, "cost": _FULL,
}  # fmt: skip
"""The variables of an estimate, in order, each with the dims that it depends on."""

AXES = ("gpu", "model", "phase", "operator", *SIZES, "tp")
_MEMORY = {"weights", "activations", "kv_bytes_per_token", "kv_capacity", "memory", "unfit", "largest_batch"}
#: Variables whose values are flags: the first one, and what they mean.
FLAGS = {
    "unfit": (FITS, "fits weights kv_cache context_length"),
    "bound": (ABSENT, "does_not_fit memory compute link host"),
}


def _dataset(result: dict[tuple[str, str, int], dict[str, Any]], coords: dict[str, Any]) -> xr.Dataset:
    """One Dataset of the replicas' arrays; nothing that does not fit is reported as if it did."""
    found = {key for values in result.values() for key in values}
    operators = [op for op in (*OPERATORS, *OTHERS) if any(key.split()[-1] == op for key in found)]
    axes = {dim: operators if dim == "operator" else list(coords[dim]) for dim in AXES}
    variables: dict[str, np.ndarray] = {}
    for name, dims in DIMS.items():
        keys = [key for key in found if key.split()[0] == name]
        values = np.full([len(axes[dim]) for dim in dims], 0.0 if name == "share" else np.nan)
        for (g, m, t), key in product(result, keys):
            if key in result[g, m, t]:
                label = dict(zip(("phase", "operator"), key.split()[1:], strict=False)) | {
                    "gpu": g,
                    "model": m,
                    "tp": t,
                }
                place = tuple(axes[dim].index(label[dim]) if dim in label else slice(None) for dim in dims)
                values[place] = _on_sizes(result[g, m, t][key], [dim for dim in dims if dim in SIZES])
        if keys:
            variables[name] = values
    fits = variables["unfit"] == FITS
    for name in variables.keys() - _MEMORY:
        inner = [axis for axis, dim in enumerate(DIMS[name]) if dim in ("phase", "operator")]
        variables[name] = np.where(np.expand_dims(fits, inner), variables[name], ABSENT if name == "bound" else np.nan)
    for name in FLAGS:
        variables[name] = variables[name].astype(np.int8)
    data = {name: (DIMS[name], values) for name, values in variables.items()} | {"fits": (_FULL, fits)}
    ds = stamp(xr.Dataset(coords=axes).assign(data))
    for name, (first, meanings) in FLAGS.items():
        values = np.arange(first, first + len(meanings.split()), dtype=np.int8)
        ds[name].attrs |= {"flag_values": values, "flag_meanings": meanings}
    return ds


def _on_sizes(values: Array, sizes: list[str]) -> Array:
    """An array by (batch_size, prompt, output), or a number, without the dims that are not among `sizes`."""
    values = np.asarray(values)
    if values.ndim < len(SIZES):
        return values
    return values[tuple(slice(None) if size in sizes else 0 for size in SIZES)]


# What a user can get wrong ----------------------------------------------------------------------------------------


def _prices(price: float | Mapping[str, float] | None, cards: dict[str, GPU]) -> dict[str, float]:
    """The price of every GPU an hour; empty without prices."""
    if price is None:
        return {}
    prices = dict(price) if isinstance(price, Mapping) else dict.fromkeys(cards, price)
    for name in cards:
        if name not in prices:
            raise ValueError(f"price has none for {name}: it has {', '.join(map(str, prices)) or 'none'}")
        if not is_number(prices[name]) or not 0 < prices[name] < np.inf:
            raise ValueError(f"price of {name} = {prices[name]!r}: allowed are positive numbers")
    return prices
