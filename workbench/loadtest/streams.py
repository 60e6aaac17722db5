"""The runs of a load-test file that holds several."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..files.json_streams import JsonEvent


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
