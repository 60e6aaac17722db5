"""The batch of figures: from nothing, up to date, and the same notebooks one after another by papermill's command.

Run by ``make bench``.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench import figures

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """The command that draws the batch, in a folder with what it reads."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "figures").mkdir()
    for name in ("notebooks", "params"):
        (folder / name).symlink_to(ROOT / name)
    return lambda: subprocess.run([BIN / "workbench", "figures"], check=True, cwd=folder, capture_output=True)


def bench_figures_from_nothing(benchmark, batch):
    benchmark.pedantic(batch, rounds=1)


def bench_figures_up_to_date(benchmark, batch):
    benchmark.pedantic(batch, rounds=9, warmup_rounds=1)


def bench_papermill_one_by_one(benchmark, tmp_path):
    """The kernel of the same environment; `figures` gives every notebook the same parameters."""
    commands = [
        (
            BIN / "papermill", "--no-progress-bar", "-k", "python3", "-p", "output_dir", tmp_path, "-f", figure.params,
            figure.notebook, tmp_path / f"{name}.ipynb",
        )
        for name, figure in figures.find(ROOT).items()
    ]  # fmt: skip

    def every() -> None:
        for command in commands:
            subprocess.run(list(map(str, command)), check=True, cwd=ROOT, capture_output=True)

    benchmark.pedantic(every, rounds=1)
