"""The core alone, in an environment with nothing else: it computes grids, and says what installs the rest."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder
from typer.testing import CliRunner

from workbench.cli import app
from workbench.common import project

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("UV_CACHE_DIR", Path(sys.prefix).parent / ".cache" / "uv"))
WINGS = ("common", "catalog", "operators", "kernels", "grid")


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Runs Python in a new environment with the core's own libraries, out of what `make` has downloaded."""
    place, uv = tmp_path_factory.mktemp("core") / "environment", Path(sys.prefix) / "bin" / "uv"
    command = [uv, "sync", "-q", "--frozen", "--no-dev", "--offline", "--python", sys.executable]
    command += ["--no-build-isolation-package", "roofline-workbench"]
    settings = {"UV_CACHE_DIR": str(CACHE), "UV_PROJECT_ENVIRONMENT": str(place), "UV_LINK_MODE": "symlink"}
    if not (CACHE.is_dir() and uv.is_file()):
        pytest.fail(f"no {uv} or no downloads in {CACHE}: `make clean test` leaves both")
    for group in (["--group", "build"], []):  # what builds it, which then goes again
        done = subprocess.run([*command, *group], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"{CACHE} lacks what the core needs: run `make clean test` ({done.stderr.strip()})")

    def run(*arguments, command="python"):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [place / "bin" / command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    return run


FIGURE_9 = """
import numpy as np, pandas as pd, xarray as xr, yaml
import workbench as wb

params = yaml.safe_load(open("params/roofline/medusa-fig09.yaml"))
operators = [name for series in params["series"].values() for name in series["operator"]]
ds = wb.roofline_grid(
    params["gpu"], params["model"], list(dict.fromkeys(operators)), ["prefill", "decode"], params["batch_size"],
    params["seq_len"], time_model=params["time_model"], launch_latency=1e-6 * params["launch_latency_us"],
)
table = pd.read_csv("figures/medusa-fig09.csv").rename(columns=lambda name: name.split(" [")[0])
dims = ["gpu", "model", "operator", "phase", "batch_size", "seq_len"]
points = ds.sel({dim: xr.DataArray(table[dim], dims="row") for dim in dims})
for name in ("intensity", "performance", "attainable", "time"):
    np.testing.assert_allclose(points[name], table[name], rtol=1e-6)  # 7 printed digits
assert (np.array(["memory", "compute"])[points.bound] == table.bound).all()
print(len(table), dict(ds.sizes))
"""


def test_the_core_alone_computes_figure_9(core):
    done = core("-c", FIGURE_9)
    assert done.stderr == ""
    assert done.stdout == "784 {'gpu': 1, 'model': 1, 'operator': 8, 'phase': 2, 'batch_size': 7, 'seq_len': 7}\n"


def test_every_module_of_the_core_needs_nothing_else(core):
    large = {"workbench.grid.lazy_arrays"}  # which need dask
    paths = [path.relative_to(ROOT).with_suffix("") for wing in WINGS for path in ROOT.glob(f"workbench/{wing}/*.py")]
    modules = {".".join(path.parts) for path in paths} - large
    assert len(modules) > 30
    assert core("-c", f"import {', '.join(sorted(modules))}").stderr == ""


def test_layers_without_libraries_of_their_own_run_on_the_core(core):
    code = """if True:
    import workbench as wb
    print(wb.serving.estimate("t4", "llama-2-7b-awq", prompt=128, output=32).sizes["batch_size"])
    workload = wb.simulation.poisson(5, requests=3, prompt=10, output=2)
    print(len(wb.simulation.simulate(wb.simulation.Server("t4", "llama-2-7b-awq"), workload, progress=True)))
    """
    done = core("-c", code)
    assert (done.stderr, done.stdout) == ("", "1\n3\n")


MISSING = {
    "import workbench.plots": "matplotlib is missing: pip install 'roofline-workbench[notebooks]'",
    "from workbench.plots import rooflines": "matplotlib is missing: pip install 'roofline-workbench[notebooks]'",
    "import workbench.studies": "ijson, matplotlib, scipy are missing: pip install 'roofline-workbench[notebooks]'",
    "from workbench import figures": (
        "ipykernel, jinja2, matplotlib, papermill are missing: pip install 'roofline-workbench[notebooks]'"
    ),
    "wb.explore()": "anywidget, ipywidgets are missing: pip install 'roofline-workbench[explorer]'",
    "import workbench.loadtest": "ijson is missing: pip install 'roofline-workbench[measured]'",
    "wb.calibration.fit": "scipy is missing: pip install 'roofline-workbench[measured]'",
    "import workbench.store": "dask is missing: pip install 'roofline-workbench[large]'",
    "wb.roofline_grid('t4', 'llama-7b', chunks=9)": "dask is missing: pip install 'roofline-workbench[large]'",
    "from workbench import cluster; cluster.executor('tcp://127.0.0.1:1').__enter__()": (
        "distributed is missing: pip install 'roofline-workbench[large]'"
    ),
}


def test_a_layer_says_what_installs_it(core):
    code = f"""if True:
    import workbench as wb
    for statement in {[*MISSING]}:
        try:
            exec(statement)
        except ImportError as error:
            print(error)
    """
    assert core("-c", code).stdout.splitlines() == [*MISSING.values()]


def test_the_command_comes_with_the_core_and_says_what_installs_the_rest(core):
    assert "Usage: workbench" in core("--help", command="workbench").stdout
    size = ("--prompt", "100", "--output-tokens", "10")
    estimated = core("estimate", "llama-3.1-8b", "--gpu", "h100", *size, command="workbench")
    assert estimated.stdout.startswith("llama-3.1-8b: 100 tokens in, 10 out")
    listed = core("figures", "--list", command="workbench").stdout
    assert "medusa-fig09              Roofline Model (Llama 7B, A100 80GB PCIe)\n" in listed
    done = core("figures", "medusa-fig09", command="workbench")
    assert (done.returncode, done.stdout) == (1, "")
    missing = "ipykernel, jinja2, matplotlib, papermill are missing"
    assert done.stderr == f"workbench: {missing}: pip install 'roofline-workbench[notebooks]'\n"


def test_the_wheel_has_the_catalog_and_the_charts(tmp_path):
    """As `pip install` builds it: every file of the package, and the project's notebooks and params beside it."""
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(ZipFile(wheel).namelist())
    for place, inside in (("workbench", ""), ("notebooks", "workbench/charts/"), ("params", "workbench/charts/")):
        tracked = subprocess.run(["git", "ls-files", place], cwd=ROOT, capture_output=True, text=True, check=True)
        files = {f"{inside}{file}" for file in tracked.stdout.splitlines()}
        assert len(files) > 10
        assert files <= names


def test_charts_are_found_where_no_checkout_is(tmp_path, monkeypatch):
    """The installed ones, and what is drawn of them goes to where one works, not among the libraries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "__file__", str(tmp_path / "lib" / "workbench" / "common" / "project.py"))
    monkeypatch.setattr(project, "INSTALLED", tmp_path / "charts")
    with pytest.raises(ValueError, match="^no notebooks/ and params/ in .*: run this in a clone of the project$"):
        project.project_root()
    for folder in ("notebooks", "params"):
        (tmp_path / "charts" / folder).mkdir(parents=True)
    assert project.project_root() == tmp_path / "charts"
    result = CliRunner().invoke(app, ["figures", "--check"])
    missing = f"no {tmp_path / 'figures'} to compare with: run it in a clone, or give its figures/ by -o"
    assert (result.exit_code, result.stderr) == (1, f"workbench: --check: {missing}\n")
