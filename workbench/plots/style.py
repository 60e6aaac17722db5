"""What all charts share: colours, markers, log axes, titles and legends."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.ticker import EngFormatter, NullFormatter

COLORS = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D55E00", "purple": "#B07AD9",
    "brown": "#7B4A12", "grey": "#8C8C8C", "sky": "#56B4E9", "black": "#000000",
}  # fmt: skip
SERIES_COLORS = [COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "brown", "sky", "grey")]
MARKERS = "xo^sDv*P"
LINES: list[Any] = ["--", ":", "-.", (0, (6, 3)), (0, (3, 1, 1, 1, 1, 1))]


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


def finish(ax: Axes, title: str | None, gpus: int = 1) -> Axes:
    """Title above the ridge labels, legend at the bottom right, as in the papers."""
    ax.set_title(title or "", pad=10 + 10 * gpus)
    legend = ax.legend(loc="lower right", fontsize="small", framealpha=0.95)
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([32])
    return ax
