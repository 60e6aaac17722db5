"""Times of collectives between the GPUs of one machine, by the link that joins them.

As CUDA graphs replay them: launched one by one from the host, a collective takes 20 to 44 us more (`launch_latency`).
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalog import GPU, CollectiveFit, engines, kernel_fit
from ..catalog import gpu as find_gpu
from ..common.arguments import check_broadcast, one_of, positive_numbers
from ..common.arrays import Array
from ..common.errors import CannotRun
from ..operators import Cost
from .roofline import check_time_model

#: Exponent of the smooth minimum of the kernels for small and for large messages: engines choose the faster one [1].
CHOICE = 6.0
#: GPUs that `all_fraction` is of [1].
ALL = 8
#: How often each byte crosses a GPU's link, at least: an all-reduce is a reduce-scatter and an all-gather [1].
PASSES = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "all_to_all": 1}
#: One lane of PCIe in one direction, after encoding, by generation [GB/s]: 8, 16, 32 GT/s at 128b/130b; 64 GT/s at 242
#: of 256 bytes (PCI Express Base Specifications, PCI-SIG).
PCIE_LANE_GBS = {"3.0": 0.985, "4.0": 1.969, "5.0": 3.938, "6.0": 7.563}
#: GPUs of a usual server, where a catalog entry's `link.max_gpus` says nothing of more [1].
MACHINE = 8

# Links ------------------------------------------------------------------------------------------------------------


def link_rate(gpu: GPU, gpus: Array) -> Array:
    """Rate of a GPU's link to the others of its machine; no network is modelled.

    The vendor's own link, as far as it reaches (a bridge joins two GPUs); PCIe beyond it, or where there is none.

    Parameters
    ----------
    gpu : GPU
        Catalog entry.
    gpus : int or ndarray
        GPUs that take part [1].

    Returns
    -------
    ndarray
        In one direction [byte/s]; infinite for one GPU, which sends nothing.

    Raises
    ------
    ValueError
        Where the catalog gives neither rate, and for more GPUs than a machine has.
    """
    check_machine(gpu, gpus)
    own = (gpu.link and gpu.link.gbs_per_direction) or np.nan
    lanes = re.fullmatch(r"(\d\.0) x([1-9]\d?)", gpu.pcie or "")
    pcie = PCIE_LANE_GBS.get(lanes[1], np.nan) * int(lanes[2]) if lanes else np.nan
    rate = np.where(np.greater(gpus, 1), np.where(joined_by_link(gpu, gpus), own, pcie), np.inf)
    if np.any(np.isnan(rate)):
        raise CannotRun(
            f"{gpu.id} has no link rate for {np.max(gpus):g} GPUs: its catalog entry gives no link.gbs_per_direction"
            " that reaches them, and no pcie with generation and lanes",
            "no link between GPUs",
        )
    return 1e9 * rate


def reach(gpu: GPU) -> int:
    """GPUs that the vendor's own link joins; where the catalog does not know it, those of a usual server [1]."""
    return (gpu.link and gpu.link.max_gpus) or MACHINE


def machine_size(gpu: GPU) -> int:
    """GPUs of a machine: those that its own link joins, or `MACHINE` by PCIe.

    Parameters
    ----------
    gpu : GPU
        One of them.

    Returns
    -------
    int
        Their number [1].
    """
    return max(MACHINE, reach(gpu))


def joined_by_link(gpu: GPU, gpus: Array) -> Array:
    """Whether the vendor's own link joins all of them."""
    if not (gpu.link and gpu.link.gbs_per_direction):
        return np.zeros(np.shape(gpus), dtype=bool)
    return np.less_equal(gpus, reach(gpu))


def check_machine(gpu: GPU, gpus: Array, name: str = "gpus") -> None:
    """Refuse more GPUs than a machine has: those that its own link joins, or `MACHINE` by PCIe.

    Parameters
    ----------
    gpu : GPU
        Catalog entry.
    gpus : array_like
        Numbers of GPUs [1].
    name : str, default "gpus"
        What the argument is called.

    Raises
    ------
    ValueError
        For more than there are.
    """
    if np.any(np.greater(gpus, most := machine_size(gpu))):
        raise CannotRun(
            f"{name} = {np.max(gpus):g}: {gpu.id} has no link.max_gpus above {most} in its catalog entry, and no"
            " network is modelled",
            "more GPUs than a machine has",
        )


# The law ----------------------------------------------------------------------------------------------------------


def collective_seconds(fit: CollectiveFit, gpu: GPU, cost: Cost) -> Array:
    """The faster of two kernels: one for small messages, of least latency, and one for large ones, of most rate [s].

    The first takes a latency and reads the message whole from each of the others, or moves its least bytes; the second
    takes a setup and moves the least. What n GPUs move through each one's link at a share e of it, c S (n - 1) / n / e,
    is between its values for 2 and 8 GPUs, linear in (n - 1) / n, and falls nowhere. Over PCIe all share a host.
    Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002; vLLM's and TensorRT-LLM's one-shot kernels.
    """
    size, count = np.asarray(cost.bytes) / 2, np.asarray(cost.gpus, dtype=float)
    passes, moved, rate = PASSES[cost.kernel], (count - 1) / count, link_rate(gpu, count)
    pair, ends = moved / fit.pair_fraction, (0.5, (ALL - 1) / ALL)
    grown = np.maximum(ends[1] / fit.all_fraction - ends[0] / fit.pair_fraction, 0.0) / (ends[1] - ends[0])
    shared = np.maximum(fit.pair_fraction / fit.all_fraction * count / ALL, 1.0)
    own = joined_by_link(gpu, count)
    slower = np.where(np.logical_or(own, count <= 2), 1.0, shared)
    large = np.where(own, ends[0] / fit.pair_fraction + grown * (moved - ends[0]), pair * slower)
    latency = 1e-6 * (fit.launch_us + fit.gpu_us * np.maximum(count - 2, 0.0))
    small = latency + (count - 1 if fit.one_shot else passes * moved) * slower / fit.small_fraction * size / rate
    seconds = small * (1 + (small / (latency + 1e-6 * fit.setup_us + passes * large * size / rate)) ** CHOICE) ** (
        -1 / CHOICE
    )
    return np.where(count > 1, seconds, 0.0)[()]


def ideal_collective(gpu: GPU, cost: Cost, _: Array = 1.0) -> Array:
    """What the least that any algorithm moves takes at the link's rate [s]."""
    count = np.asarray(cost.gpus)
    least: Array = PASSES[cost.kernel] * (count - 1) / count * (np.asarray(cost.bytes) / 2) / link_rate(gpu, count)
    return least


def linked_seconds(fits: Callable[..., CollectiveFit], gpu: GPU, cost: Cost, _: Array = 1.0) -> Array:
    """Time of a collective, by the fit of the vendor's own link as far as it reaches, and of PCIe beyond [s].

    Of its work, bytes are read once and written once: half of them are the message. Beyond the link it takes no less
    than among as many GPUs as that joins.
    """
    own = joined_by_link(gpu, cost.gpus)
    if not joined_by_link(gpu, 2):
        return collective_seconds(fits(cost.kernel), gpu, cost)
    linked = replace(cost, gpus=np.minimum(cost.gpus, reach(gpu)))
    times = collective_seconds(fits(cost.kernel), gpu, linked)
    if np.all(own):
        return times
    beyond = collective_seconds(fits(cost.kernel, pcie=True), gpu, cost)
    return np.where(own, times, np.maximum(times, beyond))[()]


# Collectives ------------------------------------------------------------------------------------------------------


def all_reduce_time(
    gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel", engine: str | None = None
) -> Array:
    """Time to add up `bytes_` over several GPUs and give each of them the sum; 0 for one GPU.

    "ideal" is 2 (g - 1) / g of the bytes through each GPU's link in each direction, the least that any algorithm moves;
    "kernel" the law of the engine's kernels over that link (`catalog.CollectiveFit`).

    Parameters
    ----------
    gpu : str or GPU
        Id or catalog entry.
    bytes_ : array_like
        Of each GPU [byte].
    gpus : array_like
        GPUs that take part [1].
    time_model : str
        "kernel" or "ideal".
    engine : str, optional
        Whose kernels: "vllm", "sglang", "trtllm" or "pytorch" (NCCL); None is "vllm", the best measured.

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        For a GPU without a link rate (`link_rate`), an unknown name, or sizes that are not positive numbers.

    References
    ----------
    Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms, doi:10.1016/j.jpdc.2008.09.002.
    """
    return _time("all_reduce", gpu, bytes_, gpus, time_model, engine)


def all_gather_time(
    gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel", engine: str | None = None
) -> Array:
    """Time in which each of several GPUs gets the parts of all of them, `bytes_` together; 0 for one.

    Parameters
    ----------
    gpu, bytes_, gpus, time_model, engine
        As for `all_reduce_time`; the bytes are those of the whole. All engines use NCCL's kernels.

    Returns
    -------
    float or ndarray
        [s]
    """
    return _time("all_gather", gpu, bytes_, gpus, time_model, engine)


def reduce_scatter_time(
    gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel", engine: str | None = None
) -> Array:
    """Time to add up `bytes_` over several GPUs and give each of them a part of the sum; 0 for one.

    Parameters
    ----------
    gpu, bytes_, gpus, time_model, engine
        As for `all_gather_time`; the bytes are those of each GPU.

    Returns
    -------
    float or ndarray
        [s]
    """
    return _time("reduce_scatter", gpu, bytes_, gpus, time_model, engine)


def all_to_all_time(
    gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel", engine: str | None = None
) -> Array:
    """Time in which each of several GPUs sends `bytes_`, spread evenly over all of them; 0 for one.

    The share that stays, 1 / g, crosses no link: at least (g - 1) / g of the bytes over the link's rate.

    Parameters
    ----------
    gpu, bytes_, gpus, time_model, engine
        As for `all_gather_time`; the bytes are those of each GPU.

    Returns
    -------
    float or ndarray
        [s]
    """
    return _time("all_to_all", gpu, bytes_, gpus, time_model, engine)


def send_time(
    gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel", engine: str | None = None
) -> Array:
    """Time to send `bytes_` from one of several GPUs to another, as between stages of a pipeline; 0 for one.

    By the law of an exchange between two, in which each sends the other half of what it has.

    Parameters
    ----------
    gpu, bytes_, gpus, time_model, engine
        As for `all_gather_time`; the bytes are those sent.

    Returns
    -------
    float or ndarray
        [s]
    """
    card, size, count, ideal = _checked(gpu, bytes_, gpus, time_model)
    least: Array = size / link_rate(card, count)
    if ideal:
        return least
    own = joined_by_link(card, count)
    times = []
    for pcie in (False, True):
        fit = kernel_fit(card, "all_to_all", engine=engine, pcie=pcie).fit
        times.append(1e-6 * fit.launch_us + least / fit.pair_fraction)
    seconds: Array = np.where(count > 1, np.where(own, *times), 0.0)[()]
    return seconds


def _time(kind: str, gpu: str | GPU, bytes_: Any, gpus: Any, time_model: str, engine: str | None) -> Array:
    card, size, count, ideal = _checked(gpu, bytes_, gpus, time_model)
    work = Cost(0.0, 2 * size, size, 1, 1, kernel=kind, gpus=count)  # type: ignore[arg-type]  # an array of them
    least = ideal_collective(card, work)

    def fits(kind: str, *, pcie: bool = False) -> CollectiveFit:
        fit: CollectiveFit = kernel_fit(card, kind, engine=engine, pcie=pcie).fit
        return fit

    one_of("engine", engine, (None, *engines()))
    return least if ideal else np.maximum(linked_seconds(fits, card, work), least)


def _checked(gpu: str | GPU, bytes_: Any, gpus: Any, time_model: str) -> tuple[GPU, np.ndarray, np.ndarray, bool]:
    card = find_gpu(gpu)
    check_time_model(time_model)
    size, count = positive_numbers("bytes_", bytes_), positive_numbers("gpus", gpus)
    if (parts := count[count != np.floor(count)]).size:
        raise ValueError(f"gpus = {parts[0]:g}: expected whole numbers")
    check_broadcast(bytes_=size, gpus=count)
    return card, size, count, time_model == "ideal"
