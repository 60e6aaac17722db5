"""The grid: operators and rooflines broadcast over GPUs, models, phases and sizes, into one labelled Dataset."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from ..catalog.gpu_entries import GPU
from ..catalog.model_entries import Model
from ..common.variables import ABSENT, LINK, VARIABLES, attributes, stamp
from ..kernels import roofline
from ..operators.cost import PHASES
from ..operators.formats import computes_in
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
    activation_dtype: str = "fp16",
    kv_dtype: str = "fp16",
    lm_head_dtype: str | None = None,
    causal: bool | None = None,
    logits: str = "last",
    scores: str | None = None,
    time_model: str = "ideal",
    launch_latency: float = 0.0,
    dtype: str = "float64",
    chunks: str | int | Mapping[str, int] | None = None,
) -> xr.Dataset:
    """FLOPs, bytes, roofs and times of operators over every combination of settings.

    gpu, model : ids (`workbench.gpus()`, `workbench.models()`) or catalog objects, one or several
    operator : None or "fused", what engines run, one whole forward pass, so that the sum of time x calls is the step;
        "unfused", the papers' view: matmuls alone, scores through memory; or a list of names of `operators.OPERATORS`
    phase : "prefill" computes `seq_len` tokens, "decode" one token over a cache of `seq_len`
    batch_size : sequences [1]
    seq_len : prompt, or cached context [token]
    candidates : verify so many candidate tokens per sequence in decode (Medusa, speculative decoding; 1 is plain
        decoding); adds a dim. Prefill does not depend on it [1]
    tp : GPUs that share every layer, each with its part of the heads, the MLP and the vocabulary (`parallel.shard`);
        adds a dim. All is then per GPU, and "fused" has the operator `all_reduce`, which waits for the link [1]
    weight_dtype : None is the checkpoint's own (fp16 unless it is quantized); else a plain format for every matrix,
        or "awq", "gptq", "mxfp4", "nvfp4": 4 bits with their group scales, embeddings and lm_head left in 16 bit
    activation_dtype, kv_dtype : formats of activations and of the KV cache
    lm_head_dtype : format of lm_head's weights where it is not what `weight_dtype` implies
    causal : credit for scores that the causal mask leaves out; None: `attention` yes (flash kernels skip them),
        `qk` and `pv` no (the papers' count)
    logits : of a prompt's "last" token (what serving needs) or of "all"
    scores : attention scores go through "memory" or stay on "chip"; None: `qk` and `pv` memory, `attention` chip
    time_model : "ideal", each kernel on its roof, or "kernel", with launch latency, achievable fractions of the roof
        and work in whole tiles (see `kernels`)
    launch_latency : what every call takes besides [s]: a framework that launches eagerly adds 20 to 40 us, which a
        wall clock sees and CUDA graphs hide
    dtype : of the results: "float64", or "float32" in half the memory, each value rounded once (a relative error of
        6e-8; infinite above 3.4e38)
    chunks : None computes the grid; else it is lazy, of dask arrays that are computed where they are used: labels in a
        chunk by dim, or so many cells a chunk, or "auto" (`sweep.CHUNK`) [1]

    Returns a Dataset with dims gpu, model, operator, phase, batch_size, seq_len (candidates, tp), each variable with
    only those it depends on: flops [FLOP], bytes [byte], time [s] per kernel call; calls per forward pass [1];
    intensity, ridge_point [FLOP/byte]; peak_flop_rate, attainable, performance [FLOP/s]; bandwidth [byte/s]; bound
    (0 memory, 1 compute, 2 link). Where a model lacks an operator that another one has: no FLOPs, bytes, time or calls,
    NaN rates, bound -1. `peak_flop_rate` has the dim operator (or model) only where those compute in different formats.

    Raises ValueError, in one line, for an unknown name, a size that is not a positive integer, an empty list, a
    repeated label, a format that a GPU has no peak for, a `tp` that does not divide a model's heads, a GPU without a
    link, or chunks that are not of the grid.
    """
    sweep = checked(
        gpu, model, operator, phase, batch_size, seq_len, candidates=candidates, tp=tp, weight_dtype=weight_dtype,
        activation_dtype=activation_dtype, kv_dtype=kv_dtype, lm_head_dtype=lm_head_dtype, causal=causal,
        logits=logits, scores=scores, time_model=time_model, launch_latency=launch_latency, dtype=dtype,
    )  # fmt: skip
    if chunks is None:
        return dataset(sweep, evaluate(sweep))
    from .lazy_arrays import lazy  # dask takes as long to import as everything else together

    return dataset(sweep, lazy(sweep, sweep.chunks(chunks)))


def dataset(sweep: Sweep, values: dict[str, Any]) -> xr.Dataset:
    """A sweep's variables, as of `sweep.evaluate`, with its ceilings, coordinates, units and long names."""
    full = tuple(sweep.coords)
    dims = {name: full[1:] if name in COSTS else full for name in values}
    dims["calls"] = tuple(dim for dim in full if dim in ("model", "operator", "tp"))
    peak, dims["peak_flop_rate"] = _peaks(sweep)
    bandwidth, dims["bandwidth"] = np.array([gpu.bandwidth for gpu in sweep.gpus.values()]), ("gpu",)
    ridge = roofline.ridge_point(peak, bandwidth.reshape(-1, *(1,) * (peak.ndim - 1)))
    dims["ridge_point"] = dims["peak_flop_rate"]
    known = values | {"peak_flop_rate": peak, "bandwidth": bandwidth, "ridge_point": ridge}
    variables = {name: (dims[name], known[name], attributes(name)) for name in VARIABLES if name in known}
    if "bound" in known:
        flags = {0: "memory", 1: "compute"}
        if "all_reduce" in sweep.operators:
            flags[LINK] = "link"
        if not known["calls"].all():
            flags = {ABSENT: "absent"} | flags
        variables["bound"][2].update(flag_values=np.array([*flags], np.int8), flag_meanings=" ".join(flags.values()))
    made = {dim: _coordinate(dim, tuple(labels)) for dim, labels in sweep.coords.items()}
    coords = {dim: coordinate for dim, (_, coordinate) in made.items()}
    indexes = {dim: index for dim, (index, _) in made.items()}
    ds = xr.Dataset(variables, xr.Coordinates(coords, indexes), sweep.attrs)
    return ds[[*coords, *variables]]  # coordinates first, so that the dims are in order


@lru_cache(maxsize=100)
def _coordinate(dim: str, labels: tuple[Any, ...]) -> tuple[PandasIndex, xr.Variable]:
    """The index and coordinate of a dim: most of the time of a small grid, were they made anew for each."""
    values = np.array(labels)
    index = PandasIndex(values, dim, coord_dtype=values.dtype)
    coordinate = index.create_variables()[dim]
    coordinate.attrs = attributes(dim)
    return index, coordinate


def forward_pass(ds: xr.Dataset) -> xr.Dataset:
    """One whole forward pass: the operators of a fused grid, each times its calls, added up.

    Returns flops [FLOP], bytes [byte], time [s], intensity [FLOP/byte] and performance [FLOP/s] without the operator
    dim, and the ceilings where they are the same for all operators. The time is the sum of the operators' times, not
    the roofline of their sum. Raises ValueError for what is no grid, or one whose operators are not a forward pass.
    """
    if not isinstance(ds, xr.Dataset):
        raise ValueError(f"a {type(ds).__name__}: expected a grid, see workbench.roofline_grid")
    needed = {"flops", "bytes", "time", "calls", "peak_flop_rate", "bandwidth", "ridge_point"}
    if missing := sorted(needed - set(ds)):
        raise ValueError(f"no variable {missing[0]!r} in the Dataset: expected a grid, see workbench.roofline_grid")
    if "operator" not in ds.dims or ds.attrs.get("forward_pass") != " ".join(ds.operator.values):
        raise ValueError(
            "forward_pass needs the fused operators of a whole forward pass: roofline_grid(operator='fused')"
        )
    total = xr.Dataset({name: (ds[name] * ds.calls).sum("operator") for name in ("flops", "bytes", "time")})
    total["intensity"] = total.flops / total.bytes
    total["performance"] = total.flops / total.time
    for name in ("peak_flop_rate", "bandwidth", "ridge_point"):
        if "operator" not in ds[name].dims:
            total[name] = ds[name]
    total.attrs = ds.attrs
    total = stamp(total)
    for name in ("flops", "bytes", "time"):
        total[name].attrs["long_name"] = ds[name].attrs["long_name"].replace("kernel call", "forward pass")
    return total


def _peaks(sweep: Sweep) -> tuple[np.ndarray, tuple[str, ...]]:
    """Peak rates [FLOP/s] by gpu, and by model and operator where those compute in different formats; their dims."""
    computing = np.array([[computes_in(op, sweep.dtypes[m]) for op in sweep.operators] for m in sweep.models])
    dims: tuple[str, ...] = ("gpu", "model", "operator")
    if (computing == computing[:, :1]).all():
        computing, dims = computing[:, 0], ("gpu", "model")
    if (computing == computing[:1]).all():
        computing, dims = computing[0], tuple(dim for dim in dims if dim != "model")
    rates = [[gpu.peak_flop_rate(f) for f in computing.flat] for gpu in sweep.gpus.values()]
    return np.array(rates).reshape(len(rates), *computing.shape), dims
