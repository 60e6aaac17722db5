"""How long the largest files take to read, and how much memory: `python tests/bench_readers.py [MEGABYTES ...]`.

A trace as PyTorch's profiler writes it, with stacks of Python (375 MB; 2000 for one of 2 GB), and a load test of a
million requests; each is read in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

READ = """
import resource, sys, time
from workbench import loadtest, timings
start = time.perf_counter()
rows = len({"trace": timings, "load": loadtest}[sys.argv[1]].read(sys.argv[2]))
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
print(f"{rows:>9,} rows  {seconds:6.1f} s, {used.ru_utime + used.ru_stime:6.1f} s of CPU  {used.ru_maxrss / 1e6:5.2f} GB")
"""
REQUESTS = 1_000_000


def events(step: int) -> Iterator[dict[str, object]]:
    """One matrix product: Python's frames above it, its operator, launch, kernel, and the arrow between them."""
    start = 1000.123 * step
    for frame in range(4):
        args = {"Python parent id": step, "Python id": step + frame, "Ev Idx": step}
        name = "torch/nn/modules/module.py(1773): _wrapped_call_impl"
        yield {
            "ph": "X",
            "cat": "python_function",
            "name": name,
            "pid": 1,
            "tid": 1,
            "ts": start,
            "dur": 99.5,
            "args": args,
        }
    dims = {"Input Dims": [[16, 4096], [4096, 12288]], "Input Strides": [[4096, 1], [1, 4096]]}
    args = {"External id": step, "Record function id": 0, "Concrete Inputs": ["", ""], "Ev Idx": step} | dims
    args["Input type"] = ["c10::BFloat16"] * 2
    yield {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": start, "dur": 30.5, "args": args}
    launch = {"External id": step, "cbid": 211, "correlation": step}
    yield {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": start, "dur": 5.25, "args": launch}
    args = {"device": 0, "stream": 7, "registers per thread": 168, "grid": [96, 1, 1], "block": [384, 1, 1]} | launch
    yield {
        "ph": "X",
        "cat": "kernel",
        "name": "nvjet_tst_128x256_64x4_h_bz_TNT",
        "ts": start,
        "dur": 20.25,
        "args": args,
    }
    yield {"ph": "s", "id": step, "pid": 1, "tid": 1, "ts": start, "cat": "ac2g", "name": "ac2g"}
    yield {"ph": "f", "id": step, "pid": 0, "tid": 7, "ts": start, "cat": "ac2g", "name": "ac2g", "bp": "e"}


def write_trace(path: Path, megabytes: float) -> None:
    """A trace of that size."""
    with path.open("w") as file:
        size = file.write('{"deviceProperties": [{"id": 0, "name": "NVIDIA H100 80GB HBM3"}],\n"traceEvents": [\n')
        step = 0
        while size < megabytes * 1e6:
            step += 1
            size += file.write("".join(json.dumps(event) + ",\n" for event in events(step)))
        file.write('{"ph": "M", "name": "end"}]}')


def write_load(path: Path) -> None:
    """A million requests of a benchmark of vLLM, without gaps between tokens."""
    every = {"start_times": 0.125, "ttfts": 0.25, "latencies": 3.5, "input_lens": 100, "output_lens": 150, "errors": ""}
    lists = (f'"{name}": [{", ".join([json.dumps(value)] * REQUESTS)}]' for name, value in every.items())
    path.write_text("{" + ", ".join(lists) + "}")


def main(sizes: list[float]) -> None:
    """Print rows, time and memory of each file."""
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            write_trace(path := Path(folder) / "trace.json", size)
            print(f"trace of {size:,.0f} MB        ", end="", flush=True)
            subprocess.run([sys.executable, "-c", READ, "trace", path], check=True)
        write_load(path := Path(folder) / "load.json")
        print("load test              ", end="", flush=True)
        subprocess.run([sys.executable, "-c", READ, "load", path], check=True)


if __name__ == "__main__":
    main([float(size) for size in sys.argv[1:]] or [375.0])
