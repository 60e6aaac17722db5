"""How a notebook shows a table: whole texts, numbers with four digits, the same bytes every time."""

import re
from html import escape
from numbers import Real

import numpy as np
import pandas as pd

from ..signatures import typed

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


class Readable:
    """A table for a reader: HTML in a notebook, aligned text where it is printed.

    Texts are whole, numbers have 4 significant digits, whole ones all of theirs, and a missing value is empty.

    Parameters
    ----------
    table : pandas.DataFrame
        What to show; units stand in its header.
    caption : str, optional
        A line above it.
    index : bool, default False
        Whether the row labels are shown, too.
    """

    @typed()
    def __init__(self, table: pd.DataFrame, caption: str = "", *, index: bool = False) -> None:
        """Write every cell once, as it is shown."""
        frame = table.reset_index(names=[name or "" for name in table.index.names]) if index else table
        self.caption = caption
        self.header = [" ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name) for name in frame]
        self.columns = [[_shown(value) for value in frame.iloc[:, i]] for i in range(frame.shape[1])]

    def _numeric(self) -> list[bool]:
        """Which columns hold nothing but numbers and ranges of them."""
        return [
            all(_NUMBER.fullmatch(part) for text in column for part in text.split(" .. ")) for column in self.columns
        ]

    def __repr__(self) -> str:
        """Aligned text; a column of numbers at its right edge."""
        padded = []
        for name, column, numeric in zip(self.header, self.columns, self._numeric(), strict=True):
            width = max(map(len, [name, *column]))
            padded.append([f"{text:{'>' if numeric else '<'}{width}}" for text in (name, *column)])
        lines = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
        return "\n".join([self.caption, *lines] if self.caption else lines)

    def _repr_html_(self) -> str:
        sides = ["right" if numeric else "left" for numeric in self._numeric()]

        def row(tag: str, cells: list[str]) -> str:
            styles = [f"text-align: {side}; vertical-align: top" for side in sides]
            return "".join(f'<{tag} style="{s}">{escape(c)}</{tag}>' for s, c in zip(styles, cells, strict=True))

        body = "\n".join(f"<tr>{row('td', list(cells))}</tr>" for cells in zip(*self.columns, strict=True))
        above = f'<caption style="text-align: left">{escape(self.caption)}</caption>\n' if self.caption else ""
        return f"<table>\n{above}<thead><tr>{row('th', self.header)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
