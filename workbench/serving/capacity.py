"""A capacity plan: which GPU, how many of them and what batch size meet a service level, and why the others do not."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..catalog import GPU, Model
from ..catalog import gpu as find_gpu
from ..catalog import gpus as every_gpu
from ..catalog import model as find_model
from ..catalog.loading import entries
from ..common.arguments import one_of, whole_number, whole_numbers
from ..common.errors import CannotRun
from ..common.progress import progress_bar
from ..kernels.unknowns import joined
from ..servers.memory import device_memory
from ..servers.replica import Replica
from ..servers.server import Server
from ..simulation import Workload
from .batch import SCHEDULES
from .confirmation import Service, check_simulated, confirm_rows, recorded_rate, simulated_server
from .estimation import estimate
from .fleet import Fleet, Trial
from .pareto import pareto_front
from .verdicts import BEST, FITTING, KEPT, NOT_SIMULATED, UNFIT, ServiceLevel, name_of, reasons

TPS = (1, 2, 4, 8)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PLAN_COLUMNS = (
    "gpu", "tp", "batch_size", "ttft_s", "tpot_s", "simulated_ttft_s", "simulated_tpot_s", "tokens_per_second",
    "requests_per_second", "memory_gb", "largest_batch", "cost", "replicas", "gpus", "request_rate", "utilization",
    "expected_error", "verdict", "why",
)  # fmt: skip


def plan(
    model: str | Model,
    *,
    prompt: int | None = None,
    output: int | None = None,
    ttft: float | None = None,
    tpot: float | None = None,
    request_rate: float | None = None,
    gpus: int | None = None,
    gpu: str | GPU | Iterable[str | GPU] | None = None,
    tp: int | Iterable[int] = TPS,
    batch_size: int | Iterable[int] = BATCH_SIZES,
    price: float | Mapping[str, float] | None = None,
    schedule: str = "continuous",
    arrivals: str | Workload = "poisson",
    percentile: float = 95,
    utilization: float = 1.0,
    confirm: int = 3,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Every combination of GPU, tp and batch size for one workload, the best first, each with its verdict.

    For a `request_rate`, or a number of `gpus`, the rows that come out best are simulated, each as one replica under
    its share of the arrivals, until enough of them meet the service level.

    Parameters
    ----------
    model : str or Model
        Id or catalog object.
    prompt, output : int, optional
        Of a request [token]; those of a trace on average, where `arrivals` is one.
    ttft, tpot : float, optional
        Service level: the longest time to the first token, and for each token after it; None is any [s].
    request_rate : float, optional
        Requests that arrive, for which the plan finds the fewest replicas [1/s]; None is that of `arrivals` if they
        are a trace, and otherwise a plan of one replica with as many users as its batch has sequences.
    gpus : int, optional
        That there are, of each kind in `gpu`: the plan finds the highest rate of requests that they take [1].
    gpu : str or GPU, or several, optional
        Those to consider; None is all that have a price of their own, or the whole catalog.
    tp : int or list of int
        GPUs that share every layer of a replica [1].
    batch_size : int or list of int
        Sequences at a time in a replica, its `max_num_seqs` [1]; of the usual ones those up to such an option.
    price : float or dict, optional
        Of a GPU and hour, one or by GPU id; without it the cost is in GPU-hours.
    schedule : str
        As for `estimate`; "static" is not simulated.
    arrivals : str or Workload
        "poisson", "bursty" (intervals of a coefficient of variation of 2), or an open loop, such as
        `simulation.trace` makes; its times are stretched to the rate, and each replica gets every request whose turn
        it is.
    percentile : float
        Share of the simulated requests that must keep each limit [%].
    utilization : float
        Share of its throughput that a replica is loaded to at most [1].
    confirm : int
        Pairs of GPU and tp that are simulated until they hold [1]; 0 leaves the simulation out.
    seed : int
        Of the simulated arrivals.
    progress : bool
        Show a bar on the terminal.
    **options
        Further arguments of `estimate`, the same for the simulated server.

    Returns
    -------
    pandas.DataFrame
        Columns gpu, tp, batch_size [1]; ttft_s, tpot_s, of the estimate [s]; simulated_ttft_s, simulated_tpot_s at the
        percentile, where the row was simulated [s]; tokens_per_second and requests_per_second of a full replica [1/s];
        memory_gb of a GPU [GB]; largest_batch [1]; cost of a million output tokens, of a full replica, or of the
        replicas as they are loaded; replicas and gpus [1]; request_rate of all of them, with `gpus` [1/s]; utilization,
        the share of a replica's throughput that it takes [%]; expected_error of decoding, as of `estimate` [%];
        verdict: "best", the cheapest (with `gpus`, the one of the highest rate); "meets the SLO", or "fits" where none
        was given; "not simulated", where better rows were enough; or why not: it cannot run or does not fit, "TTFT
        over", "TPOT over", or "dominated by" a row that is no slower in either and no dearer; and why, the verdict with
        its numbers. The attribute `assumed` is as of `estimate`.

    Raises
    ------
    ValueError
        For what `estimate` refuses; a GPU or tp that cannot run the model is a row that says so.

    Notes
    -----
    The replicas for a rate are the fewest, from request_rate / (utilization x requests_per_second) on, with which the
    simulation keeps the limits at the percentile. Replicas of more GPUs than a machine has take `network_gbs`, as of
    `estimate`.
    """
    entry, level = find_model(model), ServiceLevel(ttft, tpot)
    if isinstance(arrivals, Workload):
        prompt, output, request_rate = _recorded(arrivals, prompt, output, request_rate, gpus)
    sizes = {name: whole_number(name, size) for name, size in (("prompt", prompt), ("output", output))}
    if batch_size is BATCH_SIZES and (most := options.get("max_num_seqs")) is not None:
        batch_size = [size for size in BATCH_SIZES if size <= whole_number("max_num_seqs", most)]
    cards = _cards(gpu, price, gpus)
    fleet, confirm = Fleet(request_rate, gpus, utilization), whole_number("confirm", confirm, low=0)
    cached = options.get("cached_prefix", 0)
    service = Service(arrivals, **sizes, cached=cached, level=level, percentile=percentile, seed=seed)
    simulated = one_of("schedule", schedule, SCHEDULES) == "continuous" and fleet.loaded and confirm > 0
    if simulated:
        check_simulated(options)
    with progress_bar("GPUs", show=one_of("progress", progress, (True, False))) as tick:
        table, told, formats = _estimated(
            cards, entry, whole_numbers("tp", tp), whole_numbers("batch_size", batch_size), options,
            sizes | {"schedule": schedule, "price": _hourly(price, cards)}, tick,
        )  # fmt: skip
    table = fleet.load(table if simulated else _too_slow(table, level))
    found = dict[int, Trial]()
    if simulated:

        def server(row: Any) -> Server | None:
            return simulated_server(cards[row.gpu], entry, row.tp, row.batch_size, options, service.longest)

        with progress_bar("simulations", show=progress) as tick:
            found = confirm_rows(table, fleet, service, server, confirm, tick)
        table = fleet.load(table, {place: outcome for place, outcome in found.items() if outcome.met})
    table = _judged(_with_outcomes(table, found, service), level, simulated=simulated)
    table = table.reindex(columns=_columns(fleet, simulated=simulated, error=options.get("time_model") != "ideal"))
    table.attrs = {
        "cost": "GPU-h" if price is None else "cost", "assumed": joined(told), "formats": formats, "slo": level.given,
        "arrivals": service.arrivals if isinstance(service.arrivals, str) else "recorded",
        "percentile": service.percentile,
    }  # fmt: skip
    return table


def _columns(fleet: Fleet, *, simulated: bool, error: bool) -> list[str]:
    """Those that a plan has."""
    left_out = set() if fleet.loaded else {"replicas", "gpus", "utilization"}
    left_out |= set() if fleet.gpus is not None else {"request_rate"}
    left_out |= set() if simulated else {"simulated_ttft_s", "simulated_tpot_s"}
    left_out |= set() if error else {"expected_error"}
    return [name for name in PLAN_COLUMNS if name not in left_out]


# What is asked ----------------------------------------------------------------------------------------------------


def _recorded(
    trace: Workload, prompt: int | None, output: int | None, request_rate: float | None, gpus: int | None
) -> tuple[int | None, int | None, float | None]:
    """Tokens of a trace's requests on average, and its rate, where they are not given."""
    if request_rate is None and gpus is None:
        request_rate = recorded_rate(trace)
    prompt = round(float(trace.prompt_tokens.mean())) if prompt is None else prompt
    output = round(float(trace.output_tokens.mean())) if output is None else output
    return prompt, output, request_rate


def _cards(gpu: Any, price: Any, gpus: int | None) -> dict[str, GPU]:
    """The GPUs to consider."""
    if gpu is None and gpus is not None and not isinstance(price, Mapping):
        raise ValueError(f"gpus = {gpus}: say which GPU they are, by gpu")
    if gpu is None:
        gpu = list(_hourly(price, {})) if isinstance(price, Mapping) else every_gpu()
    return entries("gpu", gpu, find_gpu)


def _hourly(price: Any, cards: Mapping[str, GPU]) -> Any:
    """Prices by the GPU's id; without any, a GPU-hour costs one."""
    if isinstance(price, Mapping):
        return {name if name in cards else find_gpu(name).id: hourly for name, hourly in price.items()}
    return 1.0 if price is None else price


# What the estimate says -------------------------------------------------------------------------------------------


def _estimated(
    cards: dict[str, GPU], model: Model, tps: np.ndarray, batches: np.ndarray, asked: dict[str, Any],
    workload: dict[str, Any], tick: Callable[[int, int], None],
) -> tuple[pd.DataFrame, list[str], str]:  # fmt: skip
    """A row for every GPU, tp and batch size, its verdict "" where it fits; what the rows assume, and their formats."""
    tables, told, each, formats = [], list[str](), dict[tuple[str, int], int](), dict[str, None]()
    for number, card in enumerate(cards.values()):
        tick(number, len(cards))
        obstacles = dict[int, str]()
        for tp in tps.tolist():
            each[card.id, tp], obstacles[tp] = _replica(card, model, tp, asked)
            if why := obstacles[tp]:
                tables.append(pd.DataFrame(
                    {"gpu": card.id, "tp": tp, "batch_size": batches, "verdict": why, "why": why}
                ))  # fmt: skip
        if able := [tp for tp, why in obstacles.items() if not why]:
            ds = estimate(card, model, batch_size=batches, tp=able, **asked, **workload)
            tables.append(_rows(ds, model))
            told.append(ds.attrs["assumed"])
            formats[ds.attrs["formats"]] = None
    table = pd.concat(tables, ignore_index=True).reindex(columns=[*PLAN_COLUMNS, "full_cost"])
    table["gpus_each"] = [each[place] for place in zip(table.gpu, table.tp, strict=True)]
    return table, told, "; ".join(formats)


def _replica(card: GPU, model: Model, tp: int, options: Mapping[str, Any]) -> tuple[int, str]:
    """GPUs of a replica, and why it cannot run the model at all, in a few words."""
    own = {name: value for name, value in options.items() if name in Replica.__dataclass_fields__}
    try:
        replica = Replica(card, model, **own | {"tp": tp})
        device_memory(replica)
    except CannotRun as obstacle:
        return tp, obstacle.reason
    return replica.gpus, ""


def _rows(ds: xr.Dataset, model: Model) -> pd.DataFrame:
    """A row for every gpu, tp and batch size of an estimate."""
    at = ds.isel(model=0, prompt=0, output=0, drop=True)
    columns = {
        "ttft_s": at.ttft, "tpot_s": at.tpot, "tokens_per_second": at.tokens_per_second,
        "requests_per_second": at.requests_per_second, "memory_gb": at.memory / 1e9, "largest_batch": at.largest_batch,
        "cost": at.cost, "full_cost": at.cost, "verdict": at.unfit, "why": reasons(ds),
    }  # fmt: skip
    if "expected_error" in at:
        columns["expected_error"] = at.expected_error.sel(phase="decode", drop=True)
    table = xr.Dataset(columns).to_dataframe(dim_order=["gpu", "tp", "batch_size"]).reset_index()
    return table.assign(verdict=table.verdict.map(UNFIT))


# Verdicts ---------------------------------------------------------------------------------------------------------


def _too_slow(table: pd.DataFrame, level: ServiceLevel) -> pd.DataFrame:
    """The table with a verdict on the rows whose estimate breaks a limit."""
    left = table.verdict == ""
    times = table.loc[left, ["ttft_s", "tpot_s"]].to_numpy(float)
    verdicts = [level.verdict(*row) for row in times]
    table.loc[left, "why"] = [level.why(verdict, *row) for verdict, row in zip(verdicts, times, strict=True)]
    table.loc[left, "verdict"] = verdicts
    return table


def _with_outcomes(table: pd.DataFrame, found: dict[int, Trial], service: Service) -> pd.DataFrame:
    """The table with what the simulated rows came to."""
    of = f"nearly idle, p{service.percentile:g} "
    for place, outcome in found.items():
        table.loc[place, ["simulated_ttft_s", "simulated_tpot_s"]] = outcome.ttft, outcome.tpot
        why = service.level.why(outcome.verdict, outcome.ttft, outcome.tpot, of=of)
        table.loc[place, ["verdict", "why"]] = outcome.verdict or KEPT, why
    return table


def _judged(table: pd.DataFrame, level: ServiceLevel, *, simulated: bool) -> pd.DataFrame:
    """The table with a verdict on every row, sorted by it."""
    left = table.index[table.verdict == ""]
    if simulated:
        table.loc[left, "verdict"] = NOT_SIMULATED
    else:
        table.loc[left, "verdict"] = _against_each_other(table.loc[left])
    kept = table.index[table.verdict == KEPT]
    best = table.score[kept].sort_values(kind="stable").index[:1]
    if not level.given:
        table.loc[kept, "verdict"] = FITTING
    table.loc[best, "verdict"] = BEST
    table["why"] = table.why.where(table.why.fillna("") != "", table.verdict)
    rank = table.verdict.map({BEST: 0, KEPT: 1, FITTING: 1, NOT_SIMULATED: 2}).fillna(3)
    losing = table.verdict.str.startswith("dominated").map({True: 0, False: 1})
    order = pd.DataFrame({"rank": rank, "losing": losing, "score": table.score})
    return table.loc[order.sort_values([*order], kind="stable").index].reset_index(drop=True)


def _against_each_other(rows: pd.DataFrame) -> list[str]:
    """The verdict on rows that keep the limits: those that another one beats are dominated by it."""
    measures = rows[["ttft_s", "tpot_s", "cost"]].fillna(0).to_numpy()
    names, verdicts = [name_of(row) for row in rows.itertuples()], [KEPT] * len(rows)
    for place in set(range(len(rows))) - set(pareto_front([*measures.T], ties=True).tolist()):
        mine = measures[place]
        better = (measures <= mine).all(axis=1) & (measures < mine).any(axis=1)
        verdicts[place] = f"dominated by {names[np.where(better, measures[:, -1], np.inf).argmin()]}"
    return verdicts
