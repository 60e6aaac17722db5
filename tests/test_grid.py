"""The grid: its contract, and what it refuses."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb

FULL = ("gpu", "model", "operator", "phase", "batch_size", "seq_len")
EXPECTED_DIMS = {
    "flops": FULL[1:], "bytes": FULL[1:], "intensity": FULL[1:], "calls": ("model", "operator"),
    "peak_flop_rate": ("gpu",), "bandwidth": ("gpu",), "ridge_point": ("gpu",),
    "attainable": FULL, "time": FULL, "performance": FULL, "bound": FULL,
}  # fmt: skip


@pytest.fixture(scope="module")
def ds():
    return wb.roofline_grid(
        gpu=["a100-80gb-pcie", "rtx-a6000"], model=["llama-7b", "llama-13b"], operator=None,
        phase=["prefill", "decode"], batch_size=[1, 2, 4], seq_len=[128, 1024], candidates=None, weight_dtype="fp16",
        activation_dtype="fp16", kv_dtype="fp16", time_model="ideal",
    )  # fmt: skip


# The contract -----------------------------------------------------------------------------------------------------


def test_dims_in_order(ds):
    assert tuple(ds.dims) == FULL


@pytest.mark.parametrize("name", EXPECTED_DIMS)
def test_a_variable_has_only_the_dims_it_needs(ds, name):
    assert ds[name].dims == EXPECTED_DIMS[name]
    assert ds[name].dtype == (np.int8 if name == "bound" else np.float64)
    assert ds[name].values.base is None or ds[name].values.base.nbytes == ds[name].nbytes


def test_every_variable_has_units_and_a_long_name(ds):
    for name in ds.data_vars:
        assert ds[name].attrs["units"], name
        assert ds[name].attrs["long_name"], name
    assert ds.flops.attrs["units"] == "FLOP"
    assert ds.intensity.attrs["units"] == "FLOP/byte"
    assert ds.seq_len.attrs["units"] == "token"


def test_bound_is_a_cf_flag(ds):
    np.testing.assert_array_equal(ds.bound.attrs["flag_values"], [0, 1])
    assert ds.bound.attrs["flag_meanings"] == "memory compute"
    np.testing.assert_array_equal(ds.bound == 1, (ds.intensity >= ds.ridge_point).transpose(*FULL))


def test_operators_of_both_views():
    fused = ["qkv_proj", "attention", "o_proj", "gate_up_proj", "down_proj", "lm_head", "elementwise"]
    unfused = ["q_proj", "k_proj", "v_proj", "qk", "pv", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    assert list(wb.roofline_grid("t4", "llama-7b").operator.values) == fused
    assert list(wb.roofline_grid("t4", "llama-7b", "fused").operator.values) == fused
    assert list(wb.roofline_grid("t4", "llama-7b", "unfused").operator.values) == unfused
    assert list(wb.roofline_grid("t4", "llama-7b", ["pv", "lm_head", "attention"]).operator.values) == [
        "pv",
        "lm_head",
        "attention",
    ]


def test_a_model_without_a_gate_has_up_proj_in_place_of_gate_up_proj():
    names = list(wb.roofline_grid("t4", "gpt2").operator.values)
    assert names == ["qkv_proj", "attention", "o_proj", "up_proj", "down_proj", "lm_head", "elementwise"]


def test_an_operator_that_one_of_several_models_lacks():
    ds = wb.roofline_grid("t4", ["llama-7b", "gpt2"])
    absent = ds.sel(model="gpt2", operator="gate_up_proj")
    assert (absent.calls, absent.flops.sum(), absent.bytes.sum(), absent.time.sum()) == (0, 0, 0, 0)
    assert absent.performance.isnull().all()
    assert (absent.bound == -1).all()
    assert ds.bound.dtype == np.int8
    np.testing.assert_array_equal(ds.bound.attrs["flag_values"], [-1, 0, 1])
    assert ds.bound.attrs["flag_meanings"] == "absent memory compute"
    alone = wb.forward_pass(wb.roofline_grid("t4", "gpt2"))
    together = wb.forward_pass(ds).sel(model=["gpt2"])
    xr.testing.assert_allclose(alone, together, rtol=1e-14)


def test_candidates_add_a_dim_that_prefill_does_not_depend_on():
    ds = wb.roofline_grid("t4", "llama-7b", candidates=[1, 16])
    assert tuple(ds.dims) == (*FULL, "candidates")
    prefill = ds.flops.sel(phase="prefill")
    np.testing.assert_array_equal(prefill.sel(candidates=1), prefill.sel(candidates=16))
    plain = wb.roofline_grid("t4", "llama-7b")
    xr.testing.assert_identical(ds.sel(candidates=1, drop=True), plain)


def test_catalog_objects_and_scalars_and_arrays_are_welcome():
    card = wb.gpu("rtx-a6000").override(peak_tflops=181)
    ds = wb.roofline_grid(card, wb.model("llama-7b"), "qk", "decode", np.array([1, 2]), range(128, 131))
    assert dict(ds.sizes) == {"gpu": 1, "model": 1, "operator": 1, "phase": 1, "batch_size": 2, "seq_len": 3}
    assert ds.peak_flop_rate.item() == 181e12
    assert ds.ridge_point.item() == pytest.approx(235.677, abs=0.001)


def test_an_override_leaves_the_catalog_alone_and_says_so():
    assert "Overridden: peak 181 TFLOP/s." in str(wb.gpu("rtx-a6000").override(peak_tflops=181))
    assert wb.gpu("rtx-a6000").peak_flop_rate() == 154.8e12


def test_the_peak_follows_what_an_operator_computes_in():
    ds = wb.roofline_grid("h100-sxm", "llama-3-8b", weight_dtype="fp8", activation_dtype="fp8", kv_dtype="fp16")
    assert ds.peak_flop_rate.dims == ("gpu", "operator")
    assert ds.peak_flop_rate.sel(operator="qkv_proj") == 1978.9e12
    assert ds.peak_flop_rate.sel(operator="attention") == 989.4e12
    weight_only = wb.roofline_grid("a100-80gb-sxm", "llama-3-8b", weight_dtype="fp8")
    assert weight_only.peak_flop_rate.values == [312e12]


def test_a_quantized_checkpoint_is_read_as_stored_unless_told_otherwise():
    stored = wb.roofline_grid("t4", "llama-2-7b-awq", phase="decode")
    widened = wb.roofline_grid("t4", "llama-2-7b-awq", phase="decode", weight_dtype="fp16")
    plain = wb.roofline_grid("t4", "llama-2-7b", phase="decode")
    xr.testing.assert_equal(widened.bytes.drop_vars("model"), plain.bytes.drop_vars("model"))
    assert stored.bytes.sel(operator="qkv_proj").item() < 0.27 * plain.bytes.sel(operator="qkv_proj").item()
    assert stored.bytes.sel(operator="lm_head").item() == plain.bytes.sel(operator="lm_head").item()
    named = wb.roofline_grid("t4", "llama-2-7b", phase="decode", weight_dtype="awq")
    xr.testing.assert_equal(named.bytes.drop_vars("model"), stored.bytes.drop_vars("model"))


@pytest.mark.parametrize(("weight_dtype", "group", "scale"), [("mxfp4", 32, 1), ("nvfp4", 16, 1), ("gptq", 128, 2.5)])
def test_a_formats_groups_are_its_own_whatever_the_checkpoint_has(weight_dtype, group, scale):
    ds = wb.roofline_grid("t4", "llama-2-7b-awq", "down_proj", "decode", weight_dtype=weight_dtype)
    assert ds.bytes.item() == 11008 * 4096 * (0.5 + scale / group) + 2 * (11008 + 4096)


def test_operators_as_an_array():
    ds = wb.roofline_grid("t4", "gpt2", np.array(["qk", "pv"]))
    xr.testing.assert_identical(ds, wb.roofline_grid("t4", "gpt2", ["qk", "pv"]))


def test_a_view_in_a_list_of_one():
    xr.testing.assert_identical(wb.roofline_grid("t4", "gpt2", ["unfused"]), wb.roofline_grid("t4", "gpt2", "unfused"))


def test_lm_head_dtype():
    def head(**dtypes):
        return wb.roofline_grid("h100-sxm", "llama-2-7b", ["lm_head"], "decode", **dtypes).bytes.item()

    activations, weights = 2 * (4096 + 32000), 4096 * 32000
    assert head() == head(weight_dtype="bf16") == head(weight_dtype="fp8", lm_head_dtype="fp16")
    for narrow in ("fp8", "int8", "fp4", "awq", "fp8_block"):  # checkpoints of 8 and 4 bits leave the head out
        assert head(weight_dtype=narrow) == activations + 2 * weights
    assert head(weight_dtype="fp32") == activations + 4 * weights
    assert head(weight_dtype="fp8", lm_head_dtype="fp8") == activations + weights


def test_forward_pass_adds_up_operators_times_calls(ds):
    total = wb.forward_pass(ds)
    by_hand = sum(ds.time.sel(operator=op) * ds.calls.sel(operator=op) for op in ds.operator.values)
    np.testing.assert_allclose(total.time, by_hand.transpose(*total.time.dims), rtol=1e-14)
    assert total.time.attrs == {"long_name": "time per forward pass", "units": "s"}
    assert total.bandwidth.dims == ("gpu",)


def test_decode_of_llama_7b_by_hand():
    """One token over a cache of 1024 on an A100: all weights but the embedding, and the cache, at 1,935 GB/s."""
    ds = wb.forward_pass(wb.roofline_grid("a100-80gb-pcie", "llama-2-7b", phase="decode", seq_len=1024))
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096
    cache = 32 * 2 * 1024 * 4096
    assert ds.time.item() == pytest.approx(2 * (weights + cache) / 1935e9, rel=0.002)  # activations: under 0.2 %


# What must hold everywhere ----------------------------------------------------------------------------------------


@given(
    st.sampled_from(["t4", "a100-80gb-pcie", "h100-sxm", "mi300x"]),
    st.sampled_from(["llama-7b", "llama-3-8b", "gpt2", "mixtral-8x7b", "deepseek-v2-lite", "gpt-oss-20b"]),
    st.sampled_from(["fused", "unfused"]),
    st.integers(1, 512),
    st.integers(1, 10**6),
)
def test_never_above_the_roof_and_never_faster_with_more_work(gpu, model, view, b, s):
    ds = wb.roofline_grid(gpu, model, view, batch_size=[b, b + 1], seq_len=[s, s + 1])
    assert (ds.performance <= ds.attainable * (1 + 1e-12)).all()
    assert (ds.attainable <= ds.peak_flop_rate).all()
    assert (ds.time.diff("batch_size") > 0).all()
    assert (ds.time.diff("seq_len") >= 0).all()


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_huge_sizes_do_not_overflow(b, s):
    ds = wb.roofline_grid("t4", "llama-7b", "unfused", batch_size=b, seq_len=s)
    for name in ("flops", "bytes", "time", "performance"):
        assert np.isfinite(ds[name]).all()
        assert (ds[name] > 0).all()


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gpu": "a100"}, "^GPU 'a100' can be 'a100-40gb-sxm', 'a100-80gb-sxm', 'a100-40gb-pcie' or 'a100-80gb-pcie'"),
        ({"gpu": "h100-smx"}, "unknown GPU 'h100-smx'. Did you mean 'h100-sxm'"),
        ({"gpu": ""}, "unknown GPU ''. `workbench gpus` lists all"),
        ({"gpu": 99}, "unknown GPU 99. `workbench gpus` lists all"),
        ({"gpu": []}, "gpu is empty: give at least one"),
        ({"gpu": ["t4", "Tesla T4"]}, "gpu has 't4' more than once"),
        ({"model": "lama7b"}, "unknown model 'lama7b'. Did you mean 'llama-7b'"),
        ({"model": [["llama-7b"]]}, r"unknown model \['llama-7b'\]"),
        ({"operator": "qk_proj"}, "unknown operator 'qk_proj'. Did you mean 'qkv_proj', 'q_proj' or"),
        ({"operator": []}, "operator is empty"),
        ({"operator": ["fused", "qk"]}, "operator 'fused' stands alone: give it by itself, or a list of names"),
        ({"operator": "router"}, "no operator 'router' in llama-7b, which has: qkv_proj, attention"),
        ({"phase": "decoding"}, "unknown phase 'decoding'. Did you mean 'decode'\\? Allowed: prefill, decode"),
        ({"phase": []}, "phase is empty"),
        ({"batch_size": 0}, "batch_size = 0: allowed are whole numbers from 1 to 1,000,000,000,000"),
        ({"batch_size": -1}, "batch_size = -1: allowed"),
        ({"batch_size": 1.5}, "batch_size = 1.5: allowed"),
        ({"batch_size": "8"}, "batch_size = '8': allowed"),
        ({"batch_size": True}, "batch_size = True: allowed"),
        ({"batch_size": [1, float("nan")]}, "batch_size = nan: allowed"),
        ({"batch_size": None}, "batch_size = None: allowed"),
        ({"batch_size": 10**30}, "batch_size = 1000000000000000000000000000000: allowed"),
        ({"seq_len": []}, "seq_len is empty: give at least one"),
        ({"seq_len": [128, 128]}, "seq_len has 128 more than once"),
        ({"candidates": [0]}, "candidates = 0: allowed"),
        ({"candidates": []}, "candidates is empty"),
        ({"weight_dtype": "fp61"}, "unknown weight_dtype 'fp61'. Did you mean 'fp64', 'fp16' or"),
        ({"activation_dtype": "awq"}, "unknown activation_dtype 'awq'"),
        ({"kv_dtype": "float16"}, "unknown kv_dtype 'float16'. Did you mean 'fp16'"),
        ({"lm_head_dtype": "x"}, "unknown lm_head_dtype 'x'"),
        ({"activation_dtype": "bf16"}, "t4 has no bf16 peak: its catalog entry lists fp16"),
        ({"time_model": "exact"}, "unknown time_model 'exact'"),
        ({"time_model": np.array(["ideal"])}, "unknown time_model"),
        ({"launch_latency": -1e-6}, "launch_latency = -1e-06: allowed are seconds from 0 to 1"),
        ({"launch_latency": 26}, "launch_latency = 26: allowed are seconds from 0 to 1"),
        ({"launch_latency": float("nan")}, "launch_latency = nan: allowed"),
        ({"launch_latency": None}, "launch_latency = None: allowed"),
        ({"launch_latency": "26e-6"}, "launch_latency = '26e-6': allowed"),
        ({"logits": "first"}, "unknown logits 'first'. .*Allowed: last, all"),
        ({"scores": "disk"}, "unknown scores 'disk'"),
        ({"causal": "yes"}, "unknown causal 'yes'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        wb.roofline_grid(**({"gpu": "t4", "model": "llama-7b"} | arguments))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("operators", [["unfused"], ["elementwise", "qk"], ["qkv_proj", "elementwise"]])
def test_forward_pass_refuses_a_grid_that_is_no_forward_pass(operators):
    with pytest.raises(ValueError, match="forward_pass needs the fused operators"):
        wb.forward_pass(wb.roofline_grid("t4", "llama-7b", operators))


@pytest.mark.parametrize(
    ("ds", "message"),
    [
        (None, "a NoneType: expected a grid, see workbench.roofline_grid"),
        (xr.DataArray([1.0]), "a DataArray: expected a grid"),
        (xr.Dataset(), "ds has no variable 'bandwidth': expected a grid"),
        (wb.roofline_grid("t4", "llama-7b").isel(operator=0), "forward_pass needs the fused operators"),
    ],
)
def test_forward_pass_refuses_what_is_no_grid(ds, message):
    with pytest.raises(ValueError, match=message):
        wb.forward_pass(ds)


def test_forward_pass_refuses_a_part_of_one():
    ds = wb.roofline_grid("t4", "llama-7b")
    with pytest.raises(ValueError, match="forward_pass needs the fused operators"):
        wb.forward_pass(ds.sel(operator=["attention", "elementwise"]))


def test_another_roof_changes_the_roof_alone():
    """A chart that prints 181 TFLOP/s: as if the card were so, but for the times, which are the datasheet card's."""
    settings = {"model": "llama-7b", "batch_size": [1, 64], "seq_len": [128, 2048]}
    ds = wb.roofline_grid("rtx-a6000", **settings, time_model="kernel")
    drawn = wb.grid.with_roof(ds, 181)
    other = wb.roofline_grid(wb.gpu("rtx-a6000").override(peak_tflops=181), **settings)
    for name in ("peak_flop_rate", "ridge_point", "attainable", "bound"):
        xr.testing.assert_allclose(drawn[name], other[name], rtol=1e-14)
        assert drawn[name].attrs == ds[name].attrs
        assert drawn[name].dtype == ds[name].dtype
    for name in ("flops", "bytes", "time", "performance", "calls", "intensity"):
        xr.testing.assert_identical(drawn[name], ds[name])
    assert wb.grid.with_roof(ds, None) is ds


def test_another_roof_leaves_other_formats_links_and_absent_operators_alone():
    ds = wb.roofline_grid("h100-sxm", ["llama-3-8b", "mixtral-8x7b"], tp=2, weight_dtype="fp8", activation_dtype="fp8")
    drawn = wb.grid.with_roof(ds, 500)
    assert set(np.unique(ds.peak_flop_rate)) == {989.4e12, 1978.9e12}
    assert set(np.unique(drawn.peak_flop_rate)) == {500e12, 1978.9e12}
    special = ~ds.bound.isin((0, 1))
    assert set(np.unique(ds.bound.values[special.values])) == {-1, 2}
    np.testing.assert_array_equal(drawn.bound.values[special.values], ds.bound.values[special.values])
