"""Kernel times: the roofline with launch latency, achievable fractions of its ceilings, and work in whole tiles.

Every time is at least the ideal roofline's (but for operands `replayed` from a cache), never falls when a kernel
has more work, and tends to the ideal time over the achievable fraction as the work grows (in attention, with the time
of the softmax). Latent attention may choose another kernel for more work, the one with fewer FLOPs. The parameters are
fitted (`calibration`) and kept in the catalog (`parameters`); the constants here are the same for all GPUs.
"""

from collections.abc import Callable

import numpy as np

from ..catalog.dtypes import WIDTH
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.arguments import positive
from ..common.arrays import Array
from ..common.errors import unknown
from ..operators.cost import Cost, attention_cost, gemm_cost
from .attention import fit_of, fused_attention_seconds
from .elementwise import elementwise_seconds
from .gemm import gemm_seconds, replayed_cost
from .roofline import ideal_time

TIME_MODELS = ("ideal", "kernel")
#: What a wall clock sees of launching a kernel eagerly in PyTorch, beyond the kernel's own launch [s]: the intercept of
#: the unfused attention rows of Chen's microbenchmark on an A100 (github.com/aakashvarma/transformer_batch_analysis),
#: less `launch_us` of gemm. In no time unless `launch_latency` asks for it.
EAGER_LAUNCH = 26e-6


def gemm_time(
    gpu: str | GPU, *, m: Array, n: Array, k: Array, dtype: str = "fp16", batch: Array = 1, time_model: str = "kernel",
    replayed: bool = False,
) -> Array:  # fmt: skip
    """Time of `batch` products (m x k) (k x n) in one kernel [s].

    gpu : id or catalog entry; m, n, k, batch : sizes [1], broadcast; dtype : of all three matrices
    time_model : "kernel" or "ideal"
    replayed : the same call has just run, as in a benchmark that repeats one: operands that fit into L2 are read from
        there, where the GPU's fit knows that rate. In an engine other layers' weights come between

    Raises ValueError for an unknown name, a dtype that the GPU has no peak for, or a size that is no positive number.
    """
    card = gpu if isinstance(gpu, GPU) else find_gpu(gpu)
    m, n, k, batch = (positive(name, value) for name, value in (("m", m), ("n", n), ("k", k), ("batch", batch)))
    cost = gemm_cost(m=m, n=n, k=k, batch=batch, width=_width(dtype))
    if replayed and time_model == "kernel":
        cost = replayed_cost(card, cost, fit_of(card, "gemm").l2_speedup)
    return operator_time(card, cost, card.peak_flop_rate(dtype), time_model)


def attention_time(
    gpu: str | GPU,
    *,
    new_tokens: Array,
    context: Array,
    batch_size: Array,
    n_heads: Array,
    n_kv_heads: Array,
    head_dim: Array,
    dtype: str = "fp16",
    causal: bool = True,
    time_model: str = "kernel",
    replayed: bool = False,
) -> Array:
    """Time of one layer's fused attention [s]: prefill where new_tokens = context, decode where it is 1.

    gpu : id or catalog entry; dtype : of queries and cache; the rest broadcast
    new_tokens, context : per sequence, `context` includes the new ones [token]; batch_size : sequences [1]
    causal : skip the scores that the mask leaves out; time_model : "kernel" or "ideal"
    replayed : as of `gemm_time`: a KV cache that fits into L2 is read from there

    Raises ValueError for an unknown name, a dtype that the GPU has no peak for, a size that is not a positive number, a
    context shorter than the new tokens, or heads that KV heads do not divide.
    """
    card = gpu if isinstance(gpu, GPU) else find_gpu(gpu)
    given = {
        "new_tokens": new_tokens, "context": context, "batch_size": batch_size, "n_heads": n_heads,
        "n_kv_heads": n_kv_heads, "head_dim": head_dim,
    }  # fmt: skip
    sizes = {name: positive(name, value) for name, value in given.items()}
    if np.any(sizes["context"] < sizes["new_tokens"]):
        raise ValueError("context is shorter than new_tokens: it counts the new tokens as well")
    if np.any(sizes["n_heads"] % sizes["n_kv_heads"]):
        raise ValueError(f"n_heads = {n_heads} is not a multiple of n_kv_heads = {n_kv_heads}")
    cost = attention_cost(**sizes, causal=causal, width=_width(dtype))
    if replayed and time_model == "kernel":
        cost = replayed_cost(card, cost, fit_of(card, "decode").l2_speedup)
    return operator_time(card, cost, card.peak_flop_rate(dtype), time_model)


def operator_time(gpu: GPU, cost: Cost, peak_flop_rate: Array, time_model: str = "kernel") -> Array:
    """Time of one kernel call [s]; `peak_flop_rate` [FLOP/s] is that of the format it computes in."""
    if time_model not in TIME_MODELS:
        raise unknown("time_model", time_model, TIME_MODELS)
    ideal = ideal_time(cost.flops, cost.bytes, peak_flop_rate, gpu.bandwidth)
    if time_model == "ideal":
        return ideal
    return np.maximum(KERNELS[cost.kernel](gpu, cost, peak_flop_rate), ideal)


#: By `Cost.kernel`.
KERNELS: dict[str, Callable[[GPU, Cost, Array], Array]] = {
    "gemm": lambda gpu, cost, peak: gemm_seconds(fit_of(gpu, "gemm"), gpu, cost, peak),
    "unfused": lambda gpu, cost, peak: gemm_seconds(fit_of(gpu, "unfused"), gpu, cost, peak),
    "attention": fused_attention_seconds,
    "elementwise": lambda gpu, cost, _: elementwise_seconds(fit_of(gpu, "elementwise"), gpu, cost.bytes),
}


def _width(dtype: str) -> float:
    if dtype not in WIDTH:
        raise unknown("dtype", dtype, WIDTH)
    return WIDTH[dtype]
