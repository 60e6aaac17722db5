"""How a notebook shows a table: whole texts, numbers with four digits, the same bytes every time."""

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from html import escape
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..common.errors import unknown
from ..common.variables import LIMITS, with_units
from ..signatures import typed
from .charts import PLAN_UNITS, POINTS
from .explanations import explained

#: Rows that a table shows at most [1]; it holds them all.
SHOWN_ROWS = 1000
#: What a table has of an estimate, and of a grid or forward pass, unless it is asked for other variables: by a variable
#: that it knows them by.
SHOWN = {
    "ttft": ("memory", "unfit", "largest_batch", "ttft", "tpot", "end_to_end_latency", "tokens_per_second", "cost"),
    "intensity": ("flops", "bytes", *POINTS, "expected_error"),
}
#: By unit of a variable, what it is shown in, and how many of that make one.
VIEWS = {
    "s": ("ms", 1e3), "FLOP": ("GFLOP", 1e-9), "byte": ("MB", 1e-6), "FLOP/s": ("TFLOP/s", 1e-12),
    "byte/s": ("GB/s", 1e-9),
}  # fmt: skip
#: What is shown in GB.
MEMORIES = ("weights", "activations", "workspace", "usable_memory", "memory")
_NUMBER = re.compile(r"[-+≤≥]? ?[\d,.]+(e[-+]\d+)?[KMGTP]?|[-+]?inf|\.\.|")


def _shown(value: object) -> str:
    """A cell: empty for a missing value, a whole number with all digits, another with 4, anything else as it is."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, bool | np.bool) or not isinstance(value, Real):
        return str(value)
    x = float(value) + 0.0  # of which -0 is 0, too
    if x.is_integer() and abs(x) < 1e15:
        return f"{x:,.0f}"
    return f"{float(f'{x:.4g}'):,.0f}" if 1e4 <= abs(x) < 1e9 else f"{x:,.4g}"


class Table(pd.DataFrame):
    """A data frame for a reader: a table in a notebook, aligned text where it is printed; from `table`.

    Texts are whole, numbers have 4 significant digits, whole ones all of theirs, and a missing value is empty. Row
    labels are shown unless they are numbers without a name. What is selected of it is one again.
    """

    @property
    def _constructor(self) -> Callable[..., "Table"]:
        return Table

    def _labelled(self) -> bool:
        """Whether row labels say anything."""
        return self.index.nlevels > 1 or self.index.name is not None or not pd.api.types.is_integer_dtype(self.index)

    def _caption(self) -> str:
        cut = f"the first {SHOWN_ROWS:,} of {len(self):,} rows" if len(self) > SHOWN_ROWS else ""
        return "; ".join(filter(None, (self.attrs.get("caption", ""), cut)))

    def _cells(self) -> list[tuple[str, list[str], bool]]:
        """Header and texts of every column, and whether it holds nothing but numbers and ranges of them."""
        frame = pd.DataFrame(self.head(SHOWN_ROWS))
        names = [str(name) if isinstance(name, str | int) else "" for name in frame.index.names]
        frame = frame.reset_index(names=names, allow_duplicates=True) if self._labelled() else frame
        made = []
        for i, name in enumerate(frame):
            header = " ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name)
            texts = [_shown(value) for value in frame.iloc[:, i]]
            numeric = all(_NUMBER.fullmatch(part) for text in texts for part in text.split(" .. "))
            made.append((header, texts, numeric))
        return made

    def __repr__(self) -> str:
        """Aligned text; a column of numbers at its right edge."""
        padded = []
        for header, texts, numeric in self._cells():
            width = max(map(len, [header, *texts]))
            padded.append([f"{text:{'>' if numeric else '<'}{width}}" for text in (header, *texts)])
        lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
        return "\n".join([self._caption(), *lines] if self._caption() else lines)

    def _repr_html_(self) -> str | None:
        """By pandas' Styler; without Jinja, which it needs, a notebook shows the text."""
        try:
            from pandas.io.formats.style import Styler
        except ImportError:
            return None
        style = Styler(pd.DataFrame(self.head(SHOWN_ROWS)), cell_ids=False)
        cells = self._cells()[-self.shape[1] :]
        left = ", ".join(f"td.col{i}, th.col{i}" for i, (_, _, numeric) in enumerate(cells) if not numeric)
        sides = {"td, th": "right", f"{left}, th.row_heading, th.index_name": "left", "caption": "left"}
        style.set_table_styles(
            [
                {"selector": selector.removeprefix(", "), "props": f"text-align: {side}; vertical-align: top"}
                for selector, side in sides.items()
            ]
        )
        style.format(_shown, escape="html").set_caption(escape(self._caption()))
        for axis in (0, 1):
            style.format_index(_shown, escape="html", axis=axis)
        if not self._labelled():
            style.hide(axis="index")
        return str(style.to_html(table_uuid=sha256(repr(self).encode()).hexdigest()[:8]))


@typed()
def table(
    value: xr.Dataset | xr.DataArray | pd.DataFrame,
    caption: str | None = None,
    *,
    variables: str | Sequence[str] | None = None,
) -> Table:
    """Numbers as a table for a reader.

    Parameters
    ----------
    value : xr.Dataset, xr.DataArray or pd.DataFrame
        A grid, a forward pass, an estimate, an explanation, metrics of a load test, a plan, or any other table.
    caption : str, optional
        A line above it; None is the title of a Dataset and what is assumed in it.
    variables : str or sequence of str, optional
        Of a Dataset its variables, of a DataFrame its columns. None is those that one asks for first, of a Dataset that
        is not listed above those with the most dims; of an explanation, the table `tables.explained`.

    Returns
    -------
    Table
        A data frame that shows itself readably. Of a Dataset the dims are its index; times are in [ms], FLOPs in
        [GFLOP] and [TFLOP/s], bytes in [MB], [GB/s] and, of a GPU's memory, [GB]; any other unit is the variable's own.
        Each stands in the header. Flags such as `bound` are words.

    Raises
    ------
    ValueError
        For a variable or column that there is not.
    """
    ds = value.to_dataset(name=value.name or "value") if isinstance(value, xr.DataArray) else value
    names = [variables] if isinstance(variables, str) else variables
    for name in names or ():
        if name not in (ds.data_vars if isinstance(ds, xr.Dataset) else ds.columns):
            kind = "variable" if isinstance(ds, xr.Dataset) else "column"
            raise unknown(kind, name, ds, "variables of value")
    if isinstance(ds, pd.DataFrame):
        frame = (ds if names is None else ds[list(names)]).rename(columns=PLAN_UNITS)
        said = ""
    else:
        frame = explained(ds) if names is None and "unassigned" in ds.attrs else _of_dataset(ds, names)
        said = "; ".join(filter(None, (ds.attrs.get("title", ""), ds.attrs.get("assumed", ""))))
    made = Table(frame)
    made.attrs = {"caption": said if caption is None else caption}
    return made


def _of_dataset(ds: xr.Dataset, names: Sequence[str] | None) -> pd.DataFrame:
    """A row a setting, a column a variable."""
    if names is None:
        known = next((each for mark, each in SHOWN.items() if mark in ds), ())
        most = max((variable.ndim for variable in ds.values()), default=0)
        names = [name for name in known if name in ds] or [str(n) for n, each in ds.items() if each.ndim == most]
    part = ds[list(names)]
    dims = [dim for dim in ds.dims if dim in part.dims]
    frame = part.to_dataframe(dim_order=dims) if dims else pd.DataFrame({name: [part[name].item()] for name in names})
    shown = {name: _in_view(name, frame[name], part[name].attrs) for name in names}
    labels = with_units(pd.DataFrame(columns=dims)).columns
    return pd.DataFrame(dict(shown.values())).rename_axis(index=list(labels) or None)


def _in_view(name: str, column: pd.Series, attrs: dict[str, Any]) -> tuple[str, pd.Series]:
    """Header and values of a variable: flags as words, SI in the units that one reads."""
    if name == "bound":
        return name, column.map(LIMITS)
    if "flag_values" in attrs:
        words = str(attrs["flag_meanings"]).split()
        return name, column.map(dict(zip(np.ravel(attrs["flag_values"]).tolist(), words, strict=True)))
    unit = str(attrs.get("units", "1"))
    view, scale = ("GB", 1e-9) if name in MEMORIES and unit == "byte" else VIEWS.get(unit, (unit, None))
    return (name if view == "1" else f"{name} [{view}]"), (column * scale if scale else column)
