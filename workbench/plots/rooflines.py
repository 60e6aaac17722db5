"""Roofline charts: ceilings, a point for every setting, published ranges behind them.

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

from ..common.arguments import whole_number
from ..signatures import typed
from ..tables import Series, default_series, select
from .style import COLORS, LINES, MARKERS, SERIES_COLORS, finish, hold, log_axes

#: Of a grid, what the lines are drawn from.
CEILINGS = ("gpu", "peak_flop_rate", "bandwidth", "ridge_point")


@typed()
def candidate_color(candidates: int, most: int) -> Any:
    """Colour scale of the Medusa charts: orange for few candidates, through pink, to dark purple.

    Parameters
    ----------
    candidates, most : int
        Candidates of a series, and the most of the chart [1].

    Returns
    -------
    tuple of float
        Red, green, blue and opacity [1].
    """
    share = whole_number("candidates", candidates, high=whole_number("most", most)) / most
    return mpl.colormaps["plasma"](0.8 * (1 - share))


@typed(ds=CEILINGS)
def ceilings(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The bandwidth line, the peak line and the dashed ridge line of every GPU, labelled with their values.

    Parameters
    ----------
    ds : xr.Dataset
        peak_flop_rate [FLOP/s], bandwidth [byte/s] and ridge_point [FLOP/byte] by gpu; where operators compute in
        different formats, a peak and a ridge line for each.
    ax : Axes, optional
        Where to draw; the current axes unless given.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = log_axes(plt.gca() if ax is None else ax)
    hold(ax, ds.ridge_point, ds.peak_flop_rate)
    many = ds.sizes.get("gpu", 1) > 1
    for i, gpu in enumerate(np.atleast_1d(ds.gpu.values)):
        card = ds.sel(gpu=gpu) if "gpu" in ds.dims else ds
        peaks, bandwidth = np.unique(card.peak_flop_rate), card.bandwidth.item()
        slope, flats = f"{bandwidth / 1e9:,.4g}GB/s", [f"{peak / 1e12:.4g} TFLOP/s" for peak in peaks]
        style: dict[str, Any] = {"linestyle": LINES[i % len(LINES)] if many else "--", "zorder": 1.5, "linewidth": 1.6}
        colors = [COLORS["grey"]] * 3 if many else [COLORS[name] for name in ("blue", "red", "green")]
        if many:
            marker = MARKERS[i % len(MARKERS)]
            ax.plot([], [], color=colors[0], marker=marker, label=f"{gpu}: {', '.join([slope, *flats])}", **style)
            slope, flats = "_", ["_"] * len(flats)  # matplotlib leaves such labels out of the legend
        x = np.array([1e-6, peaks[-1] / bandwidth])
        ax.plot(x, x * bandwidth, color=colors[0], label=slope, **style)
        for peak, flat in zip(peaks, flats, strict=True):
            ridge = peak / bandwidth
            ax.plot([ridge, 1e9], [peak, peak], color=colors[1], label=flat, **style)
            ax.axvline(ridge, color=colors[2], **(style | {"linewidth": 1.0}))
            ax.annotate(
                f"{ridge:.0f}", (ridge, 1), (0, 2 + 10 * i), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", color=colors[2], fontsize="small",
            )  # fmt: skip
    return ax


@typed(ds=(*CEILINGS, "intensity", "performance"))
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

    Parameters
    ----------
    ds : xr.Dataset
        A grid; several GPUs share the axes, each with its own lines and marker.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    series : mapping of str to mapping, optional
        By label, a selection (operator, phase, candidates) with an optional color and marker; None is one for each
        operator and phase.
    ranges : pd.DataFrame, optional
        Published ranges to draw behind the points, as from `audit.printed_ranges`: series, x_low, x_high
        [FLOP/byte], y_low, y_high [FLOP/s], NaN where none is published.
    arrows : sequence of mapping
        Annotations: text, start and end as [x, y], and at, where the text goes.
    highlight : str, optional
        The one series that keeps its colour; all others are grey.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        Where `highlight` is not a series of the chart.

    References
    ----------
    Williams, Waterman and Patterson 2009, *Roofline*, CACM 52(4), doi 10.1145/1498765.1498785.
    """
    ds = ds.expand_dims(
        [dim for dim in ("gpu", "model", "operator", "phase") if dim in ds.coords and dim not in ds.dims]
    )
    ax = ceilings(ds, ax)
    chosen = dict(series or default_series(ds))
    if highlight is not None and highlight not in chosen:
        raise ValueError(f"highlight {highlight!r} is not a series of this chart: {', '.join(chosen)}")
    most = max((int(s["candidates"]) for s in chosen.values() if "candidates" in s), default=1)
    colors = {}
    for i, (label, selection) in enumerate(chosen.items()):
        colors[label] = _color(selection, SERIES_COLORS[i % len(SERIES_COLORS)], most)
        own = MARKERS[i // len(SERIES_COLORS) % len(MARKERS)]
        faded = highlight not in (None, label)
        for j, gpu in enumerate(ds.gpu.values):
            part = select(ds, selection).sel(gpu=gpu)
            x, y = xr.broadcast(part.intensity, part.performance)
            hold(ax, x, y)
            marker = MARKERS[j % len(MARKERS)] if ds.sizes["gpu"] > 1 else selection.get("marker", own)
            ax.scatter(
                x.values.ravel(), y.values.ravel(), s=max(62 - 8 * i, 22), marker=marker, linewidths=1.2,
                color=COLORS["grey"] if faded else colors[label], alpha=0.35 if faded else 1,
                label=label if j == 0 else None, zorder=2 if faded else 3,
            )  # fmt: skip
    if ranges is not None and len(ranges):
        published_ranges(ranges, colors, ax)
    for arrow in arrows:
        _arrow(ax, arrow)
    return finish(ax, title, ds.sizes["gpu"])


def _color(selection: Mapping[str, Any], default: str, most: int) -> Any:
    if "color" in selection:
        return COLORS.get(selection["color"], selection["color"])
    count = int(selection.get("candidates", 1))
    return candidate_color(count, most) if count > 1 else default


@typed(ranges=("series", "x_low", "x_high", "y_low", "y_high"))
def published_ranges(ranges: pd.DataFrame, colors: Mapping[str, Any], ax: Axes) -> Axes:
    """Published ranges behind the points: a box, or, where only the intensity has a range, a bar at the top.

    Parameters
    ----------
    ranges : pd.DataFrame
        As for `roofline`.
    colors : mapping of str to color
        By series; others are grey.
    ax : Axes
        Where to draw.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    top = np.log10(ax.get_ylim()[1])
    bars = 0
    for row in ranges.to_dict("records"):
        low, high, alpha = row["y_low"], row["y_high"], 0.25
        if not low < high:
            bars += 1
            low, high, alpha = 10 ** (top - 0.085 * bars), 10 ** (top - 0.085 * bars + 0.055), 0.5
        x = [row["x_low"], row["x_high"]]
        if x[0] == x[1]:  # a single value: the width of a reader's error, 10 % either way
            x = [x[0] / 1.1, x[1] * 1.1]
        ax.fill_between(
            x, low, high, color=colors.get(row["series"], COLORS["grey"]), alpha=alpha, linewidth=0, zorder=1
        )
    ax.fill_between([], [], color=COLORS["grey"], alpha=0.4, linewidth=0, label="published range")
    return ax


def _arrow(ax: Axes, arrow: Mapping[str, Any]) -> None:
    """A dotted line with a solid head, and its text in a box."""
    start, end = np.array(arrow["start"]), np.array(arrow["end"])
    ax.plot(*zip(start, end, strict=True), ":", color="black", linewidth=1.8, zorder=4)
    head = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
    ax.annotate("", tuple(end), tuple(end * (start / end) ** 0.05), arrowprops=head, zorder=4)
    ax.annotate(
        arrow["text"], arrow["at"], fontsize="small", ha="center", va="center", zorder=5,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": COLORS["grey"]},
    )  # fmt: skip
