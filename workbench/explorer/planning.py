"""The tab Plan: what a rate of requests and a service level take, on each GPU and tp, simulated, the cheapest first."""

from collections.abc import Iterator
from functools import partial
from math import isfinite
from typing import Any

from ..serving import plan
from ..serving.verdicts import BEST, FITTING, KEPT, NOT_SIMULATED
from .answers import Kept, Question, finite, times, tp_sizes
from .background import Section
from .servers import setting_words
from .view import View

Row = dict[str, Any]

#: GPUs that share every layer in a plan, at most [1].
MOST_TP = 8
#: Of many GPUs, those are simulated that could cost up to so many times the cheapest [1].
WORTH = 1.5
#: Columns of `serving.plan` that a row has.
COLUMNS = (
    "gpu", "tp", "batch_size", "replicas", "gpus", "cost", "simulated_ttft_s", "simulated_tpot_s", "ttft_s", "tpot_s",
    "requests_per_second", "utilization", "memory_gb", "expected_error", "verdict", "why",
)  # fmt: skip

_plans = Kept[Row](4096)


def plan_section(view: View) -> Section:
    """The tab Plan, as far as it is known already.

    Parameters
    ----------
    view : View
        The view.

    Returns
    -------
    dict
        `plan`: `at`, what is asked, in words; `missing`, what has to be said first; `sentence`, the answer; `rows`, one
        a model, GPU and tp, the best of its batch sizes, with the columns of `serving.plan` and `cost_hour`, None for
        what does not exist; `computing`, done and of how many [1], None at the end.
    """
    return next(plan_steps(view))


def plan_steps(view: View) -> Iterator[Section]:
    """The same section as it becomes more complete: by estimate first, then simulated, those first that may be best."""
    section: Section = {
        "at": _asked_words(view), "missing": "", "sentence": "", "rows": [], "computing": None,
        "considered": view.goal.considered, "price": view.server.price, "percentile": view.goal.percentile,
    }  # fmt: skip
    if view.goal.rate is None:
        more = "how many requests arrive in a second: then the replicas that take them are counted and simulated."
        yield {"plan": section | {"missing": f"Give {more}"}}
        return
    asked = Question(view)
    gpus = considered(asked)
    if not gpus:
        yield {"plan": section | {"missing": "No GPU has a price of its own: give some, or take other GPUs."}}
        return
    places = [
        (model, gpu, tp)
        for model in view.model for gpu in gpus for tp in tp_sizes(asked.card(gpu), most=MOST_TP, also=view.tp)
    ]  # fmt: skip
    if all(_plans.has(_key(asked, *place, simulated=False)) for place in places):
        rows = {place: planned_row(asked, *place, simulated=False) for place in places}
    else:
        rows = {}
        yield {"plan": section | {"computing": {"done": 0, "of": 2 * len(places)}}}
        for place in places:
            rows[place] = planned_row(asked, *place, simulated=False)
            yield {"plan": section | {"computing": {"done": len(rows), "of": 2 * len(places)}}}
    bounds = {place: row["least_cost"] for place, row in rows.items()}
    worth = sorted((place for place in places if bounds[place] is not None), key=lambda place: bounds[place])
    ready = all(_plans.has(_key(asked, *place, simulated=True)) for place in worth)
    cheapest = float("inf")
    for number, place in enumerate(worth):
        if view.goal.considered != "view" and bounds[place] > WORTH * cheapest:
            break
        if not ready:
            left = {"done": len(places) + number, "of": len(places) + len(worth)}
            yield {"plan": section | _answer(view, rows, computing=left)}
        rows[place] = planned_row(asked, *place, simulated=True)
        if rows[place]["verdict"] == BEST:
            cheapest = min(cheapest, rows[place]["cost"])
    yield {"plan": section | _answer(view, rows, computing=None)}


def considered(asked: Question) -> list[str]:
    """The GPUs that a view's plan is of."""
    match asked.view.goal.considered:
        case "all":
            return asked.every_gpu()
        case "priced":
            return [gpu for gpu in asked.every_gpu() if asked.has_own_price(gpu)]
    return list(asked.view.gpu)


def planned_row(asked: Question, model: str, gpu: str, tp: int, *, simulated: bool) -> Row:
    """The first row of `serving.plan` for one model, GPU and tp: its best batch size, or why there is none."""
    key = _key(asked, model, gpu, tp, simulated=simulated)
    return _plans.get(key, partial(_planned, asked, model, gpu, tp, simulated=simulated))


def _key(asked: Question, model: str, gpu: str, tp: int, *, simulated: bool) -> Any:
    goal = asked.view.goal
    level = (goal.ttft, goal.tpot, goal.rate, goal.percentile)
    return asked.key(gpu, model, tp, *asked.sizes[1:], *level, asked.price(gpu), simulated)


def plan_arguments(asked: Question, model: str, gpu: str, tp: int) -> dict[str, Any]:
    """The arguments of `serving.plan` that a row is of."""
    goal, (_, prompt, output) = asked.view.goal, asked.sizes
    return {
        "model": asked.models[model], "gpu": asked.card(gpu), "tp": tp, "prompt": prompt, "output": output,
        "ttft": goal.ttft, "tpot": goal.tpot, "request_rate": goal.rate, "percentile": goal.percentile,
        "price": asked.price(gpu), **asked.options,
    }  # fmt: skip


def _planned(asked: Question, model: str, gpu: str, tp: int, *, simulated: bool) -> Row:
    own = {"model": model, "gpu": gpu, "name": asked.card(gpu).name, "tp": tp}
    try:
        table = plan(**plan_arguments(asked, model, gpu, tp), confirm=int(simulated))
    except ValueError as error:
        return dict.fromkeys(COLUMNS) | own | {"verdict": "cannot run", "why": str(error), "least_cost": None}
    first = table.iloc[0]
    row = {name: first[name] if name in table else None for name in COLUMNS}
    row = {name: finite(value) if isinstance(value, float) else value for name, value in row.items()}
    row |= {"batch_size": int(first.batch_size), "least_cost": finite(table.cost.min()), **own}
    if row["replicas"] is not None and row["gpus"] is not None:
        row["cost_hour"] = row["gpus"] * (asked.price(gpu) or 1.0)
    return row


# In words ---------------------------------------------------------------------------------------------------------


def _asked_words(view: View) -> str:
    goal = view.goal
    parts = [f"{goal.rate:,g} requests/s"] if goal.rate else []
    parts += [f"{name} up to {times(limit)}" for name, limit in (("TTFT", goal.ttft), ("TPOT", goal.tpot)) if limit]
    parts += [f"for {goal.percentile:g} % of them"] if goal.ttft or goal.tpot else []
    return "; ".join(filter(None, [setting_words(view, batch=False), ", ".join(parts)]))


def _answer(view: View, rows: dict[tuple[str, str, int], Row], *, computing: Any) -> Section:
    """Rows in order, the cheapest of each model called the best, and the answer in a sentence."""
    simulated = [row for row in rows.values() if row["simulated_ttft_s"] is not None or row["verdict"] in (BEST, KEPT)]
    kept = sorted((row for row in simulated if row["verdict"] == BEST), key=lambda row: row["cost"])
    best = {model: next((row for row in kept if row["model"] == model), None) for model in view.model}
    given = (view.goal.ttft, view.goal.tpot) != (None, None)
    done = []
    for row in rows.values():
        verdict, why = row["verdict"], row["why"]
        if row["verdict"] == BEST and row is not best[row["model"]]:
            verdict = why = KEPT if given else FITTING
        done.append(row | {"verdict": verdict, "why": why})
    return {"rows": done, "sentence": "", "computing": computing, "unused": (NOT_SIMULATED, isfinite)}
