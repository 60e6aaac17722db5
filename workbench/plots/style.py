"""What all charts share: lines, log axes, titles and legends; colours and markers are those of `tables.looks`."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import EngFormatter, NullFormatter

from ..signatures import typed

LINES: list[Any] = ["--", ":", "-.", (0, (6, 3)), (0, (3, 1, 1, 1, 1, 1))]


@typed()
def log_axes(ax: Axes) -> Axes:
    """The charts' axes: log-log, with ticks 1, 10, 100, 1k over 10G, 1T, 100T.

    Parameters
    ----------
    ax : Axes
        The axes to set up.

    Returns
    -------
    Axes
        The same axes.
    """
    ax.set(xscale="log", yscale="log", xlim=(0.6, 1e4), ylim=(1e10, 6e14))
    ax.set(xlabel="Operational Intensity (FLOP/Byte)", ylabel="Performance (FLOP/s)")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1 else EngFormatter(sep="")(value))
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    return ax


@typed()
def hold(ax: Axes, intensity: xr.DataArray, performance: xr.DataArray) -> None:
    """Move the limits of axes out to whole decades, where values lie beyond them.

    Parameters
    ----------
    ax : Axes
        The axes.
    intensity, performance : xr.DataArray
        Values to hold [FLOP/byte], [FLOP/s].
    """
    for values, get, put in ((intensity, ax.get_xlim, ax.set_xlim), (performance, ax.get_ylim, ax.set_ylim)):
        if not np.isfinite(values).any():
            continue
        low, high = get()
        least, most = 0.8 * np.nanmin(values), 1.25 * np.nanmax(values)
        put(
            10 ** np.floor(np.log10(least)) if least < low else low,
            10 ** np.ceil(np.log10(most)) if most > high else high,
        )


def finish(ax: Axes, title: str | None, gpus: int = 1) -> Axes:
    """Title above the ridge labels, legend at the bottom right, as in the papers."""
    ax.set_title(title or "", pad=10 + 10 * gpus)
    legend = ax.legend(loc="lower right", fontsize=7.6, framealpha=0.95, handlelength=1.6, handletextpad=0.6)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([32])
    return ax
