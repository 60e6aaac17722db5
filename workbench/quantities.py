"""What published numbers are about: a function a quantity, each giving the source's own figure and ours.

A quantity's inputs are the inputs of the claims that name it (``data/claims/*.yaml``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from . import published
from .catalog import GPU, gpu, model
from .dtypes import element_bytes
from .grid import forward_pass, roofline_grid
from .names import unknown

Value = float | tuple[float, float]


@dataclass(frozen=True)
class Recomputed:
    """What a quantity comes to: by the source's own formula, where it is known, and by ours."""

    ours: Value
    source: Value | None = None


POWERS_OF_2 = {"batch_size": [2**k for k in range(7)], "seq_len": [2**k for k in range(7, 14)]}
"""The settings of the Medusa charts: batch sizes 1..64, sequence lengths 128..8192."""

MEDUSA_OPERATORS = {"qkv": ["q_proj"], "qk/pv": ["qk", "pv"], "up/gate/down": ["up_proj", "gate_proj", "down_proj"]}


def _range(values: Any) -> Value:
    values = np.asarray(values, dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low if low == high else (low, high)


def ridge_point(gpu_id: str, peak_tflops: float, bandwidth_gbs: float) -> Recomputed:
    """Ridge point [FLOP/byte]: from the ceilings that the source prints, and from the catalog's."""
    return Recomputed(gpu(gpu_id).ridge_point(), peak_tflops * 1e3 / bandwidth_gbs)


def peak_tflops(gpu_id: str, dtype: str = "fp16") -> Recomputed:
    """Dense peak of a GPU [TFLOP/s]; 0 where it has none in that format."""
    return Recomputed(gpu(gpu_id).dense_tflops.get(dtype, 0.0))


def bandwidth_gbs(gpu_id: str) -> Recomputed:
    """Memory bandwidth [GB/s]."""
    return Recomputed(gpu(gpu_id).memory.bandwidth_gbs)


def gpu_field(gpu_id: str, field: str) -> Recomputed:
    """Another number of a GPU's catalog entry, in the entry's unit, e.g. ``l2_mb`` or ``memory.capacity_gb``."""
    value: Any = gpu(gpu_id)
    for part in field.split("."):
        value = getattr(value, part)
    return Recomputed(float(value))


def model_field(model_id: str, field: str) -> Recomputed:
    """A size of a model's catalog entry [1]."""
    return Recomputed(float(getattr(model(model_id), field)))


def medusa_intensity(
    model_id: str,
    operator: str,
    phase: str,
    candidates: int = 1,
    batch_size: Iterable[int] = tuple(POWERS_OF_2["batch_size"]),
    seq_len: Iterable[int] = tuple(POWERS_OF_2["seq_len"]),
) -> Recomputed:
    """Lowest and highest operational intensity of a series over its settings [FLOP/byte]."""
    ds = _medusa_grid("a100-80gb-pcie", model_id, operator, phase, candidates, batch_size, seq_len)
    m = model(model_id)
    sizes = {"h": m.hidden_size, "i": m.intermediate_size, "n": m.n_heads, "d": m.head_dim}
    b, s = np.meshgrid(np.array(list(batch_size)), np.array(list(seq_len)))
    flops, elements = published.medusa_table5(operator, phase, **sizes, b=b, s=s, q=candidates)
    return Recomputed(_range(ds.intensity), _range(flops / (2 * elements)))


def medusa_performance(
    gpu_id: str,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int = 1,
    batch_size: Iterable[int] = tuple(POWERS_OF_2["batch_size"]),
    seq_len: Iterable[int] = tuple(POWERS_OF_2["seq_len"]),
    peak_tflops: float | None = None,
) -> Recomputed:
    """Lowest and highest performance of a series on the ideal roof [FLOP/s]."""
    card = gpu(gpu_id).override(peak_tflops=peak_tflops)
    ds = _medusa_grid(card, model_id, operator, phase, candidates, batch_size, seq_len)
    return Recomputed(_range(ds.performance))


def _medusa_grid(
    card: str | GPU, model_id: str, operator: str, phase: str, candidates: int, b: Iterable[int], s: Iterable[int]
) -> xr.Dataset:
    return roofline_grid(card, model_id, MEDUSA_OPERATORS[operator], phase, list(b), list(s), candidates=candidates)


def medusa_gain(
    what: str,
    model_id: str,
    operator: str,
    candidates: int,
    batch_size: int,
    seq_len: int,
    gpu_id: str = "a100-80gb-pcie",
) -> Recomputed:
    """Intensity or performance with candidates over that of plain decoding [1]."""
    ds = roofline_grid(
        gpu_id, model_id, MEDUSA_OPERATORS[operator], "decode", batch_size, seq_len, candidates=[1, candidates]
    )
    values = ds[what].squeeze().isel(operator=0)
    return Recomputed(float(values.sel(candidates=candidates) / values.sel(candidates=1)))


def medusa_rows_at_ridge(gpu_id: str, model_id: str, operator: str) -> Recomputed:
    """Rows (batch x candidates) at which a linear operator reaches the ridge point [1]."""
    rows = np.arange(1, 1025)
    ds = roofline_grid(gpu_id, model_id, MEDUSA_OPERATORS[operator], "decode", rows, 1)
    return Recomputed(float(rows[ds.bound.squeeze().isel(operator=0).values.argmax()]))


def medusa_acceleration(candidates: int) -> Recomputed:
    """Tokens accepted per step by the paper's curve [1]."""
    rate = float(published.medusa_acceleration_rate(candidates))
    return Recomputed(rate, rate)


def medusa_latency(gpu_id: str, model_id: str, batch_size: int, seq_len: int, candidates: int) -> Recomputed:
    """Latency of one decoding block with candidates over that of plain decoding, ideal roofline [1].

    The block is XW_Q, XW_K, XW_V, QK^T, PV, XW_u, XW_g, XW_d in sequence, as in the paper's simulation.
    """
    operators = ["q_proj", "k_proj", "v_proj", "qk", "pv", "up_proj", "gate_proj", "down_proj"]
    counts = sorted({1, candidates})
    ds = roofline_grid(gpu_id, model_id, operators, "decode", batch_size, seq_len, candidates=counts)
    time = ds.time.sum("operator").squeeze()
    return Recomputed(float(time.sel(candidates=candidates) / time.sel(candidates=1)) if candidates > 1 else 1.0)


def medusa_speedup(gpu_id: str, model_id: str, batch_size: int, seq_len: int, candidates: int) -> Recomputed:
    """Tokens per time with candidates over plain decoding: acceleration rate over normalized latency [1]."""
    latency = medusa_latency(gpu_id, model_id, batch_size, seq_len, candidates).ours
    return Recomputed(float(published.medusa_acceleration_rate(candidates)) / float(np.max(latency)))


def t4_static(what: str, phase: str, batch_size: int, seq_len: int) -> Recomputed:
    """A cell of the T4 report's static tables: intensity, tflops, percent_of_peak, time_ms or tokens_per_second."""
    row = published.t4_report(phase, batch_size, seq_len)
    ds = roofline_grid("t4", "llama-2-7b-awq", phase=phase, batch_size=batch_size, seq_len=seq_len)
    total = forward_pass(ds).squeeze()
    tokens = batch_size * (seq_len if phase == "prefill" else 1)
    peak = float(ds.peak_flop_rate.squeeze())
    cells = {
        "intensity": (total.intensity, row["intensity"]),
        "tflops": (total.performance / 1e12, row["performance"] / 1e12),
        "percent_of_peak": (100 * total.performance / peak, 100 * row["performance"] / peak),
        "time_ms": (total.time * 1e3, row["time"] * 1e3),
        "tokens_per_second": (tokens / total.time, row["tokens_per_second"]),
    }
    if what not in cells:
        raise unknown("cell", what, cells)
    ours, source = cells[what]
    return Recomputed(float(ours), float(source))


def t4_static_range(what: str, phase: str, batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Lowest and highest of a column of the T4 report's static tables over several rows."""
    rows = [t4_static(what, phase, b, s) for b in batch_size for s in seq_len]
    return Recomputed(_range([row.ours for row in rows]), _range([row.source for row in rows]))


def parameters(model_id: str, per: float = 1.0) -> Recomputed:
    """Parameters of a model, in units of `per` [1]."""
    return Recomputed(model(model_id).parameters / per)


def kv_bytes_per_token(model_id: str, dtype: str = "fp16", per: float = 1.0) -> Recomputed:
    """What one token adds to the KV cache [byte], in units of `per`."""
    return Recomputed(model(model_id).kv_elements_per_token * element_bytes(dtype) / per)


def decode_traffic(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, part: str, per: float = 1.0
) -> Recomputed:
    """Memory traffic of a decoding step [byte], in units of `per`: "total", "attention" or "weights" (the rest)."""
    ds = roofline_grid(gpu_id, model_id, phase="decode", batch_size=batch_size, seq_len=seq_len)
    traffic = (ds.bytes * ds.calls).squeeze()
    attention = float(traffic.sel(operator="attention"))
    parts = {"total": float(traffic.sum()), "attention": attention, "weights": float(traffic.sum()) - attention}
    if part not in parts:
        raise unknown("part", part, parts)
    return Recomputed(parts[part] / per)


def product(factors: list[float]) -> Recomputed:
    """A product of numbers that the source gives."""
    return Recomputed(float(np.prod(factors)))


def total(terms: list[float]) -> Recomputed:
    """A sum of numbers that the source gives."""
    return Recomputed(float(np.sum(terms)))


def ratio(of: float, to: float) -> Recomputed:
    """A ratio of two numbers that the source or its records give."""
    return Recomputed(of / to)


QUANTITIES: dict[str, Callable[..., Recomputed]] = {
    function.__name__: function
    for function in (
        ridge_point, peak_tflops, bandwidth_gbs, gpu_field, model_field, medusa_intensity, medusa_performance,
        medusa_gain, medusa_rows_at_ridge, medusa_acceleration, medusa_latency, medusa_speedup, t4_static,
        t4_static_range, parameters, kv_bytes_per_token, decode_traffic, product, total, ratio,
    )
}  # fmt: skip
