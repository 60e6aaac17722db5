"""Streams of JSON out of load-test files: values by their place, so that what is skipped takes no memory."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ijson

from ..files.reading import open_bytes, open_text

#: Levels of nesting that are read.
MAX_JSON_DEPTH = 64
#: What is parsed at a time [byte]: the parser holds the whole path of every value in it, however deep.
BUFFER = 2**10

JsonEvent = tuple[str, str, Any]  # of ijson: the path of a value within its document, what it is, the value


def json_events(path: Path, at: Callable[[], str] = lambda: "") -> Iterator[JsonEvent]:
    """Events of a JSON file of one document or several; ValueError, in one line, where it is invalid or too deep.

    For that error, `at` names the record that is being read.
    """
    with open_bytes(path) as file:
        try:
            depth = 0
            for event in ijson.parse(file, use_float=True, multiple_values=True, buf_size=BUFFER):
                kind = event[1]
                if kind == "start_map" or kind == "start_array":
                    depth += 1
                    if depth > MAX_JSON_DEPTH:
                        raise ValueError(f"{path}: {at()}nested over {MAX_JSON_DEPTH} levels deep")
                elif kind == "end_map" or kind == "end_array":
                    depth -= 1
                yield event
        except (ijson.JSONError, UnicodeDecodeError) as error:
            why = str(error).strip().splitlines()[0]
            raise ValueError(f"{path}: {at()}not valid JSON, or cut off ({why})") from None


def stream_values(events: Iterable[JsonEvent], wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The values at the wanted paths, one at a time; a list that is wanted by item is never held whole."""
    events = iter(events)
    for prefix, event, value in events:
        if prefix not in wanted or event in ("map_key", "end_map", "end_array"):
            continue
        if event not in ("start_map", "start_array"):
            yield prefix, value
            continue
        builder, depth = ijson.ObjectBuilder(), 0
        builder.event(event, value)
        for _, inner, part in events:
            builder.event(inner, part)
            depth += inner.startswith("start_") - inner.startswith("end_")
            if depth < 0:
                break
        yield prefix, builder.value


def json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file with one on every line, and the lines' numbers; ValueError names a line that is not one."""
    with open_text(path) as file:
        for at, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                why = error.msg if isinstance(error, json.JSONDecodeError) else "a number or nesting out of bounds"
                raise ValueError(f"{path}: line {at}: not valid JSON, or cut off ({why})") from None
            if not isinstance(record, dict):
                raise ValueError(f"{path}: line {at}: {str(record)[:60]!r}: expected an object")
            yield at, record


def value_at(record: Any, *places: str) -> Any:
    """The value at the first of several dotted places of nested objects that has one; None if none does."""
    for place in places:
        value = record
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def counting_runs(events: Iterable[JsonEvent], start: str, counts: list[int]) -> Iterator[JsonEvent]:
    """The same events; `counts` holds how many runs have begun, and the place of the next request in the last one."""
    for event in events:
        if event[0] == start and event[1] == "start_map":
            counts[:] = counts[0] + 1, 0
        yield event


def check_run(path: Path, run: int | None, runs: int) -> None:
    """Raise ValueError where a file holds several runs and none is chosen, or not that one."""
    if run is None and runs > 1:
        raise ValueError(f"{path}: {runs} runs in one file: choose one, run=0 to run={runs - 1}")
    if run is not None and not 0 <= run < max(runs, 1):
        raise ValueError(f"{path}: no run {run}: it has {runs}, numbered from 0")
