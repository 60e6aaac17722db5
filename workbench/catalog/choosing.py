"""Whose fit a kernel's time is computed with, where a GPU has none for that engine and format."""

from collections.abc import Iterable
from functools import cache
from math import inf, log
from typing import Any, NamedTuple

from ..files.reading import given_file
from ..files.yaml_files import read_mapping
from .engine_entries import DEFAULT_ENGINE
from .engine_entries import engine as find_engine
from .fits import NEAR_FORMATS, Fit, read_fits
from .loading import entry_files
from .scaling import per_cycle

#: Further than any engine's fit of a GPU with the same kind of memory: HBM cards are no large GDDR cards [1].
OTHER_MEMORY = 2.6
#: How far apart two GPUs are at most that have the chip in common, or the architecture and the kind of memory [1].
SAME_CHIP, SAME_ARCHITECTURE = 0.9, 1.0
#: How far apart two GPUs are without an architecture in common, of one vendor or of two [1].
SAME_VENDOR, OTHER_VENDOR = 3.0, 4.0
#: Up to which factor the FLOPs of two SMs in a clock are alike: half of the 2 that is between neighbours [1].
SAME_SM = 1.5
#: The most measured GPU of the catalog, whose fits serve where the architecture has none.
DEFAULT_GPU = "a100-80gb-sxm"


class Candidate(NamedTuple):
    """A fit, and the GPU that it was fitted on, an entry of the catalog."""

    gpu: Any
    fit: Fit


@cache
def catalog_fits(name: str) -> tuple[Fit, ...]:
    """The fits of a GPU of the catalog, by id; none where it was not measured."""
    path = entry_files("fits").get(name)
    return () if path is None else read_fits(read_mapping(path), str(path))


def own_fits(path: Any) -> tuple[Fit, ...]:
    """The fits in a user's own file, such as `workbench calibrate` writes."""
    try:
        return read_fits(read_mapping(given_file(path)), str(path))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None


def nearest_fit(
    card: Any, kind: str, form: str, engine: str, candidates: Iterable[Candidate], family: str | None = None
) -> Candidate:
    """The candidate that is nearest: in its GPU, its engine or kernel library, and its format, in this order.

    A fit of the GPU itself by that engine; else of the library that the engine runs; else of the architecture; of
    another architecture by an unrelated library only for want of any other. A near format counts more than a GPU of the
    same architecture, as a format's kernel changes more than the GPU does.
    """
    formats, runs = (form, *NEAR_FORMATS[form]), find_engine(engine).families
    known = [each for each in candidates if each.fit.kind == kind and each.fit.format in formats]

    def distance(each: Candidate) -> tuple[Any, ...]:
        apart = gpus_apart(card, each.gpu)
        if card is each.gpu and card.fits and each.fit.format == form:
            apart = -9.0  # fits of one's own go first, in their format
        own = 0.0 if each.fit.engine == engine else 0.5 if each.fit.family in runs else 1.5
        if own > 1 and apart > 2:
            own = 4.0
        near = formats.index(each.fit.format)
        ridges = abs(log(each.gpu.peak_16_bit / each.gpu.bandwidth / (card.peak_16_bit / card.bandwidth)))
        return (
            apart + own + (near and 1.5 + 0.5 * near) + (0.25 if family not in (None, each.fit.family) else 0),
            own,
            each.gpu.id != DEFAULT_GPU and apart > 2,
            -each.fit.rows if apart > SAME_VENDOR else 0,
            ridges,
            0 if own else -each.fit.rows,  # an engine's usual kernel has most of its timings
            each.fit.engine != DEFAULT_ENGINE,
        )

    return min(known, key=distance)


def lending(card: Any, lender: Any, fit: Fit, form: str, engine: str, link: str | None) -> list[str]:
    """What is said of a fit that is not the GPU's own of that format and engine; `link`, why for a collective's."""
    parts = [] if lender.id == card.id else [f"those of {lender.id}"]
    if lender.id != card.id and link is not None:
        parts.append(link)
    elif lender.id != card.id and same_architecture(card, lender):
        parts.append("the same architecture")
    elif lender.id != card.id:
        parts[0] += f" for want of a fit of {card.architecture}"
    if fit.engine != engine:
        parts.append(f"{fit.engine}'s {fit.family} kernels")
    if fit.format != form and link is None:
        parts.append(f"{fit.format} in place of {form}")
    return parts


def same_architecture(card: Any, other: Any) -> bool:
    """Whether two GPUs have it in common, whatever is said of it after its name."""
    first, second = (entry.architecture.lower().split()[0] for entry in (card, other))
    return bool(first == second)


def gpus_apart(card: Any, other: Any) -> float:
    """How far a GPU is from another: itself, its chip, its architecture with the same kind of memory or not [1].

    With the memory goes the SM, that of data centers or of graphics cards. Memory that is shared with the CPU does not
    tell; the FLOPs of its SMs in a clock do. A what-if is as near to its original as that itself.
    """
    if other.id in (card.id, card.original):
        return 0.0
    if not same_architecture(card, other):
        return SAME_VENDOR if card.vendor == other.vendor else OTHER_VENDOR
    if card.chip == other.chip:
        return SAME_CHIP
    kind, others = ((entry.memory.type or "")[:3] for entry in (card, other))
    alike = kind == others or (kind == "LPD" and abs(log(per_cycle(other, card) or inf)) < log(SAME_SM))
    return SAME_ARCHITECTURE if alike else OTHER_MEMORY
