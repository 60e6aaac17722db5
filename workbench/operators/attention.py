"""Attention: scores and their product with the values, fused in one kernel or through memory."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from ..common.arrays import Array, np
from . import cost
from .cost import Conventions, Cost, Heads, Latent, Step, Widths, scores_per_sequence

if TYPE_CHECKING:
    from ..catalog import Indexer, Mla, Model
    from ..common.layers import Attention

#: Width of a token's score by which an indexer chooses [byte].
SCORE = 4.0


def _sizes(mla: Mla) -> tuple[int, int, int]:
    """Multiply-adds of a head: to expand a token, and for a score of expanded heads and of the latent [1]."""
    up = mla.kv_lora_rank * (mla.qk_nope_head_dim + mla.v_head_dim)
    return up, mla.qk_head_dim + mla.v_head_dim, mla.latent_dim + mla.kv_lora_rank


def expands_cache(mla: Mla, step: Step, indexer: Indexer | None = None) -> Array:
    """Whether latent attention is cheaper [FLOP] with the cache expanded to heads (prompts) or absorbed (decoding).

    Where an `indexer` leaves tokens out it is absorbed, as every query has tokens of its own, which its heads share.
    """
    up, head, latent = _sizes(mla)
    cheaper: Array = step.context * (up + step.new_tokens * head) < step.new_tokens * (up + step.context * latent)
    return np.logical_and(cheaper, step.context <= indexer.top_k) if indexer else cheaper


def _most_absorbed(mla: Mla, context: Array) -> Array:
    """New tokens up to which `expands_cache` is false [token]."""
    up, head, latent = _sizes(mla)
    saved = up + context * (latent - head)
    return np.where(saved > 0, context * up / np.maximum(saved, 1), float("inf"))


def latent_heads(
    mla: Mla, n_heads: Array, step: Step, w: Widths, *, fused: bool, indexer: Indexer | None = None
) -> Heads:
    """Heads of latent attention: those that the cache is expanded to, or queries that share the latent itself."""
    expand = expands_cache(mla, step, indexer)
    head, latent = mla.qk_head_dim, mla.latent_dim
    again = 0 if fused else mla.kv_lora_rank * w.kv  # absorbed, the values are part of the latent keys
    wide, value = n_heads * head * w.activation, n_heads * mla.v_head_dim * w.activation
    expanded = Heads(n_heads, head, mla.v_head_dim, wide, value, 1)
    absorbed = Heads(n_heads, latent, mla.kv_lora_rank, latent * w.kv, again, n_heads)
    if indexer:
        sparse = step.context > indexer.top_k
        both = zip(astuple(absorbed)[:-1], astuple(expanded)[:-1], strict=True)
        expanded = Heads(*(np.where(sparse, many, few) for many, few in both))
    return Heads(
        n_heads,
        np.where(expand, expanded.qk_dim, absorbed.qk_dim),
        np.where(expand, expanded.v_dim, absorbed.v_dim),
        np.where(expand, expanded.k_bytes, absorbed.k_bytes),
        np.where(expand, expanded.v_bytes, absorbed.v_bytes),
        np.where(expand, expanded.group, absorbed.group),
        Latent(expanded, absorbed, np.where(expand, False, True), _most_absorbed(mla, step.context)),
    )


def _heads(model: Model, kind: Attention, step: Step, w: Widths, *, fused: bool) -> Heads:
    if model.mla is not None:
        return latent_heads(model.mla, model.n_heads, step, w, fused=fused, indexer=model.indexer)
    heads, a_head = kind.n_heads, kind.n_kv_heads * w.kv
    return Heads(
        heads, kind.qk_dim, kind.v_dim, kind.qk_dim * a_head, kind.v_dim * a_head, heads / kind.n_kv_heads
    )  # fmt: skip


def _limits(model: Model, *, hybrid: bool) -> tuple[Attention | None, int | None, str]:
    """The attention that an operator is of, how many tokens that sees at most, and which (`cost.attention`).

    A model whose layers are all alike has one kind; a hybrid has full layers and sliding ones, an operator each.
    """
    (full, sliding), window = model.attentions, model.sliding_window
    if window and (hybrid or full is None):
        return (sliding if full or not hybrid else None), window.size, "chunk" if window.chunked else "last"
    chosen = model.indexer.top_k if model.indexer else None
    return (None if hybrid else full), chosen, "chosen" if chosen else "last"


def _attention(
    model: Model, step: Step, w: Widths, conventions: Conventions, part: str, *, hybrid: bool
) -> Cost | None:
    kind, window, sight = _limits(model, hybrid=hybrid)
    if kind is None:
        return None
    fused = part == "fused"
    return cost.attention(
        step, _heads(model, kind, step, w, fused=fused), w.activation, part=part, window=window, sight=sight,
        calls=kind.layers, causal=fused if conventions.causal is None else conventions.causal,
        scores=conventions.scores or ("chip" if fused else "memory"),
    )  # fmt: skip


#: New tokens that fill the rows of an indexer's tiles by themselves [1]; a guess: no timings of it are public.
INDEX_ROWS = 64


def index_scores(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """What an indexer's heads score: 2 B T C H D FLOPs, over one key of each token, summed over its heads on chip.

    As a GEMM, heads are rows of it while new tokens are few, and a part of the sums where those fill its tiles by
    themselves. The sums are written in 32 bits, and read again where the `top_k` are chosen. DeepSeek-V3.2 (arXiv
    2512.02556).
    """
    if not (index := model.indexer):
        return None
    count = step.sequences * scores_per_sequence(step, None, causal=conventions.causal is not False)
    width, size = w.kv if w.index is None else w.index, index.n_heads * index.head_dim
    keys = step.sequences * step.context * index.head_dim * width
    made = step.tokens * size * width + 2 * SCORE * count
    rows = np.maximum(step.new_tokens, np.minimum(step.new_tokens, INDEX_ROWS) * index.n_heads)
    return Cost(
        2.0 * count * size, made + keys, rows, count / step.tokens, step.new_tokens * size / rows,
        batch=step.sequences, calls=index.layers or model.attending, activations=made, cache=keys,
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
