"""What a load test shows: counts, rates, latencies, goodput, and the queue over time, from a table of requests."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..common.arguments import LEAST, MOST, check_range
from ..common.errors import shown, unknown
from ..common.variables import stamp
from .claims import significant, spans_of
from .integrals import mean_over, presence, tokens_so_far
from .rows import REQUEST_COLUMNS, check_status
from .variables import LOAD_TEST_VARIABLES

#: Percentiles of latencies that `metrics` gives [%].
PERCENTILES = (50, 90, 95, 99)
MAX_STEPS = 10**7
#: A window may end after the last event by a hundredth of the run, as rounded ends do [1].
LATE_END = 1.01
MOST_ERRORS = 3  # that are named


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
        Where no request was sent in the window, it ends after the run, or the table is not one of requests.

    Notes
    -----
    A window says what happened in it, its ends included: requests that were sent, that got their first token, that
    finished, each over its length; ttft is of first tokens in it, tpot and e2e of requests that finished in it,
    unfinished are those that were still there at its end. ITL is known of the whole run alone. A failed request counts
    as waiting or running only as long as is known. By Little's law, `running_of_finished` is `finished_rate` times the
    mean time from first to last token; it stays below `mean_running` where requests never finish.

    Of requests that do not say when they were sent (columns ttft_s and e2e_s) rates are over the run's duration, which
    ``attrs["duration_s"]`` has [s], and so are waiting and running, by the same law; of a sample of requests
    (``attrs["sampled"]``) none of these is known.
    """
    t = _columns(table)
    _, end = _window(window, t)
    if end > LATE_END * t["end"]:
        raise ValueError(
            f"window ends at {significant(end)} s, but the run lasted {significant(t['end'])} s, from its first send"
        )
    return measures(table, window=window, slo=slo)


def measures(table: pd.DataFrame, *, window: Any = None, slo: Mapping[str, float | None] | None = None) -> xr.Dataset:
    """`metrics`, of a window that may end long after the run: nothing happened in what is left of it."""
    t = _columns(table)
    start, end = _window(window, t)
    limits = _objectives({} if slo is None else slo)
    length = end - start if end > start and not table.attrs.get("sampled") else np.nan
    chosen = t["relative"] | (t["sent"] >= start) & (t["sent"] <= end)
    if not chosen.any():
        raise ValueError(f"window {start:g} to {end:g} s: no request was sent in it; the last at {t['sent'].max():g} s")
    sure = {name: t["status"] == name for name in ("finished", "failed")}
    begins = np.where(np.isnan(t["first"]), t["last"], t["first"])
    finished = sure["finished"] & _came(t, t["last"], start, end)
    started = t["started"] & _came(t, begins, start, end)
    tpot, decode = t["tpot"], t["last"] - t["first"]
    failed = sure["failed"] & np.where(np.isnan(t["last"]), chosen, _came(t, t["last"], start, end))
    still = (chosen | (t["sent"] <= end)) & ~(sure["finished"] & _came(t, t["last"], -np.inf, end))
    still &= ~(sure["failed"] & (np.isnan(t["last"]) | _came(t, t["last"], -np.inf, end)))
    waiting, running = _queue(t, start, end, length)
    counts = {
        "offered": chosen, "started": started, "finished": finished, "failed": failed, "unfinished": still,
        "uncounted": started & np.isnan(t["output"]),
    }  # fmt: skip
    data: dict[str, Any] = {name: int(rows.sum()) for name, rows in counts.items()}
    data |= {
        "window_start": start, "window_end": end, "last_send": np.nan if t["relative"] else t["sent"].max(),
        "finished_share": 100 * data["finished"] / data["offered"],
        "offered_rate": data["offered"] / length, "finished_rate": data["finished"] / length,
        "completion_rate": data["finished"] / length, "output_token_rate": _known_sum(t["output"][finished]) / length,
        "token_rate": _token_rate(t, start, end, length),
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
    whole = t["relative"] or (start <= 0 and end >= t["end"])
    data["itl"], data["itl_samples"] = _itl(table if whole else pd.DataFrame())
    if limits:
        data |= _goodput(t, finished, tpot, limits, length, data["offered"])
    ds = xr.Dataset(data, {"percentile": list(PERCENTILES)})
    ds.attrs = {
        "window": "the whole run" if t["relative"] else f"{start:g} to {end:g} s from the first send",
        "slo": ", ".join(f"{name} {limit:g} s" for name, limit in limits.items()),
        "errors": _errors(table.error[failed]),
    }
    if table.attrs.get("sampled"):
        ds.attrs["window"] += ", of which the file has a sample"
    elif not whole:
        ds.attrs["window"] += ": what happened in it"
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
    if t["relative"]:
        raise ValueError("when requests were sent is unknown: there is no queue over time; metrics knows latencies")
    step = check_range("step", step, unit="seconds", low=LEAST)
    if t["end"] / step > MAX_STEPS:
        raise ValueError(f"step = {step:g}: more than {MAX_STEPS:,} steps in {t['end']:g} s")
    count = max(int(np.ceil(t["end"] / step - 1e-9)), 1)
    edges = np.append(step * np.arange(count), t["end"] if t["end"] > 0 else step)
    widths = np.diff(edges)
    sends, _ = np.histogram(t["sent"], edges)
    data = {name: ("time", mean_over(presence(*t[name]), edges)) for name in ("waiting", "running")}
    data |= {"token_rate": ("time", mean_over(tokens_so_far(t), edges)), "sent_rate": ("time", sends / widths)}
    data["implied_token_rate"] = ("time", data["running"][1] * _pace(t["tpot"][t["status"] == "finished"]))
    return stamp(xr.Dataset(data | {"step": ("time", widths)}, {"time": edges[:-1]}), LOAD_TEST_VARIABLES)


# Parts ------------------------------------------------------------------------------------------------------------


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    """The table as float64 arrays, with the spans of waiting and running, and the end of the run [s]."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"a {type(table).__name__}: expected a table of requests, see workbench.loadtest.read")
    if missing := [name for name in REQUEST_COLUMNS if name not in table]:
        raise ValueError(
            f"no column {missing[0]!r} in the table of requests; its columns: {', '.join(map(str, table))[:100]}"
        )
    if table.empty:
        raise ValueError("the table of requests is empty")
    for status in table.status.unique():
        check_status(status)
    sent, first, last, prompt, output = (
        table[name].to_numpy(dtype=float, na_value=np.nan) for name in REQUEST_COLUMNS[:5]
    )
    relative = bool({"ttft_s", "e2e_s"} <= {*table} and np.isnan(sent).all())
    if relative:  # from each request's own send
        ttft, e2e = (table[name].to_numpy(dtype=float, na_value=np.nan) for name in ("ttft_s", "e2e_s"))
        sent, first, last = np.zeros(len(table)), ttft, e2e
    if not np.isfinite(sent).all():
        raise ValueError(f"row {int(np.argmin(np.isfinite(sent)))}: sent_s = nan: expected a time")
    status = table.status.to_numpy(dtype=object)
    end = float(table.attrs.get("duration_s", np.nan)) if relative else float(np.nanmax([sent, first, last]))
    still = status == "unfinished"
    over = np.where(np.isnan(last), np.where(still, end, np.nan), last)  # NaN: failed, unknown when
    return {
        "tpot": spans_of(table)["tpot"], "relative": relative,
        "sent": sent, "first": first, "last": last, "prompt": prompt, "output": output, "status": status, "end": end,
        "started": ~np.isnan(first) | (status == "finished"),
        "waiting": (sent, np.where(np.isnan(first), over, first)), "running": (first, over),
    }  # fmt: skip


def _came(t: Mapping[str, Any], times: np.ndarray, start: float, end: float) -> np.ndarray:
    """Whether something came in a window; of the whole run where no clock is known."""
    came: np.ndarray = ~np.isnan(times) & (t["relative"] | ((times >= start) & (times <= end)))
    return came


def _queue(t: Mapping[str, Any], start: float, end: float, length: float) -> tuple[float, float]:
    """Mean requests waiting and running: by their spans in the window, or by Little's law where none is known."""
    if np.isnan(length):
        return np.nan, np.nan
    if t["relative"]:
        return float(np.nansum(t["first"]) / length), float(np.nansum(t["last"] - t["first"]) / length)
    edges = np.array([start, end])
    return float(mean_over(presence(*t["waiting"]), edges)[0]), float(mean_over(presence(*t["running"]), edges)[0])


def _token_rate(t: Mapping[str, Any], start: float, end: float, length: float) -> float:
    """Output tokens that came in the window, over its length [1/s]; NaN where none of the requests has a count."""
    done = t["output"][t["status"] == "finished"]
    if np.isnan(length) or (len(done) and np.isnan(done).all()):
        return np.nan
    if t["relative"]:
        return float(np.nansum(t["output"]) / length)
    return float(mean_over(tokens_so_far(t), np.array([start, end]))[0])


def _known_sum(values: np.ndarray) -> float:
    """The sum of what is known, NaN where nothing is."""
    return np.nan if len(values) and np.isnan(values).all() else float(np.nansum(values))


def _errors(texts: pd.Series) -> str:
    """The commonest errors and how often they came."""
    known = Counter(text[:80] for text in texts.astype(str) if text)
    more = f", and {len(known) - MOST_ERRORS} other errors" if len(known) > MOST_ERRORS else ""
    return ", ".join(f"{n:,} x {text!r}" for text, n in known.most_common(MOST_ERRORS)) + more


def _window(window: Any, t: Mapping[str, Any]) -> tuple[float, float]:
    if window is None:
        return 0.0, t["end"]
    if t["relative"]:
        raise ValueError(f"window = {shown(window)}: when requests were sent is unknown: there is the whole run alone")
    given = window if isinstance(window, tuple | list) else (0.0, window)
    ends = [check_range("window", time, unit="seconds from the first send", low=-MOST) for time in given]
    if len(ends) != 2 or ends[1] - ends[0] < LEAST:
        raise ValueError(f"window = {shown(window)}: expected its end, or (start, end), in seconds from the first send")
    return ends[0], ends[1]


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
