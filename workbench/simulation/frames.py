"""Tables of requests that are sent again: their columns, what has to be known of each request, and when it was sent."""

from typing import Any

import numpy as np
import pandas as pd

from ..common.arguments import numbers


def check_columns(frame: Any) -> None:
    """Raise ValueError for what is not a table of requests."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"a {type(frame).__name__}: expected a DataFrame, or arrays by name: trace(sent_s=...)")
    for name in ("sent_s", "prompt_tokens", "output_tokens"):
        if name not in frame:
            columns = ", ".join(map(str, frame.columns)) or "none"
            raise ValueError(f"the trace has no column {name!r}: it has {columns}")


def check_known(frame: pd.DataFrame) -> None:
    """Raise ValueError where requests of a load test do not say what is needed to send them again."""
    for name in ("sent_s", "prompt_tokens", "output_tokens"):
        missing = frame[name].isna().to_numpy()
        if not missing.any():
            continue
        some = (
            f"row {int(missing.argmax())}: {name} is unknown, as of {int(missing.sum()):,} of {len(frame):,} requests"
        )
        if missing.all():
            raise ValueError(f"{some}: such a run cannot be sent again")
        raise ValueError(f"{some}: only requests that have all, such as those of status 'finished', can be sent again")


def sending_times(sent_s: Any) -> np.ndarray:
    """Times [s]; dates are counted from the first."""
    if getattr(sent_s, "dtype", None) is not None and (
        np.issubdtype(getattr(sent_s.dtype, "type", object), np.datetime64)
        or isinstance(sent_s.dtype, pd.DatetimeTZDtype)
    ):
        dates = pd.Series(pd.to_datetime(sent_s, utc=True))
        sent_s = ((dates - dates.min()) / pd.Timedelta(seconds=1)).to_numpy(dtype=float)
    sent = np.atleast_1d(numbers("sent_s", sent_s, "expected finite times in seconds"))
    if sent.ndim != 1 or not sent.size:
        raise ValueError("sent_s: expected a list of finite times in seconds, at least one")
    return sent
