"""One step of a serving engine: the time of every operator for a batch of prompts, chunks of prompts and decodes.

A step is one forward pass over the tokens of all its sequences. Linear operators take these tokens together, attention
takes each sequence with its own context.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..catalog import Model
from ..catalog.dtypes import WIDTH, element_bytes
from ..common.arrays import Array
from ..common.variables import COMPUTE, MEMORY
from ..kernels import OperandFormats, bound, longest, machine_size, operator_time, timed
from ..kernels.unknowns import fit_of
from ..operators import COLLECTIVES, OPERATORS, PHASES, Conventions, Cost, Step, Widths, kernel_of
from ..operators.cost import WEIGHT_OPERANDS
from ..operators.parallel import spread_experts
from ..signatures import typed
from .exchange import between_stages, exchanges
from .replica import Replica


class Work(NamedTuple):
    """One operator in one step, all its calls on one GPU.

    Parameters
    ----------
    by_limit : tuple of ndarray
        Time of the calls that memory limits, compute, and the link [s].
    flops, bytes : ndarray
        [FLOP], [byte]
    computing : ndarray
        Time that the FLOPs alone would take at their peak [s].
    """

    by_limit: tuple[Array, Array, Array]
    flops: Array
    bytes: Array
    computing: Array

    @property
    def time(self) -> Array:
        """Time of all calls [s]."""
        return sum(self.by_limit)

    @property
    def bound(self) -> np.ndarray:
        """What limits it: where most of its time goes (`kernels.longest`)."""
        return longest(self.by_limit)


@typed()
def step(replica: Replica, *pieces: Step, own: tuple[Step, ...] | None = None) -> dict[str, Work]:
    """The operators of one step over the sequences of all `pieces`, each with its work on one GPU, in order.

    With `pp` it is the pass of one micro-batch through all stages. What widening weights costs is in the time alone.

    Parameters
    ----------
    replica : Replica
        What runs the model.
    *pieces : Step
        Prompts, chunks of prompts over what is cached of them, decodes; their fields broadcast. A piece may have no
        sequences or no new tokens, the step may not.
    own : tuple of Step, optional
        What of them the fullest of `dp` groups has; None: an even share of the sequences of each, rounded up.

    Returns
    -------
    dict of Work
        By operator, in the order of the forward pass.
    """
    works: dict[str, Work] = {}
    own = _own(replica, pieces) if own is None else own
    whole = _together(pieces)
    for name, piece, cost, present in _costs(replica, replica.shard, whole, own):
        peak = replica.peaks[name]
        if _widens(name, replica.formats):
            seconds = cost.calls * (_widening_time(replica, name, piece, peak) + replica.launch_latency)
        else:
            seconds = timed(replica.gpu, cost, peak, replica.timing, calls=cost.calls)
        flops, moved = (_where(present, cost.calls * amount) for amount in (cost.flops, cost.bytes))
        limited = _by_limit(replica, cost, peak, _where(present, seconds))
        work = Work(limited, flops, moved, flops / peak)
        works[name] = _sum(works[name], work) if name in works else work
    for name, cost, seconds in exchanges(replica, _together(own) if replica.dp_ranks > 1 else whole, whole):
        works[name] = Work((0.0, 0.0, seconds), cost.calls * cost.flops, cost.calls * cost.bytes, 0.0 * seconds)
    return works


@typed()
def step_time(replica: Replica, *pieces: Step, own: tuple[Step, ...] | None = None) -> Array:
    """Time of one step, including the host's overhead and the hand-over between pipeline stages.

    Parameters
    ----------
    replica, *pieces, own
        As for `step`.

    Returns
    -------
    float or ndarray
        With the dims of the pieces, broadcast [s].
    """
    kernels = sum(work.time for work in step(replica, *pieces, own=own).values())
    return kernels + overhead(replica, kernels, *pieces, own=own)


def overhead(replica: Replica, kernels: Array, *pieces: Step, own: tuple[Step, ...] | None = None) -> Array:
    """What a step takes besides its operators, whose time is `kernels` [s]: the host, and sends between stages."""
    calibration = replica.calibration
    host: Array = calibration.step_overhead
    own = _own(replica, pieces) if own is None else own
    if calibration.sequence_overhead:
        sequences = sum(np.where(np.greater(piece.new_tokens, 0), piece.sequences, 0) for piece in own)
        host = host + calibration.sequence_overhead * sequences
    if calibration.launching:
        host = np.maximum(host, calibration.launching - kernels)
    return host if replica.pp == 1 else host + between_stages(replica, _together(own))


def prefill_piece(sequences: Array, new_tokens: Array, cached: Array = 0) -> Step:
    """Prompts, or chunks of them, after `cached` tokens that the cache has already: one row of logits a sequence."""
    return Step(sequences, new_tokens, cached + new_tokens, cached)


def model_computing(replica: Replica, *pieces: Step) -> Array:
    """Time that the model's own FLOPs would take at their peaks on one GPU, without copies or collectives [s]."""
    alone = replace(replica, tp=1, pp=1, ep=1, dp=1, redundant_experts=0, expert_skew=0.0)
    return sum(
        _where(present, cost.calls * cost.flops) / alone.peaks[name]
        for name, _, cost, present in _costs(alone, alone.model, _together(pieces), pieces)
    )


def _costs(
    replica: Replica, shard: Model, whole: Step, pieces: tuple[Step, ...]
) -> Iterator[tuple[str, Step, Cost, Array]]:
    """Every operator with what it works on, its cost on one GPU, and where there is such work.

    Of a group's own pieces, those that see each sequence's context come once for every piece; experts see the whole.
    """
    widths = replica.formats.widths
    together = _together(pieces) if replica.dp_ranks > 1 else whole
    logits = _logits(pieces)
    for name in replica.operators:
        operator = OPERATORS[name]
        by_sight = {"context": pieces, "sequences": (logits,), "tokens": (whole if operator.routed else together,)}
        for each in by_sight[operator.sees]:
            present = np.greater(each.tokens, 0)
            piece = _filled(each, present)
            yield name, piece, _cost(replica, shard, name, piece, widths), present


def _cost(replica: Replica, shard: Model, name: str, piece: Step, widths: Widths) -> Cost:
    """Cost of an operator that the model has, on one GPU."""
    cost = OPERATORS[name](shard, piece, widths, Conventions(expert_spread=replica.expert_spread))
    assert cost is not None
    cost = replace(cost, format=replica.formats.kernel_format(name))
    if not OPERATORS[name].routed or (replica.ep == 1 and not replica.expert_skew):
        return cost
    skew, copies = replica.expert_skew, replica.redundant_experts
    everywhere = replica.dp_ranks == 1
    return spread_experts(
        cost, replica.ep, skew=skew, copies=copies, spread=replica.expert_spread, everywhere=everywhere
    )


def _own(replica: Replica, pieces: tuple[Step, ...]) -> tuple[Step, ...]:
    """The share of the sequences that the fullest of `dp` groups has."""
    if replica.dp_ranks == 1:
        return pieces
    return tuple(replace(piece, sequences=np.ceil(piece.sequences / replica.dp_ranks)) for piece in pieces)


def _together(pieces: tuple[Step, ...]) -> Step:
    """All tokens of a step as one batch of single tokens, for the operators that see no sequences."""
    return Step(sum(piece.tokens for piece in pieces), 1, 1, 0)


def _logits(pieces: tuple[Step, ...]) -> Step:
    """All positions of a step whose logits are computed, as one batch of single tokens."""
    rows = [np.where(np.greater(piece.new_tokens, 0), piece.sequences * piece.logits, 0) for piece in pieces]
    return Step(sum(rows), 1, 1, 0)


def _filled(piece: Step, present: Array) -> Step:
    """The piece with one token where it has none, so that every time is finite."""
    if np.all(present):
        return piece
    return Step(
        np.where(present, piece.sequences, 1), np.where(present, piece.new_tokens, 1),
        np.where(present, piece.context, 1), np.where(present, piece.cached, 0), piece.logits,
    )  # fmt: skip


def _where(present: Array, amount: Array) -> Array:
    """An amount where there is work, 0 elsewhere."""
    return amount if np.all(present) else np.where(present, amount, 0.0)


def _by_limit(replica: Replica, cost: Cost, peak: Array, seconds: Array) -> tuple[Array, Array, Array]:
    """Time of calls by what limits each: memory or compute, and none that the link does."""
    limit = bound(cost.flops / cost.bytes, peak / replica.gpu.bandwidth)
    return np.where(limit == MEMORY, seconds, 0.0), np.where(limit == COMPUTE, seconds, 0.0), 0.0


def _sum(a: Work, b: Work) -> Work:
    memory, compute, link = (x + y for x, y in zip(a.by_limit, b.by_limit, strict=True))
    return Work((memory, compute, link), a.flops + b.flops, a.bytes + b.bytes, a.computing + b.computing)


def _widens(operator: str, formats: OperandFormats) -> bool:
    """Whether an operator's kernel widens its weights: they are stored narrower than it computes.

    Not `kv_b_proj`, which vLLM widens when it loads it; collectives have no weights.
    """
    if operator not in OPERATORS or OPERATORS[operator].sees == "context":
        return False
    if OPERATORS[operator].operand not in WEIGHT_OPERANDS:
        return False
    return element_bytes(formats.stored(operator)) < WIDTH[formats.computes_in(operator)]


def _widening_time(replica: Replica, name: str, piece: Step, peak_flop_rate: Array) -> Array:
    """Time of one call of a kernel that widens its weights [s].

    More than `gemm_rows` take as long as parts of that size, one after another. From `dequantize_rows` on, an ordinary
    GEMM follows a kernel that reads the weights as stored and writes them in the activations' width.
    """
    calibration, widths = replica.calibration, replica.formats.widths
    rows = piece.tokens
    part = np.minimum(rows, calibration.gemm_rows or np.inf)

    def run(rows: Array, widths: Widths) -> tuple[Array, Array]:
        cost = _cost(replica, replica.shard, name, Step(rows, 1, 1, 0), widths)
        cost = replace(cost, row_tiles=calibration.gemm_rows is not None)
        seconds = operator_time(
            replica.gpu, cost, peak_flop_rate, replica.time_model, engine=replica.timing.engine,
            fused=replica.timing.fused,
        )  # fmt: skip
        return seconds, cost.bytes - cost.activations

    parts = np.ceil(rows / part - 1e-9)  # an even share of a prompt's rows is whole but for rounding
    seconds = parts * run(part, widths)[0] / calibration.gemm_efficiency
    if calibration.dequantize_rows is None:
        return seconds
    own: dict[str, Any] = {OPERATORS[name].operand: widths.of(OPERATORS[name].operand).activation}
    wide = replace(widths, **own)
    ordinary, written = run(rows, wide)
    widening = (run(rows, widths)[1] + written) / replica.gpu.bandwidth
    return np.where(rows >= calibration.dequantize_rows, widening + ordinary, seconds)


#: Share of a phase's time whose fits' errors have to be known, for an error to be expected of all of it [%].
KNOWN_SHARE = 75.0


def expected_errors(replica: Replica, shares: dict[str, np.ndarray]) -> list[Array]:
    """By phase, the errors of the fits that its operators go by, weighted by their shares of its time [%].

    NaN where less than `KNOWN_SHARE` of the time is by fits whose errors are known on that GPU.
    """
    errors: list[Array] = []
    for p, phase in enumerate(PHASES):
        weight = total = np.zeros(np.shape(next(iter(shares.values()))[p]))
        for name, share in shares.items():
            if name not in OPERATORS and name not in COLLECTIVES:
                continue
            form = replica.formats.kernel_format(name) if name in OPERATORS else "bf16"
            taking = replica.tp if name == "all_reduce" else replica.tp * replica.dp_ranks
            kernel, gpus = kernel_of(replica.model, name), min(taking, machine_size(replica.gpu))
            used = fit_of(replica.gpu, kernel, form, phase, replica.engine, gpus=gpus)
            if used and not np.isnan(used.error_percent):
                total, weight = total + share[p] * used.error_percent, weight + share[p]
        known = np.greater_equal(weight, KNOWN_SHARE)
        errors.append(np.where(known, total / np.where(known, weight, 1.0), np.nan))
    return errors
