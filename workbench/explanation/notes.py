"""What a reader of an explanation has to know: what cannot be right, and what would say more, a sentence each."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..catalog import GPU
from .assignment import NO_SIZES, Assignment, StepSizes
from .patterns import REDUCE
from .rows import ALONE, CUT
from .shapes import ATTENTION, SCORES, Shapes

#: What says what a step works on, among the arguments.
STEP_ARGUMENT = "step=(sequences, new tokens, context)"
#: From which share of the time on unassigned products are worth a sentence, and of the model's bytes that were counted
#: the least that is no sign of a cache [1].
WORTH, ALL_BYTES = 0.05, 0.9
NAMES_TOLD = 5  # in a sentence


def depth(found: list[Assignment], launches: pd.Series, shapes: Shapes, *, ordered: bool) -> list[str]:
    """Whether a pass has as many attention calls as the model has layers with attention.

    Parameters
    ----------
    found : list
        What every kernel is.
    launches : pd.Series
        How often each ran [1].
    shapes : Shapes
        The model.
    ordered : bool
        Whether the kernels are in the order in which they ran.

    Returns
    -------
    list of str
        A sentence, or nothing.
    """
    own, attends = shapes.part.attending, (*ATTENTION, *SCORES["qk"])
    calls = [(each, count) for each, count in zip(found, launches, strict=True) if each.operator and not each.tail]
    if ordered:
        heads = any(each.operator == "lm_head" for each, _ in calls)
        passes, last = Counter[int](), 0
        for each, _ in calls:
            last += heads and each.operator == "lm_head"
            if each.operator in attends:
                passes[last if heads else each.step] += 1
        if heads:
            passes.pop(last, None)  # what comes after the last head may be cut off
        seen = Counter(passes.values()).most_common(1)[0][0] if passes else own
    else:
        several = max((count for each, count in calls if each.operator in attends), default=0)
        heads_ran = sum(count for each, count in calls if each.operator == "lm_head")
        seen = several / heads_ran if heads_ran and several > 1 else own
    if seen == own:
        return []
    return [
        f"{seen:g} attention call{'s' * (seen != 1)} a pass, where {shapes.model.id} has {own} layers with attention: "
        "a model of another depth, or part of a pass"
    ]


def sharing(table: pd.DataFrame, shapes: Shapes, tp: int | None, *, known: bool) -> list[str]:
    """On how many GPUs the model is taken to be, where the user did not say it."""
    if tp is not None or (shapes.tp == 1 and known):
        return []
    if known:
        return [f"{shapes.model.id} is taken as on one of tp={shapes.tp} GPUs, as sizes or all-reduces of kernels are"]
    reduces = int(table["name"].str.contains(REDUCE).sum())
    return [f"{reduces:,} kernels add up what several GPUs have, and none says how many: work is unknown, give tp="]


def above_roof(rows: pd.DataFrame, cards: dict[str, GPU]) -> list[str]:
    """Operators that were faster than their roof, and the likely reason.

    Parameters
    ----------
    rows : pd.DataFrame
        From `rows.assigned_rows`.
    cards : dict
        GPUs by id.

    Returns
    -------
    list of str
        A sentence for each reason.
    """
    known = rows[rows.ideal_time.notna()]
    rate = known.gpu.map({name: card.bandwidth for name, card in cards.items()}).astype(float)
    sums = known.assign(
        ideal=known.ideal_time * known.calls, moved=known.bytes * known.calls,
        computes=known.flops / known.peak_flop_rate > known.bytes / rate,
    ).groupby(["gpu", "operator", "phase", "dtype"], sort=False)  # fmt: skip
    total = (
        sums[["ideal", "time_s", "moved", "calls", "dram_bytes"]].sum(min_count=1).assign(computes=sums.computes.mean())
    )
    told: dict[str, list[str]] = {}
    rows_above: Iterable[Any] = total[total.ideal > total.time_s].reset_index().itertuples()
    for row in rows_above:
        cache = 1e6 * (cards[str(row.gpu)].l2_mb or 0)
        if row.dram_bytes < ALL_BYTES * row.moved:
            why = "fewer bytes were counted than the model has: they were in L2, or part of the call was captured"
        elif row.moved / row.calls <= cache:
            why = f"what it reads and writes fits into the L2 cache ({cache / 1e6:.0f} MB)"
        elif row.computes > 0.5:
            why = "another format, GPU, model or number of tokens than was measured"
        elif row.operator == "elementwise":
            why = "its kernels are fused, or find in L2 what the model reads from memory"
        else:
            why = "another GPU, format, model or step than was measured, or part of the calls was captured"
        told.setdefault(why, []).append(f"{row.operator} {row.phase} {100 * row.ideal / row.time_s:.0f} %")
    return [f"faster than the roof ({_several(names)} of it): {why}" for why, names in told.items()]


def without_work(rows: pd.DataFrame, setting: StepSizes | None) -> list[str]:
    """Operators of which no FLOP/s and byte/s are known, and what is missing."""
    lost = rows[rows.bytes.isna()]
    part, alone = lost.evidence.eq(CUT), lost.evidence.eq(ALONE)
    some_alone = rows[rows.evidence.eq(ALONE)].bytes.notna().any()
    told = []
    if part.any():
        told.append("no rates of elementwise kernels where part of a layer was captured: its share of them is unknown")
    if alone.any() and not some_alone:
        told.append("no rates of elementwise kernels: neither sizes nor an order say what they work on")
    names = [str(name) for name in dict.fromkeys(lost[~part & ~alone].operator)]
    if names and setting is None:
        told.append(f"no rates of {_several(names)}: the kernels say no sizes, give {STEP_ARGUMENT}")
    elif names:
        told.append(f"no rates of {_several(names)}: other tokens than step= says, or more than one kind of step")
    return told


def unsized(left: pd.DataFrame, total: float) -> list[str]:
    """Why much of the time is of products that nothing tells apart."""
    some = left[left.why.eq(NO_SIZES)].time_s.sum() / total
    if some < WORTH:
        return []
    return [
        f"{100 * some:.0f} % of the time is of products that say no sizes and stand in no whole layer: capture a layer "
        f"from one attention to the next, count DRAM bytes and give {STEP_ARGUMENT}, or record sizes"
    ]


def _several(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMES_TOLD} more" if len(every) > NAMES_TOLD else ""
    return ", ".join(every[:NAMES_TOLD]) + more
