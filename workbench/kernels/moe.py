"""Time of a fused layer of routed experts: grouped GEMMs, each expert's rows padded to whole tiles, and the rest."""

from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from ..catalog.dtypes import KERNEL_FORMATS
from ..catalog.fits import MoeFit
from ..catalog.gpu_entries import GPU, kernel_fit
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.arguments import check_broadcast, one_of, positive_numbers
from ..common.arrays import Array
from ..common.errors import shown
from ..operators.cost import Cost, gemm
from ..operators.routing import Routed, balanced_load, power_law, random_load, skewed_load
from .gemm import replayed_cost, smooth_maximum
from .roofline import check_time_model, ideal_time

#: Rows of a grouped GEMM's output tiles, and their columns [1].
ROW_TILES, COLUMNS = (16, 64, 128), 128
#: Exponent of the smooth maximum of computing and reading weights [1].
OVERLAP = 2


def padded_flops(cost: Cost, *, sm_count: int | None, fill_depth: float, half_tile: float) -> Array:
    """FLOPs of a grouped GEMM in whole waves of whole output tiles, by the best height of them [FLOP]."""
    routed = cost.routed
    assert routed is not None
    sms, whole = (1, np.positive) if sm_count is None else (sm_count, np.ceil)
    rows, columns, depth = cost.m * cost.batch, np.ceil(cost.n / COLUMNS), cost.k + fill_depth

    def flops(height: int) -> Array:
        side = 2 * height * COLUMNS / (height + COLUMNS)
        reuse = side / (side + half_tile) * (1 + half_tile / COLUMNS)
        tiles = routed.row_tiles(rows, cost.batch, height) * columns
        return (2.0 * height * COLUMNS / reuse * sms) * whole(tiles / sms) * depth

    return reduce(np.minimum, map(flops, ROW_TILES))


def moe_seconds(fit: MoeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """One grouped GEMM of the layer with what goes before the first, or comes after the last [s].

    Each is the smooth maximum of computing and of reading the weights. Another kernel writes its input and reads its
    output; routing, with launching them all, is in the first, the sum of a token's experts in the last.
    """
    routed = cost.routed
    assert routed is not None
    flops = padded_flops(cost, sm_count=gpu.sm_count, fill_depth=fit.fill_depth, half_tile=fit.half_tile)
    weights = (cost.bytes - cost.activations) / (fit.bandwidth_fraction * gpu.bandwidth)
    seconds = smooth_maximum(flops / (fit.compute_fraction * peak_flop_rate), weights, OVERLAP)
    hidden, rows = cost.k if routed.first else cost.n, cost.m * cost.batch
    width = cost.activations / (rows * (cost.k + cost.n))
    handed = routed.tokens * routed.experts_per_token if fit.every_pair else rows
    moved = width * (2 * handed * (cost.k + cost.n) + routed.tokens * hidden)
    seconds = seconds + moved / (fit.rows_fraction * gpu.bandwidth)
    if not routed.first:
        return seconds
    return seconds + 1e-6 * (fit.launch_us + fit.expert_us * routed.experts + 1e-3 * fit.token_ns * routed.tokens)


def layer_seconds(fit: MoeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """The whole layer [s]; what a replay finds in L2 is in the bytes of the layer, and so in those of its parts."""
    share = cost.bytes / sum(part.bytes for part in cost.parts)
    parts = (replace(part, bytes=part.activations + share * (part.bytes - part.activations)) for part in cost.parts)
    return reduce(np.add, (moe_seconds(fit, gpu, part, peak_flop_rate) for part in parts))


def layer_cost(
    tokens: Array, n_experts: Array, experts_per_token: Array, *, hidden_size: Array, intermediate_size: Array,
    gated: Array, weight: Array, activation: Array, ep: Array = 1, skew: Array = 0.0, balanced: Array = False,
) -> Cost:  # fmt: skip
    """Work of the layer on the busiest of `ep` GPUs that share its experts; widths in [byte], `Routed` says the rest.

    Every GPU has all tokens, of which it computes what its experts get.
    """
    law = power_law(tokens, n_experts, experts_per_token, skew)
    sizes = (tokens, n_experts, experts_per_token, ep)
    rows, touched = random_load(*sizes)
    for chosen, load in ((balanced, balanced_load), (np.greater(skew, 0), partial(skewed_load, law=law))):
        if np.any(chosen):
            rows, touched = (np.where(chosen, *pair) for pair in zip(load(*sizes), (rows, touched), strict=True))
    wide = intermediate_size * (1 + np.asarray(gated))
    parts = tuple(
        replace(
            gemm(rows / touched, k, n, weight=weight, activation=activation, batch=touched, kernel="moe"),
            routed=Routed(tokens, n_experts / ep, experts_per_token, first, skew, law.ratio, balanced),
        )
        for k, n, first in ((hidden_size, wide, True), (intermediate_size, hidden_size, False))
    )
    flops, moved, kept = (sum(getattr(part, name) for part in parts) for name in ("flops", "bytes", "activations"))
    return replace(parts[0], flops=flops, bytes=moved, activations=kept, parts=parts)


def moe_time(
    gpu: str | GPU, *, tokens: Any, hidden_size: Any, intermediate_size: Any, n_experts: Any, experts_per_token: Any,
    gated: bool = True, format: str = "bf16", tp: Any = 1, ep: Any = 1, routing: str = "random", skew: Any = 0.0,
    engine: str | None = None, time_model: str = "kernel", replayed: bool = False,
) -> Array:  # fmt: skip
    """Time of one layer of routed experts on the busiest GPU, from routing to the sum of each token's experts.

    Parameters
    ----------
    gpu : str or GPU
        Id or catalog entry.
    tokens : array_like
        In the batch [token].
    hidden_size, intermediate_size : array_like
        Of the layer, and of one expert before `tp` shares it [1].
    n_experts, experts_per_token : array_like
        Routed experts on all GPUs, and those that compute one token [1].
    gated : bool
        The experts have a gate beside up and down.
    format : str
        Of the kernels, such as "fp8_block": a key of `catalog.dtypes.KERNEL_FORMATS`.
    tp, ep : array_like
        GPUs that share every expert, and GPUs with whole experts each, every one of which has all tokens [1].
    routing : str
        "random", every token chooses its experts at random, as in a grid; "balanced", every expert gets the same; or
        "skewed", by a power law, whose loads are rounded: of few tokens, more may take less time.
    skew : array_like
        Exponent of that power law, such as 1.01 or 1.2; for "skewed" alone [1].
    engine : str, optional
        As for `operator_time`.
    time_model : str
        "kernel" or "ideal".
    replayed : bool
        As for `gemm_time`: weights that fit into L2 are read from there.

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        For an unknown name, a format that the GPU has no peak for, a size that is not a positive number, more experts
        a token than there are, or a skew without its routing.
    """
    card = find_gpu(gpu)
    check_time_model(time_model)
    known = KERNEL_FORMATS[one_of("format", format, [form for form in KERNEL_FORMATS if form != "fp8_cache"])]
    gated, replayed = one_of("gated", gated, (True, False)), one_of("replayed", replayed, (True, False))
    names = {
        "tokens": tokens, "hidden_size": hidden_size, "intermediate_size": intermediate_size, "n_experts": n_experts,
        "experts_per_token": experts_per_token, "tp": tp, "ep": ep,
    }  # fmt: skip
    sizes = {name: positive_numbers(name, value) for name, value in names.items()}
    skewed = one_of("routing", routing, ("random", "balanced", "skewed")) == "skewed"
    exponent = positive_numbers("skew", skew) if skewed else np.zeros(())
    if not skewed and np.any(np.asarray(skew) != 0):
        raise ValueError(f'skew = {shown(skew)} with routing = {routing!r}: only "skewed" routing has one')
    check_broadcast(**sizes, skew=exponent)
    if np.any(sizes["experts_per_token"] > sizes["n_experts"]):
        raise ValueError(f"experts_per_token = {shown(experts_per_token)} exceeds n_experts = {shown(n_experts)}")
    if np.any(sizes["n_experts"] % sizes["ep"]):
        raise ValueError(f"n_experts = {shown(n_experts)} is not a multiple of ep = {shown(ep)}")
    if np.any(sizes["tp"] != np.floor(sizes["tp"])) or np.any(sizes["intermediate_size"] % sizes["tp"]):
        raise ValueError(f"intermediate_size = {shown(intermediate_size)} is not a multiple of tp = {shown(tp)}")
    tp, width = sizes.pop("tp"), sizes.pop("intermediate_size")
    layer = layer_cost(
        **sizes, intermediate_size=width / tp, gated=gated, weight=known.stored, activation=known.activation,
        skew=exponent, balanced=routing == "balanced",
    )  # fmt: skip
    peak = card.peak_flop_rate(known.computes)
    if time_model == "ideal":
        return ideal_time(layer.flops, layer.bytes, peak, card.bandwidth)
    fit = kernel_fit(card, "moe", format, engine).fit
    if replayed:
        layer = replayed_cost(card, layer, fit.l2_speedup)
    ideal = ideal_time(layer.flops, layer.bytes, peak, card.bandwidth)
    seconds: np.ndarray = np.maximum(layer_seconds(fit, card, layer, peak), ideal)
    return seconds
