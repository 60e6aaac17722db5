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


def ends(value: Value) -> tuple[float, float]:
    """Both ends of a range; twice the same of a single value."""
    return (value, value) if isinstance(value, int | float) else (value[0], value[1])


def relative_distance(value: Value, reference: Value) -> float:
    """Signed distance of a value or range from a reference, of the end that is farther off [1].

    Anything but 0 is 1 away from a reference of 0.
    """
    distances = [
        found / expected - 1 if expected else float(found != expected)
        for found, expected in zip(ends(value), ends(reference), strict=True)
    ]
    return max(distances, key=abs)


def distance_outside(value: Value, limits: Value) -> float:
    """Signed distance of a value or range from the limits that it lies beyond, of the end farther out; 0 inside [1]."""
    (low, high), (least, most) = ends(value), ends(limits)
    distances = (min(relative_distance(low, least), 0.0), max(relative_distance(high, most), 0.0))
    return max(distances, key=abs)
