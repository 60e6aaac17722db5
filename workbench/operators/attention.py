"""Attention: scores and their product with the values, fused in one kernel or through memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.arrays import Array, np
from . import cost
from .cost import Conventions, Cost, Heads, Latent, Step, Widths

if TYPE_CHECKING:
    from ..catalog import Mla, Model


def _sizes(mla: Mla) -> tuple[int, int, int]:
    """Multiply-adds of a head: to expand a token, and for a score of expanded heads and of the latent [1]."""
    up = mla.kv_lora_rank * (mla.qk_nope_head_dim + mla.v_head_dim)
    return up, mla.qk_head_dim + mla.v_head_dim, mla.latent_dim + mla.kv_lora_rank


def expands_cache(mla: Mla, step: Step) -> Array:
    """Whether latent attention is cheaper [FLOP] with the cache expanded to heads (prompts) or absorbed (decoding)."""
    up, head, latent = _sizes(mla)
    return step.context * (up + step.new_tokens * head) < step.new_tokens * (up + step.context * latent)


def _most_absorbed(mla: Mla, context: Array) -> Array:
    """New tokens up to which `expands_cache` is false [token]."""
    up, head, latent = _sizes(mla)
    saved = up + context * (latent - head)
    return np.where(saved > 0, context * up / np.maximum(saved, 1), float("inf"))


def latent_heads(mla: Mla, n_heads: Array, step: Step, w: Widths, *, fused: bool) -> Heads:
    """Heads of latent attention: those that the cache is expanded to, or queries that share the latent itself."""
    expand = expands_cache(mla, step)
    head, latent = mla.qk_head_dim, mla.latent_dim
    again = 0 if fused else mla.kv_lora_rank * w.kv  # absorbed, the values are part of the latent keys
    wide, value = n_heads * head * w.activation, n_heads * mla.v_head_dim * w.activation
    expanded = Heads(n_heads, head, mla.v_head_dim, wide, value, 1)
    absorbed = Heads(n_heads, latent, mla.kv_lora_rank, latent * w.kv, again, n_heads)
    return Heads(
        n_heads,
        np.where(expand, expanded.qk_dim, absorbed.qk_dim),
        np.where(expand, expanded.v_dim, absorbed.v_dim),
        np.where(expand, expanded.k_bytes, absorbed.k_bytes),
        np.where(expand, expanded.v_bytes, absorbed.v_bytes),
        np.where(expand, expanded.group, absorbed.group),
        Latent(expanded, absorbed, np.where(expand, False, True), _most_absorbed(mla, step.context)),
    )


def _heads(model: Model, step: Step, w: Widths, *, fused: bool) -> Heads:
    if model.mla is not None:
        return latent_heads(model.mla, model.n_heads, step, w, fused=fused)
    read = model.n_kv_heads * model.head_dim * w.kv
    return Heads(model.n_heads, model.head_dim, model.head_dim, read, read, model.n_heads // model.n_kv_heads)


def _window(model: Model, *, hybrid: bool) -> tuple[int | None, int]:
    """Window and number of the layers that an attention operator runs on.

    A model whose layers are all alike has one kind; a hybrid has full layers and sliding ones, an operator each.
    """
    sliding = model.sliding_window
    if hybrid:
        return (sliding.size, sliding.layers) if sliding and sliding.layers < model.n_layers else (None, 0)
    if sliding and sliding.layers == model.n_layers:
        return sliding.size, model.n_layers
    return None, model.n_layers - (sliding.layers if sliding else 0)


def _attention(
    model: Model, step: Step, w: Widths, conventions: Conventions, part: str, *, hybrid: bool
) -> Cost | None:
    window, layers = _window(model, hybrid=hybrid)
    if not layers:
        return None
    fused = part == "fused"
    return cost.attention(
        step, _heads(model, step, w, fused=fused), w.activation, part=part, window=window, calls=layers,
        causal=fused if conventions.causal is None else conventions.causal,
        scores=conventions.scores or ("chip" if fused else "memory"),
    )  # fmt: skip


def fused_attention(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Fused attention of one layer: the scores stay on chip. In a hybrid model, that of the full layers."""
    return _attention(model, step, w, conventions, "fused", hybrid=False)


def fused_sliding_attention(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Fused attention of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, conventions, "fused", hybrid=True)


def qk(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Q K^T, unfused: 2 B T C H D FLOPs; Q and K are read, the scores written."""
    return _attention(model, step, w, conventions, "qk", hybrid=False)


def pv(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """P V, unfused: 2 B T C H D FLOPs; the scores and V are read, the heads' outputs written."""
    return _attention(model, step, w, conventions, "pv", hybrid=False)


def sliding_qk(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """`qk` of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, conventions, "qk", hybrid=True)


def sliding_pv(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """`pv` of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, conventions, "pv", hybrid=True)
