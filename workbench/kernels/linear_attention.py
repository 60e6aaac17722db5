"""Time of linear attention: steps that carry the state of every head on, and prompts in chunks.

Fitted to gated delta nets; Kimi Delta Attention and Mamba-2, whose FLOPs and bytes are their own, go by the same.
"""

from dataclasses import replace

import numpy as np

from ..catalog.fits import LinearChunkFit, LinearStepFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators.cost import Cost
from ..operators.states import states_cost
from .attention import whole_waves
from .gemm import l2_misses, smooth_maximum

#: Tokens of a chunk, within which attention is computed as products of matrices [token].
CHUNK_TOKENS = 64
#: Products with the state for every token and head: what it holds of a key, its update, what a query reads [1].
PRODUCTS = 3


def linear_attention_cost(
    new_tokens: Array, batch_size: Array, n_heads: Array, n_key_heads: Array, key_dim: Array, value_dim: Array, *,
    width: Array, state_width: Array,
) -> Cost:  # fmt: skip
    """Work of one layer's gated delta rule: 6 D_k D_v FLOPs for every token and value head.

    Queries and keys of `n_key_heads`, values and outputs of `n_heads`, all of `width` [byte], are read or written once,
    and so is the state of D_k x D_v elements of `state_width` [byte] of each of `n_heads`. Yang et al. 2024, Gated
    Delta Networks (arXiv 2412.06464).
    """
    return states_cost(
        batch_size, new_tokens, n_heads, key_dim, value_dim, head_flops=2.0 * PRODUCTS * key_dim * value_dim,
        operands=2.0 * (n_key_heads * key_dim + n_heads * value_dim) * width,
        state=1.0 * n_heads * key_dim * value_dim * state_width,
    )  # fmt: skip


def step_seconds(fit: LinearStepFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, and the smooth maximum of moving the states and of carrying them on, a head on every SM [s].

    A state is read once and written after each new token, so that rejected ones can be taken back.
    """
    state = (cost.bytes - cost.activations) / 2
    moving = (cost.activations + state * (1 + cost.m)) / (fit.bandwidth_fraction * gpu.bandwidth)
    carrying = 1e-6 * fit.wave_us * whole_waves(cost.batch, gpu) * cost.m
    return 1e-6 * fit.launch_us + smooth_maximum(moving, carrying, fit.overlap)


def chunk_seconds(fit: LinearChunkFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, and the smooth maximum of walking from chunk to chunk and of computing and moving them all [s].

    Within a chunk of C tokens four products of C x C, by two of keys and queries and two of values; what a kernel
    leaves to the next comes from memory as far as the L2 cache cannot hold it.
    """
    chunks = np.ceil(cost.m / CHUNK_TOKENS)
    products = 4.0 * CHUNK_TOKENS**2 * (cost.k + cost.n) + CHUNK_TOKENS * cost.flops / (cost.batch * cost.m)
    computing = cost.batch * chunks * products / (fit.compute_fraction * peak_flop_rate)
    moved = cost.bytes + (fit.passes - 1) * cost.activations
    moving = l2_misses(moved, gpu, fit.l2_share) / (fit.bandwidth_fraction * gpu.bandwidth)
    walking = 1e-6 * fit.chunk_us * chunks * whole_waves(cost.batch, gpu)
    return 1e-6 * fit.launch_us + smooth_maximum(computing + moving, walking, fit.overlap)


def linear_attention_seconds(
    step: LinearStepFit, chunk: LinearChunkFit, gpu: GPU, cost: Cost, peak_flop_rate: Array
) -> Array:
    """One new token by the kernel that steps, more by the faster of the two, but no faster than one [s]."""
    stepping = step_seconds(step, gpu, cost, peak_flop_rate)
    if np.all(np.equal(cost.m, 1)):
        return stepping
    tokens = cost.activations / cost.m
    first = replace(cost, m=1.0, bytes=cost.bytes - cost.activations + tokens, activations=tokens)
    one = step_seconds(step, gpu, first, peak_flop_rate)
    faster = np.minimum(stepping, chunk_seconds(chunk, gpu, cost, peak_flop_rate))
    return np.where(np.equal(cost.m, 1), stepping, np.maximum(faster, one))
