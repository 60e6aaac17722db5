"""Charts of kernel times: against batch size, and how far off the kernel-time model is."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

from ..catalog.fits import FORMATTED, KINDS
from ..common.arguments import one_of
from ..signatures import typed
from ..tables.looks import COLORS, SERIES_COLORS
from .style import finish

#: Columns of a fit's table, and of `tables.fidelity`, that the charts show.
FITTED_COLUMNS = ("kind", "time_s", "ideal_s", "held_out_s")
ERRORS = ("gpu", "kind", "format", "engine", "ideal [%]", "held out [%]", "elsewhere [%]")
#: Engines in the order of their colours.
ENGINE_ORDER = ("vllm", "sglang", "trtllm", "pytorch", "nccl")


@typed(table=FITTED_COLUMNS)
def predicted_against_measured(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Kernel times of a fit, for rows that it did not see, against the measured ones; on the line they agree.

    Parameters
    ----------
    table : pd.DataFrame
        `CalibrationResult.table` of `calibration.fit`, with kind, time_s, ideal_s and held_out_s [s]; crosses are
        the ideal roofline's.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    _against_measured(table, ax, lambda predicted, measured: predicted)
    ax.axline((1e-6, 1e-6), (1e-3, 1e-3), color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(yscale="log", ylabel="Predicted time (s)", ylim=ax.get_xlim())
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return finish(ax, title, 0)


@typed(table=FITTED_COLUMNS)
def residuals(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Predicted over measured kernel times, for rows that the fit did not see; at 1 they agree.

    Parameters
    ----------
    table : pd.DataFrame
        As for `predicted_against_measured`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    _against_measured(table, ax, lambda predicted, measured: predicted / measured)
    ax.axhline(1, color=COLORS["black"], linewidth=1, zorder=3)
    ax.set(yscale="log", ylim=(0.02, 5), ylabel="Predicted / measured")
    ax.yaxis.set_major_formatter("{x:g}")
    return finish(ax, title, 0)


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


#: What the axis of each quantity says, and the unit behind its tick labels; None is a linear axis from 0.
BATCHING_QUANTITIES: dict[str, tuple[str, str | None]] = {
    "time": ("Time per kernel call", "s"),
    "tokens_per_second": ("Throughput of the kernel (tokens/s)", ""),
    "relative_time": ("Time over that of the smallest batch", ""),
    "share": ("Share of the layer's matmul time (%)", None),
}
MARKS = "osD^vP"


@typed(table=("operator", "seq_len", "time_model", "batch_size"))
def against_batch(table: pd.DataFrame, quantity: str, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Lines against batch size: the ideal roofline's dashed, the kernel model's solid, a colour a setting.

    Parameters
    ----------
    table : pd.DataFrame
        From `tables.lines`; where it has ridge_batch_size, there are dotted lines at the finite ones.
    quantity : str
        A key of `BATCHING_QUANTITIES`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    label, unit = BATCHING_QUANTITIES[one_of("quantity", quantity, BATCHING_QUANTITIES)]
    for i, (_, rows) in enumerate(table.groupby(["operator", "seq_len"], sort=False)):
        color = SERIES_COLORS[i % len(SERIES_COLORS)]
        for time_model, style in (("ideal", {"ls": "--", "lw": 1.3}), ("kernel", {"marker": MARKS[i % len(MARKS)]})):
            line = rows[rows.time_model == time_model]
            own: dict[str, Any] = {
                "color": color,
                "ms": 4.5,
                "label": _label(table, line) if time_model == "kernel" else None,
            }
            ax.plot(line.batch_size, line[quantity], **own, **style)
    ax.set(xscale="log", xlabel="Batch size (sequences)", ylabel=label, title=title or "")
    ax.set_xticks(sorted(table.batch_size.unique()), [str(b) for b in sorted(table.batch_size.unique())])
    ax.xaxis.set_minor_locator(NullLocator())
    if unit is None:
        ax.set_ylim(0, 100)
    else:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        if high < 100 * low:
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        if quantity == "tokens_per_second":  # room for the legend
            ax.set_ylim(bottom=low * (low / high) ** 0.4)
        ax.yaxis.set_major_formatter(EngFormatter(unit=unit, sep=" " if unit else ""))
        ax.yaxis.set_minor_formatter(NullFormatter())
    if "ridge_batch_size" in table:
        _ridges(table.ridge_batch_size, ax)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95, loc="lower right" if quantity == "tokens_per_second" else "upper left")
    return ax


def _label(table: pd.DataFrame, line: pd.DataFrame) -> str:
    """What tells a line from the others of its panel: the operator, the sequence length, or both."""
    operator, seq_len = line[["operator", "seq_len"]].iloc[0]
    parts = [operator] if table.operator.nunique() > 1 else []
    if table.seq_len.nunique() > 1 or not parts:
        parts.append(f"{seq_len} tokens")
    return ", ".join(parts)


def _ridges(batch_sizes: pd.Series, ax: Axes) -> None:
    """Dotted lines where the ideal kernels pass the ridge point, with one entry in the legend."""
    finite = sorted({b for b in batch_sizes if np.isfinite(b)})
    label = f"ridge point: batch {' and '.join(f'{b:.0f}' for b in finite)}"
    for i, batch in enumerate(finite):
        ax.axvline(batch, color="#555555", linestyle=":", linewidth=1.2, zorder=1, label=None if i else label)


@typed(table=ERRORS)
def fidelity(table: pd.DataFrame, ax: Axes | None = None, *, error: str = "held out [%]") -> Axes:
    """Mean errors by class of kernels: a dot a GPU, a colour and mark an engine; hollow, the ideal roofline's mean.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `tables.fidelity` of one regime.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    error : str
        Which errors: "held out [%]", on shapes that the fit did not see, or "elsewhere [%]", of another GPU's fit.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    column = one_of("error", error, ("held out [%]", "elsewhere [%]", "error [%]"))
    ax = plt.gca() if ax is None else ax
    keys = table.kind.str.replace("_", " ") + " " + table["format"].where(table.kind.isin(FORMATTED), "")
    order = table.assign(key=keys.str.strip())
    order = order.sort_values("kind", key=lambda kind: kind.map(KINDS.index), kind="stable")
    names = list(dict.fromkeys(order.key))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    for edge in range(1, len(names), 2):
        ax.axhspan(edge - 0.5, edge + 0.5, color=COLORS["grey"], alpha=0.12, linewidth=0)
    ideal = order.groupby("key")["ideal [%]"].mean()
    mean: dict[str, Any] = {"color": COLORS["black"], "mfc": "none", "ms": 5, "label": "ideal roofline"}
    ax.plot(ideal.reindex(names), range(len(names)), "D", **mean)
    makers = [name for name in ENGINE_ORDER if name in set(order.engine)]
    for i, name in enumerate(makers):
        rows = order[order.engine == name]
        y = rows.key.map(names.index) + 0.7 * ((i + 0.5) / len(makers) - 0.5)
        ax.plot(rows[column], y, MARKS[i], color=SERIES_COLORS[i], ms=4.5, alpha=0.8, mew=0, label=name)
    ax.set(xlabel="Mean absolute error (%)", xlim=(0, 100))
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    return ax
