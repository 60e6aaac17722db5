"""The values of a sweep, evaluated in blocks and each written once.

An operator is evaluated on the sizes that it depends on: most of decoding's do not see the sequence length, and a
prompt's projections see batch size times length alone. A block fits into the caches, from its costs to its rates on
every GPU; only the results go through memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..catalog import Model
from ..common.arrays import Array
from ..common.machine import cores
from ..common.variables import ABSENT, COMPUTE, LINK, MEMORY
from ..kernels import OperandFormats, roofline, timed
from ..operators import COLLECTIVES, OPERATORS, Conventions, Cost, Step, decode, prefill, sees, shard
from .buffers import empty
from .sweep import COSTS, RATES, Sweep

#: What they are where a model lacks an operator.
NOTHING = {
    "flops": 0.0, "bytes": 0.0, "intensity": np.nan, "attainable": np.nan, "time": 0.0, "performance": np.nan,
    "bound": ABSENT,
}  # fmt: skip
#: Cells of a block (half of an ideal one's, on all GPUs together): smaller ones leave threads waiting for each other.
CELLS_AT_ONCE = 2**18
#: Cells of a sweep that is worth several threads [1].
THREADED = 3 * 2**20
Block = tuple[slice, ...]  # of the sizes but tp


def evaluate(
    sweep: Sweep, names: Iterable[str] = (*COSTS, *RATES), *, threads: int | None = None
) -> dict[str, np.ndarray]:
    """Variables of a sweep [SI] with the dims that each depends on, and `calls` by (model, operator[, tp]).

    All are computed in float64; float32 rounds each once, when it is written: a relative error of 2^-24, 6e-8. Without
    `threads` [1] there is one for each core, where there are cells enough for that.
    """
    tps = sweep.sizes["tp"].tolist() if "tp" in sweep.sizes else [1]
    lengths = [len(values) for name, values in sweep.sizes.items() if name != "tp"]
    shape = (len(sweep.models), len(sweep.operators), len(sweep.phases), *lengths, len(tps))
    out = {
        name: empty(shape if name in COSTS else (len(sweep.gpus), *shape), "int8" if name == "bound" else sweep.dtype)
        for name in names
    }
    calls = np.zeros((*shape[:2], len(tps)))
    shards = {name: [(shard(model, tp), sweep.formats[name], tp) for tp in tps] for name, model in sweep.models.items()}

    prompts = _distinct(sweep) if sweep.timing.time_model == "kernel" and {"time", "performance"} & out.keys() else None
    tables: dict[tuple[str, str, int], np.ndarray] = {}
    ceilings = cache(partial(_ceilings, sweep, len(lengths)))

    def tabulate(key: tuple[str, str, int]) -> None:
        """Times by GPU of a prompt's operator at every number of tokens that the sweep has."""
        model, operator, t = key
        if prompts and operator in sweep.has[model] and sees(operator) == "tokens":
            tables[key] = _tabulated(sweep, operator, model, shards[model][t], prompts[0])

    @np.errstate(over="ignore")  # what float32 cannot hold is inf; by call, as every thread has its own
    def fill(place: tuple[Block, int, Step, tuple[int, str], tuple[int, str]]) -> None:
        block, p, step, (i, model), (j, operator) = place
        for t, part in enumerate(shards[model]):
            at: tuple[Any, ...] = (i, j, p, *block, t)
            cost = _cost(operator, step, sweep.conventions, *part) if operator in sweep.has[model] else None
            if cost is None:
                for name, values in out.items():
                    values[at if name in COSTS else (slice(None), *at)] = NOTHING[name]
                continue
            calls[i, j, t] = cost.calls
            table = tables.get((model, operator, t)) if sweep.phases[p] == "prefill" else None
            known = None if table is None or prompts is None else (table, prompts[1][block])
            _write(sweep, out, at, cost, *ceilings(sweep.formats[model].computes_in(operator)), known)

    ideal = sweep.timing.time_model == "ideal"
    cells = max(2 * CELLS_AT_ONCE // len(sweep.gpus), CELLS_AT_ONCE // 4) if ideal else CELLS_AT_ONCE
    worth = prod(sweep.shape) >= THREADED
    places = (
        (block, p, step, model, operator)
        for block, (p, phase) in product(_blocks(lengths, cells), enumerate(sweep.phases))
        for step in [_step(sweep, phase, block)]
        for model, operator in product(enumerate(sweep.models), enumerate(sweep.operators))
    )
    with _threads(threads or (cores() if worth else 1)) as each:
        for function, items in (
            (tabulate, product(sweep.models, sweep.operators, range(len(tps)))),
            (fill, places),
        ):
            deque(each(function, items), maxlen=0)
    out["calls"] = calls
    return out if "tp" in sweep.sizes else {name: values[..., 0] for name, values in out.items()}


@contextmanager
def _threads(count: int) -> Iterator[Callable[..., Iterator[None]]]:
    """A `map` that runs in `count` threads [1]."""
    if count == 1:
        yield map
    else:
        with ThreadPoolExecutor(count) as pool:
            yield pool.map


def _blocks(lengths: list[int], cells: int) -> Iterator[Block]:
    """Slices of the sizes that cover them all, in order, each with at most `cells` cells [1]."""
    inner = prod(lengths[1:])
    if inner > cells:
        for i in range(lengths[0]):
            yield from ((slice(i, i + 1), *rest) for rest in _blocks(lengths[1:], cells))
    else:
        rows = cells // inner
        yield from ((slice(i, i + rows), *(slice(n) for n in lengths[1:])) for i in range(0, lengths[0], rows))


def _step(sweep: Sweep, phase: str, block: Block) -> Step:
    """The step of a phase, its sizes as float arrays that broadcast to (batch_size, seq_len[, candidates])."""
    values = [sizes for name, sizes in sweep.sizes.items() if name != "tp"]
    b, s, *c = np.ix_(*(sizes[part].astype(float) for sizes, part in zip(values, block, strict=True)))
    if phase == "prefill":
        return prefill(b, s, logits=sweep.logits)
    return decode(b, s, candidates=c[0] if c else 1)


def _distinct(sweep: Sweep) -> tuple[np.ndarray, np.ndarray] | None:
    """Distinct numbers of tokens in the sweep's prompts, and which of them each (batch_size, seq_len) has [1].

    None where a table of them would be larger than what it saves.
    """
    b, s = (sweep.sizes[name] for name in ("batch_size", "seq_len"))
    unit, cells = int(np.gcd.reduce(b)) * int(np.gcd.reduce(s)), len(b) * len(s)
    most = int(b.max()) * int(s.max())
    if "prefill" not in sweep.phases or cells < CELLS_AT_ONCE // 32 or most // unit > 4 * cells or most > 2**53:
        return None
    counts = np.multiply.outer(b // np.gcd.reduce(b), s // np.gcd.reduce(s))
    present = np.zeros(most // unit + 1, dtype=bool)
    present[counts] = True
    places = np.cumsum(present, dtype=np.int32) - 1
    every = places[counts]
    return np.flatnonzero(present) * float(unit), every[..., None] if "candidates" in sweep.sizes else every


def _tabulated(
    sweep: Sweep, operator: str, model: str, shard: tuple[Model, OperandFormats, int], tokens: np.ndarray
) -> np.ndarray:
    """Times of an operator's kernel by (gpu, number of tokens) [s]."""
    times = np.empty((len(sweep.gpus), len(tokens)))
    peak, *_ = _ceilings(sweep, 1, sweep.formats[model].computes_in(operator))
    for start in range(0, len(tokens), CELLS_AT_ONCE):
        part = slice(start, start + CELLS_AT_ONCE)
        cost = _cost(operator, Step(tokens[part], 1, 1, 0), sweep.conventions, *shard)
        times[:, part] = _kernel_times(sweep, cost, peak) if cost else 0.0
    return times


def _cost(
    operator: str, step: Step, conventions: Conventions, model: Model, formats: OperandFormats, tp: int
) -> Cost | None:
    """The cost of an operator on one of `tp` GPUs; None where the model has no such operator."""
    if operator in COLLECTIVES:
        return COLLECTIVES[operator](model, step, formats.widths, tp)
    cost = OPERATORS[operator](model, step, formats.widths, conventions)
    return cost and replace(cost, format=formats.kernel_format(operator))


def _write(
    sweep: Sweep,
    out: dict[str, np.ndarray],
    at: tuple[Any, ...],
    cost: Cost,
    peak: np.ndarray,
    bandwidth: np.ndarray,
    ridge: np.ndarray,
    known: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Write one operator's costs, and its rates on all GPUs, to their place.

    The ceilings [FLOP/s], [byte/s], [FLOP/byte] are by GPU; `known` are tabulated times [s] and the places in them.
    """
    flops, moved = np.asarray(cost.flops), np.asarray(cost.bytes)
    shape, exact = np.broadcast(flops, moved).shape, sweep.dtype == "float64"

    def put(name: str, place: tuple[Any, ...], function: Callable[..., Array], *operands: Array) -> Array:
        """Write what a function gives; where that has all the dims and needs no rounding, it writes there itself."""
        target = out[name][place] if name in out else None
        direct = exact and target is not None and target.shape[-len(shape) :] == shape
        values = function(*operands, out=target if direct else None)
        if target is not None and not direct:
            target[...] = values
        return values

    for name, values in (("flops", flops), ("bytes", moved)):
        if name in out:
            out[name][at] = values
    intensity = put("intensity", at, np.divide, flops, moved)
    everywhere, only = (slice(None), *at), _one_limit(intensity, ridge)
    if "attainable" in out and only == COMPUTE:
        out["attainable"][everywhere] = peak
    elif "attainable" in out and only == MEMORY:
        put("attainable", everywhere, np.multiply, intensity, bandwidth)
    elif "attainable" in out:
        put("attainable", everywhere, roofline.attainable, intensity, peak, bandwidth)
    if "bound" in out and (cost.gpus > 1 or only is not None):
        out["bound"][everywhere] = LINK if cost.gpus > 1 else only
    elif "bound" in out:
        put("bound", everywhere, roofline.bound, intensity, ridge)
    if "time" in out or "performance" in out:
        if known:
            time = put("time", everywhere, partial(np.take, axis=1, mode="clip"), *known)
        elif sweep.timing.time_model == "kernel" or cost.gpus > 1:
            time = put("time", everywhere, partial(_kernel_times, sweep, cost), peak)
        else:
            if only is None:
                time = put("time", everywhere, roofline.ideal_time, flops, moved, peak, bandwidth)
            else:
                time = put("time", everywhere, np.divide, *((flops, peak) if only == COMPUTE else (moved, bandwidth)))
            if sweep.timing.launch_latency:
                time = put("time", everywhere, np.add, time, sweep.timing.launch_latency)
        if "performance" in out:
            put("performance", everywhere, np.divide, flops, time)


def _one_limit(intensity: Array, ridge: np.ndarray) -> int | None:
    """The one limit of a kernel in all cells of a block on all GPUs, whose ceiling alone has to be computed, if any."""
    if np.min(intensity) >= ridge.max():
        return COMPUTE
    return MEMORY if np.max(intensity) < ridge.min() else None


def _ceilings(sweep: Sweep, dims: int, computing: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peak [FLOP/s] in a format, bandwidth [byte/s] and ridge point [FLOP/byte], by GPU and as many dims after it."""
    rates = [(gpu.peak_flop_rate(computing), gpu.bandwidth) for gpu in sweep.gpus.values()]
    peak, bandwidth = np.array(rates).T.reshape(2, -1, *(1,) * dims)
    return peak, bandwidth, peak / bandwidth


def _kernel_times(sweep: Sweep, cost: Cost, peak: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Times of one call by GPU [s], written to `out` where there is one."""
    times = np.empty((len(peak), *np.broadcast(cost.flops, cost.bytes).shape)) if out is None else out
    for g, gpu in enumerate(sweep.gpus.values()):
        times[g] = timed(gpu, cost, peak[g].item(), sweep.timing)
    return times
