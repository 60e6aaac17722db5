"""Readers of the requests of llmperf, inference-perf and trtllm-bench, and of tables whose columns the user names."""

from collections.abc import Mapping
from itertools import pairwise
from math import isnan, nan
from pathlib import Path

from ..common.errors import unknown
from ..files.formulas import as_given
from ..files.json_streams import value_at
from ..files.reading import csv_rows
from .readers import objects
from .rows import Rows, check_status, number
from .streams import check_run


def read_llmperf_requests(path: Path, run: int | None = None) -> Rows:
    """Read llmperf's individual responses (ray-project/llmperf): ttft_s, end_to_end_latency_s [s], tokens, errors.

    When requests were sent is not in the file.
    """
    check_run(path, run, 1)
    rows = Rows(path, relative=True)
    names = ("sent", "ttft_s", "end_to_end_latency_s", "number_input_tokens", "number_output_tokens")
    for place, value in objects(path, "record {}: "):
        ttft, e2e, prompt, output = (value.get(name) for name in names[1:])
        error = value.get("error_msg") or value.get("error_code") or None
        first = None if error and not ttft else ttft
        rows.add(place, sent=0.0, first=first, last=None if error else e2e, prompt=prompt, output=output, error=error,
                 names=names)  # fmt: skip
    rows.notes.append(UNSENT)
    return rows


UNSENT = "no send times: latencies are known, when requests were sent and the queue over time are not"


def read_inference_perf(path: Path, run: int | None = None) -> Rows:
    """Read inference-perf's per_request_lifecycle_metrics.json (kubernetes-sigs/inference-perf): a list of requests.

    start_time and end_time [s] of one clock; info.input_tokens, info.output_tokens and info.output_token_times [s].
    """
    check_run(path, run, 1)
    rows = Rows(path)
    for place, value in objects(path, "record {}: "):
        stamps = value_at(value, "info.output_token_times")
        stamps = stamps if isinstance(stamps, list) else []
        error = value_at(value, "error.error_msg", "error.error_type", "error")
        try:
            times = [number("output_token_times", stamp) for stamp in stamps]
        except ValueError as problem:
            rows.problem(place, str(problem))
            continue
        rows.add_itl([later - earlier for earlier, later in pairwise(times)])
        last = times[-1] if times and not error else value.get("end_time")
        rows.add(
            place, sent=value.get("start_time"), first=times[0] if times else None, last=last,
            prompt=value_at(value, "info.input_tokens"), output=value_at(value, "info.output_tokens"), error=error,
            names=("start_time", "output_token_times[0]", "end_time", "input_tokens", "output_tokens"),
        )  # fmt: skip
    return rows


def read_trtllm_requests(path: Path, run: int | None = None) -> Rows:
    """Read `trtllm-bench --request_json` (NVIDIA/TensorRT-LLM): a list with spans in ns, no times."""
    check_run(path, run, 1)
    rows = Rows(path, relative=True)
    names = ("sent", "time_to_first_token", "end_to_end_latency", "num_input_tokens", "num_generated_tokens")
    for place, value in objects(path, "record {}: "):
        try:
            ttft, e2e = (number(name, value.get(name)) * 1e-9 for name in names[1:3])
        except ValueError as problem:
            rows.problem(place, str(problem))
            continue
        prompt = value_at(value, "num_input_tokens", "input_tokens")
        output = value_at(value, "num_generated_tokens", "num_total_output_tokens", "output_tokens")
        rows.add(place, sent=0.0, first=ttft if ttft > 0 else None, last=e2e, prompt=prompt, output=output, names=names)
    rows.notes.append(UNSENT)
    return rows


# Tables with columns of the user's --------------------------------------------------------------------------------

#: What a column may be: times on one clock, spans, tokens, texts.
NAMED_TIMES, NAMED_SPANS = ("sent", "first_token", "last_token"), ("ttft", "tpot", "e2e")
NAMED_REST = ("prompt_tokens", "output_tokens", "status", "error")
SECONDS_IN = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def named_columns(given: Mapping[str, str]) -> dict[str, tuple[str, float]]:
    """Columns of a table by what they are, each with its unit [s]: "latency_ms:ms" is the column latency_ms in ms.

    Raises
    ------
    ValueError
        For what no column can be, or too few of them.
    """
    found = {}
    for name, text in given.items():
        if name not in (*NAMED_TIMES, *NAMED_SPANS, *NAMED_REST):
            raise unknown("column", name, (*NAMED_TIMES, *NAMED_SPANS, *NAMED_REST))
        column, colon, unit = text.rpartition(":")
        timed = name in (*NAMED_TIMES, *NAMED_SPANS)
        known = colon and timed and unit in SECONDS_IN
        found[name] = (column, SECONDS_IN[unit]) if known else (text, 1.0)
    if not {"first_token", "last_token", *NAMED_SPANS} & {*found}:
        raise ValueError("columns: expected first_token or ttft, and last_token, e2e or tpot, e.g. ttft=TTFT_ms:ms")
    return found


def read_named(path: Path, given: Mapping[str, str]) -> Rows:
    """Read a CSV whose columns are named: {"ttft": "TTFT (ms):ms", "output_tokens": "n_out", ...}.

    Parameters
    ----------
    path : Path
        The CSV.
    given : mapping of str
        Which column is sent, first_token, last_token, ttft, tpot or e2e (in seconds, unless a unit of `SECONDS_IN`
        follows a colon), prompt_tokens, output_tokens [token], status or error.

    Returns
    -------
    Rows
        Without the column `sent` only latencies are known.
    """
    columns = named_columns(given)
    table = csv_rows(path)
    _, heads = next(table, (0, list[str]()))
    for name, (column, _) in columns.items():
        if column not in heads:
            raise ValueError(f"{path}: {name}: {unknown('column', column, heads)}")
    rows = Rows(path, "line {}", relative="sent" not in columns)
    places = {name: (heads.index(column), scale) for name, (column, scale) in columns.items()}
    for line, cells in table:
        if len(cells) != len(heads):
            rows.problem(line, f"{len(cells)} fields: expected {len(heads)}")
            continue
        try:
            value = {name: _value(columns[name][0], cells[place], scale) for name, (place, scale) in places.items()
                     if name not in ("status", "error")}  # fmt: skip
            texts = {name: cells[places[name][0]].strip() for name in ("status", "error") if name in places}
            status = check_status(texts["status"]) if texts.get("status") else None
        except ValueError as problem:
            rows.problem(line, str(problem))
            continue
        sent = value.get("sent", 0.0)
        first = value.get("first_token", sent + value.get("ttft", nan))
        last = value.get("last_token", sent + value.get("e2e", nan))
        if isnan(last):
            last = first + value.get("tpot", nan) * (value.get("output_tokens", nan) - 1)
        rows.add(line, sent=sent, first=first, last=last, prompt=value.get("prompt_tokens"), status=status,
                 output=value.get("output_tokens"), error=as_given(texts.get("error", "")))  # fmt: skip
    if rows.relative:
        rows.notes.append(UNSENT)
    return rows


def _value(name: str, text: str, scale: float) -> float:
    if text.strip() in ("", "nan", "NaN", "<NA>", "None", "null"):
        return nan
    try:
        return float(text) * scale
    except ValueError:
        raise ValueError(f"{name} = {text[:60]!r}: expected a number") from None
