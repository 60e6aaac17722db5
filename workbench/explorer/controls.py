"""The explorer's controls: ipywidgets, each of which reads and writes its own fields of a view."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ipywidgets as w

from ..catalog.dtypes import WEIGHT_DTYPES, WIDTH
from ..catalog.engine_entries import engines
from ..catalog.gpu_entries import gpus
from ..catalog.model_entries import models
from ..files.reading import parse_json
from ..operators import OPERATORS, PHASES
from . import published_charts
from .bounds import MAX_TEXT, check_json
from .pictures import nearest
from .view import View

BATCH_SIZE_STOPS = [2**i for i in range(13)]
SEQ_LEN_STOPS = [2**i for i in range(4, 21)]
OPERATOR_SETS = {"fused (what engines run)": ["fused"], "unfused (the papers' matmuls)": ["unfused"], "chosen": []}

Fields = dict[str, Any]


class Control(NamedTuple):
    """A widget, the fields that its value stands for, and the value that stands for a view's fields."""

    widget: Any
    read: Callable[[Any], Fields]
    write: Callable[[View], Any]


def make_controls() -> dict[str, Control]:
    """Every control by name, in the order of the page."""
    plain: dict[str, Any] = {"layout": w.Layout(width="auto"), "style": {"description_width": "84px"}}
    return {
        "figure": Control(
            w.Dropdown(
                options=[("none", ""), *((name, figure) for figure, name in published_charts.chart_names().items())],
                description="Published", tooltip="A published chart, with what its source prints", **plain,
            ),
            _published_view, lambda view: view.figure if view.figure in published_charts.chart_names() else "",
        ),
        "gpu": Control(_tags(gpus(), "add a GPU"), lambda value: {"gpu": value}, lambda view: view.gpu),
        "tp": Control(
            w.BoundedIntText(min=1, max=1024, description="tp", **plain,
                             tooltip="GPUs that share every layer (tensor parallelism)"),
            lambda value: {"tp": value}, lambda view: view.tp,
        ),
        "model": Control(_tags(models(), "add a model"), lambda value: {"model": value}, lambda view: view.model),
        "set": Control(
            w.Dropdown(options=list(OPERATOR_SETS), description="Operators", **plain),
            lambda name: {"operator": OPERATOR_SETS[name], **_OWN_SERIES}, chosen_set,
        ),
        "operator": Control(
            _tags(list(OPERATORS), "add an operator"), lambda value: {"operator": value, **_OWN_SERIES},
            lambda view: [] if chosen_set(view) != "chosen" else view.operator,
        ),
        "phase": Control(
            w.Dropdown(
                options={"prefill and decode": PHASES, **{p: (p,) for p in PHASES}}, description="Phase", **plain
            ),
            lambda value: {"phase": list(value)}, lambda view: tuple(sorted(set(view.phase), key=PHASES.index)),
        ),
        "batch_size": Control(
            _range(BATCH_SIZE_STOPS, "Batch size"), lambda ends: {"batch_size": _between(BATCH_SIZE_STOPS, ends)},
            lambda view: _ends(BATCH_SIZE_STOPS, view.batch_size),
        ),
        "seq_len": Control(
            _range(SEQ_LEN_STOPS, "Length"), lambda ends: {"seq_len": _between(SEQ_LEN_STOPS, ends)},
            lambda view: _ends(SEQ_LEN_STOPS, view.seq_len),
        ),
        "candidates": Control(
            w.Text(placeholder="none; e.g. 1, 16, 64", continuous_update=False, description="Candidates",
                   tooltip="Tokens verified per sequence and decoding step (Medusa, speculative decoding)", **plain),
            lambda text: {"candidates": _counts(text)}, lambda view: ", ".join(map(str, view.candidates)),
        ),
        "weight_dtype": Control(
            w.Dropdown(options={"as stored": "", **{d: d for d in WEIGHT_DTYPES}}, description="Weights", **plain),
            lambda value: {"weight_dtype": value or None}, lambda view: view.weight_dtype or "",
        ),
        "activation_dtype": Control(
            w.Dropdown(options={"as stored": "", **{d: d for d in WIDTH}}, description="Activations", **plain),
            lambda value: {"activation_dtype": value or None}, lambda view: view.activation_dtype or "",
        ),
        "kv_dtype": Control(
            w.Dropdown(options={"as stored": "", **{d: d for d in WIDTH}}, description="KV cache", **plain),
            lambda value: {"kv_dtype": value or None}, lambda view: view.kv_dtype or "",
        ),
        "time_model": Control(
            w.Dropdown(
                options={"ideal: on the roof": "ideal", "kernel: as fitted": "kernel"}, description="Time", **plain
            ),
            lambda value: {"time_model": value}, lambda view: view.time_model,
        ),
        "launch_latency_us": Control(
            w.BoundedFloatText(min=0, max=999999, description="Launch, us", **plain,
                               tooltip="Added to the time of every kernel call"),
            lambda value: {"launch_latency_us": float(value)}, lambda view: view.launch_latency_us,
        ),
        "points": Control(
            w.Dropdown(options={"operators": "operators", "whole steps": "steps"}, description="Points", **plain),
            lambda value: {"points": value}, lambda view: view.points,
        ),
        "at_batch_size": Control(
            _one(BATCH_SIZE_STOPS, "Batch size"), lambda value: {"setting": {"batch_size": value}},
            lambda view: _near(BATCH_SIZE_STOPS, view.setting.batch_size),
        ),
        "at_seq_len": Control(
            _one(SEQ_LEN_STOPS, "Length"), lambda value: {"setting": {"seq_len": value}},
            lambda view: _near(SEQ_LEN_STOPS, view.setting.seq_len),
        ),
        "ep": _of_server("ep", "GPUs that the experts are spread over (expert parallelism)", least=1),
        "dp": _of_server("dp", "Groups of tp GPUs that share the sequences (attention data parallelism); 0: ep / tp"),
        "pp": _of_server("pp", "Stages of a pipeline, each of tp x dp GPUs with some of the layers", least=1),
        "network_gbs": Control(
            w.BoundedFloatText(min=0, max=1e6, description="Net, GB/s", **plain,
                               tooltip="Between machines, of a GPU and direction (50 for 400 Gbit/s); 0: one machine"),
            lambda value: {"server": {"network_gbs": float(value) or None}},
            lambda view: view.server.network_gbs or 0.0,
        ),
        "engine": Control(
            w.Dropdown(options={**{name: name for name in engines()}, "none: kernels alone": ""},
                       description="Engine", **plain),
            lambda value: {"server": {"engine": value or None}}, lambda view: view.server.engine or "",
        ),
    }  # fmt: skip


def _of_server(name: str, tooltip: str, least: int = 0) -> Control:
    """A number of GPUs of the server; 0, where it may be, is None."""
    return Control(
        w.BoundedIntText(min=least, max=1024, description=name, tooltip=tooltip, layout=w.Layout(width="auto"),
                         style={"description_width": "84px"}),
        lambda value: {"server": {name: value or None}}, lambda view: getattr(view.server, name) or 0,
    )  # fmt: skip


#: A chart's own labels speak of its own operators.
_OWN_SERIES: Fields = {"series": {}, "figure": None}


def chosen_set(view: View) -> str:
    """The name of the set that a view's operators are."""
    return next((name for name, value in OPERATOR_SETS.items() if value == view.operator), "chosen")


def _published_view(figure: str) -> Fields:
    """All of a published chart's view, or of the first one; pinned points stay, to be compared."""
    return (published_charts.chart_view(figure) if figure else View()).model_dump(exclude={"pins", "configs"})


def _tags(allowed: list[str], placeholder: str) -> Any:
    return w.TagsInput(
        allowed_tags=allowed, allow_duplicates=False, placeholder=f"{placeholder}: type to search",
        layout=w.Layout(width="auto"),
    )  # fmt: skip


def _range(values: list[int], description: str) -> Any:
    return w.SelectionRangeSlider(
        options=[(_label(value), value) for value in values], description=description, layout=w.Layout(width="auto"),
        style={"description_width": "84px"},
    )  # fmt: skip


def _one(values: list[int], description: str) -> Any:
    return w.SelectionSlider(
        options=[(_label(value), value) for value in values], description=description, layout=w.Layout(width="auto"),
        style={"description_width": "84px"},
    )  # fmt: skip


def _label(value: int) -> str:
    """A size as sliders show it: 16K is 16,384."""
    return f"{value // 1024}K" if value >= 16384 else f"{value:,}"


def _between(values: list[int], ends: tuple[int, int]) -> list[int]:
    return [value for value in values if ends[0] <= value <= ends[1]]


def _near(values: list[int], wanted: int) -> int:
    return values[nearest(values, wanted)]


def _ends(values: list[int], chosen: list[int]) -> tuple[int, int]:
    return _near(values, min(chosen)), _near(values, max(chosen))


def _counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"candidates {text[:80]!r}: expected whole numbers, e.g. 1, 16, 64") from None


def read_json(text: str, what: str) -> Fields:
    """A JSON object that the reader uploaded or pasted; anything else raises ValueError in one line."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{what}: {len(text):,} characters: a page takes {MAX_TEXT:,}")
    found = parse_json(text, what)
    check_json(found, what)
    if not isinstance(found, dict):
        raise ValueError(f"{what}: expected a JSON object, found {type(found).__name__}")
    return found
