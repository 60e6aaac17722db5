"""What all charts share: colours, markers, log axes, titles and legends."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import EngFormatter, NullFormatter

from ..signatures import typed

#: The colours by name: shades of Okabe and Ito (2008), which stay apart for colour-blind readers.
COLORS = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D55E00", "purple": "#B07AD9",
    "brown": "#7B4A12", "grey": "#8C8C8C", "sky": "#56B4E9", "black": "#000000",
}  # fmt: skip
#: Colours of the series of a chart, in their order.
SERIES_COLORS = [COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "brown", "sky", "grey")]
#: Markers of GPUs or series, in their order.
MARKERS = "xo^sDv*P"
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
    ax.set(xscale="log", yscale="log", xlim=(0.6, 1e4), ylim=(1e10, 1e15))
    ax.set(xlabel="Operational Intensity (FLOP/Byte)", ylabel="Performance (FLOP/s)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(EngFormatter(sep=""))
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
        low, high = get()
        least, most = 0.8 * np.nanmin(values), 1.25 * np.nanmax(values)
        put(
            10 ** np.floor(np.log10(least)) if least < low else low,
            10 ** np.ceil(np.log10(most)) if most > high else high,
        )


def finish(ax: Axes, title: str | None, gpus: int = 1) -> Axes:
    """Title above the ridge labels, legend at the bottom right, as in the papers."""
    ax.set_title(title or "", pad=10 + 10 * gpus)
    legend = ax.legend(loc="lower right", fontsize="small", framealpha=0.95)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([32])
    return ax
