"""The sizes of a language model from its config.json, with the standard library alone: `measure` reads them, too."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..common.errors import shown
from .families import FAMILIES, FLAT, REFUSED, WRAPPERS, Family
from .fields import MOST_LAYERS, MOST_OF_ANY, ConfigFields
from .hybrids import OTHER_LAYERS, READERS
from .keys import STATED, check_architecture, check_keys, check_named

#: How RoPE scaling stretches the context: by `factor`, or not, as max_position_embeddings counts it in.
STRETCHED, AS_GIVEN = ("yarn", "linear", "dynamic"), ("default", "llama3", "longrope", "su", "mrope", "proportional")
#: One layer this wide is no model: a draft head has it, as EAGLE's first ones, whose files say no more [1].
WIDEST_ALONE = 1024


def read_sizes(given: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The catalog's fields from a config.json, and the language model's part of it.

    Parameters
    ----------
    given : mapping
        The parsed file.
    where : str
        What messages begin with.

    Returns
    -------
    tuple
        Fields of `catalog.Model` that are set, sizes in [1] and contexts in [token]; and the mapping they are from.

    Raises
    ------
    ValueError
        In one line with the field and the value, where a size is missing or no count, where the model type is unknown,
        and where the file says of the arithmetic what no `Model` holds.
    """
    kind, family, config, tied = _language_model(given, where)
    fields = ConfigFields(config, family, where)
    sizes = _sizes(fields, family)
    if tied is not None:
        sizes["tied_embeddings"] = tied
    if family.hybrid:
        sizes |= READERS[family.hybrid](fields, sizes)
    check_keys(fields.given, family.defaults, fields.read, where, kind)
    if family.heads and sizes["n_layers"] == 1 and sizes["hidden_size"] >= WIDEST_ALONE:
        name = fields.name("num_hidden_layers")
        raise ValueError(
            f"{where}: {name} = 1: a draft head or one layer of a model; give the config.json of a whole one"
        )
    if kind != given["model_type"] or kind in WRAPPERS or isinstance(given.get("visual"), Mapping):
        sizes["notes"] = "The language model alone: the tower of pictures or sound is left out."
    return {"family": given["model_type"]} | {key: value for key, value in sizes.items() if value is not None}, config


def _language_model(given: Mapping[str, Any], where: str) -> tuple[str, Family, Mapping[str, Any], bool | None]:
    """Model type, family and fields of the language model; whether embeddings are tied, where a wrapper says."""
    check_named(given, where)
    kind = _known(given.get("model_type"), {*FAMILIES, *WRAPPERS}, "model_type", where)
    wrapper = WRAPPERS.get(kind)
    check_architecture(given.get("architectures"), kind, class_stems(kind), where)
    if wrapper is None or wrapper.part is None:
        return kind, FAMILIES[kind], given, None
    inner = given.get(wrapper.part)
    if inner is None and kind in FLAT:
        outside = ("vision_config", "audio_config")
        return wrapper.family, FAMILIES[wrapper.family], {k: v for k, v in given.items() if k not in outside}, None
    if not isinstance(inner, Mapping):
        raise ValueError(f"{where}: {wrapper.part}: expected an object, found {type(inner).__name__}")
    text = _known(inner.get("model_type") or wrapper.family, set(FAMILIES), f"{wrapper.part}.model_type", where)
    family = FAMILIES[text]  # of which transformers leaves out what is as its class has it
    family = family._replace(defaults={**family.text, **family.defaults})
    flags = [each["tie_word_embeddings"] for each in (given, inner) if each.get("tie_word_embeddings") is not None]
    if not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(f"{where}: tie_word_embeddings = {shown(flags)}: expected true or false")
    tied = flags[0] if flags else None  # the wrapper's, as in transformers, where both say
    outer = {key: given[key] for key in STATED if key in given}
    return text, family, {**outer, **inner}, tied


def _known(kind: object, known: set[str], field: str, where: str) -> str:
    """A model type; ValueError for one that is not read, with why or the nearest that is."""
    if isinstance(kind, str) and kind in known:
        return kind
    if isinstance(kind, str) and kind in REFUSED:
        lacks = REFUSED[kind]
        why = lacks if lacks.startswith("an ") else f"no Model holds {lacks}"
        raise ValueError(f"{where}: {field} = {shown(kind)}: not read, {why}")
    text = str(kind)[:80].lower()
    digits = re.findall(r"\d", text)
    near = [name for name in get_close_matches(text, known, cutoff=0.8) if re.findall(r"\d", name) == digits]
    meant = f" Did you mean {near[0]!r}?" if near and isinstance(kind, str) else ""
    raise ValueError(
        f"{where}: unknown {field} {shown(kind if kind is None else text)}.{meant} Allowed: {len(known)} that "
        "docs/models.md lists, llama and qwen3_moe among them."
    )


def class_stems(kind: str) -> set[str]:
    """What classes of a model type are called before "ForCausalLM", in small letters without "_"."""
    return {re.sub(r"_text$|[_-]", "", kind).lower(), *(FAMILIES[kind].classes if kind in FAMILIES else ())}


def _sizes(fields: ConfigFields, family: Family) -> dict[str, Any]:
    """What all families have; None where a field is not set."""
    hidden, heads = fields.need("hidden_size"), fields.need("num_attention_heads")
    named = fields.get("num_hidden_layers")  # of Nemotron-H, a list of what they are
    listed = isinstance(named, list) and fields.name("num_hidden_layers") == "layers_block_type"
    layers = len(named) if listed else fields.need("num_hidden_layers", most=MOST_LAYERS - 1)
    latent, experts = _latent(fields, family), _experts(fields, family, layers)
    mlp = fields.count("intermediate_size") or hidden * (family.mlp_ratio or 0)
    if experts and experts["layers"] == layers:  # no layer has a dense MLP
        mlp = experts["intermediate_size"]
    kv_heads = heads if latent else _kv_heads(fields, heads)
    head_dim = latent["qk_nope_head_dim"] + latent["qk_rope_head_dim"] if latent else _head_dim(fields, hidden, heads)
    if not mlp:
        raise ValueError(f"{fields.where}: {fields.name('intermediate_size')}: Field required")
    if fields.count("word_embed_proj_dim", hidden) != hidden:
        width = fields.get("word_embed_proj_dim")
        raise fields.error("word_embed_proj_dim", f"must be hidden_size {hidden}, no projection is modelled", width)
    context = fields.count("max_position_embeddings")
    if context is None and family.extra_positions is not None:
        raise ValueError(f"{fields.where}: {fields.name('max_position_embeddings')}: Field required")
    norm = family.qk_norm
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "n_layers": layers,
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": fields.need("vocab_size"),
        "gated": family.gated,
        "tied_embeddings": fields.flag("tie_word_embeddings"),
        "learned_positions": None if family.extra_positions is None else context + family.extra_positions,
        "max_context": context and _scaled(fields, family, context),
        "sliding_window": _window(fields, layers),
        "moe": experts,
        "mla": latent,
        "mtp_layers": fields.count("num_nextn_predict_layers", least=0) or None,
        "qk_norm": (fields.flag(norm) if isinstance(norm, str) else norm) or None,
    }


def _head_dim(fields: ConfigFields, hidden: int, heads: int) -> int:
    given = fields.count("head_dim")
    if given is None and hidden % heads:
        name = fields.name("head_dim")
        raise ValueError(f"{fields.where}: {name}: Field required, as {heads} heads do not divide hidden_size {hidden}")
    return int(given or hidden // heads)


def _kv_heads(fields: ConfigFields, heads: int) -> int:
    """KV heads of a layer [1]; Falcon's multi_query means one, whatever its files say beside it."""
    given, new = fields.count("num_key_value_heads"), fields.flag("new_decoder_architecture")
    if fields.flag("multi_query") and not new:
        return 1
    if given and heads % given:
        what = f"{fields.name('num_attention_heads')} {heads} is no multiple of it"
        raise fields.error(fields.name("num_key_value_heads"), what, given)
    return int(given or heads)


def _window(fields: ConfigFields, layers: int) -> dict[str, Any] | None:
    """The sliding window [token] and how many layers have it [1], also in models where others have neither."""
    size, uses = fields.count("sliding_window", least=0), fields.flag("use_sliding_window", True)
    known = ("full_attention", "sliding_attention", *OTHER_LAYERS.get(fields.family.hybrid, ()))
    types = fields.items("layer_types", known, layers)
    full = fields.count("max_window_layers", 0, least=0)
    pattern = fields.get("sliding_window_pattern")
    if isinstance(pattern, str) and re.fullmatch("L+G", pattern):  # EXAONE 4: so many with a window, one without
        pattern = len(pattern)
    elif pattern is not None:
        pattern = fields.count("sliding_window_pattern", least=0)
    if not size or not uses:
        return None
    if types is not None:
        windowed = types.count("sliding_attention")
    elif pattern:  # the last layer of each group of this size sees everything
        windowed = layers - layers // pattern
    else:  # Qwen: the first layers see everything
        windowed = layers - min(full, layers)
    if windowed and "sliding_window" not in fields.family.defaults:  # the class has none, whatever engines make of it
        raise fields.error("sliding_window", "its model type has no layers with a window", size)
    return {"size": size, "layers": windowed} if windowed else None


def _experts(fields: ConfigFields, family: Family, layers: int) -> dict[str, Any] | None:
    """The mixture of experts, and how many layers have one; a family sets one of the rules, the others are neutral."""
    if family.expert_size is None:
        return None
    number = fields.count("n_experts", least=0) if family.optional_experts else fields.need("n_experts")
    if not number:
        return None
    chosen, size = fields.need("num_experts_per_tok"), fields.need(family.expert_size)
    if chosen > number:
        what = f"more than the {number} of {fields.name('n_experts')}"
        raise fields.error(fields.name("num_experts_per_tok"), what, chosen)
    first, every = fields.count("first_k_dense_replace", 0, least=0), fields.get("moe_layer_freq", 1)
    step, dense = fields.count("decoder_sparse_step", 1), set(fields.items("mlp_only_layers", int) or [])
    types = fields.items("mlp_layer_types", ("dense", "sparse"), layers)
    if isinstance(every, list):
        sparse = [bool(each) for each in fields.items("moe_layer_freq", int, layers) or []]
    else:
        every = fields.count("moe_layer_freq", 1)
        sparse = [i >= first and i % every == 0 and (i + 1) % step == 0 and i not in dense for i in range(layers)]
    count = sum(sparse) if types is None else types.count("sparse")
    shared = (fields.count("n_shared_experts", 0, least=0) or 0) * size
    if not count:
        return None
    return {
        "n_experts": number,
        "experts_per_token": chosen,
        "intermediate_size": size,
        "layers": count,
        "shared_intermediate_size": shared or None,
    }


def _latent(fields: ConfigFields, family: Family) -> dict[str, Any] | None:
    """Multi-head latent attention; a null q_lora_rank means full-rank queries."""
    if not family.latent:
        return None
    names = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    rank = fields.count("q_lora_rank")
    for name in ("head_dim", "num_key_value_heads"):  # read to be checked: they follow from the ranks and heads
        fields.count(name)
    return {"q_lora_rank": rank, **{name: fields.need(name) for name in names}}


def _scaled(fields: ConfigFields, family: Family, context: int) -> int:
    """Longest context with RoPE scaling [token], as vLLM (vllm/config/model.py) derives it."""
    rope = fields.get("rope_scaling")
    if isinstance(rope, Mapping) and isinstance(rope.get("full_attention"), Mapping):  # by the kind of layer
        rope = rope["full_attention"]
    if rope is None or family.scaled:
        return context
    name = fields.name("rope_scaling")
    if not isinstance(rope, Mapping):
        raise fields.error(name, "expected an object", rope)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind in AS_GIVEN or rope.get("factor", 1) == 1:
        return context
    if kind not in STRETCHED:
        raise fields.error(f"{name}.rope_type", f"expected {', '.join((*STRETCHED, *AS_GIVEN))}", kind)
    factor = rope["factor"]
    if type(factor) not in (int, float) or not 1 <= factor <= 10**4:
        raise fields.error(f"{name}.factor", "expected a number from 1", factor)
    original = rope.get("original_max_position_embeddings")
    if original is not None and (type(original) is not int or not 1 <= original <= MOST_OF_ANY):
        raise fields.error(f"{name}.original_max_position_embeddings", "expected a whole number from 1", original)
    return int((original or context if kind == "yarn" else context) * factor)
