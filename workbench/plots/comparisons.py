"""A recorded load test and its simulation in one chart."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ..common.arguments import one_of
from ..signatures import typed
from ..tables.looks import COLORS

#: What is drawn over time of both, with the label of its axis.
OVER_TIME = {
    "running": "Requests running", "waiting": "Requests waiting", "token_rate": "Output tokens per second, as counted",
    "implied_token_rate": "Output tokens per second, of all that run", "sent_rate": "Requests sent per second",
}  # fmt: skip
#: How both are drawn: told apart by colour and by line.
SOURCES: dict[str, dict[str, Any]] = {
    "measured": {"color": COLORS["black"], "linestyle": "-", "linewidth": 1.6},
    "simulated": {"color": COLORS["orange"], "linestyle": "--", "linewidth": 1.6},
}


@typed(ds=("time", "step", "source", "running", "waiting", "token_rate"))
def over_time(ds: xr.Dataset, variable: str = "running", ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """A load test and its simulation over time, as steps.

    Parameters
    ----------
    ds : xr.Dataset
        The `timeline` of a `loadtest.Comparison`.
    variable : str
        One of `OVER_TIME`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        For an unknown variable.
    """
    name = one_of("variable", variable, OVER_TIME)
    ax = plt.gca() if ax is None else ax
    edges = np.append(ds.time.values, ds.time.values[-1] + float(ds.step))
    for source, style in SOURCES.items():
        ax.stairs(ds[name].sel(source=source).values, edges, baseline=None, label=source, **style)
    ax.set(xlabel="Time (s)", ylabel=OVER_TIME[name], title=title or "")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95)
    return ax
