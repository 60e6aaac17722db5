"""Times of one layer's attention outside a model: of heads, of a latent cache, and of a linear attention's states."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..catalog import GPU, Mla, kernel_fit
from ..catalog import gpu as find_gpu
from ..catalog.dtypes import compute_dtype, kernel_format, plain_width
from ..common.arguments import check_broadcast, one_of, positive_numbers, whole_number
from ..common.arrays import Array
from ..common.errors import shown
from ..operators import Cost, Heads, Step, Widths, cost
from ..operators.attention import latent_heads
from .gemm import replayed_cost
from .linear_attention import linear_attention_cost
from .roofline import check_time_model
from .times import LAWS, operator_time


def attention_time(
    gpu: str | GPU, *, new_tokens: Any, context: Any, batch_size: Any, n_heads: Any, n_kv_heads: Any, head_dim: Any,
    dtype: str = "fp16", kv_dtype: str | None = None, window: Any = None, causal: bool = True,
    time_model: str = "kernel", engine: str | None = None, replayed: bool = False,
) -> Array:  # fmt: skip
    """Time of one layer's fused attention: prefill where new_tokens = context, decode where it is 1.

    Parameters
    ----------
    gpu : str or GPU
        Id or catalog entry.
    new_tokens, context : array_like
        Of each sequence; `context` includes the new ones [token].
    batch_size : array_like
        Sequences [1].
    n_heads, n_kv_heads, head_dim : array_like
        Query heads, KV heads, and their size [1].
    dtype : str
        Of queries and outputs.
    kv_dtype : str, optional
        Of the cache; None is `dtype`.
    window : array_like, optional
        Tokens that a new one sees at most [token]; None: all.
    causal : bool
        Skip the scores that the mask leaves out.
    time_model : str
        "kernel" or "ideal".
    engine : str, optional
        Whose kernels run, as for `operator_time`.
    replayed : bool
        As for `gemm_time`: a KV cache that fits into L2 is read from there.

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        For an unknown name, a dtype that the GPU has no peak for, a size that is not a positive number, a context
        shorter than the new tokens, or heads that KV heads do not divide.
    """
    sizes = {
        "new_tokens": new_tokens, "context": context, "batch_size": batch_size, "n_heads": n_heads,
        "n_kv_heads": n_kv_heads, "head_dim": head_dim,
    } | ({} if window is None else {"window": window})  # fmt: skip
    given = _checked(sizes, causal=causal)
    if np.any(given["n_heads"] % given["n_kv_heads"]):
        raise ValueError(f"n_heads = {shown(n_heads)} is not a multiple of n_kv_heads = {shown(n_kv_heads)}")
    width = plain_width(dtype)
    kv_width = width if kv_dtype is None else plain_width(kv_dtype, "kv_dtype")
    call = attention_cost(**given, width=width, kv_width=kv_width, causal=causal)
    return _time(gpu, call, dtype, kv_dtype, time_model, engine, replayed)


def mla_time(
    gpu: str | GPU, *, new_tokens: Any, context: Any, batch_size: Any, n_heads: Any, kv_lora_rank: int = 512,
    qk_nope_head_dim: int = 128, qk_rope_head_dim: int = 64, v_head_dim: int = 128, dtype: str = "fp16",
    kv_dtype: str | None = None, causal: bool = True, time_model: str = "kernel", engine: str | None = None,
    replayed: bool = False,
) -> Array:  # fmt: skip
    """Time of one layer's multi-head latent attention, without its projections.

    Prompts attend over the cache expanded to heads, new tokens over the latent: ideally whichever takes fewer FLOPs,
    as kernels whichever is faster.

    Parameters
    ----------
    gpu, new_tokens, context, batch_size, n_heads
        As for `attention_time`.
    kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim : int
        Of the latent cache and of a head, by default those of DeepSeek-V2 and -V3 [1].
    dtype, kv_dtype, causal, time_model, engine, replayed
        As for `attention_time`.

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        As for `attention_time`.
    """
    sizes = {"new_tokens": new_tokens, "context": context, "batch_size": batch_size, "n_heads": n_heads}
    ranks = {
        "kv_lora_rank": kv_lora_rank, "qk_nope_head_dim": qk_nope_head_dim, "qk_rope_head_dim": qk_rope_head_dim,
        "v_head_dim": v_head_dim,
    }  # fmt: skip
    mla = Mla(**{name: whole_number(name, size) for name, size in ranks.items()})
    given = _checked(sizes, causal=causal)
    width = plain_width(dtype)
    kv_width = width if kv_dtype is None else plain_width(kv_dtype, "kv_dtype")
    call = mla_cost(mla, **given, width=width, kv_width=kv_width, causal=causal)
    return _time(gpu, call, dtype, kv_dtype, time_model, engine, replayed)


def linear_attention_time(
    gpu: str | GPU, *, new_tokens: Any, batch_size: Any, n_heads: Any, n_key_heads: Any, key_dim: Any = 128,
    value_dim: Any = 128, dtype: str = "bf16", state_dtype: str = "fp32", time_model: str = "kernel",
    engine: str | None = None, replayed: bool = False,
) -> Array:  # fmt: skip
    """Time of one layer's gated linear attention (the gated delta rule), without its projections and convolution.

    Its state takes the place of a cache, so that no context enters. One new token carries it on, a prompt in chunks.

    Parameters
    ----------
    gpu : str or GPU
        Id or catalog entry.
    new_tokens, batch_size : array_like
        Tokens of each sequence [token], and sequences [1].
    n_heads, n_key_heads, key_dim, value_dim : array_like
        Heads of values and outputs, heads of queries and keys, and the size of each [1].
    dtype, state_dtype : str
        Of the operands, and of the state.
    time_model, engine, replayed
        As for `attention_time`.

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        For an unknown name, a dtype that the GPU has no peak for, a size that is not a positive number, or heads that
        the keys' do not divide.
    """
    sizes = {
        "new_tokens": new_tokens, "batch_size": batch_size, "n_heads": n_heads, "n_key_heads": n_key_heads,
        "key_dim": key_dim, "value_dim": value_dim,
    }  # fmt: skip
    given = _checked(sizes)
    if np.any(given["n_heads"] % given["n_key_heads"]):
        raise ValueError(f"n_heads = {shown(n_heads)} is not a multiple of n_key_heads = {shown(n_key_heads)}")
    call = linear_attention_cost(**given, width=plain_width(dtype), state_width=plain_width(state_dtype, "state_dtype"))
    return _time(gpu, call, dtype, None, time_model, engine, replayed)


def _checked(sizes: dict[str, Any], *, causal: bool = True) -> dict[str, np.ndarray]:
    """Sizes as arrays that broadcast; ValueError in one line for others, and for a context that is too short."""
    given = {name: positive_numbers(name, value) for name, value in sizes.items()}
    check_broadcast(**given)
    one_of("causal", causal, (True, False))
    if "context" in given and np.any(given["context"] < given["new_tokens"]):
        raise ValueError("context is shorter than new_tokens: it counts the new tokens as well")
    return given


def _time(
    gpu: str | GPU, call: Cost, dtype: str, kv_dtype: str | None, time_model: str, engine: str | None, replayed: bool
) -> Array:
    card = find_gpu(gpu)
    check_time_model(time_model)
    stored = dtype if kv_dtype is None else kv_dtype
    call = replace(call, format=kernel_format(stored, dtype, cache=True))
    if one_of("replayed", replayed, (True, False)) and time_model == "kernel":
        prompt, step = LAWS[call.kernel].kinds
        fit = kernel_fit(card, step if np.all(np.equal(call.m, 1)) else prompt, call.format, engine).fit
        call = replayed_cost(card, call, getattr(fit, "l2_speedup", None), l2_share=getattr(fit, "l2_share", 1.0))
    return operator_time(card, call, card.peak_flop_rate(compute_dtype(stored, dtype)), time_model, engine=engine)


def attention_cost(
    new_tokens: Array, context: Array, batch_size: Array, n_heads: Array, n_kv_heads: Array, head_dim: Array,
    width: Array, *, kv_width: Array | None = None, window: Array | None = None, causal: bool = True,
) -> Cost:  # fmt: skip
    """Work of fused attention, queries of `width` and cache of `kv_width` [byte]; the rest as for `attention_time`."""
    cache = n_kv_heads * head_dim * (width if kv_width is None else kv_width)
    heads = Heads(n_heads, head_dim, head_dim, cache, cache, n_heads / n_kv_heads)
    step = Step(batch_size, new_tokens, context, context - new_tokens)
    return cost.attention(step, heads, width, window=window, causal=causal)


def mla_cost(
    mla: Mla, new_tokens: Array, context: Array, batch_size: Array, n_heads: Array, width: Any, *, kv_width: Any,
    causal: bool = True,
) -> Cost:  # fmt: skip
    """Work of fused latent attention, queries of `width` and latent of `kv_width` [byte]; the rest as `mla_time`."""
    step = Step(batch_size, new_tokens, context, context - new_tokens)
    heads = latent_heads(mla, n_heads, step, Widths(activation=width, kv=kv_width), fused=True)
    return cost.attention(step, heads, width, causal=causal)
