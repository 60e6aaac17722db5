"""Several GPUs that serve one model: what each of them holds and computes, and the time to exchange results.

A tensor-parallel shard is a `Model` again, the one that a single GPU runs, so that every operator's cost follows from
it: Shoeybi et al. 2019, "Megatron-LM" (arXiv 1909.08053).
"""

from dataclasses import replace
from typing import Any

import numpy as np

from . import kernels
from .catalog import GPU, Model
from .catalog import gpu as find_gpu
from .kernels import TIME_MODELS
from .names import unknown
from .operators import Cost, Step, Widths

Array = Any  # a number or a numpy array; all of them broadcast

#: Of a collective: latency of one step over a vendor's own link and over PCIe [s], and the share of the link's rate
#: that it reaches [1]. NCCL's all-reduce over H100s on NVLink (vidur, github.com/microsoft/vidur,
#: data/profiling/network/h100_dgx: 31 us for 1 MB and 318 us for 67 MB over 4 GPUs, 33 us for 1 MB over 8) has 4.4 and
#: 1.9 us a step of its ring, and 333 of 450 GB/s; over two A100s it takes 5 us a step (github.com/NVIDIA/nccl, thread
#: 583). The rate on PCIe, its latency, and one shot, which serving engines have kernels for, are guesses.
STEP_LATENCY, PCIE_STEP_LATENCY, LINK_FRACTION = 3e-6, 10e-6, 0.74
#: One lane of PCIe in one direction, after encoding, by generation [GB/s]: 8, 16, 32 GT/s at 128b/130b; 64 GT/s at 242
#: of 256 bytes (PCI Express Base Specifications, PCI-SIG).
PCIE_LANE_GBS = {"3.0": 0.985, "4.0": 1.969, "5.0": 3.938, "6.0": 7.563}


# Shards -----------------------------------------------------------------------------------------------------------


def shard(model: Model, tp: int) -> Model:
    """What each of `tp` GPUs [1] runs of every layer: its share of the heads, of the MLP and of the vocabulary.

    A KV head is copied where there are fewer of them than GPUs; so are norms, routers, the latent cache of MLA with the
    projections to it, and learned positions. The vocabulary is padded to whole rows.

    Raises ValueError where the heads, KV heads or MLP sizes cannot be shared evenly.
    """
    if tp == 1:
        return model
    if uneven := _uneven(model, tp):
        allowed = [str(n) for n in range(1, model.n_heads + 1) if not _uneven(model, n)]
        raise ValueError(f"tp = {tp} does not divide {uneven} of {model.id}: allowed are {', '.join(allowed)}")
    changes: dict[str, object] = {
        "n_heads": model.n_heads // tp,
        "n_kv_heads": max(model.n_kv_heads // tp, 1),
        "intermediate_size": model.intermediate_size // tp,
        "vocab_size": -(-model.vocab_size // tp),
        "published_parameters": None,
    }
    if moe := model.moe:
        shared = moe.shared_intermediate_size and moe.shared_intermediate_size // tp
        sizes = {"intermediate_size": moe.intermediate_size // tp, "shared_intermediate_size": shared}
        changes["moe"] = moe.model_copy(update=sizes)
    return model.model_copy(update=changes)


def _uneven(model: Model, tp: int) -> str:
    """The size that `tp` GPUs cannot share, or nothing."""
    sizes = {"n_heads": model.n_heads, "intermediate_size": model.intermediate_size}
    if moe := model.moe:
        sizes["moe.intermediate_size"] = moe.intermediate_size
        sizes["moe.shared_intermediate_size"] = moe.shared_intermediate_size or tp
    for name, size in sizes.items():
        if size % tp:
            return f"{name} = {size}"
    kv = model.n_kv_heads
    return "" if kv % tp == 0 or tp % kv == 0 else f"n_kv_heads = {kv}"


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
    size, count = kernels.positive("bytes_", bytes_), kernels.positive("gpus", gpus)
    if np.any(count != np.floor(count)):
        raise ValueError(f"gpus = {gpus!r}: expected whole numbers")
    return size, count


# Operators --------------------------------------------------------------------------------------------------------


def all_reduce(model: Model, step: Step, w: Widths, gpus: int) -> Cost | None:
    """The sum of what the shards put out, after attention and after the MLP of every layer; None on one GPU.

    Each GPU reads its own T h activations, adds up its share of the sum (g - 1 additions for each of T h / g elements)
    and writes the whole. What crosses the link is in its time alone. The gather of the logits is left out.
    """
    if gpus == 1:
        return None
    elements = step.tokens * model.hidden_size
    moved = 2 * elements * w.activation
    return Cost(
        (gpus - 1) / gpus * elements, moved, step.tokens, model.hidden_size, 1, calls=2 * model.n_layers,
        kernel="all_reduce", activations=moved, gpus=gpus,
    )  # fmt: skip


def all_to_all(model: Model, step: Step, w: Widths, gpus: int) -> Cost | None:
    """One of the two exchanges around the routed experts of a layer; None on one GPU, or without experts.

    step : of one GPU's own tokens. Each token's activations go to the GPUs of its k experts, and come back weighted
    (DeepSeek-V3, arXiv 2412.19437, section 3.2); experts are taken to be loaded evenly. Read once, written once.
    """
    if gpus == 1 or model.moe is None:
        return None
    sent = step.tokens * model.moe.experts_per_token * model.hidden_size * w.activation
    return Cost(
        0.0 * sent, 2 * sent, step.tokens, model.hidden_size, 1, calls=2 * model.moe.layers,
        kernel="all_to_all", activations=2 * sent, gpus=gpus,
    )  # fmt: skip


def spread(cost: Cost, gpus: int) -> Cost:
    """One GPU's part of routed experts that are spread over `gpus` [1], with whole experts on each, loaded evenly."""
    return replace(
        cost, flops=cost.flops / gpus, bytes=cost.bytes / gpus, batch=cost.batch / gpus,
        activations=cost.activations / gpus,
    )  # fmt: skip


#: Times of collectives by `Cost.kernel`; half of their bytes are sent.
COLLECTIVES = {"all_reduce": all_reduce_time, "all_to_all": all_to_all_time}


def operator_time(gpu: GPU, cost: Cost, peak_flop_rate: Array, time_model: str = "kernel") -> Array:
    """Time of one call [s] of a kernel, as of `kernels.operator_time`, or of a collective."""
    if cost.kernel in COLLECTIVES:
        return COLLECTIVES[cost.kernel](gpu, bytes_=cost.bytes / 2, gpus=cost.gpus, time_model=time_model)
    return kernels.operator_time(gpu, cost, peak_flop_rate, time_model)
