"""The engine: steps of continuous batching, one by one or many in a leap, every one timed by the kernel model.

Simplified: scheduling, sampling and sending tokens take the time of the engine's host (`Replica`); a step's attention
is that of its sequences at their mean context; MoE experts are touched evenly.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..servers.server import Server
from .batch import Request
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


class Engine:
    """A server at work: the client adds and cancels requests, and lets it step.

    Parameters
    ----------
    server : Server
        Whose scheduler, and whose steps.
    times : StepTimes, optional
        Its steps, where they have been tabulated.
    """

    def __init__(self, server: Server, times: StepTimes | None = None) -> None:
        """Begin idle, at time 0."""
        self.scheduler, self.times = Scheduler(server), times or StepTimes(server)
        self.batch = self.scheduler.batch
        self.now = self.busy = self.running_area = 0.0
        self.steps = self.generated_tokens = 0
        self.least_free = self.scheduler.free

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.scheduler.running and not self.scheduler.waiting

    def add(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        self.scheduler.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Drop a request that was added and has not finished; `Request.generated` has its tokens."""
        self.scheduler.cancel(request)

    def generated(self, request: Request) -> int:
        """Output tokens so far of a request that has not ended [token]."""
        return self.batch.generated(request)

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
        if not self.scheduler.only_decodes():
            return self._mixed_step(horizon)
        room = len(self.scheduler.running) < self.scheduler.max_sequences and not self.scheduler.waiting
        return self._leap(min(arrival, deadline) if room else deadline, horizon)

    def _mixed_step(self, horizon: float) -> StepOutcome | None:
        parts = self.scheduler.schedule()
        decodes = not (parts and self.scheduler.prompts_first)
        seconds = self._mixed_time(parts, self.batch.size if decodes else 0)
        if self.now + seconds > horizon:
            return None
        self._advance(seconds, 1)
        if decodes:
            self.generated_tokens += self.batch.advance(1)
        completed = self.scheduler.complete(parts)
        first_tokens = [request for request in completed if not request.generated]
        self.generated_tokens += len(completed)
        for request in completed:
            request.generated += 1
            self.batch.join(request)
        return StepOutcome(seconds, first_tokens, self.scheduler.finish())

    def _mixed_time(self, parts: list[PromptPart], decoding: int) -> float:
        """Time of a step with parts of prompts and some decoding sequences, all that there are or none [s]."""
        tokens = decoding + sum(part.upto - part.start for part in parts)
        seconds = self.times.linear[tokens] + self.times.head[decoding + len(parts)]
        if decoding:
            seconds += float(self.times.decode(decoding, self.batch.context / decoding))
        if parts:
            seconds += self.times.prefill([(part.start, part.upto) for part in parts])
        return max(seconds, self.times.least)

    def _leap(self, until: float, horizon: float) -> StepOutcome | None:
        """Decode until the next event: an end, an exhausted cache, or the time `until` [s]."""
        n, now = self.batch.size, self.now
        context = self.batch.context / n
        steps = self.batch.steps_within(self.scheduler.free)
        base = self.times.linear[n] + self.times.head[n]
        first = max(base + float(self.times.decode(n, context)), self.times.least)
        steps = min(steps, int(min((min(until, horizon) - now) / first, steps)) + 2)
        if steps == 1:
            ends = np.array([first])
        else:
            each = base + self.times.decode(n, context + np.arange(steps))
            ends = np.cumsum(np.maximum(each, self.times.least))
            steps = 1 + int(np.searchsorted(ends[: steps - 1], until - now, side="left"))
        if now + ends[steps - 1] > horizon:
            steps = int(np.searchsorted(ends, horizon - now, side="right"))
        if not steps:
            return None
        seconds = float(ends[steps - 1])
        self.scheduler.free -= self.batch.blocks_of(steps)
        self._advance(seconds, steps)
        self.generated_tokens += self.batch.advance(steps)
        return StepOutcome(seconds, [], self.scheduler.finish())

    def _advance(self, seconds: float, steps: int) -> None:
        """Let the time of some steps pass."""
        self.running_area += seconds * len(self.scheduler.running)
        self.now += seconds
        self.busy += seconds
        self.steps += steps
        self.least_free = min(self.least_free, self.scheduler.free)

    def counts(self) -> dict[str, Any]:
        """Its totals, by the names of `simulate`'s "engine"."""
        blocks = self.scheduler.blocks
        return {
            "duration": self.now, "busy": self.busy, "steps": self.steps, "preemptions": self.scheduler.preemptions,
            "generated_tokens": self.generated_tokens, "peak_kv_blocks": blocks - self.least_free, "kv_blocks": blocks,
            "mean_running": self.running_area / (self.now or 1.0),
        }  # fmt: skip
