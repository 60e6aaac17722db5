"""What the kernel-time model knows: a few fitted numbers for each kind of kernel, format, engine and GPU.

Fractions are of the vendor's peak and bandwidth, so that they carry over to another GPU of the same architecture. Times
are in microseconds, as they are printed. The wing `kernels` says how each number enters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

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
    #: Achieved share of the bandwidth in quantizing activations, above 1 where a large L2 cache holds them; None: the
    #: timings do not hold it [1].
    quantize_fraction: Annotated[Annotated[float, Field(gt=0, le=4)] | None, Unit("1")] = None
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


#: The record of each kind of kernel that the kernel-time model has a law for.
FITS: dict[str, type[Record]] = {
    "gemm": GemmFit,  # matmuls with weights
    "unfused": GemmFit,  # the batched matmuls of unfused attention
    "prefill": PrefillFit,  # fused attention of prompts
    "decode": DecodeFit,  # fused attention of few new tokens
    "elementwise": ElementwiseFit,  # norms, RoPE, activation functions, residuals
}
KINDS = tuple(FITS)

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


def fits_file(sources: Mapping[str, str], fits: Iterable[Fit]) -> str:
    """The content of a file of fits, three digits a number.

    Parameters
    ----------
    sources : mapping of str to str
        Where timings are from, by a short name.
    fits : iterable of Fit
        Their `source` is one of those names.

    Returns
    -------
    str
        YAML, for `read_fits`.
    """
    lines = ["# Fitted parameters of the kernel-time model; workbench.catalog.fits says what each is."]
    lines.append(_yaml({"sources": dict(sources)}) + "fits:")
    for fit in fits:
        fields = fit.model_dump(exclude_none=True, exclude_defaults=True)
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
