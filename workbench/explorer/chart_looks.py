"""How a published chart looks on the page: its colours and markers, ranges at its points, arrows, misread ridges."""

import re
from typing import Any

import numpy as np

from ..common.arguments import one_of
from ..common.errors import shown
from ..tables.looks import COLORS, RIDGE, is_box, range_outline, series_looks
from . import published_charts
from .view import View

#: What the page draws for a marker that matplotlib calls so.
MARKER_SHAPES = {
    "x": "x", "o": "circle", "s": "square", "^": "triangle", "D": "diamond", "P": "cross", "v": "down", "*": "star",
}  # fmt: skip
#: Of a published chart's roof: the slope, the flat part, the ridge.
ROOF_COLORS = [COLORS[name] for name in ("blue", "red", "green")]

#: Colours of operators by name, the same whatever the models are: no two that one model has share one. Most of the
#: first ten are Petroff's, which colour-blind readers tell apart (2021, arXiv 2107.02270).
COLOR_OF = {
    "#3f90da": ("attention", "sliding_qk"), "#e76300": ("qkv_proj", "kv_a_proj"), "#832db6": ("o_proj",),
    "#bd1f01": ("gate_up_proj", "sliding_pv"), "#717581": ("down_proj", "latent_in_proj"), "#ffa90e": ("lm_head",),
    "#94a4a2": ("elementwise",), "#1b9e77": ("qk", "sliding_attention"), "#a96b59": ("pv",),
    "#d95bb0": ("q_proj", "q_a_proj"), "#7a8f1e": ("k_proj", "kv_b_proj"),
    "#5b5bd6": ("v_proj", "q_b_proj", "linear_gate_proj"), "#b9ac70": ("gate_proj", "latent_out_proj"),
    "#0f8b8d": ("up_proj",), "#c2185b": ("all_reduce",), "#4e7a27": ("all_to_all",),
    "#92dadd": ("router", "per_layer_model_proj"), "#00a5e0": ("moe_gate_up_proj", "per_layer_gate"),
    "#9c6bd3": ("moe_down_proj", "per_layer_proj"), "#c77d2e": ("shared_gate_up_proj",),
    "#5f8a8b": ("shared_down_proj",), "#e0607e": ("linear_in_proj", "index_q_proj"),
    "#3a9d3a": ("linear_attention", "index_k_proj"), "#8c6d8c": ("linear_out_proj", "index_scores"),
}  # fmt: skip
_BY_NAME = {name: color for color, names in COLOR_OF.items() for name in names}


def operator_color(name: str | None) -> str:
    """The colour of an operator, which is its own in every view.

    Parameters
    ----------
    name : str, optional
        An operator; None is a whole step.

    Returns
    -------
    str
        As "#rrggbb"; the page darkens or lightens it where it would not stand out from its ground.
    """
    if name is None:
        return next(iter(COLOR_OF))
    return _BY_NAME.get(name) or list(COLOR_OF)[sum(name.encode()) % len(COLOR_OF)]


def mixed(color: str, other: str, share: float) -> str:
    """A colour with a share of another: "#rrggbb" each, from 0 to 1."""
    pairs = (tuple(int(text[i : i + 2], 16) for text in (color, other)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def is_published(view: View) -> bool:
    """Whether a view is of a published chart that is there.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    bool
        False, too, outside a clone of the project, which has no params files.
    """
    return view.figure is not None and view.figure in published_charts.params_files()


def page_looks(view: View) -> dict[str, tuple[str, str]]:
    """Colour and shape of every series that a view names, as `plots.roofline` draws them.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    dict of tuple of str and str
        By label, "#rrggbb" and a shape of the page.

    Raises
    ------
    ValueError
        Where a series has a colour or a marker that the page does not draw.
    """
    looks = {}
    for label, (color, marker) in series_looks(view.series).items():
        if isinstance(color, tuple):
            color = "#" + "".join(f"{round(255 * part):02x}" for part in color[:3])
        if not re.fullmatch("#[0-9a-fA-F]{6}", str(color)):
            names = ", ".join(COLORS)
            raise ValueError(f"series {label}: color = {shown(color)}: allowed are #rrggbb and {names}")
        looks[label] = (str(color), MARKER_SHAPES[one_of("marker", marker, MARKER_SHAPES)])
    return looks


def page_ranges(view: View, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Published ranges as outlines in the colour of their series, and ridge lines that a transcription misread.

    Parameters
    ----------
    view : View
        The view.
    groups : list of dict
        Of the page's points: label, color, and numbers, whose first two rows are x [FLOP/byte] and y [FLOP/s].

    Returns
    -------
    list of dict
        A row a range, as of `published_charts.chart_ranges`, None for what is not published; color; outline, its
        corners, None for a ridge line; and box, whether it is one (`tables.looks.is_box`).
    """
    if not is_published(view):
        return []
    rows = []
    for row in published_charts.chart_ranges(view.figure or "").to_dict("records"):
        mine = [group for group in groups if group["label"] == row["series"]]
        entry = {str(key): None if value != value else value for key, value in row.items()}
        if row["series"] == RIDGE:
            rows.append(entry | {"outline": None, "color": COLORS["grey"], "box": False})
        elif mine:
            x, y, *_ = np.concatenate([group["numbers"] for group in mine], axis=1)
            limits = {str(key): value for key, value in row.items()}
            outline = range_outline(limits, x, y).tolist()
            rows.append(entry | {"outline": outline, "color": mine[0]["color"], "box": is_box(limits)})
    return rows


def page_arrows(view: View) -> list[dict[str, Any]]:
    """The arrows of a published chart.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    list of dict
        Each with its text, and start, end and at as [x, y] [FLOP/byte], [FLOP/s].
    """
    return list(published_charts.chart_params(view.figure or "").get("arrows", [])) if is_published(view) else []
