"""The charts of the T4 report's static half: whole passes on the roofline, and its tables against ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from ..common.arguments import one_of
from ..plots.rooflines import ceilings
from ..plots.style import finish, hold
from ..published.t4 import PRINTED_TABLES, T4_CONTEXT, T4_RUNNING
from ..signatures import typed
from ..tables.looks import COLORS, PHASE_COLORS, SERIES_COLORS
from .t4_load_test import recorded_step
from .t4_static import STATIC_COLUMNS, static_tables

#: Of rows that the report prints, a shape for each batch size: two at one place are both seen.
PRINTED_SHAPES = "+x"


def printed_rows() -> pd.DataFrame:
    """The rows of the report's two static tables as they are printed.

    Returns
    -------
    pandas.DataFrame
        phase, source ("printed"), batch_size [1], seq_len [token], and the variables of `STATIC_COLUMNS` in SI units.
    """
    rows = [
        {"phase": phase, "source": "printed", "batch_size": batch, "seq_len": tokens}
        | {variable: value / scale for value, (variable, scale, _) in zip(row, STATIC_COLUMNS.values(), strict=True)}
        for phase, table in PRINTED_TABLES.items()
        for (batch, tokens), row in table.items()
    ]
    return pd.DataFrame(rows)


def measured_step() -> pd.DataFrame:
    """The decoding step of the report's load test: FLOPs and bytes computed, the time from its records.

    Returns
    -------
    pandas.DataFrame
        One row, as `printed_rows` has them, of source "measured".
    """
    ours = static_tables("decode", T4_RUNNING, T4_CONTEXT).sel(source="workbench").squeeze()
    time = recorded_step()
    performance = float(ours.performance * ours.time) / time
    row = {
        "phase": "decode", "source": "measured", "batch_size": T4_RUNNING, "seq_len": T4_CONTEXT,
        "intensity": float(ours.intensity), "performance": performance,
        "percent_of_peak": 100 * performance / float(ours.peak_flop_rate.max()), "time": time,
        "tokens_per_second": T4_RUNNING / time,
    }  # fmt: skip
    return pd.DataFrame([row])


@typed(marks=("source", "batch_size", "intensity", "performance"))
def t4_roofline(
    phases: Mapping[str, xr.Dataset],
    spans: Mapping[str, Sequence[float]],
    ax: Axes | None = None,
    *,
    title: str | None = None,
    marks: pd.DataFrame | None = None,
) -> Axes:
    """Draw whole forward passes on the roofline: the report's formula as open circles, ours filled.

    Parameters
    ----------
    phases : mapping of str to xarray.Dataset
        By phase, what `static_tables` gives for it.
    spans : mapping of str to sequence of float
        By phase, the range of intensities that the report prints [FLOP/byte], shaded over the full height.
    ax : matplotlib.axes.Axes, optional
        None is the current one.
    title : str, optional
        Title of the chart.
    marks : pandas.DataFrame, optional
        Rows as from `static_rows` with the bare names of the variables, drawn over the points: those of source
        "printed" by batch size, "measured" as a star.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    if not phases or phases.keys() - spans.keys():
        raise ValueError(f"phases = {', '.join(map(str, phases)) or 'none'}: expected some, each with its own of spans")
    ax = ceilings(next(iter(phases.values())), ax)
    ax.set(xlim=(0.1, 1e4), ylim=(2e10, 4e14))
    for phase, ds in phases.items():
        color = COLORS[PHASE_COLORS[one_of("phase", phase, PHASE_COLORS)]]
        hold(ax, ds.intensity, ds.performance)
        low, high = spans[phase]
        ax.axvspan(low, high, color=color, alpha=0.15, linewidth=0, label=f"{phase}, printed intensity", zorder=0)
        name = f"{phase.capitalize()}\n{low:g}-{high:g}"
        ax.text(np.sqrt(low * high), 2.6e10, name, ha="center", va="bottom", color=color, fontsize="small", zorder=5)
        for source, face in (("report", "none"), ("workbench", color)):
            x, y = (ds[name].sel(source=source).values.ravel() for name in ("intensity", "performance"))
            size, label = (42, "report's formula") if source == "report" else (18, "workbench")
            ax.scatter(x, y, s=size, facecolors=face, edgecolors=color, zorder=3, label=f"{phase}, {label}")
    if marks is not None:
        _marks(ax, marks)
    roof = next(iter(phases.values()))
    _regions(ax, float(roof.ridge_point.max()), float(roof.peak_flop_rate.max()))
    finish(ax, title)
    ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3)
    return ax


def _marks(ax: Axes, marks: pd.DataFrame) -> None:
    """Printed rows, a shape for each batch size so that rows at one place are told apart; and what was measured."""
    printed = marks[marks.source == "printed"]
    for (batch, rows), shape in zip(printed.groupby("batch_size"), PRINTED_SHAPES, strict=False):
        style: dict[str, Any] = {"s": 90, "linewidths": 1.6, "color": "black", "zorder": 4}
        ax.scatter(rows.intensity, rows.performance, marker=shape, label=f"printed, batch {batch!s}", **style)
    for row in marks[marks.source == "measured"].to_dict("records"):
        style = {"s": 170, "marker": "*", "facecolor": COLORS["red"], "edgecolor": "black", "linewidths": 0.8}
        name = f"measured, {row['batch_size']} sequences"
        ax.scatter(row["intensity"], row["performance"], label=name, zorder=4, **style)


def _regions(ax: Axes, ridge: float, peak: float) -> None:
    """On either side of the ridge, what bounds a pass there, and what the report says lies there."""
    box: dict[str, Any] = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": COLORS["grey"]}
    share = printed_rows().groupby("phase").percent_of_peak.first()  # of one sequence, which is the first
    sides = {
        (0.13, "left"): f"memory-bound, below {ridge:.0f}\n"
        f"in the report: decode, most of\nthe time, {share['decode']:g} % of the peak",
        (7.6e3, "right"): f"compute-bound, above {ridge:.0f}\n"
        f"in the report: prefill, quick,\n{share['prefill']:g} % of the peak",
    }
    for (x, side), text in sides.items():
        ax.text(x, 2.6e14, text, ha=side, va="top", fontsize="small", bbox=box, zorder=5)
    ax.text(7.6e3, 0.8 * peak, "compute roof", ha="right", va="top", fontsize="small", color=COLORS["red"])
    ax.text(ridge, 5e10, "ridge point ", ha="right", rotation=90, fontsize="small", color=COLORS["green"])


@typed(ds=("batch_size", "seq_len", "source"), printed=("column", "batch_size", "seq_len", "published"))
def compare_sources(
    ds: xr.Dataset, column: str, ax: Axes | None = None, *, printed: pd.DataFrame | None = None
) -> Axes:
    """Draw a column of the static tables against sequence length: the report's formula dashed, ours solid.

    Parameters
    ----------
    ds : xarray.Dataset
        From `static_tables`; a line for each batch size.
    column : str
        A key of `STATIC_COLUMNS`.
    ax : matplotlib.axes.Axes, optional
        None is the current one.
    printed : pandas.DataFrame, optional
        Cells that the report prints: column, batch_size [1], seq_len [token], published (see `audit.printed_cells`).

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = plt.gca() if ax is None else ax
    variable, scale, label = STATIC_COLUMNS[one_of("column", column, STATIC_COLUMNS)]
    for color, batch in zip(SERIES_COLORS, ds.batch_size.values, strict=False):
        lines = ds[variable].sel(batch_size=batch) * scale
        ax.plot(ds.seq_len, lines.sel(source="report"), "--o", color=color, mfc="none", ms=6, lw=1.2)
        ax.plot(ds.seq_len, lines.sel(source="workbench"), "-o", color=color, ms=4, lw=1.6, label=f"batch {batch}")
    ax.plot([], [], "--o", color="black", mfc="none", ms=6, lw=1.2, label="report's formula")
    ax.plot([], [], "-o", color="black", ms=4, lw=1.6, label="workbench")
    if printed is not None:
        cells = printed[(printed.column == column) & printed.batch_size.isin(ds.batch_size.values)]
        for (batch, rows), shape in zip(cells.groupby("batch_size"), PRINTED_SHAPES, strict=False):
            color = SERIES_COLORS[list(ds.batch_size.values).index(batch)]
            style: dict[str, Any] = {"marker": shape, "s": 300 if shape == "+" else 90, "linewidths": 2, "zorder": 4}
            halo = [withStroke(linewidth=3.6, foreground="black")]
            name = f"printed, batch {batch!s}"
            ax.scatter(rows.seq_len, rows.published, color=color, label=name, path_effects=halo, **style)
    ax.set(xscale="log", yscale="log", xlabel="Sequence length (tokens)", ylabel=label)
    ax.set_xticks(ds.seq_len.values, [str(s) for s in ds.seq_len.values])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    return ax
