"""What a user gives for a dim, as a list of labels: entries of the catalog, names, sizes."""

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, TypeVar

import numpy as np
import xarray as xr

from .catalog import GPU, Model
from .names import unknown

EntryT = TypeVar("EntryT", GPU, Model)

MAX_SIZE = 10**12


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, and no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number, and no bool."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def check_range(name: str, value: object, high: float, unit: str) -> None:
    """Raise ValueError for what is no number from 0 to `high`."""
    if not is_number(value) or not 0 <= value <= high:
        raise ValueError(f"{name} = {value!r}: allowed are {unit} from 0{f' to {high}' if np.isfinite(high) else ''}")


def listed(name: str, values: Any) -> list[Any]:
    """One value or several as a list; ValueError for none."""
    if isinstance(values, np.ndarray | xr.DataArray):
        values = np.atleast_1d(values).tolist()
    elif isinstance(values, str | GPU | Model) or not isinstance(values, Iterable):
        values = [values]
    if not (values := list(values)):
        raise ValueError(f"{name} is empty: give at least one")
    return values


def _unique(name: str, labels: list[Any]) -> None:
    if len(set(labels)) < len(labels):
        twice = next(label for i, label in enumerate(labels) if label in labels[:i])
        raise ValueError(f"{name} has {twice!r} more than once")


def entries(kind: str, values: Any, find: Callable[[str], EntryT]) -> dict[str, EntryT]:
    """Catalog entries by label: the name that was asked for, or the object's id."""
    pairs = [(v.id, v) if isinstance(v, GPU | Model) else (v, find(v)) for v in listed(kind, values)]
    _unique(kind, [label for label, _ in pairs])
    return dict(pairs)


def names(kind: str, values: Any, allowed: Iterable[str], also: Iterable[str] = ()) -> list[str]:
    """Names out of an allowed set; those of `also` only by themselves."""
    given = listed(kind, values)
    for name in given:
        if name in also:
            raise ValueError(f"{kind} {name!r} stands alone: give it by itself, or a list of names")
        if not isinstance(name, str) or name not in allowed:
            raise unknown(kind, name, [*also, *allowed])
    _unique(kind, given)
    return given


def whole_numbers(name: str, values: Any) -> np.ndarray:
    """Positive whole numbers as int64 [1]."""
    given = listed(name, values)
    for value in given:
        if not is_whole(value) or not 1 <= value <= MAX_SIZE:
            raise ValueError(f"{name} = {value!r}: allowed are whole numbers from 1 to {MAX_SIZE:,}")
    _unique(name, given)
    return np.array(given, dtype=np.int64)
