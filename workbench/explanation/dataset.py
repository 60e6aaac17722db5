"""Assigned kernels as a grid: its dims and variables, with what was measured beside what is predicted."""

from math import prod
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..catalog import GPU
from ..common.arguments import LEAST, check_range
from ..common.machine import check_memory
from ..common.variables import ABSENT, LIMITS, LINK, MEMORY, flags, labelled
from ..kernels import attainable, bound
from ..operators import COLLECTIVES, OPERATORS
from .assignment import WHOLE_PASS
from .rows import KEYS
from .work import ANY, WORK_COLUMNS

#: Dims that every explanation has, as a grid; the others of `KEYS` only with several labels.
ALWAYS = KEYS[:6]
#: The order of labels that have one.
PHASE_ORDER = ("prefill", "decode", ANY)


def explained_grid(rows: pd.DataFrame, cards: dict[str, GPU], l2_bandwidth: float | None) -> xr.Dataset:
    """Assigned calls as a grid: a cell for each operator and setting, NaN where nothing was measured."""
    several = [name for name in KEYS if name in ALWAYS or rows[name].nunique(dropna=False) > 1]
    means = rows.assign(**{name: rows[name] * rows.calls for name in WORK_COLUMNS})
    means["known"] = rows.calls.where(rows.bytes.notna())
    cells = means.groupby(several, sort=False, dropna=False)
    total = cells[[*WORK_COLUMNS, "time_s", "calls", "kernels", "known"]].sum(min_count=1)
    values = {name: total[name] / total.known for name in WORK_COLUMNS}
    values |= {"measured_time": total.time_s / total.calls, "measured_calls": total.calls, "kernels": total.kernels}
    counted = cells.dram_bytes.sum(min_count=1) / total.calls
    if counted.notna().any():
        values["measured_bytes"] = counted
    coords = {name: _labels(name, rows[name]) for name in several}
    shape = tuple(len(labels) for labels in coords.values())
    check_memory(f"an explanation of {prod(shape):,} cells", 8.0 * 15 * prod(shape), "explain fewer models at once")
    at = [total.index.get_level_values(i) for i in range(len(several))]
    places = tuple(pd.Index(coords[name]).get_indexer(each) for name, each in zip(several, at, strict=True))
    dense = {}
    for name, series in values.items():
        dense[name] = np.full(shape, np.nan)
        dense[name][places] = series.to_numpy(dtype=float)
    peak = _peaks(rows, coords)
    bandwidth = np.array([cards[name].bandwidth for name in coords["gpu"]])
    return _labelled(dense, coords, peak, bandwidth, l2_bandwidth, _calls(rows, coords))


def _calls(rows: pd.DataFrame, coords: dict[str, list[Any]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Calls per forward pass [1], 0 where a model was not measured to run an operator; their dims."""
    dims = tuple(dim for dim in ("model", "operator", "tp") if dim in coords)
    full = pd.MultiIndex.from_product([coords[dim] for dim in dims])
    calls = rows.groupby([*dims]).per_pass.first().reindex(full).fillna(0.0)
    return dims, calls.to_numpy(dtype=float).reshape([len(coords[dim]) for dim in dims])


def _labelled(
    dense: dict[str, np.ndarray], coords: dict[str, list[Any]], peak: tuple[tuple[str, ...], np.ndarray],
    bandwidth: np.ndarray, l2_bandwidth: float | None, calls: tuple[tuple[str, ...], np.ndarray],
) -> xr.Dataset:  # fmt: skip
    """The variables of a grid out of what was measured and predicted in each cell."""
    dims = tuple(coords)
    peak_dims, peaks = peak
    wide = peaks.reshape([len(coords[dim]) if dim in peak_dims else 1 for dim in dims])
    rate = bandwidth.reshape(-1, *[1] * (len(dims) - 1))
    intensity = dense["flops"] / dense["bytes"]
    with np.errstate(invalid="ignore"):  # of cells where nothing was measured
        roof = attainable(intensity, wide, rate)
        limit = np.where(np.isnan(intensity), ABSENT, bound(intensity, wide / rate)).astype(np.int8)
    limit[np.isnan(dense["flops"]) & ~np.isnan(dense["bytes"])] = MEMORY  # elementwise kernels, whatever their FLOPs
    linked = [name in COLLECTIVES for name in coords["operator"]]
    limit[:, :, linked] = np.where(np.isnan(dense["measured_time"][:, :, linked]), ABSENT, LINK)
    variables: dict[str, tuple[tuple[str, ...], Any]] = {
        "flops": (dims, dense["flops"]), "bytes": (dims, dense["bytes"]), "calls": calls,
        "intensity": (dims, intensity),
        "peak_flop_rate": (peak_dims, peaks), "bandwidth": (("gpu",), bandwidth),
        "ridge_point": (peak_dims, (peaks.T / bandwidth).T), "attainable": (dims, roof),
        "time": (dims, dense["time"]), "measured_time": (dims, dense["measured_time"]),
        "ideal_time": (dims, dense["ideal_time"]), "performance": (dims, dense["flops"] / dense["measured_time"]),
        "bound": (dims, limit), "measured_calls": (dims, dense["measured_calls"]), "kernels": (dims, dense["kernels"]),
    }  # fmt: skip
    if "measured_bytes" in dense:
        variables["measured_bytes"] = (dims, dense["measured_bytes"])
        variables["measured_intensity"] = (dims, dense["flops"] / dense["measured_bytes"])
    if l2_bandwidth is not None:
        speed = check_range("l2_bandwidth", l2_bandwidth, low=LEAST, high=1e18)
        variables["l2_bandwidth"] = (("gpu",), np.full(len(bandwidth), speed))
    ds = labelled(variables, coords, {})
    ds.bound.attrs |= flags({ABSENT: "absent"} | {each: LIMITS[each] for each in LIMITS if each <= LINK})
    ds.time.attrs["long_name"] = "time per kernel call, predicted"
    ds.performance.attrs["long_name"] = "performance, FLOPs over measured time"
    return ds


def _peaks(rows: pd.DataFrame, coords: dict[str, list[Any]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Peak rates [FLOP/s] by gpu, and by operator and format where they differ; their dims."""
    dims = ("gpu", "operator", "dtype") if "dtype" in coords else ("gpu", "operator")
    peak = rows.dropna(subset="peak_flop_rate").groupby([*dims]).peak_flop_rate.first()
    full = pd.MultiIndex.from_product([coords[dim] for dim in dims])
    given = peak.reindex(full)
    for few in (["gpu", "dtype"], ["gpu"]):  # where an operator was not measured in a format: that of the others
        if given.isna().any() and set(few) <= set(dims):
            same = peak.groupby(few).first().rename("same").reset_index()
            at = full.to_frame(index=False, name=[*dims]).merge(same, how="left", on=few)["same"]
            given = given.fillna(pd.Series(at.to_numpy(), full))
    values = given.to_numpy().reshape([len(coords[dim]) for dim in dims])
    if (values == values[:, :1]).all():
        return tuple(dim for dim in dims if dim != "operator"), values[:, 0]
    return dims, values


def pass_of(ds: xr.Dataset, has: list[str]) -> str:
    """The operators of a whole forward pass, as `grid.forward_pass` wants them; "" where some were not measured."""
    whole = {name for name in has if OPERATORS[name].view != "unfused" and OPERATORS[name].within not in has}
    seen = {str(name) for name in ds.operator.values}
    return " ".join(ds.operator.values) if whole <= seen | {OPERATORS[n].within for n in seen & {*OPERATORS}} else ""


def _labels(name: str, values: pd.Series) -> list[Any]:
    """Labels of a dim: operators in the order of the forward pass, sizes as whole numbers, names as they come."""
    seen = list(dict.fromkeys(values))
    if name in ("batch_size", "seq_len", "candidates", "tp"):
        return sorted({int(value) for value in seen})
    orders = {"operator": (*OPERATORS, *COLLECTIVES, WHOLE_PASS), "phase": PHASE_ORDER}
    return [each for each in orders[name] if each in seen] if name in orders else seen
