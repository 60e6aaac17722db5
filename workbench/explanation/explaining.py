"""Measured kernels explained: each assigned to an operator of a model, beside what is predicted, on a grid's dims."""

import json
from pathlib import Path

import pandas as pd
import xarray as xr

from ..catalog import DEFAULT_ENGINE, GPU, Model
from ..catalog import model as find_model
from ..common.arguments import as_list, one_of
from ..kernels import TIME_MODELS, Formats, assumptions
from ..signatures import typed
from .assignment import NO_SIZES
from .dataset import explained_grid, pass_of
from .given import (
    by_gpu,
    by_model,
    checked_contexts,
    checked_setting,
    checked_table,
    knows_sharing,
    other_gpus,
    ran_in_order,
)
from .notes import above_roof, depth, sharing, unsized, without_work
from .rows import assigned_rows, unassigned_rows
from .work import Predictor


@typed()
def explain(
    timings: pd.DataFrame | str | Path,
    gpu: str | GPU | None = None,
    model: str | Model | list[str | Model] | None = None,
    *,
    tp: int | None = None,
    step: list[int] | tuple[int, ...] | None = None,
    weight_dtype: str | None = None,
    activation_dtype: str | None = None,
    kv_dtype: str | None = None,
    engine: str | None = None,
    time_model: str = "kernel",
    l2_bandwidth: float | None = None,
) -> xr.Dataset:
    """Say of measured kernels which operator of a model each is, and how far it is from what is predicted.

    Products are found by their sizes, or where several operators have the same ones by their order in the layer;
    kernels without sizes by their name and their place between attention calls; what stands between the products of a
    layer is elementwise. What cannot be assigned is listed, never dropped.

    Parameters
    ----------
    timings : pd.DataFrame, str or Path
        From `workbench.timings.read`, or a file that it reads, or the name of one of this project's measurements. In a
        trace of PyTorch without a GPU the operators that ran on the CPU are explained.
    gpu : str or GPU, optional
        What it ran on; None is what the file says.
    model : str, Model, or several, optional
        What ran; None is what the kernels' names say, as this project's own files do ("llama-3-8b:qkv_proj").
    tp : int, optional
        GPUs that share every layer; None is the smallest number whose sizes most of the time has [1].
    step : list or tuple of int, optional
        What a step works on, for kernels that say no sizes: sequences [1], new tokens of each and their context
        [token].
    weight_dtype, activation_dtype, kv_dtype : str, optional
        As for `roofline_grid`; None is the format that each kernel computes in, or a quantized checkpoint's own.
    engine : str, optional
        Whose kernels are predicted, as for `roofline_grid`.
    time_model : str
        Of the predictions: "kernel" or "ideal".
    l2_bandwidth : float, optional
        Of the GPU's L2 cache, for a second roof: no datasheet of the catalog has it [byte/s].

    Returns
    -------
    xarray.Dataset
        A grid's dims and variables (`roofline_grid`), with a cell for each operator and setting that was measured: the
        predicted `time` and `ideal_time` of a call beside the `measured_time` [s]; `performance` is the measured one
        [FLOP/s]; `measured_calls` and `kernels` are how many it is the mean of [1]; where a profiler counted bytes,
        `measured_bytes` [byte] and `measured_intensity` [FLOP/byte]. Phase "any" has kernels of so many tokens
        (batch_size, 0 if unknown), of whose sequences nothing is known. Candidates, tp, dtype and framework are dims
        where there are several. Attributes: `assigned_share` [1], `unassigned` (`tables.unassigned`), `ambiguous`, and
        `notes`, sentences on what cannot be right, such as operators faster than their roof, and on what is missing.

    Raises
    ------
    ValueError
        In one line, for an unknown name, a file that cannot be read, or where nothing could be assigned.
    """
    table = checked_table(timings)
    one_of("time_model", time_model, TIME_MODELS)
    formats = Formats(weight_dtype, activation_dtype, kv_dtype)
    setting = checked_setting(step)
    given = None if model is None else [find_model(each) for each in as_list("model", model)]
    checked_contexts(setting, given)
    parts, left, also, has, notes = [], [], list[str](), list[str](), list[str]()
    cards: dict[str, GPU] = {}
    for card, rows in by_gpu(table, gpu):
        cards[card.id] = card
        also += other_gpus(rows, card)
        computed = Predictor(card, formats, engine, time_model)
        ordered = ran_in_order(rows)
        for shapes, own, (found, steps) in by_model(rows, given, tp, setting, computed, ordered=ordered):
            left.append(unassigned_rows(own, found))
            if shapes is None:
                continue
            known = knows_sharing(own, found, shapes, tp)
            notes += depth(found, own.launches, shapes, ordered=ordered) + sharing(own, shapes, tp, known=known)
            part = assigned_rows(own, found, steps, shapes, computed, ordered=ordered)
            if part.empty:
                continue
            parts.append(part)
            has += shapes.has
            also += [f"{a}: the sizes of {b}, too" for a, b in zip(part.operator, part.also, strict=True) if b]
    rows, unassigned = pd.concat(parts) if parts else pd.DataFrame(), pd.concat(left)
    if rows.empty:
        why = min(unassigned.why, key=lambda reason: not reason.startswith("no "))
        more = "; capture a whole layer, or count DRAM bytes and give step=" if why == NO_SIZES else ""
        raise ValueError(f"no kernel could be assigned to {_names(given)}: {why}{more}"[:195])
    ds = explained_grid(rows, cards, l2_bandwidth)
    total = float(table.total_s.sum())
    known = all("none says how many" not in note for note in notes)
    notes += above_roof(rows, cards) + (without_work(rows, setting) if known else []) + unsized(unassigned, total)
    told = assumptions([*cards.values()], time_model, ["gemm", "prefill", "decode", "elementwise"], engine=engine)
    ds.attrs = {
        "title": "Measured kernels beside the roofline", "forward_pass": pass_of(ds, has),
        "weight_dtype": weight_dtype or "as measured", "activation_dtype": activation_dtype or "as measured",
        "kv_dtype": kv_dtype or "as measured", "time_model": time_model, "engine": engine or DEFAULT_ENGINE,
        "assumed": told, "assigned_share": 1 - float(unassigned.time_s.sum()) / total, "total_time": total,
        "unassigned": json.dumps(unassigned.to_dict("records")), "ambiguous": json.dumps(sorted(set(also))),
        "notes": json.dumps([*dict.fromkeys(notes)]),
    }  # fmt: skip
    return ds


def _names(given: list[Model] | None) -> str:
    return "a model" if given is None else ", ".join(entry.id for entry in given)
