"""The catalog: GPUs and models, one YAML file an entry, every number with its source.

Entries are frozen and print themselves with units. Vendor numbers stay as printed (GB/s, TFLOP/s); the properties
convert them to SI. What a vendor does not publish is absent, never 0.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from math import log
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from .dtypes import GROUP_FORMATS, WIDTH
from .names import unknown
from .parameters import KINDS, KernelModel
from .records import Count, Number, Record, RecordT, Text, read_mapping, validated

DATA = files("workbench") / "data"


def _known_dtypes(table: dict[str, float]) -> dict[str, float]:
    for dtype in table:
        if dtype not in WIDTH:
            raise unknown("dtype", dtype, WIDTH)
    return table


class Memory(Record):
    """Device memory; the capacity is the vendor's figure."""

    capacity_gb: Number | None = None
    bandwidth_gbs: Number
    type: Text | None = None


class Link(Record):
    """GPU-to-GPU link, all of a GPU's links together; `max_gpus` where it joins no more (a bridge)."""

    name: Text
    gbs_per_direction: Number | None = None
    max_gpus: Count | None = None


class GPU(Record):
    """One accelerator as its vendor describes it; `sources` says where, `weaker_fields` what is less sure.

    `dense_tflops` are the rates with fp32 accumulation; `fp16_accumulate_tflops` stands only where that rate differs.
    """

    id: Text
    name: Text
    vendor: Text
    architecture: Text
    form_factor: Text | None = None
    chip: Text | None = None
    year: Count | None = None
    aliases: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    dense_tflops: Annotated[dict[str, Number], AfterValidator(_known_dtypes)]
    fp16_accumulate_tflops: Number | None = None
    memory: Memory
    l2_mb: Number | None = None
    llc_or_sram_mb: Number | None = None
    sm_count: Count | None = None
    boost_mhz: Number | None = None
    tensor_clock_mhz: Number | None = None
    link: Link | None = None
    pcie: Text | None = None
    tdp_w: Number | None = None
    kernel_model: KernelModel | None = None
    confidence: Literal["datasheet", "whitepaper", "secondary", "unverified"]
    provenance: Text
    weaker_fields: Text | None = None
    sources: dict[str, str] = Field(min_length=1)
    notes: Text | None = None

    @property
    def bandwidth(self) -> float:
        """Memory bandwidth [byte/s]."""
        return self.memory.bandwidth_gbs * 1e9

    def peak_flop_rate(self, dtype: str = "fp16") -> float:
        """Dense peak with fp32 accumulation, no sparsity [FLOP/s].

        Raises ValueError where the vendor prints no such rate.
        """
        if dtype not in WIDTH:
            raise unknown("dtype", dtype, WIDTH)
        if dtype not in self.dense_tflops:
            raise ValueError(
                f"{self.id} has no {dtype} peak: its catalog entry lists {', '.join(sorted(self.dense_tflops))}."
                " Choose dtypes that compute in one of those."
            )
        return self.dense_tflops[dtype] * 1e12

    def ridge_point(self, dtype: str = "fp16") -> float:
        """Operational intensity where the two ceilings meet [FLOP/byte]."""
        return self.peak_flop_rate(dtype) / self.bandwidth

    def override(self, *, peak_tflops: float | None = None, bandwidth_gbs: float | None = None) -> Self:
        """A copy with other ceilings, for a chart that prints them; kernel times scale with them, so draw, not predict.

        peak_tflops : fp16 and bf16 dense peak [TFLOP/s]
        bandwidth_gbs : memory bandwidth [GB/s]
        """
        entry = self.model_dump()
        changes = []
        if peak_tflops is not None:
            changes.append(f"peak {peak_tflops:g} TFLOP/s")
            entry["dense_tflops"] |= {d: float(peak_tflops) for d in ("fp16", "bf16") if d in self.dense_tflops}
        if bandwidth_gbs is not None:
            changes.append(f"bandwidth {bandwidth_gbs:g} GB/s")
            entry["memory"]["bandwidth_gbs"] = float(bandwidth_gbs)
        if changes:
            entry["notes"] = " ".join(filter(None, [f"Overridden: {', '.join(changes)}.", self.notes]))
        return validated(type(self), entry, f"override of {self.id}")

    def __str__(self) -> str:
        flops = ", ".join(f"{dtype} {rate:g}" for dtype, rate in self.dense_tflops.items())
        rows = {
            "dense peak": f"{flops} TFLOP/s (TOP/s for int8, int4)",
            "fp16, fp16 accumulate": _with_unit(self.fp16_accumulate_tflops, "TFLOP/s"),
            "bandwidth": f"{self.memory.bandwidth_gbs:g} GB/s",
            "ridge point": ", ".join(
                f"{dtype} {self.ridge_point(dtype):.1f}"
                for dtype in ("fp16", "bf16", "fp8")
                if dtype in self.dense_tflops
            )
            + " FLOP/byte",
            "memory": _with_unit(self.memory.capacity_gb, f"GB {self.memory.type or ''}".strip()),
            "L2 cache": _with_unit(self.l2_mb, "MB"),
            "last-level cache / SRAM": _with_unit(self.llc_or_sram_mb, "MB"),
            "SMs / CUs": _with_unit(self.sm_count, ""),
            "boost clock": _with_unit(self.boost_mhz, "MHz"),
            "tensor clock": _with_unit(self.tensor_clock_mhz, "MHz"),
            "link": self.link
            and f"{self.link.name}, {_with_unit(self.link.gbs_per_direction, 'GB/s per direction') or 'rate unknown'}"
            f"{f', joins {self.link.max_gpus}' if self.link.max_gpus else ''}",
            "PCIe": self.pcie,
            "power": _with_unit(self.tdp_w, "W"),
            "kernel times": "; ".join(_kernel_fits(self)),
        }
        return _describe(f"GPU {self.id}: {self.name} ({self.vendor}, {self.architecture})", rows, self)

    __repr__ = __str__


class SlidingWindow(Record):
    """Layers whose queries see the last `size` tokens only."""

    size: Count
    layers: Count


class Moe(Record):
    """Mixture of experts: sizes of one expert, and how many layers have them."""

    n_experts: Count
    experts_per_token: Count
    intermediate_size: Count
    layers: Count
    shared_intermediate_size: Count | None = None


class Mla(Record):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""

    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count


class Quantization(Record):
    """How a checkpoint stores its weights; embeddings and lm_head stay in 16 bit."""

    format: Literal["awq", "gptq", "mxfp4", "nvfp4", "fp8", "int8"]
    group_size: Count | None = None
    scope: Literal["linear", "experts"] = "linear"


class Model(Record):
    """One transformer: the sizes that FLOPs, bytes and parameters follow from."""

    id: Text
    name: Text
    family: Text
    hidden_size: Count
    intermediate_size: Count
    n_layers: Count
    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    vocab_size: Count
    gated: bool
    tied_embeddings: bool
    learned_positions: Count | None = None
    max_context: Count | None = None
    sliding_window: SlidingWindow | None = None
    moe: Moe | None = None
    mla: Mla | None = None
    quantization: Quantization | None = None
    published_parameters: Count | None = None
    sources: dict[str, str] = Field(min_length=1)
    notes: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        for part in (self.moe, self.sliding_window):
            if part and part.layers > self.n_layers:
                raise ValueError(f"{type(part).__name__} layers {part.layers} exceed n_layers {self.n_layers}")
        if self.moe and self.moe.experts_per_token > self.moe.n_experts:
            raise ValueError(f"experts_per_token {self.moe.experts_per_token} exceeds n_experts {self.moe.n_experts}")
        if self.quantization and self.quantization.group_size and self.quantization.format not in GROUP_FORMATS:
            raise ValueError(f"group_size does not apply to quantization format {self.quantization.format!r}")
        return self

    @property
    def dense_layers(self) -> int:
        """Layers with one ordinary MLP [1]."""
        return self.n_layers - (self.moe.layers if self.moe else 0)

    @property
    def parameters(self) -> int:
        """Weights of all matrices and embeddings; norms and biases (under 0.3 %) are left out [1]."""
        return self._parameters(self.moe.n_experts if self.moe else 0)

    @property
    def active_parameters(self) -> int:
        """Weights that one token passes through, embeddings included [1]."""
        return self._parameters(self.moe.experts_per_token if self.moe else 0)

    def _parameters(self, experts: int) -> int:
        matrices = 3 if self.gated else 2
        mlp = self.dense_layers * matrices * self.hidden_size * self.intermediate_size
        if moe := self.moe:
            width = experts * moe.intermediate_size + (moe.shared_intermediate_size or 0)
            mlp += moe.layers * self.hidden_size * (matrices * width + moe.n_experts)
        embeddings = self.hidden_size * (
            self.vocab_size * (1 if self.tied_embeddings else 2) + (self.learned_positions or 0)
        )
        return self.n_layers * self.attention_parameters + mlp + embeddings

    @property
    def attention_parameters(self) -> int:
        """Weights of one layer's attention projections [1]."""
        h, heads = self.hidden_size, self.n_heads
        if mla := self.mla:
            query = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
            q = h * mla.q_lora_rank + mla.q_lora_rank * query if mla.q_lora_rank else h * query
            kv = h * (mla.kv_lora_rank + mla.qk_rope_head_dim)
            kv += mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
            return q + kv + heads * mla.v_head_dim * h
        return 2 * h * self.head_dim * (heads + self.n_kv_heads)

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the KV cache over all layers [1]."""
        if self.mla:
            return self.n_layers * (self.mla.kv_lora_rank + self.mla.qk_rope_head_dim)
        return self.n_layers * 2 * self.n_kv_heads * self.head_dim

    def __str__(self) -> str:
        moe, mla, window = self.moe, self.mla, self.sliding_window
        shared = "MQA" if self.n_kv_heads == 1 else "GQA" if self.n_kv_heads < self.n_heads else "MHA"
        attention = "MLA" if mla else shared
        rows = {
            "hidden size h": f"{self.hidden_size}",
            "MLP size i": f"{self.intermediate_size} ({'gated, 3' if self.gated else '2'} matrices)",
            "layers L": f"{self.n_layers}",
            "heads": f"{self.n_heads} query, {self.n_kv_heads} KV ({attention}), head_dim {self.head_dim}",
            "vocabulary": f"{self.vocab_size} ({'tied' if self.tied_embeddings else 'untied'} embeddings)",
            "context": _with_unit(self.max_context, "tokens"),
            "sliding window": window and f"{window.size} tokens on {window.layers} of {self.n_layers} layers",
            "experts": moe
            and f"{moe.n_experts}, {moe.experts_per_token} per token, MLP size {moe.intermediate_size}"
            f"{f' + {moe.shared_intermediate_size} shared' if moe.shared_intermediate_size else ''},"
            f" {moe.layers} of {self.n_layers} layers",
            "latent attention": mla
            and f"q rank {mla.q_lora_rank or 'full'}, kv rank {mla.kv_lora_rank},"
            f" head dims {mla.qk_nope_head_dim} + {mla.qk_rope_head_dim} (RoPE), v {mla.v_head_dim}",
            "weights as stored": self.quantization and f"{self.quantization.format} ({self.quantization.scope})",
            "parameters": f"{self.parameters:,}"
            + (f" (active {self.active_parameters:,})" if moe else "")
            + (f", published {self.published_parameters:,}" if self.published_parameters else ""),
            "KV cache": f"{self.kv_elements_per_token:,} elements per token",
        }
        return _describe(f"Model {self.id}: {self.name} ({self.family})", rows, self)

    __repr__ = __str__


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:g} {unit}".strip()


def _describe(title: str, rows: Mapping[str, object], entry: "GPU | Model") -> str:
    lines = [title] + [f"  {label:<24}{text}" for label, text in rows.items() if text]
    for label in ("confidence", "provenance", "weaker_fields"):
        if text := getattr(entry, label, None):
            lines.append(f"  {label.replace('_', ' '):<24}{text}")
    lines += [f"  {'source':<24}{kind}: {text}" for kind, text in entry.sources.items()]
    return "\n".join(lines + ([f"  {'notes':<24}{entry.notes}"] if entry.notes else []))


def load_entry(kind: type[RecordT], path: Traversable | Path) -> RecordT:
    """Read one catalog file; its id is the file's name."""
    return validated(kind, {"id": path.name.removesuffix(".yaml")} | read_mapping(path), str(path))


@cache  # an installed entry does not change while the program runs
def _gpu(name: str) -> GPU:
    return load_entry(GPU, _gpu_files()[name])


@cache
def _model(name: str) -> Model:
    return load_entry(Model, _model_files()[name])


@cache
def _gpu_files() -> dict[str, Traversable]:
    return _entry_files("gpus")


@cache
def _model_files() -> dict[str, Traversable]:
    return _entry_files("models")


def _entry_files(folder: str) -> dict[str, Traversable]:
    paths = (path for path in (DATA / folder).iterdir() if path.name.endswith(".yaml"))
    return {path.name.removesuffix(".yaml"): path for path in sorted(paths, key=lambda path: path.name)}


def gpus() -> list[str]:
    """Ids of all GPUs in the catalog."""
    return list(_gpu_files())


def models() -> list[str]:
    """Ids of all models in the catalog."""
    return list(_model_files())


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name in _gpu_files() for alias in gpu(name).aliases}


def gpu(name: str) -> GPU:
    """The GPU of that id (or alias), e.g. ``wb.gpu("rtx-a6000")``; an unknown one raises ValueError."""
    if isinstance(name, str) and name in _gpu_files():
        return _gpu(name)
    if isinstance(name, str) and name in _aliases():
        return gpu(_aliases()[name])
    raise unknown("GPU", name, _gpu_files())


class KernelFit(NamedTuple):
    """The parameters of one kind of kernel, the id of the GPU they were fitted on, and why that one."""

    fit: Any
    gpu: str
    why: str


def kernel_fit(card: GPU, kind: str) -> KernelFit:
    """The parameters that a GPU's kernel times are computed with; `kind` is one of `parameters.KINDS`.

    Its own, or else those of its architecture (of the same chip, or the nearest ridge point), or else `DEFAULT_FIT`'s.
    """
    if fit := getattr(card.kernel_model, kind, None):
        return KernelFit(fit, card.id, "fitted on this GPU")
    family = card.architecture.lower().split()[:1]
    lenders = [entry for entry in _fitted(kind) if entry.architecture.split()[:1] == family]
    if not lenders:
        why = f"those of {DEFAULT_FIT}, for want of a fit of {card.architecture}"
        return KernelFit(getattr(gpu(DEFAULT_FIT).kernel_model, kind), DEFAULT_FIT, why)
    ridge = _ridge_point(card)
    lender = min(lenders, key=lambda entry: (entry.chip != card.chip, abs(log(_ridge_point(entry) / ridge))))
    return KernelFit(getattr(lender.kernel_model, kind), lender.id, f"those of {lender.id}, the same architecture")


#: Whose kernel-time parameters serve where there are none of the architecture: the most measured GPU of the catalog.
DEFAULT_FIT = "a100-80gb-sxm"


@cache
def _fitted(kind: str) -> list[GPU]:
    return [entry for entry in map(gpu, gpus()) if getattr(entry.kernel_model, kind, None)]


def _ridge_point(card: GPU) -> float:
    return card.ridge_point(next((d for d in ("fp16", "bf16") if d in card.dense_tflops), [*card.dense_tflops][-1]))


def _kernel_fits(card: GPU) -> list[str]:
    """Where the parameters of each kind of kernel are from, kinds of one origin together."""
    origins: dict[str, list[str]] = {}
    for kind in KINDS:
        origins.setdefault(kernel_fit(card, kind).why, []).append(kind)
    return [f"{', '.join(kinds)}: {why}" for why, kinds in origins.items()]


def model(name: str) -> Model:
    """The model of that id, e.g. ``wb.model("llama-7b")``; an unknown one raises ValueError."""
    if not isinstance(name, str) or name not in _model_files():
        raise unknown("model", name, _model_files())
    return _model(name)
