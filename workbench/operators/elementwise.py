"""Norms, RoPE, cache write and activation functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cost import Conventions, Cost, Step, Widths

if TYPE_CHECKING:
    from ..catalog import Model


def elementwise_layer(model: Model, step: Step, w: Widths, _: Conventions) -> Cost:
    """Norms with residual, RoPE, cache write and activation functions of one layer, fused as engines fuse them.

    Per token: two norms that read and write hidden state and residual (8 h, 5 FLOPs an element); RoPE reads and writes
    Q and K (3 FLOPs an element); K and V are read and written to the cache; the activation reads gate and up and
    writes one (5 FLOPs an element); the sum of k experts' outputs reads k and writes one (a FLOP each). The embedding
    look-up (2 h) and the final norm (4 h), once a pass, are spread over the layers, as are MoE and dense MLPs where a
    model has both. Two norms for every model, although some have four or one, or norms on queries and keys. All of it
    is in the residual's 16 bits, whatever the products compute in. Always far below the ridge point.
    """
    layers, h, mla, moe = model.n_layers, model.hidden_size, model.mla, model.moe
    rotated = model.n_heads * mla.qk_rope_head_dim + mla.qk_rope_head_dim if mla else 0
    if not mla and not model.learned_positions:
        rotated = (model.n_heads + model.n_kv_heads) * model.head_dim
    cached = model.kv_elements_per_token / layers
    hidden = model.dense_layers * model.intermediate_size / layers
    if moe:
        width = moe.experts_per_token * moe.intermediate_size + (moe.shared_intermediate_size or 0)
        hidden += moe.layers * width / layers
        combine = moe.layers / layers * h * (moe.experts_per_token + 1)
        routed = moe.layers / layers * moe.experts_per_token * moe.intermediate_size
    else:
        combine = routed = 0.0
    operands = 3 if model.gated else 2
    elements = 8 * h + 2 * rotated + cached + hidden * operands + combine + 6 * h / layers
    flops = step.tokens * (5.0 * (2 + 1 / layers) * h + 3 * rotated + 5 * hidden + combine)
    moved = step.tokens * (elements * w.residual + cached * w.kv)
    elsewhere = step.tokens * (routed * operands + combine) * w.residual
    return Cost(flops, moved, step.tokens, h, 1, calls=layers, kernel="elementwise", elsewhere=elsewhere)
