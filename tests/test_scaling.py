"""A fit on another card: shares of the peak under its power limit, latencies by its clock, and nothing unknown."""

import pytest

import workbench as wb
from workbench.catalog import GemmFit
from workbench.catalog.fits import ElementwiseFit
from workbench.catalog.scaling import ENERGY, per_cycle, power_share, scaled

FIT = GemmFit(launch_us=2.0, compute_fraction=0.6, boost=0.2, bandwidth_fraction=0.8, overlap=2.0)


def same(fit, other):
    return fit.model_dump() == pytest.approx(other.model_dump())


def card(name="l40s", **fields):
    return wb.gpu("l40s").model_copy(update={"id": name} | fields)


@pytest.mark.parametrize(
    ("name", "low", "high"),  # TFLOP/s as measured: the sources are those of `ENERGY`
    [("l4", 53, 59), ("a10", 60, 62.5), ("rtx-a6000", 120, 123.5), ("rtx-pro-6000-ws", 416, 418), ("t4", 41.9, 42.8),
     ("l40s", 264, 270), ("h100-pcie", 493, 500), ("a100-80gb-pcie", 252, 264)],
)  # fmt: skip
def test_a_power_limit_sustains_what_is_measured(name, low, high):
    assert low <= power_share(wb.gpu(name)) * wb.gpu(name).peak_16_bit / 1e12 <= high


@pytest.mark.parametrize("name", ["rtx-3090", "rtx-4090", "rtx-5090", "a10g", "l40", "h20-96gb", "h100-sxm"])
def test_cards_with_power_to_spare(name):
    assert power_share(wb.gpu(name)) > 1


def test_without_an_energy_or_a_limit_nothing_is_known_of_power():
    assert power_share(wb.gpu("b300-sxm")) is power_share(wb.gpu("tpu-v5e")) is power_share(card(tdp_w=None)) is None
    for lender, borrower in (("mi300x", "mi325x"), ("a100-80gb-sxm", "tpu-v5e"), ("b200-sxm", "gaudi3")):
        assert same(scaled(FIT, wb.gpu(lender), wb.gpu(borrower)), FIT)
    assert {wb.gpu(name).chip for name in wb.gpus()} >= set(ENERGY)


def test_a_fit_serves_its_own_gpu_as_it_is():
    assert scaled(FIT, wb.gpu("l40s"), wb.gpu("l40s")) is FIT


def test_the_share_of_the_peak_is_that_of_the_borrowers_power():
    peak, energy = 362.05e12, ENERGY["AD102"]
    half, whole = (share * energy * peak for share in (0.5, 1.0))
    lender = card("lender", tdp_w=0.8 * energy * peak)
    # of kernels too short for the limit 0.6 / 0.8 = 0.75, as of the power that there is: all agree
    for power, share in ((half, 0.5), (whole, 0.75), (2 * whole, 0.75)):
        fit = scaled(FIT, lender, card(tdp_w=power))
        assert fit.compute_fraction == pytest.approx(share)
        assert fit.compute_fraction / (1 - fit.boost) == pytest.approx(0.75)
    limited = FIT.model_copy(update={"compute_fraction": 0.76})  # 0.95 of what its power allows
    assert scaled(limited, lender, card(tdp_w=whole)).compute_fraction == pytest.approx(0.95)
    assert scaled(limited, lender, card(tdp_w=half)).boost == pytest.approx(1 - 0.5 / 0.95)
    steady = limited.model_copy(update={"boost": 0.0})  # timings that were too long to see the clock fall
    assert scaled(steady, lender, card(tdp_w=whole)).compute_fraction == pytest.approx(0.95)
    unknown = card("lender", chip="AD999")
    assert same(scaled(FIT, unknown, card(tdp_w=whole)), FIT)
    assert scaled(FIT, unknown, card(tdp_w=half)).compute_fraction == pytest.approx(0.5)


def test_a_lender_that_is_not_limited_lends_its_share():
    for name in ("h200-sxm", "gh200-144gb", "h800-sxm"):
        fit = scaled(FIT, wb.gpu("h100-sxm"), wb.gpu(name))
        assert (fit.compute_fraction, fit.boost) == pytest.approx((0.6, 0.2))
    assert scaled(FIT, wb.gpu("h100-sxm"), wb.gpu("h100-pcie")).compute_fraction == pytest.approx(0.6, rel=0.01)
    high = FIT.model_copy(update={"compute_fraction": 0.8})
    assert scaled(high, wb.gpu("h100-sxm"), wb.gpu("h100-pcie")).compute_fraction == pytest.approx(0.657, abs=0.001)


def test_a_share_is_never_above_the_peak_and_grows_with_power():
    shares = [
        scaled(FIT.model_copy(update={"compute_fraction": 1.0, "boost": 0.0}), card("lender"), card(tdp_w=power))
        for power in (100, 200, 400, 800)
    ]
    assert [fit.compute_fraction for fit in shares] == sorted(fit.compute_fraction for fit in shares)
    assert shares[-1].compute_fraction == 1
    assert shares[0].compute_fraction < 0.3


def test_latencies_follow_the_clock_and_the_cache_its_sms():
    fit = FIT.model_copy(update={"walk_ns": 1.0, "l2_speedup": 4.0})
    fast = scaled(fit, card("lender"), card(boost_mhz=2 * 2520))
    assert (fast.walk_ns, fast.l2_speedup) == pytest.approx((0.5, 8.0))
    assert scaled(fit, card("lender"), card(sm_count=71)).l2_speedup == pytest.approx(2.0)
    assert scaled(fit, card("lender"), card(sm_count=1)).l2_speedup == 1
    for lacking in ({"boost_mhz": None}, {"sm_count": None}):
        assert scaled(fit, card("lender"), card(**lacking)).l2_speedup == 4
    assert scaled(fit, card("lender", boost_mhz=None), card()).walk_ns == 1


def test_what_a_flop_takes_besides_keeps_its_cycles():
    b200, b300 = wb.gpu("b200-sxm"), wb.gpu("b300-sxm")
    clocks = 1965 / 2032
    # 13.5 PFLOP/s of fp4 in place of 9, on as many SMs; 16 and 8 bits have the same peaks
    for form, faster in (("nvfp4", 1.5 * clocks), ("bf16", clocks), ("fp8_block", clocks), ("int4_wo", clocks)):
        assert per_cycle(b200, b300, form) == pytest.approx(faster)
        fit = scaled(FIT, b200, b300, form)
        assert 1 / fit.compute_fraction - 1 == pytest.approx(faster * (1 / 0.6 - 1))
        assert fit.fill_depth == pytest.approx(faster * FIT.fill_depth)
    assert scaled(FIT, wb.gpu("h100-sxm"), wb.gpu("h20-96gb")).compute_fraction > 0.8  # a fifth of the FLOPs an SM
    assert per_cycle(b200, wb.gpu("h100-sxm"), "nvfp4") is None
    assert per_cycle(b200, card(boost_mhz=None)) is per_cycle(card(sm_count=None), b200) is None
    assert scaled(FIT, b200, b300.model_copy(update={"sm_count": None}), "nvfp4").compute_fraction == pytest.approx(0.6)


def test_narrow_formats_take_less_energy():
    assert power_share(card(), "fp8") == pytest.approx(power_share(card()), rel=0.02)  # twice the peak
    half_rate = wb.gpu("rtx-3090")  # 71 TFLOP/s in 16 bits, 284 in 8
    assert power_share(half_rate, "int8") == pytest.approx(power_share(half_rate) / 2)
    assert power_share(half_rate, "nvfp4") is None
    assert scaled(FIT, wb.gpu("rtx-pro-6000-ws"), half_rate, "nvfp4").compute_fraction <= 1


def test_depths_and_tiles_follow_the_flops_of_an_sm_and_clock():
    fit = FIT.model_copy(update={"fill_depth": 200.0, "half_tile": 30.0})
    half = card(dense_tflops={"bf16": 362.05 / 2})
    assert (scaled(fit, card("lender"), half).fill_depth, scaled(fit, card("lender"), half).half_tile) == (100, 15)
    assert scaled(fit, card("lender"), card(sm_count=71)).fill_depth == 400
    for wide in ({"sm_count": 71, "boost_mhz": 2 * 2520}, {"boost_mhz": None}, {"sm_count": None}):
        assert scaled(fit, card("lender"), card(**wide)).fill_depth == 200


def test_a_fit_without_a_share_of_the_peak_stays():
    fit = ElementwiseFit(launch_us=3, bandwidth_fraction=0.7)
    assert scaled(fit, wb.gpu("l40s"), wb.gpu("l4")) == fit
