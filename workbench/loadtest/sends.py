"""When requests were sent, where a file does not say: as its client was asked to, which is an assumption."""

from heapq import heapify, heapreplace
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from ..simulation.workloads import poisson

#: Of the requests that a client may have open, the share that is open on average in a closed loop, at least [1].
MOSTLY_OPEN = 0.9


def is_relative(table: pd.DataFrame) -> bool:
    """Whether a table does not say when its requests were sent."""
    return {"ttft_s", "e2e_s"} <= {*table} and bool(table.sent_s.isna().all())


def with_sends(table: pd.DataFrame, users: int | None) -> tuple[pd.DataFrame, int | None, str]:
    """The requests with assumed times of their sends, the users of a closed loop [1], and the assumption in words.

    Users send a request when their last one has ended, after the time that this took; without them requests come at
    random (Poisson), at the rate that was asked for.

    Parameters
    ----------
    table : pandas.DataFrame
        Requests with spans alone, in the order of the file.
    users : int, optional
        Of a closed loop [1]; None: what the file says (``attrs["concurrency"]``, ``attrs["asked_rate"]``).

    Raises
    ------
    ValueError
        Where nothing is known of what the client did.
    """
    ttft, e2e = (table[name].to_numpy(float) for name in ("ttft_s", "e2e_s"))
    spent = np.nan_to_num(np.fmax(ttft, e2e))
    cap, rate = (_asked(table.attrs.get(name)) for name in ("concurrency", "asked_rate"))
    what = "as given" if users is not None else "its max_concurrency"
    if users is None and cap >= 1 and (not isfinite(rate) or spent.sum() >= MOSTLY_OPEN * cap * _duration(table)):
        users = int(cap)
    if users is not None:
        sent = _one_after_another(spent, users)
        note = f"taken to be those of a closed loop of {users:,}, {what}"
    elif isfinite(rate):
        sent = poisson(rate, requests=len(table), prompt=1, output=1).sent_s
        note = f"taken to be random (Poisson) at its request_rate, {rate:g} per second"
    else:
        source = f"{table.attrs['source']}: " if "source" in table.attrs else ""
        raise ValueError(
            f"{source}no send times, request_rate or max_concurrency in it: give its users (--users),"
            " the requests that were open at a time"
        )
    times = dict(zip(("sent_s", "first_token_s", "last_token_s"), (sent, sent + ttft, sent + e2e), strict=True))
    return table.drop(columns=["ttft_s", "e2e_s"]).assign(**times), users, f"when requests were sent is unknown: {note}"


def _asked(value: Any) -> float:
    """A number that was asked for; NaN for none and for what no client can do."""
    return float(value) if isinstance(value, int | float) and 0 < value < np.inf else np.nan


def _duration(table: pd.DataFrame) -> float:
    return float(table.attrs.get("duration_s", np.inf))


def _one_after_another(spent: np.ndarray, users: int) -> np.ndarray:
    """When each request is sent by users of whom each waits for the end of its last one [s]."""
    free = [0.0] * min(users, len(spent))
    heapify(free)
    sent = []
    for seconds in spent.tolist():
        sent.append(free[0])
        heapreplace(free, free[0] + seconds)
    return np.array(sent)
