"""The package itself: its names are there when asked for, and importing it imports nothing heavy."""

import subprocess
import sys

import pytest

import workbench as wb


def test_every_public_name_is_there_and_listed():
    assert set(wb.__all__) == set(wb._HOME)
    for name in wb.__all__:
        assert getattr(wb, name).__name__ == name
        assert name in dir(wb)


def test_submodules_are_attributes():
    assert wb.kernels.ridge_point(312e12, 2e12) == 156
    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'rooflines'"):
        wb.rooflines  # noqa: B018


@pytest.mark.parametrize("module", ["workbench", "workbench.measure", "workbench.measure.backends"])
def test_import_needs_nothing_but_the_standard_library_and_numpy(module):
    heavy = "xarray pandas pydantic yaml matplotlib typer torch"
    code = f"import sys, {module}; print([m for m in {heavy.split()} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
