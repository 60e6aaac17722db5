"""Readers of results without requests: what each run was asked for, and the percentiles of a whole."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..files.json_streams import json_events, value_at, values_of
from ..files.reading import csv_rows, open_text
from .claims import RUN_COLUMNS, claim_of, statistic_name
from .nvidia import AIPERF_SECONDS
from .rows import Rows, Said, is_number
from .streams import rate_label

ResultFields = dict[str, Any]
FieldNames = dict[str, tuple[str, float]]  # of a field: the column that it is, and its unit in that column's


def documents(path: Path) -> Iterator[ResultFields]:
    """The objects of a file of JSON: one, one a line, or a list of them."""
    with open_text(path) as file:
        wanted = {"item" if file.read(2**16).lstrip().startswith("[") else ""}
    for _, value in values_of(json_events(path, wanted), wanted):
        if isinstance(value, dict):
            yield value


def _rows(path: Path, label: str = "") -> Rows:
    rows = Rows(path)
    rows.label = label
    return rows


def _put(rows: Rows, names: FieldNames, record: ResultFields, root: str = "") -> None:
    """Claims of a record's fields, by their dotted places below `root`."""
    for place, (column, scale) in names.items():
        value = value_at(record, root + place)
        if is_number(value) and column in RUN_COLUMNS:
            rows.claims[root + place] = Said(column, float(value) * scale, scale)


def _spread(places: dict[str, tuple[str, float]], form: str = "{place}.{statistic}") -> FieldNames:
    """ResultFields of latencies: mean and percentiles of each."""
    return {
        form.format(place=place, statistic=name): (f"{what}_{statistic_name(name)}", scale)
        for place, (what, scale) in places.items()
        for name in ("mean", "avg", "average", "median", "p50", "p75", "p90", "p95", "p99")
    }


# vLLM, SGLang, InferenceX -----------------------------------------------------------------------------------------


def read_flat(path: Path) -> list[Rows]:
    """Read results of `vllm bench serve --save-result` or SGLang's bench_serving, without their details."""
    found = []
    for record in documents(path):
        rows = _rows(path, rate_label(_rate(record.get("request_rate")), record.get("max_concurrency")))
        rows.claims = {name: claim for name, value in record.items() if (claim := claim_of(name, value))}
        if _rate(record.get("request_rate")) == float("inf"):
            rows.claims["request_rate"] = Said("asked_rate", float("inf"))
        found.append(rows)
    return found


def _rate(value: object) -> object:
    return float("inf") if value == "inf" else value


def read_inferencex(path: Path) -> list[Rows]:
    """Read results of InferenceX, formerly InferenceMAX: latencies in s, throughput a GPU (utils/process_result.py).

    A list of runs, or one: hw, model, tp, conc, isl, osl, tput_per_gpu [token/s], mean_ttft, p99_tpot, ...
    """
    found = []
    for record in documents(path):
        rows = _rows(path, " ".join(str(record[name])[:30] for name in ("hw", "model") if name in record))
        rows.claims = {name: claim for name, value in record.items() if (claim := claim_of(name, value))}
        _put(rows, {"conc": ("concurrency", 1), "isl": ("prompt_tokens", 1), "osl": ("output_tokens", 1)}, record)
        if isinstance(gpus := record.get("num_gpus", record.get("tp")), int) and gpus > 0:
            names = {"tput_per_gpu": "total_token_rate", "output_tput_per_gpu": "output_token_rate"}
            _put(rows, {name: (column, float(gpus)) for name, column in names.items()}, record)
        rows.label = f"{rows.label} tp {record.get('tp', '?')}, {rate_label(cap=record.get('conc'))}".strip()
        found.append(rows)
    return found


# AIPerf, GenAI-Perf -----------------------------------------------------------------------------------------------

AIPERF_LATENCIES = {
    "time_to_first_token": "ttft", "inter_token_latency": "tpot", "inter_chunk_latency": "itl",
    "request_latency": "e2e",
}  # fmt: skip
AIPERF_MEANS = {
    "request_throughput": "finished_rate", "output_token_throughput": "output_token_rate",
    "total_token_throughput": "total_token_rate", "request_count": "finished", "error_request_count": "failed",
    "input_sequence_length": "prompt_tokens", "output_sequence_length": "output_tokens",
}  # fmt: skip


def read_aiperf_summary(path: Path) -> list[Rows]:
    """Read profile_export_aiperf.json of AIPerf, or profile_export_genai_perf.json of GenAI-Perf.

    An object a metric with its unit, avg and percentiles. What both call inter_token_latency is a request's time after
    its first token over its tokens after the first: TPOT.
    """
    found = []
    for record in documents(path):
        metrics = next((record[name] for name in ("metrics", "records") if isinstance(record.get(name), dict)), record)
        load = "input_config.loadgen.", "input_config.perf_analyzer.stimulus.", "config.load."
        rate, cap = (value_at(record, *(root + name for root in load)) for name in ("request_rate", "concurrency"))
        rows = _rows(path, rate_label(rate, cap))
        for value, column in ((rate, "asked_rate"), (cap, "concurrency")):
            if isinstance(value, int | float):
                rows.claims[column] = Said(column, float(value))
        for name, what in AIPERF_LATENCIES.items():
            scale = AIPERF_SECONDS.get(str(value_at(metrics, f"{name}.unit")))
            if scale is not None:
                _put(rows, _spread({name: (what, scale)}), metrics)
        _put(rows, {f"{name}.avg": (column, 1.0) for name, column in AIPERF_MEANS.items()}, metrics)
        scale = AIPERF_SECONDS.get(str(value_at(metrics, "benchmark_duration.unit")))
        if scale is not None:
            _put(rows, {"benchmark_duration.avg": ("duration_s", scale)}, metrics)
        found.append(rows)
    return found


# llmperf, inference-perf, trtllm-bench ----------------------------------------------------------------------------

LLMPERF: FieldNames = {
    "num_concurrent_requests": ("concurrency", 1), "results_num_completed_requests": ("finished", 1),
    "results_num_requests_started": ("requests", 1), "results_number_errors": ("failed", 1),
    "results_mean_output_throughput_token_per_s": ("output_token_rate", 1),
    "results_num_completed_requests_per_min": ("finished_rate", 1 / 60),
    "results_number_input_tokens_mean": ("prompt_tokens", 1), "results_number_output_tokens_mean": ("output_tokens", 1),
    **{
        f"results_{name}_{'mean' if statistic == 'mean' else f'quantiles_{statistic}'}": (f"{what}_{statistic}", 1)
        for name, what in (("ttft_s", "ttft"), ("end_to_end_latency_s", "e2e"))
        for statistic in ("mean", "p50", "p75", "p90", "p95", "p99")
    },
}  # fmt: skip
INFERENCE_PERF: FieldNames = {
    "load_summary.count": ("requests", 1), "load_summary.requested_rate": ("asked_rate", 1),
    "load_summary.concurrency": ("concurrency", 1), "successes.count": ("finished", 1),
    "failures.count": ("failed", 1), "successes.throughput.requests_per_sec": ("finished_rate", 1),
    "successes.throughput.input_tokens_per_sec": ("prompt_token_rate", 1),
    "successes.throughput.output_tokens_per_sec": ("output_token_rate", 1),
    "successes.throughput.total_tokens_per_sec": ("total_token_rate", 1),
    "successes.prompt_len.mean": ("prompt_tokens", 1), "successes.output_len.mean": ("output_tokens", 1),
    **_spread({
        "successes.latency.request_latency": ("e2e", 1.0), "successes.latency.time_to_first_token": ("ttft", 1.0),
        "successes.latency.time_per_output_token": ("tpot", 1.0),
        "successes.latency.inter_token_latency": ("itl", 1.0),
    }),
}  # fmt: skip
TRTLLM: FieldNames = {
    "request_info.num_requests": ("finished", 1), "request_info.avg_num_concurrent_requests": ("concurrency", 1),
    "request_info.avg_input_length": ("prompt_tokens", 1), "request_info.avg_output_length": ("output_tokens", 1),
    "performance.total_latency_ms": ("duration_s", 1e-3), "performance.request_throughput_req_s": ("finished_rate", 1),
    "performance.system_output_throughput_tok_s": ("output_token_rate", 1),
    "performance.system_total_throughput_tok_s": ("total_token_rate", 1),
    "performance.avg_request_latency_ms": ("e2e_mean", 1e-3), "streaming_metrics.avg_ttft_ms": ("ttft_mean", 1e-3),
    "streaming_metrics.avg_tpot_ms": ("tpot_mean", 1e-3),
    **_spread({
        "performance.request_latency_percentiles_ms": ("e2e", 1e-3),
        "streaming_metrics.ttft_percentiles": ("ttft", 1e-3), "streaming_metrics.tpot_percentiles": ("tpot", 1e-3),
    }),
}  # fmt: skip


def _by_names(names: FieldNames, rate: str, cap: str) -> Callable[[Path], list[Rows]]:
    def read_by_names(path: Path) -> list[Rows]:
        found = []
        for record in documents(path):
            rows = _rows(path, rate_label(value_at(record, rate), value_at(record, cap)))
            _put(rows, names, record)
            found.append(rows)
        return found

    return read_by_names


# llama-bench ------------------------------------------------------------------------------------------------------


def read_llama_bench(path: Path) -> list[Rows]:
    """Read llama-bench's output as JSON, JSON lines or CSV (ggml-org/llama.cpp, tools/llama-bench): a row a test.

    n_prompt tokens at once, then n_gen one by one, avg_ts of them a second [token/s]. A test of both has no rate of
    either, and its avg_ts is that of all tokens.
    """
    found = []
    for record in _tests(path):
        prompt, output, depth = (_whole(record.get(name)) for name in ("n_prompt", "n_gen", "n_depth"))
        rate = record.get("avg_ts")
        parts = [f"pp{prompt}"] * (prompt > 0) + [f"tg{output}"] * (output > 0) + [f"d{depth}"] * (depth > 0)
        rows = _rows(path, f"{str(record.get('model_type', ''))[:40]} {'+'.join(parts)}".strip())
        column = "total_token_rate" if prompt and output else "prompt_token_rate" if prompt else "output_token_rate"
        if isinstance(rate, int | float) and rate > 0:
            rows.claims["avg_ts"] = Said(column, float(rate))
            if column == "output_token_rate":
                rows.claims["tpot"] = Said("tpot_mean", 1 / rate)
        rows.claims |= {"n_prompt": Said("prompt_tokens", prompt), "n_gen": Said("output_tokens", output)}
        found.append(rows)
    return found


def _tests(path: Path) -> Iterator[ResultFields]:
    with open_text(path) as file:
        start = file.read(2**16).lstrip()
    if start.startswith(("{", "[")):
        yield from documents(path)
        return
    table = csv_rows(path)
    _, names = next(table)
    for _, row in table:
        record: ResultFields = dict(zip(names, row, strict=False))
        try:
            record["avg_ts"] = float(record.get("avg_ts", ""))
        except ValueError:
            record["avg_ts"] = None
        yield record


def _whole(value: object) -> int:
    return int(str(value)) if re.fullmatch(r"\d{1,9}", str(value)) else 0


# GuideLLM's CSV ---------------------------------------------------------------------------------------------------

GUIDELLM_PERCENTILES = {"p75": 6, "p90": 7, "p95": 8, "p99": 9}  # places in its list, from the minimum to the maximum
#: Of a column of GuideLLM's CSV, its headers in lower case in one line: what it is, and its unit.
GUIDELLM_CSV: dict[str, tuple[str, float]] = {
    "time to first token successful ms": ("ttft", 1e-3), "successful time to first token ms": ("ttft", 1e-3),
    "inter token latency successful ms": ("tpot", 1e-3), "successful inter token latency ms": ("tpot", 1e-3),
    "request latency successful sec": ("e2e", 1.0), "successful request latency": ("e2e", 1.0),
}  # fmt: skip
GUIDELLM_CSV_MEANS = {
    "server throughput successful requests/sec mean": "finished_rate",
    "successful requests per second mean": "finished_rate",
    "token metrics successful input tokens mean": "prompt_tokens",
    "successful prompt token count mean": "prompt_tokens",
    "token metrics successful output tokens mean": "output_tokens",
    "successful output token count mean": "output_tokens",
    "token throughput successful output tokens/sec mean": "output_token_rate",
    "successful output tokens per second mean": "output_token_rate",
    "token throughput successful total tokens/sec mean": "total_token_rate",
    "successful tokens per second mean": "total_token_rate",
    "request counts successful": "finished", "request counts errored": "failed",
    "request counts incomplete": "unfinished", "request counts total": "requests", "timings duration sec": "duration_s",
    "successful requests": "finished", "errored requests": "failed", "incomplete requests": "unfinished",
    "total requests": "requests", "duration": "duration_s",
}  # fmt: skip


def read_guidellm_csv(path: Path) -> list[Rows]:
    """Read GuideLLM's CSV, a row a benchmark; its headers are three lines, group, field, statistic, in older ones one.

    vllm-project/guidellm, src/guidellm/benchmark/outputs/csv.py. Percentiles are a list in a cell.
    """
    table = [row for _, row in csv_rows(path)]
    deep = 3 if any("Mean" in row for row in table[1:3]) else 1
    heads = [" ".join(" ".join(parts).replace("_", " ").replace("(", " ").replace(")", " ").lower().split())
             for parts in zip(*table[:deep], strict=False)]  # fmt: skip
    found = []
    for row in table[deep:]:
        record = dict(zip(heads, row, strict=False))
        rows = _rows(
            path, next((record[name] for name in ("benchmark strategy", "strategy", "name") if name in record), "")
        )
        for head, column in GUIDELLM_CSV_MEANS.items():
            _cell(rows, head, record.get(head), column, 1.0)
        for head, (what, scale) in GUIDELLM_CSV.items():
            for name in ("mean", "median"):
                _cell(rows, f"{head} {name}", record.get(f"{head} {name}"), f"{what}_{statistic_name(name)}", scale)
            for percentiles in (
                text for name, text in record.items() if name.startswith(head) and text.startswith("[")
            ):
                listed = next(csv.reader([percentiles.strip("[]")]), [])
                for name, place in GUIDELLM_PERCENTILES.items():
                    _cell(rows, f"{head} {name}", dict(enumerate(listed)).get(place), f"{what}_{name}", scale)
        found.append(rows)
    return found


def _cell(rows: Rows, name: str, text: str | None, column: str, scale: float) -> None:
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return
    if is_number(value):
        rows.claims[name] = Said(column, value * scale, scale)


#: The reader of each format of results without requests.
SUMMARY_FORMATS: dict[str, Callable[[Path], list[Rows]]] = {
    "vllm-summary": read_flat, "sglang-summary": read_flat,
    "inferencex": read_inferencex, "aiperf-summary": read_aiperf_summary,
    "llmperf": _by_names(LLMPERF, "", "num_concurrent_requests"),
    "inference-perf-summary": _by_names(INFERENCE_PERF, "load_summary.requested_rate", "load_summary.concurrency"),
    "trtllm-bench": _by_names(TRTLLM, "", "request_info.avg_num_concurrent_requests"),
    "llama-bench": read_llama_bench, "guidellm-csv": read_guidellm_csv,
}  # fmt: skip
#: Keys of SGLang's bench_serving that vLLM's results, alike in the others, do not have.
SGLANG_KEYS = {"mean_e2e_latency_ms", "median_e2e_latency_ms", "accept_length", "sharegpt_output_len"}
#: Keys by which such a file is recognized: all of the first, and one of the second.
SUMMARY_MARKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "inferencex": ((), ("tput_per_gpu", "output_tput_per_gpu")),
    "llama-bench": (("n_prompt", "n_gen"), ("avg_ts",)),
    "inference-perf-summary": (("successes",), ("load_summary", "failures")),
    "trtllm-bench": (("performance",), ("engine", "request_info", "world_info")),
    "llmperf": ((), ("results_ttft_s_mean", "results_num_completed_requests", "results_ttft_s_quantiles_p50")),
    "sglang-summary": (("output_throughput",), (*SGLANG_KEYS,)),
    "vllm-summary": ((), ("mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms", "output_throughput", "completed")),
    "aiperf-summary": ((), ("time_to_first_token", "request_latency", "output_token_throughput", "request_throughput")),
}  # fmt: skip
#: What to give in place of a file of that format, for its requests.
WITH_REQUESTS = {
    "vllm-summary": "run vllm bench serve with --save-detailed",
    "sglang-summary": "run bench_serving with --output-details",
    "aiperf-summary": "give the per-request file, profile_export.jsonl or profile_export.json",
    "llmperf": "give the individual responses", "inference-perf-summary": "give per_request_lifecycle_metrics.json",
    "guidellm-csv": "give the report as JSON",
}  # fmt: skip
