"""Claims: numbers that a source prints, as ``data/claims/*.yaml`` has them, a file for each source.

Each says where it is printed, which quantity recomputes it, and which verdict we expect. Where a published number is
wrong, the claim stays, with the reason and the value that we get.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..common.errors import unknown
from ..common.project import DATA
from ..common.yaml_records import Number, Record, Text, validated
from ..files.yaml_files import read_mapping
from .recompute import QUANTITIES
from .values import ends

Verdict = Literal["reproduces", "reproduces with the source's formula only", "does not reproduce", "not recomputed"]
ValueOrRange = float | Annotated[tuple[float, float], Field(strict=False)]


class Claim(Record):
    """One published number, or a range of them.

    Attributes
    ----------
    id : str
        Name of the claim, unique among all sources.
    where, statement : str
        Where the source prints the number, and what it says there.
    quantity : str
        What recomputes it: a key of ``QUANTITIES`` in ``recompute.py``.
    inputs : dict
        Arguments of that function.
    published : float or tuple of float
        The printed value, or (low, high), in `unit`.
    unit : str
        Unit of `published` and `ours`; "1" where there is none.
    kind : str
        How `published` is meant: "as printed", or as a limit, "at most" or "at least".
    within : float
        Relative distance that still counts as agreement: half a unit of the last printed digit, or for values read off
        a chart what reading it off is worth [1].
    verdict : str
        The verdict that we expect; `run` finds the one that holds.
    ours : float or tuple of float, optional
        What recomputing it gives, in `unit`. A claim that does not reproduce must have it, so that its value does not
        move unseen; of one that reproduces, `within` takes care.
    reason : str, optional
        Why it does not reproduce, or what a reader should know.
    figure, series : str, optional
        The chart of the batch that it belongs to, and the series in it.
    """

    id: Text
    where: Text
    statement: Text
    quantity: Text
    inputs: dict[str, Any] = Field(default_factory=dict)
    published: ValueOrRange
    ours: ValueOrRange | None = None
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
        if self.verdict in ("reproduces with the source's formula only", "does not reproduce") and self.ours is None:
            raise ValueError(f"claim {self.id} has the verdict {self.verdict!r} but not our value: give ours")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for verb, value in (("publishes", self.published), ("has as ours", self.ours)):
            low, high = (0.0, 0.0) if value is None else ends(value)
            if low > high:
                raise ValueError(f"claim {self.id} {verb} a range from {low:g} down to {high:g}: give [low, high]")
        if self.kind != "as printed" and not ends(self.published)[0]:
            raise ValueError(f"claim {self.id} has the limit 0, which no relative distance can be taken to")
        return self


class Source(Record):
    """A document and the claims taken from it.

    Attributes
    ----------
    title, citation : str
        Short name of the document, and the document.
    url : str, optional
        Where it is.
    claims : tuple of Claim
        At least one.
    """

    title: Text
    citation: Text
    url: Text | None = None
    claims: tuple[Claim, ...] = Field(strict=False, min_length=1)


def sources() -> dict[str, Source]:
    """Read every source with its claims.

    Returns
    -------
    dict of Source
        By the name of its file, in alphabetical order.

    Raises
    ------
    ValueError
        Naming the file and the claim, where a field is missing, unknown or wrong, or two claims share an id.
    """
    paths = sorted((path for path in (DATA / "claims").iterdir() if path.name.endswith(".yaml")), key=lambda p: p.name)
    found = {path.name.removesuffix(".yaml"): validated(Source, read_mapping(path), str(path)) for path in paths}
    ids = [claim.id for source in found.values() for claim in source.claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"two claims share the id {next(i for i in ids if ids.count(i) > 1)!r}")
    return found
