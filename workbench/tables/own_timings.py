"""The project's own measurements, in ``data/measured``: they judge the kernel-time model and are never fitted on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..common.arguments import one_of
from ..common.project import DATA
from ..common.variables import with_units
from ..signatures import typed
from .charts import Series, default_series, select

#: The measurements by name, each a CSV whose comment lines say where it is from.
OWN_FILES = {file.name.removesuffix(".csv"): file for file in (DATA / "measured").iterdir() if ".csv" in file.name}


def measurements() -> pd.DataFrame:
    """What this project has measured itself.

    Returns
    -------
    pd.DataFrame
        A row a file: its name, for `measured`; the gpu as its driver calls it; date; versions; and timings [1].
    """
    rows = []
    for name in sorted(OWN_FILES):
        table = measured(name)
        said = dict(line.partition(": ")[::2] for line in reversed(table.attrs["header"]))
        rows.append({"name": name, **{key: said[key] for key in ("gpu", "date", "versions")}, "timings": len(table)})
    return pd.DataFrame(rows)


def measured(name: str) -> pd.DataFrame:
    """One of the project's own measurements.

    Parameters
    ----------
    name : str
        Of a file in ``data/measured``; `measurements` lists them.

    Returns
    -------
    pd.DataFrame
        A row a timing with the file's own columns; ``time_s`` is its median [s]. ``attrs["header"]`` holds the file's
        comment lines: GPU, date, versions and method.

    Raises
    ------
    ValueError
        For a name that there is not.
    """
    path = OWN_FILES[one_of("name", name, sorted(OWN_FILES))]
    table = pd.read_csv(str(path), comment="#").dropna(axis="columns", how="all")
    lines = path.read_text(encoding="utf-8").splitlines()
    table.attrs["header"] = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return table


#: Of operators that were measured, what their charts show.
BESIDE_MEASURED = ("intensity", "performance", "measured_time", "ideal_time", "time")


@typed(ds=BESIDE_MEASURED)
def measured_points(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """Every measured point of a chart, with what both time models predict for it.

    Parameters
    ----------
    ds : xr.Dataset
        From `studies.operator_times`.
    series : mapping of str to mapping, optional
        By label, a selection of `ds`; None is `default_series`.

    Returns
    -------
    pd.DataFrame
        A row a point that was measured, units in the header; time is the kernel-time model's.
    """
    parts = [_points(ds, label, selection) for label, selection in (series or default_series(ds)).items()]
    return with_units(pd.concat(parts, ignore_index=True))


@typed(ds=BESIDE_MEASURED)
def series_errors(ds: xr.Dataset, series: Series | None = None) -> pd.DataFrame:
    """How far both time models are off measured operators.

    Parameters
    ----------
    ds, series
        As for `measured_points`.

    Returns
    -------
    pd.DataFrame
        A row a GPU and series: points [1]; ideal, error and bias [%], the mean absolute error of the ideal roofline,
        and the mean absolute and the mean error of the kernel-time model.
    """
    rows = []
    for label, selection in (series or default_series(ds)).items():
        for gpu, part in _points(ds, label, selection).groupby("gpu", sort=False):
            off = {name: 100 * (part[name] / part.measured_time - 1) for name in ("ideal_time", "time")}
            errors = (np.abs(off["ideal_time"]).mean(), np.abs(off["time"]).mean(), off["time"].mean())
            named = dict(zip(("ideal [%]", "error [%]", "bias [%]"), errors, strict=True))
            rows.append({"gpu": gpu, "series": label, "points": len(part), **named})
    return pd.DataFrame(rows).sort_values("gpu", kind="stable").reset_index(drop=True)


def _points(ds: xr.Dataset, label: str, selection: Mapping[str, Any]) -> pd.DataFrame:
    """The measured points of one series."""
    part = select(ds, selection)[list(BESIDE_MEASURED)]
    frame = part.to_dataframe(dim_order=list(part.dims)).reset_index().dropna(subset="measured_time")
    return frame.assign(series=label)[["series", *map(str, ds.dims), *BESIDE_MEASURED]]
