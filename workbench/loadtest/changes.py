"""Changes of a server's settings, each simulated under the same load: what it gains."""

from dataclasses import replace
from typing import Any

import pandas as pd

from ..common.arguments import MAX_SIZE
from ..servers.server import SETTING_LIMITS, Server
from ..simulation.client import check_fits
from .replays import Replayed, Replays, host_of
from .summary import metrics

#: How many changes are recommended, and what each gains at least [1].
REMEDIES, LEAST_GAIN = 3, 1.02
#: Two gains that are told as one [1].
ALIKE_GAINS = 1.05
#: Half the host's time, whatever that is.
HALF: dict[str, Any] = {"step_overhead": 0.5, "sequence_overhead": 0.5}
#: Share of the memory that a server may be given without its engine running out of it, mostly [1].
MUCH_MEMORY = 0.95
#: Multiples of today's that are tried of a cap or a budget [1].
MULTIPLES = (0.5, 2, 4, 16)
#: Columns of what a change makes of a load.
OUTCOMES = ("finished", "token_rate", "ttft_p50", "ttft_p99", "tpot_p50", "e2e_p50")


def remedies(replays: Replays, found: Replayed, other: Replayed | None = None, *, faster: bool = False) -> pd.DataFrame:
    """Simulate changes of a server's settings, one at a time; the best of each setting, the best first.

    Parameters
    ----------
    replays : Replays
        Of the recording.
    found : Replayed
        The server as it is.
    other : Replayed, optional
        One that may as well be the server, as the recording does not tell.
    faster : bool
        Whether a gain is in the requests' mean latency, as the server does all that it is asked for; else it is in
        tokens per second.

    Returns
    -------
    pandas.DataFrame
        A row for each setting: change, in words; setting; gain, times as fast or as many, and gain_high, of the two
        servers the smaller and the larger [1]; and `OUTCOMES` of the first: finished requests [1], token_rate of all
        [1/s], percentiles of latencies [s]. The first row is the server as it is.
    """
    rows: list[dict[str, Any]] = [{"change": "as it is", "setting": "", "gain": 1.0, "gain_high": 1.0}]
    rows[0] |= _outcome(found)
    best: dict[str, dict[str, Any]] = {}
    for setting, words, own in _changes(found.server):
        runs = [(each, _changed(replays, each, own)) for each in (found, other) if each]
        gains = [_gain_of(before, after, faster) for before, after in runs if after]
        if len(gains) < len(runs):
            continue
        first = runs[0][1]
        assert first
        if min(gains) > best.get(setting, {"gain": 0.0})["gain"] * ALIKE_GAINS:  # the smaller of steps that gain alike
            found_gains = {"gain": min(gains), "gain_high": max(gains)}
            best[setting] = {"change": words, "setting": setting} | found_gains | _outcome(first)
    rows += sorted(best.values(), key=lambda row: float(-row["gain"]))
    return pd.DataFrame(rows)


def _gain_of(before: Replayed, after: Replayed, faster: bool) -> float:
    return before.latency / after.latency if faster else after.token_rate / before.token_rate


def most_changes() -> int:
    """How many changes are simulated at most [1]."""
    return 2 * (2 * len(MULTIPLES) + 8)


def _outcome(found: Replayed) -> dict[str, float]:
    ds = metrics(found.table)
    return {
        "finished": int(ds.finished), "token_rate": found.token_rate,
        **{f"{name}_p{p}": float(ds[name].sel(percentile=p))
           for name, p in (("ttft", 50), ("ttft", 99), ("tpot", 50), ("e2e", 50))},
    }  # fmt: skip


def _changes(server: Server) -> list[tuple[str, str, dict[str, Any]]]:
    """What may be changed of a server: the setting, the change in words, and fields with their values."""
    changes: list[tuple[str, str, dict[str, Any]]] = []
    for name in ("max_num_seqs", "max_num_batched_tokens"):
        for times in MULTIPLES:
            value = int(min(max(getattr(server, name) * times, 1), SETTING_LIMITS[name]))
            changes.append((name, f"{name} {value:,}", {name: value}))
    share = server.gpu_memory_utilization
    if server.kv_tokens == "fit" and (share is None or share < MUCH_MEMORY):
        more = {"gpu_memory_utilization": MUCH_MEMORY}
        changes.append(("gpu_memory_utilization", f"gpu_memory_utilization {MUCH_MEMORY}", more))
    if server.formats.widths.kv > 1:
        narrow: dict[str, Any] = {"kv_dtype": "fp8"}
        if isinstance(server.kv_tokens, int):
            narrow["kv_tokens"] = min(int(server.kv_tokens * server.formats.widths.kv), MAX_SIZE)
        changes.append(("kv_dtype", "kv_dtype fp8", narrow))
    changes.append(("tp", f"tp {2 * server.tp} (twice the GPUs)", {"tp": 2 * server.tp}))
    if server.tp % 2 == 0:
        changes.append(("tp", f"tp {server.tp // 2} (half the GPUs)", {"tp": server.tp // 2}))
    if server.gemm_rows or server.dequantize_rows:
        once = {"gemm_rows": None, "dequantize_rows": None}
        changes.append(("gemm_rows", "a kernel that unpacks the weights once", once))
    elif server.formats.widths.weight >= 2:
        changes.append(("weight_dtype", "weights in fp8", {"weight_dtype": "fp8"}))
    changes.append(("host", "half the host time (a guess: CUDA graphs, async scheduling)", HALF))
    return changes


def _changed(replays: Replays, found: Replayed, own: dict[str, Any]) -> Replayed | None:
    """What a server makes of the load with other settings; None where it cannot run so, or is the same."""
    if own is HALF:
        own = {name: seconds / 2 for name, seconds in host_of(found.server).items()}
    try:
        other = replace(found.server, **own)
        check_fits(other)
    except ValueError:  # more GPUs than a machine has, a format that the GPU lacks, weights that do not fit
        return None
    return None if other == found.server else replays.run(other)
