"""Norms, RoPE, cache write and activation functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cost import Conventions, Cost, Step, Widths

if TYPE_CHECKING:
    from ..catalog import Model


def elementwise_layer(model: Model, step: Step, w: Widths, _: Conventions) -> Cost:
    """Norms with residual, RoPE, cache write and activation functions of one layer, fused as engines fuse them.

    Per token: a norm before attention and one before the MLP that read and write hidden state and residual (4 h each,
    5 FLOPs an element); RoPE reads and writes Q and K (3 FLOPs an element), as do norms of theirs (5); K and V are read
    and written to the cache; the activation reads gate and up and writes one (5 FLOPs an element), as does a gate of
    the heads' outputs; the sum of k experts' outputs reads k and writes one (a FLOP each). Linear attention has its
    convolution, with its weights, and a gated norm of its outputs (`_linear`), layers' own inputs are `_own_inputs`.
    The embedding look-up (2 h) and the final norm (4 h), once a pass, are spread over the layers, as is all that not
    every layer has. One norm before each part for every model, although some have more. All of it is in the residual's
    16 bits, whatever the products compute in. Always far below the ridge point.
    """
    layers, h, mla, moe = model.n_layers, model.hidden_size, model.mla, model.moe
    kinds = model.kinds
    heads = sum(each.qk_dim * (each.layers * each.n_heads + each.own * each.n_kv_heads) for each in kinds) / layers
    rotated = 0.0 if model.learned_positions else heads
    if mla:
        rotated = model.attending * (model.n_heads * mla.qk_rope_head_dim + mla.qk_rope_head_dim) / layers
    normed = heads if model.qk_norm else 0.0
    gated = model.attention_gate * sum(each.layers * each.n_heads * each.v_dim for each in kinds) / layers
    cached = model.kv_elements_per_token / layers
    dense = model.dense_layers * model.mean_intermediate_size / layers
    experts = combine = routed = 0.0
    if moe:
        width = moe.experts_per_token * moe.intermediate_size + (moe.shared_intermediate_size or 0)
        experts = moe.layers * width / layers
        combine = moe.layers / layers * (moe.latent_size or h) * (moe.experts_per_token + 1)
        routed = moe.layers / layers * moe.experts_per_token * moe.intermediate_size
    operands, of_experts = (3 if gate else 2 for gate in (model.gated, model.experts_gated))
    norms = (model.mixing + model.feeding) / layers
    elements = 4 * norms * h + 2 * (rotated + normed) + cached + 3 * gated + combine + 6 * h / layers
    elements += dense * operands + experts * of_experts
    work = 5.0 * (norms + 1 / layers) * h + 3 * rotated + 5 * (normed + gated + dense + experts) + combine
    linear = model.linear_attention
    conv = linear.layers * linear.channels * linear.conv_size / layers if linear else 0.0
    extra = [part(model) for part in (_linear, _own_inputs)]
    elements, work = elements + sum(each[0] for each in extra), work + sum(each[1] for each in extra)
    moved = step.tokens * (elements * w.residual + cached * w.kv) + conv * w.residual
    elsewhere = step.tokens * (routed * of_experts + combine) * w.residual
    return Cost(
        step.tokens * work, moved, step.tokens, h, 1, calls=layers, kernel="elementwise", elsewhere=elsewhere
    )  # fmt: skip


def _linear(model: Model) -> tuple[float, float]:
    """Elements and FLOPs of a token around linear attention, in the mean layer [1], [FLOP].

    The convolution reads and writes its channels, a multiply-add for each of the tokens that it sees; the norm of the
    outputs reads them and their gate, and writes them (10 FLOPs an element).
    """
    if not (linear := model.linear_attention):
        return 0.0, 0.0
    share = linear.layers / model.n_layers
    elements = 2 * linear.channels + 3 * linear.values
    return share * elements, share * (2 * linear.conv_size * linear.channels + 10 * linear.values)


def _own_inputs(model: Model) -> tuple[float, float]:
    """The same of a layer's own input: looked up, added to what the hidden state makes of it, and gated [1], [FLOP]."""
    own = model.per_layer_embedding
    return (8.0 * own.size, 7.0 * own.size) if own else (0.0, 0.0)
