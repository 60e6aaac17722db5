"""Continuous batching: requests through a scheduler like vLLM's, every step timed by the kernel model.

The scheduler is that of vLLM's first-come-first-served engine (vllm/v1/core/sched/scheduler.py, versions 0.8 to 0.15).
Every step has a budget of tokens. Running sequences come first, in the order of their admission: one token each, or the
next part of a prompt. A sequence that finds no free block of the KV cache makes the engine preempt the latest admitted,
which gives up its blocks, goes to the head of the queue, and is computed again, what it had generated included. In a
step without preemption the queue is then served in its order, as far as sequences, tokens and blocks go; its head, if
it has to wait, holds up the rest.

Simplified: the blocks of one prefix are not shared (the cached tokens of a prompt only save their computation, and a
preempted sequence finds them again); scheduling, sampling and sending tokens take no time but the server's
`step_overhead` and `sequence_overhead`; a step's attention is that of its sequences at their mean context; MoE experts
are touched evenly; outputs end at their given length or, with a warning, at `max_model_len`.
"""

import warnings
from collections import deque
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from ..common.arguments import is_number, is_whole
from ..common.progress import progress_bar
from ..serving import memory
from .server import Server
from .step_times import StepTimes
from .workloads import Workload


def simulate(
    server: Server,
    workload: Workload,
    *,
    in_flight: int | None = None,
    timeout: float | None = None,
    horizon: float | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Send the workload's requests to the server; one row a request, as in the table of a load test.

    in_flight : requests that the client has open at once [1]; the others wait at the client, their clock running
    timeout : after which the client gives a request up [s]; horizon : when the test ends [s]
    progress : show a bar on the terminal

    Columns: sent_s, first_token_s, last_token_s, from the first send, NaN where it never happened [s]; prompt_tokens,
    output_tokens, those generated until the end [token]; status, "finished", "failed" or "unfinished"; error, "" where
    there was none. Requests that the test ended before are left out. `attrs` has the settings; "warnings", one line
    each, given as Python's as well: outputs that max_model_len cuts short; and, in "engine":
    duration and busy time [s], steps, preemptions, requests_not_sent, generated_tokens, peak_kv_blocks, kv_blocks, and
    the time averages mean_running and mean_in_system of the requests in the batch and sent but not ended [1].

    Deterministic. Raises ValueError for settings outside their range, and for weights that do not fit.
    """
    for name, value in (("timeout", timeout), ("horizon", horizon)):
        if value is not None and not (is_number(value) and value > 0):
            raise ValueError(f"{name} = {value!r}: expected a positive number of seconds")
    if in_flight is not None and not (is_whole(in_flight) and in_flight >= 1):
        raise ValueError(f"in_flight = {in_flight!r}: allowed are whole numbers from 1")
    if not isinstance(server, Server):
        raise ValueError(f"server = {server!r}: expected a simulation.Server")
    if not isinstance(workload, Workload):
        raise ValueError(f"workload = {workload!r}: expected one of poisson, bursty, closed_loop or trace")
    weights, capacity = memory.weights(server), server.gpu.memory.capacity_gb
    if capacity is not None and weights > 1e9 * capacity:
        raise ValueError(
            f"{server.model.id} does not fit:"
            f" {weights / 1e9:.1f} GB of weights on each {server.gpu.id} of {capacity:g} GB"
        )
    run = _Run(server, workload, in_flight, timeout or inf, horizon or inf)
    with progress_bar("requests", show=progress) as update:
        while run.step():
            update(run.ended, len(workload))
    client = {"in_flight": in_flight, "timeout": timeout, "horizon": horizon}
    frame = run.table()
    frame.attrs = {"server": server.settings(), "workload": workload.settings, "client": client, "engine": run.counts()}
    frame.attrs["warnings"] = _cut_short(server, workload, len(frame))
    for warning in frame.attrs["warnings"]:
        warnings.warn(warning, stacklevel=2)
    return frame


def _cut_short(server: Server, workload: Workload, sent: int) -> list[str]:
    """What there is to say of outputs that would be longer than max_model_len allows."""
    room = server.max_model_len - workload.prompt_tokens[:sent]
    cut = int(((room > 0) & (workload.output_tokens[:sent] > room)).sum())
    if not cut:
        return []
    return [f"max_model_len = {server.max_model_len} cuts {cut:,} of {sent:,} outputs short: give Server a larger one"]


class _Run:
    """The state of one simulation. Times [s]; requests by their place in the workload.

    `clock` counts decoding steps: all decoding sequences advance together, so that what each has generated, its
    context and the blocks it holds follow from the clock and from where it joined (`base`), and many steps are one
    leap to the next event.
    """

    def __init__(
        self, server: Server, workload: Workload, in_flight: int | None, timeout: float, horizon: float
    ) -> None:
        self.server, self.times = server, StepTimes(server)
        self.block = server.block_size
        self.blocks = self.free = self.least_free = server.kv_blocks
        self.timeout, self.horizon = timeout, horizon
        self.closed = workload.concurrency is not None
        self.open_at_once = min(in_flight or len(workload), workload.concurrency or len(workload))

        self.sent: list[float] = workload.sent_s.tolist()
        self.prompt: list[int] = workload.prompt_tokens.tolist()
        room = np.maximum(server.max_model_len - workload.prompt_tokens, 0)
        self.output: list[int] = np.minimum(workload.output_tokens, room).tolist()
        self.cached: list[int] = workload.cached_tokens.tolist()
        n = len(workload)
        self.first, self.last = [np.nan] * n, [np.nan] * n
        self.status, self.error = ["unfinished"] * n, [""] * n

        self.now = 0.0
        self.next = 0  # of the workload, not sent yet
        self.at_client: deque[int] = deque()
        self.waiting: deque[int] = deque()
        self.deadlines: deque[int] = deque()
        self.running: dict[int, None] = {}  # in the order of admission
        self.partial: tuple[int, int] | None = None  # the sequence whose prompt is not complete, tokens computed
        self.done = [0] * n  # generated, up to where it joined
        self.base = [0] * n
        self.clock = self.decoding = self.context = 0
        self.finish: list[tuple[int, int]] = []  # clock, sequence
        self.phase = [0] * self.block  # decoding sequences by the clock (modulo block) at which they need a block

        self.open = self.ended = self.steps = self.preemptions = self.generated = 0
        self.busy = self.running_area = self.system_area = 0.0

    # What a decoding sequence has, by the clock --------------------------------------------------------------------

    def _generated(self, i: int) -> int:
        return self.done[i] + self.clock - self.base[i]

    def _join(self, i: int) -> None:
        self.base[i] = self.clock
        self.decoding += 1
        self.context += self.prompt[i] + self.done[i]
        self.phase[(self.clock - (self.prompt[i] + self.done[i] - 1)) % self.block] += 1
        heappush(self.finish, (self.clock + self.output[i] - self.done[i], i))

    def _leave(self, i: int) -> None:
        """Stop decoding, finished or not; its place in `finish` is left to the caller."""
        generated = self._generated(i)
        self.decoding -= 1
        self.context -= self.prompt[i] + generated
        self.phase[(self.base[i] - (self.prompt[i] + self.done[i] - 1)) % self.block] -= 1
        self.done[i] = generated
        self.free += -(-(self.prompt[i] + generated - 1) // self.block)

    # Client --------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Whatever was sent until now, as far as the client has connections."""
        n = len(self.sent)
        while self.next < n and (self.closed or self.sent[self.next] <= self.now):
            if self.closed:
                if self.open == self.open_at_once:
                    break
                self.sent[self.next] = self.now
            self.system_area += self.now - self.sent[self.next]
            self.at_client.append(self.next)
            self.deadlines.append(self.next)
            self.next += 1
            self._open_connections()

    def _open_connections(self) -> None:
        while self.at_client and self.open < self.open_at_once:
            i = self.at_client.popleft()
            if self.output[i] < 1:
                self._end(i, "failed", f"prompt of {self.prompt[i]} tokens: max_model_len is too short")
                continue
            self.open += 1
            self.waiting.append(i)

    def _end(self, i: int, status: str, error: str = "") -> None:
        self.status[i], self.error[i] = status, error
        self.ended += 1

    def _close(self, i: int, status: str, error: str = "") -> None:
        """End a request that has a connection."""
        self._end(i, status, error)
        self.open -= 1

    def _give_up(self) -> None:
        """Requests whose timeout has come."""
        while self.deadlines and self.sent[self.deadlines[0]] + self.timeout <= self.now:
            i = self.deadlines.popleft()
            if self.status[i] != "unfinished":
                continue
            why = f"timed out after {self.timeout:g} s"
            if i in self.running:
                self._stop(i)
                self._close(i, "failed", why)
            elif i in self.waiting:
                self.waiting.remove(i)
                self._close(i, "failed", why)
            else:
                self.at_client.remove(i)
                self._end(i, "failed", why)
        while self.deadlines and self.status[self.deadlines[0]] != "unfinished":
            self.deadlines.popleft()
        self._open_connections()

    # Engine --------------------------------------------------------------------------------------------------------

    def _stop(self, i: int) -> None:
        """Take a running sequence out of the batch."""
        del self.running[i]
        if self.partial and self.partial[0] == i:
            self.free += -(-self.partial[1] // self.block)
            self.partial = None
        else:
            self._leave(i)
            self.finish = [entry for entry in self.finish if entry[1] != i]
            heapify(self.finish)

    def _preempt(self) -> None:
        latest = next(reversed(self.running))
        self._stop(latest)
        self.waiting.appendleft(latest)
        self.preemptions += 1

    def _prompt_part(self, i: int, computed: int, budget: int) -> tuple[int, int] | None:
        """How far a step of so many tokens gets with a prompt, and the blocks that takes; None where it must wait."""
        target = self.prompt[i] + self.done[i]
        upto = min(target, computed + budget)
        held = -(-computed // self.block) if self.partial and self.partial[0] == i else 0
        blocks = -(-upto // self.block) - held
        if blocks > self.free or (upto < target and not self.server.chunked_prefill):
            return None
        return upto, blocks

    def _schedule(self) -> list[tuple[int, int, int]]:
        """Make room for the decoding sequences, then choose parts of prompts: sequence, from token, up to token."""
        preempted = self.preemptions
        while self.phase[self.clock % self.block] > self.free:
            self._preempt()
        self.free -= self.phase[self.clock % self.block]
        budget = self.server.max_num_batched_tokens - self.decoding
        parts = []
        if self.partial:
            i, computed = self.partial
            part = self._prompt_part(i, computed, budget)
            if part is None:
                self._preempt()
            else:
                parts.append((i, computed, part[0]))
                self.free -= part[1]
                self.partial = (i, part[0])
                budget -= part[0] - computed
        if self.preemptions == preempted:
            while self.waiting and budget and len(self.running) < self.server.max_num_seqs:
                i = self.waiting[0]
                part = self._prompt_part(i, self.cached[i], budget)
                if part is None:
                    break
                self.waiting.popleft()
                self.running[i], self.base[i] = None, self.clock
                parts.append((i, self.cached[i], part[0]))
                self.free -= part[1]
                self.partial = (i, part[0])  # the last one stays, if its prompt is not complete
                budget -= part[0] - self.cached[i]
        return parts

    def _admissible(self) -> bool:
        """Whether the head of the queue would be admitted in the next step."""
        if self.partial or not self.waiting or len(self.running) >= self.server.max_num_seqs:
            return False
        i = self.waiting[0]
        budget = self.server.max_num_batched_tokens - self.decoding
        return budget > 0 and self._prompt_part(i, self.cached[i], budget) is not None

    def _advance(self, seconds: float, steps: int) -> None:
        """Let time pass, over so many steps."""
        self.running_area += seconds * len(self.running)
        self.system_area += seconds * (self.next - self.ended)
        self.now += seconds
        self.busy += seconds
        self.steps += steps
        self.least_free = min(self.least_free, self.free)

    def step(self) -> bool:
        """One step with parts of prompts, a leap over steps without, or idling; False when the test is over."""
        self._send()
        self._give_up()
        if not self.running and not self.waiting:
            if self.next == len(self.sent):
                return False
            self.now = min(self.sent[self.next], self.horizon)
            return self.now < self.horizon
        if self.partial or self.phase[self.clock % self.block] > self.free or self._admissible():
            return self._mixed_step()
        return self._leap()

    def _mixed_step(self) -> bool:
        parts = self._schedule()
        tokens = self.decoding + sum(upto - start for _, start, upto in parts)
        seconds = self.times.linear[tokens] + self.times.head[self.decoding + len(parts)]
        if self.decoding:
            seconds += float(self.times.decode(self.decoding, self.context / self.decoding))
        if parts:
            seconds += self.times.prefill([(start, upto) for _, start, upto in parts])
        if self.now + seconds > self.horizon:
            return self._stop_at_horizon()
        self._advance(seconds, 1)
        self._count(1)
        self.partial = None
        for i, _, upto in parts:
            if upto < self.prompt[i] + self.done[i]:
                self.partial = (i, upto)
                continue
            if not self.done[i]:
                self.first[i] = self.now
            self.done[i] += 1
            self.generated += 1
            self._join(i)
        self._finish()
        return True

    def _leap(self) -> bool:
        """Decode up to the next event: an end, an exhausted cache, an arrival that finds room, a timeout."""
        n, block = self.decoding, self.block
        steps = self.finish[0][0] - self.clock
        if n * (steps // block + 1) > self.free:
            needed = np.cumsum(np.resize(np.roll(self.phase, -(self.clock % block)), steps))
            steps = min(steps, int(np.searchsorted(needed, self.free, side="right")))
        base = self.times.linear[n] + self.times.head[n]
        until = self._next_arrival()
        first = base + float(self.times.decode(n, self.context / n))
        steps = min(steps, int(min((min(until, self.horizon) - self.now) / first, steps)) + 2)
        if steps == 1:
            ends = np.array([first])
        else:
            ends = np.cumsum(base + self.times.decode(n, self.context / n + np.arange(steps)))
            steps = 1 + int(np.searchsorted(ends[: steps - 1], until - self.now, side="left"))
        if self.now + ends[steps - 1] > self.horizon:
            steps = int(np.searchsorted(ends, self.horizon - self.now, side="right"))
        if not steps:
            return self._stop_at_horizon()
        whole, rest = divmod(steps, block)
        self.free -= whole * n + sum(self.phase[(self.clock + j) % block] for j in range(rest))
        self._advance(float(ends[steps - 1]), steps)
        self._count(steps)
        self._finish()
        return True

    def _next_arrival(self) -> float:
        """When the batch changes for a reason outside of it [s]."""
        until = inf
        room = len(self.running) < self.server.max_num_seqs and not self.waiting and self.open < self.open_at_once
        if room and self.next < len(self.sent) and not self.closed:
            until = self.sent[self.next]
        if self.timeout < inf and self.deadlines:
            until = min(until, self.sent[self.deadlines[0]] + self.timeout)
        return until

    def _count(self, steps: int) -> None:
        self.clock += steps
        self.context += steps * self.decoding
        self.generated += steps * self.decoding

    def _finish(self) -> None:
        while self.finish and self.finish[0][0] <= self.clock:
            _, i = heappop(self.finish)
            del self.running[i]
            self._leave(i)
            self.last[i] = self.now
            self._close(i, "finished")
        self._open_connections()

    def _stop_at_horizon(self) -> bool:
        seconds = self.horizon - self.now
        self._advance(seconds, 0)
        self._send()
        return False

    # Results -------------------------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        for i in self.running:
            if not (self.partial and self.partial[0] == i):
                self.done[i] = self._generated(i)
        sent = slice(0, self.next)
        return pd.DataFrame(
            {
                "sent_s": self.sent[sent], "first_token_s": self.first[sent], "last_token_s": self.last[sent],
                "prompt_tokens": self.prompt[sent], "output_tokens": self.done[sent], "status": self.status[sent],
                "error": self.error[sent],
            }
        )  # fmt: skip

    def counts(self) -> dict[str, Any]:
        now = self.now or 1.0
        return {
            "duration": self.now, "busy": self.busy, "steps": self.steps, "preemptions": self.preemptions,
            "requests_not_sent": len(self.sent) - self.next, "generated_tokens": self.generated,
            "peak_kv_blocks": self.blocks - self.least_free, "kv_blocks": self.blocks,
            "mean_running": self.running_area / now, "mean_in_system": self.system_area / now,
        }  # fmt: skip
