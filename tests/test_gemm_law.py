"""The parts of a matrix product's law: quantization, the walk along k, splits, replays and the benchmark's host."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.catalog import GemmFit
from workbench.catalog.dtypes import KERNEL_FORMATS, WIDTH
from workbench.kernels.gemm import (
    QUANTIZED,
    activation_bytes,
    benchmark_seconds,
    gemm_seconds,
    quantize_seconds,
    replayed_cost,
    replayed_sets,
    tiled_flops,
)  # fmt: skip
from workbench.operators import cost

H100 = wb.gpu("h100-sxm")
FIT = GemmFit(
    launch_us=3, loop_us=2, loop_depth=1000, fill_depth=200, half_tile=20, compute_fraction=0.8, bandwidth_fraction=0.9,
    overlap=2, walk_ns=0.5, max_splits=4, split_us=1, quantize_fraction=0.5,
)  # fmt: skip
FORMATS = [form for form in KERNEL_FORMATS if form != "fp8_cache"]
SIZE = st.integers(1, 20_000).map(float)


def product(form, m=64.0, n=4096.0, k=4096.0, batch=1.0):
    known = KERNEL_FORMATS[form]
    call = cost.gemm(m, k, n, weight=known.stored, activation=known.activation, batch=batch)
    return replace(call, format=form)


@pytest.mark.parametrize(
    ("form", "width"),  # scales of 4 bytes to 128 elements, 1 to 16, 1 to 32
    [("fp8", 1), ("int8", 1), ("fp8_block", 1.03125), ("nvfp4", 0.5625), ("mxfp4_fp8", 1.03125)],
)
def test_activations_are_quantized_and_the_result_has_16_bits(form, width):
    assert activation_bytes(product(form)) == 64 * (width * 4096 + 2 * 4096)
    assert quantize_seconds(FIT, H100, product(form)) == pytest.approx(64 * 4096 * (2 + width) / (0.5 * 3.35e12))
    thrice = quantize_seconds(FIT, H100, product(form, batch=3.0))
    assert thrice == pytest.approx(3 * quantize_seconds(FIT, H100, product(form)))
    whole, without = (gemm_seconds(fit, H100, product(form), 1e15) for fit in (FIT, plain(quantize_fraction=None)))
    assert whole - without == pytest.approx(quantize_seconds(FIT, H100, product(form)))


@pytest.mark.parametrize("form", ["bf16", "int8_wo", "int4_wo", "mxfp4_wo"])
def test_16_bit_activations_are_not_quantized(form):
    assert quantize_seconds(FIT, H100, product(form)) == 0
    assert activation_bytes(product(form)) == product(form).activations == 64 * 2 * (4096 + 4096)


def plain(**fields):
    return FIT.model_copy(update=fields)


def test_formats_compute_in_what_their_operands_have():
    assert set(QUANTIZED) == {form for form, known in KERNEL_FORMATS.items() if WIDTH[known.computes] < 2}
    assert all(QUANTIZED[form] == pytest.approx(KERNEL_FORMATS[form].activation, abs=0.04) for form in QUANTIZED)


def test_a_step_along_k_takes_its_latency_however_small_the_tile():
    options = {"sm_count": 132, "fill_depth": 200, "half_tile": 0, "max_splits": 1}
    tile = 2.0 * 32 * 64 * 132
    assert tiled_flops(1, 64, 4096, 1, **options) == tile * (4096 + 200)
    assert tiled_flops(1, 64, 4096, 1, step_flops=3 * tile, **options) == 3 * tile * (4096 + 200)
    large = 2.0 * 256 * 128 * 132  # which takes longer than the latency, so that this changes nothing
    assert tiled_flops(256, 128 * 132, 4096, 1, step_flops=tile, **options) == large * (4096 + 200)


def test_the_largest_tile_hides_the_latency_of_its_steps():
    slow, fast = (gemm_seconds(plain(walk_ns=walk), H100, product("bf16", 2**20, 2**20), 1e15) for walk in (99.0, 0.0))
    assert slow == pytest.approx(fast, rel=1e-3)


def test_without_a_number_of_sms_no_step_takes_its_latency():
    unknown = H100.model_copy(update={"sm_count": None})
    large = product("bf16", m=8192.0, n=8192.0)
    with_, without = (gemm_seconds(plain(walk_ns=walk), unknown, large, 1e15) for walk in (8.0, 0.0))
    assert with_ == without


def test_a_split_k_is_added_up():
    options = {"sm_count": 132, "fill_depth": 200, "half_tile": 0, "max_splits": 16}
    tile = 2.0 * 32 * 64 * 132
    assert tiled_flops(1, 64, 16384, 1, **options) == tile * (16384 / 16 + 200)
    assert tiled_flops(1, 64, 16384, 1, split_flops=1e9, **options) == pytest.approx(tile * (16384 / 16 + 200) + 1e9)
    assert tiled_flops(1, 64, 16384, 1, split_flops=1e99, **options) == tile * (16384 + 200)  # better in one piece
    for splits, parts in ((1, 1), (4, 4), (9, 9)):
        assert tiled_flops(1, 64, 16384, 1, **options | {"max_splits": splits}) == tile * (16384 / parts + 200)


@pytest.mark.parametrize(("m", "rows"), [(1, 8), (4, 8), (5, 32), (33, 64)])
def test_up_to_four_rows_of_vectors_take_a_tile_of_eight(m, rows):
    """Without waves, filling or a cost of small tiles: 2 n k FLOPs for each row of the tile."""
    plainest = {"sm_count": None, "fill_depth": 0.0, "half_tile": 0.0}
    assert tiled_flops(m, 640, 4096, 1, **plainest, vectors=True) == 2 * rows * 640 * 4096
    assert tiled_flops(m, 640, 4096, 1, **plainest) == 2 * max(rows, 32) * 640 * 4096
    many = np.full(5000, m)
    assert (tiled_flops(many, 640, 4096, 1, **plainest, vectors=True) == 2 * rows * 640 * 4096).all()


@pytest.mark.parametrize("form", ["bf16", "fp8", "int8_wo", "int4_wo"])
def test_kernels_that_widen_their_weights_have_vectors(form):
    """On a card so slow that computing is all: nothing but kernels of narrow weights gains, and not by whole tiles."""
    for m in (1.0, 4.0, 5.0):
        own, tiles = product(form, m=m), replace(product(form, m=m), row_tiles=True)
        times = [gemm_seconds(FIT, H100, each, 1e11) for each in (own, tiles)]
        if form.endswith("_wo") and m <= 4:
            assert times[0] < 0.5 * times[1]
        else:
            assert times[0] == times[1]


def test_replays_of_several_sets_need_room_for_all_their_weights():
    call = product("bf16", m=1.0, n=2048.0)
    weights = call.bytes - call.activations
    for copies, speedup in ((1, 4.0), (6, 1.0)):  # 17 MB once, and 101 MB, in 50 MB
        assert replayed_cost(H100, call, 4.0, copies).bytes == pytest.approx(call.bytes / speedup, rel=0.05)
    assert replayed_cost(H100, call, 4.0, 1, l2_share=0.2).bytes == pytest.approx(call.bytes, rel=0.05)
    large = product("bf16", m=16384.0)  # the activations are there once
    used = [6 * weights + large.activations, 1e9]
    assert used[0] < used[1] < 6 * large.bytes
    roomy = H100.model_copy(update={"l2_mb": 1000})
    assert replayed_cost(roomy, large, 4.0, 6).bytes < 0.5 * large.bytes


@pytest.mark.parametrize(
    ("engine", "form", "sets"),
    [("sglang", "fp8", 6), ("vllm", "fp8", 6), ("vllm", "bf16", 6), ("vllm", "fp8_block", 1), ("vllm", "nvfp4", 1),
     ("trtllm", "fp8", [5, 3, 1]), ("pytorch", "bf16", 1)],
)  # fmt: skip
def test_benchmarks_use_sets_of_weights_in_turn(engine, form, sets):
    weights = np.array([4e6, 20e6, 90e6])  # in 50 MB
    assert np.broadcast_to(replayed_sets(engine, form, weights, H100), 3).tolist() == np.broadcast_to(sets, 3).tolist()
    unknown = H100.model_copy(update={"l2_mb": None})
    assert np.isfinite(replayed_sets(engine, form, weights, unknown)).all()


def test_a_benchmark_without_a_graph_waits_for_its_host():
    fit = plain(host_us=80)
    small, large = (product("fp8_block", m=m) for m in (1.0, 20000.0))
    for call in (small, large):
        alone = gemm_seconds(fit, H100, call, 1e15)
        seen = benchmark_seconds(fit, H100, call, 1e15)
        assert max(alone, 80e-6) <= seen == pytest.approx(max(alone, 80e-6), rel=0.01)
        assert benchmark_seconds(FIT, H100, call, 1e15) == alone


@given(SIZE, SIZE, SIZE, st.sampled_from(FORMATS), st.sampled_from([1.0, 4.0, 16.0]))
def test_more_work_never_takes_less_time(m, n, k, form, splits):
    fit = plain(max_splits=splits)
    base = gemm_seconds(fit, H100, product(form, m, n, k), 1e15)
    for more in ((m + 1, n, k), (m, n + 64, k), (m, n, 1.1 * k), (2 * m, n, k)):
        assert gemm_seconds(fit, H100, product(form, *more), 1e15) >= base * (1 - 1e-12)
    assert base >= 2 * m * n * k / 1e15


@pytest.mark.parametrize("form", FORMATS)
def test_many_cells_are_as_one(form):
    m, n = np.meshgrid([1.0, 7, 64, 300, 8192], np.linspace(64, 30_000, 1000))
    for fit in (FIT, plain(small_tile_waves=2.0)):
        many = gemm_seconds(fit, H100, product(form, m, n), 1e15)
        assert many[7, 3] == pytest.approx(gemm_seconds(fit, H100, product(form, m[7, 3], n[7, 3]), 1e15), rel=1e-14)
        few = gemm_seconds(fit, H100, product(form, m[:9], n[:9]), 1e15)
        np.testing.assert_allclose(many[:9], few, rtol=1e-14)
