"""Disks that fill up and folders that may not be written: `python faults.py FOLDER HOW [KIND...]`.

HOW is "tmpfs", a small file system of its own (where one can be mounted), "limit", a limit on the size of files that
every system has, or "readonly", a folder that this user, or nobody where this is root, may not write to. Every run is a
fork of this process, which itself starts no thread. It must end with one line and not with status 0, what was there
must stay, and a run with room must give the same bytes as one that never met the fault.
"""

import gc
import importlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import dask.array  # noqa: F401
import matplotlib.pyplot as plt
import nbformat
import netCDF4  # noqa: F401
import numpy as np
import pandas as pd
import pyarrow.parquet  # noqa: F401
import scipy.optimize  # noqa: F401
import zarr  # noqa: F401

import workbench.cli.application
from workbench import audit, calibration, explorer, figures, loadtest, plots, store, timings  # noqa: F401
from workbench.cli import main as workbench
from workbench.measure import results as measure

PAGE, NOBODY = 4096, 65534
GRID = ("grid", "--gpu", "t4", "--model", "gpt2", "--seq-len", "1,64", "--chunk", "16", "--batch-size")
PLAN = ("plan", "gpt2", "--gpu", "t4", "--tp", "1", "--prompt", "99", "--output-tokens", "9", "-o")
NOTEBOOK = """\
import matplotlib.pyplot as plt
import pandas as pd

from workbench import figures

figure, ax = plt.subplots(figsize=(2, 2))
ax.plot([0, height])
figures.save(figure, pd.DataFrame({"height [m]": range(height)}), figure_id, output_dir)
"""
PARAMETERS = 'figure_id: str = ""\ntitle: str = ""\ncaption: str = ""\nheight: int = 1\noutput_dir: str = ""\n'


def save_figure(path: Path) -> None:
    """A chart and its numbers."""
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    figures.save(figure, pd.DataFrame({"x": range(3000)}), path.stem, str(path.parent))


def save_timings(path: Path) -> None:
    """What `workbench measure` has after some seconds."""
    row = dict.fromkeys(measure.MEASURED, "1")
    measure.Results(path, ["a comment"], [row] * 300).save()


def download(path: Path) -> None:
    """The explorer's export, by way of a folder for temporary files."""
    tempfile.tempdir = str(path.parent)
    path.write_bytes(explorer.explore(gpu="t4", model="gpt2").data("nc"))


#: By the output: a command that ends with its path, or a function of that.
KINDS: dict[str, tuple[object, ...] | Callable[[Path], None]] = {
    **{f"grid{suffix}": (*GRID, "2,3", "-o") for suffix in store.SUFFIXES},
    "plan.parquet": PLAN, "audit.csv": ("audit", "--figure", "t4-decode", "--csv"),
    "timings.csv": ("timings", "../gemm.csv", "-o"), "requests.csv": ("loadtest", "../requests.csv", "-o"),
    "fit.yaml": ("calibrate", "../gemm.csv", "--gpu", "a100-80gb-sxm", "-o"),
    "fit.svg": ("calibrate", "../gemm.csv", "--gpu", "a100-80gb-sxm", "--plot"),
    "measured.csv": save_timings, "chart.csv": save_figure, "view.nc": download,
    "figures": ("figures", "-j", "1", "-o"),
}  # fmt: skip


def inputs(root: Path) -> None:
    """Timings, a load test, and a project of one figure."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"operator_class": "gemm", "dtype": "fp16"}, index=range(60))
    table = table.assign(**{size: rng.choice([64, 512, 2048, 4096], 60) for size in "mnk"})
    table["time_s"] = 2 * table.m * table.n * table.k / 2e14 + 5e-6
    table.to_csv(root / "gemm.csv", index=False)
    sent = np.arange(500)
    requests = {"sent_s": sent, "first_token_s": sent + 0.1, "last_token_s": sent + 2, "prompt_tokens": 9}
    pd.DataFrame(requests | {"output_tokens": 9}).to_csv(root / "requests.csv", index=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (PARAMETERS, NOTEBOOK)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.cells[0].metadata["tags"] = ["parameters"]
    for folder in ("notebooks", "params/small"):
        (root / "project" / folder).mkdir(parents=True)
    nbformat.write(notebook, root / "project" / "notebooks" / "small.ipynb")
    params = "figure_id: one\ntitle: T\ncaption: C\nheight: 1000\noutput_dir: x\n"
    (root / "project" / "params" / "small" / "one.yaml").write_text(params)


def run(kind: str, path: Path, meet: Callable[[], None] = lambda: None, modules: Path | None = None) -> tuple[int, str]:
    """Status and standard error of a fork that meets a fault and writes; the modules that it had at the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(writing, 2)
        os.chdir(path.parents[1] / "project" if kind == "figures" else path.parent)
        try:
            meet()
            if callable(task := KINDS[kind]):
                task(path)
            else:
                sys.argv = ["workbench", *map(str, task), str(path)]
                workbench()
            status = 0
        except SystemExit as end:
            status = end.code
        except (ValueError, OSError) as error:
            print(f"workbench: {error}", file=sys.stderr)
            status = 1
        if modules:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            modules.write_text("\n".join(sys.modules))
        sys.stderr.flush()
        os._exit(int(status or 0))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told


def fill(disk: Path, room: int) -> None:
    """Leave so many pages of a small file system, or let no file be longer."""
    if not os.path.ismount(disk):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room * PAGE + 100, resource.RLIM_INFINITY))
        return
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * PAGE)
        except OSError:
            file.truncate((file.tell() // PAGE - room) * PAGE)


def deny(disk: Path) -> None:
    """Be a user who may not write to the folder."""
    disk.chmod(0o555)
    if not os.geteuid():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def later(disk: Path, name: str, room: int) -> None:
    """Fill the disk when a function of the store is called."""
    function = getattr(store, name)
    setattr(store, name, lambda *given: (fill(disk, room), function(*given))[1])


def contents(path: Path) -> dict[str, bytes]:
    """Bytes of an output: a file, a store, the files of a figure, or a page of them."""
    files = [path.parent / f"{path.stem}.{kind}" for kind in ("csv", "png", "svg")] if path.stem == "chart" else [path]
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and ".state" not in file.parts]
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in files if file.exists()}


def one_line(kind: str, told: str) -> None:
    """Raise AssertionError for anything but a line that says what is wrong; a batch says it of each figure, too."""
    lines = told.splitlines()
    assert lines, kind
    assert lines[-1].startswith("workbench: "), (kind, told)
    assert "Traceback" not in told, (kind, told)
    assert kind == "figures" or len(lines) == 1, (kind, told)


def check(kind: str, disk: Path, faults: list[Callable[[], None]]) -> None:
    """Every fault ends a run with one line and leaves what was there; then there is none."""
    path = disk / kind
    if kind == "grid.zarr":
        KINDS["old.zarr"] = (*GRID, "1", "-o")
        assert run("old.zarr", path)[0] == 0
    elif kind == "chart.csv":
        for suffix in ("csv", "png", "svg"):
            path.with_suffix(f".{suffix}").write_text("before")
    elif not kind.startswith(("figures", "view")):
        path.write_text("before")
    before = contents(path)
    own = {*(Path(name).parts[0] for name in before), kind, "filler", f".{kind}.partial", f"{kind}.manifest.json"}
    for fault in faults:
        status, told = run(kind, path, fault)
        assert status == 1, (kind, status, told)
        one_line(kind, told)
        assert contents(path) == before, kind
        assert {file.name for file in disk.iterdir()} <= own, (kind, [*disk.iterdir()])
        (disk / "filler").unlink(missing_ok=True)


def main(folder: str, how: str, *kinds: str) -> None:
    """Every kind of output, one after the other."""
    root = Path(folder)
    inputs(root)
    disk, elsewhere = root / "disk", root / "elsewhere"
    elsewhere.mkdir()
    gc.freeze()  # a collection in a fork would copy all that it looks at
    for kind in kinds or [*KINDS]:
        disk.mkdir()
        if how == "readonly":
            run(kind, elsewhere / kind, lambda: fill(elsewhere, 0), root / "modules")
            for name in (root / "modules").read_text().split("\n"):  # which nobody might not be allowed to read
                with suppress(Exception):
                    importlib.import_module(name)
            gc.freeze()
            check(kind, disk, [lambda: deny(disk)])
            disk.chmod(0o755)
        else:
            if how == "tmpfs":
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
            faults = [lambda: fill(disk, 0)]
            if kind.startswith("grid"):
                faults += [lambda: later(disk, "write_region", 0)]
            if kind in ("grid.nc", "grid.csv", "grid.parquet"):
                faults += [lambda: later(disk, "_finished", 1)]
            check(kind, disk, faults)
            twice = kind != "figures"  # whose bytes tests/test_figures.py has
            places = [disk / kind, elsewhere / kind] if twice else [disk / kind]
            for path in places:
                status, told = run(kind, path)
                assert (status, "Traceback" in told) == (0, False), (kind, told)
            assert contents(places[0]) == contents(places[-1]), kind
            if how == "tmpfs":
                subprocess.run(["umount", "-l", disk], check=True)
        shutil.rmtree(disk)
        print(kind, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
