"""The command on load tests: what one shows, and beside it the same requests on a simulated server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import server_options as server
from .kinds import meant_for
from .options import (
    Entries,
    FileFormat,
    WeightDtype,
    check_apart,
    check_picture,
    interruptible,
    objectives,
    own_gpu,
    own_model,
    tell,
    terminal_width,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..loadtest import Comparison


def loadtest(
    file: Annotated[Path, typer.Argument(help="Result of a load test, with its requests.")],
    window: Annotated[
        float | None, typer.Option(help="Until when, seconds from the first send; default: the last event.")
    ] = None,
    slo_ttft: Annotated[str | None, typer.Option(help="Objective for the time to first token, e.g. 500ms.")] = None,
    slo_tpot: Annotated[str | None, typer.Option(help="Objective for the time per output token, e.g. 40ms.")] = None,
    slo_e2e: Annotated[str | None, typer.Option(help="Objective for the whole request, e.g. 30s.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the requests to FILE.csv.")] = None,
    format: FileFormat = None,
    run: Annotated[int | None, typer.Option(help="Which run, from 0, of a file that holds several.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a CSV, which column is what, e.g. ttft=TTFT_ms:ms; once for each; units s (default), ms, us, ns."
        ),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Simulate the same requests on this GPU, by name or file, with --model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model, by name, config.json or its folder.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw measured and simulated over time, or a sweep's curve: PNG, SVG or PDF.")
    ] = None,
    users: Annotated[
        int | None, typer.Option(help="Of a closed loop, each with one request at a time; default: as the sends show.")
    ] = None,
    in_flight: Annotated[int | None, typer.Option(help="Requests that the client has open at once.")] = None,
    tp: Annotated[int | None, typer.Option(help="GPUs that share every layer. Default: 1.")] = None,
    pp: server.Stages = None,
    ep: server.Experts = None,
    dp: server.Groups = None,
    network_gbs: server.Network = None,
    weight_dtype: WeightDtype = None,
    activation_dtype: server.Sixteen = None,
    kv_dtype: server.Cache = None,
    time_model: server.Time = None,
    draft: server.Guess = None,
    cached_prefix: server.Prefix = None,
    gpu_memory_utilization: server.Memory = None,
    max_num_seqs: Annotated[
        int | None, typer.Option(help="Sequences in a step at most; with --gpu fitted unless given, as the next three.")
    ] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="Tokens in a step at most.")] = None,
    step_overhead: Annotated[float | None, typer.Option(help="Seconds that the host adds to every step.")] = None,
    sequence_overhead: Annotated[
        float | None, typer.Option(help="Seconds that it adds for each sequence in one.")
    ] = None,
    max_model_len: Annotated[
        int | None, typer.Option(help="Longest prompt and output; default: the load test's.")
    ] = None,
    engine: server.ServingEngine = None,
    entries: Entries = None,
    gemm_efficiency: server.Efficiency = None,
    gemm_rows: server.Rows = None,
    dequantize_rows: server.Dequantized = None,
) -> None:
    """What a load test shows, of a sweep or a summary a line a run, and with --gpu what limits its server.

    Of varcas, vLLM, SGLang, GuideLLM, AIPerf, GenAI-Perf, llmperf, inference-perf, trtllm-bench, llama-bench, CSV.
    With --gpu and --model the same requests go through a simulated server: both side by side, the limit, what would
    help.
    """
    check_apart(file, output, plot)
    options = server.given(
        engine, draft, entries, tp=tp, pp=pp, ep=ep, dp=dp, network_gbs=network_gbs, weight_dtype=weight_dtype,
        activation_dtype=activation_dtype, kv_dtype=kv_dtype, time_model=time_model,
        gpu_memory_utilization=gpu_memory_utilization, max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens, max_model_len=max_model_len, step_overhead=step_overhead,
        sequence_overhead=sequence_overhead, gemm_efficiency=gemm_efficiency, gemm_rows=gemm_rows,
        dequantize_rows=dequantize_rows,
    )  # fmt: skip
    client: dict[str, Any] = {
        "users": users,
        "in_flight": in_flight,
        "cached_prefix": cached_prefix,
        "plot": plot,
        "entries": entries,
    }
    _check_server(gpu, model, options | {name: value for name, value in client.items() if value is not None})
    slo = objectives(slo_ttft, slo_tpot, slo_e2e)
    from ..files.reading import given_file
    from ..files.writing import check_output
    from ..loadtest import SUMMARY_FORMATS, compare, metrics, read, recognize, report, write
    from ..loadtest.comparison import prepared
    from ..loadtest.streams import SeveralRuns

    card, entry = own_gpu(gpu, entries) if gpu else None, own_model(model, entries) if model else None
    for path in filter(None, (output, plot)):
        check_output(path)
    file = given_file(file)  # a pipe's is read once
    of_one = {"--run": run, "--window": window, "--slo-ttft": slo_ttft, "--slo-tpot": slo_tpot, "--slo-e2e": slo_e2e}
    asked = [name for name, value in of_one.items() if value is not None] + ["--gpu"] * bool(gpu)
    named = _named(column or [])
    with meant_for("loadtest", file):
        format = format or (None if named else recognize(file))
    if format in SUMMARY_FORMATS and named is None:
        _runs(file, format, output, plot, asked, "only a summary, without requests to hold it against")
        return
    try:
        table = read(file, format, run=run, columns=named)
    except SeveralRuns as several:
        _runs(file, format, output, plot, asked, f"{several.runs} runs: --run 0 to --run {several.runs - 1} shows one")
        return
    ds = metrics(table, window=window, slo=slo)
    client |= {"window": window, "cached_prefix": cached_prefix or 0}
    if card and entry:
        prepared(table, card, entry, client, options)  # refuses what cannot be compared
    elif plot:
        raise ValueError("--plot goes with --gpu and --model, the server to simulate, or with several runs")
    if output:
        write(table, output)
    tell(table.attrs["warnings"])
    typer.echo(f"{len(table):,} requests ({table.attrs['format']}){f' in {output}' if output else ''}")
    typer.echo(report(ds))
    if card is None or entry is None:
        return
    from ..serving.text_tables import folded

    with interruptible("nothing of the comparison is kept"):
        found = compare(
            table, card, entry, users=users, in_flight=in_flight,
            cached_prefix=cached_prefix or 0, window=window, progress=True, **options,
        )  # fmt: skip
    width = terminal_width()
    typer.echo("\n" + "\n".join(folded(line, width) for line in found.report().split("\n")))
    if plot:
        _draw(found, plot)


def _named(columns: list[str]) -> dict[str, str] | None:
    """What `--column` says, None where nothing."""
    found = dict[str, str]()
    for text in columns:
        what, sign, name = text.partition("=")
        if not sign or not name:
            raise ValueError(f"--column {text!r}: expected what it is and its name, e.g. ttft=TTFT_ms:ms")
        if what in found:
            raise ValueError(f"--column {text!r}: {what} is {found[what]!r} already: give each once")
        found[what] = name
    return found or None


def _runs(file: Path, format: str | None, output: Path | None, plot: Path | None, asked: list[str], what: str) -> None:
    """Print the runs of a file, and write and draw them where asked to."""
    from ..files.writing import write_table
    from ..loadtest import report_runs, runs

    if asked:
        raise ValueError(f"{file}: {what}; {asked[0]} goes with the requests of one run")
    table = runs(file, format)
    if output:
        write_table(table, output)
    tell(table.attrs["warnings"])
    typer.echo(f"{table.attrs['format']}: {what}{f'; in {output}' if output else ''}")
    typer.echo(report_runs(table))
    if plot:
        _draw_runs(table, plot)


def _check_server(gpu: str | None, model: str | None, options: dict[str, Any]) -> None:
    """Raise ValueError where a server is named by half, or has options without a name."""
    if plot := options.pop("plot", None):  # of a sweep without a server
        check_picture(plot)
    if (gpu is None) != (model is None):
        missing, given = ("--model", "--gpu") if model is None else ("--gpu", "--model")
        raise ValueError(f"{missing} is missing: the simulated server needs it besides {given}")
    if gpu is None and options:
        name = "--" + next(iter(options)).replace("_", "-")
        raise ValueError(f"{name} goes with --gpu and --model, the server to simulate")


def _draw_runs(table: "pd.DataFrame", path: Path) -> None:
    """Latency over throughput of a sweep, written whole."""
    import numpy as np
    from matplotlib.figure import Figure

    from .. import plots
    from ..files.writing import write_chart
    from ..plots.load_curves import OVER

    latencies = [name for name in table if str(name).endswith(("_p50", "_mean"))]
    known = table[latencies].notna()
    statistic = "p50" if known.filter(like="_p50").any(axis=None) else "mean"
    drawn = known.filter(like=f"_{statistic}").any(axis=1)
    over = next((name for name in OVER if (np.isfinite(table[name]) & drawn).any()), "finished_rate")
    figure = Figure(figsize=(7, 5), layout="constrained")
    plots.load_curve(table, figure.subplots(), over=over, statistic=statistic)
    write_chart(figure, path)
    typer.echo(path)


def _draw(found: "Comparison", path: Path) -> None:
    """Both over time, written whole."""
    from matplotlib.figure import Figure

    from .. import plots
    from ..files.writing import write_chart

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, name in zip(axes, ("running", "waiting", "token_rate"), strict=True):
        plots.over_time(found.timeline, name, ax)
        ax.get_legend().remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    write_chart(figure, path)
    typer.echo(path)
