"""What cannot be, or would be answered without a word: refused in one line, or said in the result."""

from itertools import count
from math import inf, nan

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import workbench as wb
from workbench import kernels, operators, plots, serving
from workbench.cli import app
from workbench.common import arguments, machine
from workbench.hugging_face.keys import check_architecture
from workbench.hugging_face.reading import class_stems
from workbench.simulation import Server, Workload, bursty, poisson, simulate, trace
from workbench.simulation.client import ClientOptions

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 4096, "vocab_size": 32000,
}  # fmt: skip
QWEN3_MOE = LLAMA | {
    "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 768,
}  # fmt: skip


def refused(message, function, *arguments, **options):
    with pytest.raises(ValueError, match=message) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)


# One machine --------------------------------------------------------------------------------------------------------


def test_more_gpus_than_a_machine_has_are_refused():
    beyond = "= 16: h100-sxm has no link.max_gpus above 8 in its catalog entry, and no network is modelled$"
    refused(f"^tp {beyond}", wb.roofline_grid, "h100-sxm", "llama-3-70b", tp=[1, 16])
    network = (
        r"^tp x dp x pp = 16: a machine of h100-sxm has 8. Give network_gbs, the rate of the network between machine"
    )
    refused(network, serving.Replica, "h100-sxm", "llama-3-70b", tp=16)
    refused(network, serving.Replica, "h100-sxm", "llama-3-70b", tp=4, pp=4)
    refused(network, serving.estimate, "h100-sxm", "deepseek-v3", ep=16)
    refused(network, Server, "h100-sxm", "llama-3-70b", tp=16)
    refused(network, wb.best, wb.estimates("h100-sxm", "llama-3-70b", tp=16), "ttft")
    for collective in (kernels.all_reduce_time, kernels.all_to_all_time, kernels.send_time):
        refused(f"^gpus {beyond}", collective, "h100-sxm", bytes_=1e6, gpus=[8, 16])


def test_a_link_that_the_catalog_knows_reaches_further():
    assert serving.Replica("gb200", "llama-3-8b", tp=16).gpus == 16
    assert kernels.all_reduce_time("gb300", bytes_=1e6, gpus=72) > 0
    refused("^gpus = 73: gb300 has no link.max_gpus above 72 ", kernels.all_reduce_time, "gb300", bytes_=1e6, gpus=73)
    assert kernels.all_reduce_time("h100-pcie", bytes_=1e6, gpus=8) > 0  # its bridge joins two, PCIe the rest
    for name, pod in (("tpu-v5e", 256), ("tpu-v5p", 8960), ("tpu-v6e", 256), ("a100-80gb-sxm", 16)):
        card = wb.gpu(name)
        assert kernels.link_rate(card, pod) == 1e9 * card.link.gbs_per_direction
        refused(f"^gpus = {pod + 1}: {name} has no link.max_gpus above {pod} ", kernels.link_rate, card, pod + 1)


@pytest.mark.parametrize("name", wb.gpus())
def test_a_link_of_unknown_reach_ends_where_its_machine_does(name):
    card = wb.gpu(name)
    if card.link is None or card.link.max_gpus is None:
        refused(f"^gpus = 64: {name} has no link.max_gpus above 8 ", kernels.link_rate, card, 64)


# Drafts and batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "draft", "message"),
    [
        ("llama-3-8b", serving.mtp(alpha=0.8), "^draft = mtp: llama-3-8b has no layer for multi-token prediction"),
        (
            "llama-3-8b",
            serving.draft_model("qwen3-0.6b", depth=2, alpha=0.5),
            "^draft = qwen3-0.6b: its vocabulary, 151,936, cannot go with llama-3-8b's 128,256$",
        ),
        (
            "llama-3.2-1b",
            serving.draft_model("llama-3.2-3b", depth=2, alpha=0.5),
            "^draft = llama-3.2-3b: its weights, .*, cannot go with llama-3.2-1b's",
        ),
        (
            "gpt2-xl",
            serving.draft_model("gpt2", depth=2, alpha=0.5),
            r"^draft = gpt2: its context is 1,024 tokens, sequences take 60,128$",
        ),
    ],
)
def test_a_draft_that_cannot_be_is_refused(model, draft, message):
    refused(message, serving.estimate, "h200-sxm", model, prompt=60_000, output=128, draft=draft)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"candidates": 0, "tokens_per_step": 1}, "candidates = 0: allowed are whole numbers from 1"),
        ({"candidates": 2, "tokens_per_step": 3}, "tokens_per_step = 3: allowed are numbers from 1 to 2"),
        ({"candidates": 2, "tokens_per_step": np.nan}, "tokens_per_step = nan: allowed"),
        ({"candidates": 2, "tokens_per_step": 1, "mtp": 1}, "unknown mtp 1. Allowed: True, False"),
        ({"candidates": 2, "tokens_per_step": 1, "model": "lama"}, "unknown model 'lama'"),
    ],
)
def test_a_draft_by_hand_is_checked_as_well(fields, message):
    refused(message, serving.Draft, **fields)


def test_a_batch_beyond_what_the_engine_runs_is_refused():
    message = "^batch_size = 512: an engine of max_num_seqs = 256 runs 256 at a time$"
    refused(message, serving.estimate, "h200-sxm", "llama-3-8b", [1, 512], max_num_seqs=256)
    sizes = {"prompt": 10, "output": 10, "batch_size": 512}
    refused(message, serving.plan, "llama-3-8b", gpu="h200-sxm", **sizes, max_num_seqs=256)
    assert serving.estimate("h200-sxm", "llama-3-8b", 512, max_num_seqs=512).attrs["max_num_seqs"] == 512
    serving.estimate("h200-sxm", "deepseek-v3", 2048, ep=8, max_num_seqs=256)  # 256 on each
    message = "^batch_size = 4096: an engine of max_num_seqs = 256 and dp = 8 runs 2,048 at a time$"
    refused(message, serving.estimate, "h200-sxm", "deepseek-v3", 4096, ep=8, max_num_seqs=256)


def test_what_plan_may_be_told_to_change_is_an_option_of_the_command():
    command = ["plan", "llama-3-8b", "--prompt", "10", "--output-tokens", "10", "--gpu", "h200-sxm"]
    command += ["--batch-size", "512", "--tp", "1"]
    assert "max_num_seqs = 256" in CliRunner().invoke(app, [*command, "--max-num-seqs", "256"]).stderr
    assert CliRunner().invoke(app, [*command, "--max-num-seqs", "512"]).exit_code == 0
    assert CliRunner().invoke(app, [*command[:4], "--output-tokens", "0"]).exit_code != 0


def test_sequences_beyond_the_models_context_are_said():
    said = "gpt2: sequences of up to 2,048 tokens, beyond its context of 1,024"
    assert said in serving.estimate("t4", "gpt2", max_model_len=2048).attrs["assumed"]
    assert said not in serving.estimate("t4", "gpt2", max_model_len=1024).attrs["assumed"]
    load = poisson(1, requests=1, prompt=10, output=5)
    assert said in simulate(Server("t4", "gpt2"), load).attrs["assumed"]
    assert said not in simulate(Server("t4", "gpt2", max_model_len=1024), load).attrs["assumed"]


# Memory and time ----------------------------------------------------------------------------------------------------


def test_a_grid_beyond_memory_says_how_to(monkeypatch):
    monkeypatch.setattr(machine, "memory_size", lambda: 10**9)
    sizes = {"batch_size": range(1, 10**4), "seq_len": range(1, 10**4)}
    message = r"^a grid of 1,399,720,014 cells takes 69 GB, this machine has 1 GB: give chunks, such as chunks='auto'$"
    refused(message, wb.roofline_grid, "t4", "gpt2", **sizes)
    assert wb.roofline_grid("t4", "gpt2", **sizes, chunks="auto").time.size == 1_399_720_014
    message = r"^an estimate of 9,791,199 settings takes 20 GB, this machine has 1 GB: give fewer, or use estimates$"
    refused(message, serving.estimate, "t4", "gpt2", range(1, 100), range(1, 1000), range(1, 100))
    message = "^an estimate of 600,000 settings takes 1 GB, this machine has 1 GB: "  # of every GPU, model and tp
    refused(message, serving.estimate, ["t4", "l4"], ["gpt2", "llama-3-8b", "opt-13b"], 1, range(1, 50_001), 1, [1, 2])


def test_labels_without_an_end_are_refused(monkeypatch):
    monkeypatch.setattr(arguments, "MAX_LABELS", 1000)
    refused("^batch_size has more than 1,000 values$", wb.roofline_grid, "t4", "gpt2", batch_size=count(1))
    refused("^candidates has more than 1,000 values$", wb.published.medusa_acceleration_rate, count(1))
    assert wb.published.medusa_acceleration_rate(iter(range(1, 1001))).size == 1000


def test_a_mapping_is_no_list():
    refused("^batch_size = {1: 2}: give one value, or a list$", wb.roofline_grid, "t4", "gpt2", batch_size={1: 2})
    refused("^gpu = {'t4': 2}: give one value, or a list$", serving.estimate, {"t4": 2}, "gpt2")


def test_lists_arrays_and_numbers_of_numpy_are_as_good_as_tuples():
    whole = wb.studies.traffic(((1, 512), (8, 256)))
    for settings in ([(1, 512), [8, 256]], np.array([[1, 512], [8, 256]]), ((np.int64(1), 512), (np.int8(8), 256))):
        pd.testing.assert_frame_equal(wb.studies.traffic(settings), whole)
    refused("settings.0.1", wb.studies.traffic, [[1, "512"]])
    refused("settings.0.2|settings.0 =", wb.studies.traffic, [[1, 2, 3]])
    for gpus in (["t4"], np.array(["t4"]), pd.Series(["t4"])):
        pd.testing.assert_frame_equal(wb.studies.replicas_needed(gpus=gpus), wb.studies.replicas_needed(gpus=("t4",)))
    refused("^replicas_needed: gpus = 't4'", wb.studies.replicas_needed, gpus="t4")
    phases = {"decode": wb.studies.static_tables("decode", [1, 4], [512])}
    for span in (np.array([1.0, 2.0]), (np.float32(1), 2), [1, 2]):
        wb.studies.t4_roofline(phases, {"decode": span}, plt.figure().subplots())
    plt.close("all")


def test_without_a_limit_may_be_said_as_infinity():
    load = poisson(1, requests=3, prompt=10, output=5)
    never = simulate(Server("t4", "gpt2"), load, timeout=inf, horizon=inf)
    pd.testing.assert_frame_equal(never, simulate(Server("t4", "gpt2"), load))
    ds = wb.roofline_grid("t4", "gpt2", batch_size=[1, 2])
    for limits in ({"time": inf}, {"intensity": -inf}):
        kept = wb.best(ds, "time", limits=limits)
        assert kept.time.equals(wb.best(ds, "time").time)
    metrics = wb.loadtest.metrics(never, slo={"ttft": inf})
    assert metrics.good == 3
    for name in ("timeout", "horizon"):
        refused(f"^{name} = nan: ", simulate, Server("t4", "gpt2"), load, **{name: nan})


def test_sizes_of_half_precision_are_widened():
    for kind in (np.float16, np.float32, np.int8, np.uint16):
        assert operators.Step(kind(100), kind(1000 % 127), 1, 0).tokens == 100 * (1000 % 127)
    assert operators.Step(np.float16(300), np.float16(300), 1, 0).tokens == 90_000
    assert operators.decode(np.full(2, 300, np.float16), np.float32(2**24)).context.dtype == np.float64
    assert operators.decode(2, 3).tokens == 2.0


def test_a_context_that_a_config_leaves_out_is_said():
    model = wb.from_hf_config({key: value for key, value in LLAMA.items() if key != "max_position_embeddings"})
    said = "llama: its context is unknown, sequences of any length fit"
    assert said in serving.estimate("h100-sxm", model, 1, 10**6).attrs["assumed"]
    load = poisson(1, requests=1, prompt=10, output=5)
    assert said in simulate(Server("h100-sxm", model), load).attrs["assumed"]
    assert said not in serving.estimate("h100-sxm", "llama-3-8b").attrs["assumed"]


def test_a_prompt_in_too_many_chunks_is_refused():
    refused(
        "^prompt = 1e[+]09 in 250,000 chunks: allowed are 100,000$", serving.estimate, "t4", "opt-1.3b", 1, 10**9, 10,
        schedule="continuous", max_num_batched_tokens=4000, max_model_len=2 * 10**9,
    )  # fmt: skip


def test_rare_bursts_and_many_requests_end():
    one = {"prompt": 1, "output": 1}
    refused("^burstiness = 1e-15: allowed are numbers from 0.001", bursty, 1, burstiness=1e-15, duration=1, **one)
    refused("^requests = 100000000: allowed are whole numbers from 1 to 10,000,000$", poisson, 1, requests=10**8, **one)


# What is given twice, used up, or of numpy ---------------------------------------------------------------------------


def test_estimates_can_be_gone_through_again():
    servers = wb.estimates(iter(["t4", "l4"]), "gpt2", (b for b in (1, 8)), prompt=10, output=10)
    first, again = (wb.best(servers, "tokens_per_second", by="gpu") for _ in range(2))
    assert len(first) == 2
    pd.testing.assert_frame_equal(first, again)
    assert next(iter(servers)).identical(next(iter(servers)))


def test_attributes_of_numpys_numbers_can_be_written(tmp_path):
    grid = wb.roofline_grid(np.str_("t4"), "gpt2", launch_latency=np.float32(0.5), causal=np.bool_(True), tp=None)
    ds = serving.estimate(
        "t4", "gpt2", np.int8(4), max_num_seqs=np.uint8(8), pp=np.int16(1), launch_latency=np.float16(0.5),
        cached_prefix=np.int32(16), gpu_memory_utilization=np.float32(0.5), gemm_rows=np.int64(16), lm_head_dtype=None,
    )  # fmt: skip
    for name, each in (("grid", grid), ("servers", ds)):
        assert not [key for key, value in each.attrs.items() if isinstance(value, np.generic) or value is None]
        each.to_netcdf(tmp_path / f"{name}.nc")
        assert xr.load_dataset(tmp_path / f"{name}.nc").attrs.keys() == each.attrs.keys()
    fields = vars(serving.Replica("t4", "gpt2", tp=np.int8(2), step_overhead=np.float32(0.5)))
    assert not [name for name, value in fields.items() if isinstance(value, np.generic)]


def test_small_integers_of_numpy_do_not_overflow():
    whole = serving.estimate("h100-sxm", "llama-3-70b", 100, 100, 100, 4, max_num_seqs=100, cached_prefix=64)
    small = serving.estimate(
        "h100-sxm", "llama-3-70b", np.int8(100), np.int8(100), np.int8(100), np.int8(4), max_num_seqs=np.int8(100),
        cached_prefix=np.int8(64),
    )  # fmt: skip
    assert whole.identical(small)
    assert wb.published.medusa_acceleration_rate(np.int8(64)) == wb.published.medusa_acceleration_rate(64)


def test_a_trace_is_a_frame_or_arrays():
    frame = pd.DataFrame({"sent_s": [1.0, 0.0], "prompt_tokens": [8, 16], "output_tokens": [2, 4]}).astype(
        {"prompt_tokens": "Int64", "output_tokens": "Int64"}
    )
    assert trace(frame).prompt_tokens.tolist() == [16, 8]
    refused("^trace takes a frame, or sent_s", trace, frame, sent_s=[0, 1])
    frame.loc[0, "output_tokens"] = pd.NA
    refused("^row 0: output_tokens is unknown, as of 1 of 2 requests", trace, frame)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sent_s": [1.0, 0.0]}, "sent_s: expected ascending times from 0"),
        ({"sent_s": [-1.0, 0.0]}, "sent_s: expected ascending times from 0"),
        ({"prompt_tokens": [8]}, "prompt_tokens has 1 values for 2 of sent_s"),
        ({"output_tokens": [0, 1]}, "output_tokens = 0: allowed are whole numbers of tokens"),
        ({"concurrency": 0}, "concurrency = 0: allowed are whole numbers"),
        ({"settings": None}, "settings = None: expected a dict"),
    ],
)
def test_a_workload_by_hand_is_checked_as_well(fields, message):
    good = {"sent_s": [0.0, 1.0], "prompt_tokens": [8, 8], "output_tokens": [2, 2], "cached_tokens": 0}
    assert len(Workload(**good)) == 2
    refused(message, Workload, **good | fields)


def test_options_are_numbers_of_python():
    assert type(ClientOptions(timeout=np.float32(2)).timeout) is float
    assert type(Server("t4", "gpt2", block_size=np.int8(16)).block_size) is int


# Charts -------------------------------------------------------------------------------------------------------------


def test_what_is_no_grid_is_no_chart():
    refused("^roofline: ds = 'x': Input should be an instance of Dataset$", plots.roofline, "x")
    refused("^ds has no 'gpu': it has none$", plots.roofline, xr.Dataset())
    refused("^ds has no 'time': it has intensity$", plots.queue, xr.Dataset({"intensity": 1.0}))
    grid = wb.roofline_grid("t4", "gpt2")
    refused("^unknown phase 'prefil'. Did you mean 'prefill'", wb.tables.select, grid, {"phase": "prefil"})
    refused("^unknown dim 'candidates'", wb.tables.select, grid, {"candidates": 1})
    refused("^roofline: arrows.0 = 3: Input should be a valid dictionary$", plots.roofline, grid, arrows=[3])


# A config.json that is read in part ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "key", "value"),
    [
        (LLAMA, "num_local_experts", 8), (LLAMA, "num_experts", 8), (LLAMA, "n_routed_experts", 8),
        (LLAMA, "num_experts_per_tok", 2), (LLAMA, "moe_intermediate_size", 768), (LLAMA, "n_shared_experts", 1),
        (LLAMA, "kv_lora_rank", 512), (LLAMA, "q_lora_rank", 512), (LLAMA, "qk_rope_head_dim", 64),
        (LLAMA, "attention_chunk_size", 8192), (LLAMA, "attention_window_size", 4096), (LLAMA, "window_size", 4096),
        (LLAMA, "mamba_d_state", 16), (LLAMA, "conv_kernel", 4), (LLAMA, "linear_num_key_heads", 16),
        (LLAMA, "vision_config", {"hidden_size": 1}), (LLAMA, "text_config", {"hidden_size": 1}),
        (LLAMA, "block_configs", [{}]), (LLAMA, "hidden_size_per_layer_input", 256), (LLAMA, "num_kv_shared_layers", 2),
        (LLAMA, "draft_vocab_size", 32000), (LLAMA, "index_topk", 2048), (LLAMA, "pruned_heads", {"0": [1]}),
        (LLAMA, "sparse_attention", True), (LLAMA, "add_cross_attention", True), (LLAMA, "global_head_dim", 512),
        (QWEN3_MOE, "shared_expert_intermediate_size", 768), (QWEN3_MOE, "kv_lora_rank", 512),
    ],
)  # fmt: skip
def test_a_key_that_changes_the_arithmetic_is_read_or_refused(base, key, value):
    refused(rf"^config dict: {key} = .*: not read in a {base['model_type']}, and changes its arithmetic",
            wb.from_hf_config, base | {key: value})  # fmt: skip
    assert wb.from_hf_config(base | {key: None}) == wb.from_hf_config(base)


@pytest.mark.parametrize(
    "key",
    ["rope_theta", "router_aux_loss_coef", "routed_scaling_factor", "norm_topk_prob", "n_group", "attention_bias",
     "image_token_index", "max_sequence_length", "query_pre_attn_scalar", "partial_rotary_factor", "qk_head_dim"],
)  # fmt: skip
def test_a_key_that_changes_none_is_passed_over(key):
    assert wb.from_hf_config(LLAMA | {key: 4.0}) == wb.from_hf_config(LLAMA)


@pytest.mark.parametrize(
    "name", ["LlamaForCausalLMEagle3", "DFlashDraftModel", "BitnetForCausalLM", "LlamaForSequenceClassification"]
)
def test_another_architecture_is_refused(name):
    message = f"^config dict: architectures = '{name}': (a draft head, )?not a llama language model$"
    refused(message, wb.from_hf_config, LLAMA | {"architectures": [name]})


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("llama", "LlamaForCausalLM"), ("llama", "LLaMAForCausalLM"), ("falcon", "RWForCausalLM"),
        ("qwen3_moe", "Qwen3MoeForCausalLM"), ("gpt2", "GPT2LMHeadModel"), ("gpt_oss", "GptOssForCausalLM"),
        ("gemma3", "Gemma3ForConditionalGeneration"), ("deepseek_v3", "DeepseekV3ForCausalLM"),
        ("gemma3_text", "Gemma3ForCausalLM"), ("opt", "OPTForCausalLM"),
    ],
)  # fmt: skip
def test_the_model_types_own_architecture_is_known(model_type, name):
    check_architecture([name], model_type, class_stems(model_type), "x")


def test_a_quantization_of_parts_is_read():
    fp8 = {
        "quant_method": "fp8",
        "modules_to_not_convert": ["lm_head", "model.layers.0.input_layernorm", "model.layers.0.mlp.gate"],
    }
    assert wb.from_hf_config(LLAMA | {"quantization_config": fp8}).quantization.attention is None
    for key in ("modules_to_not_convert", "ignored_layers", "ignore"):
        mixed = {"quant_method": "fp8", key: ["self_attn", "lm_head"]}
        assert wb.from_hf_config(LLAMA | {"quantization_config": mixed}).quantization.attention.format == "bf16"


def test_old_spellings_of_awq_are_read():
    awq = {"quant_method": "awq", "w_bit": 4, "q_group_size": 32}
    assert wb.from_hf_config(LLAMA | {"quantization_config": awq}).quantization.group_size == 32
    refused("w_bit|bits", wb.from_hf_config, LLAMA | {"quantization_config": awq | {"w_bit": 3}})


def test_layers_for_multi_token_prediction_are_read():
    assert wb.from_hf_config(LLAMA | {"num_nextn_predict_layers": 2}).mtp_layers == 2
    assert wb.from_hf_config(LLAMA | {"num_nextn_predict_layers": 0}).mtp_layers is None
