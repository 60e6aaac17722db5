"""Load tests of serving engines: files of several tools as one table, what they show, and what they do not."""

from ..common.extras import check_libraries

check_libraries("ijson")

from .comparison import Comparison, compare
from .limits import LIMIT_WORDS, Limits
from .reading import LOAD_TEST_FORMATS, read, recognize, write
from .rows import REQUEST_COLUMNS, STATUSES
from .summary import PERCENTILES, metrics, report, timeline

__all__ = [
    "LIMIT_WORDS",
    "LOAD_TEST_FORMATS",
    "PERCENTILES",
    "REQUEST_COLUMNS",
    "STATUSES",
    "Comparison",
    "Limits",
    "compare",
    "metrics",
    "read",
    "recognize",
    "report",
    "timeline",
    "write",
]
