"""What is made, written, emptied and removed: no link followed, nobody's files lost, and formulas nowhere."""

import contextlib
import csv
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from distributed.comm.core import CommClosedError
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import workbench as wb
from workbench import figures, loadtest, store, timings
from workbench.cli import app
from workbench.files import as_given, folders, inert, write_table, write_text
from workbench.grid import sweep
from workbench.measure import results as measure
from workbench.measure.columns import TEXTS, TIMING_COLUMNS

SMALL = {"gpu": ["h100-sxm", "t4"], "model": "gpt2", "batch_size": [1, 2], "seq_len": [1, 64]}
FAULTS = Path(__file__).with_name("faults.py")


def write(path, **options):
    store.write(sweep.checked(**SMALL | options), path, chunks=20)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def precious(tmp_path):
    """Somebody's folder, which nobody may touch."""
    folder = tmp_path / "precious"
    (folder / "time").mkdir(parents=True)
    for name in ("notes.txt", "manifest.json", ".zgroup", "time/0.0.0.0.0.0"):
        (folder / name).write_text("precious")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


@pytest.fixture
def here(tmp_path):
    """A folder to write to."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


class Interrupted(Exception):
    pass


def interrupted(path, after=4, **options):
    def report(done, total):
        if done == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        store.write(sweep.checked(**SMALL | options), path, chunks=20, report=report)
    return path.with_name(f".{path.name}.partial")


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    """The bytes of a store whose run was never interrupted."""
    path = tmp_path_factory.mktemp("whole") / "z.zarr"
    write(path)
    return contents(path)


def inside(partial, name):
    """A path in a working folder, whose store and marks are called by the digest of their manifest, too."""
    first, *rest = Path(name).parts
    known = {"grid.zarr": "grid-*.zarr", "done": "done-*"}
    return next(partial.glob(known[first])).joinpath(*rest) if first in known else partial / name


# Folders to work in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", store.SUFFIXES)
def test_a_link_in_place_of_the_working_folder_is_refused(here, precious, suffix):
    (here / f".z{suffix}.partial").symlink_to(precious)
    result = CliRunner().invoke(app, ["grid", "--gpu", "t4", "--model", "gpt2", "-o", str(here / f"z{suffix}")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert f".z{suffix}.partial: a link or a file where the workbench has a folder: move it away" in result.stderr
    assert [file.name for file in here.iterdir()] == [f".z{suffix}.partial"]


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", "done", "grid.zarr", "made-by-workbench.txt"])
def test_a_folder_that_the_workbench_did_not_make_is_refused(here, name):
    (here / ".z.zarr.partial").mkdir()
    (here / ".z.zarr.partial" / name).write_text("precious")
    with pytest.raises(
        ValueError, match=r"\.z\.zarr\.partial: a folder that the workbench did not make: move it away$"
    ):
        write(here / "z.zarr")
    assert contents(here) == {f".z.zarr.partial/{name}": b"precious"}


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "done/notes.txt", "grid.zarr/notes.txt", "grid.zarr/time/notes", "grid.zarr/x/0", "a\nb", "x/y"],
)
@pytest.mark.parametrize("options", [{}, {"time_model": "kernel"}])
def test_a_strange_file_in_what_a_run_has_left_is_named_and_kept(here, name, options):
    partial = interrupted(here / "z.zarr")
    inside(partial, name).parent.mkdir(exist_ok=True)
    inside(partial, name).write_text("precious")
    before = contents(here)
    with pytest.raises(ValueError, match=r"which the workbench did not make: move it away$") as error:
        write(here / "z.zarr", **options)
    assert "\n" not in str(error.value)
    assert contents(here) == before


@pytest.mark.parametrize(
    "name",
    [
        "grid.zarr",
        "done",
        "manifest.json",
        "grid.zarr/time",
        "grid.zarr/.zgroup",
        "grid.zarr/time/0.0.0.0.0.0",
        "new.nc",
    ],
)
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_links_in_what_a_run_has_left_are_removed_and_not_followed(here, precious, name, suffix, whole_store):
    link = inside(interrupted(here / f"z{suffix}"), name)
    folders.remove(link)
    link.symlink_to(precious / Path(name).name if "." in Path(name).name.strip(".") else precious)
    write(here / f"z{suffix}")
    assert sorted(file.name for file in here.iterdir()) == [f"z{suffix}", f"z{suffix}.manifest.json"]
    if suffix == ".zarr":
        assert contents(here / "z.zarr") == whole_store
        assert not any(file.is_symlink() for file in (here / "z.zarr").rglob("*"))


def test_a_folder_of_another_user_is_refused(here, monkeypatch):
    partial = interrupted(here / "z.zarr")
    if os.geteuid():
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        os.chown(partial, 12345, -1)
    with pytest.raises(ValueError, match=r"partial: another user's folder: move it away$"):
        write(here / "z.zarr")


def test_an_empty_folder_of_another_user_is_not_even_marked(here, monkeypatch):
    (here / ".z.zarr.partial").mkdir()
    if os.geteuid():
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        os.chown(here / ".z.zarr.partial", 12345, -1)
    with pytest.raises(ValueError, match=r"partial: another user's folder: move it away$"):
        write(here / "z.zarr")
    assert [*(here / ".z.zarr.partial").iterdir()] == []


def test_a_folder_that_something_still_writes_to_stays_marked_and_goes_with_the_next_run(here, monkeypatch, caplog):
    rmdir = Path.rmdir

    def written(self):
        (self / "late.ipynb").touch()
        rmdir(self)

    with monkeypatch.context() as patch, folders.scratch(here / "run", r".*\.ipynb"):
        patch.setattr(Path, "rmdir", written)
    assert [record.getMessage() for record in caplog.records] == [
        f"workbench: {here / 'run'} stays: Directory not empty"
    ]
    assert {path.name for path in (here / "run").iterdir()} == {folders.MARK, "late.ipynb"}
    folders.discard(here / "run", r".*\.ipynb")
    assert [*here.iterdir()] == []


def test_what_another_run_works_in_is_not_discarded(here, caplog):
    with folders.scratch(here / "run", "x") as folder:
        (folder.path / "x").touch()
        folders.discard(here / "run", "x")
        assert (folder.path / "x").exists()
        with pytest.raises(BlockingIOError, match="another run is writing it"), folders.scratch(here / "run", "x"):
            pass
    assert ([*here.iterdir()], caplog.records) == ([], [])


def test_an_empty_folder_of_the_name_is_taken(here):
    (here / ".z.nc.partial").mkdir()  # as after a kill at the very beginning
    write(here / "z.nc")
    assert sorted(file.name for file in here.iterdir()) == ["z.nc", "z.nc.manifest.json"]


def test_removing_follows_no_link(tmp_path, precious):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "link").symlink_to(precious)
    (tmp_path / "link").symlink_to(precious)
    for name in ("x", "link", "none"):
        folders.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == [precious]


# Outputs ----------------------------------------------------------------------------------------------------------

TABLE = pd.DataFrame({"x": [1.0]})
TIMINGS = pd.DataFrame([dict.fromkeys(TEXTS, "a")]).reindex(columns=TIMING_COLUMNS).assign(time_s=1.0)
REQUESTS = pd.DataFrame([{"sent_s": 0.0, "status": "failed", "error": "a"}]).reindex(columns=loadtest.REQUEST_COLUMNS)


def save_measured(path):
    with measure.alone(path):
        measure.open_results(path, "cpu").save()


#: Everything that writes an output, by its name.
WRITERS = {
    **{f"grid{suffix}": write for suffix in store.SUFFIXES},
    "table.csv": lambda path: write_table(TABLE, path),
    "table.parquet": lambda path: write_table(TABLE, path, (".parquet",)),
    "text.yaml": lambda path: write_text("text", path),
    "timings.csv": lambda path: timings.write(TIMINGS, path),
    "requests.csv": lambda path: loadtest.write(REQUESTS, path),
    "measured.csv": save_measured,
    "chart.csv": lambda path: figures.save(SimpleNamespace(), TABLE, "chart", str(path.parent)),
}  # fmt: skip


@pytest.mark.parametrize("there", ["link to a file", "link to a folder", "link to nothing", "folder", "pipe"])
@pytest.mark.parametrize("name", WRITERS)
def test_only_a_file_is_written_over(here, precious, name, there):
    path = here / name
    if "link" in there:
        path.symlink_to(
            {"file": precious / "notes.txt", "folder": precious, "nothing": precious / "new"}[there.split()[-1]]
        )
    else:
        path.mkdir() if there == "folder" else os.mkfifo(path)
    with pytest.raises(ValueError, match=rf"^cannot write .*{name}: (it is|what is there is)") as error:
        WRITERS[name](path)
    assert "\n" not in str(error.value)
    assert list(here.iterdir()) == [path]


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "chart.csv"])
def test_a_folder_that_is_a_link_is_written_to(tmp_path, here, name):
    (tmp_path / "link").symlink_to(here)
    WRITERS[name](tmp_path / "link" / name)
    assert (here / name).exists()


@pytest.mark.parametrize("name", ["grid.csv", "table.csv"])
def test_a_file_may_be_written_over(here, name):
    (here / name).write_text("before")
    WRITERS[name](here / name)
    assert (here / name).read_text() != "before"


def test_a_device_is_not_replaced(monkeypatch, capsys):
    """As `-o /dev/stdout` would, were this root."""
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("replaced"))
    monkeypatch.setattr(Path, "touch", lambda *_, **__: pytest.fail("written"))
    for device in ("/dev/null", "/dev/stdout"):
        with pytest.raises(ValueError, match=rf"^cannot write {device}: it is (a link|not a file)$"):
            write_text("text", Path(device))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("left", [False, True])
def test_a_store_that_the_workbench_did_not_write_is_not_replaced(here, version, left):
    if left:
        interrupted(here / "z.zarr")
    zarr.save_array(here / "z.zarr" / "time", np.arange(3), zarr_format=version)
    zarr.open_group(here / "z.zarr", mode="a", zarr_format=version)
    before = contents(here)
    with pytest.raises(ValueError, match=r"^cannot write .*z.zarr: the Zarr store there has no manifest beside it"):
        write(here / "z.zarr")
    assert contents(here) == before


@pytest.mark.parametrize("name", ["notes.txt", "mine/.zarray", "time/notes", "0.0"])
def test_a_store_with_more_in_it_than_the_workbench_wrote_is_not_replaced(here, name):
    write(here / "z.zarr", seq_len=[7])
    (here / "z.zarr" / name).parent.mkdir(exist_ok=True)
    (here / "z.zarr" / name).write_text("precious")
    before = contents(here)
    with pytest.raises(ValueError, match=rf"z.zarr: has '{name[:4]}.*' in it, which the workbench did not make"):
        write(here / "z.zarr")
    assert contents(here) == before


@pytest.mark.parametrize("suffix", store.SUFFIXES)
def test_a_file_at_the_place_of_the_manifest_is_not_replaced(here, precious, suffix):
    beside = here / f"z{suffix}.manifest.json"
    beside.write_text('{"precious": 1}')
    with pytest.raises(
        ValueError, match=rf"cannot write .*z{suffix}: beside it, .* is not a manifest of the workbench"
    ):
        write(here / f"z{suffix}")
    assert contents(here) == {beside.name: b'{"precious": 1}'}
    beside.unlink()
    beside.symlink_to(precious / "new")
    with pytest.raises(ValueError, match=r"manifest.json: it is a link"):
        write(here / f"z{suffix}")


def test_a_temporary_file_is_new_and_never_a_link(here, precious, monkeypatch):
    touch = Path.touch

    def planted(self, **options):
        self.symlink_to(precious / "notes.txt")
        touch(self, **options)

    monkeypatch.setattr(Path, "touch", planted)
    with pytest.raises(ValueError, match=r"cannot write .*x.txt: File exists"):
        write_text("text", here / "x.txt")


def test_an_output_may_have_the_longest_name(here):
    write_text("text", here / ("x" * 255))
    assert [file.name for file in here.iterdir()] == ["x" * 255]


# Runs that go on --------------------------------------------------------------------------------------------------


def test_what_zarr_had_not_finished_does_not_become_part_of_the_output(here, whole_store):
    partial = inside(interrupted(here / "z.zarr"), "grid.zarr")
    for name in ("time/0.0.0.0.0.{}", ".zgroup.{}", "gpu/0.{}", "time/.zarray.{}"):
        (partial / name.format(f"{'ab' * 16}.partial")).write_bytes(b"half")
    write(here / "z.zarr")
    assert contents(here / "z.zarr") == whole_store


def spoil(path, change):
    path.write_bytes(change(path.read_bytes()))


SPOILED = {
    "dtype": lambda store: spoil(store / "time/.zarray", lambda text: text.replace(b"<f8", b"<f4")),
    "shape": lambda store: spoil(store / "time/.zarray", lambda text: text.replace(b"1,", b"9,")),
    "attributes": lambda store: spoil(store / ".zattrs", lambda text: text[:-1] + b" " * 10**7 + b"}"),
    "summary": lambda store: spoil(store / ".zmetadata", lambda text: text[: len(text) // 2]),
    "no metadata": lambda store: (store / "time/.zarray").unlink(),
    "no array": lambda store: shutil.rmtree(store / "time"),
    "an array too many": lambda store: shutil.copytree(store / "time", store / "ttft"),
    "labels": lambda store: spoil(store / "seq_len/0", lambda chunk: chunk[:-1]),
    "a file for the store": lambda store: (shutil.rmtree(store), store.write_text("x")),
    "nothing": lambda store: shutil.rmtree(store),
    "a short chunk": lambda store: [spoil(chunk, lambda b: b[:20]) for chunk in (store / "time").glob("0.*")],
    "a chunk lost": lambda store: [chunk.unlink() for chunk in (store / "flops").glob("0.*")],
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILED)
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_spoiled_store_is_not_gone_on_with(here, whole_store, fault, suffix):
    SPOILED[fault](inside(interrupted(here / f"z{suffix}"), "grid.zarr"))
    write(here / f"z{suffix}")
    if suffix == ".zarr":
        assert contents(here / "z.zarr") == whole_store
    else:
        with xr.open_dataset(here / "z.nc") as ds:
            xr.testing.assert_equal(ds, wb.roofline_grid(**SMALL))


# The state of a run, told truly -----------------------------------------------------------------------------------


def test_a_working_folder_that_cannot_be_removed_is_no_failure(here, monkeypatch, caplog):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", denied)
        write(here / "z.nc")
    assert [record.getMessage() for record in caplog.records] == [
        f"workbench: {here / '.z.nc.partial'} stays: Permission denied"
    ]
    assert sorted(file.name for file in here.iterdir()) == [".z.nc.partial", "z.nc", "z.nc.manifest.json"]
    write(here / "z.nc")
    assert not (here / ".z.nc.partial").exists()


def test_an_output_without_its_manifest_is_no_failure(here, monkeypatch):
    replace = Path.replace

    def denied(self, target):
        if target.name.endswith("manifest.json") and self.name == "manifest.json":
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", denied)
    result = CliRunner().invoke(app, ["grid", "--gpu", "t4", "--model", "gpt2", "-o", str(here / "z.nc")])
    assert result.exit_code == 0
    assert [file.name for file in here.iterdir()] == ["z.nc"]


@pytest.mark.parametrize("suffix", store.SUFFIXES)
def test_an_output_that_cannot_take_its_place_leaves_the_earlier_one(here, monkeypatch, suffix):
    write(here / f"z{suffix}", seq_len=[7])
    before, replace = contents(here), Path.replace

    def denied(self, target):
        if self.name == f"new{suffix}" or (self.suffix == ".zarr" and self.name.startswith("grid-")):
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", denied)
        with pytest.raises(ValueError, match=rf"cannot write .*z{suffix}: Permission denied"):
            write(here / f"z{suffix}")
    left = contents(here)
    assert {name: left[name] for name in before} == before
    write(here / f"z{suffix}")
    assert sorted(file.name for file in here.iterdir()) == [f"z{suffix}", f"z{suffix}.manifest.json"]


def test_an_output_that_is_up_to_date_is_no_failure_where_nothing_may_be_written(here, monkeypatch):
    write(here / "z.zarr")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    write(here / "z.zarr")
    with pytest.raises(ValueError, match=r"cannot write .*z.zarr: Permission denied"):
        write(here / "z.zarr", seq_len=[7])


@pytest.mark.parametrize("there", ["another's", "a link", "a file"])
def test_an_output_that_is_up_to_date_is_no_failure_whatever_lies_beside_it(here, precious, caplog, there):
    write(here / "z.zarr")
    partial = here / ".z.zarr.partial"
    if there == "another's":
        partial.mkdir()
        (partial / "notes.txt").write_text("precious")
    elif there == "a link":
        partial.symlink_to(precious)
    else:
        partial.write_text("precious")
    before = contents(here)
    write(here / "z.zarr")
    assert contents(here) == before
    assert [record.getMessage().partition(" stays: ")[0] for record in caplog.records] == [f"workbench: {partial}"]


def test_what_lies_beside_an_output_is_not_read_beyond_its_length(here):
    write(here / "z.csv")
    with (here / "z.csv.manifest.json").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="is not a manifest of the workbench"):
        write(here / "z.csv")


def test_a_late_worker_of_an_earlier_run_changes_nothing(here, monkeypatch, whole_store):
    """It computes a region of other inputs when the next run has begun, and then writes it and its mark."""
    late, write_region = [], store.write_region
    monkeypatch.setattr(store, "write_region", lambda *task: late.append(task) or write_region(*task))
    interrupted(here / "z.zarr", time_model="kernel")
    monkeypatch.undo()

    def report(done, total):
        if done == 1:
            for task in late:
                with contextlib.suppress(OSError):
                    write_region(*task)

    store.write(sweep.checked(**SMALL), here / "z.zarr", chunks=20, report=report)
    assert contents(here / "z.zarr") == whole_store
    assert sorted(file.name for file in here.iterdir()) == ["z.zarr", "z.zarr.manifest.json"]


def test_a_parquet_file_that_cannot_be_written_on_is_closed(here, monkeypatch):
    closed = []

    def full(self, rows):
        monkeypatch.setattr(self, "close", lambda: closed.append(self), raising=False)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(ValueError, match=r"cannot write .*z.parquet: No space left on device$"):
        write(here / "z.parquet")
    assert len(closed) == 1


def test_a_closed_connection_to_a_cluster_is_not_told_as_a_disk_s_fault(here):
    class Closed(ThreadPoolExecutor):
        def submit(self, *_):
            raise CommClosedError("in <TCP>: Stream is closed")

    with pytest.raises(CommClosedError, match="Stream is closed"):
        store.write(sweep.checked(**SMALL), here / "z.zarr", chunks=20, executor=Closed())


# Formulas ---------------------------------------------------------------------------------------------------------

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "=cmd|' /C calc'!A0",
    "\uff1d1",
    "'=1",
    "''+x",
    "-",
]
INERT = ["h100-sxm", "", "'", "'quoted'", "a=b", "-1", "+1.5e-3", "-inf", "1-2", "#x", " =x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_begins_as_a_formula_gets_an_apostrophe(text):
    assert inert(text) == f"'{text}"
    assert as_given(inert(text)) == text


@pytest.mark.parametrize("text", INERT)
def test_other_text_stays(text):
    assert inert(text) == as_given(text) == text


@given(st.text("'=+-@\t1e.x", max_size=6))
def test_every_text_is_found_again(text):
    assert as_given(inert(text)) == text
    if inert(text).startswith(("=", "+", "-", "@", "\t")):
        float(text)


def cells(path):
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith("#")]
    return [cell for row in csv.reader(lines) for cell in row]


def harmless(path):
    for cell in cells(path):
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_no_table_holds_a_formula(tmp_path, dtype):
    numbers = {"n": [-1.5, np.nan], "m": pd.array([-1, None], "Int64"), "o": pd.Series([-0.25, 1 / 3], dtype=object)}
    table = pd.DataFrame({"=name": pd.Series(["=1+1", None], dtype=dtype), **numbers})
    before = table.copy()
    write_table(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == f"'=name,n,m,o\n'=1+1,-1.5,-1,-0.25\n,,,{1 / 3}\n"
    pd.testing.assert_frame_equal(table, before)


def test_a_grid_holds_no_formula(tmp_path):
    model = wb.model("gpt2").model_copy(update={"id": "=cmd|' /C calc'!A0"})
    store.write(sweep.checked("t4", model, seq_len=[1, 2]), tmp_path / "g.csv")
    assert set(pd.read_csv(tmp_path / "g.csv").model) == {"'=cmd|' /C calc'!A0"}
    store.write(sweep.checked("t4", model, seq_len=[1, 2]), tmp_path / "g.parquet")
    assert set(pd.read_parquet(tmp_path / "g.parquet").model) == {"=cmd|' /C calc'!A0"}


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "'=1", "x", "'x"])
def test_timings_and_load_tests_are_read_as_they_were_written(tmp_path, text):
    table = TIMINGS.assign(gpu=text, name=text, operator_class="gemm", m=1, n=1, k=1)
    timings.write(table, tmp_path / "t.csv")
    harmless(tmp_path / "t.csv")
    assert {*timings.read(tmp_path / "t.csv").gpu, *timings.read(tmp_path / "t.csv").name} == {text}
    loadtest.write(REQUESTS.assign(error=text), tmp_path / "l.csv")
    harmless(tmp_path / "l.csv")
    assert loadtest.read(tmp_path / "l.csv").error.tolist() == [text]


@pytest.mark.parametrize("text", ["=1+1", "'=1", "cpu"])
def test_measured_timings_are_gone_on_with(tmp_path, text):
    row = dict.fromkeys(measure.MEASURED, "") | {
        "gpu": text,
        "operator_class": "gemm",
        "time_s": "-1.5e-3",
        "note": text,
    }
    for _ in range(2):
        results = measure.open_results(tmp_path / "m.csv", text)
        results.rows = [row]
        results.save()
        harmless(tmp_path / "m.csv")
        assert "-1.5e-3" in cells(tmp_path / "m.csv")
    assert measure.open_results(tmp_path / "m.csv", text).rows == [row]


# Full disks, and folders that may not be written ------------------------------------------------------------------


def mounting():
    """The words that run a command where it may mount a file system, unless this system or user has none."""
    for words in (["unshare", "-m"], ["unshare", "-rm"]):
        with tempfile.TemporaryDirectory() as folder:
            try:
                mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder]
                if subprocess.run([*words, *mount], capture_output=True).returncode == 0:
                    return words
            except OSError:
                pass
    return None


@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        ("full", []),
        (
            "readonly",
            ["grid.zarr", "grid.nc", "plan.parquet", "requests.csv", "fit.svg", "chart.csv", "view.nc", "figures"],
        ),
    ],
)
def test_a_fault_is_one_line_and_loses_nothing(how, kinds):
    """A file system of its own where one can be mounted, a limit on the size of files elsewhere."""
    words = mounting() if how == "full" else []
    how = how if how == "readonly" else "limit" if words is None else "tmpfs"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # for a user who is not root
        command = [*(words or []), sys.executable, FAULTS, folder, how, *kinds]
        environment = os.environ | {"PYTHONPATH": str(Path(wb.__file__).parents[1])}
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, f"{how}: {result.stdout}{result.stderr}"
