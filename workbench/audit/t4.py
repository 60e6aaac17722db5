"""What the T4 report claims, recomputed."""

from ..common.errors import unknown
from ..studies import t4_findings
from ..studies.t4_roadmap import gains
from ..studies.t4_static import STATIC_COLUMNS, static_tables
from .values import Recomputed, range_of


def t4_static(what: str, phase: str, batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Cells of the T4 report's static tables, or their range over several batch sizes and lengths.

    They are those of one key of `STATIC_COLUMNS`, in the unit in which the report prints it.
    """
    if what not in STATIC_COLUMNS:
        raise unknown("column", what, STATIC_COLUMNS)
    variable, scale, _ = STATIC_COLUMNS[what]
    cells = static_tables(phase, batch_size, seq_len)[variable] * scale
    return Recomputed(range_of(cells.sel(source="workbench")), range_of(cells.sel(source="report")))


def t4_batching_gain(batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Tokens per second of decoding at several batch sizes over those at batch size 1, at several contexts [1]."""
    ds = static_tables("decode", [1, *batch_size], seq_len).tokens_per_second
    gain = ds.sel(batch_size=batch_size) / ds.sel(batch_size=1, drop=True)
    return Recomputed(range_of(gain.sel(source="workbench")), range_of(gain.sel(source="report")))


def t4_gain(change: str) -> Recomputed:
    """What a change of the T4 report's roadmap gains in its settings, in the unit that `CHANGES` names."""
    return Recomputed(range_of(gains(change)))


def t4_capacity() -> Recomputed:
    """Requests per second of the T4 report's workload: its server with all that fit, and the ideal roof [1/s]."""
    rates = t4_findings.capacity().requests_per_second
    return Recomputed((float(rates.loc["simulated server"].max()), float(rates.loc["ideal roof"].max())))


def t4_utilization(tokens_per_second: list[float]) -> Recomputed:
    """Share of the T4's peak that generating tokens at these rates [1/s] takes [%]."""
    return Recomputed(range_of([t4_findings.utilization(rate) for rate in tokens_per_second]))


def t4_p99_reduction(max_num_seqs: list[int]) -> Recomputed:
    """What smaller batches take off the p99 latency of the T4 report's load test, simulated [%]."""
    return Recomputed(range_of([t4_findings.p99_reduction(count) for count in max_num_seqs]))
