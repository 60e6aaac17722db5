"""Which settings of a view find no room in memory: what its charts hatch."""

import json
from functools import partial
from itertools import product

import numpy as np

from ..servers.replica import Replica
from ..servers.server import caps
from ..serving.batch import Batch
from ..serving.room import memory_fit
from .answers import Kept, Question
from .view import View

#: What a view says of number formats and times.
TIMED_BY = {"weight_dtype", "activation_dtype", "kv_dtype", "time_model", "launch_latency_us"}

_short = Kept[np.ndarray](64)


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
    key = f"{key} {view.setting.output} {json.dumps(entries, sort_keys=True)}"
    return _short.get(key, partial(_memory_short, view))


def _memory_short(view: View) -> np.ndarray:
    short = np.zeros((len(view.gpu), len(view.model), len(view.batch_size), len(view.seq_len)), dtype=bool)
    try:
        asked = Question(view)
    except ValueError:  # a draft that there is not
        return short
    for (g, gpu), (m, model) in product(enumerate(view.gpu), enumerate(view.model)):
        try:
            replica = Replica(asked.card(gpu), asked.models[model], tp=view.tp, **asked.of(Replica))
        except ValueError:
            continue
        short[g, m] = _of_replica(replica, asked)
    return short


def _of_replica(replica: Replica, asked: Question) -> np.ndarray:
    """By batch size and length: sizes that the engine takes by default at once, each larger one by itself."""
    batches, lengths = (np.array(sizes, float) for sizes in (asked.view.batch_size, asked.view.seq_len))
    found = np.zeros((len(batches), len(lengths)), dtype=bool)
    given, output = asked.of(Batch), np.array([[[float(asked.view.setting.output)]]])
    most = caps(replica, given["max_num_seqs"], given["max_num_batched_tokens"])["max_num_seqs"] * replica.dp_ranks
    usual = batches <= most
    for rows in [usual, *(batches == size for size in batches[~usual])]:
        if not rows.any():
            continue
        try:
            batch = Batch(batches[rows][:, None, None], lengths[None, :, None], output, **given).on(replica)
            room = memory_fit(replica, batch, gpu_memory_utilization=asked.options["gpu_memory_utilization"])
        except ValueError:  # more than the engine takes, or a prefix longer than a prompt
            continue
        found[rows] = np.broadcast_to(room["memory"] > room["usable_memory"], (*found[rows].shape, 1))[..., 0]
    return found
