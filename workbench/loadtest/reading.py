"""Load tests of serving engines: files of several tools as one table, what they show, and what they do not.

`read` recognizes a file by its content. Whatever the source, a row is one request with the columns `REQUEST_COLUMNS`,
which the simulation writes too. `metrics` and `timeline` keep apart what was offered, started, finished, and never
ended.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..common.errors import unknown
from ..files.formulas import inert_table
from ..files.json_streams import json_events
from ..files.reading import given_file, open_text
from ..files.writing import whole
from . import nvidia, readers
from .rows import REQUEST_COLUMNS, Rows, contradictions

#: The reader of each format.
LOAD_TEST_FORMATS: dict[str, Callable[[Path, int | None], Rows]] = {
    "csv": readers.read_csv, "varcas": readers.read_varcas, "vllm": readers.read_vllm,
    "vllm-requests": readers.read_vllm_requests, "guidellm": readers.read_guidellm, "aiperf": nvidia.read_aiperf,
    "genai-perf": nvidia.read_genai_perf,
}  # fmt: skip

#: Of a JSON format: where one of its keys stands, and the key.
LOAD_TEST_MARKS = {
    ("", "records"): "varcas", ("", "load_test_results"): "varcas", ("", "ttfts"): "vllm", ("", "input_lens"): "vllm",
    ("", "ttft"): "vllm-requests", ("item", "ttft"): "vllm-requests", ("", "benchmarks"): "guidellm",
    ("metadata", "request_start_ns"): "aiperf", ("", "experiments"): "genai-perf",
}  # fmt: skip

HEAD = 100_000  # a CSV's comments and header are among them

#: Of a file that holds no requests: a key of it, and what to give instead.
SUMMARIES = {
    "request_throughput": "run vllm bench serve with --save-detailed, or give the per-request profile_export file",
    "output_token_throughput": "give the per-request file, profile_export.jsonl or profile_export.json",
}


def read(path: str | Path, format: str | None = None, *, run: int | None = None) -> pd.DataFrame:
    """Read the requests of a load test into one table.

    Parameters
    ----------
    path : str or Path
        Result of the varcas load harness, of ``vllm bench serve --save-detailed`` (or its requests), GuideLLM's report,
        AIPerf's profile_export.jsonl, GenAI-Perf's profile_export.json, or a CSV; may be gzipped.
    format : str, optional
        One of `LOAD_TEST_FORMATS`; None recognizes it by the content.
    run : int, optional
        Which run of a file that holds several, from 0 [1].

    Returns
    -------
    pd.DataFrame
        A row a request, with the columns `REQUEST_COLUMNS`: times [s] from the first send, NaN where they never
        happened; tokens [token], NA where unknown. Its ``attrs`` hold

        - source, format
        - warnings, a line each: records that could not be used, what is missing, records that are there twice, and
          where the file's own summary contradicts its records
        - itl, inter-token latencies where the file has them: ascending ``seconds`` [s], to 0.05 %, and a ``count`` [1]
          of each

    Raises
    ------
    ValueError
        In one line that names the record, where the file is malformed or cut off.
    """
    path = given_file(path)
    if format is not None and format not in LOAD_TEST_FORMATS:
        raise unknown("format", format, LOAD_TEST_FORMATS)
    format = format or recognize(path)
    rows = LOAD_TEST_FORMATS[format](path, run)
    table = rows.table()
    warnings = rows.problems + rows.notes + contradictions(table, rows.claims)
    if twice := int(table[table.first_token_s.notna()].duplicated().sum()):
        warnings.insert(0, f"{twice:,} of {len(table):,} requests repeat another, to the last time: all are counted")
    if rows.unusable:
        warnings.insert(0, f"{rows.unusable} of {rows.unusable + len(rows)} records could not be used")
    table.attrs = {"source": str(path), "format": format, "warnings": warnings, "itl": rows.itl()}
    return table


def recognize(path: Path) -> str:
    """Recognize the format of a load-test file by its content.

    Parameters
    ----------
    path : Path
        The file; may be gzipped.

    Returns
    -------
    str
        One of `LOAD_TEST_FORMATS`.

    Raises
    ------
    ValueError
        Where the file has none of these formats, or holds a summary without requests.
    """
    path = given_file(path)
    with open_text(path) as text:
        head = text.read(HEAD)
    start = next((line.strip() for line in head.splitlines() if line.strip() and not line.startswith("#")), "")
    if not start.startswith(("{", "[")):
        if "sent_s" in start.split(","):
            return "csv"
        if start.startswith("version https://git-lfs"):
            raise ValueError(f"{path}: a pointer of Git LFS, not the data itself: run `git lfs pull` in its repository")
        raise ValueError(
            f"{path}: not a known load test, it starts with {start[:60]!r}. Known: {', '.join(LOAD_TEST_FORMATS)}."
        )
    keys: list[str] = []
    for prefix, event, value in json_events(path):
        if event == "map_key" and (prefix, value) in LOAD_TEST_MARKS:
            return LOAD_TEST_MARKS[prefix, value]
        if event == "map_key" and not prefix and len(keys) < 1000:
            keys.append(value[:80])
        if event == "end_map" and not prefix:
            break
    for key, instead in SUMMARIES.items():
        if key in keys:
            raise ValueError(f"{path}: only a summary, without requests: {instead}")
    raise ValueError(
        f"{path}: not a known load test, its keys: {', '.join(map(repr, keys))[:80]}."
        f" Known: {', '.join(LOAD_TEST_FORMATS)}."
    )


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table of requests as a CSV that `read` reads, whole or not at all.

    Parameters
    ----------
    table : pd.DataFrame
        Requests with the columns `REQUEST_COLUMNS`; times [s] are written to a microsecond.
    path : Path
        The file, a .csv.
    """
    with whole(path, (".csv",)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# load test: {table.attrs.get('format', 'unknown')}\n")
        inert_table(table[list(REQUEST_COLUMNS)]).to_csv(file, index=False, float_format="%.6f", lineterminator="\n")
