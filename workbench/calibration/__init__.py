"""Fits of the kernel-time model to measured timings, with intervals and with errors on rows that a fit did not see."""

from ..common.extras import check_libraries

check_libraries("scipy")

from .fitting import REGIMES, CalibrationResult, errors, fit
from .rows import of_one_gpu, usable

__all__ = [
    "REGIMES",
    "CalibrationResult",
    "errors",
    "fit",
    "of_one_gpu",
    "usable",
]
