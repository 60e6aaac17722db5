"""Mistakes found in other tools' sources and issue trackers, each as a test that would catch it here."""

import numpy as np
import pytest

import workbench as wb
from workbench.operators import operator_set

A100 = "a100-80gb-pcie"


def op(name, model="llama-2-7b", phase="decode", b=1, s=1024, **options):
    return wb.roofline_grid(A100, model, [name], phase, b, s, **options).squeeze()


# FLOPs


def test_both_attention_matmuls_count():
    fused = op("attention", phase="prefill", causal=False).flops
    assert fused == op("qk", phase="prefill").flops + op("pv", phase="prefill").flops


def test_decode_attention_depends_on_the_context():
    assert op("attention", s=2048).flops == 2 * op("attention", s=1024).flops


def test_lm_head_has_the_factor_two_and_the_batch():
    assert op("lm_head", b=8).flops == 2 * 8 * 4096 * 32000


def test_lm_head_has_a_memory_bound():
    head = op("lm_head")
    assert head.bound == 0
    assert head.time == pytest.approx(2 * 4096 * 32000 / 1935e9, rel=0.001)  # activations: 0.02 %


@pytest.mark.parametrize("model", ["gpt2", "opt-13b", "falcon-7b", "phi-2"])
def test_two_matrix_mlps_get_no_gate(model):
    assert not {"gate_proj", "gate_up_proj"} & {
        *operator_set(wb.model(model), "fused"),
        *operator_set(wb.model(model), "unfused"),
    }


def test_mlp_activations_have_the_intermediate_size():
    wide = op("down_proj", b=1000).bytes - op("down_proj", b=1).bytes
    assert wide == 999 * 2 * (11008 + 4096)


def test_a_step_is_the_sum_of_rooflines_not_the_roofline_of_the_sum():
    ds = wb.roofline_grid(A100, "llama-2-7b", phase="prefill", batch_size=1, seq_len=1024)
    total = wb.forward_pass(ds)
    of_the_sum = np.maximum(total.flops / 312e12, total.bytes / 1935e9)
    assert total.time > of_the_sum
    assert total.time.item() == pytest.approx((ds.time * ds.calls).sum().item())


# Bytes


def test_grouped_query_attention_reads_kv_heads_only():
    # 70B: 64 query heads, 8 KV heads
    cache = 2 * 1024 * 8 * 128 * 2
    assert op("attention", "llama-2-70b").bytes == cache + 2 * 2 * 64 * 128


def test_k_and_v_projections_shrink_with_the_kv_heads():
    assert op("k_proj", "llama-2-70b").flops == op("q_proj", "llama-2-70b").flops / 8


def test_the_cache_is_read_once_and_not_written_whole():
    assert op("attention").bytes < 1.01 * 2 * 1024 * 32 * 128 * 2


def test_the_kv_cache_of_an_awq_model_is_sixteen_bit():
    assert op("attention", "llama-2-7b-awq").bytes == op("attention", "llama-2-7b").bytes
    assert wb.model("llama-2-7b-awq").kv_elements_per_token * 2 == 524_288


def test_activations_of_an_awq_model_are_sixteen_bit():
    grown = op("o_proj", "llama-2-7b-awq", b=101).bytes - op("o_proj", "llama-2-7b-awq", b=1).bytes
    assert grown == 100 * 2 * 2 * 4096


def test_awq_computes_in_fp16_not_in_int4():
    assert wb.roofline_grid(A100, "llama-2-7b-awq").peak_flop_rate.item() == 312e12


def test_the_embedding_table_is_not_read_whole():
    assert op("elementwise").bytes * 32 < 32000 * 4096


def test_flash_attention_output_is_not_s_by_s():
    long, longer = (op("attention", phase="prefill", s=s).bytes for s in (4096, 8192))
    assert longer == 2 * long


@pytest.mark.parametrize(("model", "head_dim"), [("mistral-nemo-12b", 128), ("gemma-2-9b", 256), ("qwen3-0.6b", 128)])
def test_head_dim_is_the_configs_not_h_over_n(model, head_dim):
    m = wb.model(model)
    assert m.head_dim == head_dim != m.hidden_size / m.n_heads
    assert op("q_proj", model).flops == 2 * m.hidden_size * m.n_heads * head_dim


def test_bytes_not_elements_are_divided_by_the_bandwidth():
    assert op("q_proj").time == pytest.approx(2 * 4096**2 / 1935e9, rel=0.001)


# Hardware


@pytest.mark.parametrize(
    ("gpu", "dtype", "dense"),
    [
        ("gh200-96gb", "fp16", 989.4), ("gb200", "bf16", 2500), ("b200-sxm", "fp16", 2250),
        ("a100-80gb-sxm", "bf16", 312), ("rtx-4090", "fp16", 165.2), ("l4", "bf16", 121), ("h100-sxm", "fp8", 1978.9),
    ],
)  # fmt: skip
def test_peaks_are_dense(gpu, dtype, dense):
    assert wb.gpu(gpu).peak_flop_rate(dtype) == dense * 1e12


@pytest.mark.parametrize(
    ("gpu", "gbs"), [("h100-sxm", 3350), ("h100-pcie", 2000), ("gb200", 8000), ("a100-40gb-pcie", 1555)]
)
def test_bandwidth_is_decimal_and_the_cards_own(gpu, gbs):
    assert wb.gpu(gpu).bandwidth == gbs * 1e9


@pytest.mark.parametrize(("gpu", "gb"), [("v100-sxm2-16gb", 16), ("a10", 24), ("v100-sxm2-32gb", 32)])
def test_capacity(gpu, gb):
    assert wb.gpu(gpu).memory.capacity_gb == gb


def test_the_a100_has_108_multiprocessors_and_40_mb():
    assert wb.gpu(A100).sm_count == 108
    assert wb.gpu(A100).l2_mb == 40


def test_ridge_points_are_in_flop_per_byte_not_per_kilobyte():
    for name in wb.gpus():
        card = wb.gpu(name)
        dtype = "fp16" if "fp16" in card.dense_tflops else "bf16"
        assert 30 < card.ridge_point(dtype) < 950, name


# Models


def test_llama_2_7b_as_published():
    m = wb.model("llama-2-7b")
    assert (m.intermediate_size, m.gated, m.head_dim) == (11008, True, 128)


def test_llama_3_1_8b_caches_128_kib_per_token():
    assert wb.model("llama-3.1-8b").kv_elements_per_token * 2 == 128 * 1024


def test_opt_13b_hidden_size():
    assert wb.model("opt-13b").hidden_size == 5120


# Experts


def test_a_batch_touches_more_experts_than_one_token_does():
    # 8 experts, 2 a token, 16 tokens: 8 (1 - 0.75^16) = 7.92 experts, not 2
    one, many = (op("moe_down_proj", "mixtral-8x7b", b=b).bytes for b in (1, 16))
    assert many / one == pytest.approx(8 * (1 - 0.75**16) / 2, rel=0.01)  # activations: under 1 %


def test_no_expert_gets_zero_tokens_by_integer_division():
    ds = op("moe_gate_up_proj", "deepseek-v3", b=1)
    assert ds.flops == pytest.approx(8 * 2 * 7168 * 2 * 2048)


def test_active_experts_are_no_more_than_there_are():
    # 256 experts, 8 a token: a batch of 1,000 touches nearly all of them, not 8 and not 8,000
    per_expert = 3 * 7168 * 2048
    ds = wb.roofline_grid("h200-sxm", "deepseek-v3", ["moe_gate_up_proj", "moe_down_proj"], "decode", [1, 1000], 1)
    weights = (ds.bytes.sum("operator").squeeze() - ds.bytes.sum("operator").sel(batch_size=1).squeeze()) / per_expert
    assert 247 < weights.sel(batch_size=1000) < 300  # 248 more of them, and 16-bit activations


def test_active_parameters_are_not_all_parameters():
    mixtral = wb.model("mixtral-8x7b")
    assert mixtral.active_parameters == pytest.approx(12.9e9, rel=0.005)  # arXiv 2401.04088
    assert mixtral.parameters == pytest.approx(46.7e9, rel=0.005)


# Serving


def served(batch_size=1, **options):
    return wb.serving.estimate("h100-sxm", "llama-3-8b", batch_size, 512, 128, **options).squeeze()


def test_tokens_per_second_count_the_batch():
    one, many = served(1, engine=None), served(32, engine=None)
    assert many.tokens_per_second > 20 * one.tokens_per_second
    assert many.tokens_per_second == pytest.approx((32 * 128 / many.end_to_end_latency).item())


def test_a_batch_of_five_is_no_faster_than_a_batch_of_one():
    for schedule in ("static", "continuous"):
        ds = served([1, 5], schedule=schedule)
        for name in ("ttft", "tpot", "end_to_end_latency"):
            assert ds[name][1] > ds[name][0], (schedule, name)


def test_requests_per_second_are_of_finished_requests():
    ds = served(8)
    assert ds.requests_per_second == pytest.approx((8 / ds.end_to_end_latency).item())
    assert ds.tokens_per_second == pytest.approx((128 * ds.requests_per_second).item())


def test_a_server_has_not_all_of_the_memory():
    ds = served()
    cache = ds.kv_capacity * ds.kv_bytes_per_token
    assert cache + ds.weights + ds.activations < 0.9 * wb.gpu("h100-sxm").memory_bytes


def test_what_does_not_fit_has_no_latency():
    ds = wb.serving.estimate("t4", ["llama-2-7b-awq", "llama-2-70b"], 1, 512, 128)
    assert ds.fits.squeeze().values.tolist() == [True, False]
    assert ds.ttft.isnull().squeeze().values.tolist() == [False, True]


def test_servings_labels_stand_beside_their_own_batch_and_length():
    ds = wb.serving.estimate("h100-sxm", "llama-3-8b", [1, 4], [100, 1000], [2, 50])
    for b in (1, 4):
        for p in (100, 1000):
            alone = wb.serving.estimate("h100-sxm", "llama-3-8b", b, p, 50).squeeze()
            assert ds.tpot.sel(batch_size=b, prompt=p, output=50).item() == alone.tpot.item()
            assert ds.memory.sel(batch_size=b, prompt=p, output=50).item() == alone.memory.item()


# Labels


def test_labels_stand_beside_their_own_batch_and_length():
    ds = wb.roofline_grid(A100, "llama-7b", ["qk"], "prefill", [1, 2, 4], [128, 256])
    for b in (1, 2, 4):
        for s in (128, 256):
            assert ds.flops.sel(batch_size=b, seq_len=s).item() == 2 * b * s**2 * 32 * 128
