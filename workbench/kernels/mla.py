"""Time of multi-head latent attention: prompts over the cache expanded to heads, decoding over the latent itself."""

from dataclasses import replace

import numpy as np

from ..catalog.fits import DecodeFit, PrefillFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators.cost import Cost, Heads
from .attention import attention_seconds, decode_seconds, prefill_seconds
from .roofline import ideal_time


def computing_rate(gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Peak of the format that kernels compute in: over an 8-bit cache 8 bits, where the GPU has them [FLOP/s]."""
    return gpu.peak_flop_rate("fp8") if cost.format == "fp8_cache" and "fp8" in gpu.dense_tflops else peak_flop_rate


def expanded_seconds(fit: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """As `prefill_seconds`, of keys and values that are read once: what is cached of them is the latent [s]."""
    return prefill_seconds(fit, gpu, cost, computing_rate(gpu, cost, peak_flop_rate), kv_passes=1)


def absorbed_seconds(fit: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """As `decode_seconds`, of query heads that share the latent as one KV head, whose values are part of its keys [s].

    Queries are multiplied with the up-projection of keys, which absorbs it. DeepSeek-AI 2024 (arXiv 2405.04434).
    """
    return decode_seconds(fit, gpu, cost, computing_rate(gpu, cost, peak_flop_rate))


def mla_seconds(prefill: PrefillFit, decode: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """As `attention_seconds`, over the expanded cache or the latent, but no less than one token over the latent [s].

    Which kernel runs follows from the times and not from the FLOPs, so that no new token makes it faster; one new token
    always runs over the latent.
    """
    expanded, absorbed = _both_ways(cost)
    rate = computing_rate(gpu, cost, peak_flop_rate)
    faster = attention_seconds(prefill, decode, gpu, absorbed, rate, prompt=expanded, kv_passes=1)
    return np.maximum(faster, decode_seconds(decode, gpu, _of_one_token(absorbed), rate))


def _of_one_token(cost: Cost) -> Cost:
    """What the same attention of one new token of each sequence works on; its FLOPs are not told."""
    activations = cost.activations / cost.m
    return replace(cost, m=1.0, bytes=cost.bytes - cost.activations + activations, activations=activations)


def mla_floor(gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """The roof, nowhere below that of fewer new tokens, which absorb [s]."""
    least: Array = ideal_time(cost.flops, cost.bytes, peak_flop_rate, gpu.bandwidth)
    if cost.latent is None or np.all(cost.latent.absorbs):
        return least
    _, absorbed = _both_ways(cost)
    new = np.minimum(cost.m, cost.latent.most_absorbed)
    masked = cost.m * cost.n - cost.flops / (cost.batch * cost.score_flops)
    masked = masked * new * np.maximum(new - 1, 0) / np.maximum(cost.m * (cost.m - 1), 1)
    flops = cost.batch * (new * cost.n - masked) * absorbed.score_flops
    moved = absorbed.bytes - absorbed.activations + new / cost.m * absorbed.activations
    least = np.maximum(least, ideal_time(flops, moved, peak_flop_rate, gpu.bandwidth))
    return least


def _both_ways(cost: Cost) -> tuple[Cost, Cost]:
    """The work over the expanded cache, and over the latent, whichever of the two the cost is of."""
    latent = cost.latent
    assert latent is not None
    tokens = [heads.k_bytes + heads.v_bytes for heads in (latent.expanded, latent.absorbed)]
    own = np.where(latent.absorbs, *tokens[::-1])

    def of(heads: Heads, token: Array) -> Cost:
        score = 2.0 * (heads.qk_dim + heads.v_dim)
        wider, more = score / cost.score_flops, token / own
        activations = wider * cost.activations
        return replace(
            cost, flops=wider * cost.flops, bytes=activations + more * (cost.bytes - cost.activations), k=heads.qk_dim,
            activations=activations, group=heads.group, score_flops=score, cache=more * cost.cache,
        )  # fmt: skip

    return of(latent.expanded, tokens[0]), of(latent.absorbed, tokens[1])
