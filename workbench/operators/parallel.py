"""Several GPUs that serve one model: what each of them runs, and the collectives between them.

A tensor-parallel shard is a `Model` again, the one that a single GPU runs, so that every operator's cost follows from
it: Shoeybi et al. 2019, "Megatron-LM" (arXiv 1909.08053).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..common.errors import CannotRun
from .cost import Cost, Step, Widths

if TYPE_CHECKING:
    from ..catalog import Model

# Shards -----------------------------------------------------------------------------------------------------------


def shard(model: Model, tp: int) -> Model:
    """What each of `tp` GPUs runs of every layer: its share of the heads, of the MLP and of the vocabulary.

    A KV head is copied where there are fewer of them than GPUs; so are norms, routers, the latent cache of MLA with the
    projections to it, and learned positions. The vocabulary is padded to whole rows.

    Parameters
    ----------
    model : Model
        Catalog entry.
    tp : int
        GPUs that share every layer [1].

    Returns
    -------
    Model
        What one of them runs.

    Raises
    ------
    ValueError
        Where the heads, KV heads or MLP sizes cannot be shared evenly.
    """
    if tp == 1:
        return model
    if uneven := _uneven(model, tp):
        allowed = [str(n) for n in range(1, model.n_heads + 1) if not _uneven(model, n)]
        raise CannotRun(
            f"tp = {tp} does not divide {uneven} of {model.id}: allowed are {', '.join(allowed)}",
            "tp does not divide the model",
        )
    changes: dict[str, object] = {
        "n_heads": model.n_heads // tp,
        "n_kv_heads": max(model.n_kv_heads // tp, 1),
        "intermediate_size": model.intermediate_size // tp,
        "vocab_size": -(-model.vocab_size // tp),
        "published_parameters": None,
    }
    if moe := model.moe:
        shared = moe.shared_intermediate_size and moe.shared_intermediate_size // tp
        sizes = {"intermediate_size": moe.intermediate_size // tp, "shared_intermediate_size": shared}
        changes["moe"] = moe.model_copy(update=sizes)
    return model.model_copy(update=changes)


def _uneven(model: Model, tp: int) -> str:
    """The size that `tp` GPUs cannot share, or nothing."""
    sizes = {"n_heads": model.n_heads, "intermediate_size": model.intermediate_size}
    if moe := model.moe:
        sizes["moe.intermediate_size"] = moe.intermediate_size
        sizes["moe.shared_intermediate_size"] = moe.shared_intermediate_size or tp
    for name, size in sizes.items():
        if size % tp:
            return f"{name} = {size}"
    kv = model.n_kv_heads
    return "" if kv % tp == 0 or tp % kv == 0 else f"n_kv_heads = {kv}"


# Collectives ------------------------------------------------------------------------------------------------------


def all_reduce(model: Model, step: Step, w: Widths, gpus: int) -> Cost | None:
    """The sum of what the shards put out, after attention and after the MLP of every layer; None on one GPU.

    Each GPU reads its own T h activations, in the residual's 16 bits, adds up its share of the sum (g - 1 additions for
    each of T h / g elements) and writes the whole. What crosses the link is in its time alone. The gather of the
    logits is left out.
    """
    if gpus == 1:
        return None
    elements = step.tokens * model.hidden_size
    moved = 2 * elements * w.residual
    return Cost(
        (gpus - 1) / gpus * elements, moved, step.tokens, model.hidden_size, 1, calls=2 * model.n_layers,
        kernel="all_reduce", activations=moved, gpus=gpus,
    )  # fmt: skip


def all_to_all(model: Model, step: Step, w: Widths, gpus: int) -> Cost | None:
    """One of the two exchanges around the routed experts of a layer; None on one GPU, or without experts.

    Each of a GPU's own tokens, which the step has, sends its activations to the GPUs of its k experts, from where they
    come back weighted, in the residual's 16 bits (DeepSeek-V3, arXiv 2412.19437, section 3.2): the mean of the two.
    Experts are taken to be loaded evenly; the bytes are read once and written once.
    """
    if gpus == 1 or model.moe is None:
        return None
    sent = step.tokens * model.moe.experts_per_token * model.hidden_size * (w.activation + w.residual) / 2
    return Cost(
        0.0 * sent, 2 * sent, step.tokens, model.hidden_size, 1, calls=2 * model.moe.layers,
        kernel="all_to_all", activations=2 * sent, gpus=gpus,
    )  # fmt: skip


def spread_experts(cost: Cost, gpus: int) -> Cost:
    """One GPU's part of routed experts that are spread over `gpus` [1], with whole experts on each, loaded evenly."""
    return replace(
        cost, flops=cost.flops / gpus, bytes=cost.bytes / gpus, batch=cost.batch / gpus,
        activations=cost.activations / gpus, routed=cost.routed and cost.routed.spread(gpus),
    )  # fmt: skip


#: Collectives by name; each takes (model, step, widths, GPUs that take part).
COLLECTIVES: dict[str, Callable[[Model, Step, Widths, int], Cost | None]] = {
    "all_reduce": all_reduce, "all_to_all": all_to_all,
}  # fmt: skip
