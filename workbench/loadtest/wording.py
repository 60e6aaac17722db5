"""A comparison in words: a table of both, the settings, and one paragraph on what limits the server."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .changes import ALIKE_GAINS, LEAST_GAIN, REMEDIES
from .limits import LIMIT_WORDS, Limits

#: What a report shows of both: label, variable, percentile, factor, digits.
SIDE_BY_SIDE: tuple[tuple[str, str, int | None, float, int], ...] = (
    ("offered", "offered", None, 1, 0), ("with a first token", "started", None, 1, 0),
    ("finished", "finished", None, 1, 0), ("failed", "failed", None, 1, 0),
    ("output tokens/s, of the finished", "output_token_rate", None, 1, 1),
    *((f"{name.upper()} p{p} [ms]", name, p, 1e3, 1) for name in ("ttft", "tpot", "itl", "e2e") for p in (50, 99)),
    ("running, mean", "mean_running", None, 1, 1), ("waiting, mean", "mean_waiting", None, 1, 1),
)  # fmt: skip
#: What is doubled, of a limit that lets requests in.
TWICE = {"client": "the load", "sequence cap": "the cap", "kv cache": "the cache", "prefill budget": "the budget"}

Values = Mapping[Hashable, Any]


def side_by_side_text(ds: xr.Dataset) -> str:
    """Measured and simulated metrics, a line each; "unknown" where one has none, no line where neither has."""
    lines = [f"{'':<34}{'measured':>12}{'simulated':>12}"]
    for label, name, percentile, factor, digits in SIDE_BY_SIDE:
        both = ds[name] if percentile is None else ds[name].sel(percentile=percentile)
        if both.notnull().any():
            shown = [f"{factor * value:,.{digits}f}" if np.isfinite(value) else "unknown" for value in both.values]
            lines.append(f"{label:<34}{shown[0]:>12}{shown[1]:>12}")
    return "\n".join(lines)


def side_by_side_rows(ds: xr.Dataset) -> pd.DataFrame:
    """Measured and simulated metrics, a row each, latencies in ms; NaN where one has none."""
    rows = {}
    for label, name, percentile, factor, _ in SIDE_BY_SIDE:
        both = ds[name] if percentile is None else ds[name].sel(percentile=percentile)
        if both.notnull().any():
            rows[label] = (factor * both).to_series()
    return pd.DataFrame(rows).T


def settings_text(settings: pd.DataFrame) -> str:
    """The settings of the simulated server that are fitted unless given, a line each."""

    def shown(name: str, value: float) -> str:
        if name.startswith("max_"):
            return f"{value:,.0f}"
        return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"

    lines = []
    for row in settings.to_dict("records"):
        name, fitted = str(row["setting"]), str(row["source"]).startswith("fitted")
        bounds = f", from {shown(name, row['low'])} to {shown(name, row['high'])}" if fitted else ""
        lines.append(f"{name:<24}{shown(name, row['value']):>10}  {row['source']}{bounds}")
    return "\n".join(lines)


def limits_paragraph(limits: Limits, changes: pd.DataFrame) -> str:
    """What limits a server, by which evidence, and the changes that would help most."""
    rows = limits.evidence.set_index("limit").to_dict("index")
    simulated = changes.set_index("setting").gain.to_dict()
    sentences = [f"The limit is {' and '.join(LIMIT_WORDS[name] for name in limits.names)}."]
    sentences += [_evidence_words(name, rows[name], simulated.get(name)) for name in limits.names]
    if limits.slowest not in limits.names:
        share = rows[limits.slowest]["share"]
        sentences.append(f"Most of a step's time is {LIMIT_WORDS[limits.slowest]} ({share:.0f} %).")
    now, *others = changes.to_dict("records")
    helping = [row for row in others if row["gain"] >= LEAST_GAIN][:REMEDIES]
    if not helping:
        return " ".join([*sentences, "No single setting that was simulated helps."])
    words = "; ".join(_gain_words(row, now, faster=limits.keeps_up) for row in helping)
    which = "The change that would help, simulated"
    if len(helping) > 1:
        which = f"The {len(helping)} changes that would help most, each simulated"
    return " ".join([*sentences, f"{which}: {words}."])


def _evidence_words(name: str, row: Values, half: float | None) -> str:
    """The evidence for one limit, as a sentence or two; `half`, what half of it gains where that is simulated [1]."""
    if name in TWICE:
        seen = f"{row['seen'][0].upper()}{row['seen'][1:]}"
        return f"{seen}; twice {TWICE[name]} brings {row['gain']:.2f} times the tokens per second."
    words = f"{LIMIT_WORDS[name][0].upper()}{LIMIT_WORDS[name][1:]}"
    words += f" is {row['share']:.0f} % of the steps' time: were it half,"
    if half is not None:
        return f"{words} {half:.2f} times the tokens per second, simulated."
    return f"{words} the same steps would bring {row['gain']:.2f} times the tokens per second (Amdahl's law)."


def _gain_words(row: Values, now: Values, *, faster: bool) -> str:
    """A change and what it gains; requests that begin in time differ in number, so that their TTFT does not compare."""
    moved = ("ttft_p50", "tpot_p50") if faster else ("tpot_p50",)
    if faster:
        words = f"{row['gain']:.2f} times as fast"
    else:
        words = f"{row['gain']:.2f} times the tokens per second"
        if row["gain_high"] > ALIKE_GAINS * row["gain"]:
            words += f" ({row['gain_high']:.2f} if the host's time is a step's and not a sequence's)"
            return f"{row['change']}: {words}"  # what finished differs between the two servers
        if row["finished"] != now["finished"]:
            words += f", {now['finished']:,} to {row['finished']:,} finished"
    for name in moved:
        if np.isfinite([now[name], row[name]]).all():
            label = name.upper().replace("_P", " p")
            words += f", {label} {1e3 * now[name]:,.1f} to {1e3 * row[name]:,.1f} ms"
    return f"{row['change']}: {words}"
