"""How a published chart looks on the page: its colours and markers, ranges at its points, arrows, misread ridges."""

import re
from typing import Any

import numpy as np

from ..tables.looks import COLORS, RIDGE, is_box, range_outline, series_looks
from . import published_charts
from .view import View

#: What the page draws for a marker that matplotlib calls so.
MARKER_SHAPES = {
    "x": "x", "o": "circle", "s": "square", "^": "triangle", "D": "diamond", "P": "cross", "v": "down", "*": "star",
}  # fmt: skip
#: Of a published chart's roof: the slope, the flat part, the ridge.
ROOF_COLORS = [COLORS[name] for name in ("blue", "red", "green")]


def is_published(view: View) -> bool:
    """Whether the view is of a published chart that is there."""
    return view.figure is not None and view.figure in published_charts.params_files()


def page_looks(view: View) -> dict[str, tuple[str, str]]:
    """Colour and shape of every series that the view names, as `plots.roofline` draws them; no others are guessed."""
    looks = {}
    for label, (color, marker) in series_looks(view.series).items():
        if not isinstance(color, str):
            color = "#" + "".join(f"{round(255 * part):02x}" for part in color[:3])
        known = re.fullmatch("#[0-9a-fA-F]{6}", color)
        looks[label] = (color if known else COLORS["grey"], MARKER_SHAPES.get(str(marker), "circle"))
    return looks


def page_ranges(view: View, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Published ranges as outlines in the colour of their series, and ridge lines that a transcription misread."""
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
    """The arrows of a published chart: text, start, end and at, each a point."""
    return list(published_charts.chart_params(view.figure or "").get("arrows", [])) if is_published(view) else []
