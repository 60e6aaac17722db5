"""The fit of each kind of kernel in a table of timings, and errors on rows held out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult

from ..catalog.fits import IDENTITY, Fit, fits_file
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..common.arguments import one_of
from ..common.errors import unknown
from ..signatures import typed
from .least_squares import REGIMES, Timings, intervals
from .rows import FOLDS, Group, by_group, held_together

#: Limits beyond which a table must be of something else: the share of rows above the roof [1], and the median of times
#: over the roof's time [1], among rows for which that is longer than `LARGE` [s].
MOST_BEATEN, MOST_SLOW, LARGE = 0.5, 100.0, 1e-5


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
        return fits_file(fit.model_copy(update={"source": source}) for fit in self.fits)


@typed()
def fit(table: pd.DataFrame, gpu: str | GPU, *, by: str = "shape") -> CalibrationResult:
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
    by : str
        What is held out together: a "shape", or a "model", which the timings' names begin with.

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
    card, by = find_gpu(gpu), one_of("by", by, ("shape", "model"))
    fits: list[Fit] = []
    parameters, tables = [], []
    groups, skipped = by_group(table)
    for group, rows in groups.items():
        try:
            timings = Timings(group.kind, group.format, rows, card)
            _check_roof(timings, group.kind)
        except ValueError as error:
            if len(groups) == 1:
                raise
            skipped.append(f"{len(rows)} rows of {group}: {error}")
            continue
        record, solution = timings.fit(timings.usable)
        interval = intervals(list(timings.bounds), record, solution)
        parameters.append(interval.assign(**{name: getattr(group, name) for name in IDENTITY}))
        together = held_together(group.kind, rows, by)
        held_out = timings.held_out(together, rows, record)
        off = 100 * (held_out / timings.time - 1)
        fits.append(described(group, timings, record, solution, together, off, source="not stated"))
        tables.append(
            rows.assign(
                regime=timings.regime, ideal_s=timings.ideal, predicted_s=timings.predict(record), held_out_s=held_out
            )
        )
    if not tables:
        raise ValueError(skipped[-1])
    used = pd.concat(tables, ignore_index=True)
    return CalibrationResult(
        card.id, tuple(fits), pd.concat(parameters, ignore_index=True), errors(used), used, tuple(skipped)
    )


def _check_roof(timings: Timings, kind: str) -> None:
    """Raise ValueError for rows of another GPU or unit, as far as the roof tells."""
    large = timings.ideal > LARGE  # small ones take their launch, however little they do
    from_memory = ~timings.replayed
    beaten = (timings.time < timings.ideal)[from_memory].mean() if from_memory.any() else 0.0
    slow = np.median((timings.time / timings.ideal)[large]) if large.any() else 0.0
    if beaten > MOST_BEATEN:
        raise ValueError(f"{beaten:.0%} of the {kind} rows beat the roof of {timings.card.id}: are they of that GPU?")
    if slow > MOST_SLOW:
        raise ValueError(f"half of the large {kind} rows take {slow:,.0f} times the roof's time: are they in seconds?")


def described(
    group: Group, timings: Timings, record: Any, solution: OptimizeResult, together: list[str], off: np.ndarray,
    source: str, date: str | None = None,
) -> Fit:  # fmt: skip
    """The entry of a fit: of how many rows, and how far `off` those are that were held out `together` [%]."""
    return Fit(
        **group._asdict(), source=source, date=date, rows=int(timings.usable.sum()),
        held_out=f"{FOLDS} folds by {', '.join(together)}", error_percent=float(np.abs(off).mean()),
        bias_percent=float(off.mean()), parameters=record, intervals_percent=timings.spread(record, solution),
    )  # fmt: skip


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
