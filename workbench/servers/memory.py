"""What a server's memory holds on each GPU: weights, activations, workspace, and what is left for the KV cache.

Everything is per GPU, and that of the fullest one where they differ. vLLM may use a share of the device memory, loads
the weights, runs its largest step once for the activations, and takes the rest for blocks of KV cache (Kwon et al.
2023, arXiv 2309.06180); TensorRT-LLM takes a share of what is then free; SGLang, a share for weights and KV cache
together. What they print when they start is in `data/serving/startup-logs.csv`.
"""

import numpy as np

from ..catalog import DEFAULT_ENGINE, GPU, EngineMemory, Model
from ..catalog import engine as find_engine
from ..catalog.dtypes import WIDTH, element_bytes
from ..common.arguments import check_range
from ..common.arrays import Array
from ..common.errors import CannotRun
from ..common.matrices import embedding_weights, layer_matrices
from ..kernels import assumptions
from ..kernels.unknowns import joined, kernel_kinds
from ..operators import OPERATORS
from .drafts import Draft, drafting_replica
from .replica import Replica

#: Tokens in a block of the KV cache, vLLM's default [token].
BLOCK_SIZE = 16


def weights(replica: Replica) -> float:
    """Weights on one GPU, scales of quantized formats included, norms and biases (under 0.3 %) not [byte].

    Embeddings are stored as the checkpoint says, or as lm_head is by default (in 16 bit where other weights are
    narrower), once where the two are tied.
    """
    part, w = replica.shard, replica.formats.widths
    embedding = embedding_weights(part) * replica.formats.embeddings
    head = part.hidden_size * part.vocab_size * w.lm_head
    if replica.pp > 1:
        return layer_weights(replica) + max(embedding, head)
    return layer_weights(replica) + embedding + (0.0 if part.tied_embeddings else head)


def layer_weights(replica: Replica) -> float:
    """Those of the layers alone, of one stage of the pipeline [byte]."""
    part, w = replica.shard, replica.formats.widths
    experts = (part.moe.n_experts + replica.redundant_experts) // replica.ep if part.moe else None
    stored = 0.0
    for name, matrix in layer_matrices(part, experts).items():  # convolutions are no operator's
        stored += matrix.weights * w.stored(OPERATORS[name].operand if name in OPERATORS else "residual")
    return stored * _stage(replica)


def _stage(replica: Replica) -> float:
    """Share of the layers in the largest stage of the pipeline [1]."""
    return -(-replica.model.n_layers // replica.pp) / replica.model.n_layers


def kv_bytes_per_token(replica: Replica) -> float:
    """What one token of a sequence adds to the KV cache of one GPU, while it is within every layer's window [byte].

    With `tp` beyond the KV heads each is stored several times; the latent cache of MLA is on every GPU.
    """
    return sum(_cached(replica)) * _stage(replica)


def _cached(replica: Replica) -> tuple[float, float]:
    """What a token adds to the cache in all layers that see everything, with an indexer's keys, and others [byte]."""
    (full, sliding), index, widths = replica.shard.kv_elements, replica.shard.index_elements, replica.formats.widths
    chosen_by = widths.kv if widths.index is None else widths.index
    return (full - index) * widths.kv + index * chosen_by, sliding * widths.kv


def kv_bytes_per_sequence(replica: Replica, tokens: Array, *, block_size: int = BLOCK_SIZE) -> Array:
    """KV cache and states of one sequence of `tokens` [token] on one GPU [byte].

    Whole blocks; layers with a window, or with chunks of attention, keep no more than that; layers with linear
    attention have the same state from the first token on.
    """
    part = replica.shard
    kept = np.ceil(np.asarray(tokens, dtype=float) / block_size) * block_size
    full, sliding = _cached(replica)
    cached = full * kept
    if window := part.sliding_window:
        cached = cached + sliding * np.minimum(kept, np.ceil(window.size / block_size) * block_size)
    states = np.where(kept > 0, state_bytes(replica), 0.0)
    return cached * _stage(replica) + states


def state_bytes(replica: Replica) -> float:
    """States of one sequence on one GPU, in the layers with linear attention [byte]."""
    return replica.shard.state_bytes_per_sequence * _stage(replica)


def activations(replica: Replica, *, tokens: int, sequences: int) -> float:
    """Activations that are alive at once in a step of `tokens` with logits of `sequences`, on one GPU [byte].

    The larger of the layers' and the sampler's, as the sampler runs after them. In a layer, a token's residual, hidden
    state and its normalized copy, and the widest of: Q, K, V and the heads' outputs, or those of linear attention;
    gate, up and their product; those of its experts, with their outputs; beside them the layers' own inputs; all in the
    residual's 16 bits, from which products narrow their inputs. In the sampler, logits of the whole vocabulary on each
    GPU, and `logit_copies` of the engine of each.
    """
    own = replica.shard.per_layer_embedding
    elements = (
        3 * replica.shard.hidden_size + max(_widest(replica.shard)) + (own.size * replica.model.n_layers if own else 0)
    )
    logits = sequences * replica.model.vocab_size * memory_rule(replica).logit_copies * WIDTH["fp32"]
    return max(tokens * elements * replica.formats.widths.residual, logits)


def _widest(part: Model) -> list[float]:
    """Elements of one token inside the attention and inside the MLPs [1]."""
    mlp, of_experts = (3 if gated else 2 for gated in (part.gated, part.experts_gated))
    if mla := part.mla:
        sizes: list[float] = [part.n_heads * 2 * (mla.qk_head_dim + mla.v_head_dim)]
    else:
        sizes = [(kind.n_heads + kind.n_kv_heads) * (kind.qk_dim + kind.v_dim) for kind in part.kinds]
    if linear := part.linear_attention:
        sizes.append(linear.in_columns + linear.gate_columns * bool(linear.gate_rank) + linear.values)
    dense = mlp * part.intermediate_size if part.dense_layers else 0
    sizes.append(dense)
    if moe := part.moe:
        routed = moe.experts_per_token * (of_experts * moe.intermediate_size + (moe.latent_size or part.hidden_size))
        sizes.append(routed + of_experts * (moe.shared_intermediate_size or 0) + dense * moe.dense_beside)
    return sizes


def memory_rule(replica: Replica) -> EngineMemory:
    """How the engine shares out a GPU's memory; the kernels alone, as the default one."""
    return find_engine(replica.engine or DEFAULT_ENGINE).memory


def workspace_of(replica: Replica, workspace: float | None = None) -> float:
    """What CUDA and its libraries take, on one GPU, of what the server may use: as given, or its engine's [byte]."""
    return memory_rule(replica).workspace(replica.joined_gpus) if workspace is None else workspace


def device_memory(replica: Replica) -> float:
    """Memory of one GPU, its `memory_bytes` [byte]; ValueError where the catalog has none."""
    if replica.gpu.memory_bytes is None:
        raise CannotRun(f"{replica.gpu.id} has no memory.capacity_gb in its catalog entry", "memory unknown")
    return replica.gpu.memory_bytes


def assumed(replica: Replica) -> str:
    """What an answer assumes of a replica's GPU: of kernels (`kernels.assumptions`), and of memory."""
    exchanging = replica.dp_ranks if replica.model.moe else 1
    shared = [name for name, gpus in (("all_reduce", replica.tp), ("all_to_all", exchanging)) if gpus > 1]
    run = kernel_kinds(replica.model, [*replica.operators, *shared], replica.formats)
    kernels = assumptions([replica.gpu], replica.time_model, run, engine=replica.engine)
    return joined([kernels, memory_assumed(replica.gpu), replica.formats.assumed])


def memory_assumed(gpu: GPU) -> str:
    """Whether a GPU's memory is its vendor's; empty where its driver's is known."""
    if gpu.memory.reported_gib is not None or gpu.memory.capacity_gb is None:
        return ""
    return f"{gpu.id}: memory is the vendor's {gpu.memory.capacity_gb:g} GB, for want of what its driver reports"


def left_for_cache(
    replica: Replica,
    *,
    tokens: int,
    sequences: int,
    gpu_memory_utilization: float | None = None,
    workspace: float | None = None,
) -> float:
    """What weights and the activations of the largest step leave for the KV cache, on one GPU; negative if none [byte].

    Parameters
    ----------
    replica : Replica
        What runs the model.
    tokens, sequences : int
        Of the largest step, as for `activations` [token], [1].
    gpu_memory_utilization : float, optional
        Share of the memory that the server may use, by its engine's rule; None is the engine's own [1].
    workspace : float, optional
        Of that, what CUDA, its libraries, collectives and graphs take; None is the engine's [byte].

    Returns
    -------
    float
        vLLM: that share of the memory, less weights, activations and workspace. TensorRT-LLM: that share of what these
        three leave. SGLang: that share of what the workspace leaves, less weights [byte].

    Raises
    ------
    ValueError
        For numbers out of their range, and a GPU whose catalog entry has no capacity.
    """
    rule, total = memory_rule(replica), device_memory(replica)
    stored, alive = weights(replica), activations(replica, tokens=tokens, sequences=sequences)
    taken = check_range("workspace", workspace_of(replica, workspace), np.inf, "bytes")
    share = rule.share if gpu_memory_utilization is None else gpu_memory_utilization
    if share is None and rule.reserve is not None:
        share = 1 - rule.reserve.bytes(total, tokens=tokens, gpus=replica.joined_gpus) / total
    share = check_range("gpu_memory_utilization", share, 1, "shares")
    if rule.of == "free":
        return share * (total - taken - stored - alive)
    if rule.of == "static":
        return share * (total - taken) - stored
    return share * total - taken - stored - alive


def draft_weights(replica: Replica, draft: Draft) -> float:
    """Weights that guessing adds on one GPU [byte]; an MTP layer shares the target's embeddings and head."""
    if drafter := drafting_replica(replica, draft):
        return layer_weights(drafter) if draft.mtp else weights(drafter)
    h, vocab = replica.shard.hidden_size, replica.shard.vocab_size
    return draft.heads * h * (h + vocab) * element_bytes("fp16")
