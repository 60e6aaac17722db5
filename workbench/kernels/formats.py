"""Number formats of a model's operands: how wide each is, and what an operator computes in."""

from dataclasses import dataclass

from ..catalog import Model
from ..catalog.dtypes import GROUP_FORMATS, WIDTH, check_dtype, compute_dtype, element_bytes, kernel_format
from ..operators import OPERATORS, Widths


@dataclass(frozen=True)
class OperandFormats:
    """Number format of each kind of operand of one model, and its widths [byte], a checkpoint's scales included."""

    weight: str
    experts: str
    lm_head: str
    activation: str
    kv: str
    widths: Widths

    @property
    def residual(self) -> str:
        """Of what passes between the matrix products: the activations', or of 16 bits where those are narrower."""
        wide = (form for form in (self.activation, self.lm_head) if WIDTH.get(form, 0) >= WIDTH["fp16"])
        return next(wide, "fp16")

    def stored(self, operator: str) -> str:
        """The format of the stored operand that an operator multiplies activations with."""
        kind = OPERATORS[operator].operand if operator in OPERATORS else "weight"
        return str(getattr(self, kind))

    def kernel_format(self, operator: str) -> str:
        """The kind of kernel, by formats, that an operator runs: a key of `catalog.fits.NEAR_FORMATS`."""
        cache = operator in OPERATORS and OPERATORS[operator].operand == "kv"
        return kernel_format(self.stored(operator), self.activation, cache=cache)

    def computes_in(self, operator: str) -> str:
        """The format that an operator computes in."""
        return compute_dtype(self.stored(operator), self.activation)


@dataclass(frozen=True)
class Formats:
    """The formats that a user asks for; `of` a model, with those of its checkpoint. ValueError for an unknown one."""

    weight: str | None = None  #: of every matrix; None is the checkpoint's own (fp16 unless it is quantized)
    activation: str = "fp16"  #: of activations
    kv: str = "fp16"  #: of the KV cache
    lm_head: str | None = None  #: of lm_head's weights; None: the other weights', or fp16 where those are narrower

    def __post_init__(self) -> None:
        for role in ("weight", "lm_head", "activation", "kv"):
            if (dtype := getattr(self, role)) is not None or role in ("activation", "kv"):
                check_dtype(role, dtype)

    def of(self, model: Model) -> OperandFormats:
        """What they come to for a model."""
        stored, rest = model.quantization, self.weight or "fp16"
        own = stored if stored and not self.weight else None
        narrow = self.weight in GROUP_FORMATS or WIDTH.get(rest, 2) < WIDTH["fp16"]
        head = self.lm_head or ("fp16" if own or narrow else rest)  # checkpoints of 8 and 4 bits leave the head out
        kinds = {
            "weight": str(own.format) if own and own.scope == "linear" else rest,
            "experts": str(own.format) if own else rest,
            "lm_head": head, "activation": self.activation, "kv": self.kv,
        }  # fmt: skip
        groups = {str(stored.format): stored.group_size} if stored else {}
        widths = Widths(**{kind: element_bytes(dtype, groups.get(dtype)) for kind, dtype in kinds.items()})
        return OperandFormats(**kinds, widths=widths)
