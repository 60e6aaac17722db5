"""Kernel times: their limits, that more work is never faster, that the roof holds, and hand values."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import kernels
from workbench.catalog import catalog_fits, engines, kernel_fit
from workbench.kernels.attention import prefill_seconds
from workbench.kernels.attention_times import attention_cost
from workbench.kernels.gemm import gemm_seconds, l2_misses, replayed_cost, smooth_maximum, tiled_flops
from workbench.operators import cost

GPUS = st.sampled_from(["a100-80gb-sxm", "h100-sxm", "b200-sxm", "l40s", "a40", "t4", "mi300x"])
SIZES = st.integers(1, 10**5)
HEADS = st.sampled_from([(32, 32), (32, 8), (64, 8), (8, 1), (71, 1), (48, 48)])


def gemm(gpu="a100-80gb-sxm", m=1, n=4096, k=4096, **options):
    return kernels.gemm_time(gpu, m=m, n=n, k=k, **options)


def attention(gpu="a100-80gb-sxm", new_tokens=1, context=1024, batch_size=1, heads=(32, 8), **options):
    return kernels.attention_time(
        gpu, new_tokens=new_tokens, context=context, batch_size=batch_size, n_heads=heads[0], n_kv_heads=heads[1],
        head_dim=128, **options,
    )  # fmt: skip


# Limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu", ["a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "a40", "l40s"])
def test_a_huge_gemm_takes_the_ideal_time_over_the_achievable_fraction(gpu):
    size = 2**20
    ideal = gemm(gpu, size, size, size, time_model="ideal")
    fraction = kernel_fit(wb.gpu(gpu), "gemm").fit.compute_fraction
    assert ideal / gemm(gpu, size, size, size) == pytest.approx(fraction, rel=0.001)  # fill: 200 of 10^6


@pytest.mark.parametrize("gpu", ["a100-80gb-sxm", "h100-sxm", "l40s"])
def test_decode_over_a_huge_cache_reads_at_the_achievable_bandwidth(gpu):
    card, context = wb.gpu(gpu), 10**8
    cache = 2 * 2 * 8 * 128 * context
    fraction = kernel_fit(card, "decode").fit.bandwidth_fraction
    reading = cache / (fraction * card.bandwidth)
    time = attention(gpu, context=context, heads=(32, 8))
    assert reading < time < 1.12 * reading  # padded rows compute meanwhile; on Hopper little of that is hidden


def test_an_unsplit_context_is_read_by_one_block_per_head():
    """FlashAttention-2, one sequence, no shared KV heads: each of 32 blocks reads its 512 bytes a token at 25 GB/s."""
    card, context = wb.gpu("a100-80gb-sxm"), 131072
    rate = 1e9 * kernel_fit(card, "decode").fit.block_gbs
    time = attention(context=context, heads=(32, 32))
    assert time == pytest.approx(512 * context / rate, rel=0.05)
    assert time > 2 * attention("h100-sxm", context=context, heads=(32, 32)) * 3350 / 2039


@pytest.mark.parametrize("gpu", ["a100-80gb-sxm", "h100-sxm"])
def test_a_huge_prompt_computes_scores_and_their_softmax(gpu):
    """4 D FLOPs a score at the achievable fraction of the peak, the softmax partly behind them."""
    card, s = wb.gpu(gpu), 2**24
    fit = kernel_fit(card, "prefill").fit
    scores = 32 * s * (s + 1) / 2
    score = np.hypot(4 * 128 / fit.compute_fraction / card.peak_flop_rate(), fit.exponentials / card.exponential_rate)
    assert attention(gpu, s, s) == pytest.approx(scores * score, rel=5e-4)  # operands, half a tile in 2^24 tokens


def test_the_least_work_takes_the_launch_latency():
    """And the pipeline of one tile of 32 x 64, whose sides are as one of 128 / 3, on each of 108 SMs."""
    fit = kernel_fit(wb.gpu("a100-80gb-sxm"), "gemm").fit
    busy = 128 / 3 / (128 / 3 + fit.half_tile) * (1 + fit.half_tile / (512 / 3))
    step = max(2 * 32 * 64 * 108 / busy / (fit.compute_fraction * 312e12), 1e-9 * fit.walk_ns)
    least = 1e-6 * (fit.launch_us + fit.loop_us / (1 + fit.loop_depth)) + (1 + fit.fill_depth) * (1 - fit.boost) * step
    assert gemm(m=1, n=1, k=1) == pytest.approx(least, rel=1e-3)


def test_fp8_halves_the_products_of_a_score_and_not_its_softmax():
    card, work = wb.gpu("h100-sxm"), attention_cost(2.0**24, 2.0**24, 1.0, 32.0, 8.0, 128.0, 2.0)
    fit = kernel_fit(card, "prefill").fit
    products, softmax = 4 * 128 / fit.compute_fraction / 1e15, fit.exponentials / card.exponential_rate
    wide, narrow = (prefill_seconds(fit, card, work, peak) for peak in (1e15, 2e15))
    assert wide / narrow == pytest.approx(np.hypot(products, softmax) / np.hypot(products / 2, softmax), rel=1e-3)


def test_smooth_maximum():
    assert smooth_maximum(3.0, 4.0, 1) == 7
    assert smooth_maximum(3.0, 4.0, 2) == pytest.approx(5)
    assert smooth_maximum(3.0, 4.0, 1000) == pytest.approx(4)
    assert smooth_maximum(1e300, 1e300, 8) == pytest.approx(1e300 * 2 ** (1 / 8))


# By hand ----------------------------------------------------------------------------------------------------------


def test_tiles_by_hand():
    """256 x 256 outputs on 4 SMs: 4 tiles of 128 make one wave, of 256 x 128 two tiles leave two SMs idle."""
    exact = tiled_flops(256, 256, 64, 1, sm_count=4, fill_depth=0, half_tile=0)
    assert exact == 2 * 256 * 256 * 64
    one_more_row = tiled_flops(257, 256, 64, 1, sm_count=4, fill_depth=0, half_tile=0)
    assert one_more_row == 2 * 288 * 256 * 64  # 9 x 4 tiles of 32 x 64 are 9 waves
    filled = tiled_flops(256, 256, 64, 1, sm_count=4, fill_depth=64, half_tile=0)
    assert filled == 2 * exact


def test_small_tiles_reuse_less():
    """32 x 64 loads like a square of 128/3: half busy with half_tile 128/3; 256 x 128, of 512/3, is full at 4/5."""
    tiny = tiled_flops(32, 64, 16, 1, sm_count=1, fill_depth=0, half_tile=128 / 3)
    assert tiny == pytest.approx(2 * 32 * 64 * 16 / 0.5 * 4 / 5)


def test_whole_tiles_make_stairs():
    """Rows within one tile are free; the first of the next tile pays for all of it."""
    m = np.array([1, 32, 33, 64, 65])
    flops = tiled_flops(m, 64, 64, 1, sm_count=1, fill_depth=0, half_tile=0)
    np.testing.assert_array_equal(flops, 2 * 64 * 64 * np.array([32, 32, 64, 64, 96]))


def test_without_many_waves_of_small_tiles_the_stairs_are_higher():
    """257 rows of 128 columns on 2 SMs: 288 rows in small tiles, 384 in tiles of 128 whose k loop is split in four."""
    sizes = {"sm_count": 2, "fill_depth": 0, "half_tile": 0}
    free, bound = (tiled_flops(257, 128, 64, 1, **sizes, small_tile_waves=w) for w in (None, 1))
    assert free == 2 * 288 * 128 * 64  # 9 x 2 tiles of 32 x 64
    assert bound == 2 * 384 * 128 * 64
    few = tiled_flops(20, 4096, 64, 1, **sizes, small_tile_waves=1)
    assert few == 2 * 32 * 4096 * 64  # small tiles that cover all rows are always used


def test_small_tiles_that_cover_all_rows_are_used_up_to_the_last():
    full, over = (
        tiled_flops(m, 4096, 64, 1, sm_count=2, fill_depth=0, half_tile=0, small_tile_waves=1) for m in (64, 65)
    )
    assert (full, over) == (2 * 64 * 4096 * 64, 2 * 128 * 4096 * 64)


def test_the_stair_from_256_to_280_rows_is_the_measured_one():
    """12288 x 4096 on an A100 (microsoft/vidur 7d47513, Llama-2-7B attn_pre_proj): 119 us at 224 rows, 163 at 280."""
    low, high = 1e6 * gemm(m=np.array([224, 280]), n=12288)
    assert low == pytest.approx(119, rel=0.1)  # the fit's mean error is 8 %
    assert high == pytest.approx(163, rel=0.1)
    assert gemm(m=256, n=12288) == pytest.approx(gemm(m=224, n=12288), rel=0.01)  # within whole tiles


def test_a_tile_more_than_the_sms_take_starts_a_wave():
    """Splitting k instead would fill the pipeline as often again, here for as long as a whole tile takes."""
    full, over = (tiled_flops(32, 32, 64, b, sm_count=108, fill_depth=64, half_tile=0) for b in (108, 109))
    assert over == 2 * full


def test_the_kernel_time_of_one_decode_gemm_by_hand():
    """A100, 4096 x 4096 weights at m = 1: 33.6 MB at 2039 GB/s are 16.5 us on the roof."""
    fit = kernel_fit(wb.gpu("a100-80gb-sxm"), "gemm").fit
    ideal = gemm(time_model="ideal")
    assert ideal == pytest.approx(2 * (4096 * 4096 + 2 * 4096) / 2039e9)
    latency = 1e-6 * (fit.launch_us + fit.loop_us * 4096 / (4096 + fit.loop_depth))
    assert gemm() == pytest.approx(latency + ideal / fit.bandwidth_fraction, rel=0.03)


def test_the_kernel_time_of_a_matmul_of_activations_by_hand():
    """204,800 x 64 x 64 in whole tiles of one SM; of 52.4 MB of activations 38 miss half of a 40 MB L2 cache."""
    card = wb.gpu("a100-80gb-sxm").model_copy(update={"sm_count": 1})
    whole = {"fill_depth": 0.0, "half_tile": 0.0, "boost": 0.0, "small_tile_waves": None, "walk_ns": 0.0}
    fit = kernel_fit(card, "gemm").fit.model_copy(update=whole)
    activations = 2 * 204_800 * (64 + 64)
    missed = activations**2 / (activations + 20e6)
    moving = (missed + 2 * 64 * 64) / (fit.bandwidth_fraction * 2039e9)
    compute = 2 * 204_800 * 64 * 64 / (fit.compute_fraction * 312e12)
    expected = (compute**fit.overlap + moving**fit.overlap) ** (1 / fit.overlap)
    expected += 1e-6 * (fit.launch_us + fit.loop_us * 64 / (64 + fit.loop_depth))
    work = cost.gemm(204_800.0, 64.0, 64.0, weight=2.0, activation=2.0)
    assert gemm_seconds(fit, card, work, 312e12) == pytest.approx(expected, rel=1e-12)


def test_activations_in_the_l2_cache_are_no_way_over_the_roof():
    """L40S, 96 MB of L2: 15 MB of activations would come in half the time that memory takes for them."""
    assert gemm("l40s", 23_674, 64, 256) == gemm("l40s", 23_674, 64, 256, time_model="ideal")


def test_the_kernel_time_of_a_prompt_by_hand():
    """130 tokens, two heads of 64 and KV heads of their own, on one SM: two tiles of 128 queries for each head."""
    card = wb.gpu("a100-80gb-sxm").model_copy(update={"sm_count": 1})
    fit = kernel_fit(card, "prefill").fit.model_copy(
        update={"exponentials": 0.0, "operands_in_l2": False, "packed_heads": False}
    )
    work = attention_cost(130.0, 130.0, 1.0, 2.0, 2.0, 64.0, 2.0)
    scores = 2 * 130 * 131 / 2 + 2 * 128 * 130 / 2  # those that the mask leaves, and half a tile of each query's head
    tail = fit.tail * 128 * 130
    compute = (scores + tail) * 4 * 64 / (fit.compute_fraction * 312e12)
    queries = keys = 2 * 130 * 64 * 2  # byte, and as many of outputs and of values
    moving = (2 * queries + 3 * 2 * keys) / (
        fit.bandwidth_fraction * 2039e9
    )  # the cache is read twice and written once
    overheads = 1e-6 * (fit.launch_us + 4 * fit.wave_us) + 1e-9 * fit.token_ns * 130
    assert prefill_seconds(fit, card, work, 312e12) == pytest.approx(overheads + compute + moving, rel=1e-12)


def test_the_kernels_of_a_layers_elementwise_operators_are_four():
    fit = kernel_fit(wb.gpu("a100-80gb-sxm"), "elementwise").fit
    ds = wb.roofline_grid("a100-80gb-sxm", "gpt2", "elementwise", "decode", 1, 1, time_model="kernel").squeeze()
    moving = ds.bytes.item() / (fit.bandwidth_fraction * 2039e9)
    assert ds.time.item() == pytest.approx(4 * 1e-6 * fit.launch_us + moving, rel=1e-12)


def test_a_cached_token_makes_a_chunk_no_faster():
    """16 tokens of 64 sequences: over one token in the cache the decode kernel would take half of the prompts' time."""
    prompt, chunk = (attention(new_tokens=16, context=context, batch_size=64) for context in (16, 17))
    assert chunk >= prompt


def test_a_prompt_pays_for_writing_every_token_into_the_cache():
    card = wb.gpu("h100-sxm")
    fit = kernel_fit(card, "prefill").fit
    free = fit.model_copy(update={"token_ns": 0.0})
    work = attention_cost(new_tokens=128, context=128, batch_size=64, n_heads=8, n_kv_heads=8, head_dim=64, width=2)
    paid, unpaid = (prefill_seconds(f, card, work, card.peak_flop_rate()) for f in (fit, free))
    assert paid - unpaid == pytest.approx(64 * 128 * 1e-9 * fit.token_ns)


def test_a_replayed_cache_is_read_from_l2():
    """L40S: 34 MB of its 96 MB L2 come faster, by the fitted ratio; 3.4 GB do not fit."""
    card = wb.gpu("l40s")
    rate = kernel_fit(card, "decode").fit.l2_speedup
    work = attention_cost(new_tokens=1, context=8192, batch_size=1, n_heads=32, n_kv_heads=8, head_dim=128, width=2)
    assert replayed_cost(card, work, rate).bytes == pytest.approx(work.bytes / rate, rel=0.01)
    assert replayed_cost(card, work, rate, copies=100).bytes == pytest.approx(work.bytes, rel=1e-3)
    assert replayed_cost(card, work, None) is work
    assert attention("l40s", context=8192, replayed=True) < 0.8 * attention("l40s", context=8192)
    large = [attention("l40s", context=8192, batch_size=100, replayed=replayed) for replayed in (True, False)]
    assert large[0] == pytest.approx(large[1], rel=1e-3)
    assert attention("h100-sxm", replayed=True) == attention("h100-sxm")
    assert gemm("l40s", replayed=True) <= gemm("l40s")


def test_activations_stay_in_the_l2_cache_as_far_as_they_fit():
    card = wb.gpu("a100-80gb-sxm")  # half of 40 MB
    assert l2_misses(20e6, card) == 10e6
    assert l2_misses(2e12, card) == pytest.approx(2e12, rel=1e-4)
    assert l2_misses(2e6, card.model_copy(update={"l2_mb": None})) == 2e6


# What must hold everywhere ----------------------------------------------------------------------------------------


@given(GPUS, SIZES, st.integers(1, 30000), st.integers(1, 30000), st.integers(1, 512))
def test_a_gemm_is_never_faster_with_more_work_and_never_above_the_roof(gpu, m, n, k, batch):
    one = gemm(gpu, m, n, k, batch=batch)
    assert one >= gemm(gpu, m, n, k, batch=batch, time_model="ideal")
    more = gemm(
        gpu, [m + 1, m, m, m, 2 * m], [n, n + 1, n, n, n], [k, k, k + 1, k, k], batch=[batch] * 3 + [batch + 1, batch]
    )
    assert (more >= one * (1 - 1e-12)).all()


@given(GPUS, st.integers(1, 4096), st.integers(0, 131072), st.integers(1, 512), HEADS, st.booleans())
def test_attention_is_never_faster_with_more_work_and_never_above_the_roof(gpu, new, cached, batch, heads, causal):
    context = new + cached
    one = attention(gpu, new, context, batch, heads, causal=causal)
    assert one >= attention(gpu, new, context, batch, heads, causal=causal, time_model="ideal")
    more = attention(gpu, [new + 1, new, new + 1, new], [context + 1, context + 1, context + 1, context],
                     [batch, batch, batch, batch + 1], heads, causal=causal)  # fmt: skip
    assert (more >= one * (1 - 1e-12)).all()
    if cached:
        assert attention(gpu, new + 1, context, batch, heads, causal=causal) >= one * (1 - 1e-12)


@given(
    st.sampled_from(["a100-80gb-sxm", "h100-sxm", "t4"]),
    st.sampled_from(["llama-7b", "llama-3-8b", "gpt2", "mixtral-8x7b", "deepseek-v2-lite", "gpt-oss-20b"]),
    st.sampled_from(["fused", "unfused"]),
    st.integers(1, 512),
    st.integers(1, 10**5),
)
def test_a_grid_of_kernel_times_keeps_to_the_roof_and_grows(gpu, model, view, b, s):
    ds = wb.roofline_grid(gpu, model, view, batch_size=[b, b + 1], seq_len=[s, s + 1], time_model="kernel")
    assert (ds.performance <= ds.attainable * (1 + 1e-12)).all()
    assert (ds.time.diff("batch_size") >= -1e-12 * ds.time.max()).all()


@pytest.mark.parametrize("context", [512, 4096, 32768])
def test_chunked_prefill_joins_decode_and_prefill_without_a_jump(context):
    """From 1 new token to the whole context: each token more adds little, and the ends are decode and prefill."""
    tokens = np.arange(1, 513)
    time = attention(new_tokens=tokens, context=context)
    assert (np.diff(time) >= 0).all()
    assert (time[1:] / time[:-1]).max() < 1.35
    assert time[0] == attention(context=context)


@pytest.mark.parametrize("gpu", wb.gpus())
def test_every_gpu_has_kernel_times(gpu):
    dtype = "fp16" if "fp16" in wb.gpu(gpu).dense_tflops else "bf16"
    for time in (gemm(gpu, dtype=dtype), attention(gpu, dtype=dtype), attention(gpu, 512, 512, dtype=dtype)):
        assert 1e-6 < time < 0.01


# Shapes and the grid ----------------------------------------------------------------------------------------------


def test_sizes_broadcast():
    assert gemm(m=np.arange(1, 4)[:, None], n=[64, 128]).shape == (3, 2)
    assert attention(batch_size=np.array([[1], [2]]), context=[1024, 2048, 4096]).shape == (2, 3)
    assert np.ndim(gemm()) == 0
    card = wb.gpu("a100-80gb-sxm")
    assert gemm(card) == gemm()


def test_the_grid_and_the_functions_agree():
    ds = wb.roofline_grid("h100-sxm", "llama-3-8b", None, batch_size=[1, 8], seq_len=1024, time_model="kernel")
    times = ds.time.sel(gpu="h100-sxm", model="llama-3-8b", seq_len=1024)
    decode = times.sel(phase="decode")
    np.testing.assert_allclose(decode.sel(operator="o_proj"), gemm("h100-sxm", [1, 8]), rtol=1e-12)
    np.testing.assert_allclose(
        decode.sel(operator="attention"), attention("h100-sxm", batch_size=[1, 8]), rtol=0.01
    )  # the grid's new token reads the cache of those before it, the function's context includes it
    prompt = times.sel(phase="prefill", operator="attention")
    np.testing.assert_allclose(prompt, attention("h100-sxm", 1024, 1024, [1, 8]), rtol=1e-12)


def test_the_kernel_model_changes_times_alone():
    settings = {"gpu": ["t4", "h100-sxm"], "model": ["llama-7b", "gpt2"], "batch_size": [1, 64]}
    ideal, kernel = (wb.roofline_grid(**settings, time_model=model) for model in ("ideal", "kernel"))
    assert kernel.time.dims == ideal.time.dims
    assert kernel.time.attrs == ideal.time.attrs
    assert kernel.attrs["time_model"] == "kernel"
    same = ["time", "performance"]
    told = ["fit", "expected_error"]
    assert {*told} == {*kernel} - {*ideal}
    xr.testing.assert_equal(ideal.drop_vars(same), kernel.drop_vars([*same, *told]))
    assert (kernel.time.sel(model="gpt2", operator="gate_up_proj") == 0).all()


def test_a_step_of_decoding_costs_more_than_its_bytes():
    """Llama 2 7B on an A100 at batch 1: launches and bandwidth make 6.6 ms into 8 to 12 (vLLM measures about 10)."""
    step = wb.forward_pass(wb.roofline_grid("a100-80gb-sxm", "llama-2-7b", phase="decode", time_model="kernel"))
    assert 0.008 < step.time.item() < 0.012


# Whose parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "kind", "lender"),
    [
        ("h100-sxm", "gemm", "h100-sxm"),
        ("a40", "decode", "a100-80gb-sxm"),
        ("rtx-a6000", "gemm", "a40"),
        ("a100-40gb-pcie", "gemm", "a100-80gb-sxm"),
        ("h20-141gb", "decode", "h200-sxm"),
        ("b300-sxm", "prefill", "b200-sxm"),
        ("t4", "gemm", "a100-80gb-sxm"),
        ("mi300x", "elementwise", "mi300x"),
        ("mi325x", "gemm", "mi300x"),
    ],
)
def test_a_gpu_without_a_fit_borrows_one(gpu, kind, lender):
    fit = kernel_fit(wb.gpu(gpu), kind)
    assert fit.gpu == lender
    assert fit.why in str(wb.gpu(gpu))


def test_an_override_keeps_the_fit():
    card = wb.gpu("h100-sxm").override(peak_tflops=500)
    assert kernel_fit(card, "gemm").gpu == "h100-sxm"
    assert gemm(card, 8192, 8192, 8192) > gemm("h100-sxm", 8192, 8192, 8192)


@pytest.mark.parametrize("gpu", [name for name in wb.gpus() if catalog_fits(name)])
def test_every_fit_says_what_it_was_fitted_on(gpu):
    for fit in catalog_fits(gpu):
        end_to_end = fit.source.startswith("fitted end to end on what servers put out")
        assert "github.com" in fit.source or (end_to_end and fit.intervals_percent)
        assert fit.engine in engines() or fit.engine == "nccl"


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gpu": "h100-smx"}, r"unknown GPU 'h100-smx'\. Did you mean 'h100-sxm'"),
        ({"m": 0}, "m = 0: expected positive numbers"),
        ({"n": [1, -2]}, "n = -2: expected positive numbers"),
        ({"k": float("nan")}, "k = nan: expected positive numbers"),
        ({"k": float("inf")}, "k = inf: expected positive numbers"),
        ({"batch": "8x"}, "batch = '8x': expected positive numbers"),
        ({"dtype": "float16"}, r"unknown dtype 'float16'\. Did you mean 'fp16'"),
        ({"dtype": "fp8"}, "a100-80gb-sxm has no fp8 peak: its catalog entry lists"),
        ({"time_model": "exact"}, "unknown time_model 'exact'.* Allowed: ideal, kernel"),
    ],
)
def test_bad_gemm_is_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        gemm(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"new_tokens": 5, "context": 3}, "context is shorter than new_tokens"),
        ({"heads": (32, 5)}, "n_heads = 32 is not a multiple of n_kv_heads = 5"),
        ({"batch_size": 0}, "batch_size = 0: expected positive numbers"),
        ({"gpu": ""}, "unknown GPU ''"),
    ],
)
def test_bad_attention_is_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        attention(**arguments)
