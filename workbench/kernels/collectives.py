"""Times of collectives between the GPUs of one machine: latency and rate of the link that joins them."""

import re
from typing import Any

import numpy as np

from ..catalog import GPU
from ..catalog import gpu as find_gpu
from ..common.arguments import check_broadcast, positive_numbers
from ..common.arrays import Array
from ..common.errors import CannotRun
from ..operators import Cost
from .roofline import check_time_model

#: Of a collective: latency of one step over a vendor's own link and over PCIe [s], and the share of the link's rate
#: that it reaches [1]. NCCL's all-reduce over H100s on NVLink (vidur, github.com/microsoft/vidur,
#: data/profiling/network/h100_dgx: 31 us for 1 MB and 318 us for 67 MB over 4 GPUs, 33 us for 1 MB over 8) has 4.4 and
#: 1.9 us a step of its ring, and 333 of 450 GB/s; over two A100s it takes 5 us a step (github.com/NVIDIA/nccl, thread
#: 583). The rate on PCIe, its latency, and one shot, which serving engines have kernels for, are guesses.
STEP_LATENCY, PCIE_STEP_LATENCY, LINK_FRACTION = 3e-6, 10e-6, 0.74
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
    rate = np.where(np.greater(gpus, 1), np.where(_own_link(gpu, gpus), own, pcie), np.inf)
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


def _own_link(gpu: GPU, gpus: Array) -> Array:
    """Whether the vendor's own link joins all of them."""
    if not (gpu.link and gpu.link.gbs_per_direction):
        return np.zeros(np.shape(gpus), dtype=bool)
    return np.less_equal(gpus, reach(gpu))


def _latency(gpu: GPU, gpus: Array) -> np.ndarray:
    return np.where(_own_link(gpu, gpus), STEP_LATENCY, PCIE_STEP_LATENCY)


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
    if np.any(np.greater(gpus, most := max(MACHINE, reach(gpu)))):
        raise CannotRun(
            f"{name} = {np.max(gpus):g}: {gpu.id} has no link.max_gpus above {most} in its catalog entry, and no"
            " network is modelled",
            "more GPUs than a machine has",
        )


# Collectives ------------------------------------------------------------------------------------------------------


def all_reduce_time(gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel") -> Array:
    """Time to add up `bytes_` over several GPUs and give each of them the sum; 0 for one GPU.

    "ideal" is 2 (g - 1) / g of the bytes through each GPU's link in each direction, the least that any algorithm moves.
    "kernel" is the faster of a ring, in 2 (g - 1) steps, and of one shot, in which each GPU reads all the others at
    once, both with a latency and a share of the link (`STEP_LATENCY`).

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

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        For a GPU without a link rate (`link_rate`), an unknown time model, or sizes that are not positive numbers.

    References
    ----------
    Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms, doi:10.1016/j.jpdc.2008.09.002.
    """
    return _all_reduce(*_checked(gpu, bytes_, gpus, time_model))


def all_to_all_time(gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel") -> Array:
    """Time in which each of several GPUs sends `bytes_`, spread evenly over all of them; 0 for one.

    The share that stays, 1 / g, crosses no link: at least (g - 1) / g of the bytes over the link's rate. "kernel" adds
    a latency and a share of that rate (`STEP_LATENCY`).

    Parameters
    ----------
    gpu, bytes_, gpus, time_model
        As for `all_reduce_time`.

    Returns
    -------
    float or ndarray
        [s]
    """
    return _all_to_all(*_checked(gpu, bytes_, gpus, time_model))


def send_time(gpu: str | GPU, *, bytes_: Any, gpus: Any, time_model: str = "kernel") -> Array:
    """Time to send `bytes_` from one of several GPUs to another, as between stages of a pipeline.

    Parameters
    ----------
    gpu, bytes_, gpus, time_model
        As for `all_reduce_time`; the bytes are those sent.

    Returns
    -------
    float or ndarray
        [s]
    """
    card, size, count, ideal = _checked(gpu, bytes_, gpus, time_model)
    least: Array = size / link_rate(card, count)
    return least if ideal else _latency(card, count) + least / LINK_FRACTION


def _all_reduce(card: GPU, size: np.ndarray, count: np.ndarray, ideal: bool) -> Array:
    others, rate = count - 1, link_rate(card, count)
    least: Array = 2 * others / count * size / rate
    if ideal:
        return least
    latency = _latency(card, count)
    ring = 2 * others * latency + least / LINK_FRACTION
    one_shot = latency + others * size / (LINK_FRACTION * rate)
    time: Array = np.where(others > 0, np.minimum(ring, one_shot), 0.0)[()]
    return time


def _all_to_all(card: GPU, size: np.ndarray, count: np.ndarray, ideal: bool) -> Array:
    least = (count - 1) / count * size / link_rate(card, count)
    time: Array = least if ideal else np.where(count > 1, _latency(card, count) + least / LINK_FRACTION, 0.0)[()]
    return time


def _checked(gpu: str | GPU, bytes_: Any, gpus: Any, time_model: str) -> tuple[GPU, np.ndarray, np.ndarray, bool]:
    card = find_gpu(gpu)
    check_time_model(time_model)
    size, count = positive_numbers("bytes_", bytes_), positive_numbers("gpus", gpus)
    if (parts := count[count != np.floor(count)]).size:
        raise ValueError(f"gpus = {parts[0]:g}: expected whole numbers")
    check_broadcast(bytes_=size, gpus=count)
    return card, size, count, time_model == "ideal"


# Of an operator's work, whose bytes are read once and written once: half of them are sent ----------------------------


def all_reduce_seconds(gpu: GPU, cost: Cost, _: Array, *, ideal: bool = False) -> Array:
    """Time of an all-reduce among `cost.gpus` GPUs, by its law or at least [s]."""
    return _all_reduce(gpu, np.asarray(cost.bytes) / 2, np.asarray(cost.gpus), ideal)


def all_to_all_seconds(gpu: GPU, cost: Cost, _: Array, *, ideal: bool = False) -> Array:
    """Time of an all-to-all among `cost.gpus` GPUs, by its law or at least [s]."""
    return _all_to_all(gpu, np.asarray(cost.bytes) / 2, np.asarray(cost.gpus), ideal)
