"""Lazy grids: the variables of a sweep as dask arrays, a task for every chunk, by the code of whole grids."""

from collections.abc import Iterator
from itertools import product
from typing import Any
from uuid import uuid4

import numpy as np

from ..common.extras import check_libraries

check_libraries("dask")

import dask.array as da
from dask.highlevelgraph import HighLevelGraph

from .evaluation import evaluate
from .sweep import COSTS, RATES, Sweep

Slices = dict[str, list[slice]]  # of every dim, as from `Sweep.chunks`


def lazy_variables(sweep: Sweep, slices: Slices) -> dict[str, Any]:
    """The variables of `evaluate`, all but `calls` as dask arrays, chunked by `slices`.

    One cell of each kernel is evaluated here, so that what cannot be computed is refused at once.
    """
    result: dict[str, Any] = {
        "calls": evaluate(sweep.part(dict.fromkeys(("batch_size", "seq_len"), slice(1))))["calls"]
    }
    for names in (COSTS, RATES):
        dims = [dim for dim in slices if dim != "gpu" or names is RATES]
        layer: dict[Any, Any] = {}
        group = f"{names[-1]}-{uuid4().hex}"
        for index, region in regions({dim: slices[dim] for dim in dims}):
            layer[group, *index] = (_part, sweep, region, names)
        chunks = tuple(tuple(part.stop - part.start for part in slices[dim]) for dim in dims)
        shared = HighLevelGraph.from_collections(group, layer)
        for name in names:
            key = f"{name}-{uuid4().hex}"
            picks: dict[Any, Any] = {(key, *index): (_pick, (group, *index), name) for _, *index in layer}
            graph = HighLevelGraph({**shared.layers, key: picks}, {**shared.dependencies, key: {group}})
            meta = np.empty(0, np.int8 if name == "bound" else sweep.dtype)
            result[name] = da.Array(graph, key, chunks, meta=meta)  # type: ignore[no-untyped-call]
    return result


def regions(slices: Slices) -> Iterator[tuple[tuple[int, ...], dict[str, slice]]]:
    """Every region of a chunked sweep, in order: its place among the slices of each dim, and its slices."""
    for place in product(*(enumerate(parts) for parts in slices.values())):
        yield tuple(i for i, _ in place), dict(zip(slices, (part for _, part in place), strict=True))


def _part(sweep: Sweep, region: dict[str, slice], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return evaluate(sweep.part({"gpu": slice(1)} | region), names, threads=1)


def _pick(values: dict[str, np.ndarray], name: str) -> np.ndarray:
    return values[name]
