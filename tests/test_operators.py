"""FLOPs and bytes of each operator: hand values, limits, another code's values, and what must hold everywhere."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.operators import OPERATORS, Conventions, Step, Widths, decode, operator_set, prefill
from workbench.operators.cost import scores_per_sequence
from workbench.operators.routing import experts_drawn

W = Widths()
PAPER = Conventions()


def cost(operator, model, step, widths=W, options=PAPER):
    return OPERATORS[operator](wb.model(model) if isinstance(model, str) else model, step, widths, options)


# Hand values ------------------------------------------------------------------------------------------------------


def test_a_projection_is_two_flops_per_multiply_add():
    # 2 tokens through 4096 x 4096: 2 x 2 x 4096^2 FLOPs; 2 x (2 x 4096 + 4096^2 + 2 x 4096) bytes in fp16
    c = cost("q_proj", "llama-7b", prefill(1, 2))
    assert c.flops == 2 * 2 * 4096**2
    assert c.bytes == 2 * (2 * 4096 + 4096**2 + 2 * 4096)
    assert c.calls == 32


def test_gpt2_attention_flops_of_another_code():
    # nanoGPT's transformer sizing counts scores plus their reduction of GPT-2 at 1024 tokens: 3,221,225,472 per layer
    both = cost("qk", "gpt2", prefill(1, 1024)).flops + cost("pv", "gpt2", prefill(1, 1024)).flops
    assert both == 3_221_225_472
    assert cost("attention", "gpt2", prefill(1, 1024), options=Conventions(causal=False)).flops == both


def test_the_mlp_of_llama_has_three_matrices_and_that_of_gpt_two():
    h, i = 4096, 11008
    step = prefill(1, 1)
    fused = cost("gate_up_proj", "llama-7b", step).flops + cost("down_proj", "llama-7b", step).flops
    assert fused == 3 * 2 * h * i
    assert [
        op for op in operator_set(wb.model("gpt2"), "fused") if "proj" in op and op not in ("qkv_proj", "o_proj")
    ] == [
        "up_proj",
        "down_proj",
    ]


def test_lm_head_of_the_last_token_or_of_all():
    last = cost("lm_head", "llama-7b", prefill(4, 128))
    every = cost("lm_head", "llama-7b", prefill(4, 128, logits="all"))
    assert last.flops == 2 * 4 * 4096 * 32000
    assert every.flops == 128 * last.flops
    assert last.bytes == 2 * (4 * 4096 + 4096 * 32000 + 4 * 32000)


def test_causal_prefill_computes_each_score_that_the_mask_leaves():
    # token j sees j tokens: 1 + 2 + ... + s = s (s + 1) / 2
    assert scores_per_sequence(prefill(1, 1000), None, causal=True) == 1000 * 1001 / 2
    assert scores_per_sequence(prefill(1, 1000), None, causal=False) == 1000**2


def test_decode_and_candidates_see_the_whole_cache():
    assert scores_per_sequence(decode(1, 1000), None, causal=True) == 1000
    assert scores_per_sequence(decode(1, 1000, candidates=16), None, causal=True) == 16_000


@pytest.mark.parametrize("s", [1, 7, 16, 17, 100])
def test_sliding_window_counts_what_a_loop_counts(s):
    window = 16
    assert scores_per_sequence(prefill(1, s), window, causal=True) == sum(min(j, window) for j in range(1, s + 1))
    assert scores_per_sequence(decode(1, s), window, causal=True) == min(s, window)


def test_a_chunk_of_a_prompt_counts_what_a_loop_counts():
    chunk = Step(sequences=1, new_tokens=10, context=35, cached=25)
    assert scores_per_sequence(chunk, None, causal=True) == sum(range(26, 36))


def test_attention_on_chip_moves_queries_cache_and_output_only():
    # Llama-3-8B, 2 sequences, cache of 1000: Q and output 2 x 32 x 128, K and V 2 x 1000 x 8 x 128 elements, fp16
    c = cost("attention", "llama-3-8b", decode(2, 1000))
    assert c.bytes == 2 * (2 * 2 * 32 * 128 + 2 * 2 * 1000 * 8 * 128)
    assert c.flops == 4 * 2 * 1000 * 32 * 128


def test_scores_through_memory_is_what_unfused_attention_moves():
    step = prefill(2, 256)
    unfused = cost("qk", "llama-7b", step).bytes + cost("pv", "llama-7b", step).bytes
    stored = cost("attention", "llama-7b", step, options=Conventions(causal=False, scores="memory")).bytes
    chip = cost("attention", "llama-7b", step, options=Conventions(causal=False)).bytes
    assert stored == unfused
    assert unfused - chip == 2 * 2 * 2 * 32 * 256**2  # scores written once and read once, fp16


def test_awq_reads_half_a_byte_and_its_scales_per_weight():
    ds = wb.roofline_grid("t4", "llama-2-7b-awq", "o_proj", "decode", 1, 1)
    weights = ds.bytes.item() - 2 * 2 * 4096  # less the activations in and out
    assert weights == 4096**2 * (0.5 + 2.5 / 128)


def test_mla_absorbed_decode_reads_the_latent_once():
    # DeepSeek-V3: 576 elements a token and layer, 128 heads; FLOPs 2 x s x 128 x (576 + 512)
    c = cost("attention", "deepseek-v3", decode(1, 4096))
    assert c.flops == 2 * 4096 * 128 * (576 + 512)
    queries_and_outputs = 128 * (576 + 512)
    assert c.bytes == 2 * (queries_and_outputs + 4096 * 576)


def test_mla_prefill_expands_the_latent_to_heads():
    s = 4096
    c = cost("attention", "deepseek-v3", prefill(1, s))
    assert c.flops == 2 * s * (s + 1) / 2 * 128 * (192 + 128)


def test_experts_drawn_limits():
    # one token touches its k experts, many tokens all; 2 of 8 with 2 tokens: 8 (1 - 0.75^2) = 3.5
    assert experts_drawn(1.0, 8, 2) == pytest.approx(2)
    assert experts_drawn(2.0, 8, 2) == pytest.approx(3.5)
    assert experts_drawn(65536.0, 8, 2) == pytest.approx(8)


def test_moe_flops_follow_the_tokens_and_bytes_the_experts():
    c = cost("moe_down_proj", "mixtral-8x7b", decode(1, 1))
    assert c.flops == pytest.approx(2 * 2 * 14336 * 4096)
    assert c.bytes == pytest.approx(2 * (2 * 14336 + 2 * 14336 * 4096 + 2 * 4096))


@pytest.mark.parametrize(
    ("model", "rotated", "cached", "hidden", "combined"),
    [
        ("llama-3-8b", 40 * 128, 2 * 8 * 128, 14336, 0),
        ("mixtral-8x7b", 40 * 128, 2 * 8 * 128, 2 * 14336, 3 * 4096),
        ("deepseek-v2-lite", 17 * 64, 512 + 64, (10944 + 26 * (6 + 2) * 1408) / 27, 26 / 27 * 7 * 2048),
    ],
)
def test_elementwise_by_the_equation_of_the_documentation(model, rotated, cached, hidden, combined):
    m = wb.model(model)
    h, layers = m.hidden_size, m.n_layers
    c = cost("elementwise", model, prefill(2, 5), Widths(activation=2, kv=1))
    assert c.flops == pytest.approx(10 * (5 * (2 + 1 / layers) * h + 3 * rotated + 5 * hidden + combined))
    elements = 8 * h + 6 * h / layers + 2 * rotated + cached + 3 * hidden + combined
    assert c.bytes == pytest.approx(10 * (2 * elements + cached))


def test_elementwise_by_hand_for_gpt2():
    # one token, 12 layers: 8 h norms, K and V read and written (2 x 768 each), MLP read and written (2 x 3072), and
    # embedding and final norm (6 h) spread over the layers; no RoPE
    h = 768
    elements = 8 * h + 2 * 2 * h + 2 * 3072 + 6 * h / 12
    assert cost("elementwise", "gpt2", prefill(1, 1)).bytes == pytest.approx(2 * elements)


# Another way to the same number -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", wb.models())
def test_weight_traffic_of_a_large_step_is_the_parameter_count(model):
    """Weights read by one forward pass = matrices of the model (all experts touched), whatever the family."""
    m = wb.model(model).model_copy(update={"quantization": None})
    widths = Widths(weight=1, activation=0, kv=0, lm_head=1, experts=1)
    step = prefill(1, 10**9) if m.moe else decode(1, 1)
    read = 0.0
    for name in operator_set(m, "fused"):
        if OPERATORS[name].operand not in ("activation", "residual", "kv", "index"):  # residual: 16 bits or more
            c = OPERATORS[name](m, step, widths, Conventions())
            read += float(c.bytes) * c.calls
    own, linear = m.per_layer_embedding, m.linear_attention
    embeddings = m.hidden_size * (m.vocab_size * (0 if m.tied_embeddings else 1) + (m.learned_positions or 0))
    embeddings += own.vocab_size * own.size * m.n_layers if own else 0
    left_out = m.moe.layers * m.hidden_size * (m.moe.n_experts + m.moe.shared_gate) if m.moe else 0  # routers
    left_out += linear.layers * linear.channels * linear.conv_size if linear else 0  # convolutions
    assert read == pytest.approx(m.parameters - embeddings - left_out, rel=1e-9)


@pytest.mark.parametrize("model", ["llama-7b", "llama-3-8b", "gpt2", "qwen3-8b", "mistral-nemo-12b"])
def test_fused_and_unfused_views_compute_the_same(model):
    m, step = wb.model(model), prefill(2, 64)
    totals = {
        view: sum(
            float(OPERATORS[name](m, step, W, Conventions(causal=False)).flops)
            * OPERATORS[name](m, step, W, PAPER).calls
            for name in operator_set(m, view)
            if name != "elementwise"
        )
        for view in ("fused", "unfused")
    }
    assert totals["fused"] == totals["unfused"]


def test_prefill_flops_are_two_per_parameter_and_token():
    """Kaplan et al. 2020: a forward pass costs about 2 FLOPs per parameter and token, plus attention."""
    ds = wb.forward_pass(wb.roofline_grid("a100-80gb-pcie", "llama-2-7b", phase="prefill", seq_len=16, logits="all"))
    expected = 2 * (wb.model("llama-2-7b").parameters - 32000 * 4096) * 16
    assert ds.flops.item() == pytest.approx(expected, rel=0.005)  # attention and norms of 16 tokens: under 0.5 %


# What must hold everywhere ----------------------------------------------------------------------------------------

sizes = st.integers(1, 4096)
some_models = st.sampled_from(
    ["llama-7b", "llama-3-8b", "gpt2", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "gemma-2-9b"]
)
makers = st.sampled_from([prefill, decode])


@given(some_models, makers, sizes, sizes)
def test_costs_are_positive_and_match_their_gemm(model, make, b, s):
    for name in operator_set(wb.model(model), "fused"):
        c = cost(name, model, make(float(b), float(s)))
        assert c.flops > 0
        assert c.bytes > 0
        if name not in ("attention", "sliding_attention", "elementwise"):
            np.testing.assert_allclose(2.0 * c.m * c.n * c.k * c.batch, c.flops, rtol=1e-12)


@given(some_models, makers, sizes, sizes)
def test_work_grows_with_the_batch(model, make, b, s):
    for name in operator_set(wb.model(model), "fused"):
        one, more = cost(name, model, make(float(b), float(s))), cost(name, model, make(float(b + 1), float(s)))
        assert more.flops > one.flops
        assert more.bytes > one.bytes


@given(st.sampled_from(["llama-7b", "gpt2", "llama-3-8b"]), makers, sizes, sizes)
def test_flops_of_dense_models_are_linear_in_the_batch(model, make, b, s):
    for name in operator_set(wb.model(model), "unfused"):
        one, many = cost(name, model, make(1.0, float(s))), cost(name, model, make(float(b), float(s)))
        np.testing.assert_allclose(many.flops, b * one.flops, rtol=1e-12)


@given(some_models, sizes, sizes)
def test_one_candidate_is_plain_decoding(model, b, s):
    for name in operator_set(wb.model(model), "unfused"):
        plain, one = cost(name, model, decode(b, s)), cost(name, model, decode(b, s, candidates=1))
        assert dataclasses.astuple(plain) == dataclasses.astuple(one)


@given(st.sampled_from(["llama-3-8b", "gemma-2-9b", "deepseek-v3"]), makers, sizes, sizes)
def test_causal_credit_never_exceeds_half_and_a_score(model, make, b, s):
    full, masked = (cost("attention", model, make(b, s), options=Conventions(causal=c)).flops for c in (False, True))
    assert full / 2 < masked <= full
