"""Checks of arguments: numbers in their range, names out of a set, and what a user gives for a dim."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .errors import shown, unknown
from .yaml_records import Record

#: The largest size, and the most labels of a dim [1].
MAX_SIZE, MAX_LABELS = 10**12, 10**7
#: What every finite number of a user's lies between: no product of a few of them is 0 or infinite [1].
LEAST, MOST = 1e-15, 1e15


def plain(value: Any) -> Any:
    """A scalar of numpy or xarray as Python's own number, text or bool; anything else as it is."""
    scalar = isinstance(value, np.generic | np.ndarray | xr.DataArray) and not value.ndim
    return value.item() if scalar and value is not np.ma.masked else value


def check_range(name: str, value: Any, high: float = MOST, unit: str = "numbers", *, low: float = 0.0) -> float:
    """A number from `low` to `high` [unit]; anything else raises ValueError."""
    given = plain(value)
    good = isinstance(given, int | float) and not isinstance(given, bool) and low <= given <= high
    if not good or (isinstance(given, int) and given.bit_length() > 1000):
        allowed = f"positive {unit} up to" if low == LEAST else f"{unit} from {low:g} to"
        raise ValueError(f"{name} = {shown(given)}: allowed are {allowed} {high:g}")
    return float(given)


def whole_number(name: str, value: Any, *, low: int = 1, high: int = MAX_SIZE, also: str = "") -> int:
    """A whole number from `low` to `high` [1]; anything else raises ValueError, which says what is allowed `also`."""
    given = plain(value)
    if not isinstance(given, int) or isinstance(given, bool) or not low <= given <= high:
        raise ValueError(f"{name} = {shown(given)}: allowed are whole numbers from {low} to {high:,}{also}")
    return given


def whole_numbers(name: str, values: Any) -> np.ndarray:
    """Positive whole numbers, each once, as int64 [1]."""
    given = [whole_number(name, value) for value in as_list(name, values)]
    check_unique(name, given)
    return np.array(given, dtype=np.int64)


def numbers(
    name: str, values: Any, expected: str, *, low: float = -MOST, high: float = MOST, whole: bool = False
) -> np.ndarray:
    """Numbers of any shape from `low` to `high` as float64 [1]; anything else raises ValueError, with `expected`."""
    given = list(islice(values, MAX_LABELS + 1)) if isinstance(values, Iterator) else values
    if given is not values and len(given) > MAX_LABELS:
        raise ValueError(f"{name} has more than {MAX_LABELS:,} values")
    try:
        array = given.to_numpy() if isinstance(given, pd.Series | pd.Index) else np.asarray(given)
        if array.dtype.kind not in "iuf" or isinstance(given, np.ma.MaskedArray):
            raise TypeError
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {shown(values)}: {expected}") from None
    with np.errstate(over="ignore"):
        sizes = array.astype(float)
    good = (sizes >= low) & (sizes <= high) & (not whole or sizes == np.floor(sizes))
    if (wrong := sizes[~good]).size:
        raise ValueError(f"{name} = {wrong[0]:g}: {expected}")
    return sizes


def positive_numbers(name: str, values: Any) -> np.ndarray:
    """Positive numbers as float64 [1]; anything else raises ValueError."""
    return numbers(name, values, f"expected positive numbers up to {MOST:g}", low=LEAST)


def check_broadcast(**arrays: np.ndarray) -> None:
    """Raise ValueError for arrays that do not broadcast."""
    shapes = [array.shape for array in arrays.values()]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{', '.join(arrays)} have the shapes {shapes}: these do not broadcast") from None


def as_list(name: str, values: Any) -> list[Any]:
    """One value or several as a list; ValueError for an empty one, and for a mapping."""
    if getattr(values, "ndim", 0) > 1 or isinstance(values, Mapping):
        raise ValueError(f"{name} = {shown(values)}: give one value, or a list")
    if isinstance(values, str | bytes | Record) or getattr(values, "ndim", 1) == 0 or not isinstance(values, Iterable):
        values = [values]
    if not (listed := [plain(value) for value in islice(values, MAX_LABELS + 1)]):
        raise ValueError(f"{name} is empty: give at least one")
    if len(listed) > MAX_LABELS:
        raise ValueError(f"{name} has more than {MAX_LABELS:,} values")
    return listed


def check_unique(name: str, labels: list[Any]) -> None:
    """Raise ValueError for a label that is given twice."""
    if len(set(labels)) < len(labels):
        twice = next(label for i, label in enumerate(labels) if label in labels[:i])
        raise ValueError(f"{name} has {twice!r} more than once")


def one_of(kind: str, value: Any, allowed: Iterable[Any]) -> Any:
    """A name, None or a bool out of an allowed set; anything else raises ValueError with the nearest name."""
    given, allowed = plain(value), list(allowed)
    if not isinstance(given, str | bool | None) or given not in allowed:
        raise unknown(kind, value, allowed)
    return given


def checked_names(kind: str, values: Any, allowed: Iterable[str], also: Iterable[str] = ()) -> list[str]:
    """Names out of an allowed set; one of `also` only by itself."""
    given, allowed = as_list(kind, values), list(allowed)
    for name in given:
        if not isinstance(name, str) or name not in (*also, *allowed):
            raise unknown(kind, name, [*also, *allowed])
        if name in also and len(given) > 1:
            raise ValueError(f"{kind} {name!r} stands alone: give it by itself, or a list of names")
    check_unique(kind, given)
    return given
