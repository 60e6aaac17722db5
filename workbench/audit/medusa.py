"""What the Medusa paper claims, recomputed: intensities, rates, gains and speedups."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from .. import speculation
from ..catalog.model_entries import model
from ..common.arguments import one_of
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
    b, s = np.meshgrid(np.array(list(batch_size)), np.array(list(seq_len)))
    flops, elements = _table5(model_id, operator, phase, b, s, candidates)
    return Recomputed(range_of(ds.intensity), range_of(flops / (2 * elements)))


def medusa_table(
    what: str, operator: str, phase: str, model_id: str, batch_size: int, seq_len: int, candidates: int = 1
) -> Recomputed:
    """The "flops" or "elements" moved of one matmul in one setting, by our operators over those by table 5 [1]."""
    row = _table5(model_id, operator, phase, batch_size, seq_len, candidates)
    ds = _medusa_grid("a100-80gb-pcie", model_id, operator, phase, candidates, [batch_size], [seq_len])
    ours, source = {"flops": ds.flops, "elements": ds.bytes / 2}, dict(zip(("flops", "elements"), row, strict=True))
    one_of("column", what, ours)
    return Recomputed(range_of(ours[what] / float(source[what])))


def _table5(model_id: str, operator: str, phase: str, b: Any, s: Any, q: Any) -> tuple[Any, Any]:
    """FLOPs and elements by table 5, with the sizes of a model's catalog entry."""
    m = model(model_id)
    sizes = {"h": m.hidden_size, "i": m.intermediate_size, "n": m.n_heads, "d": m.head_dim}
    return medusa.medusa_table5(operator, phase, **sizes, b=b, s=s, q=q)


def medusa_performance(
    gpu_id: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int = 1,
    batch_size: Iterable[int] = MEDUSA_BATCH_SIZES,
    seq_len: Iterable[int] = MEDUSA_SEQ_LENS,
    peak_tflops: float | None = None,
    best: bool = False,
) -> Recomputed:
    """Lowest and highest performance of a series [FLOP/s]: ours by the kernel-time model and eager launches.

    With `best` the highest alone. The source's is the roof itself, under the peak that it prints, where a claim gives
    one (`peak_tflops`).
    """
    series = (model_id, operator, phase, candidates, batch_size, seq_len)
    ours = _medusa_grid(gpu_id, *series, **EAGER_TIMES)
    found = ours.performance.max() if best else ours.performance
    if peak_tflops is None:
        return Recomputed(range_of(found))
    roofs = with_roof(ours, peak_tflops).attainable
    return Recomputed(range_of(found), range_of(roofs.max() if best else roofs))


def medusa_fraction(
    of: str,
    gpu_id: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int | list[int] = 1,
    batch_size: Iterable[int] = MEDUSA_BATCH_SIZES,
    seq_len: Iterable[int] = MEDUSA_SEQ_LENS,
    peak_tflops: float | None = None,
) -> Recomputed:
    """Performance of a series' settings, eagerly launched, over the "roof" above them or the "peak" [1]."""
    one_of("ceiling", of, ("roof", "peak"))
    ds = _medusa_grid(gpu_id, model_id, operator, phase, candidates, batch_size, seq_len, **EAGER_TIMES)
    roofed = ds if peak_tflops is None else with_roof(ds, peak_tflops)
    return Recomputed(range_of(ds.performance / roofed["attainable" if of == "roof" else "peak_flop_rate"]))


def medusa_share(
    gpu_id: str,
    model_id: str,
    series: list[tuple[str, str]],
    intensity: tuple[float | None, float | None] = (None, None),
    performance: tuple[float | None, float | None] = (None, None),
) -> Recomputed:
    """Share of the settings of several series (operator, phase) between two intensities and two performances [1]."""
    points = _points(gpu_id, model_id, series)
    inside = [_between(ds.intensity, intensity) & _between(ds.performance, performance) for ds in points]
    return Recomputed(float(np.mean([np.mean(each.values) for each in inside])))


def medusa_median(gpu_id: str, model_id: str, series: list[tuple[str, str]]) -> Recomputed:
    """Median performance of the settings of several series (operator, phase) [FLOP/s]."""
    return Recomputed(float(np.median([ds.performance.values for ds in _points(gpu_id, model_id, series)])))


def _points(gpu_id: str, model_id: str, series: list[tuple[str, str]]) -> list[xr.Dataset]:
    """A point of the charts for each setting of each series: that of the first of a label's matmuls."""
    found = []
    for operator, phase in series:
        ds = _medusa_grid(gpu_id, model_id, operator, phase, 1, MEDUSA_BATCH_SIZES, MEDUSA_SEQ_LENS, **EAGER_TIMES)
        found.append(ds.isel(operator=0).broadcast_like(ds.performance.isel(operator=0)))
    return found


def _between(values: xr.DataArray, limits: tuple[float | None, float | None]) -> xr.DataArray:
    low, high = (-np.inf if limits[0] is None else limits[0], np.inf if limits[1] is None else limits[1])
    return (values >= low) & (values <= high)


def medusa_ratio(
    what: str, gpu_id: str, model_id: str, of: tuple[str, str], to: tuple[str, str], best: bool = False
) -> Recomputed:
    """Intensity or performance of a series (operator, phase) over another's [1].

    At each setting of the charts, of the first of a label's matmuls; with `best` the highest of all over the highest.
    """
    first, second = (
        _medusa_grid(gpu_id, model_id, *series, 1, MEDUSA_BATCH_SIZES, MEDUSA_SEQ_LENS, **EAGER_TIMES)[
            _known(what)
        ].squeeze("phase", drop=True)
        for series in (of, to)
    )
    if best:
        return Recomputed(float(first.max() / second.max()))
    return Recomputed(range_of(first.isel(operator=0, drop=True) / second.isel(operator=0, drop=True)))


def medusa_growth(
    what: str,
    along: str,
    gpu_id: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int | list[int] = 1,
    batch_size: Iterable[int] = MEDUSA_BATCH_SIZES,
    seq_len: Iterable[int] = MEDUSA_SEQ_LENS,
    whole: bool = False,
) -> Recomputed:
    """Intensity or performance at each size along a dimension over that at the one before [1].

    With `whole`, at the last over that at the first.
    """
    ds = _medusa_grid(gpu_id, model_id, operator, phase, candidates, batch_size, seq_len, **EAGER_TIMES)
    values = ds[_known(what)].isel(operator=0)
    if along not in ds.dims or along not in ("batch_size", "seq_len", "candidates"):
        raise unknown("dimension", along, ("batch_size", "seq_len", "candidates"))
    values = values.broadcast_like(ds.performance.isel(operator=0))
    if whole:
        return Recomputed(range_of(values.isel({along: -1}, drop=True) / values.isel({along: 0}, drop=True)))
    return Recomputed(range_of(values / values.shift({along: 1})))


def medusa_slope(gpu_id: str, model_id: str, operator: str, phase: str) -> Recomputed:
    """By which power of the intensity the performance of a series grows with the batch size, at each length [1]."""
    (ds,) = _points(gpu_id, model_id, [(operator, phase)])
    performance, intensity = (
        np.log(values.isel(batch_size=-1, drop=True) / values.isel(batch_size=0, drop=True))
        for values in (ds.performance, ds.intensity)
    )
    return Recomputed(range_of(performance / intensity))


def _known(what: str) -> str:
    return str(one_of("quantity", what, ("intensity", "performance")))


def _medusa_grid(
    card: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int | list[int],
    batch_size: Iterable[int],
    seq_len: Iterable[int],
    **options: Any,
) -> xr.Dataset:
    matmuls, batches, lengths = _matmuls(operator), list(batch_size), list(seq_len)
    return roofline_grid(card, model_id, matmuls, phase, batches, lengths, candidates=candidates, **options)


def _matmuls(operator: str) -> list[str]:
    return MEDUSA_OPERATORS[one_of("operator", operator, MEDUSA_OPERATORS)]


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
    series = (_matmuls(operator), "decode", batch_size, seq_len)
    ds = roofline_grid(gpu_id, model_id, *series, candidates=[1, candidates], **EAGER_TIMES)
    values = ds[_known(what)].squeeze().isel(operator=0)
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
