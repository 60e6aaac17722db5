"""Lazy grids, and grids written region by region: equal to the whole one, resumable, never half-written."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import workbench as wb
from workbench import store
from workbench.common.variables import with_units
from workbench.grid import sweep
from workbench.grid.lazy_arrays import regions

SMALL = {"gpu": ["h100-sxm", "t4"], "model": ["llama-3-8b", "gpt2"], "batch_size": [1, 2, 5], "seq_len": [1, 64, 100]}
CHUNKS = ["auto", 1, 7, 100, {"gpu": 1, "seq_len": 2}, {"operator": 3, "phase": 1, "batch_size": 2}]


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("more", [{}, {"time_model": "kernel", "tp": [1, 2], "candidates": [1, 3], "dtype": "float32"}])
def test_a_lazy_grid_is_the_whole_one(chunks, more):
    arguments = SMALL | {"model": "llama-3-8b"} | more
    lazy = wb.roofline_grid(**arguments, chunks=chunks)
    assert all(
        lazy[name].chunks for name in ("flops", "bytes", "intensity", "attainable", "time", "performance", "bound")
    )
    xr.testing.assert_identical(lazy.compute(), wb.roofline_grid(**arguments))


def test_a_chunk_alone_and_sums_over_all():
    lazy, whole = wb.roofline_grid(**SMALL, chunks=9), wb.roofline_grid(**SMALL)
    here = {"gpu": "t4", "model": "gpt2", "operator": "attention", "phase": "decode", "seq_len": 64}
    xr.testing.assert_identical(lazy.time.sel(here).compute(), whole.time.sel(here))
    xr.testing.assert_allclose(
        wb.forward_pass(lazy.sel(model=["gpt2"])).compute(), wb.forward_pass(whole.sel(model=["gpt2"]))
    )


def test_a_grid_beyond_memory_is_made_at_once():
    lazy = wb.roofline_grid(
        "h100-sxm", "llama-3-8b", batch_size=range(1, 10_001), seq_len=range(1, 10_001), chunks="auto"
    )
    assert lazy.time.size == 14 * 10**8
    cell = {"operator": 3, "phase": 1, "batch_size": 9_998, "seq_len": 7}
    whole = wb.roofline_grid("h100-sxm", "llama-3-8b", batch_size=9_999, seq_len=8)
    assert lazy.time.isel(cell).values == whole.time.isel(operator=3, phase=1).values.ravel()


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (0, "chunks = 0: allowed are whole numbers from 1 to 1,000,000,000,000, or 'auto'"),
        (-5, "chunks = -5: allowed"),
        (1.5, "chunks = 1.5: allowed"),
        (True, "chunks = True: allowed"),
        ("many", "chunks = 'many': allowed"),
        ({"batch": 1}, "unknown dim in chunks 'batch'. Did you mean 'batch_size'"),
        ({"batch_size": 0}, r"chunks\['batch_size'\] = 0: allowed"),
        ({"batch_size": "1"}, r"chunks\['batch_size'\] = '1': allowed"),
    ],
)
def test_wrong_chunks(chunks, message):
    with pytest.raises(ValueError, match=message):
        wb.roofline_grid("t4", "gpt2", chunks=chunks)


@pytest.mark.parametrize("chunks", [1, 99, {"batch_size": 1, "seq_len": 9}])
def test_more_regions_than_memory_holds_are_refused_at_once(chunks):
    arguments = {"operator": "qkv_proj", "phase": "decode", "batch_size": range(1, 1001), "seq_len": range(1, 10_001)}
    message = r"^chunks = .* makes [\d,]+ regions: allowed are 100,000, from chunks = 100 cells on$"
    with pytest.raises(ValueError, match=message) as error:
        wb.roofline_grid("t4", "gpt2", **arguments, chunks=chunks)
    assert repr(chunks) in str(error.value)
    assert sum(1 for _ in regions(sweep.checked("t4", "gpt2", **arguments).chunks(100))) == 100_000


@pytest.mark.parametrize("allowed", [1, 2, 7, 100])
def test_the_fewest_cells_that_a_chunk_may_have(monkeypatch, allowed):
    monkeypatch.setattr(sweep, "REGIONS", allowed)
    grid_of = sweep.checked("t4", ["gpt2", "llama-3-8b"], batch_size=range(1, 4), seq_len=range(1, 6))
    least = next(n for n in range(1, 10**4) if _accepted(grid_of, n))
    assert not any(_accepted(grid_of, n) for n in range(1, least))
    with pytest.raises(ValueError, match=f"from chunks = {least} cells on"):
        grid_of.chunks(1)


def _accepted(grid_of, chunks):
    try:
        return bool(grid_of.chunks(chunks))
    except ValueError:
        return False


def test_a_lazy_grid_refuses_at_once():
    with pytest.raises(ValueError, match="tp = 5 does not divide"):
        wb.roofline_grid("t4", "gpt2", tp=5, chunks="auto")


# Files ------------------------------------------------------------------------------------------------------------


def read(path):
    """A grid file as a table, a row per setting."""
    if path.suffix == ".zarr":
        with xr.open_zarr(path) as ds:
            return with_units(ds.to_dataframe(dim_order=list(sweep.checked(**SMALL).coords)).reset_index())
    if path.suffix == ".nc":
        with xr.open_dataset(path) as ds:
            return with_units(ds.to_dataframe(dim_order=list(sweep.checked(**SMALL).coords)).reset_index())
    return with_units(pd.read_parquet(path)) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("chunks", [1000, 20])
@pytest.mark.parametrize("suffix", store.SUFFIXES)
def test_every_format_holds_the_grid(tmp_path, suffix, chunks):
    path = tmp_path / f"g{suffix}"
    for _ in range(2):  # the second time over the first
        store.write(sweep.checked(**SMALL), path, chunks=chunks)
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"g{suffix}", f"g{suffix}.manifest.json"]
    ds = wb.roofline_grid(**SMALL)
    expected = with_units(ds.to_dataframe(dim_order=list(ds.dims)).reset_index())
    rtol = 1e-6 if suffix == ".csv" else 0
    pd.testing.assert_frame_equal(read(path)[expected.columns], expected, rtol=rtol, check_dtype=False)


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_labels_units_and_attributes_are_kept(tmp_path, suffix):
    store.write(sweep.checked(**SMALL), tmp_path / f"g{suffix}", chunks=20)
    ds = wb.roofline_grid(**SMALL)
    with (xr.open_zarr if suffix == ".zarr" else xr.open_dataset)(tmp_path / f"g{suffix}") as found:
        assert found.attrs["forward_pass"] == ds.attrs["forward_pass"]
        assert {n: v.attrs["long_name"] for n, v in found.variables.items()} == {
            n: v.attrs["long_name"] for n, v in ds.variables.items()
        }
        np.testing.assert_array_equal(found.bound.attrs["flag_values"], [-1, 0, 1])


def test_chosen_variables_alone(tmp_path):
    store.write(sweep.checked(**SMALL), tmp_path / "g.zarr", names=["time", "bound"])
    with xr.open_zarr(tmp_path / "g.zarr") as ds:
        assert set(ds.data_vars) == {"time", "bound", "calls", "peak_flop_rate", "bandwidth", "ridge_point"}


def test_the_manifest_says_what_went_in(tmp_path):
    store.write(sweep.checked(**SMALL, time_model="kernel"), tmp_path / "g.csv", chunks=20)
    manifest = json.loads((tmp_path / "g.csv.manifest.json").read_text())
    assert manifest["inputs"]["gpu"] == ["h100-sxm", "t4"]
    assert manifest["inputs"]["seq_len"] == [1, 64, 100]
    assert manifest["options"]["time_model"] == "kernel"
    assert manifest["cells"] == 2 * 2 * 8 * 2 * 3 * 3
    assert manifest["versions"]["numpy"] == np.__version__


def test_what_is_there_already_is_not_computed_again(tmp_path, monkeypatch):
    path, reported = tmp_path / "g.csv", []
    store.write(sweep.checked(**SMALL), path, chunks=100)
    monkeypatch.setattr(store, "write_region", lambda *task: pytest.fail("computed again"))
    store.write(sweep.checked(**SMALL), path, chunks=100, report=lambda *progress: reported.append(progress))
    assert reported == []
    monkeypatch.undo()
    path.unlink()
    store.write(sweep.checked(**SMALL), path, chunks=100, report=lambda *progress: reported.append(progress))
    assert reported
    assert len(read(path)) == wb.roofline_grid(**SMALL).time.size


@pytest.mark.parametrize("suffix", store.SUFFIXES)
def test_an_output_of_other_inputs_is_replaced(tmp_path, suffix):
    path = tmp_path / f"g{suffix}"
    store.write(sweep.checked("t4", "gpt2"), path)
    store.write(sweep.checked(**SMALL), path)
    assert len(read(path)) == wb.roofline_grid(**SMALL).time.size
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"g{suffix}", f"g{suffix}.manifest.json"]


def test_what_is_no_grid_is_not_overwritten(tmp_path):
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "notes.txt").write_text("precious")
    (tmp_path / "file.zarr").write_text("precious")
    (tmp_path / "folder.csv").mkdir()
    store_only = "not a Zarr store"
    for name, message in (("mine.zarr", store_only), ("file.zarr", store_only), ("folder.csv", "a folder")):
        with pytest.raises(ValueError, match=f"cannot write .*{name}: .*{message}$"):
            store.write(sweep.checked("t4", "gpt2"), tmp_path / name)
    assert (tmp_path / "mine.zarr" / "notes.txt").read_text() == (tmp_path / "file.zarr").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 3


def test_two_runs_do_not_write_one_output(tmp_path):
    def report(done, total):
        with pytest.raises(ValueError, match=r"cannot write .*g.nc: another run is writing it"):
            store.write(sweep.checked("h100-sxm", "gpt2"), tmp_path / "g.nc")

    store.write(sweep.checked("t4", "gpt2"), tmp_path / "g.nc", report=report)
    with xr.open_dataset(tmp_path / "g.nc") as ds:
        xr.testing.assert_equal(ds, wb.roofline_grid("t4", "gpt2"))


def test_netcdf_on_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(ValueError, match=r"cannot write .*g.nc: NetCDF: HDF error; is the disk full\?$"):
        store.write(sweep.checked("t4", "gpt2"), tmp_path / "g.nc")
    assert not (tmp_path / "g.nc").exists()


class Interrupted(Exception):
    pass


def interrupted(path, after, **arguments):
    def report(done, total):
        if done == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        store.write(sweep.checked(**SMALL, **arguments), path, chunks=20, report=report)


@pytest.mark.parametrize("suffix", store.SUFFIXES)
def test_an_interrupted_run_leaves_no_output_and_is_taken_up(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"g{suffix}"
    interrupted(path, 10)
    assert not path.exists()
    (marks,) = tmp_path.glob(".*.partial/done-*")
    kept = len(list(marks.iterdir()))
    written, reported = [], []
    write_region = store.write_region
    monkeypatch.setattr(store, "write_region", lambda *task: written.append(task[2]) or write_region(*task))
    store.write(sweep.checked(**SMALL), path, chunks=20, report=lambda done, total: reported.append((done, total)))
    total = reported[-1][1]
    assert kept >= 10
    assert len(written) == total - kept
    assert reported == [(n, total) for n in range(kept + 1, total + 1)]
    store.write(sweep.checked(**SMALL), tmp_path / f"whole{suffix}", chunks=20)
    pd.testing.assert_frame_equal(read(path), read(tmp_path / f"whole{suffix}"))


def test_what_another_sweep_has_left_is_not_used(tmp_path):
    interrupted(tmp_path / "g.zarr", 10, time_model="kernel")
    store.write(sweep.checked(**SMALL), tmp_path / "g.zarr", chunks=20)
    with xr.open_zarr(tmp_path / "g.zarr") as ds:
        xr.testing.assert_equal(ds.load(), wb.roofline_grid(**SMALL))


def test_a_region_that_was_not_marked_is_written_again(tmp_path, monkeypatch):
    """As after a kill between a chunk's bytes and its mark."""
    path, calls = tmp_path / "g.zarr", []
    write_region = store.write_region

    def torn(target, sweep, region, names, mark):
        calls.append(mark)
        write_region(target, sweep, region, names, mark)
        if len(calls) == 3:
            mark.unlink()
            for chunk in (target / "time").glob("[0-9]*"):
                chunk.write_bytes(b"torn") if chunk.name == "0.0.0.0.0.2" else None
            raise Interrupted

    monkeypatch.setattr(store, "write_region", torn)
    with pytest.raises(Interrupted):
        store.write(sweep.checked(**SMALL), path, chunks={"seq_len": 1, "gpu": 1, "model": 1})
    monkeypatch.undo()
    store.write(sweep.checked(**SMALL), path, chunks={"seq_len": 1, "gpu": 1, "model": 1})
    with xr.open_zarr(path) as ds:
        xr.testing.assert_equal(ds.load(), wb.roofline_grid(**SMALL))


def test_more_regions_than_the_queue_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "QUEUE", 3)
    with ThreadPoolExecutor(2) as pool:
        store.write(sweep.checked(**SMALL), tmp_path / "g.zarr", chunks=5, executor=pool)
    with xr.open_zarr(tmp_path / "g.zarr") as ds:
        xr.testing.assert_equal(ds.load(), wb.roofline_grid(**SMALL))


@pytest.mark.parametrize(
    ("path", "names", "message"),
    [
        ("g.xlsx", ["time"], "unknown file suffix '.xlsx'. Allowed: .zarr, .nc, .csv, .parquet."),
        ("no/g.nc", ["time"], "cannot write .*g.nc: there is no folder"),
        ("g.nc", ["tome"], "unknown variable 'tome'. Did you mean 'time'"),
    ],
)
def test_bad_output_is_one_clear_line(tmp_path, path, names, message):
    with pytest.raises(ValueError, match=message) as error:
        store.write(sweep.checked(**SMALL), tmp_path / path, names=names)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
