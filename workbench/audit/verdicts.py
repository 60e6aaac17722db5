"""Verdicts: every claim recomputed, and whether the published number reproduces."""

from fnmatch import fnmatch

import numpy as np
import pandas as pd

from ..common.errors import unknown
from ..signatures import typed
from . import claims
from .claims import Claim, Verdict
from .recompute import QUANTITIES
from .values import Recomputed, Value, distance_outside, ends, relative_distance

CLAIM_COLUMNS = (
    "source", "id", "where", "statement", "quantity", "unit", "published", "source_formula", "ours", "deviation",
    "within", "basis", "verdict", "hangs", "expected", "expected_ours", "reason", "kind", "figure", "series",
)  # fmt: skip

#: How far a recomputed value may be from the one that its claim records [1]: far above six digits' rounding and what
#: another machine's sums differ by, far below any change of a formula.
SAME_VALUE = 1e-3

#: How far a tolerance is moved, up and down, to see whether a verdict hangs on it [1].
MOVE = 1.5


@typed()
def run(figure: str | None = None) -> pd.DataFrame:
    """Recompute the claims into a table, one row for each.

    Parameters
    ----------
    figure : str, optional
        Id of a figure, or a glob: only the claims that belong to it. None recomputes all.

    Returns
    -------
    pandas.DataFrame
        Columns `CLAIM_COLUMNS`. published, source_formula (what the source's own formula gives, None where it is not
        known), ours and expected_ours (what the claim records, None where it does not) are values or (low, high), in
        unit; deviation of ours from published and within are relative [1], and basis says where within comes from;
        verdict is what holds, expected what the claim records; hangs is whether another tolerance would change it
        (`hangs`).

    Raises
    ------
    ValueError
        Naming the claim, where its quantity cannot be computed.
    """
    rows = []
    for source in claims.sources().values():
        for claim in source.claims:
            if figure is not None and not fnmatch(claim.figure or "", figure):
                continue
            result = _recompute(claim)
            held = verdict(claim, result, transcription=source.transcription)
            rows.append(
                {
                    "source": source.title, "id": claim.id, "where": claim.where, "statement": claim.statement,
                    "quantity": claim.quantity, "unit": claim.unit, "published": claim.published,
                    "source_formula": result.source, "ours": result.ours,
                    "deviation": deviation(claim, result.ours), "within": claim.within,
                    "basis": claim.basis, "verdict": held, "hangs": hangs(claim, result), "expected": claim.verdict,
                    "expected_ours": claim.ours, "reason": claim.reason or "", "kind": claim.kind,
                    "figure": claim.figure or "", "series": claim.series or "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS))


def _recompute(claim: Claim) -> Recomputed:
    try:
        return QUANTITIES[claim.quantity](**claim.inputs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"claim {claim.id}, quantity {claim.quantity}: {error}") from None


def deviation(claim: Claim, value: Value) -> float:
    """Relative distance of a recomputed value from the published one.

    Parameters
    ----------
    claim : Claim
        What is published.
    value : float or tuple of float
        The recomputed value, or (low, high), in the claim's unit.

    Returns
    -------
    float
        Of two ranges, the distance of the ends that are farther apart; from a limit, or where a value is meant to lie
        within a range, how far it is beyond the nearer end, 0 inside [1].
    """
    if claim.kind == "at most":
        return max(ends(value)[1] / ends(claim.published)[1] - 1, 0.0)
    if claim.kind == "at least":
        return min(ends(value)[0] / ends(claim.published)[0] - 1, 0.0)
    if claim.kind == "within" or np.ndim(value) < np.ndim(claim.published):
        return distance_outside(value, claim.published)
    return relative_distance(value, claim.published)


def verdict(claim: Claim, recomputed: Recomputed, *, transcription: bool = False) -> Verdict:
    """Whether a published number reproduces.

    Parameters
    ----------
    claim : Claim
        What is published, and within which relative distance a value counts as the same.
    recomputed : Recomputed
        Our value, and that of the source's own formula.
    transcription : bool, default False
        Whether the claim is what a program read off a picture.

    Returns
    -------
    str
        "reproduces" by our model, "reproduces with the source's formula only", "does not reproduce" by either (of a
        transcription: "wrong as transcribed"), or "not recomputed" where our value is NaN.
    """
    if np.isnan(recomputed.ours).any():
        return "not recomputed"
    if abs(deviation(claim, recomputed.ours)) <= claim.within:
        return "reproduces"
    if recomputed.source is not None and abs(deviation(claim, recomputed.source)) <= claim.within:
        return "reproduces with the source's formula only"
    return "wrong as transcribed" if transcription else "does not reproduce"


def flips(claim: Claim, recomputed: Recomputed) -> bool:
    """Whether the verdict changes with a tolerance of 1.5 times (`MOVE`) what the claim has, or of 1/1.5.

    Parameters
    ----------
    claim : Claim
        What is published.
    recomputed : Recomputed
        Our value, and that of the source's own formula.

    Returns
    -------
    bool
        True where it does.
    """
    moved = (claim.model_copy(update={"within": claim.within * factor}) for factor in (1 / MOVE, 1.0, MOVE))
    return len({verdict(each, recomputed) for each in moved}) > 1


def hangs(claim: Claim, recomputed: Recomputed) -> bool:
    """Whether a verdict hangs on its tolerance: it `flips`, and the tolerance is a judgement.

    Parameters
    ----------
    claim : Claim
        What is published.
    recomputed : Recomputed
        Our value, and that of the source's own formula.

    Returns
    -------
    bool
        Never of a rounded number or a count (`claims.STRICT`), where no other tolerance could be taken.
    """
    return claim.basis not in claims.STRICT and flips(claim, recomputed)


@typed(table=("source", "verdict"))
def select_claims(table: pd.DataFrame, *, source: str | None = None, verdict: str | None = None) -> pd.DataFrame:
    """Select rows of an audit table.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.
    source, verdict : str, optional
        Only the claims of the source with this title, only those with this verdict; None is all.

    Returns
    -------
    pandas.DataFrame
        The rows that are left.

    Raises
    ------
    ValueError
        Where no row has that source or verdict; the message names those that there are.
    """
    for column, value in (("source", source), ("verdict", verdict)):
        if value is not None:
            if value not in set(table[column]):
                raise unknown(column, value, sorted(set(table[column])))
            table = table[table[column] == value]
    return table


@typed(table=("id", "verdict", "expected", "ours", "expected_ours"))
def changes(table: pd.DataFrame) -> list[str]:
    """What came out otherwise than the claims record, to be looked into before anything is recorded anew.

    Parameters
    ----------
    table : pandas.DataFrame
        From `run`.

    Returns
    -------
    list of str
        A line for each claim whose verdict is not the expected one, then one for each whose recomputed value is more
        than 0.1 % away from the recorded one (`SAME_VALUE`); empty where everything is as expected.
    """
    verdicts = [
        f"{row['id']}: {row['verdict']}, expected: {row['expected']}"
        for row in table[table.verdict != table.expected].to_dict("records")
    ]
    values = [
        f"{row['id']}: ours is {_digits(row['ours'])}, expected: {_digits(row['expected_ours'])} ({distance:+.2%})"
        for row in table[table.expected_ours.notna()].to_dict("records")
        if not abs(distance := relative_distance(row["ours"], row["expected_ours"])) <= SAME_VALUE  # NaN has moved
    ]
    return verdicts + values


def _digits(value: Value) -> str:
    """A value or range with the six digits that a claim records."""
    return " .. ".join(f"{end:.6g}" for end in dict.fromkeys(ends(value)))
