"""Models: the sizes that FLOPs, bytes and parameters follow from, one YAML file each."""

from importlib import import_module
from os import PathLike
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ..common.yaml_records import Count, Record, Text
from ..files.reading import YAML
from .dtypes import GROUP_FORMATS
from .loading import Entry, FieldPlace, describe_entry, entry_files, file_of, find_entry, what_if, with_unit


class SlidingWindow(Record):
    """Layers [1] whose queries see the last `size` tokens only [token]."""

    size: Count
    layers: Count


class Moe(Record):
    """Mixture of experts: their number, the size of one, and the number of layers that have them [1]."""

    n_experts: Count
    experts_per_token: Count
    intermediate_size: Count
    layers: Count
    shared_intermediate_size: Count | None = None


class Mla(Record):
    """Multi-head latent attention: ranks and head sizes [1] (DeepSeek-V2, arXiv 2405.04434)."""

    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count

    @property
    def qk_head_dim(self) -> int:
        """Size of a head's query and key, with and without position [1]."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def latent_dim(self) -> int:
        """Elements that the KV cache keeps of a token in one layer [1]."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class Quantization(Record):
    """How a checkpoint stores its weights; embeddings and lm_head stay in 16 bit."""

    format: Literal["awq", "gptq", "mxfp4", "nvfp4", "fp8", "int8"]
    group_size: Count | None = None
    scope: Literal["linear", "experts"] = "linear"


class Model(Entry):
    """One transformer: the sizes that FLOPs, bytes and parameters follow from. Printed, it shows them all."""

    family: Text  #: of architectures
    hidden_size: Count  #: h [1]
    intermediate_size: Count  #: width of a dense MLP, i [1]
    n_layers: Count  #: L [1]
    n_heads: Count  #: query heads of a layer, H [1]
    n_kv_heads: Count  #: KV heads of a layer [1]
    head_dim: Count  #: size of a head, D [1]
    vocab_size: Count  #: V [token]
    gated: bool  #: whether the MLP has a gate, and so three matrices instead of two
    tied_embeddings: bool  #: whether the head is the matrix of the embedding
    learned_positions: Count | None = None  #: rows of a learned table of positions [token]
    max_context: Count | None = None  #: longest context [token]
    sliding_window: SlidingWindow | None = None  #: size [token] and number of the layers that see no more [1]
    moe: Moe | None = None  #: n_experts, experts_per_token, intermediate_size, layers, shared_intermediate_size [1]
    mla: Mla | None = None  #: q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim [1]
    mtp_layers: Count | None = None  #: layers for multi-token prediction, beside the L [1]
    quantization: Quantization | None = None  #: format, group_size [1] and scope of weights that are not in 16 bit
    published_parameters: Count | None = None  #: the count that the source prints [1]
    sources: dict[str, str] = Field(min_length=1)  #: the documents that the numbers are from
    notes: Text | None = None  #: what else a reader has to know

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
            query = heads * mla.qk_head_dim
            q = h * mla.q_lora_rank + mla.q_lora_rank * query if mla.q_lora_rank else h * query
            kv = h * mla.latent_dim
            kv += mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
            return q + kv + heads * mla.v_head_dim * h
        return 2 * h * self.head_dim * (heads + self.n_kv_heads)

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the KV cache over all layers [1]."""
        if self.mla:
            return self.n_layers * self.mla.latent_dim
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
            "context": with_unit(self.max_context, "tokens"),
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
        return describe_entry(f"Model {self.id}: {self.name} ({self.family})", rows, self)

    __repr__ = __str__


def models() -> list[str]:
    """Ids of all models in the catalog.

    Returns
    -------
    list of str
        In alphabetical order.
    """
    return list(entry_files("models"))


def model(name: str | PathLike[str] | Model, **changes: Any) -> Model:
    """A model of the catalog, one of your own, or either with other sizes.

    Parameters
    ----------
    name : str, path or Model
        Its id, or any other name that is clear, such as its repository's on Hugging Face; the path of a config.json,
        of the folder that holds it, or of a YAML file like those of the catalog; or an entry.
    **changes
        What if: fields of the entry, or of a part, such as `moe`, by their own names. The id then says what was
        changed. Parts that were in all layers are in all of another number of layers.

    Returns
    -------
    Model
        The entry, which prints itself with its sizes and sources.

    Raises
    ------
    ValueError
        Where the catalog has no such model or several, and for an unknown field; the message has the nearest names.

    Examples
    --------
    >>> model("llama-7b").parameters
    6738149376
    >>> model("meta-llama/Meta-Llama-3-8B-Instruct", n_layers=40).id
    'llama-3-8b (modified: n_layers=40)'
    """
    path = file_of(name, "models")
    if path and path.suffix not in YAML:  # what reads a config.json stands on this catalog, and so comes after it
        entry: Model = import_module("...hugging_face", __name__).from_hf_config(path)
    else:
        entry = find_entry(Model, "model", "models", name)

    def implied(changed: set[FieldPlace]) -> dict[FieldPlace, Any]:
        whole = [part for part, value in dict(entry).items() if getattr(value, "layers", None) == entry.n_layers]
        follow: dict[FieldPlace, Any] = {("published_parameters", ""): None}
        if ("n_layers", "") in changed:
            follow |= {(part, "layers"): changes["n_layers"] for part in whole if (part, "") not in changed}
        return {place: value for place, value in follow.items() if place not in changed}

    return what_if(entry, changes, implied)
