"""What the GPUs of a replica exchange in a step: sums over tp, tokens between the groups of experts, and stages."""

from collections.abc import Iterator

import numpy as np

from ..common.arrays import Array
from ..kernels import machine_size
from ..operators import COLLECTIVES, Cost, Step
from ..operators.parallel import all_to_all, gathered
from .network import collective_time, stages_time
from .replica import Replica


def exchanges(replica: Replica, own: Step, whole: Step) -> Iterator[tuple[str, Cost, Array]]:
    """The collectives of a step by name, each with its work on one GPU and the time of all its calls [s].

    Of attention and MLP, dense or of experts, every group of tp GPUs adds up its `own` tokens. Several groups exchange
    the tokens of the `whole` step around routed experts; each GPU of a group then has an even share of its tokens to
    send, and `all_to_all` is the faster of two exchanges, and of an all-gather with a reduce-scatter.
    """
    part, widths = replica.shard, replica.formats.widths

    def seconds(cost: Cost, forwarded: Array | None = None) -> Array:
        one = collective_time(replica.gpu, cost, replica.timing, replica.network, forwarded=forwarded)
        return cost.calls * one

    if reduced := COLLECTIVES["all_reduce"](part, own, widths, replica.tp):
        yield "all_reduce", reduced, seconds(reduced)
    gpus = replica.tp * replica.dp_ranks
    if replica.dp_ranks == 1 or part.moe is None:
        return
    sent, shared_by = Step(own.sequences / replica.tp, 1, 1, 0), replica.expert_gpus
    exchanged = all_to_all(part, sent, widths, gpus, shared_by=shared_by)
    assert exchanged
    forwarded: Array | None = None
    if (machines := -(-gpus // machine_size(replica.gpu))) > 1:
        once = all_to_all(part, sent, widths, machines, shared_by=max(shared_by * machines // gpus, 1))
        forwarded = once.bytes / 2 if once else None
    gather, scatter = gathered(part, whole, widths, gpus)
    taken = np.minimum(seconds(exchanged, forwarded), seconds(gather) + seconds(scatter))
    yield "all_to_all", exchanged, taken


def between_stages(replica: Replica, own: Step) -> Array:
    """Time in which the activations of a group's `own` tokens pass from stage to stage, in the residual's width [s]."""
    if replica.pp == 1:
        return 0.0
    moved = own.tokens * replica.model.hidden_size * replica.formats.widths.residual
    return stages_time(
        replica.gpu, moved, stages=replica.pp, gpus=replica.tp * replica.dp_ranks, timing=replica.timing,
        network=replica.network,
    )  # fmt: skip
