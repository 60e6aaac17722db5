"""The recorded benchmarks, and the way from a run to their table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bench_record
import pandas as pd
import pytest

from workbench import plots, tables

TESTS = Path(__file__).parent


def test_recorded_benchmarks():
    table = tables.benchmarks()
    assert (table.seconds > 0).all()
    assert {"grid", "one core", "float32", "kept", "in parts", "one model", "forward pass", "to zarr", "import"} <= set(
        table.benchmark
    )
    billion = table[table.cells > 10**9]
    assert set(billion.benchmark) == {"in parts", "to zarr"}
    assert table.attrs["machine"].count(";") == 2
    grids = table[table.copy_seconds.notna()]
    assert (grids.over_copy * grids.copy_seconds).to_numpy() == pytest.approx(grids.seconds.to_numpy(), rel=1e-12)


def test_from_a_report_to_the_table(tmp_path):
    one, two = (
        {
            "name": name, "params": params, "extra_info": extra, "stats": {"median": 0.002, "rounds": 3},
        }
        for name, params, extra in (
            ("bench_grid[5-ideal]", {"power": 5, "time_model": "ideal"}, {"cells": 1000, "copy_seconds": 0.001}),
            ("bench_figures_up_to_date", None, {}),
        )
    )  # fmt: skip
    cpu = {"brand_raw": "A Processor", "count": 2}
    report = {
        "benchmarks": [one, two], "datetime": "2026-01-02T03:04:05",
        "machine_info": {"cpu": cpu, "system": "Linux", "python_version": "3.11.7"},
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(report))
    bench_record.main(tmp_path / "run.json", tmp_path / "table.csv")
    head, *_ = (tmp_path / "table.csv").read_text().splitlines()
    assert head.startswith("# A Processor, 2 cores, Linux; Python 3.11.7, numpy ")
    assert head.endswith("; 2026-01-02")
    table = pd.read_csv(tmp_path / "table.csv", comment="#")
    assert table.benchmark.tolist() == ["grid", "figures up to date"]
    assert table.cells[0] == 1000
    assert table.seconds.tolist() == [0.002, 0.002]


def test_a_benchmark_runs(tmp_path):
    subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-o", "python_functions=bench_*",
            "-p", "no:cacheprovider", TESTS / "bench_grid.py",
            "-k", "one_model and 98 and ideal", "--benchmark-json", tmp_path / "run.json",
            "--benchmark-storage", f"file://{tmp_path}",
        ],
        check=True, capture_output=True, cwd=TESTS.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )  # fmt: skip
    (run,) = json.loads((tmp_path / "run.json").read_text())["benchmarks"]
    assert run["extra_info"] == {"cells": 686, "points": 98}


def test_charts_say_what_the_table_says(ax):
    table = tables.benchmarks()
    grids = table[table.benchmark.isin(["grid", "in parts"])]
    plots.cell_costs(grids, ax)
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines) == ["copying the result", "ideal grid", "kernel grid"]
    kernel = grids[grids.time_model == "kernel"].sort_values("cells")
    assert lines["kernel grid"].get_ydata().tolist() == kernel.ns_per_cell.tolist()


def test_rates_of_points_beside_other_tools(ax):
    table = tables.benchmarks()
    sweeps = table[table.points.notna()]
    plots.point_rates(sweeps, {"a": 2000.0, "b": 1000.0}, ax)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths[:2] == [1000.0, 2000.0]
    assert widths[2:] == sorted(sweeps.points_per_second)
