"""A recorded load test beside the same requests through a simulated server: both, what limits it, what would help."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..catalog import GPU, Model
from ..common.arguments import one_of, whole_number
from ..common.errors import shown, unknown
from ..common.extras import check_libraries
from ..common.progress import progress_bar
from ..common.variables import VARIABLES, stamp
from ..kernels.unknowns import joined
from ..servers import memory
from ..servers.replica import beyond_context
from ..servers.server import Server
from ..simulation.client import simulate
from .changes import most_changes, remedies
from .limits import Limits, find_limits
from .reading import read
from .recordings import Recording, recording, running_peak
from .replays import MOST_GAPS, Replays, as_recorded, by_sequence, gaps
from .sends import is_relative
from .settings import SETTING_BOUNDS, fit_server, fixed_settings, is_told
from .summary import measures, metrics, timeline
from .variables import LOAD_TEST_VARIABLES
from .wording import limits_paragraph, settings_text, side_by_side_rows, side_by_side_text

#: Simulations of a comparison, about: what its bar counts to [1].
SIMULATIONS = 60 + most_changes()
#: Simulated over recorded tokens per second, from which on a comparison says that they do not agree [1].
APART = 1.25
#: Host time of a step that is more than an engine's own [s].
MUCH_HOST = 5e-3
#: Steps of the timelines, about [1].
TIMELINE_STEPS = 60


@dataclass(frozen=True)
class Comparison:
    """A recorded load test beside a simulated one.

    Parameters
    ----------
    measured, simulated : pandas.DataFrame
        Requests with the columns `REQUEST_COLUMNS`; outputs of simulated ones are counted where the recording's client
        counts them.
    server : Server
        What was simulated, with the settings that were fitted.
    settings : pandas.DataFrame
        How they are known (`loadtest.settings.fit_server`).
    metrics, timeline : xarray.Dataset
        As of `loadtest.metrics` and `timeline`, by source, "measured" and "simulated".
    limits : Limits
        What limits the server, with the evidence.
    changes : pandas.DataFrame
        What changes of its settings make of the same load (`loadtest.changes.remedies`).
    notes : tuple of str
        What is assumed, and where the two do not agree.
    """

    measured: pd.DataFrame
    simulated: pd.DataFrame
    server: Server
    settings: pd.DataFrame
    metrics: xr.Dataset
    timeline: xr.Dataset
    limits: Limits
    changes: pd.DataFrame
    notes: tuple[str, ...]

    def paragraph(self) -> str:
        """What limits the server, by which evidence, and the changes that would help most, in one paragraph."""
        return limits_paragraph(self.limits, self.changes)

    def side_by_side(self) -> pd.DataFrame:
        """Metrics of both, a row each, latencies in ms; NaN where unknown."""
        return side_by_side_rows(self.metrics)

    def report(self) -> str:
        """Both side by side, the settings, the paragraph and the notes, as text."""
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([side_by_side_text(self.metrics), settings_text(self.settings), self.paragraph(), *notes])


def compare(
    load_test: str | Path | pd.DataFrame,
    gpu: str | GPU,
    model: str | Model,
    *,
    users: int | None = None,
    in_flight: int | None = None,
    cached_prefix: int = 0,
    window: float | None = None,
    progress: bool = False,
    **options: Any,
) -> Comparison:
    """Send the requests of a recorded load test to a simulated server, and say what limits it.

    Parameters
    ----------
    load_test : str, Path or pandas.DataFrame
        A file that `read` reads, or its requests with the columns `REQUEST_COLUMNS`.
    gpu, model : str, GPU or Model
        What the server runs.
    users : int, optional
        Of a closed loop [1]; None: as the sends show.
    in_flight : int, optional
        Requests that the client has open at once, the others waiting at it, their clock running [1].
    cached_prefix : int
        Tokens of every prompt that the server's prefix cache has [token].
    window : float, optional
        Compare the test until then, from the first send [s]: what came later counts as not ended. None: all of it.
    progress : bool
        Show a bar on the terminal.
    **options
        Fields of `simulation.Server`, such as tp; of those in `loadtest.settings.SETTING_BOUNDS` what is not given is
        fitted. kv_tokens is "fit" unless given, max_model_len the longest request.

    Returns
    -------
    Comparison
        Both, with what limits the server and which changes of its settings would help.

    Raises
    ------
    ValueError
        For what `read`, `metrics` and `Server` refuse, an unknown setting, and a load test without any known prompt or
        output, or without what its client did.

    Notes
    -----
    What is simulated many times (fits, limits, changes) is the first 2,000 requests. Deterministic.
    """
    bar = one_of("progress", progress, (True, False))
    client = {"users": users, "in_flight": in_flight, "cached_prefix": cached_prefix, "window": window}
    table, recorded, known = prepared(load_test, gpu, model, client, options)
    with progress_bar("simulations", show=bar) as move:
        replays = Replays(recorded.first(), _ticking(move))
        server, fitted = fit_server(replays, known)
        found = replays.run(server)
        other = None if is_told(fitted) else replays.run(by_sequence(found))
        limits = find_limits(replays, found, other)
        changes = remedies(replays, found, other, faster=limits.keeps_up)
    simulated = _simulated(recorded, server, progress=bar)
    both = {"measured": table, "simulated": simulated}
    ds = _beside([measures(each, window=window) for each in both.values()], both)
    notes = (*_notes(recorded, server, ds, options), *simulated.attrs["warnings"])
    times = _timelines(both | {"measured": recorded.table})
    return Comparison(table, simulated, server, fitted, ds, times, limits, changes, notes)


def prepared(
    load_test: str | Path | pd.DataFrame, gpu: str | GPU, model: str | Model, client: dict[str, Any],
    options: dict[str, Any],
) -> tuple[pd.DataFrame, Recording, dict[str, Any]]:  # fmt: skip
    """The requests that `compare` compares, as they are sent again, and what is known of the server.

    Raises ValueError, before anything is simulated, for what cannot be compared; arguments are those of `compare`.
    """
    check_libraries("scipy")
    users, in_flight = (
        None if client.get(name) is None else whole_number(name, client[name]) for name in ("users", "in_flight")
    )
    cached = whole_number("cached_prefix", client.get("cached_prefix", 0), low=0)
    _check_settings(options)
    if not isinstance(load_test, str | Path | pd.DataFrame):
        raise ValueError(f"load_test = {shown(load_test)}: expected a file, or a table of requests")
    table = load_test if isinstance(load_test, pd.DataFrame) else read(load_test)
    window = client.get("window")
    metrics(table, window=window)  # refuses what is no table of requests, and a window without any
    if isinstance(window, tuple | list):
        raise ValueError(f"window = {shown(window)}: a comparison begins with the first send: expected its end")
    recorded = recording(table, users=users, in_flight=in_flight, cached_prefix=cached, window=window)
    load = recorded.workload
    longest, prompt = int((load.prompt_tokens + load.output_tokens).max()), int(load.prompt_tokens.min())
    known = fixed_settings(gpu, model, {"max_model_len": longest} | options)
    if (most := known["max_model_len"]) <= prompt:
        raise ValueError(f"max_model_len = {most:,}: no request fits, as the shortest prompt has {prompt:,} tokens")
    return table if is_relative(table) else recorded.table, recorded, known


def _check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that no server has."""
    allowed = [name for name in Server.__dataclass_fields__ if name not in ("gpu", "model")]
    for name in settings:
        if name not in allowed:
            raise unknown("setting", name, allowed)


def _ticking(move: Callable[[int, int], None]) -> Callable[[], None]:
    """What moves a bar by one simulation."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        move(done, max(SIMULATIONS, done + 1))

    return tick


def _simulated(recorded: Recording, server: Server, *, progress: bool) -> pd.DataFrame:
    """All requests through the server, as the recording's client sees them, with times between tokens."""
    load = recorded.workload
    counted = server.draft is None and load.output_tokens.sum() <= MOST_GAPS
    own = recorded.table.attrs.get("itl") or {"count": []}
    wanted = bool(counted and len(own["count"]))
    with warnings.catch_warnings(action="ignore"):  # they are among the notes
        table = simulate(
            server, load, in_flight=recorded.in_flight, horizon=recorded.horizon, progress=progress, steps=wanted
        )
    simulated = as_recorded(table, recorded.table)
    simulated.attrs = {name: value for name, value in table.attrs.items() if name != "steps"}
    simulated.attrs |= {"itl": gaps(table)} if wanted else {}
    return simulated


def _beside(each: list[xr.Dataset], both: dict[str, pd.DataFrame]) -> xr.Dataset:
    """Datasets of both as one, by source."""
    ds = xr.concat(each, pd.Index(list(both), name="source"), join="outer", combine_attrs="override")
    return stamp(ds, LOAD_TEST_VARIABLES | {"source": VARIABLES["source"]})


def _timelines(both: dict[str, pd.DataFrame]) -> xr.Dataset:
    """The queue over time of both, in steps that are alike."""
    columns = ["sent_s", "first_token_s", "last_token_s"]
    end = max(float(np.nanmax(table[columns].to_numpy(float))) for table in both.values())
    step = float(f"{max(end / TIMELINE_STEPS, 1e-9):.1g}")
    ds = _beside([timeline(table, step).drop_vars("step") for table in both.values()], both)
    return stamp(ds.assign(step=step), LOAD_TEST_VARIABLES | {"source": VARIABLES["source"]})


def _notes(recorded: Recording, server: Server, ds: xr.Dataset, given: dict[str, Any]) -> tuple[str, ...]:
    """What is assumed, and where the two do not agree."""
    notes = list(recorded.notes)
    rows = {"gemm_rows": server.gemm_rows, "dequantize_rows": server.dequantize_rows}
    if any(rows.values()) and not {*rows} & {*given}:
        own = ", ".join(f"{name} {value}" for name, value in rows.items())
        notes.append(f"vLLM's AWQ kernel before Ampere unpacks all weights for every few rows ({own})")
    host = server.calibration.step_overhead
    if "step_overhead" not in given and host > MUCH_HOST:
        notes.append(
            f"the host's {1e3 * host:.3g} ms a step is all that the kernels' model does not explain: launches, Python,"
            " slower kernels"
        )
    measured, simulated = (float(ds.output_token_rate.sel(source=name)) for name in ("measured", "simulated"))
    if measured > 0 and simulated > 0 and not 1 / APART < simulated / measured < APART:
        notes.append(f"the simulated server makes {simulated / measured:.2f} times the finished requests' tokens")
    running, alone = (float(ds.mean_running.sel(source=name)) for name in ("measured", "simulated"))
    held_up = float(ds.mean_waiting.sel(source="measured")) > 1 and alone > APART * running > 0
    fixed = [name for name in SETTING_BOUNDS if name in given]
    if held_up and not recorded.workload.concurrency:
        other = f", or {' and '.join(fixed)} as given {'is' if len(fixed) < 2 else 'are'} not its own" if fixed else ""
        notes.append(
            f"{running:.1f} requests ran on average while others waited, {alone:.1f} simulated: the server may have"
            f" had requests that are not in the file{other}"
        )
    if "max_num_seqs" in given and (peak := running_peak(recorded.table)) > server.max_num_seqs:
        notes.append(f"max_num_seqs = {server.max_num_seqs:,} as given, but {peak:,} requests ran at a time")
    assumed = joined([memory.assumed(server), *beyond_context(server.model, server.max_model_len)])
    return (*notes, assumed) if assumed else tuple(notes)
