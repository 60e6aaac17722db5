"""The charts of the T4 report, each with the table of what it shows."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from . import loadtest, plots, plots_serving, t4_report, t4_roadmap
from .comparison import static_tables
from .names import unknown
from .t4_replay import t4_comparison
from .tables import static_rows

Chart = tuple[Figure, pd.DataFrame]


def draw(chart: str, requests: pd.DataFrame, *, title: str | None = None) -> Chart:
    """One of `CHARTS`, and the numbers in it, units in the header.

    requests : `t4_report.requests`. Raises ValueError for an unknown chart.
    """
    if chart not in CHARTS:
        raise unknown("chart", chart, CHARTS)
    return CHARTS[chart](requests, title)


def _roofline(requests: pd.DataFrame, title: str | None) -> Chart:
    """Whole forward passes, by the report's formulas and by ours."""
    passes = {phase: static_tables(phase, t4_report.BATCH_SIZES, tokens) for phase, tokens in t4_report.TOKENS.items()}
    figure, ax = plt.subplots(figsize=(8, 5.6))
    plots.t4_roofline(passes, t4_report.PRINTED_INTENSITY, ax, title=title)
    return figure, static_rows(passes)


def _queue(requests: pd.DataFrame, title: str | None) -> Chart:
    """Requests waiting and running, and tokens a second, over time."""
    ds = loadtest.timeline(requests)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    plots_serving.queue(ds, left)
    plots_serving.token_rate(ds, right)
    figure.suptitle(title or "")
    columns = {"step": "step [s]", "time": "time [s]", "token_rate": "token_rate [1/s]"}
    table = ds[["step", "waiting", "running", "token_rate", "implied_token_rate"]].to_dataframe().reset_index()
    return figure, table.rename(columns=columns | {"implied_token_rate": "implied_token_rate [1/s]"})


def _requests(requests: pd.DataFrame, title: str | None) -> Chart:
    """Every request from its send to its last token."""
    figure, ax = plt.subplots(figsize=(8, 5.2))
    plots_serving.requests(requests, ax, title=title)
    times = {f"{name}_s": f"{name} [s]" for name in ("sent", "first_token", "last_token")}
    return figure, requests[[*times, "status"]].rename(columns=times)


def _roadmap(requests: pd.DataFrame, title: str | None) -> Chart:
    """Gains computed, over those that the report expects."""
    table = t4_roadmap.roadmap()
    figure, axes = plt.subplots(2, 1, figsize=(9, 8.4), height_ratios=(12, 5), layout="constrained")
    plots_serving.gains(table, axes, title=title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return figure, table


def _comparison(requests: pd.DataFrame, title: str | None) -> Chart:
    """The simulation against the five recorded runs."""
    table = t4_comparison()
    figure, ax = plt.subplots(figsize=(8.5, 5.2))
    plots_serving.ratios(table, ax, title=title)
    return figure, table


#: What `draw` draws, by name.
CHARTS: dict[str, Callable[[pd.DataFrame, str | None], Chart]] = {
    "roofline": _roofline, "queue": _queue, "requests": _requests, "roadmap": _roadmap, "comparison": _comparison,
}  # fmt: skip
