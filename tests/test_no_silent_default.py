"""Nothing unknown is taken for a number: every GPU under every law, with its entry as it is and with fields missing."""

import math
import warnings
from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest
from hybrid_models import hybrid
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import kernels, serving
from workbench.catalog import KINDS, kernel_fit
from workbench.catalog.dtypes import WIDTH
from workbench.common.arguments import MAX_SIZE
from workbench.kernels.attention import whole_waves
from workbench.kernels.gemm import l2_misses, tiled_flops
from workbench.kernels.unknowns import kernel_kinds
from workbench.operators import COLLECTIVES, OPERATORS, Conventions, Step, Widths, cost, operator_set
from workbench.servers import Replica, memory

GPUS = wb.gpus()
#: With linear and sparse attention, latent experts and layers' own inputs.
HYBRIDS = ("qwen3-next-80b-a3b", "deepseek-v3.2", "kimi-linear-48b-a3b", "gemma-4-e2b", "latent-experts")
#: Cards that nothing joins, as far as the catalog knows; of the PCIe of Orin it has no lanes.
ALONE = ("apple-m3-ultra", "apple-m4-max", "jetson-agx-orin-64gb", "jetson-agx-thor")
#: As dense, grouped, latent, windowed and routed as they come.
MODELS = ("llama-7b", "llama-3-8b", "mistral-7b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "gemma-2-9b", "gpt2")


def native(card):
    return "fp16" if "fp16" in card.dense_tflops else "bf16"


def without(card, *fields):
    return card.model_copy(update=dict.fromkeys(fields))


def attention(card, new_tokens, context, batch_size, heads=(32, 8), **options):
    return kernels.attention_time(
        card, new_tokens=new_tokens, context=context, batch_size=batch_size, n_heads=heads[0], n_kv_heads=heads[1],
        head_dim=128, **{"dtype": native(wb.gpu(card))} | options,
    )  # fmt: skip


# Laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("lacking", [(), ("sm_count",), ("l2_mb",), ("sm_count", "l2_mb", "boost_mhz", "chip")])
def test_large_shapes_take_little_more_than_the_share_of_the_roof_that_the_fit_reaches(name, lacking):
    """Tiles, waves and caches add this to a fit's share; a GPU taken for one SM took 26 times longer than the roof."""
    card = without(wb.gpu(name), *lacking)
    shapes = (
        (kernels.gemm_time, {"m": 8192, "n": 8192, "k": 8192, "dtype": native(card)}, "gemm", "compute", 1.1),
        (kernels.gemm_time, {"m": 64, "n": 16384, "k": 16384, "dtype": native(card)}, "gemm", "bandwidth", 1.6),
        (attention, {"new_tokens": 8192, "context": 8192, "batch_size": 4}, "prefill", "compute", 2.5),
        (attention, {"new_tokens": 1, "context": 8192, "batch_size": 128}, "decode", "bandwidth", 1.5),
    )
    for function, sizes, kind, limit, most in shapes:
        law, ideal = (function(card, **sizes, time_model=model) for model in ("kernel", "ideal"))
        fit = kernel_fit(card, kind, "bf16", None).fit
        share = getattr(fit, f"{limit}_fraction")
        assert 0.15 < share <= 1, (kind, limit)
        allowed = most * ideal / share
        if "m" in sizes:  # at the other end of the roof, of whose peak the fit has a smaller share
            products = 2.0 * sizes["m"] * sizes["n"] * sizes["k"] / card.peak_16_bit
            allowed = max(allowed, most * products / fit.compute_fraction)
        assert ideal <= law <= allowed, (function.__name__, sizes, law / ideal)


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_has_a_time_for_every_law_in_every_format_that_it_has(name):
    card = wb.gpu(name)
    gemm = partial(kernels.gemm_time, card, m=[1, 4096], n=4096, k=4096)
    for call, dtype in product((gemm, partial(attention, card, [1, 512], 512, [1, 8])), WIDTH):
        if dtype in card.dense_tflops:
            law, ideal = (call(dtype=dtype, time_model=model) for model in ("kernel", "ideal"))
            assert (np.isfinite(law) & (law >= ideal) & (ideal > 0)).all()
        else:
            with pytest.raises(ValueError, match=f"^{name} has no {dtype} peak[^\n]*$"):
                call(dtype=dtype)
    for time in (kernels.all_reduce_time, kernels.all_to_all_time, kernels.send_time):
        if name in ALONE:
            with pytest.raises(ValueError, match=f"^{name} has no link rate for 4 GPUs: [^\n]*$"):
                time(card, bytes_=1e3, gpus=4)
            continue
        gpus = 2 if name == "gb10" else 4
        law, ideal = (time(card, bytes_=[1e3, 1e9], gpus=gpus, time_model=model) for model in ("kernel", "ideal"))
        assert (np.isfinite(law) & (law >= ideal) & (ideal > 0)).all()


@pytest.mark.parametrize("model", MODELS)
def test_every_operator_of_every_model_has_a_time_on_every_gpu(model):
    for view in ("fused", "unfused"):
        for dtype in ("fp16", "bf16"):
            cards = [name for name in GPUS if native(wb.gpu(name)) == dtype]
            formats = dict.fromkeys(("weight_dtype", "activation_dtype", "kv_dtype"), dtype)
            ds = wb.roofline_grid(
                cards, model, view, batch_size=[1, 256], seq_len=[16, 2000], time_model="kernel", **formats
            )
            assert (np.isfinite(ds.time) & (ds.time > 0)).all()
            assert (ds.performance <= ds.attainable * (1 + 1e-12)).all()


def test_what_a_gpu_lacks_is_left_out_and_said():
    full, lacking = wb.gpu("h100-sxm"), without(wb.gpu("h100-sxm"), "sm_count", "l2_mb")
    assert "unknown" not in kernels.assumptions([full])
    assert kernels.assumptions([full], kinds=["gemm", "decode fp8_cache"]) == ""  # its own numbers
    for words in (
        "SM count unknown, so tiles make no further waves",
        "L2 cache unknown, so activations come from memory",
    ):
        assert words in kernels.assumptions([lacking])
    assert kernels.assumptions([lacking], "ideal") == ""
    # decoding of one sequence: a wave's start and the tail are a few microseconds, no more
    for sizes in ((1, 2048, 1), (512, 512, 1), (4096, 4096, 8)):
        assert attention(lacking, *sizes) == pytest.approx(attention(full, *sizes), rel=0.4)
    assert l2_misses(3e6, lacking) == 3e6


def test_every_attention_starts_a_wave():
    full, lacking = wb.gpu("h100-sxm"), without(wb.gpu("h100-sxm"), "sm_count")
    assert whole_waves(np.array([0, 1, 132, 133]), full).tolist() == [0, 1, 1, 2]
    assert whole_waves(np.array([0, 1, 132, 133]), lacking).tolist() == [0, 1, 1, 1]


def test_without_a_number_of_sms_a_tile_more_starts_no_wave():
    fit = {"fill_depth": 200, "half_tile": 30, "max_splits": 1}
    steps = [
        tiled_flops(256, 128, 4096, 133, sm_count=sms, **fit) / tiled_flops(256, 128, 4096, 132, sm_count=sms, **fit)
        for sms in (132, None)
    ]
    assert steps[1] == pytest.approx(133 / 132, rel=1e-12)
    assert steps[0] > 1.1
    assert tiled_flops(32, 64, 64, 1.5, sm_count=None, fill_depth=0, half_tile=0) >= 2 * 32 * 64 * 64 * 1.5


def test_answers_carry_what_they_assume():
    bf16 = dict.fromkeys(("weight_dtype", "activation_dtype", "kv_dtype"), "bf16")
    ds = wb.roofline_grid(["tpu-v5e", "a100-80gb-sxm"], "gpt2", time_model="kernel", tp=[1, 2], **bf16)
    borrowed = "tpu-v5e: gemm, prefill, decode, elementwise, all_reduce by the fit of a100-80gb-sxm; SM count unknown"
    assert ds.attrs["assumed"].startswith(borrowed)
    assert "a100-80gb-sxm:" not in ds.attrs["assumed"]  # its own numbers
    assert wb.forward_pass(ds).attrs["assumed"] == ds.attrs["assumed"]
    assert wb.roofline_grid("tpu-v5e", "gpt2", **bf16).attrs["assumed"] == ""  # on the roof
    estimate = serving.estimate(["gh200-144gb", "trainium2", "a100-80gb-sxm"], "llama-3-8b", tp=[1, 8])
    for words in (
        "gemm, prefill, decode by the fit of h200-sxm",
        "trainium2: memory is the vendor's 96 GB, for want of what its driver reports",
    ):
        assert words in estimate.attrs["assumed"]
    assert "a100-80gb-sxm: memory" not in estimate.attrs["assumed"]
    assert "gh200-144gb: memory" not in estimate.attrs["assumed"]
    server = wb.simulation.Server("b300-sxm", "gpt2", max_model_len=256)
    frame = wb.simulation.simulate(server, wb.simulation.poisson(1, requests=2, prompt=10, output=5))
    assert "by the fit of b200-sxm" in frame.attrs["assumed"]
    server = wb.simulation.Server("a100-80gb-sxm", "gpt-oss-20b", max_model_len=256, engine=None)
    frame = wb.simulation.simulate(server, wb.simulation.poisson(1, requests=1, prompt=10, output=5))
    of_experts = "a100-80gb-sxm: moe mxfp4_wo by the fit of a100-80gb-sxm (in bf16)"
    assert frame.attrs["assumed"] == of_experts  # its windows are as the engine keeps them


def test_nothing_is_said_of_kernels_that_are_not_run():
    h100 = wb.gpu("h100-sxm")
    assert serving.estimate(h100, "llama-3-8b", engine=None).attrs["assumed"] == ""
    grids = {view: wb.roofline_grid(h100, "llama-3-8b", view, time_model="kernel") for view in ("fused", "unfused")}
    said = {view: ds.attrs["assumed"] for view, ds in grids.items()}
    assert said == {"fused": "", "unfused": "h100-sxm: unfused by the fit of a100-80gb-sxm (pytorch)"}
    lacking = without(h100, "sm_count", "l2_mb")
    assert kernels.assumptions([lacking], kinds=["elementwise"]) == kernels.assumptions([lacking], kinds=[]) == ""
    said = "h100-sxm: SM count unknown, so tiles make no further waves"
    assert kernels.assumptions([lacking], kinds=["decode"]) == said
    in_l2 = ["gemm", "unfused", "prefill", "mla_prefill", "linear_chunk"]
    assert all(("L2 cache" in kernels.assumptions([lacking], kinds=[kind])) == (kind in in_l2) for kind in KINDS)
    with pytest.raises(ValueError, match="^unknown kinds 'gem'"):
        kernels.assumptions([h100], kinds=["gem"])


#: Kinds of fit that a kernel's time takes: of prompts, and of decoding where that is another one.
OF_KERNEL = {
    "attention": ["prefill", "decode"], "mla": ["mla_prefill", "mla_decode"],
    "linear_attention": ["linear_step", "linear_chunk"],
}  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_has_the_kind_of_its_kernel(operator):
    """With its format where the kind has fits by format, whatever operators of other models stand beside it."""
    ran = 0
    for model in (*map(wb.model, MODELS), *map(hybrid, HYBRIDS)):
        call = OPERATORS[operator](model, Step(1, 8, 8, 0), Widths(), Conventions())
        found = kernel_kinds(model, [operator], kernels.Formats(weight="fp16").of(model))
        form = "fp8" if operator == "index_scores" else "bf16"  # whatever the others are in
        assert found == ([f"{kind} {form}" for kind in OF_KERNEL.get(call.kernel, [call.kernel])] if call else [])
        ran += call is not None
    assert ran


def test_a_kind_is_named_with_the_format_that_its_operand_has():
    model = wb.model("llama-3-8b")
    formats = kernels.Formats(weight="fp8", activation="fp8", kv="fp8", lm_head="fp16").of(model)
    run = ["qkv_proj", "attention", "elementwise", "lm_head", "all_reduce"]
    assert kernel_kinds(model, run, formats) == [
        *("gemm bf16", "gemm fp8", "prefill fp8", "decode fp8", "elementwise bf16", "all_reduce bf16")
    ]  # fmt: skip
    assert kernel_kinds(model, [*run, "router", *COLLECTIVES], formats)[-2:] == ["all_reduce bf16", "all_to_all bf16"]


def test_what_is_made_of_answers_says_what_they_assume():
    said = "t4: gemm, prefill, decode, elementwise by the fit of a100-80gb-sxm"
    table = serving.plan(
        "gpt2", prompt=64, output=8, gpu=["t4", "v100-pcie-16gb", "a100-80gb-sxm"], tp=1, batch_size=[1, 2], engine=None
    )
    assert table.attrs["assumed"].startswith(said)
    shared = "Assumed of t4, v100-pcie-16gb: gemm, prefill, decode, elementwise by the fit of a100-80gb-sxm."
    for rows in range(1, len(table) + 1):
        lines = serving.plan_text(table, rows, width=200).splitlines()
        for name in ("t4", "v100-pcie-16gb"):
            told = [line for line in lines if line.startswith("Assumed of") and name in line.split(":")[0]]
            assert bool(told) == (name in {*table.gpu.head(rows)})
    assert shared in lines
    table.attrs["assumed"] = ". ".join(f"t4: {number}" for number in range(9))
    assert serving.plan_text(table).splitlines()[-2:] == [
        "Assumed of t4: 3.", "5 more in the plan's attribute `assumed`."
    ]  # fmt: skip
    settings = wb.estimates(["t4", "a100-80gb-sxm"], "gpt2", [1, 2], 64, 8, engine=None)
    assert wb.best(settings, "ttft").attrs["assumed"] == said
    assert wb.best(settings, "ttft", limits={"ttft": 1e-9}).attrs["assumed"] == said  # no row
    assert wb.pareto(settings, "ttft", "tpot").attrs["assumed"] == said
    ds = wb.roofline_grid("t4", "gpt2", time_model="kernel")
    assert wb.tables.points(ds).attrs["assumed"] == said == wb.best(ds, "time").attrs["assumed"]
    speedup = wb.speculation.speedup("t4", "llama-7b", 1, 64, [1, 2])
    borrowed = "t4: gemm by the fit of a100-80gb-sxm; unfused by the fit of a100-80gb-sxm (pytorch)"
    assert speedup.attrs["assumed"] == borrowed
    assert wb.tables.speedups(speedup).attrs["assumed"] == speedup.attrs["assumed"]


@pytest.mark.parametrize("pcie", [None, "4.0", "x16", "4.0 x", "4.0 x0", "9.0 x16", "4.0 xfour", "4.0 x16 x16"])
def test_a_link_whose_rate_is_not_known_is_refused(pcie):
    card = wb.gpu("t4").model_copy(update={"pcie": pcie})
    with pytest.raises(ValueError, match="^t4 has no link rate for 2 GPUs: "):
        kernels.link_rate(card, 2)
    assert kernels.link_rate(card, 1) == np.inf


def test_a_softmax_without_a_rate_of_exponentials_is_said():
    words = "rate of exponentials unknown, so softmax takes no time"
    assert words in kernels.assumptions([wb.gpu("mi300x")])
    assert words not in kernels.assumptions([wb.gpu("h100-sxm")])


# Whole numbers of any size ----------------------------------------------------------------------------------------

LARGE = st.sampled_from([1, 2, 17, 4097, 10**6 + 3, 10**9 + 7, 2**31, 2**40 - 1, MAX_SIZE - 1, MAX_SIZE])


def exact_gemm(m, k, n, batch, width):
    return 2 * batch * m * k * n, batch * width * (m * k + k * n + m * n)


@given(LARGE, LARGE, LARGE, LARGE)
def test_a_matmul_of_any_sizes_is_counted_exactly(m, k, n, batch):
    flops, moved = exact_gemm(m, k, n, batch, 2)
    for kind in (int, np.int64, float, lambda size: np.array([size])):
        call = cost.gemm(*map(kind, (m, k, n)), weight=2, activation=2, batch=kind(batch))
        assert math.isclose(np.asarray(call.flops).item(), flops, rel_tol=1e-12)
        assert math.isclose(np.asarray(call.bytes).item(), moved, rel_tol=1e-12)


@given(LARGE, LARGE, LARGE, st.sampled_from((*MODELS, *HYBRIDS)))
def test_every_operator_of_integers_of_any_size_is_that_of_exact_numbers(sequences, new_tokens, cached, name):
    model = hybrid(name) if name in HYBRIDS else wb.model(name)
    sizes = (sequences, new_tokens, cached + new_tokens, cached)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for operator in (*operator_set(model, "fused"), *operator_set(model, "unfused")):
            given_, in_floats = (
                OPERATORS[operator](model, Step(*map(kind, sizes)), Widths(), Conventions())
                for kind in (np.int64, float)
            )
            for field in ("flops", "bytes", "activations"):
                value = np.asarray(getattr(given_, field)).item()
                assert np.isfinite(value), (operator, field)
                assert value >= 0, (operator, field)
                assert value == np.asarray(getattr(in_floats, field)).item(), (operator, field)


@given(LARGE, LARGE, LARGE)
def test_attention_elementwise_and_collectives_of_any_size_by_exact_arithmetic(sequences, new, cached):
    model, context = wb.model("llama-3-8b"), cached + new
    step = Step(*map(np.int64, (sequences, new, context, cached)))
    heads, dim, hidden, layers = model.n_heads, model.head_dim, model.hidden_size, model.n_layers
    scores = Fraction(2 * new * context - new * (new - 1), 2)
    call = OPERATORS["attention"](model, step, Widths(), Conventions())
    assert math.isclose(call.flops, 4 * dim * heads * sequences * scores, rel_tol=1e-12)
    read = 2 * 2 * sequences * model.n_kv_heads * dim * context
    assert math.isclose(call.bytes, read + 2 * 2 * sequences * heads * new * dim, rel_tol=1e-12)
    head = OPERATORS["lm_head"](model, step, Widths(), Conventions())
    assert math.isclose(head.flops, 2 * sequences * hidden * model.vocab_size, rel_tol=1e-12)
    tokens = sequences * new
    moved = COLLECTIVES["all_reduce"](model, step, Widths(), 8)
    assert math.isclose(moved.bytes, 4 * tokens * hidden, rel_tol=1e-12)
    rotated, kv, mlp = (heads + model.n_kv_heads) * dim, 2 * model.n_kv_heads * dim, model.intermediate_size
    elements = 8 * hidden + 2 * rotated + kv + 3 * mlp + Fraction(6 * hidden, layers)
    layer = OPERATORS["elementwise"](model, step, Widths(), Conventions())
    assert math.isclose(layer.bytes, tokens * 2 * (elements + kv), rel_tol=1e-12)


@pytest.mark.parametrize("gpu", ["a100-80gb-sxm", "gaudi3", "mi300x"])
@pytest.mark.parametrize("model", ["llama-3-8b", "mixtral-8x7b", "deepseek-v3"])
def test_the_largest_allowed_sizes_have_finite_times(gpu, model):
    formats = dict.fromkeys(("weight_dtype", "activation_dtype", "kv_dtype"), "bf16")
    for time_model in kernels.TIME_MODELS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ds = wb.roofline_grid(
                gpu, model, batch_size=[1, MAX_SIZE], seq_len=[1, MAX_SIZE], time_model=time_model, **formats
            )
        for name in ("flops", "bytes", "time", "intensity", "performance"):
            assert (np.isfinite(ds[name]) & (ds[name] > 0)).all(), name


def test_a_prompt_of_fifty_thousand_tokens_is_simulated():
    """Its products of bytes pass 2^63."""
    server = wb.simulation.Server(
        "h100-sxm", "llama-3-8b", max_num_batched_tokens=65536, max_model_len=65536, max_num_seqs=4
    )
    frame = wb.simulation.simulate(server, wb.simulation.poisson(1, requests=2, prompt=50_000, output=5))
    assert frame.status.tolist() == ["finished", "finished"]
    alone = serving.estimate(
        "h100-sxm", "llama-3-8b", 1, 50_000, 5, max_num_batched_tokens=65536, max_model_len=65536
    ).ttft.item()
    assert frame.first_token_s[0] - frame.sent_s[0] == pytest.approx(alone, rel=0.1)


# Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GPUS)
def test_memory_is_what_the_driver_reports_where_that_is_known(name):
    card = wb.gpu(name)
    if card.memory.reported_gib is None:
        assert card.memory_bytes == 1e9 * card.memory.capacity_gb
        assert f"{name}: memory is the vendor's" in memory.memory_assumed(card)
    else:
        assert card.memory_bytes == 2**30 * card.memory.reported_gib
        address = "https://" in card.sources["memory"]
        assert address or "memory.reported_gib=" in (card.weaker_fields or "")
        assert memory.memory_assumed(card) == ""


@pytest.mark.parametrize(
    ("gpu", "reported"),
    [
        ("rtx-3090", 25.3e9), ("rtx-4090", 25.25e9), ("rtx-5090", 33.7e9), ("rtx-a6000", 51.0e9), ("l40s", 47.7e9),
        ("a100-80gb-sxm", 85.0e9), ("h100-sxm", 85.0e9), ("h200-sxm", 150.1e9), ("h20-141gb", 150.1e9),
        ("b200-sxm", 191.5e9), ("b300-sxm", 287.4e9), ("mi300x", 206.1e9), ("rtx-pro-6000-server", 102.0e9),
        ("gh200-144gb", 153.0e9), ("a10", 23.8e9), ("l20", 47.8e9), ("gb10", 130.7e9), ("tpu-v6e", 33.55e9),
    ],
)  # fmt: skip
def test_known_sizes(gpu, reported):
    assert wb.gpu(gpu).memory_bytes == pytest.approx(reported, rel=2e-3)


def test_a_memory_of_ones_own():
    card = wb.gpu("h100-sxm").override(memory_gib=94)
    assert card.memory_bytes == 94 * 2**30
    assert card.notes.startswith("Overridden: memory 94 GiB.")
    assert card.memory.capacity_gb == 80  # the vendor's stays
    more, less = (serving.estimate(each, "llama-3-8b").kv_capacity.item() for each in (card, "h100-sxm"))
    assert (more - less) * 131_072 == pytest.approx(0.9 * (94 - 79.11) * 2**30, rel=1e-3)  # whole blocks
    with pytest.raises(ValueError, match="override of h100-sxm: memory_gib = -1: "):
        wb.gpu("h100-sxm").override(memory_gib=-1)


def test_qwen_72b_runs_on_two_a100():
    ds = serving.estimate("a100-80gb-sxm", "qwen2.5-72b", 1, 512, 128, 2)
    assert ds.fits.item()


# Cached prefixes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "cached", "each"),
    [
        ((16, 1), 15, 2),  # 17 tokens in 2 blocks; the prefix fills none, so that nothing is shared
        ((15, 1), 14, 1),  # all in one block, of every sequence's own
        ((40, 24), 16, 3), ((40, 24), 31, 3), ((40, 24), 32, 2), ((64, 16), 48, 2),
    ],
)  # fmt: skip
def test_a_prefix_is_shared_in_whole_blocks(sizes, cached, each):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = serving.estimate("h100-sxm", "llama-3-8b", [1, 2], *sizes, cached_prefix=cached).squeeze()
    assert (ds.memory.diff("batch_size") == each * 16 * 131_072).all()
    assert np.isfinite(ds.largest_batch)
    replica = Replica("h100-sxm", "llama-3-8b")
    left = memory.left_for_cache(replica, tokens=8192, sequences=1024)  # vLLM's of an H100
    shared = cached // 16 * 16 * 131_072
    assert ds.largest_batch == (left - shared) // (each * 16 * 131_072)


def test_windows_full_of_prefix_leave_a_sequence_its_own():
    """Mistral sees 4,096 tokens in all layers: of 8,000 + 192 the 192 are each sequence's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = serving.estimate("h100-sxm", "mistral-7b", [1, 2], 8064, 128, cached_prefix=8000).squeeze()
    assert ds.memory.diff("batch_size").item() == 192 * 131_072
    assert np.isfinite(ds.largest_batch)


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_a_longer_prefix_never_leaves_less_room(prompt, output, data):
    cached = data.draw(st.integers(0, prompt - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, shared = (
            serving.estimate("l4", "llama-3-8b", 64, prompt, output, cached_prefix=each) for each in (0, cached)
        )
    assert shared.memory.item() <= plain.memory.item()
    assert np.isfinite(shared.largest_batch)
