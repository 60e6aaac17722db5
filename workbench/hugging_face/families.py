"""Model types of config.json files: what each implies, by transformers' configuration_<model_type>.py (5.24)."""

from collections.abc import Mapping
from typing import NamedTuple


class Family(NamedTuple):
    """What a `model_type` implies: transformers' class defaults, and what config.json does not say."""

    defaults: Mapping[str, object] = {}  # of the fields that published files leave out
    text: Mapping[str, object] = {}  # the class's sizes, for files in which the language model is a part of another
    keys: Mapping[str, str] = {}  # field: what its files call it
    gated: bool = True
    mlp_ratio: int | None = None  # MLP size over hidden size, where the file may leave the MLP size out
    expert_size: str | None = None  # the field with the MLP size of one expert
    optional_experts: bool = False  # a file without a number of experts is a dense model
    latent: bool = False
    extra_positions: int | None = None  # rows of the position table beyond the context; None: no such table
    qk_norm: bool | str = False  # queries and keys are normalized; or the flag that says whether
    scaled: bool = False  # its max_position_embeddings count rope scaling in, whatever its kind
    listed: bool = False  # its sizes may be lists, of one value for all layers
    hybrid: str | None = None  # the reader of its further parts (`hybrids.READERS`)
    parts: tuple[str, ...] = ()  # objects inside it whose fields are read, as "part.field"
    classes: tuple[str, ...] = ()  # what its architectures are called, where not like the model type
    heads: bool = False  # files of EAGLE's first draft heads are like its own, of one layer
    harmless: tuple[str, ...] = ()  # keys of its files without a size in them, whatever they are called


class Wrapper(NamedTuple):
    """A model of pictures or sound around a language model."""

    part: str | None  # the object with the language model; where a file has none, its fields are the file's own
    family: str  # model type of the language model, where it names none


def _class(hidden: int, mlp: int, layers: int, heads: int, vocab: int, context: int, **more: int) -> dict[str, object]:
    """The sizes that a class has where nothing else is said."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    sizes: dict[str, object] = dict(zip(names, (hidden, mlp, layers, heads, vocab), strict=True))
    return sizes | {"max_position_embeddings": context} | more


_TIED = {"tie_word_embeddings": True}
_LLAMA = Family(text=_class(4096, 11008, 32, 32, 32000, 2048), heads=True)
_UNSLID: dict[str, object] = {"sliding_window": None}  # the class has windows, files say of what size
_QWEN = {"use_sliding_window": False, "sliding_window": 4096}
_QWEN2 = _QWEN | {"num_key_value_heads": 32, "max_window_layers": 28}
_QWEN2_VL = _QWEN | {"num_key_value_heads": 8, "max_window_layers": 80}
_BIG_QWEN = _class(8192, 29568, 80, 64, 152064, 32768)
_EXPERT = "moe_intermediate_size"
_QWEN_MOE = {"n_experts": "num_experts"}
_LOCAL = {"n_experts": "num_local_experts"}
_ROUTED = {"n_experts": "n_routed_experts"}
_GPT = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
_GPT_POSITIONS = _GPT | {"max_position_embeddings": "n_positions", "intermediate_size": "n_inner"}
_WIDE = {"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
_WIDE |= {"max_position_embeddings": "max_seq_len"}
_GEMMA2 = _TIED | {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 2}
_GEMMA3 = _class(2304, 9216, 26, 8, 262208, 131072) | _GEMMA2 | {"sliding_window_pattern": 6}
_NEXT = {"num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4, "linear_conv_kernel_dim": 4,
         "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16,
         "linear_num_value_heads": 32}  # fmt: skip
_NEXT_MOE = _NEXT | {_EXPERT: 512, "shared_expert_intermediate_size": 512}
_DEEPSEEK = {"q_lora_rank": 1536, "n_shared_experts": 1, "first_k_dense_replace": 3}
_V3 = _class(7168, 18432, 61, 128, 129280, 4096, moe_intermediate_size=2048, n_experts=256, num_experts_per_tok=8,
             kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)  # fmt: skip
_INDEX = {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}
_LATENT = Family(keys=_ROUTED, expert_size=_EXPERT, latent=True)
_GLM = {"num_key_value_heads": 2, "head_dim": 128}
_GLM_MOE = {"n_shared_experts": 1, "first_k_dense_replace": 1}
_ERNIE = ("moe_norm_min", "moe_use_aux_free", "moe_use_hard_gate", "moe_gate", "moe_gate_act", "moe_capacity")
_HARMLESS_LORA = ("vision_lora", "speech_lora", "audio_processor", "vision_config", "audio_config")

#: model_type: what it implies.
FAMILIES: dict[str, Family] = {
    # Dense, gated, as Llama is
    "llama": _LLAMA,
    "mistral": Family(
        {"num_key_value_heads": 8, "sliding_window": 4096}, _class(4096, 14336, 32, 32, 32000, 131072)
    ),
    "ministral": Family({"num_key_value_heads": 8, "sliding_window": 4096}),
    "ministral3": Family(
        _UNSLID | {"num_key_value_heads": 8, "head_dim": 128}, _class(4096, 14336, 34, 32, 131072, 262144)
    ),
    "qwen": Family(
        keys={"head_dim": "kv_channels", "max_position_embeddings": "seq_length"}, hybrid="qwen",
    ),
    "qwen2": Family(_QWEN2, _class(4096, 22016, 32, 32, 151936, 32768), heads=True),
    "qwen2_vl_text": Family(_QWEN2_VL, _BIG_QWEN),
    "qwen2_5_vl_text": Family(_QWEN2_VL, _BIG_QWEN),
    "qwen3": Family(_QWEN2 | {"head_dim": 128}, _class(4096, 22016, 32, 32, 151936, 32768), qk_norm=True),
    "qwen3_vl_text": Family(
        {"num_key_value_heads": 32, "head_dim": 128}, _class(4096, 22016, 32, 32, 151936, 128000), qk_norm=True
    ),
    "mimo": Family(_QWEN2),
    "gemma": Family(_TIED | {"num_key_value_heads": 16, "head_dim": 256}, _class(3072, 24576, 28, 16, 256000, 8192)),
    "gemma2": Family(_GEMMA2, _class(2304, 9216, 26, 8, 256000, 8192)),
    "gemma3_text": Family(_GEMMA3, scaled=True, qk_norm=True),
    "phi3": Family(_UNSLID, text=_class(3072, 8192, 32, 32, 32064, 4096)),
    "internlm": Family(),
    "internlm2": Family(text=_class(4096, 11008, 32, 32, 103168, 2048)),
    "internlm3": Family(),
    "baichuan": Family(keys={"max_position_embeddings": "model_max_length"}),
    "orion": Family(),
    "minicpm": Family(
        _TIED, keys=_QWEN_MOE, expert_size="intermediate_size", optional_experts=True
    ),
    "stablelm": Family(qk_norm="qk_layernorm"),
    "stablelm_epoch": Family(classes=("stablelmepoch", "stablelm")),
    "granite": Family(),
    "olmo": Family(),
    "olmo2": Family(qk_norm=True),
    "olmo3": Family({"sliding_window": 4096, "sliding_window_pattern": 4}, qk_norm=True),
    "exaone": Family(keys={"num_hidden_layers": "num_layers"}),
    "exaone4": Family(
        {"sliding_window": 4096, "sliding_window_pattern": 4},
        keys={"sliding_window_pattern": "sliding_window_pattern"}, qk_norm=True,
    ),
    "cohere": Family(_TIED, _class(8192, 22528, 40, 64, 256000, 8192), qk_norm="use_qk_norm"),
    "cohere2": Family(
        _TIED | {"sliding_window": 4096, "sliding_window_pattern": 4, "head_dim": 128},
        _class(8192, 22528, 40, 64, 256000, 8192),
    ),
    "glm": Family(_GLM),
    "glm4": Family(_GLM),
    "glm4v_text": Family({"num_key_value_heads": 2}, _class(4096, 13696, 40, 32, 151552, 32768)),
    "chatglm": Family(
        keys={
            "num_hidden_layers": "num_layers", "intermediate_size": "ffn_hidden_size", "head_dim": "kv_channels",
            "num_key_value_heads": "multi_query_group_num", "max_position_embeddings": "seq_length",
            "vocab_size": "padded_vocab_size",
        },
        hybrid="chatglm",
    ),
    "smollm3": Family(_TIED | _UNSLID | {"num_key_value_heads": 4, "use_sliding_window": False}),
    "seed_oss": Family({"num_key_value_heads": 8, "head_dim": 128}),
    "ernie4_5": Family(_TIED | {"num_key_value_heads": 2, "head_dim": 128}),
    "hunyuan_v1_dense": Family(qk_norm="use_qk_norm", classes=("hunyuandensev1",)),
    "phi4mm": Family(_UNSLID, harmless=_HARMLESS_LORA),
    "phi4_multimodal": Family(_UNSLID, harmless=_HARMLESS_LORA),
    "phi3_v": Family(_UNSLID, classes=("phi3v",)),
    # Dense, without a gate, and older ones with a table of positions
    "phi": Family(gated=False, qk_norm="qk_layernorm"),
    "phi-msft": Family(keys=_GPT_POSITIONS, gated=False, mlp_ratio=4, classes=("phi",)),
    "mixformer-sequential": Family(keys=_GPT_POSITIONS, gated=False, mlp_ratio=4, classes=("mixformersequential",)),
    "nemotron": Family(gated=False),
    "apertus": Family(gated=False, qk_norm=True),
    "arcee": Family(gated=False),
    "jais2": Family(gated=False),
    "starcoder2": Family(_TIED | _UNSLID | {"num_key_value_heads": 2}, gated=False),
    "gpt2": Family(_TIED, keys=_GPT_POSITIONS, gated=False, mlp_ratio=4, extra_positions=0),
    "gpt_bigcode": Family(
        _TIED | {"multi_query": True}, keys=_GPT_POSITIONS, gated=False, mlp_ratio=4, extra_positions=0
    ),
    "gpt_neox": Family(gated=False),
    "gptj": Family(keys=_GPT_POSITIONS, gated=False, mlp_ratio=4),
    "codegen": Family(keys=_GPT_POSITIONS, gated=False, mlp_ratio=4),
    "opt": Family(_TIED, keys={"intermediate_size": "ffn_dim"}, gated=False, extra_positions=2),  # counted from row 2
    "bloom": Family(
        _TIED, keys={**_GPT, "hidden_size": "n_embed", "max_position_embeddings": "seq_length"}, gated=False,
        mlp_ratio=4,
    ),
    "mpt": Family(_TIED, keys=_WIDE, gated=False, mlp_ratio=4, hybrid="mpt", parts=("attn_config",)),
    # The RefinedWeb types are Falcon's first ones
    "falcon": Family(_TIED | {"multi_query": True}, gated=False, mlp_ratio=4, classes=("falcon", "rw")),
    "RefinedWeb": Family(
        _TIED | {"new_decoder_architecture": True}, gated=False, mlp_ratio=4, classes=("falcon", "rw")
    ),
    "RefinedWebModel": Family(_TIED, gated=False, mlp_ratio=4, classes=("falcon", "rw")),
    # Mixtures of experts
    "mixtral": Family(
        _UNSLID | {"num_key_value_heads": 8}, keys=_LOCAL, expert_size="intermediate_size"
    ),
    "qwen2_moe": Family(
        _QWEN | {"max_window_layers": 28}, keys=_QWEN_MOE, expert_size=_EXPERT, hybrid="shared_gate"
    ),
    "qwen3_moe": Family(
        _QWEN | {"num_key_value_heads": 4}, keys=_QWEN_MOE, expert_size=_EXPERT, qk_norm=True
    ),
    "qwen3_vl_moe_text": Family(
        {"num_key_value_heads": 16, "head_dim": 128},
        _class(2048, 5632, 24, 16, 151936, 128000, n_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408),
        keys=_QWEN_MOE, expert_size=_EXPERT, qk_norm=True,
    ),
    "phimoe": Family(
        _UNSLID | {"num_key_value_heads": 8}, keys=_LOCAL, expert_size="intermediate_size"
    ),
    "gpt_oss": Family(
        {"num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128, "sliding_window_pattern": 2},
        keys=_LOCAL, expert_size="intermediate_size",
    ),
    "granitemoe": Family(keys=_LOCAL, expert_size="intermediate_size"),
    "granitemoeshared": Family(
        keys=_LOCAL, expert_size="intermediate_size", hybrid="shared_size"
    ),
    "granitemoehybrid": Family(
        {"shared_intermediate_size": 1024, "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256,
         "mamba_d_conv": 4, "mamba_expand": 2},
        keys=_LOCAL, expert_size="intermediate_size", optional_experts=True, hybrid="granite_hybrid",
        harmless=("mamba_chunk_size", "mamba_conv_bias", "mamba_proj_bias"),
    ),
    "olmoe": Family(keys=_QWEN_MOE, expert_size="intermediate_size", qk_norm=True),
    "dbrx": Family(
        keys=_WIDE | {
            "num_key_value_heads": "attn_config.kv_n_heads", "intermediate_size": "ffn_config.ffn_hidden_size",
            "n_experts": "ffn_config.moe_num_experts", "num_experts_per_tok": "ffn_config.moe_top_k",
        },
        expert_size="intermediate_size", parts=("attn_config", "ffn_config"),
        harmless=("ffn_config.moe_jitter_eps", "ffn_config.moe_normalize_expert_weights", "ffn_config.moe_loss_weight"),
    ),
    "minimax_m2": Family(
        {"num_key_value_heads": 8, "head_dim": 128, "use_qk_norm": True}, keys=_LOCAL,
        expert_size="intermediate_size", qk_norm="use_qk_norm", hybrid="minimax_m2",
    ),
    "deepseek": Family(keys=_ROUTED, expert_size=_EXPERT, optional_experts=True),
    "dots1": Family(
        {"sliding_window": 4096, "max_window_layers": 62}, keys=_ROUTED, expert_size=_EXPERT, qk_norm=True
    ),
    "glm4_moe": Family(_GLM_MOE | {"num_key_value_heads": 8}, keys=_ROUTED, expert_size=_EXPERT, qk_norm="use_qk_norm"),
    "glm4v_moe_text": Family(
        _GLM_MOE | {"num_key_value_heads": 8},
        _class(4096, 10944, 46, 96, 151424, 65536, moe_intermediate_size=1408, n_experts=128, num_experts_per_tok=8),
        keys=_ROUTED, expert_size=_EXPERT,
    ),
    "ernie4_5_moe": Family(
        _TIED | {"num_key_value_heads": 4, "moe_layer_start_index": 1, "moe_num_shared_experts": 2},
        keys={
            "n_experts": "moe_num_experts", "num_experts_per_tok": "moe_k",
            "n_shared_experts": "moe_num_shared_experts",
        },
        expert_size=_EXPERT, hybrid="ernie", harmless=_ERNIE,
    ),
    "hunyuan_v1_moe": Family(
        keys=_QWEN_MOE | {"num_experts_per_tok": "moe_topk", "n_shared_experts": "num_shared_expert"},
        expert_size="intermediate_size", qk_norm="use_qk_norm", hybrid="hunyuan", listed=True,
        classes=("hunyuanmoev1",),
    ),
    "bailing_moe": Family(
        keys=_QWEN_MOE | {"n_shared_experts": "num_shared_experts"}, expert_size=_EXPERT, qk_norm="use_qk_norm",
        classes=("bailingmoe", "bailingmoev2"),
    ),
    # Latent attention
    "deepseek_v2": _LATENT._replace(defaults={"q_lora_rank": 1536, "n_shared_experts": 2}),
    "deepseek_v3": _LATENT._replace(defaults=_DEEPSEEK, text=_V3),
    "mistral4": _LATENT._replace(defaults={"n_shared_experts": 1, "first_k_dense_replace": 0}),
    "kimi_k2": _LATENT._replace(defaults=_DEEPSEEK, text=_V3, classes=("deepseekv3",)),
    "glm4_moe_lite": _LATENT._replace(defaults=_GLM_MOE | {"q_lora_rank": 768}),
    "deepseek_v32": _LATENT._replace(defaults=_DEEPSEEK | _INDEX, hybrid="indexer"),
    "glm_moe_dsa": _LATENT._replace(
        defaults=_DEEPSEEK | _INDEX | {"q_lora_rank": 2048, "index_n_heads": 32}, hybrid="indexer"
    ),
    # Linear attention beside softmax, chunks, layers of their own sizes
    "qwen3_next": Family(_NEXT_MOE, keys=_QWEN_MOE, expert_size=_EXPERT, qk_norm=True, hybrid="qwen3_next"),
    "qwen3_5_text": Family(
        _NEXT | {"num_key_value_heads": 4}, _class(4096, 12288, 32, 16, 248320, 32768), qk_norm=True,
        hybrid="qwen3_next",
    ),
    "qwen3_5_moe_text": Family(
        _NEXT_MOE, _class(2048, 512, 40, 16, 248320, 32768, n_experts=256, num_experts_per_tok=8),
        keys=_QWEN_MOE, expert_size=_EXPERT, qk_norm=True, hybrid="qwen3_next",
    ),
    "kimi_linear": Family(
        {"n_shared_experts": 1, "first_k_dense_replace": 1},
        keys=_QWEN_MOE | {
            "num_experts_per_tok": "num_experts_per_token", "n_shared_experts": "num_shared_experts",
            "max_position_embeddings": "model_max_length", "linear_num_heads": "linear_attn_config.num_heads",
            "linear_head_dim": "linear_attn_config.head_dim",
            "linear_conv_kernel_dim": "linear_attn_config.short_conv_kernel_size",
        },
        expert_size=_EXPERT, latent=True, hybrid="kimi_linear", parts=("linear_attn_config",),
        harmless=("num_expert_group", "use_grouped_topk", "moe_renormalize", "moe_router_activation_func"),
    ),
    "llama4_text": Family(
        {"num_key_value_heads": 8, "attention_chunk_size": 8192, "interleave_moe_layer_step": 1, "use_qk_norm": True},
        _class(5120, 8192, 48, 40, 202048, 131072, intermediate_size_mlp=16384, n_experts=16, num_experts_per_tok=1,
               head_dim=128),
        keys=_LOCAL, expert_size="intermediate_size", qk_norm="use_qk_norm", hybrid="llama4",
    ),
    "gemma4_text": Family(
        _TIED | {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 512, "sliding_window_pattern": 6,
                 "global_head_dim": 512, "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 262144},
        _class(2304, 9216, 30, 8, 262144, 131072),
        keys=_QWEN_MOE | {"num_experts_per_tok": "top_k_experts"}, expert_size=_EXPERT, optional_experts=True,
        qk_norm=True, scaled=True, hybrid="gemma4",
    ),
    "mimo_v2_flash": Family(
        {"sliding_window": 128}, keys=_ROUTED, expert_size=_EXPERT, hybrid="mimo_v2", harmless=("swa_rope_theta",),
    ),
    "nemotron_h": Family(
        keys=_ROUTED | {"num_hidden_layers": "layers_block_type"}, gated=False, expert_size=_EXPERT,
        optional_experts=True, hybrid="nemotron_h",
    ),
    "nemotron-nas": Family({"intermediate_size": 1}, hybrid="nemotron_nas", classes=("decilm",)),  # a layer has its own
}  # fmt: skip

#: model_type: the language model within; pictures and sound are left out.
WRAPPERS: dict[str, Wrapper] = {
    "gemma3": Wrapper("text_config", "gemma3_text"),
    "gemma4": Wrapper("text_config", "gemma4_text"),
    "paligemma": Wrapper("text_config", "gemma"),
    "llama4": Wrapper("text_config", "llama4_text"),
    "llava": Wrapper("text_config", "llama"),
    "llava_next": Wrapper("text_config", "llama"),
    "llava_onevision": Wrapper("text_config", "qwen2"),
    "idefics3": Wrapper("text_config", "llama"),
    "smolvlm": Wrapper("text_config", "llama"),
    "internvl": Wrapper("text_config", "qwen2"),
    "internvl_chat": Wrapper("llm_config", "internlm2"),
    "aya_vision": Wrapper("text_config", "cohere2"),
    "exaone4_5": Wrapper("text_config", "exaone4"),
    "mistral3": Wrapper("text_config", "mistral"),
    "voxtral": Wrapper("text_config", "llama"),
    "qwen2_audio": Wrapper("text_config", "qwen2"),
    "qwen2_vl": Wrapper("text_config", "qwen2_vl_text"),
    "qwen2_5_vl": Wrapper("text_config", "qwen2_5_vl_text"),
    "qwen3_vl": Wrapper("text_config", "qwen3_vl_text"),
    "qwen3_vl_moe": Wrapper("text_config", "qwen3_vl_moe_text"),
    "qwen3_5": Wrapper("text_config", "qwen3_5_text"),
    "qwen3_5_moe": Wrapper("text_config", "qwen3_5_moe_text"),
    "glm4v": Wrapper("text_config", "glm4v_text"),
    "glm4v_moe": Wrapper("text_config", "glm4v_moe_text"),
    "kimi_k25": Wrapper("text_config", "kimi_k2"),
    "deepseek_vl_v2": Wrapper("language_config", "deepseek_v2"),
    "phi4mm": Wrapper(None, "phi4mm"),
    "phi4_multimodal": Wrapper(None, "phi4_multimodal"),
    "phi3_v": Wrapper(None, "phi3_v"),
}

#: Wrappers whose first files have the language model's fields beside the tower's.
FLAT = {"qwen2_vl", "qwen2_5_vl"}

_STATES, _ENCODER = "its state-space layers", "an encoder, which generates no tokens"
#: model_type: what no `Model` holds of it.
REFUSED: dict[str, str] = {
    "deepseek_v4": "its compressed attention", "deepseek_ref": "its compressed attention",
    "minimax_m3": "its sparse attention", "minimax_m3_vl": "its sparse attention", "minimax": "its lightning attention",
    "minimax_text_01": "its lightning attention", "kimi_k3": "its layers' own kinds of attention",
    "mamba": _STATES, "mamba2": _STATES, "falcon_mamba": _STATES, "jamba": _STATES, "bamba": _STATES, "zamba": _STATES,
    "zamba2": _STATES, "falcon_h1": _STATES, "rwkv": "its recurrent layers",
    "rwkv5": "its recurrent layers", "rwkv6": "its recurrent layers", "rwkv7": "its recurrent layers",
    "recurrent_gemma": "its recurrent layers", "xlstm": "its recurrent layers", "lfm2": "its convolutions",
    "lfm2_moe": "its convolutions", "gemma3n": "its alternating updates", "gemma3n_text": "its alternating updates",
    "longcat_flash": "its experts of no size", "step3_text": "its factorized attention", "openelm": "its layers' sizes",
    "arctic": "its dense residual", "bitnet": "its ternary weights", "mllama": "its cross attention",
    "qwen2_5_omni": "its talker", "qwen3_omni_moe": "its talker", "t5": "its cross attention",
    "whisper": "its cross attention", "bart": "its cross attention", "gpt_neo": "its local attention",
    "bert": _ENCODER, "albert": _ENCODER, "roberta": _ENCODER, "xlm-roberta": _ENCODER, "distilbert": _ENCODER,
    "deberta-v2": _ENCODER, "modernbert": _ENCODER, "nomic_bert": _ENCODER, "vit": _ENCODER, "clip": _ENCODER,
    "siglip": _ENCODER,
}  # fmt: skip
