"""Writers that are killed: 50 times, at file operations from the first to the last. Nothing is lost or half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.store import SUFFIXES

SCRIPT = Path(__file__).with_name("kills.py")


@pytest.mark.parametrize("kind", [*SUFFIXES, "figure"])
def test_whatever_is_killed_the_next_run_ends_with_the_same_bytes(tmp_path, kind):
    result = subprocess.run([sys.executable, SCRIPT, tmp_path, kind], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == 10
