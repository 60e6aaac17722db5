"""The runs of a file, one or a sweep of many, as one table: from their requests, or as the file sums them up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..common.errors import unknown
from ..files.reading import given_file
from .claims import LATENCIES, RUN_COLUMNS, spans_of
from .reading import LOAD_TEST_FORMATS, recognize, table_of
from .rows import Rows
from .streams import SeveralRuns
from .summaries import SUMMARY_FORMATS
from .summary import metrics


def runs(path: str | Path, format: str | None = None) -> pd.DataFrame:
    """Read the runs of a load-test file, each summed up.

    Parameters
    ----------
    path : str or Path
        Any file that `read` reads, or a result without requests: of vLLM, SGLang, InferenceX, AIPerf, GenAI-Perf,
        llmperf, inference-perf, trtllm-bench, llama-bench, GuideLLM's CSV; may be gzipped.
    format : str, optional
        One of `LOAD_TEST_FORMATS` or `SUMMARY_FORMATS`; None recognizes it by the content.

    Returns
    -------
    pd.DataFrame
        A row a run, with the columns `RUN_COLUMNS`; NaN where unknown. `source` is "requests" where its numbers follow
        from requests, and "summary" where they are what the file says: percentiles of a whole, without a request to
        hold them against. ``attrs`` hold source, format and warnings.

    Raises
    ------
    ValueError
        In one line, where the file is malformed, or holds no such numbers.
    """
    path = given_file(path)
    if format is not None and format not in (known := [*LOAD_TEST_FORMATS, *SUMMARY_FORMATS]):
        raise unknown("format", format, known)
    format = format or recognize(path)
    found, warnings = [], list[str]()
    for i, rows in enumerate(_all(path, format)):
        row: dict[str, Any] = {claim.column: claim.value for claim in rows.claims.values()}
        if len(rows):
            table = table_of(rows, format)
            warnings += [f"run {i}: {warning}" for warning in table.attrs["warnings"]]
            asked = {name: row[name] for name in ("asked_rate", "concurrency") if name in row}
            row = asked | _of_requests(table)
        elif not row:
            continue
        found.append({"run": i, "label": rows.label, "source": "requests" if len(rows) else "summary"} | _derived(row))
    if not found:
        raise ValueError(f"{path}: no number of a load test in it ({format})")
    frame = pd.DataFrame(found).reindex(columns=list(RUN_COLUMNS))
    frame[list(RUN_COLUMNS[3:])] = frame[list(RUN_COLUMNS[3:])].astype(float)
    frame.attrs = {"source": str(path), "format": format, "warnings": warnings}
    return frame


def _all(path: Path, format: str) -> Iterator[Rows]:
    """Every run of a file."""
    if format in SUMMARY_FORMATS:
        yield from SUMMARY_FORMATS[format](path)
        return
    reader = LOAD_TEST_FORMATS[format]
    try:
        yield reader(path, None)
    except SeveralRuns as several:
        for run in range(several.runs):
            yield reader(path, run)


def _of_requests(table: pd.DataFrame) -> dict[str, Any]:
    """The columns of a run that follow from its requests."""
    ds = metrics(table)
    same = ("finished", "failed", "unfinished", "prompt_tokens", "output_tokens", "finished_rate", "output_token_rate")
    row: dict[str, Any] = {name: float(ds[name]) for name in same}
    row |= {"requests": float(ds.offered), "duration_s": float(ds.window_end - ds.window_start)}
    done = (table.status == "finished").to_numpy()
    for name, values in spans_of(table).items():
        known = values[done & ~np.isnan(values)]
        row[f"{name}_mean"] = known.mean() if len(known) else np.nan
    bins = table.attrs["itl"]
    row["itl_mean"] = np.average(bins["seconds"], weights=bins["count"]) if bins["count"] else np.nan
    for name in LATENCIES:
        row |= {f"{name}_p{p}": float(ds[name].sel(percentile=p)) for p in ds.percentile.values}
    return row


def _derived(row: dict[str, Any]) -> dict[str, Any]:
    """A row with what follows from its sums and its duration."""
    finished, seconds = row.get("finished", np.nan), row.get("duration_s", np.nan)
    rates = {"finished_rate": "finished", "output_token_rate": "total_output_tokens",
             "prompt_token_rate": "total_prompt_tokens"}  # fmt: skip
    if seconds > 0:
        row = {rate: row[total] / seconds for rate, total in rates.items() if total in row} | row
    if finished > 0:
        row = {name: row[f"total_{name}"] / finished for name in ("prompt_tokens", "output_tokens")
               if f"total_{name}" in row} | row  # fmt: skip
    return row
