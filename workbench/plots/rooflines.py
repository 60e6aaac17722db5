"""Roofline charts: ceilings, a point for every setting, and the published ranges of its series."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ..signatures import typed
from ..tables import Series, default_series, select
from ..tables.looks import COLORS, MARKERS, RIDGE, is_box, range_outline, series_looks
from .overlays import OVERLAID, by_operator, overlay
from .style import LINES, finish, hold, log_axes

#: Of a grid, what the lines are drawn from.
CEILINGS = ("gpu", "peak_flop_rate", "bandwidth", "ridge_point")


@typed(ds=CEILINGS)
def ceilings(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The bandwidth line, the peak line and the dashed ridge line of every GPU, labelled with their values.

    Parameters
    ----------
    ds : xr.Dataset
        peak_flop_rate [FLOP/s], bandwidth [byte/s] and ridge_point [FLOP/byte] by gpu; where operators compute in
        different formats, a peak and a ridge line for each. Where l2_bandwidth [byte/s] is known, a line of it, too.
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
        if "l2_bandwidth" in card and np.isfinite(l2 := card.l2_bandwidth.item()):
            above: dict[str, Any] = {"color": COLORS["sky"], "linestyle": "-.", "linewidth": 1.2, "zorder": 1.4}
            ax.plot(
                *(np.array([1e-6, peaks[-1] / l2]) * rate for rate in (1, l2)), label=f"L2 {l2 / 1e9:,.4g}GB/s", **above
            )
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


@typed(ds=(*CEILINGS, "intensity", "performance"), measured=(*CEILINGS, *OVERLAID))
def roofline(
    ds: xr.Dataset | None = None,
    ax: Axes | None = None,
    *,
    measured: xr.Dataset | None = None,
    series: Series | None = None,
    ranges: pd.DataFrame | None = None,
    arrows: Sequence[Mapping[str, Any]] = (),
    highlight: str | None = None,
    title: str | None = None,
) -> Axes:
    """The roofline chart of the papers: ceilings, and a point for every setting.

    Parameters
    ----------
    ds : xr.Dataset, optional
        A grid; several GPUs share the axes, each with its own lines and marker. None where `measured` is all.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    measured : xr.Dataset, optional
        From `workbench.explain`: measured points are filled, predicted ones open, with a line between them. Where a
        profiler counted the bytes a point stands at the measured intensity and has a black edge, else at the model's.
        Without `ds` the series are those of its operators.
    series : mapping of str to mapping, optional
        By label, a selection (operator, phase, candidates) with an optional color and marker; None is one for each
        operator and phase.
    ranges : pd.DataFrame, optional
        Published ranges to draw behind the points, as from `audit.printed_ranges`: series, x_low, x_high
        [FLOP/byte], y_low, y_high [FLOP/s], NaN where none is published, equal where one value is.
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
        Where `highlight` is not a series of the chart, or neither `ds` nor `measured` is given.

    References
    ----------
    Williams, Waterman and Patterson 2009, *Roofline*, CACM 52(4), doi 10.1145/1498765.1498785.
    """
    if measured is not None:
        measured = _with_dims(measured)
    if ds is None:
        if measured is None:
            raise ValueError("roofline of nothing: give a grid, or measured")
        ax = overlay(measured, ceilings(measured, ax), series or by_operator(measured))
        most = max(measured.intensity.max().item(), measured.ridge_point.max().item())
        least = min(
            each.min().item() for each in (measured.intensity, measured.get("measured_intensity", measured.intensity))
        )
        ax.set_xlim(min(0.6, 0.6 * least), max(2.5 * most, 1e3))
        return finish(ax, title, measured.sizes["gpu"])
    ds = _with_dims(ds)
    l2 = measured is not None and "l2_bandwidth" in measured and "l2_bandwidth" not in ds
    ax = ceilings(ds.assign(l2_bandwidth=measured.l2_bandwidth) if measured is not None and l2 else ds, ax)
    chosen = dict(series or default_series(ds))
    if highlight is not None and highlight not in chosen:
        raise ValueError(f"highlight {highlight!r} is not a series of this chart: {', '.join(chosen)}")
    looks = series_looks(chosen)
    _chart(ds, ax, chosen, looks, highlight, ranges)
    for arrow in arrows:
        _arrow(ax, arrow)
    if ranges is not None and len(ranges) and highlight is None:
        boxes = ranges[(ranges.y_low < ranges.y_high) & (ranges.x_low < ranges.x_high)]  # a single intensity is a line
        _zoom(ax, boxes, lambda inset: _chart(ds, inset, chosen, looks, None, ranges))
    if measured is not None:
        overlay(measured, ax, by_operator(measured))
    return finish(ax, title, ds.sizes["gpu"])


def _with_dims(ds: xr.Dataset) -> xr.Dataset:
    """A grid with the dims that a chart selects from, also where one label was taken out of it."""
    return ds.expand_dims(
        [dim for dim in ("gpu", "model", "operator", "phase") if dim in ds.coords and dim not in ds.dims]
    )


def _chart(
    ds: xr.Dataset,
    ax: Axes,
    series: Series,
    looks: Mapping[str, tuple[Any, str]],
    highlight: str | None,
    ranges: pd.DataFrame | None,
) -> None:
    """The points of every series, and the published ranges of them."""
    drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for i, (label, selection) in enumerate(series.items()):
        color, own = looks[label]
        faded = highlight not in (None, label)
        parts = [select(ds, selection).sel(gpu=gpu) for gpu in ds.gpu.values]
        for j, part in enumerate(parts):
            x, y = xr.broadcast(part.intensity, part.performance)
            if not np.isfinite(y).any():
                continue
            hold(ax, x, y)
            drawn.setdefault(label, (x.values.ravel(), y.values.ravel()))
            marker = MARKERS[j % len(MARKERS)] if len(parts) > 1 else own
            line_marker = marker in "x+"  # of dots at one place, a smaller one leaves a ring of the larger
            ax.scatter(
                x.values.ravel(), y.values.ravel(), s=max(62 - 8 * i, 22) if line_marker else max(50 - 5 * i, 14),
                marker=marker, linewidths=1.2 if line_marker else 0, color=COLORS["grey"] if faded else color,
                alpha=0.35 if faded else 1, label=label if j == 0 else None, zorder=2 if faded else 3,
            )  # fmt: skip
    if ranges is not None and len(ranges):
        published_ranges(ranges, {label: color for label, (color, _) in looks.items()}, ax, points=drawn)


def _zoom(ax: Axes, boxes: pd.DataFrame, draw: Callable[[Axes], None]) -> None:
    """The part of a chart where several published boxes lie close together, drawn once more in its free corner."""
    if len(boxes) < 2:
        return
    inset = ax.inset_axes((0.12, 0.045, 0.43, 0.43), zorder=4.5)
    for line in ax.get_lines()[:2]:
        inset.plot(*line.get_data(), color=line.get_color(), linestyle=line.get_linestyle(), linewidth=1.2)
    inset.set(xscale="log", yscale="log")
    draw(inset)
    inset.set_xlim(0.8 * boxes.x_low.min(), 1.25 * boxes.x_high.max())
    inset.set_ylim(0.75 * boxes.y_low.min(), 1.35 * boxes.y_high.max())
    for axis in (inset.xaxis, inset.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    inset.tick_params(labelsize=6.5, pad=1.5, length=2)
    inset.grid(alpha=0.25, linewidth=0.6)
    ax.indicate_inset_zoom(inset, edgecolor=COLORS["grey"], alpha=0.9)


@typed(ranges=("series", "x_low", "x_high", "y_low", "y_high"))
def published_ranges(
    ranges: pd.DataFrame,
    colors: Mapping[str, Any],
    ax: Axes,
    *,
    points: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Axes:
    """Published ranges: shaded behind the points, outlined over them; a misread ridge as a faint line.

    Parameters
    ----------
    ranges : pd.DataFrame
        As for `roofline`.
    colors : mapping of str to color
        By series; others are grey.
    ax : Axes
        Where to draw.
    points : mapping of str to tuple of array, optional
        By series, its points [FLOP/byte], [FLOP/s]: a range of the intensity alone is drawn at their height, without
        points over the whole height.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    shaded = False
    for row in ranges.to_dict("records"):
        if row["series"] == RIDGE:
            _misread_ridge(row["x_low"], ax)
            continue
        x, y = (points or {}).get(row["series"], (np.full(2, row["x_low"]), np.array(ax.get_ylim())))
        limits = {str(key): value for key, value in row.items()}
        corners, color = range_outline(limits, x, y), colors.get(row["series"], COLORS["grey"])
        ax.add_patch(Polygon(corners, facecolor=color, alpha=0.22, linewidth=0, zorder=1, gid=row["series"]))
        edge, over = ("black", 3.5) if is_box(limits) else (color, 1.2)  # a box is smaller than what lies in it
        ax.add_patch(Polygon(corners, fill=False, edgecolor=edge, linewidth=0.8, zorder=over))
        shaded = True
    if shaded:
        grey: dict[str, Any] = {"facecolor": "#d9d9d9", "edgecolor": COLORS["grey"], "linewidth": 1.1}
        ax.fill_between([], [], label="published range", **grey)
    return ax


def _misread_ridge(intensity: float, ax: Axes) -> None:
    """The ridge line as a transcription has it, where the chart's own ceilings do not meet."""
    style: dict[str, Any] = {"color": COLORS["grey"], "linewidth": 1.0, "linestyle": (0, (1, 2)), "zorder": 1}
    ax.axvline(intensity, label=f"misread ridge: {intensity:g}", **style)
    ax.annotate(
        f"{intensity:g}", (intensity, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", color=COLORS["grey"], fontsize="small",
    )  # fmt: skip


def _arrow(ax: Axes, arrow: Mapping[str, Any]) -> None:
    """A dotted line with a solid head, and its text in a box that a thin line joins to where it starts."""
    start, end = np.array(arrow["start"], float), np.array(arrow["end"], float)
    ax.plot(*zip(start, end, strict=True), ":", color="black", linewidth=1.8, zorder=4)
    head = {"arrowstyle": "-|>", "color": "black", "linewidth": 0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
    ax.annotate("", tuple(end), tuple(start), arrowprops=head, zorder=4)
    ax.annotate(
        arrow["text"], tuple(start), arrow["at"], fontsize="small", ha="center", va="center", zorder=5,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": COLORS["grey"]},
        arrowprops={"arrowstyle": "-", "color": COLORS["grey"], "linewidth": 0.9, "shrinkB": 0},
    )  # fmt: skip
