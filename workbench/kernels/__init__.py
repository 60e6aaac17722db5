"""Kernel times: the ideal roofline, and a law for each kind of kernel, fitted to measurements."""

from .attention_times import attention_time, linear_attention_time, mla_time
from .collectives import (
    MACHINE,
    all_gather_time,
    all_reduce_time,
    all_to_all_time,
    check_machine,
    link_rate,
    machine_size,
    reduce_scatter_time,
    send_time,
)
from .formats import Formats, OperandFormats
from .gemm_times import gemm_time, quantize_time
from .moe import moe_time
from .roofline import TIME_MODELS, attainable, bound, ideal_time, longest, ridge_point
from .times import EAGER_LAUNCH, LAWS, Law, Timing, operator_time, timed
from .unknowns import assumptions, fit_of

__all__ = [
    "EAGER_LAUNCH",
    "LAWS",
    "MACHINE",
    "TIME_MODELS",
    "Formats",
    "Law",
    "OperandFormats",
    "Timing",
    "all_gather_time",
    "all_reduce_time",
    "all_to_all_time",
    "assumptions",
    "attainable",
    "attention_time",
    "bound",
    "check_machine",
    "fit_of",
    "gemm_time",
    "ideal_time",
    "linear_attention_time",
    "link_rate",
    "longest",
    "machine_size",
    "mla_time",
    "moe_time",
    "operator_time",
    "quantize_time",
    "reduce_scatter_time",
    "ridge_point",
    "send_time",
    "timed",
]
