"""The tab Frontier: tokens a second of each user against those of each GPU, batch size by batch size."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..search import estimates
from ..servers.replica import Replica
from ..servers.server import caps
from ..serving.pareto import pareto_front
from ..serving.verdicts import UNFIT
from .answers import MOST_TP, Kept, Question, ServerRow, finite, tp_sizes
from .background import Section
from .servers import SPEEDS, setting_words
from .view import View

#: Batch sizes that are tried, those up to the engine's own limit [1].
FRONTIER_BATCHES = tuple(2**i for i in range(11))

_lines = Kept[list[ServerRow]](1024)


def frontier_steps(view: View) -> Iterator[Section]:
    """The tab Frontier, each time more complete, line by line.

    Parameters
    ----------
    view : View
        The view.

    Yields
    ------
    dict
        `frontier`: `at`, what is asked, in words; `rows`, one a GPU, model, tp and batch size that fits: x, tokens per
        second and user, y, those per second and GPU [1/s], ttft, tpot [s], and whether nothing beats it in both
        (`front`) and it meets the goal (`meets`, None without one); `left_out`, what has no row and why; `goal`;
        `computing`, done and of how many [1], None at the end.
    """
    asked = Question(view)
    places = [
        (gpu, model, tp)
        for gpu in view.gpu for model in view.model for tp in tp_sizes(asked.card(gpu), most=MOST_TP, also=view.tp)
    ]  # fmt: skip
    known = all(_lines.has(_key(asked, *place)) for place in places)
    rows = list[ServerRow]()
    section: Section = {
        "at": setting_words(view, batch=False), "goal": view.goal.model_dump(), "price": view.server.price,
    }  # fmt: skip
    for number, place in enumerate(places):
        if not known:
            yield {"frontier": section | _drawn(view, rows, {"done": number, "of": len(places)})}
        rows += line(asked, *place)
    yield {"frontier": section | _drawn(view, rows, None)}


def line(asked: Question, gpu: str, model: str, tp: int) -> list[ServerRow]:
    """A row for each batch size of one GPU, model and tp, by `search.estimates`; or one that says why there is none."""
    return _lines.get(_key(asked, gpu, model, tp), partial(_line, asked, gpu, model, tp))


def _key(asked: Question, gpu: str, model: str, tp: int) -> Any:
    return asked.key(gpu, model, tp, *asked.sizes[1:], asked.price(gpu))


def batch_sizes(asked: Question, gpu: str, model: str, tp: int) -> tuple[int, list[int]]:
    """GPUs of a replica, and the batch sizes of a line: those up to what the engine takes [1]."""
    replica = Replica(asked.card(gpu), asked.models[model], tp=tp, **asked.of(Replica))
    most = replica.dp_ranks * caps(replica, asked.options["max_num_seqs"], None)["max_num_seqs"]
    return replica.gpus, [size for size in FRONTIER_BATCHES if size <= most]


def _line(asked: Question, gpu: str, model: str, tp: int) -> list[ServerRow]:
    card, entry, (_, prompt, output) = asked.card(gpu), asked.models[model], asked.sizes
    at = {"gpu": gpu, "model": model, "tp": tp}
    try:
        gpus, batches = batch_sizes(asked, gpu, model, tp)
        given = asked.options | {"price": asked.price(gpu)}
        (ds,) = estimates(card, entry, batches, prompt, output, tp, **given)
    except ValueError as error:
        return [at | {"why": getattr(error, "reason", str(error))}]
    one = ds.isel(gpu=0, model=0, prompt=0, output=0, tp=0)
    found = {name: one[variable].values.tolist() for name, variable in SPEEDS.items() if variable in one}
    rows: list[ServerRow] = [
        at | {"batch_size": size, **dict.fromkeys(SPEEDS)}
        | {name: finite(values[i]) for name, values in found.items()}
        for i, size in enumerate(batches) if one.fits.values[i]
    ]  # fmt: skip
    drawn = [
        row | {"x": row["per_user"], "y": row["per_replica"] / gpus}
        for row in rows if row["per_user"] is not None
    ]  # fmt: skip
    return drawn or [at | {"why": _why_none(one)}]


def _why_none(one: Any) -> str:
    return UNFIT[one.unfit.values[0]] or "an output of one token has no token after the first"


def _drawn(view: View, rows: list[ServerRow], computing: dict[str, int] | None) -> Section:
    """The rows with what nothing beats, and with what meets the goal."""
    goal, points = view.goal, [row for row in rows if "why" not in row]
    best = pareto_front([np.array([-row[axis] for row in points]) for axis in ("x", "y")]).tolist() if points else []
    given = (goal.ttft, goal.tpot) != (None, None)
    done = []
    for place, row in enumerate(points):
        late = [name for name, limit in (("ttft", goal.ttft), ("tpot", goal.tpot)) if limit and row[name] > limit]
        done.append(row | {"front": place in best, "late": late, "meets": not late if given else None})
    return {"rows": done, "left_out": [row for row in rows if "why" in row], "computing": computing}
