"""What is published of whole servers, recomputed: each claim is a run of ``data/serving/benchmarks.csv``."""

from functools import cache
from typing import Any

from ..studies.published_serving import runs_of, served, serving_benchmarks
from .values import Recomputed


def served_throughput(**run: Any) -> Recomputed:
    """Tokens per second of a published run, of all its GPUs, by the simulator [token/s].

    Its inputs are columns of the benchmarks, as many as it takes to name one run: source, gpu, model, tp, isl, ...
    """
    return Recomputed(_throughput(tuple(sorted(run.items()))))


@cache
def _throughput(run: tuple[tuple[str, Any], ...]) -> float:
    rows = serving_benchmarks()
    for name, value in run:
        if name not in rows:
            raise ValueError(f"no column {name!r}: a published run has {', '.join(map(str, rows))}")
        rows = rows[rows[name] == value]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} published runs are {dict(run)}: name one")
    return float(served(runs_of(rows)[0])["tokens_per_second"])
