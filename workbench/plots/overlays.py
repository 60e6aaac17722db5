"""Measured kernels on a roofline chart, each joined to what is predicted for it."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ..signatures import typed
from ..tables import Series, select
from ..tables.looks import COLORS, MARKERS, series_looks
from .style import hold

#: Of an explanation, what is drawn of it besides the ceilings.
OVERLAID = ("intensity", "performance", "flops", "time")
#: Filled markers, in their order; "x" and "+" have no inside that could be open.
FILLED = "".join(marker for marker in MARKERS if marker not in "x+")


@typed(ds=("operator", "model"))
def by_operator(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    """One series for each operator of an explanation, and for each model where there are several.

    Parameters
    ----------
    ds : xr.Dataset
        From `workbench.explain`.

    Returns
    -------
    dict of str to dict
        By label, the selection of `ds`.
    """
    several = ds.sizes.get("model", 1) > 1
    models = [{"model": name} for name in ds.model.values] if several else [{}]
    names = np.atleast_1d(ds.operator.values)
    return {" ".join([*each.values(), str(name)]): each | {"operator": str(name)} for each in models for name in names}


def overlay(ds: xr.Dataset, ax: Axes, series: Series) -> Axes:
    """Measured points filled, predicted ones open, a line between them.

    Parameters
    ----------
    ds : xr.Dataset
        From `workbench.explain`: performance [FLOP/s] and intensity [FLOP/byte]; where bytes were counted,
        measured_intensity, at which the point then stands, with a black edge.
    ax : Axes
        Where to draw.
    series : mapping of str to mapping
        By label, a selection of `ds`.

    Returns
    -------
    Axes
        The axes drawn on.
    """
    looks, colors = series_looks(series), 8
    kinds = set[bool]()  # whether bytes of points were counted
    for i, (label, selection) in enumerate(series.items()):
        part = select(ds, selection)
        color, marker = looks[label][0], FILLED[i // colors % len(FILLED)]
        model, measured, predicted, counted = (
            each.values.ravel() for each in xr.broadcast(part.intensity, part.performance, part.flops / part.time,
                                                         part.get("measured_intensity", part.intensity * np.nan))
        )  # fmt: skip
        here = np.isfinite(model) & np.isfinite(measured)
        if not here.any():
            continue
        model, measured, predicted, counted = (each[here] for each in (model, measured, predicted, counted))
        own = np.isfinite(counted)
        kinds |= {*own.tolist()}
        x = np.where(own, counted, model)
        for each_x, each_y in ((x, measured), (model, predicted)):
            hold(ax, xr.DataArray(each_x), xr.DataArray(each_y))
        ax.plot([x, model], [measured, predicted], color=color, linewidth=0.8, alpha=0.6, zorder=2.4)
        ax.scatter(model, predicted, s=30, marker=marker, facecolors="none", edgecolors=color, linewidths=1, zorder=2.6)
        edges = np.where(own, COLORS["black"], "none")
        ax.scatter(
            x,
            measured,
            s=30,
            marker=marker,
            color=color,
            edgecolors=edges.tolist(),
            linewidths=0.9,
            zorder=3,
            label=label,
        )
    grey: dict[str, Any] = {"s": 30, "marker": "o", "linewidths": 1}
    if False in kinds:
        ax.scatter([], [], color=COLORS["grey"], label="measured, bytes of the model", **grey)
    if True in kinds:
        black = COLORS["black"]
        ax.scatter([], [], color=COLORS["grey"], edgecolors=black, label="measured, bytes counted", **grey)
    if kinds:
        ax.scatter([], [], facecolors="none", edgecolors=COLORS["grey"], label="predicted", **grey)
    return ax
