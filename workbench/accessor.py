"""What `ds.wb` is: the tables of this package on every Dataset and DataArray, beside xarray's own repr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    from .tables import Table


@xr.register_dataset_accessor("wb")  # type: ignore[no-untyped-call]
@xr.register_dataarray_accessor("wb")  # type: ignore[no-untyped-call]
class Accessor:
    """Methods of this package on a Dataset or DataArray.

    Parameters
    ----------
    of : xr.Dataset or xr.DataArray
        Whose they are.
    """

    def __init__(self, of: xr.Dataset | xr.DataArray) -> None:
        """Keep it: xarray makes one for each Dataset, when it is first asked for."""
        self._of = of

    def table(self, caption: str | None = None, *, variables: str | Sequence[str] | None = None) -> "Table":
        """Make a table for a reader of it, as `tables.table` does.

        Parameters
        ----------
        caption, variables
            As for `tables.table`.

        Returns
        -------
        tables.Table
            The data frame that shows itself.
        """
        from .tables import table  # when it is asked for: a Dataset needs none of it

        return table(self._of, caption, variables=variables)
