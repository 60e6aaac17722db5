"""Fits of the kernel-time model to measured timings, with intervals and with errors on rows that a fit did not see."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from .common.extras import check_libraries

check_libraries("scipy")

from scipy.optimize import OptimizeResult, least_squares

from .catalog.dtypes import WIDTH
from .catalog.fits import DecodeFit, ElementwiseFit, GemmFit, PrefillFit
from .catalog.gpu_entries import GPU, kernel_fit
from .catalog.gpu_entries import gpu as find_gpu
from .common.errors import unknown
from .kernels import attention, elementwise, gemm
from .kernels.roofline import ideal_time
from .kernels.times import attention_cost
from .operators import cost
from .operators.cost import Cost

#: Columns that every row of timings needs; `operator_class` names the kind of kernel.
COMMON = ("operator_class", "dtype", "time_s")
_ATTENTION = ("batch_size", "seq_len_q", "seq_len_kv", "n_heads", "n_kv_heads", "head_dim")
#: Columns that a row of each kind of kernel needs besides.
FIT_COLUMNS: dict[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"), "unfused": ("m", "n", "k", "batch"), "prefill": _ATTENTION, "decode": _ATTENTION,
    "elementwise": ("bytes",),
}  # fmt: skip
#: Other names of kinds of kernels in tables of timings.
ALIASES = {"attention_prefill": "prefill", "attention_decode": "decode"}
#: Rows that agree in these columns are held out together, so that no shape is judged by a fit that saw it.
GROUPS = {
    "gemm": ["n", "k"], "unfused": ["n", "k"], "prefill": ["n_heads", "n_kv_heads", "head_dim"],
    "decode": ["n_heads", "n_kv_heads", "head_dim"], "elementwise": ["bytes"],
}  # fmt: skip
#: Parts that are held out in turn, and the fewest rows that are fitted on [1].
FOLDS, FEWEST_ROWS = 3, 20
#: Relative error at which the fit begins to count a row as an outlier [1].
OUTLIER = 0.05
#: A combination of parameters that moves the times by less than this share of the best-known one is undetermined [1].
UNDETERMINED = 1e-3
#: Limits beyond which a table must be of something else: the share of rows above the roof [1], and the median of times
#: over the roof's time [1], among rows for which that is longer than `LARGE` [s].
MOST_BEATEN, MOST_SLOW, LARGE = 0.5, 100.0, 1e-5
#: Regimes of a kernel, by which of computing and moving takes longer on the roof; "between" is within a factor of 2.
REGIMES = ("memory-bound", "between", "compute-bound")

_GEMM = {
    "launch_us": (4.0, 0.0, 100.0), "loop_us": (2.0, 0.0, 15.0), "loop_depth": (1000.0, 100.0, 5000.0),
    "fill_depth": (100.0, 0.0, 1000.0), "half_tile": (10.0, 0.0, 100.0), "boost": (0.05, 0.0, 0.3),
    "compute_fraction": (0.8, 0.2, 1.0), "bandwidth_fraction": (0.8, 0.2, 1.0),
    "overlap": (2.0, 1.0, 4.0),
}  # fmt: skip
#: Start, lower and upper bound of each fitted parameter; units as in `catalog.fits`.
BOUNDS: dict[str, dict[str, tuple[float, float, float]]] = {
    "gemm": _GEMM,
    "unfused": {name: _GEMM[name] for name in ("launch_us", "fill_depth", "compute_fraction", "overlap")}
    | {"bandwidth_fraction": (0.8, 0.2, 0.95)},
    "prefill": {
        "launch_us": (8.0, 0.0, 100.0), "wave_us": (2.0, 0.0, 20.0), "token_ns": (1.0, 0.0, 50.0),
        "softmax_flops": (128.0, 0.0, 1000.0),
        "compute_fraction": (0.7, 0.2, 0.95), "bandwidth_fraction": (0.6, 0.2, 1.0),
    },
    "decode": {
        "launch_us": (8.0, 0.0, 100.0), "context_us": (2.0, 0.0, 20.0), "wave_us": (2.0, 0.0, 20.0),
        "bandwidth_fraction": (0.8, 0.2, 1.0), "overlap": (2.0, 1.0, 4.0),
    },
    "elementwise": {"launch_us": (3.0, 0.0, 100.0), "bandwidth_fraction": (0.7, 0.1, 1.0)},
}  # fmt: skip
#: Fitted as well, where more than this share of the GEMM or decode rows beat the memory roof.
REPLAYED_ROWS, REPLAYED = 0.02, {"l2_speedup": (2.0, 1.0, 10.0)}
#: What is tried in turn and not fitted.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "gemm": [{"small_tile_waves": None}, {"small_tile_waves": 2.0}],
    "prefill": [{"packed_heads": p, "operands_in_l2": c} for p in (False, True) for c in (False, True)],
    "decode": [{"unsplit_gbs": None}, *({"unsplit_gbs": rate} for rate in (15.0, 20.0, 25.0, 30.0, 40.0))],
}
_RECORDS: dict[str, Callable[..., Any]] = {
    "gemm": GemmFit, "unfused": GemmFit, "prefill": PrefillFit, "decode": DecodeFit, "elementwise": ElementwiseFit,
}  # fmt: skip


@dataclass(frozen=True)
class CalibrationResult:
    """Result of `fit`.

    Attributes
    ----------
    gpu : str
        Id of the GPU that was measured.
    fits : mapping of str to record
        By kind of kernel, its record of `workbench.catalog`.
    parameters : pd.DataFrame
        A row a fitted number: kind, parameter, value, low and high (95 % interval) [units of `catalog`].
    errors : pd.DataFrame
        From `errors`, a row a kind and regime.
    table : pd.DataFrame
        The rows used, with kind, regime, ideal_s, predicted_s (by the fit of all rows) and held_out_s [s].
    skipped : tuple of str
        Why a kind of kernel has no fit, a line each.
    """

    gpu: str
    fits: Mapping[str, Any]
    parameters: pd.DataFrame
    errors: pd.DataFrame
    table: pd.DataFrame
    skipped: tuple[str, ...] = ()

    def to_yaml(self, source: str) -> str:
        """A ``kernel_model`` entry for the GPU's catalog file.

        Parameters
        ----------
        source : str
            Where the timings are from.

        Returns
        -------
        str
            YAML with three digits a number.
        """
        model: dict[str, Any] = {}
        for kind, fit in self.fits.items():
            model[kind] = {name: _rounded(value) for name, value in fit.model_dump(exclude_none=True).items()}
        whole = self.errors[self.errors.regime == "all"].set_index("kind").to_dict("index")
        model["fitted_on"] = {
            kind: {
                "source": source, "rows": whole[kind]["rows"],
                "held_out": f"{FOLDS} folds by {', '.join(GROUPS[kind])}",
                "error_percent": round(whole[kind]["error_percent"], 1),
                "bias_percent": round(whole[kind]["bias_percent"], 1),
            }
            for kind in self.fits
        }  # fmt: skip
        return yaml.safe_dump({"kernel_model": model}, sort_keys=False, width=120, default_flow_style=None)


#: By name of an elementwise kernel in the timings, how often it moves the m n elements of m tokens of width n [1].
TRAFFIC = {
    "rms_norm": 2, "input_layernorm": 2, "post_attention_layernorm": 2, "add": 3, "silu_mul": 3, "mlp_act": 3,
}  # fmt: skip


def of_one_gpu(timings: pd.DataFrame, name: str | None = None) -> pd.DataFrame:
    """The rows of one GPU of a table of timings.

    Parameters
    ----------
    timings : pd.DataFrame
        From `timings.read`.
    name : str, optional
        The GPU's name in the table; None where it has one GPU.

    Returns
    -------
    pd.DataFrame
        Those rows, times in [s].

    Raises
    ------
    ValueError
        Where the table has several GPUs and none is named, or not the one that is named.
    """
    names = sorted(timings.gpu.unique())
    if name is None and len(names) > 1:
        raise ValueError(f"timings of {len(names)} GPUs ({', '.join(map(repr, names))}): choose one with --measured-on")
    if name is not None and name not in names:
        raise unknown("--measured-on", name, names)
    return timings if name is None else timings[timings.gpu == name]


def usable(timings: pd.DataFrame) -> pd.DataFrame:
    """A table of `timings.read` with the columns that a fit needs; rows of other kinds are left out.

    Batched products of class "other" are unfused attention, one for every sequence and head; elementwise kernels get
    the bytes that they move.

    Parameters
    ----------
    timings : pd.DataFrame
        From `timings.read`.

    Returns
    -------
    pd.DataFrame
        For `fit`, with columns batch [1] and bytes [byte].
    """
    table = timings.copy()
    matmul = (table.operator_class == "other") & table[["m", "n", "k", "batch_size"]].notna().all(axis=1)
    table.loc[matmul, "operator_class"] = "unfused"
    table["batch"] = table.batch_size * table.get("n_heads", pd.Series(1.0, table.index)).fillna(1)
    name = table.name.str.split(":").str[-1]
    table["bytes"] = table.m * table.n * name.map(TRAFFIC) * table["dtype"].map(WIDTH)
    known = table.operator_class.isin([*FIT_COLUMNS, *ALIASES]) & table["dtype"].isin(list(WIDTH))
    return table[known & ~((table.operator_class == "elementwise") & table.bytes.isna())]


def fit(table: pd.DataFrame, gpu: str | GPU) -> CalibrationResult:
    """Fit every kind of kernel of which a table of timings has enough rows, each by itself.

    Parameters
    ----------
    table : pd.DataFrame
        A row a timing: operator_class (a key of `FIT_COLUMNS`), dtype, time_s [s] and that class's columns; other
        classes and columns are left alone. Elementwise rows may have ``kernels``, the number that a row timed together
        [1]; GEMM and decode rows ``copies``, the sets of operands that the benchmark used in turn (1 unless given) [1].
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
    fits: dict[str, Any] = {}
    parameters, tables = [], []
    kinds, skipped = _kinds(table)
    for kind, rows in kinds.items():
        timings = _Timings(kind, rows, card, fits.get("prefill"))
        large = timings.ideal > LARGE  # small ones take their launch, however little they do
        beaten = (timings.time < timings.ideal).mean()
        slow = np.median((timings.time / timings.ideal)[large]) if large.any() else 0.0
        if beaten > MOST_BEATEN:
            raise ValueError(f"{beaten:.0%} of the {kind} rows beat the roof of {card.id}: are they of that GPU?")
        if slow > MOST_SLOW:
            raise ValueError(
                f"half of the large {kind} rows take {slow:,.0f} times the roof's time: are they in seconds?"
            )
        record, solution = timings.fit(timings.usable)
        fits[kind] = record
        parameters.append(_intervals(kind, list(timings.bounds), record, solution))
        held_out = np.empty(len(rows))
        for unseen in _folds(rows, GROUPS[kind]):
            part, _ = timings.fit(timings.usable & ~unseen)
            held_out[unseen] = timings.predict(part)[unseen]
        tables.append(
            rows.assign(
                regime=timings.regime, ideal_s=timings.ideal, predicted_s=timings.predict(record), held_out_s=held_out
            )
        )
    used = pd.concat(tables, ignore_index=True)
    return CalibrationResult(
        card.id, fits, pd.concat(parameters, ignore_index=True), errors(used), used, tuple(skipped)
    )


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Held-out errors by kind of kernel and regime.

    Parameters
    ----------
    table : pd.DataFrame
        As `CalibrationResult.table`.

    Returns
    -------
    pd.DataFrame
        A row a kind and regime ("all" as well): rows [1]; error_percent and bias_percent, the mean absolute and the
        mean relative error of held-out rows; ideal_error_percent, the mean absolute error of the roofline [%].
    """
    table = pd.concat([table.assign(regime="all"), table], ignore_index=True)
    relative = 100 * (table.held_out_s / table.time_s - 1)
    ideal = 100 * (table.ideal_s / table.time_s - 1)
    table = table.assign(error_percent=relative.abs(), bias_percent=relative, ideal_error_percent=ideal.abs())
    order = pd.Categorical(table.regime, ["all", *REGIMES], ordered=True)
    grouped = table.assign(regime=order).groupby(["kind", "regime"], observed=True, sort=True)
    means = grouped[["error_percent", "bias_percent", "ideal_error_percent"]].mean()
    means.insert(0, "rows", grouped.size())
    return means.reset_index().astype({"regime": str})


class _Timings:
    """The rows of one kind of kernel as arrays, and the fit to them."""

    def __init__(self, kind: str, rows: pd.DataFrame, card: GPU, prefill: PrefillFit | None) -> None:
        self.kind, self.card = kind, card
        self.time = rows.time_s.to_numpy(dtype=float)
        self.cost = _cost(kind, rows)
        self.peak = np.array([card.peak_flop_rate(dtype) for dtype in rows["dtype"]])
        self.softmax = prefill or kernel_fit(card, "prefill").fit if kind == "decode" else None
        computing, moving = self.cost.flops / self.peak, self.cost.bytes / card.bandwidth
        self.ideal = ideal_time(self.cost.flops, self.cost.bytes, self.peak, card.bandwidth)
        self.regime = np.array(REGIMES)[(computing > moving / 2).astype(int) + (computing > 2 * moving)]
        cached = (self.cost.bytes < 1e6 * (card.l2_mb or 0)) & (self.time < 2 * moving)
        self.usable = (self.time > self.ideal) & ~(cached & (kind in ("prefill", "decode")))
        self.bounds = BOUNDS[kind]
        self.copies = rows.copies.fillna(1).to_numpy() if "copies" in rows else 1
        if kind in ("gemm", "decode") and (self.time < moving).mean() > REPLAYED_ROWS:
            self.usable, self.bounds = np.ones(len(rows), dtype=bool), self.bounds | REPLAYED

    def predict(self, fit: Any) -> np.ndarray:
        """Times by the model [s]."""
        card, peak = self.card, self.peak
        cost = gemm.replayed_cost(card, self.cost, getattr(fit, "l2_speedup", None), self.copies)
        if self.kind in ("gemm", "unfused"):
            seconds = gemm.gemm_seconds(fit, card, cost, peak)
        elif self.kind == "prefill":
            seconds = attention.prefill_seconds(fit, card, cost, peak)
        elif self.kind == "decode":
            assert self.softmax is not None
            seconds = attention.decode_seconds(fit, self.softmax, card, cost, peak)
        else:
            seconds = elementwise.elementwise_seconds(fit, card, cost.bytes, cost.batch)
        return np.asarray(np.maximum(seconds, ideal_time(cost.flops, cost.bytes, peak, card.bandwidth)))

    def fit(self, rows: np.ndarray) -> tuple[Any, OptimizeResult]:
        """The best record on those rows, and how the solver got there."""
        names = list(self.bounds)
        start, low, high = (np.array(column) for column in zip(*self.bounds.values(), strict=True))
        best = None
        for fixed in VARIANTS.get(self.kind, [{}]):

            def record(x: np.ndarray, fixed: dict[str, Any] = fixed) -> Any:
                return _RECORDS[self.kind](**dict(zip(names, map(float, x), strict=True)), **fixed)

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


def _cost(kind: str, rows: pd.DataFrame) -> Cost:
    """Work of every row, each operand read or written once."""
    width = rows["dtype"].map(WIDTH).to_numpy(dtype=float)
    sizes: dict[str, Any] = {name: rows[name].to_numpy(dtype=float) for name in FIT_COLUMNS[kind]}
    if kind == "elementwise":
        launches = rows.kernels.to_numpy() if "kernels" in rows else 1
        return Cost(np.zeros(len(rows)), sizes["bytes"], 1, 1, 1, kernel=kind, batch=launches)
    if kind in ("gemm", "unfused"):
        return cost.gemm(**sizes, weight=width, activation=width)
    names = {"seq_len_q": "new_tokens", "seq_len_kv": "context"}
    return attention_cost(**{names.get(name, name): size for name, size in sizes.items()}, width=width)


def _kinds(table: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The rows of each kind of kernel, checked, and why a kind has too few for a fit; ValueError if every kind has."""
    enough: dict[str, pd.DataFrame] = {}
    skipped = []
    if missing := [name for name in COMMON if name not in table]:
        raise ValueError(f"timings have no column {', '.join(missing)}: needed are {', '.join(COMMON)}")
    kinds = table.operator_class.replace(ALIASES)
    if "seq_len_q" in table:  # a prompt of one token runs the decode kernel
        kinds = kinds.mask((kinds == "prefill") & (table.seq_len_q == 1), "decode")
    if not kinds.isin(list(FIT_COLUMNS)).any():
        raise ValueError(f"no timings to fit: operator_class has none of {', '.join([*FIT_COLUMNS, *ALIASES])}")
    for kind, columns in FIT_COLUMNS.items():
        rows = table[kinds == kind].assign(kind=kind)
        if rows.empty:
            continue
        if missing := [name for name in columns if name not in rows]:
            raise ValueError(f"timings have no column {', '.join(missing)}: {kind} needs {', '.join(columns)}")
        for name in (*columns, "time_s"):
            values = pd.to_numeric(rows[name], errors="coerce")
            if not (bad := rows[~((values > 0) & np.isfinite(values))]).empty:
                raise ValueError(f"{name} = {bad[name].iloc[0]} in a {kind} row: expected positive numbers")
        shapes = len(rows.drop_duplicates(GROUPS[kind]))
        if len(rows) < FEWEST_ROWS or shapes < FOLDS:
            skipped.append(
                f"{len(rows)} {kind} rows in {shapes} shapes ({', '.join(GROUPS[kind])}):"
                f" a fit needs {FEWEST_ROWS} rows in {FOLDS} shapes"
            )
        else:
            enough[kind] = rows
    if not enough:
        raise ValueError(skipped[0])
    return enough, skipped


def _folds(rows: pd.DataFrame, groups: list[str]) -> Iterator[np.ndarray]:
    """Masks that hold out every row once, rows of one group together; the same for the same rows."""
    group = rows.groupby(groups, sort=True).ngroup().to_numpy()
    fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
    return (fold == i for i in range(FOLDS))


def _intervals(kind: str, names: list[str], record: Any, solution: OptimizeResult) -> pd.DataFrame:
    """95 % intervals by the curvature at the optimum; NaN for what sits on its bound or the rows do not determine."""
    values = np.array([getattr(record, name) for name in names])
    scatter = 1.4826 * np.median(np.abs(solution.fun))  # robust standard deviation of the log residuals
    free = solution.active_mask == 0
    if not free.any():
        return pd.DataFrame({"kind": kind, "parameter": names, "value": values, "low": np.nan, "high": np.nan})
    _, size, directions = np.linalg.svd(solution.jac[:, free] * values[free], full_matrices=False)
    weak = size < UNDETERMINED * size.max()
    relative = 1.96 * scatter * np.sqrt(((directions[~weak].T / size[~weak]) ** 2).sum(axis=1))
    relative[(np.abs(directions[weak]) > 0.1).any(axis=0)] = np.nan
    spread = np.full(len(names), np.nan)
    spread[free] = values[free] * relative
    return pd.DataFrame(
        {"kind": kind, "parameter": names, "value": values, "low": values - spread, "high": values + spread}
    )


def _rounded(value: Any) -> Any:
    return value if isinstance(value, bool) else float(f"{value:.3g}")
