"""The project's own measurements: what each says of itself, that nothing is fitted on them, and how far off we are."""

import re
from pathlib import Path

import pytest

import workbench as wb
from workbench import timings

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "workbench" / "data" / "measured").iterdir())
NAMES = [path.stem for path in FILES]


# The files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_says_where_when_and_with_what_it_was_made(name):
    table = wb.measured(name)
    header = "\n".join(table.attrs["header"])
    for said in (r"^date: 2026-11-26", r"^gpu: NVIDIA H[12]00", r"^versions: torch 2\.11\.0\+cu130", r"^method: "):
        assert re.search(said, header, re.M), said
    assert set(table.gpu) == set(re.findall(r"^gpu: (.*)$", header, re.M))
    assert (table.time_s > 0).all()
    text = (ROOT / "workbench" / "data" / "measured" / f"{name}.csv").read_text()
    assert not re.search(r"/(root|home|tmp|work|mnt|data)/", text)  # of no other machine


def test_the_measurements_are_listed():
    listed = wb.measurements()
    assert list(listed.name) == NAMES
    counts = listed.set_index("name").timings
    assert (counts["llama-7b-unfused-h100"], counts["llama-7b-unfused-h200"]) == (252, 252)
    assert counts["llama-33b-candidates-h100"] == 2 * 7 * 8  # qk and pv, lengths, candidates
    with pytest.raises(ValueError, match="unknown name 'grid'. Did you mean 'grid-h200'"):
        wb.measured("grid")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("forward", "today"))])
def test_kernel_timings_are_in_the_projects_own_format(name):
    table = timings.read(ROOT / "workbench" / "data" / "measured" / f"{name}.csv")
    assert table.attrs["problems"] == []
    assert len(table) == len(wb.measured(name))


def test_nothing_is_fitted_on_them():
    """Up to calibration no wing may import their reader (test_wings), nor names their folder; no fit names a file."""
    for wing in ("catalog", "kernels", "timings", "calibration"):
        for path in (ROOT / "workbench" / wing).rglob("*.py"):
            assert not re.search(r"""data/measured|/ ["']measured["']""", path.read_text()), path
    for place in ("gpus", "fits"):
        for path in (ROOT / "workbench" / "data" / place).glob("*.yaml"):
            assert not [name for name in NAMES if name in path.read_text()], path
