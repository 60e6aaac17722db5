"""Fits of every GPU, engine and format in one table of timings, and how far off the catalog's are on such a table."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd

from ..catalog.choosing import SAME_ARCHITECTURE, Candidate, catalog_fits, gpus_apart
from ..catalog.engine_entries import engines
from ..catalog.fits import IDENTITY, LINK_KINDS, CollectiveFit, Fit, fits_file
from ..catalog.gpu_entries import GPU, KernelFit, borrowed_fit, kernel_fit
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.links import link_of, nearest_link_fit
from ..common.arguments import whole_number
from ..common.machine import cores
from ..files.writing import write_text
from ..signatures import typed
from .fitting import described
from .kinds import FITTED
from .least_squares import REGIMES, Timings
from .rows import FEWEST_ROWS, Group, by_group, held_together

#: Rows of a group that are fitted on, drawn by a seed: more of one make hardly another fit [1].
DRAWN_ROWS = 600
#: Columns of a judgement.
JUDGED = [
    *("gpu", "kind", "format", "engine", "version", "family", "regime", "rows", "ideal_error_percent"),
    *("error_percent", "bias_percent", "held_out_percent", "elsewhere_percent", "noise_percent", "fit"),
]
#: Parameters of a collective that timings between two GPUs determine.
OF_A_PAIR = ("launch_us", "small_fraction", "pair_fraction")


@typed(table=("gpu", "engine", "version", "family", "format", "operator_class", "time_s"))
def fit_catalog(
    table: pd.DataFrame, source: str, *, processes: int | None = None, tick: Callable[[int, int], None] | None = None
) -> dict[str, list[Fit]]:
    """Fit every GPU, kind of kernel, format, engine and kernel library that a table has enough timings of.

    Parameters
    ----------
    table : pd.DataFrame
        From `read_operators`.
    source : str
        Where the timings are from.
    processes : int, optional
        That share the work [1]; None is one for each core.
    tick : callable, optional
        Called with (fits made, of how many).

    Returns
    -------
    dict of list of Fit
        By GPU. Each has its errors on shapes that it did not see, those of the fit that the GPU would borrow had it
        none, and how far apart engines are on the same shapes.
    """
    workers = cores() if processes is None else whole_number("processes", processes)
    tasks = [
        (str(name), group, _drawn(rows))
        for name, own in table.groupby("gpu", sort=True)
        for group, rows in by_group(own.drop(columns="gpu"))[0].items()
    ]
    whole: list[tuple[str, Group, pd.DataFrame]] = []
    pairs: list[tuple[str, Group, pd.DataFrame]] = []
    for task in tasks:
        (pairs if task[1].kind in LINK_KINDS and task[2].gpus.nunique() == 1 else whole).append(task)
    fits: dict[str, list[Fit]] = {}
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(partial(_fitted, source), whole)
        for done, (task, fit) in enumerate(zip(whole, found, strict=True), 1):
            fits.setdefault(task[0], []).append(fit)
            if tick:
                tick(done, len(tasks))
    lenders = [Candidate(find_gpu(name), fit) for name, own in fits.items() for fit in own]
    for done, (name, group, rows) in enumerate(pairs, len(whole) + 1):
        lent = _of_the_link(find_gpu(name), group.kind, group.engine, lenders)
        fits.setdefault(name, []).append(_fitted(source, (name, group, rows), lent))
        if tick:
            tick(done, len(tasks))
    noise = _noise(table)
    candidates = [Candidate(find_gpu(name), fit) for name, own in fits.items() for fit in own]
    rows_of: dict[tuple[str, ...], pd.DataFrame] = {(name, *group): rows for name, group, rows in tasks}
    for name, own in fits.items():
        others = [each for each in candidates if each.gpu.id != name]
        own[:] = [
            fit.model_copy(
                update={
                    "elsewhere_percent": _elsewhere(name, fit, rows_of, others),
                    "noise_percent": noise.get((name, fit.kind, fit.format)),
                }
            )
            for fit in own
        ]
    return fits


def _of_the_link(card: GPU, kind: str, engine: str, lenders: list[Candidate]) -> CollectiveFit | None:
    """Parameters of the nearest fit of an engine's collectives over the same generation of link."""
    like = [each for each in lenders if each.fit.kind == kind and each.fit.engine == engine]
    like = [each for each in like if link_of(each.gpu) == link_of(card)]
    parameters = nearest_link_fit(card, kind, engine, like).fit.parameters if like else None
    return parameters if isinstance(parameters, CollectiveFit) else None


def _drawn(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sample(DRAWN_ROWS, random_state=0) if len(rows) > DRAWN_ROWS else rows


def _fitted(source: str, task: tuple[str, Group, pd.DataFrame], lent: CollectiveFit | None = None) -> Fit:
    """One fit; of a link that was measured between two GPUs alone, what more of them do is lent."""
    name, group, rows = task
    timings = Timings(group.kind, group.format, rows, find_gpu(name))
    if lent is not None:
        timings.bounds = {each: timings.bounds[each] for each in OF_A_PAIR}
        timings.variants = [lent.model_dump(exclude=set(OF_A_PAIR))]
    record, solution = timings.fit(timings.usable)
    together = held_together(group.kind, rows)
    off = 100 * (timings.held_out(together, rows, record) / timings.time - 1)[timings.seen(record)]
    today = date.today().isoformat()
    return described(group, timings, record, solution, together, off, source=source, date=today)


def _elsewhere(
    name: str, fit: Fit, rows_of: Mapping[tuple[str, ...], pd.DataFrame], others: list[Candidate]
) -> float | None:
    """Error on a GPU's rows of the fit that it would borrow from the others of its architecture, or link [%]."""
    card = find_gpu(name)
    known = [each for each in others if (each.fit.kind, each.fit.format) == (fit.kind, fit.format)]
    if fit.kind in LINK_KINDS:
        family = [each for each in known if link_of(each.gpu) == link_of(card) and each.fit.engine == fit.engine]
    else:
        family = [each for each in known if gpus_apart(card, each.gpu) <= SAME_ARCHITECTURE]
    if not family:
        return None
    rows = rows_of[name, fit.kind, fit.format, fit.engine, fit.version, fit.family]
    lent = borrowed_fit(card, fit.kind, fit.format, fit.engine, family, fit.family)
    timings = Timings(fit.kind, fit.format, rows, card)
    return float(100 * np.abs(timings.predict(lent.fit) / timings.time - 1)[timings.seen(fit.parameters)].mean())


def _noise(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """By GPU, kind and format, the mean difference of the same shape in two engines or versions [%]."""
    found: dict[tuple[str, str, str], float] = {}
    for key, rows in table.groupby(["gpu", "operator_class", "format"], sort=True):
        name, kind, form = map(str, key)
        columns = [*FITTED[kind].columns, *(c for c in ("skew", "tp", "ep", "window") if c in rows)]
        times = rows.pivot_table("time_s", [*dict.fromkeys(columns)], ["engine", "version"], "median", dropna=False)
        logs = np.log(times[times.notna().sum(axis=1) > 1])
        if len(logs) >= FEWEST_ROWS:
            apart = logs.max(axis=1) - logs.min(axis=1)
            found[name, kind, form] = float(100 * apart.mean())
    return found


def write_fits(fits: Mapping[str, Iterable[Fit]], folder: Path) -> list[Path]:
    """Write a file of fits a GPU, beside those that the catalog has of other kernels, or of more and other timings.

    Parameters
    ----------
    fits : mapping of str to iterable of Fit
        By the GPU's id.
    folder : Path
        Where to, such as the catalog's own ``data/fits``.

    Returns
    -------
    list of Path
        The files.
    """
    paths = []
    for name, own in fits.items():
        identity = attrgetter(*IDENTITY)
        new = {identity(fit): fit for fit in own}
        kept = []
        for fit in catalog_fits(name):
            successor = new.get(identity(fit))
            if successor is None or (fit.source != successor.source and fit.rows > successor.rows):
                kept.append(fit)
        order = {kind: place for place, kind in enumerate(FITTED)}
        every = sorted([*kept, *new.values()], key=lambda fit: (order[fit.kind], fit.format, fit.engine, fit.family))
        paths.append(folder / f"{name}.yaml")
        write_text(fits_file(every), paths[-1])
    return paths


@typed(table=("gpu", "engine", "version", "family", "format", "operator_class", "time_s"))
def judge(table: pd.DataFrame) -> pd.DataFrame:
    """How far off the catalog's fits are on a table of timings.

    Parameters
    ----------
    table : pd.DataFrame
        From `read_operators`; timings that the fits were made from, or others, of GPUs that have fits or of others.

    Returns
    -------
    pd.DataFrame
        A row a GPU, kind, format, engine, version, family and regime ("all" as well): rows [1]; ideal_error_percent,
        error_percent, bias_percent of the roofline, and of the fit that the GPU, engine and format compute with [%];
        held_out_percent, elsewhere_percent and noise_percent, what that fit's record says [%]; fit, whose it is.
    """
    found = []
    for name, own in table.groupby("gpu", sort=True):
        card = find_gpu(str(name))
        for group, rows in by_group(own.drop(columns="gpu"), fewest=1)[0].items():
            engine = group.engine if group.engine in engines() else None
            used = kernel_fit(card, group.kind, group.format, engine, family=group.family)
            fitted = (used.gpu, used.record.format, used.record.engine, used.record.family)
            its = fitted == (name, group.format, group.engine, group.family)
            judged = _judged(Timings(group.kind, group.format, rows, card), used, own=its)
            found.append(judged.assign(gpu=name, **group._asdict()))
    return pd.concat(found).sort_values(["kind", "format", "engine", "gpu", "family"], kind="stable")[JUDGED]


def _judged(timings: Timings, used: KernelFit, *, own: bool) -> pd.DataFrame:
    """Errors of one fit by regime, and what its record says where it is of `own` timings, not borrowed [%]."""
    off, ideal = (100 * (times / timings.time - 1) for times in (timings.predict(used.fit), timings.ideal))
    table = pd.DataFrame({"ideal_error_percent": np.abs(ideal), "error_percent": np.abs(off), "bias_percent": off})
    table = table.assign(regime=timings.regime, rows=1)[timings.seen(used.fit)]
    both = pd.concat([table.assign(regime="all"), table])
    means = both.groupby("regime").agg(dict.fromkeys(table.columns[:3], "mean") | {"rows": "sum"})
    record = used.record
    return means.reindex([name for name in ("all", *REGIMES) if name in means.index]).reset_index().assign(
        held_out_percent=record.error_percent if own else np.nan,
        elsewhere_percent=record.elsewhere_percent if own else np.nan,
        noise_percent=record.noise_percent if own else np.nan, fit=used.label,
    )  # fmt: skip
