"""A view: all choices of the explorer as one record, and the grid that it stands for."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

import xarray as xr
from pydantic import Field, model_validator

from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.gpu_entries import gpus as catalog_gpus
from ..catalog.loading import as_id, catalog_name
from ..catalog.model_entries import Model
from ..catalog.model_entries import model as find_model
from ..catalog.model_entries import models as catalog_models
from ..common.errors import unknown
from ..common.yaml_records import Count
from ..grid import forward_pass, roofline_grid, with_roof
from ..kernels import attainable
from ..operators import PHASES
from ..serving import Draft
from ..serving.draft_names import named_draft
from ..tables import LOOKS, SELECTORS
from .bounds import MAX_CONFIGS, MAX_PAIRS, MAX_POINTS, Label, Labels, Selection, SizeList, at_most, check_json
from .choices import Deployment, Goal, Heat, Pin, Setting, Settings
from .own_cards import own_card as own_card
from .own_models import own_model as own_model
from .presets import still_named

#: Fields of a view that are lists, of which readers may give one value.
LISTS = ("gpu", "model", "operator", "phase", "batch_size", "seq_len")
#: What a view may show of its settings, one at a time.
Tab = Literal["roofline", "server", "frontier", "plan", "measured", "published"]


class View(Settings):
    """All that the explorer shows: what a saved view, a link, a published chart and the params of ``view.ipynb`` hold.

    Attributes
    ----------
    gpu, model, phase : list of str
        As for `grid.roofline_grid`.
    configs : dict of str to dict
        The reader's own models: each name with its Hugging Face config.json.
    cards : dict of str to dict
        The reader's own GPUs: each name with its entry, as the catalog's files have it.
    operator : list of str
        ["fused"], ["unfused"], or names.
    batch_size, seq_len, candidates : list of int
        Sequences [1], lengths [token], candidates [1].
    points : str
        A point for each of the "operators", or for whole "steps" (forward passes).
    series : dict of str to dict
        The chart's own labels, as for `plots.roofline`; {} is one for each operator and phase.
    figure : str, optional
        The published chart whose ranges and audit rows are shown.
    setting, heat, pins : Setting, Heat, list of Pin
        What the bars, the heat map and the comparison are of.
    server, goal : Deployment, Goal
        How the setting is served, and what the reader wants of that.
    preset : str, optional
        The use case whose numbers the setting, the server and the goal have; dropped where they differ.
    tab : str
        What is shown: "roofline", "server", "frontier", "plan", "measured" or "published".
    """

    gpu: Labels = Field(default=["a100-80gb-sxm", "h100-sxm"])
    model: Labels = Field(default=["llama-3-8b"])
    configs: Annotated[dict[Label, dict[str, Any]], at_most(20)] = Field(default={})
    cards: Annotated[dict[Label, dict[str, Any]], at_most(20)] = Field(default={})
    operator: Labels = Field(default=["fused"])
    phase: Labels = Field(default=list(PHASES))
    batch_size: SizeList = Field(min_length=1, default=[1, 2, 4, 8, 16, 32, 64])
    seq_len: SizeList = Field(min_length=1, default=[128, 256, 512, 1024, 2048, 4096, 8192])
    candidates: Annotated[list[Count], at_most(100)] = Field(default=[])
    points: Literal["operators", "steps"] = "operators"
    series: Annotated[dict[Label, Selection], at_most(100)] = Field(default={})
    figure: Label | None = None
    setting: Setting = Setting()
    server: Deployment = Deployment()
    goal: Goal = Goal()
    preset: Label | None = None
    tab: Tab = "roofline"
    heat: Heat = Heat()
    pins: Annotated[list[Pin], at_most(50)] = Field(default=[])

    @model_validator(mode="before")
    @classmethod
    def _by_id(cls, given: Any) -> Any:
        """Names as people write them, as ids where that is clear; never files, as a view may come by a link."""
        if not isinstance(given, Mapping):
            return given
        own = {key: part if isinstance(part := given.get(key), Mapping) else {} for key in ("configs", "cards")}
        named = {
            dim: [
                as_id(name, folder) if isinstance(name, str) and name not in own[part] else name for name in given[dim]
            ]
            for dim, folder, part in (("gpu", "gpus", "cards"), ("model", "models", "configs"))
            if isinstance(given.get(dim), list)
        }
        return {**given, **named, "preset": still_named(given)}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field, what, catalog in (("configs", "model", catalog_models()), ("cards", "GPU", catalog_gpus())):
            for name, own in getattr(self, field).items():
                check_json(own, f"{field}: {name}")
                if name in catalog:
                    raise ValueError(f"{field}: {name!r} is a {what} of the catalog: give yours another name")
                if name != PurePosixPath(name).name.lower():
                    raise ValueError(f"{field}: {name!r}: the name of a {what} is in lower case, without slashes")
            if (size := len(json.dumps(getattr(self, field)))) > MAX_CONFIGS:
                raise ValueError(f"{field}: {size:,} characters of JSON: a page holds {MAX_CONFIGS:,}")
        for name, card in self.cards.items():
            own_card(name, card)
        for selection in self.series.values():
            for key in selection:
                if key not in (*SELECTORS, *LOOKS):
                    raise unknown("key of a series", key, (*SELECTORS, *LOOKS))
        return self

    def state(self) -> dict[str, Any]:
        """What differs from the view that the explorer opens with.

        Returns
        -------
        dict
            The fields, as JSON has them.
        """
        return self.model_dump(exclude_defaults=True)


def chosen_models(view: View) -> list[str | Model]:
    """The models of a view: ids of the catalog, and the reader's own."""
    own = view.configs
    return [own_model(name, own[name]) if name in own else catalog_name("model", name, "models") for name in view.model]


def named_gpus(view: View) -> list[str | GPU]:
    """The GPUs of a view: ids of the catalog, and the reader's own."""
    own = view.cards
    return [own_card(name, own[name]) if name in own else catalog_name("GPU", name, "gpus") for name in view.gpu]


def grid_arguments(view: View) -> dict[str, Any]:
    """The arguments of `roofline_grid` that give a view's numbers, in its order."""
    return {
        "gpu": named_gpus(view), "model": chosen_models(view),
        "operator": view.operator[0] if view.operator in (["fused"], ["unfused"]) else view.operator,
        "phase": view.phase, "batch_size": view.batch_size, "seq_len": view.seq_len,
        "candidates": view.candidates or None, **options(view),
    }  # fmt: skip


def options(settings: Settings) -> dict[str, Any]:
    """Those arguments of `roofline_grid` that `Settings` has."""
    return {
        "tp": settings.tp if settings.tp > 1 else None, "weight_dtype": settings.weight_dtype,
        "activation_dtype": settings.activation_dtype, "kv_dtype": settings.kv_dtype, "time_model": settings.time_model,
        "launch_latency": settings.launch_latency_us * 1e-6,
    }  # fmt: skip


def server_arguments(view: View) -> dict[str, Any]:
    """The arguments of `serving.estimate` and `serving.plan` that say how a view's server is deployed, but its tp."""
    given = {name: value for name, value in options(view).items() if name != "tp"} | dict(view.server)
    return given | {"draft": view_draft(view)}


def view_draft(view: View) -> Draft | None:
    """The draft that a view's server has; its model is of the catalog or the reader's own."""

    def find(name: str) -> Model:
        own = name in view.configs
        return own_model(name, view.configs[name]) if own else find_model(catalog_name("model", name, "models"))

    return None if view.server.draft is None else named_draft(view.server.draft, find=find)


def grid(view: View) -> xr.Dataset:
    """The grid of a view: what its chart, bars and heat map are drawn from.

    With `peak_tflops` the roof is the chart's own, while times are still predicted with the datasheet's.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    xr.Dataset
        As from `grid.roofline_grid` [SI].

    Raises
    ------
    ValueError
        For what `grid.roofline_grid` refuses, and for more points than a browser can draw.
    """
    count = len(view.batch_size) * len(view.seq_len) * max(len(view.candidates), 1)
    count *= len(view.gpu) * len(view.model) * len(view.phase)
    if count > MAX_POINTS:
        raise ValueError(f"{count:,} points for each operator: a page draws {MAX_POINTS:,}; narrow the ranges")
    if (pairs := len(view.gpu) * len(view.model)) > MAX_PAIRS:
        raise ValueError(f"{pairs:,} pairs of a GPU and a model: a page draws {MAX_PAIRS}; choose fewer")
    return with_roof(roofline_grid(**grid_arguments(view)), view.peak_tflops)


def drawn(ds: xr.Dataset, points: str) -> xr.Dataset:
    """The points of a roofline chart: a grid's operators, or its whole steps without the operator dim.

    Parameters
    ----------
    ds : xr.Dataset
        A grid.
    points : str
        "operators" or "steps".

    Returns
    -------
    xr.Dataset
        The grid, or its forward passes [SI], whose roof is that of the fastest format that their operators compute in.
    """
    if points == "operators":
        return ds
    steps = forward_pass(ds)
    peak, bandwidth = ds.variables["peak_flop_rate"], ds.variables["bandwidth"]
    peak = peak.max("operator") if "operator" in peak.dims else peak
    roof: dict[str, xr.Variable] = {
        "peak_flop_rate": peak, "ridge_point": peak / bandwidth,
        "attainable": xr.apply_ufunc(attainable, steps.variables["intensity"], peak, bandwidth),
    }  # fmt: skip
    roof["attainable"] = roof["attainable"].transpose(*steps.time.dims)
    for name, variable in roof.items():
        variable.attrs = ds[name].attrs
    return steps.assign(roof)


@lru_cache(maxsize=256)
def _pinned_numbers(pin: str, own: str) -> dict[str, float]:
    """Numbers of one pinned point; both arguments as JSON, which can be cached."""
    one = Pin.model_validate_json(pin)
    given = one.model_dump(exclude={"candidates"}) | {"points": "operators" if one.operator else "steps"}
    given |= {name: [given[name] or "fused"] for name in LISTS}
    view = View(**given, **json.loads(own), candidates=[one.candidates] if one.candidates else [])
    point = drawn(grid(view), view.points)
    names = ("intensity", "performance", "time", "bound", "attainable")
    return {name: point[name].item() for name in names}


def pinned_numbers(pin: Pin, view: View) -> dict[str, float]:
    """Numbers of a pinned point: intensity [FLOP/byte], performance and attainable [FLOP/s], time [s], bound.

    Of the view only the reader's own entries of the pin's GPU and model matter.
    """
    own = {"cards": {pin.gpu: view.cards.get(pin.gpu)}, "configs": {pin.model: view.configs.get(pin.model)}}
    kept = {part: {name: entry for name, entry in entries.items() if entry} for part, entries in own.items()}
    return _pinned_numbers(pin.model_dump_json(), json.dumps(kept))


def chosen_gpus(view: View) -> list[GPU]:
    """Entries of a view's GPUs, including the reader's own."""
    return [find_gpu(entry) for entry in named_gpus(view)]


def chosen_entries(view: View) -> list[Model]:
    """Entries of a view's models, including the reader's own."""
    return [find_model(entry) if isinstance(entry, str) else entry for entry in chosen_models(view)]
