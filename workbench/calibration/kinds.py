"""How each kind of kernel is fitted: one record a kind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..catalog.dtypes import KERNEL_FORMATS, WIDTH
from ..catalog.fits import LINK_KINDS
from ..common.arrays import Array
from ..kernels import collectives, elementwise, gemm, moe
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


def _layer(rows: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    """A skew of 0 is a benchmark's that gives every expert the same."""
    skew = rows["skew"].fillna(0).to_numpy(dtype=float) if "skew" in rows else np.zeros(len(rows))
    gated = rows["gated"].to_numpy(dtype=bool) if "gated" in rows else True
    return moe.layer_cost(
        sizes["m"], sizes["n_experts"], sizes["experts_per_token"], hidden_size=sizes["k"],
        intermediate_size=sizes["n"] / sizes["tp"], gated=gated, weight=widths.stored,
        activation=widths.activation, ep=sizes["ep"], skew=skew, balanced=skew == 0,
    )  # fmt: skip


def _elementwise(rows: pd.DataFrame, sizes: Sizes, _: OperandWidths) -> Cost:
    launches = rows.kernels.to_numpy() if "kernels" in rows else 1
    return Cost(np.zeros(len(rows)), sizes["bytes"], 1, 1, 1, kernel="elementwise", batch=launches)


def _elementwise_law(fit: Any, gpu: Any, cost: Cost, peak_flop_rate: Array) -> Array:
    return elementwise.elementwise_seconds(fit, gpu, cost.bytes, cost.batch)


def _message(kind: str) -> Callable[[pd.DataFrame, Sizes, OperandWidths], Cost]:
    def work(_: pd.DataFrame, sizes: Sizes, __: OperandWidths) -> Cost:
        size, gpus = sizes["message_bytes"], sizes["gpus"]
        return Cost(np.zeros(len(size)), 2 * size, size, 1, 1, kernel=kind, gpus=gpus)

    return work


def _collective_law(fit: Any, gpu: Any, cost: Cost, peak_flop_rate: Array) -> Array:
    return collectives.collective_seconds(fit, gpu, cost)


_GEMM: Bounds = {
    "launch_us": (4.0, 0.0, 100.0), "loop_us": (2.0, 0.0, 15.0), "loop_depth": (1000.0, 100.0, 5000.0),
    "fill_depth": (100.0, 0.0, 1000.0), "half_tile": (10.0, 0.0, 100.0), "boost": (0.05, 0.0, 0.3),
    "compute_fraction": (0.8, 0.2, 1.0), "bandwidth_fraction": (0.8, 0.2, 1.0),
    "overlap": (2.0, 1.0, 4.0),
}  # fmt: skip
#: Further parameters of a GEMM, in formats of less than 16 bits or where a benchmark says how many sets of weights it
#: used in turn.
_MORE: Bounds = {
    "fill_depth": (150.0, 0.0, 3000.0), "half_tile": (15.0, 0.0, 200.0), "loop_us": (3.0, 0.0, 30.0),
    "compute_fraction": (0.7, 0.1, 1.0), "walk_ns": (1.0, 0.0, 8.0),
}  # fmt: skip
_SETS: Bounds = {"l2_speedup": (2.0, 1.0, 10.0), "l2_share": (0.8, 0.2, 1.0)}
_QUANTIZED: Bounds = {"quantize_fraction": (0.4, 0.03, 4.0)}
_HOST: Bounds = {"host_us": (100.0, 1.0, 900.0), "launch_us": (4.0, 0.0, 10.0), "loop_us": (3.0, 0.0, 10.0)}
_SPLITS = [{"max_splits": most, "split_us": 1.0, "loop_depth": 1000.0} for most in (1.0, 4.0, 16.0)]


def _gemm(kind: FittedKind, form: str, rows: pd.DataFrame) -> FittedKind:
    """By format and benchmark: the walk along k, quantization, the L2 cache, and the host that launches it."""
    sets = "copies" in rows
    if form == "bf16" and not sets:
        return kind
    bounds = kind.bounds | _MORE | (_QUANTIZED if form in gemm.QUANTIZED else {}) | (_SETS if sets else {})
    bounds = {name: limits for name, limits in bounds.items() if name not in _SPLITS[0]}
    if "launched" in rows and (rows.launched == "host").all():
        bounds |= _HOST
    return replace(kind, bounds=bounds, variants=_SPLITS)


_COLLECTIVE: Bounds = {
    "launch_us": (4.0, 0.0, 40.0), "gpu_us": (0.5, 0.0, 10.0), "small_fraction": (0.4, 0.01, 1.0),
    "setup_us": (16.0, 0.0, 200.0), "pair_fraction": (0.6, 0.2, 1.0), "all_fraction": (0.3, 0.005, 1.0),
}  # fmt: skip

#: How each kind of kernel is fitted.
FITTED: dict[str, FittedKind] = {
    "gemm": FittedKind(
        ("m", "n", "k"), ["n", "k"], _product, gemm.benchmark_seconds, _GEMM, replayed=True,
        variants=[{"small_tile_waves": None}, {"small_tile_waves": 2.0}], adapted=_gemm,
    ),
    "unfused": FittedKind(
        ("m", "n", "k", "batch"), ["n", "k"], _product, gemm.gemm_seconds,
        {name: _GEMM[name] for name in ("launch_us", "fill_depth", "compute_fraction", "overlap")}
        | {"bandwidth_fraction": (0.8, 0.2, 0.95)},
    ),
    **ATTENTION_KINDS,
    "moe": FittedKind(
        ("m", "n", "k", "n_experts", "experts_per_token", "tp", "ep"), ["k", "n", "n_experts"], _layer,
        moe.layer_seconds,
        {
            "launch_us": (20.0, 0.0, 300.0), "expert_us": (0.02, 0.0, 1.0), "token_ns": (2.0, 0.0, 300.0),
            "fill_depth": (200.0, 0.0, 5000.0), "half_tile": (40.0, 0.0, 400.0),
            "compute_fraction": (0.6, 0.05, 1.0), "bandwidth_fraction": (0.75, 0.1, 1.0),
            "rows_fraction": (1.0, 0.03, 4.0),
        },
        variants=[{"every_pair": False}, {"every_pair": True}], replayed=True,
    ),
    "elementwise": FittedKind(
        ("bytes",), ["bytes"], _elementwise, _elementwise_law,
        {"launch_us": (3.0, 0.0, 100.0), "bandwidth_fraction": (0.7, 0.1, 1.0)},
    ),
    **{
        kind: FittedKind(
            ("gpus", "message_bytes"), ["message_bytes"], _message(kind), _collective_law, _COLLECTIVE,
            variants=[{"one_shot": True}, {"one_shot": False}],
        )
        for kind in LINK_KINDS
    },
}  # fmt: skip
