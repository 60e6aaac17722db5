"""Figures: params through notebooks to SVG, PNG, CSV and an index page."""

from ..common.extras import check_libraries

check_libraries("ipykernel", "jinja2", "matplotlib", "papermill")

from .batch import Outcome, draw, is_current, run
from .index import parts, write_index
from .outputs import differences, save
from .params import Figure, check_parameters, choose, find, read_params

__all__ = [
    "Figure",
    "Outcome",
    "check_parameters",
    "choose",
    "differences",
    "draw",
    "find",
    "is_current",
    "parts",
    "read_params",
    "run",
    "save",
    "write_index",
]
