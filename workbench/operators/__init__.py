"""Operators: FLOPs, bytes and GEMM shape of every kernel call of a forward pass."""

from .cost import PHASES, Conventions, Cost, Heads, Step, Widths, decode, prefill
from .parallel import COLLECTIVES, shard
from .table import OPERATOR_GROUPS, OPERATORS, Operator, has_operator, kernel_of, operator_set, sees

__all__ = [
    "COLLECTIVES",
    "OPERATORS",
    "OPERATOR_GROUPS",
    "PHASES",
    "Conventions",
    "Cost",
    "Heads",
    "Operator",
    "Step",
    "Widths",
    "decode",
    "has_operator",
    "kernel_of",
    "operator_set",
    "prefill",
    "sees",
    "shard",
]
