"""The matrices of a model: what operators multiply with, and what its weights are counted from.

Where the layers that have one differ it is their mean, so that weights, FLOPs and bytes of them all together are exact.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Matrix(NamedTuple):
    """A (k x n) matrix that activations are multiplied with."""

    k: float  #: rows [1]
    n: float  #: columns [1]
    layers: int  #: that have it [1]
    copies: int = 1  #: in each of them [1]

    @property
    def weights(self) -> int:
        """Of all layers [1]."""
        return round(self.k * self.n * self.layers) * self.copies


def layer_matrices(model: Any, experts: int | None = None) -> dict[str, Matrix]:
    """Those of all layers, by the operator that multiplies with it; norms and biases are none (under 0.3 %).

    `experts` is the number of routed ones in each layer, where it is not all of them [1].
    """
    found = _attention(model) | _linear(model) | _mlps(model, experts)
    return {name: matrix for name, matrix in found.items() if matrix.layers and matrix.k and matrix.n}


def embedding_weights(model: Any) -> int:
    """Weights of the embedding's tables: of tokens, of positions and of the layers' own inputs [1]."""
    own = model.per_layer_embedding
    rows = model.vocab_size + (model.learned_positions or 0)
    return int(model.hidden_size * rows + (own.vocab_size * model.n_layers * own.size if own else 0))


def _mean(hidden: int, columns: Iterable[tuple[int, float]]) -> Matrix:
    """From the hidden size to columns, of so many layers each."""
    pairs = [pair for pair in columns if pair[0]]
    layers = sum(count for count, _ in pairs)
    return Matrix(hidden, sum(count * size for count, size in pairs) / max(layers, 1), layers)


def _attention(model: Any) -> dict[str, Matrix]:
    h, layers, kinds, mla, index = model.hidden_size, model.attending, model.kinds, model.mla, model.indexer
    wide = 2 if model.attention_gate else 1
    back = _mean(h, ((kind.layers, kind.n_heads * kind.v_dim) for kind in kinds))
    queries = _mean(h, ((kind.layers, wide * kind.n_heads * kind.qk_dim) for kind in kinds))
    found = {"o_proj": Matrix(back.n, h, layers)}
    if not mla:
        keys = _mean(h, ((kind.own, kind.n_kv_heads * kind.qk_dim) for kind in kinds))
        values = _mean(h, ((kind.own, kind.n_kv_heads * kind.v_dim) for kind in kinds if kind.valued))
        return found | {"q_proj": queries, "k_proj": keys, "v_proj": values}
    up = model.n_heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    found |= {"kv_a_proj": Matrix(h, mla.latent_dim, layers), "kv_b_proj": Matrix(mla.kv_lora_rank, up, layers)}
    if rank := mla.q_lora_rank:
        found |= {"q_a_proj": Matrix(h, rank, layers), "q_b_proj": Matrix(rank, queries.n, layers)}
    else:
        found["q_proj"] = queries
    if index:
        choosing = index.layers or layers
        found["index_q_proj"] = Matrix(rank or h, index.n_heads * index.head_dim, choosing)
        found["index_k_proj"] = Matrix(h, index.head_dim + index.n_heads, choosing)
    return found


def _linear(model: Any) -> dict[str, Matrix]:
    if not (linear := model.linear_attention):
        return {}
    return {
        "linear_in_proj": Matrix(model.hidden_size, linear.in_columns, linear.layers),
        "linear_gate_proj": Matrix(linear.gate_rank, linear.gate_columns / 2, linear.layers, 2),
        "linear_conv": Matrix(linear.conv_size, linear.channels, linear.layers),
        "linear_out_proj": Matrix(linear.values, model.hidden_size, linear.layers),
    }


def _mlps(model: Any, experts: int | None) -> dict[str, Matrix]:
    h, moe, own = model.hidden_size, model.moe, model.per_layer_embedding
    up = Matrix(h, model.mean_intermediate_size, model.dense_layers)
    found = {"gate_proj": up} if model.gated else {}
    found |= {"up_proj": up, "down_proj": Matrix(up.n, h, up.layers)}
    if moe:
        wide, rank, shared = (2 if model.experts_gated else 1), moe.latent_size or h, moe.shared_intermediate_size or 0
        experts = moe.n_experts if experts is None else experts
        found |= {
            "router": Matrix(h, moe.router_columns, moe.layers),
            "latent_in_proj": Matrix(h, moe.latent_size or 0, moe.layers),
            "latent_out_proj": Matrix(moe.latent_size or 0, h, moe.layers),
            "moe_gate_up_proj": Matrix(rank, wide * moe.intermediate_size, moe.layers, experts),
            "moe_down_proj": Matrix(moe.intermediate_size, rank, moe.layers, experts),
            "shared_gate_up_proj": Matrix(h, wide * shared, moe.layers),
            "shared_down_proj": Matrix(shared, h, moe.layers),
        }
    if own:
        found["per_layer_model_proj"] = Matrix(h, model.n_layers * own.size, 1)
        found["per_layer_gate"] = Matrix(h, own.size, model.n_layers)
        found["per_layer_proj"] = Matrix(own.size, h, model.n_layers)
    return found
