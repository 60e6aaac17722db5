"""Rows of a plan put to the test: a replica under its share of the arrivals, simulated until enough rows hold."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import pandas as pd

from ..catalog import GPU, Model
from ..common.arguments import check_range, one_of, whole_number
from ..common.errors import shown
from ..servers.replica import Replica
from ..servers.server import Server
from ..simulation import Workload, bursty, poisson, simulate
from .fleet import Fleet, Trial, rounded
from .room import KV_CACHE
from .verdicts import TOO_SLOW, UNFIT, ServiceLevel

ARRIVALS = ("poisson", "bursty")
#: Shape of the intervals between bursty arrivals [1]; their coefficient of variation is 2.
BURSTINESS = 0.25
#: Requests of a simulation at least, for each sequence that a replica holds, and their share that fills it first [1].
SIMULATED_REQUESTS, REQUESTS_A_SEQUENCE, FILLING = 600, 10, 0.2
#: Times the least replicas at which a row is given up [1], and halvings of the rate that a row holds up to [1].
MOST_REPLICAS, HALVINGS = 64, 7


@dataclass(frozen=True)
class Service:
    """What is asked of a plan's replicas, and of how many requests.

    Parameters
    ----------
    arrivals : str or Workload
        One of `ARRIVALS`, or an open loop that was recorded.
    prompt, output, cached : int
        Of a request, where they are not the recorded ones [token].
    level : ServiceLevel
        Its limits.
    percentile : float
        Share of the requests that must keep each of them [%].
    seed : int
        Of the arrivals.

    Raises
    ------
    ValueError
        For arrivals of another kind, a closed loop, and numbers out of their range.
    """

    arrivals: str | Workload
    prompt: int
    output: int
    cached: int
    level: ServiceLevel
    percentile: float
    seed: int

    def __post_init__(self) -> None:
        if not isinstance(self.arrivals, Workload):
            object.__setattr__(self, "arrivals", one_of("arrivals", self.arrivals, ARRIVALS))
        else:
            recorded_rate(self.arrivals)
        object.__setattr__(self, "percentile", check_range("percentile", self.percentile, 100, low=1))
        object.__setattr__(self, "seed", whole_number("seed", self.seed, low=0))

    def share(self, rate: float, replicas: int, requests: int) -> Workload:
        """What one of the replicas gets of the arrivals [1/s]: of a trace every request whose turn it is."""
        if isinstance(self.arrivals, Workload):
            trace, own = self.arrivals, recorded_rate(self.arrivals)
            turn = slice(None, None, replicas)
            sent = trace.sent_s[turn] * own / rate
            return replace(
                trace, sent_s=sent, prompt_tokens=trace.prompt_tokens[turn], output_tokens=trace.output_tokens[turn],
                cached_tokens=trace.cached_tokens[turn],
                block_hashes=None if trace.block_hashes is None else trace.block_hashes[turn],
            )  # fmt: skip
        sizes = {"requests": requests, "prompt": self.prompt, "output": self.output, "cached": self.cached}
        if self.arrivals == "poisson":
            return poisson(rate / replicas, seed=self.seed, **sizes)
        return bursty(rate / replicas, burstiness=BURSTINESS, seed=self.seed, **sizes)

    @property
    def longest(self) -> int:
        """Prompt and output of a request together at most [token]."""
        if isinstance(self.arrivals, Workload):
            return int((self.arrivals.prompt_tokens + self.arrivals.output_tokens).max())
        return self.prompt + self.output

    def judge(self, server: Server, rate: float, replicas: int) -> Trial:
        """What the requests see of one of the replicas, once it is filled."""
        requests = max(SIMULATED_REQUESTS, REQUESTS_A_SEQUENCE * server.max_num_seqs * server.dp_ranks)
        frame = simulate(server, self.share(rate, replicas, requests))
        frame = frame.iloc[int(FILLING * len(frame)) :]
        ended = (frame.status == "finished").to_numpy()
        first, decoding = frame.first_token_s - frame.sent_s, frame.last_token_s - frame.first_token_s
        more = np.maximum(frame.output_tokens - 1, 1)
        ttft, tpot = (
            float(np.percentile(np.where(ended, times, np.inf), self.percentile, method="higher"))
            for times in (first, decoding / more)
        )
        return Trial(replicas, rate, ttft, tpot, self.level.verdict(ttft, tpot))


def recorded_rate(trace: Workload) -> float:
    """Mean rate of a trace's requests [1/s]; ValueError for a closed loop, a single request, and for all at once."""
    if trace.concurrency is not None:
        raise ValueError("arrivals: a closed loop has no rate; give 'poisson', 'bursty', or a trace")
    if len(trace) < 2 or not trace.sent_s[-1]:
        raise ValueError(f"arrivals = {shown(trace.settings)}: expected requests at two times at least, to have a rate")
    return (len(trace) - 1) / float(trace.sent_s[-1])


def least_replicas(judge: Callable[[int], Trial], low: int) -> Trial:
    """The fewest replicas, from `low` on, whose requests keep the limits; the last outcome where none do."""
    if (found := judge(low)).met:
        return found
    most = judge(MOST_REPLICAS * low)
    high = low + 1
    while most.met and not (found := judge(high) if high < most.replicas else most).met:
        low, high = high, min(high + 2 * (high - low), most.replicas)
    if not most.met:
        return most
    while high - low > 1:
        middle = judge((low + high) // 2)
        low, high, found = (low, middle.replicas, middle) if middle.met else (middle.replicas, high, found)
    return found


def highest_rate(judge: Callable[[float], Trial], high: float) -> Trial:
    """The highest rate [1/s], up to `high`, whose requests keep the limits; the outcome of the least where none do."""
    found = judge(high)
    if found.met:
        return found
    low, found = high / MOST_REPLICAS, judge(high / MOST_REPLICAS)
    if not found.met:
        return found
    for _ in range(HALVINGS):
        middle = judge((low + high) / 2)
        low, high, found = (middle.rate, high, middle) if middle.met else (low, middle.rate, found)
    return found


def first_that_hold(
    bounds: Iterable[tuple[float, float, int]],
    settle: Callable[[int], Trial],
    score: Callable[[int, Trial], float],
    kind: Callable[[int], Hashable],
    count: int,
) -> dict[int, Trial]:
    """Rows that are simulated, by their places, until `count` kinds of them have one that nothing else can beat.

    Best first: a row is settled when no other may still come out better, and holds when none that is settled did. Where
    one is hopeless, all of its kind are.

    Parameters
    ----------
    bounds : iterable of tuple
        The best score that a row may have, what orders equal ones, and its place; less is better.
    settle : callable
        The simulation of a row, by its place.
    score : callable
        Of a row by its place, and of its outcome; no less than its bound.
    kind : callable
        Of a row by its place; one row of a kind is enough.
    count : int
        How many kinds [1].
    """
    heap: list[tuple[float, float, int, bool]] = [(*bound, False) for bound in bounds]
    heapify(heap)
    found, held, hopeless = dict[int, Trial](), set[Hashable](), dict[Hashable, Trial]()
    while heap and len(held) < count:
        _, tie, place, settled = heappop(heap)
        if kind(place) in held:
            continue
        if kind(place) in hopeless:
            found[place] = hopeless[kind(place)]
            continue
        if settled:
            held.add(kind(place))
            continue
        found[place] = settle(place)
        if found[place].met:
            heappush(heap, (score(place, found[place]), tie, place, True))
        elif found[place].verdict in TOO_SLOW:
            hopeless[kind(place)] = found[place]
    return found


def simulated_server(
    card: GPU, model: Model, tp: int, batch_size: int, options: Mapping[str, Any], longest: int
) -> Server | None:
    """The server of a plan's row, with the estimate's options; None where its cache has no room for a request."""
    own = {name: value for name, value in options.items() if name in Server.__dataclass_fields__} | {"tp": tp}
    if own.get("max_model_len") is None:
        own["max_model_len"] = longest
    replica = Replica(card, model, **{name: own[name] for name in own if name in Replica.__dataclass_fields__})
    server = Server(card, model, **own | {"max_num_seqs": -(-batch_size // replica.dp_ranks)})
    try:
        return replace(server, kv_tokens="fit")
    except ValueError:
        return None


def check_simulated(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of an estimate that no simulation has."""
    for name, value in options.items():
        if name not in Server.__dataclass_fields__ and name not in ("cached_prefix", "power_floor") and value:
            raise ValueError(f"{name} is not simulated: leave it out, or give confirm = 0 for the estimate alone")


def confirm_rows(
    table: pd.DataFrame, fleet: Fleet, service: Service, server: Callable[[Any], Server | None], count: int,
    tick: Callable[[int, int], None],
) -> dict[int, Trial]:  # fmt: skip
    """What the rows of a loaded plan come to that are simulated: those that come out best, of `count` GPUs and tps."""
    left = table[table.verdict == ""]
    rows: dict[int, Any] = {int(place): row for place, row in zip(left.index, left.itertuples(), strict=True)}
    done = itertools.count(1)

    def settle(place: int) -> Trial:
        row = rows[place]
        replicas = int(row.replicas)
        tick(next(done), len(rows))
        if (made := server(row)) is None:
            return Trial(replicas, row.request_rate, np.nan, np.nan, UNFIT[KV_CACHE])
        if fleet.gpus is None:
            return least_replicas(lambda number: service.judge(made, row.request_rate, number), replicas)
        return highest_rate(lambda rate: service.judge(made, rate, replicas), row.request_rate)

    def score(place: int, outcome: Trial) -> float:
        row = rows[place]
        worse = outcome.replicas / row.replicas if fleet.gpus is None else outcome.rate / row.request_rate
        return rounded(row.score * worse)

    bounds = [(row.score, row.utilization, place) for place, row in rows.items()]
    return first_that_hold(bounds, settle, score, lambda place: (rows[place].gpu, rows[place].tp), count)
