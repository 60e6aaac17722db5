"""Files that are written whole or not at all: charts, tables, grids. The same inputs give the same bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .names import file_name
from .whole import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: "Figure", table: pd.DataFrame, figure_id: str, output_dir: str | None) -> None:
    """Write a chart as SVG and PNG and its numbers as CSV, the same bytes every time; without a folder do nothing.

    table : exactly the plotted numbers, units in the column names; written with 7 significant digits
    figure_id : names the files; ValueError where it holds a folder
    """
    if output_dir is None:
        return
    import matplotlib as mpl  # not above: the batch's own process draws nothing

    folder = Path(output_dir)
    file_name("figure_id", figure_id)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / f"{figure_id}.csv")
    for kind, metadata in (("png", {}), ("svg", {"Date": None})):
        with whole(folder / f"{figure_id}.{kind}") as path, mpl.rc_context({"svg.hashsalt": figure_id}):
            figure.savefig(path, format=kind, dpi=160, metadata=metadata, bbox_inches="tight")


def write_table(table: pd.DataFrame, path: Path, suffixes: tuple[str, ...] = (".csv",)) -> None:
    """Write a table, whole or not at all: by its suffix as .csv, with 7 significant digits, or as .parquet.

    suffixes : that are allowed; ValueError for another one
    """
    with whole(path, suffixes) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, float_format="%.7g")
        else:
            table.to_parquet(temporary, index=False)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
