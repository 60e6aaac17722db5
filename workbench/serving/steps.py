"""One step of a serving engine: the time of every operator for a batch of prompts, chunks of prompts and decodes.

A `Server` says what runs the model; a step is one forward pass over the tokens of all its sequences. Linear operators
take these tokens together, attention takes each sequence with its own context.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..catalog.dtypes import WIDTH, element_bytes
from ..common.arrays import Array
from ..common.variables import LINK
from ..kernels import collectives
from ..operators import parallel
from ..operators.cost import Conventions, Cost, Step, Widths
from ..operators.formats import computes_in, operand, widths
from ..operators.table import ATTENTION, OPERATORS, operator_set
from .replica import Replica

#: Operators whose work depends on each sequence's own context; that of the others follows from the tokens.
BY_CONTEXT = (*ATTENTION, "kv_b_proj")
_ROUTED = ("moe_gate_up_proj", "moe_down_proj")


class Work(NamedTuple):
    """One operator in one step, all its calls: time [s]; FLOPs and bytes on one GPU; bound."""

    time: Array
    flops: Array
    bytes: Array
    bound: Array


def step(server: Replica, *pieces: Step) -> dict[str, Work]:
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
            seconds = collectives.collective_or_kernel_time(card, cost, peak, server.time_model)
        seconds = cost.calls * (seconds + server.launch_latency)
        flops, moved = (np.where(present, cost.calls * amount, 0.0) for amount in (cost.flops, cost.bytes))
        bound = np.greater_equal(flops / peak, moved / card.bandwidth)
        bound = np.full_like(bound, LINK, dtype=np.int8) if cost.gpus > 1 else bound.astype(np.int8)
        work = Work(np.where(present, seconds, 0.0), flops, moved, bound)
        works[name] = _sum(works[name], work) if name in works else work
    return works


def step_time(server: Replica, *pieces: Step) -> Array:
    """Time of one step [s], the host's overhead and the hand-over between pipeline stages included."""
    return sum(work.time for work in step(server, *pieces).values()) + overhead(server, *pieces)


def overhead(server: Replica, *pieces: Step) -> Array:
    """What a step takes besides its operators [s]: the host, and sends of the activations between stages."""
    own = _own(server, pieces)
    sequences = sum(np.where(np.greater(piece.new_tokens, 0), piece.sequences, 0) for piece in own)
    host = server.step_overhead + server.sequence_overhead * sequences
    if server.pp == 1:
        return host
    tokens = sum(piece.tokens for piece in pieces)
    moved = tokens * server.model.hidden_size * element_bytes(server.activation_dtype)
    send = collectives.send_time(server.gpu, bytes_=moved, gpus=server.gpus, time_model=server.time_model)
    return host + (server.pp - 1) * send


def prefill_piece(sequences: Array, new_tokens: Array, cached: Array = 0) -> Step:
    """Prompts, or chunks of them, after `cached` tokens that the cache has already: one row of logits a sequence."""
    return Step(sequences, new_tokens, cached + new_tokens, cached)


def model_computing(server: Replica, *pieces: Step) -> Array:
    """Time that the model's own FLOPs would take at their peaks on one GPU, without copies or collectives [s]."""
    alone = replace(server, tp=1, pp=1, ep=1)
    return sum(
        np.where(present, cost.calls * cost.flops, 0.0) / server.gpu.peak_flop_rate(computes_in(name, alone.dtypes))
        for name, _, cost, present in _costs(alone, pieces)
    )


def _costs(server: Replica, pieces: tuple[Step, ...]) -> Iterator[tuple[str, Step, Cost, Array]]:
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


def _cost(server: Replica, name: str, piece: Step, width: Widths) -> Cost:
    """Cost of an operator that the model has, on one GPU."""
    cost = OPERATORS[name](server.shard, piece, width, Conventions())
    assert cost is not None
    return parallel.spread(cost, server.ep) if name in _ROUTED else cost


def _own(server: Replica, pieces: tuple[Step, ...]) -> tuple[Step, ...]:
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


def _widening_time(server: Replica, name: str, piece: Step, peak_flop_rate: Array) -> Array:
    """Time of one call of a kernel that widens its weights [s].

    Over more than `gemm_rows` it takes as long as that many do, for each such part. From `dequantize_rows` on, an
    ordinary GEMM follows a kernel that reads the weights as stored and writes them in the activations' width.
    """
    width = widths(server.model, server.dtypes)
    rows = piece.tokens * (piece.logits if name == "lm_head" else 1)
    part = np.minimum(rows, server.gemm_rows or np.inf)

    def run(rows: Array, width: Widths) -> tuple[Array, Array]:
        cost = _cost(server, name, Step(rows, 1, 1, 0), width)
        seconds = collectives.collective_or_kernel_time(server.gpu, cost, peak_flop_rate, server.time_model)
        return seconds, cost.bytes - cost.activations

    parts = np.ceil(rows / part - 1e-9)  # rows of logits are whole but for rounding
    seconds = parts * run(part, width)[0] / server.gemm_efficiency
    if server.dequantize_rows is None:
        return seconds
    wide = replace(width, weight=width.activation, experts=width.activation, lm_head=width.activation)
    ordinary, written = run(rows, wide)
    widening = (run(rows, width)[1] + written) / server.gpu.bandwidth
    return np.where(rows >= server.dequantize_rows, widening + ordinary, seconds)
