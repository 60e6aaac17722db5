"""What a user gives to be explained: timings, a GPU, a model, and which kernels are of which."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from .. import timings as timing_files
from ..catalog import GPU, Model
from ..catalog import gpu as find_gpu
from ..catalog import model as find_model
from ..catalog import models as model_ids
from ..common.arguments import whole_number
from ..common.errors import CannotRun, unknown
from ..common.project import DATA
from .anchors import with_anchors, with_tails
from .assignment import Assignment, StepSizes, assign, experts_of, share
from .counts import with_bytes, with_counts
from .patterns import REDUCE, REDUCED_OVER
from .shapes import Shapes
from .work import Predictor

#: GPUs that may share a model's layers where no one says how many [1].
SHARING = (1, 2, 4, 8, 16)
#: Sources whose kernels are in the order in which they ran; of others those that say when each began.
IN_ORDER = ("torch.profiler", "ncu")
#: Share of the time with which a model is taken without looking for another number of GPUs [1].
ENOUGH = 0.95
#: What stands before an operator in a name of this project's own: the model.
MODEL_OF = r"^([\w.-]+):[\w+]+$"
#: Columns of `measure.columns.TIMING_COLUMNS` that a kernel is known by.
NEEDED = ("source", "gpu", "framework", "operator_class", "name", "dtype", "m", "n", "k", "time_s")
Assigned = tuple[list[Assignment], list[StepSizes | None]]


def own_file(file: str | Path) -> str | Path:
    """The file of one of the project's own measurements, by its name; any other that there is as it is given.

    Parameters
    ----------
    file : str or Path
        A path, or the name of a file that the package has.

    Returns
    -------
    str or Path
        The file to read.
    """
    known = {each.name.removesuffix(".csv"): each for each in (DATA / "measured").iterdir()}
    if str(file) == "-" or (str(file) and Path(file).exists()):
        return file
    if str(file) not in known:
        if Path(file).suffix or "/" in str(file):
            raise ValueError(f"{file}: no such file of timings")
        raise unknown("file of timings, or measurement,", str(file), known)
    return str(known[str(file)])


def checked_table(timings: pd.DataFrame | str | Path) -> pd.DataFrame:
    """A table of timings, which may still be in a file."""
    if isinstance(timings, str | Path):
        timings = timing_files.read_any(own_file(timings))
    for missing in [name for name in NEEDED if name not in timings]:
        has = ", ".join(map(str, timings.columns))[:90]
        raise ValueError(f"timings has no {missing!r}: expected a table of timings.read, it has {has}")
    if timings.empty or not (timings.time_s > 0).all():
        raise ValueError("timings: expected one kernel or more, each with a time_s above 0")
    launches = timings.get("calls", pd.Series(1.0, timings.index)).fillna(1.0)
    table = timings.assign(launches=launches, total_s=timings.time_s * launches)
    if "start_s" in table and table.start_s.notna().all():
        table = table.sort_values("start_s", kind="stable")
    return table.reset_index(drop=True)


def ran_in_order(table: pd.DataFrame) -> bool:
    """Whether kernels are in the order in which they ran."""
    return bool(table.source.isin(IN_ORDER).all() or ("start_s" in table and table.start_s.notna().all()))


def checked_setting(step: list[int] | tuple[int, ...] | None) -> StepSizes | None:
    """What a step works on, as a user gives it."""
    if step is None:
        return None
    if len(step) != 3:
        raise ValueError(f"step = {step!r}: expected sequences, new tokens and context, such as (8, 1, 1024)")
    names = ("sequences of step", "new tokens of step", "context of step")
    setting = StepSizes(*(whole_number(name, value) for name, value in zip(names, step, strict=True)))
    if setting.new > setting.context:
        raise ValueError(f"step = {step!r}: {setting.new} new tokens are more than the context that they are part of")
    return setting


def checked_contexts(setting: StepSizes | None, models: list[Model] | None) -> None:
    """Raise ValueError where none of the models takes as long a context as a step is said to have."""
    longest = [entry.max_context for entry in models or [] if entry.max_context]
    if setting and longest and len(longest) == len(models or []) and setting.context > max(longest):
        taken = f"{', '.join(e.id for e in models or [])[:60]} takes 1 to {max(longest):,}"
        raise ValueError(f"context of step = {setting.context:,}: {taken}")


def knows_sharing(rows: pd.DataFrame, found: list[Assignment], shapes: Shapes, tp: int | None) -> bool:
    """Whether the number of GPUs follows from what is given, from sizes or from a kernel made for so many."""
    if tp is not None or not rows["name"].str.contains(REDUCE).any():
        return True
    sized = any(each.operator and each.rows == each.rows and each.operator != "elementwise" for each in found)
    return sized or {str(shapes.tp)} == {*rows["name"].str.extract(REDUCED_OVER, expand=False).dropna()}


def by_gpu(table: pd.DataFrame, gpu: str | GPU | None) -> Iterator[tuple[GPU, pd.DataFrame]]:
    """The kernels of each GPU, by what the file calls it."""
    if gpu is not None:
        yield find_gpu(gpu), table
        return
    for name, rows in table.groupby("gpu", sort=False):
        said = str(name)
        try:
            yield find_gpu(said), rows.reset_index(drop=True)
        except ValueError as error:
            if said == "CPU":
                why = "it ran on a CPU, which has no roof here: give gpu=, the GPU to compare it with"
            elif not said or said.startswith("compute capability"):
                why = f"the file does not say which GPU{f', only {said}' if said else ''}: give gpu="
            else:
                why = f"the timings say {said[:60]!r}; {error}"
            raise ValueError(f"gpu is missing: {why}"[:195]) from None


def other_gpus(table: pd.DataFrame, gpu: GPU) -> list[str]:
    """GPUs other than the one that is asked for, by which the file calls its own."""
    said = []
    for name in filter(None, table.gpu.unique()):
        if name == "CPU":
            said.append(f"it ran on a CPU: shares of the roof and predictions are those of another machine, {gpu.id}")
            continue
        if str(name).startswith("compute capability"):
            continue
        try:
            same = find_gpu(str(name)).id == gpu.original
        except ValueError:
            same = False
        said += [] if same else [f"the file says {str(name)[:60]!r}, not {gpu.id}"]
    return said


def by_model(
    table: pd.DataFrame,
    given: list[Model] | None,
    tp: int | None,
    setting: StepSizes | None,
    computed: Predictor,
    *,
    ordered: bool,
) -> Iterator[tuple[Shapes | None, pd.DataFrame, Assigned]]:
    """The kernels of each model that the names tell apart, with what each is."""
    said = table["name"].str.extract(MODEL_OF, expand=False).fillna("")
    said = said.where(~pd.Series(ordered, table.index), "")  # a kernel's own name may have colons
    for name, rows in table.groupby(said, sort=False):
        own = rows.reset_index(drop=True)
        options = _options(str(name), given)
        best: tuple[tuple[float, float], Shapes, Assigned] | None = None
        for shapes in _shapes(options, tp, own):
            found = _found(own, shapes, setting, computed, ordered=ordered)
            times = own.total_s.to_numpy()
            part = (round(share(found[0], times, sized=True), 6), round(share(found[0], times), 6))
            if best is None or part > best[0]:
                best = part, shapes, found
            if part[1] > ENOUGH:
                break
        if best is None:
            named = ", ".join(entry.id for entry in given or [])[:60]
            rest = f"and only {named} was asked for" if named else "which is not in the catalog"
            why = f"a kernel of {name or 'no model'}, {rest}"
            yield None, own, ([Assignment(evidence=why)] * len(own), [])
        else:
            _, shapes, (kernels, steps) = best
            known = knows_sharing(own, kernels, shapes, tp)
            yield shapes, own, (kernels, steps if known else [None] * len(steps))


def _found(
    rows: pd.DataFrame, shapes: Shapes, setting: StepSizes | None, computed: Predictor, *, ordered: bool
) -> Assigned:
    """What every kernel is, by all that can be known of it."""
    found, steps = assign(rows, shapes, ordered=ordered)
    if ordered:
        found, steps = with_anchors(rows, shapes, (found, steps), setting)
    else:
        found = with_counts(rows, shapes, found, setting, computed)
    found = with_tails(with_bytes(rows, shapes, found, setting, computed))
    tokens = {each.step: each.rows for each in found if each.rows == each.rows and each.operator != "lm_head"}
    given = setting.batch_size * setting.new if setting else None
    return found, [step or (setting if tokens.get(i, given) == given else None) for i, step in enumerate(steps)]


def _options(name: str, given: list[Model] | None) -> list[Model]:
    """Models that kernels may be of whose names begin with one: those given, or of the catalog by that name."""
    if given is None:
        if not name:
            raise ValueError("model is missing: no kernel's name says which it is, as 'llama-3-8b:qkv_proj' does")
        return [find_model(each) for each in _meant(name, model_ids())[:8]]
    meant = _meant(name, [entry.id for entry in given])
    return [entry for entry in given if entry.id in meant] or ([] if _meant(name, model_ids()) else given)


def _meant(name: str, ids: Iterable[str]) -> list[str]:
    """Ids that the beginning of a kernel's name means, the nearest first: the model, its part, or one of its sizes."""
    known = list(ids)
    if not name or name in known:
        return [name] if name else []
    near = (each for each in known if name.startswith(f"{each}-") or each.startswith(f"{name}-"))
    return sorted(near, key=len, reverse=True)


def _shapes(options: list[Model], tp: int | None, rows: pd.DataFrame) -> Iterator[Shapes]:
    """Models on each number of GPUs that they may be on, with all of their experts or as many as kernels have."""
    if tp is not None:
        whole_number("tp", tp)
    grouped = rows[rows.operator_class == "moe"].reindex(columns=["n_experts", "batch_size"])
    counts = {experts_of(row) for row in grouped.itertuples(index=False)}
    over = {int(n) for n in rows["name"].str.extract(REDUCED_OVER, expand=False).dropna()} if tp is None else set()
    for model in options:
        own = model.moe.n_experts if model.moe else 0
        parts = [int(few) for few in sorted(counts) if 0 < few < own and own % few == 0]
        for gpus in (over if len(over) == 1 else SHARING) if tp is None else (tp,):
            try:
                yield from (Shapes(model, gpus, experts) for experts in (None, *parts))
            except CannotRun:
                if tp is not None:
                    raise
