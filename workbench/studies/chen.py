"""Chen's study: what batching does to a kernel's time and throughput, ideal beside the kernel-time model.

Lequn Chen 2023, "Dissecting Batching Effects in GPT Inference" (le.qun.ch): dense layers share their weights over the
sequences of a batch, attention shares nothing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..catalog.gpu_entries import GPU
from ..catalog.model_entries import Model
from ..common.arguments import as_list, whole_numbers
from ..common.variables import stamp
from ..grid.dataset import roofline_grid
from ..kernels import TIME_MODELS
from ..operators.cost import PHASES
from ..signatures import typed


def batching_effects(
    gpu: str | GPU,
    model: str | Model,
    operator: str | Iterable[str],
    *,
    phase: str | Iterable[str] = PHASES,
    batch_size: Iterable[int],
    seq_len: int | Iterable[int],
    launch_latency: float = 0.0,
) -> xr.Dataset:
    """Time the kernels of one GPU by both time models, and say what a batch gains.

    Parameters
    ----------
    gpu, model : str, or GPU and Model
        Catalog id, or an entry; one of each.
    operator : str or iterable of str
        Names of operators.
    phase : str or iterable of str, default both
        "prefill", "decode".
    batch_size : iterable of int
        Batch sizes, two or more [1].
    seq_len : int or iterable of int
        Sequence lengths [token].
    launch_latency : float, default 0
        Added to every call, as by an eager framework [s]; only the kernel-time model has it.

    Returns
    -------
    xarray.Dataset
        Dims time_model ("ideal", "kernel"), operator, phase, batch_size, seq_len. time per call [s]; tokens_per_second
        through that kernel [1/s]; relative_time, over that of the smallest batch [1]; share of the time of all these
        operators' calls [%]; and `ridge_batch_size` [1], without the dims time_model and batch_size.

    Raises
    ------
    ValueError
        For whatever `roofline_grid` refuses.

    References
    ----------
    Lequn Chen 2023, "Dissecting Batching Effects in GPT Inference", le.qun.ch.
    """
    operators, phases, lengths = (
        as_list("operator", operator),
        as_list("phase", phase),
        whole_numbers("seq_len", seq_len),
    )
    sizes: dict[str, Any] = {"phase": phases, "batch_size": np.sort(whole_numbers("batch_size", batch_size))}
    sizes["seq_len"] = lengths
    ideal = roofline_grid(gpu, model, operators, **sizes)
    kernel = roofline_grid(gpu, model, operators, **sizes, time_model="kernel", launch_latency=launch_latency)
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


@typed(ds=("batch_size", "flops", "bytes", "ridge_point"))
def ridge_batch_size(ds: xr.Dataset) -> xr.DataArray:
    """Batch size at which a kernel's intensity is that of the ridge point: B = R w / (f - R a).

    Parameters
    ----------
    ds : xarray.Dataset
        A grid with at least two batch sizes: flops [FLOP], bytes [byte], ridge_point R [FLOP/byte].

    Returns
    -------
    xarray.DataArray
        Not rounded [1], with the dims of `ds` but batch_size. Infinite where no batch gets there (attention in decode:
        f < R a); 0 where every batch is beyond it.

    Notes
    -----
    FLOPs f B and bytes w + a B are linear in the batch B, with w the weights, which all sequences share.
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
