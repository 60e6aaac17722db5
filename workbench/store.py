"""Grids larger than memory, written region by region, and taken up again where a run was interrupted.

Regions are computed and put into a Zarr store in a folder beside the output, in any order, by threads of this process
or by the workers of a cluster that see the same folder. When all are there, the store takes the output's name, or is
read region by region into a NetCDF, CSV or parquet file. A region is computed again unless it was written to its end,
and an output only where its manifest is of other inputs. The same inputs give the same bytes.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .common.errors import unknown
from .common.extras import check_libraries
from .common.project import digest, package_fingerprint
from .common.variables import VARIABLES, with_units
from .files.folders import all_known, contents, discard, end_of, holds, only_told, remove, working
from .files.formulas import inert_table
from .files.writing import TEMPORARY, check_output, write_netcdf, write_text
from .grid.buffers import reused_memory
from .grid.dataset import labelled_grid
from .grid.evaluation import evaluate
from .grid.lazy_arrays import lazy_variables, regions
from .grid.sweep import COSTS, RATES, Sweep

STORE_LIBRARIES = ("dask", "numpy", "xarray", "zarr")
SUFFIXES = (".zarr", ".nc", ".csv", ".parquet")
#: Regions that are computed or wait for it: each holds a sweep [1].
QUEUE = 200

MANIFEST = "manifest.json"
#: What zarr calls a file that it has not written to its end.
ZARR_TEMPORARY = r".*\.[0-9a-f]{32}\.partial"
#: Paths in a store.
STORE = (
    rf"\.z(?:group|attrs|metadata)|(?:{'|'.join(VARIABLES)})(?:/(?:\.zarray|\.zattrs|\d+(?:\.\d+)*)?)?|{ZARR_TEMPORARY}"
)
#: Paths in the folder of a run: the store, marks of its regions, a file made of it, and what stood at the output.
WORK = (
    rf"{MANIFEST}|{TEMPORARY}|done-[0-9a-f]{{16}}(?:/[\d-]*)?|new\.(?:nc|csv|parquet)|earlier\.json"
    rf"|(?:grid-[0-9a-f]{{16}}\.zarr|earlier)(?:/(?:{STORE})?)?"
)

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
    slices = sweep.chunks(chunks)
    path = path.parent.resolve() / path.name
    beside, work = path.with_name(f"{path.name}.{MANIFEST}"), path.with_name(f".{path.name}.partial")
    with _writable(path):
        _check_target(path, beside, work)
    account = manifest(sweep, names, slices)
    made_of = digest(account.encode())[:16]  # what a worker of an earlier run still writes goes to that one's
    store, marks = work / f"grid-{made_of}.zarr", work / f"done-{made_of}"

    def is_there() -> bool:
        return path.exists() and holds(beside, account.encode())

    if is_there():
        discard(work, WORK)
        return
    template = labelled_grid(sweep, {n: v for n, v in lazy_variables(sweep, slices).items() if n in (*names, "calls")})
    with _writable(path), working(work, WORK) as folder:
        if is_there():
            return
        begun = holds(work / MANIFEST, account.encode())
        if not (begun and path.suffix == ".zarr" and path.exists() and not store.exists()):  # killed at the last step
            layout = _layout(template)
            if not (begun and _is_laid_out(store, layout, names)):
                folder.empty(MANIFEST)  # the first, so that nothing is taken for whole after a kill
                for name, content in layout.items():
                    (store / name).parent.mkdir(parents=True, exist_ok=True)
                    (store / name).write_bytes(content)
                marks.mkdir()
                write_text(account, work / MANIFEST)  # the last: without it the store is made anew
            places = [(marks / "-".join(map(str, index)), region) for index, region in regions(slices)]
            due = [
                (store, sweep, region, names, mark) for mark, region in places
                if not holds(mark, _chunk_bytes(store, names, mark))
            ]  # fmt: skip
            pool = executor or ThreadPoolExecutor(jobs)
            try:
                with reused_memory():
                    for done, future in enumerate(_completed(pool, write_region, due), len(places) - len(due)):
                        future.result()
                        report(done + 1, len(places))
            finally:
                if executor is None:
                    pool.shutdown(cancel_futures=True)
            _put(_finished(template, store, path.suffix, [region for _, region in places]), path, beside, work)
        with only_told(f"{path} has no manifest"):
            (work / MANIFEST).replace(beside)


def _check_target(path: Path, beside: Path, work: Path) -> None:
    """Raise ValueError where something would be lost that is not an earlier output."""
    if path.suffix != ".zarr" or not os.path.lexists(path):
        check_output(path)
    elif path.is_symlink() or not ((path / ".zgroup").is_file() or (path / "zarr.json").is_file()):
        raise ValueError(f"cannot write {path}: what is there is not a Zarr store")
    check_output(beside)
    made = beside.exists() and b'"roofline-workbench"' in end_of(beside)
    if beside.exists() and not made:
        raise ValueError(f"cannot write {path}: beside it, {beside.name} is not a manifest of the workbench")
    if path.is_dir():
        moved = (work / MANIFEST).exists() and not any(work.glob("grid-*.zarr"))
        killed = moved or (work / "earlier.json").exists()
        if not (made or killed):
            raise ValueError(f"cannot write {path}: the Zarr store there has no manifest beside it: is it another's?")
        all_known(path, STORE)


def _layout(template: xr.Dataset) -> dict[str, bytes]:
    """Files of a store in which nothing has been computed, by their paths in it."""
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    template.to_zarr(MemoryStore(files), compute=False, zarr_format=2)  # the one whose strings are standard
    return {name: content.to_bytes() for name, content in files.items()}


def _is_laid_out(store: Path, layout: dict[str, bytes], names: list[str]) -> bool:
    """Whether a store has all of the layout as it should be, and else only chunks of those variables."""
    if not store.is_dir():
        return False
    found = {name for name, _ in contents(store) if not re.fullmatch(rf"{ZARR_TEMPORARY}|.*/", name)}
    chunks = re.compile(rf"(?:{'|'.join(names)})/\d[\d.]*")
    whole = all(holds(store / name, content) for name, content in layout.items())
    return whole and all(map(chunks.fullmatch, found - layout.keys()))


def _wanted(names: list[str], mark: Path) -> list[str]:
    """Variables of a region: those without the dim gpu only with the first GPUs."""
    return [name for name in names if name in RATES or mark.name.startswith("0-")]


def _chunk_bytes(store: Path, names: list[str], mark: Path) -> bytes:
    """How many bytes the chunks of a region take, as its mark says it; where all is zero, there is no chunk."""
    rates = mark.name.replace("-", ".")
    costs = rates.partition(".")[2]
    chunks = [store / name / (rates if name in RATES else costs) for name in _wanted(names, mark)]
    return b"%d" % sum(chunk.stat().st_size for chunk in chunks if chunk.is_file())


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

    wanted = _wanted(names, mark)
    values = evaluate(sweep.part(region), wanted, threads=1)
    group = zarr.open_group(store, mode="r+")
    for name in wanted:
        array: Any = group[name]
        array[tuple(part for dim, part in region.items() if dim != "gpu" or name in RATES)] = values[name]
    mark.write_bytes(_chunk_bytes(store, names, mark))


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


def _finished(template: xr.Dataset, store: Path, suffix: str, places: list[Region]) -> Path:
    """The store, all of whose regions are there, or a file of another format that it is read into."""
    import dask

    new = store.with_name(f"new{suffix}")
    if suffix == ".zarr":
        for left in [left for left, _ in contents(store) if re.fullmatch(ZARR_TEMPORARY, left)]:
            remove(store / left)
        return store
    new.unlink(missing_ok=True)
    with xr.open_zarr(store, chunks={}) as stored, dask.config.set(scheduler="synchronous"):
        ds = template.assign({name: (stored[name].dims, stored[name].data, template[name].attrs) for name in stored})
        if suffix == ".nc":
            write_netcdf(ds, new)
        else:
            write_rows(ds, places, new, suffix)
    return new


def _put(new: Path, path: Path, beside: Path, work: Path) -> None:
    """Give what is finished the output's name; what stood there goes, or stays with its manifest where that fails."""
    moved = []
    try:
        for there, aside in ((beside, work / "earlier.json"), (path, work / "earlier")):
            if there.exists() and (there == beside or new.is_dir()):
                there.replace(aside)
                moved.append((aside, there))
        new.replace(path)
    except OSError:
        for aside, there in reversed(moved):
            aside.replace(there)
        raise


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
    with ExitStack() as stack:
        for region in places:
            part = ds.isel(region).load()
            table = part.to_dataframe(dim_order=list(ds.dims)).reset_index()
            if suffix == ".csv":
                first = not path.exists()
                inert_table(with_units(table)).to_csv(path, mode="a", header=first, index=False, float_format="%.7g")
            else:
                rows = pa.Table.from_pandas(table, preserve_index=False)
                writer = writer or stack.enter_context(pq.ParquetWriter(path, rows.schema))
                writer.write_table(rows)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # none of the system's, such as a cluster's whose connection is closed
            raise
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
