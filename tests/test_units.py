"""Units: the register's are known ones, and a formula gives what its docstring says, in whatever units it is asked.

Functions that take quantities are called with them. The others are asked again in a smaller second or byte: a number in
FLOP/s, or in GB, becomes what it is in these, and every result must change as its own unit says.
"""

from functools import partial

import numpy as np
import pint
import pytest

import workbench as wb
from workbench import kernels
from workbench.catalog import catalog_fits, dtypes
from workbench.catalog.fits import LINK_KINDS, UNITS
from workbench.common.variables import VARIABLES
from workbench.kernels import attention as attention_law
from workbench.kernels import collectives
from workbench.kernels import gemm as gemm_law
from workbench.operators import OPERATORS, Conventions, Widths, cost, prefill
from workbench.servers import Replica, medusa, memory

#: What there is and nothing else, so that a mistyped unit is not known.
registry = pint.UnitRegistry(None)
for definition in (
    "second = [time] = s", "byte = [memory]", "FLOP = [computation]", "joule = [energy] = J", "token = [token]",
    "watt = joule / second = W", "percent = 0.01", "us = 1e-6 second", "ns = 1e-9 second", "GB = 1e9 byte",
):  # fmt: skip
    registry.define(definition)
FLOP, BYTE, SECOND = registry.FLOP, registry.byte, registry.second


def exponent(unit, dimension):
    """The power of a dimension, e.g. "[time]", in a unit."""
    return registry.get_dimensionality(registry.parse_expression(unit)).get(dimension, 0) if unit else 0


# The register -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_has_a_unit_that_is_known(name):
    unit = VARIABLES[name].units
    assert unit is None or registry.parse_expression(unit) is not None


@pytest.mark.parametrize("name", UNITS)
def test_every_fitted_number_has_one(name):
    assert registry.parse_expression(UNITS[name]) is not None


def test_what_is_no_unit_is_refused():
    with pytest.raises(pint.UndefinedUnitError):
        registry.parse_expression("FLOPS/s")


# With quantities --------------------------------------------------------------------------------------------------

PEAK, BANDWIDTH = 312e12 * FLOP / SECOND, 2039e9 * BYTE / SECOND


def test_the_roofline_with_quantities():
    ridge = kernels.ridge_point(PEAK, BANDWIDTH)
    assert ridge.check(FLOP / BYTE)
    intensity = np.array([1.0, 153.0, 1000.0]) * FLOP / BYTE
    roof = kernels.attainable(intensity, PEAK, BANDWIDTH)
    assert roof.check(FLOP / SECOND)
    np.testing.assert_allclose(roof.magnitude, [2039e9, 153 * 2039e9, 312e12])
    time = kernels.ideal_time(2e12 * FLOP, np.array([1e9, 1e12]) * BYTE, PEAK, BANDWIDTH)
    assert time.check(SECOND)
    np.testing.assert_allclose(time.magnitude, [2e12 / 312e12, 1e12 / 2039e9])
    assert kernels.bound(intensity, ridge).tolist() == [0, 0, 1]
    assert kernels.longest([1 * SECOND, 3e6 * registry.us, 2 * SECOND]) == 1
    with pytest.raises(pint.DimensionalityError):
        kernels.ideal_time(2e12 * BYTE, 1e9 * FLOP, PEAK, BANDWIDTH)


def test_the_work_of_a_matmul_with_quantities():
    width = 2.0 * BYTE
    work = cost.gemm(16, 4096, 11008, weight=width, activation=width)
    assert work.bytes == 2 * (16 * 4096 + 4096 * 11008 + 16 * 11008) * BYTE
    assert work.activations == 2 * (16 * 4096 + 16 * 11008) * BYTE
    assert work.flops == 2 * 16 * 4096 * 11008


# In a smaller second, or byte -------------------------------------------------------------------------------------

#: By which the numbers of a dimension grow; a power of two, so that nothing is rounded.
FACTOR = 4.0
DIMENSIONS = ("[time]", "[memory]")


def grown(value, unit, dimension):
    """A number in a smaller unit of a dimension."""
    return value if value is None else value * FACTOR ** exponent(unit, dimension)


def converted(card, dimension):
    """A GPU whose numbers, those of its fits among them, are in a smaller unit of a dimension."""

    def record(entry, units):
        return entry.model_copy(
            update={field: grown(getattr(entry, field), units[field], dimension) for field in units}
        )

    def in_units(fit):
        units = {name: UNITS[name] for name in type(fit.parameters).model_fields if name in UNITS}
        return fit.model_copy(update={"parameters": record(fit.parameters, units)})

    return record(card, {"l2_mb": "byte", "tdp_w": "W", "boost_mhz": "1/s"}).model_copy(
        update={
            "dense_tflops": {name: grown(rate, "FLOP/s", dimension) for name, rate in card.dense_tflops.items()},
            "memory": record(card.memory, {"capacity_gb": "byte", "reported_gib": "byte", "bandwidth_gbs": "byte/s"}),
            "link": record(card.link, {"gbs_per_direction": "byte/s"}),
            "fits": tuple(map(in_units, catalog_fits(card.id))),
        }
    )


def asked_twice(question, dimension, card=None):
    """What a question gives as it is, and where all numbers are in the smaller unit.

    question : function of the GPU, and of a function that converts a number by its unit
    """
    card = card or A100
    before = question(card, lambda value, unit: value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_law, "PART", grown(attention_law.PART, "byte", dimension))
        patch.setattr(gemm_law, "BOOST_TIME", grown(gemm_law.BOOST_TIME, "s", dimension))
        for table, unit in ((dtypes.WIDTH, "byte"), (collectives.PCIE_LANE_GBS, "byte/s")):
            for name, value in table.items():
                patch.setitem(table, name, grown(value, unit, dimension))
        for name, known in dtypes.KERNEL_FORMATS.items():
            widths = {each: grown(getattr(known, each), "byte", dimension) for each in ("stored", "activation")}
            patch.setitem(dtypes.KERNEL_FORMATS, name, known._replace(**widths))
        patch.setattr(gemm_law, "WIDE", grown(gemm_law.WIDE, "byte", dimension))
        for name, width in gemm_law.QUANTIZED.items():
            patch.setitem(gemm_law.QUANTIZED, name, grown(width, "byte", dimension))
        return before, question(converted(card, dimension), lambda value, unit: grown(value, unit, dimension))


A100 = wb.gpu("a100-80gb-sxm")
MODELS = ["llama-3-8b", "gemma-2-9b", "mixtral-8x7b", "deepseek-v2-lite"]


def assert_units(datasets, dimension):
    before, after = datasets
    for name, values in before.data_vars.items():
        expected = grown(values, VARIABLES[name].units, dimension)
        np.testing.assert_allclose(after[name], expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
def test_a_grid_is_in_the_units_that_it_says(dimension, time_model):
    def grid(card, number):
        return wb.roofline_grid(
            card, MODELS, batch_size=[1, 64], seq_len=[100, 3000], tp=[1, 4], time_model=time_model,
            launch_latency=number(2e-5, "s"),
        )  # fmt: skip

    assert_units(asked_twice(grid, dimension), dimension)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("options", [
    {"time_model": "ideal"}, {"schedule": "continuous"}, {"pp": 2, "tp": 2}, {"model": "mixtral-8x7b", "ep": 2},
    {"draft": medusa(candidates=16)}, {"weight_dtype": "int8", "gemm_efficiency": 0.5, "dequantize_rows": 32},
])  # fmt: skip
def test_an_estimate_is_in_the_units_that_it_says(dimension, options):
    def answer(card, number):
        return wb.serving.estimate(**{
            "gpu": card, "model": "llama-3-8b", "engine": None, "batch_size": [1, 40], "prompt": [100, 3000],
            "output": [2, 100],
            "price": number(2.0, "1/s"), "workspace": number(0.3e9, "byte"),
            "launch_latency": number(1e-6, "s"), "step_overhead": number(1e-3, "s"),
            "sequence_overhead": number(1e-5, "s"),
        } | options)  # fmt: skip

    assert_units(asked_twice(answer, dimension), dimension)


@pytest.mark.parametrize("model", MODELS)
def test_every_operator_moves_bytes(model):
    for convention in (Conventions(), Conventions(scores="memory")):
        for name, operator in OPERATORS.items():
            before, after = (
                operator(wb.model(model), prefill(2.0, 100.0), Widths(*5 * [width]), convention)
                for width in (2.0, 2.0 * FACTOR)
            )
            if before is not None:
                assert after.bytes == FACTOR * before.bytes, name
                assert after.activations == FACTOR * before.activations, name
                assert after.flops == before.flops, name


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("gpus", [1, 2, 8])
@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
@pytest.mark.parametrize("time", [*(getattr(kernels, f"{kind}_time") for kind in LINK_KINDS), kernels.send_time])
def test_collectives_take_seconds(time, time_model, gpus, dimension):
    for megabytes in (0.01, 1000.0):
        before, after = asked_twice(
            lambda card, number, sent=1e6 * megabytes: time(
                card, bytes_=number(sent, "byte"), gpus=gpus, time_model=time_model
            ),
            dimension,
        )
        assert after == pytest.approx(grown(before, "s", dimension), rel=1e-12)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("own", [True, False])
def test_links_carry_bytes_a_second(dimension, own):
    before, after = asked_twice(
        lambda card, _: kernels.link_rate(card if own else card.model_copy(update={"link": None}), 4), dimension
    )
    assert after == pytest.approx(grown(before, "byte/s", dimension), rel=1e-12)


ATTENTION = {"new_tokens": [1, 40, 3000], "context": [3000, 3000, 3000], "batch_size": 4}
HEADS = {"n_heads": 32, "n_kv_heads": 8, "head_dim": 128}
PRODUCT = {"m": [1, 100, 5000], "n": 4096, "k": 4096}
EXPERTS = {
    "tokens": [1, 64, 4096], "hidden_size": 2048, "intermediate_size": 1024, "n_experts": 64, "experts_per_token": 4,
}  # fmt: skip


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize(
    ("card", "time", "sizes"),
    [
        ("a100-80gb-sxm", kernels.gemm_time, PRODUCT | {"batch": 2}),
        ("a100-80gb-sxm", kernels.gemm_time, PRODUCT | {"dtype": "int4_wo"}),
        ("a100-80gb-sxm", kernels.attention_time, ATTENTION | HEADS),
        ("a100-80gb-sxm", kernels.attention_time, ATTENTION | HEADS | {"n_kv_heads": 32}),
        ("a100-80gb-sxm", kernels.mla_time, ATTENTION | {"n_heads": 16}),
        ("h200-sxm", kernels.gemm_time, PRODUCT | {"dtype": "fp8"}),
        ("h200-sxm", kernels.gemm_time, PRODUCT | {"dtype": "fp8_block", "replayed": True}),
        ("h200-sxm", kernels.gemm_time, PRODUCT | {"dtype": "fp8", "engine": "trtllm", "replayed": True}),
        ("h200-sxm", kernels.quantize_time, {"m": [1, 5000], "k": 4096, "dtype": "fp8_block"}),
        ("h200-sxm", kernels.attention_time, ATTENTION | HEADS | {"dtype": "bf16", "kv_dtype": "fp8"}),
        ("h200-sxm", kernels.mla_time, ATTENTION | {"n_heads": 16, "dtype": "bf16", "kv_dtype": "fp8"}),
        ("h200-sxm", kernels.linear_attention_time, {
            "new_tokens": [1, 3, 3000], "batch_size": 4, "n_heads": 32, "n_key_heads": 16,
        }),
        ("h200-sxm", kernels.moe_time, EXPERTS),
        ("h200-sxm", kernels.moe_time, EXPERTS | {"format": "fp8_block", "routing": "skewed", "skew": 1.2, "ep": 4}),
        ("h200-sxm", kernels.moe_time, EXPERTS | {"format": "fp8", "replayed": True}),
    ],
)  # fmt: skip
def test_times_of_single_kernels_are_seconds(card, time, sizes, dimension):
    before, after = asked_twice(lambda gpu, _: time(gpu, **sizes), dimension, wb.gpu(card))
    np.testing.assert_allclose(after, grown(before, "s", dimension), rtol=1e-12)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (memory.weights, {}),
        (memory.layer_weights, {}),
        (memory.draft_weights, {"draft": medusa(candidates=16)}),
        (memory.kv_bytes_per_token, {}),
        (memory.kv_bytes_per_sequence, {"tokens": 10_000}),
        (memory.activations, {"tokens": 2048, "sequences": 256}),
        (memory.device_memory, {}),
        (memory.left_for_cache, {"tokens": 2048, "sequences": 256, "workspace": 0.3e9}),
    ],
)
@pytest.mark.parametrize("options", [{"tp": 2}, {"kv_dtype": "int8", "lm_head_dtype": "fp32"}])
def test_memory_is_in_bytes(function, arguments, options):
    def bytes_of(card, number, name):
        given = arguments | {key: number(value, "byte") for key, value in arguments.items() if key == "workspace"}
        return function(Replica(card, name, **options), **given)

    for name in ("gpt2", *MODELS):
        before, after = asked_twice(partial(bytes_of, name=name), "[memory]")
        assert after == pytest.approx(FACTOR * before, rel=1e-12), name
