"""A view and its grid as one plain dict that the browser draws: series of numbers, colours, labels, tables.

Nothing is computed here but shares and scales of what the grid holds; the browser only places and formats it.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from ..common.errors import unknown
from ..kernels import attainable
from ..operators import OPERATORS
from ..servers import memory
from ..serving.text_tables import assumed_lines
from ..tables import Series
from . import published_charts
from .bounds import MAX_MARKERS
from .chart_looks import ROOF_COLORS, is_published, page_arrows, page_looks, page_ranges
from .choices import Pin, Settings
from .view import View, chosen_entries, chosen_gpus, drawn, pinned_numbers

#: Ten colours that colour-blind readers tell apart (Petroff 2021, arXiv 2107.02270), on light and on dark ground; the
#: last six are dark shades of the first, for models of more operators.
PAGE_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
    "#1d4a73", "#8a5a00", "#641000", "#4a5453", "#43175d", "#55362d",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "down")
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2 1 2", "1 3")

#: What the page knows of every point; bytes spare it and the server the parsing of thousands of decimals.
POINT_NUMBERS = ("intensity", "performance", "time", "attainable", "bound")

#: What a heat map shows: name, unit; the variables of a grid, and the share of the roof.
HEAT = {
    "time": ("time", "s"), "performance": ("performance", "FLOP/s"), "intensity": ("intensity", "FLOP/byte"),
    "roof": ("share of the roof", "%"), "flops": ("FLOPs", "FLOP"), "bytes": ("bytes", "byte"),
}  # fmt: skip
STEP = "whole step"

#: Of dims that bars, heat map and summary do not show.
FIRST = {"candidates": 0, "tp": 0}


def operator_color(name: str) -> str:
    """The colour of an operator, whatever else is on the chart."""
    names = [*OPERATORS]
    return PAGE_COLORS[(names.index(name) if name in names else len(names)) % len(PAGE_COLORS)]


def roofline_tab(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """The tab Roofline: chart, bars, heat map, tables, notes. `ds` is the view's grid."""
    steps = drawn(ds, "steps") if ds.attrs["forward_pass"] else None
    if view.points == "steps" and steps is None:
        raise ValueError("points of whole steps need the fused operators of a forward pass: choose the operators fused")
    if view.figure and published_charts.params_files() and view.figure not in published_charts.params_files():
        raise unknown("figure", view.figure, published_charts.params_files())
    shown = ds if view.points == "operators" or steps is None else steps
    return {
        "roofline": roofline_chart(view, shown), "bars": bars(view, ds), "heat": heat_map(view, ds, steps),
        "summary": step_summary(view, steps), "compare": compare_pins(view), "notes": notes(view, ds.attrs["assumed"]),
        "published": published_numbers(view),
    }  # fmt: skip


# The roofline chart -----------------------------------------------------------------------------------------------


def roofline_chart(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """Ceilings of every GPU, a group of points for each line of the legend, and published ranges behind them.

    `numbers` are the float64 of (group, `POINT_NUMBERS`, point), points by batch size, then by length.
    """
    groups = list(_groups(view, ds))
    ranges = page_ranges(view, groups)
    numbers = np.array([group.pop("numbers") for group in groups])
    limits = {
        axis: _decades(numbers[:, i] if groups else numbers, ds.variables[ceiling].values)
        for i, (axis, ceiling) in enumerate({"x": "ridge_point", "y": "peak_flop_rate"}.items())
    }
    return {
        "limits": limits, "ceilings": [_ceiling(view, ds, i, limits["x"]) for i in range(len(view.gpu))],
        "groups": groups, "numbers": numbers.tobytes(), "legend": _legend(view, groups), "ranges": ranges,
        "arrows": page_arrows(view),
        "what": "steps" if view.points == "steps" else "operators",
    }  # fmt: skip


def _groups(view: View, ds: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Points of one GPU, model, operator, phase and candidate count each, over batch sizes and lengths."""
    operators = ds.operator.values.tolist() if "operator" in ds.dims else [None]
    counts: list[Any] = list(view.candidates) or [None]
    columns = {name: ds.variables[name] for name in POINT_NUMBERS}
    markers, looks = 0, page_looks(view)
    for label, selection in _series(view, operators).items():
        allowed = {
            "gpu": view.gpu,
            "model": view.model,
            "operator": operators,
            "phase": view.phase,
            "candidates": counts,
        }
        for way in product(*(_within(selection, key, values) for key, values in allowed.items())):
            at = dict(zip(allowed, way, strict=True))
            index = {key: allowed[key].index(value) for key, value in at.items() if value is not None}
            numbers = np.array([_cut(column, index).ravel() for column in columns.values()])
            if np.isnan(numbers[1, 0]):
                continue  # the model has no such operator
            if (markers := markers + numbers.shape[1]) > MAX_MARKERS:
                raise ValueError(f"over {MAX_MARKERS:,} points in all series: narrow the ranges or take fewer series")
            place = SHAPES[(index["gpu"] * len(view.model) + index["model"]) % len(SHAPES)]
            color, marker = looks.get(label, (PAGE_COLORS[index.get("operator", 0) % len(PAGE_COLORS)], place))
            yield {
                "label": label, "at": {key: value for key, value in at.items() if value is not None},
                "color": color, "hollow": not view.series and at["phase"] == "decode",
                "marker": place if len(view.gpu) * len(view.model) > 1 else marker, "numbers": numbers,
            }  # fmt: skip


def _cut(variable: xr.Variable, index: Mapping[str, int]) -> np.ndarray:
    """A variable at those positions, over the dims that are left."""
    cut: np.ndarray = variable[{dim: i for dim, i in index.items() if dim in variable.dims}].values
    return cut


def _series(view: View, operators: list[Any]) -> Series:
    if view.series:
        return view.series
    return {f"{operator or STEP} {phase}": _of(operator, phase) for operator in operators for phase in view.phase}


def _of(operator: str | None, phase: str) -> dict[str, Any]:
    return {"phase": phase} | ({"operator": operator} if operator else {})


def _within(selection: Mapping[str, Any], key: str, values: list[Any]) -> list[Any]:
    return [value for value in values if value is None or _allowed(selection, key, value)]


def _allowed(selection: Mapping[str, Any], key: str, value: Any) -> bool:
    wanted = selection.get(key, value)
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


def _decades(values: np.ndarray, ceilings: np.ndarray) -> list[float]:
    """Whole decades around values, with the ceilings a little below the end."""
    high = np.max(values, initial=1.2 * np.nanmax(ceilings))
    return [10.0 ** np.floor(np.log10(np.min(values, initial=high / 10))), 10.0 ** np.ceil(np.log10(high))]


def _ceiling(view: View, ds: xr.Dataset, number: int, limits: list[float]) -> dict[str, Any]:
    """The corners of a GPU's roof, a line for each format that its operators compute in; colours where it has any."""
    bandwidth = float(ds.variables["bandwidth"].values[number])
    peaks = np.unique(_cut(ds.variables["peak_flop_rate"], {"gpu": number}))
    ridges = peaks / bandwidth
    lines = []
    for peak, ridge in zip(peaks, ridges, strict=True):
        x = np.array([limits[0] / 10, ridge, limits[1] * 10])
        lines.append(np.column_stack([x, attainable(x, peak, bandwidth)]).tolist())
    return {
        "gpu": str(ds.gpu.values[number]), "dash": DASHES[number % len(DASHES)], "bandwidth": bandwidth,
        "peaks": peaks.tolist(), "ridges": ridges.tolist(), "lines": lines,
        "colors": ROOF_COLORS if is_published(view) and len(view.gpu) == 1 else None,
    }  # fmt: skip


def _legend(view: View, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Colours first (operators, or the chart's series), then fill (phase), then shape (GPU and model)."""
    rows: dict[str, dict[str, Any]] = {}
    for group in groups:
        name = group["label"] if view.series else group["at"].get("operator", STEP)
        shape = group["marker"] if len(view.gpu) * len(view.model) == 1 else "circle"
        rows.setdefault(f"c{name}", {"label": name, "color": group["color"], "marker": shape, "hollow": False})
    if not view.series and len(view.phase) > 1:
        for phase in view.phase:
            rows[f"p{phase}"] = {"label": phase, "color": "", "marker": "circle", "hollow": phase == "decode"}
    if len(view.gpu) * len(view.model) > 1:
        for group in groups:
            label = " · ".join(name for name, all_ in _several(view, group["at"]) if all_)
            rows[f"g{label}"] = {"label": label, "color": "", "marker": group["marker"], "hollow": False}
    return list(rows.values())


def _several(view: View, at: Mapping[str, Any]) -> list[tuple[str, bool]]:
    return [(at["gpu"], len(view.gpu) > 1), (at["model"], len(view.model) > 1)]


# Bars, heat map ---------------------------------------------------------------------------------------------------


def nearest(values: list[int], wanted: int) -> int:
    """The position of the value nearest to the wanted one, by ratio [1]."""
    return int(np.argmin(np.abs(np.log(np.array(values, float) / wanted))))


def at_setting(view: View) -> tuple[int, int]:
    """The positions of the one setting's batch size and tokens on the view's lists."""
    return nearest(view.batch_size, view.setting.batch_size), nearest(view.seq_len, view.setting.seq_len)


def bars(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """Time by operator at one setting, a bar for each GPU, model and phase: seconds, and their share of the sum."""
    b, s = at_setting(view)
    one = (ds.variables["time"] * ds.variables["calls"]).transpose("gpu", "model", "phase", "operator", ...)
    time = _cut(one, {"batch_size": b, "seq_len": s, **FIRST})
    operators, calls = ds.operator.values.tolist(), _cut(ds.variables["calls"], FIRST)
    rows = []
    for (g, gpu), (m, model), (p, phase) in product(*map(enumerate, (view.gpu, view.model, view.phase))):
        total = float(time[g, m, p].sum())
        parts = [
            {
                "operator": operator, "time": float(time[g, m, p, o]), "share": float(time[g, m, p, o] / total),
                "color": PAGE_COLORS[o % len(PAGE_COLORS)],
            }
            for o, operator in enumerate(operators) if calls[m, o]
        ]  # fmt: skip
        rows.append({"gpu": gpu, "model": model, "phase": phase, "total": total, "parts": parts})
    return {
        "setting": {"batch_size": view.batch_size[b], "seq_len": view.seq_len[s]}, "rows": rows,
        "whole": bool(ds.attrs["forward_pass"]), "candidates": view.candidates[0] if view.candidates else None,
    }  # fmt: skip


def heat_map(view: View, ds: xr.Dataset, steps: xr.Dataset | None) -> dict[str, Any]:
    """A variable over batch size and length, and what limits each cell."""
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
        values = 100 * _cut(source.variables["performance"], own) / _cut(source.variables["attainable"], own)
    else:
        values = _cut(source.variables[chosen["variable"]], own)
    bound = _cut(source.variables["bound"], own)
    label, unit = HEAT[chosen["variable"]]
    return {
        "chosen": chosen, "choices": choices, "label": label, "unit": unit,
        "values": [[None if value != value else value for value in row] for row in values.tolist()],
        "bound": bound.astype(int).tolist(), "batch_size": view.batch_size, "seq_len": view.seq_len, "whole": whole,
    }  # fmt: skip


# Tables -----------------------------------------------------------------------------------------------------------


def step_summary(view: View, steps: xr.Dataset | None) -> list[dict[str, Any]]:
    """A row for each GPU, model and phase at the one setting: time, FLOPs, bytes, intensity, rate of a whole step."""
    if steps is None:
        return []
    b, s = at_setting(view)
    names = ("time", "performance", "intensity", "flops", "bytes")
    rows = []
    for (g, gpu), (m, model), (p, phase) in product(*map(enumerate, (view.gpu, view.model, view.phase))):
        index = {"gpu": g, "model": m, "phase": p, "batch_size": b, "seq_len": s, **FIRST}
        values = {name: _cut(steps.variables[name], index).item() for name in names}
        rows.append({"gpu": gpu, "model": model, "phase": phase} | values)
    return rows


def compare_pins(view: View) -> list[dict[str, Any]]:
    """A row for each pinned point: its setting, its numbers, and the settings that differ from the defaults."""
    rows = []
    for pin in view.pins:
        numbers = pinned_numbers(pin, view.configs)
        own = pin.model_dump(include=set(Settings.model_fields), exclude_defaults=True)
        rows.append(
            {"at": _at(pin), "settings": ", ".join(f"{key} {value}" for key, value in own.items())}
            | {key: numbers[key] for key in ("intensity", "performance", "time", "bound")}
            | {"roof": numbers["attainable"]}
        )
    return rows


def _at(pin: Pin) -> dict[str, Any]:
    point = pin.model_dump(exclude=set(Settings.model_fields), exclude_none=True)
    return point if pin.operator else point | {"operator": STEP}


def published_numbers(view: View) -> dict[str, Any] | None:
    """The audit rows of the chart that the view is of, by the document that they are from and by verdict."""
    if view.figure is None or not is_published(view):
        return None
    return {
        "name": published_charts.chart_names()[view.figure],
        "caption": f"Caption of figures/{view.figure}.svg: {published_charts.chart_params(view.figure)['caption']}",
        "sources": published_charts.audit_by_source(view.figure),
    }


def notes(view: View, assumed: str) -> list[str]:
    """What a reader should know of these settings, in a sentence each."""
    found = [
        f"{model.id} was published for {model.max_context:,} tokens: longer lengths are computed as if it took them."
        for model in chosen_entries(view) if model.max_context and model.max_context < max(view.seq_len)
    ]  # fmt: skip
    if view.tp > 1:
        found.append(f"All is per GPU: each of {view.tp} runs its part of every layer (tensor parallelism).")
    for text in (assumed, *map(memory.memory_assumed, chosen_gpus(view))):
        found += assumed_lines(text)
    if view.peak_tflops is not None:
        found.append(f"The roof is drawn at {view.peak_tflops:g} TFLOP/s, as the published chart prints it.")
    if view.candidates and len(view.candidates) > 1:
        found.append(f"Bars, heat map and summary are of the first number of candidates, {view.candidates[0]}.")
    return found
