"""Charts of kernel times: against batch size, and how far off the kernel-time model is."""

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from ..catalog.fits import KINDS
from ..common.arguments import one_of
from ..signatures import typed
from ..tables.looks import COLORS, SERIES_COLORS
from .style import finish

#: Columns of a fit's table, and of `tables.fidelity`, that the charts show.
FITTED_COLUMNS = ("kind", "time_s", "ideal_s", "held_out_s")
ERRORS = ("gpu", "kind", "source", "ideal [%]", "error [%]", "bias [%]")


@typed(table=FITTED_COLUMNS)
def predicted_against_measured(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Kernel times of a fit, for rows that it did not see, against the measured ones; on the line they agree.

    Parameters
    ----------
    table : pd.DataFrame
        `CalibrationResult.table` of `calibration.fit`, with kind, time_s, ideal_s and held_out_s [s]; crosses are
        the ideal roofline's.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    _against_measured(table, ax, lambda predicted, measured: predicted)
    ax.axline((1e-6, 1e-6), (1e-3, 1e-3), color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(yscale="log", ylabel="Predicted time (s)", ylim=ax.get_xlim())
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return finish(ax, title, 0)


@typed(table=FITTED_COLUMNS)
def residuals(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Predicted over measured kernel times, for rows that the fit did not see; at 1 they agree.

    Parameters
    ----------
    table : pd.DataFrame
        As for `predicted_against_measured`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    _against_measured(table, ax, lambda predicted, measured: predicted / measured)
    ax.axhline(1, color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(yscale="log", ylim=(0.02, 5), ylabel="Predicted / measured")
    ax.yaxis.set_major_formatter("{x:g}")
    return finish(ax, title, 0)


def _against_measured(table: pd.DataFrame, ax: Axes, value: Callable[[pd.Series, pd.Series], pd.Series]) -> None:
    for color, (kind, rows) in zip(SERIES_COLORS, table.groupby("kind"), strict=False):
        error = 100 * (rows.held_out_s / rows.time_s - 1).abs().mean()
        style: dict[str, Any] = {"color": color, "linewidths": 0.7}
        ax.scatter(rows.time_s, value(rows.ideal_s, rows.time_s), s=8, marker="x", alpha=0.12, zorder=1, **style)
        label = f"{kind}: {error:.1f} % mean error, held out"
        ax.scatter(rows.time_s, value(rows.held_out_s, rows.time_s), s=8, alpha=0.5, label=label, zorder=2, **style)
    ax.scatter([], [], marker="x", color=COLORS["grey"], label="ideal roofline")
    ax.set(xscale="log", xlabel="Measured time (s)")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(alpha=0.25, linewidth=0.6)


#: What the axis of each quantity says, and the unit behind its tick labels; None is a linear axis from 0.
BATCHING_QUANTITIES: dict[str, tuple[str, str | None]] = {
    "time": ("Time per kernel call", "s"),
    "tokens_per_second": ("Throughput of the kernel (tokens/s)", ""),
    "relative_time": ("Time over that of the smallest batch", ""),
    "share": ("Share of the layer's matmul time (%)", None),
}
MARKS = "osD^vP"


@typed(table=("operator", "seq_len", "time_model", "batch_size"))
def against_batch(table: pd.DataFrame, quantity: str, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Lines against batch size: the ideal roofline's dashed, the kernel model's solid, a colour a setting.

    Parameters
    ----------
    table : pd.DataFrame
        From `tables.lines`; where it has ridge_batch_size, there are dotted lines at the finite ones.
    quantity : str
        A key of `BATCHING_QUANTITIES`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    label, unit = BATCHING_QUANTITIES[one_of("quantity", quantity, BATCHING_QUANTITIES)]
    for i, (_, rows) in enumerate(table.groupby(["operator", "seq_len"], sort=False)):
        color = SERIES_COLORS[i % len(SERIES_COLORS)]
        for time_model, style in (("ideal", {"ls": "--", "lw": 1.3}), ("kernel", {"marker": MARKS[i % len(MARKS)]})):
            line = rows[rows.time_model == time_model]
            own: dict[str, Any] = {
                "color": color,
                "ms": 4.5,
                "label": _label(table, line) if time_model == "kernel" else None,
            }
            ax.plot(line.batch_size, line[quantity], **own, **style)
    ax.set(xscale="log", xlabel="Batch size (sequences)", ylabel=label, title=title or "")
    ax.set_xticks(sorted(table.batch_size.unique()), [str(b) for b in sorted(table.batch_size.unique())])
    ax.xaxis.set_minor_locator(NullLocator())
    if unit is None:
        ax.set_ylim(0, 100)
    else:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        if high < 100 * low:
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        if quantity == "tokens_per_second":  # room for the legend
            ax.set_ylim(bottom=low * (low / high) ** 0.4)
        ax.yaxis.set_major_formatter(EngFormatter(unit=unit, sep=" " if unit else ""))
        ax.yaxis.set_minor_formatter(NullFormatter())
    if "ridge_batch_size" in table:
        _ridges(table.ridge_batch_size, ax)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95, loc="lower right" if quantity == "tokens_per_second" else "upper left")
    return ax


def _label(table: pd.DataFrame, line: pd.DataFrame) -> str:
    """What tells a line from the others of its panel: the operator, the sequence length, or both."""
    operator, seq_len = line[["operator", "seq_len"]].iloc[0]
    parts = [operator] if table.operator.nunique() > 1 else []
    if table.seq_len.nunique() > 1 or not parts:
        parts.append(f"{seq_len} tokens")
    return ", ".join(parts)


def _ridges(batch_sizes: pd.Series, ax: Axes) -> None:
    """Dotted lines where the ideal kernels pass the ridge point, with one entry in the legend."""
    finite = sorted({b for b in batch_sizes if np.isfinite(b)})
    label = f"ridge point: batch {' and '.join(f'{b:.0f}' for b in finite)}"
    for i, batch in enumerate(finite):
        ax.axvline(batch, color="#555555", linestyle=":", linewidth=1.2, zorder=1, label=None if i else label)


@typed(table=ERRORS)
def fidelity(table: pd.DataFrame, ax: Axes | None = None, *, floor: float) -> Axes:
    """Mean errors by GPU and kind of kernel: the ideal roofline's hollow, the kernel model's filled, a line between.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `tables.fidelity` of one regime; where a kind has several sources, each has its own dots.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    floor : float
        How far apart two frameworks are on one GPU [%].

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    for y, rows, i in _dodged(table, ax):
        style: dict[str, Any] = {"color": SERIES_COLORS[i], "ms": 6.5}
        ax.hlines(y, rows["error [%]"], rows["ideal [%]"], color=SERIES_COLORS[i], linewidth=1.2, alpha=0.35)
        ax.plot(rows["ideal [%]"], y, MARKS[i], mfc="none", **style)
        ax.plot(rows["error [%]"], y, MARKS[i], label=KINDS[i], **style)
    ax.plot([], [], "o", color=COLORS["black"], mfc="none", ms=6.5, label="ideal roofline")
    ax.axvline(floor, color=COLORS["black"], linestyle=":", linewidth=1.2, label=f"two frameworks: {floor:g} %")
    ax.set(xlabel="Mean absolute error (%)", xlim=(0, None))
    return ax


@typed(table=ERRORS)
def biases(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean error of the kernel model by GPU and kind of kernel; above 0 it is too slow.

    Parameters
    ----------
    table : pd.DataFrame
        As for `fidelity`.
    ax : Axes, optional
        Where to draw; the current axes unless given.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    for y, rows, i in _dodged(table, ax):
        ax.hlines(y, 0, rows["bias [%]"], color=SERIES_COLORS[i], linewidth=1.2, alpha=0.5)
        ax.plot(rows["bias [%]"], y, MARKS[i], color=SERIES_COLORS[i], ms=6.5)
    ax.axvline(0, color=COLORS["black"], linewidth=0.8)
    ax.set(xlabel="Mean error of the kernel model (%)")
    return ax


def _dodged(table: pd.DataFrame, ax: Axes) -> Iterator[tuple[np.ndarray, pd.DataFrame, int]]:
    """The rows of each kind and source with their heights, beside one another within their GPU's band."""
    names = list(dict.fromkeys(table.gpu))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    for edge in range(1, len(names)):
        ax.axhline(edge - 0.5, color=COLORS["grey"], linewidth=0.5)
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    lines = list(table[["kind", "source"]].drop_duplicates().itertuples(index=False))
    lines.sort(key=lambda line: KINDS.index(line.kind))
    for j, (kind, source) in enumerate(lines):
        rows = table[(table.kind == kind) & (table.source == source)]
        dodge = 0.78 * (j - (len(lines) - 1) / 2) / len(lines)
        yield np.array([names.index(name) for name in rows.gpu]) + dodge, rows, KINDS.index(kind)
