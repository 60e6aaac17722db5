"""What a reader brings to the explorer: measurements, GPUs and models of their own; and the published charts' list."""

import asyncio
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import audit, loadtest, tables
from workbench.common.project import DATA
from workbench.explorer import Explorer, View, brought, measured, published_charts
from workbench.explorer.bounds import MAX_PIECES, PIECE
from workbench.explorer.own_cards import WrongField, card_form, card_of_form, card_of_yaml, card_yaml, own_card
from workbench.explorer.own_models import model_of_text, model_text, own_model
from workbench.simulation import Server, poisson, simulate

ROOT = Path(__file__).resolve().parents[1]
TRACE = ROOT / "tests" / "data" / "traces" / "fused-sdpa.json.gz"
TINY = (
    "name: Tiny\nfamily: llama\nhidden_size: 128\nintermediate_size: 352\nn_layers: 2\nn_heads: 4\nn_kv_heads: 2\n"
    "head_dim: 32\nvocab_size: 1000\ngated: true\ntied_embeddings: false\nmax_context: 4096\nsources: {made: by hand}\n"
)
SMALL = {"gpu": "l4", "model": "llama-3.2-1b", "batch_size": [1], "seq_len": [128]}


def send(shown, content, name, use="measured"):
    """What the page sends of a file."""
    of = -(-len(content) // PIECE)
    for number in range(of):
        part = memoryview(content)[number * PIECE : (number + 1) * PIECE]
        shown._asked({"kind": "piece", "use": use, "name": name, "number": number, "of": of}, [part])


def found(shown):
    return shown.picture["measured"]


# Own GPUs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h100-sxm", "t4", "mi300x", "gb10"])
def test_a_form_that_nobody_changes_is_the_gpu_that_it_began_as(name):
    start = wb.gpu(name)
    card = own_card("mine", card_of_form("mine", start, card_form(start)))
    for field in ("dense_tflops", "memory", "sm_count", "boost_mhz", "link", "tdp_w", "l2_mb", "pcie", "architecture"):
        assert getattr(card, field) == getattr(start, field), field
    assert card.confidence == "unverified"


def test_what_is_written_in_a_form_is_what_is_computed_with():
    start = wb.gpu("h100-sxm")
    form = card_form(start) | {"memory.bandwidth_gbs": "4,800", "memory.capacity_gb": "141", "dense_tflops.fp8": ""}
    card = own_card("mine", card_of_form("mine", start, form))
    assert (card.bandwidth, card.memory_bytes) == (4.8e12, 141e9)  # what the driver reports was of the other size
    assert "fp8" not in card.dense_tflops
    assert card.peak_flop_rate() == 989.4e12


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("memory.bandwidth_gbs", "-1", "Memory bandwidth = '-1': expected a number of GB/s above 0"),
        ("memory.bandwidth_gbs", "", "Memory bandwidth: nothing is computed without it"),
        ("memory.capacity_gb", "3,35", "Memory = '3,35': expected a number of GB above 0"),
        ("dense_tflops.fp16", "nan", "Peak, fp16 = 'nan': expected a number of TFLOP/s above 0"),
        ("sm_count", "1.5", "SMs or compute units = '1.5': expected a whole number above 0"),
        ("name", "", "Name: nothing is computed without it"),
    ],
)
def test_a_field_that_is_wrong_says_so_itself(path, text, message):
    start = wb.gpu("h100-sxm")
    with pytest.raises(WrongField) as wrong:
        card_of_form("mine", start, card_form(start) | {path: text})
    assert str(wrong.value) == message
    assert wrong.value.control == f"card.{path}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "the text: expected a mapping of fields, found list"),
        ("dense_tflops: {fp16: 3}", "the text: memory: Field required"),
        ("memory: {bandwidth: 3}\ndense_tflops: {fp16: 3}", "unknown field 'memory.bandwidth'. Did you mean"),
        ("memory: {bandwidth_gbs: 3}\ndense_tflops: {fp17: 3}", "unknown dtype 'fp17'"),
        ("x" * (2**20 + 1), "the text: 1,048,577 characters: a page takes 1,048,576"),
    ],
)
def test_yaml_that_is_no_gpu(text, message):
    with pytest.raises(ValueError, match=r"^the text") as wrong:
        card_of_yaml(text, "the text")
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_yaml_is_read_again_as_it_was_written():
    card = own_card("mine", card_of_form("mine", wb.gpu("t4"), card_form(wb.gpu("t4"))))
    assert own_card("mine", card_of_yaml(card_yaml(card), "the text", "mine")[1]) == card


@pytest.mark.parametrize(
    ("name", "message"),
    [("h100", "means h100-sxm of the catalog"), ("A", "in lower case"), ("a/b", "without slashes"), ("", "in lower")],
)
def test_names_that_no_own_gpu_has(name, message):
    with pytest.raises(WrongField, match=message):
        card_of_form(name, wb.gpu("t4"), card_form(wb.gpu("t4")))


def test_the_page_takes_edits_renames_and_drops_a_gpu():
    shown = wb.explore(**SMALL)
    answers = []
    shown.send = lambda content, buffers=None: None if content["kind"] == "answered" else answers.append(content)
    shown._asked({"kind": "card-form", "start": "L4"})
    (form,) = answers
    assert (form["start"], form["name"], form["before"]) == ("l4", "my-l4", "")
    values = {field["path"]: field["value"] for field in form["fields"]} | {"memory.bandwidth_gbs": "600"}
    shown._asked({"kind": "card", "name": "my-l4", "before": "", "start": "l4", "form": values})
    assert shown.view.gpu == ["l4", "my-l4"]
    assert shown.ds.bandwidth.values == pytest.approx([300e9, 600e9])
    shown._asked(
        {"kind": "card", "name": "other", "before": "my-l4", "start": "my-l4", "form": values | {"tdp_w": "x"}}
    )
    assert shown.picture["wrong"] == {
        "control": "card.tdp_w",
        "message": "Power limit = 'x': expected a number of W above 0",
    }
    shown._asked({"kind": "card", "name": "other", "before": "my-l4", "start": "my-l4", "form": values})
    assert (shown.view.gpu, [*shown.view.cards]) == (["l4", "other"], ["other"])
    shown._asked({"kind": "card-text", "name": "l4-2", "before": "", "text": card_yaml(wb.gpu("l4"))})
    assert shown.view.gpu == ["l4", "other", "l4-2"]
    shown._asked({"kind": "drop-own", "what": "card", "name": "other"})
    assert (shown.view.gpu, [*shown.view.cards]) == (["l4", "l4-2"], ["l4-2"])
    shown._asked({"kind": "card-form", "start": "h1000"})
    assert shown.picture["message"].startswith("unknown GPU 'h1000'")


def test_an_own_gpu_computes_wherever_the_catalog_s_do():
    card = wb.gpu("h100-sxm", bandwidth_gbs=6700)
    shown = wb.explore(gpu=["h100-sxm", card], batch_size=[8], seq_len=[512], time_model="kernel")
    expected = wb.roofline_grid(["h100-sxm", card], "llama-3-8b", batch_size=[8], seq_len=[512], time_model="kernel")
    assert shown.ds.time.values == pytest.approx(expected.time.values, nan_ok=True)
    again = View(**json.loads(json.dumps(shown.view.state())))
    assert again == shown.view
    exec(shown.picture["code"]["python"], names := {})
    assert names["ds"].identical(shown.ds)
    for tab in ("server", "frontier", "plan", "roofline"):
        shown.update(tab=tab)
        assert shown.picture["message"] == "", tab


def test_entries_and_paths_are_taken_in_python(tmp_path):
    gpu, model = tmp_path / "my-card.yaml", tmp_path / "tiny.yaml"
    gpu.write_text(
        (ROOT / "workbench/data/gpus/t4.yaml").read_text().replace("bandwidth_gbs: 320", "bandwidth_gbs: 640")
    )
    model.write_text(TINY)
    shown = wb.explore(gpu=gpu, model=[model, "gpt2"], batch_size=1, seq_len=128)
    assert (shown.view.gpu, shown.view.model) == (["my-card"], ["tiny", "gpt2"])
    assert shown.ds.bandwidth.item() == 640e9
    expected = wb.roofline_grid(wb.gpu(gpu), [wb.model(model), "gpt2"], batch_size=1, seq_len=128)
    assert shown.ds.time.values == pytest.approx(expected.time.values, nan_ok=True)
    exec(shown.picture["code"]["python"], names := {})
    assert names["ds"].identical(shown.ds)


# Own models ---------------------------------------------------------------------------------------------------------


def test_a_model_s_text_is_taken_again():
    name, fields = model_of_text(TINY, "tiny.yaml")
    assert (name, own_model(name, fields).hidden_size) == ("tiny", 128)
    assert model_of_text(model_text(fields), "tiny.yaml") == (name, fields)
    assert model_of_text(TINY, "llama-3-8b.yaml")[0] == "llama-3-8b-own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "the text: family: Field required"),
        ("", "the text, line 1: not valid JSON"),
        ("{}", "model_type"),
        ("[1]", "expected a mapping of fields, found list"),
    ],
)
def test_texts_that_are_no_model(text, message):
    with pytest.raises(ValueError, match="^") as wrong:
        model_of_text(text, "the text")
    assert message in str(wrong.value)


def test_a_file_may_be_a_model_a_gpu_or_a_view():
    shown = wb.explore(**SMALL)
    send(shown, TINY.encode(), "tiny.yaml", "own")
    send(shown, (ROOT / "workbench/data/gpus/t4.yaml").read_bytes(), "mine.yaml", "own")
    assert (shown.view.model, [*shown.view.cards]) == (["llama-3.2-1b", "tiny"], ["mine"])
    send(shown, json.dumps({"view": {"gpu": ["l40s"]}}).encode(), "view.json", "own")
    assert (shown.view.gpu, shown.view.cards) == (["l40s"], {})
    send(shown, b"\xff\xfe", "bad.yaml", "own")
    assert shown.picture["wrong"]["control"] == "own"
    assert shown.view.gpu == ["l40s"]


# Files that arrive in pieces ----------------------------------------------------------------------------------------


def test_twenty_megabytes_arrive_whole_and_leave_nothing(monkeypatch):
    kernels = {"traceEvents": [], "padding": "x" * (20 * 2**20)}
    seen = []
    monkeypatch.setattr(measured, "read_measured", lambda path, name: seen.append((path, path.read_bytes())))
    shown = wb.explore(**SMALL)
    acknowledged = []
    shown.send = lambda content, buffers=None: acknowledged.append(content.get("number"))
    content = json.dumps(kernels).encode()
    send(shown, content, "../etc/trace.json")
    ((path, read),) = seen
    assert read == content
    assert path.name == "trace.json"
    assert not path.parent.exists()
    assert [number for number in acknowledged if number is not None] == [*range(21)]


def test_a_file_that_breaks_off_is_one_sentence_and_the_next_one_arrives():
    shown = wb.explore(**SMALL)
    shown._asked({"kind": "piece", "use": "measured", "name": "t.gz", "number": 0, "of": 3}, [b"x"])
    shown._asked({"kind": "piece", "use": "measured", "name": "t.gz", "number": 2, "of": 3}, [b"x"])
    assert shown.picture["wrong"] == {
        "control": "measured", "message": "t.gz: the file did not arrive whole: choose it again",
    }  # fmt: skip
    shown._asked({"kind": "piece", "use": "measured", "name": "t", "number": 0, "of": MAX_PIECES + 1}, [b"x"])
    assert "of = 129" in shown.picture["message"]
    send(shown, TRACE.read_bytes(), "trace.json.gz")
    assert found(shown)["about"] == "trace.json.gz: timings, format torch-cpu, 1,023 kernels"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"hello", "a.json: neither kernel timings nor a load test that is read here"),
        ("a.gz", TRACE.read_bytes()[:5000], "a.gz: not a whole gzip file"),
        ("a.csv", b"\xff\xff\xff", "a.csv: not a text file"),
        ("a.json", b'{"traceEvents": [', "a.json: event 0: not valid JSON, or cut off"),
        ("a.ncu-rep", b"NVR", "Nsight Compute's report: run `ncu --import"),
    ],
)
def test_a_file_that_is_no_measurement_is_one_sentence(name, content, message, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shown = wb.explore(**SMALL)
    send(shown, content, name)
    said = found(shown)["error"]
    assert message in said
    assert "\n" not in said
    assert str(tmp_path) not in said
    assert [*tmp_path.iterdir()] == []
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^"):
        wb.explore(measured=path)


# Timings ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timed():
    return wb.explore(**SMALL, measured="llama-7b-unfused-h100")


def test_a_timing_file_is_shown_as_explain_has_it(timed):
    now, ds = found(timed)["explained"], wb.explain("llama-7b-unfused-h100", "h100-sxm")
    assert (timed.view.tab, now["gpu"], now["model"]) == ("measured", ["h100-sxm"], ["llama-7b"])
    table = tables.explained(ds)
    assert [row["operator"] for row in now["rows"]] == table.operator.to_list()
    assert [row["time [ms]"] for row in now["rows"]] == pytest.approx(table["time [ms]"].to_list())
    assert now["share"] == ds.attrs["assigned_share"]


def test_what_is_taken_away_is_what_was_measured(timed, loaded, recorded, tmp_path):
    for shown, label in ((timed, "operator"), (loaded, "label")):
        now = next(found(shown)[kind] for kind in ("explained", "compared") if kind in found(shown))
        (tmp_path / "a.csv").write_bytes(shown.data("csv"))
        table = pd.read_csv(tmp_path / "a.csv")
        assert table[label].to_list() == [row[label] for row in now["rows"]]
        value = "time [ms]" if shown is timed else "measured"
        assert table[value][0] == pytest.approx(now["rows"][0][value], rel=1e-5)
        assert shown.data("nc")[:8] == b"\x89HDF\r\n\x1a\n"
    names = {}
    exec(timed.picture["code"]["python"], names)  # its own recording, by its name
    assert names["table"].operator.to_list() == [row["operator"] for row in found(timed)["explained"]["rows"]]
    code = loaded.picture["code"]["python"]
    assert f"load_test={recorded.name!r}" in code
    exec(code.replace(repr(recorded.name), repr(str(recorded))), names)
    assert names["both"].paragraph() == found(loaded)["compared"]["paragraph"]
    nothing = wb.explore(**SMALL, tab="measured")
    assert "nothing to compute" in nothing.picture["code"]["python"]
    with pytest.raises(ValueError, match="^nothing is measured yet"):
        nothing.data("csv")


def test_what_cannot_be_right_is_told(timed):
    file = timed.brought.file
    fast = dataclasses.replace(file, table=file.table.assign(time_s=file.table.time_s / 100))
    assert any(note.startswith("faster than the roof") for note in measured.explained_file(timed.view, fast)["notes"])


def test_measured_points_stand_beside_their_prediction(timed):
    section = found(timed)["explained"]["roofline"]
    ds = wb.explain("llama-7b-unfused-h100", "h100-sxm")
    for group in section["groups"]:
        numbers = dict(zip(("x", "y", "time", "roof", "bound", "predicted", "model_x"), _floats(group), strict=True))
        one = ds.sel(operator=group["label"]).stack(point=[d for d in ds.dims if d != "operator"])
        one = one.dropna("point", subset=["performance"])
        assert sorted(numbers["y"]) == pytest.approx(sorted(one.performance.values))
        assert sorted(numbers["predicted"]) == pytest.approx(sorted((one.flops / one.time).values))
        assert numbers["x"] == pytest.approx(numbers["model_x"])  # nothing counted bytes
        assert len(group["points"]) == len(numbers["x"])
    low, high = section["limits"]["y"]
    assert low <= min(min(_floats(group)[1]) for group in section["groups"])
    assert high > 989.4e12


def _floats(group):
    return np.frombuffer(group["numbers"]).reshape(7, -1)


def test_the_file_s_own_gpu_and_model_are_offered_and_taken(timed):
    assert found(timed)["offer"] == {"gpu": ["h100-sxm"], "model": ["llama-7b"]}
    timed.update(**found(timed)["offer"])
    assert found(timed)["offer"] == {}
    timed.update(gpu=["l4"], model=["llama-3.2-1b"])


def test_a_trace_is_explained_by_the_view_s_model_and_the_step_that_its_reader_gives(tmp_path):
    model = tmp_path / "tiny.yaml"
    model.write_text(TINY)
    shown = wb.explore(gpu="h100-sxm", model=model, measured=TRACE, batch_size=1, seq_len=8)
    assert found(shown)["explained"]["model"] == ["tiny"]
    assert found(shown)["explained"]["unassigned_count"] > 0
    shown._asked({"kind": "step", "text": "2, 1"})
    assert found(shown)["wrongStep"] == "'2, 1': expected sequences, new tokens and context, such as 8, 1, 1024"
    shown._asked({"kind": "step", "text": "2, 1, 65"})
    assert (found(shown)["step"], found(shown)["wrongStep"]) == ("2, 1, 65", "")
    shown.update(model=["gpt2"])
    assert found(shown)["error"].startswith("no kernel could be assigned to gpt2: ")
    shown._asked({"kind": "forget", "use": "measured"})
    assert (found(shown)["name"], "explained" in found(shown)) == ("", False)


def test_a_link_or_a_saved_view_names_no_file(timed):
    assert "unfused-h100" not in json.dumps(timed.view.state())


def test_every_control_of_the_tab_changes_what_is_found_and_is_of_all_that_does():
    shown = wb.explore(**SMALL, tab="measured")
    values = {"number": 0.5, "text": "medusa:4", "names": []}
    changed = set()
    for control in shown.described:
        if "measured" not in control["tabs"] or control["name"] == "tab":
            continue
        before = {name: getattr(shown.view, name) for name in brought.DEPENDS_ON}
        field = shown.controls["values"][control["name"]]
        value = values.get(control["kind"]) or [*field, "t4" if control["name"] == "gpu" else "gpt2"]
        if control["kind"] == "choice":
            value = next(each for each, _ in control["options"] if each != field)
        elif control["kind"] == "number" and control["most"] != 1:
            value = 2
        shown.set(control["name"], value)
        assert not shown.picture["wrong"], control["name"]
        now = {name: getattr(shown.view, name) for name in brought.DEPENDS_ON}
        assert now != before, control["name"]
        changed |= {name for name in now if now[name] != before[name]}
    assert changed == {*brought.DEPENDS_ON} - {"configs", "cards"}
    said = shown.view.server.model_dump(exclude_defaults=True)
    assert said.keys() == {
        "engine", "ep", "dp", "pp", "network_gbs", "cached_prefix", "draft", "max_num_seqs", "max_num_batched_tokens",
        "gpu_memory_utilization",
    }  # fmt: skip


@pytest.mark.parametrize("tab", ["roofline", "server", "frontier", "plan"])
def test_a_path_in_a_link_is_no_gpu_and_no_model(tab, tmp_path):
    goal = {"rate": 1.0}
    fields = {name: [value] if isinstance(value, str) else value for name, value in SMALL.items()}
    for folder, name, what in (("gpus", "l4", "GPU"), ("models", "gpt2", "model")):
        path = tmp_path / f"own-{name}.yaml"
        path.write_bytes((DATA / folder / f"{name}.yaml").read_bytes())
        view = View.model_validate(fields | {what.lower(): [str(path)], "tab": tab, "goal": goal})
        with pytest.raises(ValueError, match=f"unknown {what} "):
            Explorer(view)
    shown = wb.explore(**SMALL)
    shown._asked({"kind": "card-form", "start": str(tmp_path / "own-l4.yaml")})
    assert shown.picture["message"].startswith("unknown GPU ")


# Load tests ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A load test of a server whose cap on sequences is its limit."""
    server = Server("l4", "llama-3.2-1b", max_num_seqs=4, kv_tokens="fit", max_model_len=512)
    table = simulate(server, poisson(20, requests=40, prompt=200, output=[20, 30]))
    path = tmp_path_factory.mktemp("load") / "result.csv"
    counted = table.output_tokens.astype("Int64").where(table.status == "finished")
    loadtest.write(table.assign(output_tokens=counted), path)
    return path


@pytest.fixture(scope="module")
def loaded(recorded):
    return wb.explore(**SMALL, measured=recorded)


def test_a_load_test_is_shown_as_compare_has_it(loaded, recorded):
    now = found(loaded)["compared"]
    both = loadtest.compare(recorded, "l4", "llama-3.2-1b")
    rows = {row["label"]: row for row in now["rows"]}
    assert rows["requests"]["measured"] == 40
    assert rows["TPOT p50"]["simulated"] == pytest.approx(
        float(both.metrics.tpot.sel(source="simulated", percentile=50))
    )
    assert now["paragraph"] == both.paragraph()
    assert [row["change"] for row in now["changes"]] == both.changes.change.to_list()[:4]
    times = now["over_time"]
    assert {each["name"] for each in times["series"]} == {"running", "waiting", "token_rate"}
    for each in times["series"]:
        expected = both.timeline[each["name"]].sel(source="measured").values
        assert each["measured"] == pytest.approx(expected, nan_ok=True)


def test_a_load_test_s_model_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text('{"model_id": "meta-llama/Meta-Llama-3-8B-Instruct", "gpu": "NVIDIA L4", "ttfts": []}')
    said = {what: measured._said(path, pattern) for what, pattern in measured.SAID.items()}
    assert measured._id(said["model"], "models") == "llama-3-8b"
    assert measured._id(said["gpu"], "gpus") == "l4"


def test_only_the_newest_question_is_answered(monkeypatch, recorded):
    """While the page moves on, no answer to an older view is shown."""
    asked = []

    def compared(view, file):
        asked.append(view.gpu)
        return {"gpu": view.gpu, "model": view.model, "rows": [], "notes": []}

    monkeypatch.setattr(measured, "compared", compared)

    async def session():
        shown = wb.explore(**SMALL)
        send(shown, recorded.read_bytes(), "result.csv")
        assert found(shown)["busy"] == "reading"
        for gpu in ("t4", "l40s", "h100-sxm"):
            shown.update(gpu=[gpu])
        for _ in range(400):
            await asyncio.sleep(0.02)
            if not found(shown)["busy"]:
                return shown
        raise AssertionError("no answer")

    shown = asyncio.run(session())
    assert found(shown)["compared"]["gpu"] == ["h100-sxm"]
    assert asked == [["h100-sxm"]]


# Published charts ---------------------------------------------------------------------------------------------------


def test_the_list_of_charts_counts_the_claims_that_the_audit_finds():
    charts = {row["figure"]: row for row in published_charts.chart_list()}
    assert set(charts) == set(published_charts.chart_names())
    for figure in ("medusa-fig15", "t4-roofline"):
        table = audit.run(figure)
        assert charts[figure]["claims"] == len(table)
        assert charts[figure]["reproduce"] == (table.verdict == "reproduces").sum()


def test_a_chart_is_opened_from_the_list():
    shown = wb.explore(tab="published", **SMALL)
    assert "roofline" not in shown.picture
    shown.set("figure", "medusa-fig09")
    assert (shown.view.tab, shown.view.model) == ("published", ["llama-7b"])
    assert shown.picture["published"]["name"] == "Medusa figure 9"
    assert len(shown.picture["roofline"]["ranges"]) > 0


def test_names_of_files_are_plain():
    assert brought.plain_name("../../etc/pass wd\n.json") == "pass wd_.json"
    assert brought.plain_name("..") == "file"
