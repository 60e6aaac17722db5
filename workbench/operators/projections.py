"""Projections: of attention, latent attention's among them, and of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.arrays import Array, np
from .attention import expands_cache
from .cost import Conventions, Cost, Step, Widths, gemm

if TYPE_CHECKING:
    from ..catalog import Model


def _projection(
    model: Model, step: Step, w: Widths, k: Array, n: Array, layers: int | None = None
) -> Cost | None:  # fmt: skip
    calls = model.attending if layers is None else layers
    return gemm(step.tokens, k, n, weight=w.weight, activation=w.activation, calls=calls) if calls else None


def _to_heads(model: Model, step: Step, w: Widths, columns: Array, layers: int) -> Cost | None:
    """Of the mean of the layers that have such columns, where their heads differ."""
    if model.mla or not layers:
        return None
    return _projection(model, step, w, model.hidden_size, columns / layers, layers)


def _queries(model: Model) -> float:
    wide = 2 if model.attention_gate else 1
    return wide * sum(kind.layers * kind.n_heads * kind.qk_dim for kind in model.kinds)


def qkv_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Q, K and V in one GEMM: h -> (H + 2 Hkv) D, with a gate of the output h -> 2 (H + Hkv) D."""
    cached = sum(kind.own * kind.n_kv_heads * (kind.qk_dim + kind.valued * kind.v_dim) for kind in model.kinds)
    return _to_heads(model, step, w, _queries(model) + cached, model.attending)


def q_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Queries: h -> H D; with latent attention and no query rank h -> H (D_nope + D_rope)."""
    if model.mla and not model.mla.q_lora_rank:
        width = model.n_heads * model.mla.qk_head_dim
        return _projection(model, step, w, model.hidden_size, width)
    return _to_heads(model, step, w, _queries(model), model.attending)


def k_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Keys: h -> Hkv D."""
    columns = sum(kind.own * kind.n_kv_heads * kind.qk_dim for kind in model.kinds)
    return _to_heads(model, step, w, columns, sum(kind.own for kind in model.kinds))


def v_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Values: h -> Hkv D_v, but where they are the keys."""
    valued = [kind for kind in model.kinds if kind.valued]
    columns = sum(kind.own * kind.n_kv_heads * kind.v_dim for kind in valued)
    return _to_heads(model, step, w, columns, sum(kind.own for kind in valued))


def o_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Heads back to the hidden size: H D_v -> h."""
    rows = sum(kind.layers * kind.n_heads * kind.v_dim for kind in model.kinds)
    return _projection(model, step, w, rows / model.attending, model.hidden_size)


def index_q_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Queries that choose the tokens to attend to: q rank -> H D of the indexer (DeepSeek-V3.2, arXiv 2512.02556)."""
    if not ((index := model.indexer) and (mla := model.mla)):
        return None
    rank = mla.q_lora_rank or model.hidden_size
    return _projection(model, step, w, rank, index.n_heads * index.head_dim, index.layers)


def index_k_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Its key of a token, and the weights of its heads: h -> D + H of the indexer."""
    if not (index := model.indexer):
        return None
    return _projection(model, step, w, model.hidden_size, index.head_dim + index.n_heads, index.layers)


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
    expand = expands_cache(mla, step, model.indexer)
    rows = np.where(expand, step.sequences * step.context, step.tokens)
    read = np.where(expand, mla.kv_lora_rank * w.kv, up * w.activation)
    written = np.where(expand, up, 2 * model.n_heads * mla.kv_lora_rank) * w.activation
    moved = rows * (read + written) + mla.kv_lora_rank * up * w.weight
    flops = 2.0 * rows * mla.kv_lora_rank * up
    return Cost(flops, moved, rows, up, mla.kv_lora_rank, calls=model.attending, activations=rows * written)


def per_layer_model_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """The layers' own inputs from the embedding, once a pass: h -> L times their size (Gemma 3n)."""
    if not (own := model.per_layer_embedding):
        return None
    return _projection(model, step, w, model.hidden_size, model.n_layers * own.size, 1)


def per_layer_gate(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """A gate of each layer's own input: h -> its size."""
    if not (own := model.per_layer_embedding):
        return None
    return _projection(model, step, w, model.hidden_size, own.size, model.n_layers)


def per_layer_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Each layer's own input, gated, back to the hidden size: its size -> h."""
    if not (own := model.per_layer_embedding):
        return None
    return _projection(model, step, w, own.size, model.hidden_size, model.n_layers)


def lm_head(model: Model, step: Step, w: Widths, _: Conventions) -> Cost:
    """Logits: h -> V, for the last token of a prompt or for all (`logits`), for every candidate in decoding."""
    rows = step.sequences * step.logits
    return gemm(rows, model.hidden_size, model.vocab_size, weight=w.lm_head, activation=w.activation)
