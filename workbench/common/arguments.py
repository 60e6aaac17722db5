"""Checks of arguments: numbers in their range, names out of a set, and what a user gives for a dim."""

from collections.abc import Iterable
from typing import Any, TypeGuard

import numpy as np
import xarray as xr

from .arrays import Array
from .errors import unknown
from .yaml_records import Record

MAX_SIZE = 10**12


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number, and not a bool."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def check_range(name: str, value: object, high: float, unit: str) -> None:
    """Raise ValueError unless a value is a number from 0 to `high` [unit]."""
    if not is_number(value) or not 0 <= value <= high:
        raise ValueError(f"{name} = {value!r}: allowed are {unit} from 0{f' to {high}' if np.isfinite(high) else ''}")


def as_list(name: str, values: Any) -> list[Any]:
    """One value or several as a list; ValueError for an empty one."""
    if isinstance(values, np.ndarray | xr.DataArray):
        values = np.atleast_1d(values).tolist()
    elif isinstance(values, str | Record) or not isinstance(values, Iterable):
        values = [values]
    if not (values := list(values)):
        raise ValueError(f"{name} is empty: give at least one")
    return values


def check_unique(name: str, labels: list[Any]) -> None:
    """Raise ValueError for a label that is given twice."""
    if len(set(labels)) < len(labels):
        twice = next(label for i, label in enumerate(labels) if label in labels[:i])
        raise ValueError(f"{name} has {twice!r} more than once")


def checked_names(kind: str, values: Any, allowed: Iterable[str], also: Iterable[str] = ()) -> list[str]:
    """Names out of an allowed set; those of `also` only by themselves."""
    given = as_list(kind, values)
    for name in given:
        if name in also:
            raise ValueError(f"{kind} {name!r} stands alone: give it by itself, or a list of names")
        if not isinstance(name, str) or name not in allowed:
            raise unknown(kind, name, [*also, *allowed])
    check_unique(kind, given)
    return given


def whole_numbers(name: str, values: Any) -> np.ndarray:
    """Positive whole numbers as int64 [1]."""
    given = as_list(name, values)
    for value in given:
        if not is_whole(value) or not 1 <= value <= MAX_SIZE:
            raise ValueError(f"{name} = {value!r}: allowed are whole numbers from 1 to {MAX_SIZE:,}")
    check_unique(name, given)
    return np.array(given, dtype=np.int64)


def whole_number(name: str, value: Any) -> int:
    """One positive whole number [1]."""
    numbers = whole_numbers(name, value)
    if len(numbers) > 1:
        raise ValueError(f"{name} = {value!r}: give one")
    return int(numbers[0])


def positive_numbers(name: str, values: Array) -> np.ndarray:
    """Positive numbers as float64 [1]; anything else raises ValueError."""
    try:
        sizes = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {values!r}: expected positive numbers") from None
    if sizes.size and not (np.isfinite(sizes) & (sizes > 0)).all():
        wrong = sizes[~(np.isfinite(sizes) & (sizes > 0))].flat[0]
        raise ValueError(f"{name} = {wrong:g}: expected positive numbers")
    return sizes
