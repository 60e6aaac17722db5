"""Load tests in the formats of other tools: small files as their documentation has them, each with its right values."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import test_loadtest as lt
import yaml
from typer.testing import CliRunner

from workbench import cli, loadtest, plots, simulation
from workbench.loadtest import claims, reading

save = lt.save


def read(tmp_path, content, **options):
    return loadtest.read(save(tmp_path, content), **options)


def told(tmp_path, content):
    return read(tmp_path, content).attrs["warnings"]


# vLLM, SGLang -----------------------------------------------------------------------------------------------------

#: sgl-project/sglang, python/sglang/bench_serving.py with --output-details: no start times, a rate of Infinity.
SGLANG = {
    "tag": None, "backend": "sglang", "dataset_name": "random", "request_rate": float("inf"), "max_concurrency": 2,
    "random_input_len": 1024, "duration": 10.0, "completed": 2, "total_input_tokens": 50, "total_output_tokens": 8,
    "request_throughput": 0.2, "input_throughput": 5.0, "output_throughput": 0.8, "mean_e2e_latency_ms": 6750.0,
    "median_e2e_latency_ms": 6750.0, "mean_ttft_ms": 750.0, "median_ttft_ms": 750.0, "p99_ttft_ms": 995.0,
    "mean_tpot_ms": 2500.0, "mean_itl_ms": 2000.0, "concurrency": 1.35, "accept_length": float("nan"),
    "input_lens": [20, 30], "output_lens": [5, 3], "ttfts": [1.0, 0.5], "itls": [[1.0] * 4, [4.0, 4.0]],
    "generated_texts": ["a", "b"], "errors": ["", ""],
}  # fmt: skip
#: Without --output-details.
SGLANG_SUMMARY = {name: value for name, value in SGLANG.items() if not isinstance(value, list)}


def test_sglang_has_no_send_times_and_a_rate_of_infinity(tmp_path):
    table = read(tmp_path, json.dumps(SGLANG) + "\n")
    assert table.attrs["warnings"] == [
        "no start_times: latencies are known, when requests were sent and the queue over time are not"
    ]
    ds = loadtest.metrics(table)
    np.testing.assert_allclose(ds.ttft.sel(percentile=[50, 99]), [0.75, 0.995])
    assert (ds.finished_rate, ds.output_token_rate, ds.mean_running) == (0.2, 0.8, 1.2)
    assert ds.itl_samples == 6
    uncapped = read(tmp_path, json.dumps(SGLANG | {"max_concurrency": None}))
    assert uncapped.sent_s.tolist() == [0, 0]


def test_a_file_appended_to_is_a_sweep(tmp_path):
    slow = SGLANG | {"request_rate": 4.0, "duration": 20.0, "request_throughput": 0.1}
    path = save(tmp_path, json.dumps(SGLANG) + "\n" + json.dumps(slow) + "\n")
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared below
        loadtest.read(path)
    assert str(error.value) == (
        f"{path}: 2 runs in one file: choose one, run=0 to run=1 (--run 0 to --run 1): 0 is all at once 2 at a time, "
        "1 is 4/s 2 at a time"
    )
    table = loadtest.runs(path)
    assert table.source.tolist() == ["requests"] * 2
    assert table.asked_rate.tolist() == [np.inf, 4]
    assert table.finished_rate.tolist() == [0.2, 0.1]
    np.testing.assert_allclose(table.ttft_mean, 0.75)
    np.testing.assert_allclose(table.itl_mean, 2, rtol=1e-3)
    assert table.attrs["warnings"][-1].startswith("run 1: summary: ")  # of 8 tokens in 20 s
    result = CliRunner().invoke(cli.app, ["loadtest", str(path), "-o", str(tmp_path / "runs.csv")])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"sglang: 2 runs: --run 0 to --run 1 shows one; in {tmp_path / 'runs.csv'}"
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 2


def test_every_number_of_a_summary_is_held_against_the_records(tmp_path):
    right = {
        "total_input_tokens": 50, "output_throughput": 8 / 9.5, "total_token_throughput": 58 / 9.5,
        "p99_ttft_ms": 995.0, "median_ttft_ms": 750.0, "mean_tpot_ms": 2500.0, "p99_e2el_ms": 8465.0,
        "mean_itl_ms": 2000.0, "p99_itl_ms": 4000.0, "std_ttft_ms": 1.0,
    }  # fmt: skip
    assert told(tmp_path, lt.vllm(**right)) == []
    wrong = {
        "total_input_tokens": 77777, "output_throughput": 12345.0, "total_token_throughput": 5.0, "p99_ttft_ms": 9999.0,
        "median_ttft_ms": 100.0, "mean_tpot_ms": 3000.0, "p99_e2el_ms": 1.0, "mean_itl_ms": 9.0, "p99_itl_ms": 5000.0,
    }  # fmt: skip
    assert told(tmp_path, lt.vllm(**wrong)) == [
        "summary: total_input_tokens = 77,777, but the records of the finished requests have 50",
        "summary: p99_ttft_ms = 9,999, but the p99 of its records is 995 ms",
        "summary: median_ttft_ms = 100, but the p50 of its records is 750 ms",
        "summary: mean_tpot_ms = 3,000, but the mean of its records is 2,500 ms",
        "summary: p99_e2el_ms = 1, but the p99 of its records is 8,465 ms: are they seconds?",
        "summary: mean_itl_ms = 9, but the mean of its records is 2,000 ms",
        "summary: p99_itl_ms = 5,000, but the p99 of its records is 3,999 ms",
        "summary: output_throughput = 12,340 per second, but its records make 0.8421 per second",
        "summary: total_token_throughput = 5 per second, but its records make 6.105 per second",
    ]


# GuideLLM ---------------------------------------------------------------------------------------------------------


def guidellm_run(sent, ttft=0.1, rate=2.0, asked=None, window=None, **metrics):
    """A run of requests with two tokens, one a second, sent at these times [s]."""
    requests = [lt.guidellm_request(t, t + ttft, t + 1, 10, 2) for t in sent]
    for request, target in zip(requests, sent if asked is None else asked, strict=True):
        request["info"]["timings"] |= {"targeted_start": lt.T0 + target}
    start, end = (sent[0], sent[-1] + 1) if window is None else window
    return {
        "type_": "generative_benchmark", "config": {"strategy": {"type_": "constant", "rate": rate}},
        "scheduler_metrics": {"measure_start_time": lt.T0 + start, "measure_end_time": lt.T0 + end},
        "metrics": {"request_totals": {"successful": len(sent), "incomplete": 0, "errored": 0, "total": len(sent)}}
        | metrics,
        "requests": {"successful": requests, "incomplete": [], "errored": []},
    }  # fmt: skip


def report(*runs):
    return {"metadata": {"version": 1}, "args": {}, "benchmarks": list(runs)}


def test_guidellm_counts_what_its_window_holds(tmp_path):
    run = guidellm_run([0, 2, 4, 6, 8], window=(2.5, 7.0))
    run["metrics"]["request_totals"] |= {"successful": 3, "total": 3}
    table = read(tmp_path, report(run))
    assert table.sent_s.tolist() == [0, 2, 4]
    assert table.attrs["warnings"] == ["2 requests of the warm-up and cool-down are left out, as in its own numbers"]
    reordered = {name: run[name] for name in reversed(run)}
    assert len(read(tmp_path, report(reordered))) == 3


def test_guidellm_rates_and_a_late_client_are_told(tmp_path):
    sent, asked = [0.0, 6.5, 6.6, 6.7], [0.0, 0.5, 1.0, 1.5]
    rates = {"requests_per_second": {"successful": {"mean": 2.687}},
             "time_to_first_token_ms": {"successful": {"mean": 100.0, "percentiles": {"p99": 900.0}}}}  # fmt: skip
    assert told(tmp_path, report(guidellm_run(sent, asked=asked, rate=1.871, **rates))) == [
        "the client sent 3 requests up to 6 s later than it was to, at 1.871 per second: what was offered is not what "
        "was asked for",
        "summary: metrics.time_to_first_token_ms.successful.percentiles.p99 = 900, but the p99 of its records is"
        " 100 ms",
        "summary: metrics.requests_per_second.successful.mean = 2.687 per second, but 0.5195 per second finished",
    ]


def test_guidellm_sample_is_no_rate(tmp_path):
    run = guidellm_run([0, 2, 4], requests_per_second={"successful": {"mean": 50.0}})
    run["metrics"]["request_totals"] |= {"successful": 1000, "total": 1000}
    table = read(tmp_path, report(run))
    assert table.attrs["warnings"] == [
        "3 of its 1,000 requests are in the file, a sample: rates and the queue are unknown"
    ]
    ds = loadtest.metrics(table)
    assert np.isnan([ds.finished_rate, ds.offered_rate, ds.mean_running, ds.token_rate]).all()
    np.testing.assert_allclose(ds.ttft, 0.1, rtol=1e-6)
    assert "a sample" in loadtest.report(ds)


def test_guidellm_yaml_is_the_same_report(tmp_path):
    two = report(guidellm_run([0, 2, 4]), guidellm_run([0, 1, 2, 3], rate=5.0))
    path = save(tmp_path, yaml.safe_dump(json.loads(json.dumps(two))), "benchmarks.yaml")
    with pytest.raises(ValueError, match=r"\(--run 0 to --run 1\): 0 is constant 2/s, 1 is constant 5/s"):
        loadtest.read(path)
    same = loadtest.read(save(tmp_path, two), run=1)
    pd.testing.assert_frame_equal(loadtest.read(path, run=1), same)
    curve = loadtest.runs(path)
    assert curve.label.tolist() == ["constant 2/s", "constant 5/s"]
    assert curve.finished_rate.tolist() == pytest.approx([3 / 5, 1])
    pd.testing.assert_frame_equal(loadtest.runs(save(tmp_path, two)), curve)


#: src/guidellm/benchmark/outputs/csv.py: three lines of headers, percentiles in one cell from the minimum on.
GUIDELLM_CSV = """\
Run Info,Benchmark,Timings,Request Counts,Request Counts,Request Latency,Time to First Token,\
Time to First Token,Time to First Token,Inter Token Latency,Server Throughput,Token Throughput
Run ID,Strategy,Duration,Successful,Errored,Successful Sec,Successful ms,\
Successful ms,Successful ms,Successful ms,Successful Requests/Sec,Successful Output Tokens/Sec
,,Sec,,,Mean,Mean,Median,Percentiles,Mean,Mean,Mean
a,constant,30.0,58,2,1.5,120.0,110.0,"[50, 51, 52, 60, 70, 90, 130, 150, 180, 250, 300]",12.5,1.93,190.0
b,throughput,30.0,90,0,4.5,900.0,880.0,"[50, 51, 52, 60, 70, 90, 1000, 1500, 1800, 2500, 3000]",25.0,3.0,300.0
"""


def test_guidellm_csv(tmp_path):
    table = loadtest.runs(save(tmp_path, GUIDELLM_CSV, "benchmarks.csv"))
    assert (table.attrs["format"], set(table.source)) == ("guidellm-csv", {"summary"})
    assert table.label.tolist() == ["constant", "throughput"]
    assert table[["finished", "failed", "duration_s"]].to_numpy().tolist() == [[58, 2, 30], [90, 0, 30]]
    columns = ["ttft_mean", "ttft_p50", "ttft_p75", "ttft_p99", "tpot_mean", "e2e_mean"]
    np.testing.assert_allclose(table.loc[0, columns].astype(float), [0.12, 0.11, 0.13, 0.25, 0.0125, 1.5])
    assert table.output_token_rate.tolist() == [190, 300]


# Results without requests -----------------------------------------------------------------------------------------

VLLM_SUMMARY = {
    "date": "20250801-101010", "num_prompts": 1000, "request_rate": "inf", "max_concurrency": 64, "duration": 100.0,
    "completed": 990, "total_input_tokens": 990_000, "total_output_tokens": 99_000, "request_throughput": 9.9,
    "output_throughput": 990.0, "total_token_throughput": 10890.0, "mean_ttft_ms": 200.0, "median_ttft_ms": 180.0,
    "p99_ttft_ms": 450.0, "mean_tpot_ms": 20.0, "p99_itl_ms": 45.0, "p99_e2el_ms": 6000.0,
}  # fmt: skip
#: InferenceX, utils/process_result.py: seconds, and throughput a GPU.
INFERENCEX = {
    "hw": "h200", "tp": 8, "ep": 1, "conc": 64, "model": "deepseek-r1", "framework": "sglang", "precision": "fp8",
    "isl": 1024, "osl": 1024, "tput_per_gpu": 500.0, "output_tput_per_gpu": 250.0, "mean_ttft": 0.4, "p99_ttft": 1.2,
    "median_tpot": 0.03, "mean_intvty": 33.0,
}  # fmt: skip
#: ai-dynamo/aiperf, profile_export_aiperf.json.
AIPERF = {
    "request_throughput": {"unit": "requests/sec", "avg": 5.0}, "request_count": {"unit": "requests", "avg": 500.0},
    "time_to_first_token": {"unit": "ms", "avg": 80.0, "p50": 75.0, "p99": 200.0, "std": 3.0},
    "request_latency": {"unit": "ms", "avg": 2000.0, "p90": 3000.0},
    "inter_token_latency": {"unit": "ms", "avg": 10.0, "p95": 15.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 640.0},
    "benchmark_duration": {"unit": "sec", "avg": 100.0},
    "output_sequence_length": {"unit": "tokens", "avg": 128.0}, "input_config": {"loadgen": {"concurrency": 10}},
}  # fmt: skip
#: ray-project/llmperf, the _summary.json.
LLMPERF = {
    "version": "2023-08-31", "model": "m", "num_concurrent_requests": 10, "results_ttft_s_quantiles_p50": 0.24,
    "results_ttft_s_quantiles_p99": 0.58, "results_ttft_s_mean": 0.25, "results_end_to_end_latency_s_mean": 1.3,
    "results_num_completed_requests": 150, "results_num_completed_requests_per_min": 120.0,
    "results_number_errors": 2, "results_mean_output_throughput_token_per_s": 300.0,
}  # fmt: skip
#: kubernetes-sigs/inference-perf, stage_0_lifecycle_metrics.json.
INFERENCE_PERF = {
    "load_summary": {"count": 100, "requested_rate": 2.0, "achieved_rate": 1.9},
    "successes": {
        "count": 98, "throughput": {"requests_per_sec": 1.8, "output_tokens_per_sec": 180.0},
        "latency": {"request_latency": {"mean": 3.0, "p99": 6.0},
                    "time_to_first_token": {"mean": 0.2, "median": 0.15}},
        "output_len": {"mean": 100.0},
    },
    "failures": {"count": 2},
}  # fmt: skip
#: NVIDIA/TensorRT-LLM, trtllm-bench --report_json.
TRTLLM = {
    "engine": {"model": "m"}, "world_info": {"tp_size": 1},
    "request_info": {"num_requests": 200, "avg_input_length": 1000.0},
    "performance": {"request_throughput_req_s": 4.0, "system_output_throughput_tok_s": 400.0,
                    "total_latency_ms": 50_000.0,
                    "request_latency_percentiles_ms": {"p50": 2500.0, "p99": 5000.0, "average": 2600.0}},
    "streaming_metrics": {"avg_ttft_ms": 50.0, "ttft_percentiles": {"p99": 90.0}, "avg_tpot_ms": 12.0},
}  # fmt: skip
#: ggml-org/llama.cpp, tools/llama-bench/README.md: -o json, one test of a prompt and one of tokens.
LLAMA_BENCH = [
    {"build_commit": "a", "model_type": "llama 7B Q4_0", "n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 2500.0},
    {"build_commit": "a", "model_type": "llama 7B Q4_0", "n_prompt": 0, "n_gen": 128, "n_depth": 0, "avg_ts": 125.0},
]
SUMMARIES = {
    "vllm": ("vllm-summary", VLLM_SUMMARY, {
        "source": "summary", "label": "all at once 64 at a time", "finished": 990, "finished_rate": 9.9,
        "ttft_p50": 0.18, "ttft_p99": 0.45, "tpot_mean": 0.02, "itl_p99": 0.045, "e2e_p99": 6.0, "prompt_tokens": 1000,
        "output_tokens": 100, "asked_rate": np.inf,
    }),
    "vllm in a list": ("vllm-summary", [VLLM_SUMMARY], {"ttft_p99": 0.45}),
    "sglang": ("sglang-summary", json.dumps(SGLANG_SUMMARY), {"ttft_p99": 0.995, "e2e_mean": 6.75}),
    "inferencex": ("inferencex", [INFERENCEX], {
        "label": "h200 deepseek-r1 tp 8, 64 at a time", "ttft_p99": 1.2, "tpot_p50": 0.03, "total_token_rate": 4000,
        "output_token_rate": 2000, "prompt_tokens": 1024,
    }),
    "aiperf": ("aiperf-summary", AIPERF, {
        "ttft_p99": 0.2, "tpot_p95": 0.015, "e2e_p90": 3.0, "finished": 500, "duration_s": 100, "concurrency": 10,
    }),
    "llmperf": ("llmperf", LLMPERF, {"ttft_p99": 0.58, "finished_rate": 2.0, "failed": 2, "concurrency": 10}),
    "inference-perf": ("inference-perf-summary", INFERENCE_PERF, {
        "label": "2/s", "ttft_p50": 0.15, "e2e_p99": 6.0, "finished": 98, "failed": 2, "output_token_rate": 180,
    }),
    "trtllm-bench": ("trtllm-bench", TRTLLM, {
        "ttft_mean": 0.05, "ttft_p99": 0.09, "e2e_mean": 2.6, "duration_s": 50, "finished": 200,
    }),
    "llama-bench": ("llama-bench", LLAMA_BENCH, {
        "label": "llama 7B Q4_0 pp512", "prompt_token_rate": 2500, "prompt_tokens": 512,
    }),
    "llama-bench csv": ("llama-bench",
                        'build_commit,model_type,n_prompt,n_gen,n_depth,avg_ts\n"a","m","0","128","0","125"\n',
                        {"label": "m tg128", "output_token_rate": 125, "tpot_mean": 0.008}),
}  # fmt: skip


@pytest.mark.parametrize(("format", "content", "expected"), SUMMARIES.values(), ids=SUMMARIES)
def test_what_a_summary_says_is_read_as_such(tmp_path, format, content, expected):
    path = save(tmp_path, content)
    table = loadtest.runs(path)
    assert table.attrs["format"] == format
    assert list(table.columns) == list(loadtest.RUN_COLUMNS)
    row = table.loc[0, list(expected)].to_dict()
    assert row == pytest.approx(expected)
    with pytest.raises(ValueError, match="only a summary, without requests: its runs alone can be read"):
        loadtest.read(path)
    result = CliRunner().invoke(cli.app, ["loadtest", str(path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith(f"{format}: only a summary, without requests")
    assert "nan" not in result.stdout


@pytest.mark.parametrize(("content", "message"), [
    ("[]", "no load test: it holds '[]', no keys"),
    ([{"a": 1}], "no load test: its keys 'a'. Known: varcas, vLLM"),
    ("a,b,c\n1,2,3\n", "say which is what, --column ttft=NAME:ms (columns=): a, b, c"),
    ("log\n| model | test | t/s |\n|---|\n", "llama-bench's table for readers: run it with `-o json`"),
])  # fmt: skip
def test_a_list_without_results_says_what_it_holds(tmp_path, content, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared below
        loadtest.read(save(tmp_path, content))
    assert message in str(error.value)


def test_every_tool_whose_files_are_read_is_named_where_one_is_not():
    tools = reading.TOOLS.lower().replace("trtllm-bench", "trtllm")
    for format in (*loadtest.LOAD_TEST_FORMATS, *loadtest.SUMMARY_FORMATS):
        name = format.removesuffix("-summary").removesuffix("-requests").removesuffix("-yaml").removesuffix("-csv")
        assert name.removesuffix("-bench") in tools, format


@pytest.mark.parametrize(
    ("number", "words"), [(10890, "10,890"), (0.12346, "0.1235"), (9999, "9,999"), (np.inf, "inf")]
)
def test_numbers_are_printed_without_an_exponent(number, words):
    assert claims.significant(number) == words


def test_a_sweep_is_drawn_by_the_command(tmp_path):
    runs = [VLLM_SUMMARY | {"request_throughput": rate} for rate in (4.0, 1.0)]
    path, chart = save(tmp_path, lt.lines(runs)), tmp_path / "curve.png"
    result = CliRunner().invoke(cli.app, ["loadtest", str(path), "--plot", str(chart)])
    assert result.exit_code == 0, result.output
    assert chart.read_bytes().startswith(b"\x89PNG")
    one = save(tmp_path, lt.CSV, "one.csv")
    result = CliRunner().invoke(cli.app, ["loadtest", str(one), "--plot", str(chart)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--plot goes with --gpu and --model, the server to simulate, or with several runs" in result.stderr


TIMINGS = "operator_class,m,n,k,time_s\ngemm,1,2,3,1e-5\n"
ELSEWHERE = {
    "timings to loadtest": (["loadtest"], TIMINGS, "these are kernel timings (workbench): workbench timings FILE"),
    "load test to timings": (["timings"], lt.CSV, "this is a load test (csv): workbench loadtest FILE"),
    "load test to explain": (["explain"], json.dumps(SGLANG), "this is a load test (sglang): workbench loadtest FILE"),
    "load test to calibrate": (["calibrate", "--gpu", "t4"], lt.CSV, "this is a load test (csv): workbench loadtest"),
    "workload to loadtest": (["loadtest"], "arrived_at,num_prefill_tokens,num_decode_tokens\n1,2,3\n",
                             "this is a workload (vidur-trace), without results: workbench simulate --trace FILE"),
    "no send times to simulate": (["simulate", "gpt2", "--gpu", "t4", "--trace"], json.dumps(SGLANG), "sent_s is"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "content", "message"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_file_for_another_command_is_said_to_be_one(tmp_path, command, content, message):
    path = save(tmp_path, content, "it.csv")
    result = CliRunner().invoke(cli.app, [*command, str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert message in line
    assert len(line.replace(str(path), "it.csv")) < 200


def test_a_table_of_operators_is_told_by_its_columns(tmp_path):
    path = tmp_path / "operators.parquet"
    pd.DataFrame({"operator": ["gemm"], "kernel_source": ["a"], "time_s": [1e-5]}).to_parquet(path)
    for command in ("timings", "loadtest", "explain"):
        result = CliRunner().invoke(cli.app, [command, str(path)])
        told = f"workbench: {path}: this is a table of operators: workbench calibrate --judge FILE\n"
        assert result.stderr == told


@pytest.mark.parametrize(("arguments", "message"), [
    (["--slo-ttft", "0"], "--slo-ttft 0: expected a time above 0"),
    (["--window", "10"], "window ends at 10 s, but the run lasted 9.5 s, from its first send"),
    (["--column", "ttft=a", "--column", "ttft=b"], "--column 'ttft=b': ttft is 'a' already: give each once"),
    (["--column", "ttft="], "--column 'ttft=': expected what it is and its name"),
])  # fmt: skip
def test_options_that_mean_nothing_are_refused(tmp_path, arguments, message):
    result = CliRunner().invoke(cli.app, ["loadtest", str(save(tmp_path, lt.CSV, "one.csv")), *arguments])
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


# Durations that contradict the records ----------------------------------------------------------------------------


def test_a_duration_that_the_records_contradict_gives_no_rate(tmp_path):
    """Two requests of 5 and 8.5 s, two at a time, cannot end within 5 s."""
    table = read(tmp_path, json.dumps(SGLANG | {"duration": 5.0}))
    assert "summary: duration = 5 s, but its records take 8.5 s at least: rates are unknown" in table.attrs["warnings"]
    assert np.isnan(loadtest.metrics(table).finished_rate)
    long = told(tmp_path, json.dumps(SGLANG | {"duration": 500.0}))
    assert "summary: duration = 500 s, but its records take about 8.5 s, as many at a time as it says" in "".join(long)
    sent = told(tmp_path, lt.vllm(duration=500.0))
    assert "summary: duration = 500 s, but its records last 9.5 s: rates here are over the latter" in sent


def test_requests_that_took_much_less_than_the_run_were_not_sent_at_once(tmp_path):
    table = read(tmp_path, json.dumps(SGLANG | {"max_concurrency": None, "duration": 50.0}))
    assert table.sent_s.isna().all()
    assert table.attrs["warnings"][0] == (
        "no start_times: duration = 50 s is longer than every request (8.5 s), so that requests were not sent all at "
        "once: when is unknown"
    )
    assert loadtest.metrics(table).finished_rate == 2 / 50


def test_a_sweep_is_a_curve(tmp_path, ax):
    runs = [VLLM_SUMMARY | {"request_throughput": rate, "median_ttft_ms": 100 * rate} for rate in (4.0, 1.0, 2.0)]
    table = loadtest.runs(save(tmp_path, lt.lines(runs)))
    plots.load_curve(table, ax)
    line = ax.get_lines()[0]
    assert line.get_xdata().tolist() == [1, 2, 4]
    assert line.get_ydata().tolist() == [100, 200, 400]
    with pytest.raises(ValueError, match="no run with both asked_rate and a latency's p90"):
        plots.load_curve(table, ax.figure.add_subplot(), over="asked_rate", statistic="p90")
    with pytest.raises(ValueError, match="unknown over 'rate'"):
        plots.load_curve(table, ax, over="rate")
    with pytest.raises(ValueError, match="unknown statistic 'p42'"):
        plots.load_curve(table, ax, statistic="p42")


# Requests of other tools ------------------------------------------------------------------------------------------

LLMPERF_REQUESTS = [
    {"error_code": None, "error_msg": "", "inter_token_latency_s": 0.2, "ttft_s": 1.0, "end_to_end_latency_s": 5.0,
     "number_total_tokens": 25, "number_output_tokens": 5, "number_input_tokens": 20},
    {"error_code": 429, "error_msg": "too many", "ttft_s": 0, "end_to_end_latency_s": 0, "number_input_tokens": 10,
     "number_output_tokens": 0},
]  # fmt: skip
INFERENCE_PERF_REQUESTS = [
    {"start_time": 100.0, "end_time": 105.0, "request": "{}", "response": "", "error": None,
     "info": {"input_tokens": 20, "output_tokens": 3, "output_token_times": [101.0, 103.0, 105.0]}},
    {"start_time": 101.0, "end_time": 102.5, "request": "{}", "error": {"error_type": "Timeout", "error_msg": "late"},
     "info": {"input_tokens": 30, "output_tokens": 0, "output_token_times": []}},
]  # fmt: skip
TRTLLM_REQUESTS = [
    {"id": 0, "num_input_tokens": 20, "num_generated_tokens": 5, "time_to_first_token": 1e9, "end_to_end_latency": 5e9,
     "intertoken_latency": 1e9},
]  # fmt: skip


def test_llmperf_responses(tmp_path):
    table = read(tmp_path, LLMPERF_REQUESTS)
    assert table.attrs["format"] == "llmperf-requests"
    assert table.status.tolist() == ["finished", "failed"]
    assert table.error.tolist() == ["", "too many"]
    assert (table.ttft_s[0], table.e2e_s[0]) == (1, 5)
    np.testing.assert_allclose(loadtest.metrics(table).tpot, 1)


def test_inference_perf_requests(tmp_path):
    table = read(tmp_path, INFERENCE_PERF_REQUESTS)
    assert table.attrs["format"] == "inference-perf"
    assert table.sent_s.tolist() == [0, 1]
    assert table.first_token_s.fillna(-1).tolist() == [1, -1]
    assert table.last_token_s.tolist() == [5, 2.5]
    assert table.status.tolist() == ["finished", "failed"]
    assert table.attrs["itl"]["count"] == [2]


def test_trtllm_bench_requests(tmp_path):
    table = read(tmp_path, TRTLLM_REQUESTS)
    assert (table.attrs["format"], table.ttft_s[0], table.e2e_s[0], table.output_tokens[0]) == (
        "trtllm-requests",
        1,
        5,
        5,
    )


def test_columns_that_the_user_names(tmp_path):
    text = "id,TTFT (ms),lat,n_in,n_out\na,1000,5,20,5\nb,500,8.5,30,3\nc,x,1,1,1\nd,,,40,0\n"
    path = save(tmp_path, text, "mine.csv")
    names = {"ttft": "TTFT (ms):ms", "e2e": "lat", "prompt_tokens": "n_in", "output_tokens": "n_out"}
    table = loadtest.read(path, columns=names)
    np.testing.assert_allclose(table[["ttft_s", "e2e_s"]].T, [[1, 0.5, np.nan], [5, 8.5, np.nan]])
    assert table.attrs["warnings"][:2] == [
        "1 of 4 records could not be used", "line 4: TTFT (ms) = 'x': expected a number",
    ]  # fmt: skip
    arguments = [part for name, column in names.items() for part in ("--column", f"{name}={column}")]
    result = CliRunner().invoke(cli.app, ["loadtest", str(path), *arguments])
    assert result.exit_code == 0, result.output
    assert "TTFT         p50 750.0" in result.stdout
    times = "start,tpot,first,out\n10,500,11,3\n"
    table = loadtest.read(save(tmp_path, times), columns={"sent": "start", "first_token": "first", "tpot": "tpot:ms",
                                                          "output_tokens": "out"})  # fmt: skip
    assert table.iloc[0, :3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("names", "message"), [
    ({"ttfs": "a"}, r"unknown column 'ttfs'. Did you mean 'ttft'"), ({"sent": "a"}, "expected first_token or ttft"),
    ({"ttft": "b"}, r"mine.csv: ttft: unknown column 'b'"),
])  # fmt: skip
def test_columns_that_are_not_there_are_named(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        loadtest.read(save(tmp_path, "a,c\n1,2\n", "mine.csv"), columns=names)
    result = CliRunner().invoke(cli.app, ["loadtest", str(tmp_path / "mine.csv"), "--column", "ttft"])
    assert "--column 'ttft': expected what it is and its name" in result.stderr


def test_genai_perf_without_usage_has_no_rate_of_tokens(tmp_path):
    outputs = [{"text_output": "I"}, {"text_output": " do"}]
    requests = [{"timestamp": 10**9, "response_timestamps": [2 * 10**9, 3 * 10**9], "response_outputs": outputs}]
    ds = loadtest.metrics(read(tmp_path, {"experiments": [{"requests": requests}]}))
    assert np.isnan([ds.output_token_rate, ds.token_rate]).all()
    assert " unknown tokens per second of finished requests" in loadtest.report(ds)


def test_errors_are_in_the_report(tmp_path):
    text = loadtest.report(loadtest.metrics(read(tmp_path, lt.lines([*lt.LINES, lt.LINES[2]]))))
    assert "errors       2 x 'late'" in text.splitlines()


# Workloads --------------------------------------------------------------------------------------------------------

WORKLOADS = {
    # Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv.csv: dates with seven digits of a second
    "azure": ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
              "2023-11-16 18:15:50.9951690,396,109\n", [0, 4.314579], [374, 396], [44, 109]),
    # HPMLL/BurstGPT: seconds; requests that failed have no response
    "burstgpt": ("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Log\n"
                 "45,GPT-4,1087,0,1087,API log\n118,ChatGPT,417,276,693,Log\n", [0, 113], [472, 417], [18, 276]),
    # kvcache-ai/Mooncake, mooncake_trace.jsonl: milliseconds, hashes of 512 tokens
    "mooncake": (lt.lines([
        {"timestamp": 0, "input_length": 1000, "output_length": 52, "hash_ids": [46, 47]},
        {"timestamp": 3052, "input_length": 1500, "output_length": 26, "hash_ids": [46, 47, 48]},
    ]), [0, 3.052], [1000, 1500], [52, 26]),
    # microsoft/vidur, data/processed_traces
    "vidur-trace": ("arrived_at,num_prefill_tokens,num_decode_tokens\n2.5,100,10\n1.0,200,20\n", [0, 1.5],
                    [200, 100], [20, 10]),
}  # fmt: skip


@pytest.mark.parametrize("format", WORKLOADS)
def test_workloads_go_into_the_simulation(tmp_path, format):
    content, sent, prompt, output = WORKLOADS[format]
    path = save(tmp_path, gzip.compress(content.encode()))
    table = loadtest.read_workload(path)
    assert table.attrs["format"] == format
    np.testing.assert_allclose(table.sent_s, sent)
    assert (table.prompt_tokens.tolist(), table.output_tokens.tolist()) == (prompt, output)
    workload = simulation.trace(table)
    np.testing.assert_allclose(workload.sent_s, sent)
    if format == "mooncake":
        assert (workload.block_tokens, workload.block_hashes) == (512, ((46, 47), (46, 47, 48)))
    if format == "burstgpt":
        assert table.attrs["warnings"] == ["1 of 3 requests have no prompt or no output: left out"]
    with pytest.raises(ValueError, match=rf"a workload \({format}\), without results: workbench simulate --trace FILE"):
        loadtest.read(path)


@pytest.mark.parametrize(("content", "message"), [
    ("TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,2\n", "TIMESTAMP = 'soon': expected seconds or a date"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,-1,2\n", "line 2: ContextTokens = '-1': expected a whole number"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,1\n", "line 2: 2 fields: expected 3"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no request with a prompt and an output"),
    ("a,b\n", "not a known workload. Known: azure, burstgpt"),
    ('{"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": ["a"]}', "line 1: hash_ids: expected whole"),
])  # fmt: skip
def test_a_workload_that_is_none_is_one_line(tmp_path, content, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  compared below
        loadtest.read_workload(save(tmp_path, content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_trace_takes_dates_and_says_which_requests_are_unknown(tmp_path):
    dates = pd.to_datetime(["2026-01-01 00:00:01.500", "2026-01-01 00:00:00.000"])
    frame = pd.DataFrame({"sent_s": dates, "prompt_tokens": [1, 2], "output_tokens": [3, 4]})
    for times in (frame, frame.assign(sent_s=dates.tz_localize("UTC")), frame.assign(sent_s=dates.astype("M8[s]"))):
        assert simulation.trace(times).sent_s[1] in (1.5, 1.0)
    table = read(tmp_path, lt.vllm(output_lens=[5, None, 0]))
    with pytest.raises(
        ValueError, match=r"row 1: output_tokens is unknown, as of 1 of 3 requests: only requests that have all"
    ):
        simulation.trace(table)
    with pytest.raises(ValueError, match=r"row 0: sent_s is unknown, as of 2 of 2 requests: such a run cannot be sent"):
        simulation.trace(read(tmp_path, json.dumps(SGLANG)))


#: For `hostile_files`: each format with a sample.
HOSTILE = [
    ("vllm", json.dumps(SGLANG).encode()), ("guidellm", json.dumps(report(guidellm_run([0, 2, 4]))).encode()),
    ("guidellm-yaml", yaml.safe_dump(json.loads(json.dumps(report(guidellm_run([0, 2]))))).encode()),
    ("guidellm-csv", GUIDELLM_CSV.encode()), ("llmperf-requests", json.dumps(LLMPERF_REQUESTS).encode()),
    ("inference-perf", json.dumps(INFERENCE_PERF_REQUESTS).encode()),
    ("trtllm-requests", json.dumps(TRTLLM_REQUESTS).encode()),
    *((name, (text if isinstance(text, str) else json.dumps(text)).encode()) for name, text, _ in SUMMARIES.values()),
]  # fmt: skip
