"""From params files through papermill to figures: run, skip what is up to date, check, and index.

A figure is ``params/<notebook>/<figure_id>.yaml``; the folder picks the notebook that draws it. The notebook hands its
chart and the plotted numbers to `save`. Everything is written to a temporary name and renamed when it is whole.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..common.files import whole
from ..common.machine import is_running
from ..common.project import digest, package_fingerprint
from .params import FIGURE_FORMATS, Figure

CELL_TIMEOUT = 600  # s; a kernel that hangs must not hang the batch


# Running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of one figure: drawn, up to date, or failed with a one-line reason."""

    id: str
    state: str
    reason: str = ""


def is_current(figure: Figure, output: Path, package: str) -> bool:
    """Whether a figure's files are those that its present inputs gave.

    package : `package_fingerprint`
    """
    files = {kind: output / f"{figure.id}.{kind}" for kind in FIGURE_FORMATS}
    return _unchanged(output / ".state" / f"{figure.id}.json", figure.fingerprint(package), files)


def _unchanged(state: Path, inputs: str, files: Mapping[str, Path]) -> bool:
    try:
        return bool(json.loads(state.read_text()) == {"inputs": inputs, "outputs": _digests(files)})
    except (OSError, ValueError):
        return False


def _record(state: Path, inputs: str, outputs: Mapping[str, str]) -> None:
    with whole(state) as path:
        path.write_text(json.dumps({"inputs": inputs, "outputs": outputs}))


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: digest(path.read_bytes()) for name, path in files.items()}


def draw(figure: Figure, output: Path, root: Path, scratch: Path, inputs: str) -> Outcome:
    """Run one notebook with its params and put its files in place; a failure leaves the notebook with its traceback.

    scratch : a folder for what is not finished yet, on the file system of `output`
    inputs : the figure's fingerprint
    """
    import papermill

    _keep_below(output / ".state")  # in this process too, where it is a worker of a cluster
    work, running = scratch / figure.id, scratch / f"{figure.id}.ipynb"
    executed = output / ".state" / running.name
    files = {kind: work / f"{figure.id}.{kind}" for kind in FIGURE_FORMATS}
    try:
        shutil.rmtree(work, ignore_errors=True)  # what a worker left that was lost
        work.mkdir()
        try:
            papermill.execute_notebook(
                str(figure.notebook), str(running), figure.values | {"output_dir": str(work)}, kernel_name="python3",
                progress_bar=False, request_save_on_cell_execute=False, execution_timeout=CELL_TIMEOUT,
                kernel_manager_class=kernel_manager(scratch, root),
            )  # fmt: skip
        finally:
            if running.is_file():
                running.replace(executed)
        missing = [path.name for path in files.values() if not path.is_file()]
        if missing:
            return Outcome(figure.id, "failed", f"{figure.notebook} did not save {', '.join(missing)}")
        digests = _digests(files)  # of what this run drew, whatever another one puts in place at the same time
        for path in files.values():
            path.replace(output / path.name)
        _record(output / ".state" / f"{figure.id}.json", inputs, digests)
    except papermill.PapermillExecutionError as error:
        return Outcome(figure.id, "failed", f"{error.ename}: {error.evalue} (traceback in {executed})")
    except Exception as error:  # a dead kernel or a timeout must not stop the other figures
        return Outcome(figure.id, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return Outcome(figure.id, "drawn")


def kernel_manager(scratch: Path, root: Path) -> type:
    """A kernel manager that starts this very interpreter, whatever kernelspecs the machine has.

    scratch : where the kernels' connection files go
    root : the kernels' working folder; papermill's `cwd` would change this process's own, for all of its threads
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernelManager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(connection_file=str(scratch / f"kernel-{uuid4().hex}.json"), **options)

        @property
        def kernel_spec(self) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
            return KernelSpec(argv=argv, display_name="workbench", language="python")

        async def _async_pre_start_kernel(self, **options: Any) -> tuple[list[str], dict[str, Any]]:
            return await super()._async_pre_start_kernel(**options | {"cwd": str(root)})

    return OwnKernelManager


@contextmanager
def workplace(output: Path) -> Iterator[Path]:
    """The output folder with a scratch folder of this process in it, which goes when the batch ends, however it ends.

    What kernels write besides (history, font cache) is kept in the output folder too, not in the user's home.
    """
    state = output / ".state"
    host = platform.node()  # others may see the folder, too
    scratch = state / f"run-{host}-{os.getpid()}"
    try:
        state.mkdir(parents=True, exist_ok=True)
        for left in state.glob(f"run-{host}-*"):  # by a process that was killed
            if not is_running(int(left.name.rpartition("-")[2])):
                shutil.rmtree(left, ignore_errors=True)
        scratch.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {output}: {error.strerror}") from None
    _keep_below(state)
    try:
        yield scratch.resolve()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep_below(state: Path) -> None:
    """Have this process and its kernels keep what they write besides in a folder, and draw as notebooks do."""
    for variable, folder in (
        ("IPYTHONDIR", "ipython"), ("JUPYTER_RUNTIME_DIR", "runtime"), ("JUPYTER_CONFIG_DIR", "config"),
        ("JUPYTER_DATA_DIR", "data"), ("MPLCONFIGDIR", "matplotlib"),
    ):  # fmt: skip
        os.environ[variable] = str((state / folder).resolve())
    for variable in ("MPLBACKEND", "JUPYTER_PATH", "JUPYTER_PREFER_ENV_PATH"):
        os.environ.pop(variable, None)


def run(
    figures: Iterable[Figure],
    output: Path,
    root: Path,
    *,
    force: bool = False,
    executor: Executor | None = None,
    jobs: int = 1,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Draw every figure that is not up to date, `jobs` at a time; one failure does not stop the others.

    executor : anything with `concurrent.futures` submit, e.g. `cluster.executor`, whose workers see the same folders;
        None is `jobs` threads, each waiting for its own kernel
    report : called with each outcome as it comes
    """
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        report(outcome)

    package = package_fingerprint()
    with workplace(output) as scratch:
        due = []
        for figure in figures:
            if not force and is_current(figure, output, package):
                note(Outcome(figure.id, "up to date"))
            elif figure.values:  # checked before anything runs
                due.append((figure, output.resolve(), root, scratch, figure.fingerprint(package)))
        pool = executor or ThreadPoolExecutor(jobs)
        drawing = [pool.submit(draw, *task) for task in due]
        try:
            for done in as_completed(drawing):
                note(done.result())
        except BaseException:
            for future in drawing:
                future.cancel()
            pool.shutdown(wait=False)
            raise
        pool.shutdown()
    return outcomes


# Checking ---------------------------------------------------------------------------------------------------------


def differences(expected: Path, found: Path) -> str:
    """Where two CSVs differ, in one line; empty if they hold the same numbers (relative 1e-6: 7 printed digits)."""
    import numpy as np
    import pandas as pd

    if not expected.is_file():
        return f"{expected} does not exist"
    old, new = pd.read_csv(expected), pd.read_csv(found)
    if list(old.columns) != list(new.columns):
        return f"{expected}: columns {', '.join(old.columns)}; recomputed {', '.join(new.columns)}"
    if len(old) != len(new):
        return f"{expected}: {len(old)} rows; recomputed {len(new)}"
    for column in old.columns:
        a, b = old[column], new[column]
        if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
            same = np.isclose(a.to_numpy(float), b.to_numpy(float), rtol=1e-6, atol=0, equal_nan=True)
        else:
            same = a.fillna("").astype(str).to_numpy(object) == b.fillna("").astype(str).to_numpy(object)
        if not same.all():
            row = int(np.argmin(same))
            more = f" and {int((~same).sum()) - 1} more rows" if (~same).sum() > 1 else ""
            return f"{expected}, line {row + 2}, {column}: {a[row]}; recomputed {b[row]}{more}"
    return ""
