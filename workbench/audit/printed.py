"""What charts draw behind or over their points: the numbers that a source prints of the same figure."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..signatures import typed
from ..tables.looks import RIDGE
from .claims import Claim, sources
from .values import ends


def _printed(figure: str) -> Iterator[Claim]:
    """The values and ranges that are printed of a figure; limits are nothing to draw."""
    for source in sources().values():
        yield from (
            claim for claim in source.claims if claim.figure == figure and claim.kind in ("as printed", "within")
        )


@typed()
def printed_ranges(figure: str) -> pd.DataFrame:
    """Published ranges of a roofline chart's series, to draw behind its points.

    Parameters
    ----------
    figure : str
        Id of the figure.

    Returns
    -------
    pandas.DataFrame
        A row for each series with a published range of intensities: series, x_low, x_high [FLOP/byte], y_low, y_high
        [FLOP/s]; NaN where none is published. The series "ridge point" is a ridge line that a source places where the
        chart's ceilings do not meet.
    """
    found: dict[str, dict[str, float]] = {}
    for claim in _printed(figure):
        axis = {"medusa_intensity": "x", "medusa_performance": "y"}.get(claim.quantity)
        if claim.series and axis:
            low, high = ends(claim.published)
            found.setdefault(claim.series, {}).update({f"{axis}_low": low, f"{axis}_high": high})
        if claim.quantity == "ridge_point" and not claim.verdict.startswith("reproduces"):
            found[RIDGE] = dict(zip(("x_low", "x_high"), ends(claim.published), strict=True))
    rows = [{"series": series} | limits for series, limits in found.items() if "x_low" in limits]
    return pd.DataFrame(rows, columns=["series", "x_low", "x_high", "y_low", "y_high"])


@typed()
def printed_cells(figure: str) -> pd.DataFrame:
    """Cells of the T4 report's static tables that a figure shows.

    Parameters
    ----------
    figure : str
        Id of the figure.

    Returns
    -------
    pandas.DataFrame
        A row for each cell: column, a key of `studies.STATIC_COLUMNS`; batch_size [1]; seq_len [token]; published, in
        the unit of that column.
    """
    rows = [
        {"column": claim.inputs["what"], "published": claim.published}
        | {name: claim.inputs[name] for name in ("batch_size", "seq_len")}
        for claim in _printed(figure)
        if claim.quantity == "t4_static"
    ]
    return pd.DataFrame(rows, columns=["column", "batch_size", "seq_len", "published"])


@typed()
def printed_speedups(figure: str) -> pd.DataFrame:
    """What figures 21 to 23 of the Medusa paper print, to draw over `speculation.speedup`.

    Parameters
    ----------
    figure : str
        Id of the figure.

    Returns
    -------
    pandas.DataFrame
        A row for each number of candidates: variable, a variable of that Dataset; batch_size [1] and seq_len [token],
        NaN where the variable does not depend on them; candidates [1]; low and high [1], the ends of a published range
        or twice the same.
    """
    variables = {
        "medusa_acceleration": "acceleration_rate", "medusa_latency": "normalized_latency", "medusa_speedup": "speedup",
    }  # fmt: skip
    rows = []
    for claim in (claim for claim in _printed(figure) if claim.quantity in variables):
        low, high = ends(claim.published)
        setting = {"variable": variables[claim.quantity], "low": low, "high": high}
        setting |= {name: claim.inputs.get(name, np.nan) for name in ("batch_size", "seq_len")}
        rows += [setting | {"candidates": count} for count in np.atleast_1d(claim.inputs["candidates"]).tolist()]
    return pd.DataFrame(rows, columns=["variable", "batch_size", "seq_len", "candidates", "low", "high"])
