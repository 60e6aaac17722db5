"""Modules of checkpoints by name: which matrices of which layers a list of names, globs or patterns means."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from ..catalog import Model
from ..common.errors import shown
from ..common.matrices import layer_matrices

#: By matrix of a layer, what checkpoints call it after the layer's number: families' own names, and fused ones.
TAILS = {
    "q_proj": (
        "self_attn.q_proj self_attn.qkv_proj attn.c_attn attn.q_proj attention.wqkv attention.wq mixer.q_proj "
        "self_attn.W_pack self_attention.query_key_value attention.query_key_value attn.Wqkv"
    ),
    "k_proj": (
        "self_attn.k_proj self_attn.qkv_proj attn.c_attn attn.k_proj attention.wqkv attention.wk mixer.k_proj "
        "self_attn.W_pack self_attention.query_key_value attention.query_key_value attn.Wqkv"
    ),
    "v_proj": (
        "self_attn.v_proj self_attn.qkv_proj attn.c_attn attn.v_proj attention.wqkv attention.wv mixer.v_proj "
        "self_attn.W_pack self_attention.query_key_value attention.query_key_value attn.Wqkv"
    ),
    "o_proj": (
        "self_attn.o_proj self_attn.out_proj self_attn.dense attn.c_proj attn.out_proj attention.wo mixer.o_proj "
        "self_attention.dense attention.dense"
    ),
    "q_a_proj": "self_attn.q_a_proj self_attn.fused_qkv_a_proj_with_mqa attn.wq_a",
    "q_b_proj": "self_attn.q_b_proj attn.wq_b",
    "kv_a_proj": "self_attn.kv_a_proj_with_mqa self_attn.fused_qkv_a_proj_with_mqa attn.wkv_a",
    "kv_b_proj": "self_attn.kv_b_proj attn.wkv_b",
    "index_q_proj": "self_attn.indexer.wq_b attn.indexer.wq_b",
    "index_k_proj": "self_attn.indexer.wk attn.indexer.wk",
    "linear_in_proj": (
        "linear_attn.in_proj_qkvz linear_attn.in_proj_qkv linear_attn.in_proj linear_attn.in_proj_z mixer.in_proj "
        "mamba.in_proj"
    ),
    "linear_gate_proj": "self_attn.f_b_proj self_attn.g_b_proj",
    "linear_out_proj": "linear_attn.out_proj mixer.out_proj mamba.out_proj",
    "gate_proj": "mlp.gate_proj mlp.gate_up_proj feed_forward.w1 feed_forward.gate_proj",
    "up_proj": (
        "mlp.up_proj mlp.gate_up_proj feed_forward.w3 feed_forward.up_proj mlp.fc1 fc1 mlp.c_fc mixer.up_proj "
        "mlp.dense_h_to_4h"
    ),
    "down_proj": (
        "mlp.down_proj feed_forward.w2 feed_forward.down_proj mlp.fc2 fc2 mlp.c_proj mixer.down_proj mlp.dense_4h_to_h"
    ),
    "latent_in_proj": "mixer.fc1_latent_proj",
    "moe_gate_up_proj": (
        "mlp.switch_mlp.gate_proj mlp.switch_mlp.up_proj mlp.experts.0.gate_proj mlp.experts.0.up_proj "
        "mlp.experts.gate_up_proj ffn.experts.0.w1 ffn.experts.0.w3 mlp.experts.0.gate_up_proj "
        "block_sparse_moe.experts.0.w1 block_sparse_moe.experts.0.w3 "
        "mixer.experts.0.up_proj feed_forward.experts.gate_up_proj feed_forward.experts.0.gate_proj "
        "experts.gate_up_proj experts.0.gate_proj experts.0.up_proj"
    ),
    "moe_down_proj": (
        "mlp.switch_mlp.down_proj mlp.experts.0.down_proj mlp.experts.down_proj block_sparse_moe.experts.0.w2 "
        "ffn.experts.0.w2 mixer.experts.0.down_proj feed_forward.experts.down_proj "
        "feed_forward.experts.0.down_proj experts.down_proj experts.0.down_proj"
    ),
    "latent_out_proj": "mixer.fc2_latent_proj",
    "shared_gate_up_proj": (
        "mlp.shared_experts.gate_proj mlp.shared_expert.gate_proj mlp.shared_experts.gate_up_proj "
        "mlp.shared_experts.up_proj mlp.shared_expert.up_proj feed_forward.shared_expert.up_proj "
        "mlp.shared_expert.gate_up_proj mixer.shared_experts.up_proj feed_forward.shared_expert.gate_proj "
        "block_sparse_moe.shared_experts.gate_proj ffn.shared_experts.w1 mlp.shared_mlp.gate_proj"
    ),
    "shared_down_proj": (
        "mlp.shared_experts.down_proj mlp.shared_expert.down_proj mixer.shared_experts.down_proj "
        "feed_forward.shared_expert.down_proj block_sparse_moe.shared_experts.down_proj ffn.shared_experts.w2 "
        "mlp.shared_mlp.down_proj"
    ),
    "per_layer_gate": "per_layer_input_gate",
    "per_layer_proj": "per_layer_projection",
}
#: Families' whose names say something else elsewhere, in place of those above: Granite's MoE, of the dense ones too.
_GRANITE = {
    "gate_proj": "shared_mlp.input_linear shared_mlp.gate_proj",
    "up_proj": "shared_mlp.input_linear shared_mlp.up_proj",
    "down_proj": "shared_mlp.output_linear shared_mlp.down_proj",
    "moe_gate_up_proj": (
        "block_sparse_moe.input_linear block_sparse_moe.switch_mlp.gate_proj block_sparse_moe.switch_mlp.up_proj "
        "block_sparse_moe.experts.0.w1 block_sparse_moe.experts.0.w3"
    ),
    "moe_down_proj": (
        "block_sparse_moe.output_linear block_sparse_moe.switch_mlp.down_proj block_sparse_moe.experts.0.w2"
    ),
    "shared_gate_up_proj": "shared_mlp.input_linear shared_mlp.gate_proj shared_mlp.up_proj",
    "shared_down_proj": "shared_mlp.output_linear shared_mlp.down_proj",
    "linear_in_proj": "mamba.in_proj",
    "linear_out_proj": "mamba.out_proj",
}
OWN_TAILS = {
    "granitemoe": _GRANITE,
    "granitemoeshared": _GRANITE,
    "granitemoehybrid": _GRANITE,
    "kimi_linear": {"linear_out_proj": "self_attn.o_proj"},
}
#: Those that no layer has.
ENDS = {
    "lm_head": ("lm_head", "output", "head", "embed_out"),
    "embeddings": ("embed_tokens", "wte", "tok_embeddings", "embeddings", "word_embeddings"),
    "per_layer_model_proj": ("per_layer_model_projection",),
}
#: What stands before a layer's number, and before "layers" in patterns of whole names.
_LAYERS = re.compile(r"^(?:.*\.)?(?:layers|h|blocks)\.(?=[\d*?\[])")
#: And what stands before the head's and the embeddings' own names.
_BEFORE_ENDS = re.compile(
    rf"^(?:(?:model|language_model|transformer|backbone|llm)\.)+(?=(?:{'|'.join(chain(*ENDS.values()))})$)"
)
PREFIXES = ("model.", "language_model.model.", "model.language_model.", "", "backbone.", "language_model.")
#: Names of what is no layer of the language model: towers and draft layers.
ELSEWHERE = re.compile(r"vis(ion|ual)|audio|tower|projector|img|image|mtp|nextn|eagle|draft|merger|patch")
#: And of what a `Model` leaves out, or holds in 16 bit whatever a file says: norms, convolutions, routers.
UNCOUNTED = re.compile(
    r"norm|conv|rotary|bias|router|ln_|gate(\.weight)?$|embed|wte|A_log|dt_|score|sinks|in_proj_(b|a|ba)$|weights_proj"
    r"|indexers_proj|eh_proj|^(model|layers|lm_head|head|output|language_model)$"
)
#: And of what else patterns name in files of models that lack it.
LACKED = re.compile(r"connector|aligner|resampler|perceiver|speech|encoder|talker|thinker|mlp1|multi_?modal|mm_|lora")
MOST_NAMES, LONGEST_NAME, MOST_REPEATS = 200_000, 500, 5


class Match(NamedTuple):
    """Names that are taken by their dotted parts, and patterns that whole names are matched with."""

    literals: Mapping[str, Any]
    patterns: tuple[tuple[re.Pattern[str], Any], ...]

    @property
    def by_layer(self) -> bool:
        """Whether layers are told apart by their numbers."""
        texts = [*self.literals, *(pattern.pattern for pattern, _ in self.patterns)]
        return any(re.search(r"layers.*\d", re.sub(r"\\d|experts\.0|w\d|fc\d", "", text)) for text in texts)

    def get(self, tails: Iterable[str], nothing: Any) -> Any:
        """What is said of a module, by any of its names; of literal ones the longest counts."""
        names = [str(tail) for tail in tails]
        found = [(len(part), self.literals[part]) for name in names for part in _parts(name) if part in self.literals]
        if found:
            return max(found, key=lambda pair: pair[0])[1]
        for pattern, value in self.patterns:
            switch = "switch" in pattern.pattern  # MLX's experts; "mlp.gate_proj" of theirs is no dense one
            meant = [name for name in names if switch or "switch_mlp" not in name]
            if any(pattern.match(prefix + name) for name in meant for prefix in PREFIXES):
                return value
        return nothing


def _parts(name: str) -> tuple[str, ...]:
    """Every run of a name's dotted parts."""
    parts = name.split(".")
    ends = range(1, len(parts) + 1)
    return tuple(".".join(parts[a:b]) for b in ends for a in range(b))


def match(said: Mapping[str, Any], model: Model, where: str) -> Match:
    """What is said of modules by names, as a `Match`.

    Parameters
    ----------
    said : mapping
        By a name or a run of its dotted parts, a glob, or a pattern after "re:".
    model : Model
        Whose modules they are.
    where : str
        What a message begins with.

    Raises
    ------
    ValueError
        For a name of nothing that a model has, for some of a layer's experts, and for a pattern that would take long.
    """
    matrices, literals = layer_matrices(model), dict[str, Any]()
    patterns: list[tuple[re.Pattern[str], Any]] = []
    experts: dict[str, set[str]] = {}
    own = [tail for name in matrices for tails, _ in pieces(name, model) for tail in tails]
    if len(said) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in said):
        raise ValueError(f"{where}: allowed are up to {MOST_NAMES:,} names of up to {LONGEST_NAME} characters")
    for name, value in said.items():
        plain = re.sub(r"\.(weight|bias)$", "", name.strip().strip("."))
        if plain.startswith("re:"):
            patterns.append((_pattern(plain[3:], where), value))
            _check_meant(plain[3:], patterns[-1], own, model.n_layers, where)
            continue
        if ELSEWHERE.search(plain):
            continue
        bare = _BEFORE_ENDS.sub("", _LAYERS.sub("layers.", plain))
        if set("*?[") & set(bare):
            inner = re.sub(r"\\[zZ]$", "", translate(bare))
            patterns.append((re.compile(("" if bare == plain else r"(?:.*\.)?") + inner + r"(?:\..*)?$"), value))
            _check_meant(plain, patterns[-1], own, model.n_layers, where)
            continue
        if number := re.search(r"experts\.(\d+)", bare):
            bare = bare.replace(number[0], "experts.0", 1)
            experts.setdefault(bare, set()).add(number[1])
        known = _known_parts(model.family or "", frozenset(matrices if value else TAILS))
        if re.sub(r"^layers\.\d+\.?", "", bare) not in known and not UNCOUNTED.search(bare):
            raise ValueError(f"{where}: {shown(name)}: no module that a Model has, such as self_attn or mlp.down_proj")
        literals[bare] = value
    for name, numbers in experts.items():
        if model.moe and numbers != {"0"} and len(numbers) != model.moe.n_experts:
            raise ValueError(f"{where}: {name}: {len(numbers)} of {model.moe.n_experts} experts: expected all of them")
    return Match(literals, tuple(patterns))


def _pattern(text: str, where: str) -> re.Pattern[str]:
    """A pattern of a file's, if it cannot take long: no repeated groups, few repeats."""
    repeats = len(re.findall(r"(?<!\\)[*+{]", text))
    if repeats > MOST_REPEATS or re.search(r"\)[*+?{]|\(\?(?![:!=i])|\\[1-9]", text):
        raise ValueError(f"{where}: {shown(text)}: allowed are {MOST_REPEATS} repeats, and no repeated group")
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{where}: {shown(text)}: no pattern: {error}") from None


def pieces(name: str, model: Model) -> list[tuple[list[str], float]]:
    """What checkpoints call a matrix of a layer, by its modules where they are several, with the share of each [1]."""
    linear, every = model.linear_attention, _tails(model.family or "", name)
    if linear and linear.kind == "kda" and name == "linear_in_proj":
        keys, rank = linear.n_key_heads * linear.key_dim, linear.gate_rank
        sizes = {"q": keys, "k": keys, "v": linear.values, "b": linear.n_heads, "f_a": rank, "g_a": rank}
        fused = {part: ["self_attn.qkv_proj"] for part in "qkv"}
        named = ((part, [f"self_attn.{part}_proj", *fused.get(part, [])]) for part in sizes)
        return [(tails, sizes[part] / linear.in_columns) for part, tails in named]
    if name == "linear_gate_proj":
        return [([tail], 1 / len(every)) for tail in every]
    if name.startswith("moe_") and model.moe and model.moe.dense_beside:  # beside the dense MLP, not in it
        every = [tail for tail in every if tail.startswith("experts.")]
    return [(every, 1.0)]


def _tails(family: str, name: str) -> list[str]:
    return OWN_TAILS.get(family, {}).get(name, TAILS.get(name, "")).split()


def _check_meant(text: str, pattern: tuple[re.Pattern[str], Any], own: list[str], n_layers: int, where: str) -> None:
    """ValueError for a pattern that no module matches: of this model, or of any where it leaves modules out."""
    plain = re.sub(r"\\[.]", ".", text).strip(".*^$()?+")
    if any(known.search(plain) for known in (ELSEWHERE, UNCOUNTED, LACKED)):
        return
    tails = own if pattern[1] else [*own, *chain(*(names.split() for names in TAILS.values()))]
    layers = [0, *map(int, re.findall(r"\d{1,6}", text)), *range(1, min(n_layers, 1_000))]
    names = chain(chain(*ENDS.values()), (f"layers.{layer}.{tail}" for layer in layers for tail in tails))
    if not any(pattern[0].match(prefix + name) for name in names for prefix in PREFIXES):
        raise ValueError(
            f"{where}: {shown(text)}: matches no module that a Model has, such as self_attn or mlp.down_proj"
        )


@cache
def _known_parts(family: str, matrices: frozenset[str]) -> frozenset[str]:
    tails = [
        *chain(*((*_tails(family, name), *TAILS.get(name, "").split()) for name in matrices)),
        *chain(*ENDS.values()),
    ]
    kda = (
        [f"self_attn.{part}_proj" for part in ("q", "k", "v", "o", "b", "f_a", "g_a")]
        if family == "kimi_linear"
        else []
    )
    return frozenset(part for tail in (*tails, *kda) for part in _parts(tail)) | {""}
