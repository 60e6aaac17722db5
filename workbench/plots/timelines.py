"""The steps of a simulated server: what each computes of every request."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..signatures import typed
from ..tables.looks import COLORS

#: What is done of a request, as a bar: its label, colour and height.
BARS = {
    "waiting": ("waiting for its first step", "#BBBBBB", 0.5),
    "prompt": ("prompt, a part in a step", COLORS["orange"], 0.84),
    "decoding": ("decoding, a step a token", COLORS["blue"], 0.84),
    "held": ("held up by steps of others", COLORS["black"], 0.14),
}


@typed(table=("sent_s",))
def steps(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """What every step of a server computes of every request: a row a request, a box a step.

    Parameters
    ----------
    table : pd.DataFrame
        From `simulation.simulate` with ``steps=True``.
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
        For a table without steps.
    """
    if not table.attrs.get("steps"):
        raise ValueError("table has no steps: simulate with steps=True")
    ax = plt.gca() if ax is None else ax
    boxes = pd.DataFrame(table.attrs["steps"])
    rows = {"waiting": _waits(table, boxes), "held": _gaps(boxes)}
    rows |= {"prompt": boxes[~boxes.decoding.astype(bool)], "decoding": boxes[boxes.decoding.astype(bool)]}
    for kind, (_, color, height) in BARS.items():
        own = rows[kind]
        start, length = 1e3 * own.start_s, 1e3 * (own.end_s - own.start_s)
        ax.barh(own.request, length, height, start, color=color, edgecolor="white", linewidth=0.4)
    ax.set(ylim=(len(table) - 0.4, -0.6), yticks=range(len(table)), yticklabels=range(1, len(table) + 1))
    ax.set(xlabel="Time (ms)", ylabel="Request", title=title or "")
    ax.set_xlim(0, max(ax.get_xlim()[1], 1010 * boxes.end_s.max()))
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    shown = [Patch(color=color, label=label) for kind, (label, color, _) in BARS.items() if len(rows[kind])]
    ax.legend(handles=shown, fontsize="small", framealpha=0.95)
    return ax


def _waits(table: pd.DataFrame, boxes: pd.DataFrame) -> pd.DataFrame:
    """From when each request was sent to its first step [s]."""
    first = boxes.groupby("request").start_s.min()
    waits = pd.DataFrame({"request": first.index, "start_s": table.sent_s[first.index].to_numpy(), "end_s": first})
    return waits[waits.end_s > waits.start_s]


def _gaps(boxes: pd.DataFrame) -> pd.DataFrame:
    """Between two steps that compute something of a request, from when to when others are computed alone [s]."""
    ordered = boxes.sort_values(["request", "start_s"])
    until = ordered.groupby("request").start_s.shift(-1)
    gaps = pd.DataFrame({"request": ordered.request, "start_s": ordered.end_s, "end_s": until})
    return gaps[gaps.end_s > gaps.start_s * (1 + 1e-9)]
