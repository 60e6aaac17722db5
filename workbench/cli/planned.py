"""The command that plans: which GPUs, and how many, for a workload and a service level."""

from pathlib import Path
from typing import Annotated

import typer

from . import server_options as server
from .options import (
    LONG_TPOT,
    LONG_TTFT,
    Entries,
    WeightDtype,
    integers,
    own_gpus,
    own_model,
    prices,
    seconds,
    terminal_width,
)


def plan(
    model: Annotated[str, typer.Argument(help="Model, by name, config.json or its folder.")],
    prompt: Annotated[int | None, typer.Option(min=1, help="Prompt of a request [token].")] = None,
    output: Annotated[int | None, typer.Option("--output-tokens", min=1, help="Output of a request [token].")] = None,
    ttft: Annotated[str | None, typer.Option(help="Longest time to first token, e.g. 500ms or 1.5s.")] = None,
    tpot: Annotated[str | None, typer.Option(help="Longest time per output token after it, e.g. 40ms.")] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", "--request-rate", help="Requests a second; finds the replicas that it takes."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", help="GPUs that there are; finds the rate that they take.")
    ] = None,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", help="GPUs by name or file, a,b; repeat. Default: all, or the priced.")
    ] = None,
    tp: Annotated[
        list[str] | None, typer.Option(help="GPUs that share every layer, 1,2; repeat. Default: 1,2,4,8.")
    ] = None,
    batch_size: Annotated[
        list[str] | None, typer.Option(help="8,64; repeat. Default: powers of two up to 256.")
    ] = None,
    arrivals: Annotated[
        str, typer.Option(help="'poisson', 'bursty', or FILE, a recorded load test whose requests come again.")
    ] = "poisson",
    percentile: Annotated[float, typer.Option(help="Percent of the requests that must keep each limit.")] = 95.0,
    utilization: Annotated[
        float, typer.Option(help="Share of its throughput that a replica is loaded to at most.")
    ] = 1.0,
    confirm: Annotated[int, typer.Option(help="Pairs of GPU and tp that are simulated until they hold; 0: none.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the simulated arrivals.")] = 0,
    price: Annotated[list[str] | None, typer.Option(help="GPU=PRICE of an hour; repeat. Default: GPU-hours.")] = None,
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
    rows: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    most_gpus: Annotated[int, typer.Option(min=1, help="Rows of more GPUs are not printed.")] = 64,
    file: Annotated[Path | None, typer.Option("-o", "--output", help="Write all rows to FILE.csv or .parquet.")] = None,
) -> None:
    """Plan capacity: GPU x tp x batch for a model, a workload and a service level, and why each loser loses.

    Exit status 1 where nothing meets the service level.
    """
    from ..files.writing import write_table
    from ..serving import capacity as planner
    from ..serving import plan_text
    from ..serving.verdicts import BEST

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
    hourly = prices(price, entries)
    priced = [each.rpartition("=")[0] for each in price or []]
    table = planner.plan(
        own_model(model, entries), prompt=prompt, output=output, ttft=seconds("--ttft", ttft, LONG_TTFT),
        tpot=seconds("--tpot", tpot, LONG_TPOT), request_rate=rate, gpus=gpus,
        gpu=own_gpus(gpu or priced, entries) or None,
        tp=integers("--tp", tp) or planner.TPS, batch_size=integers("--batch-size", batch_size) or planner.BATCH_SIZES,
        price=hourly, schedule=schedule, arrivals=server.arriving(arrivals), percentile=percentile,
        utilization=utilization, confirm=confirm, seed=seed, progress=True, **options,
    )  # fmt: skip
    if file:
        write_table(table, file, (".csv", ".parquet"))
    width = terminal_width()
    typer.echo(plan_text(table, rows, width=width, currency=currency, most_gpus=most_gpus))
    if not (table.verdict == BEST).any():
        raise typer.Exit(1)
