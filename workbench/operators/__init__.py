"""Operators: FLOPs, bytes and GEMM shape of every kernel call of a forward pass."""

from .cost import PHASES, Conventions, Cost, Step, Widths, decode, prefill
from .formats import computes_in, formats, widths
from .parallel import shard
from .table import OPERATORS, exists, operator_set

__all__ = [
    "OPERATORS",
    "PHASES",
    "Conventions",
    "Cost",
    "Step",
    "Widths",
    "computes_in",
    "decode",
    "exists",
    "formats",
    "operator_set",
    "prefill",
    "shard",
    "widths",
]
