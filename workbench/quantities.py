"""What published numbers are about: a function a quantity, each giving the source's own figure and ours.

A quantity's inputs are the inputs of the claims that name it (``data/claims/*.yaml``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from . import published, roofline, speculation, t4_report
from .catalog import GPU, gpu, model
from .comparison import STATIC_COLUMNS, decode_parts, static_tables
from .dtypes import check_dtype, element_bytes
from .grid import roofline_grid
from .kernels import EAGER_LAUNCH
from .names import unknown
from .records import Record
from .t4_roadmap import gains

Value = float | tuple[float, float]


@dataclass(frozen=True)
class Recomputed:
    """What a quantity comes to: by the source's own formula, where it is known, and by ours."""

    ours: Value
    source: Value | None = None


POWERS_OF_2 = {"batch_size": [2**k for k in range(7)], "seq_len": [2**k for k in range(7, 14)]}
"""The settings of the Medusa charts: batch sizes 1..64, sequence lengths 128..8192."""

MEDUSA_CANDIDATES = [1, *range(16, 113, 16)]

MEASURED: dict[str, Any] = {"time_model": "kernel", "launch_latency": EAGER_LAUNCH}
"""How times are computed that a source measured by the wall clock of an eager framework.

The Medusa paper does, after Chen: in its figure 18 a kernel over 128 tokens runs at less than half of the rate of one
over 8192, which takes a launch of tens of microseconds.
"""

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
    check_dtype("activation", dtype)
    return Recomputed(gpu(gpu_id).dense_tflops.get(dtype, 0.0))


def bandwidth_gbs(gpu_id: str) -> Recomputed:
    """Memory bandwidth [GB/s]."""
    return Recomputed(gpu(gpu_id).memory.bandwidth_gbs)


def gpu_field(gpu_id: str, field: str) -> Recomputed:
    """Another number of a GPU's catalog entry, in the entry's unit, e.g. ``l2_mb`` or ``memory.capacity_gb``."""
    return Recomputed(_number(gpu(gpu_id), field))


def model_field(model_id: str, field: str) -> Recomputed:
    """A size of a model's catalog entry [1]."""
    return Recomputed(_number(model(model_id), field))


def _number(entry: Record, field: str) -> float:
    """A number of a catalog entry, or of a record inside it; ValueError where there is none."""
    value: Any = entry
    for part in field.split("."):
        names = type(value).model_fields if isinstance(value, Record) else {}
        if part not in names and not isinstance(getattr(type(value), part, None), property):
            raise unknown("field", field, names or type(entry).model_fields)
        value = getattr(value, part)
    if not isinstance(value, int | float):
        raise ValueError(f"field {field!r} holds {value!r}, not a number")
    return float(value)


def tensor_rate(gpu_id: str, flop_per_clock: float) -> Recomputed:
    """SMs x FLOP per clock and SM x clock (the tensor cores' where the catalog has one) [TFLOP/s]."""
    card = gpu(gpu_id)
    clock = card.tensor_clock_mhz or card.boost_mhz
    if not (card.sm_count and clock):
        raise ValueError(f"the catalog entry of {gpu_id} lacks sm_count or a clock")
    return Recomputed(card.sm_count * flop_per_clock * clock / 1e6)


def roof(gpu_id: str, intensity: float) -> Recomputed:
    """The roof above an operational intensity [FLOP/byte], in fp16 [FLOP/s]."""
    card = gpu(gpu_id)
    return Recomputed(float(roofline.attainable(intensity, card.peak_flop_rate(), card.bandwidth)))


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
    """Lowest and highest performance of a series [FLOP/s]: ours by the kernel-time model and eager launches.

    The source's is the roof itself, under the peak that it prints, where a claim gives one (`peak_tflops`).
    """
    series = (model_id, operator, phase, candidates, batch_size, seq_len)
    ours = _medusa_grid(gpu_id, *series, **MEASURED)
    if peak_tflops is None:
        return Recomputed(_range(ours.performance))
    printed = _medusa_grid(gpu(gpu_id).override(peak_tflops=peak_tflops), *series)
    return Recomputed(_range(ours.performance), _range(printed.performance))


def _medusa_grid(
    card: str | GPU,
    model_id: str,
    operator: str,
    phase: str,
    candidates: int,
    b: Iterable[int],
    s: Iterable[int],
    **options: Any,
) -> xr.Dataset:
    return roofline_grid(card, model_id, _matmuls(operator), phase, list(b), list(s), candidates=candidates, **options)


def _matmuls(operator: str) -> list[str]:
    """The operators that a label of the Medusa charts stands for."""
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
    """Intensity or performance, by `what`, with candidates over that of plain decoding [1].

    The paper measured its performance, so ours is that of eagerly launched kernels (`MEASURED`).
    """
    if what not in ("intensity", "performance"):
        raise unknown("quantity", what, ("intensity", "performance"))
    series = (_matmuls(operator), "decode", batch_size, seq_len)
    ds = roofline_grid(gpu_id, model_id, *series, candidates=[1, candidates], **MEASURED)
    values = ds[what].squeeze().isel(operator=0)
    return Recomputed(float(values.sel(candidates=candidates) / values.sel(candidates=1)))


def medusa_rows_at_ridge(gpu_id: str, model_id: str, operator: str) -> Recomputed:
    """Rows (batch x candidates) at which a linear operator reaches the ridge point [1]."""
    rows = np.arange(1, 1025)
    ds = roofline_grid(gpu_id, model_id, _matmuls(operator), "decode", rows, 1)
    return Recomputed(float(rows[ds.bound.squeeze().isel(operator=0).values.argmax()]))


def medusa_acceleration(candidates: int) -> Recomputed:
    """Tokens accepted per step by the paper's curve [1]."""
    rate = float(published.medusa_acceleration_rate(candidates))
    return Recomputed(rate, rate)


def medusa_latency(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, candidates: int | list[int]
) -> Recomputed:
    """Latency of one decoding block with candidates over that of plain decoding, kernel model (`MEASURED`) [1].

    The block is XW_Q, XW_K, XW_V, QK^T, PV, XW_u, XW_g, XW_d in sequence, as in the paper's simulation.
    """
    ds = _simulated(gpu_id, model_id, batch_size, seq_len, candidates)
    return Recomputed(_range(ds.normalized_latency))


def _simulated(gpu_id: str, model_id: str, batch_size: int, seq_len: int | list[int], candidates: Any) -> xr.Dataset:
    """What the paper's figures 21 to 23 simulate from measured kernel times."""
    return speculation.speedup(gpu_id, model_id, batch_size, seq_len, candidates, **MEASURED)


def medusa_speedup(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, candidates: int | list[int]
) -> Recomputed:
    """Tokens per time with candidates over plain decoding: acceleration rate over normalized latency [1]."""
    return Recomputed(_range(_simulated(gpu_id, model_id, batch_size, seq_len, candidates).speedup))


def medusa_best_candidates(gpu_id: str, model_id: str, batch_size: int, seq_len: int) -> Recomputed:
    """Candidates, of those in figures 21 to 23, with the highest speedup by the kernel model [1]."""
    return Recomputed(_range(_simulated(gpu_id, model_id, batch_size, seq_len, MEDUSA_CANDIDATES).best_candidates))


def medusa_fall(gpu_id: str, model_id: str, batch_size: int, seq_len: int | list[int]) -> Recomputed:
    """Speedup with 80 candidates over that with 64, of one or several sequence lengths [1]."""
    values = _simulated(gpu_id, model_id, batch_size, seq_len, [64, 80]).speedup
    return Recomputed(_range(values.sel(candidates=80) / values.sel(candidates=64)))


def medusa_steepest_fall(gpu_id: str, model_id: str, batch_size: int, seq_len: int | list[int]) -> Recomputed:
    """Candidates, of those in figures 21 to 23, at the end of the steepest fall in speedup [1]."""
    values = _simulated(gpu_id, model_id, batch_size, seq_len, MEDUSA_CANDIDATES).speedup
    return Recomputed(_range((values / values.shift(candidates=1)).idxmin("candidates")))


def t4_static(what: str, phase: str, batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Cells of the T4 report's static tables, or their range over several batch sizes and lengths.

    what : a column of `comparison.STATIC_COLUMNS`, in its printed unit
    """
    if what not in STATIC_COLUMNS:
        raise unknown("column", what, STATIC_COLUMNS)
    variable, scale, _ = STATIC_COLUMNS[what]
    cells = static_tables(phase, batch_size, seq_len)[variable] * scale
    return Recomputed(_range(cells.sel(source="workbench")), _range(cells.sel(source="report")))


def t4_batching_gain(batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Decoding tokens per second at several batch sizes over those at batch size 1, at several contexts, [1]."""
    ds = static_tables("decode", [1, *batch_size], seq_len).tokens_per_second
    gain = ds.sel(batch_size=batch_size) / ds.sel(batch_size=1, drop=True)
    return Recomputed(_range(gain.sel(source="workbench")), _range(gain.sel(source="report")))


def t4_gain(change: str) -> Recomputed:
    """What a change of the T4 report's roadmap gains, over its settings, in its unit; see `t4_roadmap.CHANGES`."""
    return Recomputed(_range(gains(change)))


def t4_capacity() -> Recomputed:
    """Requests a second of the T4 report's workload, from its server with all that fit to the ideal roof [1/s]."""
    rates = t4_report.capacity().requests_per_second
    return Recomputed((float(rates.loc["simulated server"].max()), float(rates.loc["ideal roof"].max())))


def t4_utilization(tokens_per_second: list[float]) -> Recomputed:
    """Share of the T4's peak that the generated tokens a second [1/s] make use of [%]."""
    return Recomputed(_range([t4_report.utilization(rate) for rate in tokens_per_second]))


def t4_p99_reduction(max_num_seqs: list[int]) -> Recomputed:
    """What smaller batches take off the p99 latency of the T4 report's load test, simulated [%]."""
    return Recomputed(_range([t4_report.p99_reduction(count) for count in max_num_seqs]))


def parameters(model_id: str, per: float = 1.0) -> Recomputed:
    """Parameters of a model, in units of `per` [1]."""
    return Recomputed(model(model_id).parameters / per)


def kv_bytes_per_token(
    model_id: str, dtype: str = "fp16", per: float = 1.0, source_dtype: str | None = None
) -> Recomputed:
    """What one token adds to the KV cache [byte], in units of `per`; the source may take another format."""
    elements = model(model_id).kv_elements_per_token / per
    source = elements * element_bytes(source_dtype) if source_dtype else None
    return Recomputed(elements * element_bytes(dtype), source)


def kv_reduction(model_id: str, dtype: str = "fp16") -> Recomputed:
    """How much smaller the KV cache is than one in fp16 with a KV head for every query head [%]."""
    m = model(model_id)
    full = 2 * m.n_layers * m.n_heads * m.head_dim * element_bytes("fp16")
    return Recomputed(100 * (1 - m.kv_elements_per_token * element_bytes(dtype) / full))


def decode_traffic(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, part: str, per: float = 1.0
) -> Recomputed:
    """Memory traffic of a decoding step [byte], in units of `per`.

    part : "total", "attention" (the KV cache, queries and outputs), or of the rest "weights" and "activations"
    """
    parts = decode_parts(gpu_id, model_id, batch_size, seq_len)
    if part not in parts:
        raise unknown("part", part, parts)
    return Recomputed(parts[part] / per)


def product(factors: list[float]) -> Recomputed:
    """A product of numbers that the source gives."""
    return Recomputed(float(np.prod(factors)))


def total(terms: list[float]) -> Recomputed:
    """A sum of numbers that the source or its records give."""
    return Recomputed(float(np.sum(terms)))


def ratio(of: float, to: float | list[float], per: float = 1.0) -> Recomputed:
    """A ratio of two numbers that the source or its records give, in units of `per` (0.01 for percent)."""
    below = np.asarray(to, dtype=float) * per
    if not below.all():
        raise ValueError(f"ratio to {to} in units of {per}: neither may be 0")
    return Recomputed(_range(of / below))


#: Quantities that only put the source's own numbers together: they test what it says, not our model.
ARITHMETIC = ("product", "total", "ratio")


QUANTITIES: dict[str, Callable[..., Recomputed]] = {
    function.__name__: function
    for function in (
        ridge_point, peak_tflops, bandwidth_gbs, gpu_field, model_field, tensor_rate, roof, medusa_intensity,
        medusa_performance, medusa_gain, medusa_rows_at_ridge, medusa_acceleration, medusa_latency, medusa_speedup,
        medusa_best_candidates, medusa_fall, medusa_steepest_fall, t4_static, t4_batching_gain,
        t4_gain, t4_capacity, t4_utilization, t4_p99_reduction, parameters,
        kv_bytes_per_token, kv_reduction, decode_traffic, product, total, ratio,
    )
}  # fmt: skip
