"""The MLP of a layer: gate, up and down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.arrays import Array
from .cost import Conventions, Cost, Step, Widths, gemm

if TYPE_CHECKING:
    from ..catalog import Model


def mlp_shape(hidden: int, intermediate: Array, *, gated: bool, down: bool) -> tuple[Array, Array]:
    """k and n of the fused gate and up of an MLP, or of its down projection [1]."""
    if down:
        return intermediate, hidden
    return hidden, intermediate * (2 if gated else 1)


def _dense(model: Model, step: Step, w: Widths, k: Array, n: Array) -> Cost | None:
    if not model.dense_layers:
        return None
    return gemm(step.tokens, k, n, weight=w.weight, activation=w.activation, calls=model.dense_layers)


def up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP up: h -> i."""
    return _dense(model, step, w, model.hidden_size, model.mean_intermediate_size)


def gate_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP gate, the same size as `up_proj`, where the MLP has one (GPT, OPT, Falcon and Phi-2 do not)."""
    return _dense(model, step, w, model.hidden_size, model.mean_intermediate_size) if model.gated else None


def gate_up_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP gate and up in one GEMM: h -> 2 i."""
    if not model.gated:
        return None
    return _dense(model, step, w, *mlp_shape(model.hidden_size, model.mean_intermediate_size, gated=True, down=False))


def down_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """MLP down: i -> h."""
    return _dense(model, step, w, model.mean_intermediate_size, model.hidden_size)
