"""Commands on what is measured: kernels timed, timings read and fitted, load tests summed up."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import FileFormat, check_apart, tell

if TYPE_CHECKING:
    from ..calibration import CalibrationResult

PICTURES = (".png", ".svg", ".pdf")


def calibrate(
    file: Annotated[Path, typer.Argument(help="Kernel timings in any format that `workbench timings` reads.")],
    gpu: Annotated[str, typer.Option("--gpu", help="Id of the GPU that was measured.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the snippet there instead of printing it.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the timings are from; default: the file's name.")] = None,
    measured_on: Annotated[
        str | None, typer.Option(help="Of which GPU, where FILE has timings of several; as FILE names it.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw predicted against measured, with the residuals: PNG, SVG or PDF.")
    ] = None,
) -> None:
    """Fit the kernel-time model to timings: parameters as a snippet for the GPU's catalog file, errors beside it."""
    check_apart(file, output, plot)
    from .. import calibration, catalog, timings
    from ..files.writing import write_text

    card = catalog.gpu(gpu)
    table = timings.read(file)
    tell(table.attrs["problems"])
    table = calibration.of_one_gpu(table, measured_on)
    rows = calibration.usable(table)
    if len(rows) < len(table):
        typer.echo(f"workbench: {len(table) - len(rows)} of {len(table)} rows are of no kind that is fitted", err=True)
    result = calibration.fit(rows, card)
    snippet = result.to_yaml(source or file.name)
    if plot:
        _draw_fit(result, plot)
    if output:
        write_text(snippet, output)
    for reason in result.skipped:
        typer.echo(f"workbench: no fit of {reason}", err=True)
    typer.echo(result.errors.round(1).to_string(index=False), err=True)
    typer.echo(str(output) if output else snippet, nl=bool(output))


def _draw_fit(result: "CalibrationResult", path: Path) -> None:
    """Two panels of a fit, written whole."""
    from .. import plots
    from ..common.errors import unknown
    from ..files.writing import write_chart

    if path.suffix not in PICTURES:
        raise unknown("file suffix of --plot", path.suffix, PICTURES)
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
    """Read kernel timings (own, Vidur, AIConfigurator, Nsight Compute, PyTorch profiler) into one tidy table."""
    check_apart(file, output)
    from ..timings import read, write

    table = read(file, format, gpu=gpu)
    if output:
        write(table, output)
    tell(table.attrs["problems"])
    typer.echo(f"{len(table)} timings ({table.attrs['format']}){f' in {output}' if output else ''}")
    for kind, times in table.groupby("operator_class").time_s:
        typer.echo(
            f"  {kind:<18}{len(times):>8}  {times.min():.3g} to {times.max():.3g} s, median {times.median():.3g} s"
        )


def loadtest(
    file: Annotated[Path, typer.Argument(help="Result of a load test, with its requests.")],
    window: Annotated[
        float | None, typer.Option(help="Seconds from the first send; default: to the last event.")
    ] = None,
    slo_ttft: Annotated[float | None, typer.Option(help="Objective for the time to first token, in seconds.")] = None,
    slo_tpot: Annotated[float | None, typer.Option(help="Objective for the time per output token, in seconds.")] = None,
    slo_e2e: Annotated[float | None, typer.Option(help="Objective for the whole request, in seconds.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the requests to FILE.csv.")] = None,
    format: FileFormat = None,
    run: Annotated[int | None, typer.Option(help="Which run, from 0, of a file that holds several.")] = None,
) -> None:
    """What a load test shows (varcas, vLLM, GuideLLM, AIPerf, GenAI-Perf, CSV): requests finished or not, latencies."""
    check_apart(file, output)
    from ..loadtest import metrics, read, report, write

    table = read(file, format, run=run)
    limits = {"ttft": slo_ttft, "tpot": slo_tpot, "e2e": slo_e2e}
    wanted = {name: limit for name, limit in limits.items() if limit is not None}
    ds = metrics(table, window=window, slo=wanted or None)
    if output:
        write(table, output)
    tell(table.attrs["warnings"])
    typer.echo(f"{len(table):,} requests ({table.attrs['format']}){f' in {output}' if output else ''}")
    typer.echo(report(ds))


def measure(context: typer.Context) -> None:
    """Time the grid's kernels on this machine's GPU with PyTorch: see `workbench measure --help`."""
    from ..measure import main

    raise typer.Exit(main(context.args, command="workbench measure"))
