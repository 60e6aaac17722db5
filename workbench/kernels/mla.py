"""Time of multi-head latent attention: prompts over the cache expanded to heads, decoding over the latent itself."""

import numpy as np

from ..catalog.fits import DecodeFit, PrefillFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators import cost
from ..operators.cost import Cost, Heads, Step
from .attention import decode_seconds, prefill_seconds


def mla_seconds(prefill: PrefillFit, decode: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """The kernel of prompts where the cache is expanded to heads, that of decoding where queries are absorbed [s].

    Absorbed, all query heads share the latent as one KV head whose values are part of its keys. DeepSeek-AI 2024
    (arXiv 2405.04434).
    """
    if np.all(cost.latent):
        return decode_seconds(decode, prefill, gpu, cost, peak_flop_rate)
    expanded = prefill_seconds(prefill, gpu, cost, peak_flop_rate)
    if not np.any(cost.latent):
        return expanded
    return np.where(cost.latent, decode_seconds(decode, prefill, gpu, cost, peak_flop_rate), expanded)


def mla_cost(
    new_tokens: Array, context: Array, batch_size: Array, n_heads: Array, width: Array, *, kv_width: Array,
    latent: Array, causal: bool = True,
) -> Cost:  # fmt: skip
    """tmp"""
    q, v, rank, rope = 192, 128, 512, 64
    heads = Heads(
        n_heads, np.where(latent, rank + rope, q), np.where(latent, rank, v),
        np.where(latent, (rank + rope) * kv_width, n_heads * q * width), np.where(latent, 0, n_heads * v * width),
        np.where(latent, n_heads, 1), latent,
    )  # fmt: skip
    step = Step(batch_size, new_tokens, context, context - new_tokens)
    return cost.attention(step, heads, width, causal=causal)
