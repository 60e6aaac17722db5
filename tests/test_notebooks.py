"""Notebooks as they are stored: what a reader sees on opening one, and what nbval compares. `pytest` runs them."""

import ast
import re
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Optional

import nbformat
import pandas as pd
import papermill
import pytest
import yaml

from workbench import figures, tables
from workbench.figures.batch import kernel_manager
from workbench.figures.params import notebook_parameters

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.stem: nbformat.read(path, 4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
CHARTS = {figure.notebook.stem: figure for figure in figures.find(ROOT).values()}


def code(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def outputs(name):
    return [output for cell in code(name) for output in cell.outputs]


def texts(name):
    """All that a notebook's stored outputs say."""
    for output in outputs(name):
        yield output.text if "text" in output else output.data["text/plain"]


def parameters(name):
    return next((n for n, cell in enumerate(code(name)) if "parameters" in cell.metadata.get("tags", ())), None)


# What a reader sees -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CHARTS, "view", "tour"])
def test_a_notebook_of_a_chart_shows_one(name):
    assert any("image/png" in output.get("data", {}) for output in outputs(name))


@pytest.mark.parametrize("name", CHARTS)
def test_the_chart_is_that_of_a_params_file(name):
    """Opened in Lab, a notebook shows the figure that its defaults name, not a similar one."""
    defaults = {"Optional": Optional}
    exec(code(name)[parameters(name)].source, defaults)
    path = ROOT / "params" / name / f"{defaults['figure_id']}.yaml"
    values = yaml.safe_load(path.read_text())
    for key in values.keys() - {"caption", "output_dir"}:
        assert defaults[key] == values[key], f"{path.name}: {key}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_say_something_and_the_same_elsewhere(name):
    for text in texts(name):
        assert text.strip()
        assert not re.search(r"0x[0-9a-f]{6}|/(home|root|tmp|work|usr)/|\d\d:\d\d:\d\d|Warning", text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_tables_cut_nothing_and_their_numbers_have_four_digits(name):
    shown = [output.data["text/html"] for output in outputs(name) if "text/html" in output.get("data", {})]
    assert not re.search(r"dataframe|\.\.\.|…", " ".join(shown))
    for number in re.findall(r">-?([\d,]+\.\d+)(?:e[-+]\d+|[TGM])?<", " ".join(shown)):
        assert len(re.sub(r"[,.]", "", number).lstrip("0")) <= 4, number


def test_the_audit_lists_every_claim_once():
    shown = "\n".join(texts("audit"))
    counts = [int(n) for n in re.findall(r"^.*: (\d+) of \d+ claims$", shown, re.M)]
    assert sum(counts) == int(re.match(r"(\d+) claims", next(texts("audit"))).group(1))


# Tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (109740225703583.765625, "1.097e+14"), (1234.5678, "1,235"), (22.118, "22.12"), (18608, "18,608"), (0.5, "0.5"),
        (455632.0, "455,632"), (12345.6, "12,350"), (float("nan"), ""), (None, ""), (pd.NA, ""), (float("inf"), "inf"),
        (True, "True"), ("memory", "memory"), (-0.00012345, "-0.0001234"), (1e-9, "1e-09"), (-0.0, "0"),
    ],
)  # fmt: skip
def test_a_number_for_a_reader(value, text):
    assert repr(tables.Readable(pd.DataFrame({"a": pd.Series([value], dtype=object)}))).split() == ["a", *text.split()]


def test_a_table_for_a_reader():
    long = "A whole statement, which is not cut at fifty characters, & its <reason> beside it"
    shown = tables.Readable(pd.DataFrame({"printed": [long, "B"], "ours [s]": [1234.5678, float("nan")]}), "two claims")
    assert repr(shown).splitlines() == [
        "two claims", f"printed{'':{len(long) - 7}}  ours [s]", f"{long}     1,235", f"B{'':{len(long) - 1}}".rstrip()
    ]  # fmt: skip
    html = shown._repr_html_()
    assert "& its <reason>".replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in html
    assert '<td style="text-align: right; vertical-align: top">1,235</td>' in html
    assert html.count("<tr>") == 3


def test_row_labels_and_headers_of_several_levels():
    columns = pd.MultiIndex.from_product([["time (ms)"], ["report", "workbench"]])
    table = pd.DataFrame([[20.41, 29.29]], columns=columns, index=pd.Index([128], name="seq_len"))
    assert repr(tables.Readable(table, index=True)) == (
        "seq_len  time (ms) report  time (ms) workbench\n    128             20.41                29.29"
    )
    assert repr(tables.Readable(pd.DataFrame({"a": [1]}, index=["x"]), index=True)) == "   a\nx  1"


# What papermill gives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if parameters(name) is not None])
def test_the_cell_after_the_parameters_checks_them(name):
    cell = code(name)[parameters(name) + 1]
    assert ast.unparse(ast.parse(cell.source).body[0]) == "figures.check_parameters()"
    assert notebook_parameters(ROOT / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def two_cells(tmp_path):
    """The imports, parameters and first cell of a notebook, which is all that a wrong key lets run."""
    notebook = nbformat.read(ROOT / "notebooks" / "medusa.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:3]
    notebook.cells[0].source = "from typing import Optional\n\nfrom workbench import figures"
    notebook.cells[2].source = notebook.cells[2].source.splitlines()[0]
    nbformat.write(notebook, tmp_path / "medusa.ipynb")

    def run(**given):
        paths = tmp_path / "medusa.ipynb", tmp_path / "out.ipynb"
        own = kernel_manager(tmp_path, ROOT)  # this interpreter, whatever kernelspecs the machine has
        papermill.execute_notebook(*paths, given, kernel_name="python3", progress_bar=False, kernel_manager_class=own)

    return run


def test_a_wrong_key_on_papermills_command_line_is_an_error_in_the_first_cell(two_cells):
    with pytest.raises(
        papermill.PapermillExecutionError, match="unknown field 'figur'. Did you mean 'figure_id'?"
    ) as e:
        two_cells(figur="medusa-fig20")
    assert e.value.ename == "ValueError"
    assert e.value.evalue.startswith("papermill's parameters: unknown field 'figur'")
    assert "\n" not in e.value.evalue
    with pytest.raises(papermill.PapermillExecutionError, match="batch_size = 16: Input should be a valid list"):
        two_cells(batch_size=16)
    two_cells(figure_id="medusa-fig20", launch_latency_us=0)
    two_cells()


DECLARED = 'figure_id: str = "x"\nbatch_size: list[int] = [1]'
GIVEN = '# Parameters\nfigure_id = "y"\n'


@pytest.mark.parametrize(
    ("cells", "values", "message"),
    [
        ([DECLARED, GIVEN, "figures.check_parameters()", GIVEN], {}, None),
        ([DECLARED, "1 +", "%%broken", "batch_size", GIVEN], {}, None),
        ([DECLARED, GIVEN, GIVEN + "figur = 1"], {"figur": 1}, "unknown field 'figur'. Did you mean 'figure_id'"),
        (
            [DECLARED, GIVEN, GIVEN + "batch_size = 2"],
            {"batch_size": 2},
            "batch_size = 2: Input should be a valid list",
        ),
        ([GIVEN], {}, "^papermill's parameters: the cell tagged `parameters` must run before"),
    ],
)
def test_what_was_given_is_checked_in_whatever_order_cells_run(cells, values, message, monkeypatch):
    names = {"In": ["", *cells], "figure_id": "y"} | values
    shell = SimpleNamespace(user_ns=names)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        figures.check_parameters()


def test_outside_a_notebook_nothing_was_given():
    figures.check_parameters()


# What nbval compares ----------------------------------------------------------------------------------------------


def test_nbval_compares_every_output_of_every_cell():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"].split()
    assert "--nbval" in options
    assert not {"--nbval-lax", "--nbdime"} & set(options)
    for name in NOTEBOOKS:
        for cell in code(name):
            assert not re.search("NBVAL|IGNORE_OUTPUT", cell.source)
            assert cell.metadata.get("tags", []) in ([], ["parameters"])
            assert cell.execution_count is not None  # of a cell that was never run nbval compares nothing


def test_one_changed_digit_of_one_output_is_a_failure(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "benchmarks.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if not re.search(r"plt\.subplots|figures\.save", cell.source)]
    nbformat.write(notebook, tmp_path / "same.ipynb")
    data = next(output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output).data
    data["text/html"] = re.sub(r"(\d)</td>", lambda digit: f"{9 - int(digit[1])}</td>", data["text/html"], count=1)
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-n0"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-rA", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 1, run.stdout + run.stderr
    results = re.findall(r"^(PASSED|FAILED) \S*?(\w+)\.ipynb", run.stdout, re.M)
    assert {name for result, name in results if result == "FAILED"} == {"changed"}
    assert sum(result == "FAILED" for result, _ in results) == 1
