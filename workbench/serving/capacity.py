"""A capacity plan: which GPU, how many of them and what batch size meet a service level, and why the others do not."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..catalog import GPU, Model, gpus
from ..catalog import gpu as find_gpu
from ..catalog import model as find_model
from ..catalog.loading import entries
from ..common.arguments import LEAST, check_range, whole_number, whole_numbers
from ..common.errors import CannotRun
from ..kernels.unknowns import joined
from ..servers.memory import device_memory
from ..servers.replica import Replica
from ..signatures import typed
from .estimation import estimate
from .pareto import pareto_front
from .room import ALL_FITS, CONTEXT_LENGTH, KV_CACHE, WEIGHTS

TPS = (1, 2, 4, 8)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
UNFIT = {
    ALL_FITS: "", WEIGHTS: "weights do not fit", KV_CACHE: "KV cache does not fit",
    CONTEXT_LENGTH: "longer than the model's context",
}  # fmt: skip
BEST, KEPT = "best", "meets the SLO"
TOO_SLOW = ("TTFT over", "TPOT over")
#: Lines of a plan in print that say what it assumes [1].
MOST_ASSUMED = 4


def plan(
    model: str | Model,
    *,
    prompt: int,
    output: int,
    ttft: float | None = None,
    tpot: float | None = None,
    request_rate: float | None = None,
    gpu: str | GPU | Iterable[str | GPU] | None = None,
    tp: int | Iterable[int] = TPS,
    batch_size: int | Iterable[int] = BATCH_SIZES,
    price: float | Mapping[str, float] | None = None,
    schedule: str = "continuous",
    **options: Any,
) -> pd.DataFrame:
    """Every combination of GPU, tp and batch size for one workload, the best first, each with its verdict.

    Parameters
    ----------
    model : str or Model
        Id or catalog object.
    prompt, output : int
        Of a request [token].
    ttft, tpot : float, optional
        Service level: the longest time to the first token, and for each token after it; None is any [s].
    request_rate : float, optional
        Requests that arrive; None leaves out how many replicas they take [1/s].
    gpu : str or GPU, or several, optional
        Those to consider; None is all that have a price of their own, or the whole catalog.
    tp : int or list of int
        GPUs that share every layer of a replica [1].
    batch_size : int or list of int
        Sequences at a time in a replica [1].
    price : float or dict, optional
        Of a GPU and hour, one or by GPU id; without it the cost is in GPU-hours.
    schedule : str
        As for `estimate`.
    **options
        Further arguments of `estimate`.

    Returns
    -------
    pandas.DataFrame
        Columns gpu, tp, batch_size [1]; ttft_s, tpot_s [s]; tokens_per_second and requests_per_second of a replica
        [1/s]; memory_gb of a GPU [GB]; largest_batch [1]; cost of a million output tokens, of a full replica, or of the
        replicas that `request_rate` takes; replicas and gpus for it [1]; and verdict: "best", the cheapest that meets
        the service level; "meets the SLO"; or why not: it cannot run or does not fit, "TTFT over", "TPOT over", or
        "dominated by" a row that is no slower in either and no dearer; expected_error of decoding, as of `estimate`
        [%]. The attribute `assumed` is as of `estimate`.

    Raises
    ------
    ValueError
        For what `estimate` refuses; a GPU or tp that cannot run the model is a row that says so.

    Notes
    -----
    The replicas for a rate are request_rate / requests_per_second, rounded up: each is taken at its full throughput,
    without a queue (`simulation` has one). Replicas of more GPUs than a machine has take `network_gbs`, as of
    `estimate`.
    """
    entry = find_model(model)
    if isinstance(price, Mapping):
        price = {find_gpu(name).id: hourly for name, hourly in price.items()}
    if gpu is None:
        gpu = list(price) if isinstance(price, Mapping) else gpus()
    cards = entries("gpu", gpu, find_gpu)
    ttft, tpot, request_rate = (
        None if limit is None else check_range(name, limit, low=LEAST)
        for name, limit in (("ttft", ttft), ("tpot", tpot), ("request_rate", request_rate))
    )
    batches, tps = whole_numbers("batch_size", batch_size), whole_numbers("tp", tp)
    for name, size in (("prompt", prompt), ("output", output)):
        whole_number(name, size)
    hourly = 1.0 if price is None else price
    tables, told, runs = [], list[str](), dict[tuple[int, ...], list[GPU]]()
    for card in cards.values():
        reasons = {count: _obstacle(card, entry, count, options) for count in tps.tolist()}
        for count in filter(reasons.get, reasons):
            tables.append(pd.DataFrame({"gpu": card.id, "tp": count, "batch_size": batches, "verdict": reasons[count]}))
        runs.setdefault(tuple(count for count in reasons if not reasons[count]), []).append(card)
    for counts, group in runs.items():
        if counts:
            ds = estimate(group, entry, batches, prompt, output, counts, schedule=schedule, price=hourly, **options)
            tables.append(_rows(ds))
            told.append(ds.attrs["assumed"])
    table = pd.concat(tables, ignore_index=True).reindex(columns=PLAN_COLUMNS)
    if options.get("time_model") == "ideal":
        table = table.drop(columns="expected_error")
    if request_rate is None:
        table = table.drop(columns=["replicas", "gpus"])
    else:
        table["replicas"] = np.ceil(request_rate / table.requests_per_second)
        dp, ep, pp = (options.get(name) for name in ("dp", "ep", "pp"))
        table["gpus"] = table.replicas * table.tp * (dp or np.maximum((ep or 1) // table.tp, 1)) * (pp or 1)
        table["cost"] *= (
            table.replicas * table.requests_per_second / request_rate
        )  # replicas that are not full cost, too
    table = _judged(table, ttft, tpot)
    table.attrs |= {"cost": "GPU-h" if price is None else "cost", "assumed": joined(told)}
    return table


PLAN_COLUMNS = (
    "gpu", "tp", "batch_size", "ttft_s", "tpot_s", "tokens_per_second", "requests_per_second", "memory_gb",
    "largest_batch", "cost", "replicas", "gpus", "expected_error", "verdict",
)  # fmt: skip


def _obstacle(card: GPU, model: Model, tp: int, options: Mapping[str, Any]) -> str:
    """Why a GPU cannot run the model at all, in a few words."""
    own = {name: value for name, value in options.items() if name in Replica.__dataclass_fields__}
    try:
        device_memory(Replica(card, model, tp=tp, **own))
    except CannotRun as obstacle:
        return obstacle.reason
    return ""


def _rows(ds: xr.Dataset) -> pd.DataFrame:
    """A row for every gpu, tp and batch size of an estimate."""
    at = ds.isel(model=0, prompt=0, output=0, drop=True)
    columns = {
        "ttft_s": at.ttft, "tpot_s": at.tpot, "tokens_per_second": at.tokens_per_second,
        "requests_per_second": at.requests_per_second, "memory_gb": at.memory / 1e9, "largest_batch": at.largest_batch,
        "cost": at.cost, "verdict": at.unfit,
    }  # fmt: skip
    if "expected_error" in at:
        columns["expected_error"] = at.expected_error.sel(phase="decode", drop=True)
    table = xr.Dataset(columns).to_dataframe(dim_order=["gpu", "tp", "batch_size"]).reset_index()
    return table.assign(verdict=table.verdict.map(UNFIT))


def _judged(table: pd.DataFrame, ttft: float | None, tpot: float | None) -> pd.DataFrame:
    """The table with a verdict on every row, sorted by it."""
    for column, limit, verdict in zip(("ttft_s", "tpot_s"), (ttft, tpot), TOO_SLOW, strict=True):
        if limit is not None:
            table.loc[(table.verdict == "") & (table[column] > limit), "verdict"] = verdict
    left = table.index[table.verdict == ""]
    names = [f"{row.gpu} tp {row.tp} batch {row.batch_size}" for row in table.loc[left].itertuples()]
    measures = table.loc[left, ["ttft_s", "tpot_s", "cost"]].fillna(0).to_numpy()
    for place in set(range(len(left))) - set(pareto_front([*measures.T], ties=True).tolist()):
        mine = measures[place]
        better = (measures <= mine).all(axis=1) & (measures < mine).any(axis=1)
        by = names[np.where(better, measures[:, -1], np.inf).argmin()]
        table.loc[left[place], "verdict"] = f"dominated by {by}"
    kept = table[table.verdict == ""].sort_values("cost", kind="stable").index
    table.loc[kept, "verdict"] = KEPT
    table.loc[kept[:1], "verdict"] = BEST
    rank = table.verdict.map({BEST: 0, KEPT: 1}).fillna(2)
    losing = table.verdict.str.startswith("dominated").map({True: 0, False: 1})
    order = pd.DataFrame({"rank": rank, "losing": losing, "cost": table.cost})
    return table.loc[order.sort_values(["rank", "losing", "cost"], kind="stable").index].reset_index(drop=True)


@typed(table=("gpu", "tp", "batch_size", "cost", "verdict"))
def plan_text(table: pd.DataFrame, rows: int = 20) -> str:
    """A plan in print: its first rows in ms and GB, and how many rows have each verdict.

    Parameters
    ----------
    table : pandas.DataFrame
        From `plan`.
    rows : int
        Rows that are shown [1].

    Returns
    -------
    str
        With lines on what the plan leaves out.
    """
    shown = table.head(rows).rename(columns={"batch_size": "batch", "verdict": ""})
    text = pd.DataFrame({"gpu": shown.gpu, "tp": shown.tp, "batch": shown.batch})
    for heading, column, scale, digits in (
        ("TTFT ms", "ttft_s", 1e3, 1), ("TPOT ms", "tpot_s", 1e3, 2), ("tokens/s", "tokens_per_second", 1, 0),
        ("requests/s", "requests_per_second", 1, 2), ("GB/GPU", "memory_gb", 1, 1),
        (f"{table.attrs['cost']}/Mtoken", "cost", 1, 3), ("replicas", "replicas", 1, 0), ("GPUs", "gpus", 1, 0),
    ):  # fmt: skip
        if column in shown:
            text[heading] = [f"{value * scale:,.{digits}f}" if np.isfinite(value) else "-" for value in shown[column]]
    text[" "] = shown[""]
    counts = table.verdict.where(~table.verdict.str.startswith("dominated"), "dominated").value_counts()
    lines = [text.to_string(index=False), ""]
    if len(table) > rows:
        lines.append(f"{len(table) - rows} more rows.")
    if "replicas" in table:
        lines.append(
            "Replicas are those at 100 % load, without a queue: near it queues grow without bound, plan for less."
        )
    lines.append("; ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if not (table.verdict == BEST).any():
        lines.append("Nothing meets the service level.")
    return "\n".join(lines + _assumptions(table, rows))


def _assumptions(table: pd.DataFrame, rows: int) -> list[str]:
    """What the rows shown assume, in a few lines; GPUs that assume the same share one."""
    hidden, found = {*table.gpu} - {*table.gpu.head(rows)}, dict[str, list[str]]()
    for sentence in filter(None, table.attrs.get("assumed", "").split(". ")):
        name, _, text = sentence.partition(": ")
        if name not in hidden:
            found.setdefault(text, []).append(name)
    lines = [f"Assumed of {', '.join(names)}: {text}." for text, names in found.items()]
    more = len(lines) - MOST_ASSUMED
    return lines[:MOST_ASSUMED] + [f"{more} more in the plan's attribute `assumed`."] * (more > 0)
