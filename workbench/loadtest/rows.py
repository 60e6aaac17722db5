"""The rows of a load test as readers collect them: one request each, in compact columns, with what was wrong."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import exp, isfinite, log, nan
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import pandas as pd

from ..common.errors import unknown
from ..files import reading

#: The columns of a load test, a row a request. Times [s] from the first send, NaN where they never happened; tokens
#: [1], NA where unknown; `error` is empty without one. A file that does not say when requests were sent has NaN for all
#: times, and columns ttft_s and e2e_s besides, from each request's own send [s].
REQUEST_COLUMNS = ("sent_s", "first_token_s", "last_token_s", "prompt_tokens", "output_tokens", "status", "error")

#: What became of a request: its last token came; it ended with an error or without a token; the test ended before it.
STATUSES = ("finished", "failed", "unfinished")

MAX_ERROR = 200  # characters that are kept of a request's error
MAX_TOKENS = 10**12  # of one request; a larger number is not a count
ITL_STEP = 1e-3  # inter-token latencies are counted in bins of this relative width
SHORTEST_ITL = 1e-9  # s; what a client prints as 0 is counted here


class Said(NamedTuple):
    """A number of a file's own summary."""

    column: str  #: what it is, one of `claims.RUN_COLUMNS`
    value: float  #: in that column's unit
    scale: float = 1.0  #: the file's unit in that one: .001 where the file has milliseconds


@dataclass
class Rows:
    """Requests of one load test, as `add` collects them."""

    path: Path
    unit: str = "record {}"  #: how a record is named in messages
    #: What the file's own summary says, by field.
    claims: dict[str, Said] = field(default_factory=dict)
    relative: bool = False  #: times are from each request's own send, as nothing says when that was
    whole: int = 0  #: requests of the run, where the file has a sample of them [1]
    label: str = ""  #: what a run is, such as the rate that was asked for
    notes: list[str] = field(default_factory=list)  #: other warnings
    problems: list[str] = field(default_factory=list)
    unusable: int = 0
    errors: dict[int, str] = field(default_factory=dict)
    itl_bins: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._times = array("d")  # sent, first, last of every request, one after the other
        self._tokens = array("d")  # prompt, output
        self._status = bytearray()
        self._texts = reading.Texts(self.path)

    def __len__(self) -> int:
        return len(self._status)

    @property
    def seen(self) -> int:
        """Number of records added, including those that could not be used [1]."""
        return len(self) + self.unusable

    @property
    def longest(self) -> float:
        """The longest time from a request's send to its last event, 0 without any [s]."""
        times = np.array(self._times).reshape(-1, 3)
        return float(np.nan_to_num(times[:, 1:] - times[:, :1]).max(initial=0.0))

    def add(
        self, place: int, *, sent: Any, first: Any = None, last: Any = None, prompt: Any = None, output: Any = None,
        status: str | None = None, error: Any = None, names: Iterable[str] = REQUEST_COLUMNS[:5],
    ) -> None:  # fmt: skip
        """Add one request, or a problem that names its record.

        Parameters
        ----------
        place : int
            Number of the record, for messages [1].
        sent, first, last : number or None
            Times on one clock, None where they never happened [s].
        prompt, output : number or None
            Tokens, None where unknown [token].
        status : str, optional
            One of `STATUSES`; None concludes it from the rest: failed with an error, finished with a last token.
        error : object, optional
            What the file says of a failure.
        names : iterable of str
            The file's own names of the five numbers.
        """
        self.check_room(self.seen + 1)
        try:
            values = [number(n, v) for n, v in zip(names, (sent, first, last, prompt, output), strict=True)]
            self._check(list(names), values)
        except ValueError as problem:
            self.problem(place, str(problem))
            return
        text = _one_line(error)
        if status is None and text:
            status = "failed"
        if status is None:
            status = "finished" if isfinite(values[2]) else "unfinished"
        if status == "finished" and not isfinite(values[2]):
            self.problem(place, "finished without a last token: counted as unfinished", unusable=False)
            status = "unfinished"
        if status == "finished" and values[4] == 0:
            status, text = "failed", text or "ended without output"
        if status == "unfinished" and values[4] == 0 and isfinite(values[1]):
            values[4] = nan  # a first token came: the client did not count
        if text:
            self.errors[len(self)] = self._texts.held(text)
        self._times.extend(values[:3])
        self._tokens.extend(values[3:])
        self._status.append(STATUSES.index(status))

    def problem(self, place: int, text: str, *, unusable: bool = True) -> None:
        """Note what is wrong with a record, or why it could not be used at all."""
        self.check_room(self.seen + unusable)
        self.unusable += unusable
        if len(self.problems) < reading.MAX_PROBLEMS:
            self.problems.append(f"{self.unit.format(place)}: {text}")

    def check_room(self, requests: int) -> None:
        """Raise ValueError for more requests than one file may have."""
        if requests > reading.BUDGET.rows:
            raise ValueError(f"{self.path}: over {reading.BUDGET.rows:,} requests: split it")

    def held(self, value: Any) -> Any:
        """A number itself; anything else as a short text, as `add` takes it for an error."""
        return value if value is None or isinstance(value, int | float) else self._texts.held(_one_line(value))

    def add_itl(self, values: Any, scale: float = 1.0) -> None:
        """Count inter-token latencies: a list, times `scale` [s]; anything but a time is left out."""
        gaps = values if isinstance(values, list) else []
        for value, times in Counter(gap for gap in gaps if isinstance(gap, int | float) and 0 <= gap < 1e300).items():
            place = round(log(max(value * scale, SHORTEST_ITL)) / ITL_STEP)
            self.itl_bins[place] = self.itl_bins.get(place, 0) + times

    def table(self) -> pd.DataFrame:
        """The requests with the columns `REQUEST_COLUMNS`; ValueError where there are none."""
        if not len(self):
            why = self.problems[0] if self.problems else "it has none"
            raise ValueError(f"{self.path}: no request could be read: {why}")
        times = np.array(self._times).reshape(-1, 3)
        own = times[:, 1:] - times[:, :1]
        times = np.full_like(times, np.nan) if self.relative else times - np.min(times[:, 0])
        tokens = np.array(self._tokens).reshape(-1, 2)
        error = np.full(len(self), "", dtype=object)
        error[list(self.errors)] = list(self.errors.values())
        status = np.array(STATUSES, dtype=object)[np.frombuffer(self._status, np.uint8)]
        frame = pd.DataFrame(times, columns=list(REQUEST_COLUMNS[:3]))
        for i, name in enumerate(REQUEST_COLUMNS[3:5]):
            frame[name] = pd.array(tokens[:, i], dtype="Float64").astype("Int64")
        frame = frame.assign(status=pd.Series(status, dtype="str"), error=pd.Series(error, dtype="str"))
        return frame.assign(ttft_s=own[:, 0], e2e_s=own[:, 1]) if self.relative else frame

    def select(self, start: float, end: float, ends: "array[float]") -> int:
        """Leave out requests that ended before `start` or were sent after `end`, on the file's clock [s]; how many."""
        kept = (np.array(ends) >= start) & (np.array(self._times[::3]) <= end)
        if not kept.any():
            return 0
        places = np.flatnonzero(kept)
        self._times = array("d", np.array(self._times).reshape(-1, 3)[places].ravel())
        self._tokens = array("d", np.array(self._tokens).reshape(-1, 2)[places].ravel())
        self._status = bytearray(np.frombuffer(bytes(self._status), np.uint8)[places].tobytes())
        self.errors = {new: self.errors[old] for new, old in enumerate(places.tolist()) if old in self.errors}
        return int((~kept).sum())

    def itl(self) -> dict[str, list[float]]:
        """Inter-token latencies [s], ascending, to a relative 0.05 %, and how many of each; empty lists if unknown."""
        places = sorted(self.itl_bins)
        return {
            "seconds": [exp(place * ITL_STEP) for place in places],
            "count": [self.itl_bins[place] for place in places],
        }

    def _check(self, names: list[str], values: list[float]) -> None:
        sent, first, last, *tokens = values
        if not isfinite(sent):
            raise ValueError(f"no {names[0]}: expected a time")
        for earlier, later, a, b in ((sent, first, 0, 1), (first, last, 1, 2), (sent, last, 0, 2)):
            if later < earlier:
                raise ValueError(f"{names[b]} = {later:.9g}: before {names[a]} = {earlier:.9g}")
        for name, value in zip(names[3:], tokens, strict=True):
            if value < 0 or value > MAX_TOKENS or value % 1 > 0:
                raise ValueError(f"{name} = {value:.9g}: expected a whole number from 0")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a file is a number, which a bool is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(name: str, value: Any) -> float:
    """A finite number, NaN for None and NaN; ValueError, with the name, for anything else."""
    if value is None or value != value:
        return nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError(f"{name} = {str(value)[:60]!r}: expected a number")
    return float(value)


def _one_line(error: Any) -> str:
    """The last line of an error message; in a traceback it is the one that says what happened."""
    text = str("" if error is None else error).strip()[-4096:].encode("utf-8", "replace").decode()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:MAX_ERROR] if lines else ""


def check_status(status: str) -> str:
    """The status, if it is one of `STATUSES`; ValueError otherwise."""
    if status not in STATUSES:
        raise unknown("status", status, STATUSES)
    return status
