"""Options of a server, which `plan`, `estimate` and `simulate` have alike; what is not given is the engine's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files.reading import given_file
from .options import chosen, own_model

if TYPE_CHECKING:
    from ..serving import Draft
    from ..simulation import Workload

Stages = Annotated[int | None, typer.Option("--pp", help="Stages of a pipeline. Default: 1.")]
Experts = Annotated[int | None, typer.Option("--ep", help="GPUs with some of the experts each. Default: 1.")]
Groups = Annotated[int | None, typer.Option("--dp", help="Groups of tp GPUs that share the sequences.")]
Network = Annotated[
    float | None, typer.Option("--network-gbs", help="GB/s of each GPU between machines, where a replica passes one.")
]
Sixteen = Annotated[str | None, typer.Option("--activation-dtype", help="Format of the activations.")]
Cache = Annotated[str | None, typer.Option("--kv-dtype", help="Format of the KV cache.")]
Time = Annotated[str | None, typer.Option("--time-model", help="'kernel', the default, or 'ideal'.")]
ServingEngine = Annotated[
    str | None, typer.Option("--engine", help="vllm (default), sglang, trtllm, pytorch; 'none': the kernels alone.")
]
Memory = Annotated[
    float | None,
    typer.Option("--gpu-memory-utilization", help="Share of the memory that a server may use; default: the engine's."),
]
Sequences = Annotated[
    int | None, typer.Option("--max-num-seqs", help="Sequences in a step at most; default: the engine's.")
]
BatchedTokens = Annotated[
    int | None, typer.Option("--max-num-batched-tokens", help="Tokens in a step at most; default: the engine's.")
]
Longest = Annotated[
    int | None, typer.Option("--max-model-len", help="Longest prompt and output; default: the model's.")
]
Prefix = Annotated[int | None, typer.Option("--cached-prefix", help="Tokens of every prompt that the cache has.")]
Guess = Annotated[
    str | None,
    typer.Option("--draft", help="MODEL:DEPTH:ALPHA, mtp:DEPTH:ALPHA or medusa:CANDIDATES; ALPHA: chance of a token."),
]
StepOverhead = Annotated[
    float | None,
    typer.Option("--step-overhead", help="Seconds that the host adds to every step; default: the engine's."),
]
SequenceOverhead = Annotated[
    float | None,
    typer.Option("--sequence-overhead", help="Seconds that it adds for each sequence in one; default: the engine's."),
]
Efficiency = Annotated[
    float | None, typer.Option("--gemm-efficiency", help="Of weight-only kernels (AWQ): their speed over ours.")
]
Rows = Annotated[int | None, typer.Option("--gemm-rows", help="Tokens for which they unpack the weights once.")]
Dequantized = Annotated[
    int | None, typer.Option("--dequantize-rows", help="Tokens from which weights are unpacked first.")
]


def given(
    engine: str | None = None, draft: str | None = None, entries: Path | None = None, **options: Any
) -> dict[str, Any]:
    """The options of a server that were given, as `serving.estimate` takes them."""
    from ..catalog import engines

    found = {name: value for name, value in options.items() if value is not None}
    if engine is not None:
        found["engine"] = chosen("engine", engine, "none", *engines())
    if draft is not None:
        found["draft"] = guessing(draft, entries)
    return found


def guessing(text: str, entries: Path | None = None) -> "Draft":
    """The draft that `--draft` names."""
    from ..serving.draft_names import named_draft

    return named_draft(text, find=lambda name: own_model(name, entries), what="--draft")


def recorded(path: Path) -> "Workload":
    """The requests of a recorded load test, or of a workload in a format of its own, as a workload."""
    from ..loadtest import read, read_workload
    from ..loadtest.recorded import workload_format
    from ..simulation import trace

    path = given_file(path)  # a pipe's is read once
    return trace(read_workload(path) if workload_format(path) else read(path))


def arriving(given: str) -> "str | Workload":
    """What `--arrivals` names: one of the kinds, or what a file has."""
    from ..serving.confirmation import ARRIVALS

    if given in ARRIVALS or not Path(given).exists():
        return given
    return recorded(Path(given))
