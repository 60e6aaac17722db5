"""The register of variables: name, unit and long name of everything that a Dataset of the workbench holds."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

#: Of `bound`, beside 0 (memory) and 1 (compute): a model has no such operator; a collective waits for the link.
ABSENT, LINK = -1, 2

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


def with_units(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with the unit of each known variable behind its name, e.g. ``time [s]``."""
    unit = {name: VARIABLES[name][0] for name in table.columns if name in VARIABLES and name != "bound"}
    return table.rename(columns={name: f"{name} [{u}]" for name, u in unit.items() if u and u != "1"})
