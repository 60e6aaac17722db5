"""The T4 report's static half: its tables by its formulas and by ours, what bounds a pass, and a step's traffic."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from ..common.variables import COMPUTE, stamp, with_units
from ..grid.dataset import forward_pass, roofline_grid
from ..published.t4 import t4_report
from ..signatures import typed

#: Columns of the report's static tables: the variable, the factor to the printed unit, and the heading.
STATIC_COLUMNS = {
    "intensity": ("intensity", 1.0, "Operational intensity (FLOP/byte)"),
    "tflops": ("performance", 1e-12, "Performance (TFLOP/s)"),
    "percent_of_peak": ("percent_of_peak", 1.0, "Share of peak (%)"),
    "time_ms": ("time", 1e3, "Time per forward pass (ms)"),
    "tokens_per_second": ("tokens_per_second", 1.0, "Tokens per second"),
}


@typed()
def static_tables(
    phase: str, batch_size: Any, seq_len: Any, *, gpu: str = "t4", model: str = "llama-2-7b-awq"
) -> xr.Dataset:
    """Compute the report's static table of a phase twice: by its own formulas and by ours.

    Parameters
    ----------
    phase : str
        "prefill" or "decode".
    batch_size : int or list of int
        Sequences [1].
    seq_len : int or list of int
        Prompt or context of each [token].
    gpu, model : str
        Catalog ids, for ours; the report's formulas have their T4 and Llama-2-7B built in.

    Returns
    -------
    xarray.Dataset
        Dims source ("report", "workbench"), batch_size, seq_len. intensity [FLOP/byte], performance [FLOP/s],
        percent_of_peak [%], time of a forward pass [s] and tokens_per_second [1/s]; and the ceilings of the GPU:
        peak_flop_rate [FLOP/s], bandwidth [byte/s], ridge_point [FLOP/byte].
    """
    grid = roofline_grid(gpu, model, phase=phase, batch_size=batch_size, seq_len=seq_len)
    ours = forward_pass(grid).squeeze(["gpu", "model", "phase"])
    ours["tokens_per_second"] = ours.batch_size * (ours.seq_len if phase == "prefill" else 1) / ours.time
    report = t4_report(phase, ours.batch_size.values[:, None], ours.seq_len.values)
    both = xr.concat(
        [
            ours[list(report)].assign({name: (("batch_size", "seq_len"), v) for name, v in report.items()}),
            ours[list(report)],
        ],
        pd.Index(["report", "workbench"], name="source"),
    )
    both["percent_of_peak"] = 100 * both.performance / ours.peak_flop_rate
    return stamp(both.assign({name: ours[name] for name in ("peak_flop_rate", "bandwidth", "ridge_point")}))


@typed()
def batching_gain(batch_size: Any, seq_len: Any) -> xr.DataArray:
    """Compute what decoding a batch gains over one sequence, by the report's formulas and by ours.

    Parameters
    ----------
    batch_size : int or list of int
        Sequences [1].
    seq_len : int or list of int
        Context of each [token].

    Returns
    -------
    xarray.DataArray
        Tokens per second over those of one sequence at the same context [1]; dims source, batch_size, seq_len.
    """
    many, one = (static_tables("decode", batch, seq_len).tokens_per_second for batch in (batch_size, 1))
    gain: xr.DataArray = many / one.squeeze("batch_size", drop=True)
    return gain


@typed()
def pass_limits(
    phase: str, batch_size: Any, seq_len: Any, *, gpu: str = "t4", model: str = "llama-2-7b-awq"
) -> xr.Dataset:
    """Say what bounds a forward pass on the ideal roof, by the time of its operators.

    Parameters
    ----------
    phase : str
        "prefill" or "decode".
    batch_size : int or list of int
        Sequences [1].
    seq_len : int or list of int
        Prompt or context of each [token].
    gpu, model : str
        Catalog ids.

    Returns
    -------
    xarray.Dataset
        Dims batch_size, seq_len. time, the sum of the operators' [s]; memory_bound and compute_bound, the share of it
        in which an operator is at the memory's or at the peak's limit [%]; percent_of_peak, over the whole time [%].
    """
    grid = roofline_grid(gpu, model, phase=phase, batch_size=batch_size, seq_len=seq_len).squeeze(
        ["gpu", "model", "phase"], drop=True
    )
    times = grid.time * grid.calls
    whole = forward_pass(grid)
    compute = 100 * times.where(grid.bound == COMPUTE, 0.0).sum("operator") / whole.time
    limits = {"time": whole.time, "memory_bound": 100 - compute, "compute_bound": compute}
    return xr.Dataset(limits | {"percent_of_peak": 100 * whole.performance / whole.peak_flop_rate})


@typed(ds=[variable for variable, *_ in STATIC_COLUMNS.values()])
def side_by_side(ds: xr.Dataset) -> pd.DataFrame:
    """Lay a static table out as the report prints it, each column twice.

    Parameters
    ----------
    ds : xarray.Dataset
        From `static_tables`.

    Returns
    -------
    pandas.DataFrame
        Rows batch_size and seq_len; columns (a key of `STATIC_COLUMNS`, "report" or "workbench"); text with 4
        significant digits in the printed unit.
    """
    columns = {
        (name, str(source)): (ds[variable].sel(source=source) * scale).to_series()
        for name, (variable, scale, _) in STATIC_COLUMNS.items()
        for source in ds.source.values
    }
    return pd.DataFrame(columns).map(lambda value: f"{value:.4g}")


@typed()
def static_rows(phases: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Write static tables as tidy rows.

    Parameters
    ----------
    phases : mapping of str to xarray.Dataset
        By phase, what `static_tables` gives for it.

    Returns
    -------
    pandas.DataFrame
        A row for each cell: phase, source, batch_size, seq_len and the variables of `STATIC_COLUMNS` in SI units, which
        the header names.
    """
    if not phases:
        raise ValueError("phases is empty: give at least one")
    names = [variable for variable, _, _ in STATIC_COLUMNS.values()]
    frames = [
        ds[names].to_dataframe(dim_order=["source", "batch_size", "seq_len"]).reset_index().assign(phase=phase)
        for phase, ds in phases.items()
    ]
    return with_units(pd.concat(frames, ignore_index=True)[["phase", "source", "batch_size", "seq_len", *names]])


@typed()
def decode_parts(gpu: str, model: str, batch_size: int, seq_len: int) -> dict[str, float]:
    """Part the memory traffic of a decoding step by what it moves.

    Parameters
    ----------
    gpu, model : str
        Catalog ids.
    batch_size : int
        Sequences [1].
    seq_len : int
        Context of each [token].

    Returns
    -------
    dict of float
        total; attention, that is the KV cache with queries and outputs; and of the rest weights and activations [byte].
    """
    batches = [batch_size, 2 * batch_size]  # activations grow with the batch, weights do not
    ds = roofline_grid(gpu, model, phase="decode", batch_size=batches, seq_len=seq_len)
    moved = (ds.bytes * ds.calls).squeeze()
    attention = moved.sel(operator="attention").values
    rest = moved.sum("operator").values - attention
    activations = rest[1] - rest[0]
    parts = {
        "total": rest[0] + attention[0], "attention": attention[0], "weights": rest[0] - activations,
        "activations": activations,
    }  # fmt: skip
    return {name: float(part) for name, part in parts.items()}
