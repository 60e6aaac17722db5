"""The runs of a load-test file that holds several."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..common.errors import LINE
from ..files.json_streams import JsonEvent
from .rows import is_number


class SeveralRuns(ValueError):
    """A file holds several runs, and none is chosen; `runs` is how many [1]."""

    def __init__(self, message: str, runs: int) -> None:
        """The message names them."""
        super().__init__(message)
        self.runs = runs


def counting_runs(events: Iterable[JsonEvent], start: str, counts: list[int]) -> Iterator[JsonEvent]:
    """The same events; `counts` holds how many runs have begun, and the place of the next request in the last one."""
    for event in events:
        if event[0] == start and event[1] == "start_map":
            counts[:] = counts[0] + 1, 0
        yield event


def check_run(path: Path, run: int | None, runs: int, labels: Mapping[int, str] | None = None) -> None:
    """Raise ValueError where a file holds several runs and none is chosen, or not that one; `labels` say what each is.

    The runs are named as far as there is room in a line.
    """
    if run is None and runs > 1:
        start = f"{runs} runs in one file: choose one, run=0 to run={runs - 1} (--run 0 to --run {runs - 1})"
        named = [f"{i} is {label}" for i, label in sorted((labels or {}).items()) if label]
        while named and len(start) + len(", ".join(named)) > LINE - 10:
            named.pop()
        raise SeveralRuns(f"{path}: {start}{': ' if named else ''}{', '.join(named)}", runs)
    if run is not None and not 0 <= run < max(runs, 1):
        raise ValueError(f"{path}: no run {run}: it has {runs}, numbered from 0")


def rate_label(rate: object = None, cap: object = None, kind: object = None) -> str:
    """What a run was asked for: a rate of requests [1/s], a number of requests at a time [1], a kind of traffic."""
    parts = [kind] if isinstance(kind, str) and kind else []
    if is_number(rate):
        parts.append("all at once" if rate == float("inf") else f"{rate:.4g}/s")
    if is_number(cap):
        parts.append(f"{cap:g} at a time")
    return " ".join(parts)[:60]
