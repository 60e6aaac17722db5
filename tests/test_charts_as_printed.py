"""The published charts, element by element: what their sources show is there, in its colour and place."""

from itertools import combinations
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import audit, plots, studies
from workbench.explorer import published_charts
from workbench.explorer.pictures import roofline_tab
from workbench.explorer.view import grid
from workbench.files.yaml_files import read_mapping
from workbench.studies import t4_charts, t4_static_charts
from workbench.tables.looks import is_box, range_outline, series_looks

ROOT = Path(__file__).resolve().parents[1]
SIX = ["qkv mlp init", "qkv mlp ar", "up/gate/down init", "up/gate/down ar", "qk/pv init", "qk/pv ar"]
KERNELS = [f"medusa-fig{number:02}" for number in range(9, 18)]
CANDIDATES = ["medusa-fig18", "medusa-fig19", "medusa-fig20"]


def params(figure):
    return read_mapping(next(ROOT.glob(f"params/*/{figure}.yaml")))


def medusa(figure, ax):
    """The chart as its notebook draws it; and the grid."""
    given = params(figure)
    phases = "decode" if "candidates" in given else ["prefill", "decode"]
    ds = wb.roofline_grid(
        given["gpu"], given["model"], given.get("operator", "unfused"), phases, given["batch_size"], given["seq_len"],
        candidates=given.get("candidates"), time_model=given["time_model"], launch_latency=26e-6,
    )  # fmt: skip
    ds = wb.grid.with_roof(ds, given.get("peak_tflops"))
    ranges, arrows = audit.printed_ranges(figure), given.get("arrows", ())
    plots.roofline(ds, ax, series=given["series"], ranges=ranges, arrows=arrows, title=given["title"])
    return ds


def legend(ax):
    drawn = ax.get_legend()
    return {text.get_text(): handle for text, handle in zip(drawn.get_texts(), drawn.legend_handles, strict=True)}


@pytest.fixture
def chart():
    figure, ax = plt.subplots(figsize=(8, 5.6))
    yield ax
    plt.close(figure)


# Figures 9 to 17 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", KERNELS)
def test_the_legend_has_the_printed_series_in_their_order_and_colours(figure, chart):
    medusa(figure, chart)
    entries = legend(chart)
    assert list(entries)[2:8] == SIX
    hues = {"blue": (0.5, 0.65), "orange": (0.08, 0.13), "green": (0.4, 0.48), "red": (0.97, 1.02)}
    for name, hue in zip(SIX, hues.values(), strict=False):
        found = mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(entries[name].get_edgecolor()[0]))[0]
        assert hue[0] < found + (hue[0] > 0.9 and found < 0.5) < hue[1], name
    slope, peak, ridge = chart.get_lines()[:3]
    assert [line.get_linestyle() for line in (slope, peak, ridge)] == ["--"] * 3
    colors = [plots.COLORS[name] for name in ("blue", "red", "green")]
    assert [line.get_color() for line in (slope, peak, ridge)] == colors


@pytest.mark.parametrize("figure", [*KERNELS, *CANDIDATES])
def test_the_legend_leaves_the_ridge_s_foot_free(figure, chart):
    medusa(figure, chart)
    chart.figure.canvas.draw()
    ridge = chart.get_lines()[2].get_xdata()[0]
    foot = chart.transData.transform((ridge, chart.get_ylim()[0]))[0]
    boxes = [chart.get_legend().get_window_extent(), *(inset.get_window_extent() for inset in chart.child_axes)]
    assert not any(box.x0 <= foot <= box.x1 for box in boxes)


def test_red_and_orange_are_told_apart_at_a_glance():
    red, orange = (mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(plots.COLORS[name])) for name in ("red", "orange"))
    assert abs((red[0] + 0.5) % 1 - (orange[0] + 0.5) % 1) * 360 > 35  # vermilion is 13 degrees from orange


def test_the_arrows_go_through_the_prefill_attention_points_below_the_roof(chart):
    ds = medusa("medusa-fig09", chart)
    points = ds.sel(phase="prefill", operator=["qk", "pv"]).squeeze()
    first, second = params("medusa-fig09")["arrows"]
    assert [arrow["text"].split("\n")[1] for arrow in (first, second)] == ["Increase bs", "Increase seq_len"]
    dotted = [line for line in chart.get_lines() if line.get_linestyle() == ":"]
    assert len(dotted) == 2
    for arrow, line in zip((first, second), dotted, strict=True):
        np.testing.assert_allclose(line.get_xydata(), [arrow["start"], arrow["end"]])
        for x, y in (arrow["start"], arrow["end"]):
            assert y < min(x * ds.bandwidth.item(), ds.peak_flop_rate.max().item())
    # up through one column: every batch size at 128 tokens
    column = points.sel(seq_len=128)
    (x, low), (end, high) = dotted[0].get_xydata()
    assert x == end == pytest.approx(float(column.intensity.isel(operator=0, batch_size=0)), rel=1e-3)
    assert low < float(column.performance.min()) < float(column.performance.max()) < high
    # along the points of the largest batch, through the weighted values of every length
    along = points.sel(operator="pv", batch_size=64)
    (x0, y0), (x1, y1) = dotted[1].get_xydata()
    at = y0 * (along.intensity / x0) ** (np.log(y1 / y0) / np.log(x1 / x0))
    assert x0 < float(along.intensity.min()) < float(along.intensity.max()) < x1
    np.testing.assert_allclose(at, along.performance, rtol=0.12)


def test_published_ranges_lie_at_the_points_of_their_series(chart):
    ds = medusa("medusa-fig09", chart)
    shades = {patch.get_gid(): patch.get_path().get_extents() for patch in chart.patches if patch.get_fill()}
    assert set(shades) == set(SIX)
    for name, box in shades.items():
        selection = params("medusa-fig09")["series"][name]
        performance = ds.sel(phase=selection["phase"], operator=selection["operator"]).performance
        assert float(performance.min()) / 1.3 < box.y0 < box.y1 < float(performance.max()) * 1.3, name
    assert (shades["qk/pv init"].x0, shades["qk/pv init"].x1) == (40, pytest.approx(150))


def test_an_edge_is_black_where_a_box_is_published(chart):
    medusa("medusa-fig09", chart)  # of up/gate/down init one value of performance is
    edges = {mpl.colors.to_hex(patch.get_edgecolor()) for patch in chart.patches if not patch.get_fill()}
    assert len(edges) == 6
    assert "#000000" not in edges
    assert not is_box({"y_low": 312e12, "y_high": 312e12})
    assert not is_box({"y_low": np.nan, "y_high": np.nan})
    assert is_box({"y_low": 5e11, "y_high": 1.5e12})


def test_an_outline_follows_the_points():
    nan = {"y_low": np.nan, "y_high": np.nan}
    corners = range_outline({"x_low": 2, "x_high": 8} | nan, [1, 4, 4, 16], [10, 40, 80, 160])
    np.testing.assert_allclose(corners[:, 0], [2, 4, 8, 8, 4, 2])
    np.testing.assert_allclose(corners[[1, 4], 1], [40 / 1.2, 80 * 1.2])
    np.testing.assert_allclose(corners[0, 1], 20 / 1.2)  # half way from 10 to 40
    one = range_outline({"x_low": 1, "x_high": 1} | nan, [0.9, 1], [5, 50])
    np.testing.assert_allclose(one.min(0), [1 / 1.1, 5 / 1.2])
    np.testing.assert_allclose(one.max(0), [1.1, 50 * 1.2])


@pytest.mark.parametrize(("figure", "ridge"), [("medusa-fig15", 128), ("medusa-fig16", 100)])
def test_a_misread_ridge_is_a_faint_line_beside_the_true_one(figure, ridge, chart):
    medusa(figure, chart)
    line = legend(chart)[f"misread ridge: {ridge}"]
    assert line.get_color() == plots.COLORS["grey"]
    assert {text.get_text() for text in chart.texts} >= {"236", str(ridge)}
    drawn = [line.get_xdata()[0] for line in chart.get_lines() if line.get_color() == plots.COLORS["grey"]]
    assert drawn == [ridge]
    caption = params(figure)["caption"]
    assert f"ridge of {ridge} FLOP/byte" in caption
    assert "235.7" in caption


def test_ridges_that_are_read_right_are_not_drawn_twice():
    for figure in ("medusa-fig09", "medusa-fig17", "medusa-fig18"):
        assert "ridge point" not in set(audit.printed_ranges(figure).series)


@pytest.mark.parametrize("figure", ["medusa-fig15", "medusa-fig16", "medusa-fig17"])
def test_the_caption_says_where_the_points_end(figure):
    drawn = pd.read_csv(ROOT / "figures" / f"{figure}.csv")
    assert f"{drawn['performance [FLOP/s]'].max() / 1e12:.0f}" in ("121", "122")
    assert "the points end at 121 to 122 TFLOP/s" in params(figure)["caption"]


# Figures 18 to 23 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", CANDIDATES)
def test_candidates_are_dots_from_grey_to_indigo_in_the_printed_order(figure, chart):
    medusa(figure, chart)
    series = params(figure)["series"]
    assert list(legend(chart))[2:10] == list(series)
    looks = series_looks(series)
    assert [marker for _, marker in looks.values()] == ["o"] * 8
    colors = [mpl.colors.to_hex(color) for color, _ in looks.values()]
    assert colors == [mpl.colors.to_hex(color) for color in (plots.COLORS["grey"], *wb.tables.looks.CANDIDATE_COLORS)]
    shades = [np.array(mpl.colors.to_rgb(color)) for color in colors]
    assert all(np.abs(a - b).max() > 0.1 for a, b in combinations(shades, 2))


def test_published_boxes_are_seen_above_the_dots_and_in_a_closer_view(chart):
    medusa("medusa-fig18", chart)
    edges = [patch for patch in chart.patches if not patch.get_fill()]
    assert len(edges) == 8
    dots = max(collection.get_zorder() for collection in chart.collections if len(collection.get_offsets()) > 1)
    assert min(edge.get_zorder() for edge in edges) > dots
    (inset,) = chart.child_axes
    low, high = inset.get_xlim()
    for row in audit.printed_ranges("medusa-fig18").iloc[1:].itertuples():
        assert low < row.x_low < row.x_high < high
        assert inset.get_ylim()[0] < row.y_low < row.y_high < inset.get_ylim()[1]


def test_all_that_is_drawn_of_figure_21_is_in_its_legend(chart):
    ds = wb.speculation.speedup("a100-80gb-pcie", "llama-7b", 1, 1024, [1, 16, 80])
    plots.speculation(ds, chart, printed=audit.printed_speedups("medusa-fig21"))
    diamonds = [line for line in chart.get_lines() if line.get_marker() == "D"]
    assert [line.get_label() for line in diamonds] == ["latency, printed"]
    assert {"latency, printed", "latency, printed range", "speedup, printed"} <= set(legend(chart))


# The T4 report ----------------------------------------------------------------------------------------------------


def test_the_printed_tables_are_those_of_the_claims():
    rows = t4_static_charts.printed_rows()
    for phase in ("prefill", "decode"):
        mine = rows[rows.phase == phase].set_index(["batch_size", "seq_len"])
        cells = audit.printed_cells(f"t4-{phase}")
        assert set(cells.column) == set(studies.STATIC_COLUMNS)
        for cell in cells.itertuples():
            variable, scale, _ = studies.STATIC_COLUMNS[cell.column]
            assert mine.loc[(cell.batch_size, cell.seq_len), variable] * scale == pytest.approx(cell.published)


def test_the_roofline_of_the_t4_has_all_that_the_report_draws():
    figure, table = t4_charts.draw_chart("roofline", studies.load_test_requests(None).iloc[:0])
    (ax,) = figure.axes
    figure.canvas.draw()
    assert ax.get_xlim()[0] == 0.1
    assert "0.1" in [label.get_text() for label in ax.get_xticklabels()]
    crosses = [c for c in ax.collections if (c.get_label() or "").startswith("printed, batch")]
    drawn = sorted(tuple(point) for c in crosses for point in c.get_offsets())
    printed = [
        (3.06, 0.98e12), (3.00, 0.96e12), (4.88, 1.56e12), (6.00, 1.92e12), (367, 65e12), (1211, 65e12), (381, 65e12),
        (1229, 65e12),
    ]  # fmt: skip
    np.testing.assert_allclose(drawn, sorted(printed))
    texts = "\n".join(text.get_text() for text in ax.texts)
    regions = ("memory-bound, below 203", "compute-bound, above 203", "Decode\n3-5", "Prefill\n150-1200")
    for words in (*regions, "ridge point", "compute roof", "the time, 1.5 % of the peak", "quick,\n100 % of the peak"):
        assert words in texts
    (star,) = (c.get_offsets()[0] for c in ax.collections if c.get_label() == "measured, 98 sequences")
    measured = table[table.source == "measured"].iloc[0]
    assert tuple(star) == (measured["intensity [FLOP/byte]"], measured["performance [FLOP/s]"])
    # 13.2 GFLOP a token of weights and cache, 98 of them, in 0.279 s for each 1.108th of a token
    assert measured["performance [FLOP/s]"] == pytest.approx(98 * 13.27e9 / (0.279 * 1.108), rel=0.02)
    assert list(table.source.value_counts()[["printed", "measured"]]) == [8, 1]
    plt.close(figure)


def test_a_phase_has_its_colour_whichever_others_are_drawn(chart):
    ds = studies.static_tables("decode", [1, 4], [512])
    studies.t4_roofline({"decode": ds}, {"decode": [3.0, 5.0]}, chart)
    assert legend(chart)["decode, printed intensity"].get_facecolor()[:3] == mpl.colors.to_rgb(plots.COLORS["orange"])
    with pytest.raises(ValueError, match=r"unknown phase 'decoding'\. Did you mean 'decode'"):
        studies.t4_roofline({"decoding": ds}, {"decoding": [3.0, 5.0]}, chart)


def test_printed_cells_at_one_place_are_both_seen(chart):
    ds = studies.static_tables("prefill", [1, 4], [128, 512])
    studies.compare_sources(ds, "intensity", chart, printed=audit.printed_cells("t4-prefill"))
    shapes = [c for c in chart.collections if c.get_label().startswith("printed")]
    assert [c.get_label() for c in shapes] == ["printed, batch 1", "printed, batch 4"]
    assert len({tuple(map(tuple, c.get_paths()[0].vertices)) for c in shapes}) == 2  # + and x
    assert shapes[0].get_sizes()[0] > 2 * shapes[1].get_sizes()[0]
    assert chart.get_ylabel() == "Operational intensity (FLOP/byte)"


def test_the_queue_s_token_rate_is_that_of_the_engine():
    requests = studies.load_test_requests(None)
    figure, table = t4_charts.draw_chart("queue", requests)
    _, right = figure.axes
    assert right.get_ylabel() == "Generated tokens per second"
    steady = table[table["time [s]"] > 20]["implied_token_rate [1/s]"].mean()
    generated = 98 / (0.279 * 1.108)  # sequences, over the recorded time of a token, 1.108 of which are counted
    assert steady == pytest.approx(generated, rel=0.05)
    assert legend(right)["the engine's log"]
    plt.close(figure)
    requests.attrs["source"] = "file"
    figure, counted = t4_charts.draw_chart("queue", requests)
    assert figure.axes[1].get_ylabel() == "Tokens per second, as the load test counts them"
    ratio = counted["implied_token_rate [1/s]"].sum() / table["implied_token_rate [1/s]"].sum()
    assert ratio == pytest.approx(1.108)
    plt.close(figure)


def test_gains_are_over_the_same_server_without_the_change():
    figure, axes = plt.subplots(2, 1)
    columns = ["change", "sequences", "computed_by", "guess_low", "guess_high", "gain", "unit"]
    rows = [("A", 1, "server", 2, 3, 1.5, "x tokens/s"), ("B", np.nan, "memory", 30, 30, 50, "% saved")]
    t4_charts.gains_chart(pd.DataFrame(rows, columns=columns), axes)
    assert axes[0].get_xlabel() == "Tokens per second, times those without the change"
    plt.close(figure)


# The explorer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["medusa-fig09", "medusa-fig15", "medusa-fig18", "t4-roofline"])
def test_the_page_draws_a_chart_as_its_figure(figure):
    view = published_charts.chart_view(figure)
    chart = roofline_tab(view, grid(view))["roofline"]
    entries = {row["label"]: row for row in chart["legend"]}
    assert list(entries) == list(view.series)
    for label, (color, marker) in series_looks(view.series).items():
        assert entries[label]["color"] == mpl.colors.to_hex(color).lower() or entries[label]["color"] == color
        assert entries[label]["marker"] == {"x": "x", "o": "circle"}[marker]
    assert {group["marker"] for group in chart["groups"]} == {entries[next(iter(entries))]["marker"]}
    (ceiling,) = chart["ceilings"]
    assert ceiling["colors"] == [plots.COLORS[name] for name in ("blue", "red", "green")]
    assert chart["arrows"] == list(params(figure).get("arrows", []))
    boxes = {row["series"] for row in chart["ranges"] if row["box"]}  # whose edge is black, as in the figure
    assert boxes == (set(audit.printed_ranges(figure).series) if figure == "medusa-fig18" else set())
    misread = [row["x_low"] for row in chart["ranges"] if row["outline"] is None]
    assert misread == ([128] if figure == "medusa-fig15" else [])


def test_colours_of_a_link_are_names_or_numbers():
    view = published_charts.chart_view("medusa-fig09")
    series = {"a": {"phase": "decode", "color": "grey"}, "b": {"phase": "decode", "color": "#12aBff", "marker": "D"}}
    chart = roofline_tab(view.model_copy(update={"series": series}), grid(view))["roofline"]
    assert [(row["color"], row["marker"]) for row in chart["legend"]] == [
        (plots.COLORS["grey"], "x"), ("#12aBff", "diamond"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ({"color": "url(x)"}, r"series a: color = 'url\(x\)': allowed are #rrggbb and blue, orange"),
        ({"color": 3}, "series a: color = 3: allowed are #rrggbb and"),
        ({"marker": "??"}, r"unknown marker '\?\?'\. Allowed: x, o, s"),
        ({"marker": ["x"]}, "unknown marker"),
    ],
)
def test_no_look_of_a_link_is_guessed(look, message):
    view = published_charts.chart_view("medusa-fig09")
    with pytest.raises(ValueError, match=message):
        roofline_tab(view.model_copy(update={"series": {"a": {"phase": "decode"} | look}}), grid(view))


def test_a_view_without_a_figure_keeps_the_page_s_colours():
    view = wb.explorer.View(gpu=["t4"], operator=["qkv_proj", "o_proj"])
    chart = roofline_tab(view, grid(view))["roofline"]
    assert chart["ceilings"][0]["colors"] is None
    assert chart["arrows"] == []
    assert {group["marker"] for group in chart["groups"]} == {"circle"}
