"""Load tests of serving engines: files of several tools as one table, what they show, and what they do not."""

from ..common.extras import check_libraries

check_libraries("ijson")

from .claims import RUN_COLUMNS
from .comparison import Comparison, compare
from .limits import LIMIT_WORDS, Limits
from .printing import report, report_runs
from .reading import LOAD_TEST_FORMATS, own_recording, read, recognize, write
from .recorded import WORKLOAD_FORMATS, read_workload
from .rows import REQUEST_COLUMNS, STATUSES
from .summaries import SUMMARY_FORMATS
from .summary import PERCENTILES, metrics, timeline
from .sweeps import runs

__all__ = [
    "LIMIT_WORDS",
    "LOAD_TEST_FORMATS",
    "PERCENTILES",
    "REQUEST_COLUMNS",
    "RUN_COLUMNS",
    "STATUSES",
    "SUMMARY_FORMATS",
    "WORKLOAD_FORMATS",
    "Comparison",
    "Limits",
    "compare",
    "metrics",
    "own_recording",
    "read",
    "read_workload",
    "recognize",
    "report",
    "report_runs",
    "runs",
    "timeline",
    "write",
]
