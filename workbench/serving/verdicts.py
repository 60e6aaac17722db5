"""Verdicts of a plan: their words, the service level that they judge by, and what a row breaks, in numbers."""

from dataclasses import dataclass
from math import floor, inf, log10
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..common.arguments import LEAST, check_range
from .room import ALL_FITS, CONTEXT_LENGTH, KV_CACHE, WEIGHTS

BEST, KEPT, FITTING, NOT_SIMULATED = "best", "meets the SLO", "fits", "not simulated"
UNFIT = {
    ALL_FITS: "", WEIGHTS: "weights do not fit", KV_CACHE: "KV cache does not fit",
    CONTEXT_LENGTH: "longer than the model's context",
}  # fmt: skip
#: What a cost is in where nobody says.
OWN_CURRENCY = "the prices' currency"
TOO_SLOW = ("TTFT over", "TPOT over")


def digits(value: float) -> str:
    """A number in print with four digits, more where they are before the point; without zeros at its end."""
    places = max(3 - floor(log10(abs(value))), 0) if value and np.isfinite(value) else 0
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class ServiceLevel:
    """The longest times that a user waits.

    Parameters
    ----------
    ttft, tpot : float, optional
        To the first token, and for each token after it; None is any [s].

    Raises
    ------
    ValueError
        For what is not positive.
    """

    ttft: float | None = None
    tpot: float | None = None

    def __post_init__(self) -> None:
        for name in ("ttft", "tpot"):
            if (limit := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_range(name, limit, low=LEAST))

    @property
    def given(self) -> bool:
        """Whether there is a limit at all."""
        return (self.ttft, self.tpot) != (None, None)

    def verdict(self, ttft: float, tpot: float) -> str:
        """The verdict on a row's times [s]; "" where they keep both limits."""
        over = [time > (limit or inf) for time, limit in zip((ttft, tpot), (self.ttft, self.tpot), strict=True)]
        return next((verdict for verdict, late in zip(TOO_SLOW, over, strict=True) if late), "")

    def why(self, verdict: str, ttft: float, tpot: float, of: str = "") -> str:
        """The verdict with its numbers in ms, `of` a percentile; any other verdict as it is."""
        if verdict not in TOO_SLOW:
            return verdict
        time, limit = ((ttft, self.ttft), (tpot, self.tpot))[TOO_SLOW.index(verdict)]
        if time == inf:
            return f"{of}{verdict} {digits(1e3 * (limit or inf))} ms: requests fail"
        return f"{of}{verdict.removesuffix('over')}{digits(1e3 * time)} ms over {digits(1e3 * (limit or inf))}"


def reasons(ds: xr.Dataset) -> xr.DataArray:
    """Of an estimate of one model and length, what does not fit, in GB or tokens over the limit; "" where all fits."""
    longest = ds.attrs["max_model_len"] or np.ravel(ds.attrs["max_context"])[0].item()
    at, tokens = ds.isel(model=0, prompt=0, output=0), ds.prompt.item() + ds.output.item()
    sized = xr.broadcast(at.unfit, at.weights, at.activations, at.memory, at.usable_memory)
    texts = np.full(sized[0].shape, "", dtype=object)
    for place in zip(*np.nonzero(sized[0].values != ALL_FITS), strict=True):
        unfit, weights, activations, memory, limit = (each.values[place].item() for each in sized)
        parts = {"weights": weights, "weights and activations": weights + activations, "memory": memory}
        named = "memory" if unfit == KV_CACHE else next(n for n in parts if n == "memory" or parts[n] > limit)
        texts[place] = f"{named} {digits(parts[named] / 1e9)} GB over {digits(limit / 1e9)} GB"
        if unfit == CONTEXT_LENGTH:
            texts[place] = f"{tokens:,} tokens over the context of {longest:,}"
    return xr.DataArray(texts, {name: ds[name] for name in sized[0].dims}, sized[0].dims)


def name_of(row: Any) -> str:
    """A row of a plan in words."""
    return f"{row.gpu} tp {row.tp} batch {row.batch_size}"


def counted(verdicts: pd.Series) -> str:
    """How many rows of a plan have each verdict, those that are dominated together."""
    counts = verdicts.where(~verdicts.str.startswith("dominated"), "dominated").value_counts()
    return "; ".join(f"{count} {verdict}" for verdict, count in counts.items())
