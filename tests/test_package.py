"""The package itself: its names are there when asked for, and importing it imports nothing heavy."""

import importlib.metadata
import os
import pkgutil
import subprocess
import sys

import pytest

import workbench as wb
from workbench.common import check_libraries, cores, extras, is_running, progress_bar


def test_every_public_name_is_there_and_listed():
    assert set(wb.__all__) == set(wb._HOME)
    for name in wb.__all__:
        assert getattr(wb, name).__name__ == name
        assert name in dir(wb)


def test_submodules_are_attributes():
    assert wb.kernels.ridge_point(312e12, 2e12) == 156
    wings = {"kernels", "loadtest", "plots", "search", "serving", "simulation"}
    code = f"import workbench as wb; print({wings} - {{*dir(wb)}})"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout == "set()\n"  # before any of them is imported
    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'rooflines'"):
        wb.rooflines  # noqa: B018


def test_dir_has_the_public_names_and_modules_and_no_others():
    modules = {module.name for module in pkgutil.iter_modules(wb.__path__)}
    assert {name for name in dir(wb) if not name.startswith("__")} == {*wb.__all__, *modules}
    assert {name for name in dir(wb) if name.startswith("__")} >= {"__doc__", "__all__"}


WINGS = {"kernels", "loadtest", "plots", "serving", "simulation", "studies", "tables"}
COMPLETED = [
    ("wb.", {*wb.__all__, *WINGS}), ("wb.serv", {"servers", "serving"}), ("wb.serving.est", {"estimate"}),
    ("wb.kernels.gemm_t", {"gemm_time"}), ("wb.loadtest.", {"read", "metrics", "compare"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names", "use_jedi"),
    # IPython alone looks into modules; with Jedi, which it brings, into Datasets, too
    [(*case, use_jedi) for case in COMPLETED for use_jedi in (True, False)] + [("ds.wb.", {"table"}, True)],
)
def test_tab_completion_shows_modules_and_functions(text, names, use_jedi):
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(namespace={"wb": wb, "ds": wb.roofline_grid("t4", "gpt2")}, use_jedi=use_jedi)
    with provisionalcompleter():
        found = {each.text.rpartition(".")[2] for each in completer.completions(text, len(text))}
    assert names - found == set()
    assert found & {"TYPE_CHECKING", "_HOME"} == set()


def test_what_has_a_dataset_has_the_tables_and_what_has_none_has_no_xarray():
    code = "import sys, workbench as wb; wb.ending; print('xarray' in sys.modules, 'workbench.accessor' in sys.modules)"
    code += "; ds = wb.grid.roofline_grid('t4', 'gpt2'); print(type(ds.wb).__name__, 'workbench.tables' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\nAccessor False\n"
    assert "<xarray.Dataset>" in repr(wb.roofline_grid("t4", "gpt2"))  # xarray's own


@pytest.mark.parametrize("module", ["workbench", "workbench.measure", "workbench.measure.backends"])
def test_import_needs_nothing_but_the_standard_library_and_numpy(module):
    heavy = "xarray pandas pydantic yaml matplotlib typer torch"
    code = f"import sys, {module}; print([m for m in {heavy.split()} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# What differs between machines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("libraries", "extra"),
    [
        (["pyarrow"], "measured"),  # of the three that have it the one with the least besides
        (["dask", "pyarrow"], "large"),
        (["netCDF4"], "large"),
        (["matplotlib", "scipy"], "notebooks"),
        (["voila"], "explorer"),
        (["dask", "matplotlib"], "all"),
    ],
)
def test_libraries_have_their_extra(libraries, extra):
    assert extras.extra_with(libraries) == extra
    check_libraries(*libraries)


def test_a_checkout_that_is_not_installed_names_all_extras(monkeypatch):
    def requires(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^matplotlib is missing: pip install 'roofline-workbench\[all\]'$"):
        check_libraries("numpy", "matplotlib")


def test_without_rich_there_is_no_bar(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    with progress_bar("chunks") as move:
        move(1, 2)
    assert capsys.readouterr() == ("", "")


def test_cores_where_the_system_tells_only_of_the_machine(monkeypatch):
    assert 1 <= cores() <= os.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == os.cpu_count()


def test_a_process_runs_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(child.pid)
    child.communicate(b"\n")
    assert not is_running(child.pid)
    assert is_running(1)  # another user's, where this one is not root


def test_the_fingerprint_does_without_the_libraries_of_charts(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from workbench.common import project

    def version(name):
        if name == "matplotlib":
            raise PackageNotFoundError(name)
        return "1"

    whole = project.package_fingerprint()
    monkeypatch.setattr(project, "version", version)
    assert len(project.package_fingerprint()) == len(whole) == 64
    assert project.installed_version("matplotlib") == "none"
