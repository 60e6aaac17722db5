"""How far off predicted servers are from what was published of them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..common.arguments import LEAST, check_range, one_of
from ..signatures import typed
from .published_serving import BENCHMARK_VALUES, FOLDER, serving_benchmarks

#: Whose predictions there may be: the simulation with the kernels' times, with ideal ones and no host, and with the
#: kernels' times by a fit that did not see the row's model.
PREDICTED_BY = ("kernel", "ideal", "held_out")
CALLED = {"kernel": "workbench", "ideal": "ideal roofline", "held_out": "workbench, model held out"}
#: What the columns of `serving_predictions` are called in a chart's table.
SERVING_UNITS = {
    f"{whose}{name}": f"{said}{what}"
    for whose, said in {"": "measured ", "kernel_": "predicted ", "ideal_": "ideal "}.items()
    for name, what in {
        "tokens_per_second": "throughput [token/s]", "ttft_s": "TTFT [s]", "tpot_s": "TPOT [s]"
    }.items()
}  # fmt: skip


def serving_predictions() -> pd.DataFrame:
    """The published measurements of servers with what was predicted for them (``make serving`` writes it).

    Returns
    -------
    pd.DataFrame
        `serving_benchmarks` with ``kernel_`` and ``ideal_`` tokens_per_second [token/s], ttft_s and tpot_s [s]: by the
        simulator with the kernels' times and the engine's host, and by the ideal roofline without a host. Where the
        engines' numbers were fitted with each model left out in turn (``data/serving/held_out.csv``, of the columns
        row, tokens_per_second, ttft_s and tpot_s), ``held_out_`` the same, by what was fitted without the row's model.
    """
    table = serving_benchmarks()
    for name, prefix in (("predicted", ""), ("held_out", "held_out_")):
        file = FOLDER / f"{name}.csv"
        if file.is_file():
            numbers = pd.read_csv(str(file), comment="#", index_col="row").add_prefix(prefix)
            table = table.join(numbers[[column for column in numbers if str(column).endswith(tuple(BENCHMARK_VALUES))]])
    return table


@typed(table=(*BENCHMARK_VALUES, "kernel_tokens_per_second"))
def serving_errors(
    table: pd.DataFrame, by: list[str], *, quantity: list[str] | None = None, within: float = 0.25
) -> pd.DataFrame:
    """How far off predicted servers are.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `serving_predictions`.
    by : list of str
        Columns whose values part the rows, such as "source", "engine", "gpu" and "model"; none: all of them together.
    quantity : list of str, optional
        Of "tokens_per_second", "ttft_s" and "tpot_s"; all of them unless given.
    within : float
        How far off still counts as near [1].

    Returns
    -------
    pd.DataFrame
        A row a part, quantity and predictor ("kernel", "ideal", and "held_out" where it is known): the columns of `by`;
        quantity, predicted_by; n, measurements that are predicted, and refused, those that the server refuses [1];
        ratio, the median of predicted over measured [1]; error, the mean absolute relative one [%]; near, the share
        whose error is at most `within` [%].

    Raises
    ------
    ValueError
        For a column that the table does not have, a quantity that there is not, and a distance that is not positive.
    """
    check_range("within", within, 10, "shares", low=LEAST)
    for column in by:
        one_of("by", column, [str(name) for name in table])
    ratios = []
    for name in BENCHMARK_VALUES if quantity is None else quantity:
        one_of("quantity", name, BENCHMARK_VALUES)
        rows = table[table[name].notna()]
        ratios += [
            rows[by].assign(quantity=name, predicted_by=whose, ratio=rows[f"{whose}_{name}"] / rows[name])
            for whose in PREDICTED_BY if f"{whose}_{name}" in rows
        ]  # fmt: skip
    if not ratios:
        raise ValueError(f"quantity = {quantity!r}: give some of {', '.join(BENCHMARK_VALUES)}")
    ratio = pd.concat(ratios)
    off = (ratio.ratio - 1).abs()
    parts = ratio.assign(off=off, near=(off <= within).where(off.notna()).astype(float), refused=off.isna()).groupby(
        [*by, "quantity", "predicted_by"], sort=False, dropna=False
    )
    found = pd.DataFrame({
        "n": parts.ratio.count(), "refused": parts.refused.sum(), "ratio": parts.ratio.median(),
        "error [%]": 100 * parts.off.mean(), "near [%]": 100 * parts.near.mean(),
    })  # fmt: skip
    return found.reset_index()


def other_tools() -> pd.DataFrame:
    """Errors of another tool on published measurements of servers, as this project ran it.

    Returns
    -------
    pd.DataFrame
        A row a quantity: tool, covers, the measurements that it was run on; quantity; n [1], ratio [1], error [%] and
        near [%] as `serving_errors` has them.
    """
    table = pd.read_csv(str(FOLDER / "other_tools.csv"), comment="#")
    return table.rename(columns={"error_percent": "error [%]", "near_percent": "near [%]"})


#: Runs that the summary is of: what they are called, and their kinds of load.
SUMMED = {
    "all": ("closed_loop", "offline_max", "static_batch"), "closed loops": ("closed_loop",),
    "saturated": ("offline_max",),
}  # fmt: skip


@typed(table=(*BENCHMARK_VALUES, "kernel_tokens_per_second", "load_kind"))
def serving_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Errors of the workbench, of the ideal roofline and of another tool side by side, as texts.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of `serving_predictions`.

    Returns
    -------
    pd.DataFrame
        A row a set of runs and a predictor: runs, with how many they are; predicted by; throughput, TPOT and TTFT, each
        the median of predicted over measured, the mean absolute error, and the share of runs within 25 %. The other
        tool's are of its own set of runs (`other_tools`).
    """
    others = other_tools().rename(columns={"tool": "predicted_by"})
    rows = []
    for runs, kinds in SUMMED.items():
        own = table[table.load_kind.isin(kinds)]
        parts = pd.concat([serving_errors(own, []), others[others.covers == runs]]) if len(own) else others[:0]
        for whose, errors in parts.groupby("predicted_by", sort=False):
            cells = {row["quantity"]: _in_words(row) for row in errors.to_dict("records")}
            rows.append({
                "runs": f"{runs} ({errors.n.max():,})", "predicted by": CALLED.get(str(whose), str(whose)),
                "throughput": cells["tokens_per_second"], "TPOT": cells.get("tpot_s", ""),
                "TTFT": cells.get("ttft_s", ""),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=["runs", "predicted by", "throughput", "TPOT", "TTFT"])


def _in_words(row: Mapping[Any, Any]) -> str:
    """Ratio, error and share within 25 %, those that are known."""
    if pd.isna(row["ratio"]):
        return f"{row['error [%]']:.0f} % off"
    shown = {"ratio": "{:.2f}", "error [%]": "{:.0f} %", "near [%]": "{:.0f} %"}
    return ", ".join(form.format(row[name]) for name, form in shown.items() if not pd.isna(row[name]))
