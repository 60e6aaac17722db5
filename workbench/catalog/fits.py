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
    l2_share: Fraction = 1.0  #: of the L2 cache that such operands find room in [1]
    walk_ns: Annotated[float, Field(ge=0, le=100), Unit("ns")] = 0.0  #: least time of a tile's step of 1 along k [ns]
    max_splits: Annotated[float, Field(ge=1, le=64), Unit("1")] = 16.0  #: parts that k is split into at most [1]
    split_us: Microseconds = 0.0  #: adding up the parts, where k is split [us]
    #: Achievable share of the bandwidth in quantizing the activations; None: the timings do not hold it [1].
    quantize_fraction: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Unit("1")] = None
    host_us: Microseconds = 0.0  #: least time of a call that the benchmark's host launches, without a CUDA graph [us]


class PrefillFit(Record):
    """Parameters of fused attention over tiles of queries."""

    launch_us: Microseconds  #: as for a GEMM [us]
    wave_us: Microseconds  #: starting one wave of tiles, a tile on every SM [us]
    #: Writing a new token's keys and values into the cache, a thread block each [ns].
    token_ns: Annotated[float, Field(ge=0, le=1000), Unit("ns")] = 0.0
    #: FLOPs that the 16-bit peak would do in the time of one score's softmax, mostly its exponential; an SM's 16
    #: exponentials a clock are 128 FLOPs on GA100, 256 on GH100, 512 on GB100 [FLOP].
    softmax_flops: Annotated[float, Field(ge=0, le=1e4), Unit("FLOP")]
    compute_fraction: Fraction  #: achievable share of the peak [1]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    packed_heads: bool  #: whether the query heads that share a KV head fill one tile together
    operands_in_l2: bool = False  #: whether Q, K and V are found in the L2 cache as far as they fit


class DecodeFit(Record):
    """Parameters of fused attention of few new tokens, the cache split over all SMs."""

    launch_us: Microseconds  #: of the kernel and of the one that joins the splits [us]
    context_us: Microseconds  #: a context of C tokens costs context_us C / (C + `CONTEXT_DEPTH`) more in latency [us]
    wave_us: Microseconds  #: starting one wave of sequence x KV-head blocks [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    overlap: Sharpness  #: exponent of the smooth maximum, as for a GEMM [1]
    #: Where no query heads share a KV head, the context is not split, and a block reads its own at this rate; None: it
    #: is always split [GB/s].
    unsplit_gbs: Annotated[Number | None, Unit("GB/s")] = None
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]


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
