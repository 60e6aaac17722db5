"""Changes of a server's settings, each simulated under the same load: what it gains."""

from dataclasses import replace
from typing import Any

import pandas as pd

from ..common.arguments import MAX_SIZE
from ..servers.server import SETTING_LIMITS, Server
from .replays import Replayed, Replays, host_of
from .summary import metrics

#: How many changes are recommended, and what each gains at least [1].
REMEDIES, LEAST_GAIN = 3, 1.02
#: Multiples of today's that are tried of a cap or a budget [1].
MULTIPLES = (0.5, 2, 4, 16)
#: Columns of what a change makes of a load.
OUTCOMES = ("finished", "token_rate", "ttft_p50", "ttft_p99", "tpot_p50", "e2e_p50")


def remedies(replays: Replays, found: Replayed, *, faster: bool) -> pd.DataFrame:
    """Simulate changes of a server's settings, one at a time; the best of each setting, the best first.

    Parameters
    ----------
    replays : Replays
        Of the recording.
    found : Replayed
        The server as it is.
    faster : bool
        Whether a gain is in the requests' mean latency, as the server does all that it is asked for; else it is in
        tokens per second.

    Returns
    -------
    pandas.DataFrame
        A row for each setting: change, in words; setting; gain, times as fast or as many [1]; and `OUTCOMES`: finished
        requests [1], token_rate of all [1/s], percentiles of latencies [s]. The first row is the server as it is.
    """
    rows: list[dict[str, Any]] = [{"change": "as it is", "setting": "", "gain": 1.0} | _outcome(found)]
    best: dict[str, dict[str, Any]] = {}
    for setting, words, server in _changed(found.server):
        other = replays.run(server)
        gain = found.latency / other.latency if faster else other.token_rate / found.token_rate
        if gain > best.get(setting, {"gain": 0.0})["gain"] * (1 + 0.01):  # a smaller step, where a larger gains no more
            best[setting] = {"change": words, "setting": setting, "gain": gain} | _outcome(other)
    rows += sorted(best.values(), key=lambda row: float(-row["gain"]))
    return pd.DataFrame(rows)


def most_changes() -> int:
    """How many changes are simulated at most [1]."""
    return 2 * len(MULTIPLES) + 8


def _outcome(found: Replayed) -> dict[str, float]:
    ds = metrics(found.table)
    return {
        "finished": int(ds.finished), "token_rate": found.token_rate,
        **{f"{name}_p{p}": float(ds[name].sel(percentile=p))
           for name, p in (("ttft", 50), ("ttft", 99), ("tpot", 50), ("e2e", 50))},
    }  # fmt: skip


def _changed(server: Server) -> list[tuple[str, str, Server]]:
    """Servers with another setting each: the setting, the change in words; none that cannot run."""
    changes: list[tuple[str, str, dict[str, Any]]] = []
    for name in ("max_num_seqs", "max_num_batched_tokens"):
        for times in MULTIPLES:
            value = int(min(max(getattr(server, name) * times, 1), SETTING_LIMITS[name]))
            own = {name: value}
            if name == "max_num_seqs":
                own["max_num_batched_tokens"] = max(server.max_num_batched_tokens, value * server.candidates)
            changes.append((name, f"{name} {value:,}", own))
    share = server.gpu_memory_utilization
    if server.kv_tokens == "fit":
        changes.append(("gpu_memory_utilization", "gpu_memory_utilization 0.95", {"gpu_memory_utilization": 0.95}))
        changes = [each for each in changes if each[0] != "gpu_memory_utilization" or (share or 0.9) < 0.95]
    if server.formats.widths.kv > 1:
        narrow: dict[str, Any] = {"kv_dtype": "fp8"}
        if isinstance(server.kv_tokens, int):
            narrow["kv_tokens"] = min(int(server.kv_tokens * server.formats.widths.kv), MAX_SIZE)
        changes.append(("kv_dtype", "kv_dtype fp8", narrow))
    changes.append(("tp", f"tp {2 * server.tp} (twice the GPUs)", {"tp": 2 * server.tp}))
    if server.gemm_rows or server.dequantize_rows:
        once = {"gemm_rows": None, "dequantize_rows": None}
        changes.append(("gemm_rows", "a kernel that unpacks the weights once (Marlin)", once))
    elif server.formats.widths.weight >= 2:
        changes.append(("weight_dtype", "weights in fp8", {"weight_dtype": "fp8"}))
    if any(host_of(server).values()):
        half = {name: seconds / 2 for name, seconds in host_of(server).items()}
        changes.append(("host", "half the host time (CUDA graphs, async scheduling; a guess)", half))
    return [(setting, words, other) for setting, words, own in changes if (other := _server(server, own))]


def _server(server: Server, own: dict[str, Any]) -> Server | None:
    """The server with other settings; None where it cannot run so, or is the same."""
    try:
        other = replace(server, **own)
    except ValueError:  # more GPUs than a machine has, a format that the GPU lacks
        return None
    fits = other.kv_tokens != "fit" or other.kv_blocks >= 1
    return other if fits and other != server else None
