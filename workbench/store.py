"""Grids larger than memory, written region by region, and taken up again where a run was interrupted.

Regions are computed and put into a Zarr store in a folder beside the output, in any order, by threads of this process
or by the workers of a cluster that see the same folder. When all are there, the store takes the output's name, or is
read region by region into a NetCDF, CSV or parquet file. A region is computed again unless it was written to its end,
and an output only where its manifest is of other inputs. The same inputs give the same bytes.
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .common.errors import unknown
from .common.extras import check_libraries
from .common.project import package_fingerprint
from .common.variables import with_units
from .files.writing import write_text
from .grid.buffers import reused_memory
from .grid.dataset import labelled_grid
from .grid.evaluation import evaluate
from .grid.lazy_arrays import lazy_variables, regions
from .grid.sweep import COSTS, RATES, Sweep

STORE_LIBRARIES = ("dask", "numpy", "xarray", "zarr")
SUFFIXES = (".zarr", ".nc", ".csv", ".parquet")
#: Regions that are computed or wait for it: each holds a sweep [1].
QUEUE = 200

Region = dict[str, slice]


def write(
    sweep: Sweep,
    path: Path,
    *,
    names: Iterable[str] = (*COSTS, *RATES),
    chunks: str | int | dict[str, int] = "auto",
    executor: Executor | None = None,
    jobs: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a grid and, beside it, its manifest.

    What an interrupted run of the same sweep and versions has left is kept, what another one has left is not; an output
    of the same is left as it is.

    Parameters
    ----------
    sweep : Sweep
        The arguments of `roofline_grid`, checked by `grid.sweep.checked`.
    path : Path
        The output; its suffix .zarr, .nc, .csv or .parquet says in which format.
    names : iterable of str
        Variables besides the ceilings and `calls`.
    chunks : str, int or dict
        As for `roofline_grid`: a region is a chunk.
    executor : Executor, optional
        Anything with the submit of `concurrent.futures`, such as `cluster.executor`; None is `jobs` threads.
    jobs : int
        Threads of this process [1].
    report : callable
        Called with the regions written so far and their number [1].

    Raises
    ------
    ValueError
        For an unknown suffix or variable, a missing folder, a path that cannot be written or that another run writes,
        and a folder where a Zarr store goes that is not one.
    """
    check_libraries("dask", "netCDF4", "pyarrow", "zarr")
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in (*COSTS, *RATES):
            raise unknown("variable", name, (*COSTS, *RATES))
    if path.suffix not in SUFFIXES:
        raise unknown("file suffix", path.suffix, SUFFIXES)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    path, slices = path.resolve(), sweep.chunks(chunks)
    _check_target(path)
    account, beside = manifest(sweep, names, slices), path.with_name(f"{path.name}.manifest.json")
    template = labelled_grid(sweep, {n: v for n, v in lazy_variables(sweep, slices).items() if n in (*names, "calls")})
    with _writable(path), _working(path.with_name(f".{path.name}.partial")) as work:
        if path.exists() and _text(beside) == account:
            return
        store, marks = work / "grid.zarr", work / "done"
        if _text(work / "manifest.json") != account or not (store.exists() or path.exists()):
            _empty(work)
            template.to_zarr(store, compute=False, zarr_format=2)  # the one whose strings are standard
            marks.mkdir()
            write_text(account, work / "manifest.json")  # the last: without it the store is made anew
        places = [(marks / "-".join(map(str, index)), region) for index, region in regions(slices)]
        due = [(store, sweep, region, names, mark) for mark, region in places if not mark.exists()]
        pool = executor or ThreadPoolExecutor(jobs)
        try:
            with reused_memory():
                for done, future in enumerate(_completed(pool, write_region, due), len(places) - len(due)):
                    future.result()
                    report(done + 1, len(places))
        finally:
            if executor is None:
                pool.shutdown(cancel_futures=True)
        beside.unlink(missing_ok=True)  # until it is of what stands beside it
        _put(template, work, path, [region for _, region in places])
        write_text(account, beside)


def _check_target(path: Path) -> None:
    """Raise ValueError where a folder or a file would be lost that is not an earlier output."""
    if path.suffix != ".zarr":
        if path.is_dir():
            raise ValueError(f"cannot write {path}: it is a folder")
    elif path.exists() and not ((path / ".zgroup").is_file() or (path / "zarr.json").is_file()):
        raise ValueError(f"cannot write {path}: what is there is not a Zarr store")


@contextmanager
def _working(folder: Path) -> Iterator[Path]:
    """A folder beside the output that one run has at a time; it goes when the output is there."""
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which the system takes back from a killed process
        except BlockingIOError:
            raise BlockingIOError(errno.EWOULDBLOCK, "another run is writing it") from None
        if not os.path.samestat(os.fstat(handle), folder.stat()):
            raise BlockingIOError(errno.EWOULDBLOCK, "another run has just written it")
        yield folder
        _empty(folder)
        folder.rmdir()
    finally:
        os.close(handle)


def _empty(work: Path) -> None:
    """Remove what a run has left; the manifest first, so that nothing is taken for whole after a kill."""
    (work / "manifest.json").unlink(missing_ok=True)
    for path in work.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_region(store: Path, sweep: Sweep, region: Region, names: list[str], mark: Path) -> None:
    """Compute one region, put it into a store, and mark it as written; a variable without the dim gpu once.

    Parameters
    ----------
    store : Path
        The Zarr store, which has all arrays already.
    sweep : Sweep
        What the whole grid is computed over.
    region : dict of slice
        The region's place in each dim.
    names : list of str
        Variables that are computed.
    mark : Path
        The file that says that the region is there.
    """
    import zarr

    wanted = [name for name in names if name in RATES or not region["gpu"].start]
    values = evaluate(sweep.part(region), wanted, threads=1)
    group = zarr.open_group(store, mode="r+")
    for name in wanted:
        array: Any = group[name]
        array[tuple(part for dim, part in region.items() if dim != "gpu" or name in RATES)] = values[name]
    mark.touch()


def manifest(sweep: Sweep, names: list[str], slices: dict[str, list[slice]]) -> str:
    """What a grid was computed from: labels, options, variables, chunks, versions, a hash of the package.

    Parameters
    ----------
    sweep : Sweep
        What it is computed over.
    names : list of str
        Its variables.
    slices : dict of list of slice
        Its chunks, from `Sweep.chunks`.

    Returns
    -------
    str
        JSON; the same text for the same grid.
    """
    entries = [entry.model_dump_json() for entry in (*sweep.gpus.values(), *sweep.models.values())]
    text: dict[str, Any] = {
        "inputs": {dim: np.asarray(labels).tolist() for dim, labels in sweep.coords.items()},
        "options": sweep.attrs | {"dtype": sweep.dtype},
        "variables": names,
        "cells": prod(sweep.shape),
        "chunks": {dim: parts[0].stop for dim, parts in slices.items()},
        "entries": hashlib.sha256("\n".join(entries).encode()).hexdigest(),
        "package": package_fingerprint(),
        "versions": {"python": platform.python_version(), "roofline-workbench": version("roofline-workbench")}
        | {name: version(name) for name in STORE_LIBRARIES},
    }
    return json.dumps(text, indent=1) + "\n"


def _completed(pool: Executor, function: Callable[..., None], tasks: list[tuple[Any, ...]]) -> Iterator[Future[None]]:
    """Futures as they complete, never more than `QUEUE` of them submitted."""
    queue, waiting = iter(tasks), set[Future[None]]()
    while True:
        waiting |= {pool.submit(function, *task) for task in islice(queue, QUEUE - len(waiting))}
        if not waiting:
            return
        future = next(as_completed(waiting))
        waiting.remove(future)
        yield future


def _put(template: xr.Dataset, work: Path, path: Path, places: list[Region]) -> None:
    """Give the store the output's name, or read it into a file of the output's format, which takes that name."""
    import dask

    store, new, old = work / "grid.zarr", work / path.name, work / "old"
    if path.suffix == ".zarr":
        if store.exists():  # else an earlier run was killed between here and its manifest
            if path.exists():
                path.replace(old)
            store.replace(path)
        return
    new.unlink(missing_ok=True)
    with xr.open_zarr(store, chunks={}) as stored, dask.config.set(scheduler="synchronous"):
        ds = template.assign({name: (stored[name].dims, stored[name].data, template[name].attrs) for name in stored})
        if path.suffix == ".nc":
            try:
                for name in ds:  # one by one, in order: the same bytes every time
                    ds[[name]].to_netcdf(new, mode="a" if new.exists() else "w")
            except RuntimeError as error:  # of HDF5
                raise OSError(f"{error}; is the disk full?") from None
        else:
            write_rows(ds, places, new, path.suffix)
    new.replace(path)


def write_rows(ds: xr.Dataset, places: list[Region], path: Path, suffix: str) -> None:
    """Write a row for each setting, region after region.

    Parameters
    ----------
    ds : xarray.Dataset
        A grid of dask arrays.
    places : list of dict of slice
        Its regions, in the order of the rows.
    path : Path
        The file, which does not exist yet.
    suffix : str
        ".csv" or ".parquet".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for region in places:
        part = ds.isel(region).load()
        table = part.to_dataframe(dim_order=list(ds.dims)).reset_index()
        if suffix == ".csv":
            first = not path.exists()
            with_units(table).to_csv(path, mode="a", header=first, index=False, float_format="%.7g")
        else:
            rows = pa.Table.from_pandas(table, preserve_index=False)
            writer = writer or pq.ParquetWriter(path, rows.schema)
            writer.write_table(rows)
    if writer:
        writer.close()


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
