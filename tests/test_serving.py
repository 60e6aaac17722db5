"""Memory, latency, throughput, energy and cost of a server: by hand, by limits, and as published."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import models, servers

import workbench as wb
from workbench import serving
from workbench.operators import decode
from workbench.servers import Replica, memory, step, step_time
from workbench.servers.steps import prefill_piece
from workbench.serving import estimation, room
from workbench.serving.batch import SCHEDULES

A100, H100 = "a100-80gb-sxm", "h100-sxm"


def estimate(gpu=H100, model="llama-3-8b", batch_size=8, prompt=1000, output=100, tp=1, **options):
    return serving.estimate(gpu, model, batch_size, prompt, output, tp, **options)


def value(ds, name, **at):
    return ds[name].sel(at).squeeze().item()


# The Dataset ------------------------------------------------------------------------------------------------------


def test_dims_units_and_definitions():
    ds = estimate([A100, H100], ["llama-3-8b", "mixtral-8x7b"], [1, 8], [100, 1000], [10, 100], [1, 2], price=2.0)
    assert list(ds.dims) == ["gpu", "model", "phase", "operator", "batch_size", "prompt", "output", "tp"]
    for name, dims in estimation.DIMS.items():
        assert ds[name].dims == dims, name
        assert ds[name].attrs["units"], name
        assert ds[name].attrs["long_name"], name
    assert ds.fits.dtype == bool
    assert ds.unfit.dtype == ds.bound.dtype == np.int8
    assert ds.unfit.attrs["flag_meanings"] == "fits weights kv_cache context_length"
    assert ds.bound.attrs["flag_meanings"] == "does_not_fit memory compute link host"
    assert "cost" not in estimate()


def test_shares_are_of_the_whole_step():
    ds = estimate(tp=[1, 2], step_overhead=1e-3, draft=serving.medusa(candidates=16), schedule="continuous")
    np.testing.assert_allclose(ds.share.sum("operator"), 100)
    assert {"all_reduce", "host", "drafting"} <= set(ds.operator.values)
    assert not {"host", "drafting", "all_reduce"} & set(estimate(engine=None).operator.values)
    host = 1e-3 / value(ds, "step_time", phase="decode", tp=1)
    assert value(ds, "share", phase="decode", operator="host", tp=1) == pytest.approx(100 * host)


# Times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
def test_ttft_is_the_prefill_and_tpot_the_mean_of_all_steps_after_it(time_model):
    ds = estimate(batch_size=4, prompt=300, output=400, time_model=time_model, engine=None)
    grid = wb.roofline_grid(H100, "llama-3-8b", None, "prefill", 4, 300, time_model=time_model)
    assert value(ds, "ttft") == pytest.approx(wb.forward_pass(grid).time.item())
    contexts = range(301, 700)  # 399 steps: the first token came out of the prefill
    steps = wb.roofline_grid(H100, "llama-3-8b", None, "decode", 4, contexts, time_model=time_model)
    times = wb.forward_pass(steps).time.squeeze()
    assert value(ds, "tpot") == pytest.approx(times.mean().item(), rel=1e-3)  # five steps stand for all
    assert value(ds, "tpot_first") == pytest.approx(times[0].item())
    assert value(ds, "tpot_last") == pytest.approx(times[-1].item())


def test_five_steps_stand_for_all_where_a_window_fills():
    # Mistral sees 4,096 tokens: the time of a step grows until the middle of these 1,001, and no more
    ds = estimate(model="mistral-7b", batch_size=64, prompt=4096 - 501, output=1002, time_model="ideal")
    contexts = range(4096 - 500, 4096 + 501)
    steps = wb.forward_pass(wb.roofline_grid(H100, "mistral-7b", None, "decode", 64, contexts)).time.squeeze()
    assert steps[500] / steps[0] > 1.08
    # five equal weights would be 5 % of the growth off, those of trapezoids half of a step's
    assert value(ds, "tpot") == pytest.approx(steps.mean().item(), rel=1e-4)


def test_tpot_leaves_out_the_first_token():
    ds = estimate(output=[1, 2, 101])
    one, two, many = (ds.isel(output=i).squeeze() for i in range(3))
    assert np.isnan(one.tpot)
    assert one.end_to_end_latency == one.ttft
    assert two.end_to_end_latency == pytest.approx((two.ttft + two.tpot_first).item())
    assert many.end_to_end_latency == pytest.approx((many.ttft + 100 * many.tpot).item())
    assert one.energy_per_token > 0


def test_throughput_counts_the_batch_and_the_users_rate_does_not():
    ds = estimate(batch_size=32)
    assert value(ds, "tokens_per_second") == pytest.approx(32 * 100 / value(ds, "end_to_end_latency"))
    assert value(ds, "requests_per_second") == pytest.approx(32 / value(ds, "end_to_end_latency"))
    assert value(ds, "tokens_per_second_per_user") == pytest.approx(1 / value(ds, "tpot"))


def test_a_larger_batch_is_never_faster():
    # in a closed loop prompts meet by chance, so that a user more may save the others a little
    for schedule, saved in zip(SCHEDULES, (0.0, 0.05), strict=True):
        ds = estimate(batch_size=range(1, 40), schedule=schedule).squeeze()
        for times in (ds.tpot.values, ds.ttft.values):
            assert (np.diff(times) >= -saved * times[:-1]).all()
            assert times[-1] > 1.3 * times[0]


def test_utilization_of_the_peaks_by_hand():
    # decode of one sequence, ideal: the weights once, and 2 FLOP for each of them
    ds = estimate(batch_size=1, prompt=10, output=2, time_model="ideal").sel(phase="decode").squeeze()
    weights = 8_030_000_000 - 128256 * 4096
    assert ds.mbu.item() == pytest.approx(1, abs=1e-9)
    assert ds.step_time.item() == pytest.approx(2 * weights / 3350e9, rel=0.005)
    assert ds.mfu.item() == pytest.approx(2 * weights / 989.4e12 / ds.step_time.item(), rel=0.005)
    many = estimate([A100, H100, "l4"], batch_size=[1, 64], prompt=[16, 4000], tp=[1, 4])
    assert ((many.mfu.fillna(0) <= 1) & (many.mbu.fillna(0) <= 1)).all()


@pytest.mark.parametrize("shared", [{"tp": 4}, {"pp": 4}])
def test_each_gpu_of_several_moves_and_computes_its_own_share(shared):
    # decode of one sequence, ideal: a quarter of the weights each
    ds = estimate(batch_size=1, prompt=10, output=2, time_model="ideal", **shared).sel(phase="decode").squeeze()
    weights = 8_030_000_000 - 128256 * 4096
    assert ds.mbu * ds.step_time == pytest.approx(2 * weights / 4 / 3350e9, rel=0.005)
    assert ds.mfu * ds.step_time == pytest.approx(2 * weights / 4 / 989.4e12, rel=0.005)


def test_what_crosses_the_link_is_no_traffic_of_the_memory():
    ds = estimate(tp=4, batch_size=2).sel(phase="prefill").squeeze()
    works = step(Replica(H100, "llama-3-8b", tp=4), prefill_piece(2, 1000))
    moved = sum(work.bytes for name, work in works.items() if name != "all_reduce")
    assert works["all_reduce"].bytes > 0.1 * moved
    assert ds.mbu * ds.step_time == pytest.approx(moved / 3350e9)


def test_a_host_that_takes_most_of_the_time_limits_a_step():
    assert estimate(batch_size=1).bound.values.ravel().tolist() == [1, 0]
    assert estimate(batch_size=1, step_overhead=0.5).bound.values.ravel().tolist() == [3, 3]


def test_copies_of_kv_heads_and_norms_are_no_use_of_the_peaks():
    ds = estimate("gb200", tp=[1, 16], time_model="ideal").sel(phase="prefill").squeeze()
    computed = ds.mfu * ds.step_time * ds.tp
    assert computed[0] == pytest.approx(computed[1].item())


# Schedules --------------------------------------------------------------------------------------------------------


def test_one_request_at_a_time_is_the_same_by_either_schedule():
    static, continuous = (estimate(batch_size=1, schedule=schedule, engine=None) for schedule in SCHEDULES)
    for name in ("ttft", "tpot", "end_to_end_latency"):
        assert value(static, name) == pytest.approx(value(continuous, name), rel=1e-5)  # attention is interpolated


def test_a_prompt_among_decodes_by_hand():
    # 3,000 tokens beside 63 decodes: chunks of 1,985 and 1,015, each in a step with a token of the others
    ds = estimate(batch_size=64, prompt=3000, output=200, schedule="continuous", max_num_batched_tokens=2048)
    server = Replica(wb.gpu(H100), wb.model("llama-3-8b"))
    others = decode(63, 3100)
    chunks = [
        step_time(server, prefill_piece(1, 1985), others),
        step_time(server, prefill_piece(1, 1015, 1985), others),
    ]
    assert value(ds, "step_time", phase="prefill") == pytest.approx(sum(chunks))
    # a prompt waits for those of others, and its tokens for the prompts among them
    assert value(ds, "ttft") > sum(chunks)
    assert value(ds, "tpot") > value(estimate(batch_size=64, prompt=3000, output=200), "tpot")


def test_candidates_of_the_others_leave_less_room_for_a_prompt():
    # 63 others verify 16 candidates each: 1,040 tokens of 2,048 are left, so that 2,000 go in chunks of 1,040 and 960
    draft = serving.medusa(candidates=16)
    ds = estimate(
        batch_size=64, prompt=2000, output=200, schedule="continuous", draft=draft, max_num_batched_tokens=2048
    )
    server, others = Replica(wb.gpu(H100), wb.model("llama-3-8b")), decode(63, 2100, candidates=16)
    chunks = [prefill_piece(1, 1040), prefill_piece(1, 960, 1040)]
    each = sum(step_time(server, chunk, others) for chunk in chunks)
    assert value(ds, "step_time", phase="prefill") == pytest.approx(each)


def test_a_draft_model_reads_one_prompt_at_a_time_in_continuous_batching():
    draft = serving.draft_model("llama-3.2-1b", depth=3, alpha=0.7)
    ds = estimate(batch_size=8, prompt=1000, output=200, schedule="continuous", draft=draft)
    target, small = (Replica(wb.gpu(H100), wb.model(name)) for name in ("llama-3-8b", "llama-3.2-1b"))
    own = step_time(target, prefill_piece(1, 1000), decode(7, 1100, candidates=4))
    assert value(ds, "step_time", phase="prefill") == pytest.approx(own)
    assert value(ds, "ttft") > own + step_time(small, prefill_piece(1, 1000))


def test_a_batch_that_just_fits_into_a_pass_is_one():
    server = Replica(wb.gpu(H100), wb.model("llama-3-8b"))
    assert value(estimate(batch_size=2, prompt=1024, max_num_batched_tokens=2048), "ttft") == pytest.approx(
        step_time(server, prefill_piece(2, 1024))
    )
    three = 2 * step_time(server, prefill_piece(1.5, 1024))  # 3,072 tokens in two even passes
    assert value(estimate(batch_size=3, prompt=1024, max_num_batched_tokens=2048), "ttft") == pytest.approx(three)


def test_continuous_batching_trades_tpot_for_ttft_at_about_the_same_throughput():
    static, continuous = (estimate(batch_size=64, schedule=schedule, output=500) for schedule in SCHEDULES)
    assert value(continuous, "ttft") < value(static, "ttft") / 2  # of ten requests a user, the first come together
    assert value(continuous, "tpot") > value(static, "tpot")
    assert value(continuous, "tokens_per_second") == pytest.approx(value(static, "tokens_per_second"), rel=0.1)


def test_prompts_alone_go_one_after_another():
    # one output token: requests finish at the rate of prefills in a row, however many are under way
    alone = {"output": 1, "max_num_batched_tokens": 1000, "engine": None}  # a step has one
    ds = estimate(batch_size=32, schedule="continuous", **alone)
    one = value(estimate(batch_size=1, **alone), "ttft")
    waiting = (sum(range(1, 33)) + 9 * 32 * 32) / 320  # prompts until one's end, of ten requests of each of 32 users
    assert value(ds, "ttft") == pytest.approx(waiting * one, rel=1e-5)
    assert value(ds, "requests_per_second") == pytest.approx(
        value(estimate(batch_size=32, **alone), "requests_per_second"), rel=0.1
    )


def test_a_cached_prefix_is_not_computed_again_and_stored_once():
    budget = {"prompt": 2000, "max_num_batched_tokens": 2048}
    plain, cached = estimate(**budget), estimate(**budget, cached_prefix=1600)
    server = Replica(wb.gpu(H100), wb.model("llama-3-8b"))
    assert value(cached, "ttft") == pytest.approx(
        2 * step_time(server, prefill_piece(4, 400, 1600))
    )  # 3,200 tokens, in passes of 2,048 at most
    assert value(cached, "tpot") == value(plain, "tpot")
    assert value(plain, "memory") - value(cached, "memory") == 7 * 1600 * 131_072


def test_a_pipeline_fills_before_it_flows():
    # 8 sequences in 4 batches of 2: the last leaves 7 stages after the first came in
    ds = estimate(pp=4, batch_size=8)
    server = Replica(wb.gpu(H100), wb.model("llama-3-8b"), pp=4)
    assert value(ds, "ttft") == pytest.approx(7 / 4 * step_time(server, prefill_piece(2, 1000)))
    assert value(ds, "tpot_first") == pytest.approx(step_time(server, decode(2, 1001)))
    # while the pipeline fills a stage waits: it computes and moves no more than its quarter of the layers' work
    one, four = (
        estimate(pp=pp, batch_size=8, time_model="ideal", max_num_batched_tokens=2048).sel(phase="prefill")
        for pp in (1, 4)
    )
    for share in ("mfu", "mbu"):
        work = [value(one, share) * value(one, "step_time"), value(four, share) * value(four, "step_time")]
        assert work[1] == pytest.approx(work[0] / 4, rel=1e-3), share
    alone = estimate(pp=4, batch_size=1)
    assert value(alone, "ttft") == pytest.approx(step_time(server, prefill_piece(1, 1000)))


# Memory -----------------------------------------------------------------------------------------------------------


def test_kv_capacity_of_a_t4_as_its_engine_logs_it():
    # vLLM 0.15.1, Llama-2-7B-AWQ, gpu_memory_utilization 0.9, max_model_len 2048: "GPU KV cache size: 18,608 tokens"
    ds = estimate("t4", "llama-2-7b-awq", 1, 20, 112, gpu_memory_utilization=0.9, max_model_len=2048)
    assert value(ds, "kv_capacity") == pytest.approx(18_608, rel=0.05)
    assert value(ds, "kv_capacity") % 16 == 0


def test_what_does_not_fit_is_not_reported_as_if_it_did():
    ds = estimate(["t4", H100], "llama-3-8b", [1, 4000], [100, 9000], price=1.0, max_num_seqs=4000)
    assert not ds.fits.sel(gpu="t4").any()
    assert (ds.unfit.sel(gpu="t4") == estimation.WEIGHTS).all()
    at = ds.sel(gpu=H100).squeeze()
    assert at.unfit.values.tolist() == [
        [0, estimation.CONTEXT_LENGTH],
        [estimation.KV_CACHE, estimation.CONTEXT_LENGTH],
    ]
    for name in ("ttft", "tpot", "tokens_per_second", "share", "mfu", "energy_per_token", "cost", "step_time"):
        inner = [dim for dim in ("phase", "operator") if dim in ds[name].dims]
        np.testing.assert_array_equal(ds[name].isnull().all(inner), ~ds.fits)
        np.testing.assert_array_equal(ds[name].isnull().any(inner), ~ds.fits)
    assert (ds.bound.where(~ds.fits, -1) == -1).all()
    assert ds.weights.notnull().all()


@pytest.mark.parametrize("options", [{}, {"cached_prefix": 512}, {"kv_dtype": "int4"}, {"tp": 2}, {"pp": 2}])
def test_the_largest_batch_fits_and_one_more_does_not(options):
    options |= {"max_num_seqs": 2000}
    most = int(value(estimate(**options), "largest_batch"))
    ds = estimate(batch_size=[most, most + 1], **options)
    assert ds.fits.squeeze().values.tolist() == [True, False]
    assert value(ds, "memory", batch_size=most) <= 0.9 * wb.gpu(H100).memory_bytes


def test_expert_parallel_sequences_are_whole_on_a_gpu():
    ds = estimate("h200-sxm", "mixtral-8x7b", batch_size=[8, 9], ep=8)
    one_more = value(ds, "memory", batch_size=9) - value(ds, "memory", batch_size=8)
    assert one_more == 1104 * 131_072
    assert value(ds, "kv_capacity") == 8 * (value(ds, "kv_capacity") // 8)


def test_the_cache_of_expert_parallel_gpus_is_that_of_all():
    ds = estimate("h200-sxm", "mixtral-8x7b", ep=8)
    one = Replica("h200-sxm", "mixtral-8x7b", ep=8)
    left = memory.left_for_cache(one, tokens=8192, sequences=1024)  # vLLM's of an H200
    assert value(ds, "kv_capacity") == 8 * 16 * (left // (16 * 131_072))


def test_candidates_take_room_in_the_cache():
    # 1,000 + 100 tokens and 63 candidates more than one: 1,163, in 73 blocks of 16
    ds = estimate(batch_size=8, draft=serving.medusa(candidates=64))
    held = value(ds, "memory") - value(ds, "weights") - value(ds, "activations") - value(ds, "workspace")
    assert held == pytest.approx(8 * 73 * 16 * 131_072)


def test_what_just_fits_fits():
    needed = value(estimate(workspace=0), "memory")
    for spare, fits in ((0, True), (-1, False)):
        ds = estimate(gpu_memory_utilization=1, workspace=wb.gpu(H100).memory_bytes - needed - spare)
        assert value(ds, "fits") == fits
    ds = estimate(prompt=8000, output=[192, 193])  # Llama 3 sees 8,192 tokens
    assert ds.unfit.squeeze().values.tolist() == [room.ALL_FITS, room.CONTEXT_LENGTH]


def test_no_batch_is_largest_where_nothing_fits():
    assert value(estimate("t4", "llama-2-70b"), "largest_batch") == 0
    assert value(estimate("t4", "llama-2-70b"), "kv_capacity") == 0
    assert value(estimate(prompt=9000), "largest_batch") == 0


def test_the_memory_share_is_a_choice_not_one():
    less, more = (value(estimate(gpu_memory_utilization=u), "kv_capacity") for u in (0.5, 0.9))
    assert (more - less) * 131_072 == pytest.approx(0.4 * wb.gpu(H100).memory_bytes, rel=1e-3)  # whole blocks


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_absurd_sizes_do_not_fit(schedule):
    ds = estimate(prompt=[10, 10**12], output=[10, 10**12], schedule=schedule, cached_prefix=9)
    assert ds.unfit.squeeze().values.tolist() == [[0, 3], [3, 3]]


@pytest.mark.parametrize("model", wb.models())
def test_every_model_is_served_or_does_not_fit(model):
    for schedule in SCHEDULES:
        ds = estimate("h200-sxm", model, [1, 64], [100, 900], [1, 50], schedule=schedule)
        assert (ds.end_to_end_latency.notnull() == ds.fits).all()
        assert not (ds.end_to_end_latency <= 0).any()
        assert ((ds.mfu.fillna(0) < 1) & (ds.mbu.fillna(0) <= 1)).all()
        np.testing.assert_allclose(ds.share.sum("operator").where(ds.fits).fillna(100), 100)


# Speculative decoding ---------------------------------------------------------------------------------------------


def test_a_draft_model_by_hand():
    draft = serving.draft_model("llama-3.2-1b", depth=3, alpha=0.7)
    assert draft.tokens_per_step == pytest.approx(1 + 0.7 + 0.7**2 + 0.7**3)
    ds = estimate(batch_size=4, output=2, draft=draft, max_num_batched_tokens=2048)
    target, small = (Replica(wb.gpu(H100), wb.model(name)) for name in ("llama-3-8b", "llama-3.2-1b"))
    spent = step_time(target, decode(4, 1001, candidates=4)) + 3 * step_time(small, decode(4, 1001))
    assert value(ds, "tpot") == pytest.approx(spent / draft.tokens_per_step)
    prompts = 2 * step_time(target, prefill_piece(2, 1000)) + step_time(small, prefill_piece(4, 1000))
    assert value(ds, "ttft") == pytest.approx(prompts)
    plain = estimate(batch_size=4, output=2, max_num_batched_tokens=2048)
    assert value(ds, "kv_bytes_per_token") - value(plain, "kv_bytes_per_token") == 2 * 16 * 8 * 64 * 2
    assert value(ds, "weights") - value(plain, "weights") == pytest.approx(2 * 1.236e9, rel=0.001)


def test_drafts_that_are_never_accepted_only_cost():
    plain = value(estimate(), "tpot")
    for draft in (
        serving.draft_model("llama-3.2-1b", depth=3, alpha=0.0),
        serving.medusa(candidates=16, acceptance=lambda q: 1.0),
    ):
        assert value(estimate(draft=draft), "tpot") > plain


def test_an_mtp_layer_is_one_of_the_models_own():
    draft = serving.mtp(alpha=0.85)
    assert (draft.candidates, draft.tokens_per_step) == (2, pytest.approx(1.85))
    layer = draft.passes_of(wb.model("deepseek-v3"))
    assert (layer.n_layers, layer.moe.layers, layer.dense_layers) == (1, 1, 0)
    plain, guessed = (estimate("h200-sxm", "deepseek-v3", tp=8, draft=d) for d in (None, draft))
    assert 1.2 < value(plain, "tpot") / value(guessed, "tpot") < 1.85  # 1.8 times the tokens per second in that report
    assert value(guessed, "kv_bytes_per_token") == 62 * 576 * 2
    # README_WEIGHTS.md of DeepSeek-V3: 11.5 B parameters of the module's own, embeddings and head are shared
    assert value(guessed, "weights") - value(plain, "weights") == pytest.approx(11.5e9 / 8, rel=0.05)


def test_medusa_heads_by_hand():
    draft = serving.medusa(candidates=64, heads=5, acceptance={64: 3.0})
    ds = estimate(output=2, draft=draft)
    gemms = [wb.kernels.gemm_time(H100, m=8, n=n, k=4096) for n in (4096, 128256)]
    server = Replica(wb.gpu(H100), wb.model("llama-3-8b"))
    spent = step_time(server, decode(8, 1001, candidates=64)) + 5 * sum(gemms)
    assert value(ds, "tpot") == pytest.approx(spent / 3)
    added = value(ds, "weights") - value(estimate(), "weights")
    assert added == 5 * 4096 * (4096 + 128256) * 2


# Energy and cost --------------------------------------------------------------------------------------------------


def test_cost_by_hand():
    # 2 GPUs at 3 an hour put out 500 tokens a second: 6 / 3600 / 500 a token
    ds = estimate(tp=2, price=3.0)
    assert value(ds, "cost") == pytest.approx(1e6 * 6 / 3600 / value(ds, "tokens_per_second"))
    by_gpu = estimate([A100, H100], price={A100: 1.5, H100: 3.0})
    for gpu, price in ((A100, 1.5), (H100, 3.0)):
        rate = value(by_gpu, "tokens_per_second", gpu=gpu)
        assert value(by_gpu, "cost", gpu=gpu) == pytest.approx(1e6 * price / 3600 / rate)


def test_energy_is_between_the_floor_and_the_tdp():
    ds = estimate(tp=[1, 4], batch_size=[1, 64])
    full = 700 * ds.tp / ds.tokens_per_second
    assert ((ds.energy_per_token >= 0.4 * full) & (ds.energy_per_token <= full)).all()
    top = estimate(power_floor=1.0)
    assert value(top, "energy_per_token") == pytest.approx(700 / value(top, "tokens_per_second"))
    assert np.isnan(value(estimate("tpu-v5e", activation_dtype="bf16", model="gpt2", prompt=100), "energy_per_token"))
    # a prompt alone: 40 % of 700 W, and of the rest what it uses of the peak
    ds = estimate(batch_size=1, output=1).sel(phase="prefill").squeeze()
    assert ds.mfu > ds.mbu
    assert ds.energy_per_token == pytest.approx((700 * (0.4 + 0.6 * ds.mfu) * ds.ttft).item())


# Published --------------------------------------------------------------------------------------------------------


def test_decode_exercise_of_the_scaling_book_13b():
    # Austin et al. 2025, "How to Scale Your Model", part 7: Llama-2-13B in bf16 at 8,192 tokens on 8 TPU v5e.
    # They read all 26 GB of weights, the embeddings too, and count no collectives: within 3 %
    card = wb.gpu("tpu-v5e")
    roomy = card.override(memory_gib=300)
    bf16 = {"weight_dtype": "bf16", "activation_dtype": "bf16", "kv_dtype": "bf16", "time_model": "ideal"}
    ds = estimate(roomy, "llama-2-13b", [1, 8, 16, 32, 64, 240], 8191, 2, 8, max_model_len=8200, **bf16).squeeze()
    np.testing.assert_allclose(1e3 * ds.tpot, [4.98, 12.13, 20.30, 36.65, 69.33, 249.09], rtol=0.03)
    rates = (ds.batch_size / ds.tpot).values
    np.testing.assert_allclose(rates, [200.61, 659.30, 787.99, 873.21, 923.13, 963.53], rtol=0.03)
    as_sold = estimate("tpu-v5e", "llama-2-13b", [8, 16], 8191, 2, 8, max_model_len=8200, **bf16)
    assert as_sold.fits.squeeze().values.tolist() == [True, False]  # 16 would take 133 of 128 GB


def test_a_batch_gains_until_compute_and_the_cache_bound_it():
    ds = estimate(batch_size=[1, 2, 4, 8, 16, 32, 64, 128], prompt=512, output=128).squeeze()
    gain = (ds.tokens_per_second / ds.tokens_per_second[0]).values
    assert (np.diff(gain) > 0).all()
    assert gain[1] == pytest.approx(2, rel=0.05)
    assert gain[-1] < 64


# What must hold everywhere ----------------------------------------------------------------------------------------

SIZES = (st.integers(1, 300), st.integers(1, 9000), st.integers(2, 600))  # batch_size, prompt, output
#: Latent attention chooses its kernel by FLOPs, so that a longer context may take less time.
DENSE = models(latent=False)
#: One pass or chunk a prompt. One pass more may save a wave of tiles in each: the stairs of kernel times.
ONE_PASS = {"max_num_batched_tokens": 10**7}


def roomy(card):
    """The GPU with memory for everything."""
    return card.override(memory_gib=1e12)


def asked(server, batch_size, prompt, output, **asked_for):
    """An estimate of a random server that has room."""
    card, model, options = server
    ds = serving.estimate(
        roomy(card), model, batch_size, prompt, output, **asked_for | options, max_num_seqs=400, max_model_len=10**5
    )
    assert ds.fits.all()
    return ds


def grows(values, dim):
    return bool((values.diff(dim) >= -1e-12 * values.max()).all())


@given(servers(DENSE), *SIZES)
def test_times_grow_with_the_batch_the_prompt_and_the_output(server, b, p, o):
    ds = asked(server, [b, b + 1], [p, p + 1], [o, o + 1], **ONE_PASS)
    for name in ("ttft", "tpot", "tpot_first", "tpot_last", "end_to_end_latency", "memory"):
        for dim in ("batch_size", "prompt", "output"):
            assert grows(ds[name], dim), (name, dim)
    assert (ds.tpot_first <= ds.tpot_last * (1 + 1e-12)).all()
    assert (ds.ttft < ds.end_to_end_latency).all()


@given(server=servers(DENSE, time_model="ideal"), b=SIZES[0], p=SIZES[1], o=SIZES[2])
def test_ideal_times_grow_in_passes_as_well(server, b, p, o):
    ds = asked(server, [b, b + 1], [p, p + 1], o)
    for name in ("ttft", "tpot"):  # with more output the prompts of the others come more rarely
        for dim in ("batch_size", "prompt"):
            assert grows(ds[name], dim), (name, dim)


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(max_examples=40)  # three estimates each
@given(
    server=servers(models(latent=False, window=False)),
    b=SIZES[0],
    p=st.integers(3, 9000),
    shares=st.tuples(*[st.floats(0, 1)] * 2),
)
def test_a_longer_cached_prefix_is_never_slower_and_stored_once(schedule, server, b, p, shares):
    less, more = (int(share * (p - 1)) for share in sorted(shares))
    b = b if schedule == "static" else 1  # in a loop of several, prompts meet by chance
    one, two, plain = (
        asked(server, b, p, 100, cached_prefix=c, schedule=schedule, max_num_batched_tokens=9000).squeeze()
        for c in (less, more, 0)
    )
    assert two.ttft <= one.ttft * (1 + 1e-12)
    assert two.memory <= one.memory
    assert one.ttft <= plain.ttft * (1 + 1e-12)
    if schedule == "static":
        assert two.tpot == plain.tpot


@given(servers(), *SIZES, st.sampled_from(SCHEDULES), st.floats(0, 1))
def test_rates_utilization_and_energy_follow_from_the_times(server, b, p, o, schedule, floor):
    card, _, options = server
    ds = asked(server, b, p, o, schedule=schedule, power_floor=floor, price=2.0).squeeze()
    assert ds.tokens_per_second * ds.end_to_end_latency == pytest.approx(b * o)
    assert ds.requests_per_second * ds.end_to_end_latency == pytest.approx(b)
    assert ds.end_to_end_latency == pytest.approx((ds.ttft + (o - 1) * ds.tpot).item())
    assert (ds.step_time > 0).all()
    for name in ("mfu", "mbu"):
        assert ((ds[name] > 0) & (ds[name] <= 1 + 1e-9)).all(), name
    np.testing.assert_allclose(ds.share.sum("operator"), 100)
    # the TDP times what each phase uses of the peak that it uses most, as long as the phase takes
    watts = card.tdp_w * (floor + (1 - floor) * np.maximum(ds.mfu, ds.mbu)) if card.tdp_w else ds.mfu * np.nan
    joules = watts.sel(phase="prefill") * ds.ttft + watts.sel(phase="decode") * (o - 1) * ds.tpot
    assert ds.energy_per_token == pytest.approx((options["tp"] * joules / (b * o)).item(), nan_ok=True)
    assert ds.cost == pytest.approx(1e6 * options["tp"] * 2.0 / 3600 / ds.tokens_per_second.item())


@given(servers(), *SIZES)
def test_what_fits_is_what_there_is_room_for(server, b, p, o):
    card, model, options = server
    ds = serving.estimate(card, model, [b, b + 1], p, o, **options, max_num_seqs=400, max_model_len=10**5).squeeze()
    assert grows(ds.memory, "batch_size")
    assert (ds.memory >= ds.weights + ds.activations).all()
    assert (ds.fits == (ds.memory <= 0.9 * card.memory_bytes)).all()
    assert (ds.fits == (ds.batch_size <= ds.largest_batch)).all()
    assert ds.ttft.notnull().equals(ds.fits)


@settings(max_examples=40)  # three estimates each
@given(servers(models(latent=False, mtp=True)), *SIZES, st.integers(1, 6), st.floats(0, 1), st.floats(0, 1))
def test_a_draft_that_is_accepted_more_often_is_faster(server, b, p, o, depth, one, other):
    rare, often = (
        asked(server, b, p, o, draft=serving.mtp(alpha=alpha, depth=depth)).squeeze() for alpha in sorted((one, other))
    )
    assert often.tpot <= rare.tpot
    assert often.ttft == rare.ttft
    assert rare.tpot > asked(server, b, p, o).tpot.item() / (depth + 1)  # each step yields depth + 1 tokens at most


# What a user can get wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "h1000"}, "unknown GPU 'h1000'"),
        ({"model": []}, "model is empty: give at least one"),
        ({"batch_size": 0}, "batch_size = 0: allowed are whole numbers"),
        ({"batch_size": "8"}, "batch_size = '8': allowed are whole numbers"),
        ({"prompt": [100, 100]}, "prompt has 100 more than once"),
        ({"output": 1.5}, "output = 1.5: allowed are whole numbers"),
        ({"tp": -1}, "tp = -1: allowed are whole numbers"),
        ({"tp": 3}, "tp = 3 does not divide n_heads = 32 of llama-3-8b"),
        ({"schedule": "dynamic"}, "unknown schedule 'dynamic'"),
        ({"schedule": ["static"]}, "unknown schedule"),
        ({"cached_prefix": 1000}, "cached_prefix = 1000: allowed is less than the shortest prompt, 1000"),
        ({"cached_prefix": -1}, "cached_prefix = -1: allowed are whole numbers"),
        ({"draft": "medusa"}, "draft = 'medusa': make one with serving.draft_model, medusa or mtp"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens = 0: allowed are whole numbers"),
        ({"max_num_seqs": [1, 2]}, r"max_num_seqs = \[1, 2\]: allowed are whole numbers"),
        ({"max_model_len": "2k"}, "max_model_len = '2k': allowed are whole numbers"),
        (
            {"schedule": "continuous", "batch_size": 2049, "max_num_seqs": 4000, "max_num_batched_tokens": 2048},
            "2048 leaves no room for a prompt: the other sequences of batch_size = 2049 decode 2048 tokens",
        ),
        (
            {"schedule": "continuous", "batch_size": 3000, "max_num_seqs": 4000, "max_num_batched_tokens": 2048},
            "2048 leaves no room for a prompt: the other sequences of batch_size = 3000 decode 2999 tokens",
        ),
        ({"pp": "2"}, "pp = '2': allowed are whole numbers from 1"),
        ({"gpu_memory_utilization": 1.1}, "gpu_memory_utilization = 1.1: allowed are shares from 0 to 1"),
        ({"gpu_memory_utilization": float("nan")}, "gpu_memory_utilization = nan: allowed are shares"),
        ({"workspace": -1}, "workspace = -1: allowed are bytes from 0"),
        ({"power_floor": "low"}, "power_floor = 'low': allowed are shares from 0 to 1"),
        ({"price": 0}, "price of h100-sxm = 0: allowed are positive numbers"),
        ({"price": {"t4": 1}}, "price has no entry for h100-sxm: it has t4"),
        ({"price": {H100: "cheap"}}, "price of h100-sxm = 'cheap'"),
        ({"weight_dtype": "int3"}, "unknown weight_dtype 'int3'"),
    ],
)
def test_a_careless_question_is_one_clear_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        estimate(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: serving.draft_model("lama", depth=2, alpha=0.5), "unknown model 'lama'"),
        (lambda: serving.draft_model("gpt2", depth=0, alpha=0.5), "depth = 0: allowed are whole numbers"),
        (lambda: serving.draft_model("gpt2", depth=[2, 3], alpha=0.5), r"depth = \[2, 3\]: allowed are whole numbers"),
        (lambda: serving.mtp(alpha=1.5), "alpha = 1.5: allowed are chances from 0 to 1"),
        (lambda: serving.medusa(candidates=0), "candidates = 0: allowed are whole numbers"),
        (lambda: serving.medusa(candidates=8, heads=0), "heads = 0: allowed are whole numbers"),
        (lambda: serving.medusa(candidates=8, acceptance={4: 2.0}), "acceptance has no value for 8 candidates"),
    ],
)
def test_a_careless_draft(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# The roadmap of the T4 report: each of its gains as a question to the model -----------------------------------------


def t4(batch_size=1, model="llama-2-7b-awq", gpu="t4", tp=1, **options):
    options = {"max_model_len": 2048, "schedule": "continuous"} | options
    return serving.estimate(gpu, model, batch_size, 20, 112, tp, **options).squeeze(drop=True)


def test_roadmap_batch_size():
    ds = t4([1, 8, 32, 128])
    gain = (ds.tokens_per_second / ds.tokens_per_second[0]).values
    assert (np.diff(gain[:3]) > 0).all()
    assert gain[3] < 1.5 * gain[2]  # of four times the users: compute and the host bound both
    assert (gain < ds.batch_size.values)[1:].all()


def test_roadmap_kv_quantization():
    fp16, int8, int4 = (t4(64, kv_dtype=dtype) for dtype in ("fp16", "int8", "int4"))
    assert int8.kv_bytes_per_token == fp16.kv_bytes_per_token / 2
    assert int8.kv_capacity == pytest.approx(2 * fp16.kv_capacity.item(), rel=0.001)
    assert int4.tpot < int8.tpot < fp16.tpot
    assert fp16.tpot / int4.tpot < 4  # the weights are read all the same


def test_roadmap_speculative_decoding():
    draft = serving.draft_model(small_llama(), depth=4, alpha=0.8)
    lone = t4(1).tpot / t4(1, draft=draft).tpot
    crowd = t4(64).tpot / t4(64, draft=draft).tpot
    assert 1 < lone < draft.tokens_per_step
    assert crowd < lone  # candidates are free only while memory bounds a step


def small_llama():
    """A draft of a tenth of the size with the target's vocabulary."""
    return wb.model("llama-2-7b").model_copy(
        update={
            "id": "small",
            "n_layers": 8,
            "hidden_size": 2048,
            "intermediate_size": 5504,
            "n_heads": 16,
            "n_kv_heads": 16,
        }
    )


def test_roadmap_grouped_query_attention():
    grouped = wb.model("llama-2-7b-awq").model_copy(update={"id": "llama-2-7b-awq-gqa", "n_kv_heads": 8})
    ds = t4(64, ["llama-2-7b-awq", grouped])
    assert ds.kv_bytes_per_token.values.tolist() == [524_288, 131_072]
    assert ds.kv_capacity[1] > 4 * ds.kv_capacity[0]
    assert ds.tpot[1] < ds.tpot[0]


def test_roadmap_tensor_parallelism_over_pcie():
    ds = t4(8, tp=[1, 2, 4], gpu="t4")
    gain = (ds.tpot[0] / ds.tpot).values
    assert 1 < gain[1] < 2
    assert gain[2] < 4
    assert (ds.share.sel(operator="all_reduce", phase="decode", tp=4)) > 10


def test_roadmap_other_gpus():
    ds = serving.estimate(["t4", "l4", "a10g", A100], "llama-2-7b-awq", 8, 20, 112, time_model="ideal").squeeze()
    bandwidths = np.array([320, 300, 600, 2039])
    np.testing.assert_allclose(ds.tpot[0] / ds.tpot, bandwidths / 320, rtol=0.02)  # memory bounds every step


def test_an_even_share_of_a_prompt_counts_as_many_rows_as_it_has():
    """Rows of a pass are a share, (rows / passes) x tokens: rounding must not make one more part of `gemm_rows`.

    7 prompts of 816 tokens in passes of 2,048 at most are 3 passes of 1,904 rows.
    """
    rows = 7 * 816 / 3
    assert rows == 1904
    whole, parts = (
        serving.estimate("t4", "llama-2-7b-awq", 7, 816, 8, max_num_batched_tokens=2048, gemm_rows=count).ttft.item()
        for count in (None, int(rows))
    )
    assert parts == pytest.approx(whole, rel=1e-12)
