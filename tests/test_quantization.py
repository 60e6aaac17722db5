"""Formats by part of a model: bits of every format, weights of checkpoints, what computes in what, every spelling."""

import numpy as np
import pytest

import workbench as wb
from workbench.catalog import Model, PartFormat, Quantization, element_bytes
from workbench.common.yaml_records import validated
from workbench.hugging_face.checkpoint import quantization
from workbench.kernels import Formats
from workbench.servers import Replica
from workbench.servers.memory import weights

LLAMA = wb.model("llama-3-8b")  # h 4096, 32 layers, i 14336, 8 KV heads of 128, a vocabulary of 128256
ATTENTION, MLP, TABLE = 32 * 4096 * 10240, 32 * 3 * 4096 * 14336, 128256 * 4096  # weights, counted by hand


def stored(model, config=(), sidecars=()):
    """A model with the quantization that its files say."""
    said = quantization(dict(config), dict(sidecars), model, "config.json")
    return model.model_copy(update={"quantization": said})


def modelopt(algorithm, *excluded, kv=None, **more):
    said = {"quant_algo": algorithm, "kv_cache_quant_algo": kv, "exclude_modules": list(excluded), **more}
    return {"hf_quant_config.json": {"producer": {"name": "modelopt"}, "quantization": said}}


def hf(method, **more):
    return {"quantization_config": {"quant_method": method, **more}}


# Bits of a weight, from the blocks of ggml-common.h and the layouts that the formats' documents give.
@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("q4_0", 4.5), ("q4_1", 5), ("q5_0", 5.5), ("q5_1", 6), ("q8_0", 8.5), ("q2_k", 2.625), ("q3_k", 3.4375),
        ("q4_k", 4.5), ("q5_k", 5.5), ("q6_k", 6.5625), ("iq4_xs", 4.25), ("iq4_nl", 4.5), ("gptq2", 2 + 18 / 128),
        ("gptq3", 3 + 19 / 128), ("gptq8", 8 + 24 / 128), ("w4a16", 4.125), ("w8a16", 8.125), ("mxfp8", 8.25),
        ("nf4", 4.5), ("nf4_double", 4 + 8 / 64 + 32 / (64 * 256)), ("bnb_fp4", 4.5),
        ("bnb_fp4_double", 4 + 8 / 64 + 32 / (64 * 256)), ("int4_group", 4.25),
        ("mlx4", 4.5), ("mlx3", 3.5), ("mlx8", 8.5),
    ],
)  # fmt: skip
def test_bits_of_a_weight_with_its_scales(name, bits):
    assert 8 * element_bytes(name) == bits


@pytest.mark.parametrize(
    ("model", "name", "printed"),
    [
        ("llama-2-7b", "q4_k_s", 4.58), ("llama-2-7b", "q4_k_m", 4.84), ("llama-2-7b", "q5_k_s", 5.52),
        ("llama-2-7b", "q5_k_m", 5.68), ("llama-2-7b", "q6_k", 6.56), ("llama-2-70b", "q4_k_m", 4.80),
        ("llama-2-70b", "q5_k_m", 5.65), ("llama-3.1-8b", "q4_k_m", 4.89), ("llama-3.1-8b", "q5_k_m", 5.70),
        ("llama-3.1-8b", "q2_k", 3.16), ("llama-3.1-8b", "q8_0", 8.50), ("llama-3.1-8b", "iq4_xs", 4.46),
        ("llama-3.1-8b", "iq4_nl", 4.68),
    ],
)  # fmt: skip
def test_files_of_llama_cpp_have_the_bits_that_it_prints(model, name, printed):
    replica = Replica("h100-sxm", model, weight_dtype=name)
    assert 8 * weights(replica) / replica.model.parameters == pytest.approx(printed, abs=0.006)  # printed to 0.01


def test_formats_are_read_in_any_case():
    own, loud = (
        wb.serving.estimate("h100-sxm", "llama-3-8b", weight_dtype=weight, activation_dtype=wide, kv_dtype=kv)
        for weight, wide, kv in (("q4_k_m", "bf16", "fp8"), ("Q4_K_M", "BF16", "FP8"))
    )
    assert own.identical(loud)
    grid = wb.roofline_grid("h100-sxm", "llama-3-8b", weight_dtype="FP8", kv_dtype="Int8")
    assert (grid.attrs["weight_dtype"], grid.attrs["kv_dtype"]) == ("fp8", "int8")
    with pytest.raises(ValueError, match="^unknown weight_dtype 'Q4_K_X'. Did you mean"):
        Formats("Q4_K_X")


# Weights of real checkpoints, on one GPU of tp.
QWEN = wb.model("qwen3-235b-a22b")
LLAMA_405B = wb.model("llama-3.1-405b").model_copy(update={"n_kv_heads": 16})  # as the first FP8 files had it
ENDS = [f"model.layers.{i}.{part}" for i in (0, 125) for part in ("self_attn", "mlp")]


@pytest.mark.parametrize(
    ("model", "config", "sidecars", "tp", "expected", "within"),
    [
        (QWEN, {}, modelopt("NVFP4", "lm_head", "model.layers.*.mlp.gate", kv="FP8"), 1, 134.1e9, 1e-3),
        (wb.model("llama-3.1-70b"), {}, modelopt("FP8", "lm_head", kv="FP8"), 1, 73e9, 5e-3),
        (wb.model("deepseek-v3"), {}, modelopt("NVFP4", "lm_head", "model.layers.*.self_attn*"), 1, 397e9, 5e-3),
        (LLAMA_405B, hf("fbgemm_fp8", modules_to_not_convert=["self_attn", "lm_head", *ENDS]), {}, 8,
         57.75 * 2**30, 2e-3),  # what vLLM logs
        (wb.model("llama-3.1-405b"), hf("fbgemm_fp8", modules_to_not_convert=["self_attn", "lm_head"]), {}, 8,
         (126 * (3 * 16384 * 53248 + 4 * 16384 * (16384 + 1024)) + 4 * 128256 * 16384) / 8, 1e-3),  # 56.1 GiB
    ],
)  # fmt: skip
def test_weights_of_checkpoints_are_those_of_their_files(model, config, sidecars, tp, expected, within):
    model = stored(model.model_copy(update={"quantization": None}), config, sidecars)
    assert weights(Replica("b200-sxm", model, tp=tp)) == pytest.approx(expected, rel=within)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (hf("fp8", modules_to_not_convert=["self_attn"]), MLP + 2 * ATTENTION + 4 * TABLE),
        (hf("fp8", ignored_layers=[f"model.layers.{i}.mlp.down_proj" for i in (0, 31)]),
         MLP + 2 * 4096 * 14336 + ATTENTION + 4 * TABLE),
        (hf("fp8", ignore=["re:.*layers\\.(0|1|2|3)\\..*"]), 36 / 32 * (MLP + ATTENTION) + 4 * TABLE),
        (hf("bitsandbytes", load_in_4bit=True), 0.5625 * (MLP + ATTENTION) + 4 * TABLE),
        ({"quantization": {"bits": 4, "group_size": 64}}, 0.5625 * (MLP + ATTENTION + 2 * TABLE)),
        ({"quantization": {"bits": 4, "group_size": 32, "lm_head": {"bits": 8, "group_size": 64}}},
         0.625 * (MLP + ATTENTION + TABLE) + 1.0625 * TABLE),
        (hf("awq", w_bit=4, q_group_size=32), (0.5 + 2.5 / 32) * (MLP + ATTENTION) + 4 * TABLE),
        (hf("gptq", bits=3, group_size=64), (3 / 8 + 2.375 / 64) * (MLP + ATTENTION) + 4 * TABLE),
        (hf("gptq", bits=4, dynamic={"-:.*self_attn.*": {}, r"+:.*down_proj": {"bits": 8}}),
         (0.5 + 2.5 / 128) * MLP * 2 / 3 + (1 + 3 / 128) * MLP / 3 + 2 * ATTENTION + 4 * TABLE),
    ],
)  # fmt: skip
def test_bytes_by_hand(config, expected):
    assert weights(Replica("h100-sxm", stored(LLAMA, config))) == pytest.approx(expected, rel=1e-12)


def group(bits, kind="float", inputs=None, targets=("Linear",), **more):
    given = None if inputs is None else {"num_bits": inputs, "type": kind}
    weight = {"num_bits": bits, "type": kind, "symmetric": True, **more}
    return {"targets": list(targets), "weights": weight, "input_activations": given}


def compressed(*groups, ignore=("lm_head",), **more):
    groups = {f"group_{i}": each for i, each in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": list(ignore), **more}


SPARSE = {"format": "sparse-24-bitmask", "sparsity_structure": "2:4", "targets": ["Linear"], "ignore": ["lm_head"]}
CACHE = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}
BF16_ATTENTION = "attention bf16"


@pytest.mark.parametrize(
    ("config", "sidecars", "printed"),
    [
        ({}, {}, "None"),
        (hf("fp8"), {}, "fp8 (linear), activations fp8"),
        (hf("fp8", weight_block_size=[128, 128]), {}, "fp8_block (linear), activations fp8"),
        (hf("fp8", weight_block_size=[64, 64]), {}, "fp8_block (linear), activations fp8"),
        (hf("mxfp4"), {}, "mxfp4 (linear)"),
        (hf("bitsandbytes", load_in_8bit=True, llm_int8_skip_modules=["lm_head"]), {}, "int8 (linear)"),
        (hf("bitsandbytes", load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True), {},
         "nf4_double (linear)"),
        (hf("bitsandbytes", load_in_4bit=True), {}, "bnb_fp4 (linear)"),  # the class's default
        (hf("torchao", quant_type="int4_weight_only", quant_type_kwargs={"group_size": 128}), {},
         "int4_group (linear)"),
        ({"quantization_config": compressed(group(8), sparsity_config={"format": "dense"})}, {}, "fp8 (linear)"),
        ({}, modelopt("NVFP4", kv="NVFP4"), "nvfp4 (linear), activations fp4, KV cache nvfp4"),
        (hf("torchao", quant_type={"default": {"_type": "Int8WeightOnlyConfig"}}), {}, "int8 (linear)"),
        ({"quantization_config": compressed(group(8, inputs=8), **CACHE)}, {},
         "fp8 (linear), activations fp8, KV cache fp8"),
        ({"compression_config": compressed(group(8, "int", inputs=8))}, {}, "int8 (linear), activations int8"),
        ({"quantization_config": compressed(group(4, "int", group_size=128))}, {}, "w4a16 (linear)"),
        ({"quantization_config": compressed(group(4, inputs=4, group_size=16))}, {}, "nvfp4 (linear), activations fp4"),
        ({"quantization_config": compressed(group(4, group_size=16))}, {}, "nvfp4 (linear)"),
        ({"quantization_config": compressed(group(4, group_size=32))}, {}, "mxfp4 (linear)"),
        ({"quantization_config": compressed(group(8, inputs=8, block_structure=[128, 128]))}, {},
         "fp8_block (linear), activations fp8"),
        ({"quantization_config": compressed(group(8, inputs=8), ignore=["lm_head", "re:.*self_attn.*"])}, {},
         f"fp8 (linear), {BF16_ATTENTION}, activations fp8"),
        ({"quantization_config": compressed(
            group(8, inputs=8, targets=["re:.*self_attn.*"]),
            group(4, inputs=4, group_size=16, targets=["re:.*mlp.*"]))}, {},
         "nvfp4 (linear), attention fp8, activations fp4"),
        ({"quantization_config": compressed(
            group(8, inputs=8, targets=["re:.*self_attn.*"]), group(4, "int", group_size=128, targets=["re:.*mlp.*"])
         )}, {}, "w4a16 (linear), attention fp8 with fp8 activations"),
        ({"quantization_config": compressed(
            group(8, targets=["re:.*self_attn.*"]), group(8, inputs=8, targets=["re:.*mlp.*"])
         )}, {}, "fp8 (linear), attention fp8 with bf16 activations, activations fp8"),
        ({"quantization_config": {"quant_algo": "FP8", "producer": {"name": "modelopt"}}}, {},
         "fp8 (linear), activations fp8"),
        (hf("modelopt", quant_algo="NVFP4", ignore=["lm_head", "model.layers.*.self_attn*"]), modelopt(
            "NVFP4", "lm_head", "model.layers.*.self_attn*", kv="FP8"),
         f"nvfp4 (linear), {BF16_ATTENTION}, activations fp4, KV cache fp8"),
        ({}, modelopt(None, kv="FP8"), "bf16 (linear), KV cache fp8"),
        ({}, modelopt("MIXED_PRECISION", quantized_layers={
            f"model.layers.{i}.{name}": {"quant_algo": "FP8" if "attn" in name else "NVFP4", "group_size": 16}
            for i in range(32) for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj",
                                            "mlp.down_proj")}),
         "nvfp4 (linear), attention fp8, activations fp4"),
        ({}, {"quantize_config.json": {"bits": 8, "group_size": 128, "desc_act": True}}, "gptq8 (linear)"),
        ({}, {"quant_config.json": {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}},
         "awq (linear)"),
        ({"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 4, "group_size": 64}}, {},
         "mlx4 (linear), lm_head mlx4, embeddings mlx4"),
        (hf("fp8", modules_to_not_convert=["visual.blocks.0.mlp.down_proj", "model.layers.40.mlp", "mtp.fc",
                                           "model.norm", "model.layers.3.mlp.gate"]), {},
         "fp8 (linear), activations fp8"),
    ],
)  # fmt: skip
def test_every_spelling(config, sidecars, printed):
    assert str(stored(LLAMA, config, sidecars).quantization) == printed


EXPERTS = [f"model.layers.{i}.mlp.experts.{e}.{p}_proj" for i in range(48) for e in range(128) for p in ("up", "down")]


def test_experts_are_left_out_all_together_or_refused():
    model = wb.model("qwen3-30b-a3b")
    experts = [*EXPERTS, *(name.replace("up_proj", "gate_proj") for name in EXPERTS if "up_proj" in name)]
    said = stored(model, hf("fp8", modules_to_not_convert=experts)).quantization
    assert (said.of("experts").format, said.of("attention").format) == ("bf16", "fp8")
    with pytest.raises(
        ValueError, match=r"layers\.0\.mlp\.experts\.0\.up_proj: 2 of 128 experts: expected all of them$"
    ):
        stored(model, hf("fp8", modules_to_not_convert=[f"model.layers.0.mlp.experts.{e}.up_proj" for e in (3, 4)]))


def test_layers_with_experts_are_counted_as_the_config_says():
    """`model.layers.0` to 3 are three dense layers and one with experts where first_k_dense_replace is 3."""
    plain = wb.model("deepseek-v3").model_copy(update={"quantization": None})
    config = hf("fp8", modules_to_not_convert=[f"model.layers.{i}" for i in range(4)]) | {"first_k_dense_replace": 3}
    said = stored(plain, config).quantization
    assert said.of("mlp").format == "bf16"
    assert said.of("experts").bits == pytest.approx((8 * 57 + 16) / 58)
    assert said.of("attention").bits == pytest.approx((8 * 57 + 16 * 4) / 61)


@pytest.mark.parametrize(
    ("config", "sidecars", "message"),
    [
        (hf("aqlm"), {}, "quantization_config: unknown quant_method 'aqlm'. Did you mean 'awq'?"),
        (hf("awq", bits=8), {}, "quantization_config: bits = 8: Input should be 4"),
        (hf("gptq", bits=5), {}, "quantization_config: bits = 5: Input should be 2 or 3 or 4 or 8 or 16"),
        (hf("gptq", group_size=128), {}, "quantization_config: bits: Field required"),
        (hf("bitsandbytes", load_in_4bit=True, bnb_4bit_quant_type="fp3"), {}, "unknown bnb_4bit_quant_type 'fp3'"),
        ({"quantization_config": compressed(
            group(8, inputs=8, targets=["re:.*down_proj"]), group(4, "int", targets=["re:.*(gate|up)_proj"]))}, {},
         "mlp: activations in several formats: expected one for each part"),
        ({"quantization_config": compressed(group(4, "int", inputs=4))}, {}, "group_0: int4 activations: not modelled"),
        ({"quantization_config": compressed(group(8), sparsity_config=SPARSE)}, {},
         "sparsity_config: 'sparse-24-bitmask': not read, no Model holds sparse weights"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "sparsity_config": SPARSE}}, {},
         "sparsity_config: 'sparse-24-bitmask': not read, no Model holds sparse weights"),
        ({"quantization_config": compressed(group(4, "int"), format="marlin-24")}, {},
         "format = 'marlin-24': not read"),
        (hf("gptq", bits=4, group_size=True), {}, "quantization_config: group_size = True: expected a whole number"),
        (hf("fp8", weight_block_size=[128]), {}, "weight_block_size = ['128']: expected two numbers, such as"),
        (hf("bitsandbytes"), {}, "load_in_4bit = None, load_in_8bit = None: expected one of them"),
        (hf("compressed-tensors"), {}, "quantization_config: config_groups: Field required"),
        ({"quantization_config": compressed(group(6))}, {}, "num_bits = 6 of type 'float': expected float 4 or 8"),
        ({"quantization_config": compressed({"weights": None})}, {}, "group_0: weights = None: expected an object"),
        (hf("modelopt", quant_algo="FP7"), {}, "unknown quant_algo 'FP7'. Did you mean 'FP8'"),
        (hf("torchao", quant_type="int4"), {}, "unknown quant_type 'int4'. Did you mean 'Int4WeightOnlyConfig'"),
        ({}, modelopt("FP8", kv="FP7"), "hf_quant_config.json: unknown kv_cache_quant_algo 'FP7'"),
        ({}, modelopt("MIXED_PRECISION"), "quantized_layers: Field required with quant_algo MIXED_PRECISION"),
        ({"quantization": {"bits": 7, "group_size": 64}}, {}, "bits = 7: Input should be 2 or 3 or 4 or 5 or 6 or 8"),
        ({"quantization": {"bits": 4, "group_size": 64, "mode": "nf4"}}, {}, "unknown mode 'nf4'"),
        (hf("fp8"), modelopt("NVFP4"), "format is fp8 by quantization_config and nvfp4 by hf_quant_config.json"),
        (hf("fp8", ignore=["self_atn"]), {}, "'self_atn': no module that a Model has, such as self_attn or mlp"),
        (hf("fp8", ignore=["re:(a+)+$"]), {}, "'(a+)+$': allowed are 5 repeats, and no repeated group"),
        (hf("fp8", ignore=["re:" + ".*" * 6]), {}, "allowed are 5 repeats, and no repeated group"),
        (hf("fp8", ignore=["re:["]), {}, "'[': no pattern: unterminated character set"),
        (hf("fp8", ignore=["re:.*self_atn.*"]), {}, "'.*self_atn.*': matches no module that a Model has"),
        (hf("fp8", ignore=["model.layers.*.self_atn*"]), {},
         "'model.layers.*.self_atn*': matches no module that a Model has"),
        ({"quantization_config": compressed(group(8), group(8, targets=["re:.*experts.*"]))}, {},
         "'.*experts.*': matches no module that a Model has"),
        (hf("fp8", ignore=["x" * 501]), {}, "allowed are up to 200,000 names of up to 500 characters"),
        (hf("fp8", ignore=["re:.*"]), {}, "quantization_config: all modules are left out"),
        ({"quantization_config": {"bits": 4}}, {}, "quantization_config: quant_method: Field required"),
        ({}, {"quant_config.json": [4]}, "quant_config.json: the entry = [4]: Input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_what_is_unknown_is_refused_in_one_line(config, sidecars, message):
    with pytest.raises(ValueError, match="^config.json: ") as refused:
        stored(LLAMA, config, sidecars)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


REAL = """re:.*gate$ re:visual.* re:.*lm_head re:.*mlp.gate$ re:.*block_sparse_moe.gate$ re:.*shared_expert_gate$
re:model.visual.* re:.*vision_tower.* re:.*multi_modal_projector.* re:.*router re:.*linear_attn.* re:.*mtp.* re:.*norm.*
re:.*embed_tokens$ re:^mtp.* re:.*conv1d.* re:.*mlp1.* re:.*audio_tower.* re:.*in_proj_ba$ re:.*kv_b_proj re:.*indexer.*
re:.*mlp\\.experts\\.\\d+\\..* re:.*mlp.gate.* re:model\\.layers\\.61\\..* *block_sparse_moe.gate* *router* *mlp.gate.*
*visual* *self_attn.kv_b_proj* *linear_attn.conv1d* model.layers.61* *embed_tokens* *mixer.conv1d* vision_model*
*shared_expert_gate* re:.*mixer.* re:.*speech.* re:.*feed_forward.router$ re:.*e_score_correction_bias"""


@pytest.mark.parametrize("pattern", REAL.split())
def test_patterns_of_modules_that_others_have_are_read(pattern):
    """Lists of what stays in 16 bit are copied from file to file: each of these leaves a Llama as it is."""
    assert stored(LLAMA, hf("fp8", ignore=["lm_head", pattern])).quantization.format == "fp8"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (hf("exl2"), "unknown quant_method 'exl2'."), (hf("gptq_marlin"), "Did you mean 'gptq'?"),
        (hf("modelopt", quant_algo="FOO4"), "unknown quant_algo 'FOO4'."),
        (hf("torchao", quant_type="fp6_weight_only"), "Did you mean 'float8_weight_only'"),
    ],
)  # fmt: skip
def test_an_unknown_method_is_one_short_line_behind_a_long_path(method, message):
    with pytest.raises(ValueError, match="unknown quant_") as refused:
        quantization(method, {}, LLAMA, "/" + "a" * 80 + "/config.json")
    assert message in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_cache_in_nvfp4_counts_its_scales():
    """32 layers, 8 heads, 128 for keys and for values, of 4 bits with an fp8 scale per 16: 4.5 bits."""
    model = stored(LLAMA, {}, modelopt("NVFP4", kv="NVFP4"))
    for estimate in (
        wb.serving.estimate("b200-sxm", model), wb.serving.estimate("b200-sxm", "llama-3-8b", kv_dtype="nvfp4")
    ):  # fmt: skip
        assert float(estimate.kv_bytes_per_token.squeeze()) == 32 * 2 * 8 * 128 * 4.5 / 8
    assert float(wb.roofline_grid("b200-sxm", model, phase="decode").time.sum()) > 0


def test_a_catalog_entry_names_formats_by_part_and_refuses_others():
    entry = LLAMA.model_dump() | {"quantization": {"format": "fp8", "attention": "bf16", "kv": "fp8"}}
    model = validated(Model, entry, "x.yaml")
    assert model.quantization.of("attention").format == "bf16"
    assert "fp8 (linear), attention bf16, KV cache fp8" in str(model)
    for fields, message in (
        ({"format": "q5"}, r"^x.yaml: quantization.format = 'q5': unknown format 'q5'"),
        (
            {"format": "fp8", "atention": "bf16"},
            r"^x.yaml: unknown field 'quantization.atention'. Did you mean 'quantization.attention'",
        ),
        ({"format": "q4_k", "group_size": 64}, r"group_size does not apply to quantization format 'q4_k'"),
        ({"format": "fp8", "mlp": {"format": "fp8", "group_size": 4}}, r"group_size does not apply"),
        ({"format": "fp8", "kv": "awq"}, r"quantization.kv = 'awq': unknown format 'awq'"),
    ):
        with pytest.raises(ValueError, match=message):
            validated(Model, entry | {"quantization": fields}, "x.yaml")
    with pytest.raises(ValueError, match="^unknown part 'mpl'. Did you mean 'mlp'"):
        model.quantization.of("mpl")


# What computes in what --------------------------------------------------------------------------------------------

MIXED = LLAMA.model_copy(
    update={"quantization": Quantization(format="fp8", attention=PartFormat(format="bf16"), activation="fp8", kv="fp8")}
)


def test_attention_reads_what_it_computes_in_whatever_the_weights_are_in():
    narrow = LLAMA.model_copy(update={"quantization": Quantization(format="nvfp4", activation="fp4")})
    asked = {"gpu": "b200-sxm", "operator": ["qk", "attention"], "phase": "prefill", "batch_size": 1, "seq_len": 64}
    stored, wide = wb.roofline_grid(model=narrow, **asked), wb.roofline_grid(model=LLAMA, **asked)
    assert (stored.bytes == wide.bytes).all()
    eight = wb.roofline_grid(model=narrow, kv_dtype="fp8", **asked)
    assert (eight.bytes < wide.bytes).all()


def test_a_grid_computes_each_part_in_its_format():
    """Of one token: (4096 x 6144) weights of 2 bytes and as wide activations; (4096 x 28672) of 1 byte."""
    at = wb.roofline_grid("h100-sxm", MIXED, phase="decode").isel(gpu=0, model=0, phase=0, batch_size=0, seq_len=0)
    moved = {name: float(at.bytes.sel(operator=name)) for name in ("qkv_proj", "gate_up_proj", "lm_head")}
    assert moved["qkv_proj"] == 2 * 4096 * 6144 + 2 * (4096 + 6144)
    assert moved["gate_up_proj"] == 4096 * 28672 + (4096 + 28672)
    assert moved["lm_head"] == 2 * TABLE + 2 * (4096 + 128256)
    peaks = {name: float(at.peak_flop_rate.sel(operator=name)) for name in (*moved, "attention", "o_proj")}
    card = wb.gpu("h100-sxm")
    assert peaks == {
        name: card.peak_flop_rate("fp8" if name in ("gate_up_proj", "attention") else "bf16") for name in peaks
    }
    times = wb.roofline_grid("h100-sxm", MIXED, time_model="kernel").fit
    names = dict(zip(times.flag_values, times.flag_meanings.split(), strict=True))
    used = {name: names[int(times.sel(operator=name, phase="decode").squeeze())] for name in ("qkv_proj", "down_proj")}
    assert ("fp8" in used["down_proj"], "fp8" in used["qkv_proj"]) == (True, False)


GROUPS = (group(8, inputs=8, targets=["re:.*self_attn.*"]), group(4, "int", group_size=128, targets=["re:.*mlp.*"]))
TWO = {"quantization_config": compressed(*GROUPS)}


def test_groups_compute_with_their_own_activations():
    """Of one token: (4096 x 6144) weights of 1 byte and as wide activations; 4.125 bits a weight beside 16-bit ones."""
    model, card = stored(LLAMA, TWO), wb.gpu("h100-sxm")
    at = wb.roofline_grid(card, model, phase="decode").isel(gpu=0, model=0, phase=0, batch_size=0, seq_len=0)
    moved = {name: float(at.bytes.sel(operator=name)) for name in ("qkv_proj", "gate_up_proj")}
    assert moved == {
        "qkv_proj": 4096 * 6144 + (4096 + 6144), "gate_up_proj": 4096 * 28672 * 4.125 / 8 + 2 * (4096 + 28672)
    }  # fmt: skip
    peaks = {name: float(at.peak_flop_rate.sel(operator=name)) for name in (*moved, "lm_head")}
    assert peaks == {name: card.peak_flop_rate("fp8" if name == "qkv_proj" else "bf16") for name in peaks}
    assert at.attrs["activation_dtype"] == "as stored"
    server = Replica(card, model).peaks
    assert (server["o_proj"], server["down_proj"]) == (card.peak_flop_rate("fp8"), card.peak_flop_rate("bf16"))
    wide = Formats(activation="fp16").of(model, [card])
    assert (wide.computes_in("qkv_proj"), wide.computes_in("down_proj")) == ("fp16", "fp16")
    old = Formats().of(model, [wb.gpu("a100-80gb-sxm")])
    assert old.computes_in("qkv_proj") == "fp16"
    assert old.assumed == "a100-80gb-sxm: no fp8 rate, so llama-3-8b computes in fp16"


def test_a_server_keeps_each_part_in_its_format():
    replica = Replica("h100-sxm", MIXED)
    assert weights(replica) == MLP + 2 * ATTENTION + 4 * TABLE
    assert (replica.formats.activation, replica.formats.kv) == ("fp8", "fp8")
    ds = wb.serving.estimate("h100-sxm", MIXED)
    assert float(ds.weights.squeeze()) == weights(replica)
    assert float(ds.kv_bytes_per_token.squeeze()) == 32 * 2 * 8 * 128
    assert (ds.attrs["activation_dtype"], ds.attrs["kv_dtype"]) == ("fp8", "fp8")


def test_activations_and_cache_are_as_the_checkpoint_says_where_none_are_asked_for():
    explicit = {"activation_dtype": "fp8", "kv_dtype": "fp8"}
    for own, asked in ((wb.serving.estimate, {}), (wb.roofline_grid, {"time_model": "kernel"})):
        said, given = own("h100-sxm", MIXED, **asked), own("h100-sxm", MIXED, **asked, **explicit)
        name = "kv_capacity" if "kv_capacity" in said else "time"
        wide = own("h100-sxm", MIXED, **asked, activation_dtype="fp16", kv_dtype="fp16")
        np.testing.assert_allclose(
            said[name], given[name], rtol=0.02
        )  # 16-bit weights are read with 16-bit activations
        assert not np.allclose(said[name], wide[name], rtol=0.02)


def test_a_gpu_without_the_rate_computes_in_16_bits_and_says_so():
    """As vLLM's Marlin kernels do, which widen the weights; an activation_dtype that is asked for is refused."""
    told = "a100-80gb-sxm: no fp8 rate, so llama-3-8b computes in fp16"
    for ds in (wb.serving.estimate("a100-80gb-sxm", MIXED), wb.roofline_grid(["a100-80gb-sxm", "h100-sxm"], MIXED)):
        assert told in ds.attrs["assumed"]
        assert (ds.attrs["activation_dtype"], ds.attrs["kv_dtype"]) == ("fp16", "fp8")
    assert "rate" not in wb.serving.estimate("h100-sxm", MIXED).attrs["assumed"]
    with pytest.raises(ValueError, match="^a100-80gb-sxm has no fp8 peak"):
        wb.serving.estimate("a100-80gb-sxm", MIXED, activation_dtype="fp8")


def test_nvfp4_computes_in_4_bits_on_blackwell_alone():
    model = stored(LLAMA, {}, modelopt("NVFP4", "lm_head"))
    rates = {name: Formats().of(model, [wb.gpu(name)]).computes_in("down_proj") for name in ("b200-sxm", "h100-sxm")}
    assert rates == {"b200-sxm": "fp4", "h100-sxm": "fp16"}


def test_deepseek_v3_computes_in_fp8_by_default():
    asked = {"tp": 8, "batch_size": 64, "prompt": 1000, "output": 100}
    own, block, wide = (
        wb.serving.estimate("h200-sxm", "deepseek-v3", **asked, **formats)
        for formats in ({}, {"weight_dtype": "fp8_block", "activation_dtype": "fp8"}, {"activation_dtype": "fp16"})
    )
    assert own.attrs["activation_dtype"] == "fp8"
    np.testing.assert_allclose(own.ttft, block.ttft, rtol=5e-3)  # the head and attention stay in 16 bit
    assert not np.allclose(own.ttft, wide.ttft, rtol=0.1)


def test_models_that_differ_are_as_stored_in_the_attributes():
    ds = wb.roofline_grid("h100-sxm", [MIXED, "mistral-7b"])
    assert (ds.attrs["activation_dtype"], ds.attrs["kv_dtype"]) == ("as stored", "as stored")
