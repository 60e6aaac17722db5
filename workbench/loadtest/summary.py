"""What a load test shows: counts, rates, latencies, goodput, and the queue over time, from a table of requests."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..common.arguments import LEAST, MOST, check_range
from ..common.errors import shown, unknown
from ..common.variables import stamp
from ..signatures import typed
from .rows import REQUEST_COLUMNS, check_status
from .variables import LOAD_TEST_VARIABLES

#: Percentiles of latencies that `metrics` gives [%].
PERCENTILES = (50, 90, 95, 99)
MAX_STEPS = 10**7
SHORTEST_SPAN = 1e-3  # s; tokens of a shorter span come at once: below clients' resolution, and its rate has no digits


def metrics(
    table: pd.DataFrame,
    *,
    window: float | tuple[float, float] | None = None,
    slo: Mapping[str, float | None] | None = None,
) -> xr.Dataset:
    """What a load test shows, with what it does not show kept apart.

    Parameters
    ----------
    table : pd.DataFrame
        Requests with the columns `REQUEST_COLUMNS`.
    window : float or tuple of float, optional
        Its end, or (start, end), from the first send [s]; None is from the first send to the last event.
    slo : mapping of str to float, optional
        Objectives "ttft", "tpot", "e2e" [s]; goodput counts the finished requests that meet all of them. A request of
        one token has no tpot to miss; one whose tokens are unknown does not meet it.

    Returns
    -------
    xr.Dataset
        Scalars: counts [1], shares [%], rates [1/s], means of tokens [token] and of the queue [1]; and ttft, tpot, itl,
        e2e [s] by percentile, NaN without a sample.

    Raises
    ------
    ValueError
        Where no request was sent in the window, or the table is not one of requests.

    Notes
    -----
    The window selects the requests by when they were sent, its ends included: all counts and percentiles are of these
    requests, whenever they ended, and rates are their numbers over its length. `completion_rate` and `token_rate` are
    of what came within the window instead; over the whole run the two ways agree. A failed request counts as waiting or
    running only as long as is known. By Little's law, `running_of_finished` is `finished_rate` times the mean time from
    first to last token; it stays below `mean_running` where requests never finish.
    """
    t = _columns(table)
    start, end = _window(window, t["end"])
    limits = _objectives({} if slo is None else slo)
    length = end - start if end > start else np.nan
    chosen = (t["sent"] >= start) & (t["sent"] <= end)
    if not chosen.any():
        raise ValueError(f"window {start:g} to {end:g} s: no request was sent in it; the last at {t['sent'].max():g} s")
    finished = chosen & (t["status"] == "finished")
    started = chosen & t["started"]
    decode = t["last"] - t["first"]
    tpot = t["tpot"]
    ends = (t["status"] == "finished") & (t["last"] >= start) & (t["last"] <= end)
    waiting, running = (_mean(_presence(*t[name]), np.array([start, end]))[0] for name in ("waiting", "running"))
    counts = {
        "offered": chosen, "started": started, "finished": finished, "failed": chosen & (t["status"] == "failed"),
        "unfinished": chosen & (t["status"] == "unfinished"), "uncounted": started & np.isnan(t["output"]),
    }  # fmt: skip
    data: dict[str, Any] = {name: int(rows.sum()) for name, rows in counts.items()}
    data |= {
        "window_start": start, "window_end": end, "last_send": t["sent"].max(),
        "finished_share": 100 * data["finished"] / data["offered"],
        "offered_rate": data["offered"] / length, "finished_rate": data["finished"] / length,
        "completion_rate": ends.sum() / length, "output_token_rate": np.nansum(t["output"][finished]) / length,
        "token_rate": _mean(_tokens(t), np.array([start, end]))[0],
        "prompt_tokens": _average(t["prompt"][chosen]), "output_tokens": _average(t["output"][finished]),
        "mean_waiting": waiting, "mean_running": running,
        "running_of_finished": data["finished"] / length * _average(decode[finished]),
        "implied_token_rate": running * _pace(tpot[finished]),
    }  # fmt: skip
    samples = {"ttft": (t["first"] - t["sent"])[started], "tpot": tpot[finished],
               "e2e": (t["last"] - t["sent"])[finished]}  # fmt: skip
    for name, values in samples.items():
        known = values[~np.isnan(values)]
        data[name] = ("percentile", np.percentile(known, PERCENTILES) if len(known) else np.full(4, np.nan))
        data[f"{name}_samples"] = len(known)
    data["itl"], data["itl_samples"] = _itl(table)
    if limits:
        data |= _goodput(t, finished, tpot, limits, length, data["offered"])
    ds = xr.Dataset(data, {"percentile": list(PERCENTILES)})
    ds.attrs = {
        "window": f"{start:g} to {end:g} s from the first send",
        "slo": ", ".join(f"{name} {limit:g} s" for name, limit in limits.items()),
    }
    return stamp(ds, LOAD_TEST_VARIABLES)


def timeline(table: pd.DataFrame, step: float = 1.0) -> xr.Dataset:
    """The queue over time: requests waiting and running, requests sent and output tokens per second.

    Parameters
    ----------
    table : pd.DataFrame
        Requests with the columns `REQUEST_COLUMNS`.
    step : float
        Length of a step [s]; the last one ends with the run.

    Returns
    -------
    xr.Dataset
        By time [s]: waiting, running [1], sent_rate, token_rate, implied_token_rate [1/s] and step [s].

    Notes
    -----
    All are means over a step, so that the sum of waiting times step is all waiting time. A request waits from its send
    to its first token and runs to its last; one that never got there waits or runs to the end of the run. Its tokens
    are spread evenly between its first and last token. Those of requests whose count or end is unknown are missing in
    `token_rate`, which therefore falls towards the end of a run that was cut off; `implied_token_rate` estimates all of
    them, with every running request at the mean tpot of the finished ones.
    """
    t = _columns(table)
    step = check_range("step", step, unit="seconds", low=LEAST)
    if t["end"] / step > MAX_STEPS:
        raise ValueError(f"step = {step:g}: more than {MAX_STEPS:,} steps in {t['end']:g} s")
    count = max(int(np.ceil(t["end"] / step - 1e-9)), 1)
    edges = np.append(step * np.arange(count), t["end"] if t["end"] > 0 else step)
    widths = np.diff(edges)
    sends, _ = np.histogram(t["sent"], edges)
    data = {name: ("time", _mean(_presence(*t[name]), edges)) for name in ("waiting", "running")}
    data |= {"token_rate": ("time", _mean(_tokens(t), edges)), "sent_rate": ("time", sends / widths)}
    data["implied_token_rate"] = ("time", data["running"][1] * _pace(t["tpot"][t["status"] == "finished"]))
    return stamp(xr.Dataset(data | {"step": ("time", widths)}, {"time": edges[:-1]}), LOAD_TEST_VARIABLES)


@typed(ds=("offered", "output_token_rate", "mean_waiting", "ttft_samples"))
def report(ds: xr.Dataset) -> str:
    """The metrics of a load test as text.

    Parameters
    ----------
    ds : xr.Dataset
        From `metrics`.

    Returns
    -------
    str
        A line each, latencies in ms; "unknown" where NaN.
    """
    value = {str(name): variable.item() for name, variable in ds.data_vars.items() if not variable.dims}

    def show(name: str, form: str) -> str:
        return format(value[name], form) if np.isfinite(value[name]) else "unknown"

    lines = [f"window       {ds.attrs['window']}; requests sent in it"]
    for name in ("offered", "started", "finished", "failed", "unfinished"):
        share = 100 * value[name] / value["offered"]
        rate = f"  {show(name + '_rate', '.4g')} per second" if name + "_rate" in value else ""
        lines.append(f"{name:<12}{value[name]:>8,}{share:>7.1f} %{rate}")
    lines.append(f"output      {show('output_token_rate', '.1f'):>8} tokens per second of finished requests")
    if value["uncounted"]:
        lines[-1] += f"; {value['uncounted']:,} started requests have no count"
        lines.append(
            f"            {show('implied_token_rate', '.1f'):>8} tokens per second, if all running requests were as"
            " fast as those that finished"
        )
    tokens = f"{show('prompt_tokens', '.1f'):>8} prompt tokens, {show('output_tokens', '.1f')} output tokens"
    lines.append(f"mean        {tokens}")
    lines.append(
        f"queue       {show('mean_waiting', '.1f'):>8} waiting, {show('mean_running', '.1f')} running, on average"
    )
    for name in ("ttft", "tpot", "itl", "e2e"):
        if samples := value[f"{name}_samples"]:
            points = ", ".join(f"p{p} {1e3 * ds[name].sel(percentile=p).item():,.1f}" for p in PERCENTILES)
            lines.append(f"{name.upper():<13}{points} ms  ({samples:,} samples)")
    if "good" in value:
        goal = f"{value['good_share']:.1f} % of those offered, {show('goodput', '.4g')} per second"
        lines.append(f"good        {value['good']:>8,} finished within {ds.attrs['slo']}: {goal}")
    return "\n".join(lines)


# Parts ------------------------------------------------------------------------------------------------------------


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    """The table as float64 arrays, with the spans of waiting and running, and the end of the run [s]."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"a {type(table).__name__}: expected a table of requests, see workbench.loadtest.read")
    if missing := [name for name in REQUEST_COLUMNS if name not in table]:
        raise ValueError(
            f"no column {missing[0]!r} in the table of requests; its columns: {', '.join(map(str, table))}"
        )
    if table.empty:
        raise ValueError("the table of requests is empty")
    for status in table.status.unique():
        check_status(status)
    sent, first, last, prompt, output = (
        table[name].to_numpy(dtype=float, na_value=np.nan) for name in REQUEST_COLUMNS[:5]
    )
    if not np.isfinite(sent).all():
        raise ValueError(f"row {int(np.argmin(np.isfinite(sent)))}: sent_s = nan: expected a time")
    status = table.status.to_numpy(dtype=object)
    end = float(np.nanmax([sent, first, last]))
    still = status == "unfinished"
    over = np.where(np.isnan(last), np.where(still, end, np.nan), last)  # NaN: failed, unknown when
    more = np.where(output > 1, output - 1, np.nan)
    return {
        "tpot": (last - first) / more,
        "sent": sent, "first": first, "last": last, "prompt": prompt, "output": output, "status": status, "end": end,
        "started": ~np.isnan(first) | (status == "finished"),
        "waiting": (sent, np.where(np.isnan(first), over, first)), "running": (first, over),
    }  # fmt: skip


def _window(window: Any, end: float) -> tuple[float, float]:
    if window is None:
        return 0.0, end
    given = window if isinstance(window, tuple | list) else (0.0, window)
    ends = [check_range("window", time, unit="seconds from the first send", low=-MOST) for time in given]
    if len(ends) != 2 or ends[1] - ends[0] < LEAST:
        raise ValueError(f"window = {shown(window)}: expected its end, or (start, end), in seconds from the first send")
    return ends[0], ends[1]


Ramps = list[tuple[np.ndarray, np.ndarray]]  # (times, weights): each adds weight x (t - time) after its time
Parts = tuple[Ramps, Ramps]  # what grows linearly from a time on; what comes at once


def _presence(begin: np.ndarray, over: np.ndarray) -> Parts:
    """Requests present from `begin` to `over` [s], as their integral over time; unknown spans add nothing."""
    known = ~(np.isnan(begin) | np.isnan(over))
    ones = np.ones(int(known.sum()))
    return [(begin[known], ones), (over[known], -ones)], []


def _tokens(t: Mapping[str, Any]) -> Parts:
    """Output tokens so far: spread evenly from first to last token, at once where there is no such span."""
    first, last, output = t["first"], t["running"][1], t["output"]
    known = ~(np.isnan(output) | np.isnan(last)) & t["started"]
    spread = known & (last - first > SHORTEST_SPAN)  # NaN compares as False
    rate = output[spread] / (last - first)[spread]
    at_once = known & ~spread
    return [(first[spread], rate), (last[spread], -rate)], [(last[at_once], output[at_once])]


def _mean(parts: Parts, edges: np.ndarray) -> np.ndarray:
    """Mean over each interval between edges [s] of what accumulates as `parts` say; NaN over an empty one."""
    total = np.zeros(len(edges))
    for linear, group in zip((True, False), parts, strict=True):
        for times, weights in group:
            order = np.argsort(times, kind="stable")
            behind = np.searchsorted(times[order], edges, side="right")
            weight = np.concatenate([[0.0], np.cumsum(weights[order])])[behind]
            moment = np.concatenate([[0.0], np.cumsum((weights * times)[order])])[behind]
            total += weight * edges - moment if linear else weight
    if edges[0] == 0 and parts[1]:  # what comes at time 0 belongs to the first interval
        total[0] = 0.0
    widths = np.diff(edges)
    mean: np.ndarray = np.divide(np.diff(total), widths, out=np.full(len(widths), np.nan), where=widths > 0)
    return mean


def _average(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _pace(tpot: np.ndarray) -> float:
    """Tokens per second of one request at the mean tpot [s]; NaN where there is none."""
    mean = _average(tpot)
    return 1 / mean if mean > 0 else np.nan


def _itl(table: pd.DataFrame) -> tuple[tuple[str, np.ndarray], int]:
    """Percentiles of the counted inter-token latencies [s], nearest rank, and their number."""
    bins = table.attrs.get("itl") or {"seconds": [], "count": []}
    counts = np.cumsum(bins["count"], dtype=float)
    if not len(counts):
        return ("percentile", np.full(len(PERCENTILES), np.nan)), 0
    ranks = np.searchsorted(counts, np.array(PERCENTILES) / 100 * counts[-1])
    return ("percentile", np.array(bins["seconds"])[ranks]), int(counts[-1])


def _objectives(slo: Mapping[str, float | None]) -> dict[str, float]:
    allowed = ("ttft", "tpot", "e2e")
    if not isinstance(slo, Mapping):
        raise ValueError(f"slo = {shown(slo)}: expected seconds by objective, e.g. {{'ttft': 0.5}}")
    for name in slo:
        if name not in allowed:
            raise unknown("objective", name, allowed)
    return {
        name: check_range(f"objective {name}", limit, np.inf, "seconds", low=LEAST)
        for name, limit in slo.items() if limit is not None
    }  # fmt: skip


def _goodput(
    t: Mapping[str, Any], finished: np.ndarray, tpot: np.ndarray, limits: dict[str, float], length: float, offered: int
) -> dict[str, float]:
    latency = {
        "ttft": t["first"] - t["sent"],
        "tpot": np.where(t["output"] == 1, 0, tpot),
        "e2e": t["last"] - t["sent"],
    }
    good = finished.copy()
    for name, limit in limits.items():
        good &= latency[name] <= limit
    count = int(good.sum())
    return {"good": count, "goodput": count / length, "good_share": 100 * count / offered}
