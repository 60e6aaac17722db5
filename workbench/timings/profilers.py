"""Kernel timings out of profilers: Nsight Compute's CSV and the Chrome trace of PyTorch's profiler."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files import reading
from ..files.json_streams import json_events
from ..files.reading import Texts
from ..measure.columns import SIZES, TIMING_COLUMNS
from .cells import LARGEST, LONGEST, SHORTEST, TIME, Cells, Problems, read_cells, shortened

#: What a kernel's name says of its class; the first match counts. (?>...) is never tried again: a name may be long.
KERNEL_CLASSES = {
    "attention_decode": r"splitkv|split_kv|paged_attention|flash_decod|masked_multihead|^(?>.*?decode).*attention",
    "attention_prefill": r"flash_fwd|flash_attn|fmha|attention|prefill",
    "gemm": r"gemm|gemv|cublas|nvjet|cijk_|matmul",
    "elementwise": r"elementwise|norm|silu|gelu|act_and_mul|rotary|rope|softmax",
}
KERNEL_DTYPES = {
    "fp8": r"e4m3|e5m2|fp8|float8", "bf16": r"bf16|bfloat16", "fp16": r"fp16|f16|half|h884|h1688|h16816|hgemm",
    "fp32": r"sgemm|fp32|f32|float",
}  # fmt: skip


@lru_cache(4096)  # the same few kernels make up a profile
def guess_kernel(kernel: str) -> dict[str, str]:
    """Name, class and format of a kernel, as far as its name tells.

    >>> guess_kernel("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_tn")["operator_class"]
    'gemm'
    """
    lower = kernel.lower()
    kind = next((label for label, pattern in KERNEL_CLASSES.items() if re.search(pattern, lower)), "other")
    dtype = next((label for label, pattern in KERNEL_DTYPES.items() if re.search(pattern, lower)), "")
    return {"name": kernel, "operator_class": kind, "dtype": dtype}


# Nsight Compute ---------------------------------------------------------------------------------------------------

DURATION = "gpu__time_duration.sum"
NCU_SECONDS = {
    "nsecond": 1e-9, "ns": 1e-9, "usecond": 1e-6, "us": 1e-6, "msecond": 1e-3, "ms": 1e-3, "second": 1.0, "s": 1.0,
}  # fmt: skip
NCU_COLUMNS = {
    "ID", "Kernel Name", "CC", "Metric Name", "Metric Unit", "Metric Value", DURATION,
    "device__attribute_display_name",
}  # fmt: skip


def read_ncu(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read `ncu --csv`, the raw page (a row a kernel, units in the second line) or the details (a row a metric).

    Sizes are not in a profile; class and format are guessed from the kernel's name. What a profiled program printed
    above the table is skipped.
    """
    cells = read_cells(path, keep=NCU_COLUMNS.__contains__, first='"Kernel Name"')
    cells.require("Kernel Name")
    times = _ncu_details(cells) if "Metric Name" in cells.frame else _ncu_raw(cells)
    guessed = [guess_kernel(name) for name in cells.text("Kernel Name")]
    capability = "compute capability " + cells.text("CC") if "CC" in cells.frame else ""
    gpu = cells.text("device__attribute_display_name")
    table = cells.table(
        source="ncu", gpu=gpu.where(gpu != "", capability), name=[kernel["name"] for kernel in guessed],
        operator_class=[kernel["operator_class"] for kernel in guessed],
        dtype=[kernel["dtype"] for kernel in guessed], time_s=times,
    )  # fmt: skip
    return table, cells


def _ncu_raw(cells: Cells) -> pd.Series:
    """Times [s] of the raw page, whose first row holds the units."""
    cells.require("ID", DURATION)
    units = cells.text("ID") == ""
    unit = "".join(cells.text(DURATION)[units][:1])
    cells.set_aside(units)
    return _seconds(cells, DURATION, pd.Series(unit, index=cells.frame.index))


def _ncu_details(cells: Cells) -> pd.Series:
    """Times [s] of the details page, whose rows say their metric and its unit; `--set basic` calls it Duration."""
    cells.require("Metric Unit", "Metric Value")
    metric = cells.text("Metric Name")
    cells.set_aside(metric != (DURATION if (metric == DURATION).any() else "Duration"))
    return _seconds(cells, "Metric Value", cells.text("Metric Unit"))


def _seconds(cells: Cells, column: str, unit: pd.Series) -> pd.Series:
    if cells.frame.empty:
        raise ValueError(f"{cells.path}: no {DURATION}: profile with --metrics {DURATION} or --set basic")
    if strange := sorted(set(unit) - set(NCU_SECONDS)):
        known = ", ".join(NCU_SECONDS)
        raise ValueError(f"{cells.path}: {DURATION} in {shortened(strange[0])}: expected a unit of time: {known}")
    cells.frame = cells.frame.assign(**{column: cells.frame[column].str.replace(",", "")})
    return cells.number(column, TIME) * unit.map(NCU_SECONDS)


# PyTorch's profiler -----------------------------------------------------------------------------------------------

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
    of the call's inputs. Every other kernel is a row by itself, its class guessed from its name. Rows are in the order
    in which kernels began.
    """
    trace = _Trace(path)
    times: dict[str | int, float] = {}  # of a call, or a kernel's own number
    kernels: dict[str | int, tuple[str, TraceEvent]] = {}
    in_time = sorted(trace.kernels.items(), key=lambda kernel: kernel[1][0])
    for number, (_, time, external, correlation, name, device) in in_time:
        call = external if external in trace.calls else trace.launches.get(correlation)
        known = trace.calls.get(call)
        key = number if call is None or known is None else call
        times[key] = times.get(key, 0.0) + time * 1e-6
        kernels.setdefault(key, (trace.gpus.get(device, ""), known or guess_kernel(name)))
    if not kernels and not trace.problems:
        raise NoKernels(f"{path}: no event of category 'kernel': was the GPU profiled (ProfilerActivity.CUDA)?")
    columns = {name: [kernel.get(name) for _, kernel in kernels.values()] for name in TIMING_COLUMNS}
    columns |= {"gpu": [gpu for gpu, _ in kernels.values()], "time_s": list(times.values())}
    frame = pd.DataFrame(columns).assign(source="torch.profiler", framework="torch")
    cells = Cells(path, frame, problems=trace.problems, unit="event")
    frame = frame.astype(dict.fromkeys(SIZES, float))
    return cells.table(**{name: frame[name] for name in TIMING_COLUMNS}), cells


class NoKernels(ValueError):
    """A trace has no kernel of a GPU."""


class _Trace:
    """What a trace has of kernels, and of the calls that launched them."""

    def __init__(self, path: Path) -> None:
        self.problems = Problems()
        self.gpus: dict[str, str] = {}  # names by id
        self.calls: dict[str | None, TraceEvent] = {}  # whose sizes are known, by external id
        self.launches: dict[str | None, str | None] = {}  # external ids by correlation id
        self.kernels: dict[int, tuple[float, float, str | None, str | None, str, str]] = {}  # by the event's number
        texts, number, is_trace = Texts(path), -1, False
        wanted = ("traceEvents.item", "item", "deviceProperties.item")
        events = json_events(path, wanted, lambda: f"event {number + 1}: ")
        for place, kind, event in events:
            is_trace |= kind == "start_array" and place in ("", "traceEvents")
            number += place in ("traceEvents.item", "item")
            if not isinstance(event, dict):
                continue
            if place == "deviceProperties.item":
                self.gpus[_id(event.get("id")) or ""] = texts.held(plain_text(event.get("name")))
                continue
            args = event.get("args")
            self._add(number, event, args if isinstance(args, dict) else {}, texts)
            if len(self.calls) + len(self.launches) + len(self.kernels) > reading.BUDGET.rows:
                raise ValueError(f"{path}: over {reading.BUDGET.rows:,} kernels and calls: profile fewer steps")
        if not is_trace:
            raise ValueError(f"{path}: no list traceEvents: expected a Chrome trace of torch.profiler")
        self.calls.pop(None, None)

    def _add(self, number: int, event: TraceEvent, args: TraceEvent, texts: Texts) -> None:
        name, correlation = plain_text(event.get("name")), _id(args.get("correlation"))
        if event.get("cat") == "kernel":
            time = event.get("dur")
            if isinstance(time, int | float) and SHORTEST < time < LONGEST:
                device, begin = _id(args.get("device")) or "", event.get("ts")
                begin = float(begin) if isinstance(begin, int | float) else 0.0
                self.kernels[number] = begin, time, _external(args), correlation, texts.held(name), device
            else:
                self.problems.append(f"event {number}: dur = {shortened(time)}: expected a time above 0")
        elif event.get("cat") == "cpu_op" and "Input Dims" in args:
            try:
                if call := known_call(name, args):
                    self.calls[_external(args)] = call
            except (ValueError, LookupError, TypeError, OverflowError):
                dims = shortened(args["Input Dims"])
                self.problems.append(f"event {number}: Input Dims = {dims}: not those of {name}")
        elif correlation is not None:
            self.launches[correlation] = _external(args)


def plain_text(value: object) -> str:
    """A name in a trace, as far as it is shown."""
    return " ".join(str("" if value is None else value)[:4000].encode("utf-8", "replace").decode().split())


def _id(value: object) -> str | None:
    return None if value is None else str(value)[:60]


def known_call(name: str, args: TraceEvent) -> TraceEvent | None:
    """Name, format and sizes of an operator call; None for an operator that is unknown here."""
    if not (sizes := operator_sizes(name, args["Input Dims"])):
        return None
    numbers = [size for column, size in sizes.items() if column != "operator_class"]
    if not all(isinstance(size, int) and 0 < size < LARGEST for size in numbers):
        raise ValueError("not sizes")
    inputs, causal = args.get("Concrete Inputs") or [], CAUSAL_INPUT.get(name, 0)
    if sizes["operator_class"] == "attention_prefill" and inputs[causal : causal + 1] == ["False"]:
        sizes["operator_class"] = "other"  # without a causal mask: not a decoder's prompt
    types = [*(args.get("Input type") or []), "", ""]
    dtype = plain_text(types[1])[:60]
    return {"name": name, "dtype": TORCH_DTYPES.get(dtype, dtype)} | sizes


def _external(args: TraceEvent) -> str | None:
    """The id of the operator call that an event belongs to; an event without one repeats its correlation id."""
    external = args.get("External id")
    return None if external == args.get("correlation") else _id(external)
