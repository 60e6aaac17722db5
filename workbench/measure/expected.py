"""How long the kernels of a measurement take by the kernel-time model: for `workbench measure --dry-run`."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from ..catalog.dtypes import WIDTH
from ..catalog.gpu_entries import GPU, kernel_fit
from ..kernels import attention_time, elementwise, gemm_time, times
from ..operators import cost
from .columns import SIZES
from .timed_kernels import Kernel


def expected_times(plan: Sequence[Kernel], gpu: GPU) -> np.ndarray:
    """Time of one call of each kernel by the kernel-time model [s]; NaN in a format that the GPU has no peak for."""
    table = pd.DataFrame([asdict(replace(kernel, model=None)) | {"bytes": kernel.bytes} for kernel in plan])
    result = np.full(len(table), np.nan)
    for (kind, dtype), rows in table.groupby(["operator_class", "dtype"]):
        if str(kind).startswith(("moe", "mla", "forward")):
            result[rows.index] = [_summed_time(plan[row], gpu) for row in rows.index]
        elif dtype in gpu.dense_tflops:
            result[rows.index] = _class_times(str(kind), str(dtype), rows, gpu)
    return result


def _summed_time(kernel: Kernel, gpu: GPU) -> float:
    """Time of a kernel, or of all that a forward pass runs, in 16 bit [s]; NaN where the GPU has no peak for that."""
    dtype = "bf16" if kernel.dtype == "fp8" else kernel.dtype
    if dtype not in gpu.dense_tflops:
        return float("nan")
    peak = gpu.peak_flop_rate(dtype)
    costs = kernel.pass_costs if kernel.model else [kernel.cost]
    return sum(float(times.operator_time(gpu, call, peak)) * call.calls for call in costs)


def _class_times(kind: str, dtype: str, rows: pd.DataFrame, gpu: GPU) -> np.ndarray:
    size = {name: rows[name].to_numpy(dtype=float) for name in (*SIZES, "bytes")}
    if kind == "elementwise":
        return np.asarray(elementwise.elementwise_seconds(kernel_fit(gpu, kind).fit, gpu, size["bytes"], 1))
    if kind == "gemm":
        return np.asarray(gemm_time(gpu, m=size["m"], n=size["n"], k=size["k"], dtype=dtype))
    if kind == "other":
        batch = size["batch_size"] * size["n_heads"]
        width = WIDTH[dtype]
        call = cost.gemm(size["m"], size["k"], size["n"], weight=width, activation=width, batch=batch, kernel="unfused")
        return np.asarray(times.operator_time(gpu, call, gpu.peak_flop_rate(dtype)))
    return np.asarray(
        attention_time(
            gpu, new_tokens=size["seq_len_q"], context=np.maximum(size["seq_len_kv"], size["seq_len_q"]), dtype=dtype,
            batch_size=size["batch_size"], n_heads=size["n_heads"], n_kv_heads=size["n_kv_heads"],
            head_dim=size["head_dim"],
        )
    )  # fmt: skip
