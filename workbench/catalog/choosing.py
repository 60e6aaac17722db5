"""Whose fit a kernel's time is computed with, where a GPU has none for that engine and format."""

import re
from collections.abc import Iterable
from functools import cache
from math import log
from typing import Any, NamedTuple

from ..files.yaml_files import read_mapping
from .fits import NEAR_FORMATS, Fit, read_fits
from .loading import entry_files

#: Kernel libraries that each engine runs, where it has no fit of its own; the first engine is the best measured.
ENGINES: dict[str, tuple[str, ...]] = {
    "vllm": ("cublas", "cutlass", "cutedsl", "deepgemm", "triton", "marlin", "fa2", "fa3", "flashinfer", "trtllm-gen",
             "flashmla", "one-shot"),
    "sglang": ("cublas", "cutlass", "cutedsl", "deepgemm", "triton", "marlin", "fa2", "fa3", "flashinfer", "trtllm-gen",
               "flashmla", "one-shot"),
    "trtllm": ("trtllm", "trtllm-gen", "cutlass", "deepgemm", "flashinfer"),
    "pytorch": ("cublas", "fa2", "fa3", "cutlass", "triton", "nccl"),
}  # fmt: skip
DEFAULT_ENGINE = next(iter(ENGINES))
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


def nearest_fit(
    card: Any, kind: str, form: str, engine: str, candidates: Iterable[Candidate], family: str | None = None
) -> Candidate:
    """The candidate that is nearest: in its GPU, its engine or kernel library, and its format, in this order.

    A fit of the GPU itself by that engine; else of the library that the engine runs; else of the architecture; of
    another architecture by an unrelated library only for want of any other. A near format counts more than a GPU of the
    same architecture, as a format's kernel changes more than the GPU does.
    """
    formats = (form, *NEAR_FORMATS[form])
    known = [each for each in candidates if each.fit.kind == kind and each.fit.format in formats]

    def distance(each: Candidate) -> tuple[Any, ...]:
        apart = _gpus_apart(card, each.gpu)
        own = 0.0 if each.fit.engine == engine else 0.5 if each.fit.family in ENGINES[engine] else 1.5
        if own > 1 and apart > 2:
            own = 4.0
        near = formats.index(each.fit.format)
        ridges = abs(log(each.gpu.peak_16_bit / each.gpu.bandwidth / (card.peak_16_bit / card.bandwidth)))
        by_engine = [*ENGINES].index(each.fit.engine) if each.fit.engine in ENGINES else len(ENGINES)
        return (
            apart + own + (near and 1.5 + 0.5 * near) + (0.25 if family not in (None, each.fit.family) else 0),
            own,
            each.gpu.id != DEFAULT_GPU and apart > 2,
            ridges,
            -each.fit.rows,
            by_engine,
        )

    return min(known, key=distance)


def nearest_link_fit(
    card: Any, kind: str, engine: str, candidates: Iterable[Candidate], family: str | None = None, *, pcie: bool = False
) -> Candidate:
    """The candidate for a collective: of the engine, or the library that it runs, then of the link, not of the GPU.

    The link is the vendor's own, or PCIe: the same generation, then as many GPUs that it joins, then the nearest rate.
    """
    own = has_link(card) and not pcie
    generation, rate = link_of(card, own=own), _link_gbs(card, own=own)

    def distance(each: Candidate) -> tuple[Any, ...]:
        reach, its_reach = (entry.link and entry.link.max_gpus for entry in (card, each.gpu))
        return (
            not (each.gpu is card and card.fits),  # fits of one's own go first
            family not in (None, each.fit.family),
            0 if each.fit.engine == engine else 1 if each.fit.family in ENGINES.get(engine, ()) else 2,
            generation is None or link_of(each.gpu, own=own) != generation,
            each.gpu.id != card.id, own and reach != its_reach, abs(log(_link_gbs(each.gpu, own=own) / rate)),
            each.gpu.id,
        )  # fmt: skip

    known = (each for each in candidates if each.fit.kind == kind and has_link(each.gpu) == own)
    return min(known, key=distance)


def has_link(card: Any) -> bool:
    """Whether a GPU has a vendor's own link, of known rate."""
    return bool(card.link and card.link.gbs_per_direction)


def link_of(card: Any, *, own: bool | None = None) -> str | None:
    """Generation of a GPU's own link, or of its PCIe, such as "NVLink 4"; None where it is neither, or not known."""
    if has_link(card) if own is None else own:
        found = re.match(r"NVLink \d", card.link.name)
        return found and found[0]
    found = re.match(r"\d", card.pcie or "")
    return found and f"PCIe {found[0]}"


def _link_gbs(card: Any, *, own: bool) -> float:
    """Rate to compare links by: PCIe's doubles with every generation [GB/s]."""
    link = link_of(card, own=False)
    return float(card.link.gbs_per_direction) if own else 2.0 ** int(link[-1]) if link else 1.0


def _gpus_apart(card: Any, other: Any) -> float:
    """How far a GPU is from another: itself, its chip, its architecture with the same kind of memory or not [1]."""
    if card.id == other.id:
        return -9.0 if card is other and card.fits else 0.0  # fits of one's own go first
    if card.architecture.lower().split()[0] != other.architecture.lower().split()[0]:
        return 3.0
    if card.chip == other.chip:
        return 0.9
    kind, others = ((entry.memory.type or "")[:3] for entry in (card, other))
    return 1.0 if kind == others else 1.4
