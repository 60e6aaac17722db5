"""Grids larger than memory, written region by region, and taken up again where a run was interrupted.

Regions are computed and put into a Zarr store beside the output, in any order, by threads of this process or by the
workers of a cluster that see the same folder. When all are there, the store takes the output's name, or is read region
by region into a NetCDF, CSV or parquet file. A region is computed again unless it was written to its end.
"""

import hashlib
import json
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

from .figures import package_fingerprint
from .grid import dataset
from .lazy import lazy, regions
from .names import unknown
from .saving import write_text
from .sweep import COSTS, RATES, Sweep, evaluate
from .tables import with_units
from .whole import whole

LIBRARIES = ("dask", "numpy", "xarray", "zarr")
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
    """Write a grid to `path`, by its suffix .zarr, .nc, .csv or .parquet, and its manifest beside it.

    sweep : as of `grid.checked`; names : variables besides the ceilings and `calls`; chunks : as of `roofline_grid`
    executor : anything with `concurrent.futures` submit; None is `jobs` threads
    report : called with the regions written and their number

    What an interrupted run of the same sweep and versions has left is kept, what another one has left is not. Raises
    ValueError for an unknown suffix or variable, a missing folder, or a path that cannot be written.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in (*COSTS, *RATES):
            raise unknown("variable", name, (*COSTS, *RATES))
    if path.suffix not in SUFFIXES:
        raise unknown("file suffix", path.suffix, SUFFIXES)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    path, slices = path.resolve(), sweep.chunks(chunks)
    account = manifest(sweep, names, slices)
    store = path.with_name(f".{path.name}.partial")
    template = dataset(sweep, {n: v for n, v in lazy(sweep, slices).items() if n in (*names, "calls")})
    with _writable(path):
        if _text(store / "manifest.json") != account:
            shutil.rmtree(store, ignore_errors=True)
            template.to_zarr(store, compute=False, zarr_format=2)  # the one whose strings are standard
            (store / ".done").mkdir()
            write_text(account, store / "manifest.json")  # the last: without it the store is made anew
        places = [(store / ".done" / "-".join(map(str, index)), region) for index, region in regions(slices)]
        due = [(store, sweep, region, names, mark) for mark, region in places if not mark.exists()]
        pool = executor or ThreadPoolExecutor(jobs)
        try:
            for done, future in enumerate(_completed(pool, write_region, due), len(places) - len(due)):
                future.result()
                report(done + 1, len(places))
        finally:
            if executor is None:
                pool.shutdown(cancel_futures=True)
        _finish(template, store, path, [region for _, region in places])
        write_text(account, path.with_name(f"{path.name}.manifest.json"))


def write_region(store: Path, sweep: Sweep, region: Region, names: list[str], mark: Path) -> None:
    """Compute one region, put it into a store, and mark it as written; a variable without the dim gpu once."""
    import zarr

    wanted = [name for name in names if name in RATES or not region["gpu"].start]
    values = evaluate(sweep.part(region), wanted, threads=1)
    group = zarr.open_group(store, mode="r+")
    for name in wanted:
        array: Any = group[name]
        array[tuple(part for dim, part in region.items() if dim != "gpu" or name in RATES)] = values[name]
    mark.touch()


def manifest(sweep: Sweep, names: list[str], slices: dict[str, list[slice]]) -> str:
    """What a grid was computed from, as JSON: labels, options, variables, chunks, versions, a hash of the package."""
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
        | {name: version(name) for name in LIBRARIES},
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


def _finish(template: xr.Dataset, store: Path, path: Path, places: list[Region]) -> None:
    """Give a store the output's name, or read it into the output's format; then the store is gone."""
    if path.suffix == ".zarr":
        shutil.rmtree(store / ".done")
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.replace(old)
        store.replace(path)
        shutil.rmtree(old, ignore_errors=True)
        return
    with xr.open_zarr(store, chunks={}) as stored, whole(path) as temporary:
        ds = template.assign({name: (stored[name].dims, stored[name].data, template[name].attrs) for name in stored})
        if path.suffix == ".nc":
            ds.to_netcdf(temporary)
        else:
            write_rows(ds, places, temporary, path.suffix)
    shutil.rmtree(store)


def write_rows(ds: xr.Dataset, places: list[Region], path: Path, suffix: str) -> None:
    """Write a row per setting, region after region, as CSV or parquet."""
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
