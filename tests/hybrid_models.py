"""Models with parts that the catalog's models lack, by the sizes of their config.json; the last two are made up."""

from functools import cache

from workbench.catalog import Model


def _fields(hidden, mlp, layers, heads, kv_heads, head_dim, vocab, *, gated=True, tied=False, **more):
    return {
        "hidden_size": hidden, "intermediate_size": mlp, "n_layers": layers, "n_heads": heads, "n_kv_heads": kv_heads,
        "head_dim": head_dim, "vocab_size": vocab, "gated": gated, "tied_embeddings": tied, **more,
    }  # fmt: skip


def _experts(number, per_token, width, layers, shared=None, **more):
    return {
        "n_experts": number, "experts_per_token": per_token, "intermediate_size": width, "layers": layers,
        "shared_intermediate_size": shared, **more,
    }  # fmt: skip


def _linear(kind, layers, key_heads, heads, key_dim, value_dim):
    return {
        "kind": kind, "layers": layers, "n_key_heads": key_heads, "n_heads": heads, "key_dim": key_dim,
        "value_dim": value_dim, "conv_size": 4,
    }  # fmt: skip


def _latent(q_rank, kv_rank, nope, rope, value):
    return {
        "q_lora_rank": q_rank, "kv_lora_rank": kv_rank, "qk_nope_head_dim": nope, "qk_rope_head_dim": rope,
        "v_head_dim": value,
    }  # fmt: skip


SIZES = {
    "qwen3-next-80b-a3b": _fields(
        2048, 5120, 48, 16, 2, 256, 151_936, attention_layers=12, attention_gate=True, qk_norm=True,
        linear_attention=_linear("gated_delta", 36, 16, 32, 128, 128),
        moe=_experts(512, 10, 512, 48, 512, shared_gate=True),
    ),
    "qwen3.5-27b": _fields(
        5120, 17_408, 64, 24, 4, 256, 248_320, attention_layers=16, attention_gate=True, qk_norm=True,
        linear_attention=_linear("gated_delta", 48, 16, 48, 128, 128),
    ),
    "deepseek-v3.2": _fields(
        7168, 18_432, 61, 128, 128, 192, 129_280, moe=_experts(256, 8, 2048, 58, 2048),
        mla=_latent(1536, 512, 128, 64, 128), indexer={"n_heads": 64, "head_dim": 128, "top_k": 2048},
    ),
    "glm-5": _fields(
        6144, 12_288, 78, 64, 64, 256, 154_880, moe=_experts(256, 8, 2048, 75, 2048),
        mla=_latent(2048, 512, 192, 64, 256), indexer={"n_heads": 32, "head_dim": 128, "top_k": 2048},
    ),
    "glm-5.2": _fields(
        6144, 12_288, 78, 64, 64, 256, 154_880, moe=_experts(256, 8, 2048, 75, 2048),
        mla=_latent(2048, 512, 192, 64, 256), indexer={"n_heads": 32, "head_dim": 128, "top_k": 2048, "layers": 21},
    ),
    "llama-4-scout": _fields(
        5120, 16_384, 48, 40, 8, 128, 202_048, moe=_experts(16, 1, 8192, 48, 8192), qk_norm=True,
        sliding_window={"size": 8192, "layers": 36, "chunked": True},
    ),
    "llama-4-maverick": _fields(
        5120, 16_384, 48, 40, 8, 128, 202_048, moe=_experts(128, 1, 8192, 24, 8192),
        sliding_window={"size": 8192, "layers": 36, "chunked": True},
    ),
    "gemma-4-26b-a4b": _fields(
        2816, 2112, 30, 16, 2, 512, 262_144, tied=True, moe=_experts(128, 8, 704, 30, dense_beside=True),
        sliding_window={"size": 1024, "layers": 25, "n_kv_heads": 8, "head_dim": 256}, values_are_keys=True,
        qk_norm=True,
    ),
    "gemma-4-31b": _fields(
        5376, 21_504, 60, 32, 4, 512, 262_144, tied=True, values_are_keys=True, qk_norm=True,
        sliding_window={"size": 1024, "layers": 50, "n_kv_heads": 16, "head_dim": 256},
    ),
    "gemma-4-e2b": _fields(
        1536, 12_288, 35, 8, 1, 512, 262_144, tied=True, qk_norm=True, shared_kv_layers=20,
        intermediate_by_layer=[6144] * 15 + [12_288] * 20, per_layer_embedding={"vocab_size": 262_144, "size": 256},
        sliding_window={"size": 512, "layers": 28, "head_dim": 256, "shared_kv_layers": 16},
    ),
    "nemotron-3-nano-30b-a3b": _fields(
        2688, 1856, 52, 32, 2, 128, 131_072, gated=False, attention_layers=6, mlp_layers=23,
        moe=_experts(128, 6, 1856, 23, 3712), linear_attention=_linear("mamba2", 23, 8, 64, 128, 64),
    ),
    "nemotron-h-56b": _fields(
        8192, 32_768, 118, 64, 8, 128, 131_072, gated=False, attention_layers=10, mlp_layers=54,
        linear_attention=_linear("mamba2", 54, 8, 256, 256, 64),
    ),
    "mimo-v2-flash": _fields(
        4096, 16_384, 48, 64, 4, 192, 152_576, v_head_dim=128, moe=_experts(256, 8, 2048, 47),
        sliding_window={"size": 128, "layers": 39, "n_kv_heads": 8},
    ),
    "kimi-linear-48b-a3b": _fields(
        2304, 9216, 27, 32, 32, 192, 163_840, attention_layers=7, mla=_latent(None, 512, 128, 64, 128),
        moe=_experts(256, 8, 1024, 26, 1024), linear_attention=_linear("kda", 20, 32, 32, 128, 128),
    ),
    "latent-experts": _fields(
        512, 1024, 8, 8, 2, 64, 1000, gated=False, attention_layers=2, mlp_layers=4,
        moe=_experts(16, 4, 256, 4, 512, latent_size=128, gated=True),
        linear_attention=_linear("mamba2", 4, 2, 8, 32, 64),
    ),
    "by-layer": _fields(
        512, 2048, 4, 8, 4, 64, 1000, attention_layers=3, mlp_layers=2, kv_heads_by_layer=(4, 1, 2),
        intermediate_by_layer=(2048, 512),
    ),
}  # fmt: skip


@cache
def hybrid(name):
    """A model of `SIZES`."""
    return Model(id=name, name=name, family="made up", sources={"config": "config.json"}, **SIZES[name])
