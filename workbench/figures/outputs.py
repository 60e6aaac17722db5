"""Files that are written whole or not at all: charts, tables, grids. The same inputs give the same bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import file_name
from ..common.files import whole, write_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save(figure: "Figure", table: "pd.DataFrame", figure_id: str, output_dir: str | None) -> None:
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
