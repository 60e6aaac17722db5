"""Charts: functions that take a Dataset and an optional Axes, draw, and return the Axes; none of them saves.

Colours are the published charts' in the shades of Okabe and Ito (2008), which stay apart for colour-blind readers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from .comparison import STATIC_COLUMNS
from .tables import Series, default_series, select

COLORS = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D55E00", "purple": "#B07AD9",
    "brown": "#7B4A12", "grey": "#8C8C8C", "sky": "#56B4E9", "black": "#000000",
}  # fmt: skip
SERIES_COLORS = [COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "brown", "sky", "grey")]
MARKERS = "xo^sDv*P"
LINES: list[Any] = ["--", ":", "-.", (0, (6, 3)), (0, (3, 1, 1, 1, 1, 1))]


def candidate_color(candidates: int, most: int) -> Any:
    """The Medusa charts' scale: orange for few candidates, through pink, to dark purple for the most."""
    return mpl.colormaps["plasma"](0.8 * (1 - candidates / most))


def log_axes(ax: Axes) -> Axes:
    """The charts' axes: log-log, ticks 1, 10, 100, 1k over 10G, 1T, 100T."""
    ax.set(xscale="log", yscale="log", xlim=(0.6, 1e4), ylim=(1e10, 1e15))
    ax.set(xlabel="Operational Intensity (FLOP/Byte)", ylabel="Performance (FLOP/s)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    return ax


def hold(ax: Axes, intensity: Any, performance: Any) -> None:
    """Where intensities [FLOP/byte] or rates [FLOP/s] lie beyond the axes' limits, move these out to whole decades."""
    for values, get, put in ((intensity, ax.get_xlim, ax.set_xlim), (performance, ax.get_ylim, ax.set_ylim)):
        low, high = get()
        least, most = 0.8 * np.nanmin(values), 1.25 * np.nanmax(values)
        put(
            10 ** np.floor(np.log10(least)) if least < low else low,
            10 ** np.ceil(np.log10(most)) if most > high else high,
        )


def ceilings(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The bandwidth line, the peak line and the dashed ridge line of every GPU, labelled with their values.

    ds : peak_flop_rate [FLOP/s] and bandwidth [byte/s] by gpu; where operators compute in different formats, a peak and
        a ridge line for each
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
    """Published ranges behind the points: a box, or, where only the intensity has a range, a bar at the top."""
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


def t4_roofline(
    phases: Mapping[str, xr.Dataset],
    spans: Mapping[str, Sequence[float]],
    ax: Axes | None = None,
    *,
    title: str | None = None,
) -> Axes:
    """Whole forward passes on the roofline: the report's formula as open circles, ours filled.

    phases : phase -> `comparison.static_tables`
    spans : phase -> range of intensities that the report prints [FLOP/byte], shaded over the full height
    """
    ax = ceilings(next(iter(phases.values())), ax)
    for (phase, ds), color in zip(phases.items(), (COLORS["blue"], COLORS["orange"]), strict=False):
        hold(ax, ds.intensity, ds.performance)
        ax.axvspan(*spans[phase], color=color, alpha=0.15, linewidth=0, label=f"{phase}, published range", zorder=0)
        for source, face in (("report", "none"), ("workbench", color)):
            x, y = (ds[name].sel(source=source).values.ravel() for name in ("intensity", "performance"))
            size, label = (42, "report") if source == "report" else (18, "workbench")
            ax.scatter(x, y, s=size, facecolors=face, edgecolors=color, zorder=3, label=f"{phase}, {label}")
    return _finish(ax, title)


def predicted_against_measured(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Kernel times of a fit, for rows that it did not see, against the measured ones; on the line they agree.

    table : `calibration.Calibration.table`, with kind, time_s, ideal_s and held_out_s [s]; crosses are the ideal roof's
    """
    ax = plt.gca() if ax is None else ax
    _against_measured(table, ax, lambda predicted, measured: predicted)
    ax.axline((1e-6, 1e-6), (1e-3, 1e-3), color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(yscale="log", ylabel="Predicted time (s)", ylim=ax.get_xlim())
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return _finish(ax, title, 0)


def residuals(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Predicted over measured times of `predicted_against_measured`'s rows; at 1 they agree."""
    ax = plt.gca() if ax is None else ax
    _against_measured(table, ax, lambda predicted, measured: predicted / measured)
    ax.axhline(1, color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(yscale="log", ylim=(0.02, 5), ylabel="Predicted / measured")
    ax.yaxis.set_major_formatter("{x:g}")
    return _finish(ax, title, 0)


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


def compare_sources(
    ds: xr.Dataset, column: str, ax: Axes | None = None, *, printed: pd.DataFrame | None = None
) -> Axes:
    """A column of the T4 report's static tables against sequence length: the report's formula dashed, ours solid.

    ds : `comparison.static_tables`; a line for each batch size
    column : a key of `comparison.STATIC_COLUMNS`
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


def speculation(
    ds: xr.Dataset, ax: Axes | None = None, *, printed: pd.DataFrame | None = None, title: str | None = None
) -> Axes:
    """Speedup of verifying candidates, by their number, as in figures 21 to 23 of the Medusa paper.

    ds : `speculation.speedup`; of one setting the normalized latency as bars, stacked by group, with the acceleration
        rate and the speedup as lines; of several a line of the speedup for each
    printed : what the paper prints, drawn as hollow markers, a range as a bar with ends (see `audit.printed_speedups`)
    """
    ax = plt.gca() if ax is None else ax
    many = [str(dim) for dim in ds.speedup.dims if dim != "candidates" and ds.sizes[dim] > 1]
    if printed is None:
        printed = pd.DataFrame(columns=["variable", "batch_size", "seq_len", "candidates", "low", "high"])
    if many:
        _speedups(ds, ax, many, printed[printed.variable == "speedup"])
    else:
        _one_speedup(ds.squeeze(), ax, printed)
    if len(printed):
        ax.plot([], [], color="black", marker="o", label="read off the paper's chart", **_HOLLOW)
    counts = np.union1d(ds.candidates.values, [1])
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.set(xlabel="Candidate tokens", ylim=(0, 1.3 * max(ax.get_ylim()[1], 1)), title=title or "")
    ax.grid(axis="y", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.legend(loc="upper left", fontsize="small", ncol=3, framealpha=0.95)
    return ax


_HOLLOW: dict[str, Any] = {"linestyle": "none", "ms": 9, "mfc": "none", "mew": 1.5, "zorder": 4}


def _one_speedup(ds: xr.Dataset, ax: Axes, printed: pd.DataFrame) -> None:
    """Stacked bars of the normalized latency; acceleration rate and speedup as lines."""
    counts = ds.candidates.values
    width = 0.55 * np.min(np.diff(np.unique(counts)), initial=16)
    shares, bottom = ds.group_latency / ds.latency * ds.normalized_latency, np.zeros(len(counts))
    for shade, group in zip(("sky", "orange", "grey", "brown"), ds.group.values, strict=False):
        height = shares.sel(group=group).values
        ax.bar(counts, height, width, bottom, color=COLORS[shade], alpha=0.65, label=f"latency: {group}")
        bottom = bottom + height
    styles = {"acceleration_rate": ("green", "--s", "acceleration rate"), "speedup": ("blue", "-o", "speedup")}
    for name, (shade, style, label) in styles.items():
        ax.plot(counts, ds[name], style, color=COLORS[shade], ms=4, label=label, zorder=3)
    colors = {name: COLORS[shade] for name, (shade, *_) in styles.items()} | {"normalized_latency": COLORS["brown"]}
    for (name, color), marker in zip(colors.items(), "soD", strict=True):
        _read_off(ax, printed[printed.variable == name], color, marker)
    ax.axhline(1, color="black", linewidth=0.8, linestyle=":", zorder=2)
    ax.set(ylabel="Relative to plain decoding")


def _speedups(ds: xr.Dataset, ax: Axes, many: list[str], printed: pd.DataFrame) -> None:
    """A line of the speedup for every setting, from dark to light."""
    lines = ds.speedup.stack(line=many)
    names = {"batch_size": "batch {}", "seq_len": "{} tokens"}
    for i, setting in enumerate(lines.line.values):
        color = mpl.colormaps["viridis"](0.92 * i / max(lines.sizes["line"] - 1, 1))
        values = dict(zip(many, np.atleast_1d(np.array(setting, dtype=object)), strict=True))
        label = ", ".join(names.get(dim, "{}").format(value) for dim, value in values.items())
        line = lines.isel(line=i).squeeze()
        ax.plot(ds.candidates, line, color=color, marker=MARKERS[1 + i % 7], ms=5, label=label, zorder=3)
        where = {name: values.get(name, ds[name].values.ravel()[0]) for name in names}
        _read_off(ax, printed[(printed[list(where)] == pd.Series(where)).all(axis=1)], color, MARKERS[1 + i % 7])
    ax.axhline(1, color="black", linewidth=0.8, linestyle=":", zorder=2)
    ax.set(ylabel="Speedup over plain decoding")


def _read_off(ax: Axes, rows: pd.DataFrame, color: Any, marker: str) -> None:
    """Published values as hollow markers of their line, ranges as bars with ends."""
    points, ranges = rows[rows.low == rows.high], rows[rows.low < rows.high]
    ax.plot(points.candidates, points.low, color=color, marker=marker, **_HOLLOW)
    middle, half = (ranges.high + ranges.low) / 2, (ranges.high - ranges.low) / 2
    ax.errorbar(ranges.candidates, middle, half, color=color, linestyle="none", elinewidth=1.5, capsize=5, zorder=4)
