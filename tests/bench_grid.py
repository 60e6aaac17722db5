"""Grids beside what this machine's memory can copy, small sweeps, float32, memory, and a grid beyond memory.

Run by ``make bench``. A cell is one GPU, model, operator, phase, batch size and sequence length with all variables of a
grid. Copies alternate with the grids that they stand beside; both sides of a copy were touched before.
"""

import os
import re
import subprocess
import sys
import time
from math import isqrt, prod
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import xarray as xr

import workbench as wb
from workbench.grid import buffers, evaluation
from workbench.grid.sweep import checked

WORKBENCH = Path(sys.executable).with_name("workbench")
GPUS, MODELS = ["a100-80gb-pcie", "h100-sxm", "t4", "l4"], ["llama-7b", "llama-3-8b"]
ROUNDS = {5: 100, 6: 40, 7: 15, 8: 5}
SMALL = {"gpu": "a100-80gb-sxm", "model": "llama-2-7b"}
#: Seven batch sizes, seven lengths and two phases; and about a million kernels.
SWEEPS = {
    "98 points": {"batch_size": [2**k for k in range(7)], "seq_len": [2**k for k in range(7, 14)]},
    "142,578 points": {"batch_size": range(1, 268), "seq_len": range(64, 64 * 268, 64)},
}
HUGE = {
    "gpu": [*GPUS, "a40", "a10", "l40s", "h200-sxm", "b200-sxm", "rtx-4090"],
    "model": [f"llama-{name}" for name in ("7b", "13b", "33b", "2-7b", "2-13b", "2-70b", "3-8b", "3-70b")],
    "batch_size": range(1, 946), "seq_len": range(64, 64 * 946, 64),
}  # fmt: skip
PEAK = """
import sys, workbench as wb
from bench_grid import arguments, peak
wb.roofline_grid(**arguments(10**5), time_model=sys.argv[1])
before = peak()
ds = wb.roofline_grid(**arguments(10**7), time_model=sys.argv[1])
print((peak() - before) / ds.nbytes)
"""

both = pytest.mark.parametrize("time_model", ["ideal", "kernel"])


def arguments(cells: int) -> dict[str, object]:
    """A fused grid of about that number of cells, over 4 GPUs, 2 models, 7 operators and 2 phases."""
    side = isqrt(cells // (len(GPUS) * len(MODELS) * 7 * 2))
    return {"gpu": GPUS, "model": MODELS, "batch_size": range(1, side + 1), "seq_len": range(64, 64 * (side + 1), 64)}


def peak(process="self") -> int:
    """Most memory that a process has had at a time [byte]; 0 of one that has just ended."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def beside_copies(benchmark, grid, rounds, keep=None, warm_ups=2):
    """Time a grid, and before each one the copy of as many bytes as it holds; `keep` is a list for the results."""
    ds, copies = grid(), []
    benchmark.extra_info |= {"cells": ds.time.size, "result_bytes": ds.nbytes}
    source, target = np.ones(ds.nbytes // 8), np.ones(ds.nbytes // 8)
    del ds

    def copy():
        start = time.perf_counter()
        np.copyto(target, source)
        copies.append(time.perf_counter() - start)

    run = grid if keep is None else lambda: keep.append(grid())
    benchmark.pedantic(run, setup=copy, rounds=rounds, warmup_rounds=warm_ups)
    benchmark.extra_info["copy_seconds"] = median(copies)


@both
@pytest.mark.parametrize("power", ROUNDS)
def bench_grid(benchmark, power, time_model):
    """In a loop that drops its results, and has their memory used again."""
    with buffers.reused_memory():
        beside_copies(benchmark, lambda: wb.roofline_grid(**arguments(10**power), time_model=time_model), ROUNDS[power])


@both
def bench_one_core(benchmark, time_model):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with buffers.reused_memory():
            beside_copies(benchmark, lambda: wb.roofline_grid(**arguments(10**7), time_model=time_model), ROUNDS[7])
    finally:
        os.sched_setaffinity(0, cores)


@both
def bench_float32(benchmark, time_model):
    settings = arguments(10**7) | {"time_model": time_model, "dtype": "float32"}
    with buffers.reused_memory():
        beside_copies(benchmark, lambda: wb.roofline_grid(**settings), ROUNDS[7])


@both
@pytest.mark.parametrize("size", [2 * 10**6, 10**7])
def bench_session(benchmark, size, time_model):
    """A session that keeps its grids: each is in memory that the system has to find and clear."""
    kept = []
    np.ones(2**28)  # a virtual machine has it from its host from now on
    beside_copies(
        benchmark, lambda: wb.roofline_grid(**arguments(size), time_model=time_model), 8, keep=kept, warm_ups=1
    )


@both
def bench_in_parts(benchmark, time_model):
    """A billion cells, a part in memory at a time."""
    whole = checked(**HUGE, time_model=time_model)
    parts = [whole.part({"model": slice(i, i + 1)}) for i in range(len(whole.models))]

    def every() -> None:
        with buffers.reused_memory():
            for part in parts:
                evaluation.evaluate(part)

    benchmark.extra_info["cells"] = prod(whole.shape)
    benchmark.pedantic(every, rounds=1)


@both
@pytest.mark.parametrize("sizes", SWEEPS)
def bench_one_model(benchmark, sizes, time_model):
    settings = SMALL | SWEEPS[sizes] | {"time_model": time_model}
    ds = wb.roofline_grid(**settings)
    benchmark.extra_info |= {"cells": ds.time.size, "points": ds.time.size // ds.sizes["operator"]}
    benchmark.pedantic(wb.roofline_grid, kwargs=settings, rounds=300 if sizes == "98 points" else 30, warmup_rounds=5)


@both
def bench_forward_pass(benchmark, time_model):
    """A sweep with the sum over its operators."""
    settings = SMALL | SWEEPS["98 points"] | {"time_model": time_model}
    ds = wb.roofline_grid(**settings)
    benchmark.extra_info |= {"cells": ds.time.size, "points": ds.time.size // ds.sizes["operator"]}
    benchmark.pedantic(lambda: wb.forward_pass(wb.roofline_grid(**settings)), rounds=300, warmup_rounds=5)


@both
def bench_one_setting(benchmark, time_model):
    settings = SMALL | {"time_model": time_model}
    benchmark.extra_info["cells"] = wb.roofline_grid(**settings).time.size
    benchmark.pedantic(wb.roofline_grid, kwargs=settings, rounds=300, warmup_rounds=5)


@both
def bench_one_estimate(benchmark, time_model):
    settings = {"time_model": time_model, "batch_size": 8, "prompt": 1024, "output": 256}
    benchmark.pedantic(wb.serving.estimate, ("h100-sxm", "llama-3-8b"), kwargs=settings, rounds=200, warmup_rounds=5)


@both
def bench_peak_memory(benchmark, time_model):
    """Seconds are those of a fresh process."""
    command = [sys.executable, "-c", PEAK, time_model]
    result = benchmark.pedantic(
        subprocess.run, [command], {"capture_output": True, "check": True, "cwd": Path(__file__).parent}, rounds=1
    )
    benchmark.extra_info["peak_over_result"] = float(result.stdout)


def bench_to_zarr(benchmark, tmp_path):
    """A billion cells by the kernel model to a Zarr store, read back at random places."""
    lists = [word for name in ("gpu", "model") for value in HUGE[name] for word in (f"--{name}", value)]
    variables = [word for name in ("time", "performance", "bound") for word in ("--variable", name)]
    store = tmp_path / "grid.zarr"
    command = [
        WORKBENCH, "grid", *lists, "--batch-size", "1:945", "--seq-len", "64:60480:64", "--time-model", "kernel",
        *variables, "-j", "2", "-o", store,
    ]  # fmt: skip

    def run() -> int:
        """Peak memory [byte], as the system last gave it: `rusage` would count this process's own, before the exec."""
        process, most = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL), 0
        while process.poll() is None:
            most = max(most, peak(process.pid))
            time.sleep(0.1)
        assert process.returncode == 0
        return most

    most = benchmark.pedantic(run, rounds=1)
    ds = xr.open_zarr(store)
    rng = np.random.default_rng(0)
    for _ in range(200):
        place = {dim: int(rng.integers(length)) for dim, length in ds.sizes.items()}
        cell = ds.isel(place).load()
        direct = wb.roofline_grid(
            *(cell[name].item() for name in ("gpu", "model", "operator", "phase", "batch_size", "seq_len")),
            time_model="kernel",
        )
        for name in ("time", "performance", "bound"):
            assert direct[name].item() == cell[name].item(), (name, place)
    disk = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    benchmark.extra_info |= {"cells": ds.time.size, "peak_bytes": most, "disk_bytes": disk, "read_back": 200}


@pytest.mark.parametrize("what", ["import workbench", "import workbench; workbench.roofline_grid"])
def bench_import(benchmark, what):
    """In a fresh process, its start included."""
    benchmark.pedantic(subprocess.run, [[sys.executable, "-c", what]], {"check": True}, rounds=15, warmup_rounds=1)
