"""Number formats of a model's operands: how wide each is, and what an operator computes in."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..catalog import GPU, Model, PartFormat
from ..catalog.dtypes import GROUP_FORMATS, WIDTH, check_dtype, compute_dtype, element_bytes, kernel_format
from ..catalog.gguf import MIXES, head_format, layer_share
from ..common.matrices import layer_matrices
from ..operators import OPERATORS, Widths
from ..operators.cost import WEIGHT_OPERANDS


@dataclass(frozen=True)
class OperandFormats:
    """Number format of each kind of operand of one model, and its widths [byte], a checkpoint's scales included."""

    weights: dict[str, PartFormat]  #: by `operators.cost.WEIGHT_OPERANDS`; some with activations of their own
    activation: str  #: of all others
    kv: str
    embeddings: float  #: width of the embedding's tables [byte]
    widths: Widths
    index: str  #: of queries and keys that an indexer chooses tokens by
    assumed: str = ""  #: what they are other than as the checkpoint says, for want of a GPU's rate

    @property
    def residual(self) -> str:
        """Of what passes between the matrix products: the activations', or of 16 bits where those are narrower."""
        wide = (form for form in (self.activation, self.weights["lm_head"].format) if WIDTH.get(form, 0) >= 2)
        return next(wide, "fp16")

    def __str__(self) -> str:
        parts = {kind: form.format for kind, form in self.weights.items() if kind != "embeddings"}
        others = ", ".join(f"{kind} {form}" for kind, form in parts.items() if form != parts["mlp"])
        stored = f"weights {parts['mlp']}{f' ({others})' if others else ''}"
        own = {kind: form.activation for kind, form in self.weights.items() if form.activation}
        narrowed = ", ".join(f"{kind} {form}" for kind, form in own.items() if form != self.activation)
        activations = f"activations {self.activation}{f' ({narrowed})' if narrowed else ''}"
        return f"{stored}, {activations}, KV cache {self.kv}"

    def stored(self, operator: str) -> str:
        """The format of the stored operand that an operator multiplies activations with."""
        kind = _kind(operator)
        return self.weights[kind].format if kind in WEIGHT_OPERANDS else str(getattr(self, kind))

    def narrowed(self, operator: str) -> str:
        """The format of the activations that an operator multiplies a stored operand with."""
        kind = _kind(operator)
        return (self.weights[kind].activation if kind in WEIGHT_OPERANDS else None) or self.activation

    def kernel_format(self, operator: str) -> str:
        """The kind of kernel, by formats, that an operator runs: a key of `catalog.fits.NEAR_FORMATS`."""
        if _kind(operator) == "index":
            return kernel_format(self.index, self.index)
        return kernel_format(self.stored(operator), self.narrowed(operator), cache=_kind(operator) == "kv")

    def computes_in(self, operator: str) -> str:
        """The format that an operator computes in."""
        if _kind(operator) == "index":
            return self.index
        return compute_dtype(self.stored(operator), self.narrowed(operator))


def _kind(operator: str) -> str:
    """The stored operand of an operator, also of what is none of the table."""
    return OPERATORS[operator].operand if operator in OPERATORS else "weight"


@dataclass(frozen=True)
class Formats:
    """The formats that a user asks for, in any case; `of` a model, with its own. ValueError for an unknown one."""

    weight: str | None = None  #: of every matrix; None is the checkpoint's own (fp16 unless it is quantized)
    activation: str | None = None  #: of activations; None is what the checkpoint says, or 16 bits
    kv: str | None = None  #: of the KV cache; None is what the checkpoint says, or fp16
    lm_head: str | None = None  #: of lm_head's weights; None: the other weights', or fp16 where those are narrower

    def __post_init__(self) -> None:
        for role in ("weight", "lm_head", "activation", "kv"):  # in small letters, as they are looked up
            if (dtype := getattr(self, role)) is not None:
                object.__setattr__(self, role, check_dtype(role, dtype, MIXES if role == "weight" else ()))

    def of(self, model: Model, gpus: Iterable[GPU] = ()) -> OperandFormats:
        """What they come to for a model, on GPUs that all have the rate that it computes in by default."""
        said = model.quantization
        weights, cards = self._weights(model), list(gpus)
        whole, told = _activation(said.activation if said else None, model, cards)
        assumed = {} if self.activation else {told: None}
        for kind, form in weights.items():
            if form.activation:
                one, told = (None, "") if self.activation else _activation(form.activation, model, cards)
                weights[kind], assumed[told] = form.model_copy(update={"activation": one}), None
        activation = self.activation or whole
        kv = self.kv or (said.kv if said and said.kv else "fp16")
        stored: dict[str, Any] = {kind: weights[kind].width for kind in WEIGHT_OPERANDS}
        stored["kv"] = element_bytes(kv)
        index, stored["index"] = _index(cards)
        own = tuple((kind, WIDTH[form.activation]) for kind, form in weights.items() if form.activation)
        widths = Widths(activation=WIDTH[activation], by_weights=self.activation is None, narrowed=own, **stored)
        told = "; ".join(filter(None, assumed))
        return OperandFormats(weights, activation, kv, weights["embeddings"].width, widths, index, told)

    def _weights(self, model: Model) -> dict[str, PartFormat]:
        """By part of the model, and of the embeddings."""
        kinds, said = (*WEIGHT_OPERANDS, "embeddings"), model.quantization
        if self.weight is None:
            plain = PartFormat(format="fp16")
            given = {kind: said and said.of("other" if kind == "weight" else kind) for kind in kinds}
            weights = {kind: own or plain for kind, own in given.items()}
        elif self.weight in MIXES:
            weights = _mixed(model, self.weight)
        else:
            same = said and said.format == self.weight
            every = PartFormat(format=self.weight, group_size=said.group_size if said and same else None)
            narrow = self.weight in GROUP_FORMATS or WIDTH[self.weight] < WIDTH["fp16"]
            head = PartFormat(format="fp16") if narrow else every  # checkpoints of 8 and 4 bits leave the head out
            weights = dict.fromkeys(kinds, every) | {"lm_head": head, "embeddings": head}
        return weights | ({"lm_head": PartFormat(format=self.lm_head)} if self.lm_head else {})


def one_for_all(formats: Iterable[OperandFormats], role: str) -> str:
    """The format of "activation" or "kv" where all models have the same, else "as stored"."""
    every = list(formats)
    parts = {form.activation for each in every for form in each.weights.values() if form.activation}
    found = {str(getattr(each, role)) for each in every} | (parts if role == "activation" else set())
    return found.pop() if len(found) == 1 else "as stored"


def _index(gpus: Iterable[GPU]) -> tuple[str, float]:
    """The format of an indexer's queries and keys, and the width of a key's element with its scale [byte].

    In fp8 whatever the cache's format, a scale of 32 bits for the 128 of a key, where the GPUs have that rate (132
    bytes; vLLM, deepseek_v2.py, DeepseekV32IndexerCache; DeepGEMM's fp8_mqa_logits); else in 16 bits.
    """
    return ("fp8", 1 + 4 / 128) if all("fp8" in card.dense_tflops for card in gpus) else ("bf16", 2.0)


def _activation(said: str | None, model: Model, cards: list[GPU]) -> tuple[str, str]:
    """The format of a model's activations where none is asked for, and what has to be said of it.

    What the checkpoint says where all GPUs have that rate, else 16 bits, as the engines' weight-only kernels take.
    """
    said = None if said is None or WIDTH[said] >= WIDTH["fp16"] else said
    lacking = [card.id for card in cards if said and said not in card.dense_tflops]
    if said and not lacking:
        return said, ""
    native = (dtype for dtype in ("fp16", "bf16") if all(dtype in card.dense_tflops for card in cards))
    wide = next(native, "fp16")
    if said:
        others = ", on all of the grid's GPUs" if len(lacking) < len(cards) else ""
        return wide, f"{', '.join(lacking)}: no {said} rate, so {model.id} computes in {wide}{others}"
    return wide, f"{', '.join(card.id for card in cards)}: computes in {wide}" if wide != "fp16" else ""


def _mixed(model: Model, name: str) -> dict[str, PartFormat]:
    """Weights of one of llama.cpp's files, each part with the mean of its matrices."""
    base, rules = MIXES[name]
    usual, head = PartFormat(format=base), PartFormat(format=head_format(name))
    bits, total = dict.fromkeys(WEIGHT_OPERANDS, 0.0), dict.fromkeys(WEIGHT_OPERANDS, 0)
    for operator, matrix in layer_matrices(model).items():
        if operator in OPERATORS and (kind := OPERATORS[operator].operand) in WEIGHT_OPERANDS:
            rule = rules.get("down_proj" if operator.endswith("down_proj") else operator)
            share = layer_share(rule[1], model.n_layers, model.n_heads / model.n_kv_heads) if rule else 0.0
            more = PartFormat(format=rule[0]).width if rule else 0.0
            bits[kind] += 8 * matrix.weights * ((1 - share) * usual.width + share * more)
            total[kind] += matrix.weights
    mixed = {kind: PartFormat(format=base, bits=bits[kind] / total[kind]) for kind in WEIGHT_OPERANDS if total[kind]}
    return (
        dict.fromkeys(WEIGHT_OPERANDS, usual)
        | mixed
        | {"lm_head": head, "embeddings": head if model.tied_embeddings else usual}
    )
