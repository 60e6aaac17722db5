"""Charts of the project's own measurements, with the predictions of both time models beside each point."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ..signatures import typed
from ..tables import Series, default_series, select
from ..tables.looks import COLORS, SERIES_COLORS, series_looks
from .rooflines import CEILINGS, roofline
from .style import finish

#: Variables of `studies.operator_times` that the charts show, and columns of `studies.forward_passes`.
TIMES = ("intensity", "flops", "time", "ideal_time", "measured_time")
PASS_TIMES = ("model", "dtype", "phase", "time_s", "ideal_s", "kernel_s")


@typed(ds=(*CEILINGS, *TIMES, "performance"))
def measured_roofline(
    ds: xr.Dataset, ax: Axes | None = None, *, series: Series | None = None, title: str | None = None
) -> Axes:
    """Measured operators on the roofline; a bar at the same intensity is what the kernel-time model predicts for each.

    Parameters
    ----------
    ds : xr.Dataset
        From `studies.operator_times`, one GPU of it.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    series : mapping of str to mapping, optional
        As for `roofline`.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on. The ideal roofline predicts each point on the roof above it.
    """
    ax = roofline(ds, ax, series=series, title=title)
    style: dict[str, Any] = {"marker": "_", "color": COLORS["black"], "linewidths": 1.0, "s": 46, "zorder": 4}
    for selection in (series or default_series(ds)).values():
        part = select(ds, selection)
        x, y = _distinct(part.intensity, part.flops / part.time)
        ax.scatter(x, y, **style)
    ax.scatter([], [], label="kernel-time model", **style)
    ax.set_xlim(0.6 * ds.intensity.min().item(), 2.5 * max(ds.intensity.max().item(), ds.ridge_point.max().item()))
    ax.set_ylim(0.25 * ds.performance.min().item(), 2.5 * ds.peak_flop_rate.max().item())
    return finish(ax, title)


@typed(ds=TIMES)
def time_ratios(ds: xr.Dataset, ax: Axes | None = None, *, series: Series | None = None) -> Axes:
    """Predicted over measured times against intensity: dots of the kernel-time model, crosses of the ideal roofline.

    Parameters
    ----------
    ds : xr.Dataset
        As for `measured_roofline`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    series : mapping of str to mapping, optional
        As for `roofline`.

    Returns
    -------
    Axes
        The axes drawn on; its legend has the mean absolute errors.
    """
    ax = plt.gca() if ax is None else ax
    looks = series_looks(series or default_series(ds))
    off: dict[str, list[np.ndarray]] = {"time": [], "ideal_time": []}
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)
        for name, marker in (("ideal_time", "x"), ("time", "o")):
            ratio = part[name] / part.measured_time
            style: dict[str, Any] = {"marker": marker, "color": looks[label][0], "alpha": 0.35 if marker == "x" else 1}
            x, y = _distinct(part.intensity, ratio)
            ax.scatter(x, y, s=14, linewidths=0.8, **style)
            off[name].append(np.abs(ratio.values.ravel() - 1))
    errors = {name: 100 * np.nanmean(np.concatenate(values)) for name, values in off.items()}
    _ratio_axis(ax)
    ax.scatter([], [], marker="o", s=14, color=COLORS["black"], label=f"kernel-time model: {errors['time']:.1f} % off")
    ideal = f"ideal roofline: {errors['ideal_time']:.1f} % off"
    ax.scatter([], [], marker="x", s=14, color=COLORS["black"], alpha=0.5, label=ideal)
    ax.set(xscale="log", xlabel="Operational Intensity (FLOP/Byte)")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1 else EngFormatter(sep="")(value))
    ax.set_ylim(0, max(1.75, ax.get_ylim()[1]))
    ax.legend(loc="upper left", fontsize=7.6, framealpha=0.95)
    return ax


@typed(table=PASS_TIMES)
def passes(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Predicted over measured times of whole forward passes: the kernel-time model's filled, the ideal ones hollow.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `studies.forward_passes`, of one phase.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on; its legend has the mean absolute errors.
    """
    ax = plt.gca() if ax is None else ax
    for i, ((model, dtype), rows) in enumerate(table.groupby(["model", "dtype"], sort=False)):
        ideal, kernel = rows.ideal_s / rows.time_s, rows.kernel_s / rows.time_s
        errors = [f"{100 * (ratio - 1).abs().mean():.1f} %" for ratio in (kernel, ideal)]
        style: dict[str, Any] = {"color": SERIES_COLORS[i], "marker": "os^D"[i % 4], "linestyle": "", "ms": 5.5}
        ax.vlines(rows.time_s, ideal, kernel, color=SERIES_COLORS[i], linewidth=0.8, alpha=0.3)
        ax.plot(rows.time_s, ideal, mfc="none", mew=0.9, **style)
        ax.plot(rows.time_s, kernel, label=f"{model}, {dtype}: {errors[0]} off (ideal {errors[1]})", **style)
    ax.plot([], [], "o", color=COLORS["black"], mfc="none", ms=5.5, label="ideal roofline")
    _ratio_axis(ax)
    ax.set(xscale="log", xlabel="Measured time of the pass", title=title or "", ylim=(0, 1.25))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=" ", unit="s"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(loc="lower right", fontsize=7.6, framealpha=0.95)
    return ax


def _distinct(x: xr.DataArray, y: xr.DataArray) -> np.ndarray:
    """The points of a series, each once: a GEMM of decode is the same at every length."""
    points = np.column_stack([axis.values.ravel() for axis in xr.broadcast(x, y)])
    return np.unique(points[~np.isnan(points).any(axis=1)], axis=0).T


def _ratio_axis(ax: Axes) -> None:
    """Predicted over measured, 1 where they agree."""
    ax.axhline(1, color=COLORS["black"], linewidth=1, zorder=1)
    ax.set(ylabel="Predicted / measured time")
    ax.grid(alpha=0.25, linewidth=0.6)
