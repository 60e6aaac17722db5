"""Charts of the package's own speed: the cost of a cell beside copying it, and points per second beside other tools."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from ..signatures import typed
from ..tables.looks import COLORS

TIME_MODEL_LOOKS = {"ideal": ("blue", "o"), "kernel": ("orange", "s")}


@typed(table=("cells", "time_model", "copy_seconds", "ns_per_cell"))
def cell_costs(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Time of a cell against the cells of a grid, by both time models, and of copying as many bytes.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `tables.benchmarks` for grids of several sizes.
    ax : Axes, optional
        Where to draw; the current axes unless given.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    copies = table.dropna(subset="copy_seconds").groupby("cells", as_index=False).copy_seconds.median()
    ax.plot(copies.cells, 1e9 * copies.copy_seconds / copies.cells, "k:", marker="D", ms=4, label="copying the result")
    for time_model, (color, mark) in TIME_MODEL_LOOKS.items():
        rows = table[table.time_model == time_model].sort_values("cells")
        ax.plot(rows.cells, rows.ns_per_cell, color=COLORS[color], marker=mark, label=f"{time_model} grid")
    ax.set(xscale="log", yscale="log", xlabel="Cells of the grid", ylabel="Time per cell (ns)")
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend()
    return ax


@typed(table=("benchmark", "time_model", "points", "points_per_second"))
def point_rates(table: pd.DataFrame, others: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """Points per second of sweeps of one model on one GPU, as bars.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `tables.benchmarks` with points.
    others : mapping of str to float
        Points per second of other tools [1/s].
    ax : Axes, optional
        Where to draw; the current axes unless given.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    bars = [(name, rate, COLORS["grey"]) for name, rate in sorted(others.items(), key=lambda other: other[1])]
    for row in table.sort_values("points_per_second").to_dict("records"):
        color, _ = TIME_MODEL_LOOKS[row["time_model"]]
        what = "with forward pass, " if row["benchmark"] == "forward pass" else ""
        bars.append((f"{row['points']:,} points, {what}{row['time_model']}", row["points_per_second"], COLORS[color]))
    names, rates, colors = zip(*bars, strict=True)
    drawn = ax.barh(names, rates, color=colors)
    ax.bar_label(drawn, [EngFormatter(places=1, sep=" ")(rate) for rate in rates], padding=4)
    ax.set(xscale="log", xlabel="Points per second", xlim=(10 ** np.floor(np.log10(min(rates))), 6 * max(rates)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    return ax
