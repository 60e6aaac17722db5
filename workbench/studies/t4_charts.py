"""The charts of the T4 report, each with the table of what it shows."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from .. import loadtest
from ..common.errors import shown, unknown
from ..common.variables import with_units
from ..loadtest.rows import REQUEST_COLUMNS
from ..plots import servers
from ..published.t4 import PRINTED_INTENSITY, T4_BATCH_SIZES, T4_COUNTED_TOKENS, T4_ENGINE_RATE, T4_RUNNING, T4_TOKENS
from ..signatures import typed
from ..tables.looks import COLORS, SERIES_COLORS
from .t4_load_test import t4_comparison
from .t4_roadmap import roadmap
from .t4_static import static_rows, static_tables
from .t4_static_charts import measured_step, printed_rows, t4_roofline

Chart = tuple[Figure, pd.DataFrame]


@typed(requests=REQUEST_COLUMNS)
def draw_chart(chart: str, requests: pd.DataFrame, *, title: str | None = None) -> Chart:
    """Draw a chart of the report.

    Parameters
    ----------
    chart : str
        "roofline", "queue", "requests", "roadmap" or "comparison" (`CHARTS`).
    requests : pandas.DataFrame
        A run, from `studies.load_test_requests`.
    title : str, optional
        Title of the chart.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The chart.
    table : pandas.DataFrame
        The numbers in it, units in the header.

    Raises
    ------
    ValueError
        For an unknown chart.
    """
    if chart not in CHARTS:
        raise unknown("chart", chart, CHARTS)
    return CHARTS[chart](requests, title)


def _roofline_chart(requests: pd.DataFrame, title: str | None) -> Chart:
    """Whole forward passes, by the report's formulas and by ours; what it prints, and what its load test measured."""
    passes = {phase: static_tables(phase, T4_BATCH_SIZES, tokens) for phase, tokens in T4_TOKENS.items()}
    marks = pd.concat([printed_rows(), measured_step()], ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 6.4))
    t4_roofline(passes, PRINTED_INTENSITY, ax, title=title, marks=marks)
    return figure, pd.concat([static_rows(passes), with_units(marks)], ignore_index=True)


def _queue_chart(requests: pd.DataFrame, title: str | None) -> Chart:
    """Requests waiting and running, and tokens a second, over time; simulated ones as the engine counts them."""
    ds = loadtest.timeline(requests)
    simulated = requests.attrs.get("source") == "simulated"
    if simulated:  # `load_test_requests` counts four characters as a token, as the report's load generator does
        ds = ds.assign({name: ds[name] / T4_COUNTED_TOKENS for name in ("token_rate", "implied_token_rate")})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    servers.queue(ds, left)
    if simulated:
        right.axhspan(*T4_ENGINE_RATE, color=COLORS["sky"], alpha=0.25, linewidth=0, label="the engine's log", zorder=0)
    servers.token_rate(ds, right)
    right.set_ylabel("Generated tokens per second" if simulated else "Tokens per second, as the load test counts them")
    figure.suptitle(title or "")
    columns = {"step": "step [s]", "time": "time [s]", "token_rate": "token_rate [1/s]"}
    table = ds[["step", "waiting", "running", "token_rate", "implied_token_rate"]].to_dataframe().reset_index()
    return figure, table.rename(columns=columns | {"implied_token_rate": "implied_token_rate [1/s]"})


def _requests_chart(requests: pd.DataFrame, title: str | None) -> Chart:
    """Every request from its send to its last token."""
    figure, ax = plt.subplots(figsize=(8, 5.2))
    servers.requests(requests, ax, title=title)
    times = {f"{name}_s": f"{name} [s]" for name in ("sent", "first_token", "last_token")}
    return figure, requests[[*times, "status"]].rename(columns=times)


def _roadmap_chart(requests: pd.DataFrame, title: str | None) -> Chart:
    """Gains computed, over those that the report expects."""
    table = roadmap()
    figure, axes = plt.subplots(2, 1, figsize=(9, 8.4), height_ratios=(12, 5), layout="constrained")
    gains_chart(table, axes, title=title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return figure, table


def _comparison_chart(requests: pd.DataFrame, title: str | None) -> Chart:
    """The simulation against the five recorded runs."""
    table = t4_comparison()
    figure, ax = plt.subplots(figsize=(8.5, 5.2))
    ratios_chart(table, ax, title=title)
    return figure, table


#: What `draw_chart` draws, by name.
CHARTS: dict[str, Callable[[pd.DataFrame, str | None], Chart]] = {
    "roofline": _roofline_chart, "queue": _queue_chart, "requests": _requests_chart, "roadmap": _roadmap_chart,
    "comparison": _comparison_chart,
}  # fmt: skip


# On axes that are given ------------------------------------------------------------------------------------------


_GUESS: dict[str, Any] = {"color": COLORS["sky"], "linewidth": 11, "alpha": 0.45, "solid_capstyle": "butt"}


def _gain_style(sequences: float, ways: str) -> tuple[str, str]:
    color = COLORS[{1: "blue", 98: "red"}.get(int(np.nan_to_num(sequences)), "black")]
    return color, {"server": "o", "kernels": "D"}.get(ways, "x")


@typed(table=("change", "unit", "gain", "guess_low", "guess_high", "sequences", "computed_by"))
def gains_chart(
    table: pd.DataFrame, axes: Sequence[Axes] | np.ndarray, *, title: str | None = None
) -> Sequence[Axes] | np.ndarray:
    """Draw computed gains as points over the range that the report expects, a row for each change.

    Parameters
    ----------
    table : pandas.DataFrame
        From `roadmap`.
    axes : sequence of matplotlib.axes.Axes
        One for the gains in throughput, one for those in percent.
    title : str, optional
        Title of the chart.

    Returns
    -------
    sequence of matplotlib.axes.Axes
        The axes.
    """
    if np.array(axes, dtype=object).shape != (2,) or not all(isinstance(ax, Axes) for ax in axes):
        raise ValueError(f"axes = {shown(axes)}: expected two, for factors and for percent")
    factors = table.unit.str.startswith("x")
    for ax, part, label in (
        (axes[0], table[factors], "Tokens per second, times those without the change"),
        (axes[1], table[~factors], "Saved (%)"),
    ):
        _gain_rows(part, ax)
        ax.set_xlabel(label)
        ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes[0].axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes[0].set_xscale("log")
    axes[0].xaxis.set_major_locator(FixedLocator([0.5, 1, 2, 3, 5, 8]))
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].set_title(title or "")
    _gain_legend(axes[0])
    return axes


def _gain_rows(part: pd.DataFrame, ax: Axes) -> None:
    """A row for each change, from the top."""
    changes = list(part.change.unique())
    for y, change in enumerate(changes):
        rows = part[part.change == change]
        low, high = rows.guess_low.iloc[0], rows.guess_high.iloc[0]
        if low == low:
            ends = [low, high] if low < high else [low - 0.6, low + 0.6]  # a point has no length to draw
            ax.plot(ends, [y, y], **_GUESS)
        for (sequences, ways), points in rows.groupby(["sequences", "computed_by"], dropna=False):
            color, marker = _gain_style(sequences, ways)
            row = y + {1: -0.16, T4_RUNNING: 0.16}.get(
                int(np.nan_to_num(sequences)), 0
            )  # one above the other, to be told apart
            ax.plot(points.gain, [row] * len(points), marker, color=color, ms=6, mew=1.4, mfc="none", zorder=3)
    ax.set_yticks(range(len(changes)), changes)
    ax.set_ylim(len(changes) - 0.4, -0.6)


def _gain_legend(ax: Axes) -> None:
    """Labels without points: what the range, the colours and the markers mean."""
    ax.plot([], [], label="the report expects", **_GUESS)
    for sequences, name in ((1, "one sequence"), (98, "98 sequences"), (8, "other batches, or any")):
        ax.plot([], [], "s", color=_gain_style(sequences, "")[0], ms=6, label=name)
    for ways, name in (("server", "on the calibrated server"), ("kernels", "by the kernels alone"), ("", "otherwise")):
        marker = _gain_style(1, ways)[1]
        ax.plot([], [], marker, color="black", ms=6, mew=1.4, mfc="none", label=name)


#: What the chart calls the quantities of `t4_comparison`.
QUANTITY_LABELS = {
    "sent": "requests sent", "started": "with a first token", "finished": "finished", "tpot_p50": "TPOT p50",
    "ttft_p50": "TTFT p50", "ttft_p99": "TTFT p99", "tokens_per_second": "tokens/s of the finished",
}  # fmt: skip


@typed(table=("run", "quantity", "ratio"))
def ratios_chart(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Draw simulated over measured: a row for each quantity, a mark for each run.

    Parameters
    ----------
    table : pandas.DataFrame
        run, quantity and ratio [1], from `t4_comparison`.
    ax : matplotlib.axes.Axes, optional
        None is the current one.
    title : str, optional
        Title of the chart.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = plt.gca() if ax is None else ax
    names, runs = list(table.quantity.unique()), list(table.run.unique())
    for i, run in enumerate(runs):
        rows = table[table.run == run]
        y = [names.index(name) + 0.12 * (i - (len(runs) - 1) / 2) for name in rows.quantity]
        ax.plot(rows.ratio, y, "os^DvP*X"[i % 8], color=SERIES_COLORS[i % len(SERIES_COLORS)], ms=6, label=run)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.axvspan(0.9, 1.1, color=COLORS["grey"], alpha=0.15, linewidth=0, label="within 10 %")
    ax.set_yticks(range(len(names)), [QUANTITY_LABELS.get(name, name) for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="Simulated over measured", title=title or "")
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95, ncol=3, loc="upper center", bbox_to_anchor=(0.45, -0.12))
    return ax
