"""Studies: the Medusa paper's, Chen's and the T4 report's subjects, computed."""

from ..common.extras import check_libraries

check_libraries("ijson", "matplotlib", "scipy")

from .chen import batching, ridge_batch_size
from .t4_charts import compare_sources, draw
from .t4_findings import capacity, recommendations, replicas, traffic, utilization
from .t4_load_test import breakdown, load_test, requests, t4_calibration, t4_comparison, t4_metrics, t4_replay
from .t4_roadmap import gains, roadmap
from .t4_static import STATIC_COLUMNS, decode_parts, side_by_side, static_rows, static_tables

__all__ = [
    "STATIC_COLUMNS",
    "batching",
    "breakdown",
    "capacity",
    "compare_sources",
    "decode_parts",
    "draw",
    "gains",
    "load_test",
    "recommendations",
    "replicas",
    "requests",
    "ridge_batch_size",
    "roadmap",
    "side_by_side",
    "static_rows",
    "static_tables",
    "t4_calibration",
    "t4_comparison",
    "t4_metrics",
    "t4_replay",
    "traffic",
    "utilization",
]
