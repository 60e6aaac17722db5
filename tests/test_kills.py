"""Commands that are killed and interrupted, at places that are counted: no clock, no load tells where they are.

`python tests/kills.py 100` kills at moments. At places, what stands for `figures` is the saving of one chart, as in a
notebook's kernel; tests/test_figures.py kills whole batches.
"""

import signal
import subprocess
import sys
from inspect import CO_GENERATOR

import kills
import numpy as np
import pytest
import xarray as xr

import workbench as wb
from workbench.explorer import page_server
from workbench.grid import buffers
from workbench.simulation import Server, closed_loop, simulate

GRIDS = [name for name in kills.COMMANDS if name.startswith("grid")]
TABLES = ["audit", "timings", "loadtest", "calibrate", "plan.csv", "plan.parquet", "measure", "figures"]


@pytest.mark.parametrize(("names", "places"), [(GRIDS, 3), (TABLES, 2)])
def test_whatever_is_killed_the_next_run_ends_with_the_same_bytes(names, places):
    command = [sys.executable, kills.__file__, "--at", str(places), "--only", *names]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    counts = dict(line.split() for line in result.stdout.splitlines())
    assert list(counts) == names
    assert all(int(count) >= 2 * places for count in counts.values())


# Commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.7, 0.9])
@pytest.mark.parametrize("name", ["gpus", "timings"])
def test_an_interrupt_during_imports_is_one_line(tmp_path, imports, name, share):
    """From the package's first line on: what Python does before that is not the package's."""
    arguments, total = imports[name]
    kills.prepare(tmp_path, 2)
    at = kills.FIRST_IMPORT + int(share * (total - kills.FIRST_IMPORT - 1))
    assert kills.interrupt_at_import(arguments, at, tmp_path) == (130, "workbench: interrupted\n")


@pytest.fixture(scope="module")
def imports(tmp_path_factory):
    """Arguments of commands, and how often they import."""
    folder, found = tmp_path_factory.mktemp("imports"), {}
    kills.prepare(folder, 2)
    for name, arguments in (("gpus", ["gpus"]), ("timings", kills.COMMANDS["timings"].arguments(2))):
        status, stderr = kills.interrupt_at_import(arguments, 0, folder)
        assert status == 0, stderr
        found[name] = arguments, int(stderr.split()[-1])
    return found


def test_a_server_that_starts_ends_by_sigterm(monkeypatch):
    """Before it has a loop: the handler of Voila would raise there, and whatever catches that goes on serving."""
    sent = []
    monkeypatch.setattr(signal, "raise_signal", sent.append)
    before = signal.getsignal(signal.SIGTERM)
    try:
        page_server.ExplorerServer()._handle_signal_stop(signal.SIGTERM, None)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent == [signal.SIGTERM]


# In Python --------------------------------------------------------------------------------------------------------

SIZES = {"batch_size": range(1, 101), "seq_len": range(1, 601)}
SERVER = {"gpu": "h100-sxm", "model": "llama-3-8b"}
CALLS = {
    "a grid": lambda: wb.roofline_grid("t4", "gpt2", operator="fused", **SIZES, time_model="kernel"),
    "a grid in chunks": lambda: wb.roofline_grid(
        ["t4", "l4"], "gpt2", batch_size=range(1, 9), chunks=20
    ).compute(scheduler="synchronous"),
    "a simulation": lambda: simulate(
        Server(**SERVER, max_num_seqs=8), closed_loop(8, requests=40, prompt=64, output=16)
    ).to_xarray(),
    "a search": lambda: wb.best(
        wb.estimates(["h100-sxm", "l4"], "llama-3-8b", batch_size=[1, 8, 64], tp=[1, 2]), "tpot"
    ).to_xarray(),
}  # fmt: skip


def interrupted(function, at):
    """Call a function, with Ctrl-C at that call of one of the package's; how many calls there were."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        code = frame.f_code
        inside = event == "call" and "/workbench/" in code.co_filename
        inside &= code.co_name != "_keep" and not code.co_flags & CO_GENERATOR  # in a finalizer Python only prints
        count += inside
        if inside and count == at:
            raise KeyboardInterrupt

    for module in [module for name, module in sys.modules.items() if name.startswith("workbench.")]:
        for cached in [value for value in vars(module).values() if hasattr(type(value), "cache_clear")]:
            cached.cache_clear()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupted_call_spoils_no_later_one(name):
    """Whatever it has kept by then: entries, tables, memory that is used again."""
    function = CALLS[name]
    expected = function()
    with buffers.reused_memory():
        total = interrupted(function, 0)
        assert total > 50
        for at in np.linspace(1, 0.9 * total, 5).astype(int):
            with pytest.raises(KeyboardInterrupt):
                interrupted(function, at)
            xr.testing.assert_identical(function(), expected)
    assert not buffers._free
