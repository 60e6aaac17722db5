"""Which number format each operand of a model has, and so how wide it is and what an operator computes in."""

from ..catalog.dtypes import GROUP_FORMATS, check_dtype, compute_dtype, element_bytes
from ..catalog.model_entries import Model
from .cost import Widths
from .table import ATTENTION


def formats(model: Model, weight: str | None, activation: str, kv: str, lm_head: str | None) -> dict[str, str]:
    """Number format of each kind of operand, for one model."""
    stored = model.quantization
    rest = check_dtype("weight", weight) if weight else "fp16"
    linear = stored.format if stored and not weight and stored.scope == "linear" else rest
    experts = stored.format if stored and not weight else rest
    quantized = (stored and not weight) or weight in GROUP_FORMATS
    head = check_dtype("lm_head", lm_head) if lm_head else ("fp16" if quantized else rest)
    return {
        "weight": linear, "experts": experts, "lm_head": head,
        "activation": check_dtype("activation", activation), "kv": check_dtype("kv", kv),
    }  # fmt: skip


def operand(operator: str) -> str:
    """The stored operand that an operator multiplies activations with."""
    if operator in ATTENTION:
        return "kv"
    if operator in ("moe_gate_up_proj", "moe_down_proj"):
        return "experts"
    return {"lm_head": "lm_head", "router": "activation", "elementwise": "activation"}.get(operator, "weight")


def widths(model: Model, dtypes: dict[str, str]) -> Widths:
    """Bytes per element of each kind of operand, those of the checkpoint's scales included [byte]."""
    stored = model.quantization
    own = {str(stored.format): stored.group_size} if stored else {}
    return Widths(**{operand: element_bytes(dtype, own.get(dtype)) for operand, dtype in dtypes.items()})


def computes_in(operator: str, dtypes: dict[str, str]) -> str:
    """The format that an operator computes in."""
    return compute_dtype(dtypes[operand(operator)], dtypes["activation"])
