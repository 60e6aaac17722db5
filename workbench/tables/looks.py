"""How charts look, whatever draws them: colours, markers, and where a published range lies among the points."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..catalog import gpu as find_gpu
from ..catalog import model as find_model
from ..common.arguments import as_list, whole_number
from ..operators import PHASES
from ..signatures import typed
from .charts import Series

#: The colours by name: those of the published charts in shades that stay apart for colour-blind readers, most of them
#: Okabe and Ito's (2008). Their vermilion is too near to orange to be called red, so red is the charts' own.
COLORS = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D62728", "purple": "#B684E0",
    "brown": "#4A2C0F", "grey": "#8C8C8C", "sky": "#56B4E9", "black": "#000000",
}  # fmt: skip
#: Colours of the series of a chart, in their order.
SERIES_COLORS = [COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "brown", "sky", "grey")]
#: Colours of the phases, by name, where those are a chart's series.
PHASE_COLORS = dict(zip(PHASES, ("blue", "orange"), strict=True))
#: Markers of GPUs or series, in their order.
MARKERS = "xo^sDv*P"
#: Few to many candidates, as the Medusa charts have them: orange, tan, salmon, pink, deep pink, purple, indigo.
CANDIDATE_COLORS = ("#F58A07", "#EDB98A", "#F4766A", "#E858A8", "#DB2C8E", "#8A2BBE", "#33157A")

#: What `audit.printed_ranges` calls a ridge line that stands where the chart's own ceilings do not meet.
RIDGE = "ridge point"
READING = 1.1  # a single value read off a chart is worth 10 % either way
MARGIN = 1.2  # of a range's outline above and below the points


@typed()
def candidate_color(candidates: int, most: int) -> tuple[float, ...]:
    """Colour scale of the Medusa charts: orange for few candidates, through tan and pink, to indigo.

    Parameters
    ----------
    candidates, most : int
        Candidates of a series, and the most of the chart [1].

    Returns
    -------
    tuple of float
        Red, green, blue and opacity [1].
    """
    share = whole_number("candidates", candidates, high=whole_number("most", most)) / most
    parts = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in CANDIDATE_COLORS])
    at = np.arange(1, len(parts) + 1) / len(parts)
    return (*(float(np.interp(share, at, part)) for part in parts.T), 1.0)


@typed()
def subject(model: str | Sequence[str], gpu: str | Sequence[str] | None = None) -> str:
    """Say what a chart is of, for its title.

    Parameters
    ----------
    model, gpu : str or sequence of str
        Models and, where they matter, GPUs, as `workbench.model` and `workbench.gpu` take them.

    Returns
    -------
    str
        What the catalog calls them, with commas between.
    """
    names = [find_model(name).name for name in as_list("model", model)]
    return ", ".join([*names, *(find_gpu(name).name for name in (as_list("gpu", gpu) if gpu else ()))])


def series_looks(series: Series) -> dict[str, tuple[Any, str]]:
    """Colour and marker of every series of a chart.

    Parameters
    ----------
    series : mapping of str to mapping
        By label, as for `plots.roofline`.

    Returns
    -------
    dict of tuple of color and str
        By label: its own colour, that of its candidates, or the next of the palette; and its own marker, or the next.
    """
    counts = {label: selection.get("candidates") for label, selection in series.items()}
    numbers = {label: count for label, count in counts.items() if isinstance(count, int)}
    most = max(numbers.values(), default=1)
    looks = {}
    for i, (label, selection) in enumerate(series.items()):
        count = numbers.get(label, 1)
        color = candidate_color(count, most) if count > 1 else SERIES_COLORS[i % len(SERIES_COLORS)]
        own = selection.get("color", color)
        marker = MARKERS[i // len(SERIES_COLORS) % len(MARKERS)]
        looks[label] = (COLORS.get(own, own) if isinstance(own, str) else own, selection.get("marker", marker))
    return looks


def is_box(limits: Mapping[str, Any]) -> bool:
    """Whether a published range is a box: performance, too, is published with a low end and a high one.

    Parameters
    ----------
    limits : mapping of str to float
        As for `range_outline`.

    Returns
    -------
    bool
        Whether y_low is below y_high.
    """
    return bool(limits["y_low"] < limits["y_high"])


def range_outline(limits: Mapping[str, Any], x: Any, y: Any) -> np.ndarray:
    """The outline of a published range on a roofline chart.

    Parameters
    ----------
    limits : mapping of str to float
        x_low, x_high [FLOP/byte]; y_low and y_high [FLOP/s], NaN where none is published, equal where one value is.
    x, y : array_like
        The points of its series [FLOP/byte], [FLOP/s]. What is no box (`is_box`) follows them, from their lowest to
        their highest at each intensity; of a single intensity, from the lowest to the highest of all.

    Returns
    -------
    numpy.ndarray
        Its corners, (corner, 2): along the lower side to the right, along the upper one back.
    """
    ends = np.array([limits["x_low"], limits["x_high"]], float)
    single = limits["x_low"] == limits["x_high"]
    if single:
        ends *= [1 / READING, READING]
    if is_box(limits):
        low, high = (np.full(2, limits[name]) for name in ("y_low", "y_high"))
        at = ends
    elif single:
        at, low, high = ends, np.full(2, np.min(y) / MARGIN), np.full(2, np.max(y) * MARGIN)
    else:
        values, which = np.unique(np.log(np.ravel(x)).round(12), return_inverse=True)
        heights = np.log(np.ravel(y))
        extremes = [[pick(heights[which == i]) for i in range(len(values))] for pick in (np.min, np.max)]
        inside = values[(values > np.log(ends[0])) & (values < np.log(ends[1]))]
        at = np.exp(np.concatenate([np.log(ends[:1]), inside, np.log(ends[1:])]))
        low, high = (np.exp(np.interp(np.log(at), values, extreme)) for extreme in extremes)
        low, high = low / MARGIN, high * MARGIN
    return np.concatenate([np.column_stack([at, low]), np.column_stack([at, high])[::-1]])
