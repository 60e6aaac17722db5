"""The grid: operators and rooflines broadcast over GPUs, models, phases and sizes, into one labelled Dataset."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from . import roofline
from .axes import entries, listed, names, whole_numbers
from .catalog import GPU, Model
from .catalog import gpu as find_gpu
from .catalog import model as find_model
from .formats import computes_in, formats
from .kernels import TIME_MODELS
from .names import unknown
from .operators import OPERATORS, Options, exists, operator_set
from .sweep import ABSENT, COSTS, LINK, Sweep, evaluate

PHASES = ("prefill", "decode")

#: Units and long names of everything on a grid, stamped last: xarray keeps the attributes of operands in arithmetic.
VARIABLES = {
    "flops": ("FLOP", "floating-point operations per kernel call"),
    "bytes": ("byte", "memory traffic per kernel call"),
    "calls": ("1", "kernel calls per forward pass"),
    "intensity": ("FLOP/byte", "operational intensity"),
    "peak_flop_rate": ("FLOP/s", "dense peak in the format that the operator computes in"),
    "bandwidth": ("byte/s", "memory bandwidth"),
    "ridge_point": ("FLOP/byte", "operational intensity at the ridge point"),
    "attainable": ("FLOP/s", "roof at the operational intensity"),
    "time": ("s", "time per kernel call"),
    "performance": ("FLOP/s", "performance, FLOPs over time"),
    "bound": ("1", "what limits the kernel"),
    "percent_of_peak": ("%", "performance over dense peak"),
    "tokens_per_second": ("1/s", "tokens per second, whole batch"),
    "relative_time": ("1", "time over that of the smallest batch"),
    "share": ("%", "share of the time of all these operators"),
    "ridge_batch_size": ("1", "batch size at the ridge point"),
    "source": (None, "whose numbers"),
    "time_model": (None, "time model"),
    "latency": ("s", "time of one decoding step"),
    "group_latency": ("s", "time of one decoding step by group of operators"),
    "normalized_latency": ("1", "time of one decoding step over that of plain decoding"),
    "acceleration_rate": ("1", "mean tokens per decoding step"),
    "speedup": ("1", "tokens per second over those of plain decoding"),
    "best_candidates": ("1", "candidates with the highest speedup"),
    "best_speedup": ("1", "highest speedup, 1 where plain decoding is best"),
    "group": (None, "group of operators"),
    "gpu": (None, "GPU"),
    "model": (None, "model"),
    "operator": (None, "operator"),
    "phase": (None, "phase of inference"),
    "batch_size": ("1", "batch size, sequences"),
    "seq_len": ("token", "sequence length: prompt in prefill, cached context in decode"),
    "candidates": ("1", "candidate tokens verified per sequence and decoding step"),
    "tp": ("1", "GPUs that share every layer (tensor parallelism)"),
    "prompt": ("token", "prompt of a request"),
    "output": ("token", "output of a request"),
    "weights": ("byte", "weights on one GPU"),
    "activations": ("byte", "activations of the largest step and its logits, on one GPU"),
    "kv_bytes_per_token": ("byte", "KV cache of one token on one GPU"),
    "kv_capacity": ("token", "tokens that the KV cache of the replica holds"),
    "memory": ("byte", "memory that the batch needs on one GPU"),
    "fits": ("1", "whether the batch fits in memory and its requests in the context"),
    "unfit": ("1", "what does not fit"),
    "largest_batch": ("1", "largest batch size that fits"),
    "ttft": ("s", "time to first token"),
    "tpot": ("s", "time per output token after the first, mean over the output"),
    "tpot_first": ("s", "time per output token at the first decoding step"),
    "tpot_last": ("s", "time per output token at the last decoding step"),
    "end_to_end_latency": ("s", "time from request to last token"),
    "tokens_per_second_per_user": ("1/s", "output tokens per second that one user sees while decoding"),
    "requests_per_second": ("1/s", "requests finished per second"),
    "step_time": ("s", "time of the prefill, or of the mean decoding step"),
    "mfu": ("1", "model FLOPs over what the GPUs' peaks allow in the time (MFU)"),
    "mbu": ("1", "bytes moved over what the bandwidth allows in the time (MBU)"),
    "energy_per_token": ("J", "energy of all GPUs per output token, an estimate from TDP and utilization"),
    "cost": ("1", "cost of a million output tokens, in the currency of the price"),
}


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
    from .lazy import lazy  # dask takes as long to import as everything else together

    return dataset(sweep, lazy(sweep, sweep.chunks(chunks)))


def checked(
    gpu: Any, model: Any, operator: Any = None, phase: Any = PHASES, batch_size: Any = 1, seq_len: Any = 1024, *,
    candidates: Any = None, tp: Any = None, weight_dtype: str | None = None, activation_dtype: str = "fp16",
    kv_dtype: str = "fp16", lm_head_dtype: str | None = None, causal: bool | None = None, logits: str = "last",
    scores: str | None = None, time_model: str = "ideal", launch_latency: float = 0.0, dtype: str = "float64",
) -> Sweep:  # fmt: skip
    """The arguments of `roofline_grid` as a sweep that is yet to be computed; its errors."""
    gpus = entries("gpu", gpu, find_gpu)
    models = entries("model", model, find_model)
    phases = names("phase", phase, PHASES)
    sizes = {"batch_size": whole_numbers("batch_size", batch_size), "seq_len": whole_numbers("seq_len", seq_len)}
    if candidates is not None:
        sizes["candidates"] = whole_numbers("candidates", candidates)
    for label, value, allowed in (("logits", logits, ("last", "all")), ("scores", scores, (None, "memory", "chip"))):
        if value not in allowed:
            raise unknown(label, value, allowed)
    if not isinstance(time_model, str) or time_model not in TIME_MODELS:
        raise unknown("time_model", time_model, TIME_MODELS)
    if not isinstance(launch_latency, int | float) or isinstance(launch_latency, bool) or not 0 <= launch_latency < 1:
        raise ValueError(f"launch_latency = {launch_latency!r}: allowed are seconds from 0 to 1")
    if causal not in (None, True, False):
        raise unknown("causal", causal, (None, True, False))
    if not isinstance(dtype, str) or dtype not in ("float64", "float32"):
        raise unknown("dtype", dtype, ("float64", "float32"))
    dtypes = {
        name: formats(entry, weight_dtype, activation_dtype, kv_dtype, lm_head_dtype) for name, entry in models.items()
    }
    wanted = listed("operator", "fused" if operator is None else operator)
    if tp is not None:
        sizes["tp"] = whole_numbers("tp", tp)
    operators, has = _operators(wanted, models, max(sizes["tp"]) if tp is not None else 1)
    attrs = {
        "title": "Roofline of LLM inference operators",
        "forward_pass": " ".join(operators) if wanted == ["fused"] else "",
        "weight_dtype": weight_dtype or "as stored", "activation_dtype": activation_dtype, "kv_dtype": kv_dtype,
        "causal": str(causal), "logits": logits, "scores": str(scores), "time_model": time_model,
        "launch_latency": launch_latency,
    }  # fmt: skip
    return Sweep(
        gpus, models, operators, has, phases, sizes, dtypes, Options(causal, scores), logits, time_model,
        launch_latency, dtype, attrs,
    )  # fmt: skip


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


def stamp(ds: xr.Dataset) -> xr.Dataset:
    """Put units and long names on every known variable and coordinate."""
    for name, variable in ds.variables.items():
        variable.attrs = attributes(str(name))
    if "bound" in ds:
        ds["bound"].attrs |= {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "memory compute"}
    return ds


def attributes(name: str) -> dict[str, Any]:
    """Long name and units of a variable or coordinate."""
    unit, long_name = VARIABLES[name]
    return {"long_name": long_name} | ({"units": unit} if unit else {})


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


def _operators(wanted: list[str], models: dict[str, Model], gpus: int) -> tuple[list[str], dict[str, set[str]]]:
    """The operators of the grid in order, and for each model those of them that it runs."""
    shared = {"all_reduce"} if gpus > 1 else set()
    known = [*OPERATORS, "all_reduce"]
    if wanted in (["fused"], ["unfused"]):
        sets = {name: set(operator_set(model, wanted[0])) for name, model in models.items()}
        if wanted == ["fused"]:
            sets = {name: ops | shared for name, ops in sets.items()}
        return [op for op in known if any(op in ops for ops in sets.values())], sets
    given = names("operator", wanted, known, also=("fused", "unfused"))
    if "all_reduce" in given and not shared:
        raise ValueError("operator 'all_reduce' is between GPUs: give tp, with a size above 1")
    has = {
        name: shared | {op for op in given if op in OPERATORS and exists(op, model)} for name, model in models.items()
    }
    for op in given:
        if not any(op in ops for ops in has.values()):
            runs = operator_set(next(iter(models.values())), "fused")
            raise ValueError(f"no operator {op!r} in {', '.join(models)}, which has: {', '.join(runs)}")
    return given, has
