"""Products in every format, for every engine, on every GPU; and on the cards that no fit has seen."""

import numpy as np
import pytest

import workbench as wb
from workbench.catalog import catalog_fits, engines, kernel_fit
from workbench.catalog.dtypes import KERNEL_FORMATS
from workbench.kernels import gemm_time, quantize_time
from workbench.kernels.gemm_times import PRODUCT_FORMATS

SIZES = {"m": [1.0, 64, 4096], "n": 4096, "k": 8192}


@pytest.mark.parametrize(
    ("dtype", "spelled"),
    [
        ("fp8_block", {"dtype": "fp8", "weight_dtype": "fp8_block"}),
        ("mxfp4_wo", {"dtype": "bf16", "weight_dtype": "mxfp4"}),
        ("mxfp4_fp8", {"dtype": "fp8", "weight_dtype": "mxfp4"}),
        ("int8_wo", {"dtype": "fp16", "weight_dtype": "int8"}),
        ("int4_wo", {"dtype": "fp16", "weight_dtype": "awq"}),
        ("fp8", {"dtype": "fp8", "weight_dtype": "fp8"}),
        ("bf16", {}),
    ],
)
def test_a_format_is_its_operands(dtype, spelled):
    for time_model in wb.kernels.TIME_MODELS:
        pair = (gemm_time("b200-sxm", **SIZES, **how, time_model=time_model) for how in ({"dtype": dtype}, spelled))
        np.testing.assert_allclose(*pair, rtol=1e-12)


def test_the_ideal_time_moves_each_operand_once():
    card, m, n, k = wb.gpu("b200-sxm"), 8, 4096, 8192
    for form in PRODUCT_FORMATS:
        known = KERNEL_FORMATS[form]
        moved = known.stored * n * k + known.activation * m * (n + k)
        assert gemm_time(card, m=m, n=n, k=k, dtype=form, time_model="ideal") == pytest.approx(moved / card.bandwidth)


@pytest.mark.parametrize("engine", [None, *engines()])
@pytest.mark.parametrize("name", wb.gpus())
def test_every_gpu_has_a_time_in_every_format_that_it_computes_in(name, engine):
    card = wb.gpu(name)
    for form in PRODUCT_FORMATS:
        if KERNEL_FORMATS[form].computes not in card.dense_tflops:
            if form == "fp8_block":
                with pytest.raises(ValueError, match=f"^{name} has no fp8 peak[^\n]*$"):
                    gemm_time(card, **SIZES, dtype=form, engine=engine)
            continue
        law, ideal = (gemm_time(card, **SIZES, dtype=form, engine=engine, time_model=t) for t in ("kernel", "ideal"))
        seen = gemm_time(card, **SIZES, dtype=form, engine=engine, replayed=True)
        assert (np.isfinite(law) & (law >= ideal) & (np.diff(law, append=np.inf) >= 0)).all()
        assert (np.isfinite(seen) & (seen > 0)).all()
        if not kernel_fit(card, "gemm", form, engine).fit.host_us:
            assert (seen <= law * (1 + 1e-12)).all()


def test_a_benchmark_launched_from_the_host_takes_its_time():
    small = {"m": 1, "n": 1024, "k": 1024, "dtype": "fp8_block", "engine": "vllm"}
    host = kernel_fit("h100-sxm", "gemm", "fp8_block", "vllm").fit.host_us
    assert host == pytest.approx(82, rel=0.2)
    assert gemm_time("h100-sxm", **small, replayed=True) == pytest.approx(1e-6 * host, rel=0.01)
    assert gemm_time("h100-sxm", **small) < 0.4e-6 * host


def test_activations_are_quantized_for_a_part_of_the_time():
    for form in ("fp8", "fp8_block", "nvfp4"):
        for engine in ("vllm", "sglang", "trtllm", "pytorch"):
            part = quantize_time("b200-sxm", m=SIZES["m"], k=8192, dtype=form, engine=engine)
            whole = gemm_time("b200-sxm", **SIZES, dtype=form, engine=engine)
            assert ((part > 0) & (part < whole)).all()
    assert quantize_time("b200-sxm", m=[1, 2], k=8192, dtype="bf16").tolist() == [0, 0]
    assert quantize_time("b200-sxm", m=1, k=8192, dtype="int4_wo") == 0
    fit = kernel_fit("h100-sxm", "gemm", "fp8", "trtllm").fit
    by_hand = 3 * 4096 * 8192 / (fit.quantize_fraction * 3.35e12)
    assert quantize_time("h100-sxm", m=4096, k=8192, engine="trtllm") == pytest.approx(by_hand)


def test_a_fit_that_does_not_tell_quantization_from_the_product_says_nothing_of_it():
    own = [fit for fit in catalog_fits("a40") if fit.kind == "gemm"]
    card = wb.gpu("h100-sxm").model_copy(update={"id": "mine", "fits": (own[0].model_copy(update={"format": "fp8"}),)})
    assert np.isnan(quantize_time(card, m=[1, 2], k=64)).all()
    assert quantize_time(card, m=1, k=64, dtype="bf16") == 0


def test_a_benchmark_of_several_sets_finds_fewer_in_l2():
    card, sizes = wb.gpu("l40s"), {"m": 1, "n": 4096, "k": 4096, "dtype": "bf16"}
    fit = kernel_fit(card, "gemm", engine="vllm").fit
    sets, memory = (gemm_time(card, **sizes, engine="vllm", replayed=replayed) for replayed in (True, False))
    roomy = gemm_time(card.model_copy(update={"l2_mb": 6 * 96}), **sizes, engine="vllm", replayed=True)
    assert fit.l2_speedup > 2
    assert roomy < 0.6 * memory
    assert memory >= sets > 1.5 * roomy  # 34 MB, six times, in 96 MB


def test_what_no_product_has_is_refused():
    for dtype, message in (
        ("fp8_blok", "^unknown dtype 'fp8_blok'. Did you mean 'fp8_block'"),
        ("fp8_cache", "^unknown dtype 'fp8_cache'"),
        ("awq", "^unknown dtype 'awq'"),
    ):
        for time in (gemm_time, quantize_time):
            with pytest.raises(ValueError, match=message):
                time("h100-sxm", **{"m": 1, "k": 64} | ({"n": 64} if time is gemm_time else {}), dtype=dtype)
    with pytest.raises(ValueError, match="^unknown dtype 'nvfp4'"):  # a format has its weights
        gemm_time("b200-sxm", m=1, n=64, k=64, dtype="nvfp4", weight_dtype="nvfp4")
    with pytest.raises(ValueError, match="^h100-sxm has no fp4 peak"):
        quantize_time("h100-sxm", m=1, k=64, dtype="nvfp4")
    with pytest.raises(ValueError, match="^unknown engine 'vlm'. Did you mean 'vllm'"):
        gemm_time("h100-sxm", m=1, n=64, k=64, engine="vlm")


# Cards that no timing was fitted on -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "m", "low", "high"),  # TFLOP/s: torch.matmul in bf16, zzc0721/torch-performance-test-data and others
    [
        ("rtx-5090", 8192, 222, 242), ("rtx-3090", 8192, 75, 77), ("rtx-pro-6000-ws", 8192, 418, 418),
        ("rtx-pro-6000-server", 8192, 409, 417), ("rtx-4090", 2048, 159, 173), ("l4", 8192, 53, 59),
        ("rtx-a6000", 8192, 123, 123), ("h100-pcie", 8192, 493, 500), ("a10g", 8192, 69, 70),
        ("h20-96gb", 8192, 142, 142), ("a100-80gb-pcie", 8192, 252, 256),
    ],
)  # fmt: skip
def test_large_products_reach_what_cards_were_measured_at(name, m, low, high):
    """Within 15 %, which is what borrowing a fit costs; real clocks of GeForce cards exceed the printed ones."""
    rate = 2 * m * 8192 * 8192 / gemm_time(name, m=m, n=8192, k=8192, dtype="bf16") / 1e12
    assert 0.85 * low <= rate <= 1.15 * high


def test_an_a10_reaches_no_more_than_anyone_measured():
    assert 50 <= 2 * 8192**3 / gemm_time("a10", m=8192, n=8192, k=8192, dtype="bf16") / 1e12 <= 62.5
