"""Claims: numbers that a source prints, as ``data/claims/*.yaml`` has them, a file for each source.

Each says where it is printed, which quantity recomputes it, and which verdict we expect. Where a published number is
wrong, the claim stays, with the reason and the value that we get. Of a document whose lines are listed, every line is
either claimed or said not to be a statement that can be computed.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..common.errors import unknown
from ..common.project import DATA
from ..common.yaml_records import Count, Number, Record, Text, validated
from ..files.yaml_files import read_mapping
from .recompute import QUANTITIES
from .values import ends

Verdict = Literal[
    "reproduces", "reproduces with the source's formula only", "wrong as transcribed", "does not reproduce",
    "not recomputed",
]  # fmt: skip
Kind = Literal["as printed", "at most", "at least", "within"]

#: Where a tolerance comes from, and what it is worth.
BASES = {
    "rounding": "half a unit of the last digit that is printed",
    "vendor digit": "half a unit of the last digit that the vendor prints, where a tool prints more of them",
    "cut off": "a whole unit of the last digit, where the source cuts digits off",
    "about": "half a unit of the last digit that is not 0, but no more than 10 %, where the source says 'about'",
    "exact": "a count, a share or an order, which either holds or does not: 1e-9 for what sums of floats differ by",
    "our reading": "none, of a threshold that we read into a word of the source's, as 'far' or 'mostly'",
    "chart": "10 %, the upper end of the 5 to 10 % that a value read off a picture carries",
    "chart range": "25 %, for the ends of a range read off a log axis: a tenth of a decade is 26 %",
    "range": "10 %, for the ends of a range of whole numbers, which stand for the size of an effect",
    "server": "15 %, as runs of one configuration of a server are up to 6 % apart, and those of two dates 12 %",
    "vendor": "1 %, for peaks from units and clocks, which vendors round as they like",
}
#: Those that leave nothing to judge: a value either rounds to what is printed, or it does not.
STRICT = ("rounding", "vendor digit", "cut off", "exact")

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
        How `published` is meant: "as printed"; as a limit, "at most" or "at least"; or "within", a range in which
        ours should lie, not reach from end to end. One value of ours against a range is always meant so.
    within : float
        Relative distance that still counts as agreement [1].
    basis : str
        Where that distance comes from: a key of `BASES`.
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
    kind: Kind = "as printed"
    within: Number
    basis: Text = "rounding"
    verdict: Verdict
    reason: Text | None = None
    figure: Text | None = None
    series: Text | None = None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.quantity not in QUANTITIES:
            raise unknown("quantity", self.quantity, QUANTITIES)
        if self.basis not in BASES:
            raise unknown("basis", self.basis, BASES)
        if self.verdict != "reproduces" and not self.reason:
            raise ValueError(f"claim {self.id} has the verdict {self.verdict!r} but no reason")
        if self.verdict not in ("reproduces", "not recomputed") and self.ours is None:
            raise ValueError(f"claim {self.id} has the verdict {self.verdict!r} but not our value: give ours")
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for verb, value in (("publishes", self.published), ("has as ours", self.ours)):
            low, high = (0.0, 0.0) if value is None else ends(value)
            if low > high:
                raise ValueError(f"claim {self.id} {verb} a range from {low:g} down to {high:g}: give [low, high]")
        if self.kind in ("at most", "at least") and not ends(self.published)[0]:
            raise ValueError(f"claim {self.id} has the limit 0, which no relative distance can be taken to")
        return self


class Sentence(Record):
    """What becomes of one statement of a document.

    Attributes
    ----------
    lines : str
        The line on which it stands, or the first and the last, as "3-6".
    claims : tuple of str, optional
        Ids of the claims that judge it, of any source.
    not_computable : str, optional
        What else it is, in a few words, where it is no statement that can be computed.
    """

    lines: Annotated[str, Field(pattern=r"^[1-9]\d*(-[1-9]\d*)?$")]
    claims: tuple[Text, ...] | None = Field(None, strict=False, min_length=1)
    not_computable: Text | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.claims is None) == (self.not_computable is None):
            raise ValueError(f"lines {self.lines}: give either claims or not_computable")
        return self

    @property
    def numbers(self) -> range:
        """The lines on which it stands."""
        first, _, last = self.lines.partition("-")
        return range(int(first), int(last or first) + 1)


class Source(Record):
    """A document and the claims taken from it.

    Attributes
    ----------
    title, citation : str
        Short name of the document, and the document.
    url : str, optional
        Where it is.
    transcription : bool
        Whether the document is what a program read off a picture: what it misreads is "wrong as transcribed", and not
        what the picture prints.
    lines : int, optional
        How many lines the document has; None where it is not judged line by line.
    sentences : tuple of Sentence
        Every line of it in at least one.
    elsewhere : tuple of str
        Ids of its claims that no line states: what its other files say.
    claims : tuple of Claim
        At least one.
    """

    title: Text
    citation: Text
    url: Text | None = None
    transcription: bool = False
    lines: Count | None = None
    sentences: tuple[Sentence, ...] = Field((), strict=False)
    elsewhere: tuple[Text, ...] = Field((), strict=False)
    claims: tuple[Claim, ...] = Field(strict=False, min_length=1)

    @model_validator(mode="after")
    def _every_line(self) -> Self:
        said = {number for sentence in self.sentences for number in sentence.numbers}
        lines = set(range(1, (self.lines or 0) + 1))
        for what, numbers in (("is in none of its sentences", lines - said), ("does not exist", said - lines)):
            if numbers:
                raise ValueError(f"{self.title}, of {self.lines or 'no'} lines: line {min(numbers)} {what}")
        return self

    @model_validator(mode="after")
    def _every_claim(self) -> Self:
        own, named = {claim.id for claim in self.claims}, {name for s in self.sentences for name in s.claims or ()}
        for name in self.elsewhere:
            if name not in own or name in named:
                raise ValueError(f"{self.title}: elsewhere has {name!r}, which is no claim of it or stands on a line")
        if self.sentences and (left := sorted(own - named - set(self.elsewhere))):
            raise ValueError(f"{self.title}: no sentence states claim {left[0]}; name it in one, or under elsewhere")
        wrong = "does not reproduce" if self.transcription else "wrong as transcribed"
        for claim in self.claims:
            if claim.verdict == wrong:
                kind = "a transcription" if self.transcription else "no transcription"
                raise ValueError(f"claim {claim.id} has the verdict {wrong!r}, but {self.title} is {kind}")
        return self


@lru_cache(maxsize=32)
def _source(path: Path, content: bytes) -> Source:
    """A file's source, parsed once for the same content."""
    return validated(Source, read_mapping(path), str(path))


def sources() -> dict[str, Source]:
    """Read every source with its claims.

    Returns
    -------
    dict of Source
        By the name of its file, in alphabetical order.

    Raises
    ------
    ValueError
        Naming the file and the claim, where a field is missing, unknown or wrong, two claims share an id, or a sentence
        names a claim that there is not.
    """
    paths = {
        path.name.removesuffix(".yaml"): path for path in (DATA / "claims").iterdir() if path.name.endswith(".yaml")
    }
    found = {name: _source(Path(str(path)), path.read_bytes()) for name, path in sorted(paths.items())}
    ids = [claim.id for source in found.values() for claim in source.claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"two claims share the id {next(i for i in ids if ids.count(i) > 1)!r}")
    for name, source in found.items():
        for sentence in source.sentences:
            for claim in set(sentence.claims or ()).difference(ids):
                raise ValueError(f"{name}.yaml, lines {sentence.lines}: {unknown('claim', claim, ids)}")
    return found
