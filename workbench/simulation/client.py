"""The client of a load test: it sends a workload's requests to a server, and tells what became of each."""

import warnings
from collections import deque
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from ..common.arguments import LEAST, check_range, one_of, whole_number
from ..common.errors import shown
from ..common.progress import progress_bar
from ..kernels.unknowns import joined
from ..servers import memory
from ..servers.replica import beyond_context, host_assumed
from ..servers.server import Server
from .engine import Engine, StepOutcome
from .requests import Request
from .workloads import Workload


def simulate(
    server: Server,
    workload: Workload,
    *,
    in_flight: int | None = None,
    timeout: float | None = None,
    horizon: float | None = None,
    progress: bool = False,
    steps: bool = False,
) -> pd.DataFrame:
    """Send the workload's requests to the server; one row a request, as in the table of a load test.

    The result is deterministic. Outputs end at their given length or, with a warning, at `max_model_len`.

    Parameters
    ----------
    server : Server
        What serves the requests.
    workload : Workload
        What `poisson`, `bursty`, `closed_loop` or `trace` return.
    in_flight : int, optional
        Requests that the client has open at once [1]; the others wait at the client, their clock running.
    timeout : float, optional
        After which the client gives a request up [s].
    horizon : float, optional
        When the test ends [s].
    progress : bool
        Show a bar on the terminal.
    steps : bool
        Keep what every step computes of every request, for `plots.steps`.

    Returns
    -------
    pandas.DataFrame
        Columns: sent_s, first_token_s, last_token_s, from the first send, NaN where it never happened [s];
        prompt_tokens, output_tokens, those generated until the end [token]; status, "finished", "failed" or
        "unfinished"; error, "" where there was none. Requests that were not sent before the test ended are left out.

        `attrs` has the settings; "assumed", as of `serving.estimate`; "warnings", one line each, given as Python's as
        well: outputs that max_model_len cuts short; and, in "engine": duration and busy time [s], steps, preemptions,
        requests_not_sent, generated_tokens, peak_kv_blocks, kv_blocks; hit_tokens of prompts that were found in the
        prefix cache, and refound_tokens of preempted requests [token]; and the time averages mean_running and
        mean_in_system of the requests in the batch and sent but not ended [1]. With `steps`, in "steps", a row for what
        a step computes of a request: its start_s and end_s [s], request (its row), decoding (or prompt), tokens.

    Raises
    ------
    ValueError
        For settings outside their range, and for weights that do not fit.
    """
    options = ClientOptions(in_flight, timeout, horizon)
    if not isinstance(server, Server):
        raise ValueError(f"server = {shown(server)}: expected a simulation.Server")
    if not isinstance(workload, Workload):
        raise ValueError(f"workload = {shown(workload)}: expected one of poisson, bursty, closed_loop or trace")
    check_fits(server)
    if (tokens := workload.block_tokens) is not None and tokens < server.block_size:
        raise ValueError(f"block_tokens = {tokens} is less than block_size = {server.block_size} of the server")
    one_of("steps", steps, (True, False))
    client = Client(workload, options, Engine(server, record=steps), server)
    with progress_bar("requests", show=one_of("progress", progress, (True, False))) as update:
        while client.step():
            update(client.ended, len(workload))
    frame = client.table()
    settings = {"server": server.settings(), "workload": workload.settings, "client": asdict(options)}
    told = [memory.assumed(server), *beyond_context(server.model, server.max_model_len)]
    frame.attrs = settings | {
        "engine": client.counts(), "warnings": _cut_short(server, workload, len(frame)),
        "assumed": joined([*told, host_assumed(server)]),
    }  # fmt: skip
    if (record := client.engine.record) is not None:
        frame.attrs["steps"] = [each._asdict() for each in record]
    for warning in frame.attrs["warnings"]:
        warnings.warn(warning, stacklevel=2)
    return frame


@dataclass(frozen=True)
class ClientOptions:
    """What a client is told besides its workload.

    Parameters
    ----------
    in_flight : int, optional
        Requests that it has open at once [1]; None: as many as there are.
    timeout : float, optional
        After which it gives a request up [s]; None: never.
    horizon : float, optional
        When the test ends [s]; None: with the last request.

    Raises
    ------
    ValueError
        For what is not positive, and an in_flight that is not a whole number.
    """

    in_flight: int | None = None
    timeout: float | None = None
    horizon: float | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "horizon"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_range(name, value, inf, "seconds", low=LEAST))
        if self.in_flight is not None:
            object.__setattr__(self, "in_flight", whole_number("in_flight", self.in_flight))


def check_fits(server: Server) -> None:
    """Raise ValueError for weights that are larger than the memory."""
    weights, capacity = memory.weights(server), server.gpu.memory_bytes
    if capacity is not None and weights > capacity:
        raise ValueError(
            f"{server.model.id} does not fit:"
            f" {weights / 1e9:.1f} GB of weights on each {server.gpu.id} of {capacity / 1e9:.1f} GB"
        )


def _cut_short(server: Server, workload: Workload, sent: int) -> list[str]:
    """What there is to say of outputs that would be longer than max_model_len allows."""
    room = server.max_model_len - workload.prompt_tokens[:sent]
    cut = int(((room > 0) & (workload.output_tokens[:sent] > room)).sum())
    if not cut:
        return []
    return [f"max_model_len = {server.max_model_len} cuts {cut:,} of {sent:,} outputs short: a larger one would not"]


#: Its multiples, modulo 1, fill the interval from 0 to 1 evenly (Weyl) [1].
GOLDEN = (5**0.5 - 1) / 2


class Client:
    """The sender of a workload, and what it sees of each request.

    An open loop sends at given times, a closed loop when an earlier request has ended. A request that finds no
    connection waits at the client. Lists and numbers of requests are by their place in the workload.

    Parameters
    ----------
    workload : Workload
        What it sends.
    options : ClientOptions
        Its connections, its timeout and when the test ends.
    engine : Engine
        What it sends to, at time 0.
    server : Server
        The engine's: prompt and output of a request have its max_model_len at most, longer outputs end there, and a
        request takes some time to arrive.
    """

    def __init__(self, workload: Workload, options: ClientOptions, engine: Engine, server: Server) -> None:
        """Begin with nothing sent."""
        n = len(workload)
        self.engine = engine
        self.timeout, self.horizon = options.timeout or inf, options.horizon or inf
        self.closed_loop = workload.concurrency is not None
        self.connections = min(options.in_flight or n, workload.concurrency or n)

        self.sent: list[float] = workload.sent_s.tolist()
        self.prompt: list[int] = workload.prompt_tokens.tolist()
        room = np.maximum(server.max_model_len - workload.prompt_tokens, 0)
        self.output: list[int] = np.minimum(workload.output_tokens, room).tolist()
        self.cached: list[int] = workload.cached_tokens.tolist()
        self.hashes: list[tuple[int, ...]] = [tuple(keys) for keys in workload.block_hashes or ()]
        self.hashed, self.block_size = workload.block_tokens or 1, server.block_size

        self.first, self.last, self.generated = [np.nan] * n, [np.nan] * n, [0] * n
        self.status, self.error = ["unfinished"] * n, [""] * n

        self.next = self.ended = 0  # requests sent, requests ended
        self.without_connection: deque[int] = deque()
        self.open: dict[int, Request] = {}
        #: What each takes to the engine, exponentially distributed, evenly in any number of them [s].
        self.latency: list[float] = (-server.request_latency * np.log1p(-((np.arange(n) + 0.5) * GOLDEN % 1))).tolist()
        self.arriving: list[tuple[float, int]] = []  # at the engine, when, as a heap
        self.at_engine: set[int] = set()
        self.deadlines: deque[int] = deque()  # those that may time out, in the order in which they would
        self.in_system_area = 0.0  # requests sent but not ended, over time [s]

    def step(self) -> bool:
        """Send what is due and let the engine go on to what comes next; False when the test is over."""
        self._send()
        if self.deadlines:
            self._give_up()
        self._arrive()
        if self.engine.idle:
            return self._wait()
        outcome = self.engine.step(self._next_arrival(), self._next_deadline(), self.horizon)
        if outcome is None:
            self._pass(self.engine.cut_at(self.horizon))
            self._send()
            return False
        self._receive(outcome)
        return True

    def _send(self) -> None:
        """Send what is due by now; in a closed loop, as many as there are connections."""
        now, n = self.engine.now, len(self.sent)
        while self.next < n and (self.closed_loop or self.sent[self.next] <= now):
            if self.closed_loop:
                if len(self.open) == self.connections:
                    break
                self.sent[self.next] = now
            self.in_system_area += now - self.sent[self.next]
            self.without_connection.append(self.next)
            if self.timeout < inf:
                self.deadlines.append(self.next)
            self.next += 1
            self._connect()

    def _connect(self) -> None:
        """Hand over what waits at the client, as far as there are connections."""
        while self.without_connection and len(self.open) < self.connections:
            i = self.without_connection.popleft()
            if self.output[i] < 1:
                self._end(i, "failed", f"prompt of {self.prompt[i]} tokens: max_model_len is too short")
                continue
            self.open[i] = request = Request(i, self.prompt[i], self.output[i], self.cached[i])
            if self.hashes:
                full = self.prompt[i] // self.block_size * self.block_size  # what fills no block is not found
                request.hashes, request.hashed = self.hashes[i][: -(-full // self.hashed)], self.hashed
            heappush(self.arriving, (self.engine.now + self.latency[i], i))

    def _arrive(self) -> None:
        """Hand over to the engine what has arrived there; what was given up on its way never does."""
        while self.arriving and (self.arriving[0][0] <= self.engine.now or self.arriving[0][1] not in self.open):
            i = heappop(self.arriving)[1]
            if i in self.open:
                self.engine.add(self.open[i])
                self.at_engine.add(i)

    def _give_up(self) -> None:
        """End the requests whose timeout has come; a closed loop sends others at once."""
        while self._next_deadline() <= self.engine.now:
            i = self.deadlines.popleft()
            if self.status[i] != "unfinished":
                continue
            if i in self.open:
                if i in self.at_engine:
                    self.engine.cancel(self.open[i])
                self._close(i)
            else:
                self.without_connection.remove(i)
            self._end(i, "failed", f"timed out after {self.timeout:g} s")
        while self.deadlines and self.status[self.deadlines[0]] != "unfinished":
            self.deadlines.popleft()
        self._connect()
        self._send()

    def _wait(self) -> bool:
        """Let the idle engine wait for the next request; False where none comes. A closed loop sends it at once."""
        upcoming = self._next_arrival()
        if upcoming == inf:
            return self.closed_loop and self.next < len(self.sent)
        self.engine.wait_until(min(upcoming, self._next_deadline(), self.horizon))
        return self.engine.now < self.horizon

    def _next_arrival(self) -> float:
        """When the engine gets another request, or the client has one to send, if none ends before [s]."""
        first = self.arriving[0][0] if self.arriving else inf
        if self.closed_loop or self.next == len(self.sent) or len(self.open) >= self.connections:
            return first
        return min(first, self.sent[self.next])

    def _next_deadline(self) -> float:
        """When the next request times out, if it has not ended before [s]."""
        return self.sent[self.deadlines[0]] + self.timeout if self.deadlines else inf

    def _receive(self, outcome: StepOutcome) -> None:
        """Note what a step has brought."""
        self._pass(outcome.seconds)
        now = self.engine.now
        for request in outcome.first_tokens:
            self.first[request.place] = now
        for request in outcome.finished:
            self.last[request.place] = now
            self._close(request.place)
            self._end(request.place, "finished")
        self._connect()

    def _pass(self, seconds: float) -> None:
        self.in_system_area += seconds * (self.next - self.ended)

    def _close(self, i: int) -> None:
        """Take back the connection of a request that the engine has let go."""
        self.generated[i] = self.open.pop(i).generated
        self.at_engine.discard(i)

    def _end(self, i: int, status: str, error: str = "") -> None:
        self.status[i], self.error[i] = status, error
        self.ended += 1

    def table(self) -> pd.DataFrame:
        """One row for each request sent; columns as for `simulate`."""
        for i, request in self.open.items():
            self.generated[i] = self.engine.generated(request)
        sent = slice(0, self.next)
        return pd.DataFrame(
            {
                "sent_s": self.sent[sent], "first_token_s": self.first[sent], "last_token_s": self.last[sent],
                "prompt_tokens": self.prompt[sent], "output_tokens": self.generated[sent],
                "status": self.status[sent], "error": self.error[sent],
            }
        )  # fmt: skip

    def counts(self) -> dict[str, Any]:
        """The totals of the engine and its own, by the names of `simulate`'s "engine"."""
        mean = self.in_system_area / (self.engine.now or 1.0)
        return self.engine.counts() | {"requests_not_sent": len(self.sent) - self.next, "mean_in_system": mean}
