"""What has no physics: errors, files, arguments, YAML records, the register of variables, progress, clusters."""

from .errors import checked_file_name, unknown
from .files import given_file, open_bytes, open_text, whole, write_table, write_text

__all__ = [
    "checked_file_name",
    "given_file",
    "open_bytes",
    "open_text",
    "unknown",
    "whole",
    "write_table",
    "write_text",
]
