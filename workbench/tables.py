"""Tables: the numbers behind a chart as tidy data frames, units in the column names."""

import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import pandas as pd
import xarray as xr

from .catalog.fits import KINDS, UNITS
from .catalog.gpu_entries import gpu as find_gpu
from .catalog.gpu_entries import gpus, kernel_fit
from .common.errors import unknown
from .common.project import DATA
from .common.variables import COMPUTE, LIMITS, with_units

Panel = Mapping[str, Any]  # quantity, operator, phase, seq_len; title and ridge if wanted: one axes of lines
Series = Mapping[str, Mapping[str, Any]]  # label: {operator: [...], phase: ..., candidates: ...}, a selection of a grid

#: Mean difference of the nine GEMMs (n, k >= 1024) that the samples of vidur and of aiconfigurator have in common, on
#: an A100 under two frameworks: a model with one set of numbers a GPU cannot come much closer to both [%].
NOISE_FLOOR = 5.0

#: Dims that a series may select from.
SELECTORS = ("gpu", "model", "operator", "phase", "candidates")
_PANEL = ("title", "quantity", "operator", "phase", "seq_len", "ridge")
_LINE = ["time_model", "operator", "phase", "seq_len", "batch_size"]
#: What the columns of `benchmarks` are called in a chart's table.
BENCHMARK_UNITS = {
    "seconds": "time [s]", "copy_seconds": "copy [s]", "result_bytes": "result [byte]", "peak_bytes": "peak [byte]",
    "disk_bytes": "disk [byte]", "ns_per_cell": "time per cell [ns]", "points_per_second": "points per second [1/s]",
}  # fmt: skip
#: Keys of a series that say how `plots.roofline` draws it.
LOOKS = ("color", "marker")


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
    return ds.sel({dim: value if isinstance(value, list) else [value] for dim, value in chosen.items()})


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
        A row a point, units in the header.
    """
    frames = []
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)[["intensity", "performance", "attainable", "time", "bound"]]
        frame = part.to_dataframe(dim_order=list(part.dims)).reset_index()
        frames.append(frame.assign(series=label))
    table = pd.concat(frames, ignore_index=True)
    table["bound"] = table.bound.map(LIMITS)
    labels = ["series", *(str(dim) for dim in ds.dims)]
    return with_units(table[labels + [name for name in table.columns if name not in labels]])


def series_ranges(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """Lowest and highest operational intensity of each series, and how many of its points are compute-bound.

    Parameters
    ----------
    ds, series
        As for `points`.

    Returns
    -------
    pd.DataFrame
        A row a series: from, to [FLOP/byte], compute-bound and points [1].
    """
    rows = {}
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)
        ends = {"from": f"{part.intensity.min().item():.4g}", "to": f"{part.intensity.max().item():.4g}"}
        rows[label] = ends | {"compute-bound": int((part.bound == COMPUTE).sum()), "points": part.bound.size}
    return pd.DataFrame.from_dict(rows, orient="index")


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
    if panel["quantity"] not in ds:
        raise unknown("quantity of a panel", panel["quantity"], ds)
    part = ds[[panel["quantity"], *(["ridge_batch_size"] if panel.get("ridge") else [])]]
    part = part.sel(operator=panel["operator"], phase=[panel["phase"]], seq_len=panel["seq_len"])
    if panel["quantity"] == "share":
        part = part.sum("operator").expand_dims(operator=[" + ".join(panel["operator"])])
    return part.to_dataframe(dim_order=_LINE).reset_index()


def curves(ds: xr.Dataset, panels: Iterable[Panel]) -> pd.DataFrame:
    """Every point of several panels, once.

    Parameters
    ----------
    ds : xr.Dataset
        From `studies.batching_effects`.
    panels : iterable of mapping
        As for `lines`.

    Returns
    -------
    pd.DataFrame
        A row a point, with all that is plotted of it; units in the header.
    """
    table = pd.concat([lines(ds, panel) for panel in panels])
    return with_units(table.groupby(_LINE, sort=False).first().reset_index())


def fits() -> pd.DataFrame:
    """How good each fitted part of the kernel-time model is.

    Returns
    -------
    pd.DataFrame
        A row a GPU and kind of kernel that has a fit: gpu, kind; rows timed [1]; error and bias [%], the mean absolute
        and the mean error on held-out rows; held_out, how those were chosen; sources, the timings' repositories.
    """
    return pd.DataFrame(
        {
            "gpu": name, "kind": kind, "rows": evidence.rows, "error [%]": evidence.error_percent,
            "bias [%]": evidence.bias_percent, "held_out": evidence.held_out,
            "sources": ", ".join(re.findall(r"github\.com/([\w.-]+/[\w.-]+)", evidence.source)),
        }
        for name in gpus() if (model := find_gpu(name).kernel_model)
        for kind in KINDS if (evidence := model.fitted_on.get(kind))
    )  # fmt: skip


def fidelity() -> pd.DataFrame:
    """Errors of the ideal roofline and of the kernel-time model on public timings.

    Returns
    -------
    pd.DataFrame
        A row a GPU, kind, source (a repository) and regime: rows timed [1]; ideal, error, bias, refit [%]: mean
        absolute error of the ideal roofline; mean absolute and mean error of the catalog's parameters, which were
        fitted on these rows, too; and mean absolute error on held-out shapes of a refit to the rest of that source.
        ``data/fidelity.csv`` says how.
    """
    table = pd.read_csv(str(DATA / "fidelity.csv"), comment="#")
    names = {"ideal_error_percent": "ideal [%]", "refit_error_percent": "refit [%]"}
    return table.rename(columns=names | {f"{name}_percent": f"{name} [%]" for name in ("error", "bias")})


def fit_parameters() -> pd.DataFrame:
    """Every fitted number of the catalog.

    Returns
    -------
    pd.DataFrame
        A row a number: gpu, kind, parameter, value and its unit.
    """
    return pd.DataFrame(
        {"gpu": name, "kind": kind, "parameter": parameter, "value": float(value), "unit": UNITS[parameter]}
        for name in gpus() if (model := find_gpu(name).kernel_model)
        for kind in KINDS if (fit := getattr(model, kind))
        for parameter, value in fit if parameter in fit.model_fields_set and type(value) is not bool
    )  # fmt: skip


def lenders() -> pd.DataFrame:
    """Whose fit each GPU of the catalog computes with.

    Returns
    -------
    pd.DataFrame
        A row a GPU, a column a kind of kernel; the ids of GPUs.
    """
    return pd.DataFrame(
        {kind: [kernel_fit(find_gpu(name), kind).gpu for name in gpus()] for kind in KINDS},
        index=pd.Index(gpus(), name="gpu"),
    )


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
    groups = ds.group_latency.to_series().unstack("group")[list(ds.group.values)].reset_index()
    return table.assign(**{f"latency of {name} [s]": groups[name] for name in ds.group.values})


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
    units = {"ttft_s": "ttft [s]", "tpot_s": "tpot [s]", "memory_gb": "memory [GB]"}
    rates = {name: f"{name} [1/s]" for name in ("tokens_per_second", "requests_per_second")}
    return table.sort_values(["gpu", "tp", "batch_size"]).rename(columns=units | rates)


def benchmarks() -> pd.DataFrame:
    """What ``make bench`` measured.

    Returns
    -------
    pd.DataFrame
        A row a benchmark: benchmark, case, time_model; cells, points [1], of which a point is a batch size, length and
        phase with every operator of a model; result_bytes, peak_bytes, disk_bytes [byte]; seconds, copy_seconds [s],
        medians, the latter of copying as many bytes as the result holds; over_copy, peak_over_result [1]; ns_per_cell
        [ns]; points_per_second [1/s]; rounds [1]. ``attrs["machine"]`` says where, with which versions, and when.
    """
    path = DATA / "benchmarks.csv"
    whole = ("cells", "points", "result_bytes", "peak_bytes", "disk_bytes")
    table = pd.read_csv(str(path), comment="#", dtype=dict.fromkeys(whole, "Int64"))
    table = table.fillna({"case": "", "time_model": ""})
    table["over_copy"] = table.seconds / table.copy_seconds
    table["ns_per_cell"] = 1e9 * table.seconds / table.cells
    table["points_per_second"] = table.points / table.seconds
    table.attrs["machine"] = path.read_text().partition("\n")[0].removeprefix("# ")
    return table
