"""The explorer's controls as data: what each is called, where it is shown, and which fields of a view it stands for."""

from typing import Any

from ..catalog.dtypes import WEIGHT_DTYPES, WIDTH
from ..catalog.engine_entries import engines
from ..catalog.gpu_entries import gpus
from ..catalog.loading import known_names
from ..catalog.model_entries import models
from ..common.arguments import checked_names
from ..operators import OPERATORS, PHASES
from . import published_charts
from .control_kinds import (
    COMPUTED,
    DEPLOYED,
    SERVERS,
    TABS,
    Control,
    Fields,
    Options,
    counts,
    duration,
    named,
    number_format,
    numeric,
    one_size,
    price_words,
    prices,
    size_range,
)
from .presets import PARTS_SET, USE_CASES, use_case
from .view import View, grid

BATCH_SIZE_STOPS = [2**i for i in range(13)]
SEQ_LEN_STOPS = [2**i for i in range(4, 21)]
OPERATOR_SETS = {"fused": ["fused"], "unfused": ["unfused"], "chosen": []}
#: Times of a grid, and of a server.
TIME_CHOICES = [("ideal", "ideal: on the roof"), ("kernel", "kernel: as fitted")]


def make_controls() -> dict[str, Control]:
    """Every control by name, in the order of the page; `tab` is in no group, as the page has tabs for it."""
    return {
        "tab": Control(
            "Tab", "", "choice", lambda value, view: {"tab": value}, lambda view: view.tab, (),
            options=[(name, name) for name in TABS],
        ),
        **_what(), **_asked(), **_on_grid(), **_formats_and_times(), **_deployed(),
    }  # fmt: skip


def _what() -> dict[str, Control]:
    """What is compared: a use case or a published chart to start from, GPUs, models."""
    return {
        "preset": Control(
            "Use case", "Use case", "choice", _use_case, lambda view: view.preset or "", SERVERS,
            "Numbers to start from; each can be changed",
            [("", "your own"), *((name, case.title) for name, case in USE_CASES.items())],
        ),
        "figure": Control(
            "Chart", "Published chart", "choice", lambda value, view: _published_view(value),
            lambda view: view.figure if view.figure in published_charts.chart_names() else "", ("published",),
            "A published chart, with what its source prints",
            lambda view: [("", "none"), *published_charts.chart_names().items()],
        ),
        "gpu": Control(
            "GPUs", "GPUs and models", "names", lambda value, view: {"gpu": named("GPU", "gpus", value, view.cards)},
            lambda view: view.gpu, COMPUTED, options=_entries("gpus", gpus()), placeholder="add a GPU",
        ),
        "tp": numeric(
            "tp", "GPUs and models", "GPUs that share every layer (tensor parallelism)", "tp", "GPUs", least=1,
            most=1024, tabs=COMPUTED,
        ),
        "model": Control(
            "Models", "GPUs and models", "names", _model_fields, lambda view: view.model, COMPUTED,
            options=_entries("models", models()), placeholder="add a model",
        ),
    }  # fmt: skip


def _asked() -> dict[str, Control]:
    """What a request is, and what its reader waits for."""
    request, goal = "Request", "Goal"
    return {
        "prompt": numeric("Prompt", request, "Tokens of a request's prompt", "setting.seq_len", "tokens", least=1),
        "output": numeric("Output", request, "Tokens that a request asks for", "setting.output", "tokens", least=1),
        "batch": numeric(
            "Batch", request, "Requests at a time", "setting.batch_size", "requests", least=1, tabs=("server",)
        ),
        "cached_prefix": numeric(
            "Cached prefix", request, "Tokens of every prompt that the cache has", "server.cached_prefix", "tokens",
            least=0, tabs=DEPLOYED,
        ),
        "ttft": duration("TTFT at most", "ttft", "Longest time to first token", "500 ms"),
        "tpot": duration("TPOT at most", "tpot", "Longest time for each token after the first", "50 ms"),
        "rate": numeric(
            "Requests/s", goal, "Requests that arrive", "goal.rate", "per second", least=0, tabs=("plan",),
            optional=True,
        ),
        "percentile": numeric(
            "Percentile", goal, "Percent of the requests that must keep each limit", "goal.percentile", "%", least=0.01,
            most=99.99, tabs=("plan",),
        ),
        "considered": Control(
            "GPUs considered", goal, "choice", lambda value, view: {"goal": {"considered": value}},
            lambda view: view.goal.considered, ("plan",), "Of which GPUs the plan is",
            [("view", "those chosen above"), ("priced", "all with a price of their own"), ("all", "all")],
        ),
    }  # fmt: skip


def _on_grid() -> dict[str, Control]:
    """Which operators run, over which sizes."""
    return {
        "set": Control(
            "Operators", "What runs", "choice", _operator_set, chosen_set, ("roofline",),
            options=[("fused", "fused: what engines run"), ("unfused", "unfused: the papers'"), ("chosen", "chosen")],
        ),
        "operator": Control(
            "Chosen operators", "What runs", "names",
            lambda value, view: {"operator": checked_names("operator", value, OPERATORS), **_OWN_SERIES},
            lambda view: view.operator if chosen_set(view) == "chosen" else None, ("roofline",),
            options=[(name, "") for name in OPERATORS], placeholder="add an operator",
        ),
        "phase": Control(
            "Phase", "What runs", "choice",
            lambda value, view: {"phase": list(PHASES) if value == "both" else [value]},
            lambda view: "both" if len({*view.phase}) > 1 else view.phase[0], ("roofline",),
            options=[("both", "prefill and decode"), *((phase, phase) for phase in PHASES)],
        ),
        "candidates": Control(
            "Candidates", "What runs", "text", lambda value, view: {"candidates": counts("candidates", value)},
            lambda view: ", ".join(map(str, view.candidates)), ("roofline",),
            "Tokens verified per sequence and decoding step (Medusa, speculative decoding)",
            placeholder="none; e.g. 1, 16, 64",
        ),
        "batch_size": size_range("Batch sizes", "batch_size", BATCH_SIZE_STOPS, "sequences"),
        "seq_len": size_range("Lengths", "seq_len", SEQ_LEN_STOPS, "tokens"),
        "at_batch_size": one_size("Batch size", "batch_size", 0, "sequences"),
        "at_seq_len": one_size("Length", "seq_len", 1, "tokens"),
    }  # fmt: skip


def _formats_and_times() -> dict[str, Control]:
    return {
        "weight_dtype": number_format("Weights", "weight_dtype", WEIGHT_DTYPES),
        "activation_dtype": number_format("Activations", "activation_dtype", [*WIDTH]),
        "kv_dtype": number_format("KV cache", "kv_dtype", [*WIDTH]),
        "time_model": Control(
            "Time", "Times", "choice", lambda value, view: {"time_model": value}, lambda view: view.time_model,
            ("roofline",), options=TIME_CHOICES,
        ),
        "server_time": Control(
            "Time", "Times", "choice", lambda value, view: {"server": {"time_model": value}},
            lambda view: view.server.time_model, SERVERS, options=TIME_CHOICES,
        ),
        "launch_latency_us": numeric(
            "Launch", "Times", "Added to the time of every kernel call", "launch_latency_us", "µs", least=0,
            most=999999, tabs=("roofline", *SERVERS),
        ),
        "points": Control(
            "Points", "Times", "choice", lambda value, view: {"points": value}, lambda view: view.points, ("roofline",),
            options=[("operators", "operators"), ("steps", "whole steps")],
        ),
    }  # fmt: skip


def _deployed() -> dict[str, Control]:
    """How the server is deployed, besides tp."""
    group = "Deployment"
    return {
        "engine": Control(
            "Engine", group, "choice", lambda value, view: {"server": {"engine": value or None}},
            lambda view: view.server.engine or "", DEPLOYED, "Whose kernels and host",
            [*((name, name) for name in engines()), ("", "none: kernels alone")],
        ),
        "pp": numeric(
            "pp", group, "Stages of a pipeline, each of tp x dp GPUs with some of the layers", "server.pp", "stages",
            least=1, most=1024, tabs=DEPLOYED,
        ),
        "ep": numeric(
            "ep", group, "GPUs that the experts are spread over (expert parallelism)", "server.ep", "GPUs", least=1,
            most=1024, tabs=DEPLOYED,
        ),
        "dp": numeric(
            "dp", group, "Groups of tp GPUs that share the sequences (attention data parallelism); empty: ep / tp",
            "server.dp", "groups", least=1, most=1024, tabs=DEPLOYED, optional=True,
        ),
        "network_gbs": numeric(
            "Network", group, "Between machines, of a GPU and direction (50 for 400 Gbit/s); empty: one machine",
            "server.network_gbs", "GB/s", least=0, tabs=DEPLOYED, optional=True,
        ),
        "draft": Control(
            "Draft", group, "text", lambda value, view: {"server": {"draft": value.strip() or None}},
            lambda view: view.server.draft or "", DEPLOYED,
            "Speculative decoding: MODEL:DEPTH:ALPHA, mtp:DEPTH:ALPHA or medusa:CANDIDATES; ALPHA is a token's chance",
            placeholder="none; e.g. llama-3.2-1b:4:0.7",
        ),
        "max_num_batched_tokens": numeric(
            "Tokens a step", group, "At most; empty: the engine's, or as a load test shows",
            "server.max_num_batched_tokens", "tokens", least=1, tabs=DEPLOYED, optional=True,
        ),
        "max_num_seqs": numeric(
            "Sequences a step", group, "At most; empty: the engine's, or as a load test shows", "server.max_num_seqs",
            least=1, tabs=DEPLOYED, optional=True,
        ),
        "gpu_memory_utilization": numeric(
            "Memory share", group, "Share of the memory that the server may use, such as 0.9; empty: the engine's",
            "server.gpu_memory_utilization", least=0, most=1, tabs=DEPLOYED, optional=True,
        ),
        "price": Control(
            "Price/GPU-hour", group, "text", lambda value, view: {"server": {"price": prices(value, view)}},
            price_words, SERVERS, "One for all, or of each GPU, as h100-sxm=2.5, l4=0.8; empty: costs are in GPU-hours",
            placeholder="e.g. 2.5, or l4=0.8",
        ),
    }  # fmt: skip


def descriptions(controls: dict[str, Control]) -> list[dict[str, Any]]:
    """What the page has to know of every control, whatever the view: plain JSON."""
    plain = ("label", "group", "kind", "tabs", "help", "least", "most", "unit", "placeholder")
    return [
        {"name": name, **{key: getattr(control, key) for key in plain}}
        | {"options": [] if callable(control.options) else list(control.options)}
        for name, control in controls.items()
    ]


def written(controls: dict[str, Control], view: View) -> dict[str, dict[str, Any]]:
    """The values of all controls in a view, and the options that depend on it."""
    return {
        "values": {name: control.write(view) for name, control in controls.items()},
        "options": {name: list(each.options(view)) for name, each in controls.items() if callable(each.options)},
    }


# Values and fields ------------------------------------------------------------------------------------------------

#: A chart's own labels speak of its own operators.
_OWN_SERIES: Fields = {"series": {}, "figure": None}


def chosen_set(view: View) -> str:
    """The name of the set that a view's operators are."""
    return next((name for name, value in OPERATOR_SETS.items() if value == view.operator), "chosen")


def _operator_set(name: str, view: View) -> Fields:
    """The operators of a set; to choose from, those that there are now."""
    return {"operator": OPERATOR_SETS[name] or grid(view).operator.values.tolist(), **_OWN_SERIES}


def _model_fields(names: list[str], view: View) -> Fields:
    """The models, and the reader's own that are still used."""
    chosen = named("model", "models", names, view.configs)
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
    return {"preset": name} | {part: getattr(case, part) for part in PARTS_SET}


def _published_view(figure: str) -> Fields:
    """All of a published chart's view, or of the first one; what is the reader's own stays."""
    chart = published_charts.chart_view(figure) if figure else View()
    return chart.model_dump(exclude=published_charts.READERS_OWN - {"setting", "heat"})
