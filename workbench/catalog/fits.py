"""What the kernel-time model knows of a GPU: a few fitted numbers for each kind of kernel, kept in its catalog entry.

Fractions are of the vendor's peak and bandwidth, so that they carry over to another GPU of the same architecture. Times
are in microseconds, as they are printed. The wing `kernels` says how each number enters.
"""

from dataclasses import dataclass
from typing import Annotated, get_args

from pydantic import Field

from ..common.yaml_records import Number, Record, Text


@dataclass(frozen=True)
class Unit:
    """Unit of a fitted number, as it is printed, in the number's type."""

    symbol: str


Fraction = Annotated[float, Field(gt=0, le=1), Unit("1")]
Microseconds = Annotated[float, Field(ge=0, le=1000), Unit("us")]
Depth = Annotated[float, Field(ge=0, le=1e6), Unit("1")]
Sharpness = Annotated[float, Field(ge=1, le=8), Unit("1")]
L2Speedup = Annotated[Annotated[float, Field(ge=1, le=10)] | None, Unit("1")]

L2Share = Annotated[Number, Unit("1")]


class GemmFit(Record):
    """Parameters of a matmul, or of a batch of them."""

    launch_us: Microseconds  #: from launch to first and from last instruction to end, alone on the stream [us]
    loop_us: Microseconds = 0.0  #: of the serial walk along k, times k / (k + loop_depth); long ones are split [us]
    loop_depth: Depth = 0.0  #: k at which half of that is paid [1]
    fill_depth: Depth = 0.0  #: filling the pipeline and writing the tile out, as additional k of every output tile [1]
    half_tile: Depth = 0.0  #: side of the tile that keeps half of the tensor cores busy, as it reuses operands less [1]
    #: Tiles with fewer than 128 rows are used only where they make no more waves than this, or cover all of m; None:
    #: wherever they are faster, so that the stairs are low [1].
    small_tile_waves: Annotated[Number | None, Unit("1")] = None
    #: Share of the computing time that a short kernel saves, before the power limit lowers the clock [1].
    boost: Annotated[float, Field(ge=0, lt=1), Unit("1")] = 0.0
    compute_fraction: Fraction  #: achievable share of the peak in the limit of large work [1]
    bandwidth_fraction: Fraction  #: the same of the bandwidth [1]
    overlap: Sharpness  #: exponent p of the smooth maximum of computing and moving: 1 adds, infinity hides one [1]
    #: How much faster operands come from the L2 cache than from memory, in a benchmark that repeats one call; None: not
    #: seen in the timings [1].
    l2_speedup: L2Speedup = None


class PrefillFit(Record):
    """Parameters of fused attention over tiles of queries, of heads or of a latent cache that is expanded to heads."""

    launch_us: Microseconds  #: as for a GEMM [us]
    wave_us: Microseconds  #: starting one wave of tiles, a tile on every SM [us]
    #: Writing a new token's keys and values into the cache, a thread block each [ns].
    token_ns: Annotated[float, Field(ge=0, le=1000), Unit("ns")] = 0.0
    #: FLOPs that the 16-bit peak would do in the time of one score's softmax, mostly its exponential; an SM's 16
    #: exponentials a clock are 128 FLOPs on GA100, 256 on GH100, 512 on GB100 [FLOP].
    softmax_flops: Annotated[float, Field(ge=0, le=1e4), Unit("FLOP")] = 0.0
    #: In its place, the exponentials that all SMs at the boost clock would do in that time [1].
    exponentials: Annotated[Annotated[float, Field(ge=0, le=100)] | None, Unit("1")] = None
    compute_fraction: Fraction  #: achievable share of the peak [1]
    #: What heads of `LARGE_HEAD` and more reach of that, as their tiles are other ones [1].
    large_head: Annotated[float, Field(gt=0, le=4), Unit("1")] = 1.0
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    tail: Annotated[float, Field(ge=0, le=4), Unit("1")] = 0.5  #: share of a whole tile's walk that the last wave adds [1]
    #: Half tiles of scores that a row of queries wastes where a window ends; on the diagonal it is one [1].
    window_edge: Annotated[float, Field(ge=0, le=4), Unit("1")] = 0.0
    packed_heads: bool  #: whether the query heads that share a KV head fill one tile together
    operands_in_l2: bool = False  #: whether Q, K and V are found in the L2 cache as far as they fit
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]
    l2_share: L2Share = 1.0  #: share of the L2 cache that the operands of a replay may fill [1]


class DecodeFit(Record):
    """Parameters of fused attention of few new tokens over heads or over a latent cache, split over all SMs."""

    launch_us: Microseconds  #: of the kernel and of the one that joins the splits [us]
    context_us: Microseconds = 0.0  #: a context of C tokens costs context_us C / (C + `CONTEXT_DEPTH`) in latency [us]
    whole_context: bool = False  #: whether tokens that a window hides count there
    wave_us: Microseconds  #: starting one wave of sequence x KV-head blocks [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    overlap: Sharpness  #: exponent of the smooth maximum, as for a GEMM [1]
    #: Achievable share of the peak; None: that of prompts, with their softmax [1].
    compute_fraction: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Unit("1")] = None
    tile_rows: Annotated[int, Field(gt=0, le=256), Unit("1")] = 16  #: rows of queries that one tile computes [1]
    #: Share of the cache that every further tile of the same KV head reads again from memory [1].
    reread: Annotated[float, Field(ge=0, le=1), Unit("1")] = 0.0
    #: Where no query heads share a KV head, the context is not split, and a block reads its own at this rate; None: it
    #: is always split [GB/s].
    unsplit_gbs: Annotated[Number | None, Unit("GB/s")] = None
    #: A block reads its part of the context at this rate; None: as fast as memory [GB/s].
    block_gbs: Annotated[Number | None, Unit("GB/s")] = None
    max_splits: Annotated[Number | None, Unit("1")] = None  #: blocks that share a tile's context at most; None: any [1]
    #: The same where no query heads share a KV head; None: as where they do [1].
    single_splits: Annotated[Number | None, Unit("1")] = None
    unpacked: bool = False  #: whether every query head is a tile of its own, split as a single one, under a window
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]
    l2_share: L2Share = 1.0  #: as for prompts [1]


class LinearStepFit(Record):
    """Parameters of gated linear attention that carries its states on token by token."""

    launch_us: Microseconds  #: launch of one kernel [us]
    wave_us: Microseconds  #: one token of one wave of heads, a head on every SM [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    overlap: Sharpness  #: exponent of the smooth maximum, as for a GEMM [1]
    state_passes: Annotated[float, Field(ge=0.5, le=4), Unit("1")] = 2.0  #: reads and writes of a state per token [1]
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]
    l2_share: L2Share = 1.0  #: as for attention [1]


class LinearChunkFit(Record):
    """Parameters of gated linear attention over prompts, chunk by chunk."""

    launch_us: Microseconds  #: of its kernels together [us]
    chunk_us: Microseconds  #: from one chunk to the next, a head on every SM [us]
    compute_fraction: Fraction  #: achievable share of the peak [1]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    #: How often its kernels move as much as a prompt's queries, keys, values and outputs come to [1].
    passes: Annotated[float, Field(ge=1, le=40), Unit("1")]
    l2_share: L2Share = 0.5  #: size of what one kernel leaves to the next in the L2 cache, over that of the cache [1]
    overlap: Sharpness  #: exponent of the smooth maximum, as for a GEMM [1]


class ElementwiseFit(Record):
    """Parameters of norms, RoPE, activation functions and residuals."""

    launch_us: Microseconds  #: launch of one kernel [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]


class Evidence(Record):
    """Where the numbers of one kind of kernel come from, and how far off they are on rows that the fit did not see."""

    source: Text  #: where the timings are from
    rows: Annotated[int, Field(gt=0)]  #: timings fitted on [1]
    held_out: Text  #: how the held-out rows were chosen
    error_percent: Number  #: mean absolute relative error on them [%]
    bias_percent: float  #: mean relative error on them [%]


class KernelModel(Record):
    """The fits of one GPU, a field for each kind of kernel; one that is absent is borrowed (`kernel_fit`)."""

    gemm: GemmFit | None = None  #: matmuls with weights
    unfused: GemmFit | None = None  #: the batched matmuls of unfused attention
    prefill: PrefillFit | None = None  #: fused attention of prompts
    decode: DecodeFit | None = None  #: fused attention of few new tokens
    elementwise: ElementwiseFit | None = None  #: norms, RoPE, activation functions, residuals
    fitted_on: dict[str, Evidence] = Field(min_length=1)  #: by kind, where its numbers come from


#: The record of each kind of kernel that the kernel-time model has a law for, and the kinds in the same order.
FITS: dict[str, type[Record]] = {
    kind: get_args(field.annotation)[0] for kind, field in KernelModel.model_fields.items() if kind != "fitted_on"
}
KINDS = tuple(FITS)

#: Unit of every fitted number, by field.
UNITS: dict[str, str] = {
    name: part.symbol
    for record in FITS.values()
    for name, field in record.model_fields.items()
    for part in field.metadata
    if isinstance(part, Unit)
}
