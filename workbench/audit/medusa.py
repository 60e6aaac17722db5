"""What the Medusa paper claims, recomputed: intensities, rates, gains and speedups."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from .. import speculation
from ..catalog.model_entries import model
from ..common.errors import unknown
from ..grid import roofline_grid, with_roof
from ..kernels.times import EAGER_LAUNCH
from ..published import medusa
from ..studies.chen import ridge_batch_size
from .values import Recomputed, range_of

#: The settings of the Medusa charts: batch sizes 1 to 64, sequence lengths 128 to 8192; numbers of candidates.
MEDUSA_BATCH_SIZES = tuple(2**k for k in range(7))
MEDUSA_SEQ_LENS = tuple(2**k for k in range(7, 14))
MEDUSA_CANDIDATES = [1, *range(16, 113, 16)]

#: How times are computed that a source measured by the wall clock of an eager framework. The Medusa paper does, after
#: Chen: in its figure 18 a kernel over 128 tokens runs at less than half the rate of one over 8192, which takes a
#: launch of tens of microseconds.
EAGER_TIMES: dict[str, Any] = {"time_model": "kernel", "launch_latency": EAGER_LAUNCH}

#: The operators that a label of the Medusa charts stands for.
MEDUSA_OPERATORS = {"qkv": ["q_proj"], "qk/pv": ["qk", "pv"], "up/gate/down": ["up_proj", "gate_proj", "down_proj"]}


def medusa_intensity(
    model_id: str,
    operator: str,
    phase: str,
    candidates: int = 1,
    batch_size: Iterable[int] = MEDUSA_BATCH_SIZES,
    seq_len: Iterable[int] = MEDUSA_SEQ_LENS,
) -> Recomputed:
    """Lowest and highest operational intensity of a series over its settings [FLOP/byte]."""
    ds = _medusa_grid("a100-80gb-pcie", model_id, operator, phase, candidates, batch_size, seq_len)
    m = model(model_id)
    sizes = {"h": m.hidden_size, "i": m.intermediate_size, "n": m.n_heads, "d": m.head_dim}
    b, s = np.meshgrid(np.array(list(batch_size)), np.array(list(seq_len)))
    flops, elements = medusa.medusa_table5(operator, phase, **sizes, b=b, s=s, q=candidates)
    return Recomputed(range_of(ds.intensity), range_of(flops / (2 * elements)))


def medusa_performance(
    gpu_id: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int = 1,
    batch_size: Iterable[int] = MEDUSA_BATCH_SIZES,
    seq_len: Iterable[int] = MEDUSA_SEQ_LENS,
    peak_tflops: float | None = None,
) -> Recomputed:
    """Lowest and highest performance of a series [FLOP/s]: ours by the kernel-time model and eager launches.

    The source's is the roof itself, under the peak that it prints, where a claim gives one (`peak_tflops`).
    """
    series = (model_id, operator, phase, candidates, batch_size, seq_len)
    ours = _medusa_grid(gpu_id, *series, **EAGER_TIMES)
    if peak_tflops is None:
        return Recomputed(range_of(ours.performance))
    return Recomputed(range_of(ours.performance), range_of(with_roof(ours, peak_tflops).attainable))


def _medusa_grid(
    card: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int,
    batch_size: Iterable[int],
    seq_len: Iterable[int],
    **options: Any,
) -> xr.Dataset:
    matmuls, batches, lengths = _matmuls(operator), list(batch_size), list(seq_len)
    return roofline_grid(card, model_id, matmuls, phase, batches, lengths, candidates=candidates, **options)


def _matmuls(operator: str) -> list[str]:
    if operator not in MEDUSA_OPERATORS:
        raise unknown("operator", operator, MEDUSA_OPERATORS)
    return MEDUSA_OPERATORS[operator]


def medusa_gain(
    what: str,
    model_id: str,
    operator: str,
    candidates: int,
    batch_size: int,
    seq_len: int,
    gpu_id: str = "a100-80gb-pcie",
) -> Recomputed:
    """Intensity or performance, as `what` says, with candidates over that of plain decoding [1].

    The paper measured its performance, so ours is that of kernels launched eagerly (`EAGER_TIMES`).
    """
    if what not in ("intensity", "performance"):
        raise unknown("quantity", what, ("intensity", "performance"))
    series = (_matmuls(operator), "decode", batch_size, seq_len)
    ds = roofline_grid(gpu_id, model_id, *series, candidates=[1, candidates], **EAGER_TIMES)
    values = ds[what].squeeze().isel(operator=0)
    return Recomputed(float(values.sel(candidates=candidates) / values.sel(candidates=1)))


def medusa_rows_at_ridge(gpu_id: str, model_id: str, operator: str) -> Recomputed:
    """The fewest rows (batch x candidates) with which a linear operator is compute-bound [1]."""
    ds = roofline_grid(gpu_id, model_id, _matmuls(operator), "decode", [1, 2], 1)
    return Recomputed(range_of(np.ceil(ridge_batch_size(ds))))


def medusa_acceleration(candidates: int) -> Recomputed:
    """Tokens accepted in a step, by the paper's curve [1]."""
    rate = float(medusa.medusa_acceleration_rate(candidates))
    return Recomputed(rate, rate)


def medusa_latency(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, candidates: int | list[int]
) -> Recomputed:
    """Latency of one decoding block with candidates over that of plain decoding, kernel model (`EAGER_TIMES`) [1].

    The block is XW_Q, XW_K, XW_V, QK^T, PV, XW_u, XW_g, XW_d in sequence, as in the paper's simulation.
    """
    ds = _simulated(gpu_id, model_id, batch_size, seq_len, candidates)
    return Recomputed(range_of(ds.normalized_latency))


def _simulated(gpu_id: str, model_id: str, batch_size: int, seq_len: int | list[int], candidates: Any) -> xr.Dataset:
    """What the paper's figures 21 to 23 simulate from measured kernel times."""
    return speculation.speedup(gpu_id, model_id, batch_size, seq_len, candidates, **EAGER_TIMES)


def medusa_speedup(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, candidates: int | list[int]
) -> Recomputed:
    """Tokens per second with candidates over plain decoding: acceleration rate over normalized latency [1]."""
    return Recomputed(range_of(_simulated(gpu_id, model_id, batch_size, seq_len, candidates).speedup))


def medusa_best_candidates(gpu_id: str, model_id: str, batch_size: int, seq_len: int) -> Recomputed:
    """Candidates, of those in figures 21 to 23, with the highest speedup by the kernel model [1]."""
    return Recomputed(range_of(_simulated(gpu_id, model_id, batch_size, seq_len, MEDUSA_CANDIDATES).best_candidates))


def medusa_fall(gpu_id: str, model_id: str, batch_size: int, seq_len: int | list[int]) -> Recomputed:
    """Speedup with 80 candidates over that with 64, of one or several sequence lengths [1]."""
    values = _simulated(gpu_id, model_id, batch_size, seq_len, [64, 80]).speedup
    return Recomputed(range_of(values.sel(candidates=80) / values.sel(candidates=64)))


def medusa_steepest_fall(gpu_id: str, model_id: str, batch_size: int, seq_len: int | list[int]) -> Recomputed:
    """Candidates, of those in figures 21 to 23, at the end of the steepest fall in speedup [1]."""
    values = _simulated(gpu_id, model_id, batch_size, seq_len, MEDUSA_CANDIDATES).speedup
    return Recomputed(range_of((values / values.shift(candidates=1)).idxmin("candidates")))
