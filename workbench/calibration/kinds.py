"""How each kind of kernel is fitted: one record a kind."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..catalog.dtypes import KERNEL_FORMATS, WIDTH
from ..common.arrays import Array
from ..kernels import elementwise, gemm
from ..operators import cost
from ..operators.cost import Cost
from .attention_kinds import ATTENTION_KINDS
from .records import Bounds, FittedKind, OperandWidths, Sizes

def call_costs(kind: str, form: str, rows: pd.DataFrame) -> Cost:
    """Work of every row, each operand read or written once."""
    sizes = {name: rows[name].to_numpy(dtype=float) for name in FITTED[kind].columns}
    wide = rows["dtype"].map(WIDTH).to_numpy(dtype=float)
    known = KERNEL_FORMATS[form]
    widths = OperandWidths(wide, wide) if form == "bf16" else OperandWidths(known.stored, known.activation)
    return replace(FITTED[kind].work(rows, sizes, widths), format=form)


def _product(_: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    return cost.gemm(**sizes, weight=widths.stored, activation=widths.activation)


def _elementwise(rows: pd.DataFrame, sizes: Sizes, _: OperandWidths) -> Cost:
    launches = rows.kernels.to_numpy() if "kernels" in rows else 1
    return Cost(np.zeros(len(rows)), sizes["bytes"], 1, 1, 1, kernel="elementwise", batch=launches)


def _elementwise_law(fit: Any, gpu: Any, cost: Cost, peak_flop_rate: Array) -> Array:
    return elementwise.elementwise_seconds(fit, gpu, cost.bytes, cost.batch)


_GEMM: Bounds = {
    "launch_us": (4.0, 0.0, 100.0), "loop_us": (2.0, 0.0, 15.0), "loop_depth": (1000.0, 100.0, 5000.0),
    "fill_depth": (100.0, 0.0, 1000.0), "half_tile": (10.0, 0.0, 100.0), "boost": (0.05, 0.0, 0.3),
    "compute_fraction": (0.8, 0.2, 1.0), "bandwidth_fraction": (0.8, 0.2, 1.0),
    "overlap": (2.0, 1.0, 4.0),
}  # fmt: skip

#: How each kind of kernel is fitted.
FITTED: dict[str, FittedKind] = {
    "gemm": FittedKind(
        ("m", "n", "k"), ["n", "k"], _product, gemm.gemm_seconds, _GEMM, replayed=True,
        variants=[{"small_tile_waves": None}, {"small_tile_waves": 2.0}],
    ),
    "unfused": FittedKind(
        ("m", "n", "k", "batch"), ["n", "k"], _product, gemm.gemm_seconds,
        {name: _GEMM[name] for name in ("launch_us", "fill_depth", "compute_fraction", "overlap")}
        | {"bandwidth_fraction": (0.8, 0.2, 0.95)},
    ),
    **ATTENTION_KINDS,
    "elementwise": FittedKind(
        ("bytes",), ["bytes"], _elementwise, _elementwise_law,
        {"launch_us": (3.0, 0.0, 100.0), "bandwidth_fraction": (0.7, 0.1, 1.0)},
    ),
}  # fmt: skip
