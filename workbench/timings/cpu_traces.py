"""Calls out of a trace of PyTorch's profiler that has no GPU in it: what ran on the CPU, operator by operator."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import reading
from ..files.json_streams import json_events
from ..files.reading import Texts
from ..measure.columns import SIZES, TIMING_COLUMNS
from .cells import LONGEST, SHORTEST, Cells, Problems, shortened
from .kernel_names import guess_kernel
from .profilers import known_call, plain_text

#: Begin, end, thread, name and, of an operator whose sizes are known, those; times in [us].
CpuCall = tuple[float, float, str, str, dict[str, Any] | None]
#: What torch.compile does on the host around the operators: no operator itself.
AROUND_CALLS = re.compile(r"TorchDynamo |Pregraph bytecode|AOTDispatcher ")


def read_cpu_trace(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read the operators of a Chrome trace of `torch.profiler` that ran on the CPU, in the order of their start.

    A matrix product or attention call is one row with all that ran within it; of every other operator a row is the time
    that it spent in itself. The GPU is "CPU".
    """
    problems = Problems()
    rows = [{"time_s": time * 1e-6} | sizes for time, sizes in _rows(sorted(_calls(path, problems), key=_place))]
    if not rows and not problems:
        raise ValueError(f"{path}: no event of category 'kernel' or 'cpu_op': expected a trace of torch.profiler")
    frame = pd.DataFrame(rows, columns=list(TIMING_COLUMNS))
    frame = frame.assign(source="torch.profiler", framework="torch", gpu="CPU")
    frame = frame.astype(dict.fromkeys(SIZES, float))
    cells = Cells(path, frame, problems=problems, unit="event")
    return cells.table(**{name: frame[name] for name in TIMING_COLUMNS}), cells


def _place(call: CpuCall) -> tuple[str, float, float]:
    """Calls of one thread by their start, each before those within it."""
    begin, end, thread, *_ = call
    return thread, begin, -end


def _calls(path: Path, problems: Problems) -> Iterator[CpuCall]:
    """Every operator call of a trace."""
    texts, number, items = Texts(path), -1, ("traceEvents.item", "item")

    def at() -> str:
        return f"event {number + 1}: "

    for place, _, event in json_events(path, items, at):
        number += place in items
        if not isinstance(event, dict) or event.get("cat") != "cpu_op":
            continue
        begin, time, args = event.get("ts"), event.get("dur"), event.get("args")
        if not isinstance(begin, int | float) or not isinstance(time, int | float) or not SHORTEST < time < LONGEST:
            problems.append(f"event {number}: dur = {shortened(time)}: expected a time above 0")
            continue
        if number > reading.BUDGET.rows:
            raise ValueError(f"{path}: over {reading.BUDGET.rows:,} calls: profile fewer steps")
        name, known = texts.held(plain_text(event.get("name"))), None
        try:
            if isinstance(args, dict) and "Input Dims" in args:
                known = known_call(name, args["Input Dims"], args.get("Input type"), args.get("Concrete Inputs"))
        except (ValueError, LookupError, TypeError, OverflowError, AttributeError):
            problems.append(f"event {number}: Input Dims = {shortened(args)}: not those of {name}")
        yield float(begin), float(begin + time), plain_text(event.get("tid"))[:60], name, known


def _rows(calls: list[CpuCall]) -> Iterator[tuple[float, dict[str, Any]]]:
    """Time [us] and columns of every row: calls of known sizes whole, of the others what is not in those within."""
    own = [end - begin for begin, end, *_ in calls]
    within = [False] * len(calls)  # of a call whose sizes are known
    stack: list[int] = []
    for i, (begin, end, thread, *_) in enumerate(calls):
        while stack and (calls[stack[-1]][2] != thread or calls[stack[-1]][1] <= begin):
            stack.pop()
        if stack:
            above = stack[-1]
            within[i] = within[above] or calls[above][4] is not None
            if not within[i]:
                own[above] -= min(end, calls[above][1]) - begin
        stack.append(i)
    order = sorted((i for i in range(len(calls)) if not within[i]), key=lambda i: calls[i][0])
    for i in order:
        name, known = calls[i][3:]
        if known is not None or (own[i] > 0 and not AROUND_CALLS.match(name)):
            yield own[i], known or guess_kernel(name) | {"operator_class": _class_alone(name)}


def _class_alone(name: str) -> str:
    """Class of an operator without what it called: a product's wrapper is no product."""
    kind = guess_kernel(name)["operator_class"]
    return kind if kind == "elementwise" else "other"
