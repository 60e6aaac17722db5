"""Attention's laws by hand: windows, large heads, exponentials, splits and walks; latent and linear attention."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import catalog, kernels
from workbench.catalog import DecodeFit, PrefillFit, kernel_fit
from workbench.catalog.fits import LinearChunkFit, LinearStepFit
from workbench.catalog.model_entries import Mla
from workbench.kernels.attention import decode_seconds, prefill_seconds, softmax_seconds
from workbench.kernels.attention_times import attention_cost, mla_cost
from workbench.kernels.linear_attention import (
    chunk_seconds,
    linear_attention_cost,
    linear_attention_seconds,
    step_seconds,
)
from workbench.kernels.mla import absorbed_seconds, expanded_seconds, mla_floor, mla_seconds

H100 = wb.gpu("h100-sxm")
ONE_SM = H100.model_copy(update={"sm_count": 1, "l2_mb": None})
PEAK, BANDWIDTH = 1e15, H100.bandwidth
DEEPSEEK = Mla(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
NOTHING = {"launch_us": 0.0, "wave_us": 0.0, "bandwidth_fraction": 1.0}
PROMPT = PrefillFit(**NOTHING, exponentials=0.0, compute_fraction=0.5, tail=0.0, packed_heads=False)
STEP = DecodeFit(**NOTHING, context_us=0.0, overlap=8.0, compute_fraction=1.0)


def cost(new_tokens=1.0, context=4096.0, batch_size=1.0, n_heads=32.0, n_kv_heads=8.0, head_dim=128.0, **more):
    return attention_cost(new_tokens, context, batch_size, n_heads, n_kv_heads, head_dim, 2.0, **more)


def fit(record, **fields):
    return record.model_copy(update=fields)


# Prompts ----------------------------------------------------------------------------------------------------------


def test_a_windows_edge_wastes_its_half_tiles_for_every_row_that_it_cuts():
    """2048 tokens of one head that see 512: 1536 of them lose three half tiles of 128 scores."""
    work = cost(2048.0, 2048.0, n_heads=1.0, n_kv_heads=1.0, window=512.0)
    plain, edged = (prefill_seconds(fit(PROMPT, window_edge=edge), ONE_SM, work, PEAK) for edge in (0.0, 3.0))
    assert edged - plain == pytest.approx(3 * 64 * 1536 * 4 * 128 / (0.5 * PEAK), rel=1e-9)
    assert work.flops == 4 * 128 * (512 * 513 / 2 + 1536 * 512)
    chunk = cost(300.0, 2048.0, n_heads=1.0, n_kv_heads=1.0, window=512.0)  # it cuts no more rows than there are
    plain, edged = (prefill_seconds(fit(PROMPT, window_edge=edge), ONE_SM, chunk, PEAK) for edge in (0.0, 3.0))
    assert edged - plain < 3 * 64 * 300 * 4 * 128 / (0.5 * PEAK) * 1.001


def test_a_window_that_hides_nothing_changes_nothing():
    given = fit(PROMPT, window_edge=3.0)
    open_, closed = (prefill_seconds(given, H100, cost(512.0, 512.0, window=w), PEAK) for w in (None, 512.0))
    assert open_ == closed


def test_large_heads_reach_a_share_of_their_own():
    given = fit(PROMPT, large_head=0.5, bandwidth_fraction=1.0)
    small, large = (
        prefill_seconds(given, H100, cost(65_536.0, 65_536.0, head_dim=size), PEAK) for size in (128.0, 256.0)
    )
    assert large / small == pytest.approx(4, rel=0.02)  # twice the FLOPs at half the rate; operands aside


def test_the_softmax_follows_the_exponentials_of_all_sms():
    """132 SMs, 16 a clock at 1.98 GHz: 4.18e12 a second. Blackwell Ultra has twice as many, a TPU none known."""
    two = fit(PROMPT, exponentials=2.0)
    assert softmax_seconds(two, H100) == pytest.approx(2 / (132 * 16 * 1.98e9), rel=1e-9, abs=0)
    ultra, plain = (wb.gpu(name) for name in ("b300-sxm", "b200-sxm"))
    clocks = ultra.boost_mhz / plain.boost_mhz
    assert softmax_seconds(two, plain) == pytest.approx(2 * clocks * softmax_seconds(two, ultra), rel=1e-9, abs=0)
    assert softmax_seconds(two, wb.gpu("tpu-v5p")) == 0


# Decoding ---------------------------------------------------------------------------------------------------------


def test_blocks_walk_along_their_share_of_the_context():
    """8 KV heads split in 4 are 32 blocks; each reads a quarter of 512 bytes a token at 10 GB/s."""
    given = fit(STEP, block_gbs=10.0, max_splits=4.0)
    walk = 4096 * 512 / 4 / 10e9
    assert decode_seconds(given, H100, cost(), PEAK) == pytest.approx(walk, rel=1e-3)
    many = decode_seconds(fit(given, max_splits=100.0), H100, cost(context=40_960.0), PEAK)
    assert many == pytest.approx(8 * 40_960 * 512 / 132 / 10e9, rel=1e-3)  # no more blocks than SMs
    few = decode_seconds(fit(given, max_splits=None), H100, cost(context=256.0), PEAK)
    assert few == pytest.approx(128 * 512 / 10e9, rel=1e-3)  # no part shorter than 128 tokens
    unknown = H100.model_copy(update={"sm_count": None})
    assert decode_seconds(given, unknown, cost(), PEAK) == pytest.approx(walk, rel=1e-3)


def test_a_replay_reads_faster_and_walks_no_faster():
    given = fit(STEP, block_gbs=10.0, max_splits=4.0, l2_speedup=5.0)
    replayed = kernels.gemm.replayed_cost(H100, cost(), 5.0)
    assert replayed.bytes < 0.21 * cost().bytes
    assert decode_seconds(given, H100, replayed, PEAK) == pytest.approx(4096 * 512 / 4 / 10e9, rel=1e-3)


@pytest.mark.parametrize(
    ("split", "shared", "single", "windowed"),
    [("all", 0.25, 0.25, 0.25), ("shared", 0.25, 1.0, 1.0), ("single", 1.0, 0.25, 1.0)],
)
def test_whose_contexts_are_split(split, shared, single, windowed):
    """The part of a context that a block walks along: of heads that share a KV head, of single ones, under a window."""
    given = fit(STEP, block_gbs=1.0, max_splits=4.0, split=split)
    works = [cost(n_heads=16.0), cost(n_heads=8.0), cost(n_heads=16.0, window=8192.0)]
    whole = 4096 * 512 / 1e9
    parts = [decode_seconds(given, H100, work, PEAK) / whole for work in works]
    assert parts == pytest.approx([shared, single, windowed], rel=1e-3)


@pytest.mark.parametrize(("field", "sizes"), [("large_head", {"head_dim": 256.0}), ("single_head", {"n_heads": 8.0})])
def test_large_and_single_heads_are_read_at_a_share_of_their_own(field, sizes):
    slower = fit(STEP, **{field: 0.5})
    for own, ratio in ((sizes, 2), ({}, 1)):
        plain, other = (decode_seconds(f, H100, cost(context=1e6, **own), PEAK) for f in (STEP, slower))
        assert other / plain == pytest.approx(ratio, rel=1e-3)


def test_contexts_that_are_not_split_have_no_latency_of_it():
    given = fit(STEP, context_us=10.0, split="shared")
    shared, single = (decode_seconds(given, H100, cost(n_heads=n), PEAK) for n in (16.0, 8.0))
    assert shared - single == pytest.approx(1e-5 * 4096 / 5120, rel=0.01)


def test_hidden_tokens_count_in_the_latency_of_kernels_that_pass_over_them():
    given, work = fit(STEP, context_us=10.0), cost(window=1024.0)
    seen, whole = (decode_seconds(fit(given, whole_context=w), H100, work, PEAK) for w in (False, True))
    assert whole - seen == pytest.approx(1e-5 * (4096 / 5120 - 1024 / 2048))


def test_tiles_by_hand():
    """33 query heads to a KV head: three tiles of 16 rows, or one of 64, which is for more than 32 heads."""
    for fields, rows in (({}, 48), ({"tile_rows": 64}, 64), ({"wide_rows": 64}, 64)):
        work = cost(context=1e6, n_heads=33.0, n_kv_heads=1.0)
        slow = fit(STEP, compute_fraction=1e-3, **fields)
        assert decode_seconds(slow, H100, work, PEAK) == pytest.approx(rows * 1e6 * 512 / 1e12, rel=0.01)
    narrow = cost(context=1e6, n_heads=32.0, n_kv_heads=1.0)
    slow = fit(STEP, compute_fraction=1e-3, wide_rows=64)
    assert decode_seconds(slow, H100, narrow, PEAK) == pytest.approx(32 * 1e6 * 512 / 1e12, rel=0.01)


def test_further_tiles_read_again_and_splits_are_joined_through_memory():
    work = cost(context=1e6, n_heads=32.0, n_kv_heads=1.0)
    plain, again = (decode_seconds(fit(STEP, reread=r), H100, work, PEAK) for r in (0.0, 0.5))
    assert again / plain == pytest.approx(1.5, rel=1e-3)
    short = cost(context=1.0, batch_size=1e4)
    joined, alone = (decode_seconds(fit(STEP, joined_splits=s), H100, short, PEAK) for s in (4.0, 0.0))
    assert joined - alone == pytest.approx(4 * 8 * 32e4 * 128 / BANDWIDTH, rel=1e-6)
    joined, alone = (decode_seconds(fit(STEP, joined_splits=s), H100, latent(batch_size=1e4), PEAK) for s in (4e3, 0.0))
    assert joined - alone == pytest.approx(4e3 * 8 * 128e4 * 512 / BANDWIDTH, rel=0.01)  # of values, not of keys


# Latent attention -------------------------------------------------------------------------------------------------


def latent(new_tokens=1.0, context=4096.0, batch_size=1.0, n_heads=128.0, kv_width=2.0):
    return mla_cost(DEEPSEEK, new_tokens, context, batch_size, n_heads, 2.0, kv_width=kv_width)


def test_the_work_of_latent_attention():
    """A score takes 2176 FLOPs over the latent, 640 over heads; of a token 576 elements are cached."""
    step, prompt = latent(), latent(1024.0, 1024.0)
    assert (step.kernel, prompt.kernel, step.latent.absorbs, prompt.latent.absorbs) == ("mla", "mla", True, False)
    assert step.flops == 2176 * 128 * 4096
    assert step.cache == 2 * 576 * 4096
    assert prompt.flops == 640 * 128 * 1024 * 1025 / 2
    assert prompt.bytes == 2 * 1024 * 128 * 2 * (192 + 128)  # queries and outputs, keys and values


def test_models_with_a_latent_cache_run_its_kernels():
    ds = wb.roofline_grid(
        "h200-sxm",
        "deepseek-v3",
        "attention",
        ["prefill", "decode"],
        1,
        4096,
        activation_dtype="fp16",
        time_model="kernel",
    )
    sizes = {"batch_size": 1, "context": 4096, "n_heads": 128}
    for phase, new in (("prefill", 4096), ("decode", 1)):
        own = kernels.mla_time("h200-sxm", new_tokens=new, **sizes)
        assert ds.time.sel(phase=phase).item() == pytest.approx(own, rel=1e-12)


def test_prompts_expand_and_new_tokens_absorb():
    given, step = fit(PROMPT, launch_us=100.0), fit(STEP, launch_us=7.0)
    tokens = np.array([1.0, 1024.0])
    both = mla_seconds(given, step, H100, latent(tokens, 1024.0), PEAK)
    assert both[0] == pytest.approx(absorbed_seconds(step, H100, latent(1.0, 1024.0), PEAK), rel=1e-12)
    assert both[1] == pytest.approx(expanded_seconds(given, H100, latent(1024.0, 1024.0), PEAK), rel=1e-12)
    alone = [mla_seconds(given, step, H100, latent(t, 1024.0), PEAK) for t in tokens]
    np.testing.assert_array_equal(both, alone)


def test_a_few_new_tokens_run_the_faster_kernel_though_it_has_more_flops():
    """100 tokens over 4096, by FLOPs absorbed: 2176 FLOPs a score there, of 640 that the expanded kernel needs."""
    work, few = latent(100.0), latent(2.0)
    assert work.latent.absorbs
    assert work.latent.most_absorbed == pytest.approx(131_072 * 4096 / (131_072 + 4096 * 768))
    expanded = PROMPT.model_copy(update={"compute_fraction": 1.0})
    step = STEP.model_copy(update={"compute_fraction": 0.5})
    time = mla_seconds(expanded, step, ONE_SM, work, PEAK)
    scores = 128 * (100 * 4096 - 100 * 99 / 2 + 64 * 4096)  # and half a tile of 128 for each head
    moved = 2 * 128 * 320 * (100 + 4096)
    assert time == pytest.approx(640 * scores / PEAK + moved / BANDWIDTH, rel=1e-9)
    assert time < absorbed_seconds(step, ONE_SM, work, PEAK)
    absorbed = absorbed_seconds(step, ONE_SM, few, PEAK)
    assert mla_seconds(expanded, step, ONE_SM, few, PEAK) == pytest.approx(absorbed, rel=1e-12)


def test_the_floor_of_latent_attention_is_the_roof_of_the_last_tokens_that_absorb():
    """Of 164 new tokens over 4096, whose own roof is a third of that of 163."""
    last, first, prompt = latent(163.0), latent(164.0), latent(4096.0, 4096.0)
    least = [mla_floor(H100, work, PEAK) for work in (last, first, prompt)]
    assert least[0] == last.flops / PEAK < least[1]
    most = float(first.latent.most_absorbed)
    assert least[1] == pytest.approx(128 * 2176 * (most * 4096 - most * (most - 1) / 2) / PEAK, rel=1e-9)
    assert least[2] == prompt.flops / PEAK  # far more than that


NEW_TOKENS = np.array([1, 2, 3, 8, 32, 33, 64, 100, 128, 129, 150, 163, 164, 171, 200, 256, 512, 1000, 4096.0])
CONTEXTS = np.array([4096, 4097, 8192, 131_072.0])


@pytest.mark.parametrize("engine", catalog.engines())
def test_no_token_more_makes_latent_attention_faster(engine):
    for name in wb.gpus():
        dtype = next(d for d in ("bf16", "fp16", "int8") if d in wb.gpu(name).dense_tflops)
        for n_heads, kv_dtype in ((128, None), (128, "fp8"), (8, None)):
            given = {"batch_size": 8, "n_heads": n_heads, "dtype": dtype, "kv_dtype": kv_dtype, "engine": engine}
            over = kernels.mla_time(name, new_tokens=NEW_TOKENS[:, None], context=CONTEXTS, **given)
            near = kernels.mla_time(name, new_tokens=[[1], [60], [100], [150]], context=np.arange(150, 400), **given)
            for times, axis in ((over, 0), (over, 1), (near, 0), (near, 1)):
                assert np.all(np.diff(times, axis=axis) >= -1e-12 * times.max()), (name, n_heads, kv_dtype, axis)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_over_an_8_bit_latent_no_kernel_beats_the_roof(engine):
    """Kernels compute in 8 bits there; the roof is that of the 16 bits of the queries."""
    for name in wb.gpus():
        if "bf16" not in wb.gpu(name).dense_tflops:
            continue
        given = {"new_tokens": [[1], [8192]], "context": [8192, 16_384, 32_768], "batch_size": 64, "n_heads": 128}
        kernel, ideal = (
            kernels.mla_time(name, **given, dtype="bf16", kv_dtype="fp8", time_model=model, engine=engine)
            for model in ("kernel", "ideal")
        )
        assert np.all(kernel >= ideal * (1 - 1e-12)), name


def test_expanded_keys_and_values_are_read_once():
    work = latent(1024.0, 1024.0)
    three = prefill_seconds(PROMPT, H100, work, PEAK)
    assert three - expanded_seconds(PROMPT, H100, work, PEAK) == pytest.approx(2 * work.cache / BANDWIDTH)


def test_over_an_8_bit_latent_kernels_compute_in_8_bits_where_the_gpu_can():
    work = latent(context=1e5, batch_size=64.0, kv_width=1.0)
    slow = fit(STEP, compute_fraction=0.1)
    wide, narrow = (
        absorbed_seconds(slow, H100, kernels.attention_times.replace(work, format=form), H100.peak_16_bit)
        for form in ("bf16", "fp8_cache")
    )
    assert wide / narrow == pytest.approx(2, rel=0.01)
    old = wb.gpu("a100-80gb-sxm")
    times = [
        absorbed_seconds(slow, old, kernels.attention_times.replace(work, format=form), old.peak_16_bit)
        for form in ("bf16", "fp8_cache")
    ]
    assert times[0] == times[1]


# Linear attention -------------------------------------------------------------------------------------------------

LINEAR_STEP = LinearStepFit(**NOTHING, overlap=8.0)
LINEAR_CHUNK = LinearChunkFit(
    launch_us=0.0, chunk_us=0.0, compute_fraction=1.0, bandwidth_fraction=1.0, passes=1.0, overlap=1.0
)


def linear(new_tokens=1.0, batch_size=1.0, n_heads=32.0, n_key_heads=16.0):
    return linear_attention_cost(new_tokens, batch_size, n_heads, n_key_heads, 128.0, 128.0, width=2.0, state_width=4.0)


def test_the_work_of_a_step_of_linear_attention():
    work, state = linear(), 32 * 128 * 128 * 4
    assert work.bytes - work.activations == 2 * state
    assert work.activations == 2 * (16 + 32) * 2 * 128
    assert work.flops == 6 * 32 * 128 * 128


def test_a_step_reads_a_state_once_and_writes_it_after_every_token():
    one, four = (step_seconds(LINEAR_STEP, H100, linear(t, 100.0), PEAK) for t in (1.0, 4.0))
    state, tokens = 3200 * 65_536, 100 * 24_576
    assert one == pytest.approx((2 * state + tokens) / BANDWIDTH)
    assert four == pytest.approx((5 * state + 4 * tokens) / BANDWIDTH)
    walking = step_seconds(fit(LINEAR_STEP, wave_us=50.0), H100, linear(2.0, 8.0), PEAK)
    assert walking == pytest.approx(2 * 2 * 50e-6, rel=1e-3)  # 256 heads are two waves


def test_chunks_by_hand():
    """65 tokens are two chunks; a head's products are four of 64 x 64 x 128 by pairs, and three with the state."""
    given = fit(LINEAR_CHUNK, passes=3.0, chunk_us=2.0, launch_us=5.0)
    work = linear(65.0)
    computing = 32 * 2 * (4 * 64**2 * 256 + 6 * 64 * 128**2) / PEAK
    moving = (work.bytes + 2 * work.activations) / BANDWIDTH  # three passes of the tokens, one of the states
    expected = 5e-6 + computing + moving + 2 * 2e-6
    assert chunk_seconds(given, ONE_SM.model_copy(update={"sm_count": 132}), work, PEAK) == pytest.approx(expected)
    cached = chunk_seconds(fit(given, l2_share=1.0), H100, work, PEAK)
    assert cached < expected  # what a kernel leaves to the next is found in 50 MB of L2


def test_more_tokens_take_the_faster_of_stepping_and_chunks():
    step, chunk = fit(LINEAR_STEP, launch_us=3.0, wave_us=2.0), fit(LINEAR_CHUNK, launch_us=20.0, chunk_us=2.0)
    tokens = np.array([1.0, 2.0, 64.0, 4096.0])
    times = linear_attention_seconds(step, chunk, H100, linear(tokens), PEAK)
    assert times[:2] == pytest.approx(step_seconds(step, H100, linear(tokens[:2]), PEAK))
    assert times[2:] == pytest.approx(chunk_seconds(chunk, H100, linear(tokens[2:]), PEAK))
    assert times[0] == linear_attention_seconds(step, chunk, H100, linear(), PEAK)


# Public functions -------------------------------------------------------------------------------------------------

SIZES = {
    "attention_time": {"context": 4096, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128},
    "mla_time": {"context": 4096, "n_heads": 16},
    "linear_attention_time": {"n_heads": 32, "n_key_heads": 16},
}
FUNCTIONS = sorted(SIZES)


def timed(name, gpu="h100-sxm", **given):
    return getattr(kernels, name)(gpu, **SIZES[name] | {"new_tokens": 1, "batch_size": 8} | given)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("engine", [None, "vllm", "sglang", "trtllm", "pytorch"])
def test_every_gpu_and_engine_has_a_time_above_its_roof(name, engine):
    for gpu in wb.gpus():
        dtype = next(d for d in ("bf16", "fp16", "int8") if d in wb.gpu(gpu).dense_tflops)
        for new_tokens in (1, 4096):
            given = {"gpu": gpu, "new_tokens": new_tokens, "dtype": dtype}
            assert timed(name, **given, engine=engine) >= timed(name, **given, time_model="ideal") > 0


@given(
    name=st.sampled_from(FUNCTIONS), gpu=st.sampled_from(["h100-sxm", "b200-sxm", "l40s", "a100-80gb-sxm"]),
    engine=st.sampled_from(["vllm", "sglang", "trtllm"]), new=st.sampled_from([1, 2, 8, 512, 4096]),
    batch=st.integers(1, 300), grow=st.sampled_from(["batch_size", "context", "new_tokens"]),
)  # fmt: skip
def test_times_grow_with_work_and_broadcast(name, gpu, engine, new, batch, grow):
    given = {"new_tokens": new, "batch_size": batch, "engine": engine}
    if grow == "context" and name == "linear_attention_time":
        return
    sizes = {"batch_size": [batch, batch + 7], "context": [4096, 5000], "new_tokens": [new, new + 1]}[grow]
    if name != "linear_attention_time" and max(np.max(sizes), new) > 4096 and grow == "new_tokens":
        given["context"] = 8192
    times = timed(name, gpu, **given | {grow: sizes})
    assert times[0] <= times[1] * (1 + 1e-12)
    for size, time in zip(sizes, times, strict=True):
        assert timed(name, gpu, **given | {grow: size}) == pytest.approx(time, rel=1e-12)


def test_a_cache_of_8_bits_has_a_kernel_of_its_own():
    wide, narrow = (timed("attention_time", kv_dtype=d, batch_size=64, time_model="ideal") for d in (None, "fp8"))
    assert 1.9 < wide / narrow <= 2
    both = {"dtype": "fp8", "new_tokens": 4096, "time_model": "ideal"}
    half = timed("attention_time", new_tokens=4096, time_model="ideal") / 2
    assert timed("attention_time", **both) == pytest.approx(half, rel=1e-3)  # peaks of 989.4 and 1978.9


def test_a_latent_of_8_bits_has_a_kernel_of_its_own():
    card = wb.gpu("b200-sxm")
    work = mla_cost(DEEPSEEK, 1.0, 65_536.0, 8.0, 16.0, 2.0, kv_width=1.0)
    parameters = kernel_fit(card, "mla_decode", "fp8_cache", "sglang").fit
    expected = absorbed_seconds(parameters, card, kernels.attention_times.replace(work, format="fp8_cache"), PEAK)
    given = {"gpu": "b200-sxm", "engine": "sglang", "context": 65_536, "kv_dtype": "fp8", "dtype": "bf16"}
    assert timed("mla_time", **given) == pytest.approx(expected, rel=1e-9)
    assert timed("mla_time", **given | {"kv_dtype": None}) > 1.3 * expected


def test_a_window_of_attention_time_sees_its_tokens_alone():
    windowed, short = (timed("attention_time", time_model="ideal", **w) for w in ({"window": 512}, {"context": 512}))
    assert windowed == pytest.approx(short)
    assert timed("attention_time", window=512) < timed("attention_time", context=8192)


def test_replays_come_from_l2_where_a_fit_knows_its_rate():
    gpu = next(
        g for g in ("l40s", "rtx-pro-6000-server", "h100-sxm")
        if kernel_fit(wb.gpu(g), "mla_decode", engine="sglang").fit.l2_speedup
    )  # fmt: skip
    given = {"gpu": gpu, "engine": "sglang", "context": 8192}
    assert timed("mla_time", replayed=True, **given) < timed("mla_time", **given)
    assert timed("linear_attention_time", new_tokens=4096, replayed=True) == timed(
        "linear_attention_time", new_tokens=4096
    )


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("attention_time", {"context": 1, "new_tokens": 2}, "context is shorter than new_tokens"),
        ("attention_time", {"n_kv_heads": 5}, "n_heads = 32 is not a multiple of n_kv_heads = 5"),
        ("attention_time", {"window": 0}, "window"),
        ("attention_time", {"kv_dtype": "fp9"}, "fp9"),
        ("attention_time", {"engine": "vlm"}, "Did you mean 'vllm'"),
        ("mla_time", {"kv_lora_rank": 0.5}, "kv_lora_rank"),
        ("mla_time", {"context": 1, "new_tokens": 2}, "context is shorter than new_tokens"),
        ("linear_attention_time", {"n_key_heads": 5}, "n_heads = 32 is not a multiple of n_key_heads = 5"),
        ("linear_attention_time", {"state_dtype": "awq"}, "awq"),
        ("linear_attention_time", {"new_tokens": 0}, "new_tokens"),
    ],
)
def test_bad_input_is_refused_in_one_line(name, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        timed(name, **given)
    assert "\n" not in str(caught.value)
