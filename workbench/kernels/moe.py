"""Time of a fused layer of routed experts: two grouped GEMMs, each expert's rows padded to whole tiles, and the rest."""

from dataclasses import replace
from functools import reduce

import numpy as np

from ..catalog.fits import MoeFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators.cost import Cost, gemm
from ..operators.routing import Routed
from .gemm import smooth_maximum

#: Rows of a grouped GEMM's output tiles, and their columns [1].
ROW_TILES, COLUMNS = (16, 32, 64, 128), 128


def padded_flops(cost: Cost, *, sm_count: int | None, fill_depth: float, half_tile: float) -> Array:
    """FLOPs of a grouped GEMM in whole waves of whole output tiles, by the best height of them [FLOP]."""
    assert cost.routed is not None
    sms, whole = (1, np.positive) if sm_count is None else (sm_count, np.ceil)
    rows, columns, depth = cost.m * cost.batch, np.ceil(cost.n / COLUMNS), cost.k + fill_depth

    def flops(height: int) -> Array:
        side = 2 * height * COLUMNS / (height + COLUMNS)
        reuse = side / (side + half_tile) * (1 + half_tile / COLUMNS)
        tiles = cost.routed.row_tiles(rows, cost.batch, height) * columns
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
    seconds = smooth_maximum(flops / (fit.compute_fraction * peak_flop_rate), weights, fit.overlap)
    hidden = cost.k if routed.first else cost.n
    rows = routed.tokens * routed.experts_per_token if fit.every_pair else cost.m * cost.batch
    moved = 4.0 * rows * (cost.k + cost.n) + 2.0 * routed.tokens * hidden
    seconds = seconds + moved / (fit.rows_fraction * gpu.bandwidth)
    if not routed.first:
        return seconds
    return seconds + 1e-6 * (fit.launch_us + fit.expert_us * routed.experts + 1e-3 * fit.token_ns * routed.tokens)


def layer_seconds(fit: MoeFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """The whole layer [s]; what a replay finds in L2 is in the bytes of the layer, and so in those of its parts."""
    share = cost.bytes / sum(part.bytes for part in cost.parts)
    parts = (replace(part, bytes=share * part.bytes, activations=share * part.activations) for part in cost.parts)
    return reduce(np.add, (moe_seconds(fit, gpu, part, peak_flop_rate) for part in parts))


def layer_cost(
    load: tuple[Array, Array], routed: Routed, *, hidden_size: Array, intermediate_size: Array, gated: Array,
    weight: Array, activation: Array,
) -> Cost:  # fmt: skip
    """Work of a layer whose (rows, experts touched) on one GPU are `load`; widths in [byte]."""
    rows, touched = load
    wide = intermediate_size * (1 + np.asarray(gated))
    parts = tuple(
        replace(
            gemm(rows / touched, k, n, weight=weight, activation=activation, batch=touched, kernel="moe"),
            routed=replace(routed, first=first),
        )
        for k, n, first in ((hidden_size, wide, True), (intermediate_size, hidden_size, False))
    )
    flops, moved, kept = (sum(getattr(part, name) for part in parts) for name in ("flops", "bytes", "activations"))
    return replace(parts[0], flops=flops, bytes=moved, activations=kept, parts=parts)
