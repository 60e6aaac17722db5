"""Products whose sizes no one says, by their order between attention calls, as in a CUDA graph or a report of ncu."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from .assignment import BESIDES, NO_SIZES, TAIL, Assignment, StepSizes, settled
from .shapes import Shapes

#: Products before and after attention in a layer.
Layout = tuple[list[str], list[str]]


def with_anchors(
    table: pd.DataFrame, shapes: Shapes, assigned: tuple[list[Assignment], list[StepSizes | None]],
    setting: StepSizes | None,
) -> tuple[list[Assignment], list[StepSizes | None]]:  # fmt: skip
    """What is found of every kernel, with products that have no sizes by their place in the layer.

    Between two attention calls run the products after attention of one layer and those before it of the next: as many
    as the model has, each matrix in a kernel of its own or merged as engines do. After a pass's last layer the head
    comes between them. Where their number fits neither, none is assigned.

    Parameters
    ----------
    table : pd.DataFrame
        Kernels, of one model.
    shapes : Shapes
        The model.
    assigned : tuple
        From `assignment.assign`.
    setting : StepSizes, optional
        What every step without sizes works on.

    Returns
    -------
    tuple
        As `assigned`.
    """
    found, steps = list(assigned[0]), list(assigned[1])
    marks = [i for i, each in enumerate(found) if each.operator == shapes.attention and not each.tail]
    layout = _layout(found, shapes, marks) if shapes.attention else None
    if layout is not None:
        sized = [i for i, each in enumerate(found) if each.operator and (each.own or each.rows == each.rows)]
        for left, right in pairwise([-1, *sized, len(found)]):
            if any(found[i].evidence == NO_SIZES for i in range(left + 1, right)):
                count = _segment(found, left, right, shapes, layout, base=len(steps))
                steps += [setting] * count
        found = _without_sampling(table, _with_tails(_repeated(table, found)))
    return settled(found), steps


def _segment(
    found: list[Assignment], begin: int, end: int, shapes: Shapes, layout: Layout, *, base: int
) -> int:  # fmt: skip
    """Assign the products between two kernels whose sizes are known, in place; how many steps they are, from `base`."""
    before, after = layout
    inside = range(begin + 1, end)
    marks = [i for i in inside if found[i].operator == shapes.attention and not found[i].tail]
    step, layers = base, 0
    for left, right in pairwise([begin, *marks, end]):
        gap = [i for i in range(left + 1, right) if found[i].evidence == NO_SIZES]
        first, last = left == begin, right == end
        names = _names(len(gap), before, after, first=first, last=last)
        ends = len(gap)  # of those of this step
        if not first and "lm_head" in names:
            ends = names.index("lm_head") + 1
        elif not first and layers >= shapes.part.n_layers and names:
            ends = len(after)
        border = gap[ends] if ends < len(gap) else right
        for i in range(left + 1, right):
            if found[i].operator or found[i].evidence in (NO_SIZES, TAIL):
                found[i] = replace(found[i], step=step + (i >= border and ends < len(gap)))
        for i, name in zip(gap, names, strict=False):
            found[i] = replace(found[i], operator=name, evidence="order")
        if ends < len(gap):
            step, layers = step + 1, 0
        if not last:
            found[right] = replace(found[right], step=step)
            layers += 1
    return step + 2 - base


def _layout(found: list[Assignment], shapes: Shapes, marks: list[int]) -> Layout | None:
    """Products before and after attention in a layer, as most gaps between attention calls have them."""
    gaps = (sum(each.evidence == NO_SIZES for each in found[i + 1 : j]) for i, j in pairwise(marks))
    counts = Counter(count for count in gaps if count)
    if not counts:
        return None
    usual = counts.most_common(1)[0][0]
    for before, after in shapes.layouts:
        if len(before) + len(after) == usual:
            return before, after
    return None


def _names(count: int, before: list[str], after: list[str], *, first: bool, last: bool) -> list[str]:
    """What so many products between two attention calls are; none where their number does not fit."""
    if first:
        return ["lm_head", *before][-count:] if count <= len(before) + 1 and count else []
    if last:
        return [*after, "lm_head", *before][:count] if count <= len(after) + 1 + len(before) else []
    names = {len(after) + len(before): [*after, *before], len(after) + 1 + len(before): [*after, "lm_head", *before]}
    return names.get(count, [])


def _repeated(table: pd.DataFrame, found: list[Assignment]) -> list[Assignment]:
    """Products that are left over, where every other kernel of that name is one operator's."""
    known: dict[str, set[str]] = {}
    for name, each in zip(table["name"], found, strict=True):
        if each.evidence == "order" and each.operator != "elementwise":
            known.setdefault(name, set()).add(each.operator)
    return [
        replace(each, operator=next(iter(known[name])), evidence="repetition")
        if each.evidence == NO_SIZES and not each.operator and len(known.get(name, ())) == 1
        else each
        for name, each in zip(table["name"], found, strict=True)
    ]


def _with_tails(found: list[Assignment]) -> list[Assignment]:
    """What finishes a product, as that product's."""
    last, result = "", []
    for each in found:
        if each.evidence in ("order", "repetition") and each.operator != "elementwise":
            last = each.operator
        result.append(replace(each, operator=last, evidence="name") if last and each.evidence == TAIL else each)
    return result


def _without_sampling(table: pd.DataFrame, found: list[Assignment]) -> list[Assignment]:
    """Kernels that draw a token after the head, which is not known before products are assigned, as what they are."""
    head, result = False, []
    for name, each in zip(table["name"], found, strict=True):
        if each.operator not in ("", "elementwise"):
            head = each.operator == "lm_head"
        drawn = head and each.operator == "elementwise" and BESIDES["sampling"].search(name)
        result.append(Assignment(evidence="sampling, no operator of the model", step=each.step) if drawn else each)
    return result
