"""The explorer's controls as data: what each is called, where it is shown, and which fields of a view it stands for."""

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

from ..catalog.dtypes import WEIGHT_DTYPES, WIDTH
from ..catalog.engine_entries import engines
from ..catalog.gpu_entries import gpus
from ..catalog.loading import catalog_name, known_names
from ..catalog.model_entries import models
from ..common.errors import shown, unknown
from ..operators import OPERATORS, PHASES
from . import published_charts
from .pictures import at_setting
from .presets import PARTS, USE_CASES, use_case
from .view import Tab, View, grid

BATCH_SIZE_STOPS = [2**i for i in range(13)]
SEQ_LEN_STOPS = [2**i for i in range(4, 21)]
OPERATOR_SETS = {"fused": ["fused"], "unfused": ["unfused"], "chosen": []}
UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0}

Fields = dict[str, Any]
Kind = Literal["names", "choice", "number", "text", "slider", "range"]
#: A value of a control and the words for it; a number that may be left out is None or "".
Options = Sequence[tuple[Any, str]]

TABS: tuple[str, ...] = get_args(Tab)
ROOFLINE = ("roofline", "published")
SERVERS = ("server", "frontier", "plan")


class Control(NamedTuple):
    """One control; `read` turns its value into fields of a view, `write` a view into its value (None: it is hidden)."""

    label: str
    group: str
    kind: Kind
    read: Callable[[Any, View], Fields]
    write: Callable[[View], Any]
    tabs: Sequence[str] = TABS
    help: str = ""
    options: Options | Callable[[View], Options] = ()
    least: float | None = None
    most: float | None = None
    #: What a number counts, as a reader would say it: "tokens".
    unit: str = ""
    placeholder: str = ""


def make_controls() -> dict[str, Control]:
    """Every control by name, in the order of the page."""
    return {
        "tab": Control(
            "Tab", "", "choice", lambda value, view: {"tab": value}, lambda view: view.tab, (),
            options=[(name, name) for name in TABS],
        ),
        "preset": Control(
            "Use case", "Use case", "choice", _use_case, lambda view: view.preset or "", SERVERS,
            "Numbers to start from; each can be changed", [("", "your own"), *((n, c.title) for n, c in USE_CASES.items())],
        ),
        "figure": Control(
            "Published chart", "Published chart", "choice", lambda value, view: _published_view(value),
            lambda view: view.figure if view.figure in published_charts.chart_names() else "", ("published",),
            "A published chart, with what its source prints",
            lambda view: [("", "none"), *published_charts.chart_names().items()],
        ),
        "gpu": Control(
            "GPUs", "GPUs and models", "names", lambda value, view: {"gpu": _named("GPU", "gpus", value, view.cards)},
            lambda view: view.gpu, options=_entries("gpus", gpus()), placeholder="add a GPU",
        ),
        "tp": _number("tp", "GPUs and models", "GPUs that share every layer (tensor parallelism)", "GPUs", tabs=TABS, least=1, most=1024),
        "model": Control(
            "Models", "GPUs and models", "names", lambda value, view: _model_fields(value, view), lambda view: view.model,
            options=_entries("models", models()), placeholder="add a model",
        ),
        "prompt": _number("Prompt", "Request", "Tokens of a request's prompt", "tokens", at="setting.seq_len", least=1),
        "output": _number("Output", "Request", "Tokens that a request asks for", "tokens", at="setting.output", least=1),
        "batch": _number("Batch", "Request", "Requests at a time", "requests", at="setting.batch_size", least=1, tabs=("server",)),
        "cached_prefix": _number(
            "Cached prefix", "Request", "Tokens of every prompt that the cache has", "tokens", at="server.cached_prefix", least=0,
        ),
        "ttft": _duration("TTFT at most", "ttft", "Longest time to first token", "500 ms"),
        "tpot": _duration("TPOT at most", "tpot", "Longest time for each token after the first", "50 ms"),
        "rate": _number("Requests/s", "Goal", "Requests that arrive", "per second", at="goal.rate", tabs=("plan",), optional=True),
        "percentile": _number("Percentile", "Goal", "Percent of the requests that must keep each limit", "%", at="goal.percentile", tabs=("plan",), most=99.99),
        "considered": Control(
            "GPUs considered", "Goal", "choice", lambda value, view: {"goal": {"considered": value}}, lambda view: view.goal.considered, ("plan",),
            "Of which GPUs the plan is", [("view", "those chosen above"), ("priced", "all with a price of their own"), ("all", "all")],
        ),
        "set": Control(
            "Operators", "What runs", "choice", _operator_set, chosen_set, ("roofline",),
            options=[("fused", "fused: what engines run"), ("unfused", "unfused: the papers' matmuls"), ("chosen", "chosen")],
        ),
        "operator": Control(
            "Chosen operators", "What runs", "names", lambda value, view: {"operator": _operators(value), **_OWN_SERIES},
            lambda view: view.operator if chosen_set(view) == "chosen" else None, ("roofline",),
            options=[(name, "") for name in OPERATORS], placeholder="add an operator",
        ),
        "phase": Control(
            "Phase", "What runs", "choice", lambda value, view: {"phase": list(PHASES) if value == "both" else [value]},
            lambda view: "both" if len({*view.phase}) > 1 else view.phase[0], ("roofline", "measured"),
            options=[("both", "prefill and decode"), *((phase, phase) for phase in PHASES)],
        ),
        "candidates": Control(
            "Candidates", "What runs", "text", lambda value, view: {"candidates": _counts(value)},
            lambda view: ", ".join(map(str, view.candidates)), ("roofline",),
            "Tokens verified per sequence and decoding step (Medusa, speculative decoding)", placeholder="none; e.g. 1, 16, 64",
        ),
        "batch_size": _range("Batch sizes", "batch_size", BATCH_SIZE_STOPS, "sequences"),
        "seq_len": _range("Lengths", "seq_len", SEQ_LEN_STOPS, "tokens"),
        "at_batch_size": _one("Batch size", "batch_size", 0, "sequences"),
        "at_seq_len": _one("Length", "seq_len", 1, "tokens"),
        "weight_dtype": _format("Weights", "weight_dtype", WEIGHT_DTYPES),
        "activation_dtype": _format("Activations", "activation_dtype", WIDTH),
        "kv_dtype": _format("KV cache", "kv_dtype", WIDTH),
        "time_model": Control(
            "Time", "Times", "choice", lambda value, view: {"time_model": value}, lambda view: view.time_model,
            (*ROOFLINE, "measured"), options=[("ideal", "ideal: on the roof"), ("kernel", "kernel: as fitted")],
        ),
        "launch_latency_us": _number("Launch, µs", "Times", "Added to the time of every kernel call", "µs", least=0, most=999999, tabs=("roofline", *SERVERS, "measured")),
        "points": Control(
            "Points", "Times", "choice", lambda value, view: {"points": value}, lambda view: view.points, ("roofline",),
            options=[("operators", "operators"), ("steps", "whole steps")],
        ),
        "engine": Control(
            "Engine", "Server", "choice", lambda value, view: {"server": {"engine": value or None}},
            lambda view: view.server.engine or "", (*SERVERS, "measured"),
            options=[*((name, name) for name in engines()), ("", "none: kernels alone")],
        ),
        "pp": _number("pp", "Server", "Stages of a pipeline, each of tp x dp GPUs with some of the layers", "stages", at="server.pp", least=1, most=1024),
        "ep": _number("ep", "Server", "GPUs that the experts are spread over (expert parallelism)", "GPUs", at="server.ep", least=1, most=1024),
        "dp": _number("dp", "Server", "Groups of tp GPUs that share the sequences (attention data parallelism); empty: ep / tp", "groups", at="server.dp", least=1, most=1024, optional=True),
        "network_gbs": _number("Network, GB/s", "Server", "Between machines, of a GPU and direction (50 for 400 Gbit/s); empty: one machine", "GB/s", at="server.network_gbs", optional=True),
        "draft": Control(
            "Draft", "Server", "text", lambda value, view: {"server": {"draft": value.strip() or None}},
            lambda view: view.server.draft or "", SERVERS,
            "Speculative decoding: MODEL:DEPTH:ALPHA, mtp:DEPTH:ALPHA or medusa:CANDIDATES; ALPHA is the chance of a token",
            placeholder="none; e.g. llama-3.2-1b:4:0.7",
        ),
        "max_num_batched_tokens": _number("Tokens a step", "Server", "At most; empty: the engine's", "tokens", at="server.max_num_batched_tokens", least=1, optional=True),
        "max_num_seqs": _number("Sequences a step", "Server", "At most; empty: the engine's", "sequences", at="server.max_num_seqs", least=1, optional=True),
        "gpu_memory_utilization": _number("Memory share", "Server", "Share of the memory that the server may use; empty: the engine's", "", at="server.gpu_memory_utilization", most=1, optional=True),
        "price": Control(
            "Price per GPU-hour", "Server", "text", lambda value, view: {"server": {"price": _prices(value, view)}}, _price_words,
            SERVERS, "One for all, or of each GPU, as h100-sxm=2.5, l4=0.8; empty: costs are in GPU-hours", placeholder="e.g. 2.5, or l4=0.8",
        ),
        "server_time": Control(
            "Time", "Server", "choice", lambda value, view: {"server": {"time_model": value}}, lambda view: view.server.time_model, SERVERS,
            options=[("kernel", "kernel: as fitted"), ("ideal", "ideal: on the roof")],
        ),
    }  # fmt: skip


def describe(controls: dict[str, Control]) -> list[dict[str, Any]]:
    """What the page has to know of every control, whatever the view: plain JSON."""
    return [
        control._asdict() | {"name": name, "options": [] if callable(control.options) else list(control.options)}
        for name, control in ((name, control._replace(read=None, write=None)) for name, control in controls.items())  # type: ignore[arg-type]
    ]


def written(controls: dict[str, Control], view: View) -> dict[str, dict[str, Any]]:
    """The values of all controls in a view, and the options that depend on it."""
    return {
        "values": {name: control.write(view) for name, control in controls.items()},
        "options": {name: list(c.options(view)) for name, c in controls.items() if callable(c.options)},
    }


def read_control(control: Control, value: Any, view: View) -> Fields:
    """The fields that a value of a control stands for; ValueError in one line for what it cannot be."""
    options = control.options(view) if callable(control.options) else control.options
    match control.kind:
        case "choice":
            if value not in (known := [each for each, _ in options]):
                raise unknown(control.label.lower(), value, filter(None, known))
        case "names" if not (isinstance(value, list) and len(value) <= 100 and all(isinstance(each, str) for each in value)):
            raise ValueError(f"{control.label} = {shown(value)}: expected a list of names")
        case "text" if not (isinstance(value, str) and len(value) <= 200):
            raise ValueError(f"{control.label} = {shown(value)}: expected a text of at most 200 characters")
        case "number" | "slider" if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError(f"{control.label} = {shown(value)}: expected a number")
        case "range" if not (isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)):
            raise ValueError(f"{control.label} = {shown(value)}: expected the least and the greatest")
    return control.read(value, view)


# Kinds of controls ------------------------------------------------------------------------------------------------


def _number(
    label: str, group: str, about: str, unit: str, *, at: str = "", least: float | None = None, most: float | None = None,
    tabs: Sequence[str] = SERVERS, optional: bool = False,
) -> Control:  # fmt: skip
    """A number, at a place such as "server.pp"; without one, the field of its own label."""
    part, _, field = (at or {"Launch, µs": "launch_latency_us"}.get(label, label)).rpartition(".")

    def read(value: Any, view: View) -> Fields:
        kind = type(getattr(getattr(view, part) if part else view, field))
        if value is None and not optional:
            raise ValueError(f"{label} is empty: give a number")
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{label} = {value}: expected a number")
        if least is not None and value is not None and value < least:
            raise ValueError(f"{label} = {value:,}: at least {least:,}")
        if most is not None and value is not None and value > most:
            raise ValueError(f"{label} = {value:,}: at most {most:,}")
        whole = kind is int or field in WHOLE_NUMBERS
        if whole and value is not None and value != int(value):
            raise ValueError(f"{label} = {value:,}: expected a whole number")
        value = value if value is None else int(value) if whole else float(value)
        return {part: {field: value}} if part else {field: value}

    def write(view: View) -> Any:
        value = getattr(getattr(view, part) if part else view, field)
        return "" if value is None else value

    return Control(label, group, "number", read, write, tabs, about, (), least, most, unit)


#: Numbers that may be left out and are whole.
WHOLE_NUMBERS = {"dp", "max_num_batched_tokens", "max_num_seqs"}


def _duration(label: str, field: str, about: str, example: str) -> Control:
    """A limit of the service level, as a time in words."""
    return Control(
        label, "Goal", "text", lambda value, view: {"goal": {field: _seconds(label, value)}},
        lambda view: _in_words(getattr(view.goal, field)), SERVERS, about, placeholder=f"none; e.g. {example}",
    )  # fmt: skip


def _range(label: str, field: str, stops: list[int], unit: str) -> Control:
    """The ends of a list of sizes, whose own ends are stops as well."""

    def all_stops(view: View) -> list[int]:
        chosen = getattr(view, field)
        return sorted({*stops, min(chosen), max(chosen)})

    def read(value: Any, view: View) -> Fields:
        low, high = sorted(value)
        return {field: [stop for stop in all_stops(view) if low <= stop <= high]}

    return Control(
        label, "Sizes", "range", read, lambda view: [min(getattr(view, field)), max(getattr(view, field))], ("roofline",),
        options=lambda view: [(stop, _label(stop)) for stop in all_stops(view)], unit=unit,
    )  # fmt: skip


def _one(label: str, field: str, place: int, unit: str) -> Control:
    """The one setting, among the sizes of the view: what bars and tables are computed at."""
    return Control(
        label, "One setting", "slider", lambda value, view: {"setting": {field: value}},
        lambda view: getattr(view, field)[at_setting(view)[place]], ROOFLINE, "Of bars, tables and the ringed points",
        options=lambda view: [(size, _label(size)) for size in sorted({*getattr(view, field)})], unit=unit,
    )  # fmt: skip


def _format(label: str, field: str, formats: Sequence[str] | dict[str, Any]) -> Control:
    return Control(
        label, "Number formats", "choice", lambda value, view: {field: value or None}, lambda view: getattr(view, field) or "",
        options=[("", "as stored"), *((name, name) for name in formats)],
    )  # fmt: skip


# Values and fields ------------------------------------------------------------------------------------------------

#: A chart's own labels speak of its own operators.
_OWN_SERIES: Fields = {"series": {}, "figure": None}


def chosen_set(view: View) -> str:
    """The name of the set that a view's operators are."""
    return next((name for name, value in OPERATOR_SETS.items() if value == view.operator), "chosen")


def _operator_set(name: str, view: View) -> Fields:
    """The operators of a set; to choose from, those that there are now."""
    return {"operator": OPERATOR_SETS[name] or grid(view).operator.values.tolist(), **_OWN_SERIES}


def _operators(names: list[str]) -> list[str]:
    for name in names:
        if name not in OPERATORS:
            raise unknown("operator", name, OPERATORS)
    return [*dict.fromkeys(names)]


def _named(kind: str, folder: str, names: list[str], own: dict[str, Any]) -> list[str]:
    """Ids of the catalog, or the reader's own names, that names as people write them mean."""
    return [*dict.fromkeys(name if name in own else catalog_name(kind, name, folder) for name in names)]


def _model_fields(names: list[str], view: View) -> Fields:
    """The models, and the reader's own that are still used."""
    chosen = _named("model", "models", names, view.configs)
    used = {*chosen, *(pin.model for pin in view.pins)}
    return {"model": chosen, "configs": {name: config for name, config in view.configs.items() if name in used}}


def _entries(folder: str, ids: list[str]) -> Options:
    """Names of the catalog to choose from, each with what else it is called."""
    names = known_names(folder)
    return [(name, names[name][0] if names[name] else "") for name in ids]


def _use_case(name: str, view: View) -> Fields:
    """The fields of a use case; without one, only the name goes."""
    if not name:
        return {"preset": None}
    case = use_case(name)
    return {"preset": name} | {part: getattr(case, part) for part in PARTS}


def _published_view(figure: str) -> Fields:
    """All of a published chart's view, or of the first one; what is the reader's own stays."""
    chart = published_charts.chart_view(figure) if figure else View()
    return chart.model_dump(exclude={"pins", "configs", "cards", "tab", "goal", "server", "preset"})


def _label(value: int) -> str:
    """A size as sliders show it: 16K is 16,384."""
    return f"{value // 1024}K" if value >= 16384 and value % 1024 == 0 else f"{value:,}"


def _counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"candidates {text[:80]!r}: expected whole numbers, e.g. 1, 16, 64") from None


def _seconds(label: str, text: str) -> float | None:
    """A time in words, "500 ms" or "1.5 s"; empty is none."""
    if not text.strip():
        return None
    written = re.fullmatch(r"(\d{0,9}\.?\d{1,9}) ?(ms|s|min)", text.strip())
    if not written:
        raise ValueError(f"{label} {text[:80]!r}: expected a time with its unit, e.g. 40 ms or 1.5 s")
    return float(written[1]) * UNITS[written[2]]


def _in_words(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms"


def _prices(text: str, view: View) -> float | dict[str, float] | None:
    """Prices as people write them: one number, or GPU=PRICE of each."""
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        found = dict[str, float]()
    for part in text.split(","):
        name, _, value = (each.strip() for each in part.rpartition("="))
        try:
            found[name if name in view.cards else catalog_name("GPU", name, "gpus")] = float(value)
        except ValueError as error:
            if name and "float" not in str(error):
                raise
            raise ValueError(f"price {part.strip()[:80]!r}: expected a number, or GPU=PRICE, e.g. l4=0.8") from None
    return found


def _price_words(view: View) -> str:
    price = view.server.price
    return ", ".join(f"{gpu}={each:g}" for gpu, each in price.items()) if isinstance(price, dict) else f"{price or '':}"
