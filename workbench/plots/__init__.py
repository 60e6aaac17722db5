"""Charts: functions that take a Dataset and an optional Axes, draw, and return the Axes; none of them saves."""

from ..common.extras import check_libraries

check_libraries("matplotlib")

from ..tables.looks import COLORS, MARKERS, SERIES_COLORS, candidate_color
from .benchmarks import cell_costs, point_rates
from .comparisons import over_time
from .load_curves import load_curve
from .measurements import measured_roofline, passes, time_ratios
from .overlays import by_operator
from .published_servers import predictor_legend, served_ratios, served_scatter
from .rooflines import ceilings, published_ranges, roofline
from .servers import costs, latencies, pareto, queue, requests, token_rate
from .speedups import speculation
from .style import hold, log_axes
from .timelines import steps
from .timings import against_batch, fidelity, predicted_against_measured, residuals

__all__ = [
    "COLORS",
    "MARKERS",
    "SERIES_COLORS",
    "against_batch",
    "by_operator",
    "candidate_color",
    "ceilings",
    "cell_costs",
    "costs",
    "fidelity",
    "hold",
    "latencies",
    "load_curve",
    "log_axes",
    "measured_roofline",
    "over_time",
    "pareto",
    "passes",
    "point_rates",
    "predicted_against_measured",
    "predictor_legend",
    "published_ranges",
    "queue",
    "requests",
    "residuals",
    "roofline",
    "served_ratios",
    "served_scatter",
    "speculation",
    "steps",
    "time_ratios",
    "token_rate",
]
