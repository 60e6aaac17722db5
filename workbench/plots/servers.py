"""Charts of servers: load tests, recorded or simulated (queue, token rate, requests, latencies), and plans (costs)."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ..common.arguments import LEAST, check_range
from ..loadtest.rows import REQUEST_COLUMNS
from ..loadtest.summary import PERCENTILES
from ..serving.pareto import pareto_front
from ..serving.verdicts import NOT_SIMULATED, TOO_SLOW, UNFIT
from ..signatures import typed
from ..tables.looks import COLORS, SERIES_COLORS

#: Phases of a request, and their colours.
WAITING, RUNNING, UNFINISHED, FAILED = COLORS["orange"], COLORS["blue"], COLORS["grey"], COLORS["red"]
#: Columns of a plan that its charts show.
PLAN = ("gpu", "tp", "batch_size", "tpot_s", "tokens_per_second", "cost", "verdict")
#: Verdicts of a plan on what does not fit or is too slow.
LOST = (*filter(None, UNFIT.values()), *TOO_SLOW)
FAR, BROKEN = 4, 1.3  # times the median cost, from which a bar is broken; its length over that of the longest whole
MOST_ROWS = 40  # requests; of more, the axis counts them
#: Lines of tp = 1, 2, 4, 8 in a plan, or what it has in their place; and that of its frontier.
TP_LINES = [(0, ()), (0, (5, 2)), (0, (2, 1.5)), (0, (5, 1, 1, 1))]
FRONTIER: dict[str, Any] = {"color": "black", "linewidth": 6, "alpha": 0.15}

# Load tests -------------------------------------------------------------------------------------------------------


@typed(ds=("time", "step", "waiting", "running"))
def queue(ds: xr.Dataset, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Requests waiting and running over time, as steps.

    Parameters
    ----------
    ds : xr.Dataset
        From `loadtest.timeline`.
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
    _stairs(ds, "waiting", ax, color=WAITING, label="waiting for a first token")
    _stairs(ds, "running", ax, color=RUNNING, label="running", linestyle="--")
    return _over_time(ax, "Requests", title)


@typed(ds=("time", "step", "token_rate", "implied_token_rate"))
def token_rate(ds: xr.Dataset, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Output tokens per second over time, as steps: those that are known, and an estimate of all.

    Parameters
    ----------
    ds : xr.Dataset
        From `loadtest.timeline`.
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
    _stairs(ds, "token_rate", ax, color=COLORS["green"], label="of requests whose count is known")
    if np.isfinite(ds.implied_token_rate).any():
        label = "of all that run, at the mean TPOT (estimate)"
        _stairs(ds, "implied_token_rate", ax, color=COLORS["grey"], label=label, linestyle="--")
    return _over_time(ax, "Output tokens per second", title)


def _stairs(ds: xr.Dataset, name: str, ax: Axes, **style: Any) -> None:
    """Draw a variable of a timeline, constant within each of its steps."""
    edges = np.append(ds.time.values, ds.time.values[-1] + ds.step.values[-1])
    ax.stairs(ds[name].values, edges, baseline=None, linewidth=1.6, **style)


def _over_time(ax: Axes, label: str, title: str | None) -> Axes:
    """Axes of what goes on over time, from 0 on, with a grid and a legend."""
    ax.set(xlabel="Time (s)", ylabel=label, title=title or "")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95)
    return ax


@typed(table=REQUEST_COLUMNS)
def requests(table: pd.DataFrame, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Every request as a horizontal line, from its send to the first token (queue and prefill), and on to the last.

    Parameters
    ----------
    table : pd.DataFrame
        Requests with the columns `loadtest.REQUEST_COLUMNS`, drawn in the order of their sends. Those that never
        got a first token are grey to the end of the run, those that failed have a cross.
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
    table = table.sort_values("sent_s", kind="stable").reset_index(drop=True)
    times = table[["sent_s", "first_token_s", "last_token_s"]].to_numpy(float)
    (sent, first, _), end = times.T, float(np.nanmax(times))
    y, failed = np.arange(len(table)), table.status.to_numpy(object) == "failed"
    width = float(np.clip(260 / len(table), 0.5, 8))
    for label, (chosen, begin, until, color) in _lines_of_requests(table, times, end).items():
        if chosen.any():
            ax.hlines(y[chosen], begin[chosen], until[chosen], color=color, linewidth=width, label=label)
    if failed.any():
        ax.plot(np.fmax(first, sent)[failed], y[failed], "x", color=FAILED, ms=5, label="failed")
    if len(table) <= MOST_ROWS:
        ax.set_yticks(y)
    ax.set(ylim=(len(table) - 0.5, -0.5), xlim=(0, max(end, 1e-9)), xlabel="Time (s)", title=title or "")
    ax.set_ylabel("Request, in the order sent")
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    for line in ax.legend(fontsize="small", framealpha=0.95, loc="lower left").get_lines():
        line.set_linewidth(4 if line.get_linestyle() != "None" else 1)
    return ax


def _lines_of_requests(
    table: pd.DataFrame, times: np.ndarray, end: float
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """By what a request does meanwhile: which requests do, from when until when [s], and the colour."""
    (sent, first, last), status = times.T, table.status.to_numpy(object)
    started, still = ~np.isnan(first), status == "unfinished"
    until = np.where(np.isnan(last) & still, end, last)
    return {
        "waiting, never started": (still & ~started, sent, until, UNFINISHED),
        "queue and prefill": (started, sent, first, WAITING),
        "decoding": (started & ~np.isnan(until) & ~still, first, until, RUNNING),
        "decoding, not finished": (started & still, first, until, COLORS["sky"]),
        "no first token known": (~started & (status == "finished"), sent, last, COLORS["purple"]),
    }


@typed(ds=[name + each for name in ("ttft", "tpot", "itl", "e2e") for each in ("", "_samples")])
def latencies(ds: xr.Dataset, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Percentiles of TTFT, TPOT, ITL and end-to-end latency, with the number of samples behind each.

    Parameters
    ----------
    ds : xr.Dataset
        From `loadtest.metrics`; latencies without a sample are left out.
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
        Where no latency has a sample.
    """
    ax = plt.gca() if ax is None else ax
    names = {"e2e": "End to end", "ttft": "TTFT", "tpot": "TPOT", "itl": "ITL"}
    shown = {name: label for name, label in names.items() if ds[f"{name}_samples"] > 0}
    if not shown:
        raise ValueError("no latency has a sample: no request got a token")
    for y, name in enumerate(shown):
        values = ds[name].values
        ax.hlines(y, values.min(), values.max(), color=COLORS["grey"], linewidth=1.2)
    for i, (p, marker) in enumerate(zip(PERCENTILES, "osD^", strict=True)):
        color = [COLORS[shade] for shade in ("blue", "green", "orange", "red")][i]
        points = [ds[name].sel(percentile=p).item() for name in shown]
        ax.plot(points, range(len(shown)), marker, color=color, ms=6, label=f"p{p}")
    labels = [f"{label}\n{ds[f'{name}_samples'].item():,} samples" for name, label in shown.items()]
    ax.set_yticks(range(len(shown)), labels)
    ax.set(xscale="log", ylim=(len(shown) - 0.5, -0.5), xlabel="Latency", title=title or "")
    ax.xaxis.set_major_formatter(EngFormatter(unit="s"))
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95, ncol=4, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return ax


# Plans ------------------------------------------------------------------------------------------------------------


@typed(table=PLAN)
def pareto(table: pd.DataFrame, ax: Axes | None = None, *, tpot: float | None = None, title: str | None = None) -> Axes:
    """Throughput of a GPU against that of a user: a line a GPU and tp, a point a batch size, and the frontier.

    Parameters
    ----------
    table : pd.DataFrame
        From `serving.plan`. A hollow point misses the service level, and what does not fit is left out.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    tpot : float, optional
        Service level, drawn as a line [s].
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        Where nothing fits.
    """
    ax = plt.gca() if ax is None else ax
    shown = table[table.tpot_s.notna()].sort_values("batch_size")
    if shown.empty:
        raise ValueError("nothing in the plan fits: there is no trade-off to draw")
    x, y = 1 / shown.tpot_s, shown.tokens_per_second / shown.tp
    points = {gpu: _point(i) for i, gpu in enumerate(sorted(shown.gpu.unique()))}
    lines = {tp: TP_LINES[j % len(TP_LINES)] for j, tp in enumerate(sorted(shown.tp.unique()))}
    for (gpu, tp), rows in shown.groupby(["gpu", "tp"]):
        every, fine = rows.index, rows.index[~rows.verdict.isin(LOST)]
        ax.plot(x[every], y[every], linestyle=lines[tp], color=points[gpu]["color"], linewidth=1.3)
        ax.plot(x[every], y[every], **points[gpu], mfc="white")
        ax.plot(x[fine], y[fine], **points[gpu])
    best = pareto_front([-x.to_numpy(), -y.to_numpy()], ties=True)[::-1]
    ax.plot(x.iloc[best], y.iloc[best], **FRONTIER, zorder=0, solid_joinstyle="round")
    for gpu, point in points.items():
        ax.plot([], [], **point, label=gpu)
    for tp, line in lines.items():
        ax.plot([], [], linestyle=line, color="black", linewidth=1.3, label=f"tp {tp}")
    ax.plot([], [], "o", color="black", mfc="white", ms=5, label="misses the SLO")
    ax.plot([], [], **FRONTIER, label="frontier")
    if tpot is not None:
        tpot = check_range("tpot", tpot, unit="seconds", low=LEAST)
        ax.axvline(1 / tpot, color=COLORS["red"], linewidth=1, linestyle=":", label=f"TPOT {1e3 * tpot:g} ms")
    return _trade_off(ax, title)


def _point(i: int) -> dict[str, Any]:
    """Marker and colour of a GPU's points."""
    color, marker = SERIES_COLORS[i % len(SERIES_COLORS)], "os^DvP*X"[i % 8]
    return {"linestyle": "", "marker": marker, "color": color, "ms": 5}


def _trade_off(ax: Axes, title: str | None) -> Axes:
    """Logarithmic axes of a user's and a GPU's tokens per second, with a grid and a legend."""
    ax.set(xscale="log", yscale="log", xlabel="Tokens per second of one user (1 / TPOT)", title=title or "")
    ax.set_ylabel("Tokens per second of one GPU")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.legend(fontsize="small", framealpha=0.95, ncol=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return ax


@typed(table=PLAN)
def costs(table: pd.DataFrame, ax: Axes | None = None, *, unit: str = "GPU-hours", title: str | None = None) -> Axes:
    """The cheapest setting of each GPU and tp within the service level, as bars; the others with why they lose.

    A bar of more than `FAR` times the median is broken, so that the others can be told apart.

    Parameters
    ----------
    table : pd.DataFrame
        From `serving.plan`.
    ax : Axes, optional
        Where to draw; the current axes unless given.
    unit : str
        Unit of its costs.
    title : str, optional
        Title of the chart.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    ax = plt.gca() if ax is None else ax
    rows = _cheapest(table)
    known_costs = [cost for _, cost, _ in rows if cost == cost]
    most = max((cost for cost in known_costs if cost <= FAR * np.median(known_costs)), default=1.0)
    for y, (_, cost, note) in enumerate(rows):
        known, length = cost == cost, min(np.nan_to_num(cost), BROKEN * most)
        ax.barh(y, length, color=COLORS["green"] if y == 0 and known else COLORS["sky"], height=0.65)
        if cost > length:
            gap: dict[str, Any] = {"marker": (2, 0, -25), "ms": 22, "mew": 2.5, "color": "white"}
            ax.plot([0.955 * length, 0.975 * length], [y, y], linestyle="none", **gap)
        text = f" {cost:.3g}: {note}" if known else f" {note}"
        ax.text(length, y, text, va="center", fontsize="small", color="black" if known else COLORS["grey"])
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    room = 2 if max(known_costs, default=0) > most else 1.75  # for what stands beside the bars
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, room * most), title=title or "")
    ax.set_xlabel(f"Cost of a million output tokens ({unit})")
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def _cheapest(table: pd.DataFrame) -> list[tuple[str, float, str]]:
    """Of each GPU and tp: its name, its least cost or NaN, and the setting or why there is none; the cheapest first."""
    fine = ~table.verdict.isin([*LOST, NOT_SIMULATED]) & table.cost.notna()
    rows = []
    for (gpu, tp), group in table.groupby(["gpu", "tp"]):
        kept = group[fine[group.index]]
        if len(kept):
            one = kept.sort_values("cost", kind="stable").iloc[0]
            count = f", {one.gpus:.0f} GPU{'s' if one.gpus > 1 else ''}" if "gpus" in table else ""
            rows.append((f"{gpu}, tp {tp}", one.cost, f"batch {one.batch_size}{count}"))
        else:
            rows.append((f"{gpu}, tp {tp}", np.nan, group.verdict.mode().iloc[0]))
    return sorted(rows, key=lambda row: (np.isnan(row[1]), row[1]))
