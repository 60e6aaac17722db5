"""Products of which only name, number and mean time are known, as in a summary of Nsight Systems."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from .assignment import BY_BYTES, NO_SIZES, TAIL, Assignment, StepSizes
from .shapes import Shapes
from .work import Predictor, worked

#: How far the bytes of a product may be from the model's, either way, and how much farther the next operator's [1].
FARTHEST_BYTES, FARTHER = 1.25, 2.0
#: How far the mean time of a kernel may be from that of the operator that it is taken for, either way [1].
FARTHEST = 3.0


def with_counts(
    table: pd.DataFrame, shapes: Shapes, found: list[Assignment], setting: StepSizes | None, computed: Predictor
) -> list[Assignment]:
    """What is found of every kernel, with products by how often they ran, and which operator takes as long.

    As many launches as attention has are one operator of every layer; as many as there are passes, the head. Which
    operator needs the step: kernels are matched to the operators' predicted times so that the ratios are nearest to 1.

    Parameters
    ----------
    table : pd.DataFrame
        Kernels, of one model, with their launches [1].
    shapes, computed : Shapes, Predictor
        The model, and what times are predicted for.
    found : list
        From `assignment.assign`.
    setting : StepSizes, optional
        What a step works on.

    Returns
    -------
    list
        As `found`.
    """
    unsized = [i for i, each in enumerate(found) if each.evidence == NO_SIZES]
    attends = [i for i, each in enumerate(found) if each.operator == shapes.attention and not each.tail]
    launches = table.launches.to_numpy(dtype=float)
    if not unsized or not attends or (launches == 1).all():
        return found
    calls = max(launches[i] for i in attends)
    passes = calls / shapes.part.attending
    result = list(found)
    rare = [i for i in unsized if launches[i] < calls and calls % launches[i] == 0]  # of a model of another depth
    heads = [i for i in rare if launches[i] == passes] or (rare if len({*launches[rare]}) == 1 else [])
    if len(heads) == 1:
        result[heads[0]] = replace(found[heads[0]], operator="lm_head", evidence="number")
    layers = [i for i in unsized if launches[i] == calls]
    for i in set(unsized) - {*heads, *layers}:
        why = f"a product that ran {launches[i]:.0f} times, where a layer's ran {calls:.0f}"
        result[i] = replace(found[i], evidence=why)
    layout = next((b + a for b, a in shapes.layouts if len(b) + len(a) == len(layers)), None)
    if layout is None or setting is None:
        why = "a product of a layer, which one is unknown" + ("" if setting else " without step=")
        return [replace(each, evidence=why) if i in layers else each for i, each in enumerate(result)]
    sizes = pd.DataFrame({"sequences": [setting.batch_size * setting.new], "new": [1], "context": [1]})
    times = [worked(sizes, name, shapes, computed, _dtype(table)).time.iloc[0] for name in layout]
    ratios = np.log(table.time_s.to_numpy()[layers][:, None] / np.array(times))
    for row, column in zip(*linear_sum_assignment(ratios**2), strict=True):
        far = abs(ratios[row, column]) > np.log(FARTHEST)
        why = f"a product over {FARTHEST:g} times slower or faster than {layout[column]}"
        result[layers[row]] = replace(
            found[layers[row]], operator="" if far else layout[column], evidence=why if far else "number, time"
        )
    return _with_the_rest(table, result)


def with_bytes(
    table: pd.DataFrame, shapes: Shapes, found: list[Assignment], setting: StepSizes | None, computed: Predictor
) -> list[Assignment]:
    """What is found of every kernel, with products by the bytes that a profiler counted of each.

    Parameters
    ----------
    table, shapes, found, setting, computed : pd.DataFrame, Shapes, list, StepSizes, Predictor
        As for `with_counts`; dram_bytes of kernels [byte].

    Returns
    -------
    list
        As `found`.
    """
    unsized = [i for i, each in enumerate(found) if each.evidence == NO_SIZES and not each.operator]
    if setting is None or "dram_bytes" not in table or not unsized:
        return found
    result, tokens = list(found), float(setting.batch_size * setting.new)
    names = [name for (kind, _, _), each in shapes.products.items() for name in each if kind == "gemm"]
    for dtype in table["dtype"].iloc[unsized].unique():
        model = {}
        for name in names:
            rows = tokens if name != "lm_head" or setting.new != setting.context else float(setting.batch_size)
            size = pd.DataFrame({"sequences": [rows], "new": [1.0], "context": [1.0]})
            model[name] = worked(size, name, shapes, computed, str(dtype) or _dtype(table)).bytes.iloc[0]
        for i in (i for i in unsized if table["dtype"].iloc[i] == dtype and table.dram_bytes.iloc[i] > 0):
            far = {name: abs(np.log(table.dram_bytes.iloc[i] / moved)) for name, moved in model.items()}
            nearest = min(far, key=lambda name: far[name])
            same = [name for name in names if model[name] == model[nearest]]
            next_ = min((far[name] for name in names if name not in same), default=np.inf)
            if far[nearest] <= np.log(FARTHEST_BYTES) and next_ > FARTHER * far[nearest]:
                nearest = next((name for name in same if name in shapes.fused), nearest)
                others = tuple(name for name in same if name != nearest)
                result[i] = replace(found[i], operator=nearest, evidence=BY_BYTES, also=others)
    return result


def _with_the_rest(table: pd.DataFrame, found: list[Assignment]) -> list[Assignment]:
    """What adds up the parts of a product's sums, as that of the one product that its name says is in parts."""
    parted = table["name"].str.lower().str.contains("splitk") & table.operator_class.eq("gemm")
    split = [each.operator for each, is_split in zip(found, parted, strict=True) if is_split]
    operator = split[0] if len(split) == 1 else ""
    return [
        replace(each, operator=operator, evidence="name" if operator else "the rest of a product")
        if each.evidence == TAIL
        else each
        for each in found
    ]


def _dtype(table: pd.DataFrame) -> str:
    """The format in which most of the products' time goes."""
    times = table[table.operator_class.eq("gemm") & table["dtype"].ne("")].groupby("dtype").total_s.sum()
    return str(times.idxmax()) if len(times) else ""
