"""What an operator works on and what it costs: steps, widths, conventions, and FLOPs and bytes of a kernel call."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..catalog.model_entries import Model
from ..common.arrays import Array


@dataclass(frozen=True)
class Step:
    """What one forward pass works on; every field is a number or an array [1].

    sequences : sequences in the batch
    new_tokens : tokens computed per sequence
    context : tokens that a new one may attend to, per sequence
    cached : those of `context` that every new token sees; the rest are the new tokens, which see each other causally
    logits : positions per sequence whose logits are computed
    """

    sequences: Array
    new_tokens: Array
    context: Array
    cached: Array
    logits: Array = 1

    @property
    def tokens(self) -> Array:
        """Tokens computed in the whole batch [1]."""
        return self.sequences * self.new_tokens


def prefill(batch_size: Array, seq_len: Array, *, logits: str = "last") -> Step:
    """The prompt: new tokens = context = `seq_len`; logits of the "last" position or of "all"."""
    return Step(batch_size, seq_len, seq_len, 0, 1 if logits == "last" else seq_len)


def decode(batch_size: Array, seq_len: Array, *, candidates: Array = 1) -> Step:
    """One decoding step over a cache of `seq_len` tokens: 1 new token, or the candidates of a Medusa tree."""
    return Step(batch_size, candidates, seq_len, seq_len, candidates)


@dataclass(frozen=True)
class Widths:
    """Bytes per element [byte]; `experts` are the weights of routed experts."""

    weight: float = 2
    activation: float = 2
    kv: float = 2
    lm_head: float = 2
    experts: float = 2


@dataclass(frozen=True)
class Conventions:
    """Conventions that tools differ in.

    causal : credit attention for the scores that the causal mask leaves out; None: fused yes, unfused no
    scores : attention scores go through "memory" or stay on "chip"; None: fused on chip, unfused through memory
    """

    causal: bool | None = None
    scores: str | None = None


@dataclass(frozen=True)
class Cost:
    """One kernel call, as a batched GEMM where it is one; dims are those of the step, broadcast.

    flops [FLOP] and bytes [byte] per call; batch, m, n, k of the GEMM [1]; calls per forward pass [1]
    kernel : what runs it, a key of `kernels.KERNELS`; only the kernel-time model reads this and the rest
    activations : those of `bytes` that other kernels of the pass write or read next [byte]
    group : query heads per KV head, and sequences : of a fused attention [1]; score_flops : of one of its scores [FLOP]
    gpus : that take part in a collective [1]
    """

    flops: Array
    bytes: Array
    m: Array
    n: Array
    k: Array
    batch: Array = 1
    calls: int = 1
    kernel: str = "gemm"
    activations: Array = 0.0
    group: Array = 1
    score_flops: Array = 1.0
    sequences: Array = 1
    gpus: int = 1


Operator = Callable[[Model, Step, Widths, Conventions], Cost | None]


def linear(m: Array, k: Array, n: Array, weight: float, activation: float, *, calls: int, batch: Array = 1) -> Cost:
    """(m x k) activations times (k x n) weights, `batch` times."""
    activations = (k + n) * activation * batch * m  # the arrays last: fewer passes over them
    moved = activations + k * n * weight * batch
    return Cost(2.0 * k * n * batch * m, moved, m, n, k, batch, calls, activations=activations)


# Attention --------------------------------------------------------------------------------------------------------


def scores_per_sequence(step: Step, window: int | None, *, causal: bool) -> Array:
    """Scores that one head computes for one sequence [1].

    Every new token sees at most `window` tokens; with `causal`, no token sees a later one: prefill has s (s + 1) / 2.
    """
    visible = step.context if window is None else np.minimum(step.context, window)
    hidden = np.maximum(visible - step.cached, 0)
    return step.new_tokens * visible - (hidden * (hidden - 1.0) / 2 if causal else 0)


def gemm_cost(*, m: Array, n: Array, k: Array, width: Array, batch: Array = 1) -> Cost:
    """Work of `batch` products whose three matrices have elements of `width` [byte]."""
    activations = batch * m * (k + n) * width
    moved = activations + batch * k * n * width
    return Cost(2.0 * batch * m * n * k, moved, m, n, k, batch, activations=activations)


def attention_cost(
    *, new_tokens: Array, context: Array, batch_size: Array, n_heads: Array, n_kv_heads: Array, head_dim: Array,
    width: Array, causal: bool = True,
) -> Cost:  # fmt: skip
    """Work of fused attention, as `operators.attention` counts it; `width` of queries and cache [byte]."""
    step = Step(batch_size, new_tokens, context, context - new_tokens)
    batch = batch_size * n_heads
    scores = batch * scores_per_sequence(step, None, causal=causal)
    moved = 2 * head_dim * width * (batch * new_tokens + batch_size * n_kv_heads * context)
    group = n_heads / n_kv_heads
    return Cost(
        4.0 * scores * head_dim, moved, new_tokens, context, head_dim, batch,
        kernel="attention", activations=2 * head_dim * width * batch * new_tokens, group=group,
        score_flops=4.0 * head_dim, sequences=batch_size,
    )  # fmt: skip


PHASES = ("prefill", "decode")
