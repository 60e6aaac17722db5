"""Studies: what Chen's article and the T4 report are about, computed, and predictions beside measurements."""

from ..common.extras import check_libraries

check_libraries("ijson", "matplotlib", "scipy")

from .against_measured import forward_passes, operator_times, pass_errors
from .chen import batching_effects, ridge_batch_size
from .published_serving import predict_serving, server_of, serving_benchmarks, serving_sources, write_predictions
from .serving_accuracy import SERVING_UNITS, other_tools, serving_errors, serving_predictions, serving_summary
from .serving_fit import closed_loops, fit_hosts, write_held_out
from .t4_charts import draw_chart, gains_chart, ratios_chart
from .t4_findings import bandwidth_use, capacity, p99_reduction, recommendations, replicas_needed, traffic, utilization
from .t4_load_test import (
    decode_share,
    latency_breakdown,
    load_test_requests,
    load_test_table,
    prefill_time,
    recorded_step,
    t4_calibration,
    t4_comparison,
    t4_metrics,
    t4_replay,
)
from .t4_roadmap import gains, kernel_rate, kv_cache_saved, roadmap, server_rate
from .t4_static import (
    STATIC_COLUMNS,
    batching_gain,
    decode_parts,
    pass_limits,
    side_by_side,
    static_rows,
    static_tables,
)
from .t4_static_charts import compare_sources, t4_roofline

__all__ = [
    "SERVING_UNITS",
    "STATIC_COLUMNS",
    "bandwidth_use",
    "batching_effects",
    "batching_gain",
    "capacity",
    "closed_loops",
    "compare_sources",
    "decode_parts",
    "decode_share",
    "draw_chart",
    "fit_hosts",
    "forward_passes",
    "gains",
    "gains_chart",
    "kernel_rate",
    "kv_cache_saved",
    "latency_breakdown",
    "load_test_requests",
    "load_test_table",
    "operator_times",
    "other_tools",
    "p99_reduction",
    "pass_errors",
    "pass_limits",
    "predict_serving",
    "prefill_time",
    "ratios_chart",
    "recommendations",
    "recorded_step",
    "replicas_needed",
    "ridge_batch_size",
    "roadmap",
    "server_of",
    "server_rate",
    "serving_benchmarks",
    "serving_errors",
    "serving_predictions",
    "serving_sources",
    "serving_summary",
    "side_by_side",
    "static_rows",
    "static_tables",
    "t4_calibration",
    "t4_comparison",
    "t4_metrics",
    "t4_replay",
    "t4_roofline",
    "traffic",
    "utilization",
    "write_held_out",
    "write_predictions",
]
