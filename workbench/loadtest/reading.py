"""Load tests of serving engines: files of several tools as one table, what they show, and what they do not.

`read` recognizes a file by its content. Whatever the source, a row is one request with the columns `REQUEST_COLUMNS`,
which the simulation writes too. `metrics` and `timeline` keep apart what was offered, started, finished, and never
ended.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from ..common.errors import LINE, unknown
from ..common.project import DATA
from ..files.formulas import inert_table
from ..files.json_streams import json_events
from ..files.reading import given_file, open_text
from ..files.writing import whole
from . import guidellm, more_readers, nvidia, readers
from .claims import SHORTER, contradictions, shortest_run
from .recorded import workload_format
from .rows import REQUEST_COLUMNS, Rows
from .summaries import SGLANG_KEYS, SUMMARY_MARKS, WITH_REQUESTS

#: The reader of each format of requests.
LOAD_TEST_FORMATS: dict[str, Callable[[Path, int | None], Rows]] = {
    "csv": readers.read_csv, "varcas": readers.read_varcas, "vllm": readers.read_vllm,
    "sglang": readers.read_vllm,
    "vllm-requests": readers.read_vllm_requests, "guidellm": guidellm.read_guidellm,
    "guidellm-yaml": guidellm.read_guidellm_yaml, "aiperf": nvidia.read_aiperf,
    "genai-perf": nvidia.read_genai_perf, "llmperf-requests": more_readers.read_llmperf_requests,
    "inference-perf": more_readers.read_inference_perf, "trtllm-requests": more_readers.read_trtllm_requests,
}  # fmt: skip

#: Of a JSON format: where one of its keys stands, and the key.
LOAD_TEST_MARKS = {
    ("", "records"): "varcas", ("", "load_test_results"): "varcas", ("", "ttfts"): "vllm", ("", "input_lens"): "vllm",
    ("", "ttft"): "vllm-requests", ("item", "ttft"): "vllm-requests", ("", "benchmarks"): "guidellm",
    ("metadata", "request_start_ns"): "aiperf", ("", "experiments"): "genai-perf",
    ("item", "end_to_end_latency_s"): "llmperf-requests", ("item.info", "output_token_times"): "inference-perf",
    ("item", "intertoken_latency"): "trtllm-requests",
}  # fmt: skip

#: What the client was asked for, of a file that does not say when it sent.
ASKED_FOR = ("asked_rate", "concurrency")
#: Whose results are read.
TOOLS = (
    "varcas, vLLM, SGLang, GuideLLM, AIPerf, GenAI-Perf, llmperf, inference-perf, trtllm-bench, llama-bench,"
    " InferenceX, CSV"
)
MOST_SHOWN = 32  # characters of what is not known
HEAD = 100_000  # a CSV's comments and header are among them
MOST_KEYS = 1000  # of a document that are looked at


def read(
    path: str | Path,
    format: str | None = None,
    *,
    run: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read the requests of a load test into one table.

    Parameters
    ----------
    path : str or Path
        Result of the varcas load harness, of ``vllm bench serve --save-detailed`` (or its requests), SGLang's
        ``bench_serving --output-details``, GuideLLM's report (JSON, YAML), AIPerf's profile_export.jsonl, GenAI-Perf's
        profile_export.json, requests of llmperf, inference-perf or trtllm-bench, or a CSV; may be gzipped.
    format : str, optional
        One of `LOAD_TEST_FORMATS`; None recognizes it by the content.
    run : int, optional
        Which run of a file that holds several, from 0 [1]; `runs` reads all.
    columns : mapping of str, optional
        Of a CSV, which of its columns is what: {"ttft": "TTFT (ms):ms", "output_tokens": "n"}, as `read_named` has it.

    Returns
    -------
    pd.DataFrame
        A row a request, with the columns `REQUEST_COLUMNS`: times [s] from the first send, NaN where they never
        happened; tokens [token], NA where unknown. Of a file that does not say when requests were sent, times are NaN,
        and ttft_s and e2e_s [s] are columns besides. Its ``attrs`` hold

        - source, format
        - warnings, a line each: records that could not be used, what is missing, records that are there twice, and
          where the file's own summary contradicts its records
        - itl, inter-token latencies where the file has them: ascending ``seconds`` [s], to 0.05 %, and a ``count`` [1]
          of each
        - duration_s, the run's by the file [s], where it says that; sampled, where its requests are a sample
        - asked_rate [1/s] and concurrency [1] that the client was asked for, of a file without times of its sends

    Raises
    ------
    ValueError
        In one line that names the record, where the file is malformed or cut off.
    """
    path = given_file(path)
    if format is not None and format not in LOAD_TEST_FORMATS:
        raise unknown("format", format, LOAD_TEST_FORMATS)
    if columns is not None:
        return table_of(more_readers.read_named(path, columns), "csv")
    format = format or recognize(path)
    rows = LOAD_TEST_FORMATS[format](path, run) if format in LOAD_TEST_FORMATS else None
    if rows is None or (rows.claims and not rows.seen):
        instead = WITH_REQUESTS.get(format if rows is None else f"{format}-summary", "")
        instead = f"; for requests {instead}" if instead else ""
        raise ValueError(f"{path}: only a summary, without requests: its runs alone can be read{instead}")
    return table_of(rows, format)


def own_recording(file: str | Path) -> Path:
    """The file of one of the project's own recordings, by its name; any other that there is as it is given.

    Parameters
    ----------
    file : str or Path
        A path, or the name of a load test that the package has.

    Returns
    -------
    Path
        The file to read.

    Raises
    ------
    ValueError
        Where there is neither.
    """
    known = {each.name.removesuffix(".csv"): str(each) for each in (DATA / "load_tests").iterdir()}
    if str(file) not in known and not (str(file) and Path(file).exists()):
        raise unknown("load-test file, or recording,", str(file), known)
    return Path(known.get(str(file), str(file)))


def table_of(rows: Rows, format: str) -> pd.DataFrame:
    """The table of what a reader has read, with its warnings."""
    table, itl = rows.table(), rows.itl()
    warnings = rows.problems + rows.notes + contradictions(table, rows.claims, itl)
    if twice := int(table[table.first_token_s.notna()].duplicated().sum()):
        warnings.insert(0, f"{twice:,} of {len(table):,} requests repeat another, to the last time: all are counted")
    if rows.unusable:
        warnings.insert(0, f"{rows.unusable} of {rows.unusable + len(rows)} records could not be used")
    table.attrs = {"source": str(rows.path), "format": format, "warnings": warnings, "itl": itl}
    said = [claim.value for claim in rows.claims.values() if claim.column == "duration_s" and claim.value > 0]
    if said and not (rows.relative and said[0] < SHORTER * shortest_run(table, rows.claims)):
        table.attrs["duration_s"] = said[0]
    if rows.relative:
        table.attrs.update({claim.column: claim.value for claim in rows.claims.values() if claim.column in ASKED_FOR})
    if rows.whole:
        table.attrs["sampled"] = True
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
        One of `LOAD_TEST_FORMATS` or `SUMMARY_FORMATS`.

    Raises
    ------
    ValueError
        Where the file has none of these formats, or is a workload, without what became of it.
    """
    path = given_file(path)
    with open_text(path) as text:
        head = text.read(HEAD)
    if not head.strip():
        raise ValueError(f"{path}: no load test: it is empty")
    start = next((line.strip() for line in head.splitlines() if line.strip() and not line.startswith("#")), "")
    if workload := workload_format(path):
        raise ValueError(f"{path}: a workload ({workload}), without results: workbench simulate --trace FILE")
    if not start.startswith(("{", "[")):
        return _text_format(path, head, start)
    keys: list[str] = []
    for prefix, event, value in json_events(path):
        if event == "map_key" and (prefix, value) in LOAD_TEST_MARKS:
            format = LOAD_TEST_MARKS[prefix, value]
            return "sglang" if format == "vllm" and SGLANG_KEYS & {*keys} else format
        if event == "map_key" and prefix in ("", "item") and len(keys) < MOST_KEYS:
            keys.append(value[:80])
        if event == "end_map" and prefix in ("", "item"):
            break
    nested = {"metrics", "records"} & {*keys}
    for format, (every, some) in SUMMARY_MARKS.items():
        if {*every} <= {*keys} and {*some} & {*keys}:
            return format
    if "input_config" in keys and nested:
        return "aiperf-summary"
    raise _not_known(path, f"its keys {', '.join(map(repr, keys))}" if keys else f"it holds {start!r}, no keys")


def _not_known(path: Path, what: str) -> ValueError:
    """The error for a file of no known tool, in a line that has room for some of what it is."""
    return ValueError(f"{path}: no load test: {what[:MOST_SHOWN]}. Known: {TOOLS}.")


def _text_format(path: Path, head: str, start: str) -> str:
    """The format of a file that is no JSON."""
    cells = [cell.strip().strip('"') for cell in start.split(",")]
    if "sent_s" in cells:
        return "csv"
    if {"n_prompt", "n_gen", "avg_ts"} <= {*cells}:
        return "llama-bench"
    if "Run Info" in cells or any(cell.startswith("Successful ") for cell in cells):
        return "guidellm-csv"
    lines = head.splitlines()
    if any(line.startswith("benchmarks:") for line in lines):
        return "guidellm-yaml"
    if any(line.startswith("|") and {"test", "t/s"} <= {cell.strip() for cell in line.split("|")} for line in lines):
        raise ValueError(f"{path}: llama-bench's table for readers: run it with `-o json`, jsonl or csv")
    if start.startswith("version https://git-lfs"):
        raise ValueError(f"{path}: a pointer of Git LFS, not the data itself: run `git lfs pull` in its repository")
    if len(cells) > 2:
        what = f"{path}: a CSV of unknown columns: say which is what, --column ttft=NAME:ms (columns=): "
        raise ValueError(what + ", ".join(cells)[: max(LINE - len(what), MOST_SHOWN)])
    raise _not_known(path, f"it starts with {start!r}")


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
        spans = [name for name in ("ttft_s", "e2e_s") if name in table]
        inert_table(table[[*REQUEST_COLUMNS, *spans]]).to_csv(
            file, index=False, float_format="%.6f", lineterminator="\n"
        )
