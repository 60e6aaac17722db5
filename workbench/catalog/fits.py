"""What the kernel-time model is told about a GPU: a few fitted numbers a kind of kernel, kept in its catalog entry.

Fractions are of the vendor's peak and bandwidth, so they carry over to another GPU of the same architecture. Times are
in microseconds, as they are printed. `kernels` says how each number enters.
"""

from typing import Annotated

from pydantic import Field

from ..common.yaml_records import Number, Record, Text

Fraction = Annotated[float, Field(gt=0, le=1)]
Microseconds = Annotated[float, Field(ge=0, le=1000)]
Depth = Annotated[float, Field(ge=0, le=1e6)]
Sharpness = Annotated[float, Field(ge=1, le=8)]
L2Speedup = Annotated[float, Field(ge=1, le=10)] | None


class GemmFit(Record):
    """A matmul, or a batch of them.

    launch_us : from launch to first and from last instruction to end, alone on the stream [us]
    loop_us, loop_depth : the serial walk along k costs loop_us k / (k + loop_depth) more; long ones are split [us], [1]
    fill_depth : filling the pipeline and writing the tile out, as additional k of every output tile [1]
    half_tile : side of the output tile that keeps half of the tensor cores busy, as it reuses operands less [1]
    compute_fraction, bandwidth_fraction : achievable share of peak and of bandwidth in the limit of large work [1]
    small_tile_waves : tiles with fewer than 128 rows are used only where they make no more waves than this, or cover
        all of m; None: wherever they are faster, so that the stairs are low [1]
    boost : share of the computing time that a short kernel saves, before the power limit lowers the clock [1]
    overlap : exponent p of the smooth maximum of computing and moving; 1 adds them, infinity hides the shorter [1]
    l2_speedup : how much faster operands come from the L2 cache than from memory, in a benchmark that repeats one call;
        None: not seen in the timings [1]
    """

    launch_us: Microseconds
    loop_us: Microseconds = 0.0
    loop_depth: Depth = 0.0
    fill_depth: Depth = 0.0
    half_tile: Depth = 0.0
    small_tile_waves: Number | None = None
    boost: Annotated[float, Field(ge=0, lt=1)] = 0.0
    compute_fraction: Fraction
    bandwidth_fraction: Fraction
    overlap: Sharpness
    l2_speedup: L2Speedup = None


class PrefillFit(Record):
    """Fused attention over tiles of queries.

    launch_us : as for a GEMM [us]
    wave_us : starting one wave of tiles, a tile on every SM [us]
    token_ns : writing a new token's keys and values into the cache, a thread block each [ns]
    softmax_flops : FLOPs that the 16-bit peak would do in the time of one score's softmax, the exponential mostly; an
        SM's 16 exponentials a clock are 128 of them on GA100, 256 on GH100, 512 on GB100 [FLOP]
    compute_fraction, bandwidth_fraction : achievable share of peak and of bandwidth [1]
    packed_heads : whether the query heads that share a KV head fill one tile together
    operands_in_l2 : whether Q, K and V are found in the L2 cache as far as they fit
    """

    launch_us: Microseconds
    wave_us: Microseconds
    token_ns: Annotated[float, Field(ge=0, le=1000)] = 0.0
    softmax_flops: Annotated[float, Field(ge=0, le=1e4)]
    compute_fraction: Fraction
    bandwidth_fraction: Fraction
    packed_heads: bool
    operands_in_l2: bool = False


class DecodeFit(Record):
    """Fused attention of few new tokens, the cache split over all SMs.

    launch_us : of the kernel and of the one that joins the splits [us]
    context_us : a context of `kernels.CONTEXT_DEPTH` tokens or more costs so much more in latency [us]
    wave_us : starting one wave of sequence x KV-head blocks [us]
    bandwidth_fraction : achievable share of bandwidth [1]
    overlap : exponent of the smooth maximum, as for a GEMM [1]
    unsplit_gbs : where no query heads share a KV head, the context is not split, and a block reads its own at this rate
        [GB/s]; None: it is always split
    l2_speedup : as for a GEMM
    """

    launch_us: Microseconds
    context_us: Microseconds
    wave_us: Microseconds
    bandwidth_fraction: Fraction
    overlap: Sharpness
    unsplit_gbs: Number | None = None
    l2_speedup: L2Speedup = None


class ElementwiseFit(Record):
    """Norms, RoPE, activation, residual: launch_us a kernel [us], bandwidth_fraction of the bandwidth [1]."""

    launch_us: Microseconds
    bandwidth_fraction: Fraction


class Evidence(Record):
    """Where the numbers of one kind of kernel come from, and how far off they are on rows that the fit did not see.

    rows : timings fitted on [1]
    held_out : how the held-out rows were chosen; error_percent, bias_percent : their mean absolute and mean error [%]
    """

    source: Text
    rows: Annotated[int, Field(gt=0)]
    held_out: Text
    error_percent: Number
    bias_percent: float


class KernelModel(Record):
    """The fits of one GPU by kind of kernel; a kind without one is borrowed (`catalog.kernel_fit`)."""

    gemm: GemmFit | None = None
    unfused: GemmFit | None = None
    prefill: PrefillFit | None = None
    decode: DecodeFit | None = None
    elementwise: ElementwiseFit | None = None
    fitted_on: dict[str, Evidence] = Field(min_length=1)


KINDS = ("gemm", "unfused", "prefill", "decode", "elementwise")

#: Unit of every fitted number, by field.
UNITS = {
    "launch_us": "us", "loop_us": "us", "context_us": "us", "wave_us": "us", "unsplit_gbs": "GB/s",
    "softmax_flops": "FLOP", "loop_depth": "1", "fill_depth": "1", "half_tile": "1", "boost": "1", "overlap": "1",
    "small_tile_waves": "1", "token_ns": "ns", "l2_speedup": "1",
    "compute_fraction": "1", "bandwidth_fraction": "1",
}  # fmt: skip
