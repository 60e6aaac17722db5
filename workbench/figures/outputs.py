"""The files of a figure: its chart and the plotted numbers, the same bytes every time; where two tables differ."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import checked_file_name
from ..files.reading import read_small
from ..files.writing import write_chart, write_table

LARGEST_FIGURE, MAX_COLUMNS = 16 * 2**20, 2000  # of a figure's CSV that is compared [byte], [1]

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save(figure: "Figure", table: "pd.DataFrame", figure_id: str, output_dir: str | None) -> None:
    """Write a chart as SVG and PNG and its numbers as CSV, each whole or not at all.

    The same chart gives the same bytes every time.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The chart.
    table : pandas.DataFrame
        Exactly the plotted numbers, units in the column names; written with 7 significant digits.
    figure_id : str
        Names the files.
    output_dir : str or None
        The folder, made where it does not exist; a link to one is followed. None does nothing: a notebook that is only
        read writes no files.

    Raises
    ------
    ValueError
        Where `figure_id` cannot name a file, or holds a folder.
    """
    if output_dir is None:
        return
    folder = Path(output_dir)
    checked_file_name("figure_id", figure_id)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / f"{figure_id}.csv")
    for kind in ("png", "svg"):
        write_chart(figure, folder / f"{figure_id}.{kind}", bbox_inches="tight")


def differences(expected: Path, found: Path) -> str:
    """Where two CSVs differ.

    Parameters
    ----------
    expected, found : pathlib.Path
        The table as it was, and as it is now.

    Returns
    -------
    str
        The first difference in one line; empty if both hold the same numbers, within 1e-6 (7 digits are printed).
    """
    import numpy as np
    import pandas as pd

    if not expected.is_file():
        return f"{expected} does not exist"
    try:
        old, new = (pd.read_csv(io.BytesIO(_numbers(path)), low_memory=False) for path in (expected, found))
    except (ValueError, OSError, csv.Error) as error:  # of two lines, some
        return f"{expected}: cannot be compared ({_short(error)})"
    if list(old.columns) != list(new.columns):
        return f"{expected}: columns {_short(', '.join(old.columns))}; recomputed {_short(', '.join(new.columns))}"
    if len(old) != len(new):
        return f"{expected}: {len(old)} rows; recomputed {len(new)}"
    for column in old.columns:
        a, b = old[column], new[column]
        if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
            same = np.isclose(a.to_numpy(float), b.to_numpy(float), rtol=1e-6, atol=0, equal_nan=True)
        else:
            same = a.fillna("").astype(str).to_numpy(object) == b.fillna("").astype(str).to_numpy(object)
        if not same.all():
            row = int(np.argmin(same))
            more = f" and {int((~same).sum()) - 1} more rows" if (~same).sum() > 1 else ""
            return f"{expected}, line {row + 2}, {_short(column)}: {_short(a[row])}; recomputed {_short(b[row])}{more}"
    return ""


def _numbers(path: Path) -> bytes:
    """The content of a figure's CSV; ValueError for one of more columns than a figure has: they take all memory."""
    content = read_small(path, LARGEST_FIGURE)
    most = max(map(len, csv.reader(io.StringIO(content.decode("utf-8", "replace"), None))), default=0)
    if most > MAX_COLUMNS:
        raise ValueError(f"{path}: {most:,} columns: at most {MAX_COLUMNS:,}")
    return content


def _short(value: object) -> str:
    return " ".join(str(value).split())[:500]
