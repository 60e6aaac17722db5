"""The audit: every published number recomputed, by its source's own formula and by ours, with deviation and verdict."""

from .claims import BASES, Claim, Sentence, Source, sources
from .printed import printed_cells, printed_ranges, printed_speedups
from .reading import by_verdict, readable
from .text import audit_text, by_source, by_source_text, show, show_published, show_verdict, summary, verdict_counts
from .verdicts import CLAIM_COLUMNS, changes, deviation, flips, hangs, run, select_claims, verdict

__all__ = [
    "BASES",
    "CLAIM_COLUMNS",
    "Claim",
    "Sentence",
    "Source",
    "audit_text",
    "by_source",
    "by_source_text",
    "by_verdict",
    "changes",
    "deviation",
    "flips",
    "hangs",
    "printed_cells",
    "printed_ranges",
    "printed_speedups",
    "readable",
    "run",
    "select_claims",
    "show",
    "show_published",
    "show_verdict",
    "sources",
    "summary",
    "verdict",
    "verdict_counts",
]
