"""Products with the matrices of a model, latent attention's up-projection and the head among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..common.arrays import np
from .attention import expands_cache
from .cost import Conventions, Cost, Step, Widths, gemm

if TYPE_CHECKING:
    from ..catalog import Model


def matmul(
    doc: str, *names: str, residual: bool = False
) -> Callable[[Model, Step, Widths, Conventions], Cost | None]:  # fmt: skip
    """An operator that multiplies all tokens with a matrix of `common.matrices`, or with several at once.

    Of several a model has to have the first two, all of them with as many rows; `residual` is the width of both sides.
    """

    def operator(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
        matrices = model.matrices
        if any(name not in matrices for name in names[:2]):
            return None
        first, *others = parts = [matrices[name] for name in names if name in matrices]
        columns = sum(part.n * part.layers for part in parts) / first.layers if others else first.n
        weight, activation = (w.residual, w.residual) if residual else (w.weight, w.activation)
        return gemm(
            step.tokens, first.k, columns, weight=weight, activation=activation, batch=first.copies, calls=first.layers
        )  # fmt: skip

    operator.__doc__ = doc
    return operator


def kv_b_proj(model: Model, step: Step, w: Widths, _: Conventions) -> Cost | None:
    """Latent attention, the up-projection of keys and values: kv rank -> H (D_nope + D_v).

    Either over the whole context (the cache is expanded), or absorbed: applied to the new tokens' queries and outputs.
    """
    if not (mla := model.mla):
        return None
    up = model.n_heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    expand = expands_cache(mla, step, model.indexer)
    rows = np.where(expand, step.sequences * step.context, step.tokens)
    read = np.where(expand, mla.kv_lora_rank * w.kv, up * w.activation)
    written = np.where(expand, up, 2 * model.n_heads * mla.kv_lora_rank) * w.activation
    moved = rows * (read + written) + mla.kv_lora_rank * up * w.weight
    flops = 2.0 * rows * mla.kv_lora_rank * up
    return Cost(flops, moved, rows, up, mla.kv_lora_rank, calls=model.attending, activations=rows * written)


def lm_head(model: Model, step: Step, w: Widths, _: Conventions) -> Cost:
    """Logits: h -> V, for the last token of a prompt or for all (`logits`), for every candidate in decoding."""
    rows = step.sequences * step.logits
    return gemm(rows, model.hidden_size, model.vocab_size, weight=w.lm_head, activation=w.activation)
