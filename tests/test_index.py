"""The index page of the figures: its parts, every chart with its links, and its claims by verdict."""

from pathlib import Path

import pytest
from markupsafe import escape

from workbench import audit, figures
from workbench.figures.params import FIGURE_FORMATS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def audited_once(audited, monkeypatch):
    monkeypatch.setattr(audit, "run", lambda: audited)


def test_the_index_shows_every_figure_with_its_links(tmp_path):
    known = figures.find(ROOT)
    for name in known:
        for kind in FIGURE_FORMATS:
            (tmp_path / f"{name}.{kind}").write_text("")
    index = figures.write_index(known.values(), tmp_path)
    page = index.read_text()
    for name, figure in known.items():
        assert f'<section id="{name}">' in page
        assert f'src="{name}.png"' in page
        assert escape(figure.values["title"]) in page
    assert "does not reproduce: " in page
    written = index.stat().st_mtime_ns
    figures.write_index(known.values(), tmp_path)
    assert index.stat().st_mtime_ns == written  # up to date
    index.write_text("touched by hand")
    (tmp_path / "t4-decode.svg").unlink()
    figures.write_index(known.values(), tmp_path)
    assert '<section id="t4-decode">' in page
    assert '<section id="t4-decode">' not in index.read_text()
    assert '<section id="t4-prefill">' in index.read_text()


def test_the_index_parts_published_charts_the_workbenchs_own_and_fidelity(tmp_path, audited):
    known = figures.find(ROOT)
    by_part = {title: [figure.id for figure in found] for title, _, found in figures.parts(list(known.values()))}
    assert sorted(name for names in by_part.values() for name in names) == sorted(known)
    claimed = {figure for figure in audited.figure if figure}
    assert set(by_part["Published charts"] + by_part["Published tables"]) == claimed - {
        "t4-comparison",
        "serving-benchmarks",
    }
    assert by_part["Published tables"] == ["t4-decode", "t4-prefill", "t4-queue", "t4-roadmap"]
    assert by_part["Fidelity"] == [
        "forward-passes", "kernel-fidelity", "llama-3-8b-measured", "medusa-fig09-measured", "medusa-fig18-measured",
        "serving-benchmarks", "t4-comparison",
    ]  # fmt: skip
    assert {"chen-dense", "serving-llama-3-8b", "speed", "t4-requests"} < set(by_part["The workbench's own charts"])

    for name in ("medusa-fig09", "medusa-fig10", "speed"):
        for kind in FIGURE_FORMATS:
            (tmp_path / f"{name}.{kind}").touch()
    page = figures.write_index(known.values(), tmp_path).read_text()
    assert "<p>2 charts that the sources print, drawn again; 1 chart that no source prints." in page
    assert "Fidelity" not in page
    order = ["<h2>Published charts</h2>", '<section id="medusa-fig10">', "<h2>The workbench&#39;s own charts</h2>"]
    places = [page.index(part) for part in (*order, '<section id="speed">')]
    assert places == sorted(places)
    claims = audited[audited.figure == "medusa-fig09"]
    for verdict, count in claims.verdict.value_counts().items():
        assert f"<h4>{verdict.capitalize()}: {count}</h4>" in page
    assert all(str(escape(reason)) in page for reason in claims.reason)
