"""Kernel times: the ideal roofline, and a law for each kind of kernel, fitted to measurements."""

from .collectives import all_reduce_time, all_to_all_time, send_time
from .roofline import attainable, bound, ideal_time, ridge_point
from .times import EAGER_LAUNCH, TIME_MODELS, attention_time, gemm_time, operator_time

__all__ = [
    "EAGER_LAUNCH",
    "TIME_MODELS",
    "all_reduce_time",
    "all_to_all_time",
    "attainable",
    "attention_time",
    "bound",
    "gemm_time",
    "ideal_time",
    "operator_time",
    "ridge_point",
    "send_time",
]
