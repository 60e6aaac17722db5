"""The cells of a table of timings: what each has to be, and what is wrong with it."""

import csv
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files.reading import Lines, open_text
from ..measure.columns import SIZES, TEXTS, TIMING_COLUMNS

COUNT, NATURAL, TIME = "a whole number above 0", "a whole number from 0", "a time above 0"


@dataclass
class Cells:
    """A table as it stands in a file, its cells still text, together with what was found wrong in it."""

    path: Path
    frame: pd.DataFrame  #: columns by name; the index is the line (or row) of the file
    header: list[str] = field(default_factory=list)  #: comment lines above the table
    problems: list[str] = field(default_factory=list)  #: one line for each cell or row that could not be used
    unit: str = "line"  #: what the index counts

    def __post_init__(self) -> None:
        self._bad = pd.Series(False, index=self.frame.index)

    def require(self, *columns: str) -> None:
        """Raise ValueError where a column is missing."""
        for column in columns:
            if column not in self.frame:
                found = " ".join(", ".join(map(str, self.frame)).split())
                raise ValueError(f"{self.path}: no column {column!r}; its columns: {found[:1000]}")

    def text(self, column: str, allowed: Collection[str] | None = None) -> pd.Series:
        """One column as text, empty where the file does not have it; rows outside `allowed` are dropped."""
        if column not in self.frame:
            return pd.Series("", index=self.frame.index)
        cells = self.frame[column].fillna("").astype(str).str.strip()
        if allowed is not None:
            bad = ~cells.isin(list(allowed))
            self._refuse(column, bad, f"one of {', '.join(allowed)}")
            self._bad |= bad
        return cells

    def set_aside(self, rows: pd.Series, problems: list[str]) -> None:
        """Leave rows out of the table, for the reasons given."""
        self.problems += problems
        self.frame, self._bad = self.frame[~rows], self._bad[~rows]

    def number(self, column: str, kind: str = COUNT, *, optional: bool = False, drop: bool = True) -> pd.Series:
        """One column as float64; anything but `kind` (or, if `optional`, an empty cell) is NaN and a problem.

        With `drop` its whole row is left out, too.
        """
        if column not in self.frame:
            return pd.Series(np.nan, index=self.frame.index)
        cells = self.frame[column]
        values = pd.to_numeric(cells, errors="coerce").astype(float)
        good = (values < np.inf) & ((values >= 0) if kind == NATURAL else (values > 0))
        if kind != TIME:
            good &= values % 1 == 0
        if optional:
            good |= cells.isna() | (cells.astype(str).str.strip() == "")
        self._refuse(column, ~good, kind)
        if drop:
            self._bad |= ~good
        return values.where(good)

    def _refuse(self, column: str, bad: pd.Series, expected: str) -> None:
        for line, cell in self.frame.loc[bad, column].items():
            self.problems.append(f"{self.unit} {line}: {column} = {cell!r}: expected {expected}")

    def table(self, **columns: Any) -> pd.DataFrame:
        """The good rows, with those of `TIMING_COLUMNS` that are given."""
        frame = pd.DataFrame({**dict.fromkeys(TEXTS, ""), **dict.fromkeys(SIZES, np.nan), **columns}, self.frame.index)
        return frame.loc[~self._bad, list(TIMING_COLUMNS)]


def read_cells(path: Path, *, keep: Callable[[str], bool] = lambda _: True, first: str = "") -> Cells:
    """Read a CSV as text, with the line numbers of its rows.

    Columns for which `keep` is false are not held in memory. The table begins with the line that has the text `first`;
    lines before it are another program's output.
    """
    lines: list[int] = []
    header: list[str] = []
    problems: list[str] = []
    with open_text(path) as file:
        at = Lines(file, header, first)
        reader = csv.reader(at)
        try:
            names = next(reader, [])
            kept = {name: i for i, name in enumerate(names) if keep(name)}
            cells: dict[str, list[str]] = {name: [] for name in kept}
            for row in reader:
                if len(row) != len(names):
                    problems.append(f"line {at.number}: {len(row)} fields: expected {len(names)}")
                    continue
                lines.append(at.number)
                for name, i in kept.items():
                    cells[name].append(row[i])
        except csv.Error as error:
            raise ValueError(f"{path}: line {at.number}: not valid CSV ({error})") from None
    return Cells(path, pd.DataFrame(cells, index=lines, dtype=object), header=header, problems=problems)
