"""Kernel timings out of the Chrome trace of PyTorch's profiler."""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files import reading
from ..files.json_streams import json_events
from ..files.reading import Texts
from ..measure.columns import SIZES, TEXTS
from .cells import LARGEST, LONGEST, SHORTEST, Cells, Problems, shortened
from .kernel_names import guess_kernel

TORCH_DTYPES = {
    "c10::BFloat16": "bf16", "c10::Half": "fp16", "float": "fp32", "double": "fp64", "c10::Float8_e4m3fn": "fp8",
    "c10::Float8_e4m3fnuz": "fp8", "c10::Float8_e5m2": "fp8",
}  # fmt: skip

#: Where `is_causal` is among an operator's inputs.
CAUSAL_INPUT = {
    "aten::_flash_attention_forward": 8, "aten::_scaled_dot_product_flash_attention": 4,
    "aten::_scaled_dot_product_efficient_attention": 6, "aten::_scaled_dot_product_cudnn_attention": 6,
}  # fmt: skip

Dims = Sequence[Sequence[int]]
TraceEvent = dict[str, Any]


def _product(m: int, n: int, k: int) -> dict[str, Any]:
    return {"operator_class": "gemm", "m": m, "n": n, "k": k}


def _bmm(dims: Dims) -> dict[str, Any]:
    (batch, m, k), (_, _, n) = dims[0], dims[1]
    return {"operator_class": "other", "batch_size": batch, "m": m, "n": n, "k": k}


def _attention(query: Sequence[int], key: Sequence[int], *, heads: int, length: int) -> dict[str, Any]:
    """Sizes of a fused attention call, whose tensors have 4 dims: batch, heads and length in some order, head_dim."""
    new, context = query[length], key[length]
    return {
        "operator_class": "attention_decode" if new < context or new == 1 else "attention_prefill",
        "batch_size": query[0], "seq_len_q": new, "seq_len_kv": context, "head_dim": query[3],
        "n_heads": query[heads], "n_kv_heads": key[heads],
    }  # fmt: skip


def operator_sizes(name: str, dims: Dims) -> dict[str, Any] | None:
    """Class and sizes of a PyTorch operator from the dims of its inputs, None for one that is not known here.

    Parameters
    ----------
    name : str
        As in the trace, such as ``aten::mm``.
    dims : list
        The event's "Input Dims" [1].

    Returns
    -------
    dict, optional
        Columns of `TIMING_COLUMNS`.

    Raises
    ------
    ValueError, IndexError
        Where the dims do not fit the operator.

    Examples
    --------
    >>> operator_sizes("aten::addmm", [[512], [8, 256], [256, 512]])
    {'operator_class': 'gemm', 'm': 8, 'n': 512, 'k': 256}
    """
    operator = name.removeprefix("aten::")
    if operator in ("mm", "_scaled_mm", "addmm"):
        (m, k), (_, n) = dims[1:3] if operator == "addmm" else dims[:2]
        return _product(m, n, k)
    if operator == "linear":
        return _product(int(np.prod(dims[0][:-1], dtype=float)), dims[1][0], dims[1][1])
    if operator in ("bmm", "baddbmm"):
        return _bmm(dims[1:] if operator == "baddbmm" else dims)
    if operator.startswith("_scaled_dot_product_"):
        return _attention(dims[0], dims[1], heads=1, length=2)
    if operator in ("_flash_attention_forward", "_efficient_attention_forward"):
        return _attention(dims[0], dims[1], heads=2, length=1)
    return None


def read_trace(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read a Chrome trace of `torch.profiler` (.json or .json.gz), recorded with `record_shapes=True`.

    The kernels that one matrix product or attention call launched are one row, their times added; its sizes are those
    of the call's inputs, `kernel` and `start_s` those of the first. Every other kernel is a row by itself, its class
    guessed from its name. Traces of 2021 have other spellings of the same.
    """
    trace = _Trace(path)
    if not trace.kernel_events:
        raise NoKernels(f"{path}: no event of category 'kernel': was the GPU profiled (ProfilerActivity.CUDA)?")
    return trace.table(path)


NO_ID, OWN = -1, 2**62  #: no id; from here on the numbers of kernels that belong to no call


class NoKernels(ValueError):
    """A trace has no kernel of a GPU."""


class _Trace:
    """What a trace has of kernels, and of the calls that launched them: columns of numbers, a few bytes an event."""

    def __init__(self, path: Path) -> None:
        self.problems = Problems()
        self._texts, self._ids = Texts(path), dict[str, int]()
        self._devices: dict[int, str] = {}  # names by id
        self._calls, self._known = array("q"), dict[tuple[str, ...], int]()  # (external id, place in `kinds`)
        self._kinds: list[TraceEvent] = []  # calls that differ, whose sizes are known; then kernels' guesses
        self._launches = array("q")  # (correlation id, external id)
        self.kernels = array("q")  # (number, external id, correlation id, device, place in `names`)
        self._spans, self._names = array("d"), dict[str, int]()  # (time, start) [us]
        self.kernel_events = 0  # those without a time, too
        number, is_trace = -1, False

        def where() -> str:
            return f"event {number + 1}: "

        for place, kind, event in json_events(path, ("traceEvents.item", "item", "deviceProperties.item"), where):
            is_trace |= kind == "start_array" and place in ("", "traceEvents")
            number += place in ("traceEvents.item", "item")
            if not isinstance(event, dict):
                continue
            if place == "deviceProperties.item":
                self._devices[self._id(event.get("id"))] = self._texts.held(plain_text(event.get("name")))
                continue
            args = event.get("args")
            self._add(number, event, args if isinstance(args, dict) else {})
            if len(self._calls) // 2 + len(self._launches) // 2 + len(self.kernels) // 5 > reading.BUDGET.events:
                raise ValueError(f"{path}: over {reading.BUDGET.events:,} kernels and calls: profile fewer steps")
        if not is_trace:
            raise ValueError(f"{path}: no list traceEvents: expected a Chrome trace of torch.profiler")

    def _add(self, number: int, event: TraceEvent, args: TraceEvent) -> None:
        kind = event.get("cat")
        kind = KINDS_BEFORE.get(kind, kind) if isinstance(kind, str) else kind
        if kind == "python_function" or (not args and kind != "kernel"):
            return
        name, correlation = plain_text(event.get("name")), self._id(args.get("correlation"))
        self.kernel_events += kind == "kernel"
        if kind == "kernel":
            time, start = event.get("dur"), event.get("ts")
            if isinstance(time, int | float) and SHORTEST < time < LONGEST:
                device = self._id(args.get("device"))
                named = self._names.setdefault(self._texts.held(name), len(self._names))
                self.kernels.extend((number, self._external(args), correlation, device, named))
                known = isinstance(start, int | float) and abs(start) < LONGEST
                self._spans.extend((float(time), float(start or 0) if known else np.nan))
            else:
                self.problems.append(f"event {number}: dur = {shortened(time)}: expected a time above 0")
        elif kind == "cpu_op" and (dims := args.get("Input Dims", args.get("Input dims"))) is not None:
            try:
                self._add_call(name, args, dims)
            except (ValueError, LookupError, TypeError, OverflowError, AttributeError):
                self.problems.append(f"event {number}: Input Dims = {shortened(dims)}: not those of {name}")
        elif correlation != NO_ID:
            self._launches.extend((correlation, self._external(args)))

    def _add_call(self, name: str, args: TraceEvent, dims: Any) -> None:
        """A call of an operator that is known here; calls that are alike are held once."""
        types, inputs = args.get("Input type"), args.get("Concrete Inputs")
        key = (name, *(str(part)[:4000] for part in (dims, types, inputs and inputs[CAUSAL_INPUT.get(name, 0) :][:1])))
        place = self._known.get(key)
        if place is None:
            call = known_call(name, dims, types, inputs)
            place = -1 if call is None else len(self._kinds)
            if call is not None:
                self._kinds.append(call)
                if len(self._kinds) > reading.BUDGET.rows // 4:
                    raise ValueError(
                        f"over {reading.BUDGET.rows // 4:,} calls of sizes that differ: profile fewer steps"
                    )
            if len(self._known) < 2**16:
                self._known[key] = place
        if place >= 0:
            self._calls.extend((self._external(args), place))

    def _id(self, value: object) -> int:
        """A number for an id: itself, or of a text one below -1."""
        if value is None:
            return NO_ID
        if isinstance(value, int) and 0 <= value < OWN:
            return int(value)
        text = str(value)[:60]
        if text.isascii() and text.isdigit() and len(text) < 18 and str(int(text)) == text:
            return int(text)
        return self._ids.setdefault(text, -2 - len(self._ids))

    def _external(self, args: TraceEvent) -> int:
        """The id of the operator call that an event belongs to; an event without one repeats its correlation id."""
        external = args.get("External id", args.get("external id"))
        return NO_ID if external == args.get("correlation") else self._id(external)

    def table(self, path: Path) -> tuple[pd.DataFrame, Cells]:
        """A row a call, or a kernel of none."""
        number, external, correlation, device, named = _columns(self.kernels, 5)
        spans = np.frombuffer(self._spans).reshape(-1, 2)
        calls, launches = _columns(self._calls, 2), _columns(self._launches, 2)
        call = _last(calls, external)
        launched = _last(launches, correlation)
        by_launch = np.where(call < 0, _last(calls, launched), call)
        belongs = np.where(call >= 0, external, np.where(by_launch >= 0, launched, OWN + number))
        row, first = pd.factorize(belongs)[0], np.flatnonzero(~pd.Series(belongs).duplicated().to_numpy())
        names = list(self._names)
        blank = dict.fromkeys(TEXTS, "") | {"source": "torch.profiler", "framework": "torch"}
        kinds = pd.DataFrame([blank | kind for kind in (*self._kinds, *map(guess_kernel, names))])
        kinds = kinds.reindex(columns=[*TEXTS, *SIZES]).astype(dict.fromkeys(SIZES, float))
        chosen = np.where(by_launch >= 0, by_launch, len(self._kinds) + named)[first]
        table = kinds.iloc[chosen].reset_index(drop=True)
        start = spans[first, 1] - (np.nanmin(spans[:, 1]) if np.isfinite(spans[:, 1]).any() else 0.0)
        table = table.assign(
            gpu=self._gpus(device)[first], time_s=np.bincount(row, spans[:, 0] * 1e-6),
            kernel=np.array(names, dtype=object)[named[first]], start_s=start * 1e-6,
        )  # fmt: skip
        cells = Cells(path, table, problems=self.problems, unit="event")
        return cells.table(**{str(name): table[name] for name in table}), cells

    def _gpus(self, device: np.ndarray) -> np.ndarray:
        """Names of devices; one that is not listed has the name that all have, where they agree."""
        agreed = {*self._devices.values()}
        other = agreed.pop() if len(agreed) == 1 else ""
        found, places = np.unique(device, return_inverse=True)
        return np.array([self._devices.get(int(i), other) for i in found], dtype=object)[places]


#: Categories of events in traces of PyTorch 1.8 to 1.10 (2021), by today's.
KINDS_BEFORE = {"Kernel": "kernel", "Operator": "cpu_op", "Runtime": "cuda_runtime"}


def _columns(values: "array[int]", count: int) -> np.ndarray:
    """Columns of numbers that were added row by row."""
    rows: np.ndarray = (
        np.frombuffer(values, np.int64).reshape(-1, count).T if values else np.empty((count, 0), np.int64)
    )
    return rows


def _last(pairs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each wanted id the value that was given with it last, NO_ID where there is none."""
    if not pairs.size:
        return np.full(len(wanted), NO_ID)
    order = np.argsort(pairs[0], kind="stable")
    keys, values = pairs[0][order], pairs[1][order]
    place = np.searchsorted(keys, wanted, side="right") - 1
    return np.where((place >= 0) & (keys[place] == wanted) & (wanted != NO_ID), values[place], NO_ID)


def plain_text(value: object) -> str:
    """A name in a trace, as far as it is shown."""
    return " ".join(str("" if value is None else value)[:4000].encode("utf-8", "replace").decode().split())


def known_call(name: str, dims: Any, types: Any, inputs: Any) -> TraceEvent | None:
    """Name, format and sizes of an operator call; None for an operator that is unknown here."""
    if not (sizes := operator_sizes(name, dims)):
        return None
    numbers = [size for column, size in sizes.items() if column != "operator_class"]
    if not all(isinstance(size, int) and 0 < size < LARGEST for size in numbers):
        raise ValueError("not sizes")
    inputs, causal = inputs or [], CAUSAL_INPUT.get(name, 0)
    if sizes["operator_class"] == "attention_prefill" and inputs[causal : causal + 1] == ["False"]:
        sizes["operator_class"] = "other"  # without a causal mask: not a decoder's prompt
    types = [*(types or []), "", ""]
    dtype = plain_text(types[1])[:60]
    return {"name": name, "dtype": TORCH_DTYPES.get(dtype, dtype)} | sizes
