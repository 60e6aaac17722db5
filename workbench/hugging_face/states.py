"""Model types with linear attention: what their files say of layers that keep a state in place of a cache."""

from collections import Counter
from typing import Any

from .fields import MOST_LAYERS, ConfigFields

Read = dict[str, Any]


def _linear_sizes(fields: ConfigFields, layers: int) -> Read | None:
    """A gated delta net (Qwen3-Next, Qwen3.5)."""
    names = {"n_key_heads": "linear_num_key_heads", "n_heads": "linear_num_value_heads",
             "key_dim": "linear_key_head_dim", "value_dim": "linear_value_head_dim",
             "conv_size": "linear_conv_kernel_dim"}  # fmt: skip
    sizes = {name: fields.need(key) for name, key in names.items()}
    return {"kind": "gated_delta", "layers": layers, **sizes} if layers else None


def qwen3_next(fields: ConfigFields, sizes: Read) -> Read:
    """Gated delta nets with softmax attention between them (Qwen3-Next, Qwen3.5)."""
    layers, every = sizes["n_layers"], fields.need("full_attention_interval")
    kinds = fields.items("layer_types", ("full_attention", "linear_attention"), layers)
    full = layers // every if kinds is None else kinds.count("full_attention")
    fields.must("attn_output_gate", True)
    fields.must("mtp_use_dedicated_embeddings", False)
    fields.read |= {"mamba_ssm_dtype"}  # of the state, fp32 in all files; checked below
    fields.must("mamba_ssm_dtype", "float32")
    return shared_gate(fields, sizes) | {
        "attention_layers": full if full < layers else None,
        "attention_gate": True,
        "linear_attention": _linear_sizes(fields, layers - full),
    }


def shared_gate(fields: ConfigFields, sizes: Read) -> Read:
    """A shared expert of its own size with a gate h -> 1 (Qwen2-MoE)."""
    if (moe := sizes["moe"]) is None:
        return {}
    shared = fields.need("shared_expert_intermediate_size")
    return {"moe": moe | {"shared_intermediate_size": shared, "shared_gate": True}}


def kimi_linear(fields: ConfigFields, sizes: Read) -> Read:
    """Kimi Delta Attention with latent attention between (Kimi Linear)."""
    layers = sizes["n_layers"]
    kinds = fields.items("layer_types", ("full_attention", "linear_attention"), layers)
    fields.read |= {"linear_attn_config.full_attn_layers", "linear_attn_config.kda_layers"}
    if kinds is not None:  # as transformers writes it, each from 1
        full, kda = ([i + 1 for i in range(layers) if kinds[i] == f"{kind}_attention"] for kind in ("full", "linear"))
    else:
        full = fields.items("linear_attn_config.full_attn_layers", int) or []
        kda = fields.items("linear_attn_config.kda_layers", int) or []
    if sorted((*full, *kda)) != list(range(1, layers + 1)):
        raise ValueError(
            f"{fields.where}: linear_attn_config: expected full_attn_layers and kda_layers, {layers} in all"
        )
    heads, size, conv = (fields.need(key) for key in ("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim"))
    linear = {"kind": "kda", "layers": len(kda), "n_key_heads": heads, "n_heads": heads, "key_dim": size,
              "value_dim": size, "conv_size": conv}  # fmt: skip
    return {"attention_layers": len(full) or None, "linear_attention": linear if kda else None}


#: Keys of Nemotron-H without a size in them.
_UNSIZED = (
    "mamba_hidden_act", "mamba_proj_bias", "use_mamba_kernels", "mtp_hybrid_override_pattern", "use_conv_bias",
    "moe_shared_expert_overlap", "mtp_layers_block_type", "attention_head_dim",
)  # fmt: skip
#: Nemotron-H's layers by letter or name: each is one thing.
_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_NAMES = {"linear_attention": "mamba", "full_attention": "attention", "mlp": "mlp", "moe": "moe", "mamba": "mamba",
          "attention": "attention"}  # fmt: skip


def nemotron_h(fields: ConfigFields, sizes: Read) -> Read:
    """Layers that are one thing each: Mamba-2, attention, an MLP or experts (Nemotron-H, Nemotron 3)."""
    pattern, named = fields.get("hybrid_override_pattern"), fields.items("layers_block_type", tuple(_NAMES))
    if named is not None:
        layers = Counter(_NAMES[name] for name in named)
    elif isinstance(pattern, str) and 0 < len(pattern) < MOST_LAYERS and set(pattern) <= set(_LETTERS):
        layers = Counter(_LETTERS[letter] for letter in pattern)
    else:
        raise fields.error("hybrid_override_pattern", "expected a layer a letter: M, *, - or E", pattern)
    if (total := sum(layers.values())) != sizes["n_layers"]:
        raise fields.error("num_hidden_layers", f"hybrid_override_pattern has {total} layers", sizes["n_layers"])
    if not layers["attention"] or not layers["mlp"] + layers["moe"]:
        raise fields.error(
            "hybrid_override_pattern", "a model without attention or without MLPs is not modelled", pattern
        )
    head = fields.count("attention_head_dim", sizes["head_dim"]) if fields.given.get("head_dim") is None else None
    linear = {
        "kind": "mamba2", "layers": layers["mamba"], "n_key_heads": fields.need("n_groups"),
        "n_heads": fields.need("mamba_num_heads"), "key_dim": fields.need("ssm_state_size"),
        "value_dim": fields.need("mamba_head_dim"), "conv_size": fields.need("conv_kernel"),
    }  # fmt: skip
    fields.read |= set(_UNSIZED)
    fields.must("mamba_ssm_cache_dtype", "float32")
    moe = sizes["moe"] if layers["moe"] else None
    if layers["moe"] and moe is None:
        raise ValueError(f"{fields.where}: {fields.name('n_experts')}: Field required")
    if moe:
        shared = fields.count("n_shared_experts", 1, least=0) * fields.need("moe_shared_expert_intermediate_size")
        moe |= {"layers": layers["moe"], "shared_intermediate_size": shared or None}
        moe |= {"latent_size": fields.count("moe_latent_size")}
    return {
        "head_dim": head or sizes["head_dim"],
        "intermediate_size": fields.need("intermediate_size") if layers["mlp"] or not moe else moe["intermediate_size"],
        "attention_layers": layers["attention"],
        "mlp_layers": layers["mlp"] + layers["moe"],
        "linear_attention": linear if layers["mamba"] else None,
        "moe": moe,
    }


def granite_hybrid(fields: ConfigFields, sizes: Read) -> Read:
    """Mamba-2 or attention in each layer (Granite 4), before a shared MLP and, where there are any, routed experts."""
    layers, shared = sizes["n_layers"], fields.need("shared_intermediate_size")
    kinds = [_NAMES[name] for name in fields.items("layer_types", tuple(_NAMES), layers) or ["mamba"] * layers]
    attention, heads, inner = (
        kinds.count("attention"), fields.need("mamba_n_heads"), fields.need("mamba_expand") * sizes["hidden_size"],
    )  # fmt: skip
    if not attention:
        raise fields.error("layer_types", "a model without attention is not modelled", fields.get("layer_types"))
    size = inner // heads if fields.get("mamba_d_head") in (None, "auto") else fields.need("mamba_d_head")
    if size * heads != inner:
        raise fields.error("mamba_d_head", f"{heads} heads are not mamba_expand x hidden_size, {inner}", size)
    linear = {
        "kind": "mamba2", "layers": layers - attention, "n_key_heads": fields.need("mamba_n_groups"), "n_heads": heads,
        "key_dim": fields.need("mamba_d_state"), "value_dim": size, "conv_size": fields.need("mamba_d_conv"),
    }  # fmt: skip
    moe = sizes["moe"]
    return {
        "attention_layers": attention if attention < layers else None,
        "linear_attention": linear if attention < layers else None,
        "moe": moe and moe | {"shared_intermediate_size": shared},
        "intermediate_size": sizes["intermediate_size"] if moe else shared,
    }
