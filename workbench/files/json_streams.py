"""Streams of JSON: values by their place, one at a time, so that what is skipped takes no memory."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..common.extras import check_libraries
from . import reading
from .reading import open_bytes, open_text, parse_json

MAX_KEY = 200  # characters of a key in the path of what is below it; no place that is asked for has more

#: The path of a value within its document, what it is, as ijson says or "value", and the value.
JsonEvent = tuple[str, str, Any]
#: Not JSON, but written by Python's json and by profilers.
NO_NUMBERS = re.compile(rb"(?:(?<=[\s:,\[])|\A)(?:NaN|-?Infinity)(?=[\s,\]}])")


class _Counted:
    """A file for the parser, which counts what it has read since an event last came of it."""

    def __init__(self, file: BinaryIO, where: Callable[[], str]) -> None:
        self._file, self._where, self.count = file, where, 0

    def read(self, size: int) -> bytes:
        if self.count > reading.BUDGET.line:
            raise ValueError(f"{self._where()}a value or record of over {reading.BUDGET.line >> 20} MiB")
        part = self._file.read(size)
        if part.isdigit() and len(part) == size:  # the parser takes a time that grows with the square of its length
            raise ValueError(f"{self._where()}a number of over {size:,} digits")
        if b"NaN" in part or b"Infinity" in part or _may_go_on(part):
            while _may_go_on(part) and len(part) < 2 * size and (more := self._file.read(16)):
                part += more
            part = NO_NUMBERS.sub(b"null", part)
        self.count += len(part)
        return part


def _may_go_on(part: bytes) -> bool:
    """Whether what a part ends with may be the beginning of a word."""
    return part[-1:].isalpha() or part[-1:] == b"-"


def json_events(path: Path, wanted: Collection[str] = (), at: Callable[[], str] = lambda: "") -> Iterator[JsonEvent]:
    """Events of a JSON file of one document or several; ValueError, in one line, where it is invalid or over budget.

    A list or object at one of the wanted paths is one event, "value"; a list that is wanted by item, as "key.item", is
    never held whole. `at` names, for errors, the record that is being read.
    """
    check_libraries("ijson")
    import ijson

    def where() -> str:
        return f"{path}: {at()}"

    with open_bytes(path) as raw:
        file = _Counted(raw, where)
        events = ijson.basic_parse(file, use_float=True, multiple_values=True, buf_size=2**14)
        try:
            yield from _placed(events, file, wanted, where)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            why = (str(error).strip().splitlines() or ["?"])[0][:200]
            raise ValueError(f"{where()}not valid JSON, or cut off ({why})") from None


def _placed(
    events: Iterator[tuple[str, Any]], file: _Counted, wanted: Collection[str], where: Callable[[], str]
) -> Iterator[JsonEvent]:
    """The parser's events with the path of each; wanted lists and objects whole."""
    path, below = "", ""  # of the list or object that is open, and of the next value in it
    outer: list[tuple[str, str]] = []
    for kind, value in events:
        if kind == "map_key":
            below = f"{path}.{value[:MAX_KEY]}" if path else value[:MAX_KEY]
            yield path, kind, value
        elif kind == "end_map" or kind == "end_array":
            ended = path
            path, below = outer.pop()
            yield ended, kind, None
        elif kind == "start_map" or kind == "start_array":
            if below in wanted:
                yield below, "value", _built(events, kind, len(outer) + 1, where)
            else:
                yield below, kind, None
                outer.append((path, below))
                if len(outer) > reading.BUDGET.depth:
                    raise ValueError(f"{where()}nested over {reading.BUDGET.depth} levels deep")
                path = below
                if kind == "start_array":
                    below = f"{path}.item" if path else "item"
        else:
            yield below, kind, value
        file.count = 0


def _built(events: Iterator[tuple[str, Any]], kind: str, depth: int, where: Callable[[], str]) -> Any:
    """The list or object that has just begun."""
    room = reading.BUDGET.depth - depth
    built: Any = {} if kind == "start_map" else []
    top, key, outer = built, "", list[tuple[Any, str]]()
    for kind, value in events:
        if kind == "map_key":
            key = value
            continue
        if kind == "end_map" or kind == "end_array":
            if not outer:
                break
            top, key = outer.pop()
            continue
        opens = kind == "start_map" or kind == "start_array"
        if opens:
            value = {} if kind == "start_map" else []
        if isinstance(top, dict):
            top[key] = value
        else:
            top.append(value)
        if opens:
            outer.append((top, key))
            if len(outer) > room:
                raise ValueError(f"{where()}nested over {reading.BUDGET.depth} levels deep")
            top = value
    return built


def values_of(events: Iterable[JsonEvent], wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The values at the wanted paths, whatever they are, of events that have them whole."""
    for place, kind, value in events:
        if place in wanted and kind not in ("map_key", "end_map", "end_array"):
            yield place, value


def json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file with one on every line, and the lines' numbers; ValueError names a line that is not one."""
    with open_text(path) as file:
        at = 0
        while line := file.readline(reading.BUDGET.line):
            at += 1
            if len(line) >= reading.BUDGET.line:
                raise ValueError(f"{path}: line {at}: longer than {reading.BUDGET.line:,} characters")
            if not line.strip():
                continue
            record = parse_json(line, f"{path}: line {at}", strict=False)
            if not isinstance(record, dict):
                raise ValueError(f"{path}: line {at}: {line.strip()[:60]!r}: expected an object")
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
