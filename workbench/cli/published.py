"""Commands on what is published: its charts drawn, its numbers recomputed."""

import fnmatch
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import CORES, Scheduler, interruptible, workers

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..figures.batch import Outcome
    from ..figures.params import Figure


def figures(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figure ids or globs, e.g. 'medusa-*'; none is all.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Notebooks at a time.")] = CORES,
    list_: Annotated[bool, typer.Option("--list", help="List the figures that there are; draw nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Draw also what is up to date.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Recompute and compare the CSVs; write nothing.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default figures/ of the clone, or here.")
    ] = None,
    scheduler: Scheduler = None,
) -> None:
    """Draw the published charts: params through papermill to SVG, PNG, CSV and an index page."""
    from ..common.project import INSTALLED, project_root

    if list_:
        _list(project_root(), names or ["*"])
        return
    from .. import figures as charts

    outcomes = []
    kept = "nothing was written" if check else "finished figures are kept, run again to go on"
    with interruptible(kept), workers(scheduler) as pool:
        root = project_root()
        known = charts.find(root)
        chosen = charts.choose(known, names or [])
        target = output or (Path.cwd() if root == INSTALLED else root) / "figures"
        if check and not target.is_dir():
            raise ValueError(f"--check: no {target} to compare with: run it in a clone, or give its figures/ by -o")
        if not check:
            outcomes = _run(chosen, target, root, force=force, jobs=jobs, executor=pool)
            typer.echo(f"index: {charts.write_index(known.values(), target)}")
        else:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                outcomes = _run(chosen, Path(scratch), root, force=True, jobs=jobs, executor=pool)
                drawn = [outcome.id for outcome in outcomes if outcome.state == "drawn"]
                found = [charts.differences(target / f"{i}.csv", Path(scratch) / f"{i}.csv") for i in sorted(drawn)]
            for difference in filter(None, found):
                typer.echo(f"workbench: {difference}", err=True)
            typer.echo(f"{found.count('')} of {len(chosen)} figures reproduce their CSV")
            if any(found):
                raise typer.Exit(1)
    failed = [outcome.id for outcome in outcomes if outcome.state == "failed"]
    if failed:
        typer.echo(f"workbench: {len(failed)} of {len(chosen)} figures failed: {', '.join(sorted(failed))}", err=True)
        raise typer.Exit(1)


def _list(root: Path, patterns: list[str]) -> None:
    """The figures of a project, with their titles."""
    from ..common.errors import unknown
    from ..files.yaml_files import read_mapping

    files = {path.stem: path for path in sorted(root.glob("params/*/*.yaml"), key=lambda path: path.stem)}
    for pattern in patterns:
        if not (ids := fnmatch.filter(files, pattern)):
            raise unknown("figure", pattern, files)
        for name in ids:
            typer.echo(f"{name:<26}{' '.join(str(read_mapping(files[name]).get('title', '')).split())}")


def _run(
    chosen: list["Figure"], target: Path, root: Path, *, force: bool, jobs: int, executor: "Executor | None"
) -> list["Outcome"]:
    """Draw figures with a bar on standard error, and a line for each where that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ..figures import run

    console = Console(stderr=True, soft_wrap=True)
    last = TextColumn("{task.fields[last]}")
    columns = (TextColumn("figures"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), last)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("figures", total=len(chosen), last="")

        def report(outcome: "Outcome") -> None:
            progress.update(task, advance=1, last=outcome.id)
            if outcome.state == "failed" or not console.is_terminal:
                console.print(f"{outcome.id:<16} {outcome.state} {outcome.reason}", markup=False, highlight=False)

        return run(chosen, target, root, force=force, jobs=jobs, executor=executor, report=report)


def audit(
    figure: Annotated[str | None, typer.Option("--figure", help="Only the claims of a figure, or of a glob.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the whole table to FILE.csv.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show also the claims that reproduce.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", help="'source': a row for each source instead, how many have which verdict.")
    ] = None,
) -> None:
    """Recompute every published number; exit status 1 when a verdict or a recorded value is not the expected one."""
    from .. import audit as auditor
    from ..common.errors import unknown
    from ..files.writing import write_table

    if by not in (None, "source"):
        raise unknown("--by", by, ["source"])
    if by and (all_ or csv):
        raise ValueError(f"--by source shows no claims: give it without {'--all' if all_ else '--csv'}")
    table = auditor.run(figure)
    if figure is not None and table.empty:
        raise unknown("figure", figure, sorted(set(auditor.run().figure) - {""}))
    if csv:
        write_table(table, csv)
    typer.echo(auditor.by_source_text(table) if by else auditor.audit_text(table, everything=all_))
    changed = auditor.changes(table)
    for change in changed:
        typer.echo(f"workbench: {change}", err=True)
    if changed:
        raise typer.Exit(1)
