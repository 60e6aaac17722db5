"""Settings of a server that a load test does not tell: fitted within their bounds, by simulating its requests again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..published.t4 import VLLM_AWQ
from ..servers.server import SETTING_LIMITS, Server
from ..simulation.client import check_fits
from .recordings import running_peak
from .replays import Replayed, Replays, host_of

#: What each fitted setting lies between [1], [token], [s].
SETTING_BOUNDS: dict[str, tuple[float, float]] = {
    "max_num_seqs": (1, SETTING_LIMITS["max_num_seqs"]), "max_num_batched_tokens": (256, 32768),
    "step_overhead": (0.0, 1.0), "sequence_overhead": (0.0, 0.02),
}  # fmt: skip
#: Another setting than the engine's own must be nearer to the requests' times by so much of the mean deviation, and by
#: so much of that of the engine's own [1].
NEARER, NEARER_SHARE = 0.01, 0.1
#: How many times as many sequences run with some requests as with others, where the host's time of a step may be told
#: from that of a sequence, and what of the squared deviations that must leave at most [1].
VARIED, LEAVES = 1.1, 0.9
#: More requests than an engine's cap by so much are not those that a client still sees for a moment [1].
NO_JITTER = 1.1
SHORTEST_WAIT = 1e-3  # s; of a time to first token that is compared
NO_RATIO = 10.0  # in place of a ratio's logarithm, where no request ends in time
FIT_RUNS = 12  # simulations of a fit of two numbers, at most, and of one


def fixed_settings(gpu: Any, model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What is known of a server besides what is given: the kernel that vLLM runs for AWQ on GPUs before Ampere."""
    own = {"gpu": gpu, "model": model, "kv_tokens": "fit"} | given
    check_fits(Server(**own | {"kv_tokens": None}))
    server = Server(**own)
    old = server.gpu.architecture in ("volta", "turing") and server.formats.stored("qkv_proj") == "awq"
    if server.engine == "vllm" and old and not {*VLLM_AWQ} & {*given}:
        return own | VLLM_AWQ
    return own


def fit_server(replays: Replays, known: dict[str, Any]) -> tuple[Server, pd.DataFrame]:
    """Find the settings that are not known.

    Parameters
    ----------
    replays : Replays
        Of the recording.
    known : dict
        Fields of `Server`.

    Returns
    -------
    server : Server
        With what was fitted.
    settings : pandas.DataFrame
        A row for each of `SETTING_BOUNDS`: setting, value, low and high, its bounds [1], [token], [s], of a cap the
        most that ran at a time; and source, how it is known.

    Notes
    -----
    The cap on sequences is the most that ran, where requests waited meanwhile and the engine's default is no better;
    the budget of tokens is the power of two with the smallest deviation; the host's time is what brings the time per
    output token of the same requests into agreement (least squares), that of a sequence with the engine's own where the
    sequences that run do not vary. Deviations are means of absolute logarithms of simulated over recorded.
    """
    server = _with_host(Server(**known), {})
    source = dict.fromkeys(SETTING_BOUNDS, "given") | {
        name: "the engine's: no other fits better" for name in SETTING_BOUNDS if known.get(name) is None
    }
    peak = max(running_peak(replays.recorded.table), 1)  # more than a cap never run: it is that at least
    if known.get("max_num_seqs") is None and peak > NO_JITTER * server.max_num_seqs:
        server = replace(server, max_num_seqs=min(peak, server.max_num_batched_tokens // server.candidates))
        source["max_num_seqs"] = "fitted: as many ran at a time, more than the engine's"
    best = _with_fitted_host(replays, server, known)
    if known.get("max_num_seqs") is None and peak < server.max_num_seqs:
        capped = _with_fitted_host(replays, replace(server, max_num_seqs=peak), known)
        best = capped if _nearer(replays, capped, best) else best
    if known.get("max_num_batched_tokens") is None:
        other = min(_budgets(replays, best.server), key=lambda found: mean_deviation(replays, found))
        if _nearer(replays, other, best):
            best = _with_fitted_host(replays, other.server, known)
            source["max_num_batched_tokens"] = "fitted to the times of the requests"
    if best.server.max_num_seqs != server.max_num_seqs:  # what waited may have waited for the budget
        uncapped = _with_fitted_host(replays, replace(best.server, max_num_seqs=server.max_num_seqs), known)
        best = best if _nearer(replays, best, uncapped) else uncapped
    if best.server.max_num_seqs != server.max_num_seqs:
        source["max_num_seqs"] = "fitted: as many ran at most while others waited"
    for name in ("step_overhead", "sequence_overhead"):
        if known.get(name) is None and host_of(best.server)[name] != host_of(server)[name]:
            source[name] = "fitted to the time per output token"
    found = best.server.settings()
    bounds = SETTING_BOUNDS | {"max_num_seqs": (min(peak, found["max_num_seqs"]), SETTING_BOUNDS["max_num_seqs"][1])}
    rows = [(name, found[name], *bounds[name], source[name]) for name in bounds]
    return best.server, pd.DataFrame(rows, columns=["setting", "value", "low", "high", "source"])


def is_told(settings: pd.DataFrame) -> bool:
    """Whether the host's time of a step is told from that of a sequence: both are given, fitted, or the engine's."""
    fitted = settings.set_index("setting").source.str.startswith("fitted")
    given = settings.set_index("setting").source == "given"
    host = ["step_overhead", "sequence_overhead"]
    return bool(given[host].any() or fitted[host].all() or not fitted[host].any())


def _nearer(replays: Replays, other: Replayed, best: Replayed) -> bool:
    """Whether one simulation is nearer to the recording than another, by more than chance."""
    before = mean_deviation(replays, best)
    return mean_deviation(replays, other) < before - max(NEARER, NEARER_SHARE * before)


def mean_deviation(replays: Replays, found: Replayed) -> float:
    """Mean deviation of a simulation from the recording: of times to first token and per token, and of counts [1].

    The absolute logarithms of simulated over recorded; of requests that have both.
    """
    recorded, simulated = replays.recorded.table, found.table[: len(replays.recorded.table)]
    recorded = recorded[: len(simulated)]
    parts = [np.abs(log_ratio(replays, found))]
    if replays.recorded.workload.concurrency is None:  # the others are not sent when they were
        waits = [(each.first_token_s - each.sent_s).clip(lower=SHORTEST_WAIT) for each in (simulated, recorded)]
        parts.append(np.abs(np.log(waits[0].to_numpy() / waits[1].to_numpy())))
    means = [float(np.nanmean(part)) for part in parts if np.isfinite(part).any()]
    counts = [1 + int(each.first_token_s.notna().sum()) for each in (simulated, recorded)]
    return sum(means) + abs(float(np.log(counts[0] / counts[1])))


def log_ratio(replays: Replays, found: Replayed) -> np.ndarray:
    """Logarithm of simulated over recorded time per output token of each request; NaN where one has none."""
    simulated = found.table
    recorded = replays.recorded.table[: len(simulated)]
    paces = []
    for table in (simulated, recorded):
        tokens = table.output_tokens.to_numpy(float, na_value=np.nan) - 1
        span = np.where(table.status == "finished", table.last_token_s - table.first_token_s, np.nan)
        paces.append(np.where((tokens > 0) & (span > 0), span / np.where(tokens > 0, tokens, 1), np.nan))
    ratio: np.ndarray = np.log(paces[0] / paces[1])
    return ratio


def _budgets(replays: Replays, server: Server) -> Iterator[Replayed]:
    """What becomes of the requests with budgets of powers of two."""
    low, high = SETTING_BOUNDS["max_num_batched_tokens"]
    least = max(server.max_num_seqs * server.candidates, 0 if server.chunked_prefill else server.max_model_len)
    for budget in 2 ** np.arange(int(np.log2(low)), int(np.log2(high)) + 1):
        if budget >= least:
            yield replays.run(replace(server, max_num_batched_tokens=int(budget)))


# The host's time --------------------------------------------------------------------------------------------------


def _with_host(server: Server, host: dict[str, float]) -> Server:
    """The server with its host's time given, its engine's where it is not."""
    changed: dict[str, Any] = host_of(server) | host
    return replace(server, **changed)


def _with_fitted_host(replays: Replays, server: Server, known: dict[str, Any]) -> Replayed:
    """The server with what of the host's time is not known fitted to the time per output token."""
    free = [name for name in ("step_overhead", "sequence_overhead") if known.get(name) is None]
    if not free:
        return replays.run(server)
    without = replays.run(_with_host(server, dict.fromkeys(free, 0.0)))
    missing = _missing(replays, without)
    if not missing > 0:  # the kernels alone are as slow as the server, or nothing finished
        return without if missing <= 0 else replays.run(server)
    one = _one(replays, server, free[0], missing)
    running = _running(replays, without)
    if len(free) < 2 or np.nanmax(running) <= VARIED * np.nanmin(running):
        return one
    two = _two(replays, server, missing, float(np.nanmedian(running)))
    left = [float(np.nanmean(log_ratio(replays, found) ** 2)) for found in (two, one)]
    return two if left[0] < LEAVES * left[1] else one


def _missing(replays: Replays, found: Replayed) -> float:
    """What the median request lacks in time per output token in a simulation; NaN where nothing compares [s]."""
    ratio, table = log_ratio(replays, found), found.table
    if not np.isfinite(ratio).any():
        return np.nan
    pace = (table.last_token_s - table.first_token_s) / (table.output_tokens - 1).where(table.output_tokens > 1)
    return float(np.nanmedian(pace.to_numpy(float) * np.expm1(-ratio)))


def _running(replays: Replays, found: Replayed) -> np.ndarray:
    """Requests that ran beside each that is compared, on average while it ran, recorded [1]."""
    table = replays.recorded.table[: len(found.table)]
    first = np.sort(table.first_token_s.dropna().to_numpy(float))
    last = np.sort(table.last_token_s.dropna().to_numpy(float))
    grid = np.linspace(0, max(first.max(initial=0), last.max(initial=0)), 2000)
    count = np.searchsorted(first, grid, side="right") - np.searchsorted(last, grid, side="right")
    area = np.append(0.0, np.cumsum(np.diff(grid) * count[:-1]))
    begin, end = table.first_token_s.to_numpy(float), table.last_token_s.to_numpy(float)
    mean: np.ndarray = (np.interp(end, grid, area) - np.interp(begin, grid, area)) / np.where(
        end > begin, end - begin, np.nan
    )
    return np.where(np.isfinite(log_ratio(replays, found)), mean, np.nan)


def _one(replays: Replays, server: Server, name: str, missing: float) -> Replayed:
    """One part of the host's time, at which the median ratio is 1; a bound where there is none within."""
    from scipy.optimize import brentq

    runs: dict[float, tuple[Replayed, float]] = {}

    def misfit(value: float) -> float:
        if value not in runs:
            found = replays.run(_with_host(server, {name: value}))
            ratio = log_ratio(replays, found)
            runs[value] = found, float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else NO_RATIO
        return runs[value][1]

    low, high = SETTING_BOUNDS[name]
    upper = min(2 * missing, high)
    while misfit(upper) < 0 and upper < high:
        upper = min(4 * upper, high)
    if misfit(low) < 0 < misfit(upper):
        brentq(misfit, low, upper, xtol=1e-6, rtol=1e-3, maxiter=FIT_RUNS, disp=False)
    return min(runs.values(), key=lambda run: abs(run[1]))[0]


def _two(replays: Replays, server: Server, missing: float, running: float) -> Replayed:
    """Both parts, by least squares over the requests; in units of what is missing in the median step."""
    from scipy.optimize import least_squares

    scale = {"step_overhead": missing, "sequence_overhead": missing / max(running, 1.0)}

    def run(parts: np.ndarray) -> Replayed:
        host = {name: float(part * scale[name]) for name, part in zip(scale, parts, strict=True)}
        return replays.run(_with_host(server, host))

    def misfit(parts: np.ndarray) -> np.ndarray:
        found = run(parts)
        ratio = np.zeros(len(replays.recorded.table))
        ratio[: len(found.table)] = np.nan_to_num(log_ratio(replays, found))
        return ratio

    most = [SETTING_BOUNDS[name][1] / scale[name] for name in scale]
    start = np.minimum([0.5, 0.5], 0.9 * np.array(most))
    solved = least_squares(
        misfit, start, bounds=([0.0, 0.0], most), diff_step=[0.02, 0.02], loss="soft_l1", f_scale=0.1,
        max_nfev=FIT_RUNS, xtol=1e-3, ftol=1e-4,
    )  # fmt: skip
    return run(solved.x)
