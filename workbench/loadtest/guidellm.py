"""Readers of GuideLLM's reports: JSON, which is streamed, and YAML."""

from array import array
from collections.abc import Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

from ..files.json_streams import json_events, value_at, values_of
from ..files.yaml_files import read_mapping
from .rows import Rows, Said, is_number, number
from .streams import check_run, counting_runs, rate_label

GUIDELLM_STATUSES = {"successful": "finished", "incomplete": "unfinished", "errored": "failed"}
BENCHMARK = "benchmarks.item."
GUIDELLM_REQUESTS = {f"{BENCHMARK}requests.{name}.item": status for name, status in GUIDELLM_STATUSES.items()}
#: Metrics of a report by the column that they are, and their unit.
GUIDELLM_MEANS = {
    "requests_per_second": "finished_rate", "prompt_tokens_per_second": "prompt_token_rate",
    "output_tokens_per_second": "output_token_rate", "tokens_per_second": "total_token_rate",
    "prompt_token_count": "prompt_tokens", "output_token_count": "output_tokens",
}  # fmt: skip
GUIDELLM_LATENCIES = {
    "time_to_first_token_ms": ("ttft", 1e-3), "inter_token_latency_ms": ("tpot", 1e-3), "request_latency": ("e2e", 1.0),
}  # fmt: skip
#: Statistics below a metric: where they stand, and what they are here.
GUIDELLM_STATISTICS = {"mean": "mean", "median": "p50"} | {f"percentiles.p{p}": f"p{p}" for p in (50, 75, 90, 95, 99)}


def _summary() -> dict[str, tuple[str, float]]:
    root = f"{BENCHMARK}metrics."
    totals = GUIDELLM_STATUSES | {"total": "requests"}
    return (
        {f"{root}request_totals.{name}": (what, 1.0) for name, what in totals.items()}
        | {f"{root}{name}.successful.mean": (what, 1.0) for name, what in GUIDELLM_MEANS.items()}
        | {
            f"{root}{name}.successful.{place}": (f"{what}_{statistic}", scale)
            for name, (what, scale) in GUIDELLM_LATENCIES.items() for place, statistic in GUIDELLM_STATISTICS.items()
        }
    )  # fmt: skip


GUIDELLM_SUMMARY = _summary()
MEASURED_WINDOW = {f"{BENCHMARK}scheduler_metrics.measure_{end}_time": end for end in ("start", "end")}
STRATEGY = {
    f"{BENCHMARK}{root}.strategy.{name}": what
    for root in ("config", "args")
    for name, what in {
        "type_": "kind", "rate": "rate", "streams": "cap", "max_concurrency": "cap",
    }.items()
}  # fmt: skip
#: Clients that send later than they aimed by more than this are told [s].
LATE = 0.1


def read_guidellm(path: Path, run: int | None = None) -> Rows:
    """Read GuideLLM's report as JSON (vllm-project/guidellm, src/guidellm/schemas of commits 31c74ea and 1053a03).

    benchmarks[].requests has lists successful, incomplete and errored; a sweep holds several benchmarks, of which
    `run` chooses one. Its times are Unix time, below info.timings; older reports have them in the request itself, and
    -1 for what never happened. Requests that ended before scheduler_metrics.measure_start_time or were sent after
    measure_end_time are warm-up and cool-down, and left out, as GuideLLM leaves them out of its own numbers.
    """
    report, counts = _Report(path), [0, 0]
    wanted = {*GUIDELLM_REQUESTS, *GUIDELLM_SUMMARY, *MEASURED_WINDOW, *STRATEGY}
    events = json_events(path, wanted, lambda: f"benchmark {max(counts[0] - 1, 0)}, request {counts[1]}: ")
    for place, value in values_of(counting_runs(events, BENCHMARK[:-1], counts), wanted):
        report.add(counts[0] - 1, place, value, run or 0)
        counts[1] += place in GUIDELLM_REQUESTS
    check_run(path, run, counts[0], report.labels())
    return report.finished()


def read_guidellm_yaml(path: Path, run: int | None = None) -> Rows:
    """Read GuideLLM's report as YAML, of at most 4 MB; it holds the same as its JSON."""
    report = _Report(path)
    benchmarks = read_mapping(path).get("benchmarks")
    runs = benchmarks if isinstance(benchmarks, list) else []
    for i, benchmark in enumerate(runs):
        for place, value in _places(benchmark, {*GUIDELLM_REQUESTS, *GUIDELLM_SUMMARY, *MEASURED_WINDOW, *STRATEGY}):
            report.add(i, place, value, run or 0)
    check_run(path, run, len(runs), report.labels())
    return report.finished()


def _places(benchmark: Any, wanted: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for place in wanted:
        value = value_at(benchmark, place.removeprefix(BENCHMARK).removesuffix(".item"))
        if place.endswith(".item"):
            yield from ((place, each) for each in (value if isinstance(value, list) else []))
        elif value is not None:
            yield place, value


class _Report:
    """What has been read of a report: the requests and claims of the chosen run, and what every run is."""

    def __init__(self, path: Path) -> None:
        self.rows, self._ends, self._late = Rows(path, "request {}"), array("d"), array("d")
        self._measured = {"start": -inf, "end": inf}
        self._asked: dict[int, dict[str, Any]] = {}

    def add(self, at: int, place: str, value: Any, run: int) -> None:
        """One value of run number `at`."""
        if place in STRATEGY:
            self._asked.setdefault(at, {}).setdefault(STRATEGY[place], value)
        if at != run:
            return
        if place in GUIDELLM_REQUESTS:
            self._request(self.rows.seen, GUIDELLM_REQUESTS[place], value)
        elif is_number(value):
            if place in MEASURED_WINDOW and value > 0:
                self._measured[MEASURED_WINDOW[place]] = float(value)
            elif place in GUIDELLM_SUMMARY:
                column, scale = GUIDELLM_SUMMARY[place]
                self.rows.claims[place.removeprefix(BENCHMARK)] = Said(column, value * scale, scale)
        if place in STRATEGY:
            asked = self._asked[at]
            self.rows.label = rate_label(asked.get("rate"), asked.get("cap"), asked.get("kind"))
            for name, column in (("rate", "asked_rate"), ("cap", "concurrency")):
                if is_number(found := asked.get(name)):
                    self.rows.claims[f"strategy.{name}"] = Said(column, float(found))

    def labels(self) -> dict[int, str]:
        """What each run is."""
        return {at: rate_label(a.get("rate"), a.get("cap"), a.get("kind")) for at, a in self._asked.items()}

    def finished(self) -> Rows:
        """The requests that were measured, with what is to be told of them."""
        rows, claims = self.rows, self.rows.claims
        if left := rows.select(self._measured["start"], self._measured["end"], self._ends):
            rows.notes.append(f"{left:,} requests of the warm-up and cool-down are left out, as in its own numbers")
        late = sorted(seconds for seconds in self._late if seconds > LATE)
        if late:
            asked = claims.get("strategy.rate")
            rate = f", at {asked.value:.4g} per second" if asked else ""
            rows.notes.append(
                f"the client sent {len(late):,} requests up to {late[-1]:.3g} s later than it was to{rate}: what was"
                " offered is not what was asked for"
            )
        whole = claims.get("metrics.request_totals.total")
        if whole and whole.value > 1.5 * (len(rows) + rows.unusable) and len(rows):
            rows.whole = int(whole.value)
            rows.notes.append(
                f"{len(rows):,} of its {rows.whole:,} requests are in the file, a sample: rates and the queue are"
                " unknown"
            )
            sampled = ("requests", "finished", "failed", "unfinished", "finished_rate")
            rows.claims = {
                name: claim for name, claim in claims.items()
                if claim.column not in sampled and not claim.column.endswith("_token_rate")
            }  # fmt: skip
        return rows

    def _request(self, place: int, status: str, value: Any) -> None:
        timings, rows, before = "info.timings.", self.rows, len(self.rows)
        sent = value_at(value, timings + "request_start", timings + "resolve_start", "start_time")
        first = value_at(value, timings + "first_token_iteration", timings + "first_iteration", "first_token_time")
        last = value_at(value, timings + "last_token_iteration", timings + "last_iteration", "last_token_time")
        first, last = (None if isinstance(time, int | float) and time <= 0 else time for time in (first, last))
        ended = value_at(value, timings + "request_end", "end_time")
        if status == "finished":
            last = last or ended
        elif status == "unfinished":
            last = None  # of the tokens so far
        rows.add(
            place, sent=sent, first=first, last=last, prompt=value_at(value, "prompt_tokens"),
            output=value_at(value, "output_tokens"), status=status, error=value_at(value, "info.error", "error"),
            names=("request_start", "first_token_iteration", "last_token_iteration", "prompt_tokens", "output_tokens"),
        )  # fmt: skip
        if len(rows) > before:
            self._ends.append(_known(ended, inf))
            self._late.append(_known(sent, inf) - _known(value_at(value, timings + "targeted_start"), inf))


def _known(value: Any, other: float) -> float:
    try:
        found = number("time", value)
    except ValueError:
        return other
    return found if found == found and found > 0 else other
