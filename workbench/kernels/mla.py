"""Time of multi-head latent attention: prompts over the cache expanded to heads, decoding over the latent itself."""

import numpy as np

from ..catalog.fits import DecodeFit, PrefillFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators.cost import Cost
from .attention import decode_seconds, prefill_seconds


def _computing_rate(gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Peak of the format that kernels compute in: over an 8-bit cache 8 bits, where the GPU has them [FLOP/s]."""
    return gpu.peak_flop_rate("fp8") if cost.format == "fp8_cache" and "fp8" in gpu.dense_tflops else peak_flop_rate


def expanded_seconds(fit: PrefillFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """As `prefill_seconds`, of keys and values that are read once: what is cached of them is the latent [s]."""
    return prefill_seconds(fit, gpu, cost, _computing_rate(gpu, cost, peak_flop_rate), kv_passes=1)


def absorbed_seconds(fit: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """As `decode_seconds`, of query heads that share the latent as one KV head, whose values are part of its keys [s].

    Queries are multiplied with the up-projection of keys, which absorbs it. DeepSeek-AI 2024 (arXiv 2405.04434).
    """
    return decode_seconds(fit, gpu, cost, _computing_rate(gpu, cost, peak_flop_rate))


def mla_seconds(prefill: PrefillFit, decode: DecodeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Expanded or absorbed, as the operator that the work is of has it [s]."""
    if not np.any(cost.latent):
        return expanded_seconds(prefill, gpu, cost, peak_flop_rate)
    absorbed = absorbed_seconds(decode, gpu, cost, peak_flop_rate)
    if np.all(cost.latent):
        return absorbed
    return np.where(np.asarray(cost.latent), absorbed, expanded_seconds(prefill, gpu, cost, peak_flop_rate))
