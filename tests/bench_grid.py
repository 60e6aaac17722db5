"""Grids against what this machine's memory can copy, small sweeps in points per second, memory, import: `make bench`.

Every ratio is of medians of runs side by side in one process. With a folder as argument, the tables also take the place
of those in its benchmarks.md.
"""

import os
import platform
import subprocess
import sys
import time
from datetime import date
from math import isqrt
from pathlib import Path
from statistics import median

import numpy as np
import xarray as xr

import workbench as wb

GPUS, MODELS = ["a100-80gb-pcie", "h100-sxm", "t4", "l4"], ["llama-7b", "llama-3-8b"]
SWEEP_98 = {
    "gpu": "a100-80gb-sxm", "model": "llama-2-7b", "batch_size": [2**k for k in range(7)],
    "seq_len": [2**k for k in range(7, 14)],
}  # fmt: skip
IMPORT = (
    "import time; t = time.perf_counter(); import workbench; workbench.roofline_grid; print(time.perf_counter() - t)"
)
PEAK = """
import re, sys, workbench as wb
from bench_grid import arguments
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
wb.roofline_grid(**arguments(10**5), time_model=sys.argv[1])
before = peak()
ds = wb.roofline_grid(**arguments(10**7), time_model=sys.argv[1])
print((peak() - before) / ds.nbytes)
"""


def arguments(cells: int) -> dict[str, object]:
    """A fused grid of about so many cells, over 4 GPUs, 2 models, 7 operators and 2 phases."""
    side = isqrt(cells // (len(GPUS) * len(MODELS) * 7 * 2))
    return {"gpu": GPUS, "model": MODELS, "batch_size": range(1, side + 1), "seq_len": range(64, 64 * (side + 1), 64)}


def seconds(function) -> tuple[float, float]:
    """Wall and CPU time of one call [s]."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def against_copy(cells: int, time_model: str, runs: int, **options) -> list[object]:
    """A row: cells, result [MB], wall and CPU time, both over those of copying as many bytes, cost of a cell."""
    ds = wb.roofline_grid(**arguments(cells), time_model=time_model, **options)
    cells, nbytes = ds.time.size, ds.nbytes
    del ds
    source = np.ones(nbytes // 8)
    target = np.zeros_like(source)
    target[:] = 1
    copies, grids = [], []
    for _ in range(runs):
        copies += [seconds(lambda: np.copyto(target, source)) for _ in range(2)]
        grids.append(seconds(lambda: wb.roofline_grid(**arguments(cells + 1), time_model=time_model, **options)))
    (copy, copy_cpu), (wall, cpu) = ([median(values) for values in zip(*each, strict=True)] for each in (copies, grids))
    return [
        f"{cells:,}", f"{nbytes / 1e6:,.0f}", f"{copy * 1e3:.1f}", f"{wall * 1e3:.1f}", f"{wall / copy:.2f}",
        f"{cpu / copy_cpu:.2f}", f"{wall / cells * 1e9:.1f}", f"{cells / wall / 1e6:.0f}",
    ]  # fmt: skip


def table(head: str, rows: list[list[object]]) -> str:
    """A Markdown table."""
    names = head.split(" | ")
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def small(time_model: str) -> list[object]:
    """A row: the 98-point sweep and one of about a million cells, in points and in kernels per second."""
    row: list[object] = [time_model]
    large = SWEEP_98 | {"batch_size": range(1, 268), "seq_len": range(64, 64 * 268, 64)}
    for settings, runs in ((SWEEP_98, 200), (large, 15)):
        ds = wb.roofline_grid(**settings, time_model=time_model)
        points = ds.sizes["phase"] * ds.sizes["batch_size"] * ds.sizes["seq_len"]
        wall = median(seconds(lambda s=settings: wb.roofline_grid(**s, time_model=time_model))[0] for _ in range(runs))
        row += [f"{points:,}", f"{wall * 1e3:.2f}", f"{points / wall / 1e3:,.0f}", f"{ds.time.size / wall / 1e6:,.2f}"]
    return row


def python(*command: str) -> float:
    """The number that a fresh Python process prints."""
    result = subprocess.run(
        [sys.executable, "-c", *command], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    return float(result.stdout)


def main(folder: str | None = None) -> None:
    """Print every table, and write them to benchmarks.md in `folder`."""
    cores = len(os.sched_getaffinity(0))
    columns = "cells | result MB | copy ms | grid ms | grid / copy | CPU time / copy's | ns a cell | M cells/s"
    parts = [
        f"Machine: {processor()}, {cores} cores, Linux {platform.release()}; Python {platform.python_version()}, "
        f"numpy {np.__version__}, xarray {xr.__version__}; {date.today()}. Load average at the start: "
        f"{os.getloadavg()[0]:.1f}."
    ]
    for time_model in ("ideal", "kernel"):
        rows = [against_copy(10**power, time_model, runs) for power, runs in ((5, 40), (6, 20), (7, 9), (8, 3))]
        parts.append(f"## {time_model.capitalize()} grid\n\n" + table(columns, rows))
    single = [["float32, " + t, *against_copy(10**7, t, 7, dtype="float32")] for t in ("ideal", "kernel")]
    available, sweep_cores = os.sched_getaffinity(0), []
    for count in range(1, cores + 1):
        os.sched_setaffinity(0, sorted(available)[:count])
        sweep_cores += [[f"{count} cores, {t}", *against_copy(10**7, t, 7)] for t in ("ideal", "kernel")]
    os.sched_setaffinity(0, available)
    parts.append("## Cores and float32\n\n" + table("grid | " + columns, sweep_cores + single))
    peaks = [[t, f"{python(PEAK, t):.2f}"] for t in ("ideal", "kernel")]
    parts.append("## Peak memory\n\n" + table("grid of 10^7 cells | peak over result", peaks))
    head = "times | points | ms | 1000 points/s | M kernels/s | points | ms | 1000 points/s | M kernels/s"
    parts.append("## Sweeps of one model on one GPU\n\n" + table(head, [small(t) for t in ("ideal", "kernel")]))
    parts.append(f"## Import\n\n`import workbench` and its grid: {median(python(IMPORT) for _ in range(9)):.2f} s.")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if folder:
        page = Path(folder) / "benchmarks.md"
        head, _, _ = page.read_text().partition("<!-- measured -->")
        page.write_text(f"{head}<!-- measured -->\n\n{text}")


def processor() -> str:
    """The processor's name."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return names[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
