"""What a load-test file says of itself, by the names that its tool has for it, and where its records say otherwise."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .rows import STATUSES, Said

LATENCIES = ("ttft", "tpot", "itl", "e2e")
STATISTICS = ("mean", "p50", "p75", "p90", "p95", "p99")
#: Columns of a table of runs: what a run is (asked_rate [1/s], the cap concurrency [1]), what came of it (counts [1],
#: duration_s [s], sums and means of tokens [token], rates [1/s]), and latencies by mean and percentile [s].
RUN_COLUMNS = (
    "run", "label", "source", "asked_rate", "concurrency", "requests", "finished", "failed", "unfinished", "duration_s",
    "total_prompt_tokens", "total_output_tokens", "prompt_tokens", "output_tokens", "finished_rate",
    "prompt_token_rate", "output_token_rate", "total_token_rate",
    *(f"{name}_{statistic}" for name in LATENCIES for statistic in STATISTICS),
)  # fmt: skip


#: Fields of summaries by name: the column that they are, and the unit that they have in it.
SUMMARY_FIELDS = {
    "completed": "finished", "failed": "failed", "num_prompts": "requests", "duration": "duration_s",
    "total_input_tokens": "total_prompt_tokens", "total_output_tokens": "total_output_tokens",
    "request_throughput": "finished_rate", "input_throughput": "prompt_token_rate",
    "output_throughput": "output_token_rate", "total_token_throughput": "total_token_rate",
    "total_throughput": "total_token_rate", "max_concurrency": "concurrency", "request_rate": "asked_rate",
    "total_requests": "requests", "successful_requests": "finished", "failed_requests": "failed",
    "throughput_rps": "finished_rate",
}  # fmt: skip
LATENCY = re.compile(r"(mean|median|avg|p\d{1,2})_(ttft|tpot|itl|e2el|e2e_latency|e2e)(_ms|)")
LATENCY_NAMES = {"e2el": "e2e", "e2e_latency": "e2e"}


def significant(value: float) -> str:
    """A number with four digits, and in full where it has more before the point; infinity as inf."""
    return f"{float(f'{value:.4g}'):,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"


def statistic_name(name: str) -> str:
    """A statistic as it is called here: the median is p50."""
    return {"median": "p50", "avg": "mean", "average": "mean"}.get(name, name)


def claim_of(name: str, value: object) -> Said | None:
    """What a field of a summary claims, by its name; None where it is unknown or no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    if match := LATENCY.fullmatch(name):
        column = f"{LATENCY_NAMES.get(match[2], match[2])}_{statistic_name(match[1])}"
        scale = 1e-3 if match[3] else 1.0
        return Said(column, value * scale, scale) if column in RUN_COLUMNS else None
    return Said(SUMMARY_FIELDS[name], float(value)) if name in SUMMARY_FIELDS else None


# Against the records ----------------------------------------------------------------------------------------------

COUNTS = {
    "requests": "{have:,} records could be read",
    "finished": "{have:,} of its {n:,} records finished",
    "failed": "{have:,} of its {n:,} records failed",
    "unfinished": "{have:,} of its {n:,} records are unfinished",
    "total_prompt_tokens": "the records of the finished requests have {have:,}",
    "total_output_tokens": "the records of the finished requests have {have:,}",
}  # fmt: skip
#: How far apart a rate, a latency and a mean may be before that is told [1].
OFF, LATENCY_OFF, MEAN_OFF = 0.02, 0.05, 0.01
#: A run is told to be shorter or longer than its records by these, and in `_durations` by seconds besides [1].
SHORTER, LONGER = 0.95, 1.5
WRONG_UNIT = 300.0  # from here on a ratio is taken for that of seconds to milliseconds


def spans_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """TTFT, TPOT and E2E of each request [s], NaN where unknown, whether or not it says when it was sent."""
    sent, first, last, output = (
        table[name].to_numpy(dtype=float, na_value=np.nan)
        for name in ("sent_s", "first_token_s", "last_token_s", "output_tokens")
    )
    ttft, e2e = first - sent, last - sent
    if "ttft_s" in table:
        ttft, e2e = (table[name].to_numpy(dtype=float, na_value=np.nan) for name in ("ttft_s", "e2e_s"))
    return {"ttft": ttft, "tpot": (e2e - ttft) / np.where(output > 1, output - 1, np.nan), "e2e": e2e}


def _is_closed(claims: Mapping[str, Said]) -> bool:
    """Whether a run has a number of requests open all the time."""
    asked = {claim.column: claim.value for claim in claims.values()}
    return asked.get("concurrency", 0) >= 1 and not np.isfinite(asked.get("asked_rate", np.inf))


def contradictions(table: pd.DataFrame, claims: Mapping[str, Said], itl: Mapping[str, Any] | None = None) -> list[str]:
    """Where a file's own summary contradicts its records.

    Parameters
    ----------
    table : pandas.DataFrame
        The requests.
    claims : mapping of Said
        By field of the summary, what it says.
    itl : mapping, optional
        Inter-token latencies, as `Rows.itl` has them.

    Returns
    -------
    list of str
        One line for each contradiction.
    """
    finished = (table.status == "finished").to_numpy()
    spans = {name: values[finished & ~np.isnan(values)] for name, values in spans_of(table).items()}
    lines = [*_counts(table, claims), *_latencies(spans, claims, itl)]
    return [*lines, *_durations(table, claims), *_rates(table, claims)]


def shortest_run(table: pd.DataFrame, claims: Mapping[str, Said]) -> float:
    """What a run takes at least, where nothing says when requests were sent: the longest, or all by the cap [s]."""
    spans = spans_of(table)
    spent = np.nan_to_num(np.fmax(spans["ttft"], spans["e2e"]))
    cap = next((claim.value for claim in claims.values() if claim.column == "concurrency" and claim.value >= 1), np.inf)
    return float(max(spent.max(initial=0.0), spent.sum() / cap))


def _counts(table: pd.DataFrame, claims: Mapping[str, Said]) -> list[str]:
    n, finished, lines = len(table), table[table.status == "finished"], []
    counts = table.status.value_counts()
    have = {status: int(counts.get(status, 0)) for status in STATUSES} | {"requests": n}
    for name, (column, value, _) in claims.items():
        tokens = column.removeprefix("total_") if column in COUNTS else ""
        if tokens in ("prompt_tokens", "output_tokens"):
            known = finished[tokens]
            if known.isna().any() or not len(known):
                continue
            have[column] = int(known.sum())
            if value == table[tokens].sum():
                continue
        if column in COUNTS and value != have[column]:
            lines.append(f"summary: {name} = {value:,.10g}, but " + COUNTS[column].format(have=have[column], n=n))
        if column in ("prompt_tokens", "output_tokens") and len(finished) and not finished[column].isna().any():
            mean, every = float(finished[column].mean()), float(table[column].mean())
            if min(abs(value - mean), abs(value - every)) > MEAN_OFF * mean + 0.01:
                lines.append(f"summary: {name} = {value:,.6g}, but the mean of the finished requests is {mean:,.6g}")
    return lines


def _latencies(spans: Mapping[str, np.ndarray], claims: Mapping[str, Said], itl: Mapping[str, Any] | None) -> list[str]:
    lines = []
    for name, (column, value, scale) in claims.items():
        kind, _, statistic = column.rpartition("_")
        if kind == "itl" and itl and len(itl["count"]):
            seconds, counts = np.array(itl["seconds"]), np.array(itl["count"], float)
        elif kind in spans and len(spans[kind]):
            seconds = np.sort(spans[kind])
            counts = np.ones(len(seconds))
        else:
            continue
        if statistic == "mean":
            low = high = ours = float((seconds * counts).sum() / counts.sum())
        else:  # percentiles are ranked in several ways: any between the two samples beside it is right
            rank = float(statistic[1:]) / 100 * (counts.sum() - 1)
            ranks = [np.floor(rank), np.ceil(rank), np.ceil(rank) + 1]
            places = np.searchsorted(np.cumsum(counts), ranks, side="right")
            low, middle, high = seconds[np.minimum(places, len(seconds) - 1)]
            ours = float(low + (rank - ranks[0]) * (middle - low))
        room = LATENCY_OFF * high + 1e-4
        if low - room <= value <= high + room:
            continue
        unit = "ms" if scale != 1 else "s"
        what = "mean" if statistic == "mean" else statistic
        asked = ": are they seconds?" if max(value, 1e-12) * WRONG_UNIT < low else ""
        said, own = significant(value / scale), significant(ours / scale)
        lines.append(f"summary: {name} = {said}, but the {what} of its records is {own} {unit}{asked}")
    return lines


def _durations(table: pd.DataFrame, claims: Mapping[str, Said]) -> list[str]:
    run, lines = _last(table), []
    for name, (column, value, _) in claims.items():
        if column != "duration_s":
            continue
        said = f"summary: {name} = {significant(value)} s, but its records"
        if run > 1.5 * value + 1:
            lines.append(f"{said} last {significant(run)} s: are their times seconds?")
        elif value > LONGER * run + 10:
            lines.append(f"{said} last {significant(run)} s: rates here are over the latter")
        elif np.isnan(run) and value < SHORTER * (least := shortest_run(table, claims)):
            lines.append(f"{said} take {significant(least)} s at least: rates are unknown")
        elif np.isnan(run) and _is_closed(claims) and value > LONGER * least + 10:
            lines.append(f"{said} take about {significant(least)} s, as many at a time as it says: rates are too low")
    return lines


def _rates(table: pd.DataFrame, claims: Mapping[str, Said]) -> list[str]:
    """Rates of requests and tokens, over the file's own duration, else over the time of sending or the whole run."""
    finished = table[table.status == "finished"]
    tokens = {name: finished[f"{name}_tokens"] for name in ("prompt", "output")}
    sums = {name: np.nan if known.isna().any() else float(known.sum()) for name, known in tokens.items()}
    have = {
        "finished_rate": float(len(finished)), "prompt_token_rate": sums["prompt"],
        "output_token_rate": sums["output"], "total_token_rate": sums["prompt"] + sums["output"],
    }  # fmt: skip
    n, sending, run = len(table), float(table.sent_s.max()), _last(table)
    own = [claim.value for claim in claims.values() if claim.column == "duration_s"]
    durations = [seconds for seconds in own or [sending, run] if seconds > 0]
    lines = []
    for name, (column, value, _) in claims.items():
        if column not in have or not durations or np.isnan(have[column]):
            continue
        rates = [have[column] / seconds for seconds in durations]
        off = MEAN_OFF if column == "finished_rate" and not name.startswith("metrics.requests_per") else OFF
        if any(abs(value - rate) <= off * rate for rate in rates):
            continue
        said = f"summary: {name} = {significant(value)} per second"
        if column == "finished_rate":
            sent = sending > 0 and abs(value - n / sending) <= off * value
            meaning = " is the rate at which requests were sent;" if sent else ", but"
            lines.append(f"{said}{meaning} {significant(rates[-1])} per second finished")
        else:
            lines.append(f"{said}, but its records make {significant(rates[-1])} per second")
    return lines


def _last(table: pd.DataFrame) -> float:
    """The last event of a run [s], NaN where the records do not say when."""
    times = table[["sent_s", "first_token_s", "last_token_s"]].to_numpy(float)
    return float(np.nanmax(times)) if np.isfinite(times).any() else np.nan
