"""Whose fit a collective's time is computed with: that of the same engine over the same generation of link."""

import re
from collections.abc import Iterable
from math import inf, log
from typing import Any

from .choosing import Candidate
from .engine_entries import engine as find_engine
from .engine_entries import engines


def nearest_link_fit(
    card: Any, kind: str, engine: str, candidates: Iterable[Candidate], family: str | None = None, *, pcie: bool = False
) -> Candidate:
    """The candidate for a collective: of the engine, or the library that it runs, then of the link, not of the GPU.

    The link is the vendor's own, or PCIe: the same generation, then as many GPUs that it joins, then the nearest rate.
    """
    own = has_link(card) and not pcie
    generation, rate = link_of(card, own=own), _link_gbs(card, own=own)
    runs = find_engine(engine).families if engine in engines() else ()

    def distance(each: Candidate) -> tuple[Any, ...]:
        reach, its_reach = (entry.link and entry.link.max_gpus for entry in (card, each.gpu))
        other = generation is None or link_of(each.gpu, own=own) != generation
        return (
            not (each.gpu is card and card.fits),  # fits of one's own go first
            family not in (None, each.fit.family),
            0 if each.fit.engine == engine else 1 if each.fit.family in runs else 2,
            other, each.gpu.id != card.id, own and not other and reach != its_reach,
            _rates_apart(_link_gbs(each.gpu, own=own), rate), each.gpu.id,
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


def _link_gbs(card: Any, *, own: bool) -> float | None:
    """Rate to compare links by [GB/s]: PCIe's doubles with every generation; None where that is not known."""
    link = link_of(card, own=False)
    return float(card.link.gbs_per_direction) if own else 2.0 ** int(link[-1]) if link else None


def _rates_apart(one: float | None, other: float | None) -> float:
    """How far two rates are apart, as a logarithm; a rate that is not known is furthest from any other [1]."""
    return inf if one is None or other is None else abs(log(one / other))


def link_reason(card: Any, lender: Any, *, pcie: bool = False) -> str:
    """Why a GPU's collectives go by the fit of another one, in a few words."""
    own = has_link(card) and not pcie
    link, lent = (link_of(entry, own=own) for entry in (card, lender))
    name = card.link.name if own else f"PCIe {card.pcie}" if card.pcie else "an unknown link"
    return f"{link} as well" if link and link == lent else f"{lent} in place of {name}"
