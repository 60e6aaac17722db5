"""What the T4 report concludes from its load test, and what its numbers say: capacity, traffic, recommendations."""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from .. import loadtest
from ..catalog.gpu_entries import gpu
from ..grid.dataset import forward_pass, roofline_grid
from ..loadtest.rows import REQUEST_COLUMNS
from ..published.t4 import (
    T4_ASKED_TOKENS,
    T4_CONTEXT,
    T4_ENGINE_RATE,
    T4_LOAD_TESTS,
    T4_METRICS,
    T4_PROMPT,
    T4_RUNNING,
    T4_SERVER,
    T4_TRAFFIC,
)
from ..serving import estimation
from ..serving.capacity import plan
from ..serving.verdicts import BEST, KEPT
from ..signatures import typed
from .t4_load_test import recorded_step, t4_replay
from .t4_roadmap import gains, kernel_rate, server_rate
from .t4_static import decode_parts, pass_limits

OFFERED = T4_METRICS["requests sent"][3]  # by the report's load generator [1/s]
MOST_RUNNING = int(T4_LOAD_TESTS["default"]["max_num_seqs"])  # sequences that the server may run at a time [1]

Pair = Annotated[tuple[int, int], Field(strict=False)]  # or a list of two


@cache
def _rates() -> tuple[tuple[str, int, float], ...]:
    """What the server, its kernels and the roof make: whose rate it is, sequences [1], tokens per second [1/s]."""
    ideal: dict[str, Any] = {"time_model": "ideal", "gemm_efficiency": 1.0}
    ds = estimation.estimate(
        T4_SERVER["gpu"],
        T4_SERVER["model"],
        1,
        T4_PROMPT,
        T4_ASKED_TOKENS,
        max_model_len=T4_SERVER["max_model_len"],
        engine=None,
    )
    most = int(ds.largest_batch.squeeze())
    return (
        *(("engine's log", T4_RUNNING, rate) for rate in T4_ENGINE_RATE),
        *(("simulated server", count, server_rate(count)) for count in (T4_RUNNING, MOST_RUNNING)),
        ("kernels alone", T4_RUNNING, kernel_rate(T4_RUNNING)),
        *(("ideal roof", count, kernel_rate(count, **ideal)) for count in (T4_RUNNING, most)),
    )


@typed()
def capacity(offered: float = OFFERED) -> pd.DataFrame:
    """Compare what the server can do, from its own log to the ideal roof, with the requests that it was offered.

    Parameters
    ----------
    offered : float, optional
        Requests per second [1/s]; by default those that the report's load generator sent.

    Returns
    -------
    pandas.DataFrame
        Rows: engine's log, simulated server, kernels alone, ideal roof. Columns: sequences running at a time [1];
        tokens_per_second [1/s]; requests_per_second, each of the mean answer asked for (150 tokens) [1/s];
        offered_over_capacity [1].
    """
    table = pd.DataFrame(_rates(), columns=["", "sequences", "tokens_per_second"]).set_index("")
    table["requests_per_second"] = table.tokens_per_second / T4_ASKED_TOKENS
    table["offered_over_capacity"] = offered / table.requests_per_second
    return table


@typed()
def utilization(tokens_per_second: float) -> float:
    """Share of the peak that generating tokens at a rate takes, at the mean context.

    Parameters
    ----------
    tokens_per_second : float
        Tokens generated per second [1/s].

    Returns
    -------
    float
        Of the T4's dense fp16 peak [%].
    """
    grid = roofline_grid(T4_SERVER["gpu"], T4_SERVER["model"], phase="decode", batch_size=1, seq_len=T4_CONTEXT)
    one = forward_pass(grid).squeeze()
    return float(100 * tokens_per_second * one.flops / one.peak_flop_rate)


@typed()
@cache
def p99_reduction(max_num_seqs: int) -> float:
    """What a smaller batch takes off the p99 latency of the finished requests, simulated.

    Parameters
    ----------
    max_num_seqs : int
        Sequences that run at a time, in place of the default run's 256 [1].

    Returns
    -------
    float
        Of the default run's p99 latency [%].
    """
    runs = t4_replay("default"), t4_replay("default", max_num_seqs=max_num_seqs)
    as_it_was, smaller = (float(loadtest.metrics(run).e2e.sel(percentile=99)) for run in runs)
    return 100 * (1 - smaller / as_it_was)


@typed()
def traffic(settings: Sequence[Pair] = ((1, 512), (T4_RUNNING, T4_CONTEXT))) -> pd.DataFrame:
    """Compare the memory traffic of a decoding step with what the report prints of it, and say whether it is the bound.

    Parameters
    ----------
    settings : sequence of (int, int)
        Sequences [1] and the context of each [token].

    Returns
    -------
    pandas.DataFrame
        Columns report and one for each setting. Rows: KV cache (with queries and outputs), weights, activations and
        total [MB], the time that the total takes at the card's bandwidth [ms]; and, NaN for the report, the time of the
        step on the ideal roof, operator by operator [ms], the share of that time in which memory is the bound [%], and
        the step's share of the peak [%]. The last two times are the same where memory is the bound all the time.
    """
    table = pd.DataFrame({"report": pd.Series(T4_TRAFFIC)})
    for sequences, context in settings:
        parts = decode_parts(T4_SERVER["gpu"], T4_SERVER["model"], sequences, context)
        names = ("attention", "weights", "activations", "total")
        table[f"{sequences} x {context} tokens"] = [parts[name] / 1e6 for name in names]
    bandwidth = gpu(T4_SERVER["gpu"]).memory.bandwidth_gbs
    table.loc[f"time at {bandwidth:g} GB/s [ms]"] = table.loc["total"] / bandwidth
    for sequences, context in settings:
        limits = pass_limits("decode", sequences, context, gpu=T4_SERVER["gpu"], model=T4_SERVER["model"]).squeeze()
        for row, name, scale in (
            ("time on the ideal roof [ms]", "time", 1e3), ("memory-bound [% of that time]", "memory_bound", 1.0),
            ("share of the peak [%]", "percent_of_peak", 1.0),
        ):  # fmt: skip
            table.loc[row, f"{sequences} x {context} tokens"] = scale * float(limits[name])
    return table


@typed()
def bandwidth_use(run: str = "default") -> float:
    """Compute which share of the card's bandwidth the decoding steps of a recorded load test took.

    Parameters
    ----------
    run : str, optional
        A key of `published.T4_LOAD_TESTS`.

    Returns
    -------
    float
        The traffic of a step at the mean context, over its recorded time (`recorded_step`), of the bandwidth [%].

    Raises
    ------
    ValueError
        For an unknown run.
    """
    seconds = recorded_step(run)
    running = min(int(T4_LOAD_TESTS[run]["max_num_seqs"]), T4_RUNNING)
    moved = decode_parts(T4_SERVER["gpu"], T4_SERVER["model"], running, T4_CONTEXT)["total"]
    return 100 * moved / seconds / gpu(T4_SERVER["gpu"]).bandwidth


@typed(table=REQUEST_COLUMNS)
def recommendations(table: pd.DataFrame) -> pd.DataFrame:
    """Judge what the report recommends by what the numbers say; each number is computed here.

    Parameters
    ----------
    table : pandas.DataFrame
        A run, from `load_test_requests`.

    Returns
    -------
    pandas.DataFrame
        A row for each recommendation, as text: "the report", what it says; "computed"; "so", what follows.
    """
    ds = loadtest.metrics(table)
    offered, share = float(ds.offered / ds.last_send) if ds.last_send else OFFERED, float(ds.finished_share)
    limits = capacity(offered)
    able, roof = limits.loc["simulated server"].iloc[-1], limits.loc["ideal roof"].iloc[-1]
    cards = ", ".join(f"{row.replicas:.0f} x {row.gpu}" for row in replicas_needed(offered).itertuples())
    kept = T4_SERVER["kv_tokens"] // (T4_PROMPT + T4_ASKED_TOKENS)
    fewer, l4, a10g = gains("Batch of 4 to 8, as recommended"), gains("L4"), gains("A10G")
    lower = [p99_reduction(sequences) for sequences in (4, 8)]
    narrow, once, host = (
        max(gains(change))
        for change in ("Narrow KV cache, speed", "Weights unpacked once", "A host that takes no time")
    )
    rows = [
        (
            "the throughput target is met",
            f"{share:.1f} % finished; {offered:.3g} a second are {able.offered_over_capacity:.1f} times the capacity",
            "met" if share > 99 else "not met: the queue grows as long as the test runs",
        ),
        (
            "a batch of 4 to 8, to halve the p99",
            f"{min(fewer):.2f} to {max(fewer):.2f} of the tokens per second;"
            f" p99 {min(lower):.0f} to {max(lower):.0f} % lower",
            "take all that fit; a smaller batch is for a TPOT, not for the queue",
        ),
        (
            "40 to 50 requests per second by batching",
            f"{able.requests_per_second:.1f} with all that fit; {roof.requests_per_second:.1f} on the ideal roof",
            "not on one T4",
        ),
        (
            "no need to upgrade the GPU",
            f"{offered:.3g} a second take {np.ceil(able.offered_over_capacity):.0f} such servers,"
            f" or, by their kernels alone, {cards}",
            "more GPUs, or faster ones",
        ),
        (
            "L4 or A10G for 2 to 3 times the requests",
            f"L4 {min(l4):.2f} to {max(l4):.2f} times, A10G {min(a10g):.2f} to {max(a10g):.2f}",
            "less than the report expects of either",
        ),
        (
            "reduce memory traffic (KV cache)",
            f"{narrow:.2f} times with 4 bits; the cache holds {kept} such requests as it is",
            "for long contexts, not for these",
        ),
        (
            "(of kernel and host nothing)",
            f"weights unpacked once {once:.2f} times, no host time per sequence {host:.2f} times",
            "the quantized kernel and the engine's own work come first",
        ),
    ]
    return pd.DataFrame(rows, columns=["the report", "computed", "so"])


@typed()
def replicas_needed(offered: float = OFFERED, gpus: Sequence[str] = ("t4", "l4", "a10g", "l40s")) -> pd.DataFrame:
    """Count the GPUs of each kind that serve a load within the report's targets (TTFT 1 s, TPOT 0.3 s).

    Parameters
    ----------
    offered : float, optional
        Requests per second [1/s]; by default those that the report's load generator sent.
    gpus : sequence of str
        Catalog ids.

    Returns
    -------
    pandas.DataFrame
        A row for each GPU that can, with the batch of 1 to 256 that takes the fewest, and of those the cheapest;
        columns as `serving.plan` returns them. By the kernels alone, so that a real server takes no fewer.
    """
    table = plan(
        T4_SERVER["model"], prompt=T4_PROMPT, output=T4_ASKED_TOKENS, ttft=1.0, tpot=0.3, request_rate=offered,
        gpu=gpus, tp=1, batch_size=range(1, MOST_RUNNING + 1),
        gemm_efficiency=T4_SERVER["gemm_efficiency"], max_model_len=T4_SERVER["max_model_len"], engine=None, confirm=0,
    )  # fmt: skip
    fine = table[table.verdict.isin([BEST, KEPT]) | table.verdict.str.startswith("dominated")]
    best = fine.loc[fine.groupby("gpu").replicas.idxmin()]
    return best.set_index("gpu").loc[[gpu for gpu in gpus if gpu in set(best.gpu)]].reset_index()
