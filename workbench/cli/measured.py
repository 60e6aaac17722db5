"""Commands on what is measured: kernels timed, timings read and fitted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.errors import unknown
from ..files.reading import given_file
from .kinds import meant_for
from .options import FileFormat, check_apart, check_picture, tell

if TYPE_CHECKING:
    from ..calibration import CalibrationResult


FITS = (".yaml", ".yml")  # what a file of fits ends with


def calibrate(
    file: Annotated[Path, typer.Argument(help="Kernel timings in any format that `workbench timings` reads.")],
    gpu: Annotated[str | None, typer.Option("--gpu", help="Id of the GPU that was measured.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the fits there instead of printing them.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the timings are from; default: the file's name.")] = None,
    measured_on: Annotated[
        str | None, typer.Option(help="Of which GPU, where FILE has timings of several; as FILE names it.")
    ] = None,
    by: Annotated[str, typer.Option(help="Held out together: 'shape' or 'model'.")] = "shape",
    plot: Annotated[
        Path | None, typer.Option(help="Draw predicted against measured, with the residuals: PNG, SVG or PDF.")
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(help="Fit every GPU, engine and format of FILE, a table of operators; write a file a GPU there."),
    ] = None,
    judge: Annotated[
        bool,
        typer.Option("--judge", help="Fit nothing; say how far off the catalog is on FILE, a table of operators."),
    ] = False,
) -> None:
    """Fit the kernel-time model to timings: parameters as a file of fits for the catalog, errors beside it."""
    check_apart(file, output, plot)
    if catalog and judge:
        raise ValueError("--catalog and --judge: choose one, as the second fits nothing")
    if (catalog or judge) and (gpu or plot or measured_on):
        raise ValueError(
            "--gpu, --measured-on and --plot are of one GPU's timings: leave them out with --catalog or --judge"
        )
    endings = (".csv",) if judge else FITS
    if output and output.suffix not in endings:
        raise unknown("file suffix of --output", output.suffix, endings)
    if catalog or judge:
        _whole_catalog(file, source or file.name, catalog, output)
        return
    from .. import calibration, timings
    from ..catalog import gpu as find_gpu
    from ..files.writing import write_text

    if gpu is None:
        raise ValueError("--gpu is missing: the id of the GPU that was measured; or --catalog, or --judge")
    card = find_gpu(gpu)
    with meant_for("calibrate", file := given_file(file)):
        table = timings.read(file)
    tell(table.attrs["problems"])
    table = calibration.of_one_gpu(table, measured_on)
    rows = calibration.usable(table)
    left_out = rows.attrs["left_out"]
    if left_out:
        more = f"{len(table) - len(rows):,} of {len(table):,} rows are of no kind that is fitted"
        tell([more, *(f"left out: {reason}" for reason in left_out)])
    if rows.empty:
        raise ValueError(f"{file}: no timing that can be fitted: {left_out[0]}{_remedy(table.attrs['format'])}")
    result = calibration.fit(rows, card, by=by)
    snippet = result.to_yaml(source or file.name)
    if plot:
        _draw_fit(result, plot)
    if output:
        write_text(snippet, output)
    for reason in result.skipped:
        typer.echo(f"workbench: no fit of {reason}", err=True)
    typer.echo(result.errors.round(1).to_string(index=False), err=True)
    typer.echo(str(output) if output else snippet, nl=bool(output))


def _remedy(format: str) -> str:
    """What to bring in place of timings without sizes."""
    if format in ("ncu", "nsys"):
        return "; a profile of Nsight has no sizes: use PyTorch's profiler with record_shapes=True"
    return "; record_shapes=True makes PyTorch's profiler note them" if format == "torch" else ""


def _whole_catalog(file: Path, source: str, folder: Path | None, output: Path | None) -> None:
    """Fit a table of operators into a folder, or judge the catalog by it."""
    from .. import calibration
    from ..common.progress import progress_bar
    from ..files.formulas import inert_table
    from ..files.writing import write_text

    if folder and not folder.is_dir():
        raise ValueError(f"--catalog {folder}: expected a folder that is there, such as workbench/data/fits")
    table = calibration.read_operators(file)
    for reason, rows in table.attrs["left_out"].items():
        typer.echo(f"workbench: {rows:,} rows left out: {reason}", err=True)
    if folder:
        with progress_bar("fits") as tick:
            fits = calibration.fit_catalog(table, source, tick=tick)
        for path in calibration.write_fits(fits, folder):
            typer.echo(path)
        return
    errors = calibration.judge(table)
    typer.echo(errors.round(1).to_string(index=False), err=bool(output))
    if output:
        write_text(inert_table(errors.round(2)).to_csv(index=False, lineterminator="\n"), output)
        typer.echo(output)


def _draw_fit(result: "CalibrationResult", path: Path) -> None:
    """Two panels of a fit, written whole."""
    from .. import plots
    from ..files.writing import write_chart

    check_picture(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.predicted_against_measured(result.table, left, title=f"Kernel times of {result.gpu}, shapes held out")
    plots.residuals(result.table, right, title="Residuals")
    write_chart(figure, path)


def timings(
    file: Annotated[Path, typer.Argument(help="CSV, parquet, or profiler trace with kernel timings.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the tidy table to FILE.csv.")] = None,
    format: FileFormat = None,
    gpu: Annotated[str | None, typer.Option(help="Name of the GPU, for a file that does not say.")] = None,
) -> None:
    """Read kernel timings (own, Vidur, AIConfigurator, Nsight Compute and Systems, PyTorch profiler) into one table."""
    check_apart(file, output)
    from ..measure.columns import SIZES
    from ..timings import read, write

    with meant_for("timings", file := given_file(file)):
        table = read(file, format, gpu=gpu)
    if output:
        write(table, output)
    tell(table.attrs["problems"])
    typer.echo(f"{len(table)} timings ({table.attrs['format']}){f' in {output}' if output else ''}")
    for kind, times in table.groupby("operator_class").time_s:
        typer.echo(
            f"  {kind:<18}{len(times):>8}  {times.min():.3g} to {times.max():.3g} s, median {times.median():.3g} s"
        )
    sized = int(table[list(SIZES)].notna().any(axis=1).sum()) if "gpus" not in table else len(table)
    named, cards = int((table["dtype"] != "").sum()), table.gpu[table.gpu != ""]
    whose = f": {', '.join(sorted(cards.unique())[:4])}" if len(cards) else ""
    typer.echo(f"of {len(table):,} rows {sized:,} have sizes, {named:,} a format, {len(cards):,} a GPU{whose[:100]}")


def measure(context: typer.Context) -> None:
    """Time the grid's kernels on this machine's GPU with PyTorch: see `workbench measure --help`."""
    from ..measure import main

    raise typer.Exit(main(context.args, command="workbench measure"))
