"""Charts of published measurements of servers beside what is predicted for them."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FixedLocator, NullFormatter

from ..common.arguments import one_of
from ..signatures import typed
from ..tables.looks import COLORS

#: What can be measured of a server, as axes say it, and the unit behind their tick labels.
SERVED = {
    "tokens_per_second": ("throughput (tokens/s)", ""), "ttft_s": ("TTFT", "s"), "tpot_s": ("TPOT", "s"),
}  # fmt: skip
#: Columns of `studies.serving_predictions` that the charts show.
COMPARED = tuple(f"{whose}{name}" for whose in ("", "kernel_", "ideal_") for name in SERVED)
#: Whose predictions are drawn, in the order of the legend: what they are called, and their colour.
PREDICTORS = {"kernel": ("kernels' times and host", "sky"), "ideal": ("ideal roofline", "orange")}
#: What counts as near: predicted over measured, and the ends of the axis of such ratios [1].
NEAR, RATIOS = (0.75, 1.25), (0.2, 16.0)
#: Engines as points of a scatter: colour and marker.
ENGINE_LOOKS = {"vllm": ("blue", "o"), "sglang": ("green", "^"), "trtllm": ("orange", "s")}


@typed(table=COMPARED)
def served_ratios(table: pd.DataFrame, by: str, ax: Axes | None = None, *, quantity: str = "tokens_per_second") -> Axes:
    """Predicted over measured of servers, a pair of boxes for each value of a column; a box is half of the runs.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `studies.serving_predictions`.
    by : str
        A column, such as "source", "engine", "gpu" or "model".
    ax : Axes, optional
        Where to draw; the current axes unless given.
    quantity : str
        "tokens_per_second", "ttft_s" or "tpot_s".

    Returns
    -------
    Axes
        The axes drawn on. Whiskers end at 5 and 95 % of the runs; at the right stand how many there are, and the mean
        absolute error of the first box.
    """
    ax = plt.gca() if ax is None else ax
    one_of("quantity", quantity, SERVED)
    one_of("by", by, [str(name) for name in table])
    rows = table[table[f"kernel_{quantity}"].notna() & table[quantity].notna()]
    groups = [group for _, group in rows.groupby(by)]
    for i, (whose, (_, color)) in enumerate(PREDICTORS.items()):
        ratios = [(group[f"{whose}_{quantity}"] / group[quantity]).to_numpy() for group in groups]
        style: dict[str, Any] = {"linewidth": 1, "color": COLORS["black"]}
        ax.boxplot(
            ratios, orientation="horizontal", positions=np.arange(len(groups)) - 0.19 + 0.38 * i, widths=0.3,
            whis=(5, 95), showfliers=False, patch_artist=True, manage_ticks=False,
            boxprops=style | {"facecolor": COLORS[color]}, medianprops=style | {"linewidth": 2},
            whiskerprops=style, capprops=style,
        )  # fmt: skip
        if whose == "kernel":
            for at, ratio in enumerate(ratios):
                said = f"{len(ratio):,}, {100 * np.abs(ratio - 1).mean():.0f} % off"
                ax.annotate(said, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    ax.axvspan(*NEAR, color=COLORS["grey"], alpha=0.25, linewidth=0, zorder=0)
    ax.axvline(1, color=COLORS["black"], linewidth=1, zorder=1)
    ax.set(xscale="log", xlim=RATIOS, ylim=(len(groups) - 0.5, -0.5))
    ax.set_yticks(range(len(groups)), [str(group[by].iloc[0]) for group in groups])
    ax.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4, 8, 16]))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    return ax


def predictor_legend() -> list[Patch]:
    """The boxes of `served_ratios`, and the band of what is near, for a legend.

    Returns
    -------
    list of Patch
        With their labels.
    """
    boxes = [Patch(facecolor=COLORS[color], edgecolor="black", label=name) for name, color in PREDICTORS.values()]
    return [*boxes, Patch(color=COLORS["grey"], alpha=0.25, linewidth=0, label="within 25 %")]


@typed(table=(*COMPARED, "engine"))
def served_scatter(table: pd.DataFrame, quantity: str, ax: Axes | None = None) -> Axes:
    """Predicted against measured of servers, a point a run, its colour and marker the engine; on the line they agree.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `studies.serving_predictions`.
    quantity : str
        "tokens_per_second", "ttft_s" or "tpot_s".
    ax : Axes, optional
        Where to draw; the current axes unless given.

    Returns
    -------
    Axes
        The axes drawn on; the band is what is within 25 %.
    """
    ax = plt.gca() if ax is None else ax
    name, unit = SERVED[one_of("quantity", quantity, SERVED)]
    predicted = f"kernel_{quantity}"
    rows = table[table[predicted].notna() & table[quantity].notna()]
    if rows.empty:
        ax.set_xlabel(f"{name}: measured by none of these")
        return ax
    for engine, (color, marker) in ENGINE_LOOKS.items():
        own = rows[rows.engine == engine]
        style: dict[str, Any] = {
            "color": COLORS[color],
            "marker": marker,
            "linewidths": 0,
            "alpha": 0.45,
            "rasterized": True,
        }
        if len(own):
            ax.scatter(own[quantity], own[predicted], s=12, label=engine, **style)
    ends = np.array([rows[[quantity, predicted]].min().min() / 1.3, rows[[quantity, predicted]].max().max() * 1.3])
    ax.fill_between(ends, NEAR[0] * ends, NEAR[1] * ends, color=COLORS["grey"], alpha=0.25, linewidth=0, zorder=0)
    ax.plot(ends, ends, color=COLORS["black"], linewidth=1, zorder=1)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel=f"Measured {name}", ylabel=f"Predicted {name}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(EngFormatter(sep=" " if unit else "", unit=unit))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(loc="upper left", fontsize=8.5)
    return ax
