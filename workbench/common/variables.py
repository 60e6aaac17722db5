"""The register of variables: units and long name of everything that a Dataset of the workbench holds, and its flags."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from xarray.indexes import Index, PandasIndex

#: Of `bound`: a model has no such operator, or a server does not fit; memory, compute or the link limits; or the host,
#: with what passes between pipeline stages.
ABSENT, MEMORY, COMPUTE, LINK, HOST = range(-1, 4)
LIMITS = {MEMORY: "memory", COMPUTE: "compute", LINK: "link", HOST: "host"}


class Variable(NamedTuple):
    """Units (None of a label) and long name of a variable, and whether more of it is better."""

    units: str | None
    long_name: str
    more: bool = False


VARIABLES: dict[str, Variable] = {
    "flops": Variable("FLOP", "floating-point operations per kernel call"),
    "bytes": Variable("byte", "memory traffic per kernel call"),
    "calls": Variable("1", "kernel calls per forward pass"),
    "intensity": Variable("FLOP/byte", "operational intensity", more=True),
    "peak_flop_rate": Variable("FLOP/s", "dense peak in the format that the operator computes in", more=True),
    "bandwidth": Variable("byte/s", "memory bandwidth", more=True),
    "ridge_point": Variable("FLOP/byte", "operational intensity at the ridge point"),
    "attainable": Variable("FLOP/s", "roof at the operational intensity", more=True),
    "time": Variable("s", "time per kernel call"),
    "measured_time": Variable("s", "time per kernel call, measured"),
    "measured_calls": Variable("1", "kernel calls that were measured"),
    "kernels": Variable("1", "kernels that these calls launched"),
    "measured_bytes": Variable("byte", "memory traffic per kernel call, as a profiler counted it"),
    "measured_intensity": Variable("FLOP/byte", "operational intensity by the counted bytes", more=True),
    "l2_bandwidth": Variable("byte/s", "bandwidth of the L2 cache", more=True),
    "ideal_time": Variable("s", "time per kernel call on the ideal roof"),
    "performance": Variable("FLOP/s", "performance, FLOPs over time", more=True),
    "bound": Variable("1", "what limits the kernel"),
    "fit": Variable("1", "whose fit the time is computed with: GPU, engine and version, kernel library, format"),
    "expected_error": Variable("%", "mean error of that fit on timings that it did not see"),
    "percent_of_peak": Variable("%", "performance over dense peak", more=True),
    "tokens_per_second": Variable("1/s", "tokens per second, whole batch", more=True),
    "relative_time": Variable("1", "time over that of the smallest batch"),
    "share": Variable("%", "share of the time of all these operators"),
    "ridge_batch_size": Variable("1", "batch size at the ridge point"),
    "source": Variable(None, "whose numbers"),
    "time_model": Variable(None, "time model"),
    "latency": Variable("s", "time of one decoding step"),
    "group_latency": Variable("s", "time of one decoding step by group of operators"),
    "normalized_latency": Variable("1", "time of one decoding step over that of plain decoding"),
    "acceleration_rate": Variable("1", "mean tokens per decoding step", more=True),
    "speedup": Variable("1", "tokens per second over those of plain decoding", more=True),
    "best_candidates": Variable("1", "candidates with the highest speedup"),
    "best_speedup": Variable("1", "highest speedup, 1 where plain decoding is best", more=True),
    "group": Variable(None, "group of operators"),
    "gpu": Variable(None, "GPU"),
    "model": Variable(None, "model"),
    "operator": Variable(None, "operator"),
    "phase": Variable(None, "phase of inference"),
    "batch_size": Variable("1", "batch size, sequences"),
    "seq_len": Variable("token", "sequence length: prompt in prefill, cached context in decode"),
    "candidates": Variable("1", "candidate tokens verified per sequence and decoding step"),
    "dtype": Variable(None, "format that kernels compute in"),
    "framework": Variable(None, "whose kernels"),
    "tp": Variable("1", "GPUs that share every layer (tensor parallelism)"),
    "prompt": Variable("token", "prompt of a request"),
    "output": Variable("token", "output of a request"),
    "weights": Variable("byte", "weights on one GPU"),
    "activations": Variable("byte", "activations of the largest step and its logits, on one GPU"),
    "workspace": Variable(
        "byte", "CUDA, its libraries, collectives and graphs on one GPU, of what the server may fill"
    ),
    "usable_memory": Variable("byte", "memory of one GPU that the server may fill"),
    "kv_bytes_per_token": Variable("byte", "KV cache of one token on one GPU"),
    "kv_capacity": Variable("token", "tokens that the KV cache of the replica holds", more=True),
    "memory": Variable("byte", "memory that the batch needs on one GPU"),
    "fits": Variable("1", "whether the batch fits in memory and its requests in the context"),
    "unfit": Variable("1", "what does not fit"),
    "largest_batch": Variable("1", "largest batch size that fits", more=True),
    "ttft": Variable("s", "time to first token"),
    "tpot": Variable("s", "time per output token after the first, mean over the output"),
    "tpot_first": Variable("s", "time per output token at the first decoding step"),
    "tpot_last": Variable("s", "time per output token at the last decoding step"),
    "end_to_end_latency": Variable("s", "time from request to last token"),
    "tokens_per_second_per_user": Variable(
        "1/s", "output tokens per second that one user sees while decoding", more=True
    ),
    "requests_per_second": Variable("1/s", "requests finished per second", more=True),
    "step_time": Variable("s", "time of the prefill, or of the mean decoding step"),
    "mfu": Variable("1", "model FLOPs over what the GPUs' peaks allow in the time (MFU)", more=True),
    "mbu": Variable("1", "bytes moved over what the bandwidth allows in the time (MBU)", more=True),
    "energy_per_token": Variable("J", "energy of all GPUs per output token, an estimate from TDP and utilization"),
    "cost": Variable("1", "cost of a million output tokens, in the currency of the price"),
}


def attributes(name: str, register: Mapping[str, Variable] = VARIABLES) -> dict[str, Any]:
    """Long name and units of a variable or coordinate."""
    units, long_name, _ = register[name]
    return {"long_name": long_name} | ({"units": units} if units else {})


def flags(meanings: Mapping[int, str]) -> dict[str, Any]:
    """Attributes of a variable whose values are flags (CF conventions)."""
    kind = np.int8 if len(meanings) < 128 else np.int16
    return {"flag_values": np.array([*meanings], kind), "flag_meanings": " ".join(meanings.values())}


def stamp(ds: xr.Dataset, register: Mapping[str, Variable] = VARIABLES) -> xr.Dataset:
    """Put units and long names on every variable and coordinate: xarray keeps those of operands in arithmetic."""
    for name, variable in ds.variables.items():
        variable.attrs = attributes(str(name), register)
    if "bound" in ds:
        ds["bound"].attrs |= flags({limit: LIMITS[limit] for limit in (MEMORY, COMPUTE)})
    return ds


def labelled(
    variables: Mapping[str, tuple[tuple[str, ...], Any]], coords: Mapping[str, Iterable[Any]], attrs: Mapping[str, Any]
) -> xr.Dataset:
    """A Dataset of known variables, each with its dims, by the labels of every dim, in their order."""
    made = {dim: _coordinate(dim, tuple(labels)) for dim, labels in coords.items()}
    data = {name: xr.Variable(dims, values, attributes(name)) for name, (dims, values) in variables.items()}
    coordinates = {dim: coordinate.copy(deep=False) for dim, (_, coordinate) in made.items()}
    return assembled(data, coordinates, {dim: index for dim, (index, _) in made.items()}, attrs)


def assembled(
    data: Mapping[str, xr.Variable], coords: Mapping[Any, xr.Variable], indexes: Mapping[Any, Index],
    attrs: Mapping[Any, Any],
) -> xr.Dataset:  # fmt: skip
    """A Dataset of variables that belong together, its dims in the order of the coordinates.

    By xarray's constructor for such parts, where the installed version has it: the public one aligns and merges them
    first, which takes ten times as long, half the time of a small grid.
    """
    direct: Any = getattr(xr.Dataset, "_construct_direct", None)
    with suppress(TypeError):  # none in that version, or one of other arguments
        made: xr.Dataset = direct({**coords, **data}, set(coords), attrs=dict(attrs), indexes=dict(indexes))
        return made
    ds = xr.Dataset(data, xr.Coordinates(dict(coords), dict(indexes)), attrs)
    return ds[[*coords, *data]]


@lru_cache(maxsize=100)
def _coordinate(dim: str, labels: tuple[Any, ...]) -> tuple[PandasIndex, xr.Variable]:
    """The index and coordinate of a dim: most of the time of a small grid, were they made anew for each."""
    values = np.array(labels)
    index = PandasIndex(values, dim, coord_dtype=values.dtype)
    coordinate = index.create_variables()[dim]
    coordinate.attrs = attributes(dim)
    return index, coordinate


def with_units(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with the unit of each known variable behind its name, e.g. ``time [s]``."""
    unit = {name: VARIABLES[name].units for name in table.columns if name in VARIABLES and name != "bound"}
    return table.rename(columns={name: f"{name} [{u}]" for name, u in unit.items() if u and u != "1"})
