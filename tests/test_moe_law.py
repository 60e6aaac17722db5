"""Routed experts: what routing loads a GPU with, the law of their fused layer, and its halves in a forward pass."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.calibration.kinds import call_costs
from workbench.catalog import MoeFit, kernel_fit
from workbench.kernels import moe_time, operator_time
from workbench.kernels.elementwise import elementwise_seconds
from workbench.kernels.gemm import replayed_cost
from workbench.kernels.moe import layer_cost, layer_seconds, moe_seconds, padded_flops
from workbench.operators import OPERATORS, Conventions, Widths, decode, prefill
from workbench.operators.parallel import spread_experts
from workbench.operators.routing import (
    PowerLaw,
    Routed,
    balanced_load,
    experts_drawn,
    power_law,
    random_load,
    skewed_load,
)  # fmt: skip

H100 = wb.gpu("h100-sxm")
FIT = MoeFit(
    launch_us=20, expert_us=0.1, token_ns=5, fill_depth=100, half_tile=40, compute_fraction=0.5, bandwidth_fraction=0.8,
    rows_fraction=2.0,
)  # fmt: skip
QWEN = {"hidden_size": 2048, "intermediate_size": 768, "n_experts": 128, "experts_per_token": 8}
DEEPSEEK = {"hidden_size": 7168, "intermediate_size": 2048, "n_experts": 256, "experts_per_token": 8}
ROUTINGS = [("random", 0), ("balanced", 0), ("skewed", 1.01), ("skewed", 1.2)]


def layer(tokens, *, sizes=QWEN, gated=True, weight=2.0, activation=2.0, **options):
    sizes = dict(sizes)
    experts, each = sizes.pop("n_experts"), sizes.pop("experts_per_token")
    return layer_cost(tokens, experts, each, **sizes, gated=gated, weight=weight, activation=activation, **options)


# Routing ----------------------------------------------------------------------------------------------------------


def test_experts_drawn_at_random():
    assert experts_drawn(1.0, 8, 2) == pytest.approx(2)
    assert experts_drawn(2.0, 8, 2) == pytest.approx(3.5)
    assert random_load(2.0, 8, 2, 4) == (1.0, pytest.approx(3.5 / 4))


@pytest.mark.parametrize(
    ("tokens", "ep", "load"),  # of 8 experts, 2 a token
    [(1, 1, (2, 2)), (1, 2, (1, 1)), (1, 8, (1, 1)), (3, 2, (3, 3)), (4, 1, (8, 8)), (64, 4, (32, 2))],
)
def test_all_experts_get_the_same(tokens, ep, load):
    assert tuple(map(float, balanced_load(tokens, 8, 2, ep))) == load


def test_a_power_law_by_its_integrals():
    law = PowerLaw(2.0, 4.0)  # density 4/3 x^-2 between 1 and 4
    assert law.above(1.0) == pytest.approx(1)
    assert law.above(2.0) == pytest.approx(4 / 3 * (1 / 2 - 1 / 4))
    assert law.above(9.0) == 0
    assert law.mean == pytest.approx(4 / 3 * np.log(4), rel=1e-5)
    assert law.above(2.0, 2) == pytest.approx(4 / 3 * 2)
    assert PowerLaw(1.0, 100.0).mean == pytest.approx(99 / np.log(100), rel=1e-5)
    assert 3 < law.largest(100) < 4


def drawn(tokens, experts, each, ep, skew, rng):
    """Loads of the busiest GPU as AIConfigurator draws them, which differ by tens of percent from draw to draw."""
    low, high = (1, 0.8 * tokens) if tokens * each > experts else (0.01, 2)
    q = 1 - skew
    x = ((high**q - low**q) * rng.random(experts) + low**q) ** (1 / q)
    loads = np.minimum(np.round(x / x.sum() * tokens * each), tokens).reshape(ep, -1)
    for left in range(int(tokens * each - loads.sum())):
        row = loads[left % ep]
        row[np.argmin(row)] += 1
    return loads[np.argmax(loads.sum(axis=1))]


@pytest.mark.parametrize("skew", [1.01, 1.2])
@pytest.mark.parametrize(
    ("tokens", "experts", "each", "ep"),
    [(2, 128, 8, 1), (2, 256, 8, 8), (64, 128, 8, 1), (512, 256, 8, 8), (4096, 128, 8, 4), (16384, 8, 2, 1)],
)
def test_skewed_loads_are_about_those_that_are_drawn(tokens, experts, each, ep, skew):
    rng = np.random.default_rng(0)
    draws = [drawn(tokens, experts, each, ep, skew, rng) for _ in range(200)]
    law = power_law(float(tokens), experts, each, skew)
    rows, touched = skewed_load(float(tokens), experts, each, ep, law=law)
    routed = Routed(tokens, experts / ep, each, skew=skew, ratio=law.ratio)
    assert rows == pytest.approx(np.mean([draw.sum() for draw in draws]), rel=0.12)
    assert touched == pytest.approx(np.mean([(draw > 0).sum() for draw in draws]), rel=0.12)
    for height in (16, 128):
        tiles = np.mean([np.ceil(draw / height).sum() for draw in draws])
        assert routed.row_tiles(rows, touched, height) == pytest.approx(tiles, rel=0.12)


def test_one_token_has_eight_experts_on_eight_of_sixteen_gpus():
    """All its loads round to none, so that its rows are dealt."""
    rows, touched = skewed_load(1.0, 256, 8, 16, law=power_law(1.0, 256, 8, 1.2))
    assert (rows, touched) == (1, 1)


def test_tiles_cover_each_experts_rows():
    even = Routed(1, 8, 1, balanced=True)
    assert even.row_tiles(8 * 16.0, 8, 16) == 8
    assert even.row_tiles(8 * 17.0, 8, 16) == 16
    drawn_at_random = Routed(1, 8, 1)
    assert drawn_at_random.row_tiles(8.0, 8, 16) == 8  # one for each
    assert drawn_at_random.row_tiles(8e6, 8, 16) == pytest.approx(8e6 / 16, rel=1e-4)
    rng = np.random.default_rng(0)
    loads = rng.multinomial(64 * 100, np.full(64, 1 / 64), 50)
    tiles = np.ceil(loads / 32).sum(axis=1).mean()
    assert drawn_at_random.row_tiles(6400.0, 64, 32) == pytest.approx(tiles, rel=0.02)


# The law ----------------------------------------------------------------------------------------------------------


def test_a_layer_by_hand():
    """One expert, 128 tokens, all sizes 128: one tile each way, and both GEMMs read and write 128 x 128."""
    card = H100.model_copy(update={"sm_count": None})
    call = layer(
        128.0, sizes=dict.fromkeys(QWEN, 128) | {"n_experts": 1, "experts_per_token": 1}, gated=False, balanced=True
    )
    side = 128 * 128
    compute = 2 * side * (128 + 100) / (0.5 * 1e15)
    weights = 2 * side / (0.8 * 3.35e12)
    product = np.hypot(compute, weights)
    handed = 2 * (2 * 2 * side + side) / (2 * 3.35e12)  # rows written and read, of both operands; tokens once
    assert moe_seconds(FIT, card, call.parts[1], 1e15) == pytest.approx(product + handed)
    start = 20e-6 + 0.1e-6 + 128 * 5e-9
    assert moe_seconds(FIT, card, call.parts[0], 1e15) == pytest.approx(product + handed + start)
    assert layer_seconds(FIT, card, call, 1e15) == pytest.approx(2 * (product + handed) + start)


def test_tokens_come_and_go_in_the_width_of_the_layer():
    for part, routing in zip(layer(64.0).parts, (64 * 5e-9, 0), strict=True):
        twice = replace(part, routed=replace(part.routed, tokens=128.0))
        more = moe_seconds(FIT, H100, twice, 1e15) - moe_seconds(FIT, H100, part, 1e15)
        assert more == pytest.approx(64 * 2048 * 2 / (2 * 3.35e12) + routing)


def test_rows_are_padded_to_tiles_and_tiles_to_waves():
    one = layer(1.0, sizes=QWEN | {"n_experts": 1, "experts_per_token": 1}).parts[1]
    flops = padded_flops(one, sm_count=None, fill_depth=0, half_tile=0)
    assert flops == 2 * 16 * 768 * 2048  # 16 rows at least
    whole = padded_flops(one, sm_count=132, fill_depth=0, half_tile=0)
    assert whole == flops * 132 / 16  # 16 tiles of 128 columns, one wave
    assert padded_flops(one, sm_count=None, fill_depth=0, half_tile=40) > flops
    large = layer(1e6).parts[0]
    assert padded_flops(large, sm_count=132, fill_depth=0, half_tile=0) == pytest.approx(large.flops, rel=1e-2)


def test_rows_of_experts_elsewhere_go_through_some_kernels():
    here, everywhere = FIT, FIT.model_copy(update={"every_pair": True})
    for ep, more in ((1, False), (8, True)):
        call = layer(4096.0, ep=ep)
        assert (layer_seconds(everywhere, H100, call, 1e15) > layer_seconds(here, H100, call, 1e15)) == more


def test_a_replay_reads_weights_from_l2():
    call = layer(1.0)
    faster = layer_seconds(FIT, H100, replayed_cost(H100, call, 3.0), 1e15)
    assert faster < layer_seconds(FIT, H100, call, 1e15)
    huge = layer(1.0, sizes=DEEPSEEK | {"experts_per_token": 64})
    slower = layer_seconds(FIT, H100, replayed_cost(H100, huge, 3.0), 1e15)
    assert slower == pytest.approx(layer_seconds(FIT, H100, huge, 1e15), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 20_000), st.sampled_from([1, 2, 16]), st.sampled_from([QWEN, DEEPSEEK]), st.sampled_from(ROUTINGS)
)
def test_never_above_the_roof(tokens, ep, sizes, routing):
    options = sizes | {"tokens": tokens, "ep": ep, "routing": routing[0], "skew": routing[1], "format": "fp8_block"}
    assert moe_time(H100, **options) >= moe_time(H100, **options, time_model="ideal") > 0


@pytest.mark.parametrize("routing", ["random", "balanced"])
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_more_tokens_take_longer(routing, engine):
    tokens = np.unique(np.geomspace(1, 65536, 300).round())
    for ep in (1, 8):
        times = moe_time(H100, **DEEPSEEK, tokens=tokens, ep=ep, routing=routing, engine=engine)
        assert (np.diff(times) >= -1e-12 * times[1:]).all()


def test_skewed_experts_take_longer_than_balanced_ones():
    options = DEEPSEEK | {"tokens": [1024, 16384], "ep": 8}
    balanced = moe_time(H100, **options, routing="balanced")
    little, much = (moe_time(H100, **options, routing="skewed", skew=skew) for skew in (1.01, 1.2))
    assert (balanced < little).all()
    assert (little < much).all()


@pytest.mark.parametrize(("routing", "skew"), ROUTINGS)
def test_arrays_are_as_single_numbers(routing, skew):
    options = QWEN | {"routing": routing, "skew": skew}
    tokens, ep = np.array([1, 100, 5000]), np.array([[1], [4]])
    table = moe_time(H100, **options, tokens=tokens, ep=ep)
    for i, j in np.ndindex(2, 3):
        assert moe_time(H100, **options, tokens=tokens[j], ep=ep[i, 0]) == pytest.approx(table[i, j], rel=1e-12)


def test_tensor_parallel_experts_are_narrower():
    halved = QWEN | {"intermediate_size": 384}
    assert moe_time(H100, **QWEN, tokens=64, tp=2) == moe_time(H100, **halved, tokens=64)


def test_a_replay_is_of_a_fit_that_knows_the_rate():
    known = moe_time("l40s", **QWEN, tokens=1, engine="trtllm", replayed=True)
    assert known < moe_time("l40s", **QWEN, tokens=1, engine="trtllm")
    unknown = {"tokens": 1, "format": "fp8_block", "engine": "vllm"}
    assert moe_time(H100, **QWEN, **unknown, replayed=True) == moe_time(H100, **QWEN, **unknown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"routing": "uniform"}, "unknown routing 'uniform'"),
        ({"skew": 1.2}, "skew = 1.2 with routing = 'random': only \"skewed\" routing has one"),
        ({"routing": "skewed"}, "skew = 0"),
        ({"experts_per_token": 129}, "experts_per_token = 129 exceeds n_experts = 128"),
        ({"ep": 3}, "n_experts = 128 is not a multiple of ep = 3"),
        ({"format": "fp8_cache"}, "unknown format 'fp8_cache'"),
        ({"tokens": 0}, "tokens = 0"),
        ({"engine": "vlm"}, "unknown engine 'vlm'"),
        ({"gated": 2}, "gated"),
        ({"tokens": [1, 2], "hidden_size": [1, 2, 3]}, "hidden_size"),
        ({"time_model": "fast"}, "unknown time_model 'fast'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        moe_time(H100, **QWEN | {"tokens": 1} | options)


# In a forward pass ------------------------------------------------------------------------------------------------


def half(name, step, model="qwen3-30b-a3b"):
    return OPERATORS[name](wb.model(model), step, Widths(), Conventions())


@pytest.mark.parametrize("step", [decode(1, 100), decode(64, 100), prefill(4, 2048)])
def test_the_two_operators_are_the_layer(step):
    both = [half(name, step) for name in ("moe_gate_up_proj", "moe_down_proj")]
    peak = H100.peak_flop_rate("bf16")
    laws = [moe_seconds(FIT, H100, part, peak) for part in both]
    assert sum(laws) == pytest.approx(layer_seconds(FIT, H100, layer(step.tokens), peak))
    times = [operator_time(H100, part, peak) for part in both]
    assert sum(times) == pytest.approx(moe_time(H100, **QWEN, tokens=step.tokens), rel=1e-9)


def test_experts_spread_over_gpus():
    alone = half("moe_down_proj", decode(64, 100))
    spread = spread_experts(alone, 8)
    assert spread.routed.experts == 16
    assert spread.routed.tokens == pytest.approx(64 * (1 - (7 / 8) ** 8))  # the others have no expert there
    # Of 512 rows 64 a GPU, with a variance of 64 x 7/8 x 120/127; the busiest of 8 has sqrt(2) deviations more
    assert spread.m * spread.batch == pytest.approx(64 + np.sqrt(2 * 64 * 7 / 8 * 120 / 127))


def test_the_sum_over_experts_is_timed_once():
    call, dense = (half("elementwise", decode(4096, 100), name) for name in ("mixtral-8x7b", "llama-3-8b"))
    # silu(gate) up of two experts reads 2 and writes 1; the sum reads 2 and writes 1: of 16 bits
    assert call.elsewhere == 4096 * (3 * 2 * 14336 + 3 * 4096) * 2
    assert dense.elsewhere == 0
    fit = kernel_fit(H100, "elementwise").fit
    rest = elementwise_seconds(fit, H100, call.bytes - call.elsewhere)
    assert operator_time(H100, call, 1e15) == max(rest, call.bytes / H100.bandwidth)


# Rows of timings --------------------------------------------------------------------------------------------------


def test_rows_of_a_benchmark():
    rows = pd.DataFrame(
        {"m": 64, "k": 2048, "n": 768, "n_experts": 128, "experts_per_token": 8, "tp": [1, 2, 1, 1], "ep": [1, 1, 1, 8],
         "skew": [0, 0, 1.2, 1.01], "gated": [True, True, False, True], "dtype": "bf16"}
    )  # fmt: skip
    found = call_costs("moe", "fp8", rows)
    for i, options in enumerate([
        {"balanced": True}, {"balanced": True, "sizes": QWEN | {"intermediate_size": 384}},
        {"skew": 1.2, "gated": False}, {"skew": 1.01, "ep": 8},
    ]):  # fmt: skip
        one = layer(64.0, weight=1.0, activation=1.0, **options)
        assert (found.flops[i], found.bytes[i]) == (pytest.approx(one.flops), pytest.approx(one.bytes))
        for part, whole in zip(one.parts, found.parts, strict=True):
            assert whole.n[i] == part.n
    without = call_costs("moe", "fp8", rows.drop(columns=["skew", "gated"]))
    assert without.flops[0] == found.flops[0]
