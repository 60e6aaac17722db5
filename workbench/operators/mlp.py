"""The MLP of a layer: gate, up and down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cost import Conventions, Cost, Step, Widths, gemm

if TYPE_CHECKING:
    from ..catalog import Model


def mlp_shape(model: Model, intermediate: int, *, down: bool) -> tuple[int, int]:
    """k and n of the fused gate and up of an MLP, or of its down projection [1]."""
    if down:
        return intermediate, model.hidden_size
    return model.hidden_size, intermediate * (2 if model.gated else 1)


def _dense(model: Model, step: Step, w: Widths, k: int, n: int) -> Cost | None:
    if not model.dense_layers:
        return None
    return gemm(step.tokens, k, n, weight=w.weight, activation=w.activation, calls=model.dense_layers)


def up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP up: h -> i."""
    return _dense(model, step, w, model.hidden_size, model.intermediate_size)


def gate_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP gate, the same size as `up_proj`, where the MLP has one (GPT, OPT, Falcon and Phi-2 do not)."""
    return _dense(model, step, w, model.hidden_size, model.intermediate_size) if model.gated else None


def gate_up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP gate and up in one GEMM: h -> 2 i."""
    return _dense(model, step, w, *mlp_shape(model, model.intermediate_size, down=False)) if model.gated else None


def down_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP down: i -> h."""
    return _dense(model, step, w, *mlp_shape(model, model.intermediate_size, down=True))
