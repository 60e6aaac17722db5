"""The documentation says what the code does; its own machinery turns docstrings and tables into what they mean."""

import re
import sys
from pathlib import Path

import pytest

from workbench import figures
from workbench.catalog.fits import UNITS
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


def test_the_audit_page_has_every_claim_in_a_row_of_six_cells(pages):
    rows = [line for line in pages.audit_page().splitlines() if line.startswith("| ")]
    sources = len(set(re.findall("^## .*", pages.audit_page(), re.M)))
    assert len(rows) == len(pages.audit.run()) + 2 * sources
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_every_module_is_in_the_reference(pages):
    text = pages.modules()
    for path in ROOT.glob("workbench/[!_]*.py"):
        assert f"   workbench.{path.stem}\n" in text
    assert text.index("workbench.catalog") < text.index("workbench.grid") < text.index("workbench.plots")


def test_a_cell_of_a_table_is_text_whatever_it_holds(pages):
    assert pages.table(["a"], [["x | *y* `z`\n<b> [l](u) $m$ _i_"]]).splitlines()[2] == (
        r"| x \| \*y\* \`z\` \<b> \[l\](u) \$m\$ \_i\_ |"
    )


PAGES = [
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
    if "```python\n" in path.read_text()
]


def test_pages_with_python_are_found():
    assert {"README.md", "docs/large_grids.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_python_in_a_page_runs(page):
    scope: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S):
        session = [line.removeprefix(">>> ") for line in block.splitlines() if line.startswith(">>> ")]
        code = [line for line in session or block.splitlines() if "path/to" not in line]
        if "result.json" not in block:  # the reader's own files
            exec("\n".join(code), scope)


def test_the_folder_that_the_commands_write_to_is_made_by_the_first():
    readme, makefile = ((ROOT / name).read_text() for name in ("README.md", "Makefile"))
    assert set(re.findall(r"(?:-o|--plot|ipynb) ([\w.]+)/", readme)) == {".cache"}
    assert "mkdir -p .cache" in readme
    assert re.search(r"^\$\(READY\):.*\n(\t.*\n)*\t@mkdir -p \$\(CACHE\)\n", makefile, re.M)
