"""The audit: every published number recomputed, by its source's own formula and by ours, with deviation and verdict.

A claim is a number that a source prints. It lives in ``data/claims/*.yaml`` with the place where it is printed and the
verdict that we expect; `run` recomputes them all. Where a published number is wrong, the claim stays and says why.
"""

from fnmatch import fnmatch
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from ..common.errors import unknown
from ..common.project import DATA
from ..common.yaml_records import Number, Record, Text, read_mapping, validated
from .quantity import Recomputed, Value
from .recompute import ARITHMETIC, QUANTITIES

CLAIM_COLUMNS = (
    "source", "id", "where", "statement", "quantity", "unit", "published", "source_formula", "ours", "deviation",
    "within", "verdict", "expected", "reason", "kind", "figure", "series",
)  # fmt: skip
Verdict = Literal["reproduces", "reproduces with the source's formula only", "does not reproduce", "not recomputed"]


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
        low, high = _ends(self.published)
        if low > high:
            raise ValueError(f"claim {self.id} publishes a range from {low:g} down to {high:g}: give [low, high]")
        if self.kind != "as printed" and not low:
            raise ValueError(f"claim {self.id} has the limit 0, which no relative distance can be taken to")
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
    if np.isnan(recomputed.ours).any():
        return "not recomputed"
    if abs(deviation(claim, recomputed.ours)) <= claim.within:
        return "reproduces"
    if recomputed.source is not None and abs(deviation(claim, recomputed.source)) <= claim.within:
        return "reproduces with the source's formula only"
    return "does not reproduce"


def _ends(value: Value) -> tuple[float, float]:
    return (value, value) if isinstance(value, int | float) else (value[0], value[1])


def run(figure: str | None = None) -> pd.DataFrame:
    """Recompute the claims (of the figures that a glob names, or all) into a table, a row each.

    Columns: source, id, where, statement, unit, published, source_formula, ours, deviation [1], within [1],
    verdict, expected,
    reason, kind, figure, series. Raises ValueError, naming the claim, where a quantity cannot be computed.
    """
    rows = []
    for source in sources().values():
        for claim in source.claims:
            if figure is not None and not fnmatch(claim.figure or "", figure):
                continue
            result = _recompute(claim)
            rows.append(
                {
                    "source": source.title, "id": claim.id, "where": claim.where, "statement": claim.statement,
                    "quantity": claim.quantity,
                    "unit": claim.unit, "published": claim.published, "source_formula": result.source,
                    "ours": result.ours, "deviation": deviation(claim, result.ours), "within": claim.within,
                    "verdict": verdict(claim, result), "expected": claim.verdict, "reason": claim.reason or "",
                    "kind": claim.kind, "figure": claim.figure or "", "series": claim.series or "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(CLAIM_COLUMNS))


def _recompute(claim: Claim) -> Recomputed:
    try:
        return QUANTITIES[claim.quantity](**claim.inputs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"claim {claim.id}, quantity {claim.quantity}: {error}") from None


def show(value: Value | None) -> str:
    """A value or range as text, 4 significant digits."""
    if value is None or value != value:  # a table's missing value is NaN
        return ""
    low, high = _ends(value)
    return _digits(low) if low == high else f"{_digits(low)} .. {_digits(high)}"


def _digits(x: float) -> str:
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e7, None)):
        if abs(x) >= scale:
            return f"{x / scale:.4g}{prefix}" if prefix else f"{x:,.0f}"
    return f"{x:,.0f}" if abs(x) >= 1e4 else f"{x:.4g}"


def published_ranges(figure: str) -> pd.DataFrame:
    """Published ranges of a chart's series, to draw behind its points.

    Columns: series, x_low, x_high [FLOP/byte], y_low, y_high [FLOP/s]; NaN where none is published.
    """
    found: dict[str, dict[str, float]] = {}
    for source in sources().values():
        for claim in source.claims:
            axis = {"medusa_intensity": "x", "medusa_performance": "y"}.get(claim.quantity)
            if claim.figure == figure and claim.series and axis and claim.kind == "as printed":
                low, high = _ends(claim.published)
                found.setdefault(claim.series, {}).update({f"{axis}_low": low, f"{axis}_high": high})
    rows = [{"series": series} | ends for series, ends in found.items() if "x_low" in ends]
    return pd.DataFrame(rows, columns=["series", "x_low", "x_high", "y_low", "y_high"])


def show_published(value: Value, kind: str) -> str:
    """A claim's published value as text, with its limit sign."""
    return {"at most": "≤ ", "at least": "≥ "}.get(kind, "") + show(value)


def audit_text(table: pd.DataFrame, *, everything: bool = False) -> str:
    """The audit as text: a line a claim with its reason, those that do not reproduce (or all), and the counts."""
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
    """How many claims have which verdict, in one line."""
    counts = {name: int((table.verdict == name).sum()) for name in get_args(Verdict)}
    reproduce, source_only, differ, left = counts.values()
    arithmetic = int(table.quantity.isin(ARITHMETIC).sum())
    return (
        f"{len(table)} claims: {reproduce} reproduce, {source_only} with the source's formula only, {differ} do not,"
        f" {left} not recomputed; {arithmetic} of them are arithmetic on the source's own numbers"
    )


def printed_cells(figure: str) -> pd.DataFrame:
    """Cells of the T4 report's static tables that a figure shows: column, batch_size, seq_len, published."""
    claims = [claim for source in sources().values() for claim in source.claims if claim.figure == figure]
    rows = [
        {"column": claim.inputs["what"], "published": claim.published}
        | {name: claim.inputs[name] for name in ("batch_size", "seq_len")}
        for claim in claims
        if claim.quantity == "t4_static" and claim.kind == "as printed"
    ]
    return pd.DataFrame(rows, columns=["column", "batch_size", "seq_len", "published"])


def printed_speedups(figure: str) -> pd.DataFrame:
    """What figures 21 to 23 of the Medusa paper print, to draw over `speculation.speedup`: a row each candidate count.

    Columns: variable (a variable of that Dataset), batch_size [1], seq_len [token] (NaN where the variable does not
    depend on them), candidates, low and high [1], the ends of a published range or twice the same.
    """
    variables = {
        "medusa_acceleration": "acceleration_rate", "medusa_latency": "normalized_latency", "medusa_speedup": "speedup",
    }  # fmt: skip
    rows = []
    for claim in (claim for source in sources().values() for claim in source.claims):
        if claim.figure != figure or claim.quantity not in variables or claim.kind != "as printed":
            continue
        low, high = _ends(claim.published)
        setting = {"variable": variables[claim.quantity], "low": low, "high": high}
        setting |= {name: claim.inputs.get(name, np.nan) for name in ("batch_size", "seq_len")}
        rows += [setting | {"candidates": count} for count in np.atleast_1d(claim.inputs["candidates"]).tolist()]
    return pd.DataFrame(rows, columns=["variable", "batch_size", "seq_len", "candidates", "low", "high"])


def choose(table: pd.DataFrame, *, source: str | None = None, verdict: str | None = None) -> pd.DataFrame:
    """Rows of an audit table by source and verdict; None is all."""
    for column, value in (("source", source), ("verdict", verdict)):
        if value is not None:
            if value not in set(table[column]):
                raise unknown(column, value, sorted(set(table[column])))
            table = table[table[column] == value]
    return table
