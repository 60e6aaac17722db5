"""Replicas together: the fewest that take a rate of requests, or those of the GPUs that there are, and their cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..common.arguments import LEAST, check_range, whole_number


class Trial(NamedTuple):
    """What a row of a plan comes to in the simulation."""

    replicas: int
    rate: float  #: of all replicas together [1/s]
    ttft: float  #: at the percentile [s]
    tpot: float  #: at the percentile [s]
    verdict: str  #: the limit that is broken; "" where none is

    @property
    def met(self) -> bool:
        """Whether the requests keep every limit."""
        return not self.verdict


@dataclass(frozen=True)
class Fleet:
    """What a plan is for; of the rate and the GPUs at most one, or else a single replica.

    Parameters
    ----------
    request_rate : float, optional
        Of all requests [1/s].
    gpus : int, optional
        That there are [1].
    utilization : float
        Share of its throughput that a replica is loaded to at most [1].

    Raises
    ------
    ValueError
        For numbers out of their range, and both.
    """

    request_rate: float | None
    gpus: int | None
    utilization: float

    def __post_init__(self) -> None:
        if self.gpus is not None:
            object.__setattr__(self, "gpus", whole_number("gpus", self.gpus))
        if self.request_rate is not None:
            rate = check_range("request_rate", self.request_rate, low=LEAST)
            object.__setattr__(self, "request_rate", rate)
            if self.gpus is not None:
                raise ValueError(f"gpus = {self.gpus} with request_rate = {rate:g}: give one, the plan finds the other")
        object.__setattr__(self, "utilization", check_range("utilization", self.utilization, 1, "shares", low=LEAST))

    @property
    def loaded(self) -> bool:
        """Whether requests arrive at a rate; otherwise every replica is full."""
        return (self.request_rate, self.gpus) != (None, None)

    def load(self, table: pd.DataFrame, found: Mapping[int, Trial] | None = None) -> pd.DataFrame:
        """A plan's table with the replicas, their load, what they cost, and `score`, the less the better.

        As `found` says for the rows that are in it; for the others as much as the estimate's throughput allows.
        """
        table["score"] = table.cost
        if not self.loaded:
            return table
        each = self.utilization * table.requests_per_second
        if self.request_rate is not None:
            table["replicas"], table["request_rate"] = np.ceil(self.request_rate / each), self.request_rate
        elif self.gpus is not None:
            table["replicas"] = np.where(each.notna(), self.gpus // table.gpus_each, np.nan)
            table["request_rate"] = table.replicas * each
            few = (table.verdict == "") & (table.replicas == 0)
            table.loc[few, "verdict"] = f"more than {self.gpus} GPU{'s' * (self.gpus > 1)}"
        for place, trial in (found or {}).items():
            table.loc[place, ["replicas", "request_rate"]] = trial.replicas, trial.rate
        full = table.replicas * table.requests_per_second
        table["gpus"], table["utilization"] = table.replicas * table.gpus_each, 100 * table.request_rate / full
        table["cost"] = table.full_cost * full / table.request_rate  # replicas that are not full cost, too
        table["score"] = (table.cost if self.gpus is None else -table.request_rate).map(rounded)
        return table


def rounded(score: float) -> float:
    """A score without the noise of its computation, so that equal ones are."""
    return float(f"{score:.9g}")
