"""The audit: every published number recomputed, by its source's own formula and by ours, with deviation and verdict."""

from .claims import (
    CLAIM_COLUMNS,
    Claim,
    Source,
    audit_text,
    choose,
    deviation,
    printed_cells,
    printed_speedups,
    published_ranges,
    run,
    show,
    show_published,
    sources,
    summary,
    verdict,
)

__all__ = [
    "CLAIM_COLUMNS",
    "Claim",
    "Source",
    "audit_text",
    "choose",
    "deviation",
    "printed_cells",
    "printed_speedups",
    "published_ranges",
    "run",
    "show",
    "show_published",
    "sources",
    "summary",
    "verdict",
]
