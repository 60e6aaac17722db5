"""A bar on the terminal, for what takes long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def progress_bar(what: str, *, show: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, gone when the work ends or is interrupted; yields what moves it, done of a total.

    It counts `what`, such as "requests". No bar unless `show`, without rich, and where there is neither terminal nor
    notebook.
    """
    if not show or find_spec("rich") is None:
        yield lambda done, total: None
        return
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    seen = console.is_terminal or console.is_jupyter
    columns = (
        progress.TextColumn(what), progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True, disable=not seen) as bar:
        task, shown = bar.add_task(what, total=None), 0

        def move(done: int, total: int) -> None:
            nonlocal shown
            if done == total or 200 * (done - shown) > total:  # moving it takes longer than a simulation's step
                shown = done
                bar.update(task, completed=done, total=total)

        yield move
