"""Projections: of attention, latent attention's among them, and of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.arrays import np
from .attention import expands_cache
from .cost import Conventions, Cost, Step, Widths, gemm

if TYPE_CHECKING:
    from ..catalog import Model


def _projection(model: Model, step: Step, w: Widths, k: int, n: int) -> Cost:
    return gemm(step.tokens, k, n, weight=w.weight, activation=w.activation, calls=model.n_layers)


def _to_heads(model: Model, step: Step, w: Widths, heads: int) -> Cost | None:
    return None if model.mla else _projection(model, step, w, model.hidden_size, heads * model.head_dim)


def qkv_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Q, K and V in one GEMM: h -> (H + 2 Hkv) D."""
    return _to_heads(model, step, w, model.n_heads + 2 * model.n_kv_heads)


def q_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Queries: h -> H D; with latent attention and no query rank h -> H (D_nope + D_rope)."""
    if model.mla and not model.mla.q_lora_rank:
        width = model.n_heads * model.mla.qk_head_dim
        return _projection(model, step, w, model.hidden_size, width)
    return _to_heads(model, step, w, model.n_heads)


def k_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Keys (`v_proj` is the same for values): h -> Hkv D."""
    return _to_heads(model, step, w, model.n_kv_heads)


def o_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost:
    """Heads back to the hidden size: H D_v -> h."""
    width = model.n_heads * (model.mla.v_head_dim if model.mla else model.head_dim)
    return _projection(model, step, w, width, model.hidden_size)


def q_a_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Latent attention, queries down: h -> q rank (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""
    if not (model.mla and model.mla.q_lora_rank):
        return None
    return _projection(model, step, w, model.hidden_size, model.mla.q_lora_rank)


def q_b_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Latent attention, queries up: q rank -> H (D_nope + D_rope)."""
    if not (model.mla and model.mla.q_lora_rank):
        return None
    width = model.n_heads * model.mla.qk_head_dim
    return _projection(model, step, w, model.mla.q_lora_rank, width)


def kv_a_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Latent attention, keys and values down to what is cached: h -> kv rank + D_rope."""
    if not model.mla:
        return None
    return _projection(model, step, w, model.hidden_size, model.mla.latent_dim)


def kv_b_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Latent attention, the up-projection of keys and values: kv rank -> H (D_nope + D_v).

    Either over the whole context (the cache is expanded), or absorbed: applied to the new tokens' queries and outputs.
    """
    if not (mla := model.mla):
        return None
    up = model.n_heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    expand = expands_cache(mla, step)
    rows = np.where(expand, step.sequences * step.context, step.tokens)
    read = np.where(expand, mla.kv_lora_rank * w.kv, up * w.activation)
    written = np.where(expand, up, 2 * model.n_heads * mla.kv_lora_rank) * w.activation
    moved = rows * (read + written) + mla.kv_lora_rank * up * w.weight
    flops = 2.0 * rows * mla.kv_lora_rank * up
    return Cost(flops, moved, rows, up, mla.kv_lora_rank, calls=model.n_layers, activations=rows * written)


def lm_head(model: Model, step: Step, w: Widths, _: Conventions) -> Cost:
    """Logits: h -> V, for the last token of a prompt or for all (`logits`), for every candidate in decoding."""
    rows = step.sequences * step.logits
    return gemm(rows, model.hidden_size, model.vocab_size, weight=w.lm_head, activation=w.activation)
