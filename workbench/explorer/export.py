"""A view as words: the Python that gives its numbers, and the params that draw it as a figure."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pprint import pformat
from typing import Any

import yaml

from .chart_looks import page_arrows
from .own_cards import card_code
from .own_models import is_entry, model_code
from .view import View, grid_arguments, options

#: Arguments of `roofline_grid` whose default need not be said.
_DEFAULTS = {
    "candidates": None, "tp": None, "weight_dtype": None, "activation_dtype": None, "kv_dtype": None,
    "time_model": "ideal", "launch_latency": 0.0,
}  # fmt: skip

_HEADER = """\
# A figure by notebooks/view.ipynb. Save it as params/view/my-view.yaml, give it that name as figure_id, and run
# `workbench figures my-view`; or `papermill notebooks/view.ipynb out.ipynb -f FILE` for the notebook alone.
"""


def code(view: View) -> str:
    """Python that gives the numbers of a view.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    str
        Code that computes ``ds``, the grid, and ``steps`` where the chart's points are whole steps.
    """
    given = {name: value for name, value in grid_arguments(view).items() if _DEFAULTS.get(name, ...) != value}
    given["gpu"] = _Code(
        f"[{', '.join(f'cards[{name!r}]' if name in view.cards else repr(name) for name in view.gpu)}]"
    )
    given["model"] = _Code(f"[{', '.join(_model(name, view) for name in view.model)}]")
    lines = ["import workbench as wb", *_own_cards(view), *(line for name in view.model for line in _own(name, view))]
    lines += ["", _call("ds", given)]
    if view.peak_tflops is not None:
        lines += [f"ds = wb.grid.with_roof(ds, {view.peak_tflops!r})  # the roof as the chart prints it, in TFLOP/s"]
    if view.points == "steps":
        lines += ["steps = wb.forward_pass(ds)  # whole steps, the points of the chart"]
    if deployed := view.server.model_dump(exclude_defaults=True):
        lines += ["", *_estimate(view, given, deployed)]
    return "\n".join(lines) + "\n"


def title(view: View) -> str:
    """What a view is of, in words: its models on its GPUs."""
    return f"{', '.join(view.model)} on {', '.join(view.gpu)}"


def in_words(view: View) -> str:
    """The setting of a view in words: what differs from the defaults, of all that its tab's numbers depend on."""
    state = view.model_dump(
        exclude_defaults=True, exclude={"gpu", "model", "tab", "pins", "configs", "cards", "series", "heat"}
    )
    given = {name: value for name, value in state.items() if not isinstance(value, dict)}
    for part in ("setting", "server", "goal"):
        given |= state.get(part, {})
    told = (f"{name} {_listed(value)}" for name, value in given.items())
    return f"{title(view)}: {', '.join(told) or 'all settings are the defaults'}"


def _listed(value: Any) -> str:
    if isinstance(value, list) and len(value) > 2 and all(isinstance(each, int) for each in value):
        return f"{value[0]:,} to {value[-1]:,}"
    return " ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


def file_name(view: View) -> str:
    """What files of a view are called, without their ending: its GPU, its model and its tab."""
    parts = [
        names[0] if len(names) == 1 else f"{len(names)}-{kind}s"
        for kind, names in (("gpu", view.gpu), ("model", view.model))
    ]
    return re.sub(r"[^\w.-]+", "-", "-".join([*parts, view.tab]))[:100]


class _Code(str):
    """An argument that is Python already."""

    __slots__ = ()


def _call(name: str, given: Mapping[str, Any], function: str = "roofline_grid") -> str:
    rows = [f"    {key}={value if isinstance(value, _Code) else repr(value)}," for key, value in given.items()]
    return "\n".join([f"{name} = wb.{function}(", *rows, ")"])


def _estimate(view: View, grid: Mapping[str, Any], deployed: Mapping[str, Any]) -> list[str]:
    """The lines that estimate the one setting on its server."""
    sizes = {"batch_size": view.setting.batch_size, "prompt": view.setting.seq_len, "output": view.setting.output}
    given = {"gpu": grid["gpu"], "model": grid["model"], **sizes, **options(view), "tp": view.tp, **deployed}
    return [_call("served", given, "serving.estimate")]


def _own_cards(view: View) -> list[str]:
    """The lines that make the reader's own GPUs."""
    made = [f"cards[{name!r}] = {card_code(name, view.cards[name])}" for name in view.gpu if name in view.cards]
    return ["", "cards = {}", *made] if made else []


def _model(name: str, view: View) -> str:
    return f"own[{name!r}]" if name in view.configs else repr(name)


def _own(name: str, view: View) -> list[str]:
    """The lines that make one of the reader's own models."""
    if name not in view.configs:
        return []
    first = next(own for own in view.model if own in view.configs) == name
    if is_entry(view.configs[name]):
        return [*(["", "own = {}"] if first else []), f"own[{name!r}] = {model_code(name, view.configs[name])}"]
    config = _python(json.dumps(view.configs[name] | {"_name_or_path": name}))
    return [*(["", "own = {}"] if first else []), f"own[{name!r}] = wb.from_hf_config(\n{config}\n)"]


def params(view: View) -> str:
    """The params file with which ``notebooks/view.ipynb`` draws a view.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    str
        YAML, with a comment on how to draw it.
    """
    state = view.model_dump(exclude={"setting", "server", "goal", "heat", "pins", "figure", "configs", "tab", "preset"})
    configs = {name: config for name, config in view.configs.items() if name in view.model}
    state["cards"] = {name: card for name, card in view.cards.items() if name in view.gpu}
    fields = {
        "figure_id": "my-view",
        "title": title(view),
        "caption": "",
        "published": view.figure or "",
        "arrows": page_arrows(view),
    }
    return _HEADER + _yaml(fields | state | {"output_dir": "figures"}) + _configs_yaml(json.dumps(configs))


@lru_cache(maxsize=64)
def _python(config: str) -> str:
    """A config, given as JSON, as Python; kept, as it is long and few changes of a view change it."""
    return pformat(json.loads(config), width=100, sort_dicts=False, compact=True)


@lru_cache(maxsize=16)
def _configs_yaml(configs: str) -> str:
    """The configs, given as JSON, as the end of a params file; kept likewise."""
    return _yaml({"configs": json.loads(configs)})


def _yaml(fields: dict[str, Any]) -> str:
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(fields, Dumper=dumper, sort_keys=False, width=110, allow_unicode=True))
