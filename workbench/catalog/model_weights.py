"""How many weights each operator of a model has: of all layers, without norms and biases (under 0.3 %)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model_entries import Model


def operator_weights(model: Model, experts: int | None = None) -> dict[str, int]:
    """Weights of the matrices of all layers, by the operator of the fused view that multiplies with them [1].

    Convolutions of linear attention are in "elementwise"; the embeddings, and lm_head, are not here. `experts` is the
    number of routed ones to count in each layer; None: all [1].
    """
    return {name: count for name, count in (_mixers(model) | _mlps(model, experts)).items() if count}


def embedding_weights(model: Model) -> int:
    """Weights of the embedding's tables: of tokens, of positions and of the layers' own inputs [1]."""
    own = model.per_layer_embedding
    rows = model.vocab_size + (model.learned_positions or 0)
    return model.hidden_size * rows + (own.vocab_size * model.n_layers * own.size if own else 0)


def attention_weights(model: Model) -> dict[str, int]:
    """Of the projections of softmax attention, those that choose its tokens among them, by operator [1]."""
    h, layers, mla = model.hidden_size, model.attending, model.mla
    counts = {"o_proj": h * sum(kind.layers * kind.n_heads * kind.v_dim for kind in model.kinds)}
    if not mla:
        return counts | {"qkv_proj": h * sum(qkv_columns(model))}
    queries, rank = model.n_heads * mla.qk_head_dim, mla.q_lora_rank
    up = model.n_heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    counts |= {"kv_a_proj": layers * h * mla.latent_dim, "kv_b_proj": layers * mla.kv_lora_rank * up}
    if rank:
        counts |= {"q_a_proj": layers * h * rank, "q_b_proj": layers * rank * queries}
    else:
        counts["q_proj"] = layers * h * queries
    if index := model.indexer:
        own = index.layers or layers
        counts["index_q_proj"] = own * (rank or h) * index.n_heads * index.head_dim
        counts["index_k_proj"] = own * h * (index.head_dim + index.n_heads)
    return counts


def qkv_columns(model: Model) -> tuple[int, int, int]:
    """Columns of the projections to queries (with their gate), keys and values, over all layers [1]."""
    return (
        sum(kind.layers * kind.n_heads * kind.qk_dim for kind in model.kinds) * (2 if model.attention_gate else 1),
        sum(round(kind.own * kind.n_kv_heads * kind.qk_dim) for kind in model.kinds),
        sum(round(kind.own * kind.n_kv_heads * kind.v_dim) for kind in model.kinds if kind.valued),
    )


def _mixers(model: Model) -> dict[str, int]:
    counts = attention_weights(model)
    if linear := model.linear_attention:
        counts["linear_in_proj"] = linear.layers * model.hidden_size * linear.in_columns
        counts["linear_gate_proj"] = linear.layers * linear.gate_rank * linear.gate_columns
        counts["linear_out_proj"] = linear.layers * linear.values * model.hidden_size
        counts["elementwise"] = linear.layers * linear.channels * linear.conv_size
    return counts


def _mlps(model: Model, experts: int | None) -> dict[str, int]:
    h, dense, own = model.hidden_size, model.dense_layers, model.per_layer_embedding
    width = round(dense * model.mean_intermediate_size)
    wide = "gate_up_proj" if model.gated else "up_proj"
    counts = {wide: (2 if model.gated else 1) * h * width, "down_proj": width * h}
    if moe := model.moe:
        up, rank = (2 if model.experts_gated else 1), moe.latent_size or h
        routed = moe.layers * (moe.n_experts if experts is None else experts) * moe.intermediate_size
        shared = moe.layers * (moe.shared_intermediate_size or 0)
        latent = moe.layers * h * (moe.latent_size or 0)
        counts |= {"router": moe.layers * h * moe.router_columns}
        counts |= {"latent_in_proj": latent, "latent_out_proj": latent}
        counts |= {"moe_gate_up_proj": up * rank * routed, "moe_down_proj": routed * rank}
        counts |= {"shared_gate_up_proj": up * h * shared, "shared_down_proj": shared * h}
    if own:
        counts |= dict.fromkeys(
            ("per_layer_model_proj", "per_layer_gate", "per_layer_proj"), model.n_layers * h * own.size
        )
    return counts
