"""Assigned kernels as rows: what each is, what it works on, and what is predicted for it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..operators import sees
from .assignment import NO_SIZES, TAIL, Assignment, StepSizes
from .shapes import ATTENTION, SCORES, Shapes
from .work import WORK_COLUMNS, Predictor, calls_in_a_pass, elementwise_alone, labels, worked

#: What tells the points of a chart apart, in the order of a grid's dims.
KEYS = (
    "gpu", "model", "operator", "phase", "batch_size", "seq_len", "candidates", "tp", "dtype", "framework",
)  # fmt: skip
#: Columns of a row: its time [s]; calls and kernels that it is the sum of [1]; what was counted of it [byte].
SUMS = ("time_s", "calls", "kernels", "dram_bytes")
#: Elementwise kernels: by themselves, which are no layer's; and of a layer that was not captured whole.
ALONE, CUT = "alone", "part"
#: From which share of a step's layers on its kernels are taken for whole layers' [1].
WHOLE = 0.9


def assigned_rows(
    table: pd.DataFrame, found: list[Assignment], steps: list[StepSizes | None], shapes: Shapes, computed: Predictor,
    *, ordered: bool,
) -> pd.DataFrame:  # fmt: skip
    """A row for each assigned call, with all the elementwise kernels of a step as those of its layers.

    Parameters
    ----------
    table : pd.DataFrame
        Kernels, of one model and GPU.
    found, steps : list
        From `assignment.assign`.
    shapes, computed : Shapes, Predictor
        The model, and how the predicted calls run.
    ordered : bool
        Whether the kernels are in the order in which they ran.

    Returns
    -------
    pd.DataFrame
        Columns `KEYS`, `SUMS` and `work.WORK_COLUMNS`, per_pass, calls in a forward pass [1], evidence and also.
    """
    calls = _calls(table, found, steps)
    calls = calls[calls.operator != ""]
    if calls.empty:
        return pd.DataFrame()
    calls["dtype"] = _formats(calls, table, ordered=ordered)
    whole = calls.operator.eq("elementwise")
    if ordered and not whole.all():  # what comes after a pass's head, and before no other, is that pass's
        after = np.searchsorted(passes := np.unique(calls.step[~whole]), calls.step, side="right") - 1
        calls["step"] = passes[np.maximum(after, 0)]
    summed = not ordered and bool((table.launches > 1).any() and (whole & calls.m.isna()).any())
    if summed and calls.operator.isin(ATTENTION).any():
        calls["step"] = 0  # a summary says nothing of steps
    else:
        summed = False
    if (ordered or summed) and whole.any():
        parted = {each.evidence for each in found if not each.operator} & {NO_SIZES, TAIL}
        calls = pd.concat([calls[~whole], _layers(calls, whole, shapes, parted=bool(parted))], ignore_index=True)
    else:
        calls.loc[whole, "evidence"] = ALONE
        calls = calls.reset_index(drop=True)
    if ordered:
        calls["seq_len"] = _generations(calls)
    calls = calls.assign(gpu=computed.gpu.id, model=shapes.model.id, tp=shapes.tp)
    parts = []
    for (operator, dtype), part in calls.groupby(["operator", "dtype"], sort=False):
        alone = part.evidence.eq(ALONE)
        work = [worked(part[~alone], str(operator), shapes, computed, str(dtype))] if not alone.all() else []
        work += [elementwise_alone(part[alone], computed)] if alone.any() else []
        parts.append(part.join(pd.concat(work)).assign(per_pass=calls_in_a_pass(str(operator), shapes)))
    columns = [*KEYS, *SUMS, *WORK_COLUMNS, "per_pass", "evidence", "also"]
    return pd.concat(parts)[columns].astype(dict.fromkeys([*SUMS, *WORK_COLUMNS], float))


def _calls(table: pd.DataFrame, found: list[Assignment], steps: list[StepSizes | None]) -> pd.DataFrame:
    """A row a call, with the time of the kernels that finish it; and what it works on."""
    owner = np.arange(len(found))
    last: dict[str, int] = {}
    for i, each in enumerate(found):
        if each.tail:
            owner[i] = last.get(each.operator, i)
        else:
            last[each.operator] = i
    time = pd.Series(table.total_s.to_numpy()).groupby(owner).sum()
    launches = pd.Series(table.launches.to_numpy(dtype=float))
    count = launches.groupby(owner).sum()
    counted = table["dram_bytes"] if "dram_bytes" in table else pd.Series(np.nan, table.index)
    counted = pd.Series(counted.to_numpy(dtype=float)).groupby(owner).sum(min_count=1)
    at = time.index.to_numpy()
    tokens = _tokens(found, steps)
    rows = []
    for i in at:
        each = found[i]
        step = steps[each.step] if 0 <= each.step < len(steps) else None
        rows.append(_row(each, each.own or step, tokens.get(each.step, np.nan)))
    named = ("phase", "batch_size", "seq_len", "candidates", "sequences", "new", "context")
    frame = pd.DataFrame(rows, columns=named, index=at)
    given = table.iloc[at].set_axis(at)[["framework", "dtype", "name", "m", "n"]]
    return frame.join(given).assign(
        operator=[found[i].operator for i in at], step=[found[i].step for i in at],
        evidence=[found[i].evidence for i in at], also=[" ".join(found[i].also) for i in at],
        time_s=time, calls=launches[at], kernels=count, dram_bytes=counted,
    )  # fmt: skip


def _tokens(found: list[Assignment], steps: list[StepSizes | None]) -> dict[int, float]:
    """Tokens of each step: of its sequences, or the rows of its products [token]."""
    known = {i: float(step.batch_size * step.new) for i, step in enumerate(steps) if step}
    rows = {each.step: each.rows for each in reversed(found) if each.rows == each.rows and each.operator != "lm_head"}
    return rows | known


def _row(each: Assignment, setting: StepSizes | None, tokens: float) -> tuple[object, ...]:
    """Labels of a call, and the step that its work is computed for."""
    rows, attends = each.rows, each.own is not None
    if rows != rows:
        rows = tokens
        if each.operator == "lm_head" and setting:
            rows = setting.batch_size * (1 if setting.new == setting.context else setting.new)
    if (
        setting
        and not attends
        and each.operator != "lm_head"
        and rows == rows
        and rows != setting.batch_size * setting.new
    ):
        setting = None if sees(each.operator) == "tokens" else setting
    shown = labels(setting, rows)
    scored = each.operator in (*SCORES["qk"], *SCORES["pv"]) or sees(each.operator) == "context"
    if attends or (scored and each.rows != each.rows):
        step = (setting.batch_size, setting.new, setting.context) if setting else (np.nan,) * 3
    else:
        step = (rows, 1, 1)
    return (*shown, *step)


def _formats(calls: pd.DataFrame, table: pd.DataFrame, *, ordered: bool) -> pd.Series:
    """The format of each call: as its kernel says, or else that of most of the time of the table's products."""
    products = table[table.operator_class.isin(["gemm", "moe", "attention_prefill", "attention_decode", "other"])]
    times = products[products["dtype"].ne("")].groupby("dtype").total_s.sum()
    main = str(times.idxmax()) if len(times) else ""
    unsaid = calls["dtype"].eq("") | (calls.operator.eq("elementwise") & ordered)
    return calls["dtype"].mask(unsaid, main)


def _layers(calls: pd.DataFrame, whole: pd.Series, shapes: Shapes, *, parted: bool) -> pd.DataFrame:
    """The elementwise kernels of each step together, as calls of as many layers as the step has.

    Where layers are not whole, or cannot be told to be as products are unassigned (`parted`) and no attention is there,
    the work is unknown.
    """
    attends = calls.operator.isin([*ATTENTION, *SCORES["qk"]])
    inner = calls[~whole & calls.operator.ne("lm_head")].groupby(["step", "operator"]).calls.sum()
    attended = calls[attends].groupby("step").calls.sum().reindex(calls.step.unique())
    layers = attended.fillna(inner.groupby("step").min())
    steps = calls[whole].groupby("step", sort=False)
    first = steps.first()
    known = calls[~whole & calls.operator.ne("lm_head")].groupby("step").first()
    setting = ["phase", "batch_size", "seq_len", "candidates"]
    first[setting] = known[setting].reindex(first.index)
    first["sequences"], first["new"], first["context"] = steps.sequences.first(), 1.0, 1.0
    cut = [step for step in first.index if not (parted or _is_whole(inner, step, shapes, attended.get(step, np.nan)))]
    first.loc[cut, ["sequences", "evidence"]] = np.nan, CUT
    first["calls"] = layers.reindex(first.index)
    first["kernels"], first["time_s"] = steps.kernels.sum(), steps.time_s.sum()
    first["dram_bytes"] = steps.dram_bytes.sum(min_count=1)
    nothing: dict[str, Any] = dict(zip(setting, labels(None, np.nan), strict=True))
    first = first.fillna(nothing)
    return first.reset_index()


def _is_whole(inner: pd.Series, step: int, shapes: Shapes, attended: float) -> bool:
    """Whether a step's layers have what is before attention, after it, and an MLP, each as often as attention."""
    counts = inner[step] if step in inner.index.get_level_values(0) else pd.Series(dtype=float)
    if attended != attended:
        return counts.empty or not shapes.attention  # of a step with nothing else, which is no layer's
    middle = shapes.place[shapes.attention] if shapes.attention else 0
    place = counts.index.map(shapes.place)
    feeds = counts[counts.index.isin(["down_proj", "moe_down_proj"])].sum()
    each = (counts[place < middle].max(), counts.get("o_proj", 0.0), feeds)
    return bool(min(np.nan_to_num(each)) >= WHOLE * attended)


def _generations(calls: pd.DataFrame) -> pd.Series:
    """Lengths of sequences, those of a generation, whose cache grows by a token a step, as their mean [token]."""
    lengths = calls.seq_len.astype(float)
    for _, part in calls[calls.phase.eq("decode")].groupby(["batch_size", "candidates"]):
        distinct = np.unique(part.seq_len.to_numpy(dtype=float))
        run = np.cumsum(np.r_[0, np.diff(distinct) != 1])
        mean = pd.Series(distinct).groupby(run).transform("mean").round()
        lengths[part.index] = part.seq_len.map(dict(zip(distinct, mean, strict=True)))
    return lengths


def unassigned_rows(table: pd.DataFrame, found: Iterable[Assignment]) -> pd.DataFrame:
    """What could not be assigned, by kernel: calls [1], time [s], and why."""
    why = pd.Series(["" if each.operator else each.evidence for each in found], table.index, dtype=object)
    left = table.assign(why=why)[["name", "launches", "total_s", "why"]][why.ne("")]
    groups = left.groupby(["name", "why"], sort=False)[["launches", "total_s"]].sum().reset_index()
    groups = groups.rename(columns={"name": "kernel", "launches": "calls", "total_s": "time_s"})
    return groups.sort_values("time_s", ascending=False)[["kernel", "calls", "time_s", "why"]]
