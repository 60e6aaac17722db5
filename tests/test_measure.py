"""The GPU benchmark: its plan, its file and its command line, with a device that only pretends; no PyTorch needed."""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import test_hf
from hypothesis import given
from hypothesis import strategies as st
from numpy_torch import NumpyTorch
from typer.testing import CliRunner

import workbench as wb
from workbench import cli, ending, measure, timings
from workbench.files import writing
from workbench.files.folders import MARK
from workbench.measure import backends, cards, command, expected, forward, models, plan, results
from workbench.measure.models import ExpertSizes, LatentSizes, ModelSizes, WindowSizes
from workbench.measure.plan import Grid, forward_kernels, grid_kernels, in_order
from workbench.measure.timed_kernels import Kernel, LeftOut
from workbench.operators import OPERATORS, PHASES, Conventions, Widths, decode, has_operator

SMALL = Grid(models=["llama-7b"], batch_sizes=[1, 8], seq_lens=[128, 1024], candidates=[1, 16], dtypes=["fp16"])
SMALL_OPTIONS = [
    "--model", "llama-7b", "--batch-size", "1,8", "--seq-len", "128,1024", "--candidates", "1,16", "--dtype", "fp16",
]  # fmt: skip
#: Of those settings: 5 distinct projections x 6 token counts + lm_head x 4, attention 4 + 8, qk and pv as often each,
#: 3 elementwise operators x 6 token counts
SMALL_COUNT = 34 + 12 + 24 + 18


class Pretender:
    """A device whose every kernel takes its roofline time, on a clock that goes on by two seconds a kernel."""

    gpu, framework, gemm_size, copy_bytes = "Pretend GPU 1", "torch 0", 8192, 2**30

    def __init__(self, *, fail=lambda kernel, number: None):
        self.memory, self.seen, self.now, self.fail = 80e9, [], 0.0, fail

    def __call__(self, device):
        self.device = device
        return self

    def clock(self):
        return self.now

    def supports(self, dtype):
        return dtype != "fp8"

    def facts(self):
        return ["driver: none"]

    def times(self, kernel, calls, runs):
        self.now += 2
        if not kernel.name.startswith("ceiling"):
            self.fail(kernel, len(self.seen))
            self.seen.append(kernel)
        return [plan.roofline_seconds(kernel) * (1 + run / 1000) for run in range(runs)]


def run(pretender, tmp_path, *options, output="t.csv"):
    arguments = [*SMALL_OPTIONS, "-o", str(tmp_path / output), *map(str, options)]
    return measure.main(arguments, open_backend=pretender, clock=pretender.clock)


# The plan ---------------------------------------------------------------------------------------------------------


PARTS = {
    "sliding_window": ("size", "layers"),
    "moe": ("n_experts", "experts_per_token", "intermediate_size", "layers", "shared_intermediate_size"),
    "mla": (
        "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "qk_head_dim",
        "latent_dim",
    ),
}  # fmt: skip


def sizes_of(model):
    """All that a model's stand-in holds, of either."""
    names = (*sorted(models.FIELDS), "dense_layers", "kv_elements_per_token")
    found = {name: getattr(model, name) for name in names}
    return found | {
        part: found[part] and {name: getattr(found[part], name) for name in names} for part, names in PARTS.items()
    }


@pytest.mark.parametrize("model", wb.models())
def test_model_sizes_are_the_catalogs(model):
    entry = wb.model(model)
    if any(getattr(part, name, None) for part in (entry, entry.moe, entry.sliding_window) for name in models.UNTIMED):
        with pytest.raises(ValueError, match=f"^{model} has .*, which measure does not time$"):
            models.find_model(model)
        return
    sizes = models.find_model(model)
    assert sizes_of(sizes) == sizes_of(entry)
    for name, operator in OPERATORS.items():  # which read nothing else
        costs = [operator(each, decode(8, 1024, candidates=16), Widths(), Conventions()) for each in (sizes, entry)]
        assert costs[0] == costs[1], name


@pytest.mark.parametrize("name", test_hf.PUBLISHED)
def test_a_config_has_the_sizes_that_the_package_reads(tmp_path, name):
    config = test_hf.PUBLISHED[name] | test_hf.REST.get(name, {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert sizes_of(models.find_model(str(tmp_path))) == sizes_of(wb.from_hf_config(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "lama"}, "unknown model_type 'lama'. Did you mean 'llama'"),
        ({"hidden_size": None}, "config.json: hidden_size: Field required"),
        ({"hidden_size": "4096"}, "config.json: hidden_size = '4096': expected a whole number from 1"),
        ({"num_hidden_layers": 0}, "config.json: num_hidden_layers = 0: expected a whole number from 1"),
        ({"num_key_value_heads": 5}, "num_key_value_heads = 5: num_attention_heads 32 is no multiple of it"),
        ({"num_local_experts": 8}, "num_local_experts = 8: not read in a llama, and changes its arithmetic"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "not a llama language model"),
    ],
)
def test_a_config_that_cannot_be_measured_is_one_line(tmp_path, capsys, change, message):
    (tmp_path / "config.json").write_text(json.dumps(test_hf.LLAMA | change))
    assert measure.main(["--dry-run", "--model", str(tmp_path / "config.json")]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_config_that_is_not_there(tmp_path, capsys):
    assert measure.main(["--dry-run", "--model", str(tmp_path / "config.json")]) == 1
    assert capsys.readouterr().err == (
        f"measure: argument --model: {tmp_path / 'config.json'}: no such file; give a config.json on this machine,"
        " nothing is downloaded\n"
    )


def test_operators_are_grouped_as_engines_and_papers_run_them():
    assert plan.operator_groups() == {
        "fused": (
            "qkv_proj", "q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj", "attention", "sliding_attention", "o_proj",
            "gate_up_proj", "down_proj", "router", "moe_gate_up_proj", "moe_down_proj", "shared_gate_up_proj",
            "shared_down_proj", "lm_head",
        ),
        "unfused": ("q_proj", "k_proj", "v_proj", "qk", "sliding_qk", "pv", "sliding_pv", "gate_proj", "up_proj"),
        "elementwise": ("rms_norm", "add", "silu_mul", "quantize"),
    }  # fmt: skip


def test_gemm_flops_and_shapes_are_the_grids():
    """Every matmul of the two views: what follows from a kernel's sizes, against what `roofline_grid` counts."""
    sizes = {"batch_size": 8, "seq_len": 1024}
    groups = plan.operator_groups()
    llama = models.find_model("llama-13b")
    operators = [name for name in (*groups["fused"], *groups["unfused"]) if has_operator(llama, name)]
    ds = wb.roofline_grid("t4", "llama-13b", operators, candidates=[16], **sizes)
    for operator in operators:
        for phase in PHASES:
            (kernel,) = grid_kernels(Grid(["llama-13b"], [operator], [phase], [8], [1024], [16], ["fp16"]))
            there = ds.sel(operator=operator, phase=phase).squeeze()
            assert kernel.flops == pytest.approx(float(there.flops), rel=1e-12), (operator, phase)
            assert kernel.bytes == pytest.approx(float(there.bytes), rel=1e-12), (operator, phase)


def test_kernels_of_the_same_sizes_are_measured_once():
    found = grid_kernels(SMALL)
    assert len({kernel.key for kernel in found}) == len(found)
    squares = [kernel for kernel in found if kernel.operator == "o_proj+q_proj+k_proj+v_proj"]
    # tokens: prompts of 128 and 1024, alone and by eight; decoding 1 and 16 candidates, alone and by eight
    assert sorted(kernel.m for kernel in squares) == [1, 8, 16, 128, 1024, 8192]
    assert {(kernel.n, kernel.k) for kernel in squares} == {(4096, 4096)}


def test_fp8_has_matrix_products_and_what_quantizes_for_them():
    found = grid_kernels(Grid(dtypes=["fp8"]))
    assert {kernel.operator_class for kernel in found} == {"gemm", "elementwise"}
    assert {kernel.operator for kernel in found if kernel.operator_class == "elementwise"} == {"quantize"}
    assert {kernel.scales for kernel in found if kernel.operator_class == "gemm"} == {"token"}
    quantize = next(kernel for kernel in found if kernel.operator == "quantize")
    assert quantize.bytes == quantize.m * quantize.n * (2 + 1)


def test_the_default_grid_covers_the_papers_sizes():
    found = grid_kernels(Grid())
    attention = [kernel for kernel in found if kernel.operator_class == "attention_decode" and kernel.dtype == "fp16"]
    assert len(attention) == 3 * 7 * 7 * 8
    assert {kernel.seq_len_q for kernel in attention} == {1, *range(16, 113, 16)}


def test_a_short_run_is_a_small_copy_of_the_whole():
    order = in_order(grid_kernels(Grid()), "fp16")
    assert order == in_order(grid_kernels(Grid()), "fp16")
    first = order[:120]
    assert {kernel.operator for kernel in first} >= {"attention", "qkv_proj", "lm_head", "qk", "pv", "add", "rms_norm"}
    assert {kernel.dtype for kernel in first} == {"fp16", "bf16", "fp8"}
    assert {kernel.name.split(":")[0] for kernel in first} == set(plan.MEDUSA_MODELS)
    fused = sum(bool(set(kernel.operator.split("+")) & set(plan.operator_groups()["fused"])) for kernel in first)
    assert fused > 60
    tokens = sorted(kernel.m for kernel in first if kernel.operator_class == "gemm" and kernel.dtype == "fp16")
    assert tokens[0] <= 16
    assert tokens[-1] >= 2**16


@given(st.sampled_from(grid_kernels(SMALL)), st.floats(1e6, 1e12))
def test_a_schedule_fits_in_memory_and_runs_often_enough(kernel, memory):
    calls, runs = plan.schedule(kernel, memory)
    assert 5 <= runs <= 25
    assert calls == 1 or calls * kernel.bytes <= memory
    assert calls * plan.roofline_seconds(kernel) <= max(plan.roofline_seconds(kernel) + 200e-6, 0)


# The file ---------------------------------------------------------------------------------------------------------


def test_the_file_is_read_as_timings_and_says_where_it_is_from(tmp_path):
    pretender = Pretender()
    assert run(pretender, tmp_path) == 0
    table = timings.read(tmp_path / "t.csv")
    assert len(table) == len(pretender.seen) == len(grid_kernels(SMALL)) == SMALL_COUNT
    assert table.attrs["problems"] == []
    header = "\n".join(table.attrs["header"])
    assert re.search(r"date: 20\d\d-\d\d-\d\d \d\d:\d\d UTC", header)
    assert f"command: python -m workbench.measure {' '.join(SMALL_OPTIONS)} -o" in header
    # the pretender is an A100 at its roofline, and its median run 1 % above
    assert "copy bandwidth: 1981 GB/s (device to device, 1074 MB read and written)" in header
    assert "fp16 GEMM: 309.1 TFLOP/s (8192 x 8192 x 8192)" in header
    assert "driver: none" in header
    row = table[(table.name == "llama-7b:qkv_proj") & (table.m == 8192)].iloc[0]
    assert row.time_s == pytest.approx(2 * 8192 * 4096 * 12288 / 312e12 * 1.012, rel=1e-4)
    assert (row.gpu, row.framework, row["dtype"], row.operator_class) == ("Pretend GPU 1", "torch 0", "fp16", "gemm")


def test_median_and_spread():
    row = results.row_of(Kernel("gemm", "a:b", "fp16", 1, 2, 3), "GPU", "torch", [float(t) for t in range(101)])
    assert {name: row[name] for name in ("time_s", "p10_s", "p90_s", "runs", "m", "batch_size", "note")} == {
        "time_s": "50", "p10_s": "10", "p90_s": "90", "runs": "101", "m": "1", "batch_size": "", "note": "",
    }  # fmt: skip
    assert results.row_of(Kernel("gemm", "a:b", "fp16"), "GPU", "torch", [3.0])["p90_s"] == "3"


def test_a_second_run_goes_on_where_the_budget_ended_the_first(tmp_path, capsys):
    first, second, third = Pretender(), Pretender(), Pretender()
    assert run(first, tmp_path, "--minutes", "0.5") == 0
    assert len(first.seen) == 15  # 30 s at 2 s a kernel
    assert run(second, tmp_path) == 0
    assert len(first.seen) + len(second.seen) == len(grid_kernels(SMALL))
    assert not {kernel.key for kernel in first.seen} & {kernel.key for kernel in second.seen}
    header = timings.read(tmp_path / "t.csv").attrs["header"]
    assert sum(line.startswith("command:") for line in header) == 2
    assert run(third, tmp_path) == 0
    assert third.seen == []
    assert f"0 kernels to measure, {SMALL_COUNT} in" in capsys.readouterr().err


def test_progress_goes_to_standard_error(tmp_path, capsys):
    run(Pretender(), tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"measure: Pretend GPU 1: {SMALL_COUNT} kernels to measure, 0 in" in err
    assert re.search(r"measure: 5 of 88 kernels, 0\.2 min, last llama-7b:\S+\n", err)


def test_out_of_memory_is_a_note_and_is_not_tried_again(tmp_path):
    def fail(kernel, number):
        if kernel.operator == "qk":
            raise MemoryError

    assert run(Pretender(fail=fail), tmp_path) == 0
    table = timings.read(tmp_path / "t.csv")
    failed = sum(kernel.operator == "qk" for kernel in grid_kernels(SMALL))
    assert len(table.attrs["problems"]) == failed
    assert re.fullmatch(r"line \d+: not measured: out of memory", table.attrs["problems"][0])
    again = Pretender()
    run(again, tmp_path)
    assert again.seen == []


def test_an_unsupported_kernel_is_a_note_of_one_line(tmp_path):
    def fail(kernel, number):
        if kernel.operator == "attention" and kernel.seq_len_q == 1:
            raise RuntimeError("No available kernel.\nMore about it")

    assert run(Pretender(fail=fail), tmp_path) == 0
    assert any(p.endswith("failed: No available kernel.") for p in timings.read(tmp_path / "t.csv").attrs["problems"])


def test_a_gpu_in_a_bad_state_ends_the_run_and_leaves_no_notes(tmp_path, capsys):
    def fail(kernel, number):
        if number >= 20:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    assert run(Pretender(fail=fail), tmp_path) == 1
    assert re.search(r"measure: 10 kernels in a row failed, the last, .*CUDA error", capsys.readouterr().err)
    table = timings.read(tmp_path / "t.csv")
    assert (len(table), table.attrs["problems"]) == (20, [])


def test_ctrl_c_leaves_a_whole_file(tmp_path, capsys):
    def fail(kernel, number):
        if number == 7:
            raise KeyboardInterrupt

    assert run(Pretender(fail=fail), tmp_path) == 130
    assert "interrupted; what was measured is kept" in capsys.readouterr().err
    assert len(timings.read(tmp_path / "t.csv")) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_job_leaves_what_was_measured(tmp_path, capsys, number):
    def fail(kernel, seen):
        if seen == 7:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    assert run(Pretender(fail=fail), tmp_path) == 128 + number
    assert f"measure: ended by {number.name}; what was measured is kept, run again to go on" in capsys.readouterr().err
    assert len(timings.read(tmp_path / "t.csv")) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert signal.getsignal(number) == before


def test_an_interrupt_that_a_library_turns_into_an_error_still_ends_the_run(tmp_path, monkeypatch, capsys):
    def fail(kernel, number):
        if number == 7:
            monkeypatch.setattr(ending, "_pressed", True)
            raise RuntimeError("interrupted in a callback")

    monkeypatch.setattr(command, "end_interrupted", lambda what: None)  # which ends the process
    assert run(Pretender(fail=fail), tmp_path) == 130
    assert len(timings.read(tmp_path / "t.csv")) == 7


def test_one_run_at_a_time_has_a_file(tmp_path, capsys):
    """The second would write it without the rows that the first has added since."""

    def fail(kernel, number):
        if number == 3:
            assert run(Pretender(), tmp_path) == 1
            assert run(Pretender(), tmp_path, "--minutes", "0.1", output="other.csv") == 0

    assert run(Pretender(fail=fail), tmp_path) == 0
    line = f"measure: {tmp_path / 't.csv'}: another run is writing it: wait for it, or choose another with -o\n"
    assert line in capsys.readouterr().err
    assert len(timings.read(tmp_path / "t.csv")) == SMALL_COUNT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "t.csv"]


def test_what_a_killed_run_has_left_goes_with_the_next(tmp_path):
    run(Pretender(), tmp_path)
    (tmp_path / ".t.csv.lock").mkdir()
    (tmp_path / ".t.csv.lock" / MARK).touch()
    killed = f"{writing._prefix()}{2**31 - 1:08x}{'0' * 16}"  # of a process that there cannot be
    mine, others, old = (killed.replace(killed[-24:-16], f"{os.getpid():08x}"), *(f".workbench-{x * 32}" for x in "ef"))
    for name in (killed, mine, others, old):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))  # of another machine, from long ago
    run(Pretender(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", mine, others}


@pytest.mark.parametrize("there", ["link", "file", "pipe", "folder"])
def test_what_is_in_the_place_of_the_lock_is_neither_opened_nor_removed(tmp_path, capsys, there):
    lock = tmp_path / ".t.csv.lock"
    make = {"link": lambda: lock.symlink_to(tmp_path / "elsewhere"), "file": lambda: lock.write_text("precious"),
            "pipe": lambda: os.mkfifo(lock), "folder": lambda: (lock / "precious").mkdir(parents=True)}  # fmt: skip
    make[there]()
    before = lock.lstat()
    assert run(Pretender(), tmp_path) == 1
    assert re.fullmatch(rf"measure: {lock}: a .*: move it away\n", capsys.readouterr().err)
    assert (lock.lstat(), [*tmp_path.iterdir()]) == (before, [lock])


@pytest.mark.parametrize(("number", "status"), [(errno.ENOLCK, 0), (errno.EIO, 1)])
def test_a_file_system_without_locks_is_measured_on(tmp_path, monkeypatch, number, status):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fails)
    assert run(Pretender(), tmp_path) == status


def test_a_newline_in_the_name_of_the_file_does_not_end_its_comment(tmp_path):
    path = tmp_path / "a\nb.csv"
    for _ in range(2):
        assert run(Pretender(), tmp_path, "--minutes", "0.1", "-o", str(path)) == 0
    table = timings.read(path)
    assert any("a b.csv" in line for line in table.attrs["header"])
    table.attrs["header"].append("a\nb")
    timings.write(table, tmp_path / "again.csv")
    assert timings.read(tmp_path / "again.csv").attrs["header"][-1] == "a b"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_while_saving_is_one_line_and_the_file_is_that_of_before(tmp_path, monkeypatch, capsys):
    run(Pretender(), tmp_path, "--minutes", "0.1")
    before = (tmp_path / "t.csv").read_bytes()
    capsys.readouterr()
    opened = type(tmp_path).open

    def full(path, mode="r", **options):
        return opened(Path("/dev/full") if mode == "w" else path, mode, **options)

    monkeypatch.setattr(type(tmp_path), "open", full)
    assert run(Pretender(), tmp_path) == 1
    monkeypatch.undo()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"measure: cannot write {tmp_path / 't.csv'}: No space left on device"
    assert (tmp_path / "t.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_save_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    assert run(Pretender(), tmp_path, "--minutes", "0.1") == 0
    before = (tmp_path / "t.csv").read_bytes()
    file = results.open_results(tmp_path / "t.csv", Pretender.gpu)
    file.rows.append({"no such column": "1"})
    with pytest.raises(ValueError, match="dict contains fields not in fieldnames"):
        file.save()
    assert (tmp_path / "t.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_the_file_is_saved_while_measuring(tmp_path):
    lengths = []

    def fail(kernel, number):
        lengths.append(len((tmp_path / "t.csv").read_text().splitlines()) if (tmp_path / "t.csv").exists() else 0)

    run(Pretender(fail=fail), tmp_path)
    assert lengths[0] == 0
    assert 0 < lengths[10] < lengths[40] < lengths[80]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "not a file of `workbench measure`: choose another with -o"),
        ("", "not a file of `workbench measure`"),
        (",".join(results.MEASURED) + "\n" + "x" * 9_000_000 + "\n", "not valid CSV (longer than"),
        (",".join(results.MEASURED) + "\nworkbench,Pretend GPU 1,1", "row 1 has not 24 fields"),
        ("\udcff", "not a text file"),
        (
            ",".join(results.MEASURED) + "\nworkbench,Other GPU" + "," * 22 + "\n",
            "has timings of gpu = 'Other GPU', this",
        ),
    ],
)
def test_another_file_is_not_touched(tmp_path, capsys, content, message):
    (tmp_path / "t.csv").write_bytes(content.encode(errors="surrogateescape"))
    assert run(Pretender(), tmp_path) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert (tmp_path / "t.csv").read_bytes() == content.encode(errors="surrogateescape")


# The command ------------------------------------------------------------------------------------------------------


def test_formats_that_the_gpu_lacks_and_kernels_that_do_not_fit_are_left_out(tmp_path, capsys):
    pretender = Pretender()
    assert run(pretender, tmp_path, "--dtype", "fp16,fp8", "--memory-gb", "0.1", "--device", "cuda:1") == 0
    assert pretender.device == "cuda:1"
    assert {kernel.dtype for kernel in pretender.seen} == {"fp16"}
    assert max(kernel.bytes for kernel in pretender.seen) <= 1e8
    assert "do not fit or are in a format that the GPU lacks" in capsys.readouterr().err


def test_dry_run_prints_counts_and_time_and_needs_no_gpu(tmp_path, capsys):
    def no_gpu(device):
        raise AssertionError("a dry run must not look for a GPU")

    assert measure.main(["--dry-run", *SMALL_OPTIONS, "--minutes", "3"], open_backend=no_gpu) == 0
    out = capsys.readouterr().out
    assert re.search(r"^attention_decode +attention +8$", out, re.M)  # 2 batch sizes x 2 lengths x 2 candidate counts
    assert re.search(r"^gemm +o_proj\+q_proj\+k_proj\+v_proj +6$", out, re.M)
    assert f"{SMALL_COUNT} kernels, about 0 minutes; 0 more do not fit in 80 GB" in out
    assert f"by model: llama-7b {SMALL_COUNT}\n" in out
    assert "assumed: the kernel-time model of h100-sxm,\n" in out


def test_a_dry_run_expects_the_times_of_the_kernel_model(capsys):
    """Each class of kernel by hand against the functions of the model."""
    plan = [
        Kernel("gemm", "m:q_proj", "fp16", m=16, n=4096, k=4096),
        Kernel("attention_decode", "m:attention", "fp16", batch_size=4, seq_len_q=1, seq_len_kv=1024, n_heads=32,
               n_kv_heads=32, head_dim=128),
        Kernel("other", "m:qk", "fp16", m=1, n=1024, k=128, batch_size=4, n_heads=32),
        Kernel("elementwise", "m:rms_norm", "fp16", m=10**6, n=4096),
    ]  # fmt: skip
    card = wb.gpu("h100-sxm")
    gemm, decode, unfused, norm = expected.expected_times(plan, card)
    assert gemm == pytest.approx(wb.kernels.gemm_time(card, m=16, n=4096, k=4096), rel=1e-12)
    heads = {"n_heads": 32, "n_kv_heads": 32, "head_dim": 128}
    alone = wb.kernels.attention_time(card, new_tokens=1, context=1024, batch_size=4, **heads)
    assert decode == pytest.approx(alone, rel=1e-12)  # the last digit may differ in an array
    assert unfused > 4 * 32 * 2 * (1024 * 128) / card.bandwidth
    assert norm == pytest.approx(2 * 2 * 4096e6 / card.bandwidth / 0.6, rel=0.1)  # its fit: 59 % of the bandwidth
    assert measure.main(["--dry-run", *SMALL_OPTIONS, "--gpu", "h100-smx"]) == 1
    assert "unknown GPU 'h100-smx'" in capsys.readouterr().err
    assert measure.main(["--dry-run", *SMALL_OPTIONS, "--gpu", "a40", "--dtype", "fp16,fp8"]) == 0
    assert "of a40; fp8, which it has no peak for, on an A100's roofline" in capsys.readouterr().out


def test_dry_run_of_everything_leaves_out_what_does_not_fit(capsys):
    assert measure.main(["--dry-run", "--memory-gb", "24"]) == 0
    assert re.search(r"\d+ kernels, about \d+ minutes; [1-9]\d* more do not fit in 24 GB", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "fp7"], "argument --dtype: unknown name 'fp7'."),
        (["--operator", "fusd"], "argument --operator: unknown name 'fusd'. Did you mean 'fused'"),
        (["--model", "llama-7"], "Did you mean 'llama-7b'"),
        (["--minutes", "0"], "argument --minutes: '0': expected a number above 0"),
        (["--minutes", "soon"], "argument --minutes: 'soon': expected a number above 0"),
        (["--batch-size", "1,0"], "argument --batch-size: '1,0': expected whole numbers above 0 separated by commas"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["-o", "no/such/folder/t.csv"], "cannot write no/such/folder/t.csv: there is no folder no/such/folder"),
    ],
)
def test_bad_options_are_one_clear_line(capsys, options, message):
    assert measure.main(options, open_backend=Pretender()) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert err.startswith("measure: ")


def test_without_pytorch_or_gpu_there_is_one_clear_line(capsys, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert measure.main([]) == 1
    assert capsys.readouterr().err == (
        "measure: PyTorch is not installed: install torch with CUDA or ROCm (or use --dry-run)\n"
    )
    cuda = SimpleNamespace(is_available=lambda: False, device_count=lambda: 1)
    torch = SimpleNamespace(__version__="2.13.0+cpu", cuda=cuda)
    monkeypatch.setattr(backends, "find_spec", lambda name: True)
    monkeypatch.setattr(backends, "import_module", lambda name: torch)
    assert measure.main([]) == 1
    assert "no GPU that PyTorch 2.13.0+cpu can use" in capsys.readouterr().err
    cuda.is_available = lambda: True
    for device, message in (("cuda:3", "no GPU 'cuda:3': PyTorch sees cuda:0"), ("tpu", "unknown device 'tpu'")):
        assert measure.main(["--device", device]) == 1
        assert message in capsys.readouterr().err


def test_the_installed_command_is_the_same():
    runner = CliRunner()
    result = runner.invoke(cli.app, ["measure", "--dry-run", *SMALL_OPTIONS])
    assert result.exit_code == 0
    assert f"{SMALL_COUNT} kernels" in result.stdout
    assert "usage: workbench measure" in runner.invoke(cli.app, ["measure", "--help"]).stdout
    result = runner.invoke(cli.app, ["measure", "--minutes", "-1"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


# Timing on a GPU, with a PyTorch that only keeps a log ------------------------------------------------------------


class FakeCuda:
    """Events on a clock that graph replays move by 3 ms, work on other data by 100 ms."""

    def __init__(self):
        self.log, self.ms = [], 0.0
        self.OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})

    def synchronize(self):
        pass

    def empty_cache(self):
        self.log.append("empty")

    @contextlib.contextmanager
    def graph(self, graph):
        self.log.append("capture")
        yield

    def CUDAGraph(self):
        def replay():
            self.ms += 3
            self.log.append("replay")

        return SimpleNamespace(replay=replay)

    def Event(self, enable_timing):
        event = SimpleNamespace()

        def record():
            event.at = self.ms
            self.log.append("event")

        event.record, event.elapsed_time = record, lambda stop: stop.at - event.at
        return event


def gpu_backend(call):
    backend = backends.GpuBackend.__new__(backends.GpuBackend)
    cuda = FakeCuda()
    backend.torch = SimpleNamespace(cuda=cuda, inference_mode=contextlib.nullcontext)

    def flush(*_):
        cuda.ms += 50
        cuda.log.append("flush")

    backend.other = SimpleNamespace(add_=flush, max=flush)
    backend.call = lambda kernel: call
    return backend, cuda


def test_a_run_is_a_graph_replay_between_events_after_the_cache_was_filled():
    backend, cuda = gpu_backend(lambda: cuda.log.append("call"))
    times = backend.times(Kernel("gemm", "a:b", "fp16"), 4, 5)
    assert times == pytest.approx([3e-3 / 4] * 5)
    warm_up = [*["call"] * 4, "capture", *["call"] * 4, *["replay"] * 3]
    assert cuda.log == [*warm_up, *["flush", "flush", "event", "replay", "event"] * 5, "empty"]


def test_out_of_memory_of_the_gpu_is_a_memory_error():
    def call():
        raise cuda.OutOfMemoryError("Tried to allocate 20 GiB")

    backend, cuda = gpu_backend(call)
    with pytest.raises(MemoryError):
        backend.times(Kernel("gemm", "a:b", "fp16"), 1, 5)
    assert cuda.log == ["empty"]


@pytest.mark.parametrize(
    ("hip", "card", "expected"),
    [
        (None, {"major": 7, "minor": 5}, {"fp16": "half"}),
        (None, {"major": 8, "minor": 0}, {"fp16": "half", "bf16": "bf16"}),
        (None, {"major": 8, "minor": 9}, {"fp16": "half", "bf16": "bf16", "fp8": "fn"}),
        (None, {"major": 10, "minor": 0}, {"fp16": "half", "bf16": "bf16", "fp8": "fn"}),
        ("6.4", {"major": 9, "minor": 0, "gcnArchName": "gfx90a:sramecc+"}, {"fp16": "half", "bf16": "bf16"}),
        ("6.4", {"major": 9, "minor": 4, "gcnArchName": "gfx942"}, {"fp16": "half", "bf16": "bf16", "fp8": "fnuz"}),
        ("7.0", {"major": 9, "minor": 5, "gcnArchName": "gfx950"}, {"fp16": "half", "bf16": "bf16", "fp8": "fn"}),
    ],
)
def test_formats_by_card(hip, card, expected):
    torch = SimpleNamespace(
        version=SimpleNamespace(hip=hip), float16="half", bfloat16="bf16", float8_e4m3fn="fn", float8_e4m3fnuz="fnuz"
    )
    assert cards.supported_formats(torch, SimpleNamespace(**card)) == expected


def test_long_kernels_are_run_less_often():
    assert [backends.fewer(25, once) for once in (1e-4, 0.1, 3.0)] == [25, 10, 5]
    assert backends.fewer(3, 10.0) == 3


# Operands, with a PyTorch made of numpy ---------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["gate_up_proj", "qk", "pv"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_call_multiplies_operands_of_the_kernels_sizes(operator, phase):
    (kernel,) = grid_kernels(Grid([ModelSizes(8, 12, 1, 2, 4, 10)], [operator], [phase], [3], [7], [2], ["fp16"]))
    torch = NumpyTorch()
    backend = backends.TorchBackend(torch, "cpu")
    result = backend.call(kernel)()
    ((a, b, out),) = torch.products
    batch = (6,) if operator in ("qk", "pv") else ()
    assert (a.shape, b.shape, out.shape) == (
        (*batch, kernel.m, kernel.k), (*batch, kernel.k, kernel.n), (*batch, kernel.m, kernel.n),
    )  # fmt: skip
    np.testing.assert_allclose(result, np.einsum("...mk,...kn->...mn", a, b))
    assert a.size + b.size + out.size == kernel.bytes / 2


# Experts, latent attention, fp8 -----------------------------------------------------------------------------------


def one_kernel(model, operator, phase, batch=4, length=1024, dtype="bf16"):
    (kernel,) = grid_kernels(Grid([model], [operator], [phase], [batch], [length], [1], [dtype]))
    return kernel


def test_a_grouped_gemm_counts_the_tokens_of_all_experts_and_the_weights_of_those_that_have_any():
    kernel = one_kernel("qwen3-30b-a3b", "moe_gate_up_proj", "decode")
    assert (kernel.operator_class, kernel.m, kernel.n, kernel.k) == ("moe", 4, 2 * 768, 2048)
    assert (kernel.n_experts, kernel.experts_per_token) == (128, 8)
    assert kernel.flops == pytest.approx(2 * 4 * 8 * 1536 * 2048)
    touched = 128 * (1 - (120 / 128) ** 4)
    assert kernel.bytes == pytest.approx(2 * (touched * 1536 * 2048 + 4 * 8 * (1536 + 2048)))
    assert one_kernel("qwen3-30b-a3b", "moe_down_proj", "prefill").m == 4096


def test_latent_attention_is_absorbed_in_decode_and_expanded_in_a_prompt():
    decode = one_kernel("deepseek-v3", "attention", "decode")
    assert (decode.operator_class, decode.n_heads, decode.n_kv_heads) == ("mla_decode", 128, 1)
    assert (decode.head_dim, decode.v_head_dim) == (576, 512)
    assert decode.flops == 2 * 4 * 128 * 1024 * (576 + 512)
    assert decode.bytes == 2 * 4 * (1024 * 576 + 128 * (576 + 512))
    prompt = one_kernel("deepseek-v3", "attention", "prefill")
    assert (prompt.operator_class, prompt.n_kv_heads) == ("mla_prefill", 128)
    assert (prompt.head_dim, prompt.v_head_dim) == (192, 128)
    assert prompt.flops == 2 * 4 * 128 * (1024 * 1025 / 2) * (192 + 128)
    assert grid_kernels(Grid(["deepseek-v3"], ["qk", "pv"])) == []


def test_a_window_is_the_context_of_decode_and_leaves_out_longer_prompts():
    grid = Grid(["gpt-oss-20b"], ["sliding_attention"], batch_sizes=[1], seq_lens=[64, 1024], candidates=[1])
    found = {(k.operator_class, k.seq_len_kv) for k in grid_kernels(grid)}
    assert found == {("attention_decode", 64), ("attention_decode", 128), ("attention_prefill", 64)}
    assert one_kernel("gpt-oss-20b", "attention", "decode").n_kv_heads == 8


def fake_backend():
    backend = backends.CpuBackend(NumpyTorch())
    backend.dtypes["fp8"] = "fp8"
    return backend


@pytest.mark.parametrize("grouped", [False, True])
def test_grouped_gemms_have_the_rows_that_a_router_draws(grouped):
    kernel = Kernel("moe", "a:moe_down_proj", "bf16", m=50, n=6, k=5, n_experts=8, experts_per_token=2)
    backend = fake_backend()
    backend.grouped = grouped
    rows = backend._routed(kernel)
    assert rows.sum() == 100
    assert len(rows) == 8
    assert (backend._routed(kernel) == rows).all()  # the same each time
    result = backend.call(kernel)()
    assert result.shape == ((100, 6) if grouped else (8, max(rows), 6))
    few = Kernel("moe", "a:moe_down_proj", "bf16", m=1, n=6, k=5, n_experts=8, experts_per_token=2)
    assert list(backend._routed(few)) == [1, 1]


def test_absorbed_attention_is_the_products_that_it_says():
    kernel = Kernel("mla_decode", "a:attention", "bf16", batch_size=2, seq_len_q=1, seq_len_kv=7, n_heads=3,
                    n_kv_heads=1, head_dim=6, v_head_dim=4)  # fmt: skip
    backend = fake_backend()
    assert backend.call(kernel)().shape == (2, 3, 4)
    (scores, values) = backend.torch.products
    assert (scores[0].shape, scores[1].shape) == ((2, 3, 6), (2, 6, 7))
    assert values[1].shape == (2, 7, 4)
    np.testing.assert_array_equal(values[1], np.swapaxes(scores[1], 1, 2)[..., :4])


def test_fp8_has_a_scale_for_each_row_of_both_operands():
    backend = fake_backend()
    backend.random = lambda kernel, *shape: backend.torch.randn(shape, "cpu", float)
    assert backend.call(Kernel("gemm", "a:b", "fp8", m=3, n=5, k=4, scales="token"))().shape == (3, 5)
    x = backend.torch.randn((3, 4), "cpu", float)
    rows, scale = forward.quantized(x, "fp8")
    np.testing.assert_allclose(rows * scale, x)
    np.testing.assert_allclose(np.abs(rows).max(axis=1), 448)
    rows, scale = backend.call(Kernel("elementwise", "a:quantize", "fp8", m=3, n=4))()
    assert (rows.shape, scale.shape) == ((3, 4), (3, 1))


# Whole forward passes ---------------------------------------------------------------------------------------------

TINY = {
    "grouped heads": ModelSizes(16, 24, 2, 4, 8, 40, n_kv_heads=2, tied_embeddings=True),
    "no gate": ModelSizes(16, 24, 2, 2, 8, 40, gated=False, learned_positions=64),
    "windows": ModelSizes(16, 24, 3, 2, 8, 40, sliding_window=WindowSizes(16, 2)),
    "experts": ModelSizes(16, 24, 3, 2, 8, 40, moe=ExpertSizes(6, 2, 12, 2, 8)),
    "latent": ModelSizes(16, 24, 2, 3, 12, 40, moe=ExpertSizes(4, 1, 8, 2), mla=LatentSizes(10, 8, 4, 6, 9)),
}  # fmt: skip


def one_pass(model, phase, batch, length, dtype="bf16"):
    grid = Grid([model], phases=[phase], batch_sizes=[batch], seq_lens=[length], dtypes=[dtype])
    (kernel,) = forward_kernels(grid)
    return kernel


def tiny_pass(model, dtype="bf16"):
    kernel = one_pass(model, "prefill", 3, 12, dtype)
    run = forward.ForwardPass(NumpyTorch(), "cpu", kernel, grouped=False)
    return run, kernel


@pytest.mark.parametrize("name", TINY)
def test_decode_goes_on_where_a_prompt_ends(name):
    """The last token of a prompt, once more over the cache that the prompt has filled: the same next token.

    Latent attention is expanded in one and absorbed in the other.
    """
    model = TINY[name]
    run, _ = tiny_pass(model)
    rng = np.random.default_rng(5)
    for layer in run.layers:
        for key, weight in layer.items():
            if isinstance(weight, np.ndarray):
                weight[...] = 1 if "norm" in key else rng.normal(0, 0.3, weight.shape)
    run.last_norm[...] = 1
    run.embedding[...] = rng.normal(0, 1, run.embedding.shape)
    tokens = run.torch.randint(0, 40, (3, 12), device="cpu")
    sizes = [(model.mla.latent_dim,)] if model.mla else 2 * [(model.n_kv_heads, model.head_dim)]
    caches = [[run._random(3, 12, *size) for size in sizes] for _ in run.layers]
    dim = model.mla.qk_rope_head_dim if model.mla else model.head_dim
    angles = [rng.normal(size=(12, 1, dim)) for _ in range(2)]
    first = run._step(tokens, caches, 0, True, angles)
    again = run._step(tokens[:, -1:], caches, 11, False, [angle[-1:] for angle in angles])
    np.testing.assert_array_equal(first, again)
    assert len(set(first.tolist())) > 1
    run.grouped = True
    np.testing.assert_array_equal(run._step(tokens, caches, 0, True, angles), first)


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_a_pass_is_called_on_tokens_and_caches_of_its_sizes(dtype):
    run, kernel = tiny_pass(TINY["grouped heads"], dtype)
    assert run.call(kernel)().shape == (3,)
    decode = next(
        k for k in forward_kernels(Grid([TINY["grouped heads"]], ["o_proj"], ["decode"], [5], [7], dtypes=[dtype]))
    )
    assert run.runs(decode)
    assert run.call(decode)().shape == (5,)
    m = {a.shape[0] for a, b, out in run.torch.products}
    assert m == {3 * 12, 3, 5}


def test_the_weights_stay_until_another_model_comes():
    backend = fake_backend()
    backend._attention_by = lambda *names: contextlib.nullcontext
    kernels = forward_kernels(
        Grid([TINY["experts"], TINY["windows"]], phases=["decode"], batch_sizes=[1, 2], seq_lens=[8], dtypes=["bf16"])
    )
    seen = []
    for kernel in kernels:
        assert len(backend.times(kernel, 1, 5)) == 5
        seen.append(backend.passes)
    assert seen[0] is seen[1] is not seen[2] is seen[3]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("model", ["llama-3-8b", "qwen3-30b-a3b", "deepseek-v2-lite"])
def test_a_pass_counts_what_the_grid_counts(model, phase):
    kernel = one_pass(model, phase, 4, 512)
    whole = wb.forward_pass(wb.roofline_grid("h100-sxm", model, phase=phase, batch_size=4, seq_len=512)).squeeze()
    assert kernel.flops == pytest.approx(whole.flops.item(), rel=1e-9)
    assert kernel.bytes == pytest.approx(whole.bytes.item(), rel=1e-9)
    entry = wb.model(model)
    held = 2 * entry.parameters + 2 * 4 * 512 * entry.kv_elements_per_token
    assert 0.99 * held < kernel.memory < 1.03 * held + 4e9 * (phase == "prefill")


def test_passes_that_cannot_be_are_left_out():
    grid = Grid(
        ["mixtral-8x7b", "gpt2-xl", "gemma-3-1b"], batch_sizes=[1], seq_lens=[512, 2048], dtypes=["bf16", "fp8"]
    )
    found = {(k.name, k.operator_class, k.dtype, k.seq_len_kv) for k in forward_kernels(grid)}
    assert not any(name.startswith("mixtral") and dtype == "fp8" for name, _, dtype, _ in found)
    assert ("mixtral-8x7b:forward", "forward_prefill", "bf16", 2048) in found
    assert {length for name, *_, length in found if name.startswith("gpt2")} == {512}  # of 1024 positions
    assert {length for name, kind, _, length in found if name.startswith("gemma") and kind.endswith("fill")} == {512}
    assert {length for name, kind, _, length in found if name.startswith("gemma") and kind.endswith("code")} == {
        512,
        2048,
    }


FORWARD = ["--forward", "--model", "llama-3.2-1b,llama-3.2-3b", "--batch-size", "1,8", "--seq-len", "128,1024"]


def measured(pretender, path, *options):
    return measure.main([*options, "-o", str(path)], open_backend=pretender, clock=pretender.clock)


def test_forward_passes_are_rows_and_are_gone_on_with(tmp_path, capsys):
    first, second, third = Pretender(), Pretender(), Pretender()
    options = [*FORWARD, "--eager", "--dtype", "bf16"]
    assert measured(first, tmp_path / "t.csv", *options, "--minutes", "0.5") == 0
    assert measured(second, tmp_path / "t.csv", *options) == 0
    assert measured(third, tmp_path / "t.csv", *options) == 0
    assert len(first.seen) == 15
    assert third.seen == []
    table = timings.read(tmp_path / "t.csv")
    assert len(table) == len(first.seen) + len(second.seen) == 2 * 2 * 2 * 2 * 2  # models, sizes, phases, eager
    assert set(table.operator_class) == {"forward_prefill", "forward_decode"}
    assert set(table.name.str.split(":").str[1]) == {"forward", "forward_eager"}
    row = table.query(
        "name == 'llama-3.2-3b:forward' and batch_size == 8 and seq_len_kv == 1024 and seq_len_q == 1"
    ).iloc[0]
    assert row.time_s > 2 * wb.model("llama-3.2-3b").parameters / 2.1e12
    models_in_turn = [kernel.name.split(":")[0] for kernel in (*first.seen, *second.seen)]
    assert sum(a != b for a, b in pairwise(models_in_turn)) == 1  # weights are made once


def test_experts_without_a_grouped_gemm_are_timed_eagerly_alone(tmp_path):
    backend = fake_backend()
    backend._attention_by = lambda *names: contextlib.nullcontext
    backend.graphs = True
    kernel = one_pass(TINY["experts"], "decode", 1, 8)
    with pytest.raises(LeftOut, match="no grouped GEMM of experts that a graph could hold"):
        backend.times(kernel, 1, 5)
    assert len(backend.times(replace(kernel, name="tiny:forward_eager"), 1, 5)) == 5
    backend.grouped = True
    assert len(backend.times(kernel, 1, 5)) == 5

    def fail(kernel, number):
        raise LeftOut("no such thing")

    assert run(Pretender(fail=fail), tmp_path) == 0  # not a GPU in a bad state
    assert results.open_results(tmp_path / "t.csv", Pretender.gpu).rows[0]["note"] == "no such thing"


def test_a_pass_that_would_take_longer_than_what_is_left_is_passed_over(tmp_path):
    """A prompt of 32 x 8192 tokens of a model of 3 billion takes 5 s on the GPU assumed, 8 times; 8 tokens do not."""
    pretender = Pretender()
    options = ["--forward", "--model", "llama-3.2-3b", "--dtype", "bf16", "--minutes", "0.5"]
    assert measured(pretender, tmp_path / "t.csv", *options, "--batch-size", "1,32", "--seq-len", "8,8192") == 0
    seen = {(k.operator_class, k.batch_size, k.seq_len_kv) for k in pretender.seen}
    assert ("forward_prefill", 32, 8192) not in seen
    assert len(seen) == 7


def test_what_a_pass_needs_of_memory_leaves_it_out(tmp_path, capsys):
    pretender = Pretender()
    pretender.memory = 4e9
    assert measured(pretender, tmp_path / "t.csv", *FORWARD, "--dtype", "bf16") == 0
    assert {kernel.name.split(":")[0] for kernel in pretender.seen} == {"llama-3.2-1b"}
    assert "do not fit" in capsys.readouterr().err


def test_kernels_of_todays_models_are_read_back(tmp_path):
    options = ["--model", "deepseek-v3,gpt-oss-20b", "--batch-size", "1", "--seq-len", "128", "--candidates", "1"]
    assert measured(Pretender(), tmp_path / "t.csv", *options, "--dtype", "bf16") == 0
    table = timings.read(tmp_path / "t.csv")
    assert table.attrs["problems"] == []
    assert {"moe", "mla_prefill", "mla_decode", "attention_prefill"} <= set(table.operator_class)
    experts = table[(table.operator_class == "moe") & table.name.str.startswith("deepseek")]
    assert set(experts.n_experts) == {256}
    assert set(table[table.operator_class == "mla_decode"].v_head_dim) == {512}
    again = Pretender()
    assert measured(again, tmp_path / "t.csv", *options, "--dtype", "bf16") == 0
    assert again.seen == []


def test_a_file_from_before_experts_is_gone_on_with(tmp_path):
    assert run(Pretender(), tmp_path, "--minutes", "0.5") == 0
    path = tmp_path / "t.csv"
    table = pd.read_csv(path, comment="#", dtype=str).drop(columns=list(results.LATER))
    table.to_csv(path, index=False)
    again = Pretender()
    assert run(again, tmp_path) == 0
    assert len(again.seen) == SMALL_COUNT - 15
    assert len(timings.read(path)) == SMALL_COUNT


def test_a_dry_run_of_todays_models_expects_their_times(capsys):
    assert measure.main(["--dry-run", *FORWARD, "--dtype", "bf16,fp8"]) == 0
    assert re.search(r"^forward_decode +forward +8 +8$", capsys.readouterr().out, re.M)
    card = wb.gpu("h100-sxm")
    (kernel,) = forward_kernels(
        Grid(["llama-3-8b"], phases=["decode"], batch_sizes=[8], seq_lens=[512], dtypes=["fp16"])
    )
    (time,) = expected.expected_times([kernel], card)
    ds = wb.roofline_grid(card, "llama-3-8b", phase="decode", batch_size=8, seq_len=512, time_model="kernel")
    assert time == pytest.approx(wb.forward_pass(ds).time.item(), rel=1e-9)
    assert measure.main(["--dry-run", "--eager"]) == 1
    assert capsys.readouterr().err == "measure: --eager goes with --forward\n"
