"""Tables: the numbers behind a chart as tidy data frames, units in the column names."""

from .charts import (
    LOOKS,
    SELECTORS,
    Panel,
    Series,
    best_candidates,
    by_candidates,
    chosen,
    curves,
    default_series,
    lines,
    plan_rows,
    points,
    select,
    series_ranges,
    speedups,
    step_rows,
)
from .compared import timeline_rows
from .evidence import BENCHMARK_UNITS, benchmarks, fidelity, fit_parameters, fits, gpu_numbers, lenders
from .explanations import explained, unassigned
from .looks import candidate_color, subject
from .notebook import Table, table
from .own_timings import measured, measured_points, measurements, series_errors

__all__ = [
    "BENCHMARK_UNITS",
    "LOOKS",
    "SELECTORS",
    "Panel",
    "Series",
    "Table",
    "benchmarks",
    "best_candidates",
    "by_candidates",
    "candidate_color",
    "chosen",
    "curves",
    "default_series",
    "explained",
    "fidelity",
    "fit_parameters",
    "fits",
    "gpu_numbers",
    "lenders",
    "lines",
    "measured",
    "measured_points",
    "measurements",
    "plan_rows",
    "points",
    "select",
    "series_errors",
    "series_ranges",
    "speedups",
    "step_rows",
    "subject",
    "table",
    "timeline_rows",
    "unassigned",
]
