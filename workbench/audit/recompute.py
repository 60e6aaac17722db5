"""The quantities that published numbers are about, each a function that gives the source's own figure and ours.

Its arguments are the inputs of the claims that name it (``data/claims/*.yaml``). Those of the catalog and plain
arithmetic are here, those of single sources in `medusa`, `t4` and `serving`; `QUANTITIES` names them all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..catalog.dtypes import check_dtype, element_bytes
from ..catalog.gpu_entries import gpu
from ..catalog.model_entries import model
from ..common.errors import unknown
from ..common.yaml_records import Record
from ..kernels import roofline
from ..studies.t4_static import decode_parts
from .medusa import (
    medusa_acceleration,
    medusa_best_candidates,
    medusa_fall,
    medusa_fraction,
    medusa_gain,
    medusa_growth,
    medusa_intensity,
    medusa_latency,
    medusa_median,
    medusa_performance,
    medusa_ratio,
    medusa_rows_at_ridge,
    medusa_share,
    medusa_slope,
    medusa_speedup,
    medusa_steepest_fall,
    medusa_table,
)
from .serving import served_throughput
from .t4 import (
    t4_bandwidth_use,
    t4_batching_gain,
    t4_bound,
    t4_busy,
    t4_capacity,
    t4_decode_share,
    t4_gain,
    t4_growth,
    t4_p99_reduction,
    t4_per_watt,
    t4_prefill,
    t4_recorded,
    t4_static,
    t4_step,
    t4_tp_price,
    t4_utilization,
)
from .values import Recomputed, range_of

# The catalog ------------------------------------------------------------------------------------------------------


def ridge_of_ceilings(gpu_id: str, peak_tflops: float, bandwidth_gbs: float) -> Recomputed:
    """Ridge point [FLOP/byte]: from the ceilings that the source prints, and from the catalog's."""
    return Recomputed(gpu(gpu_id).ridge_point(), peak_tflops * 1e3 / bandwidth_gbs)


def peak_tflops(gpu_id: str, dtype: str = "fp16") -> Recomputed:
    """Dense peak rate of a GPU [TFLOP/s]; 0 where its cores have no such format."""
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


def parameters(model_id: str, per: float = 1.0) -> Recomputed:
    """Parameters of a model, in units of `per` [1]."""
    return Recomputed(model(model_id).parameters / per)


def cached_per_token(
    model_id: str, dtype: str = "fp16", per: float = 1.0, source_dtype: str | None = None
) -> Recomputed:
    """What one token adds to the KV cache [byte], in units of `per`; the source may take another format."""
    elements = model(model_id).kv_elements_per_token / per
    source = elements * element_bytes(source_dtype) if source_dtype else None
    return Recomputed(elements * element_bytes(dtype), source)


def decode_traffic(
    gpu_id: str, model_id: str, batch_size: int, seq_len: int, part: str, per: float = 1.0
) -> Recomputed:
    """Memory traffic of a decoding step [byte], in units of `per`.

    The part is "total", "attention" (the KV cache, queries and outputs), or of the rest "weights" or "activations".
    """
    parts = decode_parts(gpu_id, model_id, batch_size, seq_len)
    if part not in parts:
        raise unknown("part", part, parts)
    return Recomputed(parts[part] / per)


def documented(value: float) -> Recomputed:
    """A number that another document prints, which the claim's reason names; nothing is computed."""
    return Recomputed(float(value))


# The source's own numbers put together ----------------------------------------------------------------------------


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
    return Recomputed(range_of(of / below))


#: They test what the source says, not our model: arithmetic on its own numbers and records.
ARITHMETIC = ("product", "total", "ratio", "t4_recorded")

# All of them ------------------------------------------------------------------------------------------------------

QUANTITIES: dict[str, Callable[..., Recomputed]] = {
    function.__name__: function
    for function in (
        peak_tflops, bandwidth_gbs, gpu_field, model_field, tensor_rate, roof, parameters, decode_traffic,
        documented, product, total, ratio,
        medusa_intensity, medusa_performance, medusa_gain, medusa_rows_at_ridge, medusa_acceleration, medusa_latency,
        medusa_fraction, medusa_growth, medusa_ratio, medusa_share, medusa_median, medusa_slope, medusa_table,
        medusa_speedup, medusa_best_candidates, medusa_fall, medusa_steepest_fall,
        t4_static, t4_step, t4_growth, t4_bound, t4_batching_gain, t4_gain, t4_per_watt, t4_tp_price, t4_prefill,
        t4_decode_share, t4_bandwidth_use, t4_busy, t4_capacity, t4_utilization, t4_p99_reduction,
        t4_recorded, served_throughput,
    )
}  # fmt: skip
# what these two recompute has a function of that name already, in `kernels` and `servers.memory`
QUANTITIES |= {"ridge_point": ridge_of_ceilings, "kv_bytes_per_token": cached_per_token}
