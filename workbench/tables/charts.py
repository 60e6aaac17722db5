"""Tables behind charts: what a grid, a study, a plan or a speedup has in each of its points."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
import xarray as xr

from ..common.arguments import as_list, one_of
from ..common.errors import unknown
from ..common.variables import COMPUTE, LIMITS, with_units
from ..signatures import typed

Panel = Mapping[str, Any]  # quantity, operator, phase, seq_len; title and ridge if wanted: one axes of lines
Series = Mapping[str, Mapping[str, Any]]  # label: {operator: [...], phase: ..., candidates: ...}, a selection of a grid

#: Dims that a series may select from.
SELECTORS = ("gpu", "model", "operator", "phase", "candidates")
_PANEL = ("title", "quantity", "operator", "phase", "seq_len", "ridge")
_LINE = ["time_model", "operator", "phase", "seq_len", "batch_size"]
#: Keys of a series that say how `plots.roofline` draws it.
LOOKS = ("color", "marker")
#: What the columns of a plan are called where they are shown.
PLAN_UNITS = {
    "ttft_s": "ttft [s]", "tpot_s": "tpot [s]", "memory_gb": "memory [GB]", "expected_error": "expected error [%]",
    "tokens_per_second": "tokens_per_second [1/s]", "requests_per_second": "requests_per_second [1/s]",
}  # fmt: skip
#: Of a grid, what its charts show.
POINTS = ("intensity", "performance", "attainable", "time", "bound")


@typed()
def default_series(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    """One series for each operator and phase of a grid, and for each model where there are several.

    Parameters
    ----------
    ds : xr.Dataset
        A grid.

    Returns
    -------
    dict of str to dict
        By label, the selection of the grid.
    """
    dims = [dim for dim in ("model", "operator", "phase") if dim in ds.dims and (dim != "model" or ds.sizes[dim] > 1)]
    settings = product(*(ds[dim].values for dim in dims))
    return {" ".join(labels): dict(zip(dims, labels, strict=True)) for labels in settings}


@typed()
def select(ds: xr.Dataset, selection: Mapping[str, Any]) -> xr.Dataset:
    """The part of a grid that a series shows.

    Parameters
    ----------
    ds : xr.Dataset
        A grid.
    selection : mapping of str to str or list
        By dim of `SELECTORS`, its labels; keys of `LOOKS` are passed over.

    Returns
    -------
    xr.Dataset
        The part, with all dims, also those of length one.
    """
    for key in selection:
        if key not in (*SELECTORS, *LOOKS):
            raise unknown("key of a series", key, (*SELECTORS, *LOOKS))
    chosen = {dim: selection[dim] for dim in SELECTORS if dim in selection}
    return _labelled(ds, {dim: as_list(dim, value) for dim, value in chosen.items()})


def _labelled(ds: xr.Dataset, labels: Mapping[str, list[Any]]) -> xr.Dataset:
    """The part of a Dataset with these labels; ValueError where it lacks one."""
    for dim, wanted in labels.items():
        if dim not in ds.indexes:
            raise unknown("dim", dim, ds.indexes)
        for label in wanted:
            if label not in list(ds[dim].values):
                raise unknown(dim, label, ds[dim].values)
    return ds.sel(labels)


@typed()
def chosen(table: pd.DataFrame, column: str, values: Sequence[str]) -> pd.DataFrame:
    """The rows of a table that have certain values.

    Parameters
    ----------
    table : pd.DataFrame
        Any.
    column : str
        One of its columns.
    values : sequence of str
        Of that column.

    Returns
    -------
    pd.DataFrame
        Their rows, in their order.

    Raises
    ------
    ValueError
        For a value that the column has nowhere.
    """
    if column not in table:
        raise unknown("column", column, table, "table")
    for value in values:
        if value not in set(table[column]):
            raise unknown(column, value, table[column].unique(), "values")
    return table.loc[table[column].isin(values)]


@typed(ds=POINTS)
def points(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """Every plotted point of a roofline chart.

    Parameters
    ----------
    ds : xr.Dataset
        A grid.
    series : mapping of str to mapping, optional
        By label, a selection of the grid; None is `default_series`.

    Returns
    -------
    pd.DataFrame
        A row a point, units in the header; `attrs` has the grid's `assumed`.
    """
    frames = []
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)[list(POINTS)]
        frame = part.to_dataframe(dim_order=list(part.dims)).reset_index()
        frames.append(frame.assign(series=label))
    table = pd.concat(frames, ignore_index=True)
    table["bound"] = table.bound.map(LIMITS)
    labels = ["series", *(str(dim) for dim in ds.dims)]
    table = with_units(table[labels + [name for name in table.columns if name not in labels]])
    table.attrs["assumed"] = ds.attrs.get("assumed", "")
    return table


@typed(ds=("intensity", "bound"))
def series_ranges(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """Lowest and highest operational intensity of each series, and how many of its points are compute-bound.

    Parameters
    ----------
    ds, series
        As for `points`.

    Returns
    -------
    pd.DataFrame
        A row a series: from and to [FLOP/byte], compute-bound and points [1].
    """
    rows = {}
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)
        ends = {"from [FLOP/byte]": part.intensity.min().item(), "to [FLOP/byte]": part.intensity.max().item()}
        rows[label] = ends | {"compute-bound": int((part.bound == COMPUTE).sum()), "points": part.bound.size}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("series")


@typed()
def lines(ds: xr.Dataset, panel: Panel) -> pd.DataFrame:
    """The points of one panel of lines against batch size.

    Parameters
    ----------
    ds : xr.Dataset
        From `studies.batching_effects`.
    panel : mapping
        quantity (a variable of `ds`), operator and seq_len (lists), phase; ridge: true adds ridge_batch_size. Shares
        are added up over the panel's operators, "qk + pv".

    Returns
    -------
    pd.DataFrame
        A row a point; columns as `ds` names them, without units.
    """
    for key in panel:
        if key not in _PANEL:
            raise unknown("key of a panel", key, _PANEL)
    for key in ("quantity", "operator", "phase", "seq_len"):
        if key not in panel:
            raise ValueError(f"panel has no {key!r}: it has {', '.join(map(str, panel)) or 'none'}")
    one_of("quantity of a panel", panel["quantity"], [str(name) for name in ds])
    part = ds[[panel["quantity"], *(["ridge_batch_size"] if panel.get("ridge") else [])]]
    part = _labelled(part, {dim: as_list(dim, panel[dim]) for dim in ("operator", "phase", "seq_len")})
    if panel["quantity"] == "share":
        part = part.sum("operator").expand_dims(operator=[" + ".join(panel["operator"])])
    return part.to_dataframe(dim_order=_LINE).reset_index()


@typed()
def curves(ds: xr.Dataset, panels: Sequence[Panel]) -> pd.DataFrame:
    """Every point of several panels, once.

    Parameters
    ----------
    ds : xr.Dataset
        From `studies.batching_effects`.
    panels : sequence of mapping
        As for `lines`.

    Returns
    -------
    pd.DataFrame
        A row a point, with all that is plotted of it; units in the header.
    """
    table = pd.concat([lines(ds, panel) for panel in as_list("panels", panels)])
    return with_units(table.groupby(_LINE, sort=False).first().reset_index())


@typed(ds=("operator", "candidates", "intensity", "performance"))
def by_candidates(ds: xr.Dataset) -> pd.DataFrame:
    """Intensity and performance of each operator by candidates, as in tables 6 to 8 of the Medusa paper.

    Parameters
    ----------
    ds : xr.Dataset
        A grid by operator and candidates, with one setting of everything else.

    Returns
    -------
    pd.DataFrame
        A row a candidate count: of each operator intensity [FLOP/byte] and performance [TFLOP/s].

    Raises
    ------
    ValueError
        Where another dim is longer than 1.

    References
    ----------
    Cai et al. 2024, *Medusa*, arXiv 2401.10774v3.
    """
    for dim in ds.dims:
        if dim not in ("operator", "candidates") and ds.sizes[dim] > 1:
            raise ValueError(f"by_candidates of {ds.sizes[dim]} values of {dim}: select one")
    one = ds.squeeze([dim for dim in ds.dims if dim not in ("operator", "candidates")], drop=True)
    columns = {
        (str(operator), label): (one[name].sel(operator=operator) * scale).to_series()
        for operator in one.operator.values
        for name, label, scale in (("intensity", "FLOP/byte", 1), ("performance", "TFLOP/s", 1e-12))
    }
    return pd.DataFrame(columns).map(lambda value: f"{value:.4g}")


@typed(ds=("group_latency", "best_candidates", "best_speedup"))
def speedups(ds: xr.Dataset) -> pd.DataFrame:
    """Every number of a chart of speedups.

    Parameters
    ----------
    ds : xr.Dataset
        From `speculation.speedup`.

    Returns
    -------
    pd.DataFrame
        A row a setting and candidate count, units in the header.
    """
    lines = ds.drop_dims("group").drop_vars(["best_candidates", "best_speedup"])
    order = [dim for dim in ds.dims if dim != "group"]
    table = with_units(lines.to_dataframe(dim_order=order).reset_index())
    table.attrs["assumed"] = ds.attrs.get("assumed", "")
    groups = ds.group_latency.to_series().unstack("group")[list(ds.group.values)].reset_index()
    return table.assign(**{f"latency of {name} [s]": groups[name] for name in ds.group.values})


@typed(ds=("best_candidates", "best_speedup"))
def best_candidates(ds: xr.Dataset) -> pd.DataFrame:
    """The best number of candidates and its speedup.

    Parameters
    ----------
    ds : xr.Dataset
        From `speculation.speedup`.

    Returns
    -------
    pd.DataFrame
        A row a setting [1].
    """
    best = ds[["best_candidates", "best_speedup"]]
    table = best.to_dataframe(dim_order=list(best.dims)).reset_index()
    return with_units(table.assign(best_speedup=table.best_speedup.map(lambda value: f"{value:.2f}")))


@typed(table=("gpu", "tp", "batch_size"))
def plan_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Every row of a capacity plan.

    Parameters
    ----------
    table : pd.DataFrame
        From `serving.plan`.

    Returns
    -------
    pd.DataFrame
        By GPU, tp and batch size, units in the header.
    """
    return table.sort_values(["gpu", "tp", "batch_size"]).rename(columns=PLAN_UNITS)


@typed()
def step_rows(runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What every step of several simulations computes of every request.

    Parameters
    ----------
    runs : dict of pd.DataFrame
        By label, from `simulation.simulate` with ``steps=True``.

    Returns
    -------
    pd.DataFrame
        A row for what a step computes of a request: schedule (the label), start, end [s], request (from 1), phase,
        tokens.

    Raises
    ------
    ValueError
        For no run, and one without steps.
    """
    if not runs:
        raise ValueError("runs is empty: expected one or more")
    for label, run in runs.items():
        if not run.attrs.get("steps"):
            raise ValueError(f"{label} has no steps: simulate with steps=True")
    rows = pd.concat([pd.DataFrame(run.attrs["steps"]).assign(schedule=label) for label, run in runs.items()])
    phase = rows.pop("decoding").map({False: "prefill", True: "decode"})
    rows = rows.assign(phase=phase, request=rows.request + 1)[
        ["schedule", "start_s", "end_s", "request", "phase", "tokens"]
    ]
    return rows.rename(columns={"start_s": "start [s]", "end_s": "end [s]"}).reset_index(drop=True)
