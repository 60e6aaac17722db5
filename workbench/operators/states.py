"""Linear attention: the states that it carries from token to token, in place of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.arrays import Array
from .cost import Conventions, Cost, Step, Widths

if TYPE_CHECKING:
    from ..catalog import Model


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
