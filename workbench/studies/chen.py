"""What batching does to a kernel: its time and throughput against batch size, ideal beside the kernel-time model.

Chen 2023, "Dissecting Batching Effects in GPT Inference" (le.qun.ch): dense layers share their weights over the
sequences of a batch, attention shares nothing.
"""

from collections.abc import Iterable

import pandas as pd
import xarray as xr

from ..catalog.gpu_entries import GPU
from ..catalog.model_entries import Model
from ..common.variables import stamp
from ..grid.dataset import roofline_grid
from ..kernels.times import TIME_MODELS
from ..operators.cost import PHASES


def batching(
    gpu: str | GPU,
    model: str | Model,
    operator: str | Iterable[str],
    *,
    phase: str | Iterable[str] = PHASES,
    batch_size: Iterable[int],
    seq_len: int | Iterable[int],
    launch_latency: float = 0.0,
) -> xr.Dataset:
    """Times of one GPU's kernels by both time models, and what a batch gains.

    gpu, model : one of each; operator : names; phase, batch_size [1], seq_len [token] : as for `roofline_grid`
    launch_latency : of an eager framework, what every call takes besides [s]; in "kernel" only, the roof knows none

    Returns a Dataset with dims time_model ("ideal", "kernel"), operator, phase, batch_size, seq_len: time [s] per call;
    tokens_per_second [1/s] through that kernel; relative_time, over that of the smallest batch [1]; share of the time
    of all these operators' calls [%]; and ridge_batch_size (see there) [1] by operator, phase and seq_len.
    """
    operators = [operator] if isinstance(operator, str) else list(operator)
    sizes = {"phase": phase, "batch_size": sorted(batch_size), "seq_len": seq_len}
    ideal = roofline_grid(gpu, model, operators, **sizes)  # type: ignore[arg-type]
    kernel = roofline_grid(
        gpu, model, operators, **sizes, time_model="kernel", launch_latency=launch_latency  # type: ignore[arg-type]
    )  # fmt: skip
    ideal, kernel = (ds.isel(gpu=0, model=0, drop=True) for ds in (ideal, kernel))
    ds = xr.Dataset({"time": xr.concat([ideal.time, kernel.time], pd.Index(TIME_MODELS, name="time_model"))})
    new_tokens = ds.seq_len.where(ds.phase == "prefill", 1)
    ds["tokens_per_second"] = ds.batch_size * new_tokens / ds.time
    ds["relative_time"] = ds.time / ds.time.isel(batch_size=0)
    spent = ds.time * ideal.calls
    ds["share"] = 100 * spent / spent.sum("operator")
    ds["ridge_batch_size"] = ridge_batch_size(ideal)
    dims = ("time_model", "operator", "phase", "batch_size", "seq_len")
    ds.attrs = kernel.attrs | {"title": "Kernel times against batch size"}
    return stamp(ds.transpose(*dims))


def ridge_batch_size(ds: xr.Dataset) -> xr.DataArray:
    """Batch size, not rounded, at which a kernel's intensity is the ridge point's: B = R w / (f - R a) [1].

    ds : a grid with two batch sizes or more: flops, bytes [FLOP, byte], ridge_point R [FLOP/byte]

    FLOPs f B and bytes w + a B are linear in the batch B, with w the weights, which all sequences share. Infinite where
    no batch gets there (attention in decode: f < R a); 0 where every batch is beyond it.
    """
    first, last = ds.isel(batch_size=0), ds.isel(batch_size=-1)
    step = last.batch_size - first.batch_size
    flops = (last.flops - first.flops) / step
    moved = (last.bytes - first.bytes) / step
    weights = first.bytes - moved * first.batch_size
    left = flops - ds.ridge_point * moved
    batch = ds.ridge_point * weights.where(weights > 1e-9 * first.bytes, 0) / left.where(left > 0)
    finite: xr.DataArray = batch.fillna(float("inf"))
    return finite.drop_vars("batch_size", errors="ignore")
