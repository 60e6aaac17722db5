"""Grids and figures on a cluster of several worker processes, of which one is killed: whole, equal to the last byte."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import as_completed

import pytest
import xarray as xr
from distributed import LocalCluster
from test_figures import project, run  # noqa: F401
from typer.testing import CliRunner

import workbench as wb
from workbench import cli, cluster, figures, store
from workbench.grid import sweep

WORKERS = 2


@pytest.fixture(scope="module")
def address():
    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as workers:
        yield workers.scheduler_address


def kill(address):
    """Kill one of the workers; its nanny starts another one."""
    with cluster.executor(address) as pool:
        pids = {future.result() for future in as_completed(pool.submit(os.getpid) for _ in range(20 * WORKERS))}
    assert os.getpid() not in pids
    os.kill(min(pids), signal.SIGKILL)


def test_a_grid_is_whole_although_a_worker_is_killed(address, tmp_path):
    arguments = {"gpu": ["h100-sxm", "t4"], "model": ["llama-3-8b"], "batch_size": range(1, 41), "time_model": "kernel"}
    reported = []

    def report(done, total):
        reported.append((done, total))
        if done == 5:
            kill(address)

    with cluster.executor(address) as pool:
        store.write(sweep.checked(**arguments), tmp_path / "g.zarr", chunks=30, executor=pool, report=report)
    assert reported == [(n, len(reported)) for n in range(1, len(reported) + 1)]
    with xr.open_zarr(tmp_path / "g.zarr") as ds:
        xr.testing.assert_equal(ds.load(), wb.roofline_grid(**arguments))
    store.write(sweep.checked(**arguments), tmp_path / "local.zarr", chunks=30)
    here, there = (
        {p.relative_to(d): p.read_bytes() for p in d.rglob("*") if p.is_file()} for d in tmp_path.glob("*.zarr")
    )
    assert here == there


def test_figures_are_whole_although_a_worker_is_killed(address, project):  # noqa: F811
    figures_here = run(project)
    assert figures_here == {"one": "drawn", "two": "drawn"}
    drawn = {path.name: path.read_bytes() for path in (project / "figures").glob("*.*") if path.is_file()}
    assert len(drawn) == 6
    killed = []

    def report(outcome):
        if not killed:
            killed.append(outcome.id)
            kill(address)

    with cluster.executor(address) as pool:
        everything = figures.find(project).values()
        outcomes = figures.run(everything, project / "there", project, executor=pool, report=report)
    assert {outcome.id: outcome.state for outcome in outcomes} == figures_here, outcomes
    assert {path.name: path.read_bytes() for path in (project / "there").glob("*.*") if path.is_file()} == drawn


def test_the_command_line_on_a_cluster(address, tmp_path):
    arguments = ["grid", "--gpu", "t4", "--model", "gpt2", "--chunk", "4", "-o", str(tmp_path / "g.nc")]
    result = CliRunner().invoke(cli.app, [*arguments, "--scheduler", address])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "g.nc") as ds:
        xr.testing.assert_equal(ds, wb.roofline_grid("t4", "gpt2"))


@pytest.fixture
def silent():
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_something_else_is_there(silent, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with pytest.raises(ValueError, match=f"no dask scheduler at '{silent}': what is there does not answer as one$"):
        cluster.executor(silent).__enter__()


def test_a_scheduler_without_workers(monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with (
        LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as nobody,
        pytest.raises(ValueError, match=f"the dask scheduler at '{nobody.scheduler_address}' has no worker: "),
    ):
        cluster.executor(nobody.scheduler_address).__enter__()


def test_a_scheduler_that_is_lost(tmp_path):
    """What was finished is kept, and the next run, without a cluster, goes on from there."""
    arguments, path = {"gpu": "t4", "model": "gpt2", "batch_size": range(1, 41)}, tmp_path / "g.zarr"
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as workers:

        def report(done, total):
            if done == 5:
                workers.close()

        with (
            pytest.raises(ValueError, match="the dask scheduler at 'tcp://.*' is lost"),
            cluster.executor(workers.scheduler_address) as pool,
        ):
            store.write(sweep.checked(**arguments), path, chunks=4, executor=pool, report=report)
    assert not path.exists()
    reported = []
    store.write(sweep.checked(**arguments), path, chunks=4, report=lambda done, total: reported.append((done, total)))
    assert 5 < reported[0][0] < reported[0][1]
    with xr.open_zarr(path) as ds:
        xr.testing.assert_equal(ds.load(), wb.roofline_grid(**arguments))


@pytest.fixture
def nobody():
    """A cluster in this process that has no worker yet, and a worker of its own process that nothing starts again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard"]
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address=":0", silence_logs=50) as here:
        worker = subprocess.Popen([*command, here.scheduler_address], stderr=subprocess.DEVNULL)
        yield here, worker
        worker.kill()
        worker.wait()


def test_the_last_worker_is_killed_and_another_comes_and_goes(nobody, tmp_path, monkeypatch):
    """Each is said in a line; what was finished is kept, and the next run, without a cluster, goes on from there."""
    arguments, path = {"gpu": "t4", "model": "gpt2", "batch_size": range(1, 41)}, tmp_path / "g.zarr"
    (here, worker), said = nobody, []
    address = here.scheduler_address

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(re.sub(r"\d\d:\d\d:\d\d", "TIME", record.getMessage()))
            if len(said) == 1:
                here.scale(1)

    def report(done, total):
        if done == 5:
            worker.kill()
        if done == 15:
            monkeypatch.setattr(cluster, "WORKERLESS", 0.0)
            here.scale(0)

    monkeypatch.setattr(cluster, "LOOK", 0.05)
    monkeypatch.setattr(cluster, "TIMEOUT", 60)
    monkeypatch.setattr(logging.getLogger("workbench"), "handlers", [Listener()])
    with (
        pytest.raises(ValueError, match=f"^the dask scheduler at '{address}' has lost its last worker, what is "
                      "finished is kept, run again to go on$"),
        cluster.executor(address) as pool,
    ):  # fmt: skip
        store.write(sweep.checked(**arguments), path, chunks=4, executor=pool, report=report)
    assert said == [
        f"workbench: the dask scheduler at '{address}' has no worker since TIME: waiting 60 s for one",
        f"workbench: the dask scheduler at '{address}' has a worker again",
        f"workbench: the dask scheduler at '{address}' has no worker since TIME: waiting 0 s for one",
    ]
    reported = []
    store.write(sweep.checked(**arguments), path, chunks=4, report=lambda done, total: reported.append((done, total)))
    assert 15 < reported[0][0] < reported[0][1]
    with xr.open_zarr(path) as ds:
        xr.testing.assert_equal(ds.load(), wb.roofline_grid(**arguments))


@pytest.mark.parametrize("wrong", ["tcp://127.0.0.1:1", "nowhere", "", "tcp://", "http://127.0.0.1:8786", "tcp://a:b"])
def test_no_scheduler_there(monkeypatch, tmp_path, wrong):
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    arguments = ["grid", "--gpu", "t4", "--model", "gpt2", "-o", str(tmp_path / "g.nc"), "--scheduler", wrong]
    result = CliRunner().invoke(cli.app, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith(f"workbench: no dask scheduler at {wrong!r}: ")
    assert list(tmp_path.iterdir()) == []
