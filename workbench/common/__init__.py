"""What has no physics: errors, files, arguments, YAML records, the register of variables, libraries, machines."""

from .errors import checked_file_name, unknown
from .extras import MissingLibrary, check_libraries
from .files import given_file, open_bytes, open_text, whole, write_table, write_text
from .machine import cores, is_running
from .progress import progress_bar

__all__ = [
    "MissingLibrary",
    "check_libraries",
    "checked_file_name",
    "cores",
    "given_file",
    "is_running",
    "open_bytes",
    "open_text",
    "progress_bar",
    "unknown",
    "whole",
    "write_table",
    "write_text",
]
