"""Readers of workloads: what was sent to a service, and when, without what became of it."""

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..common.errors import unknown
from ..files import reading
from ..files.json_streams import json_lines
from ..files.reading import csv_rows, given_file, open_text

#: Columns of a CSV by workload: when a request was sent, its prompt, its output.
WORKLOAD_COLUMNS = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": ("Timestamp", "Request tokens", "Response tokens"),
    "vidur-trace": ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
}
MOONCAKE = ("timestamp", "input_length", "output_length")
#: Tokens of one of the hashes in Mooncake's traces [token].
MOONCAKE_BLOCK = 512


def read_workload(path: str | Path, format: str | None = None) -> pd.DataFrame:
    """Read a recorded workload for `simulation.trace`.

    Parameters
    ----------
    path : str or Path
        Azure's LLM inference trace (AzurePublicDataset), BurstGPT's (HPMLL/BurstGPT), Vidur's (microsoft/vidur,
        data/processed_traces), as CSV; Mooncake's (kvcache-ai/Mooncake, traces) as JSON lines; may be gzipped.
    format : str, optional
        One of `WORKLOAD_FORMATS`; None recognizes it by the content.

    Returns
    -------
    pd.DataFrame
        sent_s from the first [s], prompt_tokens and output_tokens [token], by sending; Mooncake's also block_hashes,
        whose size ``attrs["block_tokens"]`` has [token]. ``attrs`` hold source, format and warnings: requests of no
        token are left out.

    Raises
    ------
    ValueError
        In one line, for what is none, or a row that cannot be read.
    """
    path = given_file(path)
    if format is not None and format not in WORKLOAD_FORMATS:
        raise unknown("format", format, WORKLOAD_FORMATS)
    format = format or workload_format(path)
    if format is None:
        raise ValueError(f"{path}: not a known workload. Known: {', '.join(WORKLOAD_FORMATS)}.")
    sent, prompt, output, hashes = WORKLOAD_FORMATS[format](path)
    known = (prompt > 0) & (output > 0) & np.isfinite(sent)
    if not known.any():
        raise ValueError(f"{path}: no request with a prompt and an output")
    order = np.flatnonzero(known)[np.argsort(sent[known], kind="stable")]
    table = pd.DataFrame({
        "sent_s": sent[order] - sent[order[0]], "prompt_tokens": prompt[order].astype(np.int64),
        "output_tokens": output[order].astype(np.int64),
    })  # fmt: skip
    left = len(sent) - len(order)
    warnings = [f"{left:,} of {len(sent):,} requests have no prompt or no output: left out"] * (left > 0)
    table.attrs = {"source": str(path), "format": format, "warnings": warnings}
    if hashes is not None:
        table["block_hashes"] = [hashes[i] for i in order]
        table.attrs["block_tokens"] = MOONCAKE_BLOCK
    return table


Columns = tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, ...]] | None]


def _csv(format: str) -> Callable[[Path], Columns]:
    def read_columns(path: Path) -> Columns:
        table = csv_rows(path)
        _, heads = next(table, (0, list[str]()))
        names = WORKLOAD_COLUMNS[format]
        for name in names:
            if name not in heads:
                raise ValueError(f"{path}: no column {name!r}; its columns: {', '.join(heads)[:100]}")
        places = [heads.index(name) for name in names]
        stamps, tokens = list[str](), array("d")
        for line, row in table:
            if len(row) != len(heads):
                raise ValueError(f"{path}: line {line}: {len(row)} fields: expected {len(heads)}")
            stamps.append(row[places[0]])
            for place in places[1:]:
                tokens.append(_count(path, f"line {line}: {heads[place]}", row[place]))
        counts = np.array(tokens).reshape(-1, 2)
        return _times(path, names[0], stamps), counts[:, 0], counts[:, 1], None

    return read_columns


def _count(path: Path, name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = -1.0
    if not 0 <= found < 1e12 or found % 1:
        raise ValueError(f"{path}: {name} = {str(value)[:40]!r}: expected a whole number from 0")
    return found


def _times(path: Path, name: str, stamps: list[str]) -> np.ndarray:
    """Times [s] from numbers of seconds or from dates, whose fractions may have seven digits."""
    numbers = pd.to_numeric(pd.Series(stamps, dtype=object), errors="coerce")
    if numbers.isna().any():
        dates = pd.to_datetime(pd.Series(stamps, dtype=object), errors="coerce", utc=True, format="ISO8601")
        if (bad := dates.isna()).any():
            raise ValueError(f"{path}: {name} = {stamps[int(bad.argmax())][:40]!r}: expected seconds or a date")
        return ((dates - dates.min()) / pd.Timedelta(seconds=1)).to_numpy(dtype=float)
    return numbers.to_numpy(dtype=float)


def _mooncake(path: Path) -> Columns:
    values, hashes = array("d"), list[tuple[int, ...]]()
    for line, record in json_lines(path):
        for name in MOONCAKE:
            values.append(_count(path, f"line {line}: {name}", record.get(name)))
        keys = record.get("hash_ids", [])
        if not isinstance(keys, list) or not all(isinstance(key, int) for key in keys):
            raise ValueError(f"{path}: line {line}: hash_ids: expected whole numbers")
        hashes.append(tuple(keys))
        if len(hashes) > reading.BUDGET.rows:
            raise ValueError(f"{path}: over {reading.BUDGET.rows:,} requests: split it")
    columns = np.array(values).reshape(-1, 3)
    return columns[:, 0] * 1e-3, columns[:, 1], columns[:, 2], hashes if any(hashes) else None


#: The reader of each workload.
WORKLOAD_FORMATS: dict[str, Callable[[Path], Columns]] = {
    **{format: _csv(format) for format in WORKLOAD_COLUMNS}, "mooncake": _mooncake,
}  # fmt: skip


def workload_format(path: Path) -> str | None:
    """The format of a workload by its first line; None for anything else."""
    with open_text(path) as file:
        start = file.readline(2**16)
    if start.startswith("{") and all(f'"{name}"' in start for name in MOONCAKE):
        return "mooncake"
    heads = [head.strip().strip('"') for head in start.strip().split(",")]
    return next((name for name, columns in WORKLOAD_COLUMNS.items() if {*columns} <= {*heads}), None)
