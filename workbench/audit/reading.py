"""The audit for a reader: claims apart by verdict, values and ranges as text, the reason beside."""

from typing import get_args

import pandas as pd

from .. import tables
from ..signatures import typed
from .claims import Verdict
from .text import show, show_published

#: Of an audit table, what is shown.
TEXT_COLUMNS = (
    "statement", "where", "published", "kind", "source_formula", "ours", "unit", "reason", "verdict",
)  # fmt: skip


@typed(table=TEXT_COLUMNS)
def by_verdict(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The claims of each verdict, as text.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    dict of pandas.DataFrame
        By verdict, those that have claims, in the order of `Verdict`; a row a claim with its whole statement, values
        with 4 significant digits in `unit`, and the reason.
    """
    text = pd.DataFrame(
        {
            "printed": table.statement, "where": table["where"],
            "published": list(map(show_published, table.published, table.kind)),
            "source's formula": table.source_formula.map(show), "ours": table.ours.map(show),
            "unit": table.unit.where(table.unit != "1", ""), "why": table.reason,
        }
    )  # fmt: skip
    return {name: text[table.verdict == name] for name in get_args(Verdict) if (table.verdict == name).any()}


@typed(table=("source", *TEXT_COLUMNS))
def readable(table: pd.DataFrame) -> list[tables.Table]:
    """The claims of an audit as tables for a notebook, one for each source and verdict.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    list of tables.Table
        Each with its source, verdict and count above it; columns without any text are left out.
    """
    return [
        tables.table(rows.loc[:, (rows != "").any()], f"{source}, {verdict}: {len(rows)} of {len(claims)} claims")
        for source, claims in table.groupby("source", sort=False)
        for verdict, rows in by_verdict(claims).items()
    ]
