"""Which settings of a view find no room in memory: what its charts hatch."""

import json
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from ..servers.replica import Replica
from ..servers.server import caps
from ..serving.batch import Batch
from ..serving.room import memory_fit
from .view import View, chosen_entries, chosen_gpus, server_arguments

#: Options of a `Batch` that a view's server has.
BATCH_OPTIONS = ("cached_prefix", "draft", "max_num_batched_tokens", "max_num_seqs")


def memory_short(view: View) -> np.ndarray:
    """Whether memory is too small for a batch of requests, deployed as the view's server.

    Parameters
    ----------
    view : View
        The view; a prompt is its length, the output that of its setting.

    Returns
    -------
    ndarray of bool
        By GPU, model, batch size and length. False, too, where a server cannot run at all, which the tab Server says.
    """
    entries = {**{f"gpu {name}": view.cards.get(name) for name in view.gpu}, **view.configs}
    key = view.model_dump_json(include={"gpu", "model", "batch_size", "seq_len", "tp", "server"} | TIMED_BY)
    return _memory_short(_Given(view, f"{key} {view.setting.output} {json.dumps(entries, sort_keys=True)}"))


#: What a view says of number formats and times.
TIMED_BY = {"weight_dtype", "activation_dtype", "kv_dtype", "time_model", "launch_latency_us"}


class _Given:
    """A view that compares by what memory depends on, so that its answer is kept while all else changes."""

    def __init__(self, view: View, key: str) -> None:
        self.view, self.key = view, key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=64)
def _memory_short(given: _Given) -> np.ndarray:
    view = given.view
    short = np.zeros((len(view.gpu), len(view.model), len(view.batch_size), len(view.seq_len)), dtype=bool)
    try:
        arguments = server_arguments(view) | {"tp": view.tp}
    except ValueError:  # a draft that there is not
        return short
    own = {field.name for field in fields(Replica)} & arguments.keys()
    for g, card in enumerate(chosen_gpus(view)):
        for m, entry in enumerate(chosen_entries(view)):
            try:
                replica = Replica(card, entry, **{name: arguments[name] for name in own})
            except ValueError:
                continue
            short[g, m] = _of_replica(replica, view, arguments)
    return short


def _of_replica(replica: Replica, view: View, arguments: dict[str, Any]) -> np.ndarray:
    """By batch size and length: sizes that the engine takes by default at once, each larger one by itself."""
    batches, lengths = (np.array(sizes, float) for sizes in (view.batch_size, view.seq_len))
    found = np.zeros((len(batches), len(lengths)), dtype=bool)
    asked = {name: arguments[name] for name in BATCH_OPTIONS}
    most = caps(replica, asked["max_num_seqs"], asked["max_num_batched_tokens"])["max_num_seqs"] * replica.dp_ranks
    usual = batches <= most
    for rows in [usual, *(batches == size for size in batches[~usual])]:
        if not rows.any():
            continue
        sizes = (batches[rows][:, None, None], lengths[None, :, None], np.array([[[float(view.setting.output)]]]))
        try:
            batch = Batch(*sizes, **asked).on(replica)
            share = arguments["gpu_memory_utilization"]
            room = memory_fit(replica, batch, gpu_memory_utilization=share)
        except ValueError:  # more than the engine takes, or a prefix longer than a prompt
            continue
        found[rows] = np.broadcast_to(room["memory"] > room["usable_memory"], (*found[rows].shape, 1))[..., 0]
    return found
