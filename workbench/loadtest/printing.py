"""What a load test shows, as text: one run, or a table of several."""

import numpy as np
import pandas as pd
import xarray as xr

from ..common.errors import unknown
from ..signatures import typed
from .claims import significant
from .summary import PERCENTILES


@typed(ds=("offered", "output_token_rate", "mean_waiting", "ttft_samples"))
def report(ds: xr.Dataset) -> str:
    """The metrics of a load test as text.

    Parameters
    ----------
    ds : xr.Dataset
        From `metrics`.

    Returns
    -------
    str
        A line each, latencies in ms; "unknown" where NaN.
    """
    value = {str(name): variable.item() for name, variable in ds.data_vars.items() if not variable.dims}

    def show(name: str, form: str = "") -> str:
        known = format(value[name], form) if form else significant(value[name])
        return known if np.isfinite(value[name]) else "unknown"

    lines = [f"window       {ds.attrs['window']}"]
    for name in ("offered", "started", "finished", "failed", "unfinished"):
        share = 100 * value[name] / value["offered"]
        rate = f"  {show(name + '_rate')} per second" if name + "_rate" in value else ""
        lines.append(f"{name:<12}{value[name]:>8,}{share:>7.1f} %{rate}")
    if ds.attrs.get("errors"):
        lines.append(f"errors       {ds.attrs['errors']}")
    lines.append(f"output      {show('output_token_rate', ',.1f'):>8} tokens per second of finished requests")
    if value["uncounted"]:
        lines[-1] += f"; {value['uncounted']:,} started requests have no count"
        lines.append(
            f"            {show('implied_token_rate', ',.1f'):>8} tokens per second, if all running requests were as"
            " fast as those that finished"
        )
    tokens = f"{show('prompt_tokens', ',.1f'):>8} prompt tokens, {show('output_tokens', ',.1f')} output tokens"
    lines.append(f"mean        {tokens}")
    lines.append(
        f"queue       {show('mean_waiting', ',.1f'):>8} waiting, {show('mean_running', ',.1f')} running, on average"
    )
    for name in ("ttft", "tpot", "itl", "e2e"):
        if samples := value[f"{name}_samples"]:
            points = ", ".join(f"p{p} {1e3 * ds[name].sel(percentile=p).item():,.1f}" for p in PERCENTILES)
            lines.append(f"{name.upper():<13}{points} ms  ({samples:,} samples)")
    if "good" in value:
        goal = f"{value['good_share']:.1f} % of those offered, {show('goodput')} per second"
        lines.append(f"good        {value['good']:>8,} finished within {ds.attrs['slo']}: {goal}")
    return "\n".join(lines)


#: Columns of a printed table of runs: their heading, and what their unit is multiplied by to be printed.
RUN_HEADINGS = {
    "asked_rate": ("asked/s", 1.0), "concurrency": ("at a time", 1.0), "finished": ("finished", 1.0),
    "failed": ("failed", 1.0), "finished_rate": ("req/s", 1.0), "output_token_rate": ("tokens/s", 1.0),
    "prompt_token_rate": ("prompt tok/s", 1.0), "total_token_rate": ("all tok/s", 1.0),
    **{f"{name}_{which}": (f"{name.upper()} {which} ms", 1e3)
       for name in ("ttft", "tpot", "itl", "e2e") for which in ("mean", "p50", "p99")},
}  # fmt: skip


@typed(table=("run", "source"))
def report_runs(table: pd.DataFrame) -> str:
    """A table of runs as text.

    Parameters
    ----------
    table : pd.DataFrame
        From `runs`.

    Returns
    -------
    str
        A line a run, with the columns of which something is known, latencies in ms.

    Raises
    ------
    ValueError
        Where it is no table of runs.
    """
    if missing := [name for name in RUN_HEADINGS if name not in table]:
        raise unknown("table of runs, without the column", missing[0], table.columns)
    columns = {
        heading: ["" if np.isnan(value) else significant(scale * value) for value in table[name]]
        for name, (heading, scale) in RUN_HEADINGS.items()
        if table[name].notna().any()
    }
    labels = table.label.astype(str) if table.label.astype(str).str.len().any() else pd.Series("", table.index)
    return pd.DataFrame({"run": table.run.astype(str), "": labels.str[:36]} | columns).to_string(index=False)
