"""Times of collectives between GPUs of several machines: inside each by its link, between them over a network."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..catalog import GPU
from ..common.arguments import LEAST, check_range
from ..common.arrays import Array
from ..kernels import Timing, machine_size, send_time, timed
from ..kernels.collectives import PASSES
from ..operators import Cost

#: Between two GPUs of two machines, where nothing else is said: a network hop of NCCL's tree with its low-latency
#: protocol (`hwLat` in src/graph/tuning.cc, github.com/NVIDIA/nccl) [us].
NETWORK_US = 5.0


@dataclass(frozen=True)
class Network:
    """What joins machines.

    Parameters
    ----------
    gbs : float
        Of each GPU, in one direction: 50 for 400 Gbit/s [GB/s].
    us : float
        That a message takes besides [us].

    Raises
    ------
    ValueError
        For numbers out of their range.
    """

    gbs: float
    us: float = NETWORK_US

    def __post_init__(self) -> None:
        object.__setattr__(self, "gbs", check_range("network_gbs", self.gbs, 1e5, "GB/s", low=LEAST))
        object.__setattr__(self, "us", check_range("network_us", self.us, 1e6, "microseconds"))

    def seconds(self, bytes_: Array, messages: float, timing: Timing) -> Array:
        """Time of some bytes, with the latency of `messages` one after another; none in the ideal [s]."""
        latency = 0.0 if timing.time_model == "ideal" else 1e-6 * self.us * messages
        return np.asarray(bytes_) / (1e9 * self.gbs) + latency


def collective_time(
    gpu: GPU, call: Cost, timing: Timing, network: Network | None, *, forwarded: Array | None = None
) -> Array:
    """Time of one collective, within a machine or between several.

    Between machines an all-reduce is one inside each machine and one between the GPUs of the same place in them, each
    with its share of the sum; gathers and scatters likewise. In an all-to-all what goes to other machines is on its way
    at the same time as what stays; or, if that is faster, every machine gets its part once and forwards it by its link.

    Parameters
    ----------
    gpu, call : GPU, Cost
        Catalog entry, and the collective.
    timing : Timing
        The time model and the latency of a launch.
    network : Network, optional
        What joins machines; None where all GPUs are in one.
    forwarded : float or ndarray, optional
        Of an all-to-all, each GPU's bytes where every machine gets them once [byte].

    Returns
    -------
    float or ndarray
        [s]

    Notes
    -----
    With n = m l GPUs in m machines and S bytes, the network at rate R and latency t takes p (m - 1) / m S / (l R) +
    p log2(m) t, p = 2 for an all-reduce and 1 for a gather or scatter; and (m - 1) / m S / R + t for an all-to-all.
    Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002; the latency is that of NCCL's trees.
    """
    machines = -(-call.gpus // machine_size(gpu))
    if machines == 1 or network is None:
        return timed(gpu, call, np.inf, timing)
    inside = -(-call.gpus // machines)
    size, crossing = np.asarray(call.bytes) / 2, (machines - 1) / machines
    if call.kernel == "all_to_all":

        def exchanged(stays: Array, crosses: Array) -> Array:
            linked = timed(gpu, replace(call, bytes=stays, gpus=inside), np.inf, timing) if inside > 1 else 0.0
            return np.maximum(linked, network.seconds(crossing * crosses, 1, timing))

        direct = exchanged(call.bytes / machines, size)
        return direct if forwarded is None else np.minimum(direct, exchanged(call.bytes, np.asarray(forwarded)))
    passes = PASSES[call.kernel]
    between = network.seconds(passes * crossing * size / inside, passes * np.log2(machines), timing)
    return between + (timed(gpu, replace(call, gpus=inside), np.inf, timing) if inside > 1 else 0.0)


def stages_time(gpu: GPU, bytes_: Any, *, stages: int, gpus: int, timing: Timing, network: Network | None) -> Array:
    """Time of all sends between the stages of a pipeline, one after another.

    Parameters
    ----------
    gpu : GPU
        Catalog entry.
    bytes_ : float or ndarray
        That a GPU hands to the one that follows it [byte].
    stages, gpus : int
        Of the pipeline; and GPUs of each stage, of which as many as fit are in a machine [1].
    timing, network
        As for `collective_time`.

    Returns
    -------
    float or ndarray
        [s]
    """
    together = max(machine_size(gpu) // gpus, 1)
    crossing = sum(stage % together == 0 for stage in range(1, stages))
    inside = stages - 1 - crossing
    seconds: Array = 0.0
    if network is None:
        inside, crossing = stages - 1, 0
    if inside:
        seconds += inside * send_time(
            gpu, bytes_=bytes_, gpus=min(stages * gpus, machine_size(gpu)), time_model=timing.time_model
        )
    if crossing:
        assert network
        seconds += crossing * network.seconds(bytes_, 1, timing)
    return seconds
