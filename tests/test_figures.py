"""The batch: params, notebooks, what is skipped, what fails, what is left behind."""

import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from workbench import audit, figures
from workbench.common import project as project_files
from workbench.figures.params import FIGURE_FORMATS, notebook_parameters
from workbench.figures.state import workplace
from workbench.files import whole, write_table
from workbench.files.folders import MARK

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = [
    *(f"medusa-fig{n:02d}" for n in range(9, 24)),
    "t4-decode",
    "t4-prefill",
    "t4-roofline",
    "t4-queue",
    "t4-requests",
    "t4-roadmap",
    "t4-comparison",
    "serving-llama-3-8b",
    "serving-llama-3-70b",
]

SMALL = """\
figure_id: str = "small"
title: str = "Small"
caption: str = ""
height: int = 1
output_dir: Optional[str] = None
"""
DRAW = """\
import matplotlib.pyplot as plt
import pandas as pd

from workbench import figures

figure, ax = plt.subplots(figsize=(2, 2))
ax.plot([0, height])
figures.save(figure, pd.DataFrame({"height [m]": [height / 3]}), figure_id, output_dir)
"""
PARAMS = "figure_id: {id}\ntitle: T\ncaption: C\nheight: {height}\noutput_dir: figures\n"


FORCED = [sys.executable, "-c", "from workbench.cli import main; main()", "figures", "-j", "2", "--force"]


def write_project(folder):
    """A small project of two figures in an empty folder."""
    for name in ("notebooks", "params/small"):
        (folder / name).mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    )
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in ("from typing import Optional", SMALL, DRAW)]
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, folder / "notebooks" / "small.ipynb")
    for name, height in (("one", 1), ("two", 2)):
        (folder / "params" / "small" / f"{name}.yaml").write_text(PARAMS.format(id=name, height=height))
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project of two figures, none of which is drawn."""
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / "tools"))  # so that what the batch sets is undone
    return write_project(tmp_path)


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory):
    """A small project whose two figures the command has drawn."""
    folder = write_project(tmp_path_factory.mktemp("drawn"))
    done = subprocess.run(FORCED, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr.count(" drawn") == 2
    return folder


@pytest.fixture
def drawn(project, drawn_once):
    """A small project with the figures that the command draws."""
    shutil.copytree(drawn_once, project, dirs_exist_ok=True)
    return project


def run(project, **options):
    outcomes = figures.run(figures.find(project).values(), project / "figures", project, jobs=2, **options)
    return {outcome.id: outcome.state for outcome in outcomes}


def test_notebooks_run_in_the_project_and_this_process_stays_where_it_is(project, monkeypatch):
    """Two at a time would each take the other's folder for where the process was."""
    here, been = str(Path.cwd()), set()
    monkeypatch.setattr(os, "chdir", lambda folder: been.add(str(folder)))
    path = project / "notebooks" / "small.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell("from pathlib import Path\n\nPath('params/small/one.yaml').open()"))
    nbformat.write(notebook, path)
    assert run(project) == {"one": "drawn", "two": "drawn"}
    assert been <= {here}


def files(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / "figures").glob("[!.]*")}


# Params -----------------------------------------------------------------------------------------------------------


def test_the_published_figures_are_all_there():
    assert set(PUBLISHED) <= set(figures.find(ROOT))


def test_a_chart_is_one_params_file_and_found_everywhere(tmp_path, monkeypatch):
    for folder in ("notebooks", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    text = (ROOT / "params" / "roofline" / "medusa-fig09.yaml").read_text()
    made_up = yaml.safe_load(text) | {"figure_id": "made-up", "title": "A made-up chart", "caption": "Of nothing."}
    (tmp_path / "params" / "roofline" / "made-up.yaml").write_text(yaml.safe_dump(made_up))
    known = figures.find(tmp_path)
    assert set(known) - set(figures.find(ROOT)) == {"made-up"}
    assert known["made-up"].notebook == tmp_path / "notebooks" / "roofline.ipynb"
    assert known["made-up"].values == made_up

    output = tmp_path / "figures"
    output.mkdir()
    for kind in FIGURE_FORMATS:
        (output / f"made-up.{kind}").touch()
    page = figures.write_index(known.values(), output).read_text()
    assert '<section id="made-up">' in page
    assert "<figcaption>Of nothing.</figcaption>" in page
    assert 'href="../params/roofline/made-up.yaml"' in page

    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pages

    monkeypatch.delitem(sys.modules, "pages")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    gallery = pages.gallery()
    assert "## made-up\n\n**A made-up chart**\n\n```{image} ../../figures/made-up.png\n" in gallery
    assert "<../../params/roofline/made-up.yaml>" in gallery


@pytest.mark.parametrize("params", sorted(ROOT.glob("params/*/*.yaml")), ids=lambda path: path.stem)
def test_keys_of_a_params_file_are_the_parameters_of_its_notebook(params):
    notebook = ROOT / "notebooks" / f"{params.parent.name}.ipynb"
    values = figures.read_params(params, notebook)
    assert list(values) == list(notebook_parameters(notebook))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("height: 1\n", ""), "height: Field required"),
        (("height", "heigth"), "unknown field 'heigth'. Did you mean 'height'|height: Field required"),
        (("height: 1", "height: '1'"), "height = '1': Input should be a valid integer"),
        (("height: 1", "height: 1.5"), "height = 1.5: Input should be a valid integer"),
        (("figure_id: one", "figure_id: other"), "figure_id = 'other': must be the file's name, 'one'"),
        (("title: T", "title: [T"), "not valid YAML"),
        (("title: T\n", "title: T\ntitle: U\n"), "line 1: not valid YAML .'title' is given twice."),
        (("title: T\n", "title: T\nextra: 1\n"), "unknown field 'extra'. Allowed: figure_id, title, caption, height"),
    ],
)
def test_a_wrong_params_file_is_refused_before_anything_runs(project, change, message):
    path = project / "params" / "small" / "one.yaml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=message) as error:
        run(project)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_params_file_without_a_notebook(project):
    shutil.move(project / "params" / "small", project / "params" / "smal")
    with pytest.raises(ValueError, match=r"one.yaml: there is no notebook .*smal.ipynb"):
        figures.find(project)


def test_two_params_files_of_one_name(project):
    shutil.copytree(project / "params" / "small", project / "params" / "tall")
    shutil.copy(project / "notebooks" / "small.ipynb", project / "notebooks" / "tall.ipynb")
    with pytest.raises(ValueError, match="the figure 'one' exists already"):
        figures.find(project)


def test_a_notebook_without_parameters(project):
    path = project / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace('"parameters"', '"something"'))
    with pytest.raises(ValueError, match="no cell is tagged `parameters`"):
        run(project)


@pytest.mark.parametrize(("annotation", "shown"), [("", "None"), (": Path", "Path"), (": list[Path]", r"list\[Path")])
def test_a_parameter_without_a_plain_type(project, annotation, shown):
    path = project / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace("height: int", f"height{annotation}"))
    with pytest.raises(ValueError, match=rf"small.ipynb: parameter height has the type '{shown}.*Allowed: str, int"):
        run(project)


@pytest.mark.parametrize("name", [".one", "a b", "-x"])
def test_a_params_file_whose_name_cannot_name_a_figure(project, name):
    (project / "params" / "small" / f"{name}.yaml").write_text(PARAMS.format(id=name, height=1))
    with pytest.raises(ValueError, match=rf"{name}.yaml: figure '{name}': must be letters, digits"):
        figures.find(project)


def test_params_are_values_and_never_code(project):
    notebook, params = project / "notebooks" / "small.ipynb", project / "params" / "small" / "one.yaml"
    notebook.write_text(notebook.read_text().replace('caption: str = \\"\\"', "caption: dict[str, dict] = {}"))
    attack = '"""\nimport pathlib; pathlib.Path(\'broken-out\').touch()\n""" {x} \\ \' {{y}} %cd / !touch broken-out'
    values = {"figure_id": "one", "title": attack, "caption": {attack: {attack: [attack]}}, "height": 1}
    params.write_text(yaml.safe_dump(values | {"output_dir": attack}))
    (project / "params" / "small" / "two.yaml").unlink()
    assert run(project) == {"one": "drawn"}
    assert not list(project.rglob("broken-out"))
    executed = nbformat.read(project / "figures" / ".state" / "one.ipynb", 4)
    given = next(cell.source for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", []))
    namespace = {}
    exec(given, namespace)
    assert (namespace["title"], namespace["caption"]) == (attack, {attack: {attack: [attack]}})


def test_choosing_by_name_and_glob(project):
    known = figures.find(project)
    assert [f.id for f in figures.choose(known, [])] == ["one", "two"]
    assert [f.id for f in figures.choose(known, ["t*", "two"])] == ["two"]
    with pytest.raises(ValueError, match="unknown figure 'tow'. Did you mean 'two'"):
        figures.choose(known, ["tow"])


# Running ----------------------------------------------------------------------------------------------------------


def test_a_batch_draws_skips_and_redraws(drawn):
    output = drawn / "figures"
    assert (output / "one.csv").read_text() == "height [m]\n0.3333333\n"
    first = files(drawn)
    assert set(first) == {"index.html", *(f"{name}.{kind}" for name in ("one", "two") for kind in FIGURE_FORMATS)}

    assert run(drawn) == {"one": "up to date", "two": "up to date"}
    params = drawn / "params" / "small" / "one.yaml"
    params.write_text(params.read_text().replace("title: T", "title: U"))
    (output / "two.csv").write_text("touched by hand\n")
    assert run(drawn) == {"one": "drawn", "two": "drawn"}
    assert run(drawn, force=True) == {"one": "drawn", "two": "drawn"}
    assert files(drawn) == first  # byte-identical


def test_a_change_of_any_catalog_entry_redraws(project, monkeypatch):
    # a GPU may borrow the fit of one that the params file does not name
    (project / "params" / "small" / "two.yaml").unlink()
    data = project / "data"
    shutil.copytree(str(project_files.DATA), data)
    monkeypatch.setattr(project_files, "DATA", data)
    assert run(project) == {"one": "drawn"}
    assert run(project) == {"one": "up to date"}
    (data / "gpus" / "a40.yaml").write_text("changed\n")
    assert run(project) == {"one": "drawn"}


def test_what_is_up_to_date_costs_no_heavy_import(drawn):
    heavy = ["numpy", "pandas", "xarray", "matplotlib", "papermill", "jinja2"]
    code = (
        f"import sys; from workbench.cli import app; app(standalone_mode=False); print(set({heavy}) & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "figures", "-j", "2"]
    again = subprocess.run(command, cwd=drawn, capture_output=True, text=True, check=True)
    assert again.stderr.count("up to date") == 2
    assert again.stdout.endswith("set()\n")


def test_one_failing_notebook_leaves_its_traceback_and_the_others_go_on(project):
    params = project / "params" / "small" / "one.yaml"
    notebook = project / "notebooks" / "small.ipynb"
    notebook.write_text(notebook.read_text().replace("ax.plot([0, height])", "ax.plot([0, 1 // (height - 1)])"))
    assert params.is_file()
    outcomes = {o.id: o for o in figures.run(figures.find(project).values(), project / "figures", project, jobs=2)}
    assert outcomes["two"].state == "drawn"
    assert outcomes["one"].state == "failed"
    assert outcomes["one"].reason.startswith("ZeroDivisionError: ")
    left = nbformat.read(project / "figures" / ".state" / "one.ipynb", 4)
    assert any("ZeroDivisionError" in str(cell.get("outputs")) for cell in left.cells)
    assert not list((project / "figures").glob("one.*"))


def test_a_notebook_that_saves_nothing_fails(project):
    notebook = project / "notebooks" / "small.ipynb"
    notebook.write_text(notebook.read_text().replace("figures.save(", "print("))
    (project / "params" / "small" / "two.yaml").unlink()
    outcomes = figures.run(figures.find(project).values(), project / "figures", project)
    assert {o.state for o in outcomes} == {"failed"}
    assert "small.ipynb did not save one.csv, one.png, one.svg" in outcomes[0].reason


def test_the_kernel_is_this_interpreter_whatever_the_kernelspecs_say(project, monkeypatch):
    fake = project / "share" / "kernels" / "python3"
    fake.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "fake", "language": "python"}
    (fake / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(project / "share"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    (project / "params" / "small" / "two.yaml").unlink()
    assert run(project) == {"one": "drawn"}


def test_a_folder_that_cannot_be_written(project):
    (project / "figures").write_text("a file, not a folder")
    with pytest.raises(ValueError, match="cannot write to .*figures: "):
        run(project)


SLEEP = """\
import time
from pathlib import Path

if height == 2:
    Path(output_dir, "started").touch()
    time.sleep(600)
"""


def test_ctrl_c_leaves_nothing_half_written_and_a_second_run_goes_on(project):
    path = project / "notebooks" / "small.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell(SLEEP))
    nbformat.write(notebook, path)
    command = [sys.executable, "-c", "from workbench.cli import main; main()", "figures", "-j", "2"]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    state = project / "figures" / ".state"
    while not list(state.glob("run-*/two/started")) or not (state / "one.json").is_file():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130
    assert message.endswith("workbench: interrupted; finished figures are kept, run again to go on\n")
    assert {p.name for p in (project / "figures").glob("[!.]*")} == {"one.csv", "one.png", "one.svg"}
    assert not list(state.glob("run-*"))

    notebook.cells.pop(2)
    nbformat.write(notebook, path)
    assert run(project) == {"one": "drawn", "two": "drawn"}


def test_what_a_killed_run_left_is_swept_away_and_what_a_living_one_has_is_not(drawn):
    state, host, gone = drawn / "figures" / ".state", platform.node(), 2**22 + 1
    names = [f"{host}-{gone}", f"{host}-{os.getppid()}", f"{host}-1", f"{host}-2-{gone}", f"not-{host}-{gone}"]
    for name in names:
        (state / f"run-{name}").mkdir()
    assert run(drawn) == {"one": "up to date", "two": "up to date"}
    left = [name for name in names if (state / f"run-{name}").exists()]
    assert left == names[1:]  # this test's parent, somebody else's, and those of two other machines


def test_a_batch_killed_at_any_moment_leaves_whole_figures_and_a_second_run_goes_on(drawn):
    project = drawn
    complete = files(project)
    moments = random.Random(2)
    for _ in range(3):
        process = subprocess.Popen(FORCED, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.5, 5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert files(project) == complete
    state = project / "figures" / ".state"
    (state / f"run-{platform.node()}-{2**22 + 1}").mkdir()  # of a process that is gone, however the kills above fell
    assert set(run(project).values()) <= {"drawn", "up to date"}
    assert files(project) == complete
    assert not list(state.glob("run-*"))
    assert set(run(project).values()) == {"up to date"}


def test_batches_that_run_at_the_same_time_do_not_spoil_each_other(drawn):
    project = drawn
    complete = files(project)
    batches = [subprocess.Popen(FORCED, cwd=project, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in batches:
        _, message = process.communicate()
        assert process.returncode == 0, message
    assert files(project) == complete
    assert set(run(project).values()) == {"up to date"}
    assert not list((project / "figures" / ".state").glob("run-*"))


# Links, and what is not the batch's own ----------------------------------------------------------------------------


@pytest.fixture
def precious(tmp_path):
    """Somebody's folder, which no batch may touch."""
    folder = tmp_path / "precious"
    (folder / "one").mkdir(parents=True)
    (folder / "one" / "notes.txt").write_text("precious")
    yield folder
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["one", "one/notes.txt"]


@pytest.mark.parametrize("name", ["", "ipython", "matplotlib", "run"])
def test_a_link_where_the_batch_has_a_folder_is_refused(project, precious, name):
    name = name.replace("run", f"run-{platform.node()}-{os.getpid()}")
    link = project / "figures" / ".state" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(ValueError, match=rf"{name}: a link or a file where the workbench has a folder: move it away$"):
        run(project)


def test_a_folder_with_the_name_of_the_batch_s_own_is_refused(project):
    scratch = project / "figures" / ".state" / f"run-{platform.node()}-{os.getpid()}"
    scratch.mkdir(parents=True)
    (scratch / "notes.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"a folder that the workbench did not make: move it away$"):
        run(project)
    assert (scratch / "notes.txt").read_text() == "precious"


def test_what_a_killed_run_left_is_swept_away_without_what_is_not_of_it(project, precious, caplog):
    output = project / "figures"
    left = [output / ".state" / f"run-{platform.node()}-{2**22 + number}" for number in range(1, 5)]
    left[0].parent.mkdir(parents=True)
    left[0].symlink_to(precious)
    for folder in left[1:]:
        (folder / "one").mkdir(parents=True)
        (folder / "one" / "link").symlink_to(precious)
    for folder in left[2:]:
        (folder / MARK).touch()
    (left[3] / "notes.txt").write_text("precious")
    with workplace(output) as scratch:
        (scratch / "one").mkdir()
        (scratch / "one" / "link").symlink_to(precious)
    assert {path.name for path in (output / ".state").glob("run-*")} == {left[i].name for i in (0, 1, 3)}
    assert (left[3] / "notes.txt").read_text() == "precious"
    assert all(record.getMessage().count("\n") == 0 for record in caplog.records)
    assert len(caplog.records) == 3


@pytest.mark.parametrize("content", ["[" * 200_000, "x" * 5_000_000, '{"inputs": NaN}', ""])
def test_a_spoiled_state_is_a_figure_drawn_again(drawn, content):
    (drawn / "figures" / ".state" / "one.json").write_text(content)
    assert run(drawn) == {"one": "drawn", "two": "up to date"}


def test_an_index_that_cannot_be_made_is_not_told_as_one_that_cannot_be_written(tmp_path, monkeypatch):
    def fails():
        raise FileNotFoundError(2, "No such file or directory", "claims")

    monkeypatch.setattr(audit, "run", fails)
    with pytest.raises(FileNotFoundError, match="claims"):
        figures.write_index([], tmp_path)


def test_a_link_is_not_drawn_over_and_a_drawn_figure_whose_state_is_lost_has_not_failed(project, precious, caplog):
    (project / "figures" / ".state" / "two.json").mkdir(parents=True)
    (project / "figures" / "one.csv").symlink_to(precious / "one" / "notes.txt")
    outcomes = {o.id: o for o in figures.run(figures.find(project).values(), project / "figures", project, jobs=2)}
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"one": "failed", "two": "drawn"}
    assert outcomes["one"].reason.endswith("one.csv: it is a link")
    assert (precious / "one" / "notes.txt").read_text() == "precious"
    assert {path.name for path in (project / "figures").glob("two.*")} == {"two.csv", "two.png", "two.svg"}
    assert "two.json is not written" in caplog.text


# Checking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("a,b\n1.0000001,x\n", ""),
        ("a,b\n1.00001,x\n", "line 2, a: 1.00001; recomputed 1.0"),
        ("a,b\n1.0,y\n", "line 2, b: y; recomputed x"),
        ("a,c\n1.0,x\n", "columns a, c; recomputed a, b"),
        ("a,b\n1.0,x\n1.0,x\n", "2 rows; recomputed 1"),
        (None, "does not exist"),
    ],
)
def test_differences_between_tables(tmp_path, old, message):
    expected, found = tmp_path / "old.csv", tmp_path / "new.csv"
    found.write_text("a,b\n1.0,x\n")
    if old is not None:
        expected.write_text(old)
    difference = figures.differences(expected, found)
    assert message in difference
    assert bool(difference) == bool(message)


def test_empty_cells_are_no_difference(tmp_path):
    for name in ("old.csv", "new.csv"):
        (tmp_path / name).write_text("a,b\n,x\n1.0,\n")
    assert figures.differences(tmp_path / "old.csv", tmp_path / "new.csv") == ""
    (tmp_path / "old.csv").write_text("a,b\n,x\n1.0,y\n")
    assert "line 3, b: y" in figures.differences(tmp_path / "old.csv", tmp_path / "new.csv")


@pytest.mark.parametrize("name", PUBLISHED)
def test_committed_tables_hold_seven_digits_and_units(name):
    path = ROOT / "figures" / f"{name}.csv"
    table = pd.read_csv(path)
    assert {"time [s]", "latency [s]", "sent [s]", "ttft [s]", "unit", "ratio"} & set(table.columns)
    assert path.read_text() == table.to_csv(index=False, float_format="%.7g")


# Files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before")

    def broken():
        with whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write .*x/t.csv: there is no folder .*/x"):
        write_table(pd.DataFrame(), tmp_path / "x" / "t.csv")
