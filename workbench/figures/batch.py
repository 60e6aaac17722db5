"""The batch: notebooks run through papermill, each with its params, where what they gave is not up to date.

A figure is ``params/<notebook>/<figure_id>.yaml``; the folder picks the notebook that draws it. The notebook hands its
chart and the plotted numbers to `save`. What it gives is written in a folder of its own, and renamed file by file when
all is there.
"""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..common.project import package_fingerprint
from ..files.folders import remove
from ..files.writing import check_output
from .params import FIGURE_FORMATS, Figure
from .state import file_digests, is_unchanged, keep_below, record_state, workplace

CELL_TIMEOUT = 600  # s; a kernel that hangs must not hang the batch


@dataclass(frozen=True)
class Outcome:
    """What became of one figure.

    Attributes
    ----------
    id : str
        The figure.
    state : str
        "drawn", "up to date" or "failed".
    reason : str
        Why it failed, in one line.
    """

    id: str
    state: str
    reason: str = ""


def is_current(figure: Figure, output: Path, package: str) -> bool:
    """Whether a figure's files are those that its present inputs gave.

    Parameters
    ----------
    figure : Figure
        The figure.
    output : pathlib.Path
        The folder with its files.
    package : str
        `common.project.package_fingerprint`, which is the same for all figures.

    Returns
    -------
    bool
        False also where a file is missing or was changed by hand.
    """
    files = {kind: output / f"{figure.id}.{kind}" for kind in FIGURE_FORMATS}
    return is_unchanged(output / ".state" / f"{figure.id}.json", figure.fingerprint(package), files)


def draw(figure: Figure, output: Path, root: Path, scratch: Path, inputs: str) -> Outcome:
    """Run one notebook with its params and put its files in place.

    Parameters
    ----------
    figure : Figure
        The figure to draw.
    output : pathlib.Path
        The folder for its files.
    root : pathlib.Path
        The project, in which the notebook runs.
    scratch : pathlib.Path
        A folder for what is not finished yet, on the file system of `output`.
    inputs : str
        The figure's fingerprint, to be kept with what it gave.

    Returns
    -------
    Outcome
        "drawn", or "failed": then the notebook is left in ``output/.state`` with its traceback, and the files are those
        of before.
    """
    import papermill

    work, running = scratch / figure.id, scratch / f"{figure.id}.ipynb"
    executed = output / ".state" / running.name
    files = {kind: work / f"{figure.id}.{kind}" for kind in FIGURE_FORMATS}
    try:
        keep_below(output / ".state")  # in this process too, where it is a worker of a cluster
        for path in files.values():
            check_output(output / path.name)
        remove(work)  # what a worker left that was lost
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
        digests = file_digests(files)  # of what this run drew, whatever another one puts in place at the same time
        for path in files.values():
            path.replace(output / path.name)
        record_state(output / ".state" / f"{figure.id}.json", inputs, digests)
    except papermill.PapermillExecutionError as error:
        return Outcome(figure.id, "failed", f"{error.ename}: {error.evalue} (traceback in {executed})")
    except Exception as error:  # a dead kernel or a timeout must not stop the other figures
        return Outcome(figure.id, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return Outcome(figure.id, "drawn")


def kernel_manager(scratch: Path, root: Path) -> type:
    """A kernel manager that starts this very interpreter, whatever kernelspecs the machine has.

    Connection files go to `scratch`. Kernels work in `root`: papermill's `cwd` would change this process's own folder,
    for all of its threads.
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
    """Draw every figure that is not up to date; one failure does not stop the others.

    Parameters
    ----------
    figures : iterable of Figure
        From `find` or `choose`.
    output : pathlib.Path
        The folder for their files; made where it does not exist.
    root : pathlib.Path
        The project, in which the notebooks run.
    force : bool, default False
        Draw also what is up to date.
    executor : concurrent.futures.Executor, optional
        What runs the notebooks, such as `cluster.executor`, whose workers see the same folders. None is `jobs`
        threads, each waiting for its own kernel.
    jobs : int, default 1
        Notebooks at a time, where there is no executor [1].
    report : callable, optional
        Called with each outcome as it comes.

    Returns
    -------
    list of Outcome
        One for each figure, in the order in which they ended.

    Raises
    ------
    ValueError
        Before anything runs, where a params file does not have the parameters of its notebook, or `output` cannot be
        written.
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
