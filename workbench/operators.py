"""What each operator of a transformer computes and moves: FLOPs, bytes and GEMM shape of one kernel call.

A `Step` says what one forward pass works on; prefill, decode and the verification of candidates differ in its numbers
only. Every function takes ``(model, step, widths, options)`` and returns a `Cost`, or None where the model has no such
operator. A multiply-add is two FLOPs. Bytes are those that must cross the memory bus once: each operand read once, each
result written once.

The unfused operators are table 5 of the Medusa paper (Cai et al. 2024, arXiv 2401.10774v3), which follows Chen,
"Dissecting Batching Effects in GPT Inference" (2023), with grouped-query heads, other MLPs and byte widths added.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .catalog import Model

Array = Any  # a number or a numpy array; all of them broadcast


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
class Options:
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


Operator = Callable[[Model, Step, Widths, Options], Cost | None]


def _gemm(m: Array, k: Array, n: Array, weight: float, activation: float, *, calls: int, batch: Array = 1) -> Cost:
    """(m x k) activations times (k x n) weights, `batch` times."""
    activations = (k + n) * activation * batch * m  # the arrays last: fewer passes over them
    moved = activations + k * n * weight * batch
    return Cost(2.0 * k * n * batch * m, moved, m, n, k, batch, calls, activations=activations)


# Attention projections --------------------------------------------------------------------------------------------


def _projection(model: Model, step: Step, w: Widths, heads: int) -> Cost | None:
    if model.mla:
        return None
    return _gemm(step.tokens, model.hidden_size, heads * model.head_dim, w.weight, w.activation, calls=model.n_layers)


def qkv_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Q, K and V in one GEMM: h -> (H + 2 Hkv) D."""
    return _projection(model, step, w, model.n_heads + 2 * model.n_kv_heads)


def q_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Queries: h -> H D; with latent attention and no query rank h -> H (D_nope + D_rope)."""
    if model.mla and not model.mla.q_lora_rank:
        width = model.n_heads * (model.mla.qk_nope_head_dim + model.mla.qk_rope_head_dim)
        return _gemm(step.tokens, model.hidden_size, width, w.weight, w.activation, calls=model.n_layers)
    return _projection(model, step, w, model.n_heads)


def k_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Keys (`v_proj` is the same for values): h -> Hkv D."""
    return _projection(model, step, w, model.n_kv_heads)


def o_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost:
    """Heads back to the hidden size: H D_v -> h."""
    width = model.n_heads * (model.mla.v_head_dim if model.mla else model.head_dim)
    return _gemm(step.tokens, width, model.hidden_size, w.weight, w.activation, calls=model.n_layers)


def q_a_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Latent attention, queries down: h -> q rank (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""
    if not (model.mla and model.mla.q_lora_rank):
        return None
    return _gemm(step.tokens, model.hidden_size, model.mla.q_lora_rank, w.weight, w.activation, calls=model.n_layers)


def q_b_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Latent attention, queries up: q rank -> H (D_nope + D_rope)."""
    if not (model.mla and model.mla.q_lora_rank):
        return None
    width = model.n_heads * (model.mla.qk_nope_head_dim + model.mla.qk_rope_head_dim)
    return _gemm(step.tokens, model.mla.q_lora_rank, width, w.weight, w.activation, calls=model.n_layers)


def kv_a_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Latent attention, keys and values down to what is cached: h -> kv rank + D_rope."""
    if not model.mla:
        return None
    width = model.mla.kv_lora_rank + model.mla.qk_rope_head_dim
    return _gemm(step.tokens, model.hidden_size, width, w.weight, w.activation, calls=model.n_layers)


def kv_b_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Latent attention, the up-projection of keys and values: kv rank -> H (D_nope + D_v).

    Either over the whole context (the cache is expanded), or absorbed: applied to the new tokens' queries and outputs.
    """
    if not (mla := model.mla):
        return None
    up = model.n_heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    expand = _expands(model, step)
    rows = np.where(expand, step.sequences * step.context, step.tokens)
    read = np.where(expand, mla.kv_lora_rank * w.kv, up * w.activation)
    written = np.where(expand, up, 2 * model.n_heads * mla.kv_lora_rank) * w.activation
    moved = rows * (read + written) + mla.kv_lora_rank * up * w.weight
    flops = 2.0 * rows * mla.kv_lora_rank * up
    return Cost(flops, moved, rows, up, mla.kv_lora_rank, calls=model.n_layers, activations=rows * written)


def _expands(model: Model, step: Step) -> Array:
    """Whether latent attention is cheaper [FLOP] with the cache expanded to heads (prompts) or absorbed (decoding)."""
    assert model.mla is not None
    mla = model.mla
    up = mla.kv_lora_rank * (mla.qk_nope_head_dim + mla.v_head_dim)
    head = mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim
    latent = 2 * mla.kv_lora_rank + mla.qk_rope_head_dim
    return step.context * (up + step.new_tokens * head) < step.new_tokens * (up + step.context * latent)


# Attention --------------------------------------------------------------------------------------------------------


def scores_per_sequence(step: Step, window: int | None, *, causal: bool) -> Array:
    """Scores that one head computes for one sequence [1].

    Every new token sees at most `window` tokens; with `causal`, no token sees a later one: prefill has s (s + 1) / 2.
    """
    visible = step.context if window is None else np.minimum(step.context, window)
    hidden = np.maximum(visible - step.cached, 0)
    return step.new_tokens * visible - (hidden * (hidden - 1.0) / 2 if causal else 0)


class _Heads(NamedTuple):
    """One layer's attention: dot-product sizes [1], bytes read of a token in the context, heads a KV head [1]."""

    qk_dim: Array
    v_dim: Array
    k_bytes: Array
    v_bytes: Array
    group: Array


def _heads(model: Model, step: Step, w: Widths, *, fused: bool) -> _Heads:
    mla = model.mla
    if mla is None:
        read = model.n_kv_heads * model.head_dim * w.kv
        return _Heads(model.head_dim, model.head_dim, read, read, model.n_heads // model.n_kv_heads)
    expand = _expands(model, step)
    head, latent = mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.kv_lora_rank + mla.qk_rope_head_dim
    again = 0 if fused else mla.kv_lora_rank * w.kv  # absorbed, the values are part of the latent keys
    return _Heads(
        np.where(expand, head, latent),
        np.where(expand, mla.v_head_dim, mla.kv_lora_rank),
        np.where(expand, model.n_heads * head * w.activation, latent * w.kv),
        np.where(expand, model.n_heads * mla.v_head_dim * w.activation, again),
        np.where(expand, 1, model.n_heads),
    )


def _window(model: Model, *, hybrid: bool) -> tuple[int | None, int]:
    """Window and number of the layers that an attention operator runs on.

    A model whose layers are all alike has one kind; a hybrid has full layers and sliding ones, an operator each.
    """
    sliding = model.sliding_window
    if hybrid:
        return (sliding.size, sliding.layers) if sliding and sliding.layers < model.n_layers else (None, 0)
    if sliding and sliding.layers == model.n_layers:
        return sliding.size, model.n_layers
    return None, model.n_layers - (sliding.layers if sliding else 0)


def _context_read(step: Step, window: int | None) -> Array:
    """Tokens per sequence whose keys and values are read [1]."""
    return step.context if window is None else np.minimum(step.context, window + step.new_tokens - 1)


def _attention(model: Model, step: Step, w: Widths, options: Options, part: str, *, hybrid: bool) -> Cost | None:
    """The scores ("qk"), their product with the values ("pv"), or both in one kernel ("fused")."""
    window, layers = _window(model, hybrid=hybrid)
    if not layers:
        return None
    fused = part == "fused"
    heads = _heads(model, step, w, fused=fused)
    dims = heads.qk_dim * (part != "pv") + heads.v_dim * (part != "qk")
    read = heads.k_bytes * (part != "pv") + heads.v_bytes * (part != "qk")
    causal = fused if options.causal is None else options.causal
    batch = step.sequences * model.n_heads
    scores = batch * scores_per_sequence(step, window, causal=causal)
    moved = batch * step.new_tokens * dims * w.activation + step.sequences * _context_read(step, window) * read
    if (options.scores or ("chip" if fused else "memory")) == "memory":
        moved = moved + scores * w.activation * (2 if fused else 1)
    visible = step.context if window is None else np.minimum(step.context, window)
    n, k = (heads.v_dim, visible) if part == "pv" else (visible, heads.qk_dim)
    return Cost(
        2.0 * scores * dims, moved, step.new_tokens, n, k, batch, layers, kernel="attention" if fused else "unfused",
        activations=moved - step.sequences * _context_read(step, window) * read, group=heads.group,
        score_flops=2.0 * dims, sequences=step.sequences,
    )  # fmt: skip


def attention(model: Model, step: Step, w: Widths, options: Options) -> Cost | None:
    """Fused attention of one layer (Dao et al. 2022): the scores stay on chip.

    4 B T C H D FLOPs for B sequences of T new tokens over C of context, less the causal credit; the softmax's own
    FLOPs are left out (about 1 % at D = 128). Keys and values are read once per KV head. In a hybrid model, the full
    layers; `sliding_attention` has the rest.
    """
    return _attention(model, step, w, options, "fused", hybrid=False)


def sliding_attention(model: Model, step: Step, w: Widths, options: Options) -> Cost | None:
    """Fused attention of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, options, "fused", hybrid=True)


def qk(model: Model, step: Step, w: Widths, options: Options) -> Cost | None:
    """Q K^T, unfused: 2 B T C H D FLOPs; Q and K are read, the scores written."""
    return _attention(model, step, w, options, "qk", hybrid=False)


def pv(model: Model, step: Step, w: Widths, options: Options) -> Cost | None:
    """P V, unfused: 2 B T C H D FLOPs; the scores and V are read, the heads' outputs written."""
    return _attention(model, step, w, options, "pv", hybrid=False)


def sliding_qk(model: Model, step: Step, w: Widths, options: Options) -> Cost | None:
    """`qk` of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, options, "qk", hybrid=True)


def sliding_pv(model: Model, step: Step, w: Widths, options: Options) -> Cost | None:
    """`pv` of a hybrid model's layers that see a window only."""
    return _attention(model, step, w, options, "pv", hybrid=True)


# MLP --------------------------------------------------------------------------------------------------------------


def _mlp_up(model: Model, step: Step, w: Widths, matrices: int) -> Cost | None:
    if not model.dense_layers:
        return None
    width = matrices * model.intermediate_size
    return _gemm(step.tokens, model.hidden_size, width, w.weight, w.activation, calls=model.dense_layers)


def up_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """MLP up: h -> i."""
    return _mlp_up(model, step, w, 1)


def gate_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """MLP gate, the same size as `up_proj`, where the MLP has one (GPT, OPT, Falcon and Phi-2 do not)."""
    return _mlp_up(model, step, w, 1) if model.gated else None


def gate_up_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """MLP gate and up in one GEMM: h -> 2 i."""
    return _mlp_up(model, step, w, 2) if model.gated else None


def down_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """MLP down: i -> h."""
    if not model.dense_layers:
        return None
    return _gemm(
        step.tokens, model.intermediate_size, model.hidden_size, w.weight, w.activation, calls=model.dense_layers
    )


def experts_touched(step: Step, n_experts: int, experts_per_token: int) -> Array:
    """Expected experts that a batch reads, each token choosing k of E at random: E (1 - (1 - k/E)^T) [1]."""
    return n_experts * (1 - (1 - experts_per_token / n_experts) ** np.asarray(step.tokens, dtype=float))


def _experts(model: Model, step: Step, w: Widths, *, down: bool) -> Cost | None:
    if not (moe := model.moe):
        return None
    touched = experts_touched(step, moe.n_experts, moe.experts_per_token)
    rows = step.tokens * moe.experts_per_token / touched
    k, n = _mlp_shape(model, moe.intermediate_size, down=down)
    return _gemm(rows, k, n, w.experts, w.activation, calls=moe.layers, batch=touched)


def _mlp_shape(model: Model, width: int, *, down: bool) -> tuple[int, int]:
    """k and n of an MLP's fused gate and up, or of its down projection [1]."""
    return (width, model.hidden_size) if down else (model.hidden_size, width * (2 if model.gated else 1))


def router(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Scores of all experts: h -> E, in the activations' width."""
    if not (moe := model.moe):
        return None
    return _gemm(step.tokens, model.hidden_size, moe.n_experts, w.activation, w.activation, calls=moe.layers)


def moe_gate_up_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Routed experts, gate and up as one grouped GEMM over the experts that the batch touches: h -> 2 i."""
    return _experts(model, step, w, down=False)


def moe_down_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Routed experts, down: i -> h."""
    return _experts(model, step, w, down=True)


def _shared(model: Model, step: Step, w: Widths, *, down: bool) -> Cost | None:
    if not (model.moe and model.moe.shared_intermediate_size):
        return None
    k, n = _mlp_shape(model, model.moe.shared_intermediate_size, down=down)
    return _gemm(step.tokens, k, n, w.weight, w.activation, calls=model.moe.layers)


def shared_gate_up_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Shared experts, which every token passes, gate and up: h -> 2 i."""
    return _shared(model, step, w, down=False)


def shared_down_proj(model: Model, step: Step, w: Widths, _: Options) -> Cost | None:
    """Shared experts, down: i -> h."""
    return _shared(model, step, w, down=True)


# The rest ---------------------------------------------------------------------------------------------------------


def lm_head(model: Model, step: Step, w: Widths, _: Options) -> Cost:
    """Logits: h -> V, for the last token of a prompt or for all (`logits`), for every candidate in decoding."""
    return _gemm(step.sequences * step.logits, model.hidden_size, model.vocab_size, w.lm_head, w.activation, calls=1)


def elementwise(model: Model, step: Step, w: Widths, _: Options) -> Cost:
    """Norms with residual, RoPE, cache write and activation functions of one layer, fused as engines fuse them.

    Per token: two norms that read and write hidden state and residual (8 h, 5 FLOPs an element); RoPE reads and writes
    Q and K (3 FLOPs an element); K and V are read and written to the cache; the activation reads gate and up and
    writes one (5 FLOPs an element); the sum of k experts' outputs reads k and writes one (a FLOP each). The embedding
    look-up (2 h) and the final norm (4 h), once a pass, are spread over the layers, as are MoE and dense MLPs where a
    model has both. Two norms for every model, although some have four or one, or norms on queries and keys. Always far
    below the ridge point.
    """
    layers, h, mla, moe = model.n_layers, model.hidden_size, model.mla, model.moe
    rotated = model.n_heads * mla.qk_rope_head_dim + mla.qk_rope_head_dim if mla else 0
    if not mla and not model.learned_positions:
        rotated = (model.n_heads + model.n_kv_heads) * model.head_dim
    cached = model.kv_elements_per_token / layers
    hidden = model.dense_layers * model.intermediate_size / layers
    if moe:
        width = moe.experts_per_token * moe.intermediate_size + (moe.shared_intermediate_size or 0)
        hidden += moe.layers * width / layers
        combine = moe.layers / layers * h * (moe.experts_per_token + 1)
    else:
        combine = 0.0
    elements = 8 * h + 2 * rotated + cached + hidden * (3 if model.gated else 2) + combine + 6 * h / layers
    flops = step.tokens * (5.0 * (2 + 1 / layers) * h + 3 * rotated + 5 * hidden + combine)
    moved = step.tokens * (elements * w.activation + cached * w.kv)
    return Cost(flops, moved, step.tokens, h, 1, calls=layers, kernel="elementwise")


#: Every operator by name, in the order of the forward pass.
OPERATORS: dict[str, Operator] = {
    "qkv_proj": qkv_proj, "q_a_proj": q_a_proj, "q_b_proj": q_b_proj, "q_proj": q_proj, "k_proj": k_proj,
    "v_proj": k_proj, "kv_a_proj": kv_a_proj, "kv_b_proj": kv_b_proj,
    "attention": attention, "sliding_attention": sliding_attention,
    "qk": qk, "sliding_qk": sliding_qk, "pv": pv, "sliding_pv": sliding_pv, "o_proj": o_proj,
    "gate_up_proj": gate_up_proj, "gate_proj": gate_proj, "up_proj": up_proj, "down_proj": down_proj,
    "router": router, "moe_gate_up_proj": moe_gate_up_proj, "moe_down_proj": moe_down_proj,
    "shared_gate_up_proj": shared_gate_up_proj, "shared_down_proj": shared_down_proj,
    "lm_head": lm_head, "elementwise": elementwise,
}  # fmt: skip

#: Operators that multiply with the KV cache rather than with weights.
ATTENTION = ("attention", "sliding_attention", "qk", "sliding_qk", "pv", "sliding_pv")

_FUSED_ONLY = {"qkv_proj", "attention", "sliding_attention", "gate_up_proj", "elementwise"}
_UNFUSED_ONLY = {"k_proj", "v_proj", "qk", "sliding_qk", "pv", "sliding_pv", "gate_proj"}


_ONE_TOKEN = (prefill(1, 1), Widths(), Options())


def exists(operator: str, model: Model) -> bool:
    """Whether a model has that operator, in either view."""
    return OPERATORS[operator](model, *_ONE_TOKEN) is not None


def operator_set(model: Model, view: str) -> list[str]:
    """Names of the operators that one forward pass of `model` runs, in order.

    view : "fused", what engines run, a whole forward pass; "unfused", the papers' view, its matmuls alone
    """
    left_out = _UNFUSED_ONLY if view == "fused" else _FUSED_ONLY
    if view == "fused":  # part of a fused GEMM where the model has one
        left_out = left_out | ({"up_proj"} if model.gated else set()) | (set() if model.mla else {"q_proj"})
    return [operator for operator in OPERATORS if operator not in left_out and exists(operator, model)]
