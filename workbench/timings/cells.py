"""The cells of a table of timings: what each has to be, and what is wrong with it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files import reading
from ..files.reading import MAX_PROBLEMS, Texts, check_unique_columns, csv_rows
from ..measure.columns import SIZES, TEXTS, TIMING_COLUMNS

LARGEST = 2**53  # above it not every whole number is one in float64
SHORTEST, LONGEST = 1e-200, 1e200  # of times, in any unit
MAX_CELLS = 20  # columns of a table with as many rows as there may be
#: Columns that a table of timings has where its source knows them, beside `TIMING_COLUMNS`.
#:
#: - kernel: name of the first kernel of a call, where `name` is the call's; start_s: from the first kernel [s].
#: - calls: launches that a row is the mean of [1].
#: - window: tokens that each token of attention sees at most, itself among them [token].
#: - tp, ep: GPUs that share each expert, and among which experts are spread [1]; "moe" is then a whole layer of them.
#: - skew: exponent of the power law by which tokens choose experts, 0 where all get the same [1].
#: - gpus, message_bytes: of a collective, its GPUs [1] and what each of them has or gets [byte].
#: - dram_bytes, l2_bytes [byte], tensor_instructions [1], tensor_flops [FLOP]: counted.
#: - compute_percent, memory_percent: throughput over the most there is [%].
TEXT_EXTRAS = ("kernel",)
EXTRA_COLUMNS = (
    *TEXT_EXTRAS, "start_s", "calls", "window", "tp", "ep", "skew", "gpus", "message_bytes", "dram_bytes", "l2_bytes",
    "tensor_instructions", "tensor_flops", "compute_percent", "memory_percent",
)  # fmt: skip
COUNT, NATURAL, TIME = "a whole number above 0", "a whole number from 0", "a time above 0"


class Problems(list[str]):
    """What is wrong with a file, a line each: the first ones are kept, the rest is counted."""

    more = 0

    def append(self, problem: str) -> None:
        """Add one."""
        if len(self) < MAX_PROBLEMS:
            super().append(problem)
        else:
            self.more += 1

    def told(self) -> list[str]:
        """All that is known, first how many there are where not all are kept."""
        return [f"{len(self) + self.more:,} problems in all"] * (self.more > 0) + self


@dataclass
class Cells:
    """A table as it stands in a file, its cells still text, together with what was found wrong in it."""

    path: Path
    frame: pd.DataFrame  #: columns by name; the index is the line (or row) of the file
    header: list[str] = field(default_factory=list)  #: comment lines above the table
    problems: Problems = field(default_factory=Problems)  #: one line for each cell or row that could not be used
    unit: str = "line"  #: what the index counts
    columns: list[str] = field(default_factory=list)  #: all that the file has, those that are not kept, too

    def __post_init__(self) -> None:
        self._bad = pd.Series(False, index=self.frame.index)

    def require(self, *columns: str) -> None:
        """Raise ValueError where a column is missing."""
        for column in columns:
            if column not in self.frame:
                found = " ".join(", ".join(self.columns or map(str, self.frame)).split())
                raise ValueError(f"{self.path}: no column {column!r}; its columns: {found[:100]}")

    def text(self, column: str, allowed: Collection[str] | None = None) -> pd.Series:
        """One column as text, empty where the file does not have it; rows outside `allowed` are dropped."""
        if column not in self.frame:
            return pd.Series("", index=self.frame.index)
        cells = self.frame[column].fillna("").astype(str).str.strip()
        if allowed is not None:
            bad = ~cells.isin(list(allowed))
            self.refuse(column, bad, f"one of {', '.join(allowed)}")
        return cells

    def set_aside(self, rows: pd.Series) -> None:
        """Leave rows out of the table."""
        self.frame, self._bad = self.frame[~rows], self._bad[~rows]

    def number(self, column: str, kind: str = COUNT, *, optional: bool = False, drop: bool = True) -> pd.Series:
        """One column as float64; anything but `kind` (or, if `optional`, an empty cell) is NaN and a problem.

        With `drop` its whole row is left out, too.
        """
        if column not in self.frame:
            return pd.Series(np.nan, index=self.frame.index)
        cells = self.frame[column]
        values = pd.to_numeric(cells, errors="coerce").astype(float)
        if kind == TIME:
            good = (values > SHORTEST) & (values < LONGEST)
        else:
            good = (values >= (kind == COUNT)) & (values < LARGEST) & (values % 1 == 0)
        if optional:
            good |= cells.isna() | (cells.astype(str).str.strip() == "")
        self.refuse(column, ~good, kind, drop=drop)
        return values.where(good)

    def refuse(self, column: str, bad: pd.Series, expected: str, *, drop: bool = True) -> None:
        """Note the bad cells of a column as problems and, with `drop`, leave their rows out."""
        self._bad |= bad & drop
        rows = self.frame.loc[bad, column]
        room = MAX_PROBLEMS - len(self.problems)
        self.problems.more += max(len(rows) - room, 0)
        for line, cell in rows.iloc[:room].items():
            self.problems.append(f"{self.unit} {line}: {column} = {shortened(cell)}: expected {expected}")

    def table(self, **columns: Any) -> pd.DataFrame:
        """The good rows, with those of `TIMING_COLUMNS` and `EXTRA_COLUMNS` that are given."""
        frame = pd.DataFrame({**dict.fromkeys(TEXTS, ""), **dict.fromkeys(SIZES, np.nan), **columns}, self.frame.index)
        return frame.loc[~self._bad, [*TIMING_COLUMNS, *(name for name in EXTRA_COLUMNS if name in columns)]]


def shortened(value: object) -> str:
    """What a cell holds, in print."""
    return repr(value[:60] if isinstance(value, str) else value)[:200]


def read_cells(path: Path, *, keep: Callable[[str], bool], first: str = "", least: str = "") -> Cells:
    """Read a CSV as text, with the line numbers of its rows.

    Columns for which `keep` is false are not held in memory. The table begins with the line that has the text `first`;
    lines before it are another program's output. A row may end after the column `least`, where there is one.
    """
    lines: list[int] = []
    header: list[str] = []
    problems, texts = Problems(), Texts(path)
    table = csv_rows(path, header, first)
    _, names = next(table, (0, list[str]()))
    kept = {name: i for i, name in enumerate(names) if keep(name)}
    check_unique_columns(path, names, set(kept))
    cells: dict[str, list[str]] = {name: [] for name in kept}
    fewest = names.index(least) + 1 if least in names else len(names)
    for line, row in table:
        if fewest <= len(row) < len(names):
            row = row + [""] * (len(names) - len(row))
        if len(row) != len(names):
            problems.append(f"line {line}: {len(row)} fields: expected {len(names)}")
            continue
        lines.append(line)
        if len(lines) * len(kept) > MAX_CELLS * reading.BUDGET.rows:
            raise ValueError(f"{path}: line {line}: over {MAX_CELLS * reading.BUDGET.rows:,} cells: split it")
        for name, i in kept.items():
            cells[name].append(texts.held(row[i]))
    return Cells(path, pd.DataFrame(cells, index=lines, dtype=object), header, problems, columns=names)
