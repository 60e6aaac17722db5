"""What the T4 report claims, recomputed."""

from functools import lru_cache

import numpy as np
import xarray as xr

from ..catalog.gpu_entries import gpu
from ..common.arguments import one_of
from ..published.t4 import T4_CONTEXT, T4_METRICS, T4_RUNNING, T4_SERVER, t4_report
from ..studies import t4_findings
from ..studies.t4_load_test import decode_share, prefill_time, t4_replay
from ..studies.t4_roadmap import TENSOR_PARALLEL, gains
from ..studies.t4_static import STATIC_COLUMNS, batching_gain, pass_limits, static_tables
from .values import Recomputed, range_of


@lru_cache(maxsize=64)
def _tables_of(phase: str, batch_size: tuple[int, ...], seq_len: tuple[int, ...]) -> xr.Dataset:
    table: xr.Dataset = static_tables(phase, list(batch_size), list(seq_len))
    return table


def _tables(phase: str, batch_size: int | list[int], seq_len: int | list[int]) -> xr.Dataset:
    """`static_tables`, each once: many claims are of the same."""
    return _tables_of(phase, *(tuple(np.ravel(sizes).tolist()) for sizes in (batch_size, seq_len)))


def t4_static(what: str, phase: str, batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Cells of the T4 report's static tables, or their range over several batch sizes and lengths.

    They are those of one key of `STATIC_COLUMNS`, in the unit in which the report prints it.
    """
    variable, scale, _ = STATIC_COLUMNS[one_of("column", what, STATIC_COLUMNS)]
    cells = _tables(phase, batch_size, seq_len)[variable] * scale
    return Recomputed(range_of(cells.sel(source="workbench")), range_of(cells.sel(source="report")))


def t4_batching_gain(batch_size: list[int], seq_len: list[int]) -> Recomputed:
    """Tokens per second of decoding at several batch sizes over those at batch size 1, at several contexts [1]."""
    gain = batching_gain(batch_size, seq_len)
    return Recomputed(range_of(gain.sel(source="workbench")), range_of(gain.sel(source="report")))


def t4_step(what: str, sequences: list[int]) -> Recomputed:
    """A column of the static decode table at the context of the T4 report's load test (`T4_CONTEXT`)."""
    return t4_static(what, "decode", sequences, [T4_CONTEXT])


def t4_growth(
    what: str,
    phase: str,
    of: tuple[int, int] = (T4_RUNNING, T4_CONTEXT),
    to: tuple[int, int] = (1, T4_CONTEXT),
) -> Recomputed:
    """A cell of the T4 report's static tables over another, each by its batch size and length [1].

    By default the load test's decoding step over that of one sequence.
    """
    cells = [t4_static(what, phase, [batch], [length]) for batch, length in (of, to)]
    return Recomputed(*(float(np.divide(*pair)) for pair in zip(*((c.ours, c.source) for c in cells), strict=True)))


def t4_bound(limit: str, phase: str, batch_size: list[int], seq_len: list[int] | None = None) -> Recomputed:
    """Share of a pass's ideal time in which "memory" or "compute" is the limit [%]; None is the load test's context.

    The report takes one roofline of the whole pass: all of it is bound by the one or by the other.
    """
    one_of("limit", limit, ("memory", "compute"))
    seq_len = [T4_CONTEXT] if seq_len is None else seq_len
    whole = _tables(phase, batch_size, seq_len).sel(source="report")
    bound = (whole.intensity < whole.ridge_point) == (limit == "memory")
    return Recomputed(range_of(pass_limits(phase, batch_size, seq_len)[f"{limit}_bound"]), range_of(100 * bound))


def t4_gain(change: str, setting: str = "*", computed_by: str = "*") -> Recomputed:
    """What a change of the T4 report's roadmap gains in its settings, in the unit that `CHANGES` names."""
    return Recomputed(range_of(gains(change, setting, computed_by=computed_by)))


def t4_per_watt(card: str) -> Recomputed:
    """What another card of the roadmap gains for each watt of its TDP over the T4 [1]."""
    watts = [gpu(name).tdp_w or np.nan for name in (card.lower(), T4_SERVER["gpu"])]
    return Recomputed(range_of(np.array(gains(card)) * watts[1] / watts[0]))


def t4_tp_price() -> Recomputed:
    """What a token costs on several T4s over what it costs on one: GPUs over the roadmap's gain [1]."""
    return Recomputed(
        range_of([count / gain for count in TENSOR_PARALLEL for gain in gains("Tensor parallelism", f"{count} T4*")])
    )


def t4_recorded(metric: str, per: float = 1.0) -> Recomputed:
    """What the records of the T4 report's default run hold (`T4_METRICS`), in units of `per`."""
    return Recomputed(T4_METRICS[one_of("metric", metric, T4_METRICS)][3] / per)


def t4_prefill(prompt: int, per_token: bool = False) -> Recomputed:
    """Time of a prompt by itself on the calibrated server, and by the T4 report's formula [ms]; or for each token."""
    times = prefill_time(prompt), float(t4_report("prefill", 1, prompt)["time"])
    return Recomputed(*(1e3 * time / (prompt if per_token else 1) for time in times))


def t4_decode_share(sequences: list[int]) -> Recomputed:
    """Share of their time that requests of the T4 report's size decode, so many at a time [%]."""
    return Recomputed(range_of([decode_share(count) for count in sequences]))


def t4_bandwidth_use(run: str) -> Recomputed:
    """Share of the T4's bandwidth that the steps of a recorded load test took [%]."""
    return Recomputed(t4_findings.bandwidth_use(run))


def t4_busy() -> Recomputed:
    """Share of the T4 report's default run in which the GPU has a step to run, simulated [%]."""
    engine = t4_replay("default").attrs["engine"]
    return Recomputed(100 * engine["busy"] / engine["duration"])


def t4_capacity(
    what: str = "requests_per_second", whose: tuple[str, ...] = ("simulated server", "ideal roof")
) -> Recomputed:
    """A column of `studies.capacity`, where each of these makes the most tokens per second."""
    rates = t4_findings.capacity()
    one_of("column", what, rates)
    best = rates.sort_values("tokens_per_second").groupby(level=0).last()
    return Recomputed(range_of(best.loc[list(whose), what]))


def t4_utilization(tokens_per_second: list[float]) -> Recomputed:
    """Share of the T4's peak that generating tokens at these rates [1/s] takes [%]."""
    return Recomputed(range_of([t4_findings.utilization(rate) for rate in tokens_per_second]))


def t4_p99_reduction(max_num_seqs: list[int]) -> Recomputed:
    """What smaller batches take off the p99 latency of the T4 report's load test, simulated [%]."""
    return Recomputed(range_of([t4_findings.p99_reduction(count) for count in max_num_seqs]))
