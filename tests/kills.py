"""Kill a writer at one file operation after another and run it again: `python kills.py FOLDER KIND` prints how many.

KIND is a suffix of grids, or "figure". Every run is a fork of this process, which itself starts no thread. After a kill
every output must be absent or, to the last byte, that of before or the new one; after the next run, the new one.
"""

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import xarray  # noqa: F401
import zarr  # noqa: F401

from workbench import figures, store
from workbench.grid import sweep

mpl.use("agg")
import matplotlib.pyplot as plt

KILLS = 10
OPERATIONS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def write_grid(path: Path, number: int) -> None:
    """A grid in a few regions."""
    store.write(sweep.checked("t4", "gpt2", batch_size=[number, number + 1], seq_len=[1, 64]), path, chunks=16)


def write_figure(path: Path, number: int) -> None:
    """A chart and its numbers."""
    figure, ax = plt.subplots()
    ax.plot([1, number])
    figures.save(figure, pd.DataFrame({"x": [number] * 1000}), path.stem, str(path.parent))


def fork(function, *arguments) -> int:
    """Exit status of a child that runs a function: 0, 1, or minus the signal that ended it."""
    pid = os.fork()
    if not pid:
        try:
            function(*arguments)
        except BaseException as error:
            print(f"{function.__name__}{arguments}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(write, path: Path, at: int, log: Path) -> None:
    """Write, and die at that file operation in the output's folder; log how many there were."""
    operations = itertools.count(1)

    def note(event, arguments):
        inside = event == "open" and str(path.parent) in str(arguments[0])
        if (inside or event in OPERATIONS) and next(operations) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    write(path, 2)
    log.write_text(str(next(operations) - 1))


def contents(path: Path) -> dict[str, bytes]:
    """Bytes of a file, or of every file of a store."""
    files = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def main(folder: str, kind: str) -> None:
    """Kill a number of runs, from the first file operation to the last, half of them near the end."""
    root, log = Path(folder), Path(folder) / "operations"
    write, name = (write_figure, "chart.csv") if kind == "figure" else (write_grid, f"grid{kind}")
    outputs = ["chart.csv", "chart.png", "chart.svg"] if kind == "figure" else [name]
    for number, whole in ((1, root / "before"), (2, root / "after")):
        whole.mkdir()
        assert fork(write, whole / name, number) == 0
    shutil.copytree(root / "before", root / "counted")
    assert fork(killed, write, root / "counted" / name, 0, log) == 0
    total = int(log.read_text())
    late = total - KILLS // 2
    places = [*range(1, late, -(-late // (KILLS - KILLS // 2))), *range(late + 1, total + 1)] if late > KILLS else None
    places = places or range(1, total + 1)
    for at in places:
        place = root / f"killed-{at}"
        shutil.copytree(root / "before", place)
        assert fork(killed, write, place / name, at, log) == -signal.SIGKILL, at
        for output in outputs:
            known = [{}, contents(root / "before" / output), contents(root / "after" / output)]
            assert contents(place / output) in known, (at, output)
            beside = contents(place / f"{name}.manifest.json")
            for i, of in enumerate(("before", "after"), 1):
                if beside and beside == contents(root / of / f"{name}.manifest.json"):
                    assert contents(place / output) == known[i], (at, output, of)
        assert fork(write, place / name, 2) == 0, at
        for output in outputs:
            assert contents(place / output) == contents(root / "after" / output), (at, output)
        left = {file.name for file in place.iterdir()} - {file.name for file in (root / "after").iterdir()}
        assert kind == "figure" or not left, (at, left)
    print(len(places))


if __name__ == "__main__":
    main(*sys.argv[1:])
