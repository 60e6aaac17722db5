"""A recomputed quantity: our value, and the one that the source's own formula gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Value = float | tuple[float, float]


@dataclass(frozen=True)
class Recomputed:
    """What a quantity comes to: by the source's own formula, where it is known, and by ours."""

    ours: Value
    source: Value | None = None


def range_of(values: Any) -> Value:
    """The least and the greatest of several values, or the one value."""
    values = np.asarray(values, dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low if low == high else (low, high)
