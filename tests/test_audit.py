import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench import audit, cli, figures
from workbench.audit import claims
from workbench.audit.recompute import QUANTITIES
from workbench.audit.values import Recomputed
from workbench.common import yaml_records

ROOT = Path(__file__).resolve().parents[1]
TRANSCRIPTIONS = tuple(f"medusa-fig{figure}-transcribed" for figure in ("09", "15", "16", "18"))
SOURCES = ("medusa", *TRANSCRIPTIONS, "peers", "served", "t4-report")
SERIES = {"qkv mlp init", "qkv mlp ar", "up/gate/down init", "up/gate/down ar", "qk/pv init", "qk/pv ar"} | {
    f"qk/pv Medusa (# cand.: {q})" for q in range(16, 113, 16)
}


@pytest.fixture
def table(audited):
    return audited.copy()


def claim(**changes):
    fields = {
        "id": "test-ridge", "where": "a chart", "statement": "The ridge point", "quantity": "ridge_point",
        "inputs": {"gpu_id": "a100-80gb-pcie", "peak_tflops": 312.0, "bandwidth_gbs": 1935.0}, "published": 161.0,
        "unit": "FLOP/byte", "within": 0.004, "verdict": "reproduces",
    } | changes  # fmt: skip
    return yaml_records.validated(audit.Claim, {k: v for k, v in fields.items() if v is not None}, "x.yaml")


@pytest.fixture
def claims_file(tmp_path, monkeypatch):
    """Writes the one claims file that the audit then reads."""
    (tmp_path / "claims").mkdir()
    monkeypatch.setattr(claims, "DATA", tmp_path)

    def write(text):
        (tmp_path / "claims" / "x.yaml").write_text(text)

    return write


# The claims that are shipped --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_verdicts_are_the_expected_ones(table, source):
    title = audit.sources()[source].title
    rows = table[table.source == title]
    assert len(rows) == len(audit.sources()[source].claims)
    changed = rows[rows.verdict != rows.expected]
    assert changed[["id", "published", "source_formula", "ours", "verdict", "expected"]].to_dict("records") == []


@pytest.mark.parametrize("source", SOURCES)
def test_claims_that_do_not_reproduce_record_our_value_and_it_has_not_moved(table, source):
    rows = table[(table.source == audit.sources()[source].title) & (table.verdict != "reproduces")]
    assert len(rows) >= (10 if source != "served" else 1)
    for row in rows.itertuples():
        # six digits are recorded; 0.1 % leaves room for what sums on other machines differ by, and for nothing else
        assert row.ours == pytest.approx(row.expected_ours, rel=1e-3), row.id


def test_claims(table):
    assert set(audit.sources()) == set(SOURCES)
    assert len(table) >= 140
    assert table.id.is_unique
    assert tuple(table.columns) == audit.CLAIM_COLUMNS
    assert table.id.map(lambda i: bool(re.fullmatch(r"(medusa-(fig\d\d|table5)|t4|peer|served)-[a-z0-9-]+", i))).all()


def test_every_quantity_is_claimed():
    used = {claim.quantity for source in audit.sources().values() for claim in source.claims}
    assert used == set(QUANTITIES)


def test_figures_and_series(table):
    figures = set(table.figure) - {""}
    assert all(
        re.fullmatch(r"medusa-fig(09|1\d|2[0-3])|t4-(roofline|prefill|decode|queue|roadmap|comparison)", figure)
        for figure in figures - {"serving-benchmarks"}
    )
    assert set(table.series) - {""} == SERIES
    assert (table[table.series != ""].figure != "").all()
    for row in table[table.id.str.startswith("medusa-fig")].itertuples():
        assert row.id.startswith(f"{row.figure}-")


def test_every_cell_of_the_t4_tables_is_claimed():
    # 4 rows x 5 columns each: intensity, TFLOP/s, % of peak, time, tokens per second
    assert len(audit.printed_cells("t4-prefill")) == len(audit.printed_cells("t4-decode")) == 20


def test_one_figure(table):
    rows = audit.run("medusa-fig18")
    assert set(rows.figure) == {"medusa-fig18"}
    assert len(rows) == (table.figure == "medusa-fig18").sum() > 16
    assert tuple(audit.run("no-such-figure").columns) == audit.CLAIM_COLUMNS


def test_printed_ranges_are_the_transcribed_table():
    # figure 19: candidates, intensity [FLOP/byte], performance [TFLOP/s]
    printed = {
        16: (13, 15, 8, 20), 32: (22, 28, 15, 35), 48: (30, 35, 25, 50), 64: (38, 42, 35, 60), 80: (45, 50, 45, 70),
        96: (52, 58, 55, 80), 112: (60, 65, 65, 90),
    }  # fmt: skip
    boxes = audit.printed_ranges("medusa-fig18").set_index("series")
    assert len(boxes) == 8
    assert list(boxes.loc["qk/pv ar"]) == [1, 1, 0.5e12, 1.5e12]
    for q, (x0, x1, y0, y1) in printed.items():
        assert list(boxes.loc[f"qk/pv Medusa (# cand.: {q})"]) == [x0, x1, y0 * 1e12, y1 * 1e12]
    assert len(audit.printed_ranges("medusa-fig09")) == 6
    assert audit.printed_ranges("medusa-fig10").empty


# Deviation and verdict --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "value", "expected"),
    [
        ({"published": 100.0}, 105.0, 0.05),
        ({"published": (100.0, 200.0)}, (90.0, 210.0), -0.1),  # the larger one: -10 % and +5 %
        ({"published": (100.0, 200.0)}, 150.0, 0.0),  # one value against a range lies inside it
        ({"published": (100.0, 200.0)}, 90.0, -0.1),
        ({"published": (100.0, 200.0)}, 220.0, 0.1),
        ({"published": (100.0, 200.0), "kind": "within"}, (120.0, 190.0), 0.0),
        ({"published": (100.0, 200.0), "kind": "within"}, (80.0, 210.0), -0.2),  # the end that is farther out
        ({"published": (100.0, 200.0), "kind": "within"}, (210.0, 250.0), 0.25),
        ({"published": (0.0, 200.0), "kind": "within"}, (0.0, 100.0), 0.0),
        ({"published": 100.0, "kind": "within"}, (98.0, 101.0), -0.02),
        ({"published": 100.0, "kind": "at most"}, (1.0, 110.0), 0.1),
        ({"published": 100.0, "kind": "at most"}, 90.0, 0.0),
        ({"published": 100.0, "kind": "at least"}, (80.0, 300.0), -0.2),
        ({"published": 100.0, "kind": "at least"}, 101.0, 0.0),
        ({"published": 0.0}, 3.0, 1.0),
        ({"published": 0.0}, 0.0, 0.0),
    ],
)
def test_deviation(changes, value, expected):
    assert audit.deviation(claim(**changes), value) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("recomputed", "expected"),
    [
        (Recomputed(161.24), "reproduces"),
        (Recomputed(201.6, 161.24), "reproduces with the source's formula only"),
        (Recomputed(201.6, 201.6), "does not reproduce"),
        (Recomputed(201.6), "does not reproduce"),
        (Recomputed((160.9, 161.3), 201.6), "reproduces"),
    ],
)
def test_verdict(recomputed, expected):
    assert audit.verdict(claim(), recomputed) == expected
    misread = "wrong as transcribed" if expected == "does not reproduce" else expected
    assert audit.verdict(claim(), recomputed, transcription=True) == misread


def test_a_changed_verdict_is_seen(monkeypatch):
    source = audit.sources()["medusa"]
    ridge = next(c for c in source.claims if c.id == "medusa-fig09-ridge")
    doctored = ridge.model_copy(update={"published": 128.0})
    monkeypatch.setattr(claims, "sources", lambda: {"medusa": source.model_copy(update={"claims": (ridge, doctored)})})
    table = audit.run()
    assert list(table.verdict == table.expected) == [True, False]
    assert list(table.verdict) == ["reproduces", "does not reproduce"]


WRONG = {"published": 128.0, "verdict": "does not reproduce", "reason": "r", "ours": 161.24}


@pytest.mark.parametrize(
    ("recorded", "lines"),
    [
        ({"ours": 161.24}, []),  # 312 / 1.935 = 161.2403
        ({"ours": 161.1}, []),  # 0.09 % off
        ({"ours": 161.0}, ["test-ridge: ours is 161.24, expected: 161 (+0.15%)"]),
        ({"ours": (161.24, 162.0)}, ["test-ridge: ours is 161.24, expected: 161.24 .. 162 (-0.47%)"]),
        ({"ours": 0.0}, ["test-ridge: ours is 161.24, expected: 0 (+100.00%)"]),
        ({"published": 161.0}, ["test-ridge: reproduces, expected: does not reproduce"]),
        (
            {"published": 161.0, "ours": 80.62},
            ["test-ridge: reproduces, expected: does not reproduce",
             "test-ridge: ours is 161.24, expected: 80.62 (+100.00%)"],
        ),
    ],
)  # fmt: skip
def test_a_moved_value_is_seen_as_a_changed_verdict_is(monkeypatch, recorded, lines):
    moved = audit.Source(title="T", citation="C", claims=(claim(**WRONG | recorded),))
    monkeypatch.setattr(claims, "sources", lambda: {"t": moved})
    assert audit.changes(audit.run()) == lines
    result = CliRunner().invoke(cli.app, ["audit"])
    assert result.exit_code == bool(lines)
    assert result.stderr.splitlines() == [f"workbench: {line}" for line in lines]


def test_a_value_that_cannot_be_computed_any_more_has_moved(table):
    row = table[table.id == "medusa-fig22-b4-q80"].assign(ours=float("nan"))
    assert audit.changes(row) == ["medusa-fig22-b4-q80: ours is nan, expected: 1.73506 (+nan%)"]


def test_ours_is_held_wherever_it_is_recorded(monkeypatch):
    right = audit.Source(title="T", citation="C", claims=(claim(ours=161.5),))  # 161 within 0.4 % as well
    monkeypatch.setattr(claims, "sources", lambda: {"t": right})
    assert audit.changes(audit.run()) == ["test-ridge: ours is 161.24, expected: 161.5 (-0.16%)"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (161.24, "161.2"), ((42.667, 124.12), "42.67 .. 124.1"), (312e12, "312T"), (5e11, "500G"),
     (37_550_000.0, "37,550,000"), (131072.0, "131,072"),
     ((5.0, 5.0), "5"), (-0.0, "0")],
)  # fmt: skip
def test_show(value, text):
    assert audit.show(value) == text


# Claims that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantity": "ridge_pont"}, r"unknown quantity 'ridge_pont'\. Did you mean 'ridge_point'"),
        ({"verdict": "does not reproduce"}, "claim test-ridge has the verdict 'does not reproduce' but no reason"),
        ({"verdict": "reproduces with the source's formula only"}, "but no reason"),
        (
            {"verdict": "does not reproduce", "reason": "r"},
            "claim test-ridge has the verdict 'does not reproduce' but not our value: give ours",
        ),
        ({"verdict": "reproduces with the source's formula only", "reason": "r"}, "but not our value: give ours"),
        ({"ours": (2.0, 1.0)}, r"claim test-ridge has as ours a range from 2 down to 1: give \[low, high\]"),
        ({"ours": "161"}, r"ours.* = '161': Input should be a valid number"),
        ({"verdict": "wrong"}, "verdict = 'wrong': Input should be 'reproduces'"),
        ({"figur": "medusa-fig09"}, r"unknown field 'figur'\. Did you mean 'figure'"),
        ({"published": "161"}, r"published.* = '161': Input should be a valid number"),
        ({"published": (200.0, 100.0)}, r"a range from 200 down to 100: give \[low, high\]"),
        ({"published": 0.0, "kind": "at most"}, "claim test-ridge has the limit 0"),
        ({"within": 0.0}, r"within = 0\.0: Input should be greater than 0"),
        ({"kind": "about"}, "kind = 'about': Input should be 'as printed', 'at most', 'at least' or 'within'"),
        ({"basis": "roundin"}, r"unknown basis 'roundin'\. Did you mean 'rounding'"),
        ({"verdict": "wrong as transcribed", "reason": "r"}, "but not our value: give ours"),
        ({"unit": None}, "unit: Field required"),
    ],
)
def test_bad_claims(changes, message):
    with pytest.raises(ValueError, match=message):
        claim(**changes)


GOOD = """
title: T
citation: C
claims:
  - {id: one, where: w, statement: s, quantity: product, inputs: {factors: [2, 3]}, published: 6, unit: "1",
     within: 0.1, verdict: reproduces}
"""


def test_a_claims_file(claims_file):
    claims_file(GOOD)
    assert list(audit.run().verdict) == ["reproduces"]


MADE_UP = """
title: A made-up source
citation: C
claims:
  - id: made-up
    where: table 7
    statement: Twice three is seven
    quantity: product
    inputs: {factors: [2, 3]}
    published: 7
    ours: 6
    unit: apples
    within: 0.1
    verdict: does not reproduce
    reason: It is six.
    figure: medusa-fig09
"""


def test_a_claim_is_one_entry_in_a_file_and_found_everywhere(claims_file, tmp_path, monkeypatch):
    claims_file(MADE_UP)
    assert list(audit.sources()) == ["x"]
    table = audit.run("medusa-fig09")
    row = table.iloc[0]
    assert (row.id, row.ours, row.expected_ours, row.verdict) == ("made-up", 6, 6, "does not reproduce")
    assert row.deviation == pytest.approx(-1 / 7)
    assert audit.changes(table) == []
    assert "made-up: published 7 apples, ours 6 (-14.29%" in audit.audit_text(table)
    assert (
        "1 claims: 0 reproduce, 0 with the source's formula only, 0 are wrong as transcribed, 1 do not"
        in audit.summary(table)
    )
    text = CliRunner().invoke(cli.app, ["audit"]).output
    assert "A made-up source: 1 claims, 0 reproduce" in text
    assert "It is six." in text

    for kind in ("csv", "png", "svg"):
        (tmp_path / f"medusa-fig09.{kind}").touch()
    index = figures.write_index(figures.find(ROOT).values(), tmp_path).read_text()
    assert "<td>Twice three is seven</td><td>table 7</td>" in index
    assert "<h4>Does not reproduce: 1</h4>" in index
    assert "<td>apples</td><td>It is six.</td>" in index

    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pages

    monkeypatch.delitem(sys.modules, "pages")
    lines = pages.audit_page().splitlines()
    assert "## A made-up source" in lines
    assert "| made-up | Twice three is seven (table 7) | 7 apples |  | 6 | does not reproduce: It is six. |" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [T\n", r"x\.yaml, line 2: not valid YAML"),
        ("- a\n", r"x\.yaml: expected a mapping of fields, found list"),
        ("title: T\ncitation: C\nclaims: []\n", r"x\.yaml: claims = \[\]: Tuple should have at least 1 item"),
        (GOOD.replace("quantity: product", "quantity: prodct"), "unknown quantity 'prodct'"),
        (
            GOOD.replace("statement: s", "statment: s"),
            r"unknown field 'claims\.0\.statment'. Did you mean 'claims\.0\.statement'",
        ),
        (GOOD + GOOD.split("claims:")[1], "two claims share the id 'one'"),
    ],
)
def test_bad_files(claims_file, text, message):
    claims_file(text)
    with pytest.raises(ValueError, match=message):
        audit.sources()


@pytest.mark.parametrize(
    ("quantity", "inputs", "message"),
    [
        ("product", {"factor": [1]}, "claim test-ridge, quantity product: .*unexpected keyword argument 'factor'"),
        ("ratio", {"of": 1, "to": 0}, "ratio to 0 in units of 1.0: neither may be 0"),
        ("peak_tflops", {"gpu_id": "a1000"}, "unknown GPU 'a1000'"),
        ("peak_tflops", {"gpu_id": "t4", "dtype": "fp17"}, "unknown activation_dtype 'fp17'"),
        ("model_field", {"model_id": "llama-7b", "field": "hidden"}, "unknown field 'hidden'. Did you mean 'hidden_s"),
        ("gpu_field", {"gpu_id": "t4", "field": "memory.capacity"}, "unknown field 'memory.capacity'"),
        ("gpu_field", {"gpu_id": "t4", "field": "link"}, "field 'link' holds None, not a number"),
        ("tensor_rate", {"gpu_id": "tpu-v5e", "flop_per_clock": 1}, "tpu-v5e lacks sm_count or a clock"),
        ("medusa_intensity", {"model_id": "llama-7b", "operator": "qkpv", "phase": "decode"},
         "unknown operator 'qkpv'"),
        ("medusa_gain", {"what": "speed", "model_id": "llama-7b", "operator": "qk/pv", "candidates": 16,
                         "batch_size": 1, "seq_len": 128}, "unknown quantity 'speed'"),
        ("t4_static", {"what": "ai", "phase": "decode", "batch_size": 1, "seq_len": 128}, "unknown column 'ai'"),
        ("decode_traffic", {"gpu_id": "t4", "model_id": "llama-2-7b", "batch_size": 1, "seq_len": 1, "part": "kv"},
         "unknown part 'kv'"),
        ("t4_gain", {"change": "Graphs"}, "unknown change 'Graphs'"),
    ],
)  # fmt: skip
def test_bad_inputs(monkeypatch, quantity, inputs, message):
    bad = audit.Source(title="T", citation="C", claims=(claim(quantity=quantity, inputs=inputs),))
    monkeypatch.setattr(claims, "sources", lambda: {"t": bad})
    with pytest.raises(ValueError, match=message):
        audit.run()


# Quantities, by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "inputs", "ours"),
    [
        ("roof", {"gpu_id": "t4", "intensity": 3.0}, 3 * 320e9),
        ("roof", {"gpu_id": "t4", "intensity": 1000.0}, 65e12),
        ("tensor_rate", {"gpu_id": "h100-sxm", "flop_per_clock": 4096}, 132 * 4096 * 1830e6 / 1e12),
        ("tensor_rate", {"gpu_id": "a30", "flop_per_clock": 2048}, 56 * 2048 * 1.44e-3),
        ("kv_bytes_per_token", {"model_id": "llama-2-7b"}, 2 * 32 * 4096 * 2),
        ("parameters", {"model_id": "llama-2-7b"}, 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 2 * 32000 * 4096),
        ("ratio", {"of": 93, "to": 1214, "per": 0.01}, 7.6606),
        ("total", {"terms": [800, 41850]}, 42650),
        # r h i / (r (h + i) + h i) = 312e12 / 1935e9 at r = 166.8 for h = 6656, i = 17920; never for qk/pv
        ("medusa_rows_at_ridge", {"gpu_id": "a100-80gb-pcie", "model_id": "llama-33b", "operator": "up/gate/down"},
         167),
        ("medusa_rows_at_ridge", {"gpu_id": "a100-80gb-pcie", "model_id": "llama-33b", "operator": "qk/pv"},
         float("inf")),
        ("medusa_latency", {"gpu_id": "t4", "model_id": "llama-7b", "batch_size": 1, "seq_len": 128,
                            "candidates": 1}, 1),
    ],
)  # fmt: skip
def test_quantities(quantity, inputs, ours):
    assert QUANTITIES[quantity](**inputs).ours == pytest.approx(ours, rel=1e-5)


def test_decode_traffic_adds_up():
    def part(name):
        return QUANTITIES["decode_traffic"]("t4", "llama-2-7b", 1, 512, name).ours

    assert part("weights") + part("activations") + part("attention") == pytest.approx(part("total"), rel=1e-12)
    # every weight but the embedding table once, in fp16
    assert part("weights") == 2 * (32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096)
    # keys and values of 512 tokens; a query and an output of each layer
    assert part("attention") == 512 * 524288 + 32 * 2 * 4096 * 2


def test_latency_of_several_candidate_counts_is_a_range():
    one = [QUANTITIES["medusa_latency"]("t4", "llama-7b", 1, 128, q).ours for q in (16, 64)]
    assert QUANTITIES["medusa_latency"]("t4", "llama-7b", 1, 128, [64, 16]).ours == tuple(one)
