"""Models whose layers differ: weights, cache and states by hand, operators against sums over layers and tokens."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hybrid_models import SIZES, hybrid
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import kernels, serving
from workbench.catalog import LinearAttention, Model
from workbench.common.matrices import embedding_weights, layer_matrices
from workbench.measure import models as measured_models
from workbench.operators import COLLECTIVES, OPERATORS, Conventions, Step, Widths, decode, operator_set, prefill, shard
from workbench.operators.cost import scores_per_sequence
from workbench.servers import memory
from workbench.servers.drafts import mtp
from workbench.servers.replica import Replica
from workbench.simulation import Server, closed_loop, simulate
from workbench.simulation.cache import Footprint

W, C = Widths(), Conventions()
#: Operators whose work is not that of a product with weights.
NO_PRODUCT = ("attention", "sliding_attention", "index_scores", "linear_attention", "elementwise")


def cost(model, operator, step, widths=W, conventions=C):
    named = hybrid(model) if isinstance(model, str) and model in SIZES else wb.model(model)
    return OPERATORS[operator](named, step, widths, conventions)


def changed(model, **changes):
    """A model of other sizes, checked again."""
    return Model(**(hybrid(model) if isinstance(model, str) else model).model_dump() | changes)


def flops(model, step, *names):
    """Of all calls of some operators of a pass; None of those that the model lacks [FLOP]."""
    calls = [cost(model, name, step) for name in names]
    return sum(call.calls * call.flops for call in calls if call)


# Counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("qwen3-next-80b-a3b", 79_674_179_584), ("qwen3.5-27b", 26_895_319_040), ("deepseek-v3.2", 671_876_907_008),
        ("glm-5", 743_910_014_976), ("glm-5.2", 743_375_831_040), ("llama-4-scout", 107_769_364_480),
        ("llama-4-maverick", 400_711_352_320), ("gemma-4-26b-a4b", 25_232_441_344), ("gemma-4-31b", 30_696_013_824),
        ("gemma-4-e2b", 4_628_283_392), ("nemotron-3-nano-30b-a3b", 31_577_554_944),
        ("nemotron-h-56b", 56_321_343_488), ("mimo-v2-flash", 308_778_369_024),
    ],
)  # fmt: skip
def test_weights_are_those_of_transformers(name, parameters):
    """Weights of more than one dimension, transformers 5.24.0 on the meta device, of the same config.json."""
    assert hybrid(name).parameters == parameters


def test_weights_of_kimi_linear_by_hand():
    h, heads, dim = 2304, 32, 128
    wide = heads * dim
    delta = 3 * h * wide + 3 * wide * 4 + 2 * (h * dim + dim * wide) + h * heads + wide * h
    latent = h * heads * 192 + h * 576 + 512 * heads * 256 + heads * 128 * h
    mlps = 3 * h * 9216 + 26 * (3 * h * 1024 * 257 + h * 256)
    assert hybrid("kimi-linear-48b-a3b").parameters == 20 * delta + 7 * latent + mlps + 2 * 163_840 * h


def test_weights_of_latent_experts_by_hand():
    h, latent, inner = 512, 128, 8 * 64
    mamba = h * (2 * inner + 2 * 2 * 32 + 8) + (inner + 2 * 2 * 32) * 4 + inner * h
    attention = 2 * h * 8 * 64 + 2 * h * 2 * 64
    experts = h * 16 + 2 * h * latent + 16 * 3 * latent * 256 + 3 * h * 512
    assert hybrid("latent-experts").parameters == 4 * mamba + 2 * attention + 4 * experts + 2 * 1000 * h


@pytest.mark.parametrize(
    ("name", "idle"),
    [  # routed experts that a token does not choose, of 3 matrices (Nemotron: 2)
        ("qwen3-next-80b-a3b", 48 * (512 - 10) * 3 * 2048 * 512), ("deepseek-v3.2", 58 * 248 * 3 * 7168 * 2048),
        ("llama-4-maverick", 24 * 127 * 3 * 5120 * 8192), ("gemma-4-26b-a4b", 30 * 120 * 3 * 2816 * 704),
        ("nemotron-3-nano-30b-a3b", 23 * 122 * 2 * 2688 * 1856), ("kimi-linear-48b-a3b", 26 * 248 * 3 * 2304 * 1024),
        ("latent-experts", 4 * 12 * 3 * 128 * 256), ("qwen3.5-27b", 0),
    ],
)  # fmt: skip
def test_active_parameters_are_those_without_experts_not_chosen(name, idle):
    assert hybrid(name).parameters - hybrid(name).active_parameters == idle


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("qwen3-next-80b-a3b", 12 * 2 * 2 * 256), ("qwen3.5-27b", 16 * 2 * 4 * 256),
        ("deepseek-v3.2", 61 * (512 + 64 + 128)), ("glm-5.2", 78 * 576 + 21 * 128),
        ("llama-4-scout", 48 * 2 * 8 * 128), ("gemma-4-26b-a4b", 5 * 2 * 2 * 512 + 25 * 2 * 8 * 256),
        ("gemma-4-e2b", 3 * 2 * 512 + 12 * 2 * 256), ("nemotron-3-nano-30b-a3b", 6 * 2 * 2 * 128),
        ("mimo-v2-flash", 9 * 4 * (192 + 128) + 39 * 8 * (192 + 128)), ("kimi-linear-48b-a3b", 7 * 576),
        ("by-layer", 2 * 64 * (4 + 1 + 2)),
    ],
)  # fmt: skip
def test_only_layers_with_a_cache_of_their_own_cache(name, elements):
    assert hybrid(name).kv_elements_per_token == elements


@pytest.mark.parametrize(
    ("name", "layers", "elements", "channels"),
    [
        ("qwen3-next-80b-a3b", 36, 32 * 128 * 128, 2 * 16 * 128 + 32 * 128),
        ("nemotron-3-nano-30b-a3b", 23, 64 * 128 * 64, 64 * 64 + 2 * 8 * 128),
        ("nemotron-h-56b", 54, 256 * 256 * 64, 256 * 64 + 2 * 8 * 256),
        ("kimi-linear-48b-a3b", 20, 32 * 128 * 128, 3 * 32 * 128),
    ],
)
def test_a_state_is_of_one_size(name, layers, elements, channels):
    """In fp32, beside the last three tokens of the convolution in 16 bit."""
    model = hybrid(name)
    assert model.state_bytes_per_sequence == layers * (4 * elements + 2 * 3 * channels)
    narrow = model.linear_attention.model_copy(update={"state_dtype": "bf16"})
    assert narrow.state_bytes == 2 * elements + 2 * 3 * channels


def test_a_model_in_print_says_what_its_layers_have():
    text = str(hybrid("qwen3-next-80b-a3b"))
    assert "48, 12 with attention, 36 with gated_delta" in text
    assert "77,266,944 bytes per sequence" in text
    assert "1024 tokens on 25 of 30 layers, 16 query, 8 KV heads of 256" in str(hybrid("gemma-4-26b-a4b"))
    assert "attention chunks        8192 tokens on 36 of 48 layers" in str(hybrid("llama-4-scout"))
    assert "the 2048 that 64 heads of 128 score highest" in str(hybrid("deepseek-v3.2"))
    assert "(2 matrices)" in str(hybrid("latent-experts"))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("qwen3.5-27b", {"attention_layers": 65}, "attention_layers 65 exceed n_layers 64"),
        ("qwen3.5-27b", {"mlp_layers": 65}, "mlp_layers 65 exceed n_layers 64"),
        ("nemotron-h-56b", {"sliding_window": {"size": 8, "layers": 11}}, "layers 11 exceed attention_layers 10"),
        ("latent-experts", {"mlp_layers": 3}, "Moe layers 4 exceed mlp_layers 3"),
        ("qwen3.5-27b", {"linear_attention": SIZES["qwen3.5-27b"]["linear_attention"] | {"layers": 65}},
         "LinearAttention layers 65 exceed n_layers 64"),
        ("qwen3.5-27b", {"linear_attention": SIZES["qwen3.5-27b"]["linear_attention"] | {"n_key_heads": 5}},
         "LinearAttention n_heads 48 is no multiple of 5 key heads"),
        ("qwen3.5-27b", {"linear_attention": SIZES["qwen3.5-27b"]["linear_attention"] | {"kind": "mamba"}},
         "linear_attention.kind = 'mamba': .*'gated_delta', 'kda' or 'mamba2'"),
        ("glm-5.2", {"indexer": {"n_heads": 1, "head_dim": 1, "top_k": 1, "layers": 79}}, "layers 79 exceed n_layers"),
        ("qwen3.5-27b", {"indexer": {"n_heads": 1, "head_dim": 1, "top_k": 1}}, "indexer goes with mla only"),
        ("latent-experts", {"moe": {"n_experts": 4, "experts_per_token": 1, "intermediate_size": 8, "layers": 1,
                                    "shared_gate": True}}, "moe.shared_gate goes with moe.shared_intermediate_size"),
        ("glm-5", {"attention_gate": True}, "mla does not go with attention_gate"),
        ("glm-5", {"v_head_dim": 128}, "mla does not go with v_head_dim"),
        ("glm-5", {"sliding_window": {"size": 8, "layers": 8, "n_kv_heads": 8}}, "mla does not go with heads of the"),
        ("by-layer", {"kv_heads_by_layer": [4, 3, 2]}, "n_heads 8 is not a multiple of n_kv_heads 3"),
        ("by-layer", {"kv_heads_by_layer": [4, 2]}, "kv_heads_by_layer has 2 sizes up to 4: expected 3 up to"),
        ("by-layer", {"kv_heads_by_layer": [2, 1, 2]}, "kv_heads_by_layer has 3 sizes up to 2: expected 3 up to n_kv"),
        ("by-layer", {"intermediate_by_layer": [512]}, "intermediate_by_layer has 1 sizes up to 512: expected 2 up"),
        ("by-layer", {"intermediate_by_layer": [2048, 0]}, "intermediate_by_layer.1 = 0: .* greater than 0"),
        ("by-layer", {"sliding_window": {"size": 8, "layers": 1}}, "kv_heads_by_layer does not go with sliding_window"),
        ("gemma-4-e2b", {"shared_kv_layers": 35}, "shared_kv_layers 35 exceed n_layers - 1 34"),
        ("gemma-4-e2b", {"shared_kv_layers": 30}, "shared_kv_layers 30 exceed the layers that see everything"),
        ("gemma-4-e2b", {"shared_kv_layers": 15}, "SlidingWindow shared_kv_layers 16 exceed shared_kv_layers 15"),
        ("gemma-4-31b", {"sliding_window": {"size": 8, "layers": 50, "n_kv_heads": 5}},
         "n_heads 32 is not a multiple of n_kv_heads 5 in SlidingWindow"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_together_are_refused(name, changes, message):
    from workbench.common.yaml_records import validated

    fields = hybrid(name).model_dump() | changes
    with pytest.raises(ValueError, match=message) as refused:
        validated(Model, fields, "a.yaml")
    assert len(str(refused.value)) < 200


def test_a_copy_of_a_model_has_the_layers_of_its_own_sizes():
    model = hybrid("gemma-4-26b-a4b")
    assert model.parameters
    assert model.kinds
    half = model.model_copy(update={"n_layers": 15, "sliding_window": None, "moe": None})
    assert half.parameters == 262_144 * 2816 + 15 * 2816 * (512 * (2 * 16 + 2) + 3 * 2112)
    assert [kind.layers for kind in half.kinds] == [15]
    assert half.model_copy() == half


# Products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_a_token_takes_two_flops_for_each_of_its_weights(name):
    """Those of the matrices that it passes, one expert of each that it chooses; convolutions are elementwise."""
    model = hybrid(name)
    products = [each for each in operator_set(model, "fused") if each not in NO_PRODUCT]
    convolution = layer_matrices(model).get("linear_conv")
    passed = model.active_parameters - embedding_weights(model) - (convolution.weights if convolution else 0)
    passed += model.hidden_size * model.vocab_size * model.tied_embeddings
    assert flops(model, decode(1, 1), *products) == pytest.approx(2 * passed, rel=1e-12)


@pytest.mark.parametrize("name", SIZES)
def test_a_large_step_reads_every_weight_once(name):
    """Those of its products: the bytes of all calls, of activations without a width."""
    model, step = hybrid(name), prefill(1, 10**9) if hybrid(name).moe else decode(1, 1)
    widths = Widths(weight=1, activation=0, kv=0, lm_head=1, experts=1)
    products = [each for each in operator_set(model, "fused") if each not in (*NO_PRODUCT, "router", "lm_head")]
    read = sum(call.calls * call.bytes for call in (cost(model, each, step, widths) for each in products))
    matrices = layer_matrices(model)
    expected = sum(matrices[each].weights for each in matrices if each not in ("router", "linear_conv"))
    assert read == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in SIZES if not hybrid(name).mla])
def test_both_views_of_a_hybrid_compute_the_same(name):
    model, step, whole = hybrid(name), prefill(2, 3000), Conventions(causal=False)
    totals = [
        sum(call.calls * call.flops for call in calls if call.kernel != "elementwise")
        for calls in (
            [cost(model, each, step, W, whole) for each in operator_set(model, view)] for view in ("fused", "unfused")
        )
    ]
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def test_layers_of_their_own_sizes_are_the_sum_of_layers():
    """KV heads 4, 1 and 2, MLPs of 2048 and 512: each product and attention as of three models of one layer."""
    alone = {"n_layers": 1, "attention_layers": None, "mlp_layers": None, "kv_heads_by_layer": None,
             "intermediate_by_layer": None}  # fmt: skip
    step = decode(3, 100)
    for name, field, sizes in (
        ("qkv_proj", "n_kv_heads", (4, 1, 2)), ("attention", "n_kv_heads", (4, 1, 2)),
        ("gate_up_proj", "intermediate_size", (2048, 512)), ("down_proj", "intermediate_size", (2048, 512)),
    ):  # fmt: skip
        whole = cost("by-layer", name, step)
        each = [cost(changed("by-layer", **alone | {field: size}), name, step) for size in sizes]
        assert whole.calls == len(sizes)
        assert whole.calls * whole.flops == pytest.approx(sum(call.flops for call in each))
        assert whole.calls * whole.bytes == pytest.approx(sum(call.bytes for call in each))


def test_layers_without_attention_or_mlp_run_neither():
    step = decode(8, 1000)
    calls = {name: cost("nemotron-3-nano-30b-a3b", name, step).calls for name in ("qkv_proj", "attention", "o_proj")}
    assert set(calls.values()) == {6}
    assert cost("nemotron-3-nano-30b-a3b", "linear_attention", step).calls == 23
    assert cost("nemotron-3-nano-30b-a3b", "router", step).calls == 23
    assert cost("nemotron-3-nano-30b-a3b", "down_proj", step) is None
    assert cost("nemotron-h-56b", "down_proj", step).calls == 54
    for tp in (2, 4):  # a sum after each layer, which here has one part alone
        reduced = COLLECTIVES["all_reduce"](hybrid("nemotron-h-56b"), step, W, tp)
        assert reduced.calls == 118
    assert COLLECTIVES["all_reduce"](hybrid("qwen3.5-27b"), step, W, 2).calls == 2 * 64


def test_a_model_that_names_all_its_layers_is_the_same():
    plain = wb.model("gemma-3-27b")
    told = changed(plain, attention_layers=plain.n_layers, mlp_layers=plain.n_layers, v_head_dim=plain.head_dim)
    for step in (prefill(2, 3000), decode(4, 5000, candidates=3)):
        for name in OPERATORS:
            assert cost(told, name, step) == cost(plain, name, step), name
    assert (told.parameters, told.kv_elements) == (plain.parameters, plain.kv_elements)


def test_experts_in_a_latent_width():
    """h 512, latent 128: the experts' products, the sum of their outputs and what goes between GPUs are narrower."""
    step = decode(4, 100)
    assert (cost("latent-experts", "latent_in_proj", step).k, cost("latent-experts", "latent_in_proj", step).n) == (
        512,
        128,
    )
    assert (cost("latent-experts", "latent_out_proj", step).k, cost("latent-experts", "latent_out_proj", step).n) == (
        128,
        512,
    )
    up, down = (cost("latent-experts", f"moe_{name}_proj", step) for name in ("gate_up", "down"))
    assert (up.k, up.n, down.k, down.n) == (128, 2 * 256, 256, 128)
    assert cost("latent-experts", "shared_gate_up_proj", step).k == 512
    wide = changed("latent-experts", moe=SIZES["latent-experts"]["moe"] | {"latent_size": 512})
    narrow = hybrid("latent-experts")
    for exchange in ("all_to_all",):
        sent = [COLLECTIVES[exchange](model, step, W, 4).bytes for model in (narrow, wide)]
        assert sent[1] == 4 * sent[0]


def test_a_shared_expert_with_a_gate_has_a_column_more_of_the_router():
    assert cost("qwen3-next-80b-a3b", "router", decode(1, 1)).n == 513


# Chunks -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 70))
def test_tokens_of_a_prompt_see_those_of_their_own_chunk(new, cached, chunk):
    step = Step(1, new, cached + new, cached)
    places = range(cached, cached + new)
    assert scores_per_sequence(step, chunk, causal=True, chunked=True) == sum(place % chunk + 1 for place in places)
    ends = (min(place - place % chunk + chunk, cached + new) for place in places)
    whole = sum(end - (place - place % chunk) for place, end in zip(places, ends, strict=True))
    assert scores_per_sequence(step, chunk, causal=False, chunked=True) == whole
    read = cached + new - (cached - cached % chunk)
    call = cost(_chunks(chunk), "sliding_attention", step)
    assert call.cache == 2 * 2 * 8 * 128 * read


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 16))
def test_a_decoded_token_sees_its_own_chunk(context, chunk, candidates):
    call = cost(_chunks(chunk), "sliding_attention", decode(3, context, candidates=candidates))
    seen = (context - 1) % chunk + 1
    assert call.flops == 4 * 3 * candidates * seen * 40 * 128
    assert call.cache == 2 * 2 * 3 * 8 * 128 * seen


def _chunks(size):
    return hybrid("llama-4-scout").model_copy(
        update={"sliding_window": hybrid("llama-4-scout").sliding_window.model_copy(update={"size": size})}
    )


@given(st.integers(1, 5000), st.integers(0, 5000), st.booleans())
def test_a_chunk_longer_than_the_context_is_all_of_it(new, cached, causal):
    step = Step(2, new, cached + new, cached)
    for name in ("attention", "qk", "pv"):
        full, chunked = (
            cost(_chunks(10_000), f"{sliding}{name}", step, W, Conventions(causal=causal))
            for sliding in ("", "sliding_")
        )
        assert replace(full, calls=36, window=10_000) == chunked


# Heads of their own -----------------------------------------------------------------------------------------------


def test_layers_with_a_window_have_heads_of_their_own():
    """Gemma 4 26B: full layers 2 KV heads of 512, others 8 of 256; MiMo-V2-Flash: keys of 192, values of 128."""
    step = decode(1, 10_000)
    full, sliding = (cost("gemma-4-26b-a4b", name, step) for name in ("attention", "sliding_attention"))
    assert (full.calls, full.group, full.k, full.cache) == (5, 8, 512, 2 * 10_000 * 2 * 2 * 512)
    assert (sliding.calls, sliding.group, sliding.k, sliding.cache) == (25, 2, 256, 2 * 1024 * 2 * 8 * 256)
    qkv = cost("gemma-4-26b-a4b", "qkv_proj", step)  # full layers take their values from the keys
    assert round(qkv.calls * qkv.n, 6) == 5 * (16 + 2) * 512 + 25 * (16 + 2 * 8) * 256
    values = cost("gemma-4-26b-a4b", "v_proj", step)
    assert (values.calls, values.n) == (25, 8 * 256)
    out = cost("gemma-4-26b-a4b", "o_proj", step)
    assert out.calls * out.k == 5 * 16 * 512 + 25 * 16 * 256
    mimo = cost("mimo-v2-flash", "attention", step)
    assert mimo.flops == 2 * 10_000 * 64 * (192 + 128)
    assert mimo.cache == 2 * 10_000 * 4 * (192 + 128)
    assert mimo.activations == 2 * 64 * (192 + 128)
    assert cost("mimo-v2-flash", "o_proj", step).k == 64 * 128


def test_a_gate_of_the_outputs_doubles_the_queries():
    assert cost("qwen3.5-27b", "q_proj", decode(1, 1)).n == 2 * 24 * 256
    assert cost("qwen3.5-27b", "qkv_proj", decode(1, 1)).n == 2 * 24 * 256 + 2 * 4 * 256


def test_layers_that_share_keys_and_values_have_no_projection_to_them():
    step = decode(1, 1)
    keys, queries = cost("gemma-4-e2b", "k_proj", step), cost("gemma-4-e2b", "q_proj", step)
    assert (keys.calls, queries.calls) == (15, 35)
    assert keys.calls * keys.n == 3 * 512 + 12 * 256
    assert cost("gemma-4-e2b", "attention", step).calls == 7


# Sparse attention -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [prefill(2, 2048), decode(8, 2000, candidates=4), Step(1, 500, 2000, 1500)])
def test_few_tokens_are_all_chosen(step):
    plain = hybrid("deepseek-v3.2").model_copy(update={"indexer": None})
    card = wb.gpu("h200-sxm")
    for name in ("attention", "kv_b_proj", "q_b_proj", "qk", "pv"):
        both = [cost(model, name, step) for model in ("deepseek-v3.2", plain)]
        assert both[0].flops == both[1].flops
        assert both[0].bytes == both[1].bytes
        assert kernels.operator_time(card, both[0], 1e15) == kernels.operator_time(card, both[1], 1e15)


def test_a_long_context_is_scored_and_few_tokens_of_it_attended_to():
    """65,536 tokens: 64 heads of 128 score them, 128 heads attend to the latent, 576 and 512 wide, of 2,048."""
    context, sequences = 65_536, 4
    step = decode(sequences, context)
    scores, attention = (cost("deepseek-v3.2", name, step) for name in ("index_scores", "attention"))
    assert scores.flops == 2 * sequences * context * 64 * 128
    assert scores.cache == 2 * sequences * context * 128
    assert scores.bytes == 2 * sequences * (context * 128 + 64 * 128) + 8 * sequences * context
    assert attention.flops == 2 * sequences * 2048 * 128 * (576 + 512)
    assert attention.cache == 2 * sequences * 2048 * 576
    assert cost("glm-5.2", "index_scores", step).calls == 21
    assert cost("glm-5.2", "attention", step).calls == 78


def test_a_long_prompt_attends_to_the_latent_that_it_chooses():
    prompt, chosen = 8192, 2048
    step = prefill(1, prompt)
    attention = cost("deepseek-v3.2", "attention", step)
    seen = sum(min(place, chosen) for place in range(1, prompt + 1))
    assert attention.flops == 2 * seen * 128 * (576 + 512)
    assert attention.cache == 2 * prompt * 576
    assert cost("deepseek-v3.2", "kv_b_proj", step).flops == 2 * prompt * 512 * 128 * 256
    assert cost("deepseek-v3.2", "index_scores", step).flops == prompt * (prompt + 1) * 64 * 128
    part = Step(1, 4096, 50_000, 45_904)  # with all of its context, expanding that would take fewer FLOPs
    assert cost("deepseek-v3.2", "kv_b_proj", part).m == 4096
    assert cost("deepseek-v3", "kv_b_proj", part).m == 50_000
    card, latent = wb.gpu("h200-sxm"), cost("deepseek-v3.2", "attention", part)
    kernel = kernels.operator_time(card, latent, card.peak_16_bit)  # no kernel has heads to expand to
    assert kernel > 1.05 * kernels.operator_time(card, latent, card.peak_16_bit, "ideal")


def test_an_indexer_computes_in_8_bits_whatever_the_cache_is_in_where_a_gpu_has_them():
    model = wb.model("deepseek-v3.2")
    for card, form, width in (("h200-sxm", "fp8", 1 + 4 / 128), ("a100-80gb-sxm", "bf16", 2)):
        formats = kernels.Formats(kv="fp16").of(model, [wb.gpu(card)])
        assert (formats.computes_in("index_scores"), formats.widths.index) == (form, width)
        assert formats.computes_in("attention") in ("fp16", "bf16")


def test_choosing_tokens_pays_in_a_long_context():
    def seconds(model, phase, batch_size, seq_len):
        asked = {"tp": 8, "time_model": "kernel"}
        ds = wb.roofline_grid("h200-sxm", model, "fused", phase, batch_size, seq_len, **asked)
        return wb.forward_pass(ds).time.item()

    for setting in (("prefill", 1, 131_072), ("decode", 64, 65_536)):
        assert seconds("deepseek-v3.2", *setting) < seconds("deepseek-v3", *setting), setting
    assert seconds("deepseek-v3.2", "prefill", 1, 8192) > seconds("deepseek-v3", "prefill", 1, 8192)


def test_times_of_sparse_attention_grow_with_the_context_and_the_new_tokens():
    card, contexts = wb.gpu("h200-sxm"), np.unique(np.geomspace(1, 10**6, 200).round())
    for name in ("attention", "index_scores"):
        for steps in (decode(16, contexts), decode(16, contexts, candidates=4), prefill(1, contexts)):
            times = kernels.operator_time(card, cost("deepseek-v3.2", name, steps), 9e14)
            assert np.all(times > 0)
            assert all(a <= b * (1 + 1e-9) for a, b in pairwise(times.tolist()))
    tokens = np.arange(1, 200.0)
    times = kernels.operator_time(card, cost("deepseek-v3.2", "attention", Step(4, tokens, 50_000, 49_000)), 9e14)
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(times.tolist()))


def test_a_mix_of_short_and_long_contexts_is_each_of_them():
    lengths = np.array([100.0, 2048.0, 2049.0, 50_000.0])
    together = cost("deepseek-v3.2", "attention", prefill(1, lengths))
    card = wb.gpu("h200-sxm")
    times = kernels.operator_time(card, together, 9e14)
    for i, length in enumerate(lengths):
        alone = cost("deepseek-v3.2", "attention", prefill(1, length))
        assert together.flops[i] == alone.flops
        assert times[i] == pytest.approx(kernels.operator_time(card, alone, 9e14))


# Linear attention -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "products", "operands"),
    [
        ("qwen3-next-80b-a3b", 3, 2 * 16 * 128 + 2 * 32 * 128), ("nemotron-h-56b", 2, 2 * 8 * 256 + 2 * 256 * 64),
        ("kimi-linear-48b-a3b", 3, 2 * 32 * 128 + 3 * 32 * 128),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [decode(4, 10), decode(4, 10**6), prefill(4, 1000)])
def test_states_are_read_and_written_once_whatever_the_context(name, products, operands, step):
    linear, call = hybrid(name).linear_attention, cost(name, "linear_attention", step)
    state = linear.n_heads * linear.key_dim * linear.value_dim
    assert call.flops == 2 * products * state * step.tokens
    assert call.bytes == 2 * step.tokens * operands + 2 * 4 * linear.state_bytes
    assert call.calls == linear.layers


@pytest.mark.parametrize("step", [decode(16, 1000), prefill(2, 3000)])
def test_a_gated_delta_net_takes_the_time_of_its_law(step):
    """As `kernels.linear_attention_time` has it, but for the state of the convolution; with none of it the same."""
    model = changed("qwen3.5-27b", linear_attention=SIZES["qwen3.5-27b"]["linear_attention"] | {"conv_size": 1})
    card = wb.gpu("h200-sxm")
    own = kernels.operator_time(card, cost(model, "linear_attention", step), card.peak_16_bit)
    asked = {"new_tokens": step.new_tokens, "batch_size": step.sequences, "n_heads": 48, "n_key_heads": 16}
    assert own == pytest.approx(kernels.linear_attention_time(card, **asked), rel=1e-12)


def test_columns_of_the_projection_by_kind():
    sizes = {"layers": 1, "n_key_heads": 2, "n_heads": 4, "key_dim": 8, "value_dim": 16, "conv_size": 4}
    columns = {kind: LinearAttention(kind=kind, **sizes).in_columns for kind in ("gated_delta", "mamba2", "kda")}
    assert columns == {
        "gated_delta": 2 * 16 + 2 * 64 + 2 * 4,
        "mamba2": 2 * 16 + 2 * 64 + 4,
        "kda": 2 * 16 + 64 + 4 + 2 * 8,
    }


def test_elementwise_by_hand_for_qwen3_5():
    """A token over 64 layers, 16 of them with attention: h 5120, i 17,408, 24 and 4 heads of 256, 48 linear layers."""
    h, heads, kv, channels, values = 5120, 24 * 256, 4 * 256, 2 * 16 * 128 + 48 * 128, 48 * 128
    attention = 2 * 2 * (heads + kv) + 2 * 2 * kv + 3 * heads  # rotated, normed, cached, gated
    linear = 2 * channels + 3 * values + 4 * channels  # the last are the convolution's weights
    elements = 64 * (8 * h + 3 * 17_408) + 16 * attention + 48 * linear + 6 * h
    call = cost("qwen3.5-27b", "elementwise", prefill(1, 1))
    assert call.calls * call.bytes == pytest.approx(2 * elements)
    work = 64 * (5 * 2 * h + 5 * 17_408) + 5 * h + 16 * (8 * (heads + kv) + 5 * heads)
    work += 48 * (2 * 4 * channels + 10 * values)
    assert call.calls * call.flops == pytest.approx(work)


def test_elementwise_by_hand_for_nemotron_h():
    """118 layers of one part and one norm each: 10 of attention (64 and 8 heads of 128), 54 Mamba-2, 54 MLPs."""
    h, channels, values = 8192, 256 * 64 + 2 * 8 * 256, 256 * 64
    attention = 2 * (64 + 8) * 128 + 2 * 2 * 8 * 128
    elements = 118 * 4 * h + 10 * attention + 54 * (2 * channels + 3 * values + 4 * channels) + 54 * 2 * 32_768 + 6 * h
    call = cost("nemotron-h-56b", "elementwise", prefill(1, 1))
    assert call.calls * call.bytes == pytest.approx(2 * elements)


# Several GPUs -----------------------------------------------------------------------------------------------------


def test_shards_of_a_hybrid():
    part = shard(hybrid("qwen3-next-80b-a3b"), 4)
    assert (part.n_heads, part.n_kv_heads, part.linear_attention.n_heads, part.linear_attention.n_key_heads) == (
        4,
        1,
        8,
        4,
    )
    assert 4 * part.state_bytes_per_sequence == hybrid("qwen3-next-80b-a3b").state_bytes_per_sequence
    assert part.kv_elements_per_token == 12 * 2 * 256  # the two KV heads are copied once
    gemma = shard(hybrid("gemma-4-26b-a4b"), 4)
    assert (gemma.n_kv_heads, gemma.sliding_window.n_kv_heads) == (1, 2)
    sparse = shard(hybrid("deepseek-v3.2"), 8)
    assert sparse.indexer == hybrid("deepseek-v3.2").indexer
    assert sparse.kv_elements_per_token == hybrid("deepseek-v3.2").kv_elements_per_token
    own = shard(hybrid("by-layer"), 2)
    assert (own.kv_heads_by_layer, own.intermediate_by_layer) == ((2, 1, 1), (1024, 256))
    assert shard(hybrid("gemma-4-e2b"), 8).per_layer_embedding.vocab_size == 262_144 // 8
    assert shard(hybrid("latent-experts"), 2).moe.latent_size == 128


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_shards_together_have_the_weights_of_the_model_and_copies(tp):
    """Of Qwen3-Next: two KV heads, and routers with the gate, are on every GPU that would else have none."""
    model = hybrid("qwen3-next-80b-a3b")
    copies = (tp - 1) * 48 * 2048 * 513 + (max(tp / 2, 1) - 1) * 12 * 2 * 2 * 256 * 2048
    assert tp * shard(model, tp).parameters == model.parameters + copies


@pytest.mark.parametrize(
    ("name", "tp", "message"),
    [
        ("qwen3.5-27b", 16, "tp = 16 does not divide n_heads = 24 of qwen3.5-27b: allowed are 1, 2, 4, 8"),
        ("by-layer", 8, None), ("latent-experts", 3, "tp = 3 does not divide n_heads = 8"),
    ],
)  # fmt: skip
def test_heads_that_cannot_be_shared_are_refused(name, tp, message):
    if message is None:
        assert shard(hybrid(name), tp).n_heads == 1
    else:
        with pytest.raises(ValueError, match=message):
            shard(hybrid(name), tp)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linear_attention": SIZES["qwen3.5-27b"]["linear_attention"] | {"n_heads": 6, "n_key_heads": 3}},
         "linear_attention.n_heads = 6"),
        ({"linear_attention": SIZES["qwen3.5-27b"]["linear_attention"] | {"n_key_heads": 3}},
         "linear_attention.n_key_heads = 3"),
        ({"sliding_window": {"size": 8, "layers": 2, "n_heads": 6, "n_kv_heads": 2}}, "sliding_window.n_heads = 6"),
        ({"sliding_window": {"size": 8, "layers": 2, "n_heads": 24, "n_kv_heads": 3}}, "sliding_window.n_kv_heads = 3"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_shared_is_named(changes, message):
    with pytest.raises(ValueError, match=f"tp = 4 does not divide {message} of qwen3.5-27b: allowed are 1"):
        shard(changed("qwen3.5-27b", **changes), 4)


# Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_weights_in_memory_are_two_bytes_each(name):
    assert memory.weights(Replica("h200-sxm", hybrid(name))) == 2 * hybrid(name).parameters


@pytest.mark.parametrize(
    ("name", "tokens", "expected"),
    [
        ("qwen3-next-80b-a3b", 1000, 1008 * 2 * 12_288 + 77_266_944),
        ("qwen3-next-80b-a3b", 0, 0),
        ("llama-4-scout", 20_000, 2 * 2 * 8 * 128 * (12 * 20_000 + 36 * 8192)),
        ("gemma-4-26b-a4b", 16_000, 2 * (5 * 2 * 2 * 512 * 16_000 + 25 * 2 * 8 * 256 * 1024)),
        ("glm-5.2", 160, 160 * (2 * 78 * 576 + 21 * (128 + 4))),  # keys of the indexer in 8 bits
    ],
)
def test_memory_of_a_sequence(name, tokens, expected):
    replica = Replica("h200-sxm", hybrid(name))
    assert memory.kv_bytes_per_sequence(replica, tokens) == expected
    halves = Replica("h200-sxm", hybrid(name), pp=2)
    assert memory.kv_bytes_per_sequence(halves, tokens) == expected / 2


def test_an_8_bit_cache_leaves_states_as_they_are():
    wide, narrow = (Replica("h200-sxm", hybrid("qwen3.5-27b"), kv_dtype=form) for form in ("fp16", "fp8"))
    tokens = 16_000
    state = hybrid("qwen3.5-27b").state_bytes_per_sequence
    kept = [memory.kv_bytes_per_sequence(each, tokens) - state for each in (wide, narrow)]
    assert kept == [2 * 32_768 * tokens, 32_768 * tokens]


def test_activations_of_hybrids_by_hand():
    """Per token three of h, and the widest part: here the MLP of 3 i, or the projections to linear attention."""
    replica = Replica("h200-sxm", hybrid("qwen3.5-27b"))
    assert memory.activations(replica, tokens=8192, sequences=1) == 2 * 8192 * (3 * 5120 + 3 * 17_408)
    narrow = Replica("h200-sxm", changed("qwen3.5-27b", intermediate_size=64))
    columns = 2 * 16 * 128 + 48 * 128 + 48 * 128 + 2 * 48
    assert memory.activations(narrow, tokens=8192, sequences=1) == 2 * 8192 * (3 * 5120 + columns + 48 * 128)
    beside = Replica("h200-sxm", hybrid("gemma-4-26b-a4b"))
    width = 8 * (3 * 704 + 2816) + 3 * 2112
    assert memory.activations(beside, tokens=8192, sequences=1) == 2 * 8192 * (3 * 2816 + width)
    own = Replica("h200-sxm", hybrid("gemma-4-e2b"))
    assert memory.activations(own, tokens=8192, sequences=1) == 2 * 8192 * (3 * 1536 + 3 * 12_288 + 35 * 256)


def test_a_state_takes_whole_units_from_the_first_token_on():
    load = {"max_num_seqs": 8, "max_num_batched_tokens": 8192, "max_model_len": 4096}
    footprint = Footprint.of(Server("h200-sxm", hybrid("qwen3.5-27b"), **load))
    state = -(-153_944_064 // (16 * 2 * 32_768))
    assert footprint == Footprint(16, 1, 0, 0, state)
    assert (footprint.units(0), footprint.units(1), footprint.units(10)) == (0, state + 1, state + 10)
    gemma = Footprint.of(Server("h200-sxm", hybrid("gemma-4-26b-a4b"), **load))
    assert (gemma.full, gemma.sliding, gemma.window, gemma.state) == (1, 10, 64, 0)  # 10,240 and 102,400 elements
    halves = Footprint.of(Server("h200-sxm", hybrid("qwen3.5-27b"), kv_dtype="fp8", **load))
    assert halves.state == -(-153_944_064 // (16 * 32_768))


@pytest.mark.parametrize("name", ["qwen3.5-27b", "nemotron-3-nano-30b-a3b", "gemma-4-26b-a4b"])
def test_estimates_and_simulation_have_room_for_as_many_states(name):
    load = {"max_num_seqs": 512, "max_num_batched_tokens": 8192, "max_model_len": 5000}
    served = Server("h100-sxm", hybrid(name), kv_tokens="fit", **load)
    most = int(serving.estimate("h100-sxm", hybrid(name), 1, 4000, 1000, **load).largest_batch.item())
    assert most > 20
    for users, preempts in ((most, False), (most + 1, True)):
        engine = simulate(served, closed_loop(users, requests=2 * users, prompt=4000, output=1000)).attrs["engine"]
        assert (engine["preemptions"] > 0) == preempts
        assert engine["peak_kv_blocks"] <= engine["kv_blocks"]


def test_states_are_not_found_again():
    assert Server("h200-sxm", hybrid("qwen3.5-27b")).prefix_caching is False
    assert Server("h200-sxm", hybrid("deepseek-v3.2"), tp=8, weight_dtype="int4").prefix_caching is True
    with pytest.raises(ValueError, match="^prefix_caching = True: qwen3.5-27b has linear attention, whose states"):
        Server("h200-sxm", hybrid("qwen3.5-27b"), prefix_caching=True)


# All that is computed of a model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
def test_grids_and_estimates_have_every_operator(name, time_model):
    model = hybrid(name)
    ds = wb.roofline_grid("h200-sxm", model, "fused", batch_size=[1, 64], seq_len=[100, 20_000], time_model=time_model)
    assert ds.operator.values.tolist() == operator_set(model, "fused")
    assert np.all(np.isfinite(ds.time.values))
    assert np.all(ds.time.values > 0)
    whole = wb.forward_pass(ds).time.sel(phase="decode", batch_size=64, seq_len=20_000).item()
    step = serving.step_time(
        Replica("h200-sxm", model, time_model=time_model, engine=None, expert_spread=0), decode(64, 20_000)
    )
    assert step == pytest.approx(whole, rel=1e-9)
    card = wb.gpu("h200-sxm")
    roomy = card.model_copy(
        update={"memory": card.memory.model_copy(update={"capacity_gb": 1e4, "reported_gib": None})}
    )
    estimate = serving.estimate(roomy, model, 8, 1000, 100, time_model=time_model)
    shares = estimate.share.sel(phase="decode").squeeze()
    assert shares.sum().item() == pytest.approx(100)
    assert set(operator_set(model, "fused")) <= set(shares.operator.values.tolist())


def test_the_layer_for_multi_token_prediction_has_attention_and_experts():
    target = changed("qwen3-next-80b-a3b", mtp_layers=1)
    layer = mtp(alpha=0.8).passes_of(target)
    assert (layer.n_layers, layer.attending, layer.moe.layers, layer.linear_attention) == (1, 1, 1, None)
    assert layer.state_bytes_per_sequence == 0
    assert layer.kv_elements_per_token == 2 * 2 * 256
    sparse = mtp(alpha=0.8).passes_of(changed("glm-5.2", mtp_layers=1))
    assert cost(sparse, "index_scores", decode(1, 5000)).calls == 1


def test_measure_refuses_what_it_does_not_time(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    fields = {name: value for name, value in SIZES["qwen3.5-27b"].items() if not isinstance(value, dict)}
    lines = [f"{name}: {str(value).lower()}" for name, value in fields.items()]
    for name, more in {
        "plain": "moe: {n_experts: 8, experts_per_token: 2, intermediate_size: 64, layers: 2}",
        "chunks": "sliding_window: {size: 8, layers: 1, chunked: true}",
        "linear": "linear_attention: {kind: kda, layers: 1}",
    }.items():
        plain = [line for line in lines if "attention" not in line]
        (tmp_path / "models" / f"{name}.yaml").write_text("\n".join([*plain, more]))
    monkeypatch.setattr(measured_models, "DATA", tmp_path)
    assert measured_models._entry("plain").moe.n_experts == 8
    with pytest.raises(ValueError, match="^chunks has chunked, which measure does not time$"):
        measured_models._entry("chunks")
    with pytest.raises(ValueError, match="^linear has linear_attention, which measure does not time$"):
        measured_models._entry("linear")
