"""A view's numbers as files, which say what they are of."""

import json
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ..common.errors import unknown
from ..common.extras import check_libraries
from ..common.variables import with_units
from ..files.writing import whole, write_netcdf, write_table
from .export import file_name, in_words, setting_of, title
from .tab_calls import tab_numbers
from .view import View

FILE_FORMATS = ("csv", "nc")
VERSION = version("roofline-workbench")


def table_file(view: View, kind: str, measured: pd.DataFrame | None = None) -> bytes:
    """The numbers of a view's tab as a file.

    Parameters
    ----------
    view : View
        The view.
    kind : str
        "csv", a row a setting, with a column for each setting that is not the default; or "nc" (NetCDF), which has
        title, setting, date and version as attributes.
    measured : pandas.DataFrame, optional
        What was measured, in place of what the view computes.

    Returns
    -------
    bytes
        The file's content.

    Raises
    ------
    ValueError
        For another kind of file, and where there is nothing to compute.
    """
    if kind not in FILE_FORMATS:
        raise unknown("format", kind, FILE_FORMATS)
    if kind == "nc":
        check_libraries("netCDF4")
    numbers = tab_numbers(view) if measured is None else measured
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"{file_name(view)}.{kind}"
        if kind == "csv":
            write_table(_with_setting(view, _flat(numbers)) if measured is None else measured, path)
        else:
            ds = numbers if isinstance(numbers, xr.Dataset) else _dataset(numbers)
            with whole(path) as temporary:
                own = {} if measured is None else {"title": f"measured: {measured.file[0]}"}
                write_netcdf(ds.assign_attrs(said_of(view) | own), temporary)
        return path.read_bytes()


def said_of(view: View) -> dict[str, str]:
    """What a file says of itself: title, setting, the view to open again, date and version."""
    return {
        "title": f"{title(view)}, {view.tab}", "setting": in_words(view), "view": json.dumps(view.state()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "version": f"roofline-workbench {VERSION}",
    }  # fmt: skip


def _flat(numbers: xr.Dataset | pd.DataFrame) -> pd.DataFrame:
    """A row a setting, units in the heads of the columns."""
    if isinstance(numbers, pd.DataFrame):
        return with_units(numbers)
    return with_units(numbers.to_dataframe(dim_order=list(numbers.dims)).reset_index())


def _dataset(table: pd.DataFrame) -> xr.Dataset:
    """A table over its rows; NetCDF has no slashes in names."""
    plain = {name: table[name].map(str) if table[name].dtype == object else table[name] for name in table}
    named = {name: str(name).replace(" / ", " over ").replace("/", " per ") for name in table}
    ds: xr.Dataset = pd.DataFrame(plain).rename(columns=named).rename_axis("row").to_xarray()
    return ds


def _with_setting(view: View, table: pd.DataFrame) -> pd.DataFrame:
    """The table, with what its rows have in common at its end."""
    names = {name.partition(" ")[0] for name in table.columns}
    more: dict[str, Any] = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in setting_of(view).items() if name not in names
    }  # fmt: skip
    return table.assign(**more)
