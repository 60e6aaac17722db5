"""A view as words: the Python that gives its numbers, and the params that draw it as a figure."""

import json
import re
from functools import lru_cache
from typing import Any

import yaml

from .chart_looks import page_arrows
from .control_kinds import SERVERS
from .tab_calls import tab_code
from .view import View

#: Fields that no number depends on, or that are said elsewhere; and those of grids, which servers do not have.
SAID_ELSEWHERE = {"gpu", "model", "tab", "pins", "configs", "cards", "series", "heat"}
ON_GRID_ALONE = {
    "operator", "phase", "batch_size", "seq_len", "candidates", "points", "figure", "time_model", "peak_tflops",
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
        Code that computes the numbers of its tab: ``ds``, the grid (and ``steps`` where the chart's points are whole
        steps) or the servers' estimates; ``front`` or ``plan``, tables.
    """
    return tab_code(view)


def title(view: View) -> str:
    """What a view is of, in words: its models on its GPUs."""
    return f"{', '.join(view.model)} on {', '.join(view.gpu)}"


def in_words(view: View) -> str:
    """The setting of a view in words: what differs from the defaults, of all that its numbers depend on."""
    told = (f"{name} {_listed(value)}" for name, value in setting_of(view).items())
    return f"{title(view)}: {', '.join(told) or 'all settings are the defaults'}"


def setting_of(view: View) -> dict[str, Any]:
    """What differs from the defaults, by name, of all that the tab's numbers depend on besides GPUs and models."""
    state: dict[str, Any] = view.model_dump(exclude_defaults=True, exclude=SAID_ELSEWHERE)
    parts = {part: state.pop(part, {}) for part in ("setting", "server", "goal")}
    if view.tab in SERVERS:
        shared = {name: value for name, value in state.items() if name not in ON_GRID_ALONE}
        return {**shared, **parts["setting"], **parts["server"], **parts["goal"]}
    return state | {f"at_{name}": value for name, value in parts["setting"].items() if name != "output"}


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


@lru_cache(maxsize=16)
def _configs_yaml(configs: str) -> str:
    """The configs, given as JSON, as the end of a params file; kept likewise."""
    return _yaml({"configs": json.loads(configs)})


def _yaml(fields: dict[str, Any]) -> str:
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(fields, Dumper=dumper, sort_keys=False, width=110, allow_unicode=True))
