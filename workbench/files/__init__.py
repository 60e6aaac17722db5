"""Files: written whole or not at all, and read within bounds.

Only the standard library, but for `yaml_files`, which needs PyYAML and which nothing here imports.
"""

from .formulas import as_given, inert, inert_table
from .reading import given_file, open_bytes, open_text
from .writing import check_output, whole, write_chart, write_netcdf, write_table, write_text

__all__ = [
    "as_given", "check_output", "given_file", "inert", "inert_table", "open_bytes", "open_text", "whole", "write_chart",
    "write_netcdf", "write_table", "write_text",
]  # fmt: skip
