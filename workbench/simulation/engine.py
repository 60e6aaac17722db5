"""The engine: steps of continuous batching, one by one or many in a leap, every one timed by the kernel model.

Simplified: scheduling, sampling and sending tokens take the time of the engine's host (`Replica`); a step's attention
is that of its sequences at their mean context; as many experts are touched as on average. Groups of attention data
parallelism take their steps together, each as long as the fullest one's, idle ones with a token that is thrown away; a
request goes to the one that has fewest (vLLM, vllm/v1/engine/core_client.py). In a pipeline all of a step's sequences
and tokens are spread evenly over micro-batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..servers.server import Server
from .policies import SCHEDULERS
from .requests import Request
from .scheduler import PromptPart, Scheduler
from .step_times import StepTimes


@dataclass(slots=True)
class StepOutcome:
    """What a step has brought, or a leap over several.

    Parameters
    ----------
    seconds : float
        That it took [s].
    first_tokens, finished : list of Request
        Those that got their first token at its end, and those that got their last.
    """

    seconds: float
    first_tokens: list[Request]
    finished: list[Request]


class Computed(NamedTuple):
    """What one step computes of one request: some of its prompt, or with `decoding` its next tokens or candidates."""

    start_s: float
    end_s: float
    request: int  # its place in the workload
    decoding: bool
    tokens: int


class Engine:
    """A server at work: the client adds and cancels requests, and lets it step.

    Parameters
    ----------
    server : Server
        Whose scheduler, and whose steps.
    times : StepTimes, optional
        Its steps, where they have been tabulated.
    record : bool
        Keep what every step computes.
    """

    def __init__(self, server: Server, times: StepTimes | None = None, *, record: bool = False) -> None:
        """Begin idle, at time 0."""
        self.ranks = [SCHEDULERS[server.policy or "recompute"](server) for _ in range(server.dp_ranks)]
        self.times = times or StepTimes(server)
        self.stages = server.pp
        self.serving: dict[Request, Scheduler] = {}  # of what has not ended
        self.now = self.busy = self.running_area = 0.0
        self.steps = self.generated_tokens = 0
        self.least_free = self.free
        self.record: list[Computed] | None = [] if record else None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.serving

    @property
    def free(self) -> int:
        """Free units of the KV cache (`Footprint`) [1]."""
        return sum([rank.cache.free for rank in self.ranks])

    def add(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        rank = min(self.ranks, key=lambda rank: len(rank.running) + len(rank.waiting))
        self.serving[request] = rank
        rank.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Drop a request that was added and has not finished; `Request.generated` has its tokens."""
        self.serving.pop(request).cancel(request)

    def generated(self, request: Request) -> int:
        """Output tokens so far of a request that has not ended [token]."""
        rank = self.serving.get(request)
        return rank.batch.generated(request) if rank else request.generated

    def wait_until(self, time: float) -> None:
        """Let the time of an idle engine pass until `time` [s]."""
        self.now = time

    def cut_at(self, time: float) -> float:
        """Break the next step off at `time` [s]; returns the seconds until then [s]."""
        seconds = time - self.now
        self._advance(seconds, 0)
        return seconds

    def step(self, arrival: float, deadline: float, horizon: float) -> StepOutcome | None:
        """One step with parts of prompts, or a leap over steps without.

        Parameters
        ----------
        arrival : float
            When the next request will be added [s]; it ends a leap where there is room for it.
        deadline : float
            When the next request will be cancelled, if it has not finished [s]; it ends a leap.
        horizon : float
            When the test ends [s].

        Returns
        -------
        StepOutcome or None
            None where the next step would end after the horizon.
        """
        if not all(rank.only_decodes() for rank in self.ranks):
            return self._mixed_step(horizon)
        room = any(len(rank.running) < rank.max_sequences and not rank.waiting for rank in self.ranks)
        return self._leap(min(arrival, deadline) if room else deadline, horizon)

    def _mixed_step(self, horizon: float) -> StepOutcome | None:
        parts = [rank.schedule() for rank in self.ranks]
        decoding = [
            0 if own and rank.prompts_first else rank.batch.size for rank, own in zip(self.ranks, parts, strict=True)
        ]
        seconds = self._mixed_time(parts, decoding)
        if self.now + seconds > horizon:
            return None
        if self.record is not None:
            for rank, own, decodes in zip(self.ranks, parts, decoding, strict=True):
                for part in own:
                    computed = part.upto - part.start
                    self.record.append(Computed(self.now, self.now + seconds, part.request.place, False, computed))
                if decodes:
                    self._record_decoding(rank, self.now, self.now + seconds)
        self._advance(seconds, 1)
        first_tokens = []
        for rank, own, decodes in zip(self.ranks, parts, decoding, strict=True):
            if decodes:
                self.generated_tokens += rank.batch.advance(1)
            for request in rank.complete(own):
                if not request.generated:
                    first_tokens.append(request)
                self.generated_tokens += 1
                request.generated += 1
                rank.batch.join(request)
        return StepOutcome(seconds, first_tokens, self._finish())

    def _finish(self) -> list[Request]:
        """Take out the sequences that have come to their end, in the order of sends."""
        finished = [request for rank in self.ranks for request in rank.finish()]
        for request in finished:
            del self.serving[request]
        return finished if len(self.ranks) == 1 else sorted(finished, key=lambda request: request.place)

    def _mixed_time(self, parts: list[list[PromptPart]], decoding: list[int]) -> float:
        """Time of a step with parts of prompts and some decoding sequences of every group, all it has or none [s]."""
        batches = self._micro_batches(n + len(own) for n, own in zip(decoding, parts, strict=True))
        longest, drafting, computed = 0.0, 0.0, 0
        for rank, own, n in zip(self.ranks, parts, decoding, strict=True):
            chunks = [(part.start, part.upto) for part in own]
            context = rank.batch.context / n if n else 0.0
            longest = max(longest, float(self.times.group(chunks, n, context, batches=batches)))
            drafting = max(drafting, float(self.times.drafting(chunks, n, context)))
            computed += n * self.times.candidates + sum(upto - start for start, upto in chunks)
        return max(longest + self._experts(computed, batches), self.times.least) + drafting

    def _micro_batches(self, sequences: Iterable[int]) -> int:
        """How many the sequences of a step are spread over, by those of every group [1]."""
        return 1 if self.stages == 1 else min(max(sequences), self.stages)

    def _experts(self, tokens: int, batches: int) -> float:
        """Time of routed experts for the tokens of all groups, where they are not in each one's own [s]."""
        return self.times.experts[-(-tokens // (len(self.ranks) * batches))]

    def _leap(self, until: float, horizon: float) -> StepOutcome | None:
        """Decode until the next event: an end, an exhausted cache, or the time `until` [s]."""
        ranks, now = [rank for rank in self.ranks if rank.batch.size], self.now
        batches = self._micro_batches(rank.batch.size for rank in ranks)
        experts = self._experts(sum(rank.batch.size for rank in ranks) * self.times.candidates, batches)

        loads = [
            (
                rank.batch,
                self.times.base(0, 0, rank.batch.size, batches) + experts,
                rank.batch.context / rank.batch.size,
            )
            for rank in ranks
        ]

        def times(ahead: Any) -> Any:
            """Time of the steps some steps ahead [s]."""
            longest, drafting = self.times.least, 0.0
            for batch, base, context in loads:
                mean = context + batch.tokens(ahead)
                longest = np.maximum(base + self.times.decode(-(-batch.size // batches), mean), longest)
                if self.times.drafts:
                    drafting = np.maximum(self.times.drafting([], batch.size, mean), drafting)
            return longest + drafting if self.times.drafts else longest

        steps = min(rank.batch.steps_within(rank.cache.free) for rank in ranks)
        first = float(times(0))
        steps = min(steps, int(min((min(until, horizon) - now) / first, steps)) + 2)
        if steps == 1:
            ends = np.array([first])
        else:
            ends = np.cumsum(times(np.arange(steps)))
            steps = 1 + int(np.searchsorted(ends[: steps - 1], until - now, side="left"))
        if now + ends[steps - 1] > horizon:
            steps = int(np.searchsorted(ends, horizon - now, side="right"))
        if not steps:
            return None
        seconds = float(ends[steps - 1])
        if self.record is not None:
            for start, end in pairwise([now, *(now + ends[:steps]).tolist()]):
                for rank in ranks:
                    self._record_decoding(rank, start, end)
        for rank in ranks:
            rank.cache.take_units(rank.batch.units_of(steps))
        self._advance(seconds, steps)
        self.generated_tokens += sum(rank.batch.advance(steps) for rank in ranks)
        return StepOutcome(seconds, [], self._finish())

    def _record_decoding(self, rank: Scheduler, start: float, end: float) -> None:
        """Keep that all sequences of a group decode in a step, from when to when [s]."""
        assert self.record is not None
        places = sorted(request.place for request in rank.batch.requests())
        self.record += [Computed(start, end, place, True, self.times.candidates) for place in places]

    def _advance(self, seconds: float, steps: int) -> None:
        """Let the time of some steps pass."""
        self.running_area += seconds * sum([len(rank.running) for rank in self.ranks])
        self.now += seconds
        self.busy += seconds
        self.steps += steps
        self.least_free = min(self.least_free, self.free)

    def counts(self) -> dict[str, Any]:
        """Its totals, by the names of `simulate`'s "engine"."""
        caches = [rank.cache for rank in self.ranks]
        block = caches[0].footprint.block
        blocks = sum(cache.units for cache in caches) // block
        return {
            "duration": self.now, "busy": self.busy, "steps": self.steps,
            "preemptions": sum(rank.preemptions for rank in self.ranks),
            "generated_tokens": self.generated_tokens - sum(rank.batch.beyond for rank in self.ranks),
            "peak_kv_blocks": blocks - self.least_free // block, "kv_blocks": blocks,
            "hit_tokens": sum(cache.hit_tokens for cache in caches),
            "refound_tokens": sum(cache.refound_tokens for cache in caches),
            "mean_running": self.running_area / (self.now or 1.0),
        }  # fmt: skip
