"""The fit of each kind of kernel by least squares, the intervals of its parameters, and errors on rows held out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, least_squares

from ..catalog.dtypes import KERNEL_FORMATS
from ..catalog.fits import FITS, Fit, fits_file
from ..catalog.gpu_entries import GPU, kernel_fit
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.errors import unknown
from ..kernels.gemm import replayed_cost
from ..kernels.roofline import ideal_time
from ..signatures import typed
from .kinds import FITTED, call_costs
from .rows import FOLDS, by_group, folds, held_together

#: Relative error at which the fit begins to count a row as an outlier [1].
OUTLIER = 0.05
#: A combination of parameters that moves the times by less than this share of the best-known one is undetermined [1].
UNDETERMINED = 1e-3
#: Limits beyond which a table must be of something else: the share of rows above the roof [1], and the median of times
#: over the roof's time [1], among rows for which that is longer than `LARGE` [s].
MOST_BEATEN, MOST_SLOW, LARGE = 0.5, 100.0, 1e-5
#: Regimes of a kernel, by which of computing and moving takes longer on the roof; "between" is within a factor of 2.
REGIMES = ("memory-bound", "between", "compute-bound")
#: Fitted as well, where more than this share of the rows of a kind that is `replayed` beat the memory roof.
REPLAYED_ROWS, REPLAYED = 0.02, {"l2_speedup": (2.0, 1.0, 10.0)}


#: What tells fits of one GPU apart.
IDENTITY = ("kind", "format", "engine", "family")


@dataclass(frozen=True)
class CalibrationResult:
    """Result of `fit`.

    Attributes
    ----------
    gpu : str
        Id of the GPU that was measured.
    fits : tuple of Fit
        One for each kind of kernel, format, engine and kernel library.
    parameters : pd.DataFrame
        A row a fitted number: kind, format, engine, family, parameter, value, low and high (95 % interval) [units of
        `catalog`].
    errors : pd.DataFrame
        From `errors`, a row a fit and regime.
    table : pd.DataFrame
        The rows used, with kind, regime, ideal_s, predicted_s (by the fit of all rows) and held_out_s [s].
    skipped : tuple of str
        Why some rows have no fit, a line each.
    """

    gpu: str
    fits: tuple[Fit, ...]
    parameters: pd.DataFrame
    errors: pd.DataFrame
    table: pd.DataFrame
    skipped: tuple[str, ...] = ()

    def of(self, kind: str, format: str = "bf16") -> Any:
        """Parameters of the first fit of a kind of kernel and format.

        Parameters
        ----------
        kind, format : str
            One of `catalog.KINDS`, a key of `catalog.NEAR_FORMATS`.

        Returns
        -------
        record
            The kind's, of `catalog`.

        Raises
        ------
        ValueError
            Where there is no such fit.
        """
        for fit in self.fits:
            if (fit.kind, fit.format) == (kind, format):
                return fit.parameters
        raise unknown("fit", f"{kind} {format}", [f"{fit.kind} {fit.format}" for fit in self.fits])

    def to_yaml(self, source: str) -> str:
        """The content of a file of fits, as the catalog keeps one a GPU.

        Parameters
        ----------
        source : str
            Where the timings are from.

        Returns
        -------
        str
            YAML with three digits a number.
        """
        return fits_file({"timings": source}, [fit.model_copy(update={"source": "timings"}) for fit in self.fits])


@typed()
def fit(table: pd.DataFrame, gpu: str | GPU) -> CalibrationResult:
    """Fit every kind of kernel of which a table of timings has enough rows, each by itself.

    Parameters
    ----------
    table : pd.DataFrame
        A row a timing: operator_class (gemm, unfused, prefill, decode or elementwise), dtype, time_s [s] and that
        class's columns (`FittedKind`); other classes and columns are left alone. Elementwise rows may have ``kernels``,
        the number that a row timed together [1]; GEMM and decode rows ``copies``, the sets of operands that the
        benchmark used in turn (1 unless given) [1].
    gpu : str or GPU
        The GPU that was measured.

    Returns
    -------
    CalibrationResult
        The fits, their intervals, and their errors on rows that a fit did not see.

    Raises
    ------
    ValueError
        In one line, for a missing column, a bad value, too few rows, or rows of another GPU or unit.

    Notes
    -----
    Least squares of log(predicted / measured) with a soft-l1 loss, in which a row that is off by much more than 5 %
    counts little. Rows above the roof, and attention whose replayed cache may have come from L2, are predicted but not
    fitted on. Where many GEMM or decode rows beat the memory roof, the benchmark found its operands in L2: that rate is
    fitted as well, and the predictions are of replays. Held-out errors are of fits that did not see the row's shape.
    """
    card = find_gpu(gpu)
    fits: list[Fit] = []
    parameters, tables = [], []
    groups, skipped = by_group(table)
    for group, rows in groups.items():
        own = [each.parameters for each in fits if each.kind == "prefill" and each.engine == group.engine]
        timings = _Timings(group.kind, group.format, rows, card, own[-1] if own else None)
        large = timings.ideal > LARGE  # small ones take their launch, however little they do
        beaten = (timings.time < timings.ideal).mean()
        slow = np.median((timings.time / timings.ideal)[large]) if large.any() else 0.0
        if beaten > MOST_BEATEN:
            raise ValueError(f"{beaten:.0%} of the {group.kind} rows beat the roof of {card.id}: are they of that GPU?")
        if slow > MOST_SLOW:
            raise ValueError(
                f"half of the large {group.kind} rows take {slow:,.0f} times the roof's time: are they in seconds?"
            )
        record, solution = timings.fit(timings.usable)
        interval = _intervals(list(timings.bounds), record, solution)
        parameters.append(
            interval.assign(kind=group.kind, format=group.format, engine=group.engine, family=group.family)
        )
        held_out = np.empty(len(rows))
        together = held_together(group.kind, rows)
        for unseen in folds(rows, together):
            part, _ = timings.fit(timings.usable & ~unseen)
            held_out[unseen] = timings.predict(part)[unseen]
        off = 100 * (held_out / timings.time - 1)
        fits.append(
            Fit(
                **group._asdict(), source="not stated", rows=int(timings.usable.sum()),
                held_out=f"{FOLDS} folds by {', '.join(together)}", error_percent=float(np.abs(off).mean()),
                bias_percent=float(off.mean()), parameters=record, intervals_percent=_relative(interval),
            )
        )  # fmt: skip
        tables.append(
            rows.assign(
                regime=timings.regime, ideal_s=timings.ideal, predicted_s=timings.predict(record), held_out_s=held_out
            )
        )
    used = pd.concat(tables, ignore_index=True)
    return CalibrationResult(
        card.id, tuple(fits), pd.concat(parameters, ignore_index=True), errors(used), used, tuple(skipped)
    )


@typed(table=("kind", "regime", "time_s", "ideal_s", "held_out_s"))
def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Held-out errors by kind of kernel and regime.

    Parameters
    ----------
    table : pd.DataFrame
        As `CalibrationResult.table`.

    Returns
    -------
    pd.DataFrame
        A row a fit and regime ("all" as well): rows [1]; error_percent and bias_percent, the mean absolute and the
        mean relative error of held-out rows; ideal_error_percent, the mean absolute error of the roofline [%].
    """
    table = pd.concat([table.assign(regime="all"), table], ignore_index=True)
    relative = 100 * (table.held_out_s / table.time_s - 1)
    ideal = 100 * (table.ideal_s / table.time_s - 1)
    table = table.assign(error_percent=relative.abs(), bias_percent=relative, ideal_error_percent=ideal.abs())
    order = pd.Categorical(table.regime, ["all", *REGIMES], ordered=True)
    by = [*(name for name in IDENTITY if name in table), "regime"]
    grouped = table.assign(regime=order).groupby(by, observed=True, sort=True)
    means = grouped[["error_percent", "bias_percent", "ideal_error_percent"]].mean()
    means.insert(0, "rows", grouped.size())
    return means.reset_index().astype({"regime": str})


class _Timings:
    """The rows of one kind of kernel as arrays, and the fit to them."""

    def __init__(self, kind: str, form: str, rows: pd.DataFrame, card: GPU, prefill: Any) -> None:
        fitted, self.card = FITTED[kind].adapted(FITTED[kind], form, rows), card
        self.record, self.law, self.variants, self.bounds = FITS[kind], fitted.law, fitted.variants, fitted.bounds
        if kind == "decode":
            self.law = partial(fitted.law, softmax=prefill or kernel_fit(card, "prefill", form).fit)
        self.time = rows.time_s.to_numpy(dtype=float)
        self.cost = call_costs(kind, form, rows)
        computes = rows["dtype"] if form == "bf16" else [KERNEL_FORMATS[form].computes] * len(rows)
        self.peak = np.array([card.peak_flop_rate(dtype) for dtype in computes])
        computing, moving = self.cost.flops / self.peak, self.cost.bytes / card.bandwidth
        self.ideal = ideal_time(self.cost.flops, self.cost.bytes, self.peak, card.bandwidth)
        self.regime = np.array(REGIMES)[(computing > moving / 2).astype(int) + (computing > 2 * moving)]
        in_cache = False if card.l2_mb is None else self.cost.bytes < 1e6 * card.l2_mb
        cached = in_cache & (self.time < 2 * moving)
        self.usable = (self.time > self.ideal) & ~(cached & fitted.cached)
        self.copies = rows.copies.fillna(1).to_numpy() if "copies" in rows else 1
        if fitted.replayed and (self.time < moving).mean() > REPLAYED_ROWS:
            self.bounds = REPLAYED | fitted.bounds
        if "l2_speedup" in self.bounds:
            self.usable = np.ones(len(rows), dtype=bool)

    def predict(self, fit: Any) -> np.ndarray:
        """Times by the model [s]."""
        speedup, share = getattr(fit, "l2_speedup", None), getattr(fit, "l2_share", 1.0)
        cost = replayed_cost(self.card, self.cost, speedup, self.copies, share)
        seconds = self.law(fit=fit, gpu=self.card, cost=cost, peak_flop_rate=self.peak)
        return np.asarray(np.maximum(seconds, ideal_time(cost.flops, cost.bytes, self.peak, self.card.bandwidth)))

    def fit(self, rows: np.ndarray) -> tuple[Any, OptimizeResult]:
        """The best record on those rows, and how the solver got there."""
        names = list(self.bounds)
        start, low, high = (np.array(column) for column in zip(*self.bounds.values(), strict=True))
        best = None
        for fixed in self.variants:

            def record(x: np.ndarray, fixed: dict[str, Any] = fixed) -> Any:
                return self.record(**dict(zip(names, map(float, x), strict=True)), **fixed)

            def residuals(x: np.ndarray, record: Callable[[np.ndarray], Any] = record) -> np.ndarray:
                return np.asarray(np.log(self.predict(record(x))[rows] / self.time[rows]))

            solution = least_squares(
                residuals, start, bounds=(low, high), x_scale=start, loss="soft_l1", f_scale=OUTLIER,
                diff_step=np.full(len(names), 1e-4),
            )  # fmt: skip
            if best is None or solution.cost < best[1].cost:
                best = record(solution.x), solution
        assert best is not None
        return best


def _intervals(names: list[str], record: Any, solution: OptimizeResult) -> pd.DataFrame:
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


def _relative(interval: pd.DataFrame) -> dict[str, float]:
    """Half of each interval, of those that there are [%]."""
    known = interval[interval.high.notna() & (interval.high > interval.value) & (interval.value > 0)]
    return dict(zip(known.parameter, 100 * (known.high / known.value - 1), strict=True))
