"""Tables: the numbers behind a chart as tidy data frames, units in the column names."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from . import published
from .grid import VARIABLES, forward_pass, roofline_grid, stamp

Series = Mapping[str, Mapping[str, Any]]  # label: {operator: [...], phase: ..., candidates: ...}, a selection of a grid

_SELECTORS = ("gpu", "model", "operator", "phase", "candidates")


def default_series(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    """One series for each operator and phase of a grid."""
    return {
        f"{operator} {phase}": {"operator": operator, "phase": phase}
        for operator in ds.operator.values
        for phase in ds.phase.values
    }


def select(ds: xr.Dataset, selection: Mapping[str, Any]) -> xr.Dataset:
    """The part of a grid that a series shows; its dims stay, also those of length one."""
    chosen = {dim: selection[dim] for dim in _SELECTORS if dim in selection}
    return ds.sel({dim: value if isinstance(value, list) else [value] for dim, value in chosen.items()})


def points(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """Every plotted point of a roofline chart, a row each, with units in the header.

    ds : a grid
    series : label -> selection; None is one series for each operator and phase
    """
    frames = []
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)[["intensity", "performance", "attainable", "time", "bound"]]
        frame = part.to_dataframe(dim_order=list(part.dims)).reset_index()
        frames.append(frame.assign(series=label))
    table = pd.concat(frames, ignore_index=True)
    table["bound"] = table.bound.map({0: "memory", 1: "compute"})
    labels = ["series", *(str(dim) for dim in ds.dims)]
    return with_units(table[labels + [name for name in table.columns if name not in labels]])


def with_units(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with the unit of each known variable behind its name, e.g. ``time [s]``."""
    unit = {name: VARIABLES[name][0] for name in table.columns if name in VARIABLES and name != "bound"}
    return table.rename(columns={name: f"{name} [{u}]" for name, u in unit.items() if u and u != "1"})


def series_ranges(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """Lowest and highest operational intensity of each series, and how many of its points compute bounds.

    Columns: from, to [FLOP/byte], compute-bound and points [1]; a row a series.
    """
    rows = {}
    for label, selection in (series or default_series(ds)).items():
        part = select(ds, selection)
        ends = {"from": f"{part.intensity.min().item():.4g}", "to": f"{part.intensity.max().item():.4g}"}
        rows[label] = ends | {"compute-bound": int((part.bound == 1).sum()), "points": part.bound.size}
    return pd.DataFrame.from_dict(rows, orient="index")


#: Columns of the T4 report's static tables: the variable, the factor to the printed unit, and the heading.
STATIC_COLUMNS = {
    "intensity": ("intensity", 1.0, "Operational intensity (FLOP/byte)"),
    "tflops": ("performance", 1e-12, "Performance (TFLOP/s)"),
    "percent_of_peak": ("percent_of_peak", 1.0, "Share of peak (%)"),
    "time_ms": ("time", 1e3, "Time per forward pass (ms)"),
    "tokens_per_second": ("tokens_per_second", 1.0, "Tokens per second"),
}


def static_tables(
    phase: str, batch_size: list[int], seq_len: list[int], *, gpu: str = "t4", model: str = "llama-2-7b-awq"
) -> xr.Dataset:
    """The T4 report's static table of a phase twice: by the report's formulas and by ours, side by side.

    gpu, model : ours; the report's own formulas have their T4 and Llama-2-7B built in
    Returns intensity [FLOP/byte], performance [FLOP/s], percent_of_peak [%], time [s] and tokens_per_second [1/s] with
    dims source ("report", "workbench"), batch_size, seq_len, and the ceilings of the GPU.
    """
    grid = roofline_grid(gpu, model, phase=phase, batch_size=batch_size, seq_len=seq_len)
    ours = forward_pass(grid).squeeze(["gpu", "model", "phase"])
    ours["tokens_per_second"] = ours.batch_size * (ours.seq_len if phase == "prefill" else 1) / ours.time
    report = published.t4_report(phase, ours.batch_size.values[:, None], ours.seq_len.values)
    both = xr.concat(
        [
            ours[list(report)].assign({name: (("batch_size", "seq_len"), v) for name, v in report.items()}),
            ours[list(report)],
        ],
        pd.Index(["report", "workbench"], name="source"),
    )
    both["percent_of_peak"] = 100 * both.performance / ours.peak_flop_rate
    return stamp(both.assign({name: ours[name] for name in ("peak_flop_rate", "bandwidth", "ridge_point")}))


def side_by_side(ds: xr.Dataset) -> pd.DataFrame:
    """The static tables as the report prints them, each column twice: report and workbench."""
    columns = {
        (name, str(source)): (ds[variable].sel(source=source) * scale).to_series()
        for name, (variable, scale, _) in STATIC_COLUMNS.items()
        for source in ds.source.values
    }
    return pd.DataFrame(columns).map(lambda value: f"{value:.4g}")


def static_rows(phases: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Static tables of one or both phases as tidy rows, units in the header."""
    names = [variable for variable, _, _ in STATIC_COLUMNS.values()]
    frames = [
        ds[names].to_dataframe(dim_order=["source", "batch_size", "seq_len"]).reset_index().assign(phase=phase)
        for phase, ds in phases.items()
    ]
    return with_units(pd.concat(frames, ignore_index=True)[["phase", "source", "batch_size", "seq_len", *names]])
