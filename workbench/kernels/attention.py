"""Time of fused attention: prompts in tiles of queries, decoding over a split cache."""

from dataclasses import replace

import numpy as np

from ..catalog.fits import DecodeFit, PrefillFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators.cost import Cost
from .gemm import l2_misses, smooth_maximum

#: Rows of queries in a tile of fused attention, and the rows of one tensor-core instruction [1].
QUERY_TILE, QUERY_ROWS = 128, 16
#: Exponent with which a score's products and its softmax overlap: one tile computes scores while another weighs them.
SOFTMAX_OVERLAP = 2.0
#: Size from which on heads take other tiles, for want of registers and shared memory [1].
LARGE_HEAD = 256
#: Context at which half of the latency of splitting and joining it is paid [token].
CONTEXT_DEPTH = 1024
#: A prompt's keys and values are read and written into the cache before the attention reads them: engines time the
#: two together. Found in the timings: with 1, heads that share no KV head come out 10 % too fast, others too slow [1].
KV_PASSES = 3
#: Query heads of a KV head above which a decoding kernel of higher tiles runs, where there is one [1].
WIDE_HEADS = 32
#: What an element of a split's output costs, which is written in fp32 and read again to be joined with others [byte].
PART = 8.0
#: Tokens of context below which a block is not split further [token].
LEAST_SPLIT = 128


def whole_waves(tiles: Array, gpu: GPU) -> Array:
    """Waves of tiles, one on every SM, the last one whole [1]; one where the number of SMs is not known."""
    return np.minimum(np.ceil(tiles), 1.0) if gpu.sm_count is None else np.ceil(tiles / gpu.sm_count)


def softmax_seconds(fit: PrefillFit, gpu: GPU) -> float:
    """What the softmax of one score takes, the same in every format [s]; 0 where exponentials have no known rate."""
    return 0.0 if gpu.exponential_rate is None else fit.exponentials / gpu.exponential_rate


def score_seconds(fit: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """What one score costs, its products at their fraction of the peak and its softmax partly behind them [s]."""
    products = cost.score_flops / (fit.compute_fraction * peak_flop_rate)
    if fit.large_head != 1:
        products = products / np.where(np.greater_equal(cost.k, LARGE_HEAD), fit.large_head, 1.0)
    return smooth_maximum(products, softmax_seconds(fit, gpu), SOFTMAX_OVERLAP)


def prefill_seconds(
    fit: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array, *, kv_passes: int = KV_PASSES
) -> Array:
    """Launch, cache write, waves of query tiles, scores with their softmax, the last tile's walk, operands [s].

    Half a tile of queries is wasted on the diagonal and at the end of the prompt, and no head takes less than one; more
    is where a window ends. FlashAttention: Dao 2023 (arXiv 2307.08691); packing of heads: Shah et al. 2024 (arXiv
    2407.08608).
    """
    tile = np.maximum(QUERY_TILE / cost.group, 1) if fit.packed_heads else QUERY_TILE
    wasted = cost.batch * tile * (cost.n + fit.window_edge * np.minimum(cost.hidden, cost.m)) / 2
    scores = np.maximum(cost.flops / cost.score_flops + wasted, 2 * wasted)
    tail = 0.0 if gpu.sm_count is None else fit.tail * QUERY_TILE * cost.n * gpu.sm_count
    waves = whole_waves(cost.batch * tile / QUERY_TILE * np.ceil(cost.m / tile), gpu)
    compute = (scores + tail) * score_seconds(fit, gpu, cost, peak_flop_rate)
    new = np.minimum(cost.m / cost.n, 1)
    moved = cost.bytes + (kv_passes - 1) * new * (cost.bytes - cost.activations)
    moved = l2_misses(moved, gpu) if fit.operands_in_l2 else moved
    moving = moved / (fit.bandwidth_fraction * gpu.bandwidth)
    writing = 1e-9 * fit.token_ns * cost.sequences * cost.m
    return 1e-6 * (fit.launch_us + fit.wave_us * waves) + writing + compute + moving


def decode_seconds(fit: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, latency of the context, and the smooth maximum of reading the cache, starting waves and computing [s].

    The query heads of one KV head, times the new tokens, share the rows of a tile; no causal skipping. Split over the
    context: flash-decoding (Dao et al. 2023).
    """
    shared = np.where(np.isfinite(cost.window), 1, cost.group) if fit.split == "shared" else cost.group
    rows, groups = cost.m * shared, cost.batch / shared
    height = fit.tile_rows if fit.wide_rows is None else np.where(shared > WIDE_HEADS, fit.wide_rows, fit.tile_rows)
    tiles = np.ceil(rows / height)
    padded = groups * tiles * height * cost.n
    compute = padded * cost.score_flops / (fit.compute_fraction * peak_flop_rate)
    moved = cost.bytes + fit.reread * (tiles - 1) * (cost.bytes - cost.activations) if fit.reread else cost.bytes
    if fit.joined_splits:
        moved = moved + fit.joined_splits * PART * cost.batch * cost.m * (cost.score_flops / 2 - cost.k)
    moving = moved / (fit.bandwidth_fraction * gpu.bandwidth)
    if fit.single_head != 1:
        moving = moving / np.where(np.equal(cost.group, 1), fit.single_head, 1.0)
    if fit.large_head != 1:
        moving = moving / np.where(np.greater_equal(cost.k, LARGE_HEAD), fit.large_head, 1.0)
    waves = 1e-6 * fit.wave_us * whole_waves(groups * np.ceil(rows / QUERY_TILE), gpu)
    unsplit = np.equal(shared, 1) & (fit.split == "shared")
    context = cost.n + cost.hidden if fit.whole_context else cost.n
    latency = 1e-6 * (fit.launch_us + np.where(unsplit, 0.0, fit.context_us * context / (context + CONTEXT_DEPTH)))
    walk = _walk_seconds(fit, gpu, cost, groups * tiles, np.equal(shared, 1))
    reading = smooth_maximum(moving, walk, fit.overlap) if np.any(walk) else moving
    return latency + smooth_maximum(smooth_maximum(reading, waves, fit.overlap), compute, fit.overlap)


def _walk_seconds(fit: DecodeFit, gpu: GPU, cost: Cost, tiles: Array, single: Array) -> Array:
    """How long a thread block walks along its share of the tiles' contexts [s]; 0 without a rate."""
    if fit.block_gbs is None:
        return 0.0
    splits = np.maximum(cost.n / LEAST_SPLIT, 1)
    splits = splits if fit.max_splits is None else np.minimum(splits, fit.max_splits)
    if fit.split != "all":
        splits = np.where(single == (fit.split == "single"), splits, 1.0)
    blocks = tiles * splits if gpu.sm_count is None else np.minimum(tiles * splits, gpu.sm_count)
    return cost.cache * cost.group / cost.batch * tiles / (1e9 * fit.block_gbs * blocks)


def attention_seconds(
    prefill: PrefillFit, decode: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array, *, prompt: Cost | None = None,
    kv_passes: int = KV_PASSES,
) -> Array:  # fmt: skip
    """The faster of the two kernels that engines have, but no less than a prompt of the new tokens alone would take.

    A whole prompt so runs the prefill kernel, one new token the decode kernel, and a chunk or a few candidates over a
    long context whatever suits them; no token more and no longer context makes it faster. `prompt` is the work as the
    prefill kernel does it, where that differs.
    """
    prompt = cost if prompt is None else prompt
    one = prefill_seconds(prefill, gpu, prompt, peak_flop_rate, kv_passes=kv_passes)
    if np.all(np.greater_equal(cost.m, cost.n) & np.greater(cost.m, 1)):  # whole prompts: `alone` is `one`
        return one
    faster = np.minimum(one, decode_seconds(decode, gpu, cost, peak_flop_rate))
    if not np.any(np.greater(cost.m, 1)):
        return faster
    alone = prefill_seconds(prefill, gpu, _new_tokens_alone(prompt), peak_flop_rate, kv_passes=kv_passes)
    return np.where(np.greater(cost.m, 1), np.maximum(faster, alone), faster)


def _new_tokens_alone(cost: Cost) -> Cost:
    """The share of an attention's work that falls to the new tokens' own part of the context."""
    share = np.minimum(cost.m / cost.n, 1)
    moved = cost.activations + share * (cost.bytes - cost.activations)
    return replace(cost, n=share * cost.n, flops=share * cost.flops, bytes=moved, cache=share * cost.cache)
