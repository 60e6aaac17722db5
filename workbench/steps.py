"""One step of a serving engine: the time of every operator for a batch of prompts, chunks of prompts and decodes.

A `Server` says what runs the model; a step is one forward pass over the tokens of all its sequences. Linear operators
take these tokens together, attention takes each sequence with its own context.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from . import parallel
from .axes import check_range, is_number, is_whole
from .catalog import GPU, Model
from .catalog import gpu as find_gpu
from .catalog import model as find_model
from .dtypes import WIDTH, element_bytes
from .formats import computes_in, formats, operand, widths
from .kernels import TIME_MODELS
from .names import unknown
from .operators import ATTENTION, OPERATORS, Cost, Options, Step, Widths, operator_set
from .sweep import LINK

Array = Any  # a number or a numpy array; all of them broadcast

#: Operators whose work depends on each sequence's own context; that of the others follows from the tokens.
BY_CONTEXT = (*ATTENTION, "kv_b_proj")
_ROUTED = ("moe_gate_up_proj", "moe_down_proj")


@dataclass(frozen=True)
class Server:
    """What runs one replica of a model.

    tp : GPUs that share every layer; pp : groups of them that each have some of the layers; ep : GPUs that each have
        some of the experts and everything else whole, with a share of the sequences (attention data parallel) [1]
    weight_dtype, activation_dtype, kv_dtype, lm_head_dtype, time_model, launch_latency [s] : as of `grid.roofline_grid`
    step_overhead, sequence_overhead : of the host, what the GPU waits for in every step, and for each sequence in it
        [s]
    gemm_efficiency : of kernels that widen their weights first (AWQ, GPTQ, fp8 weights with fp16 activations): they
        take the modelled time over this [1]
    gemm_rows : such a kernel widens all its weights again for every so many tokens of a step; None: once [token]
    dequantize_rows : from so many tokens on, the weights are widened to memory first, for an ordinary GEMM; None: never
        [token]

    gpu and model may be given as ids. The overheads and what widening costs are what a real server is calibrated by; by
    default it has none. Raises ValueError for an unknown name, a size that is no positive whole number or does not
    divide the model, and numbers out of their range.
    """

    gpu: GPU
    model: Model
    tp: int = 1
    pp: int = 1
    ep: int = 1
    weight_dtype: str | None = None
    activation_dtype: str = "fp16"
    kv_dtype: str = "fp16"
    lm_head_dtype: str | None = None
    time_model: str = "kernel"
    launch_latency: float = 0.0
    step_overhead: float = 0.0
    sequence_overhead: float = 0.0
    gemm_efficiency: float = 1.0
    gemm_rows: int | None = None
    dequantize_rows: int | None = None

    def __post_init__(self) -> None:
        for name, kind, find in (("gpu", GPU, find_gpu), ("model", Model, find_model)):
            if not isinstance(given := getattr(self, name), kind):
                object.__setattr__(self, name, find(given))
        if not isinstance(self.time_model, str) or self.time_model not in TIME_MODELS:
            raise unknown("time_model", self.time_model, TIME_MODELS)
        for name in ("tp", "pp", "ep", "gemm_rows", "dequantize_rows"):
            size = getattr(self, name)
            if not (is_whole(size) and size >= 1) and not (size is None and name in ("gemm_rows", "dequantize_rows")):
                raise ValueError(f"{name} = {size!r}: allowed are whole numbers from 1")
        if self.pp > self.model.n_layers:
            raise ValueError(f"pp = {self.pp}: {self.model.id} has {self.model.n_layers} layers")
        if self.ep > 1 and not (self.model.moe and self.model.moe.n_experts % self.ep == 0):
            experts = f"{self.model.moe.n_experts} experts" if self.model.moe else "no experts"
            raise ValueError(f"ep = {self.ep} does not divide the experts of {self.model.id}, which has {experts}")
        if self.ep > 1 and self.tp * self.pp > 1:
            raise ValueError(f"ep = {self.ep} goes with tp = pp = 1: every GPU has the attention of its own sequences")
        for name in ("launch_latency", "step_overhead", "sequence_overhead"):
            check_range(name, getattr(self, name), 10, "seconds")
        if not is_number(self.gemm_efficiency) or not 1e-3 <= self.gemm_efficiency <= 10:
            raise ValueError(f"gemm_efficiency = {self.gemm_efficiency!r}: allowed are numbers from 0.001 to 10")
        for operator in operator_set(self.model, "fused"):
            self.gpu.peak_flop_rate(computes_in(operator, self.dtypes))

    @property
    def gpus(self) -> int:
        """GPUs of the replica [1]."""
        return self.tp * self.pp * self.ep

    @property
    def dtypes(self) -> dict[str, str]:
        """Number format of each kind of operand."""
        return formats(self.model, self.weight_dtype, self.activation_dtype, self.kv_dtype, self.lm_head_dtype)

    @property
    def shard(self) -> Model:
        """What one of the `tp` GPUs runs, of all layers."""
        return parallel.shard(self.model, self.tp)


class Work(NamedTuple):
    """One operator in one step, all its calls: time [s]; FLOPs and bytes on one GPU; bound."""

    time: Array
    flops: Array
    bytes: Array
    bound: Array


def step(server: Server, *pieces: Step) -> dict[str, Work]:
    """The operators of one step over the sequences of all `pieces`, each with its work on one GPU, in order.

    pieces : prompts, chunks of prompts over what is cached of them, decodes; their fields broadcast. A piece may have
        no sequences or no new tokens, the step may not

    With `pp` it is the pass of one micro-batch through all stages. What widening weights costs is in the time alone.
    """
    dtypes, card = server.dtypes, server.gpu
    works: dict[str, Work] = {}
    for name, piece, cost, present in _costs(server, pieces):
        peak = card.peak_flop_rate(computes_in(name, dtypes))
        if _widens(name, dtypes):
            seconds = _widening_time(server, name, piece, peak)
        else:
            seconds = parallel.operator_time(card, cost, peak, server.time_model)
        seconds = cost.calls * (seconds + server.launch_latency)
        flops, moved = (np.where(present, cost.calls * amount, 0.0) for amount in (cost.flops, cost.bytes))
        bound = np.greater_equal(flops / peak, moved / card.bandwidth)
        bound = np.full_like(bound, LINK, dtype=np.int8) if cost.gpus > 1 else bound.astype(np.int8)
        work = Work(np.where(present, seconds, 0.0), flops, moved, bound)
        works[name] = _sum(works[name], work) if name in works else work
    return works


def step_time(server: Server, *pieces: Step) -> Array:
    """Time of one step [s], the host's overhead and the hand-over between pipeline stages included."""
    return sum(work.time for work in step(server, *pieces).values()) + overhead(server, *pieces)


def overhead(server: Server, *pieces: Step) -> Array:
    """What a step takes besides its operators [s]: the host, and sends of the activations between stages."""
    own = _own(server, pieces)
    sequences = sum(np.where(np.greater(piece.new_tokens, 0), piece.sequences, 0) for piece in own)
    host = server.step_overhead + server.sequence_overhead * sequences
    if server.pp == 1:
        return host
    tokens = sum(piece.tokens for piece in pieces)
    moved = tokens * server.model.hidden_size * element_bytes(server.activation_dtype)
    send = parallel.send_time(server.gpu, bytes_=moved, gpus=server.gpus, time_model=server.time_model)
    return host + (server.pp - 1) * send


def prefill_piece(sequences: Array, new_tokens: Array, cached: Array = 0) -> Step:
    """Prompts, or chunks of them, after `cached` tokens that the cache has already: one row of logits a sequence."""
    return Step(sequences, new_tokens, cached + new_tokens, cached)


def model_computing(server: Server, *pieces: Step) -> Array:
    """Time that the model's own FLOPs would take at their peaks on one GPU, without copies or collectives [s]."""
    alone = replace(server, tp=1, pp=1, ep=1)
    return sum(
        np.where(present, cost.calls * cost.flops, 0.0) / server.gpu.peak_flop_rate(computes_in(name, alone.dtypes))
        for name, _, cost, present in _costs(alone, pieces)
    )


def _costs(server: Server, pieces: tuple[Step, ...]) -> Iterator[tuple[str, Step, Cost, Array]]:
    """Every operator with what it works on, its cost on one GPU, and where there is such work.

    Those of `BY_CONTEXT` come once for every piece.
    """
    model, width = server.shard, widths(server.model, server.dtypes)
    whole = _together(pieces)
    pieces = _own(server, pieces)
    together = _together(pieces)
    for name in operator_set(model, "fused"):
        steps = pieces if name in BY_CONTEXT else (whole if name in _ROUTED else together,)
        for each in steps:
            present = np.greater(each.tokens, 0)
            piece = _filled(each, present)
            yield name, piece, _cost(server, name, piece, width), present
    for name, collective in (
        ("all_reduce", parallel.all_reduce(model, together, width, server.tp)),
        ("all_to_all", parallel.all_to_all(model, together, width, server.ep)),
    ):
        if collective is not None:
            yield name, together, collective, True


def _cost(server: Server, name: str, piece: Step, width: Widths) -> Cost:
    """Cost of an operator that the model has, on one GPU."""
    cost = OPERATORS[name](server.shard, piece, width, Options())
    assert cost is not None
    return parallel.spread(cost, server.ep) if name in _ROUTED else cost


def _own(server: Server, pieces: tuple[Step, ...]) -> tuple[Step, ...]:
    """The share of the sequences that each of `ep` GPUs has."""
    if server.ep == 1:
        return pieces
    return tuple(replace(piece, sequences=np.ceil(piece.sequences / server.ep)) for piece in pieces)


def _together(pieces: tuple[Step, ...]) -> Step:
    """All tokens of a step as one batch of single tokens, for the operators that see no sequences."""
    tokens = sum(piece.tokens for piece in pieces)
    rows = sum(np.where(np.greater(piece.new_tokens, 0), piece.sequences * piece.logits, 0) for piece in pieces)
    return Step(tokens, 1, 1, 0, rows / tokens)


def _filled(piece: Step, present: Array) -> Step:
    """The piece with one token where it has none, so that every time is finite."""
    if np.all(present):
        return piece
    return Step(
        np.where(present, piece.sequences, 1), np.where(present, piece.new_tokens, 1),
        np.where(present, piece.context, 1), np.where(present, piece.cached, 0), piece.logits,
    )  # fmt: skip


def _sum(a: Work, b: Work) -> Work:
    return Work(
        a.time + b.time, a.flops + b.flops, a.bytes + b.bytes,
        np.where(np.greater(b.time, a.time), b.bound, a.bound),
    )  # fmt: skip


def _widens(operator: str, dtypes: dict[str, str]) -> bool:
    """Whether an operator's kernel widens its weights: they are stored narrower than it computes.

    Not `kv_b_proj`, which vLLM widens when it loads it; collectives have no weights.
    """
    if operator in BY_CONTEXT or operator not in OPERATORS:
        return False
    stored = operand(operator)
    narrow = element_bytes(dtypes[stored]) < WIDTH[computes_in(operator, dtypes)]
    return narrow and stored in ("weight", "experts", "lm_head")


def _widening_time(server: Server, name: str, piece: Step, peak_flop_rate: Array) -> Array:
    """Time of one call of a kernel that widens its weights [s].

    Over more than `gemm_rows` it takes as long as that many do, for each such part. From `dequantize_rows` on, an
    ordinary GEMM follows a kernel that reads the weights as stored and writes them in the activations' width.
    """
    width = widths(server.model, server.dtypes)
    rows = piece.tokens * (piece.logits if name == "lm_head" else 1)
    part = np.minimum(rows, server.gemm_rows or np.inf)

    def run(rows: Array, width: Widths) -> tuple[Array, Array]:
        cost = _cost(server, name, Step(rows, 1, 1, 0), width)
        seconds = parallel.operator_time(server.gpu, cost, peak_flop_rate, server.time_model)
        return seconds, cost.bytes - cost.activations

    parts = np.ceil(rows / part - 1e-9)  # rows of logits are whole but for rounding
    seconds = parts * run(part, width)[0] / server.gemm_efficiency
    if server.dequantize_rows is None:
        return seconds
    wide = replace(width, weight=width.activation, experts=width.activation, lm_head=width.activation)
    ordinary, written = run(rows, wide)
    widening = (run(rows, width)[1] + written) / server.gpu.bandwidth
    return np.where(rows >= server.dequantize_rows, widening + ordinary, seconds)
