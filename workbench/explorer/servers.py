"""The one setting as a request to a server: what it holds in memory, whether that fits, and how long it takes."""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.model_entries import model as find_model
from ..serving import estimate
from ..serving.room import ALL_FITS, CONTEXT_LENGTH, WEIGHTS
from .pictures import at_setting
from .view import View, options, own_model

#: Output of the request; its prompt is the setting's length [token].
OUTPUT = 128
SERVER_NUMBERS = ("weights", "cache", "memory", "usable", "largest_batch", "ttft", "tpot", "tokens_per_second")


def server_rows(view: View, batch_size: int, seq_len: int) -> list[dict[str, Any]]:
    """A row for each GPU and model, by `serving.estimate`: its numbers, and in words whether it fits.

    Per GPU: weights, cache (KV cache of the batch), memory (all that it needs) and usable (what a server takes) [byte];
    of the replica: largest_batch [1], ttft, tpot [s], tokens_per_second [1/s]. What does not exist is None. `fits` is
    "yes", or "no" and what is missing, or why there is no estimate; `memory_short` says whether it is memory.
    """
    given = tuple((options(view) | {"tp": view.tp} | view.server.model_dump()).items())
    return [
        {"gpu": gpu, "model": model} | _replica(gpu, model, _config(view, model), batch_size, seq_len, given)
        for gpu in view.gpu for model in view.model
    ]  # fmt: skip


def _config(view: View, model: str) -> str:
    return json.dumps(view.configs[model]) if model in view.configs else ""


@lru_cache(maxsize=256)
def _replica(
    gpu: str, model: str, config: str, batch_size: int, seq_len: int, given: tuple[tuple[str, Any], ...]
) -> dict[str, Any]:
    """One row; `config` is JSON, which can be cached, or empty for a model of the catalog."""
    entry = own_model(model, json.loads(config)) if config else find_model(model)
    try:
        ds = estimate(gpu, entry, batch_size, seq_len, OUTPUT, **dict(given)).squeeze()
    except ValueError as error:
        return dict.fromkeys(SERVER_NUMBERS) | {"fits": str(error), "memory_short": False}
    fixed = ds.weights.item() + ds.activations.item() + ds.workspace.item()
    usable = ds.usable_memory.item()
    share = usable / (find_gpu(gpu).memory_bytes or np.nan)
    values = {name: ds[name].item() for name in SERVER_NUMBERS if name in ds}
    values |= {"cache": values["memory"] - fixed, "usable": usable}
    unfit = ds.unfit.item()
    if unfit == ALL_FITS:
        words = "yes"
    elif unfit == CONTEXT_LENGTH:
        words = f"no: {seq_len + OUTPUT:,} tokens, in a context of {entry.max_context:,}"
    else:
        what, needed = ("weights and activations", fixed) if unfit == WEIGHTS else ("KV cache", values["memory"])
        words = f"no: {what} {(needed - usable) / 1e9:,.2f} GB over {usable / 1e9:,.1f} GB, {share:.0%} of the memory"
    known = {name: value if value == value else None for name, value in values.items()}
    return known | {"fits": words, "memory_short": unfit not in (ALL_FITS, CONTEXT_LENGTH)}


def served(view: View, ds: xr.Dataset) -> dict[str, Any]:
    """The one setting as a request to a server: what it is, in words, and a row for each GPU and model."""
    b, s = at_setting(view)
    batch_size, seq_len = view.batch_size[b], view.seq_len[s]
    chosen = {"tp": view.tp} if view.tp > 1 else {}
    chosen |= view.server.model_dump(exclude_defaults=True)
    replica = "".join(f"{name} {'none' if value is None else value}, " for name, value in chosen.items())
    at = f"{replica}batch {batch_size:,}, prompt {seq_len:,}, output {OUTPUT} tokens"
    return {"serving": {"at": at, "times": view.time_model, "rows": server_rows(view, batch_size, seq_len)}}
