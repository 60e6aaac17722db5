"""The commands on one server: `workbench estimate` and `workbench simulate`, and options that take times and drafts."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import cli, loadtest, serving
from workbench.cli.options import names, seconds
from workbench.cli.server_options import guessing

runner = CliRunner()
ESTIMATE = ("estimate", "llama-3-8b", "--prompt", "1000", "--output-tokens", "100", "--gpu", "l4,h100-sxm")
SIMULATE = ("simulate", "llama-3.2-1b", "--gpu", "l4", "--prompt", "100", "--output-tokens", "20", "--requests", "50")


def invoke(*arguments):
    return runner.invoke(cli.app, [str(a) for a in arguments])


# Estimates --------------------------------------------------------------------------------------------------------


def test_estimate_prints_a_row_for_every_setting(tmp_path):
    result = invoke(*ESTIMATE, "--tp", "1,2", "--batch-size", "8,64", "-o", tmp_path / "e.csv")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "llama-3-8b: 1,000 tokens in, 100 out, continuous batching."
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith(("l4", "h100-sxm"))]
    assert [row[:3] for row in rows[:2]] == [["l4", "1", "8"], ["l4", "1", "64"]]
    assert len(rows) == 8
    assert "memory" in rows[0]  # limits its decoding
    table = pd.read_csv(tmp_path / "e.csv").set_index(["gpu", "tp", "batch_size"])
    ds = serving.estimate("l4", "llama-3-8b", 8, 1000, 100, 2, schedule="continuous")
    assert table.tpot["l4", 2, 8] == pytest.approx(ds.tpot.item(), rel=1e-6)
    limit = serving.verdicts.digits(ds.usable_memory.item() / 1e9)
    assert table.limit["l4", 1, 64].endswith(f"GB over {limit} GB")


def test_estimate_has_the_cost_in_its_currency():
    result = invoke(*ESTIMATE[:-1], "l4", "--price", "l4=0.7", "--currency", "EUR", "--schedule", "static")
    assert "Cost: of a million output tokens, in EUR." in result.output
    assert "static batching." in result.output
    assert "the prices' currency." in invoke(*ESTIMATE[:-1], "l4", "--price", "l4=0.7").output


def test_estimate_of_what_does_not_fit_says_so_and_fails():
    result = invoke("estimate", "llama-3-70b", "--gpu", "h100-sxm", "--prompt", "10", "--output-tokens", "1")
    assert result.exit_code == 1
    assert "weights 141.1 GB over" in result.output


def test_what_limits_a_request_of_one_token_is_its_prompt():
    result = invoke("estimate", "llama-3-8b", "--gpu", "l4", "--prompt", "4000", "--output-tokens", "1")
    assert result.exit_code == 0
    assert " compute\n" in result.output


def test_a_table_is_of_one_model_and_length():
    ds = serving.estimate("l4", "llama-3-8b", 1, [10, 20], 10)
    with pytest.raises(ValueError, match="prompt: 2 of them; a table is of one"):
        serving.estimate_table.estimate_text(ds)


def test_options_reach_the_estimate():
    def output(*options):
        result = invoke(*ESTIMATE[:-1], "l4", "--batch-size", "4", *options)
        assert result.exit_code == 0, result.output
        return result.output

    plain = output()
    for options in (["--kv-dtype", "fp8"], ["--weight-dtype", "fp8"], ["--engine", "trtllm"], ["--pp", "2"],
                    ["--cached-prefix", "900"], ["--draft", "llama-3.2-1b:4:0.7"], ["--gpu-memory-utilization", "0.8"],
                    ["--step-overhead", "0.01"], ["--dp", "2"], ["--time-model", "ideal"]):  # fmt: skip
        assert output(*options) != plain, options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "workbench: batch_size = 0: allowed are whole numbers"),
        (["--tp", "x"], "workbench: --tp 'x': expected whole numbers"),
        (["--gpu", "t5"], "workbench: unknown GPU 't5'"),
        (["--engine", "vlm"], "workbench: unknown engine 'vlm'"),
        (["--currency", "EUR"], "workbench: --currency EUR: of no prices"),
        (["--gpu-memory-utilization", "nan"], "workbench: gpu_memory_utilization = nan: allowed"),
        (["--draft", "mtp:1"], "workbench: --draft 'mtp:1': expected MODEL:DEPTH:ALPHA"),
        (["-o", "/nowhere/e.csv"], "workbench: cannot write /nowhere/e.csv: there is no folder /nowhere"),
        (["-o", "e.xlsx"], "workbench: unknown file suffix '.xlsx'. Allowed: .csv, .parquet."),
    ],
)
def test_estimate_refuses_in_one_line(arguments, message):
    refused(invoke(*ESTIMATE, *arguments), message)


def refused(result, message):
    assert result.exit_code == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


# Simulations ------------------------------------------------------------------------------------------------------


def test_simulate_prints_what_loadtest_says_of_the_same_requests(tmp_path):
    asked = ("--slo-ttft", "200ms", "--slo-tpot", "10ms")
    result = invoke(*SIMULATE, "--rate", "5", *asked, "-o", tmp_path / "r.csv")
    assert result.exit_code == 0, result.output
    said = result.output.splitlines()
    again = invoke("loadtest", tmp_path / "r.csv", "--slo-ttft", "0.2", "--slo-tpot", "0.01").output.splitlines()
    end = next(i for i, line in enumerate(said) if line.startswith("engine "))
    assert said[2:end] == again[1:]
    assert said[0].endswith(": weights fp16, activations fp16, KV cache fp16.")
    assert said[1] == f"50 requests (simulated) in {tmp_path / 'r.csv'}"
    assert "50 " in said[3]
    assert "good" in said[end - 1]
    assert any(line.startswith("Assumed of vllm: its host adds") for line in said[end + 1 :])


def test_simulate_writes_parquet(tmp_path):
    result = invoke(*SIMULATE, "--users", "4", "-o", tmp_path / "r.parquet")
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(tmp_path / "r.parquet")
    assert len(table) == 50
    assert set(loadtest.REQUEST_COLUMNS) <= set(table.columns)


def test_a_trace_is_sent_again(tmp_path):
    invoke(*SIMULATE, "--rate", "5", "--arrivals", "bursty", "--seed", "3", "-o", tmp_path / "r.csv")
    result = invoke(*SIMULATE[:4], "--trace", tmp_path / "r.csv", "-o", tmp_path / "s.csv")
    assert result.exit_code == 0, result.output
    first, second = (loadtest.read(tmp_path / name) for name in ("r.csv", "s.csv"))
    assert first.sent_s.tolist() == second.sent_s.tolist()
    poisson = invoke(*SIMULATE, "--rate", "5", "--seed", "3", "-o", tmp_path / "p.csv")
    assert poisson.exit_code == 0
    assert loadtest.read(tmp_path / "p.csv").sent_s.tolist() != first.sent_s.tolist()


def test_a_plan_takes_a_recorded_load_test(tmp_path):
    invoke(*SIMULATE, "--rate", "5", "-o", tmp_path / "r.csv")
    result = invoke("plan", "llama-3.2-1b", "--gpu", "l4", "--tp", "1", "--arrivals", tmp_path / "r.csv")
    assert result.exit_code == 0, result.output
    assert "recorded arrivals" in " ".join(result.output.split())
    assert "\nl4 " in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "workbench: give one of --rate (requests a second), --users (a closed loop) and --trace FILE"),
        (["--rate", "1", "--users", "2"], "workbench: give one of --rate"),
        (["--rate", "0"], "workbench: rate = 0.0: allowed are positive numbers"),
        (["--rate", "nan"], "workbench: rate = nan: allowed are positive numbers"),
        (["--users", "0"], "workbench: concurrency = 0: allowed are whole numbers"),
        (["--users", "2", "--arrivals", "bursty"], "workbench: --arrivals goes with --rate"),
        (["--rate", "1", "--arrivals", "burst"], "workbench: unknown --arrivals 'burst'. Did you mean 'bursty'"),
        (["--rate", "1", "--requests", "0"], "workbench: requests = 0: allowed are whole numbers"),
        (["--rate", "1", "--seed", "-1"], "workbench: seed = -1: allowed are whole numbers"),
        (["--rate", "1", "--tp", "0"], "workbench: tp = 0: allowed are whole numbers"),
        (["--rate", "1", "--slo-tpot", "40"], "workbench: --slo-tpot 40: write 40ms or 40s"),
        (["--rate", "1", "--slo-ttft", "x"], "workbench: --slo-ttft 'x': expected a time"),
        (["--rate", "1", "--gpu", "t5"], "workbench: unknown GPU 't5'"),
        (["--rate", "1", "--max-num-seqs", "0"], "workbench: max_num_seqs = 0: allowed are whole numbers"),
        (["--trace", "/nowhere.csv"], "workbench: --prompt goes with --rate or --users: a trace has its own"),
        (["--rate", "1", "-o", "/nowhere/r.csv"], "workbench: cannot write /nowhere/r.csv: there is no folder"),
    ],
)
def test_simulate_refuses_in_one_line(arguments, message):
    refused(invoke(*SIMULATE, *arguments), message)


def test_simulate_needs_the_tokens_of_a_request():
    refused(
        invoke(*SIMULATE[:4], "--rate", "1"), "workbench: --prompt is missing: tokens of a request, or give --trace"
    )
    refused(invoke(*SIMULATE[:6], "--rate", "1"), "workbench: --output-tokens is missing: tokens of a request")


# How options are written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("40ms", 0.04), ("1.5s", 1.5), ("0.04", 0.04), (".5", 0.5), ("40 ms", 0.04), ("1e-2", 0.01), ("40s", 40.0)],
)
def test_times(text, value):
    assert seconds("--tpot", text, 1.0) == pytest.approx(value)
    assert seconds("--tpot", None, 1.0) is None


def test_names_are_separated_by_commas_or_repeated():
    assert names(["a,b", "c"]) == ["a", "b", "c"]
    assert names(None) == []


def test_drafts_by_name():
    assert guessing("llama-3.2-1b:4:0.7") == serving.draft_model("llama-3.2-1b", depth=4, alpha=0.7)
    assert guessing("mtp:1:0.85") == serving.mtp(depth=1, alpha=0.85)
    assert guessing("medusa:16") == serving.medusa(candidates=16)
