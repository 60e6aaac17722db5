"""The audit: every published number recomputed, by its source's own formula and by ours, with deviation and verdict.

A claim is a number that a source prints. It lives in ``data/claims/*.yaml`` with the place where it is printed and the
verdict that we expect; `run` recomputes them all. Where a published number is wrong, the claim stays and says why.
"""

from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from .catalog import DATA
from .names import unknown
from .quantities import QUANTITIES, Recomputed, Value
from .records import Number, Record, Text, read_mapping, validated

Verdict = Literal["reproduces", "reproduces with the source's formula only", "does not reproduce"]


class Claim(Record):
    """One published number, or a range of them.

    published : a value, or [low, high]; `kind` says how it is meant: a value or range as it stands, or a limit
    within : relative distance that still counts as agreement: half a unit of the last printed digit, or for values
        read off a chart what reading it off is worth [1]
    reason : why it does not reproduce, or what a reader should know
    """

    id: Text
    where: Text
    statement: Text
    quantity: Text
    inputs: dict[str, Any] = Field(default_factory=dict)
    published: float | Annotated[tuple[float, float], Field(strict=False)]
    unit: Text
    kind: Literal["as printed", "at most", "at least"] = "as printed"
    within: Number
    verdict: Verdict
    reason: Text | None = None
    figure: Text | None = None
    series: Text | None = None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.quantity not in QUANTITIES:
            raise unknown("quantity", self.quantity, QUANTITIES)
        if self.verdict != "reproduces" and not self.reason:
            raise ValueError(f"claim {self.id} has the verdict {self.verdict!r} but no reason")
        return self


class Source(Record):
    """A document and the claims taken from it."""

    title: Text
    citation: Text
    url: Text | None = None
    claims: tuple[Claim, ...] = Field(strict=False, min_length=1)


def sources() -> dict[str, Source]:
    """Every source by the name of its file, its claims checked."""
    paths = sorted((path for path in (DATA / "claims").iterdir() if path.name.endswith(".yaml")), key=lambda p: p.name)
    found = {path.name.removesuffix(".yaml"): validated(Source, read_mapping(path), str(path)) for path in paths}
    ids = [claim.id for source in found.values() for claim in source.claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"two claims share the id {next(i for i in ids if ids.count(i) > 1)!r}")
    return found


def deviation(claim: Claim, value: Value) -> float:
    """Relative distance of a recomputed value from the published one: the larger one of a range's two ends [1].

    Of a limit, how far the value oversteps it; 0 inside.
    """
    low, high = _ends(claim.published)
    ours_low, ours_high = _ends(value)
    if claim.kind == "at most":
        return max(ours_high / high - 1, 0.0)
    if claim.kind == "at least":
        return min(ours_low / low - 1, 0.0)
    ends = [
        ours / printed - 1 if printed else float(ours != printed)
        for ours, printed in ((ours_low, low), (ours_high, high))
    ]
    return max(ends, key=abs)


def verdict(claim: Claim, recomputed: Recomputed) -> Verdict:
    """Whether a published number reproduces: by our model, only by its source's formula, or by neither."""
    if abs(deviation(claim, recomputed.ours)) <= claim.within:
        return "reproduces"
    if recomputed.source is not None and abs(deviation(claim, recomputed.source)) <= claim.within:
        return "reproduces with the source's formula only"
    return "does not reproduce"


def _ends(value: Value) -> tuple[float, float]:
    return (value, value) if isinstance(value, int | float) else (value[0], value[1])


def run(figure: str | None = None) -> pd.DataFrame:
    """Recompute the claims (of one figure, or all) into a table, a row each.

    Columns: source, id, where, statement, unit, published, source_formula, ours, deviation [1], verdict, expected,
    reason, figure, series.
    """
    rows = []
    for source in sources().values():
        for claim in source.claims:
            if figure is not None and claim.figure != figure:
                continue
            result = _recompute(claim)
            rows.append(
                {
                    "source": source.title, "id": claim.id, "where": claim.where, "statement": claim.statement,
                    "unit": claim.unit, "published": claim.published, "source_formula": result.source,
                    "ours": result.ours, "deviation": deviation(claim, result.ours),
                    "verdict": verdict(claim, result), "expected": claim.verdict, "reason": claim.reason or "",
                    "kind": claim.kind, "figure": claim.figure or "", "series": claim.series or "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _recompute(claim: Claim) -> Recomputed:
    try:
        return QUANTITIES[claim.quantity](**claim.inputs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"claim {claim.id}, quantity {claim.quantity}: {error}") from None


def show(value: Value | None) -> str:
    """A value or range as text, 4 significant digits."""
    if value is None:
        return ""
    low, high = _ends(value)
    return _digits(low) if low == high else f"{_digits(low)} .. {_digits(high)}"


def _digits(x: float) -> str:
    return f"{x:,.0f}" if 1e4 <= abs(x) < 1e7 else f"{x:.4g}"
