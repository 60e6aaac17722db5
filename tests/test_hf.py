"""config.json to Model: typed in by hand as published, compared with the catalog; and every refusal."""

import json

import numpy as np
import pytest

from workbench import catalog, hugging_face
from workbench.catalog import model_entries

NOT_A_SIZE = {"id", "name", "family", "max_context", "published_parameters", "sources", "notes", "qk_norm"}

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "vocab_size": 32000,
}
LLAMA_3_1 = LLAMA | {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
}
AWQ = {"bits": 4, "group_size": 128, "quant_method": "awq", "version": "gemm", "zero_point": True}
MISTRAL = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
MIXTRAL = MISTRAL | {
    "model_type": "mixtral",
    "sliding_window": None,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
}
NEMO = MISTRAL | {
    "head_dim": 128,
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "sliding_window": None,
    "vocab_size": 131072,
}
QWEN2 = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN3 = {
    "model_type": "qwen3",
    "head_dim": 128,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_MOE = {
    "model_type": "qwen3_moe",
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
GEMMA2 = {
    "model_type": "gemma2",
    "head_dim": 256,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "max_position_embeddings": 8192,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
GEMMA3 = {
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16},
}
GEMMA3_TEXT = {
    "model_type": "gemma3_text",
    "head_dim": 256,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "vocab_size": 262144,
}
PHI2 = {
    "model_type": "phi",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "max_position_embeddings": 2048,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "tie_word_embeddings": False,
    "vocab_size": 51200,
}
PHI3 = {
    "model_type": "phi3",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "vocab_size": 32064,
}
GPT2 = {
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 1600,
    "n_head": 25,
    "n_inner": None,
    "n_layer": 48,
    "n_positions": 1024,
    "vocab_size": 50257,
}
OPT = {
    "model_type": "opt",
    "do_layer_norm_before": True,
    "ffn_dim": 20480,
    "hidden_size": 5120,
    "max_position_embeddings": 2048,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
    "vocab_size": 50272,
    "word_embed_proj_dim": 5120,
}
FALCON_7B = {
    "model_type": "falcon",
    "hidden_size": 4544,
    "multi_query": True,
    "new_decoder_architecture": False,
    "num_attention_heads": 71,
    "num_hidden_layers": 32,
    "num_kv_heads": 71,
    "vocab_size": 65024,
}
FALCON_40B = {
    "model_type": "falcon",
    "hidden_size": 8192,
    "new_decoder_architecture": True,
    "num_attention_heads": 128,
    "num_hidden_layers": 60,
    "num_kv_heads": 8,
    "vocab_size": 65024,
}
REFINED_WEB_7B = {
    "model_type": "RefinedWebModel",
    "hidden_size": 4544,
    "multi_query": True,
    "n_head": 71,
    "n_layer": 32,
    "vocab_size": 65024,
}
REFINED_WEB_40B = {
    "model_type": "RefinedWeb",
    "hidden_size": 8192,
    "n_head": 128,
    "n_head_kv": 8,
    "n_layer": 60,
    "vocab_size": 65024,
}
DEEPSEEK_V2_LITE = {
    "model_type": "deepseek_v2",
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 1408,
    "moe_layer_freq": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "tie_word_embeddings": False,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
DEEPSEEK_V3 = DEEPSEEK_V2_LITE | {
    "model_type": "deepseek_v3",
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "vocab_size": 129280,
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "quantization_config": {
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
        "quant_method": "mxfp4",
    },
    "sliding_window": 128,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}

PUBLISHED = {
    "llama-2-7b": LLAMA,
    "llama-2-7b-awq": LLAMA | {"quantization_config": AWQ},
    "llama-3.1-8b": LLAMA_3_1,
    "mistral-7b": MISTRAL,
    "mistral-nemo-12b": NEMO,
    "mixtral-8x7b": MIXTRAL,
    "qwen2.5-7b": QWEN2,
    "qwen3-0.6b": QWEN3,
    "qwen3-30b-a3b": QWEN3_MOE,
    "gemma-2-2b": GEMMA2,
    "gemma-3-4b": GEMMA3,
    "gemma-3-1b": GEMMA3_TEXT,
    "phi-2": PHI2,
    "phi-3-mini": PHI3,
    "gpt2-xl": GPT2,
    "opt-13b": OPT,
    "falcon-7b": FALCON_7B,
    "falcon-40b": FALCON_40B,
    "deepseek-v2-lite": DEEPSEEK_V2_LITE,
    "deepseek-v3": DEEPSEEK_V3,
    "gpt-oss-20b": GPT_OSS,
}


#: What the published files of each family hold beside that.
REST = {
    "llama-3.1-8b": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu",
        "initializer_range": 0.02, "mlp_bias": False, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 8.0, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
    },
    "mixtral-8x7b": {
        "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "initializer_range": 0.02, "output_router_logits": False, "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "torch_dtype": "bfloat16", "use_cache": True,
    },
    "qwen2.5-7b": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "hidden_act": "silu",
        "eos_token_id": 151643, "initializer_range": 0.02, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "torch_dtype": "bfloat16", "use_cache": True,
    },
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "bos_token_id": 151643, "eos_token_id": 151645, "initializer_range": 0.02, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 1000000, "torch_dtype": "bfloat16", "use_cache": True,
    },
    "qwen3-30b-a3b": {
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "hidden_act": "silu", "initializer_range": 0.02,
        "norm_topk_prob": True, "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_scaling": None,
        "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "torch_dtype": "bfloat16", "use_cache": True,
    },
    "gemma-2-2b": {
        "architectures": ["Gemma2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": 1,
        "final_logit_softcapping": 30.0, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "initializer_range": 0.02, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0, "sliding_window_size": 4096, "torch_dtype": "float32", "use_cache": True,
    },
    "gemma-3-4b": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
        "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
        "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
    },
    "gemma-3-1b": {
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "attn_logit_softcapping": None, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106],
        "final_logit_softcapping": None, "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02,
        "layer_types": [*(["sliding_attention"] * 5 + ["full_attention"]) * 4, *["sliding_attention"] * 2],
        "_sliding_window_pattern": 6, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "torch_dtype": "bfloat16",
        "use_bidirectional_attention": False, "use_cache": True,
    },
    "phi-3-mini": {
        "architectures": ["Phi3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "embd_pdrop": 0.0, "eos_token_id": 32000,
        "hidden_act": "silu", "initializer_range": 0.02, "original_max_position_embeddings": 4096,
        "pad_token_id": 32000, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
        "torch_dtype": "bfloat16", "use_cache": True,
    },
    "falcon-7b": {
        "alibi": False, "apply_residual_connection_post_layernorm": False, "architectures": ["FalconForCausalLM"],
        "attention_dropout": 0.0, "auto_map": {"AutoConfig": "configuration_falcon.FalconConfig"}, "bias": False,
        "bos_token_id": 11, "eos_token_id": 11, "hidden_dropout": 0.0, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "parallel_attn": True, "torch_dtype": "bfloat16", "use_cache": True,
    },
    "deepseek-v3": {
        "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "aux_loss_alpha": 0.001,
        "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "hidden_act": "silu", "initializer_range": 0.02,
        "n_group": 8, "norm_topk_prob": True, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 40, "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid", "seq_aux": True, "topk_group": 4, "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16", "use_cache": True,
    },
    "gpt-oss-20b": {
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "attention_dropout": 0.0,
        "eos_token_id": 200002, "hidden_act": "silu", "initial_context_length": 4096, "initializer_range": 0.02,
        "output_router_logits": False,
        "pad_token_id": 199999, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "rope_type": "yarn"},
        "rope_theta": 150000, "router_aux_loss_coef": 0.9, "swiglu_limit": 7.0, "use_cache": True,
    },
}  # fmt: skip
#: What training frameworks and models of pictures and sound write beside the language model's, without a size in it.
BESIDE = {
    "vision_start_token_id": 151652, "vision_token_index": 9, "audio_token_id": 3, "moe_router_dtype": "fp32",
    "moe_aux_loss_coeff": 0.01, "moe_z_loss_coeff": 0.001, "expert_aux_loss_coef": 0.1, "draft_vocab_size": None,
    "add_cross_attention": False, "pruned_heads": {}, "shared_expert_intermediate_size": 0,
}  # fmt: skip


def without(config, *fields):
    return {field: value for field, value in config.items() if field not in fields}


def sizes(model):
    return model.model_dump(exclude=NOT_A_SIZE | {"aliases"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_config_gives_the_catalog_entry(name):
    assert sizes(hugging_face.from_hf_config(PUBLISHED[name])) == sizes(catalog.model(name))


@pytest.mark.parametrize("name", REST)
def test_the_whole_published_file_gives_the_catalog_entry(name):
    whole = PUBLISHED[name] | REST[name]
    if name == "gemma-3-1b":
        del whole["sliding_window_pattern"]  # written anew as `_sliding_window_pattern`
    assert sizes(hugging_face.from_hf_config(whole)) == sizes(catalog.model(name))
    assert sizes(hugging_face.from_hf_config(whole | BESIDE)) == sizes(catalog.model(name))


def test_a_second_window_and_formats_of_experts_are_refused():
    for key, value in (("sliding_window_size", 1024), ("expert_dtype", "fp4"), ("sliding_window_size", [4096])):
        with pytest.raises(ValueError, match=f"^config dict: {key} = .*: not read in a gemma2"):
            hugging_face.from_hf_config(GEMMA2 | {key: value})


def test_arrays_in_a_config_are_read_or_refused_in_one_line():
    fp8 = {"quant_method": "fp8", "ignore": np.array(["lm_head"])}
    plain = {"linear_weights": np.array([]), "moe_freq": np.array(0), "quantization_config": fp8}
    assert hugging_face.from_hf_config(LLAMA | plain).quantization == model_entries.Quantization(
        format="fp8", activation="fp8"
    )
    for key in [*DEEPSEEK_V3, "moe_layers", "sliding_window_size"]:
        with pytest.raises(ValueError, match="^config dict: [^\n]*$"):
            hugging_face.from_hf_config(DEEPSEEK_V3 | {key: np.array([1, 2])})


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
ATTENTION = [["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"], ["self_attn.o_proj"]]
DENSE = [["mlp.up_proj", "mlp.gate_proj"], ["mlp.down_proj"]]


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        (LLAMA, [*ATTENTION, *DENSE]),
        (LLAMA, np.array(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])),
        (PHI3, [["self_attn.qkv_proj"], ["self_attn.o_proj"], ["mlp.gate_up_proj"], ["mlp.down_proj"]]),
        (GPT2, [["attn.c_attn"], ["attn.c_proj"], ["mlp.c_fc"], ["mlp.c_proj"]]),
        (MIXTRAL, [*ATTENTION, [f"block_sparse_moe.experts.{i}.w{j}" for i in range(8) for j in (1, 2, 3)]]),
        (QWEN3_MOE, [*ATTENTION, [f"mlp.experts.0.{name}_proj" for name in ("gate", "up", "down")]]),
    ],
)  # fmt: skip
def test_a_list_of_every_quantized_module_is_the_whole_model(config, modules):
    whole = config | {"quantization_config": GPTQ | {"modules_in_block_to_quantize": modules}}
    assert sizes(hugging_face.from_hf_config(whole)) == sizes(
        hugging_face.from_hf_config(config | {"quantization_config": GPTQ})
    )


@pytest.mark.parametrize(
    ("config", "modules", "parts"),
    [
        (LLAMA, ATTENTION, {"attention": "gptq", "mlp": "bf16"}),
        (LLAMA, DENSE, {"attention": "bf16", "mlp": "gptq"}),
        (LLAMA, "v_proj", {"attention": "bf16", "mlp": "bf16"}),  # a quarter of attention's, in the mean width
        (QWEN3_MOE, ATTENTION, {"attention": "gptq", "experts": "bf16"}),
    ],
)
def test_a_list_of_some_quantized_modules_leaves_the_others_in_16_bit(config, modules, parts):
    some = config | {"quantization_config": GPTQ | {"modules_in_block_to_quantize": modules}}
    stored = hugging_face.from_hf_config(some).quantization
    assert {part: stored.of(part).format for part in parts} == parts


def test_a_list_of_modules_that_a_model_lacks_is_refused():
    some = QWEN3_MOE | {"quantization_config": GPTQ | {"modules_in_block_to_quantize": [*ATTENTION, *DENSE]}}
    with pytest.raises(
        ValueError, match="^config dict: quantization_config: 'mlp.up_proj': no module that a Model has"
    ):
        hugging_face.from_hf_config(some)


def test_modules_left_out_by_a_pattern_are_known():
    for key, names in (
        ("ignore", ["lm_head", "re:.*lm_head", "re:.*mlp.gate$", "re:.*block_sparse_moe.gate$"]),
        ("dynamic", {"-:.*gate$": {}, "+:.*lm_head$": {"bits": 8}, r"-:model\.visual\..*": {}}),
    ):
        config = MIXTRAL | {"quantization_config": GPTQ | {key: names}}
        assert hugging_face.from_hf_config(config).quantization.format == "gptq"
    for key, names, parts in (
        ("ignore", ["re:.*self_attn.*"], {"attention": "bf16", "experts": "gptq"}),
        ("dynamic", {"-:.*w2$": {}, "-:.*gate$": {}}, {"attention": "gptq", "experts": "gptq"}),
    ):
        stored = hugging_face.from_hf_config(MIXTRAL | {"quantization_config": GPTQ | {key: names}}).quantization
        assert {part: getattr(stored.of(part), "format", "bf16") for part in parts} == parts


@pytest.mark.parametrize(
    ("config", "name"), [(REFINED_WEB_7B, "falcon-7b"), (REFINED_WEB_40B, "falcon-40b")], ids=["7b", "40b"]
)
def test_first_falcon_files_give_the_catalog_entry(config, name):
    assert sizes(hugging_face.from_hf_config(config)) == sizes(catalog.model(name))


# Fields that files of each family leave out, because transformers' class supplies them.
@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("mistral-7b", ["num_key_value_heads", "sliding_window", "tie_word_embeddings"]),
        ("qwen2.5-7b", ["max_window_layers", "sliding_window", "use_sliding_window", "tie_word_embeddings"]),
        ("qwen3-30b-a3b", ["decoder_sparse_step", "mlp_only_layers", "use_sliding_window"]),
        ("gemma-2-2b", ["head_dim", "num_key_value_heads", "sliding_window"]),
        ("gemma-3-1b", ["sliding_window_pattern", "head_dim"]),
        ("phi-2", ["num_key_value_heads"]),
        ("gpt2-xl", ["n_inner"]),
        ("deepseek-v3", ["num_key_value_heads", "moe_layer_freq", "first_k_dense_replace", "q_lora_rank"]),
        ("gpt-oss-20b", ["layer_types", "head_dim", "num_key_value_heads", "num_experts_per_tok", "sliding_window"]),
    ],
)
def test_class_defaults_fill_what_a_file_leaves_out(name, left_out):
    assert sizes(hugging_face.from_hf_config(without(PUBLISHED[name], *left_out))) == sizes(catalog.model(name))


def test_null_head_dim_is_hidden_size_over_heads():
    assert hugging_face.from_hf_config(LLAMA | {"head_dim": None}).head_dim == 4096 // 32


def test_null_sliding_window_switches_it_off():
    assert hugging_face.from_hf_config(MISTRAL | {"sliding_window": None}).sliding_window is None


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({"use_sliding_window": True, "max_window_layers": 21}, 7),  # the first 21 of 28 see everything
        ({"use_sliding_window": True, "max_window_layers": 70}, 0),  # more than there are
        ({"use_sliding_window": False, "max_window_layers": 21}, 0),
        ({"use_sliding_window": True, "layer_types": ["full_attention"] * 28}, 0),
        ({"use_sliding_window": True, "layer_types": ["full_attention"] * 20 + ["sliding_attention"] * 8}, 8),
    ],
)
def test_qwen2_sliding_window_layers(changes, layers):
    window = hugging_face.from_hf_config(QWEN2 | changes).sliding_window
    assert (window.layers if window else 0) == layers


@pytest.mark.parametrize("field", ["sliding_window_pattern", "_sliding_window_pattern"])
def test_gemma3_sliding_window_pattern_overrides_the_default(field):
    window = hugging_face.from_hf_config(without(GEMMA3_TEXT, "sliding_window_pattern") | {field: 2}).sliding_window
    assert window is not None
    assert window.layers == 13  # every other of 26


@pytest.mark.parametrize(
    ("config", "changes", "layers"),
    [
        (QWEN3_MOE, {"decoder_sparse_step": 2}, 24),
        (QWEN3_MOE, {"mlp_only_layers": [0, 1, 2]}, 45),
        (DEEPSEEK_V2_LITE, {"first_k_dense_replace": 1, "moe_layer_freq": 2}, 13),  # layers 2, 4, ..., 26
        (DEEPSEEK_V2_LITE, {"first_k_dense_replace": 0}, 27),
    ],
)
def test_layers_that_have_experts(config, changes, layers):
    model = hugging_face.from_hf_config(config | changes)
    assert model.moe is not None
    assert model.moe.layers == layers
    dense_mlp = config["moe_intermediate_size"] if layers == model.n_layers else config["intermediate_size"]
    assert model.intermediate_size == dense_mlp


def test_experts_on_no_layer_are_a_dense_model():
    model = hugging_face.from_hf_config(DEEPSEEK_V2_LITE | {"first_k_dense_replace": 27})
    assert model.moe is None
    assert model.intermediate_size == 10944


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False}, ("gptq", 64, "linear")),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, ("gptq", 4096, "linear")),
        ({"quant_method": "awq", "bits": 4}, ("awq", 128, "linear")),
        ({"quant_method": "fp8"}, ("fp8", None, "linear")),
        ({"quant_method": "mxfp4"}, ("mxfp4", None, "linear")),
    ],
)
def test_quantization_config(given, stored):
    quantization = hugging_face.from_hf_config(LLAMA | {"quantization_config": given}).quantization
    assert quantization is not None
    assert (quantization.format, quantization.group_size, quantization.scope) == stored


def test_gemma3_passes_the_outer_quantization_on():
    given = GEMMA3 | {"quantization_config": {"quant_method": "fp8"}}
    assert hugging_face.from_hf_config(given).quantization == model_entries.Quantization(format="fp8", activation="fp8")


def test_file_directory_string_and_dict_give_the_same_sizes(tmp_path):
    folder = tmp_path / "Llama-2-7b-hf"
    folder.mkdir()
    file = folder / "config.json"
    file.write_text(json.dumps(LLAMA))
    models = [hugging_face.from_hf_config(given) for given in (file, str(file), folder, str(folder))]
    assert all(model == models[0] for model in models)
    assert sizes(models[0]) == sizes(hugging_face.from_hf_config(LLAMA))
    assert models[0].id == "llama-2-7b-hf"
    assert models[0].sources == {"config": "config.json"}
    assert str(tmp_path) not in repr(models[0])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b-hf"),
        ("/data/checkpoints/Llama-2-7b-hf/", "llama-2-7b-hf"),
        ("", "llama"),
        (None, "llama"),
    ],
)
def test_id_is_the_last_part_of_name_or_path(path, name):
    model = hugging_face.from_hf_config(LLAMA | {"_name_or_path": path})
    assert model.id == name
    assert model.sources == {"config": "dict"}


def test_max_context_is_the_position_limit():
    assert hugging_face.from_hf_config(LLAMA_3_1).max_context == 131072
    assert hugging_face.from_hf_config(REFINED_WEB_7B).max_context is None


REFUSED = [
    ({"model_type": "lama"}, r"^config dict: unknown model_type 'lama'. Did you mean 'llama'\? Allowed: \d+ that docs"),
    ({"model_type": None}, "^config dict: model_type: Field required$"),
    ({"model_type": ["llama"]}, r"unknown model_type \"\['llama'\]\"\. Allowed"),
    ({"model_type": "qwen9"}, r"unknown model_type 'qwen9'\. Allowed"),  # no near miss: another version
    ({"model_type": "mamba"}, r"^config dict: model_type = 'mamba': not read, no Model holds its state-space layers$"),
    ({"model_type": "bert"}, r"model_type = 'bert': not read, an encoder, which generates no tokens$"),
    ({"hidden_size": "4096"}, r"^config dict: hidden_size = '4096': expected a whole number from 1$"),
    ({"hidden_size": -4096}, r"hidden_size = -4096: expected a whole number from 1"),
    ({"num_hidden_layers": 0}, r"num_hidden_layers = 0: expected a whole number from 1 to 99999"),
    ({"num_hidden_layers": 10**9}, r"num_hidden_layers = 1000000000: expected a whole number from 1 to 99999"),
    ({"num_attention_heads": 32.0}, r"num_attention_heads = 32.0: expected a whole number from 1"),
    ({"vocab_size": float("nan")}, r"vocab_size = nan: expected a whole number from 1"),
    ({"vocab_size": True}, r"vocab_size = True: expected a whole number from 1"),
    ({"vocab_size": 10**30}, r"vocab_size = 10+: expected a whole number from 1"),
    ({"head_dim": [128]}, r"head_dim = \[128\]: expected a whole number from 1"),
    ({"tie_word_embeddings": "yes"}, r"tie_word_embeddings = 'yes': expected true or false"),
    ({"num_key_value_heads": 5}, r"num_key_value_heads = 5: num_attention_heads 32 is no multiple of it$"),
    ({"hidden_size": 4100}, r"^config dict: head_dim: Field required, as 32 heads do not divide hidden_size 4100$"),
    ({"intermediate_size": None}, r"^config dict: intermediate_size: Field required$"),
    ({"layer_types": ["full_attention"]}, r"layer_types: must have 32 entries, found 1$"),
    (
        {"layer_types": ["linear_attention"] * 32},
        r"layer_types.0 = 'linear_attention': expected 'full_attention' or 's",
    ),
    (
        {"quantization_config": {"quant_method": "aqlm"}},
        r"^config dict: quantization_config: unknown quant_method 'aqlm'\. Did you mean 'awq'\?$",
    ),
    ({"quantization_config": {"bits": 4}}, r"quantization_config: quant_method: Field required"),
    ({"quantization_config": AWQ | {"bits": 8}}, r"quantization_config: bits = 8: Input should be 4"),
    (
        {"quantization_config": AWQ | {"group_size": -2}},
        r"quantization_config: group_size = -2: Input should be greater than",
    ),
    ({"quantization_config": "awq"}, r"quantization_config: the entry = 'awq': Input should be a valid dict"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[str(changes)[:40] for changes, _ in REFUSED])
def test_refused_llama(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        hugging_face.from_hf_config(LLAMA | changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (LLAMA, "hidden_size"),
        (LLAMA, "num_hidden_layers"),
        (LLAMA, "num_attention_heads"),
        (LLAMA, "vocab_size"),
        (LLAMA, "intermediate_size"),
        (OPT, "max_position_embeddings"),
        (QWEN3_MOE, "moe_intermediate_size"),
        (QWEN3_MOE, "num_experts_per_tok"),
        (DEEPSEEK_V3, "kv_lora_rank"),
        (DEEPSEEK_V3, "v_head_dim"),
    ],
)
def test_missing_field_is_named(config, field):
    with pytest.raises(ValueError, match=f"^config dict: {field}: Field required"):
        hugging_face.from_hf_config(without(config, field))


def test_missing_number_of_experts_is_named_in_a_spelling():
    with pytest.raises(ValueError, match=r"^config dict: num_local_experts: Field required"):
        hugging_face.from_hf_config(without(MIXTRAL, "num_local_experts"))


def test_missing_model_type_is_named():
    with pytest.raises(ValueError, match="^config dict: model_type: Field required$"):
        hugging_face.from_hf_config(without(LLAMA, "model_type"))


def test_missing_text_config_is_named():
    with pytest.raises(ValueError, match=r"^config dict: text_config: expected an object, found NoneType$"):
        hugging_face.from_hf_config(without(GEMMA3, "text_config"))


def test_projected_embeddings_are_refused():
    opt_350m = OPT | {"hidden_size": 1024, "ffn_dim": 4096, "num_attention_heads": 16, "word_embed_proj_dim": 512}
    with pytest.raises(ValueError, match="word_embed_proj_dim = 512: must be hidden_size 1024"):
        hugging_face.from_hf_config(opt_350m)


@pytest.mark.parametrize("given", [7, None, [LLAMA]])
def test_neither_path_nor_dict_is_refused(given):
    with pytest.raises(ValueError, match=r"^expected the path of a config.json or a dict, found (int|NoneType|list)$"):
        hugging_face.from_hf_config(given)


@pytest.mark.parametrize("name", ["meta-llama/Llama-2-7b-hf", "missing.json"])
def test_missing_file_is_refused_without_a_download(tmp_path, name):
    with pytest.raises(ValueError, match=r": no such file; give a config.json on this machine, nothing is downloaded$"):
        hugging_face.from_hf_config(tmp_path / name)


def test_directory_without_config_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json: no such file"):
        hugging_face.from_hf_config(tmp_path)


def test_path_too_long_is_refused():
    with pytest.raises(ValueError, match=r"^x{200}: File name too long$"):
        hugging_face.from_hf_config("x" * 5000)


def test_dict_nested_too_deeply_is_refused():
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match=r"^config dict: nested over 32 levels deep$"):
        hugging_face.from_hf_config(LLAMA | {"model_type": nested})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{\n"model_type": "llama",\n"hidden_size": }',
            r"config\.json, line 3: not valid JSON, or cut off \(Expecting",
        ),
        (b"", r"config\.json, line 1: not valid JSON"),
        (b"[1, 2]", r"config\.json: expected a JSON object, found list$"),
        (b"null", r"config\.json: expected a JSON object, found NoneType$"),
        (b'{"model_type": "\xff"}', r"config\.json: not a text file \('utf-8' codec can't decode"),
        (b'{"vocab_size": ' + b"1" * 5000 + b"}", r"config\.json: not valid JSON \(Exceeds the limit"),
        (b"[" * 100_000, r"config\.json: nested over 32 levels deep$"),
        (b'{"model_type": "llama", "hidden_size": NaN}', r"config\.json: not valid JSON \(NaN is no number\)$"),
    ],
    ids=["syntax", "empty", "list", "null", "not utf-8", "long number", "nested", "NaN"],
)
def test_file_that_is_no_config_is_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        hugging_face.from_hf_config(tmp_path / "config.json")
    assert "\n" not in str(caught.value)


def test_a_key_given_twice_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama", "a": {"hidden_size": 4096, "hidden_size": 8192}}')
    with pytest.raises(ValueError, match=r"config\.json: not valid JSON \('hidden_size' is given twice\)$"):
        hugging_face.from_hf_config(tmp_path)


@pytest.mark.parametrize(
    ("path", "message"), [("a\0b", "expected the path of a file"), ("~nobody-here/x", r"Could not determine home")]
)
def test_a_path_that_is_none_is_refused(path, message):
    with pytest.raises(ValueError, match=message):
        hugging_face.from_hf_config(path)


def test_a_file_that_is_too_large_for_a_config_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    with file.open("wb") as sparse:
        sparse.truncate(2**40)  # takes no room
    with pytest.raises(ValueError, match=r"model\.safetensors: larger than 4 MiB, so not one of the files read here$"):
        hugging_face.from_hf_config(file)


def test_a_folder_with_braces_is_named_as_it_is(tmp_path):
    (tmp_path / "{x}").mkdir()
    (tmp_path / "{x}" / "config.json").write_text(json.dumps(LLAMA | {"moe_x": 1}))
    with pytest.raises(ValueError, match=r"/\{x\}/config.json: moe_x = 1: not read in a llama"):
        hugging_face.from_hf_config(tmp_path / "{x}")


def test_a_long_key_that_changes_the_arithmetic_is_named_in_one_short_line():
    with pytest.raises(ValueError, match=r"\Aconfig dict: moe_ ax{74} = 1: not read in a llama") as error:
        hugging_face.from_hf_config(LLAMA | {"moe_\na" + "x" * 5000: 1})
    assert "\n" not in str(error.value)
