"""Attention: scores and their product with the values, fused in one kernel or through memory."""

from typing import NamedTuple

import numpy as np

from ..catalog.model_entries import Model
from ..common.arrays import Array
from .cost import Conventions, Cost, Step, Widths, scores_per_sequence


def expands(model: Model, step: Step) -> Array:
    """Whether latent attention is cheaper [FLOP] with the cache expanded to heads (prompts) or absorbed (decoding)."""
    assert model.mla is not None
    mla = model.mla
    up = mla.kv_lora_rank * (mla.qk_nope_head_dim + mla.v_head_dim)
    head = mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim
    latent = 2 * mla.kv_lora_rank + mla.qk_rope_head_dim
    return step.context * (up + step.new_tokens * head) < step.new_tokens * (up + step.context * latent)


class _Heads(NamedTuple):
    """One layer's attention: dot-product sizes [1], bytes read of a token in the context, heads a KV head [1]."""

    qk_dim: Array
    v_dim: Array
    k_bytes: Array
    v_bytes: Array
    group: Array


def _heads(model: Model, step: Step, w: Widths, *, fused: bool) -> _Heads:
    mla = model.mla
    if mla is None:
        read = model.n_kv_heads * model.head_dim * w.kv
        return _Heads(model.head_dim, model.head_dim, read, read, model.n_heads // model.n_kv_heads)
    expand = expands(model, step)
    head, latent = mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.kv_lora_rank + mla.qk_rope_head_dim
    again = 0 if fused else mla.kv_lora_rank * w.kv  # absorbed, the values are part of the latent keys
    return _Heads(
        np.where(expand, head, latent),
        np.where(expand, mla.v_head_dim, mla.kv_lora_rank),
        np.where(expand, model.n_heads * head * w.activation, latent * w.kv),
        np.where(expand, model.n_heads * mla.v_head_dim * w.activation, again),
        np.where(expand, 1, model.n_heads),
    )


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


def _context_read(step: Step, window: int | None) -> Array:
    """Tokens per sequence whose keys and values are read [1]."""
    return step.context if window is None else np.minimum(step.context, window + step.new_tokens - 1)


def _attention(model: Model, step: Step, w: Widths, options: Conventions, part: str, *, hybrid: bool) -> Cost | None:
    """The scores ("qk"), their product with the values ("pv"), or both in one kernel ("fused")."""
    window, layers = _window(model, hybrid=hybrid)
    if not layers:
        return None
    fused = part == "fused"
    heads = _heads(model, step, w, fused=fused)
    dims = heads.qk_dim * (part != "pv") + heads.v_dim * (part != "qk")
    read = heads.k_bytes * (part != "pv") + heads.v_bytes * (part != "qk")
    causal = fused if options.causal is None else options.causal
    batch = step.sequences * model.n_heads
    scores = batch * scores_per_sequence(step, window, causal=causal)
    moved = batch * step.new_tokens * dims * w.activation + step.sequences * _context_read(step, window) * read
    if (options.scores or ("chip" if fused else "memory")) == "memory":
        moved = moved + scores * w.activation * (2 if fused else 1)
    visible = step.context if window is None else np.minimum(step.context, window)
    n, k = (heads.v_dim, visible) if part == "pv" else (visible, heads.qk_dim)
    return Cost(
        2.0 * scores * dims, moved, step.new_tokens, n, k, batch, layers, kernel="attention" if fused else "unfused",
        activations=moved - step.sequences * _context_read(step, window) * read, group=heads.group,
        score_flops=2.0 * dims, sequences=step.sequences,
    )  # fmt: skip


def fused_attention(model: Model, step: Step, w: Widths, options: Conventions) -> Cost | None:
    """Fused attention of one layer (Dao et al. 2022): the scores stay on chip.

    4 B T C H D FLOPs for B sequences of T new tokens over C of context, less the causal credit; the softmax's own
    FLOPs are left out (about 1 % at D = 128). Keys and values are read once per KV head. In a hybrid model, the full
    layers; `sliding_attention` has the rest.
    """
    return _attention(model, step, w, options, "fused", hybrid=False)


def fused_sliding_attention(model: Model, step: Step, w: Widths, options: Conventions) -> Cost | None:
    """Fused attention of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, options, "fused", hybrid=True)


def qk(model: Model, step: Step, w: Widths, options: Conventions) -> Cost | None:
    """Q K^T, unfused: 2 B T C H D FLOPs; Q and K are read, the scores written."""
    return _attention(model, step, w, options, "qk", hybrid=False)


def pv(model: Model, step: Step, w: Widths, options: Conventions) -> Cost | None:
    """P V, unfused: 2 B T C H D FLOPs; the scores and V are read, the heads' outputs written."""
    return _attention(model, step, w, options, "pv", hybrid=False)


def sliding_qk(model: Model, step: Step, w: Widths, options: Conventions) -> Cost | None:
    """`qk` of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, options, "qk", hybrid=True)


def sliding_pv(model: Model, step: Step, w: Widths, options: Conventions) -> Cost | None:
    """`pv` of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, options, "pv", hybrid=True)
