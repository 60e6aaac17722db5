"""What a reader measured beside what is predicted: the tab of a timing file or of a load test."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .. import loadtest, tables, timings
from ..catalog.loading import as_id, entry_files
from ..explanation import explain, own_file
from ..serving.text_tables import assumed_lines
from .measured_chart import measured_roofline_section
from .view import View, chosen_models, named_gpus, view_draft

#: Rows of the table of what was not assigned that a page shows [1].
MOST_UNASSIGNED = 200
#: Characters of a load test in which it may say what it ran [1].
SAID_WITHIN = 2**18
#: What a load test calls its model and its GPU.
SAID = {"model": r'"(?:model_id|model|model_name)"', "gpu": r'"(?:gpu|gpu_name|gpu_type|hardware)"'}
#: Of both sides of a load test: label, variable, percentile, unit; what each is follows.
BOTH_SIDES: tuple[tuple[str, str, int | None, str], ...] = (
    ("requests", "offered", None, ""), ("finished", "finished", None, ""), ("failed", "failed", None, ""),
    ("output tokens per second", "output_token_rate", None, "1/s"),
    *((f"{name.upper()} p{p}", name, p, "s") for name in ("ttft", "tpot", "itl", "e2e") for p in (50, 99)),
    ("running, mean", "mean_running", None, ""), ("waiting, mean", "mean_waiting", None, ""),
)  # fmt: skip
#: Variables of a timeline that are drawn.
DRAWN_OVER_TIME = {
    "running": "requests running",
    "waiting": "requests waiting",
    "token_rate": "output tokens per second",
}


@dataclass
class Measured:
    """A file that a reader brought: which kind, its rows, and what it says that it ran on.

    Attributes
    ----------
    name : str
        What the reader calls it.
    kind : str
        "timings" or "load test".
    table : pandas.DataFrame
        Its kernels or requests, as `timings.read` or `loadtest.read` give them; times [s].
    gpu, model : str
        Ids that it says, "" where it does not or the catalog has none.
    warnings : list of str
        What is wrong with it, a line each.
    """

    name: str
    kind: str
    table: pd.DataFrame
    gpu: str = ""
    model: str = ""
    warnings: list[str] = field(default_factory=list)


def read_measured(path: str | Path, name: str = "") -> Measured:
    """Read a file of timings or a load test, whichever it is.

    Parameters
    ----------
    path : str or Path
        The file, or the name of one of the project's own measurements.
    name : str
        What the reader calls it.

    Returns
    -------
    Measured
        What is in it.

    Raises
    ------
    ValueError
        In one line, where it is neither, or is broken.
    """
    path = Path(own_file(path))
    name = name or path.name
    try:
        timings.recognize(path)
        is_timing, why = True, ""
    except ValueError as error:
        is_timing, why = False, str(error)
    if is_timing:
        table = timings.read_any(path)
        gpus = {_id(str(each), "gpus") for each in table.gpu.unique()}
        return Measured(
            name, "timings", table, gpus.pop() if len(gpus) == 1 else "", "", list(table.attrs["problems"])[:20]
        )
    try:
        loadtest.recognize(path)
    except ValueError as error:
        raise ValueError(_neither(path, name, why, str(error))) from None
    table = loadtest.read(path)
    said = {what: _said(path, pattern) for what, pattern in SAID.items()}
    gpu, model = _id(said["gpu"], "gpus"), _id(said["model"], "models")
    return Measured(name, "load test", table, gpu, model, list(table.attrs["warnings"])[:20])


def _neither(path: Path, name: str, timing: str, load: str) -> str:
    """Why a file is neither, by what its name or its content says; the first line of both readers would say less."""
    for why in (timing, load):
        if not any(words in why for words in ("not a known", "not in a known", "unknown", "no load test")):
            return why
    formats = "a PyTorch trace, a CSV of Nsight Compute or Systems or of this project; vLLM, SGLang, GuideLLM, AIPerf"
    return f"{name}: neither kernel timings nor a load test that is read here ({formats})"


def _said(path: Path, pattern: str) -> str:
    """What the beginning of a load test says under one of some names."""
    head = path.open("rb").read(SAID_WITHIN).decode("utf-8", "replace")
    found = re.search(pattern + r'\s*:\s*"([^"\\]{1,200})"', head)
    return found[1] if found else ""


def _id(name: str, folder: str) -> str:
    """The id of the catalog that a name means, or ""."""
    meant = as_id(name, folder)
    return meant if meant in entry_files(folder) else ""


# Timings ------------------------------------------------------------------------------------------------------------


def explained_file(view: View, file: Measured, step: tuple[int, ...] | None = None) -> dict[str, Any]:
    """A timing file beside the prediction: its points, its operators, and what was not assigned.

    Parameters
    ----------
    view : View
        Whose GPU and models it is explained by, where it does not say its own, and whose formats and engine.
    file : Measured
        Timings.
    step : tuple of int, optional
        What a step works on, where kernels say no sizes: sequences [1], new tokens and context [token].

    Returns
    -------
    dict
        What the page draws; times [s], rates [FLOP/s].
    """
    gpu = None if file.gpu else named_gpus(view)[0]
    ds = explain(file.table, gpu, None if says_models(file) else chosen_models(view), **explained_as(view, step))
    rows, left = tables.explained(ds), tables.unassigned(ds)
    gpus, models = (list(map(str, ds[dim].values)) for dim in ("gpu", "model"))
    return {
        "gpu": gpus, "model": models, "share": float(ds.attrs["assigned_share"]), "total": ds.attrs["total_time"],
        "roofline": measured_roofline_section(ds), "columns": list(rows.columns), "rows": _records(rows),
        "unassigned": _records(left.head(MOST_UNASSIGNED)), "unassigned_count": len(left),
        "notes": [
            *json.loads(ds.attrs["notes"]), *json.loads(ds.attrs["ambiguous"])[:20],
            *assumed_lines(ds.attrs["assumed"]),
        ],
    }  # fmt: skip


def says_models(file: Measured) -> bool:
    """Whether the names of kernels say their model, as this project's own files have them."""
    return bool(file.table["name"].str.contains(r"^[\w.-]+:[\w+]+$", regex=True).all())


def explained_as(view: View, step: tuple[int, ...] | None) -> dict[str, Any]:
    """The arguments of `workbench.explain` that a view says, besides GPU and models."""
    return {
        "step": step, "tp": view.tp if view.tp > 1 else None, "weight_dtype": view.weight_dtype,
        "activation_dtype": view.activation_dtype, "kv_dtype": view.kv_dtype, "engine": view.server.engine,
    }  # fmt: skip


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as JSON has them: None for what is not known."""
    return [
        {
            str(name): None if isinstance(value, float) and not np.isfinite(value) else _plain(value)
            for name, value in row.items()
        }
        for row in frame.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# Load tests ---------------------------------------------------------------------------------------------------------


def compared(view: View, file: Measured) -> dict[str, Any]:
    """A load test beside the same requests through the view's first GPU and model.

    Parameters
    ----------
    view : View
        Whose first GPU and model serve the requests, deployed as the view's server.
    file : Measured
        A load test.

    Returns
    -------
    dict
        Both sides' numbers, both over time, the settings, the limit in words, what would help.
    """
    both = loadtest.compare(file.table, named_gpus(view)[0], chosen_models(view)[0], **server_given(view))
    return {
        "gpu": [both.server.gpu.id], "model": [both.server.model.id], "rows": _both_sides(both.metrics),
        "settings": _records(both.settings), "over_time": _over_time(both.timeline), "paragraph": both.paragraph(),
        "changes": _records(both.changes.head(4)), "notes": list(both.notes),
    }  # fmt: skip


def server_given(view: View) -> dict[str, Any]:
    """Fields of the simulated server that the view says; what it leaves out is fitted."""
    server = view.server
    given: dict[str, Any] = {
        "tp": view.tp, "ep": server.ep, "dp": server.dp, "pp": server.pp, "network_gbs": server.network_gbs,
        "weight_dtype": view.weight_dtype, "activation_dtype": view.activation_dtype, "kv_dtype": view.kv_dtype,
        "max_num_seqs": server.max_num_seqs, "max_num_batched_tokens": server.max_num_batched_tokens,
        "gpu_memory_utilization": server.gpu_memory_utilization, "draft": view_draft(view),
    }  # fmt: skip
    said = {name: value for name, value in given.items() if value is not None}
    return said | {"engine": server.engine, "cached_prefix": server.cached_prefix}


def _both_sides(ds: xr.Dataset) -> list[dict[str, Any]]:
    """A row for each number that either side has."""
    rows = []
    for label, name, percentile, unit in BOTH_SIDES:
        if name not in ds:
            continue
        one = ds[name] if percentile is None else ds[name].sel(percentile=percentile)
        sides = {side: float(one.sel(source=side)) for side in ("measured", "simulated")}
        if any(map(np.isfinite, sides.values())):
            known = {side: value if np.isfinite(value) else None for side, value in sides.items()}
            rows.append({"label": label, "unit": unit, **known})
    return rows


def _over_time(ds: xr.Dataset) -> dict[str, Any]:
    """Both sides' series by variable, over the beginnings of steps [s]."""
    sides = ("measured", "simulated")
    series = [
        {"name": name, "label": label} | {side: _numbers(ds[name].sel(source=side)) for side in sides}
        for name, label in DRAWN_OVER_TIME.items()
    ]
    return {"time": _numbers(ds.time), "step": float(ds["step"]), "series": series}


def _numbers(values: xr.DataArray) -> list[float | None]:
    return [None if value != value else value for value in values.values.tolist()]
