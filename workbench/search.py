"""Search: the best setting of a grid or of a server under constraints, and Pareto fronts, block by block.

Only one block and the best so far are held, so that a lazy grid (``roofline_grid(..., chunks="auto")``) may be larger
than memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product, starmap
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .catalog.gpu_entries import gpu as find_gpu
from .catalog.loading import entries
from .catalog.model_entries import model as find_model
from .common.arguments import as_list, check_range, checked_names, whole_numbers
from .common.errors import shown, unknown
from .common.variables import ABSENT, VARIABLES
from .kernels.unknowns import joined
from .serving.estimation import estimate
from .serving.pareto import pareto_front

#: Requests of one size that `estimates` takes at a time [1].
REQUESTS_AT_ONCE = 2**12

Blocks = xr.Dataset | Iterable[xr.Dataset]
Names = str | Iterable[str]


def best(
    source: Blocks, objective: str, *, limits: Mapping[str, float] | None = None, by: Names = (),
    maximize: Names = (), minimize: Names = (),
) -> pd.DataFrame:  # fmt: skip
    """The setting with the best value of a variable, among those that keep to the limits.

    Parameters
    ----------
    source : xr.Dataset or iterable of xr.Dataset
        A grid, lazy or not, or blocks of settings such as `estimates`.
    objective : str
        The variable [SI]. The largest value is best where more is better (rates, utilization), else the smallest.
    limits : mapping of str to float, optional
        By variable, its maximum, or its minimum where more is better [SI]. A variable that a block has by phase or
        operator has to keep to the limit in each of them.
    by : str or iterable of str
        Dims with one row for each label, such as "model" or ["gpu", "operator"].
    maximize, minimize : str or iterable of str
        Which of these variables are to be large, or small, against the default; a variable of your own, which the
        workbench does not know, has to be in one of the two.

    Returns
    -------
    pd.DataFrame
        A row a group: the labels of the setting, the objective and the limited variables [SI]. A group without a
        setting that keeps to the limits and fits in memory has no row, nor has an operator that a model lacks. Of equal
        settings the first is taken. The attribute `assumed` is that of all the blocks.

    Raises
    ------
    ValueError
        For an unknown variable or dim, a limit that is not a number, or a source without a Dataset.
    """
    return _search(source, [objective], limits, by, maximize, minimize, _first)


def pareto(
    source: Blocks, x: str, y: str, *, limits: Mapping[str, float] | None = None, by: Names = (),
    maximize: Names = (), minimize: Names = (),
) -> pd.DataFrame:  # fmt: skip
    """The settings that no other setting beats in one variable without being worse in another: the Pareto front.

    Parameters
    ----------
    source : xr.Dataset or iterable of xr.Dataset
        A grid, lazy or not, or blocks of settings such as `estimates`.
    x, y : str
        The two variables [SI]; whether large or small values are better is as for `best`.
    limits, by, maximize, minimize : optional
        As for `best`.

    Returns
    -------
    pd.DataFrame
        A row a setting, by group, from the best x to the best y, with the labels and variables [SI] of `best`; of equal
        settings the first.

    Raises
    ------
    ValueError
        As for `best`.
    """
    return _search(source, [x, y], limits, by, maximize, minimize, lambda *values: pareto_front(values))


def estimates(
    gpu: Any, model: Any, batch_size: Any = 1, prompt: Any = 512, output: Any = 128, tp: Any = 1, **options: Any
) -> Iterable[xr.Dataset]:
    """Estimates of servers in blocks, for `best` and `pareto`; each is made when it is asked for, as often as it is.

    Parameters
    ----------
    gpu, model, batch_size, prompt, output, tp
        As for `serving.estimate`: ids or entries; requests [1], prompt and output [token], GPUs [1]; one or several of
        each.
    **options
        The other options of `serving.estimate`.

    Returns
    -------
    iterable of xr.Dataset
        `serving.estimate` of one GPU, model and tp, and of some of the batch sizes [SI].
    """
    cards, models = entries("gpu", gpu, find_gpu), entries("model", model, find_model)
    batches, tps, prompts, outputs = (
        whole_numbers(name, values)
        for name, values in (("batch_size", batch_size), ("tp", tp), ("prompt", prompt), ("output", output))
    )
    step = max(REQUESTS_AT_ONCE // (len(prompts) * len(outputs)), 1)
    blocks = [batches[start : start + step] for start in range(0, len(batches), step)]
    settings = [*product(cards.values(), models.values(), tps.tolist(), blocks)]
    return _Lazily(
        lambda card, entry, size, block: estimate(card, entry, block, prompts, outputs, size, **options), settings
    )


class _Lazily:
    """Blocks that are made one by one, anew each time that they are gone through."""

    def __init__(self, make: Callable[..., xr.Dataset], settings: list[tuple[Any, ...]]) -> None:
        """Begin with none of them made."""
        self.make, self.settings = make, settings

    def __iter__(self) -> Iterator[xr.Dataset]:
        return starmap(self.make, self.settings)


@dataclass(frozen=True)
class _Question:
    """What is asked: the objectives, their limits, dims with a row for each label, and which settings to choose.

    Variables in `more` are to be large, those in `less` small, against the default.
    """

    objectives: list[str]
    limits: dict[str, float]
    by: list[Any]
    more: list[Any]
    less: list[Any]
    choose: Callable[..., np.ndarray]

    @property
    def shown(self) -> list[str]:
        """Variables of a row."""
        return list(dict.fromkeys([*self.objectives, *self.limits]))

    def larger(self, name: str) -> bool:
        """Whether more of a variable is better."""
        return name in self.more or (name in VARIABLES and VARIABLES[name].more and name not in self.less)

    def chosen(self, values: list[np.ndarray]) -> np.ndarray:
        """Places of the best values of the objectives, turned so that less is better; never unsigned."""
        return self.choose(*(
            np.negative(v, dtype=np.result_type(v, np.int8)) if self.larger(name) else v
            for name, v in zip(self.objectives, values, strict=True)
        ))  # fmt: skip

    def check(self, ds: xr.Dataset) -> None:
        """Raise ValueError for a variable that a block lacks, or whose better direction is unknown."""
        numbers = [name for name, variable in ds.data_vars.items() if variable.dtype.kind in "fiu"]
        for name in (*self.objectives, *self.limits):
            if not isinstance(name, str) or name not in numbers:
                raise unknown("variable", name, numbers)
        for label, given in (("maximize", self.more), ("minimize", self.less)):
            _names(f"variable in {label}", given, self.shown)
        for name in self.shown:
            if name in self.more and name in self.less:
                raise ValueError(f"{name!r} is in maximize and in minimize: give it in one of them")
            if name not in VARIABLES and name not in self.more and name not in self.less:
                raise ValueError(f"is more or less of {name!r} better? Give maximize={name!r} or minimize={name!r}")


def _search(
    source: Blocks, objectives: list[str], limits: Mapping[str, float] | None, by: Names, maximize: Names,
    minimize: Names, choose: Callable[..., np.ndarray],
) -> pd.DataFrame:  # fmt: skip
    """The rows that `choose` picks by their scores in every group, of each block and then of what those picked."""
    names = (_listed("by", by), _listed("maximize", maximize), _listed("minimize", minimize))
    asked = _Question(objectives, _limits(limits), *names, choose)
    groups: dict[tuple[Any, ...], pd.DataFrame] = {}
    nothing, told = None, list[str]()
    for ds in _datasets(source):
        part = _part(ds, asked)
        told.append(ds.attrs.get("assumed", ""))
        for block in _blocks(part):
            for group, table in _rows(block, asked):
                both = pd.concat([groups[group], table]) if group in groups else table
                groups[group] = both.iloc[asked.chosen([both[name].to_numpy() for name in objectives])]
        nothing = _no_rows(part, asked) if nothing is None else nothing
    if nothing is None:
        raise ValueError("source is empty: give at least one Dataset")
    table = pd.concat(groups.values(), ignore_index=True) if groups else nothing
    table.attrs["assumed"] = joined(told)
    return table


def _datasets(source: Blocks) -> Iterator[xr.Dataset]:
    one = str | np.ndarray | xr.Dataset | xr.DataArray | pd.DataFrame
    single = isinstance(source, one) or not isinstance(source, Iterable)
    for ds in [source] if single else source:
        if not isinstance(ds, xr.Dataset):
            raise ValueError(f"source is a {type(ds).__name__}: expected a Dataset, or several as `estimates` yields")
        yield ds


def _limits(limits: Any) -> dict[str, float]:
    if limits is not None and not isinstance(limits, Mapping):
        raise ValueError(f"limits = {shown(limits)}: allowed are numbers by variable, e.g. {{'time': 0.5}}")
    checked = {}
    for name, limit in (limits or {}).items():
        checked[name] = check_range(f"limit of {name}", limit, np.inf, low=-np.inf)
    return checked


def _listed(name: str, values: Any) -> list[Any]:
    """One name or several, or none, as a list."""
    return [] if isinstance(values, tuple | list) and not values else as_list(name, values)


def _names(kind: str, given: list[Any], allowed: Iterable[str]) -> list[str]:
    return checked_names(kind, given, allowed) if given else []


def _part(ds: xr.Dataset, asked: _Question) -> xr.Dataset:
    """What is asked of a Dataset: its variables, and in `_there` which settings fit and have that operator."""
    asked.check(ds)
    there = ds.fits if "fits" in ds else xr.DataArray(True)
    if "calls" in ds or "bound" in ds:
        has = ds.calls > 0 if "calls" in ds else ds.bound != ABSENT
        there = there & has.any([dim for dim in has.dims if dim not in ds[asked.shown].dims])
    part = ds[asked.shown].assign(_there=there)
    if not part.dims:
        raise ValueError("source has one setting and no dims: select with lists, e.g. sel(gpu=['t4'])")
    _names("dim in by", asked.by, [str(dim) for dim in part.dims])
    return part.assign_coords({dim: part[dim] for dim in part.dims}).unify_chunks()


def _blocks(ds: xr.Dataset) -> Iterator[xr.Dataset]:
    """A Dataset chunk by chunk, in memory; one that is not lazy as a whole."""
    slices = {}
    for dim, lengths in ds.chunks.items():
        ends = np.cumsum(lengths).tolist()
        slices[dim] = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    for place in product(*slices.values()):
        yield ds.isel(dict(zip(slices, place, strict=True))).load()


def _rows(block: xr.Dataset, asked: _Question) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """For each group of a block, its labels and the rows chosen from those that exist and keep to the limits."""
    variables = xr.broadcast(*(block[name] for name in block.data_vars))
    values = {str(variable.name): variable.transpose(*asked.by, ...) for variable in variables}
    dims, shape = values["_there"].dims, values["_there"].shape
    kept = values["_there"].values & np.logical_and.reduce([np.isfinite(values[n].values) for n in asked.objectives])
    for name, limit in asked.limits.items():
        kept &= values[name].values >= limit if asked.larger(name) else values[name].values <= limit
    groups = int(np.prod(shape[: len(asked.by)]))
    flat = {name: values[name].values.reshape(groups, -1) for name in asked.shown}
    for group, here in enumerate(kept.reshape(groups, -1)):
        cells = np.flatnonzero(here)
        if cells.size:
            cells = cells[asked.chosen([flat[name][group, cells] for name in asked.objectives])]
            places = np.unravel_index(group * here.size + cells, shape)
            labels = {str(dim): block[dim].values[at] for dim, at in zip(dims, places, strict=True)}
            table = pd.DataFrame(labels | {name: flat[name][group, cells] for name in asked.shown})
            yield tuple(table[dim].iloc[0] for dim in asked.by), table


def _no_rows(part: xr.Dataset, asked: _Question) -> pd.DataFrame:
    """The columns that `_rows` gives of each group, without a row."""
    dims = [*asked.by, *(str(dim) for dim in part.dims if dim not in asked.by)]
    labels = {dim: part[dim].values[:0] for dim in dims}
    return pd.DataFrame(labels | {name: np.empty(0, part[name].dtype) for name in asked.shown})


def _first(scores: np.ndarray) -> np.ndarray:
    """The place of the least value; of equal ones the first."""
    return np.array([scores.argmin()])
