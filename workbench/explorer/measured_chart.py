"""Measured kernels on the page's roofline: each point beside what is predicted for it."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .bounds import MAX_POINTS
from .chart_looks import operator_color
from .pictures import SHAPES, ceiling, decades

#: What the page knows of every point, beside where it stands as predicted.
MEASURED_NUMBERS = ("x", "performance", "measured_time", "attainable", "bound", "predicted", "intensity")
#: Dims that a point's words name.
SAID_OF_POINTS = ("gpu", "model", "phase", "batch_size", "seq_len", "candidates", "tp", "dtype", "framework")


def measured_roofline_section(ds: xr.Dataset) -> dict[str, Any]:
    """The chart of an explanation, as `pictures.roofline_chart` has that of a view.

    Parameters
    ----------
    ds : xr.Dataset
        From `workbench.explain`: rates [FLOP/s], intensities [FLOP/byte], times [s].

    Returns
    -------
    dict
        Each group with its own points and numbers: those of `MEASURED_NUMBERS`, x being the intensity by counted bytes
        where a profiler counted them.

    Raises
    ------
    ValueError
        For more points than a page draws.
    """
    frame = _points(ds)
    groups = [_group(str(name), str(model), str(gpu), rows, ds) for (name, model, gpu), rows in frame]
    every = np.concatenate([rows[["x", "intensity"]].to_numpy().ravel() for _, rows in frame] or [np.array([1.0])])
    rates = np.concatenate([rows[["performance", "predicted"]].to_numpy().ravel() for _, rows in frame] or [np.ones(1)])
    peaks = np.ravel(ds.peak_flop_rate)
    ridge = np.nanmax(peaks) / float(ds.bandwidth.min())
    limits = {"x": decades(every, ridge), "y": decades(rates, np.nanmax(peaks))}
    return {
        "limits": limits, "ceilings": [ceiling(ds, number) for number in range(ds.sizes["gpu"])],
        "groups": groups, "numbers": b"", "legend": _legend(groups, ds), "ranges": [], "arrows": [],
        "what": "operators", "measured": True,
    }  # fmt: skip


def _points(ds: xr.Dataset) -> list[tuple[Any, pd.DataFrame]]:
    """The points of each operator, model and GPU, in their order."""
    names = ["intensity", "performance", "flops", "time", "measured_time", "attainable", "bound", "measured_intensity"]
    frame = ds[[name for name in names if name in ds]].to_dataframe().reset_index()
    frame = frame[np.isfinite(frame.intensity) & np.isfinite(frame.performance)]
    if len(frame) > MAX_POINTS:
        raise ValueError(f"{len(frame):,} measured points: a page draws {MAX_POINTS:,}; split the file")
    counted = frame.get("measured_intensity", frame.intensity)
    frame = frame.assign(predicted=frame.flops / frame.time, x=counted.fillna(frame.intensity))
    return list(frame.groupby(["operator", "model", "gpu"], sort=False))


def _group(operator: str, model: str, gpu: str, rows: pd.DataFrame, ds: xr.Dataset) -> dict[str, Any]:
    """One operator of one model on one GPU: its points in words, and its numbers as bytes."""
    several = ds.sizes["model"] > 1
    number = list(map(str, ds.model.values)).index(model)
    words = rows[[name for name in SAID_OF_POINTS if name in rows]].to_dict("records")
    return {
        "label": operator, "at": {"operator": operator, "gpu": gpu}, "points": [_plain(at) for at in words],
        "color": operator_color(operator), "hollow": False,
        "marker": SHAPES[number % len(SHAPES)] if several else "circle",
        "rows": [f"c{operator}", *([f"m{model}"] if several else [])],
        "numbers": np.ascontiguousarray(rows[list(MEASURED_NUMBERS)].to_numpy(dtype=float).T).tobytes(),
    }  # fmt: skip


def _plain(at: dict[Any, Any]) -> dict[str, Any]:
    """Words of a point, without what a kernel does not say: phase "any", or no sizes."""
    known = {str(name): value for name, value in at.items() if value not in (0, "any", "") and value == value}
    return {name: value if isinstance(value, str) else int(value) for name, value in known.items()}


def _legend(groups: list[dict[str, Any]], ds: xr.Dataset) -> list[dict[str, Any]]:
    rows = {}
    for group in groups:
        name, color = group["label"], group["color"]
        rows[f"c{name}"] = {"id": f"c{name}", "label": name, "color": color, "marker": "circle", "hollow": False}
    if ds.sizes["model"] > 1:
        for number, model in enumerate(map(str, ds.model.values)):
            shape = SHAPES[number % len(SHAPES)]
            rows[f"m{model}"] = {"id": f"m{model}", "label": model, "color": "", "marker": shape, "hollow": False}
    return list(rows.values())
