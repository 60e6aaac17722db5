"""What some model types have beside what all have: chunks, indexers, layers of their own sizes, and others."""

from collections.abc import Callable

from .fields import ConfigFields
from .states import Read, granite_hybrid, kimi_linear, nemotron_h, qwen3_next, shared_gate


def _shared_size(fields: ConfigFields, sizes: Read) -> Read:
    shared = fields.count("shared_intermediate_size", 0, least=0)
    return {"moe": sizes["moe"] | {"shared_intermediate_size": shared or None}}


def _minimax_m2(fields: ConfigFields, sizes: Read) -> Read:
    kinds = fields.items("attn_type_list", int, sizes["n_layers"])
    if kinds and 0 in kinds:
        raise fields.error("attn_type_list", "layers with lightning attention are not modelled", kinds)
    mtp = sizes["mtp_layers"] if fields.flag("use_mtp", True) else None
    return _shared_size(fields, sizes) | {"mtp_layers": mtp}


def _ernie(fields: ConfigFields, sizes: Read) -> Read:
    layers, moe = sizes["n_layers"], sizes["moe"]
    first, last = fields.need("moe_layer_start_index", least=0), fields.count("moe_layer_end_index", -1, least=-1)
    every = fields.count("moe_layer_interval", 1)
    last = layers - 1 if last == -1 else last
    count = sum((i + 1) % every == 0 and first <= i <= last for i in range(layers))
    width = fields.need("intermediate_size")
    return {"moe": moe | {"layers": count} if count else None, "intermediate_size": width}


def _hunyuan(fields: ConfigFields, sizes: Read) -> Read:
    """Routed experts and a shared one, all of the MLP's size, as transformers' class has them."""
    fields.must("use_cla", False)
    width = sizes["moe"]["intermediate_size"]
    if (given := fields.count("moe_intermediate_size", width)) != width:
        raise fields.error("moe_intermediate_size", f"must be intermediate_size {width}", given)
    if (shared := fields.count("n_shared_experts", 1)) != 1:
        raise fields.error(fields.name("n_shared_experts"), "not modelled, only 1 is", shared)
    return {"moe": sizes["moe"] | {"shared_intermediate_size": width}}


def _qwen(fields: ConfigFields, sizes: Read) -> Read:
    """The first Qwen's intermediate_size is that of gate and up projection together."""
    return {"intermediate_size": sizes["intermediate_size"] // 2}


def _chatglm(fields: ConfigFields, sizes: Read) -> Read:
    return {} if fields.flag("multi_query_attention") else {"n_kv_heads": sizes["n_heads"]}


def _mpt(fields: ConfigFields, sizes: Read) -> Read:
    fields.must("attn_config.attn_type", "multihead_attention")
    fields.must("attn_config.alibi", True)
    fields.must("expansion_ratio", 4)
    return {}


def _indexer(fields: ConfigFields, sizes: Read) -> Read:
    """What chooses the tokens (DeepSeek-V3.2); some layers of GLM-5.2 take an earlier one's choice."""
    kinds = fields.items("indexer_types", ("full", "shared"), sizes["n_layers"])
    every = fields.count("index_topk_freq", 1)
    fields.read |= {"index_share_for_mtp_iteration", "indexer_rope_interleave"}
    if kinds is None:
        fields.must("index_topk_pattern", None)
        skip = fields.count("index_skip_topk_offset", 2, least=0)
        own = sum(max(i - skip + 1, 0) % every == 0 for i in range(sizes["n_layers"]))
    else:
        fields.read |= {"index_topk_pattern", "index_skip_topk_offset"}
        own = kinds.count("full")
    return {
        "indexer": {
            "n_heads": fields.need("index_n_heads"),
            "head_dim": fields.need("index_head_dim"),
            "top_k": fields.need("index_topk"),
            "layers": own if own < sizes["n_layers"] else None,
        }
    }


def _llama4(fields: ConfigFields, sizes: Read) -> Read:
    """Chunked attention in the layers with positions, experts in every `interleave_moe_layer_step`-th layer."""
    layers, step = sizes["n_layers"], fields.need("interleave_moe_layer_step")
    listed, kinds = fields.items("moe_layers", int), fields.items("layer_types", _CHUNKS, layers)
    rope, chunk = fields.items("no_rope_layers", int), fields.count("attention_chunk_size")
    interval = fields.count("no_rope_layer_interval", 4)
    if kinds is not None:
        chunked = kinds.count("chunked_attention")
    else:  # a published file may have an empty list
        chunked = sum(map(bool, rope)) if rope else layers - layers // interval
    experts = len(set(listed)) if listed else layers // step
    size = sizes["moe"]["intermediate_size"]
    moe = sizes["moe"] | {"layers": experts, "shared_intermediate_size": size}
    window = {"size": chunk, "layers": chunked, "chunked": True} if chunk and chunked else None
    dense = fields.need("intermediate_size_mlp")
    return {"moe": moe if experts else None, "intermediate_size": dense, "sliding_window": window}


_CHUNKS = ("full_attention", "chunked_attention")


def _gemma4(fields: ConfigFields, sizes: Read) -> Read:
    """Full layers with larger heads whose keys may be their values; layers that share KV, and their own embeddings."""
    layers = sizes["n_layers"]
    kinds = fields.items("layer_types", ("full_attention", "sliding_attention"), layers)
    kinds = kinds or ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(layers)]
    kinds[-1] = "full_attention"
    keys_only, shared = fields.flag("attention_k_eq_v"), fields.count("num_kv_shared_layers", 0, least=0)
    kv, head = sizes["n_kv_heads"], sizes["head_dim"]
    full_kv, full_head = _full_heads(fields, [i for i, kind in enumerate(kinds) if kind == "full_attention"])
    full_kv = full_kv if keys_only else kv
    fields.must("use_bidirectional_attention", None, "vision")
    own = fields.need("hidden_size_per_layer_input", least=0)
    own_vocab = fields.need("vocab_size_per_layer_input")
    if shared >= layers:
        raise fields.error("num_kv_shared_layers", f"expected fewer than the {layers} layers", shared)
    wide = shared if fields.flag("use_double_wide_mlp") else 0
    width, moe, last = sizes["intermediate_size"], sizes["moe"], kinds[layers - shared :]
    dense = fields.flag("enable_moe_block")
    if moe and not dense:
        moe = None
    elif dense and moe is None:
        raise ValueError(f"{fields.where}: num_experts: Field required")
    if moe:
        width, moe = fields.need("intermediate_size"), moe | {"layers": layers, "dense_beside": True}
    sliding = kinds.count("sliding_attention")
    window = sliding and {
        "size": fields.need("sliding_window"), "layers": sliding, "n_kv_heads": kv, "head_dim": head,
        "shared_kv_layers": last.count("sliding_attention") or None,
    }  # fmt: skip
    return {
        "n_kv_heads": full_kv or kv,
        "head_dim": full_head,
        "sliding_window": window or None,
        "values_are_keys": keys_only or None,
        "shared_kv_layers": shared or None,
        "intermediate_size": 2 * width if wide else width,
        "intermediate_by_layer": [width] * (layers - wide) + [2 * width] * wide if wide else None,
        "per_layer_embedding": {"vocab_size": own_vocab, "size": own} if own else None,
        "moe": moe,
    }


def _full_heads(fields: ConfigFields, full: list[int]) -> tuple[int | None, int]:
    """KV heads and head size of the layers that see everything: fields of their own, or an object for every layer."""
    given = fields.get("per_layer_config")
    if not given:
        return fields.count("num_global_key_value_heads"), fields.need("global_head_dim")
    parts = given if isinstance(given, dict) else {}
    there = [str(key).isdigit() and isinstance(part, dict) for key, part in parts.items()]
    first: Read = next(iter(parts.values()), {})
    alike = bool(there) and all(there) and all(part == first for part in parts.values())
    if not alike or sorted(map(int, parts)) != full or not set(first) <= {"head_dim", "num_key_value_heads"}:
        raise fields.error("per_layer_config", "expected head_dim and num_key_value_heads of all full layers", given)
    inner = ConfigFields(first, fields.family._replace(defaults={}, keys={}), f"{fields.where}: per_layer_config")
    return inner.count("num_key_value_heads"), inner.need("head_dim")


def _mimo_v2(fields: ConfigFields, sizes: Read) -> Read:
    layers = sizes["n_layers"]
    kinds, pattern = fields.items("layer_types", _WINDOWS, layers), fields.items("hybrid_layer_pattern", int, layers)
    if kinds is None and pattern is None:
        raise ValueError(f"{fields.where}: hybrid_layer_pattern: Field required")
    sliding = sum(map(bool, pattern)) if pattern is not None else (kinds or []).count("sliding_attention")
    names = {"n_heads": "swa_num_attention_heads", "n_kv_heads": "swa_num_key_value_heads", "head_dim": "swa_head_dim",
             "v_head_dim": "swa_v_head_dim"}  # fmt: skip
    value = fields.count("v_head_dim", sizes["head_dim"])
    whole = {"n_heads": sizes["n_heads"], "n_kv_heads": sizes["n_kv_heads"], "head_dim": sizes["head_dim"],
             "v_head_dim": value}  # fmt: skip
    twice = {**whole, "n_kv_heads": 2 * whole["n_kv_heads"]}  # as the class has it
    own = {name: fields.count(key, twice[name]) for name, key in names.items()}
    if own["head_dim"] == whole["head_dim"] and own["v_head_dim"] == value:  # else both are its own
        del own["head_dim"], own["v_head_dim"]
    size = fields.count("sliding_window")
    if size and fields.count("attention_chunk_size", size) not in (size, size - 1):  # transformers counts itself, too
        raise fields.error("attention_chunk_size", f"must be sliding_window {size}", fields.get("attention_chunk_size"))
    own = {name: count for name, count in own.items() if count != whole[name] or name.endswith("dim")}
    window = {"size": size, "layers": sliding, **own} if size and sliding else None
    return {"sliding_window": window, "v_head_dim": value if value != sizes["head_dim"] else None}


_WINDOWS = ("full_attention", "sliding_attention")


def _nemotron_nas(fields: ConfigFields, sizes: Read) -> Read:
    """Layers each with KV heads and an MLP of their own, or without (DeciLM's block_configs)."""
    hidden, heads, layers = sizes["hidden_size"], sizes["n_heads"], sizes["n_layers"]
    blocks = fields.items("block_configs", dict, layers)
    if blocks is None:
        raise ValueError(f"{fields.where}: block_configs: Field required")
    kv_heads, widths = [], []
    for at, block in enumerate(blocks):
        where = f"{fields.where}: block_configs.{at}"
        attention, ffn = (
            ConfigFields(block.get(part) or {}, fields.family, f"{where}.{part}") for part in ("attention", "ffn")
        )
        for part in (attention, ffn):
            part.must("replace_with_linear", False)
            part.must("sparsify", None)
        if not attention.flag("no_op"):
            attention.must("num_sink_tokens", None)
            attention.must("window_length", None)
            if heads % (group := attention.need("n_heads_in_group")):
                raise attention.error("n_heads_in_group", f"num_attention_heads {heads} is no multiple of it", group)
            kv_heads.append(heads // group)
        if not ffn.flag("no_op"):
            ratio = ffn.get("ffn_mult")
            if type(ratio) not in (int, float) or not 0 < ratio < 10**4:
                raise ffn.error("ffn_mult", "expected a number above 0", ratio)
            widths.append(-(-int(2 * ratio * hidden / 3) // 256) * 256)  # modeling_decilm.py: up to a multiple of 256
    if not kv_heads or not widths:
        raise ValueError(f"{fields.where}: block_configs: a model without attention or without MLPs is not modelled")
    return {
        "n_kv_heads": max(kv_heads),
        "intermediate_size": max(widths),
        "attention_layers": len(kv_heads) if len(kv_heads) < layers else None,
        "mlp_layers": len(widths) if len(widths) < layers else None,
        "kv_heads_by_layer": kv_heads if len(set(kv_heads)) > 1 else None,
        "intermediate_by_layer": widths if len(set(widths)) > 1 else None,
    }


#: Layers that `layer_types` names in files of some readers, beside those that see everything or a window.
OTHER_LAYERS: dict[str | None, tuple[str, ...]] = {
    "qwen3_next": ("linear_attention",), "kimi_linear": ("linear_attention",), "llama4": ("chunked_attention",),
    "indexer": ("indexed_attention", "deepseek_sparse_attention"),
    "granite_hybrid": ("mamba", "attention", "linear_attention"),
}  # fmt: skip
#: What each reader gives besides, or in place of, the sizes that all families have.
READERS: dict[str, Callable[[ConfigFields, Read], Read]] = {
    "qwen3_next": qwen3_next, "shared_gate": shared_gate, "shared_size": _shared_size, "minimax_m2": _minimax_m2,
    "ernie": _ernie, "hunyuan": _hunyuan, "qwen": _qwen, "chatglm": _chatglm, "mpt": _mpt, "indexer": _indexer,
    "kimi_linear": kimi_linear, "llama4": _llama4, "gemma4": _gemma4, "mimo_v2": _mimo_v2, "nemotron_h": nemotron_h,
    "granite_hybrid": granite_hybrid, "nemotron_nas": _nemotron_nas,
}  # fmt: skip
