"""Speculative decoding: how many candidate tokens a decoding step should verify, by what they cost and how many stay.

Verifying q candidates makes a step slower (`normalized_latency`) and yields more than one token (`acceleration_rate`);
the speedup over plain decoding is the ratio of the two. Figures 21 to 23 of Cai et al. 2024 (arXiv 2401.10774v3).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from .catalog.gpu_entries import GPU
from .catalog.model_entries import Model
from .common.arguments import as_list, whole_numbers
from .common.variables import stamp
from .grid import roofline_grid
from .operators import OPERATOR_GROUPS, OPERATORS
from .published import medusa_acceleration_rate
from .servers import Draft, draft_model, expected_tokens, medusa, mtp
from .servers.drafts import Acceptance, acceptance_rates

__all__ = ["BLOCK", "Draft", "draft_model", "expected_tokens", "medusa", "mtp", "speedup"]

#: The matmuls of one block that the paper's figures simulate, in sequence.
BLOCK = ("q_proj", "k_proj", "v_proj", "qk", "pv", "up_proj", "gate_proj", "down_proj")


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

    Parameters
    ----------
    gpu, model : str, entry, or iterable of them
        As for `grid.roofline_grid`.
    batch_size : int or iterable of int
        Sequences in a step [1].
    seq_len : int or iterable of int
        Cached context [token].
    candidates : int or iterable of int
        Tokens verified per sequence and step, including the one that plain decoding computes [1].
    acceptance : callable, mapping or iterable of float
        Mean tokens that a step yields, by candidates [1]: a function of one candidate count, a mapping from every
        count, or one value for each in their order. Finite, and from 1 (a step always yields a token) to the candidate
        count. The cost of drafting is not in it. The Medusa paper's fit unless given.
    operators : str or iterable of str
        Operators whose time counts, in all layers; "fused" is the whole forward pass.
    time_model : str
        "kernel" or "ideal".
    launch_latency : float
        Added to every kernel call, as for `grid.roofline_grid` [s].

    Returns
    -------
    xr.Dataset
        Dims gpu, model, batch_size, seq_len, candidates: latency of a step [s], group_latency with the dim group [s],
        normalized_latency (over plain decoding), acceleration_rate and speedup [1]. Without candidates: best_candidates
        [1], of those given and plain decoding (1), the fewest where several are best, and best_speedup [1].

    Raises
    ------
    ValueError
        In one line, for what `roofline_grid` refuses, an acceptance out of range or without a value for a candidate
        count, and a model without one of the operators.

    Notes
    -----
    With latency t(q) of a step that verifies q candidates and its mean yield a(q) [token],

    .. math:: speedup(q) = a(q) / (t(q) / t(1))

    References
    ----------
    Cai et al. 2024, *Medusa*, arXiv 2401.10774v3, figures 21 to 23.
    """
    wanted = operators if isinstance(operators, str) else as_list("operators", operators)
    candidates = whole_numbers("candidates", candidates)
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
    result["group_latency"] = by_group.sel(group=[g for g in OPERATOR_GROUPS if g in labels]).transpose(..., "group")
    result["normalized_latency"] = result.latency / (plain.time * plain.calls).sum("operator").squeeze("candidates")
    result["acceleration_rate"] = ("candidates", acceptance_rates(acceptance, ds.candidates.values))
    result["speedup"] = result.acceleration_rate / result.normalized_latency
    result["speedup"] = result.speedup.transpose(*result.latency.dims)
    most = result.speedup.max("candidates")
    counts = ds.candidates.sortby("candidates")
    best = counts[result.speedup.sel(candidates=counts).argmax("candidates")].drop_vars("candidates")
    result["best_candidates"], result["best_speedup"] = best.where(most > 1, 1), np.maximum(most, 1)
    result.attrs |= {"time_model": time_model, "launch_latency": launch_latency, "assumed": ds.attrs["assumed"]}
    return stamp(result.drop_vars("operator", errors="ignore"))


def _group(operator: str) -> str:
    return OPERATORS[operator].group if operator in OPERATORS else "other"


def _complete(ds: xr.Dataset) -> None:
    """Refuse a model that lacks an operator asked for by name: its step would look faster than it is."""
    for name in ds.model.values:
        absent = ds.operator.values[(ds.calls.sel(model=name) == 0).values]
        if len(absent):
            raise ValueError(
                f"no operator {str(absent[0])!r} in {name}: give operators that it has, or operators='fused'"
            )
