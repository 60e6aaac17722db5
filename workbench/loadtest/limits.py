"""What limits a server under a load, by the evidence of simulations: what lets no more in, or what a step's time is."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..common.variables import COMPUTE, LINK, MEMORY
from ..operators import Step, decode
from ..servers.server import SETTING_LIMITS, Server
from ..servers.steps import overhead, prefill_piece, step
from .recordings import running_peak
from .replays import Replayed, Replays

#: What can limit a server, and in what words: first what lets no more requests in, then what its steps wait for.
LIMIT_WORDS = {
    "client": "the client, which asks for no more",
    "sequence cap": "the cap on sequences",
    "kv cache": "the KV cache",
    "prefill budget": "the budget of tokens for prompts",
    "host": "host time",
    "unpacking": "unpacking of the weights",
    "memory": "memory bandwidth",
    "compute": "compute",
    "link": "the link between GPUs",
}
#: Of these, those that let in no more requests or tokens.
ADMITTING = ("client", "sequence cap", "kv cache", "prefill budget")
#: The share of a test that its sending takes, at least, where the server keeps up [1].
IN_TIME = 0.9
#: Times as many tokens that twice of something must bring to be the limit; the share of the steps' time that what is
#: named makes up together; and how full a cache or a cap is to matter [1].
GAINS, MOST_TIME, FULL = 1.2, 2 / 3, 0.95


@dataclass(frozen=True)
class Limits:
    """What limits a server.

    Parameters
    ----------
    names : tuple of str
        Keys of `LIMIT_WORDS`; of several, all count.
    evidence : pandas.DataFrame
        A row for each of them: limit; share of the steps' time [%], NaN of what lets requests in; gain, times as many
        tokens per second with twice of it, simulated, or by Amdahl's law of a share [1]; seen, in words.
    """

    names: tuple[str, ...]
    evidence: pd.DataFrame

    @property
    def keeps_up(self) -> bool:
        """Whether the server does all that it is asked for."""
        return "client" in self.names

    @property
    def slowest(self) -> str:
        """What most of a step's time goes to."""
        return str(self.evidence.set_index("limit").share.idxmax())


def find_limits(replays: Replays, found: Replayed, other: Replayed | None = None) -> Limits:
    """Name what limits a server.

    Parameters
    ----------
    replays : Replays
        Of the recording.
    found : Replayed
        The server's own.
    other : Replayed, optional
        One that may as well be the server, as the recording does not tell: of two gains the smaller one counts.

    Returns
    -------
    Limits
        With the evidence.

    Notes
    -----
    What lets requests in comes first: where twice the load, the cap, the cache or the budget brings at least `GAINS`
    times the tokens, the one that brings most is the limit, or the two that do it only together. Else as many run as
    pays, and the limit is what most of the steps' time goes to. A limit that is not reached is not simulated. A server
    that ends an open loop's requests as they come keeps up (`IN_TIME`), however little it has left to give.
    """
    shares = step_shares(found)
    busy = found.counts["busy"] / found.counts["duration"]
    reached = _reached(replays, found)

    def gain(*names: str) -> float:
        return min(_gain(replays, each, names) for each in (found, other) if each)

    gains = {name: gain(name) if name in reached else 1.0 for name in ADMITTING}
    most = max(gains, key=lambda name: gains[name])
    names: tuple[str, ...] = (most,) if gains[most] >= GAINS else ()
    if not names and _kept_up(replays, found):
        names = ("client",)
    if not names:
        pairs = {pair: gain(*pair) for pair in combinations(reached, 2)}
        together = max(pairs, key=lambda pair: pairs[pair], default=())
        names = together if together and pairs[together] >= GAINS else ()
    if not names:
        names = _most_of_the_time(shares)
    gains |= {name: 1 / (1 - busy * share / 2) for name, share in shares.items()}
    seen = _seen(found)
    if gains["client"] < GAINS and names == ("client",):
        seen["client"] = f"all that was sent has ended with the sending, and {seen['client']}"
    rows = [(name, 100 * shares.get(name, np.nan), gains[name], seen.get(name, "")) for name in LIMIT_WORDS]
    return Limits(names, pd.DataFrame(rows, columns=["limit", "share", "gain", "seen"]))


def _kept_up(replays: Replays, found: Replayed) -> bool:
    """Whether a server ends an open loop's requests as fast as they come, and more run than wait."""
    table, counts = found.table, found.counts
    if replays.recorded.workload.concurrency or (table.status == "unfinished").any():
        return False
    queued = counts["mean_in_system"] - counts["mean_running"]
    return bool(table.sent_s.max() >= IN_TIME * counts["duration"] and queued <= counts["mean_running"])


def _most_of_the_time(shares: dict[str, float]) -> tuple[str, ...]:
    """The fewest of them that make up `MOST_TIME`, the largest first."""
    largest = sorted(shares, key=lambda name: -shares[name])
    together = np.cumsum([shares[name] for name in largest])
    return tuple(largest[: 1 + int(np.searchsorted(together, MOST_TIME))])


def _reached(replays: Replays, found: Replayed) -> list[str]:
    """Those of `ADMITTING` that may hold a request up."""
    server, counts = found.server, found.counts
    waiting = counts["mean_in_system"] > counts["mean_running"] * (1 + 1e-9)
    reached = {
        "client": True,
        "sequence cap": running_peak(found.table) >= FULL * server.max_num_seqs,
        "kv cache": counts["preemptions"] > 0 or counts["peak_kv_blocks"] >= FULL * counts["kv_blocks"],
        "prefill budget": waiting,
    }
    return [name for name in ADMITTING if reached[name]]


def _gain(replays: Replays, found: Replayed, names: tuple[str, ...]) -> float:
    """Times as many tokens per second with twice of something [1]."""
    server, load = found.server, replays.recorded.twice() if "client" in names else None
    changed: dict[str, Any] = {}
    if "sequence cap" in names:
        changed["max_num_seqs"] = min(2 * server.max_num_seqs, SETTING_LIMITS["max_num_seqs"])
    if "kv cache" in names:
        changed["kv_tokens"] = 2 * server.kv_blocks * server.block_size
    least = server.candidates * changed.get("max_num_seqs", 1)
    budget = min(server.max_num_batched_tokens * (1 + ("prefill budget" in names)), 2 * 10**5)
    changed["max_num_batched_tokens"] = max(budget, least)
    return replays.run(replace(server, **changed), load).token_rate / found.token_rate


def step_shares(found: Replayed) -> dict[str, float]:
    """Shares of a server's busy time by what it waits for: keys of `LIMIT_WORDS`; 1 together [1].

    Of all steps with prompts, and of the mean step without. Unpacking is what steps take longer than with weights that
    are unpacked once.
    """
    own = step_parts(found)
    once = step_parts(replace(found, server=replace(found.server, gemm_rows=None, dequantize_rows=None)))
    parts = once | {"unpacking": max(sum(own.values()) - sum(once.values()), 0.0)}
    if not (whole := sum(parts.values())):
        most = found.server.max_model_len
        raise ValueError(f"no request runs on this server: max_model_len = {most:,} is less than any of them takes")
    return {name: parts[name] / whole for name in LIMIT_WORDS if name not in ADMITTING}


def step_parts(found: Replayed) -> dict[str, float]:
    """Time of all steps of a simulation by what limits it, unpacking in the kernels' [s]."""
    server, counts, table = found.server, found.counts, found.table
    n, context, parts, tokens, before = (np.maximum(column, 0.0) for column in found.mixed.T)
    each = server.draft.tokens_per_step if server.draft else 1.0
    started = int(table.first_token_s.notna().sum())  # a prompt's last part brings the first token
    decoded = counts["generated_tokens"] - started - each * n.sum()
    some = np.maximum(n, 1.0)  # kernels of none at all have no time: left out below
    decoding = decode(np.where(n > 0, some, 0), np.maximum(context, 1.0), candidates=server.candidates)
    found_parts = dict.fromkeys(("memory", "compute", "link", "host"), 0.0)
    if len(n):
        found_parts = _by_limit(server, decoding, prefill_piece(np.maximum(parts, 1), np.maximum(tokens, 1), before))
    alone = counts["steps"] - len(n)
    if alone > 0 and decoded > 0:
        begun = table[table.first_token_s.notna()]
        middle = max(float((begun.prompt_tokens + begun.output_tokens / 2).mean()), 1.0)
        mean = max(decoded / alone / each, 1.0)
        more = _by_limit(server, decode(mean, round(middle), candidates=server.candidates))
        found_parts = {name: seconds + alone * more[name] for name, seconds in found_parts.items()}
    return found_parts


def _by_limit(server: Server, *pieces: Step) -> dict[str, float]:
    """Time of steps by what limits it, their sum [s]."""
    works = step(server, *pieces).values()
    limits = {"memory": MEMORY, "compute": COMPUTE, "link": LINK}
    count = max(np.size(piece.sequences) for piece in pieces)
    times = {
        name: sum(np.broadcast_to(work.by_limit[limit], count) for work in works) for name, limit in limits.items()
    }
    times["host"] = np.broadcast_to(overhead(server, sum(times.values()), *pieces), count)
    return {name: float(np.sum(seconds)) for name, seconds in times.items()}


def _seen(found: Replayed) -> dict[str, str]:
    """What a simulation shows of each limit of admission, in words."""
    server, counts = found.server, found.counts
    running, waiting = counts["mean_running"], counts["mean_in_system"] - counts["mean_running"]
    filled = 100 * counts["peak_kv_blocks"] / (counts["kv_blocks"] or 1)
    return {
        "client": f"the server is busy {100 * counts['busy'] / counts['duration']:.0f} % of the time",
        "sequence cap": f"{running:.1f} of {server.max_num_seqs:,} run and {waiting:.1f} wait on average",
        "kv cache": f"it is filled to {filled:.0f} %, with {counts['preemptions']:,} preemptions",
        "prefill budget": f"{server.max_num_batched_tokens:,} tokens in a step",
    }
