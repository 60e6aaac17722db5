"""Products whose sizes no one says, by their order between attention calls, as in a CUDA graph or a report of ncu."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from .assignment import BY_BYTES, NO_SIZES, TAIL, Assignment, StepSizes, settled
from .patterns import BESIDES
from .shapes import Shapes

#: Products before and after attention in a layer.
Layout = tuple[list[str], list[str]]
#: How a product without sizes was found.
PLACED = ("order", "repetition", BY_BYTES)
#: Operators that kernels of a name are.
Seen = dict[str, set[str]]


def with_anchors(
    table: pd.DataFrame, shapes: Shapes, assigned: tuple[list[Assignment], list[StepSizes | None]],
    setting: StepSizes | None,
) -> tuple[list[Assignment], list[StepSizes | None]]:  # fmt: skip
    """What is found of every kernel, with products that have no sizes by their place in the layer.

    Between two attention calls run the products after attention of one layer and those before it of the next: as many
    as the model has, each matrix in a kernel of its own or merged as engines do. After a pass's last layer the head
    comes between them. Where their number fits neither, none is assigned. Of one attention call alone, as in a report
    of one layer, the products before it or after it have to be as many as a layer has.

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
        names = list(table["name"])
        seen = _seen(found, names, marks, layout)
        sized = [i for i, each in enumerate(found) if each.operator and (each.own or each.rows == each.rows)]
        for left, right in pairwise([-1, *sized, len(found)]):
            if any(found[i].evidence == NO_SIZES for i in range(left + 1, right)):
                count = _segment(found, (left, right), shapes, layout, names, seen, base=len(steps))
                steps += [setting] * count
        found = _without_sampling(table, with_tails(_repeated(table, found)))
    return settled(found), steps


def _segment(
    found: list[Assignment], ends: tuple[int, int], shapes: Shapes, layout: Layout, kernels: list[str], seen: Seen,
    *, base: int,
) -> int:  # fmt: skip
    """Assign the products between two kernels whose sizes are known, in place; how many steps they are, from `base`."""
    (begin, end), after = ends, layout[1]
    marks = [i for i in range(begin + 1, end) if found[i].operator == shapes.attention and not found[i].tail]
    step, layers = base, 0
    for left, right in pairwise([begin, *marks, end]):
        gap = [i for i in range(left + 1, right) if found[i].evidence == NO_SIZES]
        first, last = left == begin, right == end
        names = _names([kernels[i] for i in gap], layout, seen, first=first, last=last)
        until = len(gap)  # those of this step
        if not first and "lm_head" in names:
            until = names.index("lm_head") + 1
        elif not first and layers >= shapes.part.n_layers and names:
            until = len(after)
        border = gap[until] if until < len(gap) else right
        for i in range(left + 1, right):
            if found[i].operator or found[i].evidence in (NO_SIZES, TAIL):
                found[i] = replace(found[i], step=step + (i >= border and until < len(gap)))
        for i, name in zip(gap, names, strict=False):
            found[i] = replace(found[i], operator=name, evidence="order")
            if first:
                seen.setdefault(kernels[i], set()).add(name)
        if until < len(gap):
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
        return _layout_of_one(found, shapes, marks)
    usual = counts.most_common(1)[0][0]
    for before, after in shapes.layouts:
        if len(before) + len(after) == usual:
            return before, after
    return None


def _layout_of_one(found: list[Assignment], shapes: Shapes, marks: list[int]) -> Layout | None:
    """The same of a single layer, one side of whose attention is whole."""
    if not marks:
        return None
    ahead, behind = (sum(e.evidence == NO_SIZES for e in part) for part in (found[: marks[0]], found[marks[-1] + 1 :]))
    fits = []
    for before, after in shapes.layouts:
        whole = (ahead == len(before)) + (behind in (len(after), len(after) + 1))
        if whole and ahead <= len(before) + len(after) and behind <= len(after) + 1 + len(before):
            fits.append((whole, (before, after)))
    return max(fits, key=lambda fit: fit[0])[1] if fits else None


def _seen(found: list[Assignment], kernels: list[str], marks: list[int], layout: Layout) -> Seen:
    """Which operators each kernel is, in the layers that are whole."""
    seen: Seen = {}
    for left, right in pairwise(marks):
        gap = [kernels[i] for i in range(left + 1, right) if found[i].evidence == NO_SIZES]
        for kernel, name in zip(gap, _names(gap, layout, seen, first=False, last=False), strict=False):
            seen.setdefault(kernel, set()).add(name)
    return seen


def _names(kernels: list[str], layout: Layout, seen: Seen, *, first: bool, last: bool) -> list[str]:
    """What so many products between two attention calls are; none where their number does not fit.

    At either end of a profile a layer may be cut: of what fits it is what the same kernels are elsewhere.
    """
    (before, after), count = layout, len(kernels)
    around = ([*after, *before], [*after, "lm_head", *before])
    if first:
        fits = [each[-count:] for each in (["lm_head", *before], around[0]) if 0 < count <= len(each)]
    elif last:
        fits = [each[:count] for each in around[::-1] if count <= len(each)]
    else:
        fits = [each for each in around if count == len(each)]

    def agreement(names: list[str]) -> int:
        pairs = [(seen[kernel], name) for kernel, name in zip(kernels, names, strict=True) if kernel in seen]
        return sum(1 if name in known else -1 for known, name in pairs)

    return max(fits, key=agreement, default=[])


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


def with_tails(found: list[Assignment]) -> list[Assignment]:
    """What finishes a product, as that product's.

    Parameters
    ----------
    found : list
        What every kernel is, in their order.

    Returns
    -------
    list
        As `found`.
    """
    last, result = "", []
    for each in found:
        if each.evidence in PLACED and each.operator != "elementwise":
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
