"""The rows of one kind of kernel, the fit to them by least squares, and the intervals of its parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, least_squares

from ..catalog.dtypes import KERNEL_FORMATS
from ..catalog.fits import FITS
from ..catalog.gpu_entries import GPU
from ..kernels.gemm import replayed_cost
from ..kernels.times import LAWS
from .kinds import FITTED, call_costs
from .rows import folds

#: Relative error at which the fit begins to count a row as an outlier [1].
OUTLIER = 0.05
#: A combination of parameters that moves the times by less than this share of the best-known one is undetermined [1].
UNDETERMINED = 1e-3
#: Steps of the solver at most [1], and how far inside its bounds a search starts that goes on from another fit [1].
MOST_STEPS, INSIDE = 100, 1e-6
#: Regimes of a kernel, by which of computing and moving takes longer on the roof; "between" is within a factor of 2.
REGIMES = ("memory-bound", "between", "compute-bound")
#: Fitted as well, where more than this share of the rows of a kind that is `replayed` beat the memory roof.
REPLAYED_ROWS, REPLAYED = 0.02, {"l2_speedup": (2.0, 1.0, 10.0), "l2_share": (1.0, 0.3, 2.0)}


class Timings:
    """The rows of one kind of kernel and format of a GPU as arrays, and the fit to them."""

    def __init__(self, kind: str, form: str, rows: pd.DataFrame, card: GPU) -> None:
        """Prepare the rows of a GPU."""
        fitted, self.card = FITTED[kind].adapted(FITTED[kind], form, rows), card
        self.record, self.law, self.variants, self.bounds = FITS[kind], fitted.law, fitted.variants, fitted.bounds
        self.time = rows.time_s.to_numpy(dtype=float)
        self.cost = call_costs(kind, form, rows)
        computes = rows["dtype"] if form == "bf16" else [KERNEL_FORMATS[form].computes] * len(rows)
        self.peak = np.array([card.peak_flop_rate(dtype) for dtype in computes])
        computing, moving = self.cost.flops / self.peak, self.cost.bytes / card.bandwidth
        self.roof = LAWS[self.cost.kernel].ideal
        self.ideal = np.asarray(self.roof(card, self.cost, self.peak))
        self.regime = np.array(REGIMES)[(computing > moving / 2).astype(int) + (computing > 2 * moving)]
        in_cache = self.cost.bytes < (0.0 if card.l2_mb is None else 1e6 * card.l2_mb)
        self.replayed = np.asarray(in_cache & fitted.replayed)  # they may beat the roof of memory
        cached = in_cache & (self.time < 2 * moving)
        self.usable = (self.time > self.ideal) & ~(cached & fitted.cached)
        self.copies = rows.copies.fillna(1).to_numpy() if "copies" in rows else 1
        if fitted.replayed and (self.time < moving).mean() > REPLAYED_ROWS:
            known = {name: bounds for name, bounds in REPLAYED.items() if name in self.record.model_fields}
            self.bounds = known | fitted.bounds
        if "l2_speedup" in self.bounds:
            self.usable = np.ones(len(rows), dtype=bool)

    def predict(self, fit: Any) -> np.ndarray:
        """Times by the model [s]."""
        speedup, share = getattr(fit, "l2_speedup", None), getattr(fit, "l2_share", 1.0)
        cost = replayed_cost(self.card, self.cost, speedup, self.copies, share)
        seconds = self.law(fit=fit, gpu=self.card, cost=cost, peak_flop_rate=self.peak)
        return np.asarray(np.maximum(seconds, self.roof(self.card, cost, self.peak)))

    def seen(self, fit: Any) -> np.ndarray:
        """Rows that take twice the time of the benchmark's host or more: of others it times the host alone."""
        return np.asarray(self.time > 2e-6 * getattr(fit, "host_us", 0.0))

    def fit(self, rows: np.ndarray, like: Any = None) -> tuple[Any, OptimizeResult]:
        """The best record on those rows, and how the solver got there.

        Every variant is tried; or that of the record `like`, which is where the search starts.
        """
        names = list(self.bounds)
        start, low, high = (np.array(column) for column in zip(*self.bounds.values(), strict=True))
        scale, variants = start, self.variants
        if like is not None:
            inside = INSIDE * (high - low)
            start = np.clip([getattr(like, name) for name in names], low + inside, high - inside)
            variants = [{name: getattr(like, name) for variant in self.variants for name in variant}]
        best = None
        for fixed in variants:

            def record(x: np.ndarray, fixed: dict[str, Any] = fixed) -> Any:
                return self.record(**dict(zip(names, map(float, x), strict=True)), **fixed)

            def residuals(x: np.ndarray, record: Callable[[np.ndarray], Any] = record) -> np.ndarray:
                return np.asarray(np.log(self.predict(record(x))[rows] / self.time[rows]))

            solution = least_squares(
                residuals, start, bounds=(low, high), x_scale=scale, loss="soft_l1", f_scale=OUTLIER,
                diff_step=np.full(len(names), 1e-4), max_nfev=MOST_STEPS,
            )  # fmt: skip
            if best is None or solution.cost < best[1].cost:
                best = record(solution.x), solution
        assert best is not None
        return best

    def spread(self, record: Any, solution: OptimizeResult) -> dict[str, float]:
        """Half of the 95 % interval of each parameter that the rows determine [%]."""
        table = intervals(list(self.bounds), record, solution)
        known = table[table.high.notna() & (table.high > table.value) & (table.value > 0)]
        return dict(zip(known.parameter, 100 * (known.high / known.value - 1), strict=True))

    def held_out(self, together: list[str], table: pd.DataFrame, whole: Any) -> np.ndarray:
        """Times of every row by a fit to the rows that agree with it in none of some columns [s]."""
        times = np.empty(len(self.time))
        for unseen in folds(table, together):
            part, _ = self.fit(self.usable & ~unseen, whole)
            times[unseen] = self.predict(part)[unseen]
        return times


def intervals(names: list[str], record: Any, solution: OptimizeResult) -> pd.DataFrame:
    """95 % intervals by the curvature at the optimum; NaN for what sits on its bound or the rows do not determine."""
    values = np.array([getattr(record, name) for name in names])
    scatter = 1.4826 * np.median(np.abs(solution.fun))  # robust standard deviation of the log residuals
    free = solution.active_mask == 0
    if not free.any():
        return pd.DataFrame({"parameter": names, "value": values, "low": np.nan, "high": np.nan})
    _, size, directions = np.linalg.svd(solution.jac[:, free] * values[free], full_matrices=False)
    weak = size < UNDETERMINED * size.max()
    relative = 1.96 * scatter * np.sqrt(((directions[~weak].T / size[~weak]) ** 2).sum(axis=1))
    relative[(np.abs(directions[weak]) > 0.1).any(axis=0)] = np.nan
    spread = np.full(len(names), np.nan)
    spread[free] = values[free] * relative
    return pd.DataFrame({"parameter": names, "value": values, "low": values - spread, "high": values + spread})
