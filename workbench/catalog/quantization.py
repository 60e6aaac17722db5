"""How a checkpoint stores its weights, by part of the model, and what it says of activations and the KV cache."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from ..common.arguments import one_of
from ..common.yaml_records import Count, Number, Record
from .dtypes import GROUP_FORMATS, KV_DTYPES, WEIGHT_DTYPES, WIDTH, element_bytes

#: Parts of a model that may have a format of their own; "other" are projections of inputs that only some models have.
MODEL_PARTS = ("attention", "linear_attention", "mlp", "experts", "shared", "other", "lm_head", "embeddings")

_Stored = Annotated[str, AfterValidator(lambda name: str(one_of("format", name, WEIGHT_DTYPES)))]
_Cached = Annotated[str, AfterValidator(lambda name: str(one_of("format", name, KV_DTYPES)))]
_Plain = Annotated[str, AfterValidator(lambda name: str(one_of("format", name, WIDTH)))]


class PartFormat(Record):
    """The format of some weights; written as its name alone where it is no more than that."""

    format: _Stored  #: of most of them, which kernels go by
    group_size: Count | None = None  #: weights that share a scale, where it is not the format's usual number [1]
    bits: Number | None = None  #: a weight on the mean, with scales, where some are stored otherwise [bit]
    activation: _Plain | None = None  #: what activations are narrowed to, where not as the whole model's

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        return {"format": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _sized(self) -> Self:
        known = GROUP_FORMATS.get(self.format)
        if self.group_size and (known is None or known.fixed):
            raise ValueError(f"group_size does not apply to quantization format {self.format!r}")
        return self

    @property
    def width(self) -> float:
        """A weight, with its scales [byte]."""
        return self.bits / 8 if self.bits else element_bytes(self.format, self.group_size)

    @property
    def stored(self) -> str:
        """The weights' format, in words."""
        return self.format + (f" (mean {self.bits:.4g} bits)" if self.bits else "")

    def __str__(self) -> str:
        return self.stored + (f" with {self.activation} activations" if self.activation else "")

    __repr__ = __str__


class Quantization(PartFormat):
    """How a checkpoint stores its weights, by part: its `format`, but for parts with one of their own.

    lm_head and embeddings stay in 16 bit unless they have one, and so does all else where the `scope` is the experts.
    """

    scope: Literal["linear", "experts"] = "linear"
    attention: PartFormat | None = None
    linear_attention: PartFormat | None = None
    mlp: PartFormat | None = None
    experts: PartFormat | None = None
    shared: PartFormat | None = None
    other: PartFormat | None = None
    lm_head: PartFormat | None = None
    embeddings: PartFormat | None = None
    activation: _Plain | None = None  #: what activations are narrowed to; None: they stay in 16 bit
    kv: _Cached | None = None  #: what the KV cache is meant to be in; None: the checkpoint does not say

    def of(self, part: str) -> PartFormat | None:
        """The format of a part, one of `MODEL_PARTS`; None for 16 bit."""
        own: PartFormat | None = getattr(self, str(one_of("part", part, MODEL_PARTS)))
        whole = part == "experts" if self.scope == "experts" else part not in ("lm_head", "embeddings")
        return own or (PartFormat(format=self.format, group_size=self.group_size, bits=self.bits) if whole else None)

    def __str__(self) -> str:
        own = [f"{part} {getattr(self, part)}" for part in MODEL_PARTS if getattr(self, part)]
        said = [f"activations {self.activation}"] * bool(self.activation) + [f"KV cache {self.kv}"] * bool(self.kv)
        return ", ".join([f"{self.stored} ({self.scope})", *own, *said])

    __repr__ = __str__
