"""What an operator works on and what it costs: steps, widths, conventions, and the work of one kernel call.

Prefill, decode and the verification of candidates differ in the numbers of a `Step` only. A multiply-add is two FLOPs.
Bytes are those that must cross the memory bus once: each operand read once, each result written once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..common.arrays import Array, np
from .routing import Routed

PHASES = ("prefill", "decode")
#: Stored operands that are weights, by part of the model; "weight" is any other.
WEIGHT_OPERANDS = ("weight", "attention", "linear_attention", "mlp", "experts", "shared", "lm_head")


@dataclass(frozen=True)
class Step:
    """What one forward pass works on."""

    sequences: Array  #: sequences in the batch [1]
    new_tokens: Array  #: tokens computed for each sequence [token]
    context: Array  #: tokens of each sequence that a new one may attend to [token]
    #: Those of the context that every new token sees; the rest are the new ones, which see each other causally [token].
    cached: Array
    logits: Array = 1  #: positions of each sequence whose logits are computed [1]

    def __post_init__(self) -> None:  # whole numbers as float64: their products pass 2^63
        for name, size in vars(self).items():
            if not isinstance(size, float) and getattr(size, "dtype", "") != "float64":
                wide = size.astype("float64") if hasattr(size, "astype") else float(size)
                object.__setattr__(self, name, wide)

    @property
    def tokens(self) -> Array:
        """Tokens computed in the whole batch [token]."""
        return self.sequences * self.new_tokens


def prefill(batch_size: Array, seq_len: Array, *, logits: str = "last") -> Step:
    """Prompts of `seq_len` tokens: new tokens = context.

    Parameters
    ----------
    batch_size, seq_len : float or ndarray
        Sequences [1], and the prompt of each [token].
    logits : str
        Of the "last" position or of "all".

    Returns
    -------
    Step
        Its fields broadcast.
    """
    return Step(batch_size, seq_len, seq_len, 0, 1 if logits == "last" else seq_len)


def decode(batch_size: Array, seq_len: Array, *, candidates: Array = 1) -> Step:
    """One decoding step over a cache of `seq_len` tokens.

    Parameters
    ----------
    batch_size, seq_len : float or ndarray
        Sequences [1], and the cached context of each [token].
    candidates : float or ndarray
        Tokens computed for each: 1, or the candidates of a Medusa tree or of a draft [token].

    Returns
    -------
    Step
        Its fields broadcast.
    """
    return Step(batch_size, candidates, seq_len, seq_len, candidates)


@dataclass(frozen=True)
class Widths:
    """Bytes per element of each kind of operand [byte]: weights, but for parts of a model that have another width."""

    weight: float = 2
    activation: float = 2
    kv: float = 2
    lm_head: float = 2
    experts: float = 2  #: routed ones
    attention: float | None = None  #: its projections; None, as for the rest: `weight`
    linear_attention: float | None = None
    mlp: float | None = None  #: dense ones
    shared: float | None = None  #: experts that every token passes
    index: float | None = None  #: keys that an indexer chooses tokens by, their scales included; None: `kv`
    narrowed: tuple[tuple[str, float], ...] = ()  #: activations of parts that are not as the others', by operand
    by_weights: bool = False  #: activations are no narrower than the weights, or keys, that they are multiplied with

    def stored(self, operand: str) -> float:
        """An element of a stored operand of weights; of any other, as of the residual [byte]."""
        own: float | None = getattr(self, operand) if operand in WEIGHT_OPERANDS else self.residual
        return self.weight if own is None else own

    def of(self, operand: str) -> Widths:
        """Those of an operator by its stored operand, whose width is then in `weight`, and its activations'."""
        if operand not in (*WEIGHT_OPERANDS, "kv"):
            return self
        weight = self.weight if operand == "kv" else self.stored(operand)
        factor = self.kv if operand == "kv" else weight
        least = next((width for width in (2.0, 1.0) if self.by_weights and factor >= width), 0.0)
        activation = max(dict(self.narrowed).get(operand, self.activation), least)
        if (weight, activation) == (self.weight, self.activation):
            return self
        return replace(self, weight=weight, activation=activation)

    @property
    def residual(self) -> float:
        """Of what passes between the matrix products, which only their inputs are narrowed from: 16 bits or more."""
        return max(self.activation, 2.0)


@dataclass(frozen=True)
class Conventions:
    """Conventions that tools differ in."""

    #: Credit attention for the scores that the causal mask leaves out. None: fused yes, unfused no.
    causal: bool | None = None
    #: Attention scores go through "memory" or stay on "chip". None: fused on chip, unfused through memory.
    scores: str | None = None
    #: How much more popular some experts are than others, the standard deviation of its logarithm; 0: all alike [1].
    expert_spread: float = 0.0


@dataclass(frozen=True)
class Cost:
    """One kernel call, as a batched GEMM where it is one; dims are those of the step, broadcast."""

    flops: Array  #: work [FLOP]
    bytes: Array  #: traffic of the memory bus [byte]
    m: Array  #: rows of the GEMM [1]
    n: Array  #: columns of the GEMM [1]
    k: Array  #: length of its sums [1]
    batch: Array = 1  #: GEMMs in the call [1]
    calls: int = 1  #: calls in a forward pass [1]
    kernel: str = "gemm"  #: what runs it, a key of `kernels.LAWS`; only the laws read this and the rest
    activations: Array = 0.0  #: those of the bytes that other kernels of the pass write before or read next [byte]
    group: Array = 1  #: query heads that share a KV head [1]
    score_flops: Array = 1.0  #: FLOPs of one attention score and of its share of the output [FLOP]
    sequences: Array = 1  #: sequences of an attention [1]
    gpus: int = 1  #: GPUs that take part in a collective [1]
    format: str = "bf16"  #: of the kernel, one of `catalog.fits.NEAR_FORMATS`
    cache: Array = 0.0  #: those of the bytes that are keys and values, be they in memory or replayed from L2 [byte]
    latent: Latent | None = None  #: as for `Heads`
    window: Array = float("inf")  #: tokens that a new one of an attention sees at most [token]
    hidden: Array = 0.0  #: tokens of a sequence that the window hides from its last new one [token]
    routed: Routed | None = None  #: how a grouped GEMM of routed experts got its rows
    row_tiles: bool = False  #: a product that widens its weights takes whole tiles of few rows, too
    parts: tuple[Cost, ...] = ()  #: the kernels of a fused layer, where this is all of them
    elsewhere: Array = 0.0  #: those of an elementwise kernel's bytes that another kernel's law has the time of [byte]


def gemm(
    m: Array, k: Array, n: Array, *, weight: Array, activation: Array, batch: Array = 1, calls: int = 1,
    kernel: str = "gemm",
) -> Cost:  # fmt: skip
    """Work of (m x k) activations times (k x n) weights, b = `batch` times: 2 b m n k FLOPs.

    The bytes are b (m k + m n) of the activations' width and b k n of the weights'.

    Parameters
    ----------
    m, k, n, batch : float or ndarray
        Sizes [1].
    weight, activation : float or ndarray
        Width of an element of the (k x n) matrix, and of the two others [byte].
    calls, kernel : int, str
        As for `Cost`.

    Returns
    -------
    Cost
        Of one call.
    """
    activations = 1.0 * (k + n) * activation * batch * m  # the arrays last: fewer passes over them
    moved = activations + 1.0 * k * n * weight * batch
    flops = 2.0 * k * n * batch * m
    return Cost(flops, moved, m, n, k, batch=batch, calls=calls, kernel=kernel, activations=activations)


@dataclass(frozen=True)
class Heads:
    """The heads of one layer's attention."""

    n_heads: Array  #: query heads [1]
    qk_dim: Array  #: length of the dot product of a query and a key [1]
    v_dim: Array  #: length of a value [1]
    k_bytes: Array  #: keys of one token of the context, of all heads [byte]
    v_bytes: Array  #: its values [byte]
    group: Array  #: query heads that share a KV head [1]
    latent: Latent | None = None  #: of which other heads they are a choice; None: no latent attention


@dataclass(frozen=True)
class Latent:
    """The two ways of latent attention, and which of them has the fewer FLOPs."""

    expanded: Heads  #: heads that the cache is expanded to
    absorbed: Heads  #: query heads that share the latent, whose values are part of its keys
    absorbs: Array  #: whether the work is that of the absorbed ones
    most_absorbed: Array  #: up to how many new tokens it is, over the same context [token]


def scores_per_sequence(step: Step, window: Array | None, *, causal: bool, chunked: bool = False) -> Array:
    """Scores that one head computes for one sequence [1].

    Every new token sees at most `window` tokens; with `causal`, no token sees a later one: prefill has s (s + 1) / 2.
    `chunked`, it sees those of its own chunk of `window`, from its first token on: n prompts' tokens see
    q c (c + 1) / 2 + r (r + 1) / 2, with n = q c + r; without `causal`, the whole chunk, as far as there is one.
    """
    visible = step.context if window is None else np.minimum(step.context, window)
    if not chunked or window is None:
        hidden = np.maximum(visible - step.cached, 0)
        return step.new_tokens * visible - (hidden * (hidden - 1.0) / 2 if causal else 0)
    new = np.minimum(np.maximum(step.context - step.cached, 0), step.new_tokens)
    if causal:
        among = _in_chunks(step.context, window) - _in_chunks(step.context - new, window)
    else:
        last = np.minimum(new, step.context % window)
        among = (new - last) * window + last * (step.context % window)
    return among + (step.new_tokens - new) * in_chunk(step.context, window)


def _in_chunks(tokens: Array, chunk: Array) -> Array:
    """Scores of so many tokens, each over those of its own chunk up to itself [1]."""
    rest = tokens % chunk
    return (tokens - rest) * (chunk + 1.0) / 2 + rest * (rest + 1.0) / 2


def in_chunk(context: Array, chunk: Array) -> Array:
    """Tokens of its own chunk that the last of a context sees, itself among them [token]."""
    return (context - 1) % chunk + 1


def _seen(step: Step, window: Array | None, sight: str) -> tuple[Array, Array]:
    """Tokens that the last new one of a sequence sees, and those of which all its new ones read keys [token]."""
    context, new = step.context, step.new_tokens
    if window is None:
        return context, context
    visible = np.minimum(context, window)
    if sight == "chosen":
        return visible, np.minimum(context, window * new)
    if sight == "chunk":
        among = np.minimum(np.maximum(context - step.cached, 0), new)
        first = np.maximum(context - np.maximum(among, 1), 0)
        return np.where(among > 1, visible, in_chunk(context, window)), context - (first - first % window)
    return visible, np.minimum(context, window + new - 1)


def attention(
    step: Step, heads: Heads, activation: Array, *, part: str = "fused", window: Array | None = None,
    sight: str = "last", causal: bool = True, scores: str = "chip", calls: int = 1,
) -> Cost:  # fmt: skip
    """Work of one layer's attention: 2 B T C H (D_qk + D_v) FLOPs for B sequences of T new tokens over C of context.

    The causal credit is off that; the softmax's own FLOPs are left out (about 1 % at D = 128). Keys and values are read
    once a KV head.

    Parameters
    ----------
    step, heads : Step, Heads
        What it works on, and its heads.
    activation : float or ndarray
        Width of queries, scores and outputs [byte].
    part : str
        "qk", "pv", or "fused" for both in one kernel.
    window : float or ndarray, optional
        Tokens that a new one sees at most [token].
    sight : str
        Which these are: the "last" ones, those of its own "chunk" of `window`, or some that are "chosen" for it alone.
    causal : bool
        Skip the scores that the causal mask leaves out.
    scores : str
        They stay on "chip", or are written to "memory" (and read again by "pv").
    calls : int
        Calls in a forward pass [1].

    Returns
    -------
    Cost
        Of one call.

    References
    ----------
    Dao et al. 2022, FlashAttention, arXiv 2205.14135.
    """
    dims = heads.qk_dim * (part != "pv") + heads.v_dim * (part != "qk")
    a_token = heads.k_bytes * (part != "pv") + heads.v_bytes * (part != "qk")
    visible, read = _seen(step, window, sight)
    batch = step.sequences * heads.n_heads
    count = batch * scores_per_sequence(step, window, causal=causal, chunked=sight == "chunk")
    cache = step.sequences * read * a_token
    moved = batch * step.new_tokens * dims * activation + cache
    if scores == "memory":
        moved = moved + count * activation * (2 if part == "fused" else 1)
    n, k = (heads.v_dim, visible) if part == "pv" else (visible, heads.qk_dim)
    kernel = "unfused" if part != "fused" else "attention" if heads.latent is None else "mla"
    return Cost(
        2.0 * count * dims, moved, step.new_tokens, n, k, batch=batch, calls=calls, kernel=kernel,
        activations=moved - cache, group=heads.group, score_flops=2.0 * dims, sequences=step.sequences, cache=cache,
        latent=heads.latent, window=float("inf") if window is None or sight == "chosen" else window,
        hidden=0.0 if sight == "chosen" else step.context - visible,
    )  # fmt: skip
