"""What was measured beside what is predicted, operator by operator, and what could not be assigned to one."""

import json

import numpy as np
import pandas as pd
import xarray as xr

from ..common.variables import COMPUTE, LIMITS, LINK, MEMORY
from ..signatures import typed

#: Of an explanation, what its table is made of.
EXPLAINED = (
    "flops", "bytes", "time", "measured_time", "ideal_time", "bound", "measured_calls", "kernels",
)  # fmt: skip
#: From which share of the roof on a kernel is at it, and up to which ratio a prediction holds [1].
AT_THE_ROOF, AS_PREDICTED = 0.6, 1.25


@typed(ds=EXPLAINED)
def explained(ds: xr.Dataset) -> pd.DataFrame:
    """Every operator of an explanation: what it took, how near to its roof it is, and what limits it.

    Parameters
    ----------
    ds : xr.Dataset
        From `workbench.explain`.

    Returns
    -------
    pd.DataFrame
        A row an operator and phase, and GPU, model, format, framework where there are several: calls and kernels [1],
        time [ms], its share of all that was measured [%]; measured TFLOP/s and GB/s; the roof's time and the predicted
        one over the measured [%], [1]; what bounds it, and whether that is what it waits for. Last, what could not be
        assigned. Where a profiler counted bytes, GB/s, the share of the roof and what bounds an operator are by these,
        and the column bytes says so: "counted", "model", or "both" where it counted those of some calls.
    """
    dims = [dim for dim in ("gpu", "model", "dtype", "framework", "tp") if ds.sizes.get(dim, 1) > 1]
    keys = [*dims, "operator", "phase"]
    counts = ("measured_bytes", "peak_flop_rate", "bandwidth")
    frame = ds[[name for name in (*EXPLAINED, *counts) if name in ds]].to_dataframe().reset_index()
    frame = frame.dropna(subset="measured_time")
    n = frame.measured_calls
    work = pd.DataFrame({
        "calls": n, "kernels": frame.kernels, "measured": n * frame.measured_time, "flops": n * frame.flops,
        "moved": n * frame.bytes, "ideal": n * frame.ideal_time, "modelled": n * frame.ideal_time,
        "predicted": n * frame.time,
    })  # fmt: skip
    if "measured_bytes" in ds:
        counted, flops = frame.measured_bytes.notna(), (frame.flops / frame.peak_flop_rate).fillna(0.0)
        moving = frame.measured_bytes / frame.bandwidth
        work["moved"] = work.moved.where(~counted, n * frame.measured_bytes)
        work["ideal"] = work.ideal.where(~counted, n * np.maximum(flops, moving))
        frame["bound"] = frame.bound.where(~counted | frame.bound.eq(LINK), np.where(flops > moving, COMPUTE, MEMORY))
        work["counted"] = n.where(counted, 0.0)
    known = work.ideal.notna()
    work["known"] = work.measured.where(known)
    for limit, name in LIMITS.items():
        work[name] = work.ideal.where(frame.bound == limit, 0.0)
    rows = work.join(frame[keys]).groupby(keys, sort=False).sum(min_count=1)
    order = [[*ds[dim].values] for dim in keys]
    rows = rows.reindex(sorted(rows.index, key=lambda key: [order[i].index(part) for i, part in enumerate(key)]))
    total = ds.attrs.get("total_time") or float(rows.measured.sum())
    table = pd.DataFrame({
        "calls": rows.calls, "kernels": rows.kernels, "time [ms]": 1e3 * rows.measured,
        "share [%]": 100 * rows.measured / total, "TFLOP/s": 1e-12 * rows.flops / rows.known,
        "GB/s": 1e-9 * rows.moved / rows.known, "of the roof [%]": 100 * rows.ideal / rows.known,
        "predicted [ms]": 1e3 * rows.predicted, "predicted / measured": rows.predicted / rows.known,
    }).reset_index()  # fmt: skip
    if "measured_bytes" in ds:
        some = np.select([rows.counted >= rows.calls, rows.counted > 0], ["counted", "both"], "model")
        table.insert([*table].index("GB/s") + 1, "bytes", np.where(table["GB/s"].notna(), some, ""))
    limits = rows[[*LIMITS.values()]]
    bound = limits.idxmax(axis=1).where(limits.max(axis=1) > 0, "")
    table["bound"] = bound.to_numpy()
    faster = (rows.modelled > rows.known).to_numpy()
    table["waits for"] = [
        FASTER if fast else _waits(*row)
        for fast, row in zip(faster, zip(*(table[n] for n in WAITS), strict=True), strict=True)
    ]
    left = unassigned(ds)
    if len(left):
        seconds = left["time [ms]"].sum()
        rest = {"operator": "not assigned", "kernels": left.kernels.sum(), "time [ms]": seconds}
        rest |= {"share [%]": 0.1 * seconds / total, **dict.fromkeys((*dims, "phase", "bound", "waits for"), "")}
        rest |= {"bytes": ""} if "bytes" in table else {}
        table = pd.concat([table, pd.DataFrame([rest])], ignore_index=True)
    return table


FASTER = "faster than the roof"
WAITS = ("of the roof [%]", "predicted / measured", "bound")


def _waits(roof: float, ratio: float, bound: str) -> str:
    """What a kernel waits for: its roof; what its law has besides; or what neither knows, as it is slower than both."""
    if not np.isfinite(roof):
        return "unknown"
    if roof >= 100 * AT_THE_ROOF:
        return bound
    return "launch, tiles" if np.isfinite(ratio) and ratio > 1 / AS_PREDICTED else "its own kernel"


@typed()
def unassigned(ds: xr.Dataset) -> pd.DataFrame:
    """Kernels that are of no operator of the model, as far as is known.

    Parameters
    ----------
    ds : xr.Dataset
        From `workbench.explain`.

    Returns
    -------
    pd.DataFrame
        A row a kernel, the longest first: kernels [1], time [ms], share of all that was measured [%], and why.

    Raises
    ------
    ValueError
        For a Dataset that is no explanation.
    """
    if "unassigned" not in ds.attrs:
        raise ValueError("ds has no attribute 'unassigned': expected what workbench.explain returns")
    table = pd.DataFrame(json.loads(ds.attrs["unassigned"]), columns=["kernel", "calls", "time_s", "why"])
    total = ds.attrs["total_time"]
    return pd.DataFrame({
        "kernel": table.kernel, "kernels": table.calls, "time [ms]": 1e3 * table.time_s.astype(float),
        "share [%]": 100 * table.time_s.astype(float) / total, "why": table.why,
    })  # fmt: skip
