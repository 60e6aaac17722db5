"""Batching, the fits' errors, and how they are drawn."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import yaml

import workbench as wb
from workbench import calibration, catalog, plots, studies, tables
from workbench.catalog import fits, kernel_fit
from workbench.plots import timings
from workbench.tables.evidence import OF_A_FIT

LAYER = ["q_proj", "k_proj", "v_proj", "qk", "pv", "o_proj", "up_proj", "down_proj"]
TIME = {"quantity": "time", "operator": ["q_proj", "up_proj"], "phase": "decode", "seq_len": [128], "ridge": True}
SHARE = {"quantity": "share", "operator": ["qk", "pv"], "phase": "decode", "seq_len": [128, 2048]}


@pytest.fixture(scope="module")
def ds():
    sizes = {"batch_size": [1, 16, 128], "seq_len": [128, 2048]}
    return studies.batching_effects("a100-80gb-sxm", "opt-6.7b", LAYER, **sizes, launch_latency=26e-6)


def test_a_dense_layer_in_decode_is_almost_free_and_attention_is_not(ds):
    decode = ds.sel(phase="decode", seq_len=2048, time_model="ideal")
    h, bandwidth = 4096, 2039e9
    np.testing.assert_allclose(
        decode.time.sel(operator="q_proj"), [2 * (h * h + 2 * b * h) / bandwidth for b in (1, 16, 128)]
    )
    assert decode.relative_time.sel(operator="q_proj").max() < 1.07
    np.testing.assert_allclose(decode.relative_time.sel(operator="qk"), [1, 16, 128])
    np.testing.assert_allclose(decode.tokens_per_second.sel(operator="qk"), 1 / decode.time.sel(operator="qk")[0])


def test_tokens_per_second_count_the_prompt(ds):
    one = ds.sel(operator="q_proj", time_model="kernel", batch_size=16, seq_len=2048)
    np.testing.assert_allclose(one.tokens_per_second * one.time, [16 * 2048, 16])


def test_only_the_kernel_model_has_a_launch(ds):
    sizes = {"batch_size": [1, 16, 128], "seq_len": [128, 2048]}
    graphs = studies.batching_effects("a100-80gb-sxm", "opt-6.7b", LAYER, **sizes)
    added = (ds.time - graphs.time).transpose("time_model", ...)
    np.testing.assert_allclose(added.sel(time_model="ideal"), 0, atol=1e-18)
    np.testing.assert_allclose(added.sel(time_model="kernel"), 26e-6)


def test_shares_of_a_layer_add_up(ds):
    np.testing.assert_allclose(ds.share.sum("operator"), 100)


def test_the_batch_at_the_ridge_point(ds):
    # 2 B h h FLOPs over 2 (h h + 2 B h) bytes is R at B = R h / (h - 2 R); h x 4h: 4 h B = R (5 B + 4 h)
    ridge, h = 312e12 / 2039e9, 4096
    decode = ds.ridge_batch_size.sel(phase="decode", seq_len=128)
    assert decode.sel(operator="q_proj").item() == pytest.approx(ridge * h / (h - 2 * ridge))
    assert decode.sel(operator="up_proj").item() == pytest.approx(ridge * 4 * h / (4 * h - 5 * ridge))
    prompt = ds.ridge_batch_size.sel(operator="q_proj", phase="prefill", seq_len=128)
    assert prompt.item() == pytest.approx(decode.sel(operator="q_proj").item() / 128)


def test_no_batch_brings_attention_in_decode_to_the_ridge_point(ds):
    assert np.isinf(ds.ridge_batch_size.sel(operator=["qk", "pv"], phase="decode")).all()


def test_every_batch_is_beyond_the_ridge_point_where_the_intensity_of_attention_is():
    grid = wb.roofline_grid("t4", "llama-7b", ["qk"], "prefill", [1, 4], 8192, scores="chip")
    assert (grid.intensity > grid.ridge_point).all()
    assert studies.ridge_batch_size(grid).item() == 0


def test_curves_hold_every_plotted_point_once(ds):
    table = tables.curves(ds, [TIME, TIME | {"quantity": "tokens_per_second"}, SHARE])
    assert list(table.columns) == [
        "time_model", "operator", "phase", "seq_len [token]", "batch_size", "time [s]", "ridge_batch_size",
        "tokens_per_second [1/s]", "share [%]",
    ]  # fmt: skip
    assert len(table) == 2 * 2 * 3 + 2 * 2 * 3
    assert table["time [s]"].count() == table["tokens_per_second [1/s]"].count() == 12
    np.testing.assert_allclose(
        tables.lines(ds, SHARE).query("time_model == 'ideal' and seq_len == 128").share,
        ds.share.sel(operator=["qk", "pv"], phase="decode", time_model="ideal", seq_len=128).sum("operator"),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantiy": "time"}, "unknown key of a panel 'quantiy'. Did you mean 'quantity'"),
        ({"quantity": "tims"}, "unknown quantity of a panel 'tims'. Did you mean 'time'"),
    ],
)
def test_a_misspelt_panel(ds, change, message):
    with pytest.raises(ValueError, match=message):
        tables.lines(ds, TIME | change)


def test_lines_against_batch_size(ds, ax):
    assert plots.against_batch(tables.lines(ds, TIME), "time", ax, title="decode") is ax
    ideal, kernel = ax.get_lines()[:2]
    part = ds.time.sel(operator="q_proj", phase="decode", seq_len=128)
    np.testing.assert_allclose(ideal.get_ydata(), part.sel(time_model="ideal"))
    np.testing.assert_allclose(kernel.get_ydata(), part.sel(time_model="kernel"))
    assert (ideal.get_linestyle(), kernel.get_linestyle()) == ("--", "-")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["q_proj", "up_proj", "ridge point: batch 161 and 165"]


def test_shares_lie_between_0_and_100_percent(ds, ax):
    plots.against_batch(tables.lines(ds, SHARE), "share", ax)
    assert ax.get_ylim() == (0, 100)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["128 tokens", "2048 tokens"]


def test_a_panel_of_operators_and_lengths_names_both(ds, ax):
    plots.against_batch(tables.lines(ds, SHARE | {"quantity": "time"}), "time", ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["qk, 128 tokens", "qk, 2048 tokens", "pv, 128 tokens", "pv, 2048 tokens"]


def test_fits_are_those_of_the_catalog():
    table = tables.fits()
    assert not (table.sources == "").any()
    for gpu in wb.gpus():
        own, rows = catalog.catalog_fits(gpu), table[table.gpu == gpu]
        assert list(rows["error [%]"]) == [fit.error_percent for fit in own]
        assert list(zip(rows.kind, rows.format, rows.engine, strict=True)) == [
            (fit.kind, fit.format, fit.engine) for fit in own
        ]


def test_the_chart_of_the_fits_shows_every_gpu_whose_kernels_were_timed():
    params = Path(__file__).resolve().parents[1] / "params" / "fidelity" / "kernel-fidelity.yaml"
    served = "mi300x"  # fitted on what servers put out
    timed = [gpu for gpu in dict.fromkeys(tables.fits().gpu) if gpu in set(tables.fidelity().gpu) - {served}]
    assert yaml.safe_load(params.read_text())["gpu"] == timed
    assert set(tables.fits().gpu) - set(timed) == {served}


def test_lenders_are_those_that_kernel_times_are_computed_with():
    table = tables.lenders()
    assert list(table.index) == wb.gpus()
    assert table.loc["a100-80gb-pcie", "gemm"] == "a100-80gb-sxm"  # the same chip
    assert table.loc["a40", "gemm"] == "a40"
    assert table.loc["t4", "decode"] == kernel_fit(wb.gpu("t4"), "decode").gpu


def test_every_fitted_number_has_a_unit():
    table = tables.fit_parameters().set_index([*OF_A_FIT, "parameter"])
    used = kernel_fit("h100-sxm", "gemm", "fp8", "sglang")
    row = table.loc[("h100-sxm", "gemm", "fp8", "sglang", used.record.family, "launch_us")]
    assert (row.value, row.unit) == (used.fit.launch_us, "us")
    assert ("a100-80gb-sxm", "unfused", "bf16", "pytorch", "cublas", "fill_depth") in table.index
    assert ("a100-80gb-sxm", "unfused", "bf16", "pytorch", "cublas", "half_tile") not in table.index  # a default
    numbers = {name for record in fits.FITS.values() for name in record.model_fields}
    assert numbers - set(fits.UNITS) == {
        *("packed_heads", "operands_in_l2", "one_shot", "every_pair", "whole_context", "split")
    }  # fmt: skip
    assert set(fits.UNITS) <= numbers


def test_fidelity_is_of_every_fit_by_regime():
    """Every fit has its errors; where its timings are at hand, those of every regime and the ideal roofline's, too."""
    table = tables.fidelity()
    assert set(table.regime) == {"all", *calibration.REGIMES}
    whole, fitted = table[table.regime == "all"], tables.fits()
    own = whole.dropna(subset="held out [%]")  # others are judged by a fit that they borrow
    assert set(own[OF_A_FIT].itertuples(index=False, name=None)) == set(
        fitted[OF_A_FIT].itertuples(index=False, name=None)
    )
    known = whole.dropna(subset="ideal [%]")
    assert len(known) > 0.9 * len(whole)
    assert (own["held out [%]"] < own["ideal [%]"])[own["ideal [%]"].notna()].mean() > 0.98
    parts = table[(table.regime != "all")].groupby(OF_A_FIT).rows.sum()
    assert (known.groupby(OF_A_FIT).rows.sum() == parts).all()


@pytest.mark.parametrize("error", ["held out [%]", "elsewhere [%]"])
def test_fidelity_has_a_dot_for_every_fit(ax, error):
    whole = tables.fidelity().query("regime == 'all'")
    plots.fidelity(whole, ax, error=error)
    filled = [line for line in ax.get_lines() if line.get_label() in timings.ENGINE_ORDER]
    dots = np.concatenate([line.get_xdata() for line in filled])
    np.testing.assert_allclose(np.sort(dots), np.sort(whole[error]))  # NaN last
    assert {line.get_label() for line in filled} == set(whole.engine)
    assert "gemm fp8" in [text.get_text() for text in ax.get_yticklabels()]
