"""Mixture of experts: the routed experts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .cost import Conventions, Cost, Step, Widths, gemm
from .routing import Routed, experts_drawn

if TYPE_CHECKING:
    from ..catalog import Model


def _routed(model: Model, step: Step, w: Widths, conventions: Conventions, name: str, *, first: bool) -> Cost | None:
    if not (moe := model.moe):
        return None
    matrix = model.matrices[name]
    touched = experts_drawn(step.tokens, moe.n_experts, moe.experts_per_token, conventions.expert_spread)
    rows = step.tokens * moe.experts_per_token / touched
    cost = gemm(
        rows, matrix.k, matrix.n, weight=w.experts, activation=w.activation, batch=touched, calls=moe.layers,
        kernel="moe",
    )  # fmt: skip
    return replace(cost, routed=Routed(step.tokens, moe.n_experts, moe.experts_per_token, first=first))


def moe_gate_up_proj(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Routed experts, gate and up as one grouped GEMM over the experts that the batch touches: h -> 2 i."""
    return _routed(model, step, w, conventions, "moe_gate_up_proj", first=True)


def moe_down_proj(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Routed experts, down: i -> h."""
    return _routed(model, step, w, conventions, "moe_down_proj", first=False)
