"""What is known of a kind of kernel that is fitted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from ..common.arrays import Array
from ..operators.cost import Cost

Sizes = dict[str, Any]
Bounds = dict[str, tuple[float, float, float]]


class OperandWidths(NamedTuple):
    """Width of an element of what is stored, weights or cache, and of activations [byte]."""

    stored: Array
    activation: Array


@dataclass(frozen=True)
class FittedKind:
    """How the timings of one kind of kernel are fitted; the record of its parameters is in `catalog.fits.FITS`.

    Parameters
    ----------
    columns : tuple of str
        Columns that its rows need besides those of all kinds.
    groups : list of str
        Rows that agree in these columns are held out together, so that no shape is judged by a fit that saw it.
    work : callable
        ``(rows, sizes, widths) -> Cost``; sizes are `columns` as arrays, the widths those of the operands [byte].
    law : callable
        ``(fit, gpu, cost, peak_flop_rate) -> seconds``.
    bounds : dict
        Start, lower and upper bound of each fitted parameter; units as in `catalog.fits`.
    variants : list of dict
        What is tried in turn and not fitted.
    cached : bool
        A replayed cache may have come from L2: rows for which that is possible are not fitted on.
    replayed : bool
        The rate of L2 is fitted as well, where many rows beat the memory roof.
    alias : str
        The kind's other name in tables of timings.
    adapted : callable
        ``(kind, format, rows) -> FittedKind``, with what that format and those rows determine besides.
    """

    columns: tuple[str, ...]
    groups: list[str]
    work: Callable[[pd.DataFrame, Sizes, OperandWidths], Cost]
    law: Callable[..., Array]
    bounds: Bounds
    variants: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    cached: bool = False
    replayed: bool = False
    alias: str = ""
    adapted: Callable[["FittedKind", str, pd.DataFrame], "FittedKind"] = lambda kind, form, rows: kind
