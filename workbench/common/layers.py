"""What the layers of a model are, from its sizes: the catalog's models, and those that `measure` reads alone, are both.

The layers that have attention, an MLP or experts are counted each for themselves, so a layer may have any of them.
"""

from functools import cached_property
from typing import Any, NamedTuple

from .matrices import Matrix, layer_matrices


class Attention(NamedTuple):
    """Softmax attention of layers that are alike; the mean of those whose KV heads differ."""

    layers: int  #: that have it [1]
    n_heads: int  #: query heads of one [1]
    n_kv_heads: float  #: KV heads of one [1]
    qk_dim: int  #: size of a head's query and key [1]
    v_dim: int  #: size of its value [1]
    own: int  #: layers with keys and values of their own; the others read those of an earlier layer [1]
    valued: bool  #: whether values have a projection, and are not the keys' own

    @property
    def cached(self) -> int:
        """Elements that a token adds to the cache of all layers, where it is no latent one [1]."""
        return round(self.own * self.n_kv_heads * (self.qk_dim + self.v_dim))


class LayerCounts:
    """Counts of layers by what they have; of every model, whatever read its sizes."""

    @property
    def attending(self: Any) -> int:
        """Layers with softmax attention [1]."""
        return int(self.attention_layers or self.n_layers)

    @property
    def mixing(self: Any) -> int:
        """Layers in which tokens see others, by softmax or linear attention or both [1]."""
        linear = self.linear_attention.layers if self.linear_attention else 0
        return int(min(self.attending + linear, self.n_layers))

    @property
    def feeding(self: Any) -> int:
        """Layers with an MLP, dense or of experts [1]."""
        return int(self.mlp_layers or self.n_layers)

    @property
    def dense_layers(self: Any) -> int:
        """Layers with one ordinary MLP [1]."""
        return int(self.feeding - (self.moe.layers if self.moe and not self.moe.dense_beside else 0))

    @property
    def mean_intermediate_size(self: Any) -> float:
        """Width of their mean dense MLP [1]."""
        sizes = self.intermediate_by_layer
        mean: float = sum(sizes) / len(sizes) if sizes else self.intermediate_size
        return mean

    @property
    def experts_gated(self: Any) -> bool:
        """Whether the MLPs of experts, shared ones among them, have a gate."""
        return bool(self.gated if self.moe is None or self.moe.gated is None else self.moe.gated)

    @cached_property
    def matrices(self) -> dict[str, Matrix]:
        """Those of all layers, by operator."""
        return layer_matrices(self)

    @cached_property
    def attentions(self: Any) -> tuple[Attention | None, Attention | None]:
        """That of the layers that see everything, and of those with a window; None where no layer is one."""
        window, mla, by_layer = self.sliding_window, self.mla, self.kv_heads_by_layer
        seeing = window.layers if window else 0
        shared, sharing = self.shared_kv_layers or 0, (window and window.shared_kv_layers) or 0
        kv_heads = sum(by_layer) / len(by_layer) if by_layer else self.n_kv_heads
        dim = mla.qk_head_dim if mla else self.head_dim
        value = mla.v_head_dim if mla else self.v_head_dim or dim
        layers, full, sliding = self.attending - seeing, None, None
        if layers:
            own = layers - shared + sharing
            full = Attention(layers, self.n_heads, kv_heads, dim, value, own, not self.values_are_keys)
        if window:
            heads, some = window.n_heads or self.n_heads, window.n_kv_heads or kv_heads
            sizes = (window.head_dim or dim, window.v_head_dim or window.head_dim or value)
            sliding = Attention(seeing, heads, some, *sizes, seeing - sharing, True)
        return full, sliding

    @cached_property
    def kinds(self: Any) -> tuple[Attention, ...]:
        """Those of `attentions` that the model has."""
        return tuple(filter(None, self.attentions))

    @property
    def kv_elements(self: Any) -> tuple[int, int]:
        """What a token adds to the cache of layers that see everything, with keys to choose by, and of others [1]."""
        full, sliding = (
            0 if kind is None else kind.own * self.mla.latent_dim if self.mla else kind.cached
            for kind in self.attentions
        )
        return full + self.index_elements, sliding

    @property
    def index_elements(self: Any) -> int:
        """Those of the cached elements of a token that an indexer chooses it by [1]."""
        index = self.indexer
        return (index.layers or self.attending) * index.head_dim if index else 0

    @property
    def kv_elements_per_token(self: Any) -> int:
        """Elements that one token adds to the KV cache over all layers, while it is within every window [1]."""
        return sum(self.kv_elements)
