"""Tables of a load test beside its simulation."""

import pandas as pd
import xarray as xr

from ..common.variables import with_units
from ..signatures import typed


@typed(ds=("time", "source", "running", "waiting", "token_rate"))
def timeline_rows(ds: xr.Dataset) -> pd.DataFrame:
    """Every number of a chart of a load test and its simulation over time.

    Parameters
    ----------
    ds : xr.Dataset
        The `timeline` of a `loadtest.Comparison`.

    Returns
    -------
    pd.DataFrame
        A row for a step of each source: time [s], running and waiting [1], token_rate [1/s]; units in the header.
    """
    drawn = ds[["running", "waiting", "token_rate"]]
    return with_units(drawn.to_dataframe(dim_order=["source", "time"]).reset_index())
