"""The glossary defines every metric that a Dataset of the workbench has."""

from pathlib import Path

import pytest

import workbench as wb
from workbench.serving.estimation import DIMS

GLOSSARY = (Path(__file__).resolve().parents[1] / "docs" / "glossary.md").read_text(encoding="utf-8")
GRID = wb.roofline_grid("t4", "gpt2", tp=[1, 2], candidates=[1, 2])
ESTIMATE = wb.serving.estimate("t4", "gpt2", 1, 10, 10, price=1.0)


@pytest.mark.parametrize("name", sorted({*DIMS, "fits", *GRID.data_vars, "seq_len", "batch_size", "candidates", "tp"}))
def test_every_variable_has_its_definition_and_unit(name):
    term = next(line for line in GLOSSARY.splitlines() if line.startswith("`") and f"`{name}`" in line)
    units = {ds[name].attrs.get("units", "1") for ds in (GRID, ESTIMATE) if name in ds}
    assert all(unit == "1" or f"[{unit}]" in term for unit in units)
