"""An estimate in print: a row for each setting, what limits it, and what does not fit by how much."""

import numpy as np
import pandas as pd
import xarray as xr

from ..common.arguments import whole_number
from ..common.variables import LIMITS
from ..signatures import typed
from .text_tables import assumed_lines, cell, folded, text_table
from .verdicts import OWN_CURRENCY, reasons

#: Columns in print: heading, variable, what it is multiplied with, digits.
ESTIMATED_COLUMNS = (
    ("weights\nGB", "weights", 1e-9, 1), ("memory\nGB", "memory", 1e-9, 1), ("of\nGB", "usable_memory", 1e-9, 1),
    ("TTFT\nms", "ttft", 1e3, 0), ("TPOT\nms", "tpot", 1e3, 1), ("tokens\n/s", "tokens_per_second", 1, 0),
    ("cost", "cost", 1, 3),
)  # fmt: skip


@typed(ds=("ttft", "unfit", "usable_memory", "bound"))
def estimate_rows(ds: xr.Dataset) -> pd.DataFrame:
    """A row for each setting of an estimate of one model and length.

    Parameters
    ----------
    ds : xarray.Dataset
        From `serving.estimate`.

    Returns
    -------
    pandas.DataFrame
        By gpu, tp and batch_size: its variables without those by operator, of the phases one after the other, and
        "limit": what limits decoding, or what does not fit.

    Raises
    ------
    ValueError
        For several models, prompts or outputs.
    """
    for dim in ("model", "prompt", "output"):
        if ds.sizes[dim] > 1:
            raise ValueError(f"{dim}: {ds.sizes[dim]} of them; a table is of one")
    plain = {name: ds[name] for name in ds.data_vars if "operator" not in ds[name].dims}
    phased = {name: array for name, array in plain.items() if "phase" in array.dims}
    flat = {name: array for name, array in plain.items() if name not in phased}
    flat |= {
        f"{name}_{phase}": array.sel(phase=phase, drop=True)
        for name, array in phased.items()
        for phase in ds.phase.values
    }
    wide = xr.Dataset(flat).isel(prompt=0, output=0, model=0)
    decoding = wide.bound_decode if ds.output.item() > 1 else wide.bound_prefill
    words = xr.apply_ufunc(np.vectorize(lambda bound: LIMITS.get(int(bound), ""), otypes=[object]), decoding)
    why = reasons(ds)
    wide["limit"] = why.where(why != "", words)
    return wide.to_dataframe(dim_order=["gpu", "tp", "batch_size"]).reset_index()


@typed(ds=("ttft", "unfit", "usable_memory", "bound"))
def estimate_text(ds: xr.Dataset, *, width: int = 80, currency: str | None = None) -> str:
    """An estimate of one model and length in print.

    Parameters
    ----------
    ds : xarray.Dataset
        From `serving.estimate`.
    width : int
        Of the text at most [character].
    currency : str, optional
        Of the prices, such as "$" or "EUR".

    Returns
    -------
    str
        With what the numbers assume.
    """
    width = whole_number("width", width, low=40, high=1000)
    rows = estimate_rows(ds)
    cells = {
        "GPU": rows.gpu.tolist(), "tp": rows.tp.astype(str).tolist(), "batch": rows.batch_size.astype(str).tolist(),
    }  # fmt: skip
    for heading, name, scale, digits in ESTIMATED_COLUMNS:
        if name in rows:
            cells[heading] = [cell(value * scale, digits) for value in rows[name]]
    cells["limit"] = rows.limit.tolist()
    lines = [
        f"{ds.model.item()}: {ds.prompt.item():,} tokens in, {ds.output.item():,} out, {ds.schedule} batching.",
        f"Formats: {ds.attrs['formats']}.",
        "",
    ]
    lines += [text_table(cells, width), ""]
    lines.append("Memory of one GPU, of what the engine lets the server use; limit: of a decoding step.")
    if "cost" in rows:
        lines.append(f"Cost: of a million output tokens, in {currency or OWN_CURRENCY}.")
    lines += assumed_lines(ds.attrs["assumed"])
    return "\n".join(folded(line, width) for line in lines)
