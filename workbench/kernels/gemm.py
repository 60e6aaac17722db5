"""Time of a matrix product: whole output tiles in whole waves, the walk along k, operands, and their quantization."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from math import prod

import numpy as np

from ..catalog.fits import GemmFit
from ..catalog.gpu_entries import GPU
from ..common.arrays import Array
from ..operators.cost import Cost

#: Rows and columns of a GEMM's output tiles [1].
TILES = ((32, 64), (64, 64), (128, 128), (256, 128))
#: Rows up to which a kernel that widens narrow weights multiplies them one by one, as matrix times vector, and the tile
#: that this is worth: of A100's and L40S' weight-only products up to 4 rows 18 % off (24 with the tiles of more) [1].
FEW_ROWS, VECTOR_TILE = 4, (8, 64)
#: GEMMs that are computed with all tiles at once: of more, each tile's arrays are to stay in the caches [1].
FEW = 2**12
#: Rows from which on a tile is not a small one: see `catalog.GemmFit` [1].
LARGE_TILE = 128
#: A kernel that computes much longer runs at the clock that the power limit sustains [s].
BOOST_TIME = 5e-4
#: Activations are left in the L2 cache by the kernel before, as far as they fit in this share of it [1].
L2_SHARE = 0.5
#: Exponent of the step from operands that fit into L2 to those that do not, where a benchmark repeats one call [1].
L2_EDGE = 8
#: Activations that are quantized before the product, by the format of the kernel: an element and its share of a scale,
#: of 128 elements in blocks of fp8, of 16 in nvfp4, of 32 in mxfp8 [byte]. They come, and the result goes, in 16 bits.
QUANTIZED = {"fp8": 1.0, "fp8_block": 1 + 4 / 128, "int8": 1.0, "nvfp4": 0.5 + 1 / 16, "mxfp4_fp8": 1 + 1 / 32}
#: Width of activations that other kernels write and read [byte].
WIDE = 2.0
#: Sharpness with which a benchmark's host or its GPU, whichever is slower, sets its time [1].
HOST_OVERLAP = 8.0


def smooth_maximum(a: Array, b: Array, exponent: float) -> Array:
    """(a^p + b^p)^(1/p): the sum for p = 1, the larger one for p to infinity; scaled, so that nothing overflows."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    return large * (1 + (small / large) ** exponent) ** (1 / exponent)


def tiled_flops(
    m: Array, n: Array, k: Array, batch: Array, *, sm_count: int | None, fill_depth: float, half_tile: float,
    small_tile_waves: float | None = None, max_splits: float = 16.0, step_flops: Array = 0.0, split_flops: Array = 0.0,
    vectors: bool = False,
) -> Array:  # fmt: skip
    """FLOPs in whole waves of whole output tiles, a tile to an SM, by the best tile and split of k [FLOP].

    At least 2 batch m n k, and tends to it. Stairs in m, n and batch: a library picks the fastest of a few kernels.
    m, n, k, batch: sizes of the GEMM [1]; the others: of the GPU (None: whole tiles, no waves, and no least time of a
    step) and its `GemmFit` [1], and in the time of a tile's step along k, at least, and of adding up the parts of a
    split k, what all SMs do [FLOP]; vectors: up to `FEW_ROWS` rows are multiplied one by one. The step of the largest
    tile always hides its latency.
    """
    sizes, each = (
        (m, n, k, batch),
        partial(
            _tile_flops,
            sm_count=sm_count,
            fill_depth=fill_depth,
            half_tile=half_tile,
            small_tile_waves=small_tile_waves,
            splits=sorted({1.0, max_splits**0.5, max_splits}),
            step_flops=step_flops,
            split_flops=split_flops,
        ),
    )
    if vectors and np.any(np.less_equal(m, FEW_ROWS)):
        few = np.where(np.less_equal(m, FEW_ROWS), each(*sizes, *VECTOR_TILE), np.inf)
        return np.minimum(few, _best(sizes, each))
    return _best(sizes, each)


def _best(sizes: tuple[Array, ...], each: Callable[..., np.ndarray]) -> Array:
    """The FLOPs of the best of `TILES`."""
    shape = np.broadcast_shapes(*map(np.shape, sizes))
    if prod(shape) > FEW:
        return reduce(np.minimum, (each(*sizes, *tile) for tile in TILES))
    tiles = np.array(TILES, dtype=float).T.reshape(2, -1, *(1,) * len(shape))  # all at once: fewer calls of numpy
    best: np.ndarray = each(*sizes, *tiles).min(axis=0)
    return best


def _tile_flops(
    m: Array, n: Array, k: Array, batch: Array, rows: Array, columns: Array, *, sm_count: int | None, fill_depth: float,
    half_tile: float, small_tile_waves: float | None, splits: list[float], step_flops: Array, split_flops: Array,
) -> np.ndarray:  # fmt: skip
    """FLOPs in whole waves of output tiles of (rows x columns), by the best split of k [FLOP]."""
    sms, whole = (1, np.positive) if sm_count is None else (sm_count, np.ceil)
    tiles = batch * np.ceil(m / rows) * np.ceil(n / columns)
    step: Array = 2.0 * rows * columns * sms / _reuse(rows, columns, half_tile)
    if sm_count is not None:
        step = np.maximum(step, np.minimum(step_flops, 2.0 * prod(TILES[-1]) * sm_count))
    if small_tile_waves is not None and sm_count is not None:
        allowed = (rows >= LARGE_TILE) | (m <= rows) | (tiles <= small_tile_waves * sm_count)
        step = np.where(allowed, step, np.inf)
    depths = [whole(tiles * split / sms) * (k / split + fill_depth) for split in splits]
    if np.any(split_flops):
        depths[1:] = [depth + split_flops / step for depth in depths[1:]]
    flops: np.ndarray = step * reduce(np.minimum, depths)
    return flops


def _reuse(rows: Array, columns: Array, half_tile: float) -> Array:
    """How busy an output tile keeps the tensor cores, relative to the largest tile [1]."""
    side, largest = 2 * rows * columns / (rows + columns), 2 * prod(TILES[-1]) / sum(TILES[-1])
    return side / (side + half_tile) * (1 + half_tile / largest)


def l2_misses(bytes_: Array, gpu: GPU, share: float = L2_SHARE) -> Array:
    """Of what another kernel just wrote or reads next, what a known L2 cannot hold: b^2 / (b + L2/2) [byte]."""
    return bytes_ if gpu.l2_mb is None else bytes_ * bytes_ / (bytes_ + share * 1e6 * gpu.l2_mb)


def replayed_cost(gpu: GPU, cost: Cost, l2_speedup: float | None, copies: Array = 1, l2_share: float = 1.0) -> Cost:
    """Work of a call whose operands another one like it left in L2, as bytes that memory would take as long for.

    `l2_speedup` is L2's rate over memory's [1] (None: not known, all from memory), `copies` the sets of weights that
    are used in turn, and `l2_share` how much of the cache they find room in [1].
    """
    if l2_speedup is None or gpu.l2_mb is None:
        return cost
    used = copies * (cost.bytes - cost.activations) + cost.activations
    cached = 1 / (1 + (used / (l2_share * 1e6 * gpu.l2_mb)) ** L2_EDGE)
    share = 1 - cached * (1 - 1 / l2_speedup)
    return replace(cost, bytes=share * cost.bytes, activations=share * cost.activations)


def replayed_sets(engine: str, form: str, weights: Array, gpu: GPU) -> Array:
    """Sets of weights that the benchmark of an engine's kernels uses in turn, by format and bytes of one set [1].

    AIConfigurator's (github.com/ai-dynamo/aiconfigurator 095f58a): six layers, one where the kernel is not in a CUDA
    graph, and as many as fill the L2 cache in TensorRT-LLM. Of other benchmarks one, which a call replays.
    """
    if engine == "trtllm":
        return 1.0 if gpu.l2_mb is None else np.clip(np.ceil(1e6 * gpu.l2_mb / weights), 1, 5)
    return 6.0 if engine == "sglang" or (engine == "vllm" and form not in ("fp8_block", "nvfp4")) else 1.0


def activation_bytes(cost: Cost) -> Array:
    """Activations that a product reads and writes: quantized ones in their width, the result in 16 bits [byte]."""
    if (width := QUANTIZED.get(cost.format)) is None:
        return cost.activations
    return 1.0 * (width * cost.k + WIDE * cost.n) * cost.batch * cost.m


def quantize_seconds(fit: GemmFit, gpu: GPU, cost: Cost) -> Array:
    """Time to quantize the activations before the product: read in 16 bits, written in the kernel's format [s].

    0 in formats that multiply them in 16 bits, and where a fit's timings do not hold it.
    """
    width = QUANTIZED.get(cost.format)
    if width is None or fit.quantize_fraction is None:
        return 0.0
    moving = (WIDE + width) * cost.k * cost.batch / (fit.quantize_fraction * gpu.bandwidth) * cost.m
    return 1e-6 * fit.quantize_us + moving


def gemm_seconds(fit: GemmFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """Launch, the walk along k, the smooth maximum of computing tiles and moving operands, and quantizing [s]."""
    rate = fit.compute_fraction * peak_flop_rate
    flops = tiled_flops(
        cost.m, cost.n, cost.k, cost.batch, sm_count=gpu.sm_count, fill_depth=fit.fill_depth,
        half_tile=fit.half_tile, small_tile_waves=fit.small_tile_waves, max_splits=fit.max_splits,
        step_flops=1e-9 * fit.walk_ns * rate, split_flops=1e-6 * fit.split_us * rate,
        vectors=cost.format.endswith("_wo") and not cost.row_tiles,
    )  # fmt: skip
    compute = flops / rate
    compute = compute * (1 - fit.boost * BOOST_TIME / (compute + BOOST_TIME))
    moved = cost.bytes - cost.activations + l2_misses(activation_bytes(cost), gpu)
    moving = moved / (fit.bandwidth_fraction * gpu.bandwidth)
    latency = fit.launch_us + fit.loop_us * cost.k / (cost.k + fit.loop_depth)
    product = 1e-6 * latency + smooth_maximum(compute, moving, fit.overlap)
    return product + quantize_seconds(fit, gpu, cost)


def benchmark_seconds(fit: GemmFit, gpu: GPU, cost: Cost, peak_flop_rate: Array) -> Array:
    """What a benchmark sees of a product: the host's time, where that launches it and takes longer [s]."""
    seconds = gemm_seconds(fit, gpu, cost, peak_flop_rate)
    return smooth_maximum(seconds, 1e-6 * fit.host_us, HOST_OVERLAP) if fit.host_us else seconds
