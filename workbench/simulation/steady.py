"""The steady state of a server whose users each send the next request when the last one has ended."""

from dataclasses import dataclass

import numpy as np

from ..servers.server import Server
from .client import Client, ClientOptions
from .engine import Engine
from .step_times import StepTimes
from .workloads import closed_loop

#: Requests that are looked at, at least; they come after one of every user, which arrive together [1].
REQUESTS = 256


@dataclass(frozen=True)
class Steady:
    """Means over the requests of a steady state.

    Parameters
    ----------
    ttft, tpot : float
        To the first token, and for each token after it; NaN where there is none after it [s].
    """

    ttft: float
    tpot: float


def steady_state(
    server: Server, times: StepTimes, users: int, *, prompt: int, output: int, cached: int = 0
) -> Steady:  # fmt: skip
    """The times of requests of one size, of so many users.

    Parameters
    ----------
    server, times : Server, StepTimes
        What serves them, and its tabulated steps.
    users : int
        Requests in the system at a time [1].
    prompt, output, cached : int
        Of every request, and found in the prefix cache [token].

    Returns
    -------
    Steady
        Of the requests after the first of every user: one of each, or `REQUESTS` where the users are fewer.
    """
    looked_at = max(users, REQUESTS)
    workload = closed_loop(users, requests=2 * users + looked_at, prompt=prompt, output=output, cached=cached)
    client = Client(workload, ClientOptions(), Engine(server, times), server)
    while client.ended < users + looked_at and client.step():
        pass
    sent, first, last = (
        np.array(each[users : users + looked_at]) for each in (client.sent, client.first, client.last)
    )  # fmt: skip
    after = output - 1
    return Steady(float(np.nanmean(first - sent)), float(np.nanmean(last - first)) / after if after else np.nan)
