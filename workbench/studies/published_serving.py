"""Published measurements of servers, predicted: the requests of each through a simulated server of its settings."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..catalog import engine as find_engine
from ..common.arguments import one_of, whole_number
from ..common.machine import cores
from ..common.progress import progress_bar
from ..common.project import DATA
from ..files.writing import write_text
from ..files.yaml_files import read_mapping
from ..kernels import TIME_MODELS
from ..signatures import typed
from ..simulation import Server, Workload, simulate

FOLDER = DATA / "serving"
#: The columns of a benchmark that say what was run, and those that say what was measured.
RUN = (
    "gpu", "tp", "model", "weight_dtype", "act_dtype", "kv_dtype", "engine", "isl", "osl", "len_dist", "load_kind",
    "load",
)  # fmt: skip
BENCHMARK_VALUES = {"tokens_per_second": "output_tok_s_total", "ttft_s": "ttft_s", "tpot_s": "tpot_s"}
LOAD_KINDS = ("closed_loop", "offline_max", "static_batch")
#: The shortest of lengths that vary, over the longest, which gives a benchmark its name [1].
SHORTEST_SHARE = {"fixed": 1.0, "uniform 0.8-1": 0.8}

#: Requests of TensorRT-LLM's tables by prompt and output [1]: its page lists them.
REQUESTS_BY_LENGTH = {
    (128, 128): 30_000, (128, 2048): 3000, (128, 4096): 1500, (500, 2000): 3000, (1000, 1000): 3000,
    (1000, 2000): 1500, (2048, 128): 3000, (2048, 2048): 1500, (5000, 500): 1500, (20_000, 2000): 1000,
}  # fmt: skip
#: Requests of other runs of all at once [1].
MANY = 1000
#: Requests that a user of a closed loop sends: InferenceX's client counts ten for each [1].
REQUESTS_OF_A_USER = 10
MOST_PROCESSES = 1024


def serving_benchmarks() -> pd.DataFrame:
    """Published measurements of servers.

    Returns
    -------
    pd.DataFrame
        A row a run, as in ``data/serving/benchmarks.csv``: source (`serving_sources` says what each is), date, gpu,
        n_gpus, tp, ep, pp [1], model, weight_dtype (NaN: as the checkpoint has it), act_dtype, kv_dtype, engine,
        engine_version ("" where it is not said), isl and osl, prompt and output as the source labels them [token],
        len_dist, load_kind, load [1], and what was measured: ttft_s, tpot_s [s], output_tok_s_total and
        tokens_per_second of all GPUs [token/s]. Of a closed loop the last follows from TTFT and TPOT (Little's law).
    """
    table = pd.read_csv(str(FOLDER / "benchmarks.csv"), comment="#", dtype={"date": str})
    engines = table.engine.str.partition(" ")
    table = table.assign(engine=engines[0], engine_version=engines[2])
    little = table.load * _output_tokens(table) / (table.ttft_s + table.tpot_s * (_output_tokens(table) - 1))
    return table.assign(tokens_per_second=table.output_tok_s_total.fillna(little))


def serving_sources() -> pd.DataFrame:
    """Where the published measurements of servers are from.

    Returns
    -------
    pd.DataFrame
        A row a source, in the order of the file: source, title, url, licence, settings, which say what the source says
        of its servers and clients; runs, how many of it there are [1].
    """
    fields: Any = read_mapping(FOLDER / "sources.yaml")
    table = pd.DataFrame([{"source": name, **said} for name, said in fields.items()])
    return table.assign(runs=table.source.map(serving_benchmarks().source.value_counts()))


def runs_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What was run, a dict a row."""
    return [{str(name): value for name, value in row.items()} for row in rows[[*RUN]].to_dict("records")]


def _output_tokens(table: pd.DataFrame) -> pd.Series:
    """Tokens of an output on average [token]."""
    return table.osl * (1 + table.len_dist.map(SHORTEST_SHARE)) / 2


@typed(row=RUN)
def server_of(
    row: Mapping[str, Any], *, engine: str | None = "as named", time_model: str = "kernel", **changes: Any
) -> Server:
    """The server of a benchmark.

    Parameters
    ----------
    row : mapping
        A row of `serving_benchmarks`: what was run.
    engine : str, optional
        Whose kernels and host are taken, as for `Server`; "as named": those of the row's engine.
    time_model : str
        "kernel" or "ideal", without a host.
    **changes
        Further settings of the `Server`.

    Returns
    -------
    Server
        With the row's GPUs, model, formats and sequences; what its source does not say is the engine's default. It
        holds the longest request, and its cache is what fits.

    Raises
    ------
    ValueError
        For what `Server` refuses.
    """
    weights = row["weight_dtype"] if isinstance(row["weight_dtype"], str) else None
    sequences: Any = _at_once(row)
    return Server(
        row["gpu"], row["model"], tp=whole_number("tp", row["tp"]), weight_dtype=weights,
        activation_dtype=row["act_dtype"], kv_dtype=row["kv_dtype"], time_model=time_model,
        engine=str(row["engine"]).partition(" ")[0] if engine == "as named" else engine,
        max_num_seqs=sequences, kv_tokens="fit",
        max_model_len=whole_number("isl", row["isl"]) + whole_number("osl", row["osl"]),
        **changes,
    )  # fmt: skip


def _at_once(row: Mapping[str, Any]) -> int | None:
    """Requests that are open at once [1]; None where the source has no limit."""
    return None if np.isinf(row["load"]) else whole_number("load", int(row["load"]))


def _workload(row: Mapping[str, Any]) -> Workload:
    """The requests of a benchmark: all at once, or each user's next when an answer has come."""
    closed = one_of("load_kind", row["load_kind"], LOAD_KINDS) == "closed_loop"
    shortest = SHORTEST_SHARE[one_of("len_dist", row["len_dist"], SHORTEST_SHARE)]
    load = _at_once(row)
    n = (
        REQUESTS_BY_LENGTH.get((row["isl"], row["osl"]), MANY)
        if load is None
        else load * (REQUESTS_OF_A_USER if closed else 1)
    )
    rng = np.random.default_rng(0)
    prompt, output = (rng.integers(int(shortest * row[name]), row[name], n, endpoint=True) for name in ("isl", "osl"))
    return Workload(np.zeros(n), prompt, output, np.zeros(n, int), load if closed else None)


def served(
    row: Mapping[str, Any], *, engine: str | None = "as named", time_model: str = "kernel",
    changes: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a benchmark would have measured: tokens_per_second [token/s], ttft_s and tpot_s [s], means of its requests.

    All NaN where the server refuses the model, with what it says under "refused".
    """
    names: dict[str, Any] = dict.fromkeys(BENCHMARK_VALUES, np.nan)
    try:
        own = (changes or {}).get(str(row["engine"]).partition(" ")[0], {})
        requests = simulate(server_of(row, engine=engine, time_model=time_model, **own), _workload(row))
    except ValueError as error:
        return names | {"refused": str(error)}
    ttft = requests.first_token_s - requests.sent_s
    tpot = (requests.last_token_s - requests.first_token_s) / (requests.output_tokens - 1)
    names |= {"ttft_s": ttft.mean(), "tpot_s": tpot.mean()}
    if row["load_kind"] == "closed_loop":
        tokens = requests.output_tokens.mean()
        rate = row["load"] * tokens / (names["ttft_s"] + names["tpot_s"] * (tokens - 1))
    else:
        rate = requests.output_tokens.sum() / requests.last_token_s.max()
    return names | {"tokens_per_second": rate, "refused": ""}


@typed(rows=RUN)
def predict_serving(
    rows: pd.DataFrame,
    *,
    engine: str | None = "as named",
    time_model: str = "kernel",
    changes: Mapping[str, Mapping[str, float]] | None = None,
    processes: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Benchmarks by the simulator; deterministic.

    Parameters
    ----------
    rows : pd.DataFrame
        Rows of `serving_benchmarks`, or others with the same columns of what was run.
    engine, time_model
        As for `server_of`.
    changes : mapping, optional
        By engine, settings of its servers that are not the presets'.
    processes : int, optional
        How many simulate side by side [1]; one a core unless given.
    progress : bool
        Show a bar on the terminal.

    Returns
    -------
    pd.DataFrame
        A row a benchmark, labelled as in `rows`: tokens_per_second of all GPUs [token/s], ttft_s and tpot_s, means [s],
        NaN where the server refuses the model, and refused, what it says then.

    Raises
    ------
    ValueError
        For no rows, an engine, a time model, a kind of load or of lengths that there is not.
    """
    if rows.empty:
        raise ValueError("rows is empty: give benchmarks")
    if engine not in (None, "as named"):
        engine = find_engine(engine).id
    one_of("time_model", time_model, TIME_MODELS)
    for name, known in (("load_kind", LOAD_KINDS), ("len_dist", tuple(SHORTEST_SHARE))):
        for value in rows[name].unique():
            one_of(name, value, known)
    asked = runs_of(rows)
    predicted = []
    workers = cores() if processes is None else whole_number("processes", processes, high=MOST_PROCESSES)
    with progress_bar("benchmarks", show=progress) as tick, ProcessPoolExecutor(min(workers, len(asked))) as pool:
        work = partial(served, engine=engine, time_model=time_model, changes=changes)
        for done, result in enumerate(pool.map(work, asked, chunksize=4), 1):
            predicted.append(result)
            tick(done, len(asked))
    return pd.DataFrame(predicted, index=rows.index)


def write_predictions(path: Path | None = None, *, progress: bool = True) -> pd.DataFrame:
    """Predict all benchmarks, with kernels' times and with ideal ones, and write ``data/serving/predicted.csv``.

    Parameters
    ----------
    path : pathlib.Path, optional
        Another file.
    progress : bool
        Show bars on the terminal.

    Returns
    -------
    pd.DataFrame
        What was written.
    """
    rows = serving_benchmarks()
    parts = [
        predict_serving(rows, time_model=by, progress=progress)[[*BENCHMARK_VALUES]].add_prefix(f"{by}_")
        for by in TIME_MODELS
    ]
    table = pd.concat(parts, axis=1).rename_axis("row")
    text = table.to_csv(float_format="%.6g", lineterminator="\n")
    write_text(PREDICTED_HEADER + text, path or Path(str(FOLDER / "predicted.csv")))
    return table


PREDICTED_HEADER = """\
# What the simulator predicts for the rows of benchmarks.csv, by number: kernel_, with the kernels' times and the
# engine's host; ideal_, by the roofline and without a host. tokens_per_second of all GPUs together; ttft_s, tpot_s:
# means [s]. Empty where the server refuses the model. Written by `make serving`; a test computes some rows again.
"""
