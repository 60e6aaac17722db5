"""The order of the package: which wing may import which, and how much of it a reader must hold in mind."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.relative_to(ROOT / "workbench").as_posix(): path for path in sorted(ROOT.glob("workbench/**/*.py"))}
#: Wings, and the modules beside them: each imports only from those before it.
ORDER = (
    "ending", "common", "files", "catalog", "operators", "kernels", "grid", "signatures", "published", "servers",
    "simulation", "serving", "search", "speculation", "store", "cluster", "hugging_face", "measure",
    "timings", "calibration", "explanation", "loadtest", "tables", "accessor", "plots", "studies", "audit",
    "figures", "explorer", "cli",
)  # fmt: skip
#: Functions, classes and constants that are called alike; commands are called like what they run (`cli`).
TWICE = {
    *("read", "recognize", "write", "run"),  # the same verbs for timings, load tests and grids, figures and the audit
    *("ceilings", "fidelity", "pareto"),  # charts, by what they draw
    "TYPE_CHECKING",  # where `typing` would take longer than all else
}


@cache
def tree(file):
    return ast.parse(FILES[file].read_text())


def wing(file):
    return file.split("/")[0].removesuffix(".py")


def source(module):
    return next((path for path in (module / "__init__.py", module.with_suffix(".py")) if path.is_file()), None)


def imported(file):
    """The package's files that one imports, at its top, in functions or for types."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("workbench") for name in node.names), file
        elif isinstance(node, ast.ImportFrom) and node.level:
            module = FILES[file].parents[node.level - 1].joinpath(*filter(None, (node.module or "").split(".")))
            for name in node.names:
                yield (source(module / name.name) or source(module)).relative_to(ROOT / "workbench").as_posix()


ARROWS = {(a, b) for a in FILES if a != "__init__.py" for b in imported(a)}  # that of all names imports lazily


def test_a_wing_imports_only_from_those_before_it():
    assert {wing(file) for file in FILES} == {"__init__", *ORDER}
    assert [(a, b) for a, b in ARROWS if ORDER.index(wing(a)) < ORDER.index(wing(b))] == []


def test_one_import_goes_around_the_order_and_only_where_a_path_asks_for_it():
    """A model may be given as a config.json; what reads it makes a `Model`, and so comes after the catalog."""
    late = [
        file
        for file in FILES
        if re.search(r"import_module\(f?\"[.{]", FILES[file].read_text()) and file != "__init__.py"
    ]
    assert late == ["catalog/model_entries.py"]
    code = "import sys, workbench as wb; wb.roofline_grid('t4', 'gpt2'); print('workbench.hugging_face' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_no_file_imports_itself_by_way_of_others():
    graph = {file: {b for a, b in ARROWS if a == file} for file in FILES}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names the files


def test_few_floors_few_modules_short_files_and_a_small_core():
    floor = dict.fromkeys(ORDER, 1)
    for name in ORDER:
        floor[name] += max((floor[wing(b)] for a, b in ARROWS if wing(a) == name != wing(b)), default=0)
    assert max(floor.values()) <= 13
    assert sum("/" not in file for file in FILES) - 1 <= 12
    lines = {file: len(path.read_text().splitlines()) for file, path in FILES.items()}
    assert [file for file, n in lines.items() if n > 350] == []
    core = ("common", "catalog", "operators", "kernels", "grid")
    assert sum(n for file, n in lines.items() if wing(file) in core) <= 7350


#: What a machine with PyTorch and no other library runs: all of these, and what they open and remove.
ALONE = """\
import pathlib, workbench.ending, workbench.common, workbench.files, workbench.measure.command
from workbench.files import folders
from workbench.measure import main, results
pathlib.Path('x/y/z').mkdir(parents=True)
folders.remove('x')
with results.alone(pathlib.Path('t.csv')):
    results.Results(pathlib.Path('t.csv'), ['a comment']).save()
    assert results.open_results(pathlib.Path('t.csv'), 'a').comments == ['a comment']
assert main(['--dry-run', '--model', 'llama-7b']) == 0
assert [path.name for path in pathlib.Path().iterdir()] == ['t.csv']
"""


@pytest.mark.parametrize("python", [sys.executable, "python3.10"])
def test_common_files_and_measure_need_the_standard_library_alone(python, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{ALONE}"
    command, environment = [python, "-I", "-S", "-c"], os.environ | {"PYENV_VERSION": "3.10"}
    try:
        subprocess.run([*command, ""], env=environment, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no {python} on this machine")
    subprocess.run([*command, code], env=environment, check=True, cwd=tmp_path)


def defined(file):
    """Names of a file's functions, classes and constants."""
    names = set()
    for node in tree(file).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names |= {name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)}
        names |= {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()
    return {name for name in names if not name.startswith("_")}


def test_nothing_is_called_like_its_module():
    assert [file for file, path in FILES.items() if path.stem in defined(file)] == []
    for file in FILES:  # `wing.name` would be one or the other, by what was imported last
        exported = {name.name for node in tree(file).body if isinstance(node, ast.ImportFrom) for name in node.names}
        if file.endswith("/__init__.py"):
            assert exported & {path.stem for path in FILES[file].parent.glob("*.py")} == set(), file


def test_nothing_is_defined_twice():
    times = Counter(name for file in FILES if not file.startswith("cli/") for name in defined(file))
    assert {name for name, n in times.items() if n > 1} <= TWICE
