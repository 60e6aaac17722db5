"""Commands on one server: what it does for a batch, and what the requests of a workload see of it."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files.reading import given_file
from . import server_options as server
from .kinds import meant_for
from .options import (
    Entries,
    WeightDtype,
    integers,
    objectives,
    own_gpu,
    own_gpus,
    own_model,
    prices,
    tell,
    terminal_width,
)

if TYPE_CHECKING:
    from ..simulation import Workload


def estimate(
    model: Annotated[str, typer.Argument(help="Model, by name, config.json or its folder.")],
    gpu: Annotated[list[str], typer.Option("--gpu", help="GPUs by name or file, a,b; repeat.")],
    prompt: Annotated[int, typer.Option(min=1, help="Prompt of a request [token].")],
    output: Annotated[int, typer.Option("--output-tokens", min=1, help="Output of a request [token].")],
    tp: Annotated[list[str] | None, typer.Option(help="GPUs that share every layer, 1,2; repeat. Default: 1.")] = None,
    batch_size: Annotated[list[str] | None, typer.Option(help="Sequences at a time, 8,64; repeat. Default: 1.")] = None,
    price: Annotated[list[str] | None, typer.Option(help="GPU=PRICE of an hour; repeat.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of the prices, e.g. USD.")] = None,
    pp: server.Stages = None,
    ep: server.Experts = None,
    dp: server.Groups = None,
    network_gbs: server.Network = None,
    weight_dtype: WeightDtype = None,
    activation_dtype: server.Sixteen = None,
    kv_dtype: server.Cache = None,
    schedule: Annotated[str, typer.Option(help="'continuous' or 'static' batching.")] = "continuous",
    time_model: server.Time = None,
    draft: server.Guess = None,
    cached_prefix: server.Prefix = None,
    gpu_memory_utilization: server.Memory = None,
    max_num_seqs: server.Sequences = None,
    max_num_batched_tokens: server.BatchedTokens = None,
    max_model_len: server.Longest = None,
    engine: server.ServingEngine = None,
    entries: Entries = None,
    step_overhead: server.StepOverhead = None,
    sequence_overhead: server.SequenceOverhead = None,
    gemm_efficiency: server.Efficiency = None,
    gemm_rows: server.Rows = None,
    dequantize_rows: server.Dequantized = None,
    file: Annotated[Path | None, typer.Option("-o", "--output", help="Write all to FILE.csv or .parquet.")] = None,
) -> None:
    """What one replica does for a batch of requests: memory, latency, throughput, and what limits it.

    Exit status 1 where nothing fits.
    """
    from .. import serving
    from ..files.writing import write_table
    from ..serving import estimate_table as printed

    if currency and not price:
        raise ValueError(f"--currency {currency}: of no prices; give them by --price GPU=PRICE")
    options = server.given(
        engine, draft, entries, pp=pp, ep=ep, dp=dp, network_gbs=network_gbs, weight_dtype=weight_dtype,
        activation_dtype=activation_dtype, kv_dtype=kv_dtype,
        time_model=time_model, cached_prefix=cached_prefix, gpu_memory_utilization=gpu_memory_utilization,
        max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens, max_model_len=max_model_len,
        step_overhead=step_overhead, sequence_overhead=sequence_overhead, gemm_efficiency=gemm_efficiency,
        gemm_rows=gemm_rows, dequantize_rows=dequantize_rows,
    )  # fmt: skip
    ds = serving.estimate(
        own_gpus(gpu, entries), own_model(model, entries), integers("--batch-size", batch_size) or 1, prompt,
        output, integers("--tp", tp) or 1, price=prices(price, entries), schedule=schedule, **options,
    )  # fmt: skip
    table = printed.estimate_rows(ds)
    if file:
        write_table(table, file, (".csv", ".parquet"))
    typer.echo(printed.estimate_text(ds, width=terminal_width(), currency=currency))
    if not ds.fits.any():
        raise typer.Exit(1)


def simulate(
    model: Annotated[str, typer.Argument(help="Model, by name, config.json or its folder.")],
    gpu: Annotated[str, typer.Option("--gpu", help="GPU, by name or file.")],
    rate: Annotated[float | None, typer.Option(help="Requests a second.")] = None,
    users: Annotated[int | None, typer.Option(help="Users, each with one request at a time.")] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="A load test, or a workload of Azure, BurstGPT, Mooncake or Vidur, to send again."),
    ] = None,
    arrivals: Annotated[str | None, typer.Option(help="With --rate: 'poisson', the default, or 'bursty'.")] = None,
    prompt: Annotated[int | None, typer.Option(min=1, help="Prompt of a request [token].")] = None,
    output: Annotated[int | None, typer.Option("--output-tokens", min=1, help="Output of a request [token].")] = None,
    requests: Annotated[int | None, typer.Option(help="How many. Default: 1000.")] = None,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
    slo_ttft: Annotated[str | None, typer.Option(help="Objective for the time to first token, e.g. 500ms.")] = None,
    slo_tpot: Annotated[str | None, typer.Option(help="Objective for the time per output token, e.g. 40ms.")] = None,
    tp: Annotated[int, typer.Option(help="GPUs that share every layer.")] = 1,
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
    max_num_seqs: server.Sequences = None,
    max_num_batched_tokens: server.BatchedTokens = None,
    max_model_len: Annotated[
        int | None, typer.Option(help="Longest prompt and output; default: the workload's.")
    ] = None,
    engine: server.ServingEngine = None,
    entries: Entries = None,
    step_overhead: server.StepOverhead = None,
    sequence_overhead: server.SequenceOverhead = None,
    gemm_efficiency: server.Efficiency = None,
    gemm_rows: server.Rows = None,
    dequantize_rows: server.Dequantized = None,
    file: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the requests to FILE.csv or .parquet.")
    ] = None,
) -> None:
    """Simulate a server under load: its requests as a load test has them, in sum and one by one."""
    from .. import loadtest, simulation
    from ..files.writing import check_output, write_table
    from ..kernels.unknowns import joined
    from ..servers import memory
    from ..servers.replica import beyond_context, host_assumed
    from ..serving.text_tables import assumed_lines

    options = server.given(
        engine, draft, entries, pp=pp, ep=ep, dp=dp, network_gbs=network_gbs, weight_dtype=weight_dtype,
        activation_dtype=activation_dtype, kv_dtype=kv_dtype,
        time_model=time_model, gpu_memory_utilization=gpu_memory_utilization, max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens, step_overhead=step_overhead,
        sequence_overhead=sequence_overhead, gemm_efficiency=gemm_efficiency, gemm_rows=gemm_rows,
        dequantize_rows=dequantize_rows,
    )  # fmt: skip
    slo = objectives(slo_ttft, slo_tpot)
    if file:
        check_output(file)
    load = _load(rate, users, trace, arrivals, prompt, output, requests, cached_prefix, seed)
    longest = int((load.prompt_tokens + load.output_tokens).max()) if max_model_len is None else max_model_len
    replica = simulation.Server(
        own_gpu(gpu, entries), own_model(model, entries), tp=tp, max_model_len=longest, kv_tokens="fit", **options
    )
    with warnings.catch_warnings(action="ignore"):  # told below
        table = simulation.simulate(replica, load, progress=True)
    if file and file.suffix == ".csv":
        loadtest.write(table, file)
    elif file:
        write_table(table, file, (".csv", ".parquet"))
    tell(table.attrs["warnings"])
    assumed = joined([memory.assumed(replica), *beyond_context(replica.model, longest), host_assumed(replica)])
    typer.echo(f"{replica.model.id} on {replica.gpu.id}: {replica.formats}.")
    typer.echo(f"{len(table):,} requests (simulated){f' in {file}' if file else ''}")
    typer.echo(loadtest.report(loadtest.metrics(table, slo=slo)))
    counts = table.attrs["engine"]
    typer.echo(f"engine      {counts['steps']:>8,} steps, busy {100 * counts['busy'] / counts['duration']:.1f} %;"
               f" {counts['preemptions']:,} preemptions;"
               f" KV cache filled to {100 * counts['peak_kv_blocks'] / counts['kv_blocks']:.1f} %")  # fmt: skip
    for line in assumed_lines(assumed):
        typer.echo(line)


def _load(
    rate: float | None, users: int | None, trace: Path | None, arrivals: str | None, prompt: int | None,
    output: int | None, requests: int | None, cached_prefix: int | None, seed: int,
) -> "Workload":  # fmt: skip
    """The workload that the options name."""
    from .. import simulation
    from ..common.arguments import one_of
    from ..serving.confirmation import ARRIVALS, BURSTINESS

    if sum(each is not None for each in (rate, users, trace)) != 1:
        raise ValueError("give one of --rate (requests a second), --users (a closed loop) and --trace FILE")
    if trace is not None:
        taken = {
            "--prompt": prompt, "--output-tokens": output, "--requests": requests, "--cached-prefix": cached_prefix,
            "--arrivals": arrivals,
        }  # fmt: skip
        if wrong := [name for name, value in taken.items() if value is not None]:
            raise ValueError(f"{wrong[0]} goes with --rate or --users: a trace has its own")
        with meant_for("simulate", trace := given_file(trace)):
            return server.recorded(trace)
    for name, tokens in (("--prompt", prompt), ("--output-tokens", output)):
        if tokens is None:
            raise ValueError(f"{name} is missing: tokens of a request, or give --trace FILE")
    many = 1000 if requests is None else requests
    sizes: dict[str, Any] = {"prompt": prompt, "output": output, "requests": many, "cached": cached_prefix or 0}
    if users is not None:
        if arrivals is not None:
            raise ValueError("--arrivals goes with --rate: users send when their last request has ended")
        return simulation.closed_loop(users, seed=seed, **sizes)
    assert rate is not None
    if one_of("--arrivals", arrivals or "poisson", ARRIVALS) == "bursty":
        return simulation.bursty(rate, burstiness=BURSTINESS, seed=seed, **sizes)
    return simulation.poisson(rate, seed=seed, **sizes)
