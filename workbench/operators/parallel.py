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
from .routing import busiest_load, power_law

if TYPE_CHECKING:
    from ..catalog import Model

# Shards -----------------------------------------------------------------------------------------------------------


def shard(model: Model, tp: int, experts: int | None = None) -> Model:
    """What each of `tp` GPUs runs of every layer: its share of the heads, of the MLP and of the vocabulary.

    A KV head is copied where there are fewer of them than GPUs, as are the key heads of linear attention; so are norms,
    routers, the latent cache of MLA with the projections to it, indexers, projections to the width that experts work in
    and of layers' own inputs, and learned positions. The vocabulary is padded to whole rows.

    Parameters
    ----------
    model : Model
        Catalog entry.
    tp : int
        GPUs that share every layer [1].
    experts : int, optional
        GPUs that share each routed expert; None: `tp` as well [1].

    Returns
    -------
    Model
        What one of them runs.

    Raises
    ------
    ValueError
        Where the heads, KV heads or MLP sizes cannot be shared evenly.
    """
    cut = tp if experts is None else experts
    if tp == cut == 1:
        return model
    if cut != tp and model.moe and (size := model.moe.intermediate_size) % cut:
        allowed = [str(n) for n in range(1, size + 1) if size % n == 0]
        raise CannotRun(
            f"tp x dp / ep = {cut} does not divide moe.intermediate_size = {size} of {model.id}: allowed are"
            f" {', '.join(allowed)}",
            "experts cannot be shared evenly",
        )
    if uneven := _uneven(model, tp, cut):
        allowed = [str(n) for n in range(1, model.n_heads + 1) if not _uneven(model, n, n if experts is None else 1)]
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
    if by_layer := model.kv_heads_by_layer:
        changes["kv_heads_by_layer"] = tuple(max(heads // tp, 1) for heads in by_layer)
    if widths := model.intermediate_by_layer:
        changes["intermediate_by_layer"] = tuple(width // tp for width in widths)
    if window := model.sliding_window:
        own = {"n_heads": window.n_heads and window.n_heads // tp}
        own["n_kv_heads"] = window.n_kv_heads and max(window.n_kv_heads // tp, 1)
        changes["sliding_window"] = window.model_copy(update=own)
    if linear := model.linear_attention:
        heads = {"n_heads": linear.n_heads // tp, "n_key_heads": max(linear.n_key_heads // tp, 1)}
        changes["linear_attention"] = linear.model_copy(update=heads)
    if own_inputs := model.per_layer_embedding:
        rows = {"vocab_size": -(-own_inputs.vocab_size // tp)}
        changes["per_layer_embedding"] = own_inputs.model_copy(update=rows)
    if moe := model.moe:
        shared = moe.shared_intermediate_size and moe.shared_intermediate_size // tp
        sizes = {"intermediate_size": moe.intermediate_size // cut, "shared_intermediate_size": shared}
        changes["moe"] = moe.model_copy(update=sizes)
    return model.model_copy(update=changes)


def _uneven(model: Model, tp: int, experts: int) -> str:
    """The size that `tp` GPUs cannot share, with each expert shared by `experts` of them, or nothing."""
    moe, window, linear = model.moe, model.sliding_window, model.linear_attention
    shared: list[tuple[str, int | None]] = [("n_heads", model.n_heads)]
    shared += [("intermediate_size", size) for size in _dense_widths(model)]
    if moe:
        shared += [("moe.intermediate_size", moe.intermediate_size)] if experts == tp else []
        shared.append(("moe.shared_intermediate_size", moe.shared_intermediate_size))
    copied: list[tuple[str, int | None]] = [("n_kv_heads", kv) for kv in model.kv_heads_by_layer or (model.n_kv_heads,)]
    if window:
        shared.append(("sliding_window.n_heads", window.n_heads))
        copied.append(("sliding_window.n_kv_heads", window.n_kv_heads))
    if linear:
        shared.append(("linear_attention.n_heads", linear.n_heads))
        copied.append(("linear_attention.n_key_heads", linear.n_key_heads))
    for name, size in shared:
        if size and size % tp:
            return f"{name} = {size}"
    return next((f"{name} = {heads}" for name, heads in copied if heads and heads % tp and tp % heads), "")


def _dense_widths(model: Model) -> tuple[int, ...]:
    """Widths of the dense MLPs; that of the model, where it has none [1]."""
    return model.intermediate_by_layer or (model.intermediate_size,)


# Collectives ------------------------------------------------------------------------------------------------------


def all_reduce(model: Model, step: Step, w: Widths, gpus: int) -> Cost | None:
    """The sum of what the shards put out, after attention and after the MLP of every layer with one; None on one GPU.

    Each GPU reads its own T h activations, in the residual's 16 bits, adds up its share of the sum (g - 1 additions for
    each of T h / g elements) and writes the whole. What crosses the link is in its time alone. The gather of the
    logits is left out.
    """
    if gpus == 1:
        return None
    elements = step.tokens * model.hidden_size
    moved = 2 * elements * w.residual
    return Cost(
        (gpus - 1) / gpus * elements, moved, step.tokens, model.hidden_size, 1,
        calls=model.mixing + model.feeding, kernel="all_reduce", activations=moved, gpus=gpus,
    )  # fmt: skip


def all_to_all(model: Model, step: Step, w: Widths, gpus: int, *, shared_by: int = 1) -> Cost | None:
    """One of the two exchanges around the routed experts of a layer; None on one GPU, or without experts.

    Each of a GPU's own tokens, which the step has, sends its activations once to every group of `shared_by` GPUs that
    has some of its k experts, g (1 - (1 - 1 / g)^k) of g groups, and there to all of them. They come back weighted, in
    the residual's 16 bits (DeepSeek-V3, arXiv 2412.19437, section 3.2): the bytes are the mean of the two ways, read
    once and written once.
    """
    if gpus == 1 or model.moe is None:
        return None
    reached = gpus * (1 - (1 - shared_by / gpus) ** model.moe.experts_per_token)
    width = model.moe.latent_size or model.hidden_size
    sent = step.tokens * reached * width * (w.activation + w.residual) / 2
    return Cost(
        0.0 * sent, 2 * sent, step.tokens, width, 1, calls=2 * model.moe.layers,
        kernel="all_to_all", activations=2 * sent, gpus=gpus,
    )  # fmt: skip


def gathered(model: Model, step: Step, w: Widths, gpus: int) -> tuple[Cost, Cost]:
    """In place of the two exchanges, with all tokens in the step: an all-gather before the experts, of a layer each.

    Every GPU gets all tokens, in the activations' width, and a reduce-scatter after them adds up, in the residual's 16
    bits, what the experts make of each.
    """
    assert model.moe
    columns = model.moe.latent_size or model.hidden_size
    elements = step.tokens * columns
    first, second = (
        Cost(
            flops * elements, 2 * width * elements, step.tokens, columns, 1, calls=model.moe.layers,
            kernel=kernel, activations=2 * width * elements, gpus=gpus,
        )
        for kernel, flops, width in (
            ("all_gather", 0.0, w.activation), ("reduce_scatter", (gpus - 1) / gpus, w.residual),
        )
    )  # fmt: skip
    return first, second


def spread_experts(
    cost: Cost, gpus: int, *, skew: float = 0.0, copies: int = 0, spread: float = 0.0, everywhere: bool = False
) -> Cost:  # fmt: skip
    """The busiest GPU's part of routed experts that are spread over `gpus` [1], with whole experts on each.

    `skew`, `copies` and `spread` are as for `operators.routing.busiest_load`; with `everywhere` all have all tokens.
    """
    routed = cost.routed
    assert routed
    sizes = (routed.tokens, routed.experts, routed.experts_per_token)
    rows, touched = busiest_load(*sizes, gpus, skew=skew, copies=copies, spread=spread, drawn=cost.batch)
    share, read = rows / (cost.m * cost.batch), touched / cost.batch
    kept = share * cost.activations
    part = routed.spread(gpus, copies=copies, everywhere=everywhere)
    if skew and not copies:
        part = replace(part, skew=skew, ratio=power_law(*sizes, skew).ratio)
    return replace(
        cost, flops=share * cost.flops, bytes=read * (cost.bytes - cost.activations) + kept, m=rows / touched,
        batch=touched, activations=kept, routed=part,
    )  # fmt: skip


#: Collectives by name; each takes (model, step, widths, GPUs that take part).
COLLECTIVES: dict[str, Callable[[Model, Step, Widths, int], Cost | None]] = {
    "all_reduce": all_reduce, "all_to_all": all_to_all,
}  # fmt: skip
