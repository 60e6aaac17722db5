"""What the users of a server see of it on average: the closed loop that `serving.estimate` answers by."""

from typing import NamedTuple

import numpy as np

from ..servers.server import Server
from .client import Client, ClientOptions
from .engine import Engine
from .step_times import StepTimes
from .workloads import closed_loop

#: Requests of each user, who begin together, as public benchmarks have them (InferenceX: ten times the users) [1].
REQUESTS = 10


class LoopTimes(NamedTuple):
    """Means over the requests of a closed loop, to the first token and for each after it; NaN where none is [s]."""

    ttft: float
    tpot: float


def loop_times(server: Server, times: StepTimes, users: int, *, prompt: int, output: int, cached: int = 0) -> LoopTimes:
    """Simulate users who each send `REQUESTS` of one size, the next when one has ended.

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
    LoopTimes
        The same as of `simulate` with `closed_loop(users, requests=REQUESTS * users, ...)`.
    """
    workload = closed_loop(users, requests=REQUESTS * users, prompt=prompt, output=output, cached=cached)
    client = Client(workload, ClientOptions(), Engine(server, times), server)
    while client.step():
        pass
    sent, first, last = (float(np.mean(each)) for each in (client.sent, client.first, client.last))
    return LoopTimes(first - sent, (last - first) / (output - 1) if output > 1 else np.nan)
