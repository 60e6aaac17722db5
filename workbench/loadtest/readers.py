"""Readers of load-test files, one a format: plain tables, varcas, vLLM and SGLang. Each streams its file."""

from array import array
from collections.abc import Iterator, Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

from ..files.formulas import as_given
from ..files.json_streams import json_events, value_at, values_of
from ..files.reading import check_unique_columns, csv_rows, open_text
from .claims import LONGER, SUMMARY_FIELDS, claim_of, significant
from .rows import Rows, Said, check_status, number
from .streams import check_run, rate_label

# Tables -----------------------------------------------------------------------------------------------------------

CSV_NAMES = {"prompt_tokens": "input_tokens"}  # what a column may be called instead


def read_csv(path: Path, run: int | None = None) -> Rows:
    """Read a CSV with columns sent_s, first_token_s, last_token_s [s], prompt_tokens (or input_tokens), output_tokens.

    An empty cell never happened or is unknown. Columns status and error are optional; `loadtest.write` writes both.
    """
    check_run(path, run, 1)
    rows, table = Rows(path, "line {}"), csv_rows(path)
    _, columns = next(table, (0, list[str]()))
    names = [
        CSV_NAMES.get(name, name) if name not in columns else name
        for name in ("sent_s", "first_token_s", "last_token_s", "prompt_tokens", "output_tokens")
    ]
    for name in names[:3]:
        if name not in columns:
            raise ValueError(f"{path}: no column {name!r}; its columns: {', '.join(map(repr, columns))[:100]}")
    check_unique_columns(path, columns, {*names, "status", "error"})
    places = [columns.index(name) if name in columns else None for name in (*names, "status", "error")]
    rows.relative = {"ttft_s", "e2e_s"} <= {*columns}  # as `write` has requests that do not say when they were sent
    if rows.relative:
        check_unique_columns(path, columns, {"ttft_s", "e2e_s"})
        places[1:3] = columns.index("ttft_s"), columns.index("e2e_s")
    for line, cells in table:
        if len(cells) != len(columns):
            rows.problem(line, f"{len(cells)} fields: expected {len(columns)}")
            continue
        *texts, status, error = ("" if place is None else cells[place].strip() for place in places)
        try:
            sent, first, last, prompt, output = map(_cell, names, texts)
            chosen = check_status(status) if status else None
        except ValueError as problem:
            rows.problem(line, str(problem))
            continue
        rows.add(
            line, sent=0.0 if rows.relative else sent, first=first, last=last, prompt=prompt, output=output,
            status=chosen, error=as_given(error), names=names,
        )  # fmt: skip
    return rows


def _cell(name: str, text: str) -> float | None:
    if text in ("", "nan", "NaN", "<NA>"):
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} = {text[:60]!r}: expected a number") from None


# The varcas load harness ------------------------------------------------------------------------------------------

VARCAS = ("timestamp_sent", "timestamp_first_token", "timestamp_last_token", "input_tokens", "output_tokens")
VARCAS_SUMMARY = ("total_requests", "successful_requests", "failed_requests", "throughput_rps")


def read_varcas(path: Path, run: int | None = None) -> Rows:
    """Read a result of the varcas load harness 1.0 (kshyp/varcas, commit 15daea2): metrics, and records[] in Unix time.

    As it stands, or below load_test_results of its dynamic analysis. Its summary counts every request without an error
    as successful, with or without output.
    """
    check_run(path, run, 1)
    rows = Rows(path, "records[{}]")
    roots = ("", "load_test_results.")
    summary = {f"{root}metrics.{name}": name for root in roots for name in VARCAS_SUMMARY}
    records = {f"{root}records.item" for root in roots}
    wanted = {*summary, *records}
    for where, value in values_of(json_events(path, wanted, lambda: f"records[{rows.seen}]: "), wanted):
        if where in records:
            sent, first, last, prompt, output = (value_at(value, name) for name in VARCAS)
            rows.add(
                rows.seen, sent=sent, first=first, last=last, prompt=prompt, output=output,
                error=value_at(value, "error"), names=VARCAS,
            )  # fmt: skip
        else:
            if claim := claim_of(summary[where], value):
                rows.claims[where] = claim
    return rows


# vLLM -------------------------------------------------------------------------------------------------------------

VLLM_ARRAYS = ("start_times", "ttfts", "latencies", "input_lens", "output_lens", "errors")


def read_vllm(path: Path, run: int | None = None) -> Rows:
    """Read the result of `vllm bench serve --save-result --save-detailed` (vllm/benchmarks/serve.py, commit 009e6d4).

    And that of SGLang's `bench_serving --output-details` (sgl-project/sglang, docs/developer_guide/bench_serving.md).
    Its arrays have one entry a request: start_times [s] (in vLLM since January 2026, pull request 32667), ttfts and
    itls [s], input_lens, output_lens, errors; a request with 0 output tokens failed. A request ends with its last
    token: after `latencies`, in files that have it, or after ttft and the sum of its itls. Without start_times the
    latencies are known and the times are not, but where all were sent at once (request_rate infinite, no cap).
    """
    rows, runs = Rows(path, "request {}"), 0
    arrays: dict[str, list[Any]] = {name: [] for name in VLLM_ARRAYS}
    decoding, gaps = array("d"), array("d")  # of each request: the time after its first token [s], its itls [1]
    traffic: dict[int, dict[str, Any]] = {}
    columns = {f"{name}.item": values for name, values in arrays.items()}
    events = json_events(
        path, {*columns, "itls.item"}, lambda: f"request {max(len(decoding), *map(len, arrays.values()))}: "
    )
    for place, event, value in events:
        if not place and event == "start_map":
            runs += 1
        if place in ("request_rate", "max_concurrency") and event in ("number", "string", "null"):
            endless = place == "request_rate" and value in ("inf", None)  # Python's own Infinity is read as null
            traffic.setdefault(runs - 1, {})[place] = inf if endless else value
        if run is not None and runs != run + 1:
            continue
        if place == "itls.item" and isinstance(value, list):
            rows.add_itl(value)
            decoding.append(_total(value))
            gaps.append(len(value))
            rows.check_room(len(decoding))
        elif place in columns:
            columns[place].append(rows.held(value))
            rows.check_room(len(columns[place]))
        elif event == "number" and (claim := claim_of(place, value)):
            rows.claims[place] = claim
    labels = {at: rate_label(asked.get("request_rate"), asked.get("max_concurrency")) for at, asked in traffic.items()}
    check_run(path, run, runs, labels)
    asked = traffic.get(run or 0, {})
    rows.label, n = labels.get(run or 0, ""), len(arrays["ttfts"])
    if asked.get("request_rate") == inf:
        rows.claims["request_rate"] = Said(SUMMARY_FIELDS["request_rate"], inf)
    if not n:
        return rows
    at_once = False
    if not arrays["start_times"]:
        at_once = asked.get("request_rate") == inf and asked.get("max_concurrency") is None
        rows.relative = not at_once
        arrays["start_times"] = [0.0] * n
    if not arrays["latencies"] and not decoding:
        rows.notes.append("no itls: when requests ended is unknown, all that did not fail count as unfinished")
    for name, values in {**arrays, "itls": decoding}.items():
        if values and len(values) != n:
            raise ValueError(f"{path}: {name} has {len(values)} entries, ttfts has {n}")
    _check_gaps(rows, gaps, arrays["output_lens"])
    for i in range(n):
        sent, ttft, latency, prompt, output, error = (arrays[name][i] if arrays[name] else None for name in VLLM_ARRAYS)
        if latency is None and decoding and isinstance(ttft, int | float):
            latency = ttft + decoding[i]
        _add_vllm(rows, i, sent, ttft, latency, prompt, output, error)
    if at_once and (longer := _longer(rows)):
        rows.relative = True
        rows.notes.insert(0, f"no start_times: {longer}, so that requests were not sent all at once: when is unknown")
    elif at_once or rows.relative:
        rows.notes.insert(
            0,
            "no start_times: latencies are known, when requests were sent and the queue over time are not"
            if rows.relative
            else "no start_times: requests are taken to be sent all at once, as request_rate = inf says",
        )
    return rows


def _longer(rows: Rows) -> str:
    """In words, a duration that is much longer than the longest request; "" where there is none."""
    said = [claim.value for claim in rows.claims.values() if claim.column == "duration_s"]
    longest = rows.longest
    if not said or not said[0] > LONGER * longest + 1:
        return ""
    return f"duration = {significant(said[0])} s is longer than every request ({significant(longest)} s)"


def _check_gaps(rows: Rows, gaps: Sequence[float], lengths: list[Any]) -> None:
    """Note requests with other tokens than their itls and the first: some came at once, or a count is wrong."""
    pairs = zip(gaps, lengths, strict=False)
    other = [i for i, (gap, length) in enumerate(pairs) if gap and isinstance(length, int) and gap + 1 != length]
    if other:
        first = other[0]
        rows.notes.append(
            f"{len(other):,} requests have other numbers of itls than of output tokens after the first: request {first}"
            f" {gaps[first]:,.0f} itls beside {lengths[first]:,} tokens; their tpot is the time of all itls by tokens"
        )


def _total(gaps: list[Any]) -> float:
    """The sum of gaps between tokens [s], NaN where one is no number."""
    return float(sum(gaps)) if {int, float}.issuperset(map(type, gaps)) else nan


def _add_vllm(rows: Rows, place: int, sent: Any, ttft: Any, latency: Any, prompt: Any, output: Any, error: Any) -> None:
    """A request of which only intervals are known; vLLM writes 0 for what never happened."""
    names = ("start_time", "ttft", "latency", "prompt_len", "output_tokens")
    try:
        sent, ttft, latency = (number(*named) for named in zip(names, (sent, ttft, latency), strict=False))
    except ValueError as problem:
        rows.problem(place, str(problem))
        return
    failed = bool(error) or output == 0
    rows.add(
        place, sent=sent, first=sent + ttft if ttft else None, last=sent + latency if latency and not failed else None,
        prompt=prompt, output=output, error=error or ("ended without output" if failed else None), names=names,
    )  # fmt: skip


def read_vllm_requests(path: Path, run: int | None = None) -> Rows:
    """Read vLLM's RequestFuncOutput objects (vllm/benchmarks/lib/endpoint_request_func.py, commit 02cfb53), as JSON.

    A list, or one a line: start_time, ttft, latency, itl [s], prompt_len, output_tokens, error, success.
    """
    check_run(path, run, 1)
    rows, endless = Rows(path), 0
    for place, value in objects(path, "record {}: "):
        rows.add_itl(value.get("itl"))
        error = value.get("error") or ("not successful" if value.get("success") is False else None)
        names = ("start_time", "ttft", "latency", "prompt_len", "output_tokens")
        sent, ttft, latency, prompt, output = (value.get(name) for name in names)
        _add_vllm(rows, place, sent, ttft, latency, prompt, output, error)
        endless += latency is None and not error and output != 0
    if endless:
        rows.notes.append(f"{endless:,} records without latency: when they ended is unknown, they count as unfinished")
    return rows


def objects(path: Path, unit: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list, or of a file with one after the other."""
    with open_text(path) as file:
        wanted = {"item" if file.read(2**16).lstrip().startswith("[") else ""}
    at = [0]
    for place, (_, value) in enumerate(values_of(json_events(path, wanted, lambda: unit.format(at[0])), wanted)):
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {unit.format(place)}{str(value)[:60]!r}: expected an object")
        yield place, value
        at[0] = place + 1
