"""What the sources print, as they print it: formulas and numbers, right or wrong, and nothing computed from them."""

from .medusa import medusa_acceleration_rate, medusa_table5
from .t4 import PRINTED_ROWS, T4_LOAD_TESTS, T4_METRICS, T4_SERVER, t4_report, t4_requests

__all__ = [
    "PRINTED_ROWS",
    "T4_LOAD_TESTS",
    "T4_METRICS",
    "T4_SERVER",
    "medusa_acceleration_rate",
    "medusa_table5",
    "t4_report",
    "t4_requests",
]
