"""The audit: every published number recomputed, by its source's own formula and by ours, with deviation and verdict."""

from .claims import Claim, Source, sources
from .printed import printed_cells, printed_ranges, printed_speedups
from .reading import by_verdict, readable
from .text import audit_text, show, show_published, summary
from .verdicts import CLAIM_COLUMNS, changes, deviation, run, select_claims, verdict

__all__ = [
    "CLAIM_COLUMNS",
    "Claim",
    "Source",
    "audit_text",
    "by_verdict",
    "changes",
    "deviation",
    "printed_cells",
    "printed_ranges",
    "printed_speedups",
    "readable",
    "run",
    "select_claims",
    "show",
    "show_published",
    "sources",
    "summary",
    "verdict",
]
