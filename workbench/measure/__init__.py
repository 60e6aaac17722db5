"""Time the kernels of a grid on this machine's GPU with PyTorch: `workbench measure`, `python -m workbench.measure`."""

from .columns import OPERATOR_CLASSES, SIZES, TIMING_COLUMNS

TYPE_CHECKING = False  # without `typing`: Ctrl-C has its one line only from `__main__` on
if TYPE_CHECKING:
    from .command import main

__all__ = [
    "OPERATOR_CLASSES",
    "SIZES",
    "TIMING_COLUMNS",
    "main",
]


def __getattr__(name: str) -> object:
    """`main`, when it is asked for."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .command import main

    return main
