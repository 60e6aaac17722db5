"""Time of a matrix product outside a model, in every format, and of quantizing the activations before it."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..catalog import GPU, kernel_fit
from ..catalog import gpu as find_gpu
from ..catalog.dtypes import (
    KERNEL_FORMATS,
    WIDTH,
    check_dtype,
    compute_dtype,
    element_bytes,
    kernel_format,
    plain_width,
)
from ..common.arguments import check_broadcast, one_of, positive_numbers
from ..common.arrays import Array
from ..operators import Cost, cost
from .gemm import QUANTIZED, benchmark_seconds, quantize_seconds, replayed_cost, replayed_sets
from .roofline import check_time_model, ideal_time
from .times import operator_time

#: Formats of products besides the plain ones.
PRODUCT_FORMATS = [form for form in KERNEL_FORMATS if form not in (*WIDTH, "fp8_cache")]


def gemm_time(
    gpu: str | GPU, *, m: Any, n: Any, k: Any, dtype: str = "fp16", weight_dtype: str | None = None, batch: Any = 1,
    time_model: str = "kernel", engine: str | None = None, replayed: bool = False,
) -> Array:  # fmt: skip
    """Time of `batch` products (m x k) (k x n) in one kernel, with the quantization of the activations before it.

    Parameters
    ----------
    gpu : str or GPU
        Id or catalog entry.
    m, n, k : array_like
        Sizes, which broadcast [1].
    dtype : str
        Of all three matrices, or a format of kernels: "fp8_block" and "nvfp4", whose operands have scales, "mxfp4_fp8",
        and "int8_wo", "int4_wo" and "mxfp4_wo", which widen narrow weights to 16 bits.
    weight_dtype : str, optional
        Of the (k x n) matrix, where it is another: one of `catalog.WEIGHT_DTYPES`, such as "awq".
    batch : array_like
        Products in the kernel [1].
    time_model : str
        "kernel" or "ideal".
    engine : str, optional
        Whose kernels run, as for `operator_time`.
    replayed : bool
        As the benchmark of the fit sees it: it repeats one call with a few sets of weights, which are read from L2 as
        far as they fit, and where it launches from the host, waits for that. In an engine other layers' weights come
        between.

    Returns
    -------
    float or ndarray
        [s]

    Raises
    ------
    ValueError
        For an unknown name, a format that the GPU has no peak for, or a size that is not a positive number.
    """
    card = find_gpu(gpu)
    check_time_model(time_model)
    m, n, k, batch = (positive_numbers(name, value) for name, value in (("m", m), ("n", n), ("k", k), ("batch", batch)))
    check_broadcast(m=m, n=n, k=k, batch=batch)
    call, computes = _product(m, k, n, batch, dtype, weight_dtype)
    peak = card.peak_flop_rate(computes)
    if not one_of("replayed", replayed, (True, False)) or time_model == "ideal":
        return operator_time(card, call, peak, time_model, engine=engine)
    known = kernel_fit(card, "gemm", call.format, engine)
    sets = replayed_sets(known.record.engine, known.record.format, call.bytes - call.activations, card)
    call = replayed_cost(card, call, known.fit.l2_speedup, sets, known.fit.l2_share)
    least = ideal_time(call.flops, call.bytes, peak, card.bandwidth)
    time: Array = np.maximum(benchmark_seconds(known.fit, card, call, peak), least)
    return time


def quantize_time(gpu: str | GPU, *, m: Any, k: Any, dtype: str = "fp8", engine: str | None = None) -> Array:
    """Time to quantize activations before a product, which `gemm_time` includes; no ideal time has it.

    Parameters
    ----------
    gpu : str or GPU
        Id or catalog entry.
    m, k : array_like
        Rows and columns of the activations, which broadcast [1].
    dtype : str
        Format of the product, as for `gemm_time`.
    engine : str, optional
        Whose kernels run, as for `operator_time`.

    Returns
    -------
    float or ndarray
        0 for formats that multiply activations of 16 bits and more, NaN where the fit does not tell it from the product
        [s].

    Raises
    ------
    ValueError
        For an unknown name, a format that the GPU has no peak for, or a size that is not a positive number.
    """
    card = find_gpu(gpu)
    m, k = positive_numbers("m", m), positive_numbers("k", k)
    check_broadcast(m=m, k=k)
    call, computes = _product(m, k, 1.0, 1.0, dtype, None)
    card.peak_flop_rate(computes)
    fit = kernel_fit(card, "gemm", call.format, engine).fit
    known = call.format not in QUANTIZED or fit.quantize_fraction is not None
    seconds: np.ndarray = np.zeros(np.broadcast(m, k).shape) + (quantize_seconds(fit, card, call) if known else np.nan)
    return seconds[()]


def _product(m: Array, k: Array, n: Array, batch: Array, dtype: str, weight_dtype: str | None) -> tuple[Cost, str]:
    """The work of a product in a format of kernels, or of operands in their own, and what it computes in."""
    if weight_dtype is None and one_of("dtype", dtype, [*WIDTH, *PRODUCT_FORMATS]) in PRODUCT_FORMATS:
        known, form = KERNEL_FORMATS[dtype], dtype
        widths, computes = (known.stored, known.activation), known.computes
    else:
        stored = dtype if weight_dtype is None else check_dtype("weight", weight_dtype)
        widths, form = (element_bytes(stored), plain_width(dtype)), kernel_format(stored, dtype)
        computes = compute_dtype(stored, dtype)
    call = cost.gemm(m, k, n, weight=widths[0], activation=widths[1], batch=batch)
    return replace(call, format=form), computes
