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

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import papermill
import pytest
import yaml

import workbench as wb
from workbench import figures, tables
from workbench.figures import params
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
    assert defaults["title"] in (None, values["title"])  # None: what the parameters say, as is tested below
    for key in values.keys() - {"title", "caption", "output_dir"}:
        assert defaults[key] == values[key], f"{path.name}: {key}"


@pytest.mark.parametrize("name", sorted(NOTEBOOKS.keys() - {"explorer"}))  # a widget, which is one cell
def test_a_notebook_has_six_to_ten_cells(name):
    assert 6 <= len(NOTEBOOKS[name].cells) <= 10


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_say_something_and_the_same_elsewhere(name):
    assert "widgets" not in NOTEBOOKS[name].metadata  # their state, which has addresses of its own
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
    assert repr(tables.table(pd.DataFrame({"a": pd.Series([value], dtype=object)}))).split() == ["a", *text.split()]


def test_a_table_for_a_reader():
    long = "A whole statement, which is not cut at fifty characters, & its <reason> beside it"
    shown = tables.table(pd.DataFrame({"printed": [long, "B"], "ours [s]": [1234.5678, float("nan")]}), "<two> claims")
    assert repr(shown).splitlines() == [
        "<two> claims", f"printed{'':{len(long) - 7}}  ours [s]", f"{long}     1,235", f"B{'':{len(long) - 1}}".rstrip()
    ]  # fmt: skip
    html = shown._repr_html_()
    assert "&amp; its &lt;reason&gt;" in html
    assert "<caption>&lt;two&gt; claims</caption>" in html
    assert html.count("<tr>") == 3
    sides = dict(re.findall(r"(td\.?\w*) {\n  text-align: (\w+);", html))
    assert sides == {"td": "right", "td.col0": "left"}
    assert html == tables.table(pd.DataFrame(shown), "<two> claims")._repr_html_()


def test_row_labels_and_headers_of_several_levels():
    columns = pd.MultiIndex.from_product([["time (ms)"], ["report", "workbench"]])
    table = pd.DataFrame([[20.41, 29.29]], columns=columns, index=pd.Index([128], name="seq_len"))
    assert repr(tables.table(table)) == (
        "seq_len  time (ms) report  time (ms) workbench\n    128             20.41                29.29"
    )
    assert repr(tables.table(pd.DataFrame({"a": [1]}, index=["x"]))) == "   a\nx  1"
    assert ">x</th>" in tables.table(pd.DataFrame({"a": [1]}, index=["x"]))._repr_html_()


def test_a_table_is_a_data_frame_and_what_is_selected_of_it_is_one_for_a_reader():
    table = tables.table(pd.DataFrame({"a": [1.23456, 2.0, 3.0]}), "three")
    part = table[table.a < 2.5]
    assert part.a.sum() == 3.23456
    assert repr(part) == "three\n    a\n1.235\n    2"


def test_a_long_table_says_how_many_of_its_rows_it_shows():
    table = tables.table(pd.DataFrame({"a": range(1001)}), "many")
    assert len(table) == 1001
    assert repr(table).splitlines()[::1001] == ["many; the first 1,000 of 1,001 rows", "999"]
    assert table._repr_html_().count("<td") == 1000


def test_without_jinja_a_notebook_shows_the_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas.io.formats.style", None)
    assert tables.table(pd.DataFrame({"a": [1]}))._repr_html_() is None


@pytest.fixture(scope="module")
def grid():
    sizes = {"batch_size": [1, 8], "seq_len": 1024, "time_model": "kernel"}
    return wb.roofline_grid("h100-sxm", "llama-3-8b", phase="decode", **sizes)


def test_a_table_of_a_grid_has_its_dims_as_index_and_units_in_the_header(grid):
    table = wb.table(grid, variables=["time", "bytes", "performance", "bound"])
    assert table.index.names == ["gpu", "model", "operator", "phase", "batch_size", "seq_len [token]"]
    assert [*table] == ["time [ms]", "bytes [MB]", "performance [TFLOP/s]", "bound"]
    row = table.xs(("attention", 8), level=("operator", "batch_size")).iloc[0]
    cell = grid.sel(operator="attention", batch_size=8).squeeze()
    assert row["time [ms]"] == pytest.approx(1e3 * cell.time.item())
    assert row["bytes [MB]"] == pytest.approx(1e-6 * cell.bytes.item())
    assert row["performance [TFLOP/s]"] == pytest.approx(1e-12 * cell.performance.item())
    assert row.bound == "memory"
    assert repr(table).startswith("Roofline of LLM inference operators\ngpu       model       operator      phase")


def test_a_table_shows_what_one_asks_for_first(grid):
    assert [*wb.table(wb.forward_pass(grid))] == [
        "flops [GFLOP]", "bytes [MB]", "intensity [FLOP/byte]", "performance [TFLOP/s]", "time [ms]", "bound"
    ]  # fmt: skip
    replica = wb.serving.estimate("l4", "llama-3-8b", [1, 512], 1024, 256)
    table = replica.wb.table()
    assert [*table][:4] == ["memory [GB]", "unfit", "largest_batch", "ttft [ms]"]
    assert table.unfit.tolist() == ["fits", "kv_cache"]
    assert "; l4: " in repr(table).splitlines()[0]  # what is assumed
    assert replica.wb.table("").attrs == {"caption": ""}
    assert [*tables.table(replica[["fits", "kv_capacity"]])] == ["fits"]  # of the rest, those with the most dims
    plan = wb.serving.plan("llama-3-8b", prompt=64, output=8, gpu=["l4"], tp=[1], batch_size=[1])
    assert {"ttft [s]", "memory [GB]", "verdict"} <= {*wb.table(plan)}
    assert [*wb.table(plan, variables="tpot_s")] == ["tpot [s]"]


def test_a_table_of_one_array_and_of_one_number(grid):
    assert repr(grid.ridge_point.wb.table()) == "gpu       ridge_point [FLOP/byte]\nh100-sxm                    295.3"
    one = grid.isel(dict.fromkeys(grid.dims, 0))
    assert repr(one.wb.table("", variables="calls")) == "calls\n   32"


def test_an_explanation_is_the_table_of_its_operators():
    explanation = wb.explain("llama-33b-candidates-h100", model="llama-33b", engine="pytorch")
    assert wb.table(explanation).equals(tables.explained(explanation))


@pytest.mark.parametrize(
    ("of", "variables", "message"),
    [
        ("grid", "tim", "^variables of value: unknown variable 'tim'. Did you mean 'time'"),
        ("frame", ["a", "b"], "^variables of value: unknown column 'b'. Allowed: a.$"),
        ("frame", 3, "^table: variables.*= 3: Input should be a valid string"),
    ],
)
def test_a_table_of_what_is_not_there(of, variables, message, grid):
    with pytest.raises(ValueError, match=message):
        wb.table({"grid": grid, "frame": pd.DataFrame({"a": [1]})}[of], variables=variables)


def test_rows_that_are_chosen_exist():
    table = pd.DataFrame({"gpu": ["l4", "t4", "l4"]})
    assert tables.chosen(table, "gpu", ["l4"]).index.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"^values: unknown gpu 'l40'. Did you mean 'l4'\?"):
        tables.chosen(table, "gpu", ["l40"])
    with pytest.raises(ValueError, match=r"^table: unknown column 'gpus'. Did you mean 'gpu'\?"):
        tables.chosen(table, "gpus", ["l4"])


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
    notebook.cells[2].source = notebook.cells[2].source.splitlines()[0] + "\nfigure_id, batch_size"
    nbformat.write(notebook, tmp_path / "medusa.ipynb")

    def run(**given):
        paths = tmp_path / "medusa.ipynb", tmp_path / "out.ipynb"
        own = kernel_manager(tmp_path, ROOT)  # this interpreter, whatever kernelspecs the machine has
        options = {"kernel_name": "python3", "progress_bar": False, "kernel_manager_class": own}
        return papermill.execute_notebook(*paths, given, **options).cells[-1].outputs[0].data["text/plain"]

    return run


def test_a_wrong_key_on_papermills_command_line_is_an_error_in_the_first_cell(two_cells):
    with pytest.raises(
        papermill.PapermillExecutionError, match="unknown field 'figur'. Did you mean 'figure_id'?"
    ) as e:
        two_cells(figur="medusa-fig20")
    assert e.value.ename == "ValueError"
    assert e.value.evalue.startswith("papermill's parameters: unknown field 'figur'")
    assert "\n" not in e.value.evalue
    with pytest.raises(
        papermill.PapermillExecutionError, match=r"batch_size.0 = '16': Input should be a valid integer"
    ):
        two_cells(batch_size="16")
    two_cells(figure_id="medusa-fig20", launch_latency_us=0)
    assert two_cells() == "('medusa-fig19', [1, 2, 4, 8, 16, 32, 64])"
    assert two_cells(batch_size=16) == "('medusa-fig19-changed', [16])"


DECLARED = 'figure_id: str = "x"\nbatch_size: list[int] = [1]'
GIVEN = '# Parameters\nfigure_id = "y"\n'


@pytest.mark.parametrize(
    ("cells", "values", "message"),
    [
        ([DECLARED, GIVEN, "figures.check_parameters()", GIVEN], {}, None),
        ([DECLARED, "1 +", "%%broken", "batch_size", GIVEN], {}, None),
        ([DECLARED, GIVEN, GIVEN + "figur = 1"], {"figur": 1}, "unknown field 'figur'. Did you mean 'figure_id'"),
        (
            [DECLARED, GIVEN, GIVEN + "batch_size = 2.5"],
            {"batch_size": 2.5},
            "batch_size.0 = 2.5: Input should be a valid integer",
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


LISTS = [
    (name, key, kind)
    for name in NOTEBOOKS
    if parameters(name) is not None
    for key, kind in notebook_parameters(ROOT / "notebooks" / f"{name}.ipynb").items()
    if "list" in str(kind)
]


@pytest.mark.parametrize(("name", "key", "kind"), LISTS)
def test_one_value_of_a_list_is_a_list_of_it(name, key, kind):
    one = {"str": "a", "int": 2, "float": 0.5, "dict": {"a": 1}}[re.search(r"list\[(\w+)", str(kind))[1]]
    schema = params._schema({key: (kind, ...)})
    assert getattr(schema(**{key: one}), key) == getattr(schema(**{key: [one]}), key) == [one]


OTHER = {"gpu": "h200-sxm", "model": "qwen3-8b"}
NAMED = ("Qwen3 8B", "NVIDIA H200 141GB SXM5")
#: Other GPUs and models, one value of each list, and what the title says then.
GIVEN_ALONE = [
    ("batching", OTHER | {"batch_size": [4]}, NAMED),
    ("medusa", OTHER | {"batch_size": [4]}, NAMED),
    ("roofline", OTHER | {"batch_size": [4], "seq_len": [512]}, NAMED),
    ("speedup", OTHER | {"batch_size": [4], "candidates": [16]}, (*NAMED, "batch size 4")),
    ("speedup", OTHER | {"batch_size": [4, 8], "candidates": [16]}, (*NAMED, "batch size 4, 8")),
    ("t4_static", OTHER | {"phase": "decode", "batch_size": [8], "seq_len": [128]}, ("Decode", *NAMED)),
    ("schedules", OTHER | {"prompt": 500, "output": [12]}, (*NAMED, "prompts of 500")),
    (
        "serving",
        {"gpu": ["l4"], "model": "qwen3-8b", "tp": [1], "batch_size": [4], "price": {"l4": 1.0}, "tpot": None},
        ("Qwen3 8B: 1,024 tokens in, 256 out; TTFT within 500 ms",),
    ),
    (
        "view",
        {"gpu": ["l4"], "model": ["qwen3-8b"], "operator": ["lm_head"], "phase": ["decode"], "batch_size": [4]},
        ("qwen3-8b on l4",),
    ),
    ("fidelity", {"gpu": ["l40s"]}, ()),
    ("forward_passes", {"phase": ["decode"]}, ()),
    ("serving_benchmarks", {"source": ["oracle"], "by": ["gpu"], "quantity": ["tpot_s"]}, ()),  # has no TPOT
    ("measured", {"files": {"h100-sxm": {"file": "llama-33b-candidates-h100", "dtype": "fp16"}}}, ("LLaMA 33B",)),
    ("explain", {"file": "llama-33b-candidates-h100", "kernels": None, "model": ["llama-33b"]}, ("LLaMA 33B", "H100")),
]


@pytest.mark.parametrize(("name", "given", "said"), GIVEN_ALONE)
def test_a_notebook_takes_one_gpu_and_model_and_names_them_in_its_title(name, given, said):
    names = {"display": lambda *shown: list(map(repr, shown))}
    for cell in code(name)[:-1] if name in ("medusa", "t4_static", "roofline") else code(name):  # without the audit
        exec(cell.source, names)
        if cell.metadata.get("tags"):
            assert given.keys() <= names.keys()
            names |= given
    drawn = names["figure"]
    title = drawn.get_suptitle() or drawn.axes[0].get_title()
    plt.close("all")
    assert [part for part in said if part not in title] == []
    assert names["title"] in title


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
