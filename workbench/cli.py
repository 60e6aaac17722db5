"""The `workbench` command. Exit status 0, or not 0 with one clear line on standard error."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common.progress import progress_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from .calibration import CalibrationResult
    from .figures.batch import Outcome
    from .figures.params import Figure


PICTURES = (".png", ".svg", ".pdf")
MOST_LABELS = 10_000_000  # that one option lists

app = typer.Typer(
    help="Roofline analysis of LLM inference.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workbench {version('roofline-workbench')}")
        raise typer.Exit


@app.callback()
def _main(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Roofline analysis of LLM inference."""


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what a user can get wrong into one line and exit status 1."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.echo(f"workbench: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def figures(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figure ids or globs, e.g. 'medusa-*'; none is all.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Notebooks at a time.")] = os.cpu_count() or 1,
    force: Annotated[bool, typer.Option("--force", help="Draw also what is up to date.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Recompute and compare the CSVs; write nothing.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default figures/ of the clone.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler, tcp://HOST:PORT.")] = None,
) -> None:
    """Draw the published charts: params through papermill to SVG, PNG, CSV and an index page."""
    from . import figures as charts
    from .common.project import project_root

    outcomes = []
    kept = "nothing was written" if check else "finished figures are kept, run again to go on"
    with one_line(), interruptible(kept), _executor(scheduler) as pool:
        root = project_root()
        known = charts.find(root)
        chosen = charts.choose(known, names or [])
        target = output or root / "figures"
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


@contextmanager
def interruptible(what: str) -> Iterator[None]:
    """End at once on Ctrl-C with status 130; threads that still wait for a kernel end with the process."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"workbench: interrupted; {what}", err=True)
        sys.stderr.flush()
        os._exit(130)


def _run(
    chosen: list["Figure"], target: Path, root: Path, *, force: bool, jobs: int, executor: "Executor | None"
) -> list["Outcome"]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .figures import run

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


@app.command()
def audit(
    figure: Annotated[str | None, typer.Option("--figure", help="Only the claims of a figure, or of a glob.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the whole table to FILE.csv.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show also the claims that reproduce.")] = False,
) -> None:
    """Recompute every published number; exit status 1 when a verdict or a recorded value is not the expected one."""
    from . import audit as auditor
    from .common.errors import unknown
    from .common.files import write_table

    with one_line():
        table = auditor.run(figure)
        if figure is not None and table.empty:
            raise unknown("figure", figure, sorted(set(auditor.run().figure) - {""}))
        if csv:
            write_table(table, csv)
        typer.echo(auditor.audit_text(table, everything=all_))
        changed = auditor.changes(table)
        for change in changed:
            typer.echo(f"workbench: {change}", err=True)
        if changed:
            raise typer.Exit(1)


@app.command()
def grid(
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.zarr, .nc, .csv or .parquet")],
    gpu: Annotated[list[str], typer.Option("--gpu", help="GPU id; repeat for several.")],
    model: Annotated[list[str], typer.Option("--model", help="Model id; repeat for several.")],
    operator: Annotated[list[str] | None, typer.Option(help="'fused', 'unfused', or operator names; repeat.")] = None,
    phase: Annotated[list[str] | None, typer.Option(help="prefill, decode; repeat.")] = None,
    batch_size: Annotated[list[str] | None, typer.Option(help="1,2,4 or 1:128; repeat. Default: 1.")] = None,
    seq_len: Annotated[list[str] | None, typer.Option(help="128,1024 or 64:8192:64; repeat. Default: 1024.")] = None,
    candidates: Annotated[list[str] | None, typer.Option(help="Candidate counts, 1,16; repeat.")] = None,
    tp: Annotated[list[str] | None, typer.Option(help="GPUs that share every layer, 1,2,4; repeat.")] = None,
    weight_dtype: Annotated[str | None, typer.Option()] = None,
    activation_dtype: Annotated[str, typer.Option()] = "fp16",
    kv_dtype: Annotated[str, typer.Option()] = "fp16",
    lm_head_dtype: Annotated[str | None, typer.Option()] = None,
    causal: Annotated[bool | None, typer.Option("--causal/--no-causal", help="Credit for the causal mask.")] = None,
    logits: Annotated[str, typer.Option(help="Of a prompt's 'last' token or of 'all'.")] = "last",
    scores: Annotated[str | None, typer.Option(help="Attention scores through 'memory' or on 'chip'.")] = None,
    time_model: Annotated[str, typer.Option(help="'ideal' or 'kernel'.")] = "ideal",
    launch_latency: Annotated[float, typer.Option(help="Seconds that every call takes besides.")] = 0.0,
    dtype: Annotated[str, typer.Option(help="'float64' or 'float32'.")] = "float64",
    variable: Annotated[
        list[str] | None, typer.Option(help="Write only this one of flops, bytes, ..., bound; repeat.")
    ] = None,
    chunk: Annotated[int | None, typer.Option(help="Cells computed at a time, at most.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Chunks at a time.")] = os.cpu_count() or 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler, tcp://HOST:PORT.")] = None,
) -> None:
    """Compute a roofline grid, of any size, and write it to a file with a manifest; run it again to resume it."""
    from .grid import store
    from .grid.sweep import COSTS, RATES, checked
    from .operators.cost import PHASES

    with one_line(), interruptible("finished chunks are kept, run again to go on"), _executor(scheduler) as pool:
        sweep = checked(
            gpu, model, operator, phase or PHASES,
            _integers("--batch-size", batch_size) or 1, _integers("--seq-len", seq_len) or 1024,
            candidates=_integers("--candidates", candidates), tp=_integers("--tp", tp), weight_dtype=weight_dtype,
            activation_dtype=activation_dtype, kv_dtype=kv_dtype, lm_head_dtype=lm_head_dtype, causal=causal,
            logits=logits, scores=scores, time_model=time_model, launch_latency=launch_latency, dtype=dtype,
        )  # fmt: skip
        with progress_of("chunks") as progress:
            store.write(
                sweep, output, names=variable or (*COSTS, *RATES), chunks="auto" if chunk is None else chunk,
                executor=pool, jobs=jobs, report=progress,
            )  # fmt: skip
    typer.echo(f"{output}: {', '.join(f'{n} {dim}' for dim, n in zip(sweep.coords, sweep.shape, strict=True))}")


@contextmanager
def _executor(scheduler: str | None) -> Iterator["Executor | None"]:
    """What runs tasks on the workers of a dask cluster; None without an address."""
    if scheduler is None:
        yield None
        return
    from .common.cluster import executor

    with executor(scheduler) as pool:
        yield pool


def _integers(option: str, given: list[str] | None) -> list[int] | None:
    """An option's whole numbers, and ranges with their last, "1,2,4" or "64:8192:64"; None without the option."""
    numbers: list[int] = []
    for text in given or []:
        try:
            ranges = [_range(*map(int, part.split(":"))) for part in text.split(",")]
            if sum(map(len, ranges)) > MOST_LABELS or not all(ranges):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"{option} {text!r}: expected whole numbers separated by commas, e.g. 1,2,4, or first:last[:step], "
                f"e.g. 64:8192:64, at most {MOST_LABELS:,} of them"
            ) from None
        numbers += [number for each in ranges for number in each]
    return numbers or None


def _range(first: int, last: int | None = None, step: int = 1) -> range:
    return range(first, (first if last is None else last) + 1, max(step, 0))


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="Model id.")],
    prompt: Annotated[int, typer.Option(help="Prompt of a request [token].")],
    output: Annotated[int, typer.Option("--output-tokens", help="Output of a request [token].")],
    ttft: Annotated[float | None, typer.Option(help="Longest time to first token [s].")] = None,
    tpot: Annotated[float | None, typer.Option(help="Longest time per output token after it [s].")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second; adds the replicas that it takes.")] = None,
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="GPU id; repeat. Default: all, or the priced.")] = None,
    tp: Annotated[
        list[str] | None, typer.Option(help="GPUs that share every layer, 1,2; repeat. Default: 1,2,4,8.")
    ] = None,
    batch_size: Annotated[
        list[str] | None, typer.Option(help="8,64; repeat. Default: powers of two up to 256.")
    ] = None,
    price: Annotated[list[str] | None, typer.Option(help="GPU=PRICE of an hour; repeat. Default: GPU-hours.")] = None,
    weight_dtype: Annotated[str | None, typer.Option()] = None,
    activation_dtype: Annotated[str, typer.Option()] = "fp16",
    kv_dtype: Annotated[str, typer.Option()] = "fp16",
    schedule: Annotated[str, typer.Option(help="'continuous' or 'static' batching.")] = "continuous",
    time_model: Annotated[str, typer.Option(help="'kernel' or 'ideal'.")] = "kernel",
    gpu_memory_utilization: Annotated[float, typer.Option(help="Share of the memory that a server may use.")] = 0.9,
    step_overhead: Annotated[float, typer.Option(help="Seconds that the host adds to every step.")] = 0.0,
    sequence_overhead: Annotated[float, typer.Option(help="Seconds that it adds for each sequence in one.")] = 0.0,
    gemm_efficiency: Annotated[float, typer.Option(help="Of weight-only kernels (AWQ): their speed over ours.")] = 1.0,
    gemm_rows: Annotated[int | None, typer.Option(help="Tokens for which they unpack the weights once.")] = None,
    dequantize_rows: Annotated[int | None, typer.Option(help="Tokens from which weights are unpacked first.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    file: Annotated[Path | None, typer.Option("-o", "--output", help="Write all rows to FILE.csv or .parquet.")] = None,
) -> None:
    """Plan capacity: GPU x tp x batch for a model, a workload and a service level, and why each loser loses."""
    from .common.files import write_table
    from .serving import capacity as planner

    with one_line():
        table = planner.plan(
            model, prompt=prompt, output=output, ttft=ttft, tpot=tpot, request_rate=rate, gpu=gpu or None,
            tp=_integers("--tp", tp) or planner.TPS,
            batch_size=_integers("--batch-size", batch_size) or planner.BATCH_SIZES, price=_prices(price),
            schedule=schedule, weight_dtype=weight_dtype, activation_dtype=activation_dtype, kv_dtype=kv_dtype,
            time_model=time_model, gpu_memory_utilization=gpu_memory_utilization, step_overhead=step_overhead,
            sequence_overhead=sequence_overhead, gemm_efficiency=gemm_efficiency, gemm_rows=gemm_rows,
            dequantize_rows=dequantize_rows,
        )  # fmt: skip
        if file:
            write_table(table, file, (".csv", ".parquet"))
    typer.echo(planner.plan_text(table, rows))


def _prices(given: list[str] | None) -> dict[str, float] | None:
    from .catalog.gpu_entries import gpu

    prices = dict[str, float]()
    for text in given or []:
        name, _, value = text.partition("=")
        try:
            hourly = float(value)
        except ValueError:
            raise ValueError(f"--price {text!r}: expected GPU=PRICE, e.g. t4=0.35") from None
        card = gpu(name).id
        if card in prices:
            raise ValueError(f"--price {text!r}: {card} has a price, {prices[card]:g}: give one for each GPU")
        prices[card] = hourly
    return prices or None


@app.command()
def explore(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of 127.0.0.1.")] = 8866,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Serve the explorer as a web page of this machine; Ctrl-C ends it."""
    from .explorer.website import serve

    with one_line():
        serve(port=port, browser=browser)


@app.command()
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
    from . import calibration, catalog, timings
    from .common.files import write_text

    with one_line():
        card = catalog.gpu(gpu)
        table = timings.read(file)
        _tell(table.attrs["problems"])
        table = calibration.of_one_gpu(table, measured_on)
        rows = calibration.usable(table)
        if len(rows) < len(table):
            typer.echo(
                f"workbench: {len(table) - len(rows)} of {len(table)} rows are of no kind that is fitted", err=True
            )
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
    from matplotlib.figure import Figure

    from . import plots
    from .common.errors import unknown
    from .common.files import whole

    if path.suffix not in PICTURES:
        raise unknown("file suffix of --plot", path.suffix, PICTURES)

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.predicted_against_measured(result.table, left, title=f"Kernel times of {result.gpu}, shapes held out")
    plots.residuals(result.table, right, title="Residuals")
    with whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=160)


@app.command()
def timings(
    file: Annotated[Path, typer.Argument(help="CSV, parquet, or profiler trace with kernel timings.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the tidy table to FILE.csv.")] = None,
    format: Annotated[str | None, typer.Option(help="Format of FILE; by default recognized by its content.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Name of the GPU, for a file that does not say.")] = None,
) -> None:
    """Read kernel timings (own, Vidur, AIConfigurator, Nsight Compute, PyTorch profiler) into one tidy table."""
    from .timings import read, write

    with one_line():
        table = read(file, format, gpu=gpu)
        if output:
            write(table, output)
    _tell(table.attrs["problems"])
    typer.echo(f"{len(table)} timings ({table.attrs['format']}){f' in {output}' if output else ''}")
    for kind, times in table.groupby("operator_class").time_s:
        typer.echo(
            f"  {kind:<18}{len(times):>8}  {times.min():.3g} to {times.max():.3g} s, median {times.median():.3g} s"
        )


@app.command()
def loadtest(
    file: Annotated[Path, typer.Argument(help="Result of a load test, with its requests.")],
    window: Annotated[
        float | None, typer.Option(help="Seconds from the first send; default: to the last event.")
    ] = None,
    slo_ttft: Annotated[float | None, typer.Option(help="Objective for the time to first token, in seconds.")] = None,
    slo_tpot: Annotated[float | None, typer.Option(help="Objective for the time per output token, in seconds.")] = None,
    slo_e2e: Annotated[float | None, typer.Option(help="Objective for the whole request, in seconds.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the requests to FILE.csv.")] = None,
    format: Annotated[str | None, typer.Option(help="Format of FILE; by default recognized by its content.")] = None,
    run: Annotated[int | None, typer.Option(help="Which run, from 0, of a file that holds several.")] = None,
) -> None:
    """What a load test shows (varcas, vLLM, GuideLLM, AIPerf, GenAI-Perf, CSV): requests finished or not, latencies."""
    from .loadtest import metrics, read, report, write

    with one_line():
        table = read(file, format, run=run)
        limits = {"ttft": slo_ttft, "tpot": slo_tpot, "e2e": slo_e2e}
        wanted = {name: limit for name, limit in limits.items() if limit is not None}
        ds = metrics(table, window=window, slo=wanted or None)
        if output:
            write(table, output)
    _tell(table.attrs["warnings"])
    typer.echo(f"{len(table):,} requests ({table.attrs['format']}){f' in {output}' if output else ''}")
    typer.echo(report(ds))


def _tell(problems: list[str]) -> None:
    """What is wrong with a file or its rows, the first ten lines."""
    for problem in problems[:10]:
        typer.echo(f"workbench: {problem}", err=True)
    if len(problems) > 10:
        typer.echo(f"workbench: and {len(problems) - 10} more", err=True)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def measure(context: typer.Context) -> None:
    """Time the grid's kernels on this machine's GPU with PyTorch: see `workbench measure --help`."""
    from .measure import main as run

    raise typer.Exit(run(context.args, command="workbench measure"))


@app.command()
def gpus() -> None:
    """List the GPUs of the catalog."""
    from . import catalog

    for name in catalog.gpus():
        typer.echo(f"{name:<22}{catalog.gpu(name).name}")


@app.command()
def models() -> None:
    """List the models of the catalog."""
    from . import catalog

    for name in catalog.models():
        typer.echo(f"{name:<22}{catalog.model(name).name}")


def main() -> None:
    """Entry point of the `workbench` command."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("workbench: interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
