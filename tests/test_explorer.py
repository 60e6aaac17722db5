"""The explorer without a browser: views, the pictures made of them, the code they stand for, what it refuses."""

import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from browsing import free_port
from typer.testing import CliRunner

import workbench as wb
from workbench import audit, explorer, tables
from workbench.cli import app
from workbench.common.extras import MissingLibrary
from workbench.explorer import (
    background,
    export,
    own_messages,
    page_server,
    pictures,
    presets,
    published_charts,
    tab_calls,
    tabs,
    view,
    website,
    widget,
)
from workbench.figures import read_params
from workbench.figures.params import notebook_parameters

ROOT = Path(__file__).resolve().parents[1]
CONFIG = {
    "model_type": "llama", "_name_or_path": "acme/Tiny-1B", "hidden_size": 2048, "intermediate_size": 5632,
    "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
    "max_position_embeddings": 2048,
}  # fmt: skip
OWN = {"model": ["tiny-1b"], "configs": {"tiny-1b": CONFIG}}
PIN = {"gpu": "t4", "model": "llama-7b", "phase": "decode", "batch_size": 1, "seq_len": 8}


def nested(levels):
    """An object inside an object, so many levels deep."""
    return {"a": nested(levels - 1)} if levels > 1 else {}


def without_bytes(tree):
    """A picture as JSON can have it: without the numbers that go beside it."""
    if isinstance(tree, dict):
        return {key: without_bytes(value) for key, value in tree.items() if not isinstance(value, bytes)}
    return [without_bytes(value) for value in tree] if isinstance(tree, list | tuple) else tree


VIEWS = {
    "first": {},
    "kernel": {"gpu": ["t4"], "operator": ["attention", "lm_head"], "time_model": "kernel", "launch_latency_us": 26.0},
    "formats": {"gpu": ["h100-sxm"], "weight_dtype": "fp8", "activation_dtype": "fp8", "kv_dtype": "fp8"},
    "candidates": {"phase": ["decode"], "candidates": [1, 64], "batch_size": [3], "seq_len": [100]},
    "own model": OWN | {"model": ["tiny-1b", "mixtral-8x7b"]},
    "steps": {"points": "steps"},
    "tp": {"tp": 2},
    "tp and steps": OWN | {"gpu": ["t4"], "tp": 4, "points": "steps", "candidates": [1, 4], "time_model": "kernel"},
    "tp and own roof": {"gpu": ["rtx-a6000"], "tp": 2, "peak_tflops": 181.0, "time_model": "kernel"},
    "server": {"model": ["mixtral-8x7b"], "tp": 2, "server": {"ep": 4, "pp": 2, "engine": "sglang"}},
    "own roof": {"gpu": ["rtx-a6000"], "peak_tflops": 181.0, "time_model": "kernel"},
}


def drawn(fields):
    shown = explorer.View(**fields)
    ds = explorer.grid(shown)
    sizes = {"batch_size": shown.batch_size, "seq_len": shown.seq_len}
    return shown, ds, pictures.roofline_tab(shown, ds) | {"sizes": sizes}


def numbers(picture):
    """The numbers of the chart's points: (group, what, batch size, length)."""
    shape = (len(picture["roofline"]["groups"]), 5, *(len(values) for values in picture["sizes"].values()))
    return np.frombuffer(picture["roofline"]["numbers"]).reshape(shape)


@pytest.fixture(autouse=True)
def first_answer(monkeypatch):
    """Of tabs that are completed beside the page only the first section, as the page has it at once."""
    monkeypatch.setattr(background.Background, "start", lambda *_: None)


# Views ------------------------------------------------------------------------------------------------------------


def test_a_view_survives_json():
    shown = explorer.View(
        **OWN, pins=[{"gpu": "t4", "model": "llama-7b", "phase": "decode", "batch_size": 1, "seq_len": 8}]
    )
    assert explorer.View(**json.loads(json.dumps(shown.state()))) == shown
    assert explorer.View().state() == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gpus": ["t4"]}, "unknown field 'gpus'. Did you mean 'gpu'"),
        ({"gpu": []}, "gpu is empty: give at least one"),
        ({"gpu": ["t5"]}, "unknown GPU 't5'"),
        ({"gpu": [4]}, "gpu.0 = 4: Input should be a valid string"),
        ({"batch_size": [0]}, r"batch_size.0 = 0: Input should be greater than 0"),
        ({"batch_size": []}, r"batch_size = \[\]: List should have at least 1 item"),
        ({"seq_len": [1.5]}, r"seq_len.0 = 1.5: Input should be a valid integer"),
        ({"launch_latency_us": float("nan")}, "launch_latency_us = nan: Input should be"),
        ({"launch_latency_us": -1.0}, "launch_latency_us = -1.0: Input should be greater than or equal to 0"),
        ({"weight_dtype": "fp8", "activation_dtype": "fp8"}, "a100-80gb-sxm has no fp8 peak"),
        ({"operator": ["fused", "qk"]}, "operator 'fused' stands alone"),
        ({"operator": ["attention"], "points": "steps"}, "points of whole steps need the fused operators"),
        ({"points": "dots"}, "points = 'dots': Input should be 'operators' or 'steps'"),
        ({"batch_size": list(range(1, 301)), "seq_len": list(range(1, 301))}, "a page draws 20,000; narrow the ranges"),
        ({"tp": 0}, "tp = 0: Input should be greater than 0"),
        ({"tp": 3}, "tp = 3 does not divide n_heads = 32 of llama-3-8b: allowed are 1, 2, 4, 8, 16, 32"),
        ({"gpu": ["jetson-agx-orin-64gb"], "tp": 2}, "jetson-agx-orin-64gb has no link rate for 2 GPUs"),
        ({"figure": "medusa-fig99"}, "unknown figure 'medusa-fig99'"),
        ({"view": 3}, "^view = 3: give a saved view, its path or a View$"),
        ({"view": ["t4"]}, r"^view = \['t4'\]: give a saved view, its path or a View$"),
        ({"series": {"a": {"gpus": "t4"}}}, "unknown key of a series 'gpus'"),
        ({"model": ["llama-7b"], "configs": {"llama-7b": CONFIG}}, "'llama-7b' is a model of the catalog"),
        ({"model": ["A/b"], "configs": {"A/b": CONFIG}}, "'A/b': the name of a model is in lower case"),
        ({"model": ["x"], "configs": {"x": {"model_type": "bert"}}}, "model_type = 'bert': not read"),
        ({"pins": [PIN] * 51}, "51 entries, of 50 that a page holds"),
        ({"series": {f"s{i}": {} for i in range(5000)}}, "5,000 entries, of 100 that a page holds"),
        ({"series": {"a": {"operator": ["qk"] * 101}}}, "operator selects by a name or a number, or by a list of at"),
        ({"series": {"a": {"operator": {}}}}, r"series.a = .*: operator selects by a name or a number, or by a list"),
        ({"series": {"a": {"operator": ["x" * 201]}}}, "operator selects by a name or a number, or by a list of at"),
        ({"series": {f"s{i}": {} for i in range(40)}, "batch_size": list(range(1, 101)), "seq_len": list(range(1, 51))},
         "over 400,000 points in all series: narrow the ranges or take fewer series"),
        ({"gpu": wb.gpus()[:24], "model": wb.models()[:10], "operator": ["lm_head"], "batch_size": [1], "seq_len": [1]},
         "240 pairs of a GPU and a model: a page draws 200; choose fewer"),
        ({"gpu": ["t4"] * 101}, "101 entries, of 100 that a page holds"),
        ({"batch_size": list(range(1, 1002)), "seq_len": [1]}, "1,001 entries, of 1,000 that a page holds"),
        ({"candidates": list(range(1, 102))}, "101 entries, of 100 that a page holds"),
        ({"tp": 1025}, "tp = 1025: Input should be less than or equal to 1024"),
        ({"server": {"ep": 0}}, "server.ep = 0: Input should be greater than 0"),
        ({"server": {"dp": 1025}}, "server.dp = 1025: Input should be less than or equal to 1024"),
        ({"server": {"engine": "vlm"}}, "unknown engine 'vlm'. Did you mean 'vllm'"),
        ({"model": ["x" * 10**6]}, "1,000,000 characters, of 200 that a page holds"),
        ({"model": ["\u202egpj.exe"]}, r"model.0 = '\\u202egpj.exe': must have no control characters"),
        ({"model": ["a\nb"], "configs": {"a\nb": CONFIG}}, "must have no control characters"),
        ({"configs": {f"m{i}": CONFIG for i in range(21)}}, "21 entries, of 20 that a page holds"),
        ({"configs": {"x": CONFIG | {"note": "x" * 2**18}}}, "configs: 262,.* characters of JSON: a page"),
        ({"configs": {"x": CONFIG | {"deep": nested(32)}}}, "configs: x: nested over 32 levels deep"),
        ({"configs": {"x": CONFIG | {"rope": [1.0, float("inf")]}}}, "rope.1 = 'inf': must be a finite number"),
        ({"configs": {"x": CONFIG | {"note": "\ud800"}}}, "note = .*: must have no half characters"),
        ({"configs": {"x": CONFIG | {"\udfff": 1}}}, "a key = .*: must have no half characters"),
    ],
)  # fmt: skip
def test_what_a_view_refuses(fields, message):
    with pytest.raises(ValueError, match=message) as refused:
        wb.explore(**fields)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 2000


def test_a_config_may_be_nested_as_deep_as_an_entry_of_the_catalog():
    assert wb.explore(**OWN | {"configs": {"tiny-1b": CONFIG | {"deep": nested(31)}}}).view.model == ["tiny-1b"]


@pytest.mark.parametrize("time_model", ["ideal", "kernel"])
@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": [1, 10**12], "seq_len": [1, 10**12]}, {"candidates": [10**12], "phase": ["decode"]},
        {"batch_size": [10**12], "seq_len": [10**12], "gpu": ["h100-sxm"], "model": ["mixtral-8x7b"], "tp": 8},
        {"launch_latency_us": 999999.0, "peak_tflops": 9e12}, {"launch_latency_us": 5e-324},
        {"setting": {"batch_size": 9 * 10**12, "seq_len": 9 * 10**12}},
    ],
)  # fmt: skip
def test_the_largest_sizes_overflow_nothing(fields, time_model):
    _, _, picture = drawn(fields | {"time_model": time_model})
    assert np.isfinite(numbers(picture)).all()
    json.dumps(without_bytes(picture), allow_nan=False)


# Code and params --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", VIEWS.values(), ids=VIEWS)
def test_the_code_gives_the_view_s_numbers(fields):
    shown = explorer.View(**fields)
    names = {}
    exec(explorer.code(shown), names)
    assert names["ds"].identical(explorer.grid(shown))
    if shown.points == "steps":
        assert names["steps"].time.identical(explorer.drawn(explorer.grid(shown), "steps").time)


#: Of each tab of servers, a view whose numbers take little to compute.
SERVED = {
    "server": {"tab": "server", "gpu": ["t4", "l4"], "model": ["llama-3.2-1b"], "setting": {"batch_size": 4}},
    "deployed": {
        "tab": "server", "gpu": ["h100-sxm"], "model": ["llama-3.1-8b"], "tp": 2, "weight_dtype": "fp8",
        "setting": {"batch_size": 8, "seq_len": 2048, "output": 64},
        "server": {"pp": 2, "engine": "sglang", "draft": "llama-3.2-1b:4:0.7", "price": 2.5, "cached_prefix": 512,
                   "max_num_batched_tokens": 4096, "gpu_memory_utilization": 0.8, "time_model": "ideal"},
    },
    "medusa": {"tab": "server", "gpu": ["t4"], "model": ["llama-3.2-1b"], "server": {"draft": "medusa:16"}},
    "own": OWN | {"tab": "server", "gpu": ["l4"], "server": {"draft": "tiny-1b:2:0.5", "price": {"l4": 0.8}}},
    "frontier": {"tab": "frontier", "gpu": ["jetson-agx-orin-64gb"], "model": ["llama-3.2-1b", "llama-3.2-3b"]},
    "plan": {"tab": "plan", "gpu": ["jetson-agx-orin-64gb"], "model": ["llama-3.2-1b"], "server": {"price": 1.0},
             "setting": {"seq_len": 128, "output": 16}, "goal": {"rate": 0.5, "ttft": 2.0, "tpot": 0.5}},
}  # fmt: skip


@pytest.mark.parametrize("fields", SERVED.values(), ids=SERVED)
def test_the_code_of_a_tab_of_servers_gives_the_tab_s_numbers(fields, tmp_path):
    shown, names = wb.explore(**fields), {}
    exec(shown.picture["code"]["python"], names)
    *_, last = tabs.TAB_STEPS[shown.view.tab](shown.view) if shown.view.tab != "server" else [shown.picture]
    section = last[shown.view.tab]
    if shown.view.tab == "server":
        for row in section["rows"]:
            one = names["ds"].sel(gpu=row["gpu"]).squeeze()
            assert [row["ttft"], row["tpot"]] == [one.ttft.item(), one.tpot.item()]
            assert row["cost"] == (one.cost.item() if "cost" in one else None)
    elif shown.view.tab == "frontier":
        front = [row for row in section["rows"] if row["front"]]
        ours = sorted((row["x"], row["y"]) for row in front)
        theirs = sorted(names["front"][[tab_calls.PER_USER, tab_calls.PER_GPU]].itertuples(index=False, name=None))
        assert np.array(ours) == pytest.approx(np.array(theirs))
    else:
        first, ours = names["plan"].iloc[0], section["rows"][0]
        for name in ("replicas", "gpus", "cost", "simulated_ttft_s", "simulated_tpot_s"):
            assert first[name] == ours[name], name
    for kind in ("csv", "nc"):
        (tmp_path / f"view.{kind}").write_bytes(shown.data(kind))
    table = pd.read_csv(tmp_path / "view.csv")
    assert len(table) >= len(section["rows"] if shown.view.tab != "frontier" else front)
    if shown.view.tab == "server":
        with xr.open_dataset(tmp_path / "view.nc") as found:
            assert found.tpot.values.ravel().tolist() == names["ds"].tpot.values.ravel().tolist()


def test_a_gpu_that_cannot_run_is_left_out_of_the_code_and_named_in_it():
    shown = wb.explore(tab="server", gpu=["a100-80gb-sxm", "h100-sxm"], weight_dtype="fp8", activation_dtype="fp8")
    code, names = shown.picture["code"]["python"], {}
    assert "# left out: a100-80gb-sxm: a100-80gb-sxm has no fp8 peak" in code
    exec(code, names)
    assert list(names["ds"].gpu) == ["h100-sxm"]
    shown.update(gpu=["a100-80gb-sxm"])
    assert "# nothing to compute: a100-80gb-sxm has no fp8 peak" in shown.picture["code"]["python"]
    with pytest.raises(ValueError, match="a100-80gb-sxm has no fp8 peak"):
        shown.data("csv")


def test_a_file_is_named_after_its_view_and_says_what_it_is_of(tmp_path):
    shown = wb.explore(gpu="l4", model="llama-3-8b", batch_size=[1, 2], seq_len=[128], tp=1, kv_dtype="fp8")
    assert shown.picture["file"] == "l4-llama-3-8b-roofline"
    assert wb.explore(tab="server").picture["file"] == "2-gpus-llama-3-8b-server"
    (tmp_path / "view.csv").write_bytes(shown.data("csv"))
    table = pd.read_csv(tmp_path / "view.csv")
    assert set(table.kv_dtype) == {"fp8"}
    (tmp_path / "view.nc").write_bytes(shown.data("nc"))
    with xr.open_dataset(tmp_path / "view.nc") as found:
        said = found.attrs
    assert said["title"] == "llama-3-8b on l4, roofline"
    assert said["setting"] == "llama-3-8b on l4: kv_dtype fp8, batch_size 1 2, seq_len 128"
    assert explorer.View(**json.loads(said["view"])) == shown.view
    assert said["version"] == f"roofline-workbench {version('roofline-workbench')}"
    assert pd.Timestamp(said["date"]) <= pd.Timestamp.now()


def test_words_of_a_setting_are_those_that_the_tab_s_numbers_depend_on():
    fields = {"time_model": "kernel", "tp": 2, "setting": {"batch_size": 4, "output": 64}, "goal": {"rate": 2.0}}
    told = {tab: wb.explore(gpu="h100-sxm", tab=tab, **fields).picture["setting"] for tab in ("roofline", "server")}
    assert told["roofline"] == "llama-3-8b on h100-sxm: tp 2, time_model kernel, at_batch_size 4"
    assert told["server"] == "llama-3-8b on h100-sxm: tp 2, batch_size 4, output 64, rate 2.0"


@pytest.mark.parametrize("fields", VIEWS.values(), ids=VIEWS)
def test_the_params_are_those_of_the_notebook(fields, tmp_path):
    shown = explorer.View(**fields)
    path = tmp_path / "my-view.yaml"
    path.write_text(explorer.params(shown))
    values = read_params(path, ROOT / "notebooks" / "view.ipynb")
    again = {name: value for name, value in values.items() if name in explorer.View.model_fields}
    assert explorer.grid(explorer.View(**again)).identical(explorer.grid(shown))


def test_the_notebook_draws_the_view_from_its_params(tmp_path, monkeypatch):
    from workbench.figures import Figure, draw
    from workbench.figures.state import workplace

    shown = explorer.View(**OWN, gpu=["l4", "t4"], time_model="kernel", batch_size=[1, 4], seq_len=[512], tp=2)
    path = tmp_path / "my-view.yaml"
    path.write_text(explorer.params(shown))
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, "")  # `workplace` sets them: to be put back
    with workplace(tmp_path) as scratch:
        outcome = draw(Figure("my-view", path, ROOT / "notebooks" / "view.ipynb"), tmp_path, ROOT, scratch, "inputs")
    assert outcome.state == "drawn", outcome.reason
    expected = tables.points(explorer.grid(shown))
    found = pd.read_csv(tmp_path / "my-view.csv")
    assert list(found.columns) == list(expected.columns)
    assert found["time [s]"].to_numpy() == pytest.approx(expected["time [s]"].to_numpy(), rel=1e-6)
    assert set(found[found.operator == "all_reduce"].bound) <= {"link"}


def test_a_long_config_is_written_once(monkeypatch):
    for latency in (3.0, 4.0):
        shown = explorer.View(**OWN, launch_latency_us=latency)
        assert f"launch_latency_us: {latency}\n" in explorer.params(shown)
        assert f"launch_latency={latency * 1e-6!r},\n" in explorer.code(shown)
        monkeypatch.setattr(tab_calls, "pformat", None)  # from now on
        monkeypatch.setattr(export, "_yaml", lambda fields: None if "configs" in fields else yaml.dump(fields))


@pytest.mark.parametrize("figure", ["medusa-fig09", "t4-roofline"])
def test_the_notebook_draws_a_published_chart_with_its_arrows_and_ranges(figure, monkeypatch):
    notebook = nbformat.read(ROOT / "notebooks" / "view.ipynb", 4)
    names = yaml.safe_load(explorer.params(published_charts.chart_view(figure))) | {"output_dir": None}
    assert names["arrows"] == published_charts.chart_params(figure).get("arrows", [])
    asked = []
    monkeypatch.setattr("workbench.plots.roofline", lambda ds, ax, **given: asked.append(given))
    monkeypatch.setattr("workbench.figures.save", lambda *given: None)
    for cell in [cell for cell in notebook.cells if cell.cell_type == "code"]:
        if "parameters" not in cell.metadata.get("tags", []):
            exec(cell.source, names)
    plt.close("all")
    (given,) = asked
    assert given["arrows"] == names["arrows"]
    assert given["ranges"].equals(published_charts.chart_ranges(figure))
    assert len(given["ranges"]) > 0


def test_the_params_name_every_parameter():
    declared = notebook_parameters(ROOT / "notebooks" / "view.ipynb")
    assert set(yaml.safe_load(explorer.params(explorer.View()))) == set(declared)


# Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", VIEWS.values(), ids=VIEWS)
def test_a_picture_is_json_beside_its_numbers(fields):
    _, _, picture = drawn(fields)
    assert np.isfinite(numbers(picture)).all()
    json.dumps(without_bytes(picture), allow_nan=False)


def test_points_are_those_of_the_grid():
    _, ds, picture = drawn({"time_model": "kernel"})
    groups = picture["roofline"]["groups"]
    assert len(groups) == 2 * 7 * 2  # GPUs, operators, phases
    for group, values in zip(groups, numbers(picture), strict=True):
        one = ds.sel(group["at"])
        for name, value in zip(pictures.POINT_NUMBERS, values, strict=True):
            assert value == pytest.approx(one[name].values), (group["at"], name)


def test_operators_that_a_model_lacks_have_no_points():
    _, _, picture = drawn({"model": ["llama-3-8b", "mixtral-8x7b"], "gpu": ["h100-sxm"]})
    found = {(group["at"]["model"], group["at"]["operator"]) for group in picture["roofline"]["groups"]}
    assert ("mixtral-8x7b", "router") in found
    assert ("llama-3-8b", "router") not in found
    bars = {row["model"]: [part["operator"] for part in row["parts"]] for row in picture["bars"]["rows"]}
    assert "router" in bars["mixtral-8x7b"]
    assert "router" not in bars["llama-3-8b"]


def test_a_roof_has_its_corner_at_the_ridge_point():
    _, _, picture = drawn({"gpu": ["t4"]})
    (roof,) = picture["roofline"]["ceilings"]
    assert (roof["bandwidth"], roof["peaks"]) == (320e9, [65e12])  # T4: 65 TFLOP/s, 320 GB/s
    assert roof["ridges"] == pytest.approx([65e12 / 320e9])


def test_a_gpu_has_a_roof_for_each_format():
    fields = {"gpu": ["h100-sxm"], "weight_dtype": "fp8", "activation_dtype": "fp8", "kv_dtype": "fp16"}
    _, _, picture = drawn(fields)
    assert picture["roofline"]["ceilings"][0]["peaks"] == pytest.approx([989.4e12, 1978.9e12])


def test_limits_are_whole_decades_around_everything():
    _, _, picture = drawn({"time_model": "kernel"})
    for values, (low, high) in zip(
        np.moveaxis(numbers(picture), 1, 0)[:2], picture["roofline"]["limits"].values(), strict=True
    ):
        assert low <= values.min()
        assert values.max() <= high
        assert np.log10([low, high]) == pytest.approx(np.round(np.log10([low, high])))


def test_bars_add_up_to_the_step():
    _, ds, picture = drawn({"setting": {"batch_size": 8, "seq_len": 2048}})
    step = wb.forward_pass(ds).sel(batch_size=8, seq_len=2048)
    for row in picture["bars"]["rows"]:
        assert row["total"] == pytest.approx(step.time.sel({k: row[k] for k in ("gpu", "model", "phase")}).item())
        assert sum(part["share"] for part in row["parts"]) == pytest.approx(1)
        assert sum(part["time"] for part in row["parts"]) == pytest.approx(row["total"])


@pytest.mark.parametrize("points", ["operators", "steps"])
def test_tensor_parallel_numbers_are_those_of_one_gpu_s_share(points):
    fields = {"gpu": ["h100-sxm"], "tp": 4, "points": points, "setting": {"batch_size": 8, "seq_len": 2048}}
    shown, _, picture = drawn(fields)
    given = {"batch_size": shown.batch_size, "seq_len": shown.seq_len, "tp": 4}
    expected = wb.roofline_grid("h100-sxm", "llama-3-8b", **given)
    step = wb.forward_pass(expected)
    own = expected if points == "operators" else step
    for group, values in zip(picture["roofline"]["groups"], numbers(picture), strict=True):
        assert values[2] == pytest.approx(own.time.sel(group["at"]).squeeze("tp").values)
    one = step.time.sel(batch_size=8, seq_len=2048).squeeze()
    for row in picture["bars"]["rows"]:
        assert row["total"] == pytest.approx(one.sel(phase=row["phase"]).item())
        assert "all_reduce" in [part["operator"] for part in row["parts"]]
    assert [row["time"] for row in picture["summary"]] == pytest.approx(one.values)
    assert np.array(picture["heat"]["values"]) == pytest.approx(step.time.sel(phase="prefill").squeeze().values)
    assert picture["notes"] == ["All is per GPU: each of 4 runs its part of every layer (tensor parallelism)."]


def test_all_reduces_wait_for_the_link():
    _, _, picture = drawn({"tp": 2, "heat": {"operator": "all_reduce"}})
    assert np.unique(picture["heat"]["bound"]).tolist() == [2]
    (waiting,) = {group["color"] for group in picture["roofline"]["groups"] if group["at"]["operator"] == "all_reduce"}
    bars = {part["operator"]: part["color"] for part in picture["bars"]["rows"][0]["parts"]}
    assert bars["all_reduce"] == waiting


def test_the_setting_is_the_nearest_on_the_grid():
    _, _, picture = drawn({"setting": {"batch_size": 1000, "seq_len": 700}})
    assert picture["bars"]["setting"] == {"batch_size": 64, "seq_len": 512}  # 700/512 < 1024/700


def test_the_heat_map_is_the_chosen_variable():
    for variable in ("time", "performance", "intensity", "flops", "bytes"):
        _, ds, picture = drawn({"heat": {"variable": variable, "operator": "attention", "phase": "decode"}})
        at = {"gpu": "a100-80gb-sxm", "model": "llama-3-8b", "operator": "attention", "phase": "decode"}
        one = ds.sel({dim: at[dim] for dim in ds[variable].dims if dim in at})
        assert np.array(picture["heat"]["values"]) == pytest.approx(one[variable].values), variable
        assert (np.array(picture["heat"]["bound"]) == ds.bound.sel(at).values).all()


def test_on_the_roof_the_share_of_the_roof_is_whole():
    _, _, picture = drawn({"heat": {"variable": "roof", "operator": "lm_head"}})
    assert np.array(picture["heat"]["values"]) == pytest.approx(100)


def test_a_step_is_bound_by_what_takes_most_of_its_time():
    _, _, picture = drawn({"heat": {"phase": "decode"}})
    assert np.array(picture["heat"]["bound"]).max() == 0  # decoding up to 64 sequences reads
    _, _, picture = drawn({"heat": {"phase": "prefill"}, "seq_len": [2, 8192]})
    assert np.array(picture["heat"]["bound"])[0].tolist() == [0, 1]  # two tokens read, thousands compute


def test_a_heat_map_of_what_is_gone_falls_back_to_the_first():
    _, _, picture = drawn({"heat": {"gpu": "t4", "operator": "router"}})
    assert picture["heat"]["chosen"]["gpu"] == "a100-80gb-sxm"
    assert picture["heat"]["chosen"]["operator"] == pictures.STEP


def test_notes_say_what_a_reader_should_know():
    _, _, picture = drawn({"gpu": ["t4"], "model": ["llama-7b"], "time_model": "kernel", "peak_tflops": 60.0})
    context, kernel, roof = picture["notes"]
    assert context.startswith("llama-7b was published for 2,048 tokens")
    assert kernel == "Assumed of t4: gemm, prefill, decode, elementwise by the fit of a100-80gb-sxm."
    assert roof == "The roof is drawn at 60 TFLOP/s, as the published chart prints it."
    assert drawn({})[2]["notes"] == []
    (own,) = drawn({"gpu": ["trainium2"]})[2]["notes"]
    assert own == "Assumed of trainium2: memory is the vendor's 96 GB, for want of what its driver reports."


def test_steps_have_the_fastest_of_their_roofs():
    ds = wb.roofline_grid("h100-sxm", "llama-3-8b", weight_dtype="fp8", activation_dtype="fp8")
    steps = explorer.drawn(ds, "steps")
    assert steps.peak_flop_rate.item() == pytest.approx(1978.9e12)
    assert (steps.performance <= steps.attainable * (1 + 1e-15)).all()  # on the roof, by another order of products
    assert steps.attrs == ds.attrs
    assert steps.attainable.attrs["units"] == "FLOP/s"


# Published charts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", sorted(published_charts.params_files()))
def test_every_published_chart_is_drawn_with_its_ranges_and_audit_rows(figure):
    _, _, picture = drawn(published_charts.chart_view(figure).model_dump())
    assert picture["roofline"]["groups"]
    assert len(picture["roofline"]["ranges"]) == len(published_charts.chart_ranges(figure))
    table, documents = audit.run(figure), {source.title: source for source in audit.sources().values()}
    assert [source["title"] for source in picture["published"]["sources"]] == list(table.source.unique())
    for source in picture["published"]["sources"]:
        own, given = table[table.source == source["title"]], documents[source["title"]]
        assert (source["citation"], source["url"]) == (given.citation, given.url)
        counts = {verdict: len(rows) for verdict, rows in source["verdicts"].items()}
        assert counts == own.verdict.value_counts().to_dict()
        shown = [row["verdict"] for rows in source["verdicts"].values() for row in rows]
        assert sorted(shown) == sorted(map(audit.show_verdict, own.verdict, own.hangs))


def test_published_charts_are_those_of_the_params_files():
    assert published_charts.chart_names()["medusa-fig09"] == "Medusa figure 9"
    assert published_charts.chart_names()["t4-roofline"] == "T4 report, roofline"
    assert "t4-queue" not in published_charts.chart_names()  # no roofline
    shown = published_charts.chart_view("medusa-fig15")
    assert (shown.gpu, shown.peak_tflops, shown.launch_latency_us) == (["rtx-a6000"], 181.0, 26.0)
    colors = {group["label"]: group["color"] for group in drawn(shown.model_dump())[2]["roofline"]["groups"]}
    assert len(set(colors.values())) == len(shown.series) == 6


def test_a_published_chart_s_points_are_those_of_its_figure():
    shown, ds, _ = drawn(published_charts.chart_view("medusa-fig15").model_dump())
    published = pd.read_csv(ROOT / "figures" / "medusa-fig15.csv")
    ours = tables.points(ds, shown.series)
    assert ours["performance [FLOP/s]"].to_numpy() == pytest.approx(published["performance [FLOP/s]"], rel=1e-6)


def test_outside_a_clone_there_are_no_published_charts(monkeypatch):
    def nowhere():
        raise ValueError("no notebooks/ and params/")

    monkeypatch.setattr(published_charts, "project_root", nowhere)
    for cached in (published_charts.params_files, published_charts.chart_names):
        cached.cache_clear()
    try:
        assert wb.explore().controls["options"]["figure"] == [("", "none")]
        assert wb.explore(figure="medusa-fig09").picture["published"] is None
    finally:
        for cached in (published_charts.params_files, published_charts.chart_names):
            cached.cache_clear()


# The widget -------------------------------------------------------------------------------------------------------


def message(shown):
    return shown.picture["message"]


def test_controls_show_the_view_and_change_it():
    shown = wb.explore(gpu="l4", batch_size=[2, 4])
    assert shown.controls["values"]["gpu"] == ["l4"]
    assert shown.controls["values"]["batch_size"] == [2, 4]
    shown.set("batch_size", [1, 8])
    assert shown.view.batch_size == [1, 2, 4, 8]
    assert list(shown.ds.batch_size) == [1, 2, 4, 8]
    shown.set("at_seq_len", 2048)
    assert shown.view.setting == explorer.Setting(batch_size=1, seq_len=2048)
    shown.set("set", "chosen")
    assert shown.controls["values"]["operator"] == list(shown.ds.operator)
    shown.set("operator", ["attention"])
    assert list(shown.ds.operator) == ["attention"]
    shown.set("candidates", "1, 16")
    assert list(shown.ds.candidates) == [1, 16]
    shown.set("tp", 2)
    assert (shown.view.tp, list(shown.ds.tp)) == (2, [2])
    for name, value, field in (
        ("pp", 2, 2),
        ("dp", 3, 3),
        ("dp", None, None),
        ("engine", "", None),
        ("engine", "sglang", "sglang"),
        ("network_gbs", 50.0, 50.0),
    ):
        shown.set(name, value)
        assert getattr(shown.view.server, name) == field
    assert shown.view.server == explorer.Deployment(pp=2, network_gbs=50.0, engine="sglang")
    assert shown.picture["state"] == shown.view.state()


@pytest.mark.parametrize("name", ["kernel", "own model", "steps", "server"])
def test_every_control_writes_what_it_reads(name):
    shown = wb.explore(**VIEWS[name])
    before = shown.view
    for control, value in shown.controls["values"].items():
        if value is not None and control != "figure":
            shown.set(control, value if value != "" or shown._controls[control].kind != "number" else None)
            assert (shown.view, shown.picture["wrong"]) == (before, None), control


def test_a_control_is_described_once_and_has_a_value():
    shown = wb.explore()
    described = {control["name"]: control for control in shown.described}
    assert described.keys() == shown.controls["values"].keys()
    json.dumps(shown.described), json.dumps(shown.controls)
    for name, control in described.items():
        assert control["label"], name
        assert (control["group"] == "") == (name == "tab")
        options = shown.controls["options"].get(name, control["options"])
        value = shown.controls["values"][name]
        if control["kind"] in ("choice", "slider"):
            assert value in [each for each, _ in options], name
        if control["kind"] == "range":
            assert set(value) <= {each for each, _ in options}, name


@pytest.mark.parametrize(
    ("control", "value", "words_"),
    [
        ("gpu", ["h2000"], "unknown GPU 'h2000'. Did you mean 'h200-sxm'"),
        ("gpu", ["a100"], "GPU 'a100' can be 'a100-"),
        ("gpu", [], "GPUs: there has to be one at least"),
        ("gpu", "t4", "GPUs = 't4': expected a list of at most 100 names"),
        ("gpu", ["/etc/passwd"], "unknown GPU '/etc/passwd'"),
        ("model", ["llama-3.1-80b"], "unknown model 'llama-3.1-80b'"),
        ("operator", ["qkv"], "unknown operator 'qkv'"),
        ("candidates", "many", "candidates 'many': expected whole numbers, e.g. 1, 16, 64"),
        ("weight_dtype", "fp7", "unknown Weights 'fp7'. Did you mean 'fp8'"),
        ("tp", None, "tp is empty: give a number"),
        ("tp", 0, "tp = 0: from 1 to 1,024"),
        ("tp", 1.5, "tp = 1.5: expected a whole number"),
        ("tp", "2", "tp = '2': expected a number"),
        ("tp", True, "tp = True: expected a number"),
        ("tp", 3, "tp = 3 does not divide n_heads = 32 of llama-3-8b"),
        ("prompt", float("inf"), "Prompt = inf: expected a number"),
        ("prompt", 10**14, "Prompt = 1e+14: at most 1,000,000,000,000"),
        ("batch_size", [4], "Batch sizes = [4]: expected the least and the greatest"),
        ("ttft", "500", "TTFT at most '500': expected a time with its unit, e.g. 40 ms or 1.5 s"),
        ("ttft", "soon", "TTFT at most 'soon': expected a time"),
        ("draft", "llama-3.2-1b", "draft 'llama-3.2-1b': expected MODEL:DEPTH:ALPHA"),
        ("draft", "llama-9:4:0.7", "unknown model 'llama-9'"),
        ("draft", "/etc/passwd:4:0.7", "unknown model '/etc/passwd'"),
        ("price", "h100-sxm=cheap", "price 'h100-sxm=cheap': expected a number, or GPU=PRICE"),
        ("preset", "chats", "unknown Use case 'chats'. Did you mean 'chat'"),
        ("tab", "table", "unknown Tab 'table'"),
        ("colour", "red", "unknown control 'colour'"),
    ],
)
def test_what_is_wrong_with_a_control_is_said_beside_it(control, value, words_):
    shown = wb.explore()
    if control == "draft":
        shown.set("tab", "server")
    before = shown.picture
    shown.set(control, value)
    wrong = shown.picture["wrong"]
    assert (wrong["control"], shown.picture["message"]) == (control, wrong["message"])
    assert wrong["message"].startswith(words_)
    assert len(wrong["message"]) <= 200
    assert {key: shown.picture[key] for key in before if key not in ("message", "wrong", "stale", "state")} == {
        key: before[key] for key in before if key not in ("message", "wrong", "stale", "state")
    }
    shown.set("phase", "decode" if control != "phase" else "both")
    if not before["stale"] and shown.view.tp != 3 and not shown.view.server.draft:
        assert shown.picture["wrong"] is None


@pytest.mark.parametrize(
    ("control", "names", "ids"),
    [
        ("gpu", ["h200"], ["h200-sxm"]), ("gpu", ["4090", "rtx 4090", "NVIDIA GeForce RTX 4090"], ["rtx-4090"]),
        ("gpu", ["NVIDIA H100 80GB HBM3"], ["h100-sxm"]), ("model", ["Llama-3.1-70B"], ["llama-3.1-70b"]),
        ("model", ["meta-llama/Meta-Llama-3-8B-Instruct"], ["llama-3-8b"]),
        ("model", ["Qwen/Qwen3-30B-A3B"], ["qwen3-30b-a3b"]),
    ],
)  # fmt: skip
def test_a_name_is_taken_as_people_write_it(control, names, ids):
    shown = wb.explore()
    shown.set(control, names)
    assert (shown.picture["wrong"], getattr(shown.view, control)) == (None, ids)


def test_what_cannot_be_drawn_leaves_the_last_picture_and_says_that_it_is_old():
    shown = wb.explore()
    shown.set("activation_dtype", "fp4")  # the view has it, and waits for a GPU that can
    assert (shown.picture["stale"], shown.view.activation_dtype) == (True, "fp4")
    shown.set("activation_dtype", "")
    assert (shown.picture["stale"], shown.picture["message"]) == (False, "")
    shown.set("gpu", ["none"])  # no view at all
    assert shown.picture["stale"] is False


def test_limits_prices_and_settings_are_written_as_people_read_them():
    shown = wb.explore(tab="plan")
    for control, typed, value in (
        ("ttft", "500 ms", 0.5), ("ttft", "1.5s", 1.5), ("tpot", " 40ms ", 0.04), ("ttft", "2 min", 120.0),
        ("ttft", "", None),
    ):  # fmt: skip
        shown.set(control, typed)
        assert getattr(shown.view.goal, control) == value
    assert shown.controls["values"]["tpot"] == "40 ms"
    for typed, value in (("2.5", 2.5), ("h100-sxm=2.5, l4 = 0.8", {"h100-sxm": 2.5, "l4": 0.8}), ("", None)):
        shown.set("price", typed)
        assert shown.view.server.price == value
    shown.set("price", "rtx 4090=0.4")
    assert shown.controls["values"]["price"] == "rtx-4090=0.4"


def test_the_setting_that_a_slider_shows_is_what_is_computed():
    shown = wb.explore()
    for control, size in (("at_batch_size", "batch_size"), ("at_seq_len", "seq_len")):
        stops = [stop for stop, _ in shown.controls["options"][control]]
        assert stops == getattr(shown.view, size)
        for stop in (stops[0], stops[-1]):
            shown.set(control, stop)
            assert shown.picture["bars"]["setting"][size] == shown.controls["values"][control] == stop
    shown.update(setting={"batch_size": 512, "seq_len": 131072})  # as a link may
    assert shown.picture["bars"]["setting"] == {"batch_size": 64, "seq_len": 8192}
    assert [shown.controls["values"][name] for name in ("at_batch_size", "at_seq_len")] == [64, 8192]
    shown.set("figure", "medusa-fig18")
    assert shown.controls["values"]["at_batch_size"] == shown.picture["bars"]["setting"]["batch_size"] == 16


def test_the_ends_of_a_range_are_those_of_the_view():
    shown = wb.explore(batch_size=[3, 5, 100])
    assert shown.controls["values"]["batch_size"] == [3, 100]
    shown.set("batch_size", [3, 8])
    assert shown.view.batch_size == [3, 4, 5, 8]


# Use cases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets.USE_CASES)
def test_a_use_case_sets_its_numbers_and_says_what_they_are_based_on(name):
    shown = wb.explore(tab="plan", model="llama-3.1-8b", gpu="h100-sxm")
    shown.set("preset", name)
    case = presets.USE_CASES[name]
    assert shown.view.preset == name
    for part in presets.PARTS_SET:
        for field, value in getattr(case, part).items():
            assert getattr(getattr(shown.view, part), field) == value
    assert f"{case.title}: {case.basis}." in shown.picture["notes"]
    assert "round number" in case.basis
    assert case.server["cached_prefix"] < case.setting["seq_len"]
    assert explorer.View(**shown.view.state()).preset == name


def test_a_use_case_loses_its_name_with_a_number_that_it_sets():
    shown = wb.explore(tab="server")
    shown.set("preset", "chat")
    shown.set("gpu", ["h100-sxm"])  # none of its numbers
    assert shown.controls["values"]["preset"] == "chat"
    for control, value in (("output", 500), ("ttft", "2 s"), ("cached_prefix", 16)):
        shown.set("preset", "chat")
        shown.set(control, value)
        assert (shown.view.preset, shown.controls["values"]["preset"]) == (None, ""), control
    assert explorer.View(preset="chat").preset is None  # as a link may say
    with pytest.raises(ValueError, match="unknown use case 'chats'. Did you mean 'chat'"):
        wb.explore(preset="chats")


def test_a_mistake_is_said_above_the_last_picture():
    shown = wb.explore()
    chart = shown.picture["roofline"]
    shown.set("activation_dtype", "fp4")
    assert "a100-80gb-sxm has no fp4 peak" in message(shown) or "fp16" in message(shown)
    assert shown.picture["roofline"] == chart
    shown.set("activation_dtype", "fp16")
    assert message(shown) == ""
    shown.set("candidates", "many")
    assert message(shown) == "candidates 'many': expected whole numbers, e.g. 1, 16, 64"
    shown.set("candidates", "")
    shown.set("tp", 5)
    assert message(shown).startswith("tp = 5 does not divide n_heads = 32 of llama-3-8b")
    shown.set("tp", 1)
    assert message(shown) == ""
    shown.set("gpu", [])
    assert message(shown) == "GPUs: there has to be one at least"


def test_a_published_chart_replaces_the_view_and_other_operators_leave_it():
    shown = wb.explore(gpu="l4")
    shown.set("figure", "medusa-fig09")
    assert shown.view == published_charts.chart_view("medusa-fig09")
    shown.set("at_batch_size", 4)
    assert shown.view.figure == "medusa-fig09"  # which point is looked at is the reader's
    shown.set("gpu", ["h100-sxm"])
    assert (shown.view.figure, shown.picture["published"]) == (None, None)  # it is that chart no more
    assert shown.view.series == published_charts.chart_view("medusa-fig09").series
    shown.set("set", "fused")
    assert (shown.view.figure, shown.view.series) == (None, {})
    assert shown.controls["values"]["figure"] == ""


def test_a_pin_keeps_its_settings():
    shown = wb.explore(gpu="l4", operator=["attention"], time_model="kernel", tp=2)
    at = {
        "gpu": "l4",
        "model": "llama-3-8b",
        "operator": "attention",
        "phase": "decode",
        "batch_size": 1,
        "seq_len": 512,
    }
    shown.pin(**at)
    shown.set("time_model", "ideal")
    shown.set("tp", 1)
    shown.pin(**at)
    kernel, ideal = shown.picture["compare"]
    for row, time_model, tp in ((kernel, "kernel", 2), (ideal, "ideal", 1)):
        ds = wb.roofline_grid("l4", "llama-3-8b", "attention", "decode", 1, 512, time_model=time_model, tp=tp)
        assert row["time"] == pytest.approx(ds.time.item())
    assert (kernel["settings"], ideal["settings"]) == ("tp 2, time_model kernel", "")
    shown.pin(**at)  # again: it comes off
    assert [row["settings"] for row in shown.picture["compare"]] == ["tp 2, time_model kernel"]
    shown.unpin(0)
    assert shown.view.pins == []


def test_a_pin_of_a_step_and_of_a_model_that_is_gone():
    shown = wb.explore(**OWN, gpu="l4", points="steps")
    shown.pin(gpu="l4", model="tiny-1b", phase="decode", batch_size=4, seq_len=512)
    shown.set("model", ["llama-3-8b"])
    (row,) = shown.picture["compare"]
    step = wb.forward_pass(wb.roofline_grid("l4", wb.from_hf_config(CONFIG), None, "decode", 4, 512))
    assert row["time"] == pytest.approx(step.time.item())
    assert row["at"]["operator"] == pictures.STEP
    shown.unpin()
    shown.set("model", ["mistral-7b"])
    assert shown.view.configs == {}


def test_the_page_s_messages():
    shown = wb.explore()
    shown._asked({"kind": "update", "fields": {"setting": {"batch_size": 16, "seq_len": 256}}})
    assert shown.controls["values"]["at_batch_size"] == 16
    assert shown.view.setting.output == explorer.Setting().output  # a part of a part
    shown._asked({"kind": "update", "fields": {"heat": {"variable": "intensity"}}})
    assert shown.picture["heat"]["label"] == "intensity"
    at = {"gpu": "h100-sxm", "model": "llama-3-8b", "operator": "lm_head", "phase": "decode", "batch_size": 1}
    shown._asked({"kind": "pin", "at": at | {"seq_len": 128}})
    assert len(shown.view.pins) == 1
    shown._asked({"kind": "unpin", "number": None})
    assert shown.view.pins == []
    shown._asked({"kind": "pin", "at": at})
    assert message(shown) == "pin: seq_len: Field required"


@pytest.mark.parametrize(
    ("content", "words_"),
    [
        ({"kind": "pin"}, "message: asked.pin.at: Field required"),
        ({"kind": "pin", "at": [1]}, "message: asked.pin.at = [1]: Input should be a valid dictionary"),
        ({"kind": "pin", "at": {}}, "pin: gpu: Field required (and 4 more)"),
        ({"kind": "pin", "at": PIN | {"self": 1}}, "pin: unknown field 'self'"),
        ({"kind": "pin", "at": PIN | {"batch_size": float("nan")}}, "pin: batch_size = nan: Input should be"),
        ({"kind": "unpin"}, "message: asked.unpin.number: Field required"),
        ({"kind": "unpin", "number": "0"}, "message: asked.unpin.number = '0': Input should be a valid integer"),
        ({"kind": "update"}, "message: asked.update.fields: Field required"),
        ({"kind": "update", "fields": {"heat": {"gpu": 3}}}, "view: heat.gpu = 3: Input should be a valid string"),
        ({"kind": "update", "fields": {"setting": {"batch_size": 0}}}, "view: setting.batch_size = 0: Input should be"),
        ({"kind": "update", "fields": {"view": {}}}, "view: unknown field 'view'"),
        ({"kind": "update", "fields": {"goal": {"ttft": -1.0}}}, "view: goal.ttft = -1.0: Input should be greater"),
        ({"kind": "update", "fields": {"cards": {"x": {}}}}, "view: cards: x: "),
        ({"kind": "set", "control": "gpu"}, "message: asked.set.value: Field required"),
        ({"kind": "set", "control": ["gpu"], "value": 1}, "message: asked.set.control = ['gpu']: Input should be"),
        ({"kind": "piece", "use": "own", "name": "x", "number": 0, "of": 10**6}, "message: asked.piece.of = 1000000"),
        ({"kind": "piece", "use": "own", "name": "x", "number": 1, "of": 2}, "x: the file did not arrive whole"),
        ({"kind": "piece", "use": "own", "name": "x", "number": 0, "of": 1}, "x: the file did not arrive whole"),
        ({"kind": "piece", "use": "run", "name": "x", "number": 0, "of": 1}, "unknown use of a file 'run'"),
        ({"kind": "download"}, "message: asked.download.format: Field required"),
        ({"kind": "download", "format": "xls" * 10**5}, "unknown format 'xlsxls"),
        ({"kind": "download", "format": "csv", "more": 1}, "message: asked.download.more = 1: Extra inputs"),
        ({"kind": ["pin"]}, "message: asked: Input tag"),
        ({"kind": "run"}, "message: asked: Input tag 'run' found using 'kind' does not match any"),
        ({}, "message: asked = {}: Unable to extract tag using discriminator 'kind'"),
        (None, "message: asked = None: "),
        ([["pin"]], "message: asked = [['pin']]: "),
    ],
)
def test_a_message_that_the_page_does_not_send_is_answered_in_one_line(content, words_):
    shown = wb.explore()
    before = shown.view
    shown._handle_custom_msg(content, [])
    assert message(shown).startswith(words_)
    assert len(message(shown)) <= 2000
    assert shown.view == before


@pytest.mark.parametrize(
    ("error", "words_"),
    [
        (TypeError("/home/me/x.py"), "this cannot be shown (TypeError)"),
        (OverflowError("too large"), "this cannot be shown (OverflowError)"),
        (MemoryError(), "this cannot be shown (MemoryError)"),
        (RecursionError("deep"), "this cannot be shown (RecursionError)"),
        (OSError(28, "No space left on device", "/tmp/x"), "No space left on device"),
        (MissingLibrary("netCDF4 is missing: pip install it"), "netCDF4 is missing: pip install it"),
        (ValueError("two\nlines,\u202e turned\t" + "x" * 5000), "two lines, turned xxx"),
    ],
)
def test_what_nobody_foresaw_is_said_in_one_line_without_a_path(error, words_, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    monkeypatch.setenv("QUERY_STRING", "view=%7B%22gpu%22%3A%5B%22l4%22%5D%7D")
    page, notebook = wb.explore(), explorer.Explorer(explorer.View())
    with monkeypatch.context() as broken:
        broken.setattr(widget, "grid", fail)
        page.set("batch_size", [1, 8])
        assert message(page).startswith(words_)
        assert len(message(page)) <= 2000
        if not isinstance(error, ValueError):  # whoever works in a notebook sees where it was
            with pytest.raises(type(error)):
                notebook.set("batch_size", [1, 8])
        assert message(page).startswith(words_)
    page.set("batch_size", [1, 16])
    assert message(page) == ""
    monkeypatch.setattr(widget, "read_object", fail)
    assert message(wb.explore()).startswith(f"The link cannot be shown: {words_}")


def test_an_upload_s_name_is_no_markup_of_the_message():
    shown = wb.explore()
    shown._asked({"kind": "piece", "use": "own", "name": "a\n\u202eb.json", "number": 0, "of": 1}, [b"{"])
    assert message(shown).startswith("a b.json, line 1: not valid JSON")


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@sum(a1)", "=cmd|' -c calc'!a0"])
def test_a_name_is_no_formula_in_a_csv(name, tmp_path):
    shown = wb.explore(gpu="l4", model=[name], configs={name: CONFIG}, batch_size=1, seq_len=8)
    (tmp_path / "view.csv").write_bytes(shown.data("csv"))
    assert set(pd.read_csv(tmp_path / "view.csv").model) == {f"'{name}"}


HOSTILE = ["'];import os;os.abort()#", '"""+1()+"""', "{1()}", "a: b\\n- c", "- x", "#x", "=1+1", "$(x)", "<b>&amp;"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name_in_code_params_and_files(name, tmp_path):
    shown = wb.explore(gpu="l4", model=[name], configs={name: CONFIG | {"note": name}}, batch_size=1, seq_len=8)
    names = {}
    exec(explorer.code(shown.view), names)
    assert list(names["ds"].model) == [name]
    assert yaml.safe_load(explorer.params(shown.view))["model"] == [name]
    (tmp_path / "view.nc").write_bytes(shown.data("nc"))
    with xr.open_dataset(tmp_path / "view.nc") as found:
        assert list(found.model) == [name]


def test_files_hold_the_grid(tmp_path):
    shown = wb.explore(gpu="l4", batch_size=[1, 2], points="steps")
    assert shown.data("nc")[:8] == b"\x89HDF\r\n\x1a\n"
    (tmp_path / "view.csv").write_bytes(shown.data("csv"))
    table = pd.read_csv(tmp_path / "view.csv")
    assert len(table) == 2 * 2 * 7
    assert {"time [s]", "attainable [FLOP/s]"} <= set(table.columns)
    with pytest.raises(ValueError, match="unknown format 'xls'"):
        shown.data("xls")


@pytest.mark.parametrize(
    ("text", "words_"),
    [
        ("{", "x.json, line 1: not valid JSON"),
        ("[1]", "x.json: expected a JSON object, found list"),
        ("[" * 100_000, "x.json: nested over 32 levels deep"),
        (json.dumps(CONFIG | {"deep": nested(400)}), "x.json: nested over 32 levels deep"),
        (json.dumps(CONFIG | {"rope": float("nan")}), r"x.json: not valid JSON \(NaN is no number\)"),
        ('{"model_type": "llama", "model_type": "gpt2"}', r"x.json: not valid JSON \('model_type' is given twice\)"),
        ('{"rope": 1e999}', "x.json: rope = 'inf': must be a finite number"),
        ('{"rope": ' + "9" * 5000 + "}", "x.json: not valid JSON"),
        ('{"note": "\\ud800"}', "x.json: note = .*: must have no half characters"),
        (" " * 2**20 + "{}", "x.json: 1,048,578 characters: a page takes 1,048,576"),
        ("{}", "model_type: Field required"),
        ('{"view": {"gpu": ["t5"]}}', "unknown GPU 't5'"),
        ('{"view": 3}', "model_type: Field required"),
    ],
)
def test_what_is_neither_a_config_nor_a_view(text, words_):
    shown = wb.explore()
    before = shown.view
    with pytest.raises(ValueError, match=words_):
        shown.take(text, "x.json")
    assert shown.view == before


def test_configs_become_models_under_names_of_their_own():
    shown = wb.explore()
    shown.take(json.dumps(CONFIG), "config.json")
    shown.take(json.dumps(CONFIG), "config.json")  # the same again: nothing new
    assert shown.view.model == ["llama-3-8b", "tiny-1b"]
    shown.take(json.dumps(CONFIG | {"num_hidden_layers": 11}), "config.json")
    shown.take(json.dumps(CONFIG | {"_name_or_path": "meta/Llama-7B"}), "config.json")
    assert shown.view.model == ["llama-3-8b", "tiny-1b", "tiny-1b-own", "llama-7b-own"]
    calls = shown.ds.calls.sel(operator="o_proj")
    assert calls.sel(model="tiny-1b-own").item() == 11
    assert calls.sel(model="llama-7b-own").item() == 22


def test_a_saved_view_is_opened_again(tmp_path):
    path = tmp_path / "view.json"
    path.write_text(json.dumps({"view": explorer.View(gpu=["l4"]).state()}))
    assert wb.explore(path).view.gpu == ["l4"]
    shown = wb.explore(explorer.View(gpu=["t4"]), batch_size=3)
    assert (shown.view.gpu, shown.view.batch_size) == (["t4"], [3])
    shown.take(path.read_text(), "view.json")
    assert shown.view.gpu == ["l4"]
    (tmp_path / "other.json").write_text('{"gpu": ["l4"]}')
    for name, words_ in (("other.json", "not a saved view"), ("none.json", "No such file"), ("", "a folder")):
        with pytest.raises(ValueError, match=words_):
            wb.explore(tmp_path / name)


def test_a_link_is_opened_by_voila_only(monkeypatch):
    monkeypatch.setenv("QUERY_STRING", "view=%7B%22gpu%22%3A%5B%22l4%22%5D%7D")
    assert wb.explore().view.gpu == explorer.View().gpu
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    shown = wb.explore()
    assert shown.view.gpu == ["l4"]
    assert shown.picture["page"]
    for query, words_ in (
        ("view=%7B", "The link cannot be shown: the link, line 1: not valid JSON"),
        ("view=%7B%22gpu%22%3A%5B%22l5%22%5D%7D", "The link cannot be shown: unknown GPU 'l5'"),
        ("view=%7B%22tp%22%3ANaN%7D", "The link cannot be shown: not valid JSON (NaN is no number)"),
    ):
        monkeypatch.setenv("QUERY_STRING", query)
        assert words_ in message(wb.explore())


# The page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_served_on_this_machine_only(monkeypatch):
    started = []
    monkeypatch.setattr(
        page_server.ExplorerServer, "launch_instance", lambda *given, **named: started.append((given, named))
    )
    monkeypatch.setattr(website.os, "environ", {})
    website.serve(port=0, browser=False)
    (((notebook, *options),), settings) = started[0]
    assert notebook == str(ROOT / "workbench" / "explorer" / "templates" / "page.ipynb")
    assert options == ["--port=0", "--no-browser"]
    assert settings["config"].Voila.ip == "127.0.0.1"
    assert settings["config"].Voila.config_file_paths == []  # no voila.py of the folder that one happens to be in
    assert Path(website.os.environ["JUPYTER_PATH"], "voila", "templates", "workbench", "index.html.j2").is_file()


def test_ctrl_c_while_the_server_loads_ends_it_quietly(tmp_path):
    (tmp_path / "voila").mkdir()
    (tmp_path / "voila" / "__init__.py").touch()
    (tmp_path / "voila" / "app.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-m", "workbench.cli", "explore", f"--port={free_port()}", "--no-browser"]
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "workbench: interrupted\n")


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = CliRunner().invoke(app, ["explore", f"--port={port}", "--no-browser"])
    assert found.exit_code == 1
    assert found.stderr.startswith(f"workbench: port {port} of 127.0.0.1: ")
    assert found.stderr.endswith("; choose another with --port\n")


def test_the_page_fetches_nothing_from_elsewhere():
    for path in (ROOT / "workbench" / "explorer").rglob("*.*"):
        if path.suffix in (".js", ".css", ".j2"):
            found = [line for line in path.read_text().splitlines() if "http" in line]
            assert all("www.w3.org/2000/svg" in line for line in found), path


def test_numbers_of_a_pin_are_kept():
    view._pinned_numbers.cache_clear()
    shown = wb.explore(gpu="l4")
    at = {"gpu": "l4", "model": "llama-3-8b", "operator": "lm_head", "phase": "decode", "batch_size": 1, "seq_len": 128}
    shown.pin(**at)
    shown.set("batch_size", [1, 8])
    assert view._pinned_numbers.cache_info().misses == 1


def test_a_pin_of_an_own_gpu_follows_its_name():
    faster = wb.gpu("l4", bandwidth_gbs=600)
    shown = wb.explore(gpu=[faster], phase="decode", batch_size=1, seq_len=128)
    at = {"model": "llama-3-8b", "operator": "lm_head", "phase": "decode", "batch_size": 1, "seq_len": 128}
    shown.pin(gpu=shown.view.gpu[0], **at)
    assert shown.picture["compare"][0]["time"] == pytest.approx(
        wb.roofline_grid(faster, "llama-3-8b", "lm_head", "decode", 1, 128).time.item()
    )
    shown.update(**own_messages.renamed(shown.view, "card", shown.view.gpu[0], "faster", shown.view.cards[faster.id]))
    assert [row["at"]["gpu"] for row in shown.picture["compare"]] == ["faster"]
