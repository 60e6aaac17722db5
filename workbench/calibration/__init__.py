"""Fits of the kernel-time model to measured timings, with intervals and with errors on rows that a fit did not see."""

from ..common.extras import check_libraries

check_libraries("scipy")

from .fitting import CalibrationResult, errors, fit
from .least_squares import REGIMES
from .operators import read_operators
from .rows import of_one_gpu, usable
from .whole_catalog import fit_catalog, judge, write_fits

__all__ = [
    "REGIMES",
    "CalibrationResult",
    "errors",
    "fit",
    "fit_catalog",
    "judge",
    "of_one_gpu",
    "read_operators",
    "usable",
    "write_fits",
]
