"""Linear attention: its projections, and the states that it carries from token to token in place of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.arrays import Array
from .cost import Conventions, Cost, Step, Widths, gemm

if TYPE_CHECKING:
    from ..catalog import Model


def linear_in_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Queries, keys, values, gate and scalars of every head in one GEMM: h -> 2 Hk Dk + 2 H Dv + 2 H (Mamba-2: + H).

    With Kimi Delta Attention two ranks of Dk take the place of the gate. Qwen3-Next's layers, Mamba-2's
    (arXiv 2405.21060), Kimi Linear's (arXiv 2510.26692).
    """
    if not (linear := model.linear_attention):
        return None
    sizes = (model.hidden_size, linear.in_columns)
    return gemm(step.tokens, *sizes, weight=w.weight, activation=w.activation, calls=linear.layers)


def linear_gate_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Kimi Delta Attention's decay and output gate, up from their ranks: Dk -> H Dk and Dk -> H Dv."""
    if not ((linear := model.linear_attention) and linear.gate_rank):
        return None
    return gemm(
        step.tokens, linear.gate_rank, linear.gate_columns / 2, weight=w.weight, activation=w.activation, batch=2,
        calls=linear.layers,
    )  # fmt: skip


def linear_attention(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """States carried on by the new tokens: 6 B T H Dk Dv FLOPs (Mamba-2: 4), each state read and written once.

    That of the convolution is among them; its work is in `elementwise`. Yang et al. 2024 (arXiv 2412.06464).
    """
    if not (linear := model.linear_attention):
        return None
    return states_cost(
        step.sequences, step.new_tokens, linear.n_heads, linear.key_dim, linear.value_dim,
        head_flops=linear.head_flops, operands=linear.operands * w.residual, state=linear.state_bytes,
        calls=linear.layers,
    )  # fmt: skip


def linear_out_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Outputs of linear attention back to the hidden size: H Dv -> h."""
    if not (linear := model.linear_attention):
        return None
    sizes = (linear.values, model.hidden_size)
    return gemm(step.tokens, *sizes, weight=w.weight, activation=w.activation, calls=linear.layers)


def states_cost(
    sequences: Array, new_tokens: Array, n_heads: Array, key_dim: Array, value_dim: Array, *, head_flops: Array,
    operands: Array, state: Array, calls: int = 1,
) -> Cost:  # fmt: skip
    """Work of carrying on the states of one layer, of `state` bytes a sequence [byte].

    A token takes `head_flops` for every head [FLOP], and reads and writes `operands` [byte].
    """
    heads, tokens = sequences * n_heads, sequences * new_tokens
    activations = 1.0 * tokens * operands
    return Cost(
        1.0 * heads * new_tokens * head_flops, activations + 2.0 * sequences * state, new_tokens, value_dim, key_dim,
        batch=heads, calls=calls, kernel="linear_attention", activations=activations, sequences=sequences,
    )  # fmt: skip
