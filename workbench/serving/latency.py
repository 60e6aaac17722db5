"""Time to first token and time per output token of a batch, from the steps that an engine runs for it.

Arrays have the dims batch_size, prompt, output; a fourth, inside, runs over the chunks of a prompt or over a sample of
the contexts that decoding passes through.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from ..common.arrays import Array
from ..kernels import longest
from ..operators import COLLECTIVES, Step, decode
from ..servers.drafts import drafting_replica, drafting_time
from ..servers.replica import Replica
from ..servers.server import Server
from ..servers.steps import model_computing, overhead, prefill_piece, step, step_time
from ..simulation.steady import loop_times
from ..simulation.step_times import StepTimes
from .batch import Batch

#: Weights of the first, three intermediate and the last decoding step in the mean over all (trapezoids): a step's time
#: is nearly linear in its context [1].
SAMPLES = np.array([1, 2, 2, 2, 1]) / 8

#: Chunks of a prompt: each is timed [1].
MOST_CHUNKS = 10**5


@dataclass(frozen=True)
class Phase:
    """All steps of a batch's prefill, or the mean decoding step of it.

    Parameters
    ----------
    operators : tuple of str
        Those of a step, in order.
    seconds : ndarray
        Time by operator, by what limits it (memory, compute, link), and by the batch's dims [s].
    other, drafting, total : ndarray
        Time of the host and between pipeline stages, of guessing ahead, and of it all [s].
    computing : ndarray
        Time that the model's FLOPs would take at their peaks, on each of the replica's GPUs [s].
    bytes : ndarray
        Moved by each of them [byte].
    """

    operators: tuple[str, ...]
    seconds: np.ndarray
    other: Array
    drafting: Array
    total: Array
    computing: Array
    bytes: Array

    @property
    def bound(self) -> np.ndarray:
        """What limits it, the host among it (`kernels.longest`)."""
        return longest([*self.seconds.sum(0), self.other])

    def weighted(self, weights: Array, work: Array | None = None) -> "Phase":
        """The sum over the last dim, of times by `weights`, of work (computing, bytes) by `work` where it differs."""

        def summed(value: Array, weights: Array) -> np.ndarray:
            return np.asarray((np.asarray(value) * weights).sum(-1))

        times = (summed(value, weights) for value in (self.seconds, self.other, self.drafting, self.total))
        works = (summed(value, weights if work is None else work) for value in (self.computing, self.bytes))
        return Phase(self.operators, *times, *works)


@dataclass(frozen=True)
class Latency:
    """Times of a batch.

    Parameters
    ----------
    ttft, tpot, tpot_first, tpot_last : ndarray
        To the first token; for each output token after it, as a mean and at the first and last of its steps [s].
    prefill, decode : Phase
        What they are made of.
    """

    ttft: Array
    tpot: Array
    tpot_first: Array
    tpot_last: Array
    prefill: Phase
    decode: Phase


def batch_latency(replica: Replica, batch: Batch, fits: np.ndarray) -> Latency:
    """Times of a batch on a replica, where it fits; `tpot` is NaN where only one token is put out."""
    steps = _decoding(replica, batch)
    if batch.schedule == "continuous":
        return _looped(replica, batch, fits, _chunks(replica, batch), steps)
    prefill = _whole_prompts(replica, batch)
    ttft = prefill.total + _draft_prefill(replica, batch)
    times = np.where(batch.output[..., None] > 1, steps.total / _tokens_per_step(batch), np.nan)
    return Latency(
        ttft, (times * SAMPLES).sum(-1), times[..., 0], times[..., -1], prefill, steps.weighted(SAMPLES)
    )  # fmt: skip


def _tokens_per_step(batch: Batch) -> float:
    """Tokens that a decoding step yields of a sequence [token]."""
    return batch.draft.tokens_per_step if batch.draft else 1.0


def _looped(replica: Replica, batch: Batch, fits: np.ndarray, prefill: Phase, steps: Phase) -> Latency:
    """Continuous batching: the times of a simulated closed loop; the phases are those of one prompt and of decoding.

    What a step with prompts delays the others by is in the time of each of their tokens.
    """
    sizes = [size.astype(int) for size in np.broadcast_arrays(batch.batch_size, batch.prompt, batch.output)]
    ttft, tpot = np.full(sizes[0].shape, np.nan), np.full(sizes[0].shape, np.nan)
    fits = np.broadcast_to(fits, ttft.shape)
    if fits.any():
        users, longest = int(sizes[0][fits].max()), int((sizes[1] + sizes[2])[fits].max())
        own = {each.name: getattr(replica, each.name) for each in fields(Replica)}
        server = Server(
            **own,
            max_num_seqs=-(-users // replica.dp_ranks),
            max_num_batched_tokens=batch.max_num_batched_tokens,
            max_model_len=longest,
            draft=batch.draft,
        )
        times = StepTimes(server)
        for place in zip(*np.nonzero(fits), strict=True):
            count, prompt, output = (int(size[place]) for size in sizes)
            found = loop_times(server, times, count, prompt=prompt, output=output, cached=batch.cached_prefix)
            ttft[place], tpot[place] = found.ttft, found.tpot
    decoding, total = steps.weighted(SAMPLES), np.asarray(steps.total) / _tokens_per_step(batch)
    delay = tpot - (total * SAMPLES).sum(-1)
    return Latency(ttft, tpot, total[..., 0] + delay, total[..., -1] + delay, prefill, decoding)


# Prefill ----------------------------------------------------------------------------------------------------------


def _whole_prompts(replica: Replica, batch: Batch) -> Phase:
    """Static batching: the prompts of the whole batch, in as many micro-batches as the pipeline has stages.

    In passes of `max_num_batched_tokens` at most, of each of `dp` groups, which the activations' memory is for; each is
    taken as an even share of the sequences, or as a chunk of one where a prompt is longer than that.
    """
    batches, rows = (each[..., None] for each in _micro_batches(replica, batch.batch_size))
    prompt = np.minimum(batch.prompt, batch.longest(replica.model))  # longer ones do not fit
    new = np.maximum(prompt - batch.cached_prefix, 1)[..., None]
    each = np.ceil(rows / replica.dp_ranks)
    starts, part = _parts(new, batch.max_num_batched_tokens)
    used, long = part > 0, new > batch.max_num_batched_tokens
    passes = used * np.where(long, each, np.ceil(each * new / batch.max_num_batched_tokens))
    piece, own = (
        prefill_piece(
            np.where(long, fewest, count / np.maximum(passes, 1)),
            np.where(used, part, 1),
            np.where(used, batch.cached_prefix + starts, 0),
        )
        for count, fewest in ((rows, np.minimum(rows, replica.dp_ranks)), (each, 1.0))
    )
    phase = _steps(replica, [piece], batches, own=(own,))
    return phase.weighted(passes * (replica.pp + batches - 1) / replica.pp, work=passes)


def _parts(tokens: Array, room: Array) -> tuple[Array, Array]:
    """Where the parts of `tokens` begin that steps with room for so many take, and how many each has [token]."""
    if (count := int(np.ceil(tokens / room).max())) > MOST_CHUNKS:
        raise ValueError(f"prompt = {np.max(tokens):g} in {count:,} chunks: allowed are {MOST_CHUNKS:,}")
    starts = room * np.arange(count)
    return starts, np.clip(tokens - starts, 0, room)


def _chunks(replica: Replica, batch: Batch) -> Phase:
    """Continuous batching: one prompt in chunks, each in a step with a token of all the others that decode.

    Of `dp` groups, as many as have sequences take in prompts at once. A pipeline has as many micro-batches on their way
    as stages: a chunk goes with one of them, while the others decode. Agrawal et al. 2024, "Sarathi-Serve" (arXiv
    2403.02310).
    """
    batches, rows = (each[..., None] for each in _micro_batches(replica, batch.batch_size))
    fullest, prompts = np.ceil(rows / replica.dp_ranks), np.minimum(rows, replica.dp_ranks)
    decoding = batch.output[..., None] > 1
    others, beside = (
        np.where(decoding, n, 0) for n in (rows - prompts, fullest - 1)
    )  # one token each comes of the prompt
    room = batch.max_num_batched_tokens - beside * batch.candidates
    if np.any(room <= 0):
        decoded = int(beside.max()) * batch.candidates
        raise ValueError(
            f"max_num_batched_tokens = {batch.max_num_batched_tokens} leaves no room for a prompt: the other sequences"
            f" of batch_size = {int(np.max(batch.batch_size))} decode {decoded} tokens a step"
        )
    prompt = np.minimum(batch.prompt, batch.longest(replica.model))  # longer ones do not fit
    left = np.maximum(prompt - batch.cached_prefix, 1)[..., None]
    starts, new = _parts(left, room)
    used = new > 0
    start = np.where(used, batch.cached_prefix + starts, 0)
    context = (batch.prompt + batch.output / 2)[..., None]

    def step_of(chunks: Array, decodes: Array) -> list[Step]:
        chunk = prefill_piece(chunks, np.where(used, new, 1), start)
        return [chunk, Step(decodes, batch.candidates, context, context, batch.candidates)]

    mixed = _steps(replica, step_of(prompts, others), own=tuple(step_of(1.0, beside)))
    if replica.pp > 1:
        plain = _steps(
            replica, [decode(np.maximum(rows - prompts, 1), context, candidates=batch.candidates)],
            own=(decode(np.maximum(fullest - 1, 1), context, candidates=batch.candidates),),
        )  # fmt: skip
        more = np.where(decoding, batches - 1, 0)
        mixed = replace(
            mixed, computing=mixed.computing + more * plain.computing, bytes=mixed.bytes + more * plain.bytes
        )
    return mixed.weighted(used)


def _draft_prefill(replica: Replica, batch: Batch) -> Array:
    """What a draft model, or an MTP layer, takes for the prompts of a static batch [s]."""
    drafter = batch.draft and drafting_replica(replica, batch.draft)
    if not drafter:
        return 0.0
    return step_time(drafter, prefill_piece(batch.batch_size, batch.prompt - batch.cached_prefix, batch.cached_prefix))


# Decode -----------------------------------------------------------------------------------------------------------


def _decoding(replica: Replica, batch: Batch) -> Phase:
    """A sample of the decoding steps, evenly spaced from the first, over the prompt and one token, to the last."""
    batches, rows = _micro_batches(replica, batch.batch_size)
    spans = np.linspace(0, 1, len(SAMPLES)) * np.maximum(batch.output[..., None] - 2, 0)
    context = batch.prompt[..., None] + 1 + np.rint(spans)
    phase = _steps(replica, [decode(rows[..., None], context, candidates=batch.candidates)], batches[..., None])
    if not batch.draft:
        return phase
    drafting = drafting_time(replica, batch.draft, batch.batch_size[..., None], context)
    return replace(phase, drafting=drafting, total=phase.total + drafting)


def _micro_batches(replica: Replica, batch_size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many batches keep the stages of a pipeline busy, and the sequences in each [1]."""
    batches = np.minimum(np.ceil(batch_size / replica.dp_ranks), replica.pp)
    return batches, np.ceil(batch_size / batches)


# Steps as phases --------------------------------------------------------------------------------------------------


def _steps(replica: Replica, pieces: list[Step], batches: Array = 1, *, own: tuple[Step, ...] | None = None) -> Phase:
    """Steps as they are, each of `batches` micro-batches that are on their way at a time; `own` as for `step`."""
    works = step(replica, *pieces, own=own)
    seconds = np.zeros((len(works), 3, *np.broadcast_shapes(*(np.shape(work.time) for work in works.values()))))
    for place, work in zip(seconds, works.values(), strict=True):
        for limited, part in zip(place, work.by_limit, strict=True):
            limited[...] = part
    kernels = seconds.sum((0, 1))
    other = overhead(replica, kernels, *pieces, own=own)
    moved = sum(work.bytes for name, work in works.items() if name not in COLLECTIVES)
    one = replica.gpus == replica.pp and not replica.expert_skew  # the works are those of the whole model
    computing = sum(work.computing for work in works.values()) if one else model_computing(replica, *pieces)
    return Phase(
        tuple(works),
        seconds,
        other,
        0.0,
        kernels + other,
        batches * computing / replica.gpus,
        batches * moved / replica.pp,
    )
