"""Shards, links and collectives, by hand."""

import numpy as np
import pytest

import workbench as wb
from workbench import kernels, operators
from workbench.catalog import LINK_KINDS, CollectiveFit
from workbench.catalog.choosing import Candidate
from workbench.catalog.links import nearest_link_fit
from workbench.kernels import collectives
from workbench.operators import OPERATORS, Conventions, Cost, Widths, decode, operator_set

H100 = "h100-sxm"


def sharded(model, tp, phase="decode", b=4, s=1024, gpu=H100, **options):
    return wb.roofline_grid(gpu, model, None, phase, b, s, tp=tp, **options).squeeze(["gpu", "model", "phase"])


# Shards -----------------------------------------------------------------------------------------------------------


def test_a_quarter_of_a_70b():
    part = operators.shard(wb.model("llama-2-70b"), 4)
    assert (part.n_heads, part.n_kv_heads, part.intermediate_size, part.vocab_size) == (16, 2, 7168, 8000)
    assert (part.hidden_size, part.head_dim, part.n_layers) == (8192, 128, 80)
    assert part.parameters * 4 == wb.model("llama-2-70b").parameters


def test_kv_heads_are_copied_where_there_are_fewer_than_gpus():
    whole = wb.model("llama-3-8b")  # 8 KV heads
    cache = {tp: operators.shard(whole, tp).kv_elements_per_token for tp in (1, 8, 16)}
    assert cache[8] * 8 == cache[1]
    assert cache[16] == cache[8]


def test_the_latent_cache_of_mla_is_on_every_gpu():
    whole = wb.model("deepseek-v3")
    part = operators.shard(whole, 8)
    assert part.kv_elements_per_token == whole.kv_elements_per_token == 61 * 576
    assert part.n_heads == 16
    down, up = (OPERATORS[name](part, decode(1, 1), Widths(), Conventions()).n for name in ("kv_a_proj", "q_b_proj"))
    assert (down, up) == (512 + 64, 16 * 192)


def test_experts_are_cut_like_any_mlp_and_the_router_is_not():
    part = operators.shard(wb.model("mixtral-8x7b"), 2)
    assert (part.moe.n_experts, part.moe.intermediate_size) == (8, 7168)
    assert OPERATORS["router"](part, decode(1, 1), Widths(), Conventions()).n == 8


def test_an_odd_vocabulary_is_padded():
    assert operators.shard(wb.model("gpt2"), 4).vocab_size == 12565  # 50257 / 4 = 12564.25


@pytest.mark.parametrize(
    ("model", "tp", "message"),
    [
        ("llama-3-8b", 3, "tp = 3 does not divide n_heads = 32 of llama-3-8b: allowed are 1, 2, 4, 8, 16, 32"),
        ("falcon-7b", 2, "tp = 2 does not divide n_heads = 71 of falcon-7b: allowed are 1, 71"),
        ("qwen2.5-7b", 7, "tp = 7 does not divide intermediate_size = 18944 of qwen2.5-7b: allowed are 1, 2, 4"),
    ],
)
def test_what_cannot_be_shared(model, tp, message):
    with pytest.raises(ValueError, match=message):
        wb.roofline_grid(H100, model, tp=[1, tp])


def test_kv_heads_that_cannot_be_shared():
    odd = wb.model("llama-3-8b").model_copy(update={"n_heads": 48, "n_kv_heads": 6, "intermediate_size": 4096})
    with pytest.raises(ValueError, match="tp = 4 does not divide n_kv_heads = 6 of llama-3-8b: allowed are 1, 2"):
        operators.shard(odd, 4)


# The grid's dim ---------------------------------------------------------------------------------------------------


def test_tp_is_the_last_dim_and_one_gpu_is_the_plain_grid():
    ds = wb.roofline_grid(H100, ["llama-3-8b", "mixtral-8x7b"], candidates=[1, 4], tp=[1, 2, 4], time_model="kernel")
    assert list(ds.dims) == ["gpu", "model", "operator", "phase", "batch_size", "seq_len", "candidates", "tp"]
    assert ds.calls.dims == ("model", "operator", "tp")
    assert ds.peak_flop_rate.dims == ("gpu",)
    plain = wb.roofline_grid(H100, ["llama-3-8b", "mixtral-8x7b"], candidates=[1, 4], time_model="kernel")
    for name in ("flops", "bytes", "time", "performance", "bound"):
        np.testing.assert_array_equal(ds[name].sel(tp=1, operator=plain.operator), plain[name])
    assert "all_reduce" not in wb.roofline_grid(H100, "llama-3-8b", tp=1).operator
    assert "all_reduce" not in wb.roofline_grid(H100, "llama-3-8b", "unfused", tp=2).operator


def test_linear_operators_shrink_with_tp_and_norms_do_not():
    ds = sharded("llama-2-70b", [1, 8])
    for name in ("qkv_proj", "attention", "o_proj", "gate_up_proj", "down_proj", "lm_head"):
        flops = ds.flops.sel(operator=name).squeeze()
        assert flops.sel(tp=1) == 8 * flops.sel(tp=8), name
    norms = ds.bytes.sel(operator="elementwise").squeeze()
    assert norms.sel(tp=8) > norms.sel(tp=1) / 4


def test_all_reduce_of_a_step_by_hand():
    # 4 sequences, h = 8192, fp16: 65,536 byte, twice in each of 80 layers; ideal: 2 x 7/8 of it at 450 GB/s
    ds = sharded("llama-2-70b", [1, 8]).sel(operator="all_reduce").squeeze()
    assert ds.calls.values.tolist() == [0, 160]
    assert ds.time.sel(tp=8) == pytest.approx(1.75 * 65536 / 450e9)
    assert ds.time.sel(tp=1) == ds.flops.sel(tp=1) == ds.bytes.sel(tp=1) == 0
    assert ds.bytes.sel(tp=8) == 2 * 65536
    assert ds.flops.sel(tp=8) == 7 / 8 * 4 * 8192
    assert ds.bound.values.tolist() == [-1, 2]
    assert ds.bound.attrs["flag_meanings"] == "absent memory compute link"
    assert ds.bound.attrs["flag_values"].tolist() == [-1, 0, 1, 2]
    assert not (ds.performance > ds.attainable).any()


def test_kernel_times_of_all_reduce_are_the_collectives():
    ds = sharded("llama-2-70b", [4], "prefill", b=[1, 8], s=[128, 4096], time_model="kernel").sel(operator="all_reduce")
    sizes = 2 * 8192 * np.outer([1, 8], [128, 4096])
    np.testing.assert_allclose(ds.time.squeeze(), kernels.all_reduce_time(H100, bytes_=sizes, gpus=4))


def test_a_step_over_several_gpus_is_faster_but_not_so_many_times():
    step = wb.forward_pass(wb.roofline_grid(H100, "llama-2-70b", phase="decode", tp=[1, 2, 4, 8], time_model="kernel"))
    gain = (step.time.sel(tp=1) / step.time).squeeze()
    assert (np.diff(gain) > 0).all()
    assert (gain[1:] < gain.tp[1:]).all()


def test_the_launch_of_a_collective_counts_where_there_is_one():
    eager, graphs = (sharded("llama-3-8b", [1, 2], launch_latency=t).sel(operator="all_reduce").time for t in (2e-5, 0))
    np.testing.assert_allclose((eager - graphs).squeeze(), [0, 2e-5])


def test_all_reduce_needs_several_gpus():
    for tp in (None, 1):
        with pytest.raises(ValueError, match="operator 'all_reduce' is between GPUs: give tp, with a size above 1"):
            wb.roofline_grid(H100, "llama-3-8b", ["all_reduce"], tp=tp)
    ds = wb.roofline_grid(H100, "llama-3-8b", ["all_reduce", "o_proj"], tp=2)
    assert list(ds.operator.values) == ["all_reduce", "o_proj"]


@pytest.mark.parametrize("tp", [0, -1, 1.5, "2", True, [], [2, 2]])
def test_a_careless_tp(tp):
    with pytest.raises(ValueError, match="^tp "):
        wb.roofline_grid(H100, "llama-3-8b", tp=tp)


@pytest.mark.parametrize("model", wb.models())
def test_every_model_is_shared_by_two_or_says_why_not(model):
    entry = wb.model(model)
    try:
        part = operators.shard(entry, 2)
    except ValueError as error:
        assert "tp = 2 does not divide" in str(error)  # noqa: PT017
        return
    assert operator_set(part, "fused") == operator_set(entry, "fused")
    assert entry.parameters / 2 <= part.parameters < entry.parameters


# Links and collectives --------------------------------------------------------------------------------------------


def test_the_vendors_link_or_pcie():
    assert collectives.link_rate(wb.gpu(H100), 8) == 450e9
    assert collectives.link_rate(wb.gpu("t4"), 2) == pytest.approx(15.76e9)  # PCIe 3.0 x16
    np.testing.assert_allclose(collectives.link_rate(wb.gpu("a40"), np.array([1, 2, 4])), [np.inf, 56.25e9, 31.504e9])


def test_a_gpu_without_any_link():
    with pytest.raises(
        ValueError, match="jetson-agx-orin-64gb has no link rate for 4 GPUs: its catalog entry gives no"
    ):
        wb.roofline_grid("jetson-agx-orin-64gb", "llama-3-8b", tp=[1, 4])
    assert wb.roofline_grid("jetson-agx-orin-64gb", "llama-3-8b", tp=1).time.notnull().all()


#: Two kernels of a made-up engine: 2 us and 1 us for each GPU beyond two, half of the link; 10 us more, 80 %.
MADE_UP = CollectiveFit(
    launch_us=2.0, gpu_us=1.0, one_shot=True, small_fraction=0.5, setup_us=10.0, pair_fraction=0.8, all_fraction=0.8
)


def seconds(size, gpus, gpu=H100, kind="all_reduce", **changes):
    work = Cost(0.0, 2 * np.asarray(size, dtype=float), size, 1, 1, kernel=kind, gpus=gpus)
    return collectives.collective_seconds(MADE_UP.model_copy(update=changes), wb.gpu(gpu), work)


def test_the_least_of_collectives_by_hand():
    # H100 SXM: 450 GB/s each way. 8 GPUs move 7/8 of 450 MB, an all-reduce twice as much
    for kind, passes in (("all_reduce", 2), ("all_gather", 1), ("reduce_scatter", 1), ("all_to_all", 1)):
        time = getattr(kernels, f"{kind}_time")
        assert time(H100, bytes_=450e6, gpus=8, time_model="ideal") == pytest.approx(passes * 0.875e-3)
        assert time("t4", bytes_=1e6, gpus=1) == 0
        assert time(H100, bytes_=1e9, gpus=8) > time(H100, bytes_=1e9, gpus=8, time_model="ideal")


def test_a_small_message_takes_one_kernel_and_a_large_one_the_other():
    small, large = 2e-6 + 6e-6, 12e-6 + 6e-6  # among eight
    assert seconds(1.0, 8) == pytest.approx(small + 7 / (0.5 * 450e9), rel=0.01)  # 0.1 % by the other kernel
    assert seconds(450e9, 8, small_fraction=0.1) == pytest.approx(large + 1.75 / 0.8)
    assert seconds(1.0, 8, one_shot=False, small_fraction=1.0, setup_us=500.0) == pytest.approx(small, rel=1e-6)
    assert seconds(450e9, 2, "b200-sxm", kind="all_gather", small_fraction=0.1) == pytest.approx(12e-6 + 0.25 / 0.8)
    both = seconds(np.array([1.0, 1e5, 450e9]), np.array([[2], [8]]))
    assert both == pytest.approx(np.array([[seconds(size, n) for size in (1.0, 1e5, 450e9)] for n in (2, 8)]))


def test_four_gpus_are_between_two_and_eight():
    # (n - 1) / n: 1/2, 3/4, 7/8, so that four are two thirds of the way
    two, four, eight = (seconds(450e12, n, pair_fraction=0.5, small_fraction=0.01) for n in (2, 4, 8))
    assert (two, four, eight) == pytest.approx((2000, 2000 + 2 / 3 * 187.5, 2187.5), rel=1e-6)
    slow = {"pair_fraction": 0.3, "small_fraction": 0.01, "gpu_us": 0.0}  # between two: no more GPUs are faster
    assert seconds(450e12, 8, all_fraction=0.9, **slow) == pytest.approx(seconds(450e12, 2, **slow), rel=1e-9)


def test_beyond_two_gpus_share_the_host_of_their_pcie():
    # L40S: 31.5 GB/s; a tenth of it among eight is a fifth among four, and no more than what two reach
    rate = 31.504e9
    slow = {"gpu": "l40s", "small_fraction": 0.01}
    two, four, eight = (seconds(rate * 1e3, n, all_fraction=0.1, **slow) for n in (2, 4, 8))
    assert (two, four, eight) == pytest.approx((1e3 / 0.8, 1.5e3 / 0.2, 1.75e3 / 0.1), rel=1e-6)
    assert seconds(rate * 1e3, 4, **slow) == pytest.approx(1.5e3 / 0.8, rel=1e-6)


@pytest.mark.parametrize(("megabytes", "measured"), [(49.676288, 241e-6), (67.108864, 318e-6)])
def test_large_all_reduces_over_four_h100s(megabytes, measured):
    """NCCL's medians on an H100 DGX (github.com/microsoft/vidur, data/profiling/network/h100_dgx/all_reduce.csv).

    No fit saw four GPUs.
    """
    time = kernels.all_reduce_time(H100, bytes_=1e6 * megabytes, gpus=4, engine="pytorch")
    assert time == pytest.approx(measured, rel=0.02)


def test_over_pcie_small_all_reduces_take_as_long_as_measured():
    """8 KB over eight RTX 3090s take 20 to 54 us."""
    for engine in wb.catalog.engines():
        assert 20e-6 < kernels.all_reduce_time("rtx-3090", bytes_=8192, gpus=8, engine=engine) < 54e-6


def test_the_lender_is_of_the_same_link():
    def lender(gpu, kind="all_reduce", engine=None, **options):
        return wb.catalog.kernel_fit(gpu, kind, engine=engine, **options)

    assert lender("h20-96gb").gpu == lender("h100-nvl").gpu == "h100-sxm"  # NVLink 4
    assert lender("a800-80gb-sxm").gpu == lender("rtx-3090").gpu == "a100-80gb-sxm"
    assert lender("b300-sxm").gpu == "b200-sxm"
    assert lender("gb300").gpu == "gb200"  # it joins as many
    assert lender("gb300", engine="trtllm").gpu == "gb200"
    assert lender("rtx-4090").gpu == lender("a10").gpu == lender("a40", pcie=True).gpu == "l40s"
    assert lender("rtx-5090").gpu == "rtx-pro-6000-server"
    assert lender("v100-sxm2-16gb").gpu == "a100-80gb-sxm"  # the nearest rate
    assert lender("mi300x").why == ("those of h100-sxm, NVLink 4 in place of Infinity Fabric, 7 links x 128 GB/s")
    assert lender("h200-sxm", "all_to_all", "sglang").why == "nccl's nccl kernels"
    assert lender("h100-sxm", engine="pytorch").record.family == "nccl"
    said = wb.roofline_grid("mi300x", "llama-3-8b", tp=[1, 2], time_model="kernel").attrs["assumed"]
    assert "all_reduce by the fit of h100-sxm" in said


def test_a_lender_of_an_unknown_link_comes_last():
    def without_link(name, pcie):
        return wb.gpu(name).model_copy(update={"pcie": pcie})

    fit = next(each for each in wb.catalog.catalog_fits("l40s") if (each.kind, each.engine) == ("all_reduce", "vllm"))
    unknown, known = (Candidate(without_link("l40s", pcie), fit) for pcie in (None, "5.0 x16"))
    for pcie in ("1.0 x16", "4.0 x16", "5.0 x16"):
        assert nearest_link_fit(without_link("l4", pcie), "all_reduce", "vllm", [unknown, known]) is known
    lent = wb.catalog.kernel_fit(without_link("rtx-4090", None), "all_reduce")
    assert lent.why.startswith(f"those of {lent.gpu}, PCIe ")
    assert lent.why.endswith(" in place of an unknown link")


def test_sends_by_hand():
    fit = wb.catalog.kernel_fit(H100, "all_to_all").fit
    times = [kernels.send_time(H100, bytes_=450e6, gpus=2, time_model=model) for model in ("ideal", "kernel")]
    assert times == pytest.approx([1e-3, 1e-6 * fit.launch_us + 1e-3 / fit.pair_fraction])
    assert kernels.send_time(H100, bytes_=1e6, gpus=1) == 0
    with pytest.raises(ValueError, match="bytes_ = -1: expected positive numbers"):
        kernels.send_time(H100, bytes_=-1, gpus=2)
    with pytest.raises(ValueError, match="jetson-agx-orin-64gb has no link rate for 2 GPUs"):
        kernels.all_to_all_time("jetson-agx-orin-64gb", bytes_=1, gpus=2)


def test_a_bridge_says_how_many_it_joins():
    assert "NVLink 3 bridge (2 GPUs), 56.25 GB/s per direction, joins 2" in str(wb.gpu("a40"))


@pytest.mark.parametrize("engine", wb.catalog.engines())
@pytest.mark.parametrize("gpu", ["gb200", "gb300", "h100-sxm", "b200-sxm", "a40", "l4", "t4", "rtx-5090", "mi300x"])
def test_collectives_over_one_gpu_take_no_time_and_grow_with_all_else(gpu, engine):
    most = max(8, collectives.reach(wb.gpu(gpu)))
    sizes, gpus = np.geomspace(1, 1e10, 50), np.array([[1], [2], [3], [4], [8], [most]])
    for kind in LINK_KINDS:
        time = getattr(kernels, f"{kind}_time")
        took, ideal = (
            time(gpu, bytes_=sizes, gpus=gpus, time_model=model, engine=engine) for model in ("kernel", "ideal")
        )
        assert (took[0] == 0).all()
        assert (np.diff(took[1:], axis=1) > 0).all()
        assert (np.diff(took, axis=0) >= -1e-12 * took[1:]).all()
        assert (took >= ideal).all()


@pytest.mark.parametrize(
    ("gpu", "sizes", "message"),
    [
        ("h100-sxm", {"bytes_": 0, "gpus": 2}, "bytes_ = 0: expected positive numbers"),
        ("h100-sxm", {"bytes_": 1, "gpus": -2}, "gpus = -2: expected positive numbers"),
        ("h100-sxm", {"bytes_": 1, "gpus": 1.5}, "gpus = 1.5: expected whole numbers"),
        ("h100-sxm", {"bytes_": 1, "gpus": 2, "time_model": "ring"}, "unknown time_model 'ring'"),
        ("h100-sxm", {"bytes_": 1, "gpus": 2, "engine": "nccl"}, "unknown engine 'nccl'"),
    ],
)
def test_all_reduce_refuses(gpu, sizes, message):
    with pytest.raises(ValueError, match=message):
        kernels.all_reduce_time(gpu, **sizes)
