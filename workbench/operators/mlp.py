"""The MLP, dense or of routed and shared experts."""

import numpy as np

from ..catalog.model_entries import Model
from ..common.arrays import Array
from .cost import Conventions, Cost, Step, Widths, linear

# MLP --------------------------------------------------------------------------------------------------------------


def _mlp_up(model: Model, step: Step, w: Widths, matrices: int) -> Cost | None:
    if not model.dense_layers:
        return None
    width = matrices * model.intermediate_size
    return linear(step.tokens, model.hidden_size, width, w.weight, w.activation, calls=model.dense_layers)


def up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP up: h -> i."""
    return _mlp_up(model, step, w, 1)


def gate_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP gate, the same size as `up_proj`, where the MLP has one (GPT, OPT, Falcon and Phi-2 do not)."""
    return _mlp_up(model, step, w, 1) if model.gated else None


def gate_up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP gate and up in one GEMM: h -> 2 i."""
    return _mlp_up(model, step, w, 2) if model.gated else None


def down_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP down: i -> h."""
    if not model.dense_layers:
        return None
    return linear(
        step.tokens, model.intermediate_size, model.hidden_size, w.weight, w.activation, calls=model.dense_layers
    )


def experts_touched(step: Step, n_experts: int, experts_per_token: int) -> Array:
    """Expected experts that a batch reads, each token choosing k of E at random: E (1 - (1 - k/E)^T) [1]."""
    return n_experts * (1 - (1 - experts_per_token / n_experts) ** np.asarray(step.tokens, dtype=float))


def _experts(model: Model, step: Step, w: Widths, *, down: bool) -> Cost | None:
    if not (moe := model.moe):
        return None
    touched = experts_touched(step, moe.n_experts, moe.experts_per_token)
    rows = step.tokens * moe.experts_per_token / touched
    k, n = _mlp_shape(model, moe.intermediate_size, down=down)
    return linear(rows, k, n, w.experts, w.activation, calls=moe.layers, batch=touched)


def _mlp_shape(model: Model, width: int, *, down: bool) -> tuple[int, int]:
    """k and n of an MLP's fused gate and up, or of its down projection [1]."""
    return (width, model.hidden_size) if down else (model.hidden_size, width * (2 if model.gated else 1))


def router(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Scores of all experts: h -> E, in the activations' width."""
    if not (moe := model.moe):
        return None
    return linear(step.tokens, model.hidden_size, moe.n_experts, w.activation, w.activation, calls=moe.layers)


def moe_gate_up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Routed experts, gate and up as one grouped GEMM over the experts that the batch touches: h -> 2 i."""
    return _experts(model, step, w, down=False)


def moe_down_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Routed experts, down: i -> h."""
    return _experts(model, step, w, down=True)


def _shared(model: Model, step: Step, w: Widths, *, down: bool) -> Cost | None:
    if not (model.moe and model.moe.shared_intermediate_size):
        return None
    k, n = _mlp_shape(model, model.moe.shared_intermediate_size, down=down)
    return linear(step.tokens, k, n, w.weight, w.activation, calls=model.moe.layers)


def shared_gate_up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Shared experts, which every token passes, gate and up: h -> 2 i."""
    return _shared(model, step, w, down=False)


def shared_down_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Shared experts, down: i -> h."""
    return _shared(model, step, w, down=True)
