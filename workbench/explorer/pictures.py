"""A view and its grid as one plain dict that the browser draws: series of numbers, colours, labels, tables.

Nothing is computed here but shares and scales of what the grid holds; the browser only places and formats it.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from ..common.errors import unknown
from ..servers import memory
from ..serving.text_tables import assumed_lines
from ..tables import Series
from . import published_charts
from .bounds import MAX_MARKERS
from .chart_looks import ROOF_COLORS, is_published, mixed, operator_color, page_arrows, page_looks, page_ranges
from .choices import Pin, Settings
from .fitting import memory_short
from .step_pictures import STEP, bars, cut, heat_map, operator_rows, spread, step_summary
from .view import View, chosen_entries, chosen_gpus, drawn, pinned_numbers

#: Markers of pairs of a GPU and a model; from the thirteenth on the colour differs, too.
SHAPES = (
    "circle", "square", "triangle", "diamond", "cross", "down", "star", "x", "right", "left", "hourglass", "bowtie",
)  # fmt: skip
DASHES = ("", "7 4", "2 3", "10 3 2 3", "4 2 1 2", "1 3")

#: What the page knows of every point; bytes spare it and the server the parsing of thousands of decimals.
POINT_NUMBERS = ("intensity", "performance", "time", "attainable", "bound")


def roofline_tab(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """The tab Roofline: chart, bars, heat map, tables, notes. `ds` is the view's grid."""
    steps = drawn(ds, "steps") if ds.attrs["forward_pass"] else None
    if view.points == "steps" and steps is None:
        raise ValueError("points of whole steps need the fused operators of a forward pass: choose the operators fused")
    if view.figure and published_charts.params_files() and view.figure not in published_charts.params_files():
        raise unknown("figure", view.figure, published_charts.params_files())
    shown = ds if view.points == "operators" or steps is None else steps
    at, short = at_setting(view), memory_short(view)
    return {
        "roofline": roofline_chart(view, shown, short), "bars": bars(view, ds, at, short),
        "heat": heat_map(view, ds, steps, short), "operators": operator_rows(view, ds, at, short),
        "summary": step_summary(view, steps, at), "compare": compare_pins(view),
        "notes": notes(view, ds.attrs["assumed"]), "published": published_numbers(view),
    }  # fmt: skip


# The roofline chart -----------------------------------------------------------------------------------------------


def roofline_chart(view: View, ds: xr.Dataset, short: np.ndarray) -> dict[str, Any]:
    """Ceilings of every GPU, a group of points for each line of the legend, and published ranges behind them.

    `numbers` are the float64 of (group, `POINT_NUMBERS`, point), points by batch size, then by length; `unfit` is a
    byte a point, 1 where memory is too small (`short`, by GPU and model); `focus` is the point of the one setting.
    """
    groups = list(_groups(view, ds))
    ranges = page_ranges(view, groups)
    numbers = np.array([group.pop("numbers") for group in groups])
    limits = {
        axis: decades(numbers[:, i] if groups else numbers, ds.variables[ceiling].values)
        for i, (axis, ceiling) in enumerate({"x": "ridge_point", "y": "peak_flop_rate"}.items())
    }
    unfit = [short[view.gpu.index(group["at"]["gpu"]), view.model.index(group["at"]["model"])] for group in groups]
    b, s = at_setting(view)
    colors = ROOF_COLORS if is_published(view) and len(view.gpu) == 1 else None
    return {
        "limits": limits, "ceilings": [ceiling(ds, i, colors) for i in range(len(view.gpu))],
        "legend": _legend(view, groups), "groups": groups, "numbers": numbers.tobytes(),
        "unfit": np.array(unfit, dtype=np.uint8).tobytes(), "focus": b * len(view.seq_len) + s, "ranges": ranges,
        "arrows": page_arrows(view), "named": bool(view.series),
        "what": "steps" if view.points == "steps" else "operators",
    }  # fmt: skip


def _groups(view: View, ds: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Points of one GPU, model, operator, phase and candidate count each, over batch sizes and lengths."""
    operators = ds.operator.values.tolist() if "operator" in ds.dims else [None]
    counts: list[Any] = list(view.candidates) or [None]
    allowed = {"gpu": view.gpu, "model": view.model, "operator": operators, "phase": view.phase, "candidates": counts}
    dims = {dim: ds.sizes[dim] for dim in (*allowed, "batch_size", "seq_len") if dim in ds.dims}
    columns = np.stack([spread(ds.variables[name], dims) for name in POINT_NUMBERS])
    markers, looks = 0, page_looks(view)
    for label, selection in _series(view, operators).items():
        for way in product(*(_within(selection, key, values) for key, values in allowed.items())):
            at = dict(zip(allowed, way, strict=True))
            index = {key: allowed[key].index(value) for key, value in at.items() if value is not None}
            numbers = columns[(slice(None), *index.values())].reshape(len(POINT_NUMBERS), -1)
            if np.isnan(numbers[1, 0]):
                continue  # the model has no such operator
            if (markers := markers + numbers.shape[1]) > MAX_MARKERS:
                raise ValueError(f"over {MAX_MARKERS:,} points in all series: narrow the ranges or take fewer series")
            pair = index["gpu"] * len(view.model) + index["model"]
            place = SHAPES[pair % len(SHAPES)]
            color, marker = looks.get(label, (_cycled(operator_color(at["operator"]), pair), place))
            yield {
                "label": label, "at": {key: value for key, value in at.items() if value is not None},
                "color": color, "hollow": not view.series and at["phase"] == "decode",
                "marker": place if len(view.gpu) * len(view.model) > 1 else marker, "numbers": numbers,
            }  # fmt: skip


def _cycled(color: str, pair: int) -> str:
    """A colour for the pair of a GPU and a model of that number, once there are no new markers."""
    cycle = pair // len(SHAPES)
    return mixed(color, "#000000" if cycle % 2 else "#ffffff", 0.4) if cycle else color


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


def decades(values: np.ndarray, ceilings: np.ndarray) -> list[float]:
    """Whole decades around values, with the ceilings a little below the end."""
    high = np.nanmax(values, initial=1.2 * np.nanmax(ceilings))
    return [10.0 ** np.floor(np.log10(np.nanmin(values, initial=high / 10))), 10.0 ** np.ceil(np.log10(high))]


def ceiling(ds: xr.Dataset, number: int, colors: list[str] | None = None) -> dict[str, Any]:
    """A GPU's roof: bandwidth [byte/s]; a peak [FLOP/s] and a ridge for each format that its operators compute in."""
    bandwidth = float(ds.variables["bandwidth"].values[number])
    peaks = np.unique(cut(ds.variables["peak_flop_rate"], {"gpu": number}))
    peaks = peaks[np.isfinite(peaks)]
    return {
        "gpu": str(ds.gpu.values[number]), "dash": DASHES[number % len(DASHES)], "bandwidth": bandwidth,
        "peaks": peaks.tolist(), "ridges": (peaks / bandwidth).tolist(),
        "colors": colors,
    }  # fmt: skip


def _legend(view: View, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Colours first (operators, or the chart's series), then fill (phase), then shape (GPU and model).

    Every group gets `rows`, the ids of the rows that it belongs to.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {"c": {}, "p": {}, "g": {}}
    single = len(view.gpu) * len(view.model) == 1
    for group in groups:
        at, marker = group["at"], group["marker"]
        name = group["label"] if view.series else at.get("operator", STEP)
        looks = {"c": (name, group["color"], marker if single else "circle", False)}
        if not view.series and len(view.phase) > 1:
            looks["p"] = (at["phase"], "", "circle", at["phase"] == "decode")
        if not single:
            pair = view.gpu.index(at["gpu"]) * len(view.model) + view.model.index(at["model"])
            several = [(at["gpu"], len(view.gpu) > 1), (at["model"], len(view.model) > 1)]
            label = " · ".join(each for each, shown in several if shown)
            looks["g"] = (label, _cycled("#808080", pair) if pair >= len(SHAPES) else "", marker, False)
        group["rows"] = [f"{kind}{words}" for kind, (words, *_) in looks.items()]
        for kind, (words, color, shape, hollow) in looks.items():
            row = {"id": f"{kind}{words}", "label": words, "color": color, "marker": shape, "hollow": hollow}
            rows[kind].setdefault(words, row)
    return [row for kind in rows.values() for row in kind.values()]


def nearest(values: list[int], wanted: int) -> int:
    """The position of the value nearest to the wanted one, by ratio [1]."""
    return int(np.argmin(np.abs(np.log(np.array(values, float) / wanted))))


def at_setting(view: View) -> tuple[int, int]:
    """The positions of the one setting's batch size and tokens on the view's lists."""
    return nearest(view.batch_size, view.setting.batch_size), nearest(view.seq_len, view.setting.seq_len)


# Pins, notes -------------------------------------------------------------------------------------------------------


def compare_pins(view: View) -> list[dict[str, Any]]:
    """A row for each pinned point: its setting, its numbers, and the settings that differ from the defaults."""
    rows = []
    for pin in view.pins:
        numbers = pinned_numbers(pin, view)
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
