"""Kernel times: the roofline with launch latency, achievable fractions of its ceilings, and work in whole tiles.

Every time is at least the ideal roofline's (but for operands `replayed` from a cache), never falls when a kernel
has more work, and tends to the ideal time over the achievable fraction as the work grows (in attention, with the time
of the softmax). Latent attention may choose another kernel for more work, the one with fewer FLOPs. The parameters are
fitted (`calibration`) and kept in the catalog (`parameters`); the constants here are the same for all GPUs.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from .catalog import GPU, kernel_fit
from .catalog import gpu as find_gpu
from .dtypes import WIDTH
from .names import unknown
from .operators import Cost, Step, scores_per_sequence
from .parameters import DecodeFit, ElementwiseFit, GemmFit, PrefillFit
from .roofline import ideal_time

Array = Any  # a number or a numpy array; all of them broadcast

TIME_MODELS = ("ideal", "kernel")

#: Rows and columns of a GEMM's output tiles, and how often its k loop may be split to occupy more SMs [1].
TILES, SPLITS = ((32, 64), (64, 64), (128, 128), (256, 128)), (1, 4, 16)
#: Rows from which on a tile is not a small one: see `parameters.GemmFit.small_tile_waves` [1].
LARGE_TILE = 128
#: A kernel that computes much longer runs at the clock that the power limit sustains [s].
BOOST_TIME = 5e-4
#: Activations are left in the L2 cache by the kernel before, as far as they fit in this share of it [1].
L2_SHARE = 0.5
#: Exponent of the step from operands that fit into L2 to those that do not, where a benchmark repeats one call [1].
L2_EDGE = 8
#: Rows of queries in a tile of fused attention, and the rows of one tensor-core instruction [1].
QUERY_TILE, QUERY_ROWS = 128, 16
#: Exponent with which a score's products and its softmax overlap: one tile computes scores while another weighs them.
SOFTMAX_OVERLAP = 2.0
#: Of the last wave of query tiles, all SMs but one wait for this share of the longest [1].
TAIL = 0.5
#: Context at which half of the latency of splitting and joining it is paid [token].
CONTEXT_DEPTH = 1024
#: What a wall clock sees of launching a kernel eagerly in PyTorch, beyond the kernel's own launch [s]: the intercept of
#: the unfused attention rows of Chen's microbenchmark on an A100 (github.com/aakashvarma/transformer_batch_analysis),
#: less `launch_us` of gemm. In no time unless `launch_latency` asks for it.
EAGER_LAUNCH = 26e-6
#: A prompt's keys and values are read and written into the cache before the attention reads them: engines time the
#: two together. Found in the timings: with 1, heads that share no KV head come out 10 % too fast, others too slow [1].
KV_PASSES = 3
#: Kernels in one layer's `elementwise`: two norms with their residual, RoPE, activation; the cache write see above [1].
ELEMENTWISE_KERNELS = 4


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
        cost = replayed_cost(card, cost, _fit(card, "gemm").l2_speedup)
    return operator_time(card, cost, card.peak_flop_rate(dtype), time_model)


def gemm_cost(*, m: Array, n: Array, k: Array, width: Array, batch: Array = 1) -> Cost:
    """Work of `batch` products whose three matrices have elements of `width` [byte]."""
    activations = batch * m * (k + n) * width
    moved = activations + batch * k * n * width
    return Cost(2.0 * batch * m * n * k, moved, m, n, k, batch, activations=activations)


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
        cost = replayed_cost(card, cost, _fit(card, "decode").l2_speedup)
    return operator_time(card, cost, card.peak_flop_rate(dtype), time_model)


def attention_cost(
    *, new_tokens: Array, context: Array, batch_size: Array, n_heads: Array, n_kv_heads: Array, head_dim: Array,
    width: Array, causal: bool = True,
) -> Cost:  # fmt: skip
    """Work of fused attention, as `operators.attention` counts it; `width` of queries and cache [byte]."""
    step = Step(batch_size, new_tokens, context, context - new_tokens)
    batch = batch_size * n_heads
    scores = batch * scores_per_sequence(step, None, causal=causal)
    moved = 2 * head_dim * width * (batch * new_tokens + batch_size * n_kv_heads * context)
    group = n_heads / n_kv_heads
    return Cost(
        4.0 * scores * head_dim, moved, new_tokens, context, head_dim, batch,
        kernel="attention", activations=2 * head_dim * width * batch * new_tokens, group=group,
        score_flops=4.0 * head_dim, sequences=batch_size,
    )  # fmt: skip


def operator_time(gpu: GPU, cost: Cost, peak_flop_rate: Array, time_model: str = "kernel") -> Array:
    """Time of one kernel call [s]; `peak_flop_rate` [FLOP/s] is that of the format it computes in."""
    if time_model not in TIME_MODELS:
        raise unknown("time_model", time_model, TIME_MODELS)
    ideal = ideal_time(cost.flops, cost.bytes, peak_flop_rate, gpu.bandwidth)
    if time_model == "ideal":
        return ideal
    return np.maximum(KERNELS[cost.kernel](gpu, cost, peak_flop_rate), ideal)


def smooth_maximum(a: Array, b: Array, exponent: float) -> Array:
    """(a^p + b^p)^(1/p): the sum for p = 1, the larger one for p to infinity; scaled, so that nothing overflows."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    return large * (1 + (small / large) ** exponent) ** (1 / exponent)


# GEMM -------------------------------------------------------------------------------------------------------------


def tiled_flops(
    m: Array, n: Array, k: Array, batch: Array, *, sm_count: int, fill_depth: float, half_tile: float,
    small_tile_waves: float | None = None,
) -> Array:  # fmt: skip
    """FLOPs in whole waves of whole output tiles, a tile to an SM, by the best tile and split of k [FLOP].

    m, n, k, batch : sizes of the GEMM [1]; fill_depth, half_tile, small_tile_waves : see `parameters.GemmFit` [1]

    At least 2 batch m n k, and tends to it. Stairs in m, n and batch: a library picks the fastest of a few kernels.
    """
    best: Array = np.inf
    for rows, columns in TILES:
        tiles = batch * np.ceil(m / rows) * np.ceil(n / columns)
        each: Array = 2.0 * rows * columns * sm_count / _reuse(rows, columns, half_tile)
        if small_tile_waves is not None and rows < LARGE_TILE:
            each = np.where((m <= rows) | (tiles <= small_tile_waves * sm_count), each, np.inf)
        depths = (np.ceil(tiles * split / sm_count) * (k / split + fill_depth) for split in SPLITS)
        best = np.minimum(best, each * reduce(np.minimum, depths))
    return best


def _reuse(rows: int, columns: int, half_tile: float) -> float:
    """How busy an output tile keeps the tensor cores, relative to the largest tile [1]."""
    side, largest = (2 * a * b / (a + b) for a, b in ((rows, columns), TILES[-1]))
    return side / (side + half_tile) * (1 + half_tile / largest)


def l2_misses(bytes_: Array, gpu: GPU) -> Array:
    """Of what another kernel just wrote or reads next, what the L2 cache cannot hold: a share b / (b + L2/2) [byte]."""
    return bytes_ * bytes_ / (bytes_ + L2_SHARE * 1e6 * (gpu.l2_mb or 0))


def replayed_cost(gpu: GPU, cost: Cost, l2_speedup: float | None, copies: Array = 1) -> Cost:
    """Work of a call whose operands another one like it left in L2, as bytes that memory would take as long for.

    l2_speedup : L2 over memory [1], None: not known, all from memory; copies : sets of operands used in turn [1]
    """
    if l2_speedup is None or not gpu.l2_mb:
        return cost
    cached = 1 / (1 + (copies * cost.bytes / (1e6 * gpu.l2_mb)) ** L2_EDGE)
    share = 1 - cached * (1 - 1 / l2_speedup)
    return replace(cost, bytes=share * cost.bytes, activations=share * cost.activations)


def gemm_seconds(fit: GemmFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, the walk along k, and the smooth maximum of computing whole tiles and moving the operands [s]."""
    flops = tiled_flops(
        cost.m, cost.n, cost.k, cost.batch, sm_count=gpu.sm_count or 1, fill_depth=fit.fill_depth,
        half_tile=fit.half_tile, small_tile_waves=fit.small_tile_waves,
    )  # fmt: skip
    compute = flops / (fit.compute_fraction * peak_flop_rate)
    compute = compute * (1 - fit.boost * BOOST_TIME / (compute + BOOST_TIME))
    moved = cost.bytes - cost.activations + l2_misses(cost.activations, gpu)
    moving = moved / (fit.bandwidth_fraction * gpu.bandwidth)
    latency = fit.launch_us + fit.loop_us * cost.k / (cost.k + fit.loop_depth)
    return 1e-6 * latency + smooth_maximum(compute, moving, fit.overlap)


# Fused attention --------------------------------------------------------------------------------------------------


def score_seconds(fit: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """What one score costs, its products at their fraction of the peak and its softmax partly behind them [s].

    The softmax takes as long in every format, so that it is counted in FLOPs at the 16-bit peak.
    """
    products = cost.score_flops / (fit.compute_fraction * peak_flop_rate)
    softmax = fit.softmax_flops / gpu.peak_flop_rate("fp16" if "fp16" in gpu.dense_tflops else "bf16")
    return smooth_maximum(products, softmax, SOFTMAX_OVERLAP)


def prefill_seconds(fit: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, cache write, waves of query tiles, scores with their softmax, the last tile's walk, operands [s].

    Half a tile of queries is wasted on the diagonal and at the end of the prompt, and no head takes less than one.
    FlashAttention: Dao 2023 (arXiv 2307.08691); packing of heads: Shah et al. 2024 (arXiv 2407.08608).
    """
    sms = gpu.sm_count or 1
    tile = np.maximum(QUERY_TILE / cost.group, 1) if fit.packed_heads else QUERY_TILE
    wasted = cost.batch * tile * cost.n / 2
    scores = np.maximum(cost.flops / cost.score_flops + wasted, 2 * wasted)
    tail = TAIL * QUERY_TILE * cost.n * sms
    waves = np.ceil(cost.batch * tile / QUERY_TILE * np.ceil(cost.m / tile) / sms)
    compute = (scores + tail) * score_seconds(fit, gpu, cost, peak_flop_rate)
    new = np.minimum(cost.m / cost.n, 1)
    moved = cost.bytes + (KV_PASSES - 1) * new * (cost.bytes - cost.activations)
    moved = l2_misses(moved, gpu) if fit.operands_in_l2 else moved
    moving = moved / (fit.bandwidth_fraction * gpu.bandwidth)
    writing = 1e-9 * fit.token_ns * cost.sequences * cost.m
    return 1e-6 * (fit.launch_us + fit.wave_us * waves) + writing + compute + moving


def decode_seconds(fit: DecodeFit, softmax: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, latency of the context, and the smooth maximum of reading the cache, starting waves and computing [s].

    The query heads of one KV head, times the new tokens, share the rows of a tile; no causal skipping. Split over the
    context: flash-decoding (Dao et al. 2023).
    """
    rows, groups = cost.m * cost.group, cost.batch / cost.group
    padded = groups * np.ceil(rows / QUERY_ROWS) * QUERY_ROWS * cost.n
    compute = padded * score_seconds(softmax, gpu, cost, peak_flop_rate)
    moving = cost.bytes / (fit.bandwidth_fraction * gpu.bandwidth)
    waves = 1e-6 * fit.wave_us * np.ceil(groups * np.ceil(rows / QUERY_TILE) / (gpu.sm_count or 1))
    unsplit = np.where(np.equal(cost.group, 1) & (fit.unsplit_gbs is not None), 1.0, 0.0)
    latency = 1e-6 * (fit.launch_us + (1 - unsplit) * fit.context_us * cost.n / (cost.n + CONTEXT_DEPTH))
    walk = unsplit * (cost.bytes - cost.activations) / groups / (1e9 * (fit.unsplit_gbs or 1))
    reading = smooth_maximum(moving, walk, fit.overlap) if np.any(walk) else moving
    return latency + smooth_maximum(smooth_maximum(reading, waves, fit.overlap), compute, fit.overlap)


# Kinds of kernels -------------------------------------------------------------------------------------------------


def _fit(gpu: GPU, kind: str) -> Any:
    return kernel_fit(gpu, kind).fit


def _attention(gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """The faster of the two kernels that engines have, but no less than a prompt of the new tokens alone would take.

    A whole prompt so runs the prefill kernel, one new token the decode kernel, and a chunk or a few candidates over a
    long context whatever suits them; no token more and no longer context makes it faster.
    """
    prefill: PrefillFit = _fit(gpu, "prefill")
    one = prefill_seconds(prefill, gpu, cost, peak_flop_rate)
    if np.all(np.greater_equal(cost.m, cost.n) & np.greater(cost.m, 1)):  # whole prompts: `alone` is `one`
        return one
    faster = np.minimum(one, decode_seconds(_fit(gpu, "decode"), prefill, gpu, cost, peak_flop_rate))
    if not np.any(np.greater(cost.m, 1)):
        return faster
    alone = prefill_seconds(prefill, gpu, _new_tokens_alone(cost), peak_flop_rate)
    return np.where(np.greater(cost.m, 1), np.maximum(faster, alone), faster)


def _new_tokens_alone(cost: Cost) -> Cost:
    """The share of an attention's work that falls to the new tokens' own part of the context."""
    share = np.minimum(cost.m / cost.n, 1)
    cache = cost.bytes - cost.activations
    return replace(cost, n=share * cost.n, flops=share * cost.flops, bytes=cost.activations + share * cache)


def elementwise_seconds(fit: ElementwiseFit, gpu: GPU, bytes_: Array, kernels: Array = ELEMENTWISE_KERNELS) -> Array:
    """Launches and traffic of one layer's elementwise kernels [s]; bytes_ : of all of them [byte]."""
    return 1e-6 * kernels * fit.launch_us + bytes_ / (fit.bandwidth_fraction * gpu.bandwidth)


#: By `Cost.kernel`.
KERNELS: dict[str, Callable[[GPU, Cost, Array], Array]] = {
    "gemm": lambda gpu, cost, peak: gemm_seconds(_fit(gpu, "gemm"), gpu, cost, peak),
    "unfused": lambda gpu, cost, peak: gemm_seconds(_fit(gpu, "unfused"), gpu, cost, peak),
    "attention": _attention,
    "elementwise": lambda gpu, cost, _: elementwise_seconds(_fit(gpu, "elementwise"), gpu, cost.bytes),
}


def _width(dtype: str) -> float:
    if dtype not in WIDTH:
        raise unknown("dtype", dtype, WIDTH)
    return WIDTH[dtype]


def positive(name: str, values: Array) -> np.ndarray:
    """Positive numbers as float64 [1]; anything else raises ValueError."""
    try:
        sizes = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {values!r}: expected positive numbers") from None
    if sizes.size and not (np.isfinite(sizes) & (sizes > 0)).all():
        wrong = sizes[~(np.isfinite(sizes) & (sizes > 0))].flat[0]
        raise ValueError(f"{name} = {wrong:g}: expected positive numbers")
    return sizes
