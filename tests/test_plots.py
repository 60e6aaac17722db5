"""Charts: what is drawn and how it is labelled."""

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import audit, plots, speculation, studies, tables
from workbench.studies import t4_static_charts

SERIES = {
    "up init": {"operator": ["up_proj"], "phase": "prefill"},
    "up ar": {"operator": "up_proj", "phase": "decode"},
    "qk ar": {"operator": ["qk"], "phase": "decode", "color": "purple", "marker": "o"},
}


@pytest.fixture(scope="module")
def ds():
    return wb.roofline_grid("a100-80gb-pcie", "llama-7b", "unfused", batch_size=[1, 64], seq_len=[128, 8192])


def test_ceilings_carry_the_values_that_the_charts_print(ds, ax):
    plots.roofline(ds, ax, series=SERIES, title="Roofline Model (Llama 7B, A100 80GB PCIe)")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["1,935GB/s", "312 TFLOP/s", "up init", "up ar", "qk ar"]
    assert [text.get_text() for text in ax.texts] == ["161"]
    assert ax.get_title() == "Roofline Model (Llama 7B, A100 80GB PCIe)"
    ridge = ax.get_lines()[2]
    assert ridge.get_linestyle() == "--"
    assert ridge.get_xdata()[0] == pytest.approx(312e12 / 1935e9)


def test_ceilings_are_drawn_where_they_are(ds, ax):
    slope, flat, _ = plots.ceilings(ds, ax).get_lines()
    np.testing.assert_allclose(slope.get_ydata() / slope.get_xdata(), 1935e9)
    np.testing.assert_allclose(flat.get_ydata(), 312e12)


def test_ticks_and_limits_are_the_charts(ds, ax):
    plots.roofline(ds, ax)
    ax.figure.canvas.draw()
    x = [label.get_text() for label in ax.get_xticklabels()]
    y = [label.get_text() for label in ax.get_yticklabels()]
    assert {"1", "10", "100", "1k", "10k"} <= set(x)
    assert {"10G", "100G", "1T", "10T", "100T"} <= set(y)
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.6, 1e4), (1e10, 6e14))
    assert ax.get_xlabel() == "Operational Intensity (FLOP/Byte)"
    assert ax.get_ylabel() == "Performance (FLOP/s)"


def test_points_are_those_of_the_grid(ds, ax):
    plots.roofline(ds, ax, series=SERIES)
    drawn = ax.collections[0].get_offsets()
    part = ds.sel(operator="up_proj", phase="prefill")
    np.testing.assert_allclose(drawn[:, 0], part.intensity.values.ravel())
    np.testing.assert_allclose(drawn[:, 1], part.performance.values.ravel())


def test_several_gpus_share_the_axes(ax):
    ds = wb.roofline_grid(["t4", "h100-sxm"], "llama-7b", ["qkv_proj"], batch_size=[1, 16])
    plots.roofline(ds, ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "t4: 320GB/s, 65 TFLOP/s",
        "h100-sxm: 3,350GB/s, 989.4 TFLOP/s",
        "qkv_proj prefill",
        "qkv_proj decode",
    ]
    assert [text.get_text() for text in ax.texts] == ["203", "295"]
    assert len(ax.collections) == 4
    markers = [handle.get_marker() for handle in ax.get_legend().legend_handles[:2]]
    assert markers == ["x", "o"]


def test_axes_hold_roofs_and_points_beyond_the_published_limits(ax):
    ds = wb.roofline_grid(
        "b200-sxm", "llama-3-8b", batch_size=64, seq_len=8192, weight_dtype="fp4", activation_dtype="fp4"
    )
    plots.roofline(ds, ax)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < ds.intensity.min() < ds.intensity.max() < right
    assert bottom < ds.performance.min() < ds.peak_flop_rate.max() < top


def test_operators_that_compute_in_different_formats_have_each_their_roof(ax):
    ds = wb.roofline_grid(
        "h100-sxm", "llama-3-8b", ["attention", "qkv_proj"], weight_dtype="fp8", activation_dtype="fp8"
    )
    plots.roofline(ds, ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:3] == ["3,350GB/s", "989.4 TFLOP/s", "1979 TFLOP/s"]
    assert [text.get_text() for text in ax.texts] == ["295", "591"]


def test_a_grid_with_dims_selected_away(ds, ax):
    plots.roofline(ds.sel(gpu="a100-80gb-pcie", operator="qk", phase="decode"), ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()][2:] == ["qk decode"]


def test_a_series_with_a_misspelt_key(ds, ax):
    with pytest.raises(ValueError, match="unknown key of a series 'operater'. Did you mean 'operator'"):
        plots.roofline(ds, ax, series={"a": {"operater": "qk"}})


def test_one_operator_against_the_others(ds, ax):
    plots.roofline(ds, ax, series=SERIES, highlight="qk ar")
    faded = [collection.get_alpha() for collection in ax.collections]
    assert faded == [0.35, 0.35, 1]
    with pytest.raises(ValueError, match="highlight 'qk' is not a series of this chart: up init, up ar, qk ar"):
        plots.roofline(ds, ax, series=SERIES, highlight="qk")


def test_published_ranges_stand_behind_the_points(ds, ax):
    ranges = pd.DataFrame(
        [("up init", 100.0, 1000.0, np.nan, np.nan), ("qk ar", 0.9, 1.1, 5e11, 1.5e12)],
        columns=["series", "x_low", "x_high", "y_low", "y_high"],
    )
    plots.roofline(ds, ax, series=SERIES, ranges=ranges)
    shades = [patch for patch in ax.patches if patch.get_fill()]
    assert max(patch.get_zorder() for patch in shades) < min(c.get_zorder() for c in ax.collections[:3])
    corners = shades[1].get_path().get_extents()
    np.testing.assert_allclose([corners.x0, corners.x1, corners.y0, corners.y1], [0.9, 1.1, 5e11, 1.5e12])
    edges = [patch for patch in ax.patches if not patch.get_fill()]
    assert edges[1].get_zorder() > 3  # a box is outlined over the points that would hide it


def test_candidates_go_from_orange_through_tan_and_pink_to_indigo():
    colors = [np.array(plots.candidate_color(q, 112)[:3]) for q in range(16, 113, 16)]
    orange, tan, salmon, pink, deep_pink, purple, indigo = colors
    assert orange[0] > orange[1] > orange[2]
    assert np.ptp(tan) < np.ptp(orange)  # paler
    assert tan.mean() > orange.mean()
    for color in (salmon, pink, deep_pink):
        assert color[0] == color.max()
    assert salmon[1] > salmon[2] - 0.05
    assert pink[2] > pink[1]
    assert purple[2] > purple[0] > purple[1]
    assert indigo[2] > indigo[0] > indigo[1]
    brightness = [float(np.dot(color, [0.2126, 0.7152, 0.0722])) for color in colors[1:]]
    assert brightness == sorted(brightness, reverse=True)
    assert brightness[3] > 0.25  # 80 candidates are still pink


def test_arrows_carry_their_text(ds, ax):
    plots.roofline(
        ds,
        ax,
        series=SERIES,
        arrows=[{"text": "Increase bs", "start": [60, 1e12], "end": [60, 1e13], "at": [60, 1e12]}],
    )
    assert "Increase bs" in [text.get_text() for text in ax.texts]


def test_a_plot_without_axes_uses_the_current_ones(ds):
    figure, ax = plt.subplots()
    assert plots.roofline(ds, series=SERIES) is ax
    plt.close(figure)


# Vienot, Brettel and Mollon 1999, in linear RGB
DICHROMATS = {
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
}


@pytest.mark.parametrize("matrix", DICHROMATS.values(), ids=DICHROMATS)
def test_series_colors_stay_apart_for_colour_blind_readers(matrix):
    linear = {c: np.array(mpl.colors.to_rgb(c)) ** 2.2 for c in plots.SERIES_COLORS[:6]}
    seen = {c: np.clip(np.array(matrix) @ rgb, 0, 1) ** (1 / 2.2) for c, rgb in linear.items()}
    for a in seen:
        for b in seen:
            assert a == b or np.linalg.norm(seen[a] - seen[b]) > 0.12, (a, b)


def test_compare_sources_draws_both_and_the_printed_cells(ax):
    ds = studies.static_tables("decode", [1, 4], [512, 2048])
    printed = pd.DataFrame({"column": ["intensity"], "batch_size": [4], "seq_len": [512], "published": [4.88]})
    t4_static_charts.compare_sources(ds, "intensity", ax, printed=printed)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), ds.intensity.sel(source="report", batch_size=1))
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), ds.intensity.sel(source="workbench", batch_size=1))
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[512, 4.88]])


def test_t4_roofline(ax):
    phases = {
        "prefill": studies.static_tables("prefill", [1, 4], [64, 128]),
        "decode": studies.static_tables("decode", [1], [128]),
    }
    t4_static_charts.t4_roofline(phases, {"prefill": [150, 1200], "decode": [3, 5]}, ax, title="T4")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["320GB/s", "65 TFLOP/s"]
    assert "decode, workbench" in labels
    assert ax.get_xlim()[0] == 0.1


def test_points_table_has_units_in_its_header(ds):
    table = tables.points(ds, SERIES)
    assert list(table.columns) == [
        "series", "gpu", "model", "operator", "phase", "batch_size", "seq_len [token]", "intensity [FLOP/byte]",
        "performance [FLOP/s]", "attainable [FLOP/s]", "time [s]", "bound",
    ]  # fmt: skip
    assert len(table) == 3 * 4
    assert set(table.bound) == {"memory", "compute"}


# Speculative decoding -----------------------------------------------------------------------------------------------


def test_one_setting_is_drawn_as_stacked_bars_and_two_lines(ax):
    ds = speculation.speedup("a100-80gb-pcie", "llama-7b", 1, 1024, [1, 16, 64])
    assert plots.speculation(ds, ax, printed=audit.printed_speedups("medusa-fig21"), title="T") is ax
    tops = [bar.get_y() + bar.get_height() for bar in ax.containers[2]]
    np.testing.assert_allclose(tops, ds.normalized_latency.squeeze())
    rate, speedup, *_ = ax.get_lines()
    np.testing.assert_allclose(rate.get_ydata(), ds.acceleration_rate)
    np.testing.assert_allclose(speedup.get_ydata(), ds.speedup.squeeze())
    labels = {text.get_text() for text in ax.get_legend().get_texts()}
    printed = {"acceleration rate, printed", "speedup, printed", "latency, printed", "latency, printed range"}
    assert {"acceleration rate", "speedup", "latency: qkv"} | printed <= labels
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "16", "64"]
    assert ax.get_title() == "T"


def test_several_settings_are_lines_with_their_own_published_values(ax):
    ds = speculation.speedup("a100-80gb-pcie", "llama-7b", [1, 4], 1024, [1, 16, 64])
    plots.speculation(ds, ax, printed=audit.printed_speedups("medusa-fig22"))
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    np.testing.assert_allclose([line.get_ydata() for line in lines], ds.speedup.squeeze())
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["batch 1", "batch 4"]
    hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "none" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in hollow] == [[64], [32, 64, 80, 112]]
    assert list(hollow[1].get_ydata()) == [2.25, 2.15, 1.55, 1.5]


def test_speculation_of_two_gpus_without_published_values(ax):
    ds = speculation.speedup(["t4", "h100-sxm"], "llama-7b", 1, [128, 1024], [4, 8])
    plots.speculation(ds, ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["t4, 128 tokens", "t4, 1024 tokens", "h100-sxm, 128 tokens", "h100-sxm, 1024 tokens"]


def test_published_speedups_of_a_figure():
    printed = audit.printed_speedups("medusa-fig21")
    latency = printed[printed.variable == "normalized_latency"].set_index("candidates")
    assert list(latency.loc[80, ["low", "high"]]) == [1.1, 1.2]
    assert list(latency.loc[64, ["low", "high"]]) == [1, 1]
    assert audit.printed_speedups("medusa-fig23").empty


def test_tables_of_candidates():
    ds = wb.roofline_grid("a100-80gb-pcie", "llama-33b", ["qk"], "decode", 16, 1024, candidates=[1, 64])
    table = tables.by_candidates(ds)
    assert list(table[("qk", "FLOP/byte")]) == ["0.9913", "40.96"]  # the paper's text: 41-fold
    assert list(table[("qk", "TFLOP/s")]) == ["1.918", "79.26"]  # times 1.935 TB/s
    two = wb.roofline_grid("a100-80gb-pcie", "llama-33b", ["qk"], "decode", [1, 16], 1024, candidates=[1, 64])
    with pytest.raises(ValueError, match="by_candidates of 2 values of batch_size: select one"):
        tables.by_candidates(two)


def test_tables_of_speedups_have_units():
    ds = speculation.speedup("a100-80gb-pcie", "llama-7b", [1, 4], 1024, [1, 64])
    table = tables.speedups(ds)
    assert list(table.columns) == [
        "gpu", "model", "batch_size", "seq_len [token]", "candidates", "latency [s]", "normalized_latency",
        "acceleration_rate", "speedup", "latency of qk/pv [s]", "latency of qkv [s]", "latency of up/gate/down [s]",
    ]  # fmt: skip
    parts = table.filter(like="latency of").sum(axis=1)
    np.testing.assert_allclose(parts, table["latency [s]"])
    np.testing.assert_allclose(table["latency [s]"], ds.latency.values.ravel())
    best = tables.best_candidates(ds)
    assert list(best.best_candidates) == list(ds.best_candidates.values.ravel())
