"""What the kernel-time model knows: a few fitted numbers for each kind of kernel, format, engine and GPU.

Fractions are of the vendor's peak and bandwidth, so that they carry over to another GPU of the same architecture. Times
are in microseconds, as they are printed. The wing `kernels` says how each number enters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from ..common.arguments import one_of
from ..common.yaml_records import Count, Number, Record, Text, validated


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
    #: Waves up to which tiles of fewer than 128 rows are used, unless they cover all of m; None: wherever faster [1].
    small_tile_waves: Annotated[Number | None, Unit("1")] = None
    #: Share of the computing time that a short kernel saves, before the power limit lowers the clock [1].
    boost: Annotated[float, Field(ge=0, lt=1), Unit("1")] = 0.0
    compute_fraction: Fraction  #: achievable share of the peak in the limit of large work [1]
    bandwidth_fraction: Fraction  #: the same of the bandwidth [1]
    overlap: Sharpness  #: exponent p of the smooth maximum of computing and moving: 1 adds, infinity hides one [1]
    #: How much faster L2 is than memory, in a benchmark that repeats one call; None: not seen in the timings [1].
    l2_speedup: L2Speedup = None
    l2_share: L2Share = 1.0  #: of the L2 cache that such operands find room in [1]
    walk_ns: Annotated[float, Field(ge=0, le=100), Unit("ns")] = 0.0  #: least time of a tile's step of 1 along k [ns]
    max_splits: Annotated[float, Field(ge=1, le=64), Unit("1")] = 16.0  #: parts that k is split into at most [1]
    split_us: Microseconds = 0.0  #: adding up the parts, where k is split [us]
    #: Share of the bandwidth in quantizing activations, above 1 where L2 holds them; None: timings do not hold it [1].
    quantize_fraction: Annotated[Annotated[float, Field(gt=0, le=4)] | None, Unit("1")] = None
    quantize_us: Microseconds = 0.0  #: launch of a kernel of its own that quantizes them [us]
    host_us: Microseconds = 0.0  #: least time of a call that the benchmark's host launches, without a CUDA graph [us]


class PrefillFit(Record):
    """Parameters of fused attention over tiles of queries, of heads or of a latent cache that is expanded to heads."""

    launch_us: Microseconds  #: as for a GEMM [us]
    wave_us: Microseconds  #: starting one wave of tiles, a tile on every SM [us]
    #: Writing a new token's keys and values into the cache, a thread block each [ns].
    token_ns: Annotated[float, Field(ge=0, le=1000), Unit("ns")] = 0.0
    #: Exponentials that all SMs would do at the boost clock in the time of one score's softmax, which has one [1].
    exponentials: Annotated[float, Field(ge=0, le=100), Unit("1")]
    compute_fraction: Fraction  #: achievable share of the peak [1]
    #: What heads of `LARGE_HEAD` and more reach of that, as their tiles are others [1].
    large_head: Annotated[float, Field(gt=0, le=4), Unit("1")] = 1.0
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    #: Of the last wave of tiles, all SMs but one wait for this share of the longest [1].
    tail: Annotated[float, Field(ge=0, le=4), Unit("1")] = 0.5
    #: Half tiles of scores that a row of queries wastes where a window begins; on the diagonal it is one [1].
    window_edge: Annotated[float, Field(ge=0, le=20), Unit("1")] = 0.0
    packed_heads: bool  #: whether the query heads that share a KV head fill one tile together
    operands_in_l2: bool = False  #: whether Q, K and V are found in the L2 cache as far as they fit
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]
    l2_share: L2Share = 1.0  #: as for a GEMM [1]


class DecodeFit(Record):
    """Parameters of fused attention of few new tokens, over heads or over a latent cache, split over all SMs."""

    launch_us: Microseconds  #: of the kernel and of the one that joins the splits [us]
    context_us: Microseconds  #: a context of C tokens costs context_us C / (C + `CONTEXT_DEPTH`) more in latency [us]
    whole_context: bool = False  #: whether tokens that a window hides count in that
    wave_us: Microseconds  #: starting one wave of sequence x KV-head blocks [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    #: What heads of `LARGE_HEAD` and more reach of that, and KV heads that no query heads share [1].
    large_head: Annotated[float, Field(gt=0, le=4), Unit("1")] = 1.0
    single_head: Annotated[float, Field(gt=0, le=4), Unit("1")] = 1.0
    overlap: Sharpness  #: exponent of the smooth maximum, as for a GEMM [1]
    compute_fraction: Fraction  #: achievable share of the peak [1]
    tile_rows: Annotated[Count, Unit("1")] = 16  #: rows of queries that one tile computes [1]
    #: The same where more than `WIDE_HEADS` query heads share a KV head; None: the same number [1].
    wide_rows: Annotated[Count | None, Unit("1")] = None
    #: Share of the cache that every further tile of a KV head's rows reads from memory again [1].
    reread: Annotated[float, Field(ge=0, le=1), Unit("1")] = 0.0
    #: Rate at which a thread block, one an SM, reads its part of a context; None: no limit [GB/s].
    block_gbs: Annotated[Number | None, Unit("GB/s")] = None
    #: Thread blocks that share the context of one tile at most; None: as many as there are [1].
    max_splits: Annotated[Number | None, Unit("1")] = None
    #: Whose contexts are split: "all", only those of KV heads that query heads "share", in which each query head is on
    #: its own under a window (FlashAttention-2), or only those of KV heads for a "single" query head.
    split: Literal["all", "shared", "single"] = "all"
    #: Splits that a kernel makes of every context, however short, whose outputs go through memory [1].
    joined_splits: Annotated[float, Field(ge=0, le=64), Unit("1")] = 0.0
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]
    l2_share: L2Share = 1.0  #: as for a GEMM [1]


class LinearStepFit(Record):
    """Parameters of gated linear attention that carries its states on token by token."""

    launch_us: Microseconds  #: launch of one kernel [us]
    wave_us: Microseconds  #: one token of one wave of heads, a head on every SM [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]
    overlap: Sharpness  #: exponent of the smooth maximum, as for a GEMM [1]
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


class MoeFit(Record):
    """Parameters of a fused layer of routed experts: routing, permutation, two grouped GEMMs, the sum over experts."""

    launch_us: Microseconds  #: of the layer's kernels, one after the other [us]
    #: Of each expert on the GPU, for counting and sorting its rows [us].
    expert_us: Annotated[float, Field(ge=0, le=10), Unit("us")] = 0.0
    #: Of each token, for routing and sorting by few thread blocks [ns].
    token_ns: Annotated[float, Field(ge=0, le=1000), Unit("ns")] = 0.0
    fill_depth: Depth = 0.0  #: as for a GEMM [1]
    half_tile: Depth = 0.0  #: as for a GEMM [1]
    compute_fraction: Fraction  #: achievable share of the peak [1]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth, of the weights [1]
    #: The same of the rows that go from one of its kernels to the next by way of memory; above 1 where kernels are
    #: fused and leave some of these passes out [1].
    rows_fraction: Annotated[float, Field(gt=0, le=4), Unit("1")] = 1.0
    every_pair: bool = False  #: whether rows of experts on other GPUs go through those kernels as well
    l2_speedup: L2Speedup = None  #: as for a GEMM [1]


class ElementwiseFit(Record):
    """Parameters of norms, RoPE, activation functions and residuals."""

    launch_us: Microseconds  #: launch of one kernel [us]
    bandwidth_fraction: Fraction  #: achievable share of the bandwidth [1]


class CollectiveFit(Record):
    """Parameters of a collective over one kind of link: one kernel for small messages, another for large ones.

    Shares are of the link's rate. They are of the vendor's own link where the fit's GPU has one, else of PCIe.
    """

    launch_us: Microseconds  #: latency between two GPUs [us]
    gpu_us: Microseconds  #: more of it for each further GPU [us]
    one_shot: bool  #: small messages are read whole by every other GPU at once, not in parts that are passed on
    small_fraction: Fraction  #: share of the link that small messages reach [1]
    setup_us: Microseconds  #: further latency of the kernel for large messages [us]
    pair_fraction: Fraction  #: share of the link that large messages between two GPUs reach [1]
    #: The same among eight; over PCIe, whose host all GPUs share, 8 / n of it among n > 2 [1].
    all_fraction: Fraction


#: The record of each kind of kernel that the kernel-time model has a law for.
FITS: dict[str, type[Record]] = {
    "gemm": GemmFit,  # matmuls with weights
    "unfused": GemmFit,  # the batched matmuls of unfused attention
    "prefill": PrefillFit,  # fused attention of prompts
    "decode": DecodeFit,  # fused attention of few new tokens
    "mla_prefill": PrefillFit,  # latent attention of prompts, expanded to heads
    "mla_decode": DecodeFit,  # latent attention of few new tokens, over the latent cache
    "linear_step": LinearStepFit,  # gated linear attention, token by token
    "linear_chunk": LinearChunkFit,  # gated linear attention of prompts, chunk by chunk
    "moe": MoeFit,  # layers of routed experts
    "elementwise": ElementwiseFit,  # norms, RoPE, activation functions, residuals
    "all_reduce": CollectiveFit,  # the sum of what every GPU has, on each of them
    "all_gather": CollectiveFit,  # the parts that GPUs have, all of them on each
    "reduce_scatter": CollectiveFit,  # a part of the sum on each
    "all_to_all": CollectiveFit,  # a part of what each GPU has for every other
}
KINDS = tuple(FITS)
#: Those that go over links between GPUs.
LINK_KINDS = tuple(kind for kind, record in FITS.items() if record is CollectiveFit)

#: What tells fits of one GPU apart.
IDENTITY = ("kind", "format", "engine", "family")
#: Kinds whose formats have fits of their own; those of the others are of 16 bits.
FORMATTED = ("gemm", "prefill", "decode", "mla_prefill", "mla_decode", "moe")

#: By format of a kernel (`dtypes.KERNEL_FORMATS`), those whose fit is the next best.
NEAR_FORMATS: dict[str, tuple[str, ...]] = {
    "bf16": (),
    "fp8": ("fp8_cache", "int8", "bf16"),
    "fp8_block": ("fp8", "bf16"),
    "fp8_cache": ("bf16",),
    "int8": ("fp8", "bf16"),
    "int8_wo": ("bf16",),
    "int4_wo": ("mxfp4_wo", "bf16"),
    "mxfp4_wo": ("int4_wo", "bf16"),
    "mxfp4_fp8": ("nvfp4", "fp8_block", "fp8", "bf16"),
    "nvfp4": ("mxfp4_fp8", "fp8_block", "fp8", "bf16"),
}


class Fit(Record):
    """The fitted parameters of one kind of kernel, where they are from, and how far off they are."""

    kind: Text  #: one of `KINDS`
    format: Text  #: one of `NEAR_FORMATS`
    engine: Text  #: what ran the kernels
    version: Text  #: of the engine
    family: Text  #: library that the kernel is of, or its programming model
    source: Text  #: where the timings are from
    date: Text | None = None  #: of the fit
    rows: Count  #: timings fitted on [1]
    held_out: Text  #: how the rows were chosen that the errors are of
    error_percent: Number  #: mean absolute relative error on them [%]
    bias_percent: float  #: mean relative error on them [%]
    elsewhere_percent: Number | None = None  #: as error_percent, of a fit to the other GPUs of the architecture [%]
    noise_percent: Number | None = None  #: mean difference of the same shapes under another engine or version [%]
    parameters: SerializeAsAny[Record]  #: the kind's record
    #: Half of the 95 % interval of each parameter that the rows determine [%].
    intervals_percent: dict[str, Number] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        return str(one_of("kind", kind, KINDS))

    @field_validator("format")
    @classmethod
    def _known_format(cls, form: str) -> str:
        return str(one_of("format", form, NEAR_FORMATS))

    @field_validator("parameters", mode="before")
    @classmethod
    def _of_the_kind(cls, given: Any, info: ValidationInfo) -> Any:
        kind = FITS.get(info.data.get("kind", ""))
        return given if kind is None or isinstance(given, kind) else validated(kind, given, "parameters")


def read_fits(fields: Mapping[str, Any], where: str) -> tuple[Fit, ...]:
    """The fits of one file: ``sources``, texts by name, and ``fits``, whose source is one of those names.

    Parameters
    ----------
    fields : mapping
        The file's content.
    where : str
        What messages call it.

    Returns
    -------
    tuple of Fit
        In their order.

    Raises
    ------
    ValueError
        In one line, for what is no such file.
    """
    table = validated(_FitFile, fields, where)
    for number, fit in enumerate(table.fits):
        one_of(f"{where}: fits.{number}.source", fit.source, table.sources)
    return tuple(fit.model_copy(update={"source": table.sources[fit.source]}) for fit in table.fits)


def fits_file(fits: Iterable[Fit]) -> str:
    """The content of a file of fits, three digits a number.

    Parameters
    ----------
    fits : iterable of Fit
        In the order of the file; the texts of their sources are written once.

    Returns
    -------
    str
        YAML, for `read_fits`.
    """
    lines = ["# Fitted parameters of the kernel-time model; workbench.catalog.fits says what each is."]
    fits = list(fits)
    names = {text: f"timings {i}" for i, text in enumerate(dict.fromkeys(fit.source for fit in fits), 1)}
    lines.append(_yaml({"sources": {name: text for text, name in names.items()}}) + "fits:")
    for fit in fits:
        fields = fit.model_dump(exclude_none=True, exclude_defaults=True) | {"source": names[fit.source]}
        fields = {name: _rounded(value) for name, value in fields.items()}
        block, flow = (
            {name: value for name, value in fields.items() if isinstance(value, dict) == flows}
            for flows in (False, True)
        )
        text = _yaml(block) + "".join(_yaml({name: _Flow(value)}) for name, value in flow.items())
        lines.append("- " + text.rstrip().replace("\n", "\n  "))
    return "\n".join(lines) + "\n"


class _Flow(dict[str, Any]):
    """A mapping that is written in one line, as far as it fits."""


class _Dumper(yaml.SafeDumper):
    """Writes such mappings so."""


_Dumper.add_representer(_Flow, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, True))


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(number) for name, number in value.items() if number is not None}
    return float(f"{value:.3g}") if isinstance(value, float) else value


class _FitFile(Record):
    sources: dict[str, Text] = Field(min_length=1)
    fits: Annotated[tuple[Fit, ...], Field(strict=False)]


#: Unit of every fitted number, by field.
UNITS: dict[str, str] = {
    name: part.symbol
    for record in FITS.values()
    for name, field in record.model_fields.items()
    for part in field.metadata
    if isinstance(part, Unit)
}
