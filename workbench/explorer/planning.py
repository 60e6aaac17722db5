"""The tab Plan: what a rate of requests and a service level take, on each GPU and tp, simulated, the cheapest first."""

from collections.abc import Iterator
from functools import partial
from math import inf
from typing import Any

from ..serving import plan
from ..serving.verdicts import BEST, FITTING, KEPT, NOT_SIMULATED
from .answers import MOST_TP, Kept, Question, ServerRow, finite, times, tp_sizes
from .background import Section
from .servers import setting_words
from .view import View

PlanPlace = tuple[str, str, int]  # of a model, a GPU and a tp

#: Of many GPUs, those are simulated that could cost up to so many times the cheapest [1].
WORTHWHILE = 1.5
#: Verdict on a GPU without a price, where others have one.
UNPRICED = "no price"
#: Columns of `serving.plan` that a row has.
PLAN_ROW = (
    "gpu", "tp", "batch_size", "replicas", "gpus", "cost", "simulated_ttft_s", "simulated_tpot_s", "ttft_s", "tpot_s",
    "requests_per_second", "utilization", "memory_gb", "expected_error", "verdict", "why",
)  # fmt: skip

_plans = Kept[ServerRow](4096)


def plan_steps(view: View) -> Iterator[Section]:
    """The tab Plan, each time more complete: estimated first, then simulated, those first that may be best.

    Parameters
    ----------
    view : View
        The view.

    Yields
    ------
    dict
        `plan`: `at`, what is asked, in words; `missing`, what has to be said first; `sentences`, the answer for each
        model; `rows`, one a model, GPU and tp, the best of its batch sizes, with the columns of `serving.plan`,
        `cost_hour` and whether it is `simulated`, None for what does not exist; `computing`, done and of how many [1],
        None at the end.
    """
    section: Section = {
        "at": _asked_words(view), "missing": "", "sentences": [], "rows": [], "computing": None,
        "price": view.server.price, "percentile": view.goal.percentile, "worth": WORTHWHILE,
    }  # fmt: skip
    asked = Question(view)
    gpus = considered(asked)
    if missing := _missing(view, gpus):
        yield {"plan": section | {"missing": missing}}
        return
    places = [
        (model, gpu, tp)
        for model in view.model for gpu in gpus for tp in tp_sizes(asked.card(gpu), most=MOST_TP, also=view.tp)
    ]  # fmt: skip
    rows, known = (
        dict[PlanPlace, ServerRow](),
        all(_plans.has(_key(asked, *place, simulated=False)) for place in places),
    )
    for place in places:
        if not known:
            yield {"plan": section | {"computing": {"done": len(rows), "of": 2 * len(places)}}}
        rows[place] = planned_row(asked, *place, simulated=False)
    if view.goal.considered == "view":
        rows |= {
            (model, gpu, view.tp): _unpriced(asked, model, gpu)
            for model in view.model for gpu in view.gpu if gpu not in gpus
        }  # fmt: skip
    for number, of in _simulate(asked, rows):
        if of:
            left = {"done": len(places) + number, "of": len(places) + of}
            yield {"plan": section | _answer(view, rows, left)}
    yield {"plan": section | _answer(view, rows, None)}


def _simulate(asked: Question, rows: dict[PlanPlace, ServerRow]) -> Iterator[tuple[int, int]]:
    """Put simulated rows in place of those that may be worth it; before each, how many are done, and of how many [1].

    Of rows that are all known already, nothing.
    """
    bounds = {place: row["cost"] for place, row in rows.items() if row["cost"] is not None}
    order = sorted(bounds, key=lambda place: bounds[place])
    every = asked.view.goal.considered == "view"
    cheapest = dict.fromkeys(asked.view.model, inf)
    for number, place in enumerate(order):
        if not every and bounds[place] > WORTHWHILE * cheapest[place[0]]:
            continue
        if not _plans.has(_key(asked, *place, simulated=True)):
            yield number, len(order)
        rows[place] = row = planned_row(asked, *place, simulated=True)
        if row["verdict"] == BEST:
            cheapest[place[0]] = min(cheapest[place[0]], row["cost"])


def _missing(view: View, gpus: list[str]) -> str:
    """What has to be said before there can be a plan."""
    if view.goal.rate is None:
        return "Say how many requests arrive in a second (Requests/s): then replicas are counted and simulated."
    if not gpus:
        return "No GPU has a price of its own: give prices as h100-sxm=2.5, l4=0.8, or consider other GPUs."
    return ""


def considered(asked: Question) -> list[str]:
    """The GPUs that a view's plan is of: its own, those with a price of their own, or all.

    Where prices are by GPU, those without one are none: what costs less is not known of them.
    """
    every = list(asked.view.gpu) if asked.view.goal.considered == "view" else asked.every_gpu()
    by_gpu = asked.prices_by_gpu or asked.view.goal.considered == "priced"
    return [gpu for gpu in every if asked.priced(gpu)] if by_gpu else every


def planned_row(asked: Question, model: str, gpu: str, tp: int, *, simulated: bool) -> ServerRow:
    """The row of `serving.plan` for one model, GPU and tp: its first if simulated, else the cheapest by estimate."""
    key = _key(asked, model, gpu, tp, simulated=simulated)
    return _plans.get(key, partial(_planned, asked, model, gpu, tp, simulated=simulated))


def _key(asked: Question, model: str, gpu: str, tp: int, *, simulated: bool) -> Any:
    goal = asked.view.goal
    level = (goal.ttft, goal.tpot, goal.rate, goal.percentile)
    return asked.key(gpu, model, tp, *asked.sizes[1:], *level, asked.price(gpu), simulated)


def plan_arguments(asked: Question, model: str, gpu: str, tp: int) -> dict[str, Any]:
    """The arguments of `serving.plan` that a row is of, but `confirm`."""
    goal, (_, prompt, output) = asked.view.goal, asked.sizes
    return {
        "model": asked.models[model], "gpu": asked.card(gpu), "tp": tp, "prompt": prompt, "output": output,
        "ttft": goal.ttft, "tpot": goal.tpot, "request_rate": goal.rate, "percentile": goal.percentile,
        "price": asked.price(gpu), **asked.options,
    }  # fmt: skip


def _planned(asked: Question, model: str, gpu: str, tp: int, *, simulated: bool) -> ServerRow:
    own = {"model": model, "gpu": gpu, "name": asked.card(gpu).name, "tp": tp, "simulated": simulated}
    try:
        table = plan(**plan_arguments(asked, model, gpu, tp), confirm=int(simulated))
    except ValueError as error:
        return dict.fromkeys(PLAN_ROW) | own | {"verdict": "cannot run", "why": str(error), "cost_hour": None}
    first = table.iloc[0 if simulated or table.cost.isna().all() else int(table.cost.argmin())]
    row = {name: first[name] if name in table else None for name in PLAN_ROW}
    row |= {name: finite(value) for name, value in row.items() if isinstance(value, float)}
    row |= own | {"batch_size": int(first.batch_size), "cost_hour": None}
    if simulated and row["verdict"] != BEST:  # the replicas at which it was given up
        row |= dict.fromkeys(("replicas", "gpus", "cost", "utilization"))
    if row["gpus"] is not None:
        row["cost_hour"] = row["gpus"] * (asked.price(gpu) or 1.0)
    return row


def _unpriced(asked: Question, model: str, gpu: str) -> ServerRow:
    """The row of a GPU without a price, where others have one."""
    own = {"model": model, "gpu": gpu, "name": asked.card(gpu).name, "tp": asked.view.tp, "simulated": False}
    return (
        dict.fromkeys(PLAN_ROW)
        | own
        | {"verdict": UNPRICED, "why": f"{UNPRICED}, while others have one: give it as {gpu}=2.5", "cost_hour": None}
    )


# In words ---------------------------------------------------------------------------------------------------------


def _asked_words(view: View) -> str:
    goal = view.goal
    parts = [setting_words(view, batch=False), *([f"{goal.rate:g} requests/s"] if goal.rate else [])]
    limits = [f"{name} up to {times(limit)}" for name, limit in (("TTFT", goal.ttft), ("TPOT", goal.tpot)) if limit]
    return "; ".join([*parts, *([f"{' and '.join(limits)} for {goal.percentile:g} % of them"] if limits else [])])


def _answer(view: View, rows: dict[PlanPlace, ServerRow], computing: dict[str, int] | None) -> Section:
    """Rows in order, of each model the cheapest called the best, and the answers in a sentence each."""
    kept = KEPT if (view.goal.ttft, view.goal.tpot) != (None, None) else FITTING
    done, sentences = list[ServerRow](), list[str]()
    for model in view.model:
        own = [row for row in rows.values() if row["model"] == model]
        held = sorted((row for row in own if row["simulated"] and row["verdict"] == BEST), key=lambda row: row["cost"])
        open_ = [row for row in own if not row["simulated"] and row["cost"] is not None]
        over = (
            f"{NOT_SIMULATED}: costs more than {WORTHWHILE:g} times the best"
            if computing is None
            else "to be simulated"
        )
        done += [row | {"verdict": kept, "why": kept} if number else row for number, row in enumerate(held)]
        done += [row | {"verdict": NOT_SIMULATED, "why": over} for row in open_]
        done += [row for row in own if row not in held and row not in open_]
        sentences.append(_sentence(view, model, held, own, computing))
    return {"rows": done, "sentences": sentences, "computing": computing}


def _sentence(
    view: View, model: str, held: list[ServerRow], own: list[ServerRow], computing: dict[str, int] | None
) -> str:
    """What is cheapest, and what comes next."""
    of = f"{model}: " if len(view.model) > 1 else ""
    if not held and computing:
        return f"{of}nothing yet that keeps the goal."
    if not held:
        near = next((row for row in own if row["simulated"]), own[0])
        return f"{of}nothing keeps the goal: {_fleet(near, '')}, for one: {near['why']}."
    best, *others = held
    seen = (f"{name} {times(best[key])}" for name, key in (("TTFT", "simulated_ttft_s"), ("TPOT", "simulated_tpot_s")))
    so_far = "cheapest so far" if computing else "cheapest"
    line = f"{of}{so_far}: {_fleet(best, view.server.price)}; simulated p{view.goal.percentile:g}: {', '.join(seen)}."
    other = next((row for row in others if row["gpu"] != best["gpu"]), others[0] if others else None)
    return line[0].upper() + line[1:] + (f" Or {_fleet(other, view.server.price)}." if other else "")


def _fleet(row: ServerRow, price: Any) -> str:
    """Replicas, GPUs and cost of a row in words."""
    gpus = f"{row['tp']} x {row['name']}"
    if row["replicas"] is None:
        return gpus
    count = f"{row['replicas']:,.0f} replica{'s' * (row['replicas'] > 1)} of {gpus}"
    cost = "" if price is None else f", {row['cost_hour']:,.2f} an hour"
    return f"{count} ({row['gpus']:,.0f} GPU{'s' * (row['gpus'] > 1)}{cost})"
