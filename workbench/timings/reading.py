"""Kernel timings from the formats that people have them in, as one table.

`read` recognizes a file by its content. Whatever the source, a row is one kernel with the columns `TIMING_COLUMNS`,
times in seconds: what the kernel-time model is fitted to and judged by.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..common.errors import unknown
from ..files.formulas import inert_table
from ..files.reading import given_file, open_text, starts_with
from ..files.writing import whole
from ..measure.columns import SIZES, TIMING_COLUMNS
from .aiconfigurator import read_aiconfigurator
from .cells import EXTRA_COLUMNS, Cells
from .cpu_traces import read_cpu_trace
from .nsight import read_ncu, read_nsys
from .passes import read_passes
from .profilers import NoKernels, read_trace
from .tables import PARQUET, read_vidur, read_vidur_attention, read_workbench

#: The reader of each format.
TIMING_FORMATS: dict[str, Callable[[Path], tuple[pd.DataFrame, Cells]]] = {
    "workbench": read_workbench, "vidur": read_vidur, "vidur-attention": read_vidur_attention,
    "aiconfigurator": read_aiconfigurator, "ncu": read_ncu, "nsys": read_nsys, "torch": read_trace,
    "torch-cpu": read_cpu_trace, "passes": read_passes,
}  # fmt: skip

#: Of a text format: what one of its first lines has in it.
TIMING_MARKS = {
    "workbench": ("operator_class", "time_s"),
    "vidur-attention": ("time_stats.", "prefill_chunk_size"),
    "vidur": ("time_stats.", "num_tensor_parallel_workers"),
    "aiconfigurator": ("op_name", "latency"),
    "passes": ("model", "phase", "batch_size", "seq_len", "time_s"),
    "ncu": ('"Kernel Name"',),
    "nsys": ("Instances", "Total Time", "Name"),
    "nsys-trace": ("Duration (", "GrdX", "Name"),
}
WITHIN = ("ncu", "nsys", "nsys-trace")  # formats whose table may begin below what a program printed
#: What a file that no reader here opens begins with or is called, and what to do with it.
EXPORTS = {
    ".ncu-rep": "Nsight Compute's report: run `ncu --import {} --csv --page raw > kernels.csv` and read that",
    ".nsys-rep": "Nsight Systems' report: run `nsys stats --report cuda_gpu_kern_sum --format csv {}` and read that",
    ".qdrep": "Nsight Systems' report: run `nsys stats --report cuda_gpu_kern_sum --format csv {}` and read that",
    ".sqlite": "Nsight Systems' database: run `nsys stats --report cuda_gpu_kern_sum --format csv {}` and read that",
    ".nvvp": "the old Visual Profiler's report: profile with Nsight Systems or Nsight Compute",
}
FIRST_LINES, FIRST_CHARACTERS = 2000, 2**22  # a profiled program's own output may come before its profile


def read(path: str | Path, format: str | None = None, *, gpu: str | None = None) -> pd.DataFrame:
    """Read kernel timings into one table.

    Parameters
    ----------
    path : str or Path
        CSV of this project, Vidur's mlp.csv or attention.csv, AIConfigurator's perf table (CSV or parquet), Nsight
        Compute's CSV, Nsight Systems' kernel summary or GPU trace as CSV, or a Chrome trace of PyTorch's profiler; text
        may be gzipped.
    format : str, optional
        One of `TIMING_FORMATS`; None recognizes it by the content. "torch-cpu", the operators that ran on the CPU, has
        to be asked for.
    gpu : str, optional
        Name of the GPU, for a source that does not say it, or in place of what it says.

    Returns
    -------
    pd.DataFrame
        A row a kernel, with the columns `TIMING_COLUMNS`, and those of `EXTRA_COLUMNS` that the source knows. Where
        they are unknown, text is empty and sizes [1] are NaN; ``time_s`` [s] is always known. Its ``attrs`` hold
        format, header (the file's comment lines) and problems (a line for each row that could not be read).

    Raises
    ------
    ValueError
        In one line, for an unknown format, a file that is not in it, or one without a readable row.
    """
    path = given_file(path)
    if format is not None and format not in TIMING_FORMATS:
        raise unknown("format", format, TIMING_FORMATS)
    format = format or recognize(path)
    table, cells = TIMING_FORMATS[format](path)
    if table.empty:
        why = f": {cells.problems[0]}" if cells.problems else ": the table is empty"
        raise ValueError(f"{path}: no timing could be read{why}")
    table = table.reset_index(drop=True)
    if gpu is not None:
        table["gpu"] = gpu
    table.attrs = {"format": format, "header": cells.header, "problems": cells.problems.told()}
    return table


def read_any(path: str | Path) -> pd.DataFrame:
    """Read kernel timings, or in a trace of PyTorch's profiler without a GPU the operators that ran on the CPU.

    Parameters
    ----------
    path : str or Path
        As for `read`.

    Returns
    -------
    pd.DataFrame
        As of `read`, times in [s].

    Raises
    ------
    ValueError
        As `read` does.
    """
    try:
        return read(path)
    except NoKernels:
        return read(path, "torch-cpu")


def recognize(path: Path) -> str:
    """Recognize the format of a file with kernel timings by its content.

    Parameters
    ----------
    path : Path
        The file; text may be gzipped.

    Returns
    -------
    str
        One of `TIMING_FORMATS`.

    Raises
    ------
    ValueError
        Where the file has none of these formats.
    """
    path = given_file(path)
    if path.suffix in EXPORTS:
        raise ValueError(f"{path}: {EXPORTS[path.suffix].format(path.name[-60:])}")
    if starts_with(path, PARQUET):
        return "aiconfigurator"
    with open_text(path) as text:
        lines = text.read(FIRST_CHARACTERS).split("\n", FIRST_LINES)[:FIRST_LINES]
    start = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    if start.startswith(("{", "[")):
        return "torch"
    if start.startswith("version https://git-lfs"):
        raise ValueError(f"{path}: a pointer of Git LFS, not the data itself: run `git lfs pull` in its repository")
    for format, marks in TIMING_MARKS.items():
        if any(all(mark in line for mark in marks) for line in (lines if format in WITHIN else [start])):
            return format.removesuffix("-trace")
    raise ValueError(
        f"{path}: not a known timing format, it starts with {start[:60]!r}. Known: {', '.join(TIMING_FORMATS)}."
    )


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table of timings as this project's CSV, its header as comment lines; whole or not at all.

    Parameters
    ----------
    table : pd.DataFrame
        Timings with the columns `TIMING_COLUMNS`; times in [s].
    path : Path
        The file, a .csv.
    """
    sizes = {name: table[name].astype("Int64") for name in SIZES}
    table = table[[*TIMING_COLUMNS, *(name for name in EXTRA_COLUMNS if name in table)]]
    with whole(path, (".csv",)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {' '.join(line.split())}\n" for line in table.attrs.get("header", []))
        inert_table(table.assign(**sizes)).to_csv(file, index=False, lineterminator="\n")
