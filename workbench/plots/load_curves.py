"""Chart of a sweep: latency of a server over its throughput, a point a run."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..common.arguments import one_of
from ..common.errors import unknown
from ..signatures import typed
from ..tables.looks import COLORS

#: What a sweep is drawn over and what is drawn: the label, and what its unit is multiplied by.
OVER = {
    "finished_rate": "Requests finished per second", "output_token_rate": "Output tokens per second",
    "asked_rate": "Requests asked for per second", "concurrency": "Requests at a time",
}  # fmt: skip
LOAD_MARKS = {"ttft": ("blue", "o"), "tpot": ("orange", "s"), "itl": ("green", "^"), "e2e": ("grey", "D")}


@typed(table=("run", "label", "source"))
def load_curve(
    table: pd.DataFrame, ax: Axes | None = None, *, over: str = "finished_rate", statistic: str = "p50"
) -> Axes:
    """Latencies over the throughput of a sweep's runs, in the order of the latter; filled where requests are known.

    Parameters
    ----------
    table : pd.DataFrame
        From `loadtest.runs`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    over : str
        "finished_rate", "output_token_rate", "asked_rate" or "concurrency".
    statistic : str
        "mean", "p50", "p75", "p90", "p95" or "p99".

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        For another of these, or where no run has both.
    """
    over = one_of("over", over, OVER)
    columns = {name: f"{name}_{statistic}" for name in LOAD_MARKS if f"{name}_{statistic}" in table}
    if not columns:
        raise unknown("statistic", statistic, ("mean", "p50", "p75", "p90", "p95", "p99"))
    ax = plt.gca() if ax is None else ax
    for name, column in columns.items():
        known = table[np.isfinite(table[over]) & table[column].notna()].sort_values(over)
        if known.empty:
            continue
        color, mark = COLORS[LOAD_MARKS[name][0]], LOAD_MARKS[name][1]
        ax.plot(known[over], 1e3 * known[column], color=color, label=f"{name.upper()} {statistic}")
        for source, face in (("requests", color), ("summary", "white")):
            part = known[known.source == source]
            ax.plot(part[over], 1e3 * part[column], mark, color=color, markerfacecolor=face)
    if not ax.get_lines():
        raise ValueError(f"no run with both {over} and a latency's {statistic}")
    ax.set(xlabel=OVER[over], ylabel="Latency (ms)", yscale="log")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend()
    return ax
