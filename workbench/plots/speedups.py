"""Charts of speculative decoding, as figures 21 to 23 of the Medusa paper."""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ..signatures import typed
from ..tables.looks import COLORS, MARKERS

#: Columns of what is read off a printed chart.
PRINTED = ("variable", "batch_size", "seq_len", "candidates", "low", "high")


@typed(
    ds=("candidates", "group_latency", "latency", "normalized_latency", "acceleration_rate", "speedup"), printed=PRINTED
)
def speculation(
    ds: xr.Dataset, ax: Axes | None = None, *, printed: pd.DataFrame | None = None, title: str | None = None
) -> Axes:
    """Speedup of verifying candidates, by their number, as in figures 21 to 23 of the Medusa paper.

    Parameters
    ----------
    ds : xr.Dataset
        From `speculation.speedup`. Of one setting, the normalized latency as bars, stacked by group, with the
        acceleration rate and the speedup as lines; of several, a line of the speedup for each.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    printed : pd.DataFrame, optional
        What the paper prints, as from `audit.printed_speedups`; drawn as hollow markers, a range as a bar with
        ends.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.

    References
    ----------
    Cai et al. 2024, *Medusa*, arXiv 2401.10774v3.
    """
    ax = plt.gca() if ax is None else ax
    many = [str(dim) for dim in ds.speedup.dims if dim != "candidates" and ds.sizes[dim] > 1]
    if printed is None:
        printed = pd.DataFrame(columns=list(PRINTED))
    if many:
        _speedups(ds, ax, many, printed[printed.variable == "speedup"])
    else:
        _one_speedup(ds.squeeze([dim for dim in ds.speedup.dims if dim != "candidates"]), ax, printed)
    counts = np.union1d(ds.candidates.values, [1])
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.set(xlabel="Candidate tokens", ylim=(0, 1.38 * max(ax.get_ylim()[1], 1)), title=title or "")
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
    names = {name: label for name, (*_, label) in styles.items()} | {"normalized_latency": "latency"}
    for (name, color), marker in zip(colors.items(), "soD", strict=True):
        _read_off(ax, printed[printed.variable == name], color, marker, f"{names[name]}, printed")
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
        line = lines.isel(line=i).values.ravel()
        ax.plot(ds.candidates, line, color=color, marker=MARKERS[1 + i % 7], ms=5, label=label, zorder=3)
        where = {name: values.get(name, ds[name].values.ravel()[0]) for name in names}
        _read_off(ax, printed[(printed[list(where)] == pd.Series(where)).all(axis=1)], color, MARKERS[1 + i % 7])
    if len(printed):
        ax.plot([], [], color="black", marker="o", label="read off the paper's chart", **_HOLLOW)
    ax.axhline(1, color="black", linewidth=0.8, linestyle=":", zorder=2)
    ax.set(ylabel="Speedup over plain decoding")


def _read_off(ax: Axes, rows: pd.DataFrame, color: Any, marker: str, label: str | None = None) -> None:
    """Published values as hollow markers of their line, ranges as bars with ends; with a label, both in the legend."""
    points, ranges = rows[rows.low == rows.high], rows[rows.low < rows.high]
    ax.plot(points.candidates, points.low, color=color, marker=marker, label=label if len(points) else None, **_HOLLOW)
    middle, half = (ranges.high + ranges.low) / 2, (ranges.high - ranges.low) / 2
    style: dict[str, Any] = {"linestyle": "none", "elinewidth": 1.5, "capsize": 5, "zorder": 4}
    name = f"{label} range" if label and len(ranges) else None
    ax.errorbar(ranges.candidates, middle, half, color=color, label=name, **style)
