"""Load tests: small files of every format typed by hand, broken ones, and metrics by hand values and limits."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from workbench import cli, loadtest

# Four requests, the same in every format: two finished, one cut off while decoding, one that never started.
CSV = """\
# a test of ten seconds
sent_s,first_token_s,last_token_s,input_tokens,output_tokens
0.0,1.0,5.0,20,5
1.0,1.5,9.5,30,3
2.0,4.0,,10,0
4.0,,,40,0
"""
SENT, FIRST, LAST = [0, 1, 2, 4], [1, 1.5, 4, np.nan], [5, 9.5, np.nan, np.nan]

T0 = 1770802895.25  # some Unix time that float64 holds exactly


def varcas(records=None, **metrics):
    def record(sent, first, last, prompt, output, error=None):
        times = [None if t is None else T0 + t for t in (sent, first, last)]
        names = ("timestamp_sent", "timestamp_first_token", "timestamp_last_token", "input_tokens", "output_tokens")
        return dict(zip(names, (*times, prompt, output), strict=True)) | {"output_text": "\u00e9 text", "error": error}

    rows = [(0, 1, 5, 20, 5), (1, 1.5, 9.5, 30, 3), (2, 4, None, 10, 0), (4, None, None, 40, 0)]
    return {
        "experiment_id": "a", "config": {"target_rps": 1.0},
        "metrics": {"total_requests": 4, "successful_requests": 2, "failed_requests": 0} | metrics,
        "records": [record(*row) for row in records or rows],
    }  # fmt: skip


def vllm(**changes):
    """Two finished, one failed: vLLM's client waits for all."""
    return {
        "date": "20260211-094235", "num_prompts": 3, "request_rate": 1.0, "max_concurrency": None, "duration": 9.5,
        "completed": 2, "failed": 1, "total_output_tokens": 8, "request_throughput": 2 / 9.5,
        "input_lens": [20, 30, 10], "output_lens": [5, 3, 0], "ttfts": [1.0, 0.5, 0.0],
        "itls": [[1.0, 1.0, 1.0, 1.0], [4.0, 4.0], []], "start_times": [353399.5, 353400.5, 353401.5],
        "generated_texts": ["a", "b", ""], "errors": ["", "", "Traceback:\n  File\nTimeoutError: too late\n"],
        "mean_ttft_ms": 750.0,
    } | changes  # fmt: skip


VLLM_REQUESTS = [
    {"success": True, "latency": 5.0, "output_tokens": 5, "ttft": 1.0, "itl": [1.0] * 4, "prompt_len": 20,
     "error": "", "start_time": 100.0},
    {"success": True, "latency": 8.5, "output_tokens": 3, "ttft": 0.5, "itl": [4.0, 4.0], "prompt_len": 30,
     "error": "", "start_time": 101.0},
    {"success": False, "latency": 0.0, "output_tokens": 0, "ttft": 0.0, "itl": [], "prompt_len": 10,
     "error": "Bad Gateway", "start_time": 102.0},
]  # fmt: skip


def guidellm_request(sent, first, last, prompt, output, error=None):
    """Today's schema: times below info.timings."""
    timings = {"resolve_start": T0 + sent - 0.1, "request_start": T0 + sent, "request_end": T0 + (last or 10)}
    timings |= {"first_token_iteration": first and T0 + first, "last_token_iteration": last and T0 + last}
    info = {"status": "completed", "timings": timings, "error": error}
    return {"request_id": "x", "info": info, "prompt_tokens": prompt, "output_tokens": output}


def guidellm_old(sent, first, last, prompt, output, **extra):
    """The oldest schema: negative times never happened."""
    times = [-1.0 if t is None else T0 + t for t in (sent, first, last)]
    names = ("start_time", "first_token_time", "last_token_time", "prompt_tokens", "output_tokens")
    return dict(zip(names, (*times, prompt, output), strict=True)) | {"end_time": T0 + 10} | extra


def guidellm(request=guidellm_request, totals=(2, 2, 0), benchmarks=1):
    totals = dict(zip(("successful", "incomplete", "errored"), totals, strict=True)) | {"total": sum(totals)}
    requests = {
        "successful": [request(0, 1, 5, 20, 5), request(1, 1.5, 9.5, 30, 3)],
        "incomplete": [request(2, 4, None, 10, None), request(4, None, None, 40, None)],
        "errored": [],
    }  # fmt: skip
    benchmark = {"type_": "generative_benchmark", "metrics": {"request_totals": totals}, "requests": requests}
    return {"metadata": {"version": 1}, "args": {}, "benchmarks": [benchmark] * benchmarks}


def aiperf(sent, ttft=None, latency=None, prompt=None, output=None, error=None, phase="profiling"):
    start = 1759813207000000000 + int(sent * 1e9)
    metrics = {"input_sequence_length": {"value": prompt, "unit": "tokens"}}
    if latency is not None:
        metrics |= {
            "time_to_first_token": {"value": ttft * 1e3, "unit": "ms"},
            "request_latency": {"value": latency * 1e9, "unit": "ns"},
            "output_sequence_length": {"value": output, "unit": "tokens"},
            "inter_chunk_latency": {"value": [1e3 * (latency - ttft) / (output - 1)] * (output - 1), "unit": "ms"},
        }
    metadata = {"request_start_ns": start, "request_end_ns": start + 10, "benchmark_phase": phase}
    return {"metadata": metadata | {"was_cancelled": False}, "metrics": metrics, "error": error}


def chunk(text=None, usage=None):
    choices = [{"index": 0, "delta": {"content": text} if text else {"role": "assistant"}}]
    return {"response": "data: " + json.dumps({"choices": choices if usage is None else [], "usage": usage}) + "\n\n"}


GENAI_PERF = {
    "service_kind": "openai", "endpoint": "v1/chat/completions",
    "experiments": [{
        "experiment": {"mode": "request_rate", "value": 1.0},
        "requests": [
            {"timestamp": 10**9, "response_timestamps": [1_500_000_000, 2 * 10**9, 3 * 10**9, 6 * 10**9, 7 * 10**9],
             "response_outputs": [chunk(), chunk("a"), chunk("b"), chunk("c"),
                                  chunk(usage={"prompt_tokens": 20, "completion_tokens": 5})]},
            {"timestamp": 2 * 10**9, "response_timestamps": [2_500_000_000, 10_500_000_000],
             "response_outputs": [{"text_output": "I"}, {"text_output": " do"}]},
            {"timestamp": 3 * 10**9, "response_timestamps": [3_500_000_000],
             "response_outputs": [{"response": "data: [DONE]\n\n"}]},
        ],
    }],
}  # fmt: skip

LINES = [
    aiperf(0, 1, 5, 20, 5),
    aiperf(1, 0.5, 8.5, 30, 3),
    aiperf(2, prompt=10, error={"code": 499, "message": "late"}),
]


def lines(objects):
    return "".join(json.dumps(value) + "\n" for value in objects)


def save(tmp_path, content, name="load.json"):
    path = tmp_path / name
    if not isinstance(content, bytes | str):
        content = json.dumps(content, indent=1)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def table(tmp_path):
    return loadtest.read(save(tmp_path, CSV, "load.csv"))


# Formats ----------------------------------------------------------------------------------------------------------

FOUR = {
    "csv": ("csv", CSV),
    "varcas": ("varcas", varcas()),
    "varcas analysis": ("varcas", {"analysis_type": "dynamic", "load_test_results": varcas()}),
    "guidellm": ("guidellm", guidellm()),
    "guidellm before": ("guidellm", json.dumps(guidellm()).replace("_token_iteration", "_iteration")),
    "guidellm old": ("guidellm", guidellm(guidellm_old)),
}


@pytest.mark.parametrize(("format", "content"), FOUR.values(), ids=FOUR)
def test_the_same_requests_from_clients_that_stop_early(tmp_path, format, content):
    table = loadtest.read(save(tmp_path, content))
    assert list(table.columns) == list(loadtest.REQUEST_COLUMNS)
    np.testing.assert_allclose(table[["sent_s", "first_token_s", "last_token_s"]].T, [SENT, FIRST, LAST])
    assert table.status.tolist() == ["finished", "finished", "unfinished", "unfinished"]
    assert table.error.tolist() == [""] * 4
    assert table.prompt_tokens.tolist() == [20, 30, 10, 40]
    assert table.output_tokens.tolist()[:3] == [5, 3, pd.NA]  # a first token came: 0 is no count
    assert (table.attrs["format"], table.attrs["warnings"]) == (format, [])
    assert table.attrs["source"].endswith("load.json")


THREE = {
    "vllm": ("vllm", vllm(), "TimeoutError: too late"),
    "vllm latencies": ("vllm", vllm(latencies=[5.0, 8.5, 0.0], itls=[[], [], []]), "TimeoutError: too late"),
    "vllm no message": ("vllm", vllm(errors=["", "", ""]), "ended without output"),
    "vllm requests": ("vllm-requests", VLLM_REQUESTS, "Bad Gateway"),
    "vllm requests by line": ("vllm-requests", lines(VLLM_REQUESTS), "Bad Gateway"),
    "aiperf": ("aiperf", lines(LINES), "late"),
    "genai-perf": ("genai-perf", GENAI_PERF, "ended without output"),
}


@pytest.mark.parametrize(("format", "content", "error"), THREE.values(), ids=THREE)
def test_the_same_requests_from_clients_that_wait_for_all(tmp_path, format, content, error):
    table = loadtest.read(save(tmp_path, content))
    assert (table.attrs["format"], table.attrs["warnings"]) == (format, [])
    times = table[["sent_s", "first_token_s", "last_token_s"]].to_numpy(float)
    never = [np.nan]
    ended = [2.0] if format == "aiperf" else never  # when a request failed
    np.testing.assert_allclose(times.T, [SENT[:3], FIRST[:2] + never, LAST[:2] + ended], atol=1e-6)
    assert table.status.tolist() == ["finished", "finished", "failed"]
    assert table.error.tolist() == ["", "", error]
    known = table.output_tokens[:2].tolist()
    assert known == ([5, pd.NA] if format == "genai-perf" else [5, 3])  # Triton's own chunks report no usage


def test_requests_whose_end_is_not_in_the_file_are_said_to_be(tmp_path):
    result = {name: value for name, value in vllm().items() if name != "itls"}
    table = loadtest.read(save(tmp_path, result))
    assert table.status.tolist() == ["unfinished", "unfinished", "failed"]
    note = "no itls: when requests ended is unknown, all that did not fail count as unfinished"
    assert table.attrs["warnings"][0] == note
    records = [{name: value for name, value in r.items() if name != "latency"} for r in VLLM_REQUESTS]
    table = loadtest.read(save(tmp_path, records))
    assert table.status.tolist() == ["unfinished", "unfinished", "failed"]
    note = "2 records without latency: when they ended is unknown, they count as unfinished"
    assert table.attrs["warnings"] == [note]


def test_records_that_stand_twice_are_told(tmp_path):
    rows = CSV.splitlines()
    twice = [
        *rows,
        rows[2],
        rows[3],
        rows[5],
    ]  # the last one never got a token: two that failed alike are no repetition
    table = loadtest.read(save(tmp_path, "\n".join(twice)))
    assert len(table) == 7
    assert table.attrs["warnings"] == ["2 of 7 requests repeat another, to the last time: all are counted"]


@pytest.mark.parametrize("name", ["vllm", "vllm requests", "aiperf"])
def test_gaps_between_tokens_are_counted(tmp_path, name):
    table = loadtest.read(save(tmp_path, THREE[name][1]))
    assert table.attrs["itl"]["count"] == [4, 2]
    assert table.attrs["itl"]["seconds"] == pytest.approx([1, 4], rel=5e-4)
    ds = loadtest.metrics(table)
    np.testing.assert_allclose(ds.itl, [1, 4, 4, 4], rtol=5e-4)  # the 3rd, 6th, 6th and 6th of six
    assert ds.itl_samples == 6


def test_a_gzipped_file_and_a_byte_order_mark(tmp_path, table):
    zipped = loadtest.read(save(tmp_path, gzip.compress(json.dumps(varcas()).encode())))
    marked = loadtest.read(save(tmp_path, "\ufeff" + CSV))
    for other in (zipped, marked):
        pd.testing.assert_frame_equal(other, table, check_exact=False)


def test_statuses_in_a_csv_are_kept(tmp_path):
    text = "sent_s,first_token_s,last_token_s,status,error\n0,1,2,failed,out of memory\n1,2,3,finished,\n2,,,,\n"
    table = loadtest.read(save(tmp_path, text))
    assert table.status.tolist() == ["failed", "finished", "unfinished"]
    assert table.error[0] == "out of memory"
    assert table.output_tokens.isna().all()


def test_write_is_read_again(tmp_path, table):
    again = table.assign(error=["", "", 'a "quoted", thing', ""], status=[*table.status[:2], "failed", "unfinished"])
    loadtest.write(again, tmp_path / "out.csv")
    pd.testing.assert_frame_equal(loadtest.read(tmp_path / "out.csv"), again)


def test_a_run_of_several_is_chosen(tmp_path):
    sweep = save(tmp_path, guidellm(benchmarks=3))
    with pytest.raises(ValueError, match=r"load.json: 3 runs in one file: choose one, run=0 to run=2"):
        loadtest.read(sweep)
    with pytest.raises(ValueError, match="no run 3: it has 3, numbered from 0"):
        loadtest.read(sweep, run=3)
    assert len(loadtest.read(sweep, run=2)) == 4
    appended = save(tmp_path, json.dumps(vllm()) + "\n" + json.dumps(vllm(output_lens=[7, 3, 0])))
    assert loadtest.read(appended, run=1).output_tokens.tolist() == [7, 3, 0]
    with pytest.raises(ValueError, match="no run 1: it has 1"):
        loadtest.read(save(tmp_path, CSV), run=1)


def test_vllm_before_2026_does_not_say_when_requests_were_sent(tmp_path):
    old = {name: value for name, value in vllm().items() if name != "start_times"}
    table = loadtest.read(save(tmp_path, old))
    assert table[["sent_s", "first_token_s", "last_token_s"]].isna().all(axis=None)
    np.testing.assert_allclose(table[["ttft_s", "e2e_s"]].T, [[1, 0.5, np.nan], [5, 8.5, np.nan]])
    assert table.attrs["warnings"] == [
        "no start_times: latencies are known, when requests were sent and the queue over time are not"
    ]
    ds = loadtest.metrics(table)
    assert [ds[name].item() for name in ("offered", "started", "finished", "failed", "unfinished")] == [3, 2, 2, 1, 0]
    assert ds.finished_rate == pytest.approx(2 / 9.5)  # over the duration that the file says
    assert ds.mean_running == pytest.approx((4 + 8) / 9.5)  # by Little's law
    assert ds.output_token_rate == pytest.approx(8 / 9.5)
    np.testing.assert_allclose(ds.ttft.sel(percentile=50), 0.75)
    np.testing.assert_allclose(ds.tpot, 1 + 3 * np.array([0.5, 0.9, 0.95, 0.99]))
    with pytest.raises(
        ValueError, match="window = 5: when requests were sent is unknown: there is the whole run alone"
    ):
        loadtest.metrics(table, window=5)
    with pytest.raises(ValueError, match="when requests were sent is unknown: there is no queue over time"):
        loadtest.timeline(table)
    loadtest.write(table, tmp_path / "again.csv")
    pd.testing.assert_frame_equal(loadtest.read(tmp_path / "again.csv"), table)
    assert "unknown per second" in loadtest.report(loadtest.metrics(loadtest.read(tmp_path / "again.csv")))
    table = loadtest.read(save(tmp_path, old | {"request_rate": "inf", "request_throughput": 2 / 9.5}))
    assert table.sent_s.tolist() == [0, 0, 0]
    assert table.attrs["warnings"] == [
        "no start_times: requests are taken to be sent all at once, as request_rate = inf says"
    ]


def test_aiperf_warm_up_is_left_out(tmp_path):
    table = loadtest.read(save(tmp_path, lines([aiperf(0, 1, 2, 5, 2, phase="warmup"), *LINES])))
    assert len(table) == 3
    assert table.attrs["warnings"] == ["1 requests of the warm-up are left out"]


def test_a_guidellm_request_without_streaming_ends_with_its_response(tmp_path):
    request = guidellm_request(0, None, None, 5, 6)
    text = guidellm(totals=(1, 0, 0))
    text["benchmarks"][0]["requests"] = {"successful": [request], "incomplete": [], "errored": []}
    table = loadtest.read(save(tmp_path, text))
    assert (table.status[0], table.last_token_s[0]) == ("finished", 10)
    ds = loadtest.metrics(table)
    assert (ds.started, ds.ttft_samples, ds.e2e_samples, ds.mean_waiting) == (1, 0, 1, 1)


# Summaries against records ----------------------------------------------------------------------------------------


def test_success_without_output_is_contradicted(tmp_path):
    rate = 4 / 4  # four requests sent within four seconds; two finished
    table = loadtest.read(save(tmp_path, varcas(successful_requests=4, throughput_rps=rate)))
    assert table.attrs["warnings"] == [
        "summary: metrics.successful_requests = 4, but 2 of its 4 records finished",
        "summary: metrics.throughput_rps = 1 per second is the rate at which requests were sent; "
        "0.2105 per second finished",  # 2 / 9.5
    ]


@pytest.mark.parametrize("rate", [2 / 4, 2 / 9.5])
def test_a_rate_of_finished_requests_is_not_contradicted(tmp_path, rate):
    """Over the time of sending, or up to the last token."""
    assert loadtest.read(save(tmp_path, varcas(throughput_rps=rate))).attrs["warnings"] == []


def test_totals_are_contradicted(tmp_path):
    vllm_says = vllm(completed=3, failed=0, num_prompts=5, total_output_tokens=9, request_throughput=3 / 9.5)
    assert loadtest.read(save(tmp_path, vllm_says)).attrs["warnings"] == [
        "summary: num_prompts = 5, but 3 records could be read",
        "summary: completed = 3, but 2 of its 3 records finished",
        "summary: failed = 0, but 1 of its 3 records failed",
        "summary: total_output_tokens = 9, but the records of the finished requests have 8",
        "summary: request_throughput = 0.3158 per second, but 0.2105 per second finished",
    ]
    assert loadtest.read(save(tmp_path, guidellm(totals=(2, 1, 1)))).attrs["warnings"] == [
        "summary: metrics.request_totals.incomplete = 1, but 2 of its 4 records are unfinished",
        "summary: metrics.request_totals.errored = 1, but 0 of its 4 records failed",
    ]


# Broken files -----------------------------------------------------------------------------------------------------

BROKEN = {
    "unknown text": ("a,b\n1,2\n", "no load test: it starts with 'a,b'. Known: varcas, vLLM"),
    "unknown json": ('{"a": 1, "b": 2}', "no load test: its keys 'a', 'b'. Known: varcas"),
    "empty": ("\n \n", "load.json: no load test: it is empty"),
    "lfs": ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not the data"),
    "no row": (CSV.splitlines()[1] + "\n", "no request could be read: it has none"),
    "no column": (
        CSV.replace("last_token_s", "end"),
        "no column 'last_token_s'; its columns: 'sent_s', 'first_token_s', 'end'",
    ),
    "only bad rows": (
        "sent_s,first_token_s,last_token_s\nsoon,,\n",
        "could be read: line 2: sent_s = 'soon': expected",
    ),
    "cut off": (json.dumps(varcas())[:-60], "records[3]: not valid JSON, or cut off ("),
    "cut off list": (json.dumps(VLLM_REQUESTS)[:-20], "record 2: not valid JSON, or cut off ("),
    "cut off array": (json.dumps(vllm()).split(', "itls"')[0][:-2] + "[", "request 3: not valid JSON, or cut off ("),
    "cut off sweep": (json.dumps(guidellm(benchmarks=2))[:-80], "benchmark 1, request 3: not valid JSON, or cut off"),
    "cut off experiment": (json.dumps(GENAI_PERF)[:-30], "experiment 0, request 2: not valid JSON, or cut off ("),
    "cut off line": (lines(LINES)[:-30], "line 3: not valid JSON, or cut off ("),
    "no object": (lines(LINES[:1]) + "7\n", "line 2: '7': expected an object"),
    "no object in a list": (json.dumps([*VLLM_REQUESTS, 7]), "record 3: '7': expected an object"),
    "huge number": (lines(LINES[:1]) + "1" * 5000 + "\n", "line 2: not valid JSON (Exceeds the limit"),
    "uneven arrays": (vllm(errors=[""]), "errors has 1 entries, ttfts has 3"),
    "uneven gaps": (vllm(itls=[[1.0], None, []]), "itls has 2 entries, ttfts has 3"),
    "vllm summary": (
        {"input_lens": [1], "completed": 1},
        "only a summary, without requests: its runs alone can be read; for requests run vllm bench serve",
    ),
    "vllm plain": (
        {"completed": 1, "request_throughput": 1.0},
        "only a summary, without requests: its runs alone can be read; for requests run vllm bench",
    ),
    "aiperf summary": (
        {"output_token_throughput": {"unit": "x"}},
        "only a summary, without requests: its runs alone can be read; for requests give the per-request",
    ),
    "binary": (b"\x00\xff\xfe\x01" * 50, "not a text file"),
    "half gzip": (gzip.compress(json.dumps(varcas()).encode())[:100], "not a whole gzip file"),
    "csv quote": (
        'sent_s,first_token_s,last_token_s,error\n0,1,2,"' + "x" * 9_000_000,
        "line 2: not valid CSV (longer than",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_one_clear_line(tmp_path, content, message):
    path = save(tmp_path, content)
    with pytest.raises(ValueError) as error:  # noqa: PT011  the message is compared below
        loadtest.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_gzip_file_that_breaks_off_late_is_refused(tmp_path):
    noise = np.random.default_rng(1).bytes(400_000).hex()
    zipped = gzip.compress(json.dumps({"records": [], "noise": noise}).encode())
    with pytest.raises(ValueError, match="not a whole gzip file"):
        loadtest.read(save(tmp_path, zipped[:-1000]), "varcas")


def test_unknown_formats_folders_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"unknown format 'vlm'. Did you mean 'vllm'"):
        loadtest.read(save(tmp_path, CSV), "vlm")
    with pytest.raises(ValueError, match="path = None: expected the path of a file"):
        loadtest.read(None)
    with pytest.raises(ValueError, match="a folder: expected a file"):
        loadtest.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        loadtest.read(tmp_path / "none.csv")


def test_bad_records_are_named_counted_and_left_out(tmp_path):
    text = "sent_s,first_token_s,last_token_s,input_tokens,output_tokens,status\n" + "\n".join([
        "0,1,2,5,3,", "1,,", "1,0.5,2,5,3,", "1,2,1.5,5,3,", "1,2,3,5.5,3,", "1,2,3,5,-3,", "soon,2,3,5,3,",
        "inf,2,3,5,3,", ",2,3,5,3,", "1,2,3,5,3,done", "1,2,,5,3,finished", "1,2,3,5,2e12,",
    ])  # fmt: skip
    table = loadtest.read(save(tmp_path, text))
    assert table.status.tolist() == ["finished", "unfinished"]
    assert table.attrs["warnings"] == [
        "10 of 12 records could not be used",
        "line 3: 3 fields: expected 6",
        "line 4: first_token_s = 0.5: before sent_s = 1",
        "line 5: last_token_s = 1.5: before first_token_s = 2",
        "line 6: input_tokens = 5.5: expected a whole number from 0",
        "line 7: output_tokens = -3: expected a whole number from 0",
        "line 8: sent_s = 'soon': expected a number",
        "line 9: sent_s = 'inf': expected a number",
        "line 10: no sent_s: expected a time",
        "line 11: unknown status 'done'. Allowed: finished, failed, unfinished.",
        "line 12: finished without a last token: counted as unfinished",
        "line 13: output_tokens = 2e+12: expected a whole number from 0",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (varcas([(0, 1, 2, 3, True), (0, 1, 2, 3, 4)]), "records[0]: output_tokens = 'True': expected a number"),
        (vllm(ttfts=[1.0, "late", 0.0]), "request 1: ttft = 'late': expected a number"),
        ([VLLM_REQUESTS[0], VLLM_REQUESTS[1] | {"latency": [1]}], "record 1: latency = '[1]': expected a number"),
        (lines([LINES[0], LINES[1] | {"metadata": {}}]), "line 2: no request_start_ns: expected a time"),
        (lines(LINES).replace('"ms"', '"h"', 1), "line 1: metrics.time_to_first_token.unit = 'h': expected one of ns"),
        (json.dumps(GENAI_PERF).replace("2500000000", '"x"'), "request 1: response_timestamps = 'x': expected a"),
    ],
)  # fmt: skip
def test_a_bad_field_of_a_record_is_named(tmp_path, content, problem):
    warnings = loadtest.read(save(tmp_path, content)).attrs["warnings"]
    assert any(warning.startswith(problem) for warning in warnings), warnings


def test_only_the_first_problems_are_kept(tmp_path):
    table = loadtest.read(save(tmp_path, CSV + "x,,,,\n" * 1000))
    assert table.attrs["warnings"][0] == "1000 of 1004 records could not be used"
    assert len(table.attrs["warnings"]) == 101


SEEDS = {name: (format, content) for name, (format, content, *_) in (FOUR | THREE).items()}


@given(name=st.sampled_from(sorted(SEEDS)), cut=st.floats(0, 1), changes=st.lists(
    st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4))  # fmt: skip
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_or_changed_bytes_give_a_table_or_one_line(tmp_path, name, cut, changes):
    right, content = SEEDS[name]
    raw = bytearray((content if isinstance(content, str) else json.dumps(content)).encode())
    for place, byte in changes:
        raw[int(place * len(raw))] = byte
    path = save(tmp_path, bytes(raw[: int(min(2 * cut, 1) * len(raw))]), "fuzz")
    for format in (None, right):
        try:
            table = loadtest.read(path, format)
        except ValueError as problem:
            message = str(problem)
            assert path.name in message.partition(": ")[0]
            assert len(message.splitlines()) == 1
        else:
            assert list(table.columns) == list(loadtest.REQUEST_COLUMNS)
            ds = loadtest.metrics(table)
            assert len(table) == ds.offered == ds.finished + ds.failed + ds.unfinished


# Metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_by_hand(table):
    ds = loadtest.metrics(table, slo={"ttft": 1.0, "tpot": 1.0})
    counts = [ds[name].item() for name in ("offered", "started", "finished", "failed", "unfinished", "uncounted")]
    assert counts == [4, 3, 2, 0, 2, 1]
    assert (ds.window_start, ds.window_end, ds.last_send) == (0, 9.5, 4)
    assert ds.finished_share == 50
    for name, value in {
        "offered_rate": 4 / 9.5, "finished_rate": 2 / 9.5, "completion_rate": 2 / 9.5, "output_token_rate": 8 / 9.5,
        "token_rate": 8 / 9.5, "prompt_tokens": 25, "output_tokens": 4,
        "mean_waiting": (1 + 0.5 + 2 + 5.5) / 9.5,  # 0 to 1, 1 to 1.5, 2 to 4, 4 to the end
        "mean_running": (4 + 8 + 5.5) / 9.5,
        "running_of_finished": (4 + 8) / 9.5,
        "implied_token_rate": (17.5 / 9.5) / 2.5,  # TPOT 4 s / 4 and 8 s / 2
        "good": 1, "goodput": 1 / 9.5, "good_share": 25,
    }.items():  # fmt: skip
        assert ds[name].item() == pytest.approx(value, rel=1e-12), name
    np.testing.assert_allclose(ds.ttft.sel(percentile=50), 1.0)  # of 0.5, 1, 2
    np.testing.assert_allclose(ds.ttft.sel(percentile=90), 1.8)
    np.testing.assert_allclose(ds.tpot, 1 + 3 * np.array([0.5, 0.9, 0.95, 0.99]))
    np.testing.assert_allclose(ds.e2e, 5 + 3.5 * np.array([0.5, 0.9, 0.95, 0.99]))
    assert [ds[f"{name}_samples"].item() for name in ("ttft", "tpot", "itl", "e2e")] == [3, 2, 0, 2]
    assert ds.itl.isnull().all()
    assert ds.attrs["window"] == "0 to 9.5 s from the first send"


def test_every_variable_has_its_unit_and_name(table):
    for ds in (loadtest.metrics(table, slo={"e2e": 5}), loadtest.timeline(table)):
        for variable in ds.variables.values():
            assert variable.attrs["units"]
            assert variable.attrs["long_name"]


def test_a_window_says_what_happened_in_it(table):
    ds = loadtest.metrics(table, window=(1, 5))
    assert ds.attrs["window"] == "1 to 5 s from the first send: what happened in it"
    assert [ds[name].item() for name in ("offered", "started", "finished", "unfinished")] == [3, 3, 1, 3]
    assert (ds.finished_rate, ds.output_token_rate) == (1 / 4, 5 / 4)  # the first request's last token, at 5 s
    assert ds.completion_rate == 1 / 4
    np.testing.assert_allclose(ds.e2e, 5)
    np.testing.assert_allclose(ds.ttft.sel(percentile=50), 1)
    assert ds.token_rate == pytest.approx((5 + 3 * 3.5 / 8) / 4)  # all of the first, 3.5 s of the second's 8
    assert ds.mean_running == pytest.approx((4 + 3.5 + 1) / 4)
    xr_all, to_the_end = loadtest.metrics(table), loadtest.metrics(table, window=9.5)
    assert xr_all.identical(to_the_end)


def test_a_window_prints_no_rate_that_the_server_never_had():
    """200 requests are sent in 20 s, ten a second; the server finishes .8 a second."""
    sent = np.arange(200) / 10
    ends = (np.arange(200) + 1) / 0.8
    rows = zip(sent, ends - 1, ends, [10] * 200, ["finished"] * 200, strict=True)
    table = frame(rows)
    table.attrs["itl"] = {"seconds": [0.1], "count": [1800]}
    ds = loadtest.metrics(table, window=20)
    assert [ds[name].item() for name in ("offered", "finished", "unfinished")] == [200, 16, 184]
    assert (ds.offered_rate, ds.finished_rate, ds.output_token_rate) == (10, 0.8, 8)
    assert ds.itl_samples == 0  # of the whole run alone
    assert loadtest.metrics(table).itl_samples == 1800
    assert "0.8 per second" in loadtest.report(ds)
    assert "ITL" not in loadtest.report(ds)


@pytest.mark.parametrize("window", [0, -1, (3, 3), (5, 1), (1,), "60", True, np.nan, (0, np.inf)])
def test_a_window_that_is_none_is_refused(table, window):
    with pytest.raises(
        ValueError, match=r"window = .*: (expected its end, or \(start, end\), in|allowed are) seconds from the first"
    ):
        loadtest.metrics(table, window=window)


def test_a_window_without_requests_is_refused(table):
    with pytest.raises(ValueError, match="window 5 to 6 s: no request was sent in it; the last at 4 s"):
        loadtest.metrics(table, window=(5, 6))


def test_objectives_are_checked(table):
    with pytest.raises(ValueError, match=r"unknown objective 'e2el'. Did you mean 'e2e'\?"):
        loadtest.metrics(table, slo={"e2el": 1})
    for slo in (5, 0, "ttft", ["ttft"]):
        with pytest.raises(ValueError, match="slo = .*: expected seconds by objective, e.g. {'ttft': 0.5}"):
            loadtest.metrics(table, slo=slo)
    with pytest.raises(ValueError, match="objective ttft = -1: allowed are positive seconds up to inf"):
        loadtest.metrics(table, slo={"ttft": -1})
    assert "goodput" not in loadtest.metrics(table, slo={"ttft": None})


def frame(rows):
    columns = ["sent_s", "first_token_s", "last_token_s", "output_tokens", "status"]
    return pd.DataFrame(rows, columns=columns).assign(prompt_tokens=pd.NA, error="")


def test_one_token_has_no_tpot_to_miss_and_an_unknown_count_does_not_meet_it():
    table = frame([(0, 1, 1, 1, "finished"), (0, 1, 2, np.nan, "finished"), (0, 1, 3, 2, "finished")])
    ds = loadtest.metrics(table, slo={"tpot": 1.5})
    assert (ds.good, ds.tpot_samples) == (1, 1)


def test_nothing_finished_is_not_a_number_but_a_count():
    ds = loadtest.metrics(frame([(0, np.nan, np.nan, np.nan, "unfinished"), (2, np.nan, np.nan, 0, "unfinished")]))
    assert (ds.offered, ds.started, ds.finished, ds.finished_rate, ds.output_token_rate) == (2, 0, 0, 0, 0)
    assert ds.mean_waiting == 1
    assert np.isnan([ds.implied_token_rate, *ds.ttft.values, ds.output_tokens]).all()
    alone = loadtest.metrics(frame([(0, np.nan, np.nan, np.nan, "unfinished")]))
    assert np.isnan([alone.offered_rate, alone.mean_waiting]).all()  # a window without length


def test_a_failed_request_waits_only_as_long_as_is_known():
    ds = loadtest.metrics(
        frame([(0, np.nan, np.nan, 0, "failed"), (0, 2, np.nan, 3, "failed"), (0, 4, 10, 3, "finished")])
    )
    assert (ds.mean_waiting, ds.mean_running) == pytest.approx((0.6, 0.6))
    assert (ds.failed, ds.started) == (2, 2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "a list: expected a table of requests"),
        (frame([]), "the table of requests is empty"),
        (frame([]).drop(columns="status"), "no column 'status' in the table of requests; its columns: sent_s"),
        (frame([(0, 1, 2, 3, "done")]), "unknown status 'done'"),
        (frame([(0, 1, 2, 3, "finished"), (np.nan, 1, 2, 3, "finished")]), "row 1: sent_s = nan: expected a time"),
    ],
)
def test_what_is_no_table_of_requests_is_refused(table, message):
    for function in (loadtest.metrics, loadtest.timeline):
        with pytest.raises(ValueError, match=message):
            function(table)


# Over time --------------------------------------------------------------------------------------------------------


def test_timeline_by_hand(table):
    ds = loadtest.timeline(table, step=2)
    assert ds.time.values.tolist() == [0, 2, 4, 6, 8]
    assert ds.step.values.tolist() == [2, 2, 2, 2, 1.5]
    np.testing.assert_allclose(ds.waiting, [0.75, 1, 1, 1, 1])
    np.testing.assert_allclose(ds.running, [0.75, 2, 2.5, 2, 2])
    np.testing.assert_allclose(ds.sent_rate, [1, 0.5, 0.5, 0, 0])
    # 5 tokens over 1 to 5 s, 3 over 1.5 to 9.5 s
    np.testing.assert_allclose(
        ds.token_rate, np.array([1.25 + 0.1875, 2.5 + 0.75, 1.25 + 0.75, 0.75, 0.5625]) / ds.step
    )
    np.testing.assert_allclose(ds.implied_token_rate, ds.running / 2.5)


@st.composite
def runs(draw):
    size = draw(st.integers(1, 12))
    seconds = st.floats(0, 100)
    rows = []
    for _ in range(size):
        sent, wait, decode = draw(seconds), draw(seconds), draw(seconds)
        kind = draw(st.sampled_from(["finished", "waiting", "running"]))
        first = np.nan if kind == "waiting" else sent + wait
        last = first + decode if kind == "finished" else np.nan
        rows.append((sent, first, last, draw(st.integers(1, 500)) if kind == "finished" else np.nan,
                     "finished" if kind == "finished" else "unfinished"))  # fmt: skip
    return frame(rows).assign(sent_s=lambda t: t.sent_s)


@given(table=runs(), step=st.floats(0.1, 300))
def test_steps_add_up_to_all_waiting_running_and_tokens(table, step):
    ds = loadtest.timeline(table, step)
    whole = loadtest.metrics(table)
    length = (whole.window_end - whole.window_start).item()
    if length == 0:
        return
    for name, mean in {"waiting": "mean_waiting", "running": "mean_running", "token_rate": "token_rate"}.items():
        total = (ds[name] * ds.step).sum().item()
        assert total == pytest.approx(whole[mean].item() * length, rel=1e-9, abs=1e-9)
    assert (ds.token_rate * ds.step).sum() == pytest.approx(table.output_tokens.fillna(0).sum(), rel=1e-9)
    assert (ds.sent_rate * ds.step).sum() == pytest.approx(len(table))


def test_littles_law_holds_where_every_request_finishes(table):
    ds = loadtest.metrics(table[table.status == "finished"])
    assert ds.running_of_finished == pytest.approx(ds.mean_running.item(), rel=1e-12)


@pytest.mark.parametrize("step", [0, -1, np.nan, np.inf, "1", True])
def test_a_step_that_is_none_is_refused(table, step):
    with pytest.raises(ValueError, match="step = .*: allowed are positive seconds up to 1e\\+15"):
        loadtest.timeline(table, step)


def test_too_many_steps_are_refused(table):
    with pytest.raises(ValueError, match="step = 1e-09: more than 10,000,000 steps in 9.5 s"):
        loadtest.timeline(table, 1e-9)


def test_the_report_says_unknown_where_nothing_is_known():
    text = loadtest.report(loadtest.metrics(frame([(0, np.nan, np.nan, np.nan, "unfinished")])))
    assert "nan" not in text
    assert "queue        unknown waiting, unknown running, on average" in text.splitlines()


# Command line -----------------------------------------------------------------------------------------------------


def test_the_command_tells_counts_warnings_and_writes_the_requests(tmp_path, table):
    path = save(tmp_path, varcas(successful_requests=4))
    arguments = ["loadtest", str(path), "--window", "9.5", "--slo-ttft", "1", "-o", str(tmp_path / "o.csv")]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0
    assert result.stderr == "workbench: summary: metrics.successful_requests = 4, but 2 of its 4 records finished\n"
    lines = result.stdout.splitlines()
    assert lines[0] == f"4 requests (varcas) in {tmp_path / 'o.csv'}"
    assert lines[1] == "window       0 to 9.5 s from the first send"
    assert lines[4].split() == ["finished", "2", "50.0", "%", "0.2105", "per", "second"]
    assert "TTFT         p50 1,000.0, p90 1,800.0, p95 1,900.0, p99 1,980.0 ms  (3 samples)" in lines
    assert lines[-1] == "good               2 finished within ttft 1 s: 50.0 % of those offered, 0.2105 per second"
    pd.testing.assert_frame_equal(loadtest.read(tmp_path / "o.csv"), table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["none.json"], "No such file"), (["{}", "--window", "0"], "window = 0.0: expected its end"),
     (["{0}", "-o", "{0}.parquet"], "unknown file suffix '.parquet'. Allowed: .csv."),
     (["{}", "-o", "/no/such/o.csv"], "there is no folder /no/such"), (["{}", "--format", "x"], "unknown format 'x'")],
)  # fmt: skip
def test_the_command_fails_with_one_line(tmp_path, arguments, message):
    path = save(tmp_path, CSV)
    result = CliRunner().invoke(cli.app, ["loadtest", *(argument.format(path) for argument in arguments)])
    assert result.exit_code == 1
    assert result.stderr.startswith("workbench: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
