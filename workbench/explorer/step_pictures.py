"""Bars, heat map and tables of one setting: which operator takes how long, what limits it, what a GPU changes."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from ..common.variables import LIMITS
from .chart_looks import operator_color
from .view import View

STEP = "whole step"

#: Of dims that bars, heat map and tables do not show.
FIRST = {"candidates": 0, "tp": 0}

#: What a heat map shows: name, unit; the variables of a grid, and the share of the roof.
HEAT = {
    "time": ("time", "s"), "performance": ("performance", "FLOP/s"), "intensity": ("intensity", "FLOP/byte"),
    "roof": ("share of the roof", "%"), "flops": ("FLOPs", "FLOP"), "bytes": ("bytes", "byte"),
}  # fmt: skip

#: Of an operator in the table: the variables of a grid that each call has.
CALL = ("flops", "bytes", "intensity", "time", "performance", "attainable", "bound")


def cut(variable: xr.Variable, index: Mapping[str, int]) -> np.ndarray:
    """A variable at those positions, over the dims that are left."""
    found: np.ndarray = variable[{dim: i for dim, i in index.items() if dim in variable.dims}].values
    return found


def spread(variable: xr.Variable, dims: Mapping[str, int]) -> np.ndarray:
    """A variable over those dims, in their order, with the first of each of its others."""
    one = variable[{dim: 0 for dim in variable.dims if dim not in dims}]
    found: np.ndarray = one.set_dims(dict(dims)).values  # type: ignore[no-untyped-call]
    return found


def at_one(view: View, ds: xr.Dataset, names: tuple[str, ...], at: tuple[int, int]) -> dict[str, np.ndarray]:
    """Variables at the one setting: by GPU, model and phase, and by operator where there are any."""
    index = {"batch_size": at[0], "seq_len": at[1]}
    dims = {dim: ds.sizes[dim] for dim in ("gpu", "model", "phase", "operator") if dim in ds.dims}
    found = {}
    for name in names:
        variable = ds.variables[name]
        found[name] = spread(variable[{dim: i for dim, i in index.items() if dim in variable.dims}], dims)
    return found


def _places(view: View) -> Iterator[tuple[tuple[int, int, int], dict[str, str]]]:
    for (g, gpu), (m, model), (p, phase) in product(*map(enumerate, (view.gpu, view.model, view.phase))):
        yield (g, m, p), {"gpu": gpu, "model": model, "phase": phase}


def bars(view: View, ds: xr.Dataset, at: tuple[int, int], short: np.ndarray) -> dict[str, Any]:
    """Time by operator at one setting, a bar for each GPU, model and phase: seconds, and their share of the sum."""
    found = at_one(view, ds, ("time", "calls"), at)
    time, calls = found["time"] * found["calls"], found["calls"]
    operators = ds.operator.values.tolist()
    rows = []
    for place, names in _places(view):
        total = float(time[place].sum())
        parts = [
            {
                "operator": operator, "time": float(time[place][o]), "share": float(time[place][o] / total),
                "color": operator_color(operator),
            }
            for o, operator in enumerate(operators) if calls[place][o]
        ]  # fmt: skip
        rows.append(names | {"total": total, "parts": parts, "unfit": bool(short[(*place[:2], *at)])})
    return {
        "setting": {"batch_size": view.batch_size[at[0]], "seq_len": view.seq_len[at[1]]}, "rows": rows,
        "whole": bool(ds.attrs["forward_pass"]), "candidates": view.candidates[0] if view.candidates else None,
    }  # fmt: skip


def operator_rows(view: View, ds: xr.Dataset, at: tuple[int, int], short: np.ndarray) -> dict[str, Any]:
    """A row for each operator, phase, GPU and model at one setting, and what limits the steps that they make up.

    In `rows`, per call: flops [FLOP], bytes [byte], intensity [FLOP/byte], time [s], attainable [FLOP/s], bound, and
    `other`, the time on the other GPU of the view that takes the shortest, `other_gpu`, None without another; calls in
    a step, share of its time, and roof, the share of the roof that it reaches [1].
    In `steps`, a row a GPU, model and phase: total [s], `other` and `other_gpu` as above, and by limit the operators
    and their share of the time [1].
    """
    found = at_one(view, ds, (*CALL, "calls"), at)
    spent = found["time"] * found["calls"]
    totals = np.nansum(spent, axis=-1)
    rows, steps = [], []
    for place, names in _places(view):
        bounds: dict[str, dict[str, Any]] = {}
        for o, operator in enumerate(ds.operator.values.tolist()):
            one = (*place, o)
            if not found["calls"][one]:
                continue
            values = {name: float(found[name][one]) for name in CALL}
            share = float(spent[one] / totals[place])
            rows.append(
                {"operator": operator} | names | values
                | {"calls": float(found["calls"][one]), "share": share, "color": operator_color(operator)}
                | {"roof": values["performance"] / values["attainable"], "unfit": bool(short[(*place[:2], *at)])}
                | _other(view, found["time"][..., o], place)
            )  # fmt: skip
            limit = bounds.setdefault(LIMITS[int(values["bound"])], {"operators": [], "share": 0.0})
            limit["operators"].append(operator)
            limit["share"] += share
        steps.append(names | {"total": float(totals[place]), "bounds": bounds} | _other(view, totals, place))
    return {"rows": rows, "steps": steps, "whole": bool(ds.attrs["forward_pass"])}


def _other(view: View, times: np.ndarray, place: tuple[int, int, int]) -> dict[str, Any]:
    """The shortest of the times on the view's other GPUs [s], and on which."""
    g, m, p = place
    others = [i for i in range(len(view.gpu)) if i != g and np.isfinite(times[i, m, p])]
    if not others:
        return {"other": None, "other_gpu": None}
    best = min(others, key=lambda i: times[i, m, p])
    return {"other": float(times[best, m, p]), "other_gpu": view.gpu[best]}


def heat_map(view: View, ds: xr.Dataset, steps: xr.Dataset | None, short: np.ndarray) -> dict[str, Any]:
    """A variable over batch size and length, what limits each cell, and whether memory is too small for it."""
    operators = [*([STEP] if steps is not None else []), *(str(name) for name in ds.operator.values)]
    choices = {
        "variable": list(HEAT), "gpu": view.gpu, "model": view.model, "operator": operators, "phase": view.phase,
    }  # fmt: skip
    wanted = view.heat.model_dump()
    chosen = {key: wanted[key] if wanted[key] in allowed else allowed[0] for key, allowed in choices.items()}
    index = {key: choices[key].index(chosen[key]) for key in ("gpu", "model", "phase")} | FIRST
    whole = steps is not None and chosen["operator"] == STEP
    source = steps if steps is not None and whole else ds
    own = index if whole else index | {"operator": operators.index(chosen["operator"]) - (steps is not None)}
    if chosen["variable"] == "roof":
        values = 100 * cut(source.variables["performance"], own) / cut(source.variables["attainable"], own)
    else:
        values = cut(source.variables[chosen["variable"]], own)
    bound = cut(source.variables["bound"], own)
    label, unit = HEAT[chosen["variable"]]
    return {
        "chosen": chosen, "choices": choices, "label": label, "unit": unit,
        "values": [[None if value != value else value for value in row] for row in values.tolist()],
        "bound": bound.astype(int).tolist(), "batch_size": view.batch_size, "seq_len": view.seq_len, "whole": whole,
        "unfit": short[index["gpu"], index["model"]].astype(int).tolist(),
    }  # fmt: skip


def step_summary(view: View, steps: xr.Dataset | None, at: tuple[int, int]) -> list[dict[str, Any]]:
    """A row for each GPU, model and phase at the one setting: time, FLOPs, bytes, intensity, rate of a whole step."""
    if steps is None:
        return []
    found = at_one(view, steps, ("time", "performance", "intensity", "flops", "bytes"), at)
    return [names | {name: float(values[place]) for name, values in found.items()} for place, names in _places(view)]
