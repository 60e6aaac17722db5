"""Mixture of experts: the router, the routed experts and the shared ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .cost import Conventions, Cost, Step, Widths, gemm
from .mlp import mlp_shape
from .routing import Routed, experts_drawn

if TYPE_CHECKING:
    from ..catalog import Model


def router(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Scores of all experts: h -> E, and of the shared one where it has a gate, in the residual's width."""
    if not (moe := model.moe):
        return None
    width = w.residual
    return gemm(step.tokens, model.hidden_size, moe.router_columns, weight=width, activation=width, calls=moe.layers)


def _routed(model: Model, step: Step, w: Widths, conventions: Conventions, *, down: bool) -> Cost | None:
    if not (moe := model.moe):
        return None
    touched = experts_drawn(step.tokens, moe.n_experts, moe.experts_per_token, conventions.expert_spread)
    rows = step.tokens * moe.experts_per_token / touched
    k, n = mlp_shape(moe.latent_size or model.hidden_size, moe.intermediate_size, gated=model.experts_gated, down=down)
    cost = gemm(
        rows, k, n, weight=w.experts, activation=w.activation, batch=touched, calls=moe.layers, kernel="moe"
    )  # fmt: skip
    return replace(cost, routed=Routed(step.tokens, moe.n_experts, moe.experts_per_token, first=not down))


def _latent(model: Model, step: Step, w: Widths, *, down: bool) -> Cost | None:
    if not (model.moe and (size := model.moe.latent_size)):
        return None
    sizes = (model.hidden_size, size) if down else (size, model.hidden_size)
    return gemm(step.tokens, *sizes, weight=w.weight, activation=w.activation, calls=model.moe.layers)


def latent_in_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Tokens down to the width that routed experts work in: h -> their latent (Nemotron 3, arXiv 2512.20856)."""
    return _latent(model, step, w, down=True)


def latent_out_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """The experts' sum back up: their latent -> h."""
    return _latent(model, step, w, down=False)


def moe_gate_up_proj(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Routed experts, gate and up as one grouped GEMM over the experts that the batch touches: h -> 2 i."""
    return _routed(model, step, w, conventions, down=False)


def moe_down_proj(model: Model, step: Step, w: Widths, conventions: Conventions) -> Cost | None:
    """Routed experts, down: i -> h."""
    return _routed(model, step, w, conventions, down=True)


def _shared(model: Model, step: Step, w: Widths, *, down: bool) -> Cost | None:
    if not (model.moe and model.moe.shared_intermediate_size):
        return None
    width, gated = model.moe.shared_intermediate_size, model.experts_gated
    k, n = mlp_shape(model.hidden_size, width, gated=gated, down=down)
    return gemm(step.tokens, k, n, weight=w.weight, activation=w.activation, calls=model.moe.layers)


def shared_gate_up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Shared experts, which every token passes, gate and up: h -> 2 i."""
    return _shared(model, step, w, down=False)


def shared_down_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Shared experts, down: i -> h."""
    return _shared(model, step, w, down=True)
