"""How each kind of kernel is fitted: one record a kind."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..catalog.dtypes import KERNEL_FORMATS, WIDTH
from ..catalog.fits import LINK_KINDS
from ..common.arrays import Array
from ..kernels import attention, collectives, elementwise, gemm
from ..kernels.times import attention_cost
from ..operators import cost
from ..operators.cost import Cost

Sizes = dict[str, Any]
Bounds = dict[str, tuple[float, float, float]]


class OperandWidths(NamedTuple):
    """Width of an element of what is stored, weights or cache, and of activations [byte]."""

    stored: Array
    activation: Array


@dataclass(frozen=True)
class FittedKind:
    """How the timings of one kind of kernel are fitted; the record of its parameters is in `catalog.fits.FITS`.

    Parameters
    ----------
    columns : tuple of str
        Columns that its rows need besides those of all kinds.
    groups : list of str
        Rows that agree in these columns are held out together, so that no shape is judged by a fit that saw it.
    work : callable
        ``(rows, sizes, widths) -> Cost``; sizes are `columns` as arrays, the widths those of the operands [byte].
    law : callable
        ``(fit, gpu, cost, peak_flop_rate) -> seconds``; decoding takes the softmax of prefill as well.
    bounds : dict
        Start, lower and upper bound of each fitted parameter; units as in `catalog.fits`.
    variants : list of dict
        What is tried in turn and not fitted.
    cached : bool
        A replayed cache may have come from L2: rows for which that is possible are not fitted on.
    replayed : bool
        The rate of L2 is fitted as well, where many rows beat the memory roof.
    alias : str
        The kind's other name in tables of timings.
    adapted : callable
        ``(kind, format, rows) -> FittedKind``, with what that format and those rows determine besides.
    """

    columns: tuple[str, ...]
    groups: list[str]
    work: Callable[[pd.DataFrame, Sizes, OperandWidths], Cost]
    law: Callable[..., Array]
    bounds: Bounds
    variants: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    cached: bool = False
    replayed: bool = False
    alias: str = ""
    adapted: Callable[["FittedKind", str, pd.DataFrame], "FittedKind"] = lambda kind, form, rows: kind


def call_costs(kind: str, form: str, rows: pd.DataFrame) -> Cost:
    """Work of every row, each operand read or written once."""
    sizes = {name: rows[name].to_numpy(dtype=float) for name in FITTED[kind].columns}
    wide = rows["dtype"].map(WIDTH).to_numpy(dtype=float)
    known = KERNEL_FORMATS[form]
    widths = OperandWidths(wide, wide) if form == "bf16" else OperandWidths(known.stored, known.activation)
    return replace(FITTED[kind].work(rows, sizes, widths), format=form)


def _product(_: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    return cost.gemm(**sizes, weight=widths.stored, activation=widths.activation)


def _attention(_: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    names = {"seq_len_q": "new_tokens", "seq_len_kv": "context"}
    return attention_cost(**{names.get(name, name): size for name, size in sizes.items()}, width=widths.activation)


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
    "compute_fraction": (0.7, 0.1, 1.0), "walk_ns": (0.2, 0.0, 8.0),
}  # fmt: skip
_QUANTIZED: Bounds = {"quantize_fraction": (0.4, 0.03, 1.0)}
_HOST: Bounds = {"host_us": (100.0, 1.0, 900.0)}
_SPLITS = [{"max_splits": most, "split_us": 1.0} for most in (1.0, 4.0, 16.0)]


def _gemm(kind: FittedKind, form: str, rows: pd.DataFrame) -> FittedKind:
    """By format and benchmark: the walk along k, the quantization of activations, and the host that launches it."""
    if form == "bf16" and "copies" not in rows:
        return kind
    bounds = kind.bounds | _MORE | (_QUANTIZED if form in gemm.QUANTIZED else {})
    if "launched" in rows and (rows.launched == "host").all():
        bounds |= _HOST
    return replace(kind, bounds=bounds, variants=_SPLITS)


_HEADS = ["n_heads", "n_kv_heads", "head_dim"]
_ATTENTION = ("batch_size", "seq_len_q", "seq_len_kv", *_HEADS)

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
    "prefill": FittedKind(
        _ATTENTION, _HEADS, _attention, attention.prefill_seconds,
        {
            "launch_us": (8.0, 0.0, 100.0), "wave_us": (2.0, 0.0, 20.0), "token_ns": (1.0, 0.0, 50.0),
            "softmax_flops": (128.0, 0.0, 1000.0),
            "compute_fraction": (0.7, 0.2, 0.95), "bandwidth_fraction": (0.6, 0.2, 1.0),
        },
        variants=[{"packed_heads": p, "operands_in_l2": c} for p in (False, True) for c in (False, True)],
        cached=True, alias="attention_prefill",
    ),
    "decode": FittedKind(
        _ATTENTION, _HEADS, _attention, attention.decode_seconds,
        {
            "launch_us": (8.0, 0.0, 100.0), "context_us": (2.0, 0.0, 20.0), "wave_us": (2.0, 0.0, 20.0),
            "bandwidth_fraction": (0.8, 0.2, 1.0), "overlap": (2.0, 1.0, 4.0),
        },
        variants=[{"unsplit_gbs": rate} for rate in (None, 15.0, 20.0, 25.0, 30.0, 40.0)],
        cached=True, replayed=True, alias="attention_decode",
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
