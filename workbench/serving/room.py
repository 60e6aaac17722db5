"""Whether a batch finds room: its memory on one GPU, what of it does not fit, and the largest batch that does."""

import numpy as np

from ..common.arrays import Array
from ..servers.drafts import drafting_replica
from ..servers.memory import (
    BLOCK_SIZE,
    activations,
    draft_weights,
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    left_for_cache,
    weights,
    workspace_of,
)
from ..servers.replica import Replica
from .batch import Batch

#: Of `unfit`: what a batch finds no room for.
ALL_FITS, WEIGHTS, KV_CACHE, CONTEXT_LENGTH = range(4)


def memory_fit(
    replica: Replica, batch: Batch, *, gpu_memory_utilization: float | None = None, workspace: float | None = None
) -> dict[str, Array]:
    """Memory of a batch on one GPU, and whether it fits; arrays by batch_size, prompt, output.

    Parameters and results are named and measured as those of `estimate`. A draft model's caches count as well. The
    whole blocks of a cached prefix are held once; what is left of it in a block, each sequence has of its own.
    """
    drafter = batch.draft and drafting_replica(replica, batch.draft)
    holders = [replica, drafter] if drafter else [replica]
    added = draft_weights(replica, batch.draft) if batch.draft else 0.0
    stored, taken = weights(replica) + added, workspace_of(replica, workspace)
    alive = activations(replica, tokens=batch.max_num_batched_tokens, sequences=batch.max_num_seqs)
    left = left_for_cache(
        replica, tokens=batch.max_num_batched_tokens, sequences=batch.max_num_seqs,
        gpu_memory_utilization=gpu_memory_utilization, workspace=taken,
    ) - added  # fmt: skip

    def cache(tokens: Array) -> Array:
        return sum(kv_bytes_per_sequence(holder, tokens) for holder in holders)

    per_token = sum(kv_bytes_per_token(holder) for holder in holders)
    blocks = np.floor(max(left, 0.0) / per_token / BLOCK_SIZE)
    shared = batch.cached_prefix // BLOCK_SIZE * BLOCK_SIZE
    prefix = cache(shared)
    each = cache(batch.prompt + batch.output + batch.candidates - 1 - shared)
    needed = prefix + np.ceil(batch.batch_size / replica.dp_ranks) * each
    too_long = batch.prompt + batch.output > batch.longest(replica.model)
    unfit = np.select([left <= 0, too_long, needed > left], [WEIGHTS, CONTEXT_LENGTH, KV_CACHE], ALL_FITS)
    return {
        "weights": stored, "activations": alive, "kv_bytes_per_token": per_token,
        "kv_capacity": blocks * BLOCK_SIZE * replica.dp_ranks, "memory": stored + alive + taken + needed,
        "workspace": taken, "usable_memory": stored + alive + taken + left, "unfit": unfit,
        "largest_batch": np.where(too_long, 0, np.floor(max(left - prefix, 0.0) / each) * replica.dp_ranks),
    }  # fmt: skip
