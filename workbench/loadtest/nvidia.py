"""Readers of what NVIDIA's load generators export: AIPerf's and GenAI-Perf's profiles."""

import json
from collections.abc import Mapping
from itertools import pairwise
from math import isnan, nan
from pathlib import Path
from typing import Any

from ..common.errors import shown
from ..files.json_streams import json_events, json_lines, value_at, values_of
from .rows import Rows, number
from .streams import check_run, counting_runs

#: Seconds per unit of time that AIPerf writes.
AIPERF_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def read_aiperf(path: Path, run: int | None = None) -> Rows:
    """Read AIPerf's profile_export.jsonl (ai-dynamo/aiperf, commit 13992db, working-with-profile-exports.md).

    A line a request: metadata with request_start_ns and request_end_ns, metrics with a value and a unit each. Records
    of the warm-up are left out. Output tokens are output_sequence_length, reasoning included.
    """
    check_run(path, run, 1)
    rows, warmup = Rows(path, "line {}"), 0
    for line, value in json_lines(path):
        if value_at(value, "metadata.benchmark_phase") == "warmup":
            warmup += 1
            continue
        try:
            _add_aiperf(rows, line, value)
        except ValueError as problem:
            rows.problem(line, str(problem))
    if warmup:
        rows.notes.append(f"{warmup} requests of the warm-up are left out")
    return rows


def _add_aiperf(rows: Rows, line: int, value: Mapping[str, Any]) -> None:
    start, end = (
        number(name, value_at(value, f"metadata.{name}")) / 1e9 for name in ("request_start_ns", "request_end_ns")
    )
    ttft, latency = (_seconds(value, f"metrics.{name}") for name in ("time_to_first_token", "request_latency"))
    error = value_at(value, "error.message", "error.type", "error")
    if error is None and value_at(value, "metadata.was_cancelled") is True:
        error = "cancelled"
    if isinstance(chunks := value_at(value, "metrics.inter_chunk_latency.value"), list):
        rows.add_itl(chunks, _unit(value, "metrics.inter_chunk_latency"))
    rows.add(
        line, sent=start, first=start + ttft, last=end if isnan(latency) else start + latency,
        prompt=value_at(value, "metrics.input_sequence_length.value", "metrics.error_isl.value"),
        output=value_at(value, "metrics.output_sequence_length.value", "metrics.output_token_count.value"), error=error,
        names=("request_start_ns", "time_to_first_token", "request_latency", "input_sequence_length",
               "output_sequence_length"),
    )  # fmt: skip


def _unit(value: Any, place: str) -> float:
    unit = value_at(value, place + ".unit")
    if not isinstance(unit, str) or unit not in AIPERF_SECONDS:
        raise ValueError(f"{place}.unit = {shown(unit)}: expected one of {', '.join(AIPERF_SECONDS)}")
    return AIPERF_SECONDS[unit]


def _seconds(value: Any, place: str) -> float:
    found = number(place, value_at(value, place + ".value"))
    return nan if isnan(found) else found * _unit(value, place)


def read_genai_perf(path: Path, run: int | None = None) -> Rows:
    """Read GenAI-Perf's profile_export.json, written by perf_analyzer; its form is that of genai-perf's parser tests.

    experiments[].requests[]: timestamp and response_timestamps [ns]. Responses without text (a role, a usage report)
    are not tokens. The counts are those of the server's usage report, and unknown without one.
    """
    rows, counts = Rows(path, "request {}"), [0, 0]
    place, wanted = "experiments.item", {"experiments.item.requests.item"}
    events = json_events(path, wanted, lambda: f"experiment {max(counts[0] - 1, 0)}, request {counts[1]}: ")
    for _, value in values_of(counting_runs(events, place, counts), wanted):
        if counts[0] == (run or 0) + 1:
            try:
                _add_genai_perf(rows, counts[1], value)
            except ValueError as problem:
                rows.problem(counts[1], str(problem))
        counts[1] += 1
    check_run(path, run, counts[0])
    return rows


def _add_genai_perf(rows: Rows, place: int, value: Any) -> None:
    stamps, outputs = value_at(value, "response_timestamps"), value_at(value, "response_outputs")
    stamps = stamps if isinstance(stamps, list) else []
    outputs = outputs if isinstance(outputs, list) and len(outputs) == len(stamps) else [None] * len(stamps)
    times, usage = list[float](), dict[str, Any]()
    for stamp, output in zip(stamps, outputs, strict=True):
        text, found = _response(output)
        usage = found or usage
        if text:
            times.append(number("response_timestamps", stamp) / 1e9)
    rows.add_itl([later - earlier for earlier, later in pairwise(times)])
    rows.add(
        place, sent=number("timestamp", value_at(value, "timestamp")) / 1e9, first=times[0] if times else None,
        last=times[-1] if times else None, prompt=usage.get("prompt_tokens"), output=usage.get("completion_tokens"),
        error=None if times else "ended without output",
        names=("timestamp", "response_timestamps[0]", "response_timestamps[-1]", "prompt_tokens", "completion_tokens"),
    )  # fmt: skip


def _response(output: Any) -> tuple[bool, dict[str, Any]]:
    """Whether a response has text, and its usage report if it has one; an unknown form counts as text."""
    if isinstance(output, dict) and "text_output" in output:
        return bool(output["text_output"]), {}
    raw = output.get("response") if isinstance(output, dict) else output
    if not isinstance(raw, str):
        return output is None or bool(output), {}
    text, usage = False, dict[str, Any]()
    for part in raw.split("\n\n"):
        body = part.strip().removeprefix("data:").strip()
        if not body or body == "[DONE]":
            continue
        try:
            chunk = json.loads(body)
        except (ValueError, RecursionError):
            return True, usage
        usage = value_at(chunk, "usage") if isinstance(value_at(chunk, "usage"), dict) else usage
        choices = value_at(chunk, "choices")
        for choice in choices if isinstance(choices, list) else []:
            text = text or bool(value_at(choice, "delta.content", "delta.reasoning_content", "text", "message.content"))
    return text, usage
