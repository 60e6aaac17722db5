"""The few functions of numpy that operators call, on plain numbers: for a machine that has PyTorch and no numpy."""

from collections.abc import Callable
from typing import Any

minimum: Callable[..., Any] = min
maximum: Callable[..., Any] = max


def where(condition: bool, yes: Any, no: Any) -> Any:
    """One of two numbers."""
    return yes if condition else no
