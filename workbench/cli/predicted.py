"""Commands on kernels as predicted: a grid of roofs and times, the explorer's page."""

from pathlib import Path
from typing import Annotated

import typer

from ..common.progress import progress_bar
from .options import (
    CORES,
    ActivationDtype,
    Entries,
    KvDtype,
    Scheduler,
    TimeModel,
    WeightDtype,
    chosen,
    integers,
    interruptible,
    names,
    own_gpus,
    own_model,
    workers,
)


def grid(
    output: Annotated[Path, typer.Option("-o", "--output", help="FILE.zarr, .nc, .csv or .parquet")],
    gpu: Annotated[list[str], typer.Option("--gpu", help="GPUs by name or file, a,b; repeat.")],
    model: Annotated[
        list[str], typer.Option("--model", help="Models by name, config.json or its folder, a,b; repeat.")
    ],
    operator: Annotated[list[str] | None, typer.Option(help="'fused', 'unfused', or operators, a,b; repeat.")] = None,
    phase: Annotated[list[str] | None, typer.Option(help="prefill,decode; repeat.")] = None,
    batch_size: Annotated[list[str] | None, typer.Option(help="1,2,4 or 1:128; repeat. Default: 1.")] = None,
    seq_len: Annotated[list[str] | None, typer.Option(help="128,1024 or 64:8192:64; repeat. Default: 1024.")] = None,
    candidates: Annotated[list[str] | None, typer.Option(help="Candidate counts, 1,16; repeat.")] = None,
    tp: Annotated[list[str] | None, typer.Option(help="GPUs that share every layer, 1,2,4; repeat.")] = None,
    weight_dtype: WeightDtype = None,
    activation_dtype: ActivationDtype = None,
    kv_dtype: KvDtype = None,
    lm_head_dtype: Annotated[str | None, typer.Option()] = None,
    causal: Annotated[bool | None, typer.Option("--causal/--no-causal", help="Credit for the causal mask.")] = None,
    logits: Annotated[str, typer.Option(help="Of a prompt's 'last' token or of 'all'.")] = "last",
    scores: Annotated[str | None, typer.Option(help="Attention scores through 'memory' or on 'chip'.")] = None,
    time_model: TimeModel = "ideal",
    launch_latency: Annotated[float, typer.Option(help="Seconds added to every kernel call.")] = 0.0,
    engine: Annotated[
        str | None, typer.Option(help="Whose kernels 'kernel' times are of, such as 'vllm', the default.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="'float64' or 'float32'.")] = "float64",
    variable: Annotated[
        list[str] | None, typer.Option(help="Write only these of flops,bytes,...,bound; repeat.")
    ] = None,
    chunk: Annotated[int | None, typer.Option(help="Cells computed at a time, at most.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Chunks at a time.")] = CORES,
    scheduler: Scheduler = None,
    entries: Entries = None,
) -> None:
    """Compute a roofline grid, of any size, and write it to a file with a manifest; run it again to resume it."""
    from .. import store
    from ..catalog import engines
    from ..grid.dataset import grid_assumptions
    from ..grid.sweep import COSTS, RATES, checked
    from ..operators.cost import PHASES
    from ..serving.text_tables import assumed_lines

    with interruptible("finished chunks are kept, run again to go on"), workers(scheduler) as pool:
        sweep = checked(
            own_gpus(gpu, entries), [own_model(name, entries) for name in names(model)], names(operator) or None,
            names(phase) or PHASES,
            integers("--batch-size", batch_size) or 1, integers("--seq-len", seq_len) or 1024,
            candidates=integers("--candidates", candidates), tp=integers("--tp", tp), weight_dtype=weight_dtype,
            activation_dtype=activation_dtype, kv_dtype=kv_dtype, lm_head_dtype=lm_head_dtype, causal=causal,
            logits=logits, scores=chosen("scores", scores, "memory", "chip"), time_model=time_model,
            launch_latency=launch_latency, engine=chosen("engine", engine, *engines()), dtype=dtype,
        )  # fmt: skip
        with progress_bar("chunks") as progress:
            store.write(
                sweep, output, names=names(variable) or (*COSTS, *RATES), chunks="auto" if chunk is None else chunk,
                executor=pool, jobs=jobs, report=progress,
            )  # fmt: skip
    typer.echo(f"{output}: {', '.join(f'{n} {dim}' for dim, n in zip(sweep.coords, sweep.shape, strict=True))}")
    for name, formats in sweep.formats.items():
        typer.echo(f"{name}: {formats}.")
    for line in assumed_lines(grid_assumptions(sweep)):
        typer.echo(line)


def explore(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of 127.0.0.1.")] = 8866,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    measured: Annotated[
        Path | None, typer.Option("--measured", help="Timings or a load test to show beside the prediction.")
    ] = None,
) -> None:
    """Serve the explorer as a web page of this machine; Ctrl-C ends it."""
    from ..explorer.website import serve

    serve(port=port, browser=browser, measured=measured)
