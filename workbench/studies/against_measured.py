"""Predictions beside the project's own measurements: operators one by one, and whole forward passes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..catalog import Model
from ..catalog import model as find_model
from ..common.arguments import as_list
from ..common.variables import attributes
from ..grid.dataset import forward_pass, roofline_grid
from ..operators import OPERATORS, PHASES, Conventions, Widths, decode, prefill
from ..signatures import typed
from ..tables import measured

#: The cards that were measured, by the name that their driver gives them.
CARDS = {"NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA H200": "h200-sxm"}
#: What the forward passes of a format computed in: GEMMs but the LM head in fp8, everything else in 16 bit.
PASS_FORMATS: dict[str, dict[str, Any]] = {
    "bf16": {"weight_dtype": "bf16", "activation_dtype": "bf16", "kv_dtype": "bf16"},
    "fp8": {"weight_dtype": "fp8", "activation_dtype": "fp8", "kv_dtype": "bf16", "lm_head_dtype": "bf16"},
}
PASS_FILES = ("forward-h100", "forward-fp8-h100")
PASS = ["gpu", "model", "dtype", "phase", "batch_size", "seq_len"]


def forward_passes(engine: str | None = None) -> pd.DataFrame:
    """Whole forward passes that were measured as replays of CUDA graphs, and what both time models predict.

    Parameters
    ----------
    engine : str, optional
        Whose kernels are predicted, as for `roofline_grid`; they were measured in PyTorch.

    Returns
    -------
    pd.DataFrame
        A row a pass: gpu, model, dtype ("bf16"; "fp8": GEMMs but the LM head), phase, batch_size, seq_len (the prompt,
        or the cache of decode) [token]; time_s, ideal_s and kernel_s, measured and predicted [s].
    """
    table = pd.concat([measured(name) for name in PASS_FILES], ignore_index=True)
    table = table[table.phase.isin(PHASES)].replace({"gpu": CARDS}).reset_index(drop=True)
    for time_model in ("ideal", "kernel"):
        times = [_pass_times(rows, time_model, engine) for _, rows in table.groupby(["gpu", "model", "dtype"])]
        table[f"{time_model}_s"] = pd.concat(times)
    return table[[*PASS, "time_s", "ideal_s", "kernel_s"]]


def _pass_times(rows: pd.DataFrame, time_model: str, engine: str | None) -> pd.Series:
    """Predicted times of the passes of one GPU, model and format [s]."""
    gpu, model, dtype = rows[["gpu", "model", "dtype"]].iloc[0]
    sizes: dict[str, Any] = {name: np.unique(rows[name]) for name in ("batch_size", "seq_len")}
    ds = roofline_grid(gpu, model, "fused", **sizes, **PASS_FORMATS[dtype], time_model=time_model, engine=engine)
    settings = {name: xr.DataArray(rows[name], dims="row") for name in ("phase", *sizes)}
    return pd.Series(forward_pass(ds).time.squeeze(["gpu", "model"]).sel(settings).values, rows.index)


@typed(table=(*PASS, "time_s", "ideal_s", "kernel_s"))
def pass_errors(table: pd.DataFrame) -> pd.DataFrame:
    """How far off predicted forward passes are.

    Parameters
    ----------
    table : pd.DataFrame
        From `forward_passes`.

    Returns
    -------
    pd.DataFrame
        A row a format and phase: passes [1]; ideal, error and bias [%], the mean absolute error of the ideal roofline,
        and the mean absolute and the mean error of the kernel-time model.
    """
    off = 100 * (table.kernel_s / table.time_s - 1)
    errors = table[["dtype", "phase"]].assign(
        passes=1, ideal=100 * (table.ideal_s / table.time_s - 1).abs(), error=off.abs(), bias=off
    )  # fmt: skip
    means = dict.fromkeys(("ideal", "error", "bias"), "mean")
    found = errors.groupby(["dtype", "phase"], as_index=False).agg({"passes": "sum", **means})
    return found.rename(columns={name: f"{name} [%]" for name in means})


@typed()
def operator_times(
    files: Mapping[str, Mapping[str, str]],
    model: str | Model,
    operator: list[str],
    phase: str | list[str],
    batch_size: list[int],
    seq_len: list[int],
    *,
    candidates: list[int] | None = None,
    engine: str | None = None,
) -> xr.Dataset:
    """Operators as they were measured, on a grid of what both time models predict.

    Parameters
    ----------
    files : mapping of str to mapping
        By GPU: file, the measurement (`wb.measurements`), and dtype, the 16-bit format that counts.
    model, operator, phase, batch_size, seq_len, candidates, engine
        As for `roofline_grid`.

    Returns
    -------
    xr.Dataset
        The grid of the kernel-time model, with the measured times in `measured_time` [s], NaN where there is none, and
        the ideal ones in `ideal_time` [s]; `performance` is the measured one [FLOP/s].

    Raises
    ------
    ValueError
        For what `roofline_grid` refuses, and a file that has no timing of these operators.
    """
    if not files:
        raise ValueError("files is empty: give a measurement by GPU")
    phases = as_list("phase", phase)
    parts = []
    for gpu, source in files.items():
        if set(source) != {"file", "dtype"}:
            raise ValueError(f"files of {gpu} = {dict(source)!r}: expected a mapping of file and dtype")
        formats: dict[str, Any] = {f"{role}_dtype": source["dtype"] for role in ("weight", "activation", "kv")}
        sizes: dict[str, Any] = {"phase": phases, "batch_size": batch_size, "seq_len": seq_len}
        ds, ideal = (
            roofline_grid(
                gpu, model, operator, **sizes, candidates=candidates, **formats, time_model=name, engine=engine
            )
            for name in ("kernel", "ideal")
        )
        ds = ds.drop_vars("fit")  # whose flags each GPU numbers for itself
        times = _measured_times(source["file"], source["dtype"], find_model(model), ds)
        parts.append(ds.assign(measured_time=times, ideal_time=ideal.time, performance=ds.flops / times))
    ds = xr.concat(parts, "gpu", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override")
    dims = {dim: ds[dim] for dim in parts[0].dims}
    ds = xr.Dataset(coords=dims, attrs=ds.attrs).assign(ds.data_vars)  # the dims in a grid's order
    ds.attrs["assumed"] = "; ".join(filter(None, (part.assumed for part in parts)))
    for name in ("measured_time", "ideal_time"):
        ds[name].attrs = attributes(name)
    ds.performance.attrs = attributes("performance")
    return ds


SIZES_OF_A_PRODUCT = ["kernel", "m", "n", "k", "products"]


def _measured_times(file: str, dtype: str, model: Model, ds: xr.Dataset) -> xr.DataArray:
    """Times of a grid's operators in a file [s], NaN where it has none: a kernel is found by its sizes."""
    table = measured(file)
    table = table[(table["dtype"] == dtype) & table.operator_class.isin(["gemm", "other"])]
    unfused = table.operator_class == "other"
    table = table.assign(
        kernel=table.name.str.split(":").str[1].where(unfused, "gemm"),
        products=(table.batch_size * table.n_heads).where(unfused, 1),
    )
    known = table.groupby(SIZES_OF_A_PRODUCT).time_s.median()
    parts = [
        xr.concat(
            [_looked_up(known, str(operator), model, str(phase), ds) for operator in ds.operator.values], "operator"
        )
        for phase in ds.phase.values
    ]
    times: xr.DataArray = xr.concat(parts, "phase").assign_coords(operator=ds.operator, phase=ds.phase)
    if times.isnull().all():
        raise ValueError(f"file {file!r} has no timing in {dtype} of {', '.join(ds.operator.values)} of {model.id}")
    return times.expand_dims({"gpu": ds.gpu, "model": ds.model}).transpose(*ds.dims)


def _looked_up(known: pd.Series, operator: str, model: Model, phase: str, ds: xr.Dataset) -> xr.DataArray:
    """Times of one operator in one phase [s]."""
    axes: list[Any] = [ds[name] for name in ("batch_size", "seq_len", "candidates") if name in ds.dims]
    b, s, *q = axes
    step = prefill(b, s) if phase == "prefill" else decode(b, s, candidates=q[0] if q else 1)
    cost = OPERATORS[operator](model, step, Widths(), Conventions())
    if cost is None:
        raise ValueError(f"operator {operator!r}: {model.id} has none")
    sizes = xr.broadcast(*axes, *map(xr.DataArray, (cost.m, cost.n, cost.k, cost.batch)))[len(axes) :]
    kernel = "gemm" if cost.kernel == "gemm" else operator
    asked = pd.MultiIndex.from_arrays([[kernel] * sizes[0].size, *(size.values.ravel() for size in sizes)])
    times: xr.DataArray = sizes[0].copy(data=known.reindex(asked).to_numpy().reshape(sizes[0].shape))
    return times
