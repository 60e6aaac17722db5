"""Search: the best setting of a grid or of a server under constraints, and Pareto fronts, block by block.

Nothing is held but a block and the best so far, so that a lazy grid (`roofline_grid(..., chunks="auto")`) may be larger
than memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .axes import entries, is_number, whole_numbers
from .catalog import gpu as find_gpu
from .catalog import model as find_model
from .names import unknown
from .serving import estimate

#: Variables of which more is better; of all others less is.
MORE = frozenset({
    "attainable", "performance", "intensity", "kv_capacity", "largest_batch", "tokens_per_second",
    "tokens_per_second_per_user", "requests_per_second", "mfu", "mbu",
})  # fmt: skip
#: Requests of one size that `estimates` takes at a time [1].
BLOCK = 2**12

Source = xr.Dataset | Iterable[xr.Dataset]


def best(
    source: Source, objective: str, *, limits: Mapping[str, float] | None = None, by: str | Iterable[str] = ()
) -> pd.DataFrame:
    """The setting with the best value of a variable, of all or of each group, among those that keep to the limits.

    source : a grid, lazy or not, or blocks of settings, e.g. `search.estimates`
    objective : the variable [SI]; the largest is best of those in `MORE` (rates, utilization), else the smallest
    limits : by variable, what it may be at most, or at least of those in `MORE` [SI]; a variable that a block has by
        phase or operator is held for each
    by : dims with one row for each label, e.g. "model", or ["gpu", "operator"]

    Returns a row per group: the labels of the setting, the objective and the limited variables [SI]. A group in which
    no setting keeps to the limits, or fits in memory, has no row. Of equal ones the first is taken.

    Raises ValueError for an unknown variable or dim, and for limits that are not numbers.
    """
    return _search(source, [objective], limits, by, _first)


def pareto(
    source: Source, x: str, y: str, *, limits: Mapping[str, float] | None = None, by: str | Iterable[str] = ()
) -> pd.DataFrame:
    """The settings that no other one beats in `x` without being worse in `y`: the Pareto front of each group.

    x, y : variables [SI], which are better smaller or larger as for `best`, with its other arguments and errors

    Returns a row per setting, by group, from the best x to the best y; of equal ones the first.
    """
    return _search(source, [x, y], limits, by, _front)


def estimates(
    gpu: Any, model: Any, batch_size: Any = 1, prompt: Any = 512, output: Any = 128, tp: Any = 1, **options: Any
) -> Iterator[xr.Dataset]:
    """`serving.estimate` of the same arguments, in blocks: one GPU, model and tp each, some of the batch sizes."""
    cards, models = entries("gpu", gpu, find_gpu), entries("model", model, find_model)
    batches, tps, prompts, outputs = (
        whole_numbers(name, values)
        for name, values in (("batch_size", batch_size), ("tp", tp), ("prompt", prompt), ("output", output))
    )
    step = max(BLOCK // (len(prompts) * len(outputs)), 1)
    for card, entry, size in product(cards.values(), models.values(), tps.tolist()):
        for start in range(0, len(batches), step):
            yield estimate(card, entry, batches[start : start + step], prompts, outputs, size, **options)


def _search(
    source: Source, names: list[str], limits: Mapping[str, float] | None, by: str | Iterable[str],
    choose: Callable[..., np.ndarray],
) -> pd.DataFrame:  # fmt: skip
    """The rows that `choose` picks by their scores in every group, of each block and then of what those picked."""
    limits, dims = dict(limits or {}), [by] if isinstance(by, str) else list(by)
    for name, limit in limits.items():
        if not is_number(limit) or np.isnan(limit):
            raise ValueError(f"limit of {name} = {limit!r}: allowed are numbers")
    shown = list(dict.fromkeys([*names, *limits]))
    groups: dict[tuple[Any, ...], pd.DataFrame] = {}
    for ds in [source] if isinstance(source, xr.Dataset) else source:
        _check(ds, shown, dims)
        for block in _blocks(ds[[*shown, *(["fits"] if "fits" in ds else [])]]):
            for group, table in _rows(block, names, shown, limits, dims, choose):
                both = pd.concat([groups[group], table]) if group in groups else table
                groups[group] = both.iloc[choose(*(_scores(name, both[name].to_numpy()) for name in names))]
    return pd.concat(groups.values(), ignore_index=True) if groups else pd.DataFrame()


def _check(ds: xr.Dataset, names: list[str], dims: list[str]) -> None:
    for name in names:
        if name not in ds.data_vars or ds[name].dtype.kind not in "fiu":
            raise unknown("variable", name, [n for n, v in ds.data_vars.items() if v.dtype.kind in "fiu"])
    for dim in dims:
        if dim not in ds[names].dims:
            raise unknown("dim", dim, ds[names].dims)


def _blocks(ds: xr.Dataset) -> Iterator[xr.Dataset]:
    """A Dataset chunk by chunk, in memory; one that is not lazy as it is."""
    slices = {}
    for dim, lengths in ds.chunks.items():
        ends = np.cumsum(lengths).tolist()
        slices[dim] = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    for place in product(*slices.values()):
        yield ds.isel(dict(zip(slices, place, strict=True))).load()


def _rows(
    block: xr.Dataset, names: list[str], shown: list[str], limits: dict[str, float], by: list[str],
    choose: Callable[..., np.ndarray],
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:  # fmt: skip
    """Of each group in a block its labels and the rows picked, of those that keep to the limits and fit in memory."""
    variables = xr.broadcast(*(block[name] for name in block.data_vars))
    values = {str(variable.name): variable.transpose(*by, ...) for variable in variables}
    dims, shape = values[names[0]].dims, values[names[0]].shape
    kept = np.logical_and.reduce([np.isfinite(values[name].values) for name in names])
    if "fits" in values:
        kept &= values["fits"].values
    for name, limit in limits.items():
        kept &= _scores(name, values[name].values) <= (-limit if name in MORE else limit)
    groups = int(np.prod(shape[: len(by)]))
    flat = {name: values[name].values.reshape(groups, -1) for name in shown}
    for group, here in enumerate(kept.reshape(groups, -1)):
        cells = np.flatnonzero(here)
        if cells.size:
            cells = cells[choose(*(_scores(name, flat[name][group, cells]) for name in names))]
            places = np.unravel_index(group * here.size + cells, shape)
            labels = {str(dim): block[dim].values[at] for dim, at in zip(dims, places, strict=True)}
            table = pd.DataFrame(labels | {name: flat[name][group, cells] for name in shown})
            yield tuple(table[dim].iloc[0] for dim in by), table


def _scores(name: str, values: np.ndarray) -> np.ndarray:
    """A variable's values, turned so that less is better."""
    return -values if name in MORE else values


def _first(scores: np.ndarray) -> np.ndarray:
    """The place of the least, of equal ones the first."""
    return np.array([scores.argmin()])


def _front(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Places that no other one dominates, from the least a to the least b; of equal ones the first."""
    order = np.lexsort((b, a))  # stable
    before = np.minimum.accumulate(np.r_[np.inf, b[order][:-1]])
    return order[b[order] < before]
