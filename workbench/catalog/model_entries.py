"""Models: the sizes that FLOPs, bytes and parameters follow from, one YAML file each."""

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import Any, Self

from pydantic import Field, model_validator

from ..common.layers import LayerCounts
from ..common.matrices import embedding_weights, layer_matrices
from ..common.yaml_records import Count, Text
from ..files.reading import YAML
from .loading import Entry, FieldPlace, describe_entry, entry_files, file_of, find_entry, what_if, with_unit
from .model_parts import Indexer, LinearAttention, Mla, Moe, PerLayerEmbedding, SlidingWindow
from .quantization import Quantization


class Model(LayerCounts, Entry):
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
    attention_layers: Count | None = None  #: layers with softmax attention, where others have linear or none [1]
    mlp_layers: Count | None = None  #: layers with an MLP, dense or of experts, where others have none [1]
    kv_heads_by_layer: tuple[Count, ...] | None = Field(None, strict=False)  #: of the layers with attention [1]
    intermediate_by_layer: tuple[Count, ...] | None = Field(None, strict=False)  #: of those with a dense MLP [1]
    v_head_dim: Count | None = None  #: size of a head's values, where it is not D [1]
    attention_gate: bool = False  #: queries come with a gate of the heads' outputs, from a projection twice as wide
    values_are_keys: bool = False  #: full layers have no projection to values; the cache holds both
    shared_kv_layers: Count | None = None  #: layers that read the keys and values of an earlier one [1]
    qk_norm: bool = False  #: whether queries and keys are normalized
    linear_attention: LinearAttention | None = (
        None  #: kind, layers, n_key_heads, n_heads, key_dim, value_dim, conv_size
    )
    indexer: Indexer | None = None  #: n_heads, head_dim, top_k of what chooses the tokens to attend to [1]
    per_layer_embedding: PerLayerEmbedding | None = None  #: vocab_size [token] and size [1] of the layers' own inputs
    quantization: Quantization | None = None  #: formats by part of weights that are not in 16 bit
    published_parameters: Count | None = None  #: the count that the source prints [1]
    sources: dict[str, str] = Field(min_length=1)  #: the documents that the numbers are from
    notes: Text | None = None  #: what else a reader has to know

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        window, moe, linear, index = self.sliding_window, self.moe, self.linear_attention, self.indexer
        by_layer, widths = self.kv_heads_by_layer, self.intermediate_by_layer
        for kv in (self.n_kv_heads, *(by_layer or ())):
            if self.n_heads % kv:
                raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {kv}")
        if window and (heads := window.n_heads or self.n_heads) % (kv := window.n_kv_heads or self.n_kv_heads):
            raise ValueError(f"n_heads {heads} is not a multiple of n_kv_heads {kv} in SlidingWindow")
        if linear and linear.n_heads % linear.n_key_heads:
            raise ValueError(
                f"LinearAttention n_heads {linear.n_heads} is no multiple of {linear.n_key_heads} key heads"
            )
        for name, part, most, whole in (
            ("attention_layers", self.attention_layers, self.n_layers, "n_layers"),
            ("mlp_layers", self.mlp_layers, self.n_layers, "n_layers"),
            ("Moe layers", moe and moe.layers, self.feeding, "mlp_layers" if self.mlp_layers else "n_layers"),
            ("SlidingWindow layers", window and window.layers, self.attending, self._attending_name),
            ("LinearAttention layers", linear and linear.layers, self.n_layers, "n_layers"),
            ("Indexer layers", index and index.layers, self.attending, self._attending_name),
            ("shared_kv_layers", self.shared_kv_layers, self.attending - 1, f"{self._attending_name} - 1"),
            ("SlidingWindow shared_kv_layers", window and window.shared_kv_layers, self.shared_kv_layers or 0,
             "shared_kv_layers"),
            ("experts_per_token", moe and moe.experts_per_token, moe and moe.n_experts, "n_experts"),
        ):  # fmt: skip
            if part and part > (most or 0):
                raise ValueError(f"{name} {part} exceed{'s' * ('_per_' in name)} {whole} {most}")
        for each, count, largest in (
            ("kv_heads_by_layer", self.attending, "n_kv_heads"),
            ("intermediate_by_layer", self.dense_layers, "intermediate_size"),
        ):
            if (sizes := getattr(self, each)) and (len(sizes), max(sizes)) != (count, getattr(self, largest)):
                raise ValueError(
                    f"{each} has {len(sizes)} sizes up to {max(sizes)}: expected {count} up to"
                    f" {largest} {getattr(self, largest)}"
                )
        self._refuse_together("mla", "v_head_dim", "attention_gate", "values_are_keys", "shared_kv_layers")
        self._refuse_together("kv_heads_by_layer", "mla", "sliding_window", "shared_kv_layers")
        if self.mla and window and (window.n_heads or window.n_kv_heads or window.head_dim or window.v_head_dim):
            raise ValueError("mla does not go with heads of the sliding window's own")
        if moe and moe.shared_gate and not moe.shared_intermediate_size:
            raise ValueError("moe.shared_gate goes with moe.shared_intermediate_size only")
        if index and not self.mla:
            raise ValueError("indexer goes with mla only")
        if any(kind.own < 0 for kind in self.kinds):
            raise ValueError(f"shared_kv_layers {self.shared_kv_layers} exceed the layers that see everything")
        if moe and not self.dense_layers and widths:
            raise ValueError("intermediate_by_layer: no layer has a dense MLP")
        return self

    @property
    def _attending_name(self) -> str:
        return "attention_layers" if self.attention_layers else "n_layers"

    def _refuse_together(self, name: str, *others: str) -> None:
        """ValueError where a field is given beside one that it does not go with."""
        for other in others if getattr(self, name) else ():
            if getattr(self, other):
                raise ValueError(f"{name} does not go with {other}")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, without what was found of the layers of this one."""
        copied = super().model_copy(update=update, deep=deep)
        for found in vars(copied).keys() - type(self).model_fields.keys():
            del vars(copied)[found]
        return copied

    @property
    def parameters(self) -> int:
        """Weights of all matrices and embeddings; norms and biases (under 0.3 %) are left out [1]."""
        return sum(matrix.weights for matrix in self.matrices.values()) + self._tables

    @property
    def active_parameters(self) -> int:
        """Weights that one token passes through, embeddings included [1]."""
        chosen = self.moe.experts_per_token if self.moe else None
        return sum(matrix.weights for matrix in layer_matrices(self, chosen).values()) + self._tables

    @property
    def _tables(self) -> int:
        """Weights of the embeddings and the head [1]."""
        return embedding_weights(self) + (0 if self.tied_embeddings else self.hidden_size * self.vocab_size)

    @property
    def state_bytes_per_sequence(self) -> int:
        """State that one sequence has in the layers with linear attention, however long it is [byte]."""
        return self.linear_attention.layers * self.linear_attention.state_bytes if self.linear_attention else 0

    def __str__(self) -> str:
        moe, mla, window, linear, index = self.moe, self.mla, self.sliding_window, self.linear_attention, self.indexer
        own, shared = self.per_layer_embedding, self.shared_kv_layers
        sharing = "MQA" if self.n_kv_heads == 1 else "GQA" if self.n_kv_heads < self.n_heads else "MHA"
        some = {"attention": self.attention_layers, linear.kind if linear else "": linear and linear.layers}
        some |= {"an MLP": self.mlp_layers, "keys and values of an earlier one": shared}
        rows = {
            "hidden size h": f"{self.hidden_size}",
            "MLP size i": f"{self.intermediate_size} ({'gated, 3' if self.gated else '2'} matrices)"
            + (f", mean {self.mean_intermediate_size:g}" if self.intermediate_by_layer else ""),
            "layers L": f"{self.n_layers}"
            + "".join(f", {count} with {what}" for what, count in some.items() if count is not None),
            "heads": f"{self.n_heads} query, {self.n_kv_heads} KV ({'MLA' if mla else sharing}),"
            f" head_dim {self.head_dim}"
            + (f", v {self.v_head_dim}" if self.v_head_dim else "")
            + (", output gate" if self.attention_gate else "")
            + (", values are the keys" if self.values_are_keys else ""),
            "vocabulary": f"{self.vocab_size} ({'tied' if self.tied_embeddings else 'untied'} embeddings)",
            "context": with_unit(self.max_context, "tokens"),
            "attention chunks" if window and window.chunked else "sliding window": window
            and f"{window.size} tokens on {window.layers} of {self.n_layers} layers{self._window_heads}",
            "linear attention": linear
            and f"{linear.kind}, {linear.n_heads} heads ({linear.n_key_heads} of keys) of {linear.key_dim} x"
            f" {linear.value_dim}, convolution of {linear.conv_size} tokens",
            "experts": moe
            and f"{moe.n_experts}, {moe.experts_per_token} per token, MLP size {moe.intermediate_size}"
            f"{f' + {moe.shared_intermediate_size} shared' if moe.shared_intermediate_size else ''}"
            f"{f', of a latent {moe.latent_size}' if moe.latent_size else ''},"
            f" {moe.layers} of {self.n_layers} layers{', beside a dense MLP' if moe.dense_beside else ''}",
            "latent attention": mla
            and f"q rank {mla.q_lora_rank or 'full'}, kv rank {mla.kv_lora_rank},"
            f" head dims {mla.qk_nope_head_dim} + {mla.qk_rope_head_dim} (RoPE), v {mla.v_head_dim}",
            "tokens attended to": index
            and f"the {index.top_k} that {index.n_heads} heads of {index.head_dim} score highest",
            "per-layer embedding": own and f"{own.size} wide, of {own.vocab_size} tokens",
            "weights as stored": self.quantization and f"{self.quantization}",
            "parameters": f"{self.parameters:,}"
            + (f" (active {self.active_parameters:,})" if moe else "")
            + (f", published {self.published_parameters:,}" if self.published_parameters else ""),
            "KV cache": f"{self.kv_elements_per_token:,} elements per token",
            "state": linear and f"{self.state_bytes_per_sequence:,} bytes per sequence",
        }
        return describe_entry(f"Model {self.id}: {self.name} ({self.family})", rows, self)

    __repr__ = __str__

    @property
    def _window_heads(self) -> str:
        """What is said of the heads of layers with a window, where they are others."""
        full, sliding = self.attentions
        if not full or not sliding or full[1:5] == sliding[1:5]:
            return ""
        value = f", v {sliding.v_dim}" if sliding.v_dim != sliding.qk_dim else ""
        return f", {sliding.n_heads} query, {sliding.n_kv_heads} KV heads of {sliding.qk_dim}{value}"


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
