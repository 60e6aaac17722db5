"""Roofline grids: operators and roofs over GPUs, models, phases and sizes, as one labelled Dataset."""

from .dataset import forward_pass, roofline_grid, with_roof

__all__ = [
    "forward_pass",
    "roofline_grid",
    "with_roof",
]
