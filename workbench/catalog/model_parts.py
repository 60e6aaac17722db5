"""Parts that a model may have: windows, experts, a latent cache, linear attention and others, with their sizes."""

from typing import Literal

from ..common.yaml_records import Count, Record
from .dtypes import WIDTH


class SlidingWindow(Record):
    """Layers [1] whose queries see the last `size` tokens only [token], with heads of their own where those differ."""

    size: Count
    layers: Count
    chunked: bool = False  #: the queries see the tokens of their own chunk of `size` only (Llama 4)
    n_heads: Count | None = None
    n_kv_heads: Count | None = None
    head_dim: Count | None = None
    v_head_dim: Count | None = None  #: None: their own head_dim, if they have one, else the model's
    shared_kv_layers: Count | None = None  #: of the model's `shared_kv_layers`, those with the window [1]


class Moe(Record):
    """Mixture of experts: their number, the size of one, and the number of layers that have them [1]."""

    n_experts: Count
    experts_per_token: Count
    intermediate_size: Count
    layers: Count
    shared_intermediate_size: Count | None = None
    dense_beside: bool = False  #: their layers have a dense MLP as well (Gemma 4)
    latent_size: Count | None = None  #: width that routed experts work in, where it is not h (Nemotron 3) [1]
    shared_gate: bool = False  #: the shared expert's output has a gate, h -> 1 (Qwen2-MoE)
    gated: bool | None = None  #: whether experts have a gate, where the dense MLP is another

    @property
    def router_columns(self) -> int:
        """Scores of a token: of every expert, and the shared one's gate [1]."""
        return self.n_experts + self.shared_gate


class Mla(Record):
    """Multi-head latent attention: ranks and head sizes [1] (DeepSeek-V2, arXiv 2405.04434)."""

    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count

    @property
    def qk_head_dim(self) -> int:
        """Size of a head's query and key, with and without position [1]."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def latent_dim(self) -> int:
        """Elements that the KV cache keeps of a token in one layer [1]."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class LinearAttention(Record):
    """Layers with linear attention: a state for every head in place of a cache, after a short convolution [1].

    A gated delta net (arXiv 2412.06464), Kimi Delta Attention (arXiv 2510.26692) or Mamba-2 (arXiv 2405.21060), whose
    groups are here key heads, its state size `key_dim` and its head size `value_dim`.
    """

    kind: Literal["gated_delta", "kda", "mamba2"]
    layers: Count
    n_key_heads: Count
    n_heads: Count  #: of values, each with a state of key_dim x value_dim
    key_dim: Count
    value_dim: Count
    conv_size: Count  #: tokens that the convolution sees [token]
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    @property
    def values(self) -> int:
        """Elements of a token's values, and of its output [1]."""
        return self.n_heads * self.value_dim

    @property
    def channels(self) -> int:
        """Channels of the convolution: queries, keys and values [1]."""
        return 2 * self.n_key_heads * self.key_dim + self.values

    @property
    def gate_rank(self) -> int:
        """Rank of each of the projections to KDA's decay and output gate; 0 in the others, where they have none [1]."""
        return self.key_dim if self.kind == "kda" else 0

    @property
    def gate_columns(self) -> int:
        """Columns that these come to: a decay of every channel of the keys, a gate of every one of the values [1]."""
        return self.n_heads * (self.key_dim + self.value_dim)

    @property
    def in_columns(self) -> int:
        """Columns of the projections of the hidden state: channels, output gate, and scalars of every head [1]."""
        if self.kind == "kda":
            return self.channels + self.n_heads + 2 * self.gate_rank
        return self.channels + self.values + self.n_heads * (2 if self.kind == "gated_delta" else 1)

    @property
    def operands(self) -> int:
        """Elements that a token's step reads and writes: queries, keys, values, output, and KDA's decays [1]."""
        return self.channels + self.values + (self.n_heads * self.key_dim if self.kind == "kda" else 0)

    @property
    def head_flops(self) -> int:
        """Work of a token on one head's state: 3 products with it, 2 of Mamba-2, which corrects nothing [FLOP]."""
        return (4 if self.kind == "mamba2" else 6) * self.key_dim * self.value_dim

    @property
    def state_bytes(self) -> int:
        """State of one sequence in one layer; the convolution's, conv_size - 1 tokens, is in 16 bit [byte]."""
        states = self.n_heads * self.key_dim * self.value_dim * int(WIDTH[self.state_dtype])
        return states + (self.conv_size - 1) * self.channels * int(WIDTH["bf16"])


class Indexer(Record):
    """What chooses the `top_k` tokens that a query attends to: heads that score a key of each (DeepSeek-V3.2) [1]."""

    n_heads: Count
    head_dim: Count
    top_k: Count
    layers: Count | None = None  #: that choose, where the others take what an earlier one chose (GLM-5.2)


class PerLayerEmbedding(Record):
    """An embedding of `size` for every layer [1], of `vocab_size` tokens, that is added to it (Gemma 4)."""

    vocab_size: Count
    size: Count
