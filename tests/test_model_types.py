"""config.json files of every model type: weights, active weights and cache to the last element, and what is refused.

`data/configs.jsonl` has the fields that sizes follow from, of real files (by the repository that has them), of
published sizes, and of transformers' own classes. Its counts are those of the modules that transformers 5.24.0 builds
of them on the meta device, matrices without norms and biases; where it has no class (MiMo, Nemotron-NAS, remote code),
those of the class with the same matrices, or by hand. Keys that an indexer chooses by, and values that are keys, are
added.
"""

import json
from itertools import cycle
from pathlib import Path

import pytest
import test_hf

import workbench as wb
from workbench.hugging_face.families import FAMILIES, FLAT, REFUSED, WRAPPERS
from workbench.hugging_face.hybrids import READERS
from workbench.hugging_face.reading import read_sizes
from workbench.measure.models import find_model

ROWS = [json.loads(line) for line in (Path(__file__).parent / "data" / "configs.jsonl").read_text().splitlines()]
CONFIGS = {row["name"]: row["config"] for row in ROWS}
LLAMA = test_hf.LLAMA


def refused(message, config):
    with pytest.raises(ValueError, match=message) as error:
        wb.from_hf_config(config)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def message(read, config):
    """What is said where a file is refused, else nothing."""
    try:
        read(config)
    except ValueError as error:
        return str(error)
    return ""


def text(config):
    """The language model's part of a config.json."""
    wrapper = WRAPPERS.get(config["model_type"])
    return config.get(wrapper.part, config) if wrapper and wrapper.part else config


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_weights_active_weights_and_cache_are_counted_exactly(row):
    model = wb.from_hf_config(row["config"])
    assert (model.parameters, model.active_parameters, model.kv_elements_per_token) == (
        row["weights"], row["active"], row["kv"],
    )  # fmt: skip


def test_every_model_type_that_is_read_is_counted():
    files = [*CONFIGS.values(), *test_hf.PUBLISHED.values(), test_hf.REFINED_WEB_7B, test_hf.REFINED_WEB_40B]
    counted = {config["model_type"] for config in files} | {text(config).get("model_type") for config in files}
    counted |= {WRAPPERS[kind].family for kind in counted & set(WRAPPERS)}
    assert set(FAMILIES) - counted <= {
        "glm4v_moe_text", "mistral4", "mixformer-sequential", "phi4_multimodal", "stablelm_epoch",
    }  # fmt: skip
    assert {family.hybrid for family in FAMILIES.values()} - {None} == set(READERS)
    assert not set(REFUSED) & {*FAMILIES, *WRAPPERS}


@pytest.mark.parametrize(
    ("kind", "like", "name"),
    [
        ("mixformer-sequential", "phi-msft", "phi-1_5"), ("stablelm_epoch", "stablelm", "stablelm"),
        ("phi4_multimodal", "phi4mm", "Phi-4-multimodal"), ("glm4v_moe_text", "glm4_moe", "GLM-4.5-Air"),
        ("mistral4", "deepseek_v3", "DeepSeek-V3"),
    ],
)  # fmt: skip
def test_a_type_with_another_ones_matrices_is_counted_as_that(kind, like, name):
    config = {key: value for key, value in CONFIGS[name].items() if key != "architectures"}
    assert config["model_type"] == like
    changed = wb.from_hf_config(config | {"model_type": kind})
    assert changed.parameters == wb.from_hf_config(config).parameters


@pytest.mark.parametrize("kind", [kind for kind, wrapper in WRAPPERS.items() if wrapper.part])
def test_of_a_wrapper_the_language_model_is_read_and_the_notes_say_so(kind):
    inner = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    outer = {"model_type": kind, WRAPPERS[kind].part: inner, "vision_config": {"hidden_size": 1024}}
    model = wb.from_hf_config(outer)
    assert test_hf.sizes(model) == test_hf.sizes(wb.from_hf_config(LLAMA))
    assert (model.family, model.notes[:24]) == (kind, "The language model alone")
    assert wb.from_hf_config(outer | {"tie_word_embeddings": True}).tied_embeddings
    inside = LLAMA | {"tie_word_embeddings": False}
    assert wb.from_hf_config(outer | {"tie_word_embeddings": True, WRAPPERS[kind].part: inside}).tied_embeddings
    refused("tie_word_embeddings = .1.: expected true or false", outer | {"tie_word_embeddings": 1})
    assert not wb.from_hf_config(LLAMA).notes


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("llama2_7b", {"context_window_size": 2048}), ("gpt-oss-20b", {"moe_intermediate_size": 2880}),
        ("Kimi-Linear-48B-A3B", {"layer_types": [
            "full_attention" if i in (4, 8, 12, 16, 20, 24, 27) else "linear_attention" for i in range(1, 28)]}),
        ("MiMo-V2-Flash", {"attention_chunk_size": 127}), ("GLM-4.5-Air", {"rope_scaling": {
            "rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": 4096}}),
    ],
)  # fmt: skip
def test_what_other_tools_write_beside_it_changes_nothing(name, more):
    config = CONFIGS[name]
    assert test_hf.sizes(wb.from_hf_config(config | more)) == test_hf.sizes(wb.from_hf_config(config))
    assert wb.from_hf_config(config | more).max_context == wb.from_hf_config(config).max_context


def test_a_tower_in_a_text_models_file_is_told_of():
    config = next(config for config in CONFIGS.values() if config["model_type"] == "qwen")
    assert wb.from_hf_config(config | {"visual": {"width": 1664}}).notes.startswith("The language model alone")


@pytest.mark.parametrize(
    "name", ["model.embed_tokens", "language_model.model.embed_tokens", "transformer.embed_tokens"]
)
def test_embeddings_have_the_format_that_is_said_of_them_by_any_name(name):
    said = {"group_size": 64, "bits": 4, name: {"group_size": 64, "bits": 8}}
    model = wb.from_hf_config(LLAMA | {"quantization": said, "tie_word_embeddings": True})
    assert [model.quantization.of(part).format for part in ("embeddings", "lm_head", "mlp")] == ["mlx8", "mlx8", "mlx4"]


@pytest.mark.parametrize("kind", sorted(FLAT))
def test_a_wrapper_with_the_fields_beside_the_tower_is_read(kind):
    flat = CONFIGS["Qwen2-VL-2B"] | {"model_type": kind, "architectures": []}
    inner = {key: value for key, value in flat.items() if key not in ("model_type", "vision_config", "architectures")}
    nested = {"model_type": kind, "text_config": inner, "vision_config": {}, "tie_word_embeddings": True}
    assert wb.from_hf_config(flat) == wb.from_hf_config(nested)


@pytest.mark.parametrize(
    ("name", "state"),  # layers x (heads x key size x value size x 4 bytes + 3 tokens x channels x 2 bytes)
    [
        ("Qwen3-Next-80B-A3B", 36 * (32 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 32 * 128) * 2)),
        ("Qwen3.5-27B", 48 * (48 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 48 * 128) * 2)),
        ("Kimi-Linear-48B-A3B", 20 * (32 * 128 * 128 * 4 + 3 * (3 * 32 * 128) * 2)),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 23 * (64 * 128 * 64 * 4 + 3 * (2 * 8 * 128 + 64 * 64) * 2)),
    ],
)
def test_states_of_linear_attention(name, state):
    assert wb.from_hf_config(CONFIGS[name]).state_bytes_per_sequence == state


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        ("gpt-oss-20b", 128, 12), ("EXAONE-4.0-32B", 4096, 48), ("Olmo-3-7B", 4096, 24), ("command-r7b", 4096, 24),
        ("mistral_7b", 4096, 32), ("starcoder2", 4096, 32), ("gemma-3-27b", 1024, 52), ("gemma-4-26B-A4B", 1024, 25),
        ("MiMo-V2-Flash", 128, 39), ("Llama-4-Scout-17B-16E-Instruct", 8192, 36), ("qwen2_7b", None, 0),
        ("dots.llm1", None, 0), ("SmolLM3-3B", None, 0),
    ],
)  # fmt: skip
def test_windows_and_chunks(name, size, layers):
    window = wb.from_hf_config(CONFIGS[name]).sliding_window
    assert (window and window.size, window.layers if window else 0) == (size, layers)


NVFP4 = {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16}


@pytest.mark.parametrize(
    ("name", "left_out", "formats"),
    [
        ("gemma-4-26B-A4B", ["lm_head", "model.language_model.layers.*.mlp*", "*attn*"], ("bf16", "bf16", "nvfp4")),
        ("Kimi-K2.5", ["language_model.lm_head", "language_model.model.layers.*.self_a*"], ("bf16", "nvfp4", "nvfp4")),
        ("Qwen3.5-122B-A10B", ["lm_head", "*self_attn*", "*linear_attn*"], ("bf16", "nvfp4", "nvfp4")),
    ],
)  # fmt: skip
def test_what_lies_beside_a_config_says_how_its_parts_are_stored(tmp_path, name, left_out, formats):
    beside = {"producer": {"name": "modelopt"}, "quantization": NVFP4 | {"exclude_modules": left_out}}
    (tmp_path / f"{name}_config.json").write_text(json.dumps(CONFIGS[name]))
    (tmp_path / f"{name}_hf_quant_config.json").write_text(json.dumps(beside))
    stored = wb.from_hf_config(tmp_path / f"{name}_config.json").quantization
    found = [stored.of(part) for part in ("attention", "mlp", "experts")]
    assert tuple(form.format if form else "bf16" for form in found) == formats
    assert stored.kv == "fp8"


def test_patterns_of_dense_layers_are_not_those_of_experts():
    config = CONFIGS["Kimi-K2.5"]  # as Moonshot's file has them
    ignore = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]
    weights = {"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group", "symmetric": True, "dynamic": False}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    given = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": group},
             "ignore": ignore}  # fmt: skip
    stored = wb.from_hf_config(config | {"quantization_config": given}).quantization
    assert (stored.format, stored.scope) == ("w4a16", "experts")


def kept(name, *left_out):
    """Parts of a model in 8 bits, with their bits, where some modules are left out."""
    given = {"quant_method": "fp8", "ignore": list(left_out)}
    stored = wb.from_hf_config(CONFIGS[name] | {"quantization_config": given}).quantization
    parts = ("attention", "linear_attention", "mlp", "experts", "shared")
    return {part: 8 * stored.of(part).width for part in parts}


EIGHT = dict.fromkeys(("attention", "linear_attention", "mlp", "experts", "shared"), 8.0)
KDA = 2304 * (3 * 4096 + 32 + 2 * 128) + 2 * 128 * 4096 + 4096 * 2304  # weights of a layer, counted by hand


@pytest.mark.parametrize(
    ("left_out", "sixteen"),
    [
        (["re:.*self_attn.*"], KDA),
        (["re:.*self_attn.(q|k|v)_proj"], 3 * 2304 * 4096),
        (["re:.*f_a_proj", "re:.*b_proj$"], 2304 * (128 + 32) + 2 * 128 * 4096),
        ([f"model.layers.{i}.self_attn.o_proj" for i in range(27)], 4096 * 2304),
        (["model.layers.0.self_attn", "model.layers.3.self_attn"], KDA / 20),  # the first is KDA's, the other is not
    ],
)
def test_modules_of_kda_layers_are_attentions_by_name(left_out, sixteen):
    found = kept("Kimi-Linear-48B-A3B", *left_out)
    assert found["linear_attention"] == pytest.approx(8 + 8 * sixteen / KDA)
    assert (found["mlp"], found["experts"]) == (8, 8)
    assert kept("Qwen3-Next-80B-A3B", "re:.*self_attn.*") == EIGHT | {"attention": 16}
    assert kept("Qwen3-Next-80B-A3B", "re:.*linear_attn.*") == EIGHT | {"linear_attention": 16}
    assert kept("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "re:.*mixer.in_proj")["attention"] == 8


@pytest.mark.parametrize(
    ("left_out", "changed"),
    [
        (["re:.*shared_mlp.*"], {"shared": 16}),
        (["re:.*block_sparse_moe.*"], {"experts": 16}),
        (["re:.*block_sparse_moe.router.*", "re:.*router.layer$"], {}),
        ([f"model.layers.{i}.shared_mlp.{end}_linear" for i in range(40) for end in ("input", "output")],
         {"shared": 16}),
        ([f"model.layers.{i}.block_sparse_moe.router.layer" for i in range(40)], {}),
        ([f"model.layers.{i}.block_sparse_moe.{end}_linear" for i in range(20) for end in ("input", "output")],
         {"experts": 12}),
        (["model.layers.0.mamba", "model.layers.5.self_attn"],
         {"attention": 8 + 8 / 4, "linear_attention": 8 + 8 / 36}),
        (["re:.*mamba.*"], {"linear_attention": 16}),
        (["re:.*self_attn.*"], {"attention": 16}),
    ],
)  # fmt: skip
def test_granite_is_read_by_the_names_of_its_modules(left_out, changed):
    assert kept("granite-4.0-h-small", *left_out) == pytest.approx(EIGHT | changed)


# RoPE scaling -----------------------------------------------------------------------------------------------------

QWEN3_8B = test_hf.QWEN3 | {"hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("config", "scaling", "context"),
    [
        (QWEN3_8B, None, 40_960),
        (QWEN3_8B, YARN, 131_072),  # as Qwen's model card has it
        (QWEN3_8B, {"type": "yarn", "factor": 4}, 163_840),
        (LLAMA, {"type": "linear", "factor": 4.0}, 16_384),
        (LLAMA, {"type": "dynamic", "factor": 2.0}, 8_192),
        (test_hf.LLAMA_3_1, {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 131_072),
        (LLAMA, {"rope_type": "longrope", "factor": 32.0, "original_max_position_embeddings": 128}, 4_096),
        (LLAMA, {"type": "mrope", "mrope_section": [16, 24, 24]}, 4_096),
        (LLAMA, {"rope_type": "default", "rope_theta": 10000.0}, 4_096),
        (LLAMA, {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {}}, 8_192),
        (LLAMA, {"rope_type": "hitherto unknown"}, 4_096),  # without a factor
    ],
)
def test_rope_scaling_stretches_the_context(config, scaling, context):
    for key in ("rope_scaling", "rope_parameters"):
        assert wb.from_hf_config(config | {key: scaling}).max_context == context


def test_gemmas_context_has_its_scaling_in_it_and_a_table_of_positions_none():
    scaled = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    assert wb.from_hf_config(test_hf.GEMMA3_TEXT | scaled).max_context == 32_768
    assert wb.from_hf_config(test_hf.OPT | scaled).learned_positions == 2050


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ("yarn", "rope_scaling = 'yarn': expected an object"),
        (
            {"type": "hitherto unknown", "factor": 2.0},
            "rope_scaling.rope_type = 'hitherto unknown': expected yarn, lin",
        ),
        ({"type": "yarn", "factor": 0.5}, "rope_scaling.factor = 0.5: expected a number from 1"),
        ({"type": "yarn", "factor": "4"}, "rope_scaling.factor = '4': expected a number from 1"),
        ({"type": "linear", "factor": float("nan")}, "rope_scaling.factor = nan: expected a number from 1"),
        (YARN | {"original_max_position_embeddings": -1}, "original_max_position_embeddings = -1: expected a whole"),
    ],
)
def test_rope_scaling_that_is_none_is_refused(scaling, message):
    refused(message, LLAMA | {"rope_scaling": scaling})


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Qwen3-8B/config.json", "Qwen3-8B"),
        ("configs/llama-3.1-8b.json", "llama-3.1-8b"),
        ("configs/Qwen--Qwen3-8B_config.json", "Qwen--Qwen3-8B"),
        ("models--Qwen--Qwen3-8B/snapshots/b968826d9c46/config.json", "Qwen3-8B"),
    ],
)
def test_a_model_is_called_after_its_place(tmp_path, path, name):
    blob = tmp_path / "blobs" / "3f2a"
    blob.parent.mkdir()
    blob.write_text(json.dumps(LLAMA | {"_name_or_path": "somebody/checkpoint-500"}))
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).symlink_to(blob)  # as Hugging Face's cache has it
    model = wb.from_hf_config(tmp_path / path)
    assert (model.name, model.id) == (name, name.lower())
    assert wb.from_hf_config(tmp_path / path, name="org/Mine").id == "mine"
    assert find_model(str(tmp_path / path)).id == name.lower()


def test_a_folder_is_called_as_it_is_from_within_and_a_dict_as_it_says(tmp_path, monkeypatch):
    (tmp_path / "Llama").mkdir()
    (tmp_path / "Llama" / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.chdir(tmp_path / "Llama")
    assert {wb.from_hf_config(path).id for path in ("config.json", ".", "../Llama")} == {"llama"}
    assert wb.from_hf_config(LLAMA | {"_name_or_path": "org/Llama-2-7b"}).id == "llama-2-7b"
    for name in ("", 7, "/"):
        with pytest.raises(ValueError, match="^name = .*: expected what to call the model$"):
            wb.from_hf_config(LLAMA, name=name)


def test_a_repository_in_the_cache_is_its_main_revision_or_its_only_one(tmp_path):
    folder = tmp_path / "hub" / "models--org--Llama-2"
    for revision, layers in (("aaa", 32), ("bbb", 16)):
        (folder / "snapshots" / revision).mkdir(parents=True)
        written = json.dumps(LLAMA | {"num_hidden_layers": layers})
        (folder / "snapshots" / revision / "config.json").write_text(written)
    with pytest.raises(ValueError, match="2 snapshots and no refs/main of one; give the folder of one, such as aaa$"):
        wb.from_hf_config(folder)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("bbb\n")
    assert (wb.from_hf_config(folder).id, wb.from_hf_config(str(folder)).n_layers) == ("llama-2", 16)
    (folder / "refs" / "main").write_text("gone")
    with pytest.raises(ValueError, match="2 snapshots and no refs/main of one"):
        wb.from_hf_config(folder)
    (folder / "snapshots" / "bbb").rename(tmp_path / "bbb")
    assert wb.from_hf_config(folder).n_layers == 32


# Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFUSED)
def test_a_type_that_no_model_holds_is_refused_by_name(kind):
    refused(
        rf"^config dict: model_type = '{kind}': not read, (no Model holds|an encoder)", LLAMA | {"model_type": kind}
    )
    refused(rf"text_config.model_type = '{kind}'", {"model_type": "llava", "text_config": {"model_type": kind}})


ONE = LLAMA | {"num_hidden_layers": 1}
DRAFTS = {  # of SafeAILab/EAGLE, sgl-project/SpecForge and Tencent/AngelSlim
    "EAGLE-1": (ONE | {"architectures": ["LlamaForCausalLM"]}, "num_hidden_layers = 1: a draft head or one layer"),
    "EAGLE-3": (ONE | {"architectures": ["LlamaForCausalLMEagle3"]}, "a draft head, not a llama language model"),
    "a vocabulary of its own": (LLAMA | {"draft_vocab_size": 32000}, "draft_vocab_size = 32000: .*draft head"),
    "DFlash": (test_hf.QWEN3 | {"architectures": ["DFlashDraftModel"]}, "a draft head, not a qwen3"),
    "DFlash's settings": (test_hf.QWEN3 | {"dflash_config": {"block": 16}}, "dflash_config = .*draft head"),
    "MTP": (test_hf.QWEN3 | {"architectures": ["Qwen3_5MTPDraftModel"]}, "a draft head, not a qwen3"),
    "Medusa": (LLAMA | {"medusa_num_heads": 5}, "medusa_num_heads = 5: .*draft head"),
    "Medusa's own file": (
        {"base_model_name_or_path": "lmsys/vicuna-7b-v1.3", "medusa_num_heads": 2},
        "medusa_num_heads = 2: a draft head",
    ),
    "Medusa's type": (LLAMA | {"model_type": "medusa"}, "model_type = 'medusa': a draft head"),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_draft_heads_are_no_models(name):
    config, message = DRAFTS[name]
    refused(message, config)


def test_a_class_without_a_head_is_no_language_model():
    """Of an embedder, such as Qwen3-Embedding; but Bloom's and ChatGLM's files call their language models so, too."""
    refused("architectures = 'Qwen3Model': an embedder", test_hf.QWEN3 | {"architectures": ["Qwen3Model"]})
    assert {wb.from_hf_config(CONFIGS[name]).family for name in ("bloom", "chatglm")} == {"bloom", "chatglm"}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("GLM-4.5-Air", {"n_routed_experts": None}, "^config dict: n_routed_experts: Field required$"),
        ("Qwen3-235B-A22B", {"num_experts": None}, "^config dict: num_experts: Field required$"),
        ("ERNIE-4.5-21B-A3B", {"moe_k": 65}, "moe_k = 65: more than the 64 of moe_num_experts$"),
        ("mpt-7b", {"d_model": None}, "^config dict: d_model: Field required$"),
        ("gpt2", {"n_layer": 1.5}, "n_layer = 1.5: expected a whole number from 1"),
        ("chatglm", {"num_layers": None}, "^config dict: num_layers: Field required$"),
        ("dbrx-16x13b", {"ffn_config": {"ffn_hidden_size": 8}}, "ffn_config.moe_num_experts: Field required$"),
        ("mpt-7b", {"attn_config": {"alibi": False}}, "attn_config.alibi = False: not modelled, only True is$"),
        ("mpt-7b", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_config.attn_type = 'multiquery"),
        ("Hunyuan-7B", {"use_cla": True}, "use_cla = True: not read in a hunyuan_v1_dense"),
        ("Hunyuan-A13B", {"moe_topk": [8, 6]}, r"moe_topk = \[8, 6\]: expected a whole number"),
        ("Hunyuan-A13B", {"use_cla": True}, "use_cla = True: not modelled, only False is"),
        ("Hunyuan-A13B", {"num_shared_expert": 2}, "num_shared_expert = 2: not modelled, only 1 is"),
        ("Hunyuan-A13B", {"moe_intermediate_size": 7}, "moe_intermediate_size = 7: must be intermediate_size 3072"),
        ("llama2_7b", {"n_embd": 8192}, "hidden_size = 4096: n_embd = 8192 says otherwise"),
        ("llama2_7b", {"sliding_window": 4096}, "sliding_window = 4096: its model type has no layers with a window$"),
        ("MiniMax-M2.5", {"attn_type_list": [0] * 62}, "attn_type_list = .*lightning attention"),
        (
            "Kimi-Linear-48B-A3B",
            {"linear_attn_config": {"kda_layers": [1]}},
            "expected full_attn_layers and kda_layers",
        ),
        ("Qwen3-Next-80B-A3B", {"mamba_ssm_dtype": "bfloat16"}, "mamba_ssm_dtype = 'bfloat16': not modelled"),
        (
            "Nemotron-H-56B-Base-8K",
            {"hybrid_override_pattern": "MX"},
            "hybrid_override_pattern = 'MX': expected a layer",
        ),
        ("Nemotron-H-56B-Base-8K", {"hybrid_override_pattern": "M-"}, "num_hidden_layers = 118: hybrid_override_pat"),
        ("Nemotron-H-56B-Base-8K", {"hybrid_override_pattern": "M-" * 59}, "without attention or without MLPs"),
        ("Nemotron-H-56B-Base-8K", {"hybrid_override_pattern": "M*E" * 39 + "*"}, "n_routed_experts: Field required"),
        ("MiMo-V2-Flash", {"hybrid_layer_pattern": None}, "hybrid_layer_pattern: Field required"),
        ("MiMo-V2-Flash", {"attention_chunk_size": 64}, "attention_chunk_size = 64: must be sliding_window 128"),
        ("Llama-3_3-Nemotron-Super-49B-v1", {"block_configs": None}, "block_configs: Field required"),
        ("Llama-3_3-Nemotron-Super-49B-v1", {"block_configs": [{}] * 80}, "block_configs.0.attention: n_heads_in_gro"),
        ("GLM-5.2", {"indexer_types": ["none"] * 78}, "indexer_types.0 = 'none': expected 'full' or 'shared'"),
        ("Qwen3-235B-A22B", {"moe_layer_freq": 0}, "moe_layer_freq = 0: expected a whole number from 1"),
        ("opt", {"word_embed_proj_dim": 512}, "word_embed_proj_dim = 512: must be hidden_size 768"),
    ],
)
def test_what_no_model_holds_is_refused_in_the_files_own_words(name, changes, message):
    refused(message, CONFIGS[name] | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kv_shared_layers": 35}, "num_kv_shared_layers = 35: expected fewer than the 35 layers"),
        ({"enable_moe_block": True}, "num_experts: Field required"),
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention = 'all': not modelled"),
        ({"per_layer_config": {"4": {"head_dim": 512}}}, "per_layer_config = .*: expected head_dim and num_key_val"),
    ],
)
def test_what_a_gemma_4_must_not_say(changes, message):
    config = CONFIGS["gemma-4-e2b"]
    refused(message, config | {"text_config": config["text_config"] | changes})


def test_full_layers_of_gemma_4_by_an_object_for_each():
    inner = CONFIGS["gemma-4-26B-A4B"]["text_config"]
    full = [str(i) for i, kind in enumerate(inner["layer_types"]) if kind == "full_attention"]
    left = {
        key: value for key, value in inner.items() if not key.endswith(("global_head_dim", "global_key_value_heads"))
    }
    written = left | {"per_layer_config": {key: {"head_dim": 512, "num_key_value_heads": 2} for key in full}}
    assert test_hf.sizes(wb.from_hf_config(written)) == test_hf.sizes(wb.from_hf_config(inner))


@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("llama2_7b", "tie_word_embeddings", [None]), ("qwen2_7b", "use_sliding_window", [None]),
        ("qwen2_7b", "max_window_layers", [None]), ("DeepSeek-V3", "first_k_dense_replace", [None]),
        ("DeepSeek-V3", "moe_layer_freq", [None]), ("Qwen3-235B-A22B", "mlp_only_layers", [None, []]),
        ("mistral_7b_v03", "layer_types", [None]), ("GLM-5", "num_nextn_predict_layers", [0, None]),
    ],
)  # fmt: skip
def test_null_in_a_field_is_as_if_it_were_absent(name, key, values):
    without = {other: value for other, value in CONFIGS[name].items() if other != key}
    for value in values:
        assert test_hf.sizes(wb.from_hf_config(without | {key: value})) == test_hf.sizes(wb.from_hf_config(without))


@pytest.mark.parametrize(("kind", "shared"), [("deepseek_v3", 1), ("deepseek_v2", 2)])
def test_shared_experts_that_a_deepseek_leaves_out_are_its_classs(kind, shared):
    config = {key: value for key, value in test_hf.DEEPSEEK_V3.items() if key != "n_shared_experts"}
    moe = wb.from_hf_config(config | {"model_type": kind}).moe
    assert moe.shared_intermediate_size == shared * 2048
    assert wb.from_hf_config(config | {"n_shared_experts": None}).moe.shared_intermediate_size is None


@pytest.mark.parametrize("row", ROWS[::3], ids=lambda row: row["name"])
def test_a_careless_config_is_read_or_refused_in_one_line(row):
    values = cycle([None, "8", -1, 0, 10**30, [], {}, True, 1.5, [-1], {"x": 1}])
    for key in text(row["config"]):
        for _ in range(4):
            spoiled = json.loads(json.dumps(row["config"]))
            text(spoiled)[key] = next(values)
            said = message(wb.from_hf_config, spoiled)
            assert "\n" not in said
            assert len(said) < 300


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_measure_reads_the_same_or_says_what_it_does_not_time(tmp_path, row):
    (tmp_path / "config.json").write_text(json.dumps(row["config"]))
    model = wb.from_hf_config(tmp_path)
    if said := message(find_model, str(tmp_path)):
        assert said.endswith("no kernel of that is measured")
        assert set(read_sizes(row["config"], "x")[0]) & {
            "attention_layers", "indexer", "moe", "sliding_window", "values_are_keys", "shared_kv_layers",
        }  # fmt: skip
        return
    sizes = find_model(str(tmp_path))
    for name in ("hidden_size", "intermediate_size", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size",
                 "gated", "tied_embeddings", "learned_positions", "kv_elements_per_token", "dense_layers"):  # fmt: skip
        assert getattr(sizes, name) == getattr(model, name), name


def test_infinity_in_a_config_is_read_but_nan_is_not(tmp_path):
    content = json.dumps(CONFIGS["Nemotron-H-56B-Base-8K"])[:-1] + ', "time_step_limit": [0.0, Infinity]}'
    (tmp_path / "config.json").write_text(content)
    assert wb.from_hf_config(tmp_path).n_layers == 118
    (tmp_path / "config.json").write_text(content.replace("Infinity", "NaN"))
    with pytest.raises(ValueError, match="NaN is no number"):
        wb.from_hf_config(tmp_path)
