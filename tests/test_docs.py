"""The documentation says what the code does; its own machinery turns docstrings and tables into what they mean."""

import ast
import re
import sys
import tomllib
from dataclasses import is_dataclass, replace
from importlib import import_module
from pathlib import Path

import pytest

from workbench import figures
from workbench.catalog.fits import UNITS
from workbench.hugging_face.families import FAMILIES, REFUSED, WRAPPERS
from workbench.operators import OPERATORS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import pages

    yield pages
    sys.modules.pop("pages")


def test_every_operator_has_its_equation_and_a_reference():
    """A row with formulas, or a sentence for those that are another one's; and below it in its section a source."""
    text = (DOCS / "equations.md").read_text()
    found = set()
    for section in text.split("\n## "):
        rows = [line for line in section.splitlines() if line.startswith("| `") and line.count("$") >= 4]
        rows += [line for line in section.splitlines() if line.startswith("`") and "are the same for" in line]
        if names := set(re.findall(r"`(\w+)`", " ".join(rows))):
            assert re.search(r"arXiv \d{4}\.\d{5}", section), names
            found |= names
    assert set(OPERATORS) - found == set()


def test_every_fitted_parameter_has_its_place_in_an_equation():
    text = (DOCS / "equations.md").read_text()
    assert {name for name in UNITS if f"`{name}`" not in text} == set()


def test_the_gallery_shows_every_figure_that_the_batch_draws(pages):
    text = pages.gallery()
    for name in figures.find(ROOT):
        assert f"(../../figures/{name}.png" in text.replace("{image} ", "(")
        assert (ROOT / "figures" / f"{name}.png").is_file()


def test_the_audit_page_has_every_claim_in_a_row_of_six_cells(pages, audited, monkeypatch):
    monkeypatch.setattr(pages.audit, "run", lambda: audited)
    counts, _, claims = pages.audit_page().partition("\n## ")
    rows = [line for line in claims.splitlines() if line.startswith("| ")]
    sources = 1 + len(set(re.findall("^## .*", claims, re.M)))
    assert len([line for line in counts.splitlines() if line.startswith("| ")]) == 2 + sources
    assert len(rows) == len(audited) + 2 * sources
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_every_wing_is_in_the_reference_with_all_that_it_hands_out(pages):
    text = pages.modules()
    wings = {path.stem for path in ROOT.glob("workbench/[!_]*.py")}
    wings |= {path.parent.name for path in ROOT.glob("workbench/*/__init__.py")}
    for wing in wings:
        _, _, section = text.partition(f"\n## [{wing}](api/{wing})\n")
        names = set(re.findall(rf"^   ~workbench\.{wing}\.(\w+)$", section.partition("\n## ")[0], re.M))
        assert names, wing
        assert names >= set(getattr(import_module(f"workbench.{wing}"), "__all__", ())), wing
    order = ("common", "catalog", "grid", "search", "timings", "calibration", "plots", "cli")
    assert sorted(order, key=lambda wing: text.index(f"\n## [{wing}]")) == list(order)


def test_a_cell_of_a_table_is_text_whatever_it_holds(pages):
    assert pages.table(["a"], [["x | *y* `z`\n<b> [l](u) $m$ _i_"]]).splitlines()[2] == (
        r"| x \| \*y\* \`z\` \<b> \[l\](u) \$m\$ \_i\_ |"
    )


def test_a_made_up_operator_turns_up_among_the_operators(pages, monkeypatch):
    def made_up(model, *step):
        """Nothing that a model has."""

    entry = OPERATORS["router"]
    monkeypatch.setitem(OPERATORS, "made_up", replace(entry, function=made_up) if is_dataclass(entry) else made_up)
    assert "| made\\_up | Nothing that a model has. |  |  |\n" in pages.operators_page()


def test_a_dead_link_or_anchor_of_the_built_pages_is_found(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(DOCS))
    import links

    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="#x"></a><a href="b.html#y"></a><a href="https://c.example/no#z"></a><a href="#gone"></a>'
        '<a href="b.html#x"></a><a href="b%20c.txt#L3"></a><img src="gone.svg">'
    )
    (tmp_path / "b.html").write_text('<a name="y" href="./a.html?query#x"></a>')
    (tmp_path / "b c.txt").touch()
    assert links.dead_links(tmp_path) == ["a.html: #gone", "a.html: b.html#x", "a.html: gone.svg"]
    with pytest.raises(FileNotFoundError, match="gone: no page"):
        links.dead_links(tmp_path / "gone")
    (recipe,) = re.findall(r"^docs:.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.M)
    assert re.search(r"rm -rf docs/_build docs/generated[^\0]*sphinx-build[^\0]*links\.py docs/_build/html\n$", recipe)


def test_pages_with_python_are_among_the_tests():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    tested = {page for pattern in options["testpaths"] for page in ROOT.glob(pattern) if page.suffix == ".md"}
    pages = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]
    assert {page for page in pages if "```python\n" in page.read_text()} <= tested


def test_the_folder_that_the_commands_write_to_is_made_by_the_first():
    readme, makefile = ((ROOT / name).read_text() for name in ("README.md", "Makefile"))
    assert set(re.findall(r"(?:-o|--plot|ipynb) ([\w.]+)/", readme)) == {".cache"}
    assert "mkdir -p .cache" in readme
    assert re.search(r"^\$\(READY\):.*\n(\t.*\n)*\t@mkdir -p \$\(CACHE\)\n", makefile, re.M)


def test_every_promise_is_held_by_tests_that_exist():
    text = (DOCS / "promises.md").read_text()
    promises = re.findall(r"^\| .* \| \[\^(\w+)\] \|$", text, re.M)
    tests = dict(re.findall(r"^\[\^(\w+)\]: (.*)$", text, re.M))
    assert len(promises) == len(tests) > 20
    assert text.count("\n| ") == len(promises) + text.count("| tests |")
    for promise in promises:
        held = re.findall(r"`(tests/test_\w+\.py)::(\w+)`", tests[promise])
        assert held, promise
        for file, name in held:
            defined = {node.name for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "name")}
            assert name in defined, f"{promise}: {file}::{name}"


def test_promises_and_security_are_found():
    readme, index = (ROOT / "README.md").read_text(), (DOCS / "index.md").read_text()
    assert "(docs/promises.md)" in readme
    assert "(SECURITY.md)" in readme
    assert "\npromises\nsecurity\n" in index
    assert "(docs/promises.md)" in (ROOT / "SECURITY.md").read_text()
    assert "{include} ../SECURITY.md" in (DOCS / "security.md").read_text()


def test_the_documentation_lists_every_model_type():
    page = (DOCS / "models.md").read_text(encoding="utf-8")
    read, named = page.split("## Refused by name")
    assert [kind for kind in (*FAMILIES, *WRAPPERS) if f"`{kind}`" not in read] == []
    assert [kind for kind in REFUSED if f"`{kind}`" not in named] == []
