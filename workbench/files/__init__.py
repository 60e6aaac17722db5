"""Files: written whole or not at all, and read within bounds. Only the standard library."""

from .reading import given_file, open_bytes, open_text
from .writing import whole, write_table, write_text

__all__ = ["given_file", "open_bytes", "open_text", "whole", "write_table", "write_text"]
