"""The command line: what it prints, and one clear line and a non-zero exit status for what is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import workbench as wb
from workbench import cli, roofline_grid
from workbench.audit import verdicts
from workbench.catalog import engine
from workbench.common import project

runner = CliRunner()
GRID = ["grid", "--gpu", "t4", "--model", "llama-7b"]


def invoke(*arguments):
    return runner.invoke(cli.app, [str(a) for a in arguments])


@pytest.mark.parametrize("command", [[], ["figures"], ["audit"], ["grid"], ["gpus"], ["models"]])
def test_help(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_grid_writes_netcdf(tmp_path):
    result = invoke(*GRID, "--batch-size", "1,2", "--seq-len", "128", "-o", tmp_path / "g.nc")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "g.nc") as ds:
        assert dict(ds.sizes)["batch_size"] == 2
        assert ds.time.attrs["units"] == "s"


def test_a_grid_of_an_engines_kernels(tmp_path):
    options = ("--operator", "o_proj", "--phase", "decode", "--time-model", "kernel", "--engine")
    result = invoke(*GRID, *options, "trtllm", "-o", tmp_path / "g.nc")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "g.nc") as ds:
        known = roofline_grid("t4", "llama-7b", "o_proj", "decode", time_model="kernel", engine="trtllm")
        assert ds.time.item() == known.time.item()
        assert ds.attrs["engine"] == "trtllm"
    result = invoke(*GRID, *options, "trt", "-o", tmp_path / "h.nc")
    assert result.exit_code == 1
    known = "pytorch, sglang, trtllm, vllm"
    assert result.stderr == f"workbench: unknown engine 'trt'. Did you mean 'trtllm'? Allowed: {known}.\n"
    result = invoke(*GRID, "--scores", "l2", "-o", tmp_path / "h.nc")
    assert (result.exit_code, result.stderr) == (1, "workbench: unknown scores 'l2'. Allowed: memory, chip.\n")
    result = invoke(*PLAN, "--engine", "vlm")  # which has a word for the kernels alone
    assert result.exit_code == 1
    assert result.stderr == f"workbench: unknown engine 'vlm'. Did you mean 'vllm'? Allowed: none, {known}.\n"


def test_grid_takes_ranges(tmp_path):
    sizes = ("--batch-size", "1:4,16", "--seq-len", "64:256:64")
    result = invoke(*GRID, *sizes, "-o", tmp_path / "g.nc")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "g.nc") as ds:
        assert ds.batch_size.values.tolist() == [1, 2, 3, 4, 16]
        assert ds.seq_len.values.tolist() == [64, 128, 192, 256]


def test_grid_writes_csv_with_units(tmp_path):
    result = invoke(
        *GRID, "--operator", "unfused", "--phase", "decode", "--candidates", "1,16", "-o", tmp_path / "g.csv"
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "g.csv")
    assert len(table) == 10 * 2
    assert "time [s]" in table.columns


def test_lists_of_numbers_are_repeatable(tmp_path):
    result = invoke(
        *GRID, "--tp", "2", "--tp", "4,8", "--batch-size", "1", "--batch-size", "3", "-o", tmp_path / "g.nc"
    )
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "g.nc") as ds:
        assert ds.tp.values.tolist() == [2, 4, 8]
        assert ds.batch_size.values.tolist() == [1, 3]
        assert ds.seq_len.values.tolist() == [1024]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "t5"], "workbench: unknown GPU 't5'. Did you mean 't4'"),
        (["--tp", "2", "--tp", "2"], "workbench: tp has 2 more than once"),
        (["--tp", "2", "--tp", "x"], "workbench: --tp 'x': expected whole numbers separated by commas"),
        (["--batch-size", "1,x"], "workbench: --batch-size '1,x': expected whole numbers separated by commas"),
        (["--batch-size", ""], "workbench: --batch-size '': expected whole numbers"),
        (["--batch-size", "8:1"], "workbench: --batch-size '8:1': expected whole numbers"),
        (["--batch-size", "1:8:0"], "workbench: --batch-size '1:8:0': expected whole numbers"),
        (["--batch-size", "1:2:3:4"], "workbench: --batch-size '1:2:3:4': expected whole numbers"),
        (["--seq-len", "1:999999999999999999999"], "workbench: --seq-len '1:999999999999999999999': expected"),
        (["--seq-len", "0"], "workbench: seq_len = 0: allowed are whole numbers"),
        (["--chunk", "0"], "workbench: chunks = 0: allowed"),
        (["--tp", "3"], "workbench: tp = 3 does not divide n_heads = 32 of llama"),
        (["--operator", "nope"], "workbench: unknown operator 'nope'."),
        (["--weight-dtype", "fp3"], "workbench: unknown weight_dtype 'fp3'"),
    ],
)
def test_grid_refuses_in_one_line_and_writes_nothing(tmp_path, arguments, message):
    result = invoke(*GRID, "-o", tmp_path / "g.nc", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_grid_refuses_an_unknown_suffix(tmp_path):
    result = invoke(*GRID, "-o", tmp_path / "g.xlsx")
    assert (result.exit_code, result.stderr) == (
        1,
        "workbench: unknown file suffix '.xlsx'. Allowed: .zarr, .nc, .csv, .parquet.\n",
    )


def test_grid_refuses_a_missing_folder(tmp_path):
    result = invoke(*GRID, "-o", tmp_path / "no" / "g.csv")
    assert result.exit_code == 1
    assert "there is no folder" in result.stderr


def test_audit_prints_every_verdict_and_succeeds(tmp_path):
    result = invoke("audit", "--csv", tmp_path / "audit.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "audit.csv")
    assert f"{len(table)} claims: " in result.output


def test_audit_of_one_figure():
    result = invoke("audit", "--figure", "medusa-fig09", "--all")
    assert result.exit_code == 0
    assert "medusa-fig09-ridge: published 161 FLOP/byte" in result.output


def test_audit_of_an_unknown_figure():
    result = invoke("audit", "--figure", "medusa-fig99")
    assert result.exit_code == 1
    assert result.stderr.startswith("workbench: unknown figure 'medusa-fig99'. Did you mean 'medusa-fig")


def test_a_changed_verdict_fails_the_audit(monkeypatch):

    monkeypatch.setattr(verdicts, "verdict", lambda claim, recomputed, **_: "does not reproduce")
    result = invoke("audit", "--figure", "medusa-fig09")
    assert result.exit_code == 1
    assert "workbench: medusa-fig09-ridge: does not reproduce, expected: reproduces" in result.stderr


def test_figures_refuses_an_unknown_name():
    result = invoke("figures", "medusa-fig99")
    assert result.exit_code == 1
    assert result.stderr.startswith("workbench: unknown figure 'medusa-fig99'. Did you mean 'medusa-fig")


def test_figures_outside_a_clone(tmp_path, monkeypatch):

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "__file__", str(tmp_path / "site-packages" / "workbench" / "common" / "project.py"))
    result = invoke("figures")
    assert result.exit_code == 1
    assert "run this in a clone of the project" in result.stderr


PLAN = ("plan", "llama-3-8b", "--prompt", "1000", "--output-tokens", "100", "--gpu", "t4", "--gpu", "h100-sxm")


def test_plan_prints_the_best_first_and_writes_every_row(tmp_path):
    result = invoke(
        *PLAN, "--tp", "1,2", "--batch-size", "1,64", "--ttft", "400ms", "--tpot", "0.02", "--price", "t4=0.35",
        "--price", "h100-sxm=2.5", "--currency", "USD", "--rate", "5", "--rows", "3", "-o", tmp_path / "plan.csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[1].split()[:3] == ["GPU", "tp", "batch"]
    assert lines[2].startswith("h100-sxm")
    assert lines[2].endswith("best")
    assert max(map(len, lines)) <= 80
    assert "more rows." in result.output
    assert "2 weights do not fit" in result.output
    assert "Cost: of a million output tokens, in USD." in result.output
    table = pd.read_csv(tmp_path / "plan.csv")
    assert len(table) == 8
    assert {"gpu", "tp", "batch_size", "ttft_s", "tpot_s", "cost", "replicas", "verdict"} <= set(table.columns)
    assert table.simulated_ttft_s[0] < 0.4


def test_plan_writes_parquet(tmp_path):
    result = invoke(*PLAN, "--tp", "1", "--batch-size", "1", "-o", tmp_path / "plan.parquet")
    assert result.exit_code == 0, result.output
    assert list(pd.read_parquet(tmp_path / "plan.parquet").gpu) == ["h100-sxm", "t4"]


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ((*PLAN, "--tp", "1", "--batch-size", "1", "-o"), ".csv, .parquet"),
        (("audit", "--figure", "medusa-fig09", "--csv"), ".csv"),
    ],
)
def test_tables_refuse_an_unknown_suffix(tmp_path, command, allowed):
    result = invoke(*command, tmp_path / "t.xlsx")
    assert (result.exit_code, result.output) == (1, f"workbench: unknown file suffix '.xlsx'. Allowed: {allowed}.\n")
    assert list(tmp_path.iterdir()) == []


def test_plan_takes_what_a_server_is_calibrated_by(tmp_path):
    def tpots(*options):
        arguments = ("--tp", "1", "--batch-size", "64", "--weight-dtype", "awq", "--schedule", "static")
        result = invoke(*PLAN, *arguments, *options, "-o", tmp_path / "plan.csv")
        assert result.exit_code == 0, result.output
        return pd.read_csv(tmp_path / "plan.csv").set_index("gpu").tpot_s["h100-sxm"]

    plain = tpots("--step-overhead", "0")
    alone = tpots("--engine", "none")
    assert alone > plain  # its kernels are not fused, either
    host = engine("vllm").step_overhead + 64 * engine("vllm").sequence_overhead
    assert tpots("--engine", "vllm") == tpots() == pytest.approx(plain + host)
    assert tpots("--sequence-overhead", "0.001") - plain == pytest.approx(0.064)
    slow = tpots("--gemm-rows", "16", "--engine", "none")
    assert slow > 1.5 * alone
    assert tpots("--gemm-rows", "16", "--dequantize-rows", "65", "--engine", "none") == pytest.approx(slow)
    assert tpots("--gemm-rows", "16", "--gemm-efficiency", "0.1", "--dequantize-rows", "64") < 2 * slow


def test_plan_collects_repeated_options(tmp_path):
    sizes = ("--tp", "1", "--tp", "2", "--batch-size", "1", "--batch-size", "8")
    result = invoke(*PLAN, *sizes, "-o", tmp_path / "plan.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "plan.csv")
    assert (set(table.tp), set(table.batch_size)) == ({1, 2}, {1, 8})


def test_plan_says_when_nothing_meets_the_service_level():
    result = invoke(*PLAN, "--tp", "1", "--batch-size", "1", "--tpot", "0.1ms")
    assert result.exit_code == 1
    assert "\nNothing meets the service level.\n" in result.output
    assert "1 TPOT over" in result.output
    assert "ms over 0.1\n" in result.output
    result = invoke(*PLAN[:-2], "--tp", "1", "--batch-size", "1")
    assert (result.exit_code, "Nothing fits." in result.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "t5"], "workbench: unknown GPU 't5'."),
        (["--tp", "two"], "workbench: --tp 'two': expected whole numbers"),
        (["--ttft", "0"], "workbench: ttft = 0.0: allowed are positive numbers"),
        (["--ttft", "-1"], "workbench: --ttft '-1': expected a time, e.g. 40ms or 1.5s, or a number of seconds"),
        (["--ttft", "nan"], "workbench: --ttft 'nan': expected a time"),
        (["--ttft", "500"], "workbench: --ttft 500: write 500ms or 500s, as a number is one of seconds"),
        (["--tpot", "40"], "workbench: --tpot 40: write 40ms or 40s, as a number is one of seconds"),
        (["--tpot", "40us"], "workbench: --tpot '40us': expected a time"),
        (["--gpus", "0"], "workbench: gpus = 0: allowed are whole numbers from 1"),
        (["--gpus", "8", "--rate", "1"], "workbench: gpus = 8 with request_rate = 1: give one"),
        (["--rate", "nan"], "workbench: request_rate = nan: allowed are positive numbers"),
        (["--utilization", "0"], "workbench: utilization = 0.0: allowed are positive shares up to 1"),
        (["--utilization", "2"], "workbench: utilization = 2.0: allowed are positive shares up to 1"),
        (["--percentile", "0"], "workbench: percentile = 0.0: allowed are numbers from 1 to 100"),
        (["--arrivals", "posson"], "workbench: unknown arrivals 'posson'. Did you mean 'poisson'"),
        (["--confirm", "-1"], "workbench: confirm = -1: allowed are whole numbers from 0"),
        (["--seed", "-1"], "workbench: seed = -1: allowed are whole numbers from 0"),
        (["--currency", "EUR"], "workbench: --currency EUR: of no prices; give them by --price GPU=PRICE"),
        (["--pp", "0"], "workbench: pp = 0: allowed are whole numbers from 1"),
        (["--ep", "0"], "workbench: ep = 0: allowed are whole numbers from 1"),
        (["--dp", "0"], "workbench: dp = 0: allowed are whole numbers from 1"),
        (["--network-gbs", "0"], "workbench: network_gbs = 0"),
        (
            ["--cached-prefix", "1000"],
            "workbench: cached_prefix = 1000: allowed is less than the shortest prompt, 1000",
        ),
        (["--max-num-batched-tokens", "0"], "workbench: max_num_batched_tokens = 0: allowed are whole numbers from 1"),
        (["--engine", "vlm"], "workbench: unknown engine 'vlm'. Did you mean 'vllm'"),
        (["--draft", "mtp"], "workbench: --draft 'mtp': expected MODEL:DEPTH:ALPHA, e.g. llama-3.2-1b:4:0.7"),
        (["--draft", "mtp:1:0.8:9"], "workbench: --draft 'mtp:1:0.8:9': expected MODEL:DEPTH:ALPHA"),
        (["--draft", "medusa:x"], "workbench: --draft 'medusa:x': expected MODEL:DEPTH:ALPHA"),
        (["--draft", "llama-9:4:0.7"], "workbench: unknown model 'llama-9'"),
        (["--draft", "llama-3-8b:4:7"], "workbench: alpha = 7"),
        (["--price", "t4"], "workbench: --price 't4': expected GPU=PRICE, e.g. t4=0.35"),
        (["--price", "t4=cheap"], "workbench: --price 't4=cheap': expected GPU=PRICE"),
        (["--price", "t4=1", "--price", "t4=2"], "workbench: --price 't4=2': t4 has a price, 1: give one for each GPU"),
        (
            ["--price", "h100-sxm=1", "--price", "h100-sxm5=2"],
            "workbench: --price 'h100-sxm5=2': h100-sxm has a price, 1: give one for each GPU",
        ),
        (["--price", "t5=1"], "workbench: unknown GPU 't5'."),
        (["--price", "t4=1"], "workbench: price has no entry for h100-sxm: it has t4"),
        (["--kv-dtype", "int3"], "workbench: unknown kv_dtype 'int3'."),
        (["--gemm-rows", "0"], "workbench: gemm_rows = 0: allowed are whole numbers from 1"),
        (["--schedule", "fifo"], "workbench: unknown schedule 'fifo'."),
        (["-o", "/nowhere/plan.csv"], "workbench: cannot write /nowhere/plan.csv: there is no folder /nowhere"),
    ],
)
def test_plan_refuses_in_one_line(arguments, message):
    result = invoke(*PLAN, "--batch-size", "1", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_lists():
    gpus, models = invoke("gpus").output.splitlines(), invoke("models").output.splitlines()
    for lines, ids, row in (
        (gpus, wb.gpus(), r"^h100-sxm +989\.4 +1,979 +- +80 +3,350 +450 +700 hopper$"),
        (models, wb.models(), r"^llama-3-8b +8\.03 +8\.03 +32 +131\.1 +8,192 16 bit$"),
    ):
        assert max(map(len, lines)) <= 80
        assert {line.split()[0] for line in lines if line} >= set(ids)
        assert any(re.search(row, line) for line in lines)


def test_a_list_is_narrowed_by_a_part_of_a_name_and_a_clear_name_prints_its_entry():
    assert [line.split()[0] for line in invoke("gpus", "A100").output.splitlines()[2:]] == [
        "a100-40gb-pcie", "a100-40gb-sxm", "a100-80gb-pcie", "a100-80gb-sxm",
    ]  # fmt: skip
    assert {line.split()[-1] for line in invoke("gpus", "hopper").output.splitlines()[2:]} == {"hopper"}
    entry = invoke("gpus", "H100").output
    assert entry.startswith("GPU h100-sxm: NVIDIA H100 80GB SXM5")
    assert entry.endswith("  others                  h100-nvl, h100-pcie\n")
    assert max(map(len, entry.splitlines())) <= 80
    assert invoke("models", "meta-llama/Meta-Llama-3-8B").output.startswith("Model llama-3-8b: ")
    wrong = invoke("models", "lamma-3-8b")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    assert wrong.stderr.startswith("workbench: unknown model 'lamma-3-8b'. Did you mean 'llama-3-8b'")


# What a process is given --------------------------------------------------------------------------------------------

WHOLE = "import sys; sys.argv[1:] = {!r}; from workbench.cli import main; sys.exit(main())"


def process(*arguments, before="", **options):
    """Exit status and standard error of a command of its own process, as the console script runs it."""
    code = before + WHOLE.format([str(argument) for argument in arguments])
    result = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, errors="replace", **options
    )
    return result.returncode, result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("workbench", ["gpus"]), ("workbench", ["--version"]), ("measure", ["measure", "--help"])],
)
def test_what_cannot_be_printed_is_one_line(monkeypatch, name, arguments, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        line = f"{name}: cannot write to standard output: No space left on device\n"
        assert process(*arguments, stdout=full) == (1, line)


@pytest.mark.parametrize("arguments", [["gpus"], ["measure", "--dry-run"]])
def test_a_reader_that_has_gone_is_no_fault_to_tell(arguments):
    """The status is what shells show for SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert process(*arguments, stdout=writer) == (141, "")
    finally:
        os.close(writer)


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path):
    """Whatever writes to descriptors 1 and 2 would write into it."""
    code = (
        "import os, sys; os.closerange(0, 3); sys.stdin = sys.stdout = sys.stderr = None; "
        "from workbench import ending; "
        f"ending.run_command('x', lambda: os.open({str(tmp_path / 'file')!r}, os.O_CREAT) < 3 or print('to nobody'))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_a_folder_that_is_gone(tmp_path):
    (tmp_path / "gone").mkdir()
    gone = f"import os; os.chdir({str(tmp_path / 'gone')!r}); os.rmdir(os.getcwd()); "
    line = "workbench: the folder that this runs in is no longer there\n"
    assert process(*GRID, "-o", "g.nc", before=gone) == (1, line)


def test_names_that_standard_output_cannot_show(tmp_path):
    file, output = (tmp_path / os.fsdecode(name) for name in (b"\xff.csv", b"\xfe.csv"))
    file.write_text("operator_class,name,dtype,m,n,k,time_s\ngemm,x,fp16,1,2,3,4e-6\n")
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    assert process("timings", file, "-o", output, env=environment, stdout=subprocess.DEVNULL) == (0, "")
    assert len(pd.read_csv(output)) == 1


@pytest.mark.parametrize("arguments", [["timings"], ["loadtest"], ["calibrate", "--gpu", "t4"]])
def test_what_is_read_is_not_written_over(tmp_path, arguments):
    path, other = tmp_path / "mine.csv", tmp_path / "." / "x" / ".." / "mine.csv"
    path.write_text("mine")
    (tmp_path / "x").mkdir()
    done = invoke(*arguments, path, "-o", other)
    assert (done.exit_code, done.stderr) == (1, f"workbench: cannot write {other}: it is what is read\n")
    assert path.read_text() == "mine"


def test_two_outputs_have_two_names(tmp_path):
    path = tmp_path / "x.svg"
    done = invoke("calibrate", tmp_path / "k.csv", "--gpu", "t4", "-o", path, "--plot", path)
    assert (done.exit_code, done.stderr) == (1, f"workbench: cannot write {path}: two outputs have that name\n")
