"""The engines' hosts, and how popular some experts are, fitted to published closed loops with each model left out.

A closed loop of B users puts out a token for each of them in a step: what it measures as the time per output token is a
decoding step, and the prompts of the other users that steps in between take in,

    T(B) + t_step + t_sequence B + (B - 1) / (n - 1) P

with kernels T, the prompt's kernels P and n tokens of output. What is fitted is t_step and t_sequence of each engine,
and the spread of the experts' popularity, which T and P depend on (`servers.Replica`).
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..common.machine import cores
from ..common.progress import progress_bar
from ..files.writing import write_text
from ..operators import Step, decode
from ..servers import Server, step
from ..servers.steps import prefill_piece
from .published_serving import FOLDER, SHORTEST_SHARE, predict_serving, runs_of, server_of, serving_benchmarks

#: Spreads that kernels are timed at; between them they are interpolated [1].
SPREADS = (0.8, 1.3, 1.8)
#: Relative error from which on a run counts less [1].
FAR_OFF = 0.1


class Loop(NamedTuple):
    """One closed loop: users [1], their prompts for each decoding step [1], and by spread the kernels of both [s]."""

    users: int
    prompts: float
    decoding: tuple[float, ...]
    prompt: tuple[float, ...]


class Hosts(NamedTuple):
    """What is fitted: by engine, of every step and of every sequence in it [s]; and the experts' spread [1]."""

    step_overhead: dict[str, float]
    sequence_overhead: dict[str, float]
    expert_spread: float


def _loop(row: dict[str, Any]) -> Loop:
    server, users = server_of(row), int(row["load"])
    share = (1 + SHORTEST_SHARE[row["len_dist"]]) / 2
    prompt, output = share * row["isl"], share * row["osl"]
    context, budget = prompt + output / 2, float(server.max_num_batched_tokens)
    decoding, taking_in = [], []
    for spread in SPREADS:
        own = replace(server, expert_spread=spread)
        others = max(users - 1, 1)
        decoding.append(_kernels(own, decode(users, context)))
        mixed = _kernels(own, prefill_piece(1.0, min(prompt, budget)), decode(others, context))
        taking_in.append((mixed - _kernels(own, decode(others, context))) * max(prompt / budget, 1.0))
    return Loop(users, (users - 1) / (output - 1), tuple(decoding), tuple(taking_in))


def _kernels(server: Server, *pieces: Step) -> float:
    return float(np.sum([np.sum(work.time) for work in step(server, *pieces).values()]))


def closed_loops(rows: pd.DataFrame) -> list[Loop]:
    """What the fit has to know of benchmarks that are closed loops, by the kernels' times.

    Parameters
    ----------
    rows : pd.DataFrame
        Of `serving_benchmarks`.

    Returns
    -------
    list of Loop
        One a row.
    """
    with ProcessPoolExecutor(cores()) as pool:
        return [*pool.map(_loop, runs_of(rows), chunksize=16)]


def fit_hosts(rows: pd.DataFrame, loops: list[Loop]) -> Hosts:
    """Fit hosts and spread to the times per output token of closed loops, by the logarithm of the relative error.

    Parameters
    ----------
    rows : pd.DataFrame
        Of `serving_benchmarks`.
    loops : list of Loop
        `closed_loops` of them.

    Returns
    -------
    Hosts
        Of the engines that are among the rows.
    """
    from scipy.optimize import least_squares  # half a second, for this alone

    engines = sorted(rows.engine.unique())
    which = rows.engine.map(engines.index).to_numpy()
    users, prompts = np.array([each.users for each in loops]), np.array([each.prompts for each in loops])
    kernels = np.array([each.decoding for each in loops]) + prompts[:, None] * [each.prompt for each in loops]

    def residual(numbers: np.ndarray) -> np.ndarray:
        steps, sequences = numbers[:-1].reshape(2, -1)
        timed = np.array([np.interp(numbers[-1], SPREADS, each) for each in kernels])
        predicted = timed + 1e-3 * steps[which] + 1e-6 * sequences[which] * users
        off: np.ndarray = np.log(predicted / rows.tpot_s.to_numpy())
        return off

    start = np.array([0.3] * len(engines) + [10.0] * len(engines) + [SPREADS[1]])
    high = [2.0] * len(engines) + [100.0] * len(engines) + [SPREADS[-1]]
    low = [0.0] * 2 * len(engines) + [SPREADS[0]]
    found = least_squares(residual, start, bounds=(low, high), loss="soft_l1", f_scale=FAR_OFF, x_scale=start).x
    steps, sequences = found[:-1].reshape(2, -1)
    return Hosts(
        dict(zip(engines, (1e-3 * steps).tolist(), strict=True)),
        dict(zip(engines, (1e-6 * sequences).tolist(), strict=True)),
        float(found[-1]),
    )


def write_held_out(*, progress: bool = True) -> pd.DataFrame:
    """Predict every benchmark by hosts and a spread that were fitted without its model; write what comes out.

    An engine that no other model's runs show has its preset; so have the runs' other settings.

    Parameters
    ----------
    progress : bool
        Show bars on the terminal.

    Returns
    -------
    pd.DataFrame
        As in ``data/serving/held_out.csv``: row, tokens_per_second [token/s], ttft_s and tpot_s [s].
    """
    rows = serving_benchmarks()
    closed = rows[rows.load_kind == "closed_loop"]
    loops = dict(zip(closed.index, closed_loops(closed), strict=True))
    parts: list[pd.DataFrame] = []
    with progress_bar("models", show=progress) as tick:
        models = sorted(rows.model.unique())
        for done, model in enumerate(models, 1):
            seen = closed[closed.model != model]
            hosts = fit_hosts(seen, [loops[place] for place in seen.index])
            parts.append(predict_serving(rows[rows.model == model], changes=changes_of(hosts)))
            tick(done, len(models))
    table = pd.concat(parts).sort_index().rename_axis("row").drop(columns="refused")
    text = table.to_csv(float_format="%.6g", lineterminator="\n")
    write_text(HELD_OUT_HEADER + text, Path(str(FOLDER / "held_out.csv")))
    return table


def changes_of(hosts: Hosts) -> dict[str, dict[str, float]]:
    """Fitted numbers as `predict_serving` takes them: settings of a server by its engine."""
    return {
        name: {
            "step_overhead": seconds, "sequence_overhead": hosts.sequence_overhead[name],
            "expert_spread": hosts.expert_spread,
        }
        for name, seconds in hosts.step_overhead.items()
    }  # fmt: skip


HELD_OUT_HEADER = """\
# What the simulator predicts for the rows of benchmarks.csv, by number, with hosts and a spread of the experts'
# popularity that were fitted without the row's model. Written by `make serving`.
"""
