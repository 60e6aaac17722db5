"""A recorded load test as requests that the simulator sends again: what its client did, and what it does not tell."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..simulation.client import GOLDEN
from ..simulation.workloads import MOST_TOKENS, Workload, trace
from .sends import is_relative, with_sends

#: Requests that what is simulated many times is made of, the first of the file [1].
MOST_REPLAYED = 2000
#: A client sends when a request has ended: the share of its sends that bring it to its full number, at least, and the
#: median time from the end before to the send, of the median request, at most [1].
AT_ONCE, PROMPTLY = 0.9, 0.05


@dataclass(frozen=True)
class Recording:
    """Requests of a load test, in the order of their sends.

    Parameters
    ----------
    table : pandas.DataFrame
        As `read` returns them; with assumed times where it does not say when they were sent (`with_sends`).
    workload : Workload
        The same requests; outputs that the table does not know are estimated (`output_lengths`).
    horizon : float, optional
        When the test ended, where it ended before its requests [s].
    in_flight : int, optional
        Requests that its client has open at once, where that is known [1].
    notes : tuple of str
        What it does not tell, and what was taken in its place.
    """

    table: pd.DataFrame
    workload: Workload
    horizon: float | None
    in_flight: int | None
    notes: tuple[str, ...]

    def first(self, requests: int = MOST_REPLAYED) -> "Recording":
        """Its first requests, until the next one was sent; all where there are no more."""
        if len(self.table) <= requests:
            return self
        load = self.workload
        columns = ("sent_s", "prompt_tokens", "output_tokens", "cached_tokens")
        some: dict[str, Any] = {name: getattr(load, name)[:requests] for name in columns}
        end = None if load.concurrency else float(load.sent_s[requests])
        return replace(self, table=self.table[:requests], workload=replace(load, **some), horizon=end)

    def twice(self) -> tuple[Workload, int | None]:
        """Twice the load: the same requests at twice the rate, or from twice the users; and what its client opens."""
        load, open_at_once = self.workload, self.in_flight and 2 * self.in_flight
        if load.concurrency:
            return replace(load, concurrency=2 * load.concurrency), open_at_once
        return replace(load, sent_s=load.sent_s / 2), open_at_once


def recording(
    table: pd.DataFrame,
    *,
    users: int | None = None,
    in_flight: int | None = None,
    cached_prefix: int = 0,
    window: float | None = None,
) -> Recording:
    """Make a recorded load test ready to be simulated.

    Parameters
    ----------
    table : pandas.DataFrame
        Requests with the columns `REQUEST_COLUMNS`.
    users : int, optional
        Of a closed loop [1]; None: as the sends show, see `users_of`.
    in_flight : int, optional
        Requests that the client has open at once, the others waiting at it, their clock running [1].
    cached_prefix : int
        Tokens of every prompt that the server's prefix cache has [token].
    window : float, optional
        When it ends, from the first send, where it is to be cut short [s].

    Returns
    -------
    Recording
        Its requests in the order of their sends.

    Raises
    ------
    ValueError
        For a table that is none of requests, and where no prompt, no output, or nothing of the sends is known.
    """
    notes, assumed = list[str](), is_relative(table)
    if assumed:
        table, users, note = with_sends(table, users)
        notes.append(note)
    table = table.sort_values("sent_s", kind="stable", ignore_index=True)
    if window is not None:
        table = _until(table, window)
        notes.append(f"all of this is of the first {window:g} s of the test")
    prompts, no_prompt = _prompt_lengths(table)
    outputs, no_output = output_lengths(table)
    load = trace(sent_s=table.sent_s, prompt_tokens=prompts, output_tokens=outputs, cached_tokens=cached_prefix)
    users = users_of(table) if users is None and not assumed else users
    if users is not None:
        load = replace(load, sent_s=np.zeros(len(load)), concurrency=users)
    if users is not None and not assumed:
        notes.append(f"its client is a closed loop of {users:,}: it sends a request when another has ended")
    if no_prompt:
        notes.append(f"unknown prompts, of {no_prompt:,} requests, are drawn from the others'")
    if no_output:
        notes.append(f"unknown outputs, of {no_output:,} requests, are drawn from the others' (Kaplan-Meier)")
    whole = not (table.status == "unfinished").any()
    end = None if whole else float(np.nanmax(table[["sent_s", "first_token_s", "last_token_s"]].to_numpy(float)))
    return Recording(table, load, window or end or None, in_flight, tuple(notes))


def _until(table: pd.DataFrame, end: float) -> pd.DataFrame:
    """What a test that ends earlier has of the same requests: what comes later has not come [s]."""
    table = table[table.sent_s <= end].reset_index(drop=True)
    table.attrs.pop("itl", None)
    ended = ~(table.last_token_s > end)
    times = {name: table[name].where(table[name] <= end) for name in ("first_token_s", "last_token_s")}
    return table.assign(
        **times, output_tokens=table.output_tokens.astype("Int64").where(ended),
        status=table.status.where(ended, "unfinished"), error=table.error.where(ended, ""),
    )  # fmt: skip


def output_lengths(table: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Output tokens of every request, estimated where they are unknown, and of how many they are [token], [1].

    Requests that finished are the shorter ones where a test was cut off. The distribution of all is Kaplan and Meier's
    (1958, doi:10.1080/01621459.1958.10501452): a request that was decoding when the test ended, or failed, is known to
    be longer than what came of it until then, at the others' median pace. Each unknown output is a quantile of it,
    beyond what came; the quantiles are spread evenly.
    """
    from scipy.stats import CensoredData, ecdf  # half a second, for this alone

    given = table.output_tokens.to_numpy(float, na_value=np.nan)
    known = (table.status == "finished").to_numpy() & (given > 0)
    if not known.any():
        raise ValueError("output_tokens: unknown for every request that finished: a simulation needs some")
    first, last = (table[name].to_numpy(float) for name in ("first_token_s", "last_token_s"))
    several = known & (given > 1) & (last > first)
    pace = np.median(((last - first)[several]) / (given - 1)[several]) if several.any() else np.inf
    end = np.nanmax([table.sent_s.to_numpy(float), first, last])
    came = np.nan_to_num(np.fmax(given, np.nan_to_num((end - first) / pace + 1)))  # 0: never started
    came = np.minimum(np.where(known, given, np.where(table.status == "unfinished", came, np.nan_to_num(given))), 1e6)
    left = ~known & (came >= 1)
    survival = ecdf(CensoredData(uncensored=given[known], right=came[left])).sf
    lengths, longer = survival.quantiles, survival.probabilities.copy()
    longer[-1] = 0.0  # what is longer than all is as long as the longest
    share = (np.arange(1, len(table) + 1) * GOLDEN % 1) * survival.evaluate(came)
    drawn = lengths[np.searchsorted(-longer, -share)]
    found = np.where(known, given, np.maximum(drawn, np.maximum(came, 1)))
    return np.clip(np.rint(found), 1, MOST_TOKENS).astype(np.int64), int((~known).sum())


def _prompt_lengths(table: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Prompt tokens of every request, quantiles of the others' where unknown, and of how many they are [token], [1]."""
    given = table.prompt_tokens.to_numpy(float, na_value=np.nan)
    known = given > 0
    if not known.any():
        raise ValueError("prompt_tokens: unknown for every request: a simulation needs some")
    drawn = np.quantile(given[known], np.arange(1, len(table) + 1) * GOLDEN % 1, method="nearest")
    return np.where(known, given, drawn).astype(np.int64), int((~known).sum())


def users_of(table: pd.DataFrame) -> int | None:
    """How many users a closed loop has, by the sends alone; None of an open loop [1].

    All but the first sends bring the requests that are open to one and the same number, and come promptly after an
    earlier one has ended.
    """
    sent = table.sent_s.to_numpy(float)
    last = table.last_token_s.to_numpy(float)
    ends = np.sort(last[~np.isnan(last)])
    ended = np.searchsorted(ends, sent, side="right")
    still_open = np.arange(1, len(sent) + 1) - ended
    users = int(still_open.max())
    later = slice(users, None)
    if users < 1 or len(sent) < 2 * users or not ended[later].all() or not len(ends):
        return None
    waited = sent[later] - ends[ended[later] - 1]
    request = float(np.nanmedian(last - sent))
    soon = np.searchsorted(sent, sent[later] + PROMPTLY * request, side="right") - ended[later]
    full = (soon >= 0.95 * users).mean()
    return users if full >= AT_ONCE and np.median(waited) <= PROMPTLY * request else None


def running_peak(table: pd.DataFrame) -> int:
    """Most requests between first and last token at a time [1]."""
    first, last = (np.sort(table[name].dropna().to_numpy(float)) for name in ("first_token_s", "last_token_s"))
    return int((np.arange(1, len(first) + 1) - np.searchsorted(last, first, side="right")).max(initial=0))
