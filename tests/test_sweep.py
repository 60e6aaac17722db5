"""Sweeps: blocks, threads, tables and float32 change nothing but the time and the memory."""

import numpy as np
import pytest
import xarray as xr

import workbench as wb
from workbench import operators
from workbench.grid import evaluation, sweep
from workbench.kernels import Timing

WIDE = {"batch_size": range(1, 41), "seq_len": range(64, 64 * 41, 64)}
MODELS = ["llama-3-8b", "mixtral-8x7b", "deepseek-v2-lite", "gpt-oss-20b", "gpt2"]


def _slowly(monkeypatch, **arguments):
    """The same grid without table, in one thread and one block."""
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "_distinct", lambda _: None)
        patch.setattr(evaluation, "THREADED", 10**18)
        patch.setattr(evaluation, "CELLS_AT_ONCE", 10**18)
        return wb.roofline_grid(**arguments)


@pytest.mark.parametrize("logits", ["last", "all"])
@pytest.mark.parametrize("view", ["fused", "unfused"])
def test_times_by_the_number_of_tokens_are_those_by_batch_size_and_length(monkeypatch, view, logits):
    """Every operator that sees the number of tokens alone."""
    arguments = {"gpu": ["h100-sxm", "t4"], "model": MODELS, "operator": view, "logits": logits, **WIDE}
    plain = _slowly(monkeypatch, **arguments, time_model="kernel")
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 1000)
    assert evaluation._distinct(_sweep(**WIDE)) is not None
    xr.testing.assert_identical(wb.roofline_grid(**arguments, time_model="kernel"), plain)


@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
@pytest.mark.parametrize("more", [{}, {"candidates": [1, 7]}, {"tp": [1, 2]}, {"candidates": [1, 7], "tp": [1, 4]}])
def test_blocks_and_threads_change_nothing(monkeypatch, time_model, more):
    sizes = {"batch_size": range(1, 14), "seq_len": range(64, 64 * 14, 64)}
    arguments = {"gpu": ["h100-sxm", "a100-80gb-sxm"], "model": MODELS[:2], "time_model": time_model, **sizes, **more}
    plain = _slowly(monkeypatch, **arguments, launch_latency=1e-5)
    monkeypatch.setattr(evaluation, "THREADED", 1)
    for cells in (7, 50, 200):
        monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", cells)
        xr.testing.assert_identical(wb.roofline_grid(**arguments, launch_latency=1e-5), plain)


def test_an_error_in_a_thread_is_the_callers(monkeypatch):
    monkeypatch.setattr(evaluation, "THREADED", 1)
    with pytest.raises(ValueError, match="has no link rate for 2 GPUs"):
        wb.roofline_grid(wb.gpu("t4").model_copy(update={"pcie": None}), "llama-3-8b", tp=2, **WIDE)


def _sweep(**sizes):
    sizes = {name: np.asarray(values) for name, values in sizes.items()}
    options = operators.Conventions()
    return sweep.Sweep({}, {}, [], {}, ["prefill", "decode"], sizes, {}, options, "last", Timing("kernel"))


def test_distinct_numbers_of_tokens(monkeypatch):
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 1)
    tokens, places = evaluation._distinct(_sweep(batch_size=[1, 2, 3], seq_len=[100, 200, 300]))
    np.testing.assert_array_equal(tokens, [100, 200, 300, 400, 600, 900])
    np.testing.assert_array_equal(tokens[places], np.outer([1, 2, 3], [100, 200, 300]))
    assert evaluation._distinct(_sweep(batch_size=[1, 1000], seq_len=[1, 999])) is None  # a table larger than the grid
    assert evaluation._distinct(_sweep(batch_size=[10**12], seq_len=[10**12])) is None  # no longer exact


def test_blocks_cover_every_cell_once():
    for cells in (1, 3, 10, 1000):
        for shape in ((5,), (3, 4), (2, 7, 3)):
            seen = np.zeros(shape, int)
            for block in evaluation._blocks(list(shape), cells):
                seen[block] += 1
                assert seen[block].size <= cells
            assert (seen == 1).all()


@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
def test_float32_rounds_each_value_once(time_model):
    arguments = {"gpu": ["h100-sxm", "t4"], "model": MODELS, "tp": [1, 2], "time_model": time_model, **WIDE}
    double, single = wb.roofline_grid(**arguments), wb.roofline_grid(**arguments, dtype="float32")
    assert single.nbytes < 0.53 * double.nbytes
    for name in ("flops", "bytes", "intensity", "attainable", "time", "performance"):
        assert single[name].dtype == np.float32
        np.testing.assert_array_equal(single[name], double[name].astype(np.float32))
    xr.testing.assert_identical(single.bound, double.bound)
    assert single.peak_flop_rate.dtype == np.float64


@pytest.mark.parametrize("chunks", [None, 1])
@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
def test_what_float32_cannot_hold_is_inf_without_a_warning(monkeypatch, time_model, chunks):
    monkeypatch.setattr(evaluation, "THREADED", 1)
    sizes = {"batch_size": [1, 10**12], "seq_len": [1, 10**12], "time_model": time_model}
    double, single = (
        wb.roofline_grid("t4", "gpt2", **sizes, dtype=dtype, chunks=chunks).compute()
        for dtype in ("float64", "float32")
    )
    assert np.isfinite(double.flops).all()
    for name in ("flops", "bytes", "time"):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(single[name], double[name].astype(np.float32))
    assert np.isinf(single.flops).any()


def test_an_unknown_dtype():
    with pytest.raises(ValueError, match="unknown dtype 'fp32'. Did you mean 'float32'"):
        wb.roofline_grid("t4", "gpt2", dtype="fp32")
