"""Time to first token and time per output token of a batch, from the steps that an engine runs for it.

Arrays have the dims batch_size, prompt, output; a fourth, inside, runs over the chunks of a prompt or over a sample of
the contexts that decoding passes through.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..common.arguments import whole_numbers
from ..common.arrays import Array
from ..common.errors import unknown
from ..operators.cost import Step, decode
from .drafts import Draft, drafting_server, drafting_time
from .replica import Replica
from .steps import Work, model_computing, overhead, step, step_time

SCHEDULES = ("static", "continuous")
#: Weights of the first, three intermediate and the last decoding step in the mean over all (trapezoids): a step's time
#: is nearly linear in its context [1].
SAMPLES = np.array([1, 2, 2, 2, 1]) / 8


@dataclass(frozen=True)
class Batch:
    """What is asked of a server: sizes as arrays that broadcast, and how its engine schedules them.

    batch_size : sequences at a time [1]; prompt, output : per sequence [token]
    The rest, and their defaults, as of `serving.estimate`. Raises ValueError for what is out of range
    """

    batch_size: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    schedule: str = "static"
    cached_prefix: int = 0
    draft: Draft | None = None
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.draft is not None and not isinstance(self.draft, Draft):
            raise ValueError(f"draft = {self.draft!r}: make one with speculation.draft_model, medusa or mtp")
        for name in ("max_num_batched_tokens", "max_num_seqs", "max_model_len", "cached_prefix"):
            value = getattr(self, name)
            if value is not None and (name, value) != ("cached_prefix", 0) and len(whole_numbers(name, value)) > 1:
                raise ValueError(f"{name} = {value!r}: give one")
        shortest = int(np.min(self.prompt))
        if self.cached_prefix >= shortest:
            raise ValueError(
                f"cached_prefix = {self.cached_prefix}: allowed is less than the shortest prompt, {shortest}"
            )
        decoding = (int(np.max(self.batch_size)) - 1) * self.candidates
        if self.schedule == "continuous" and decoding >= self.max_num_batched_tokens:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} leaves no room for a prompt: the other"
                f" {int(np.max(self.batch_size)) - 1} sequences decode {decoding} tokens a step"
            )

    @property
    def candidates(self) -> int:
        """Tokens that a decoding step computes for a sequence [1]."""
        return self.draft.candidates if self.draft else 1


class Phase(NamedTuple):
    """All steps of a batch's prefill, or the mean decoding step of it.

    works : by operator; other : of the host and between pipeline stages [s]; drafting [s]; total [s]; computing : FLOPs
        of the model over their peaks, on each of the server's GPUs [s]; bytes : moved by each of them [byte]
    """

    works: dict[str, Work]
    other: Array
    drafting: Array
    total: Array
    computing: Array
    bytes: Array


class Latency(NamedTuple):
    """Times [s] of a batch: to the first token, per output token after it, the same at its first and last step."""

    ttft: Array
    tpot: Array
    tpot_first: Array
    tpot_last: Array
    prefill: Phase
    decode: Phase


def batch_latency(server: Replica, load: Batch) -> Latency:
    """Times of a workload on a server; `tpot` is NaN where only one token is put out."""
    steps = _decoding(server, load)
    if load.schedule == "static":
        prefill, others = _whole_prompts(server, load), 0.0
    else:
        prefill, marginal = _chunks(server, load)
        marginal = marginal + _draft_prefill(server, load)
        others = (load.batch_size - 1) * marginal / np.maximum(load.output - 1, 1)
    waiting = np.where(
        load.output > 1, 0.0, others
    )  # without decoding steps, the others' prompts delay the first token
    ttft = prefill.total + waiting + _draft_prefill(server, load)
    per_step = load.draft.tokens_per_step if load.draft else 1.0
    times = np.where(load.output[..., None] > 1, steps.total / per_step + np.asarray(others)[..., None], np.nan)
    return Latency(
        ttft, (times * SAMPLES).sum(-1), times[..., 0], times[..., -1], prefill, _weighted(steps, SAMPLES)
    )  # fmt: skip


# Prefill ----------------------------------------------------------------------------------------------------------


def _whole_prompts(server: Replica, load: Batch) -> Phase:
    """Static batching: the prompts of the whole batch, in as many micro-batches as the pipeline has stages.

    In passes of `max_num_batched_tokens` at most, which the activations' memory is for; each is taken as an even share
    of the sequences, a part of one where a prompt is longer than that.
    """
    batches, rows = _micro_batches(server, load.batch_size)
    new = load.prompt - load.cached_prefix
    passes = np.ceil(rows * new / load.max_num_batched_tokens)
    phase = _expand(_steps(server, [Step(rows / passes, new, load.prompt, load.cached_prefix)], batches))
    filled = passes * (server.pp + batches - 1) / server.pp
    return _weighted(phase, np.asarray(filled)[..., None], work=np.asarray(passes)[..., None])


def _chunks(server: Replica, load: Batch) -> tuple[Phase, Array]:
    """Continuous batching: one prompt in chunks, each in a step with a token of all the other sequences.

    Returns the phase, and what the chunks add to those steps [s]. Agrawal et al. 2024, "Sarathi-Serve"
    (arXiv 2403.02310).
    """
    others = load.batch_size[..., None] - 1
    room = load.max_num_batched_tokens - others * load.candidates
    longest = load.max_model_len or server.model.max_context or np.inf
    left = np.maximum(np.minimum(load.prompt, longest) - load.cached_prefix, 1)[..., None]  # longer ones do not fit
    starts = room * np.arange(int(np.ceil(left / room).max()))
    new = np.clip(left - starts, 0, room)
    used = new > 0
    start = np.where(used, load.cached_prefix + starts, 0)
    chunk = Step(1.0, np.where(used, new, 1), start + np.where(used, new, 1), start)
    context = (load.prompt + load.output / 2)[..., None]
    mixed = _steps(server, [chunk, Step(others, load.candidates, context, context, load.candidates)])
    plain = step_time(server, decode(np.maximum(others, 1), context, candidates=load.candidates))
    marginal = (used * (mixed.total - np.where(others > 0, plain, 0.0))).sum(-1)
    return _weighted(mixed, used), marginal


def _draft_prefill(server: Replica, load: Batch) -> Array:
    """What a draft model, or an MTP layer, takes for the prompts [s]."""
    drafter = load.draft and drafting_server(server, load.draft)
    if not drafter:
        return 0.0
    sequences = load.batch_size if load.schedule == "static" else 1.0
    return step_time(drafter, Step(sequences, load.prompt - load.cached_prefix, load.prompt, load.cached_prefix))


# Decode -----------------------------------------------------------------------------------------------------------


def _decoding(server: Replica, load: Batch) -> Phase:
    """A sample of the decoding steps, evenly spaced from the first, over the prompt and one token, to the last."""
    batches, rows = _micro_batches(server, load.batch_size)
    spans = np.linspace(0, 1, len(SAMPLES)) * np.maximum(load.output[..., None] - 2, 0)
    context = load.prompt[..., None] + 1 + np.rint(spans)
    phase = _steps(server, [decode(rows[..., None], context, candidates=load.candidates)], batches[..., None])
    if not load.draft:
        return phase
    drafting = drafting_time(server, load.draft, load.batch_size[..., None], context)
    return phase._replace(drafting=drafting, total=phase.total + drafting)


def _micro_batches(server: Replica, batch_size: Array) -> tuple[Array, Array]:
    """How many batches keep the stages of a pipeline busy, and the sequences in each [1]."""
    batches = np.minimum(batch_size, server.pp)
    return batches, np.ceil(batch_size / batches)


# Steps as phases --------------------------------------------------------------------------------------------------


def _steps(server: Replica, pieces: list[Step], batches: Array = 1) -> Phase:
    """Steps as they are, each of `batches` micro-batches that are on their way at a time."""
    works = step(server, *pieces)
    other = overhead(server, *pieces)
    moved = sum(work.bytes for name, work in works.items() if name not in ("all_reduce", "all_to_all"))
    computing = batches * model_computing(server, *pieces) / server.gpus
    total = sum(work.time for work in works.values()) + other
    return Phase(works, other, 0.0, total, computing, batches * moved / server.pp)


def _expand(phase: Phase) -> Phase:
    """With a last dim of one step."""
    works = {name: Work(*(np.asarray(value)[..., None] for value in work)) for name, work in phase.works.items()}
    return Phase(works, *(np.asarray(value)[..., None] for value in phase[1:]))


def _weighted(phase: Phase, weights: Array, work: Array | None = None) -> Phase:
    """The sum over the last dim, of times by `weights`, of FLOPs and bytes by `work` where it differs."""
    work = weights if work is None else work

    def times(value: Array) -> Array:
        return (np.asarray(value) * weights).sum(-1)

    def amounts(value: Array) -> Array:
        return (np.asarray(value) * work).sum(-1)

    works = {
        name: Work(times(w.time), amounts(w.flops), amounts(w.bytes), w.bound[..., 0])
        for name, w in phase.works.items()
    }
    return Phase(
        works, times(phase.other), times(phase.drafting), times(phase.total), amounts(phase.computing),
        amounts(phase.bytes),
    )  # fmt: skip
