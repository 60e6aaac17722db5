"""The audit as text: values, ranges and limits, a line for each claim, and the counts."""

from typing import get_args

import pandas as pd

from ..signatures import typed
from .claims import Verdict, sources
from .recompute import ARITHMETIC
from .values import Value, ends

#: Columns of `by_source`.
SOURCE_COLUMNS = (
    "sentences", "claims", "reproduced", "with the source's formula only", "as transcribed wrong", "wrong",
    "not recomputed", "not computable", "at the edge",
)  # fmt: skip


def show(value: Value | None) -> str:
    """Write a value or a range as text.

    Parameters
    ----------
    value : float or tuple of float or None
        The value, or (low, high).

    Returns
    -------
    str
        With 4 significant digits; empty for None and NaN, a table's missing values.
    """
    if value is None or value != value:
        return ""
    low, high = ends(value)
    return _digits(low) if low == high else f"{_digits(low)} .. {_digits(high)}"


def _digits(x: float) -> str:
    x += 0.0  # -0 is 0, too
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e7, None)):
        if abs(x) >= scale:
            return f"{x / scale:.4g}{prefix}" if prefix else f"{x:,.0f}"
    return f"{x:,.0f}" if abs(x) >= 1e4 else f"{x:.4g}"


def show_published(value: Value, kind: str) -> str:
    """Write a claim's published value as text.

    Parameters
    ----------
    value : float or tuple of float
        The value, or (low, high).
    kind : str
        "as printed", "at most", "at least" or "within".

    Returns
    -------
    str
        As `show` writes it, a limit with its sign.
    """
    return {"at most": "≤ ", "at least": "≥ ", "within": "within "}.get(kind, "") + show(value)


@typed(table=("source", "id", "verdict", "hangs"))
def audit_text(table: pd.DataFrame, *, everything: bool = False) -> str:
    """Write an audit table as text.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.
    everything : bool, default False
        Show also the claims that reproduce.

    Returns
    -------
    str
        By source, a line for each claim, with its reason below it; in the last line the counts.
    """
    lines = []
    for source, claims in table.groupby("source", sort=False):
        shown = claims if everything else claims[claims.verdict != "reproduces"]
        lines.append(f"{source}: {len(claims)} claims, {(claims.verdict == 'reproduces').sum()} reproduce")
        for row in shown.to_dict("records"):
            unit = "" if row["unit"] == "1" else f" {row['unit']}"
            formula = show(row["source_formula"])
            lines.append(
                f"  {row['id']}: published {show_published(row['published'], row['kind'])}{unit},"
                + (f" source's formula {formula}," if formula else "")
                + f" ours {show(row['ours'])} ({row['deviation']:+.2%}, tolerance {row['within']:.2%})"
                + f": {show_verdict(row['verdict'], row['hangs'])}"
            )
            lines += [f"      {row['reason']}"] if row["reason"] else []
    return "\n".join([*lines, summary(table)])


def show_verdict(verdict: str, hangs: bool) -> str:
    """Write a verdict as text.

    Parameters
    ----------
    verdict : str
        What holds.
    hangs : bool
        Whether another tolerance would change it.

    Returns
    -------
    str
        The verdict, and where it hangs on its tolerance, that it does.
    """
    return f"{verdict}, at the edge of its tolerance" if hangs else verdict


@typed(table=("verdict",))
def verdict_counts(table: pd.DataFrame) -> dict[str, int]:
    """Count the claims by verdict.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    dict of int
        By verdict, all of them in the order of `claims.Verdict`.
    """
    return {name: int((table.verdict == name).sum()) for name in get_args(Verdict)}


@typed(table=("verdict", "quantity", "hangs"))
def summary(table: pd.DataFrame) -> str:
    """Count the claims by verdict, as text.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    str
        One line: how many have which verdict, how many only put the source's own numbers together, and of how many the
        verdict hangs on the tolerance.
    """
    reproduce, source_only, misread, differ, left = verdict_counts(table).values()
    arithmetic = int(table.quantity.isin(ARITHMETIC).sum())
    return (
        f"{len(table)} claims: {reproduce} reproduce, {source_only} with the source's formula only, {misread} are wrong"
        f" as transcribed, {differ} do not reproduce, {left} not recomputed; {arithmetic} of them are arithmetic on the"
        f" source's own numbers, {int(table.hangs.sum())} are at the edge of their tolerance"
    )


@typed(table=("source", "verdict", "hangs"))
def by_source(table: pd.DataFrame) -> pd.DataFrame:
    """Count sentences and claims of every source.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    pandas.DataFrame
        A row for each source of the table, by title. sentences: statements listed by line, missing where the source is
        not judged line by line, and where the table lacks some of its claims; claims; reproduced, with the source's
        formula only, as transcribed wrong, wrong, not recomputed: claims by verdict; not computable: sentences that
        state nothing to compute; at the edge: claims whose verdict hangs on the tolerance.
    """
    rows = {}
    for source in sources().values():
        own = table[table.source == source.title]
        listed = source.lines is not None and len(own) == len(source.claims)
        computable = [sentence.claims is not None for sentence in source.sentences]
        if len(own):
            rows[source.title] = (
                len(computable) if listed else pd.NA, len(own), *verdict_counts(own).values(),
                computable.count(False) if listed else pd.NA, int(own.hangs.sum()),
            )  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(SOURCE_COLUMNS)).astype("Int64")


@typed(table=("source", "verdict", "quantity", "hangs"))
def by_source_text(table: pd.DataFrame) -> str:
    """Write the counts of every source as text.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    str
        A line for each source under a head, with a dash for what is missing; in the last line the counts of all.
    """
    counts = by_source(table).astype(object).fillna("-").rename_axis("source").reset_index()
    return f"{counts.to_string(index=False)}\n{summary(table)}"
