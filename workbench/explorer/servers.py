"""The tab Server: whether each GPU holds the setting in memory, what a server of it does then, and what that costs."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..catalog.gpu_entries import GPU
from ..catalog.model_entries import Model
from ..servers.memory import device_memory
from ..servers.replica import Replica
from ..serving import estimate
from ..serving.batch import Batch
from ..serving.room import ALL_FITS, CONTEXT_LENGTH, memory_fit
from ..serving.text_tables import assumed_lines
from .answers import Kept, Question, ServerRow, finite, gigabytes, times, tp_sizes
from .background import Section
from .view import View

#: Parts of a GPU's memory in the order of its bar, and how each is called.
MEMORY_PARTS = {
    "weights": "weights", "cache": "KV cache", "activations": "activations", "workspace": "rest (CUDA, libraries)",
}  # fmt: skip
#: Answers in a sentence each, at most [1].
SENTENCES = 4
#: Numbers of a server's speed: as of `serving.estimate`.
SPEEDS = {
    "ttft": "ttft", "tpot": "tpot", "latency": "end_to_end_latency", "per_user": "tokens_per_second_per_user",
    "per_replica": "tokens_per_second", "requests_per_second": "requests_per_second", "cost": "cost",
}  # fmt: skip
#: Columns of the table of all GPUs, and rows that are computed between two looks whether anybody still asks [1].
TABLE = (
    "gpu", "tp", "gpus", "fits", "short", "words", "reason", "waiting", "memory", "usable", "missing", "largest_batch",
    "longest_context", "ttft", "tpot", "per_user", "per_gpu", "per_replica", "cost", "meets", "late",
)  # fmt: skip
ROWS_A_STEP = 8
#: Longest sequence that is looked for where a model's context is not known, and how many lengths are tried at once
#: between two that are known to fit and not to [token], [1].
SEARCHED_CONTEXT, TRIED = 2**24, 257

_memory, _speed = Kept[ServerRow](4096), Kept[ServerRow](4096)


def server_steps(view: View) -> Iterator[Section]:
    """The tab Server, each time more complete: memory of all GPUs first, as that is quick, then times.

    Parameters
    ----------
    view : View
        The view.

    Yields
    ------
    dict
        `server`: `at`, the setting in words; `sentences`, the answers; `rows`; `notes`; `table`, as of `columns`, of
        all GPUs and tp, None before there is one; `computing`, done and of how many [1], None at the end. A row has
        sizes of one GPU's memory [byte], times [s], rates [1/s], cost of a million output tokens, None for what does
        not exist; `fits`, and `words`, why not.
    """
    asked = Question(view)
    rows = [server_row(asked, gpu, model, view.tp) for gpu in view.gpu for model in view.model]
    added = view.model[-1]
    newest = sorted(enumerate(rows), key=lambda pair: (pair[1]["model"] == added, pair[0]), reverse=True)
    answered = rows if len(rows) <= SENTENCES else [row for _, row in newest[:SENTENCES]]
    sentences = [_sentence(asked, row) for row in answered]
    if (more := len(rows) - SENTENCES) > 0:
        sentences.append(f"And {more} more below.")
    section: Section = {
        "at": setting_words(view), "sentences": sentences, "rows": rows, "notes": _notes(rows), "model": added,
        "goal": view.goal.model_dump(), "price": view.server.price, "parts": MEMORY_PARTS,
    }  # fmt: skip
    keys = [
        (gpu, added, tp) for gpu in asked.every_gpu() for tp in tp_sizes(asked.card(gpu), also=view.tp)
    ]  # fmt: skip
    known = all(_known(asked, *key) for key in keys)
    if not known:
        yield {"server": section | {"table": None, "computing": {"done": 0, "of": len(keys)}}}
    table = list[ServerRow]()
    for key in keys if not known else ():
        table.append(_row(asked, *key, _memory_of(asked, *key), None))
        if len(table) % ROWS_A_STEP == 0:
            yield {"server": section | {"table": None, "computing": {"done": 0, "of": len(keys)}}}
    for done in range(0, len(keys) if not known else 0, ROWS_A_STEP):
        yield {"server": section | {"table": columns(table), "computing": {"done": done, "of": len(keys)}}}
        table[done : done + ROWS_A_STEP] = [server_row(asked, *key) for key in keys[done : done + ROWS_A_STEP]]
    table = table or [server_row(asked, *key) for key in keys]
    yield {"server": section | {"table": columns(table), "computing": None}}


def columns(rows: list[ServerRow]) -> dict[str, Any]:
    """The rows of the table of all GPUs as the page gets them: names of its columns once, and a list for each row."""
    return {"columns": TABLE, "rows": [[row.get(name) for name in TABLE] for row in rows]}


def setting_words(view: View, *, batch: bool = True) -> str:
    """What is asked of a server, in words."""
    one, server = view.setting, view.server.model_dump(exclude_defaults=True, exclude={"price", "time_model"})
    parts = [f"{one.batch_size:,} requests at a time"] if batch and one.batch_size > 1 else []
    parts += ["one request at a time"] if batch and one.batch_size == 1 else []
    parts += [f"{one.seq_len:,} tokens in", f"{one.output:,} out"]
    parts += [f"{name} {'none' if value is None else value}" for name, value in server.items()]
    formats = {"weights": view.weight_dtype, "activations": view.activation_dtype, "KV cache": view.kv_dtype}
    parts += [f"{name} {value}" for name, value in formats.items() if value]
    return ", ".join(parts)


def server_row(asked: Question, gpu: str, model: str, tp: int) -> ServerRow:
    """The row of one GPU, model and tp, by `serving.estimate`."""
    memory = _memory_of(asked, gpu, model, tp)
    return _row(asked, gpu, model, tp, memory, _speed_of(asked, gpu, model, tp) if memory["fits"] else {})


# Memory -----------------------------------------------------------------------------------------------------------


def _memory_of(asked: Question, gpu: str, model: str, tp: int) -> ServerRow:
    make = partial(_room, asked, asked.card(gpu), asked.models[model], tp)
    return _memory.get(asked.key(gpu, model, tp, *asked.sizes), make)


def _room(asked: Question, card: GPU, model: Model, tp: int) -> ServerRow:
    """What one GPU's memory holds [byte], and whether that fits, in words; what cannot run has the reason alone."""
    try:
        replica = Replica(card, model, tp=tp, **asked.of(Replica))
        room = _fit(asked, replica, np.array([[[asked.sizes[1]]]], float))
        longest = _longest(asked, replica)
    except ValueError as error:
        return {"fits": False, "short": False, "words": str(error), "reason": getattr(error, "reason", "cannot run")}
    sizes = {name: float(np.ravel(value)[0]) for name, value in room.items()}
    fixed = sizes["weights"] + sizes["activations"] + sizes["workspace"]
    unfit, missing = int(sizes["unfit"]), max(sizes["memory"] - sizes["usable_memory"], 0.0)
    known = {
        **{name: sizes[name] for name in ("weights", "activations", "workspace", "memory")},
        "cache": sizes["memory"] - fixed, "usable": sizes["usable_memory"], "capacity": device_memory(replica),
        "free": max(sizes["usable_memory"] - sizes["memory"], 0.0), "missing": missing, "gpus": replica.gpus,
        "largest_batch": sizes["largest_batch"], "longest_context": longest, "fits": unfit == ALL_FITS,
        "short": unfit not in (ALL_FITS, CONTEXT_LENGTH),
    }  # fmt: skip
    return known | {"words": _words(asked, known, model, unfit), "reason": ""}


def _fit(asked: Question, replica: Replica, prompts: np.ndarray) -> ServerRow:
    """Room by prompt, as `estimate` finds it."""
    given = asked.of(Batch)
    output = asked.sizes[2]
    if given["draft"]:
        given["draft"].check(replica.model, asked.sizes[1] + output)
    batch = Batch(np.array([[[asked.sizes[0]]]], float), prompts, np.array([[[output]]], float), **given)
    return memory_fit(replica, batch.on(replica), gpu_memory_utilization=asked.options["gpu_memory_utilization"])


def _longest(asked: Question, replica: Replica) -> int | None:
    """Prompt and output together at most of each of the setting's requests [token]; None where none fits."""
    shortest = asked.options["cached_prefix"] + 1
    low, high = shortest, max((replica.model.max_context or SEARCHED_CONTEXT) - asked.sizes[2], shortest)
    while True:
        tried = np.unique(np.linspace(low, high, TRIED).round())
        fits = np.ravel(_fit(asked, replica, tried[None, :, None])["unfit"]) == ALL_FITS
        if not fits[0]:
            return None
        last = int(np.flatnonzero(fits)[-1])
        if last + 1 == len(tried) or tried[last + 1] - tried[last] <= 1:
            return int(tried[last]) + asked.sizes[2]
        low, high = int(tried[last]), int(tried[last + 1])


def _words(asked: Question, known: ServerRow, model: Model, unfit: int) -> str:
    if unfit == ALL_FITS:
        return "yes"
    if unfit == CONTEXT_LENGTH:
        tokens = asked.sizes[1] + asked.sizes[2]
        return f"no: {tokens:,} tokens, {tokens - (model.max_context or 0):,} over the context of {model.max_context:,}"
    needed = ", ".join(f"{name} {known[part] / 1e9:,.1f}" for part, name in MEMORY_PARTS.items() if known[part] >= 5e7)
    return (
        f"no: {gigabytes(known['memory'])} needed ({needed}), {gigabytes(known['usable'])} of"
        f" {known['capacity'] / 1e9:,.1f} available, {gigabytes(known['missing'])} missing"
    )


# Speed ------------------------------------------------------------------------------------------------------------


def _speed_of(asked: Question, gpu: str, model: str, tp: int) -> ServerRow:
    price = asked.price(gpu)
    make = partial(_estimated, asked, asked.card(gpu), asked.models[model], tp, price)
    return _speed.get(asked.key(gpu, model, tp, *asked.sizes, price), make)


def _estimated(asked: Question, card: GPU, model: Model, tp: int, price: float | None) -> ServerRow:
    try:
        ds = estimate(card, model, *asked.sizes, tp, price=price, **asked.options)
    except ValueError as error:
        return {"fits": False, "words": str(error), "reason": getattr(error, "reason", "cannot run")}
    found = {name: finite(ds[variable].item()) for name, variable in SPEEDS.items() if variable in ds}
    if "expected_error" in ds:
        found["error"] = finite(ds.expected_error.sel(phase="decode").item())
    return found | {"assumed": ds.attrs["assumed"], "formats": ds.attrs["formats"]}


def _known(asked: Question, gpu: str, model: str, tp: int) -> bool:
    """Whether a row is known already."""
    key = asked.key(gpu, model, tp, *asked.sizes)
    if not _memory.has(key):
        return False
    fits = _memory.get(key, dict)["fits"]
    return not fits or _speed.has(asked.key(gpu, model, tp, *asked.sizes, asked.price(gpu)))


def _row(asked: Question, gpu: str, model: str, tp: int, memory: ServerRow, speed: ServerRow | None) -> ServerRow:
    """Both together, with the rate of one GPU, and whether the goal is met; without a speed yet, `waiting`."""
    row = {"gpu": gpu, "name": asked.card(gpu).name, "model": model, "tp": tp, **dict.fromkeys(SPEEDS), **memory}
    row |= {"waiting": speed is None and memory["fits"], **(speed or {})}
    row["per_gpu"] = row["per_replica"] / row["gpus"] if row["per_replica"] else None
    goal = asked.view.goal
    if not row["fits"]:
        return row | {"meets": False}
    late = [
        f"{name.upper()} {times(row[name])}, goal {times(limit)}"
        for name, limit in (("ttft", goal.ttft), ("tpot", goal.tpot))
        if limit is not None and row[name] is not None and row[name] > limit
    ]
    given = (goal.ttft, goal.tpot) != (None, None)
    return row | {"meets": None if row["waiting"] or not given else not late, "late": "; ".join(late)}


# In words ---------------------------------------------------------------------------------------------------------


def _sentence(asked: Question, row: ServerRow) -> str:
    """The answer for one GPU and model, in a sentence or two."""
    several = f"{row['gpus']} x " if row.get("gpus", 1) > 1 else ""
    where = f"{row['model']} on {several}{row['name']}"
    if not row["fits"] and not row["short"]:
        return f"{where}: {row['words']}."
    if not row["fits"]:
        wider = [tp for tp in tp_sizes(asked.card(row["gpu"])) if tp > row["tp"]]
        enough = next((tp for tp in wider if _memory_of(asked, row["gpu"], row["model"], tp)["fits"]), None)
        more = f" With tp {enough} it would fit." if enough else " No tp of one machine would do."
        return (
            f"{where}: no, {gigabytes(row['missing'])} are missing: {gigabytes(row['memory'])} needed on each GPU,"
            f" {gigabytes(row['usable'])} available.{more}"
        )
    then = ""
    if row["tpot"]:
        then = f", then one every {times(row['tpot'])} ({row['per_user']:,.0f} tokens/s for each user)"
    verdict = {None: "", True: " It meets the goal.", False: f" It misses the goal: {row['late']}."}[row["meets"]]
    return (
        f"{where}: yes, {gigabytes(row['memory'])} of {gigabytes(row['usable'])} taken. First token after"
        f" {times(row['ttft'])}{then}; {row['per_replica']:,.0f} tokens/s in all.{verdict}"
    )


def _notes(rows: list[ServerRow]) -> list[str]:
    """What the rows assume, in a line each."""
    kept = dict.fromkeys(line for row in rows if row.get("assumed") for line in assumed_lines(row["assumed"]))
    formats = dict.fromkeys(row["formats"] for row in rows if row.get("formats"))
    return [*(f"Formats: {each}." for each in formats), *kept]
