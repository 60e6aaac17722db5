"""Kernel timings out of NVIDIA's profilers: Nsight Compute's CSV, and Nsight Systems' kernel summary and GPU trace."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from .cells import COUNT, TIME, Cells, read_cells, shortened
from .kernel_names import guess_kernel

# Nsight Compute ---------------------------------------------------------------------------------------------------

DURATION = "gpu__time_duration.sum"
NCU_SECONDS = {
    "nsecond": 1e-9, "ns": 1e-9, "usecond": 1e-6, "us": 1e-6, "msecond": 1e-3, "ms": 1e-3, "second": 1.0, "s": 1.0,
}  # fmt: skip
NCU_COLUMNS = {
    "ID", "Process ID", "Kernel Name", "CC", "Metric Name", "Metric Unit", "Metric Value", DURATION,
    "device__attribute_display_name",
}  # fmt: skip
#: Metrics that are kept, by column of the table: those of the raw page, and the details page's names for them. Those of
#: one line are of one thing, and the first that a kernel has counts; + adds what is counted apart.
NCU_METRICS = {
    "dram_bytes": (("dram__bytes.sum",), ("dram__bytes_read.sum", "dram__bytes_write.sum")),
    "l2_bytes": (("lts__t_bytes.sum",), ("lts__t_sectors.sum",)),
    "tensor_instructions": (
        ("sm__inst_executed_pipe_tensor.sum",),
        tuple(f"sm__inst_executed_pipe_tensor_op_{kind}.sum" for kind in ("hmma", "imma", "dmma", "gmma")),
    ),
    "compute_percent": (
        ("sm__throughput.avg.pct_of_peak_sustained_elapsed",), ("Compute (SM) Throughput",), ("SOL SM",),
    ),
    "memory_percent": (
        ("gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",), ("Memory Throughput",), ("SOL Memory",),
    ),
}  # fmt: skip
TENSOR_FLOPS = "sm__ops_path_tensor_"  #: every one of these counts operations of one pair of formats
#: Rates that stand for what moved: their product with the duration is its bytes.
NCU_RATES = {"dram_bytes": ("dram__bytes.sum.per_second", "Memory Throughput", "DRAM Bandwidth")}
SECTOR = 32  #: bytes that L2 moves at a time (Nsight Compute, Kernel Profiling Guide)
NCU_UNITS = {"": 1.0, "byte": 1.0, "inst": 1.0, "sector": SECTOR, "%": 1.0, "instruction": 1.0, "op": 1.0, "ops": 1.0}
NCU_PREFIX = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_KNOWN = {name for sums in NCU_METRICS.values() for parts in sums for name in parts} | set(*NCU_RATES.values())


def read_ncu(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read `ncu --csv`, the raw page (a row a kernel, units in the second line) or the details (a row a metric).

    Sizes are not in a profile; class and format are guessed from the kernel's name. Where they were counted, the table
    has dram_bytes, l2_bytes [byte], tensor_instructions [1], tensor_flops [FLOP], compute_percent and memory_percent
    [%]. What a profiled program printed above the table is skipped; rows of the details end before the rules' columns.
    """
    cells = read_cells(path, keep=_kept, first='"Kernel Name"', least="Metric Value")
    cells.require("Kernel Name")
    times, metrics = _ncu_details(cells) if "Metric Name" in cells.frame else _ncu_raw(cells)
    guessed = [guess_kernel(name) for name in cells.text("Kernel Name")]
    capability = "compute capability " + cells.text("CC") if "CC" in cells.frame else ""
    gpu = cells.text("device__attribute_display_name")
    table = cells.table(
        source="ncu", gpu=gpu.where(gpu != "", capability), name=[kernel["name"] for kernel in guessed],
        operator_class=[kernel["operator_class"] for kernel in guessed],
        dtype=[kernel["dtype"] for kernel in guessed], time_s=times, **_counted(metrics, times),
    )  # fmt: skip
    return table, cells


def _kept(column: str) -> bool:
    return column in NCU_COLUMNS or column in _KNOWN or column.startswith(TENSOR_FLOPS)


def _ncu_raw(cells: Cells) -> tuple[pd.Series, pd.DataFrame]:
    """Times [s] and metrics of the raw page, whose first row holds the units."""
    cells.require("ID", DURATION)
    units = cells.text("ID") == ""
    unit = {name: "".join(cells.text(name)[units][:1]) for name in map(str, cells.frame)}
    cells.set_aside(units)
    times = _seconds(cells, DURATION, pd.Series(unit[DURATION], index=cells.frame.index))
    names = [name for name in unit if name in _KNOWN or name.startswith(TENSOR_FLOPS)]
    return times, pd.DataFrame({
        name: _amounts(cells.frame[name], pd.Series(unit[name], index=cells.frame.index)) for name in names
    })  # fmt: skip


def _ncu_details(cells: Cells) -> tuple[pd.Series, pd.DataFrame]:
    """Times [s] and metrics of the details page, whose rows say their metric and its unit.

    `--set basic` calls the duration Duration; a rate has another unit than the percentage of the same name.
    """
    cells.require("Metric Unit", "Metric Value")
    metric, unit = cells.text("Metric Name"), cells.text("Metric Unit")
    key = cells.text("Process ID") + " " + cells.text("ID")
    named = metric.where(~unit.str.contains("/"), metric + " per second")
    some = named.map(_kept) | named.str.startswith(("Memory Throughput", "DRAM Bandwidth"))
    amounts = pd.DataFrame({
        "kernel": key[some], "metric": named[some], "amount": _amounts(cells.frame["Metric Value"][some], unit[some])
    })  # fmt: skip
    wide = amounts.drop_duplicates(["kernel", "metric"]).pivot(index="kernel", columns="metric", values="amount")
    duration = metric == (DURATION if (metric == DURATION).any() else "Duration")
    cells.set_aside(~duration | (key.where(duration) + cells.text("Kernel Name")).duplicated() & (key != " "))
    metrics = wide.reindex(key[cells.frame.index]).set_axis(cells.frame.index)
    return _seconds(cells, "Metric Value", cells.text("Metric Unit")), metrics


def _seconds(cells: Cells, column: str, unit: pd.Series) -> pd.Series:
    if cells.frame.empty:
        raise ValueError(f"{cells.path}: no {DURATION}: profile with --metrics {DURATION} or --set basic")
    if strange := sorted(set(unit) - set(NCU_SECONDS)):
        known = ", ".join(NCU_SECONDS)
        raise ValueError(f"{cells.path}: {DURATION} in {shortened(strange[0])}: expected a unit of time: {known}")
    cells.frame = cells.frame.assign(**{column: cells.frame[column].str.replace(",", "")})
    return cells.number(column, TIME) * unit.map(NCU_SECONDS)


def _amounts(values: pd.Series, unit: pd.Series) -> pd.Series:
    """Metrics in bytes, instructions, percent, or these by second; NaN where there is none or its unit is unknown."""
    whole = unit.str.split("/").str[0]
    parts = whole.where(whole.isin(list(NCU_UNITS)), whole.str[1:])
    prefix = whole.str[0].where(whole != parts, "")
    scale = parts.map(NCU_UNITS).astype(float) * prefix.map(NCU_PREFIX).astype(float)
    numbers = pd.to_numeric(values.astype(str).str.replace(",", ""), errors="coerce")
    return numbers.where((numbers >= 0) & (numbers < np.inf)) * scale


def _counted(metrics: pd.DataFrame, times: pd.Series) -> dict[str, pd.Series]:
    """The columns that the metrics of a profile make, each where some kernel has it."""
    found: dict[str, pd.Series] = {}
    for column, sums in NCU_METRICS.items():
        parts = [metrics[[name for name in names if name in metrics]].sum(axis=1, min_count=1) for names in sums]
        rates = [metrics[n] * times for n in _rates(column) if n in metrics]
        for part in (*parts, *rates):
            found[column] = found[column].fillna(part) if column in found else part
    operations = metrics[[name for name in metrics if str(name).startswith(TENSOR_FLOPS)]]
    found["tensor_flops"] = operations.sum(axis=1, min_count=1)
    return {column: values for column, values in found.items() if values.notna().any()}


def _rates(column: str) -> list[str]:
    return [each for name in NCU_RATES.get(column, ()) for each in (name, f"{name} per second") if "second" in each]


# Nsight Systems ---------------------------------------------------------------------------------------------------

NSYS_TIME = re.compile(r"(Total Time|Avg|Average|Duration|Start) ?\((s|ms|us|ns|sec|msec|usec|nsec)\)")


def read_nsys(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read `nsys stats --report cuda_gpu_kern_sum --format csv`, or its cuda_gpu_trace, a row a launch.

    Columns as NVIDIA documents them (Nsight Systems User Guide, "CUDA GPU Kernel Summary"): Time (%), Total Time (ns),
    Instances, Avg (ns), Med (ns), Min (ns), Max (ns), StdDev (ns), Name. In a summary a row is all launches of a
    kernel: `time_s` is their mean, so that times `calls`, their number, it is all their time. Copies are no kernels.
    """
    cells = read_cells(path, keep=lambda name: name in ("Instances", "Name", "Device") or bool(NSYS_TIME.match(name)),
                       first="Name")  # fmt: skip
    columns = {match[1]: str(name) for name in cells.frame if (match := NSYS_TIME.match(str(name)))}
    cells.require("Name")
    summary = "Duration" not in columns
    if summary:
        cells.require("Instances")
    if not {"Total Time", "Duration"} & {*columns}:
        cells.require("Total Time (ns)")
    chosen = columns["Total Time" if summary else "Duration"]
    cells.set_aside(cells.text("Name").str.startswith("[CUDA mem") | (cells.text("Name") == ""))
    times = _nsys_times(cells, chosen)
    more = {}
    if summary:
        more["calls"] = cells.number("Instances", COUNT)
        times = times / more["calls"]
    elif "Start" in columns:
        start = pd.to_numeric(cells.text(columns["Start"]), errors="coerce") * _scale(columns["Start"])
        more["start_s"] = start - start.min()
    guessed = [guess_kernel(name) for name in cells.text("Name")]
    gpu = cells.text("Device").str.replace(r" \(\d+\)$", "", regex=True)
    table = cells.table(
        source="nsys", gpu=gpu, **{name: [g[name] for g in guessed] for name in ("name", "operator_class", "dtype")},
        time_s=times, **more,
    )  # fmt: skip
    return table, cells


def _scale(column: str) -> float:
    match = NSYS_TIME.match(column)
    return {"n": 1e-9, "u": 1e-6, "m": 1e-3, "s": 1.0}[match[2][0] if match else "s"]


def _nsys_times(cells: Cells, column: str) -> pd.Series:
    return cells.number(column, TIME) * _scale(column)
