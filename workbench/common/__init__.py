"""What has no physics: errors, arguments, YAML records, the register of variables, libraries, machines."""

from .errors import checked_file_name, unknown
from .extras import MissingLibrary, check_libraries
from .machine import cores, is_running
from .progress import progress_bar

__all__ = [
    "MissingLibrary",
    "check_libraries",
    "checked_file_name",
    "cores",
    "is_running",
    "progress_bar",
    "unknown",
]
