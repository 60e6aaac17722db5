"""Several GPUs that serve one model: what each of them holds and computes, and the time to exchange results.

A tensor-parallel shard is a `Model` again, the one that a single GPU runs, so that every operator's cost follows from
it: Shoeybi et al. 2019, "Megatron-LM" (arXiv 1909.08053).
"""

import numpy as np

from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..common import arguments
from ..common.arrays import Array
from ..common.errors import unknown
from ..operators.cost import Cost
from . import times
from .times import TIME_MODELS

#: Of a collective: latency of one step over a vendor's own link and over PCIe [s], and the share of the link's rate
#: that it reaches [1]. NCCL's all-reduce over H100s on NVLink (vidur, github.com/microsoft/vidur,
#: data/profiling/network/h100_dgx: 31 us for 1 MB and 318 us for 67 MB over 4 GPUs, 33 us for 1 MB over 8) has 4.4 and
#: 1.9 us a step of its ring, and 333 of 450 GB/s; over two A100s it takes 5 us a step (github.com/NVIDIA/nccl, thread
#: 583). The rate on PCIe, its latency, and one shot, which serving engines have kernels for, are guesses.
STEP_LATENCY, PCIE_STEP_LATENCY, LINK_FRACTION = 3e-6, 10e-6, 0.74
#: One lane of PCIe in one direction, after encoding, by generation [GB/s]: 8, 16, 32 GT/s at 128b/130b; 64 GT/s at 242
#: of 256 bytes (PCI Express Base Specifications, PCI-SIG).
PCIE_LANE_GBS = {"3.0": 0.985, "4.0": 1.969, "5.0": 3.938, "6.0": 7.563}


# Links ------------------------------------------------------------------------------------------------------------


def link_rate(gpu: GPU, gpus: Array) -> Array:
    """Rate of a GPU's link to the others in one direction, among `gpus` [1] of them [byte/s].

    The vendor's own link, as far as it reaches (a bridge joins two GPUs); PCIe beyond it, or where there is none. All
    within one machine: nothing here knows of a network. Infinite for one GPU, which sends nothing.

    Raises ValueError where the catalog gives neither rate.
    """
    own = gpu.link and gpu.link.gbs_per_direction
    generation, _, lanes = (gpu.pcie or "").partition(" x")
    pcie = PCIE_LANE_GBS.get(generation, 0.0) * float(lanes or 0)
    rate = np.where(np.greater(gpus, 1), np.where(_own_link(gpu, gpus), own or 0.0, pcie), np.inf)
    if not np.all(rate):
        raise ValueError(
            f"{gpu.id} has no link rate for {np.max(gpus):g} GPUs: its catalog entry gives no link.gbs_per_direction"
            " that reaches them, and no pcie with generation and lanes"
        )
    return 1e9 * rate


def _own_link(gpu: GPU, gpus: Array) -> Array:
    """Whether the vendor's own link joins so many GPUs."""
    if not (gpu.link and gpu.link.gbs_per_direction):
        return np.zeros(np.shape(gpus), dtype=bool)
    return np.less_equal(gpus, gpu.link.max_gpus or np.inf)


def _latency(gpu: GPU, gpus: Array) -> Array:
    return np.where(_own_link(gpu, gpus), STEP_LATENCY, PCIE_STEP_LATENCY)


# Collectives ------------------------------------------------------------------------------------------------------


def all_reduce_time(gpu: str | GPU, *, bytes_: Array, gpus: Array, time_model: str = "kernel") -> Array:
    """Time to add up `bytes_` [byte] over `gpus` [1] GPUs and give each the sum [s]; 0 for one GPU.

    time_model : "ideal", 2 (g - 1) / g of the bytes through each GPU's link in each direction, the least that any
        algorithm moves (Patarasuk and Yuan 2009); "kernel", the faster of a ring, in 2 (g - 1) steps, and of one shot,
        in which each GPU reads all the others at once, both with a latency and a share of the link

    For the latency and the share see `STEP_LATENCY`. Raises ValueError for a GPU without a link rate (see `link_rate`),
    or sizes that are no positive numbers.
    """
    card = gpu if isinstance(gpu, GPU) else find_gpu(gpu)
    size, count = _checked(bytes_, gpus, time_model)
    others, rate = count - 1, link_rate(card, count)
    ideal = 2 * others / count * size / rate
    if time_model == "ideal":
        return ideal
    latency = _latency(card, count)
    ring = 2 * others * latency + ideal / LINK_FRACTION
    one_shot = latency + others * size / (LINK_FRACTION * rate)
    return np.where(others > 0, np.minimum(ring, one_shot), 0.0)[()]


def all_to_all_time(gpu: str | GPU, *, bytes_: Array, gpus: Array, time_model: str = "kernel") -> Array:
    """Time in which each of `gpus` [1] GPUs sends `bytes_` [byte], spread evenly over all of them [s]; 0 for one.

    The share that stays, 1 / g, crosses no link. time_model : "kernel" adds the latency and the share of the link's
    rate of `all_reduce_time`, which has the errors as well
    """
    card = gpu if isinstance(gpu, GPU) else find_gpu(gpu)
    size, count = _checked(bytes_, gpus, time_model)
    ideal = (count - 1) / count * size / link_rate(card, count)
    if time_model == "ideal":
        return ideal
    return np.where(count > 1, _latency(card, count) + ideal / LINK_FRACTION, 0.0)[()]


def send_time(gpu: str | GPU, *, bytes_: Array, gpus: Array, time_model: str = "kernel") -> Array:
    """Time to send `bytes_` [byte] from one of `gpus` [1] GPUs to another [s], as between stages of a pipeline.

    time_model and errors : as for `all_reduce_time`
    """
    card = gpu if isinstance(gpu, GPU) else find_gpu(gpu)
    size, count = _checked(bytes_, gpus, time_model)
    ideal = size / link_rate(card, count)
    return ideal if time_model == "ideal" else _latency(card, count) + ideal / LINK_FRACTION


def _checked(bytes_: Array, gpus: Array, time_model: str) -> tuple[np.ndarray, np.ndarray]:
    if time_model not in TIME_MODELS:
        raise unknown("time_model", time_model, TIME_MODELS)
    size, count = arguments.positive("bytes_", bytes_), arguments.positive("gpus", gpus)
    if np.any(count != np.floor(count)):
        raise ValueError(f"gpus = {gpus!r}: expected whole numbers")
    return size, count


#: Times of collectives by `Cost.kernel`; half of their bytes are sent.
COLLECTIVES = {"all_reduce": all_reduce_time, "all_to_all": all_to_all_time}


def collective_or_kernel_time(gpu: GPU, cost: Cost, peak_flop_rate: Array, time_model: str = "kernel") -> Array:
    """Time of one call [s] of a kernel, as of `kernels.operator_time`, or of a collective."""
    if cost.kernel in COLLECTIVES:
        return COLLECTIVES[cost.kernel](gpu, bytes_=cost.bytes / 2, gpus=cost.gpus, time_model=time_model)
    return times.operator_time(gpu, cost, peak_flop_rate, time_model)
