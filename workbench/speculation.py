"""Speculative decoding: how many candidate tokens a decoding step should verify, from what they cost and how many stay.

Verifying q candidates makes a step slower (`normalized_latency`) and yields more than one token (`acceleration_rate`);
the speedup over plain decoding is the ratio of the two. Figures 21 to 23 of Cai et al. 2024 (arXiv 2401.10774v3).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from . import memory
from .axes import whole_numbers
from .catalog import GPU, Model
from .catalog import model as find_model
from .dtypes import element_bytes
from .grid import roofline_grid, stamp
from .kernels import gemm_cost, operator_time
from .operators import decode
from .published import medusa_acceleration_rate
from .steps import Server, step_time

Acceptance = Callable[[int], float] | Mapping[int, float] | Iterable[float]

#: The matmuls of one block that the paper's figures simulate, in sequence.
BLOCK = ("q_proj", "k_proj", "v_proj", "qk", "pv", "up_proj", "gate_proj", "down_proj")

#: Operators by the labels of the Medusa charts; what is in none of them is "other".
GROUPS = {
    "qk/pv": ("qk", "pv", "attention"),
    "qkv": ("qkv_proj", "q_proj", "k_proj", "v_proj"),
    "up/gate/down": ("gate_up_proj", "up_proj", "gate_proj", "down_proj", "moe_gate_up_proj", "moe_down_proj"),
}


def speedup(
    gpu: str | GPU | Iterable[str | GPU],
    model: str | Model | Iterable[str | Model],
    batch_size: int | Iterable[int],
    seq_len: int | Iterable[int],
    candidates: int | Iterable[int],
    *,
    acceptance: Acceptance = medusa_acceleration_rate,
    operators: str | Iterable[str] = BLOCK,
    time_model: str = "kernel",
    launch_latency: float = 0.0,
) -> xr.Dataset:
    """Speedup of verifying candidates over plain decoding, and the best number of candidates.

    gpu, model, batch_size [1], seq_len [token], time_model, launch_latency [s] : as of `grid.roofline_grid`
    candidates : tokens verified per sequence and step, the one that plain decoding computes included [1]
    acceptance : mean tokens that a step yields, by candidates [1]: a function of one candidate count, a mapping from
        every count, or one value for each in their order. Finite, and from 1 (a step always yields a token) to the
        candidate count. None of the drafting's own cost is in it
    operators : those whose time counts, in all layers; "fused" is the whole forward pass

    Returns dims gpu, model, batch_size, seq_len, candidates: latency of a step [s], group_latency with the dim group
    [s], normalized_latency (over plain decoding), acceleration_rate and speedup [1]; without candidates:
    best_candidates, of those given and plain decoding (1), the fewest where several are best, and best_speedup [1].

    Raises ValueError, in one line, for what `roofline_grid` refuses, an acceptance outside its range or not one value
    for each candidate count, and a model without one of the operators.
    """
    wanted = operators if isinstance(operators, str) else list(operators)
    given: list[Any] = [list(v) if isinstance(v, Iterator) else v for v in (gpu, model, batch_size, seq_len)]
    cards, models, batches, lengths = given
    plain, ds = (
        roofline_grid(
            cards, models, wanted, "decode", batches, lengths,
            candidates=count, time_model=time_model, launch_latency=launch_latency,
        ).squeeze("phase", drop=True)
        for count in (1, candidates)
    )  # fmt: skip
    if not isinstance(wanted, str):
        _complete(ds)
    labels = xr.DataArray([_group(name) for name in ds.operator.values], dims="operator", name="group")
    times = ds.time * ds.calls

    result = xr.Dataset(attrs={"title": "Speedup of speculative decoding", "operators": " ".join(ds.operator.values)})
    result["latency"] = times.sum("operator")
    by_group = times.assign_coords(operator=labels.values).rename(operator="group").groupby("group").sum()
    result["group_latency"] = by_group.sel(group=[g for g in (*GROUPS, "other") if g in labels]).transpose(..., "group")
    result["normalized_latency"] = result.latency / (plain.time * plain.calls).sum("operator").squeeze("candidates")
    result["acceleration_rate"] = ("candidates", _rates(acceptance, ds.candidates.values))
    result["speedup"] = result.acceleration_rate / result.normalized_latency
    result["speedup"] = result.speedup.transpose(*result.latency.dims)
    most = result.speedup.max("candidates")
    counts = ds.candidates.sortby("candidates")
    best = counts[result.speedup.sel(candidates=counts).argmax("candidates")].drop_vars("candidates")
    result["best_candidates"], result["best_speedup"] = best.where(most > 1, 1), np.maximum(most, 1)
    result.attrs |= {"time_model": time_model, "launch_latency": launch_latency}
    return stamp(result.drop_vars("operator", errors="ignore"))


def expected_tokens(alpha: Any, depth: Any) -> Any:
    """Mean tokens per step of speculative decoding with a draft model, (1 - alpha^(depth+1)) / (1 - alpha) [1].

    alpha : chance that a drafted token is accepted, from 0 to 1 [1]; depth : tokens drafted one after another, so that
        a step verifies depth + 1 candidates: `acceptance=lambda q: expected_tokens(0.8, q - 1)` [1]

    Raises ValueError outside those ranges. Leviathan, Kalman and Matias 2023 (arXiv 2211.17192), equation 1.
    """
    chance, drafted = np.asarray(alpha, dtype=float), np.asarray(depth, dtype=float)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(f"alpha = {alpha}: allowed are chances from 0 to 1")
    if not ((drafted >= 0) & (drafted == np.floor(drafted)) & np.isfinite(drafted)).all():
        raise ValueError(f"depth = {depth}: allowed are whole numbers from 0")
    below = np.where(chance < 1, chance, 0.0)
    rate = np.where(chance < 1, (1 - below ** (drafted + 1)) / (1 - below), drafted + 1)
    return rate.item() if rate.ndim == 0 else rate


@dataclass(frozen=True)
class Draft:
    """How a server's decoding steps guess ahead, and what the guessing costs beside verifying `candidates` [1].

    tokens_per_step : mean tokens that one step yields [1]
    model : the draft model, None for the target's own layers or heads; depth : tokens that it drafts one after another,
        each with a pass of its own [1]; mtp : the passes are those of a multi-token-prediction layer of the target
    heads : Medusa heads, which run once a step [1]

    Made by `draft_model`, `mtp` and `medusa`.
    """

    candidates: int
    tokens_per_step: float
    model: Model | None = None
    depth: int = 0
    mtp: bool = False
    heads: int = 0

    def passes_of(self, target: Model) -> Model | None:
        """The model whose passes draft for `target`; an MTP layer is one of its last layers, with the same head.

        Its projection of hidden state and embedding, 2 h -> h, is left out (about 1 % of a layer of DeepSeek-V3).
        """
        if not self.mtp:
            return self.model
        changes: dict[str, object] = {"n_layers": 1, "sliding_window": None, "published_parameters": None}
        if target.moe:
            changes["moe"] = target.moe.model_copy(update={"layers": 1})
        return target.model_copy(update=changes)


def draft_model(model: str | Model, *, depth: int, alpha: float) -> Draft:
    """A draft model that guesses `depth` [1] tokens, each accepted with a chance of `alpha` [1] (`expected_tokens`)."""
    depth = _whole("depth", depth)
    return Draft(
        depth + 1, expected_tokens(alpha, depth), model if isinstance(model, Model) else find_model(model), depth
    )


def mtp(*, alpha: float, depth: int = 1) -> Draft:
    """The target's own multi-token-prediction layer, run `depth` [1] times (DeepSeek-V3, arXiv 2412.19437).

    alpha : chance that its token is accepted [1]; that report gives 0.85 to 0.9 for the second token
    """
    depth = _whole("depth", depth)
    return Draft(depth + 1, expected_tokens(alpha, depth), depth=depth, mtp=True)


def medusa(*, candidates: int, heads: int = 4, acceptance: Acceptance = medusa_acceleration_rate) -> Draft:
    """Medusa heads, each a residual h x h layer and a head of its own over the vocabulary (arXiv 2401.10774).

    candidates : tokens verified a step [1]; acceptance : tokens that a step yields, as for `speedup` [1]
    """
    count = _whole("candidates", candidates)
    rate = float(_rates(acceptance, np.array([count]))[0])
    return Draft(count, rate, heads=_whole("heads", heads))


def _whole(name: str, value: int) -> int:
    return int(whole_numbers(name, value)[0])


def drafting_time(server: Server, draft: Draft, sequences: Any, context: Any) -> Any:
    """What guessing adds to one decoding step of `sequences` [1] over `context` [token] [s].

    The draft's passes run on the same GPUs (of one stage), with the same formats and overheads; Medusa heads in 16 bit.
    """
    if drafter := drafting_server(server, draft):
        return draft.depth * step_time(drafter, decode(sequences, context))
    shard, seconds = server.shard, 0.0
    peak = server.gpu.peak_flop_rate("fp16" if "fp16" in server.gpu.dense_tflops else "bf16")
    for columns in (shard.hidden_size, shard.vocab_size):
        cost = gemm_cost(m=sequences, n=columns, k=shard.hidden_size, width=element_bytes("fp16"))
        seconds = seconds + operator_time(server.gpu, cost, peak, server.time_model) + server.launch_latency
    return draft.heads * seconds


def drafting_server(server: Server, draft: Draft) -> Server | None:
    """What runs the draft's passes, beside the target on the same GPUs; None for heads, which have none."""
    passes = draft.passes_of(server.model)
    return replace(server, model=passes, pp=1) if passes else None


def draft_weights(server: Server, draft: Draft) -> float:
    """Weights that guessing adds on one GPU [byte]; an MTP layer shares the target's embeddings and head."""
    if drafter := drafting_server(server, draft):
        return memory.layer_weights(drafter) if draft.mtp else memory.weights(drafter)
    h, vocab = server.shard.hidden_size, server.shard.vocab_size
    return draft.heads * h * (h + vocab) * element_bytes("fp16")


def _group(operator: str) -> str:
    return next((group for group, members in GROUPS.items() if operator in members), "other")


def _complete(ds: xr.Dataset) -> None:
    """Refuse a model that lacks an operator asked for by name: its step would look faster than it is."""
    for name in ds.model.values:
        absent = ds.operator.values[(ds.calls.sel(model=name) == 0).values]
        if len(absent):
            raise ValueError(
                f"no operator {str(absent[0])!r} in {name}: give operators that it has, or operators='fused'"
            )


def _rates(acceptance: Acceptance, candidates: np.ndarray) -> np.ndarray:
    """The acceptance of each candidate count, checked [1]."""
    counts = [int(count) for count in candidates]
    if callable(acceptance):
        values = [acceptance(count) for count in counts]
    elif isinstance(acceptance, Mapping):
        if missing := [count for count in counts if count not in acceptance]:
            raise ValueError(f"acceptance has no value for {missing[0]} candidates")
        values = [acceptance[count] for count in counts]
    else:
        values = list(acceptance)
        if len(values) != len(counts):
            raise ValueError(f"acceptance has {len(values)} values, candidates {len(counts)}: give one for each")
    rates = np.array(values, dtype=float)
    for count, rate in zip(counts, rates, strict=True):
        if not 1 - 1e-9 <= rate <= count * (1 + 1e-9):  # NaN, too
            raise ValueError(f"acceptance of {count} candidates = {rate:g}: allowed are 1 to {count} tokens per step")
    return rates
