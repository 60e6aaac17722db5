"""The audit as text: values, ranges and limits, a line for each claim, and the counts."""

from typing import get_args

import pandas as pd

from .claims import Verdict
from .recompute import ARITHMETIC
from .values import Value, ends


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
        "as printed", "at most" or "at least".

    Returns
    -------
    str
        As `show` writes it, a limit with its sign.
    """
    return {"at most": "≤ ", "at least": "≥ "}.get(kind, "") + show(value)


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
                + f": {row['verdict']}"
            )
            lines += [f"      {row['reason']}"] if row["reason"] else []
    return "\n".join([*lines, summary(table)])


def summary(table: pd.DataFrame) -> str:
    """Count the claims by verdict.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    str
        One line: how many have which verdict, and how many only put the source's own numbers together.
    """
    counts = {name: int((table.verdict == name).sum()) for name in get_args(Verdict)}
    reproduce, source_only, differ, left = counts.values()
    arithmetic = int(table.quantity.isin(ARITHMETIC).sum())
    return (
        f"{len(table)} claims: {reproduce} reproduce, {source_only} with the source's formula only, {differ} do not,"
        f" {left} not recomputed; {arithmetic} of them are arithmetic on the source's own numbers"
    )
