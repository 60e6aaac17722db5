"""What each operator of a transformer computes and moves: FLOPs, bytes and GEMM shape of one kernel call.

A `Step` says what one forward pass works on; prefill, decode and the verification of candidates differ in its numbers
only. Every function takes ``(model, step, widths, options)`` and returns a `Cost`, or None where the model has no such
operator. A multiply-add is two FLOPs. Bytes are those that must cross the memory bus once: each operand read once, each
result written once.

The unfused operators are table 5 of the Medusa paper (Cai et al. 2024, arXiv 2401.10774v3), which follows Chen,
"Dissecting Batching Effects in GPT Inference" (2023), with grouped-query heads, other MLPs and byte widths added.
"""

from ..catalog.model_entries import Model
from .attention import fused_attention, fused_sliding_attention, pv, qk, sliding_pv, sliding_qk
from .cost import Conventions, Operator, Widths, prefill
from .elementwise import elementwise_layer
from .mlp import (
    down_proj,
    gate_proj,
    gate_up_proj,
    moe_down_proj,
    moe_gate_up_proj,
    router,
    shared_down_proj,
    shared_gate_up_proj,
    up_proj,
)
from .projections import k_proj, kv_a_proj, kv_b_proj, lm_head, o_proj, q_a_proj, q_b_proj, q_proj, qkv_proj

#: Every operator by name, in the order of the forward pass.
OPERATORS: dict[str, Operator] = {
    "qkv_proj": qkv_proj, "q_a_proj": q_a_proj, "q_b_proj": q_b_proj, "q_proj": q_proj, "k_proj": k_proj,
    "v_proj": k_proj, "kv_a_proj": kv_a_proj, "kv_b_proj": kv_b_proj,
    "attention": fused_attention, "sliding_attention": fused_sliding_attention,
    "qk": qk, "sliding_qk": sliding_qk, "pv": pv, "sliding_pv": sliding_pv, "o_proj": o_proj,
    "gate_up_proj": gate_up_proj, "gate_proj": gate_proj, "up_proj": up_proj, "down_proj": down_proj,
    "router": router, "moe_gate_up_proj": moe_gate_up_proj, "moe_down_proj": moe_down_proj,
    "shared_gate_up_proj": shared_gate_up_proj, "shared_down_proj": shared_down_proj,
    "lm_head": lm_head, "elementwise": elementwise_layer,
}  # fmt: skip

#: Operators that multiply with the KV cache rather than with weights.
ATTENTION = ("attention", "sliding_attention", "qk", "sliding_qk", "pv", "sliding_pv")

_FUSED_ONLY = {"qkv_proj", "attention", "sliding_attention", "gate_up_proj", "elementwise"}
_UNFUSED_ONLY = {"k_proj", "v_proj", "qk", "sliding_qk", "pv", "sliding_pv", "gate_proj"}


_ONE_TOKEN = (prefill(1, 1), Widths(), Conventions())


def exists(operator: str, model: Model) -> bool:
    """Whether a model has that operator, in either view."""
    return OPERATORS[operator](model, *_ONE_TOKEN) is not None


def operator_set(model: Model, view: str) -> list[str]:
    """Names of the operators that one forward pass of `model` runs, in order.

    view : "fused", what engines run, a whole forward pass; "unfused", the papers' view, its matmuls alone
    """
    left_out = _UNFUSED_ONLY if view == "fused" else _FUSED_ONLY
    if view == "fused":  # part of a fused GEMM where the model has one
        left_out = left_out | ({"up_proj"} if model.gated else set()) | (set() if model.mla else {"q_proj"})
    return [operator for operator in OPERATORS if operator not in left_out and exists(operator, model)]
