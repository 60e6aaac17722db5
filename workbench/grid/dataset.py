"""The grid: operators and rooflines broadcast over GPUs, models, phases and sizes, into one labelled Dataset."""

from collections.abc import Iterable, Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from ..catalog import GPU, Model
from ..catalog.loading import catalog_entry, catalog_name
from ..common.arguments import LEAST, check_range
from ..common.machine import check_memory
from ..common.variables import ABSENT, COMPUTE, LIMITS, LINK, MEMORY, VARIABLES, assembled, attributes, flags, labelled
from ..kernels import assumptions, attainable, bound, fit_of, longest
from ..kernels.unknowns import joined, kernel_kinds
from ..operators import COLLECTIVES, PHASES, kernel_of
from .evaluation import evaluate
from .sweep import COSTS, Sweep, checked


def roofline_grid(
    gpu: str | GPU | Iterable[str | GPU],
    model: str | Model | Iterable[str | Model],
    operator: str | Iterable[str] | None = None,
    phase: str | Iterable[str] = PHASES,
    batch_size: int | Iterable[int] = 1,
    seq_len: int | Iterable[int] = 1024,
    *,
    candidates: int | Iterable[int] | None = None,
    tp: int | Iterable[int] | None = None,
    weight_dtype: str | None = None,
    activation_dtype: str | None = None,
    kv_dtype: str | None = None,
    lm_head_dtype: str | None = None,
    causal: bool | None = None,
    logits: str = "last",
    scores: str | None = None,
    time_model: str = "ideal",
    launch_latency: float = 0.0,
    engine: str | None = None,
    dtype: str = "float64",
    chunks: str | int | Mapping[str, int] | None = None,
) -> xr.Dataset:
    """FLOPs, bytes, roofs and times of operators over every combination of settings.

    Parameters
    ----------
    gpu, model : str, GPU or Model, or several
        Ids (`workbench.gpus()`, `workbench.models()`) or catalog objects.
    operator : str or list of str, optional
        None or "fused": what engines run, one whole forward pass, so that the sum of time x calls is the step.
        "unfused": the papers' view, matmuls alone, scores through memory. Or names of `operators.OPERATORS`.
    phase : str or list of str
        "prefill" computes `seq_len` tokens, "decode" one token over a cache of `seq_len`.
    batch_size : int or list of int
        Sequences [1].
    seq_len : int or list of int
        Prompt, or cached context [token].
    candidates : int or list of int, optional
        Candidate tokens verified for each sequence in decode (Medusa, speculative decoding; 1 is plain decoding); adds
        a dim. Prefill does not depend on it [token].
    tp : int or list of int, optional
        GPUs that share every layer, each with its part of the heads, the MLP and the vocabulary (`operators.shard`);
        adds a dim. All is then per GPU, and "fused" has the operator `all_reduce`, which waits for the link [1].
    weight_dtype : str, optional
        None is the checkpoint's own by part of the model (fp16 unless it is quantized); else a plain format for every
        matrix, one of `catalog.GROUP_FORMATS` with its scales, such as "awq" or "nvfp4", or a file type of llama.cpp's,
        such as "q4_k_m". In each of 8 or fewer bits embeddings and lm_head are left in fp16, as checkpoints leave them,
        but in llama.cpp's.
    activation_dtype, kv_dtype : str, optional
        Formats of activations and of the KV cache. None is what the checkpoint says, else fp16; where a GPU has no such
        rate, activations are in 16 bits on all of the grid's, and the attribute `assumed` says so.
    lm_head_dtype : str, optional
        Format of lm_head's weights; None is that of the other weights, or fp16 where those have 8 or 4 bits.
    causal : bool, optional
        Credit for scores that the causal mask leaves out. None: `attention` yes (flash kernels skip them), `qk` and
        `pv` no (the papers' count).
    logits : str
        Of a prompt's "last" token (what serving needs) or of "all".
    scores : str, optional
        Attention scores go through "memory" or stay on "chip". None: `qk` and `pv` memory, `attention` chip.
    time_model : str
        "ideal", each kernel on its roof, or "kernel", with launch latency, achievable fractions of the roof and work in
        whole tiles (`kernels`).
    launch_latency : float
        Added to every call: a framework that launches eagerly adds 20 to 40 us, which a wall clock sees and
        CUDA graphs hide [s].
    engine : str, optional
        Whose kernels the times are of: "vllm", "sglang", "trtllm" or "pytorch" (`catalog.engines`); None is "vllm", the
        best measured. Its host takes no time here.
    dtype : str
        Of the results: "float64", or "float32" in half the memory, each value rounded once (a relative error of 6e-8;
        infinite above 3.4e38).
    chunks : int, str or dict, optional
        None computes the grid; else it is lazy, of dask arrays that are computed where they are used: labels in a chunk
        by dim, or cells in a chunk, or "auto" (2 million cells) [1].

    Returns
    -------
    xarray.Dataset
        Dims gpu, model, operator, phase, batch_size, seq_len (candidates, tp), each variable with only those it depends
        on: flops [FLOP], bytes [byte], time [s] per kernel call; calls per forward pass [1]; intensity, ridge_point
        [FLOP/byte]; peak_flop_rate, attainable, performance [FLOP/s]; bandwidth [byte/s]; bound (0 memory, 1 compute, 2
        link). Of kernel times, fit, whose flags name the GPU, engine and format that they were fitted on, and
        expected_error [%] of that fit. Where a model lacks an operator that another one has: no FLOPs, bytes, time or
        calls, NaN rates, bound -1. `peak_flop_rate` has the dim operator (or model) only where those compute in
        different formats. The attribute `assumed` says what the times do without, or borrow (`kernels.assumptions`).

    Raises
    ------
    ValueError
        In one line, for an unknown name, a size that is not a positive integer, an empty list, a repeated label, a
        format that a GPU has no peak for, a `tp` that does not divide a model's heads, a GPU without a link, or chunks
        that are not of the grid.
    """
    sweep = checked(
        gpu, model, operator, phase, batch_size, seq_len, candidates=candidates, tp=tp, weight_dtype=weight_dtype,
        activation_dtype=activation_dtype, kv_dtype=kv_dtype, lm_head_dtype=lm_head_dtype, causal=causal,
        logits=logits, scores=scores, time_model=time_model, launch_latency=launch_latency, engine=engine, dtype=dtype,
    )  # fmt: skip
    if chunks is None:
        check_memory(f"a grid of {prod(sweep.shape):,} cells", sweep.nbytes, "give chunks, such as chunks='auto'")
        return labelled_grid(sweep, evaluate(sweep))
    from .lazy_arrays import lazy_variables  # dask takes as long to import as everything else together

    return labelled_grid(sweep, lazy_variables(sweep, sweep.chunks(chunks)))


def labelled_grid(sweep: Sweep, values: dict[str, Any]) -> xr.Dataset:
    """A sweep's variables, as `evaluate` gives them, with its ceilings, coordinates, units and long names."""
    full = tuple(sweep.coords)
    dims = {name: full[1:] if name in COSTS else full for name in values}
    dims["calls"] = tuple(dim for dim in full if dim in ("model", "operator", "tp"))
    peak, dims["peak_flop_rate"] = _peaks(sweep)
    bandwidth, dims["bandwidth"] = np.array([gpu.bandwidth for gpu in sweep.gpus.values()]), ("gpu",)
    ridge, dims["ridge_point"] = (peak.T / bandwidth).T, dims["peak_flop_rate"]
    known = values | {"peak_flop_rate": peak, "bandwidth": bandwidth, "ridge_point": ridge}
    names: dict[int, str] = {}
    if sweep.timing.time_model == "kernel":
        known["fit"], known["expected_error"], names = _fits(sweep)
        dims["fit"] = dims["expected_error"] = full[:4]
    attrs = sweep.attrs | {"assumed": grid_assumptions(sweep)}
    ds = labelled({name: (dims[name], known[name]) for name in VARIABLES if name in known}, sweep.coords, attrs)
    if names:
        ds.variables["fit"].attrs |= flags(names)
    if "bound" in known:
        absent = not known["calls"].all()
        ds.variables["bound"].attrs |= flags(_limits(sweep.operators, absent=absent))
    return ds


def grid_assumptions(sweep: Sweep) -> str:
    """What a grid's numbers assume, of kernels as `kernels.assumptions` and of formats; empty for nothing."""
    run = {
        kind: None
        for name, model in sweep.models.items()
        for kind in kernel_kinds(model, sweep.operators, sweep.formats[name])
    }
    told = assumptions(sweep.gpus.values(), sweep.timing.time_model, list(run), engine=sweep.timing.engine)
    return joined([told, *(formats.assumed for formats in sweep.formats.values())])


def _fits(sweep: Sweep) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """By GPU, model, operator and phase, the number of its fit and that fit's error [%]; the fits by number."""
    shape = sweep.shape[:4]
    number, error = np.full(shape, ABSENT, dtype=np.int16), np.full(shape, np.nan)
    names: dict[str, int] = {}
    gpus = int(max(sweep.sizes["tp"])) if "tp" in sweep.sizes else 1
    runs = product(enumerate(sweep.gpus.values()), enumerate(sweep.models), enumerate(sweep.operators))
    for (g, gpu), (i, model), (j, operator) in runs:
        if operator not in sweep.has[model]:
            continue
        kernel, form = kernel_of(sweep.models[model], operator), sweep.formats[model].kernel_format(operator)
        for p, phase in enumerate(sweep.phases):
            if used := fit_of(gpu, kernel, form, phase, sweep.timing.engine, gpus=gpus):
                number[g, i, j, p] = names.setdefault(used.label, len(names))
                error[g, i, j, p] = used.error_percent
    return number, error, {ABSENT: "none"} | {place: name for name, place in names.items()}


def _limits(operators: Iterable[str], *, absent: bool = False) -> dict[int, str]:
    """What may limit these operators, by its number in `bound`."""
    link = not COLLECTIVES.keys().isdisjoint(operators)
    limits = {limit: LIMITS[limit] for limit in (MEMORY, COMPUTE, *([LINK] if link else []))}
    return {ABSENT: "absent"} | limits if absent else limits


def forward_pass(ds: xr.Dataset) -> xr.Dataset:
    """One whole forward pass: the operators of a fused grid, each times its calls, added up.

    Parameters
    ----------
    ds : xarray.Dataset
        A grid, or a selection of it with all operators.

    Returns
    -------
    xarray.Dataset
        Without the operator dim: flops [FLOP], bytes [byte], time [s], intensity [FLOP/byte], performance [FLOP/s],
        bound (where most of the time goes: 0 memory, 1 compute, 2 link), and the ceilings where they are the same for
        all operators. The time is the sum of the operators' times, not the roofline of their sum.

    Raises
    ------
    ValueError
        For what is not a grid, or one whose operators are not a forward pass.
    """
    _check_forward_pass(ds)
    given, ceilings = ds.variables, ("peak_flop_rate", "bandwidth", "ridge_point")
    total = {name: _added_up(given, name) for name in ("flops", "bytes", "time")}
    dims, flops = total["time"].dims, total["flops"]
    total["intensity"] = xr.Variable(flops.dims, flops.data / total["bytes"].data)
    total["performance"] = xr.Variable(dims, _aligned(flops, dims) / total["time"].data)
    for name, variable in total.items():
        variable.attrs = attributes(name)
    for name in ("flops", "bytes", "time"):
        total[name].attrs["long_name"] = total[name].attrs["long_name"].replace("kernel call", "forward pass")
    if "bound" in given:
        limits = _limits(given["operator"].values)
        times = [_added_up(given, "time", limit).data for limit in limits]
        total["bound"] = xr.Variable(dims, longest(times), attributes("bound") | flags(limits))
    total |= {name: given[name].copy(deep=False) for name in ceilings if "operator" not in given[name].dims}
    kept = {
        name: variable.copy(deep=False)
        for name, variable in ds.coords.variables.items()
        if "operator" not in variable.dims
    }
    indexes = {name: index for name, index in ds.xindexes.items() if name in kept}
    return assembled(total, kept, indexes, ds.attrs)


def _added_up(given: Mapping[Any, xr.Variable], name: str, limit: int | None = None) -> xr.Variable:
    """A variable of a forward pass: its value in every call, added up over the operators, or those with one limit."""
    dims = given[name].dims  # on the arrays: a Variable's own arithmetic takes ten times as long
    values = given[name].data * _aligned(given["calls"], dims)
    if limit is not None:
        values = values * (_aligned(given["bound"], dims) == limit)
    axis = dims.index("operator")
    return xr.Variable(dims[:axis] + dims[axis + 1 :], values.sum(axis))


def with_roof(ds: xr.Dataset, peak_tflops: float | None) -> xr.Dataset:
    """A grid under another ceiling than its GPUs' own, as a chart prints it; its times stay those predicted.

    Parameters
    ----------
    ds : xarray.Dataset
        A grid, of GPUs of the catalog.
    peak_tflops : float, optional
        In place of every 16-bit peak; None leaves the grid as it is [TFLOP/s].

    Returns
    -------
    xarray.Dataset
        With its own peak_flop_rate, ridge_point, attainable and bound.
    """
    _check_variables(ds, {"gpu", "peak_flop_rate", "bandwidth", "ridge_point", "intensity", "attainable", "bound"})
    if peak_tflops is None:
        return ds
    peak_tflops = check_range("peak_tflops", peak_tflops, low=LEAST)
    cards = [_of_the_catalog(str(name)) for name in ds.gpu.values]
    own = xr.DataArray([card.peak_16_bit for card in cards], {"gpu": ds.gpu})
    peak = ds.peak_flop_rate.where(ds.peak_flop_rate != own, 1e12 * peak_tflops)
    ridge = peak / ds.bandwidth
    limit = xr.apply_ufunc(bound, ds.intensity, ridge, dask="allowed")
    roof = {
        "peak_flop_rate": peak, "ridge_point": ridge,
        "attainable": xr.apply_ufunc(attainable, ds.intensity, peak, ds.bandwidth, dask="allowed"),
        "bound": ds.bound.where(~ds.bound.isin((MEMORY, COMPUTE)), limit).astype(np.int8),
    }  # fmt: skip
    return ds.assign({
        name: values.transpose(*ds[name].dims).assign_attrs(ds[name].attrs) for name, values in roof.items()
    })  # fmt: skip


def _of_the_catalog(name: str) -> GPU:
    try:
        entry: GPU = catalog_entry(GPU, "gpus", catalog_name("GPU", name, "gpus"))
        return entry
    except ValueError:
        raise ValueError(f"peak_tflops: {name!r} is no GPU of the catalog: give its peaks in the grid itself") from None


def _aligned(variable: xr.Variable, dims: tuple[Any, ...]) -> Any:
    """A variable's array with all of these dims, of length one where it does not depend on them."""
    return variable.set_dims(dims).data  # type: ignore[no-untyped-call]


def _check_variables(ds: xr.Dataset, needed: set[str]) -> None:
    if not isinstance(ds, xr.Dataset):
        raise ValueError(f"ds is a {type(ds).__name__}: expected a grid, see workbench.roofline_grid")
    if missing := sorted(needed - ds.variables.keys()):
        raise ValueError(f"ds has no variable {missing[0]!r}: expected a grid, see workbench.roofline_grid")


def _check_forward_pass(ds: xr.Dataset) -> None:
    _check_variables(ds, {"flops", "bytes", "time", "calls", "peak_flop_rate", "bandwidth", "ridge_point"})
    if "operator" not in ds.dims or ds.attrs.get("forward_pass") != " ".join(ds.variables["operator"].values):
        raise ValueError(
            "forward_pass needs the fused operators of a whole forward pass: roofline_grid(operator='fused')"
        )


def _peaks(sweep: Sweep) -> tuple[np.ndarray, tuple[str, ...]]:
    """Peak rates [FLOP/s] by gpu, and by model and operator where those compute in different formats; their dims."""
    computing = [[sweep.formats[m].computes_in(op) for op in sweep.operators] for m in sweep.models]
    dims: tuple[str, ...] = ("gpu", "model", "operator")
    if all(len(set(row)) == 1 for row in computing):
        computing, dims = [row[:1] for row in computing], ("gpu", "model")
    if all(row == computing[0] for row in computing):
        computing, dims = computing[:1], tuple(dim for dim in dims if dim != "model")
    rates = [[[gpu.peak_flop_rate(f) for f in row] for row in computing] for gpu in sweep.gpus.values()]
    lengths = {"gpu": len(rates), "model": len(computing), "operator": len(computing[0])}
    return np.array(rates).reshape([lengths[dim] for dim in dims]), dims
