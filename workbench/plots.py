"""Charts: functions that take a Dataset and an optional Axes, draw, and return the Axes; none of them saves.

Colours are the published charts' in the shades of Okabe and Ito (2008), which stay apart for colour-blind readers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from .tables import STATIC_COLUMNS, Series, default_series, select

COLORS = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D55E00", "purple": "#B07AD9",
    "brown": "#7B4A12", "grey": "#8C8C8C", "sky": "#56B4E9", "black": "#000000",
}  # fmt: skip
SERIES_COLORS = [COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "brown", "sky", "grey")]
MARKERS = "xo^sDv*P"


def candidate_color(candidates: int, most: int) -> Any:
    """The Medusa charts' scale: orange for few candidates, through pink, to dark purple for the most."""
    return mpl.colormaps["plasma"](0.8 * (1 - candidates / most))


def log_axes(ax: Axes, xlim: Sequence[float] = (0.6, 1e4), ylim: Sequence[float] = (1e10, 1e15)) -> Axes:
    """The charts' axes: log-log, ticks 1, 10, 100, 1k over 10G, 1T, 100T."""
    ax.set(xscale="log", yscale="log", xlim=xlim, ylim=ylim)
    ax.set(xlabel="Operational Intensity (FLOP/Byte)", ylabel="Performance (FLOP/s)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    return ax


def ceilings(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The bandwidth line, the peak line and the dashed ridge line of every GPU, labelled with their values.

    ds : peak_flop_rate [FLOP/s] and bandwidth [byte/s] by gpu
    """
    ax = log_axes(plt.gca() if ax is None else ax)
    peaks = ds.peak_flop_rate.isel({dim: 0 for dim in ds.peak_flop_rate.dims if dim != "gpu"})
    many = ds.sizes.get("gpu", 1) > 1
    for i, gpu in enumerate(np.atleast_1d(ds.gpu.values)):
        peak = float(np.atleast_1d(peaks.values)[i])
        bandwidth = float(np.atleast_1d(ds.bandwidth.values)[i])
        ridge, (left, right) = peak / bandwidth, ax.get_xlim()
        slope, flat = f"{bandwidth / 1e9:,.4g}GB/s", f"{peak / 1e12:.4g} TFLOP/s"
        if many:
            colors, labels = [SERIES_COLORS[i % len(SERIES_COLORS)]] * 3, [f"{gpu}: {slope}, {flat}", None]
        else:
            colors, labels = [COLORS[name] for name in ("blue", "red", "green")], [slope, flat]
        ax.plot([left, ridge], [left * bandwidth, peak], "--", color=colors[0], label=labels[0], lw=1.6, zorder=1.5)
        ax.plot([ridge, right], [peak, peak], "--", color=colors[1], label=labels[1], lw=1.6, zorder=1.5)
        ax.axvline(ridge, linestyle="--", color=colors[2], linewidth=1.2, zorder=1.5)
        ax.annotate(
            f"{ridge:.0f}", (ridge, 1), (0, 2 + 10 * i), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", color=colors[2], fontsize="small",
        )  # fmt: skip
    return ax


def roofline(
    ds: xr.Dataset,
    ax: Axes | None = None,
    *,
    series: Series | None = None,
    ranges: pd.DataFrame | None = None,
    arrows: Sequence[Mapping[str, Any]] = (),
    highlight: str | None = None,
    title: str | None = None,
) -> Axes:
    """The roofline chart of the papers: ceilings, and a point for every setting.

    ds : a grid; several GPUs share the axes, each with its own lines and marker
    series : label -> selection (operator, phase, candidates) with an optional color and marker; None is one for each
        operator and phase
    ranges : published ranges to draw behind the points: columns series, x_low, x_high [FLOP/byte], y_low, y_high
        [FLOP/s], NaN where none is published (see `audit.published_ranges`)
    arrows : annotations: text, start, end as [x, y], and at, where the text goes
    highlight : the one series that keeps its colour against all others in grey
    """
    ax = ceilings(ds, ax)
    chosen = dict(series or default_series(ds))
    if highlight is not None and highlight not in chosen:
        raise ValueError(f"highlight {highlight!r} is not a series of this chart: {', '.join(chosen)}")
    most = max((int(s["candidates"]) for s in chosen.values() if "candidates" in s), default=1)
    colors = {}
    for i, (label, selection) in enumerate(chosen.items()):
        colors[label] = _color(selection, SERIES_COLORS[i % len(SERIES_COLORS)], most)
        faded = highlight not in (None, label)
        for j, gpu in enumerate(ds.gpu.values):
            part = select(ds, selection).sel(gpu=gpu)
            x, y = xr.broadcast(part.intensity, part.performance)
            marker = MARKERS[j % len(MARKERS)] if ds.sizes["gpu"] > 1 else selection.get("marker", "x")
            ax.scatter(
                x.values.ravel(), y.values.ravel(), s=max(62 - 8 * i, 22), marker=marker, linewidths=1.2,
                color=COLORS["grey"] if faded else colors[label], alpha=0.35 if faded else 1,
                label=label if j == 0 else None, zorder=2 if faded else 3,
            )  # fmt: skip
    if ranges is not None and len(ranges):
        published_ranges(ranges, colors, ax)
    for arrow in arrows:
        _arrow(ax, arrow)
    return _finish(ax, title, ds.sizes["gpu"])


def _finish(ax: Axes, title: str | None, gpus: int = 1) -> Axes:
    """Title above the ridge labels, legend at the bottom right, as in the papers."""
    ax.set_title(title or "", pad=10 + 10 * gpus)
    legend = ax.legend(loc="lower right", fontsize="small", framealpha=0.95)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([32])
    return ax


def _color(selection: Mapping[str, Any], default: str, most: int) -> Any:
    if "color" in selection:
        return COLORS.get(selection["color"], selection["color"])
    count = int(selection.get("candidates", 1))
    return candidate_color(count, most) if count > 1 else default


def published_ranges(ranges: pd.DataFrame, colors: Mapping[str, Any], ax: Axes) -> Axes:
    """Published ranges behind the points: a box, or, where only the intensity is known, a bar at the top."""
    top = np.log10(ax.get_ylim()[1])
    bars = 0
    for row in ranges.to_dict("records"):
        color = colors.get(row["series"], COLORS["grey"])
        if np.isfinite(row["y_low"]):
            low, high, alpha = row["y_low"], row["y_high"], 0.25
        else:
            bars += 1
            low, high, alpha = 10 ** (top - 0.085 * bars), 10 ** (top - 0.085 * bars + 0.055), 0.5
        ax.fill_between([row["x_low"], row["x_high"]], low, high, color=color, alpha=alpha, linewidth=0, zorder=1)
    ax.fill_between([], [], color=COLORS["grey"], alpha=0.4, linewidth=0, label="published range")
    return ax


def _arrow(ax: Axes, arrow: Mapping[str, Any]) -> None:
    style = {"arrowstyle": "-|>", "linestyle": ":", "linewidth": 1.6, "color": "black"}
    ax.annotate("", arrow["end"], arrow["start"], arrowprops=style, zorder=4)
    ax.annotate(
        arrow["text"], arrow["at"], fontsize="small", ha="center", va="center", zorder=5,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": COLORS["grey"]},
    )  # fmt: skip


def t4_roofline(
    phases: Mapping[str, xr.Dataset],
    spans: Mapping[str, Sequence[float]],
    ax: Axes | None = None,
    *,
    title: str | None = None,
) -> Axes:
    """Whole forward passes on the roofline: the report's formula as open circles, ours filled.

    phases : phase -> `tables.static_tables`
    spans : phase -> range of intensities that the report prints [FLOP/byte], shaded over the full height
    """
    ax = ceilings(next(iter(phases.values())), ax)
    for (phase, ds), color in zip(phases.items(), (COLORS["blue"], COLORS["orange"]), strict=False):
        ax.axvspan(*spans[phase], color=color, alpha=0.15, linewidth=0, label=f"{phase}, published range", zorder=0)
        for source, face in (("report", "none"), ("workbench", color)):
            x, y = (ds[name].sel(source=source).values.ravel() for name in ("intensity", "performance"))
            size, label = (42, "report") if source == "report" else (18, "workbench")
            ax.scatter(x, y, s=size, facecolors=face, edgecolors=color, zorder=3, label=f"{phase}, {label}")
    return _finish(ax, title)


def predicted_against_measured(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Kernel times of a fit over measured times: 1 is agreement; filled for rows held out, a cross for the ideal roof.

    table : `calibration.Calibration.table`, with kind, time_s, ideal_s and held_out_s [s]
    """
    ax = plt.gca() if ax is None else ax
    for color, (kind, rows) in zip(SERIES_COLORS, table.groupby("kind"), strict=False):
        error = 100 * (rows.held_out_s / rows.time_s - 1).abs().mean()
        style: dict[str, Any] = {"color": color, "linewidths": 0.7}
        ax.scatter(rows.time_s, rows.ideal_s / rows.time_s, s=8, marker="x", alpha=0.12, zorder=1, **style)
        label = f"{kind}: {error:.1f} % mean error, held out"
        ax.scatter(rows.time_s, rows.held_out_s / rows.time_s, s=8, alpha=0.5, label=label, zorder=2, **style)
    ax.scatter([], [], marker="x", color=COLORS["grey"], label="ideal roofline")
    ax.axhline(1, color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(xscale="log", yscale="log", ylim=(0.02, 5), xlabel="Measured time (s)", ylabel="Predicted / measured")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.grid(alpha=0.25, linewidth=0.6)
    return _finish(ax, title, 0)


def compare_sources(
    ds: xr.Dataset, column: str, ax: Axes | None = None, *, printed: pd.DataFrame | None = None
) -> Axes:
    """A column of the T4 report's static tables against sequence length: the report's formula dashed, ours solid.

    ds : `tables.static_tables`; a line for each batch size
    column : a key of `tables.STATIC_COLUMNS`
    printed : cells that the report prints: columns column, batch_size, seq_len, published (see `audit.printed_cells`)
    """
    ax = plt.gca() if ax is None else ax
    variable, scale, label = STATIC_COLUMNS[column]
    for color, batch in zip(SERIES_COLORS, ds.batch_size.values, strict=False):
        lines = ds[variable].sel(batch_size=batch) * scale
        ax.plot(ds.seq_len, lines.sel(source="report"), "--o", color=color, mfc="none", ms=6, lw=1.2)
        ax.plot(ds.seq_len, lines.sel(source="workbench"), "-o", color=color, ms=4, lw=1.6, label=f"batch {batch}")
    ax.plot([], [], "--o", color="black", mfc="none", ms=6, lw=1.2, label="report's formula")
    ax.plot([], [], "-o", color="black", ms=4, lw=1.6, label="workbench")
    if printed is not None:
        cells = printed[printed.column == column]
        colors = [SERIES_COLORS[list(ds.batch_size.values).index(batch)] for batch in cells.batch_size]
        style: dict[str, Any] = {"marker": "X", "s": 90, "edgecolors": "black", "linewidths": 0.8, "zorder": 4}
        ax.scatter(cells.seq_len, cells.published, c=colors, **style)
        ax.scatter([], [], color="white", label="printed in the report", **style)
    ax.set(xscale="log", yscale="log", xlabel="Sequence length (tokens)", ylabel=label)
    ax.set_xticks(ds.seq_len.values, [str(s) for s in ds.seq_len.values])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    return ax
