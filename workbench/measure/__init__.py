"""Time the kernels of a grid on this machine's GPU with PyTorch: `workbench measure`, `python -m workbench.measure`."""

from .columns import OPERATOR_CLASSES, SIZES, TIMING_COLUMNS
from .command import main

__all__ = [
    "OPERATOR_CLASSES",
    "SIZES",
    "TIMING_COLUMNS",
    "main",
]
