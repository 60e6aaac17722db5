"""What the explorer's charts are drawn from: colours, markers, legends, what is hatched, the table of operators."""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.catalog.model_entries import model, models
from workbench.explorer import View
from workbench.explorer.chart_looks import COLOR_OF, operator_color
from workbench.explorer.fitting import memory_short
from workbench.explorer.pictures import POINT_NUMBERS, SHAPES, at_setting, roofline_tab
from workbench.explorer.step_pictures import operator_rows
from workbench.explorer.view import grid, view_draft
from workbench.operators import COLLECTIVES, OPERATORS, operator_set
from workbench.serving.room import KV_CACHE, WEIGHTS

VENDOR = Path(wb.__file__).parent / "explorer" / "page" / "vendor"


def shown(**fields):
    """The view of those fields and its picture."""
    view = View(**fields)
    return view, roofline_tab(view, grid(view))


@pytest.fixture(scope="module")
def default():
    return shown(setting={"batch_size": 32})


def test_the_library_is_the_one_that_was_bundled():
    bundle = (VENDOR / "echarts.js").read_bytes()
    sha256, name = (VENDOR / "echarts.sha256").read_text().split()
    assert (name, sha256) == ("echarts.js", hashlib.sha256(bundle).hexdigest())
    for refused in (b"new Function", b"eval("):  # as a page's policy may
        assert refused not in bundle
    for owner in ("Apache License", "Apache ECharts", "zrender", "tslib", "d3.js"):
        assert owner in (VENDOR / "echarts.LICENSE.txt").read_text()


def test_every_operator_has_a_colour_and_no_two_of_a_model_share_one():
    assert {name for names in COLOR_OF.values() for name in names} == {*OPERATORS, *COLLECTIVES}
    for entry in map(model, models()):
        for view in ("fused", "unfused"):
            own = [*operator_set(entry, view), *COLLECTIVES]
            shared = [pair for pair in combinations(own, 2) if len({*map(operator_color, pair)}) == 1]
            assert not shared, entry.id


def test_an_operator_without_an_entry_has_a_colour_that_stays():
    assert operator_color("made_up") == operator_color("made_up") in COLOR_OF


def test_colours_do_not_depend_on_the_models():
    _, dense = shown(gpu=["t4"])
    _, both = shown(gpu=["t4"], model=["qwen3-30b-a3b", "llama-3-8b"])
    colors = [
        {group["at"]["operator"]: group["color"] for group in picture["roofline"]["groups"]}
        for picture in (dense, both)
    ]
    assert colors[0].items() <= colors[1].items()
    bars = {part["operator"]: part["color"] for part in dense["bars"]["rows"][0]["parts"]}
    assert bars == colors[0]


def test_twelve_pairs_have_markers_of_their_own_and_the_next_a_colour():
    names = ["t4", "l4", "a10", "a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h200-sxm"]
    _, picture = shown(gpu=names, model=["llama-3-8b", "llama-2-7b"], operator=["lm_head"], phase=["decode"])
    looks = [(group["marker"], group["color"]) for group in picture["roofline"]["groups"]]
    assert len({marker for marker, _ in looks[:12]}) == 12 == len(SHAPES)
    assert len({*looks}) == 14
    assert {color for _, color in looks[:12]} == {operator_color("lm_head")}


def test_a_legend_has_a_row_for_each_operator_phase_and_pair_and_no_other():
    view, picture = shown(gpu=["t4", "l4"], model=["llama-3-8b", "qwen3-30b-a3b"], series={})
    chart = picture["roofline"]
    operators = {group["at"]["operator"] for group in chart["groups"]}
    rows = [row["id"] for row in chart["legend"]]
    assert len(rows) == len({*rows}) == len(operators) + len(view.phase) + 4
    assert {row for group in chart["groups"] for row in group["rows"]} == {*rows}
    assert "gl4 · llama-3-8b" in rows


def test_points_come_as_bytes_with_the_setting_among_them(default):
    view, picture = default
    chart, ds = picture["roofline"], grid(view)
    points = len(view.batch_size) * len(view.seq_len)
    numbers = np.frombuffer(chart["numbers"]).reshape(len(chart["groups"]), len(POINT_NUMBERS), points)
    one = dict(zip(("batch_size", "seq_len"), (axis[i] for axis, i in zip(
        (view.batch_size, view.seq_len), at_setting(view), strict=True
    )), strict=True))  # fmt: skip
    for group, own in zip(chart["groups"], numbers, strict=True):
        point = ds.sel(**group["at"], **one)
        assert own[:, chart["focus"]].tolist() == [float(point[name]) for name in POINT_NUMBERS]
    assert len(chart["unfit"]) == len(chart["groups"]) * points


@pytest.mark.parametrize("server", [{}, {"gpu_memory_utilization": 0.5}, {"draft": "llama-3.2-1b:4:0.7"}])
def test_hatched_is_what_an_estimate_finds_no_memory_for(server):
    view = View(gpu=["l4", "h100-sxm"], model=["llama-3-8b"], batch_size=[1, 64, 1024], seq_len=[512, 4096],
                setting={"output": 100}, server=server)  # fmt: skip
    short = memory_short(view)
    for g, gpu in enumerate(view.gpu):
        for b, batch_size in enumerate(view.batch_size):
            given = {**server, "draft": view_draft(view)} if "draft" in server else server
            ds = wb.serving.estimate(gpu, "llama-3-8b", batch_size, view.seq_len, 100, time_model="ideal", **given)
            unfit = ds.unfit.values.ravel()
            assert short[g, 0, b].tolist() == [each in (WEIGHTS, KV_CACHE) for each in unfit], (gpu, batch_size)
    assert {*short.ravel().tolist()} == {True, False}


def test_what_cannot_run_at_all_is_not_hatched():
    assert not memory_short(View(gpu=["t4"], model=["llama-3-8b"], tp=3)).any()
    assert not memory_short(View(gpu=["t4"], server={"max_num_seqs": 1}, batch_size=[2])).any()


def test_points_bars_cells_and_rows_are_hatched_alike():
    _, picture = shown(gpu=["t4", "h200-sxm"], model=["llama-2-13b"], setting={"batch_size": 1, "seq_len": 128})
    assert {row["gpu"]: row["unfit"] for row in picture["bars"]["rows"]} == {"t4": True, "h200-sxm": False}
    assert {row["gpu"]: row["unfit"] for row in picture["operators"]["rows"]} == {"t4": True, "h200-sxm": False}
    assert np.all(picture["heat"]["unfit"])  # of the first GPU
    marks = np.frombuffer(picture["roofline"]["unfit"], np.uint8).reshape(len(picture["roofline"]["groups"]), -1)
    on_t4 = [group["at"]["gpu"] == "t4" for group in picture["roofline"]["groups"]]
    assert marks.all(axis=1).tolist() == on_t4


def test_the_table_of_operators_says_what_limits_each_and_what_another_gpu_takes(default):
    view, picture = default
    rows = picture["operators"]["rows"]
    ds = grid(view).sel(batch_size=32, seq_len=1024)
    ridge = dict(zip(view.gpu, ds.ridge_point.values, strict=True))
    times = {(row["gpu"], row["phase"], row["operator"]): row["time"] for row in rows}
    for row in rows:
        assert row["bound"] == (row["intensity"] >= ridge[row["gpu"]])
        other = ({*view.gpu} - {row["gpu"]}).pop()
        assert (row["other_gpu"], row["other"]) == (other, times[other, row["phase"], row["operator"]])
    for step in picture["operators"]["steps"]:
        own = [row for row in rows if (row["gpu"], row["phase"]) == (step["gpu"], step["phase"])]
        assert sum(row["time"] * row["calls"] for row in own) == pytest.approx(step["total"])
        assert sum(row["share"] for row in own) == pytest.approx(1) == sum(b["share"] for b in step["bounds"].values())
    decode = next(step for step in picture["operators"]["steps"] if step["phase"] == "decode")
    assert [*decode["bounds"]] == ["memory"]
    assert decode["other"] < decode["total"]


def test_a_single_gpu_is_compared_with_none():
    _, picture = shown(gpu=["t4"])
    assert {row["other"] for row in picture["operators"]["rows"]} == {None}


def test_operators_of_whole_steps_that_a_model_lacks_have_no_row():
    view = View(gpu=["t4"], model=["llama-3-8b", "qwen3-30b-a3b"])
    ds = grid(view)
    found = operator_rows(view, ds, at_setting(view), memory_short(view))["rows"]
    assert "router" not in {row["operator"] for row in found if row["model"] == "llama-3-8b"}
    assert "router" in {row["operator"] for row in found if row["model"] == "qwen3-30b-a3b"}
