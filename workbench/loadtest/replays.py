"""The same requests through simulated servers, many times over, and what a client sees of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..servers.replica import Calibration
from ..servers.server import Server
from ..simulation.client import Client, ClientOptions, check_fits
from ..simulation.engine import Engine
from ..simulation.scheduler import PromptPart
from ..simulation.step_times import StepTimes
from ..simulation.workloads import Workload
from .recordings import Recording
from .rows import ITL_STEP, SHORTEST_ITL

#: Tokens of a simulation whose gaps are counted, at most [token].
MOST_GAPS = 2 * 10**6


@dataclass(frozen=True)
class Replayed:
    """What a simulated server has made of the requests.

    Parameters
    ----------
    server : Server
        Which it was.
    table : pandas.DataFrame
        A row a request, as `simulation.simulate` returns them.
    counts : dict
        The engine's totals, as there.
    mixed : numpy.ndarray
        A row for each step with prompts: sequences that decode [1] and the mean context of each [token]; parts of
        prompts [1], the mean tokens of each, and of those before it [token].
    """

    server: Server
    table: pd.DataFrame
    counts: dict[str, Any]
    mixed: np.ndarray

    @property
    def token_rate(self) -> float:
        """Output tokens of all requests over the time until the last of them ended [1/s]."""
        return float(self.counts["generated_tokens"] / self.counts["duration"])

    @property
    def latency(self) -> float:
        """Mean time of a request from its send to its last token, or to the end of the test [s]."""
        last = self.table.last_token_s.fillna(self.counts["duration"])
        return float((last - self.table.sent_s).mean())


class ObservedEngine(Engine):
    """An engine that keeps what its steps with prompts compute, as `Replayed.mixed`."""

    def __init__(self, server: Server, times: StepTimes) -> None:
        """Begin with none."""
        super().__init__(server, times)
        self.mixed: list[tuple[float, ...]] = []

    def _mixed_time(self, parts: list[list[PromptPart]], decoding: list[int]) -> float:
        every = [part for own in parts for part in own]
        n, k = sum(decoding), len(every)
        context = sum(rank.batch.context for rank, own in zip(self.ranks, decoding, strict=True) if own)
        tokens, before = sum(part.upto - part.start for part in every), sum(part.start for part in every)
        self.mixed.append((n, context / max(n, 1), k, tokens / max(k, 1), before / max(k, 1)))
        return super()._mixed_time(parts, decoding)


class Replays:
    """Simulates one recording on servers, and keeps the times of their steps, which are most of the work.

    Parameters
    ----------
    recorded : Recording
        What is sent.
    tick : callable
        Called after every simulation.
    """

    def __init__(self, recorded: Recording, tick: Callable[[], None] = lambda: None) -> None:
        """Begin with nothing simulated."""
        self.recorded, self.tick = recorded, tick
        self._times: dict[str, StepTimes] = {}

    def run(self, server: Server, load: tuple[Workload, int | None] | None = None) -> Replayed:
        """What a server makes of the requests, or of another load and what its client opens at once."""
        workload, in_flight = load or (self.recorded.workload, self.recorded.in_flight)
        engine = ObservedEngine(server, self._steps(server))
        client = Client(workload, ClientOptions(in_flight, None, self.recorded.horizon), engine, server)
        while client.step():
            pass
        self.tick()
        return Replayed(server, client.table(), client.counts(), np.array(engine.mixed).reshape(-1, 5))

    def _steps(self, server: Server) -> StepTimes:
        """Times of a server's steps; the host's is added to those of the same server without one."""
        alone = replace(server, step_overhead=0.0, sequence_overhead=0.0)
        key = repr(alone.settings())
        if key not in self._times:
            check_fits(alone)
            self._times[key] = StepTimes(alone)
        return self._times[key].with_host(server.calibration)


def host_of(server: Server) -> dict[str, float]:
    """The host's time of every step and of a sequence, as `Server` takes them [s]."""
    own: Calibration = server.calibration
    return {"step_overhead": own.step_overhead, "sequence_overhead": own.sequence_overhead}


def by_sequence(found: Replayed) -> Server:
    """A server as fast with as many sequences as ran, whose host's time is all of the sequences, none of the step."""
    host, running = host_of(found.server), max(found.counts["mean_running"], 1.0)
    each = host["sequence_overhead"] + host["step_overhead"] / running
    return replace(found.server, step_overhead=0.0, sequence_overhead=each)


def as_recorded(simulated: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """A simulated table as the recording's client would have written it: it may count finished requests alone."""
    begun = recorded[(recorded.status == "unfinished") & recorded.first_token_s.notna()]
    if len(begun) and begun.output_tokens.fillna(0).gt(0).any():
        return simulated
    tokens = simulated.output_tokens.astype("Int64").where(simulated.status == "finished")
    return simulated.assign(output_tokens=tokens)


def gaps(table: pd.DataFrame) -> dict[str, list[float]]:
    """Times between the tokens of requests, from the steps of a simulation: ascending [s], and how many of each [1].

    A step brings every sequence one token, the last part of a prompt its first.
    """
    steps = pd.DataFrame(table.attrs["steps"])
    decoding = steps[steps.decoding.astype(bool)].sort_values(["request", "end_s"], kind="stable")
    first = table.first_token_s.to_numpy(float)[decoding.request]
    before = decoding.groupby("request").end_s.shift(1).fillna(pd.Series(first, decoding.index))
    bins = np.rint(np.log(np.maximum(decoding.end_s - before, SHORTEST_ITL)) / ITL_STEP)
    places, count = np.unique(bins, return_counts=True)
    return {"seconds": np.exp(places * ITL_STEP).tolist(), "count": count.tolist()}
