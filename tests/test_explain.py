"""Measured kernels explained: what each is, checked by the order in which a model runs, and what is predicted."""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import workbench as wb
from workbench import plots, tables, timings
from workbench.cli import app
from workbench.explanation.anchors import with_anchors
from workbench.explanation.assignment import assign
from workbench.explanation.shapes import Shapes
from workbench.operators import OPERATORS, Conventions, Widths, decode, prefill

ROOT = Path(__file__).resolve().parents[1]
TRACES = ROOT / "tests" / "data" / "traces"


def tiny(folder, kv_heads):
    """The model of the traces in `tests/data/traces`."""
    path = folder / f"tiny-{kv_heads}.yaml"
    path.write_text(
        "name: Tiny\nfamily: llama\nhidden_size: 128\nintermediate_size: 352\nn_layers: 2\nn_heads: 4\n"
        f"n_kv_heads: {kv_heads}\nhead_dim: 32\nvocab_size: 1000\ngated: true\ntied_embeddings: false\n"
        "max_context: 4096\nsources: {made: by hand}\n"
    )
    return wb.model(path)


# Real traces of the CPU -------------------------------------------------------------------------------------------

SEPARATE = ["q_proj", "k_proj", "v_proj", "{}", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYERS = {  # of each trace: KV heads, sequences, prompt, and what a layer runs in its order
    "fused-sdpa": (2, 2, 64, ["qkv_proj", "attention", "o_proj", "gate_up_proj", "down_proj"]),
    "separate-sdpa": (4, 3, 32, [each.format("attention") for each in SEPARATE]),
    "separate-eager": (2, 2, 32, [part for each in SEPARATE for part in (["qk", "pv"] if each == "{}" else [each])]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_trace_of_pytorch_is_explained_in_the_order_of_its_layers(name, tmp_path):
    kv_heads, batch, prompt, layer = LAYERS[name]
    model = tiny(tmp_path, kv_heads)
    table = timings.read_any(TRACES / f"{name}.json.gz")
    found, steps = assign(table, Shapes(model), ordered=True)
    assert [each.operator for each in found if each.operator not in ("", "elementwise")] == 3 * [*2 * layer, "lm_head"]
    assert [tuple(step) for step in steps if step] == [
        (batch, prompt, prompt), (batch, 1, prompt + 1), (batch, 1, prompt + 2)
    ]  # fmt: skip
    ds = wb.explain(table, "h100-sxm", model)
    assert ds.attrs["assigned_share"] > 0.95
    assert set(tables.unassigned(ds).kernel) <= {"aten::argmax"}
    calls = ds.measured_calls.sum(["gpu", "model", "batch_size", "seq_len"]).sel(operator=layer)
    assert (calls == xr.DataArray([2, 4], {"phase": ["prefill", "decode"]})).all()  # layers, by 1 and 2 steps


def test_work_is_that_of_the_sizes(tmp_path):
    ds = wb.explain(TRACES / "fused-sdpa.json.gz", "h100-sxm", tiny(tmp_path, 2)).squeeze(["gpu", "model"])
    one = ds.sel(operator="down_proj", phase="prefill", batch_size=2, seq_len=64)
    assert one.flops == 2 * (2 * 64) * 352 * 128
    assert one.bytes == 4 * (128 * 352 + 128 * 128 + 352 * 128)  # fp32
    head = ds.sel(operator="lm_head", phase="prefill", batch_size=2, seq_len=64)
    assert head.flops == 2 * 2 * 128 * 1000  # of the last token of each
    assert ds.peak_flop_rate.item() == wb.gpu("h100-sxm").peak_flop_rate("fp32")
    seen = ds.performance.notnull()
    assert np.allclose((ds.performance * ds.measured_time).where(seen), ds.flops.where(seen), equal_nan=True)


def test_all_the_time_is_in_the_table(tmp_path):
    ds = wb.explain(TRACES / "fused-sdpa.json.gz", "h100-sxm", tiny(tmp_path, 2))
    table = tables.explained(ds)
    total = 1e3 * timings.read_any(TRACES / "fused-sdpa.json.gz").time_s.sum()
    assert table["time [ms]"].sum() == pytest.approx(total)
    assert table["share [%]"].sum() == pytest.approx(100)
    assert table.operator.iloc[-1] == "not assigned"


def test_what_takes_a_grid_takes_an_explanation(tmp_path):
    ds = wb.explain(TRACES / "fused-sdpa.json.gz", "h100-sxm", tiny(tmp_path, 2))
    one = wb.forward_pass(ds).sel(phase="prefill", seq_len=64)
    grid = wb.roofline_grid(
        "h100-sxm", tiny(tmp_path, 2), phase="prefill", batch_size=2, seq_len=64, time_model="kernel",
        weight_dtype="fp32", activation_dtype="fp32", kv_dtype="fp32",
    )  # fmt: skip
    assert one.time.item() == pytest.approx(wb.forward_pass(grid).time.item(), rel=1e-9)
    assert len(tables.points(ds)) == ds.performance.size
    assert len(tables.measured_points(ds)) == ds.measured_time.notnull().sum()
    ds.to_netcdf(tmp_path / "explained.nc")
    assert xr.load_dataset(tmp_path / "explained.nc").attrs["assigned_share"] == ds.attrs["assigned_share"]
    for variable in ds.variables.values():
        assert variable.attrs["long_name"]


# Every model ------------------------------------------------------------------------------------------------------


def kernels(model, steps, *, layers=2):
    """Kernels of some layers of a model with their sizes, as engines run them; and their operators."""
    rows, truth = [], []
    shapes = Shapes(model)
    for step in steps:
        for _ in range(layers):
            for name in shapes.fused:
                cost = OPERATORS[name](model, step, Widths(), Conventions())
                sizes = {"n": float(np.max(cost.n)), "k": float(np.max(cost.k))}
                if cost.kernel in ("gemm", "moe") and name not in ("lm_head", "kv_b_proj"):
                    rows.append({"operator_class": cost.kernel, "name": "k", "m": step.tokens, **sizes})
                    truth.append(name)
                elif name == "attention" and not model.mla:
                    kind = model.kinds[0]
                    rows.append({
                        "operator_class": "attention_decode", "name": "k", "batch_size": step.sequences,
                        "seq_len_q": step.new_tokens, "seq_len_kv": step.context, "n_heads": kind.n_heads,
                        "head_dim": kind.qk_dim,
                    })  # fmt: skip
                    truth.append(name)
        rows.append({
            "operator_class": "gemm", "name": "k", "m": step.sequences, "n": model.vocab_size, "k": model.hidden_size
        })  # fmt: skip
        truth.append("lm_head")
    return pd.DataFrame(rows), truth


@pytest.mark.parametrize("name", [
    "llama-7b", "llama-3-8b", "qwen2.5-7b", "mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-20b", "gemma-2-9b", "deepseek-v3",
    "opt-6.7b",
])  # fmt: skip
def test_every_kind_of_model_is_found_by_its_sizes(name):
    model = wb.model(name)
    table, truth = kernels(model, [prefill(2, 512.0), decode(2, 513.0), decode(2, 514.0)])
    found, _ = assign(table, Shapes(model), ordered=True)
    assert [each.operator for each in found] == truth


def test_a_gpu_of_several_is_told_by_its_sizes():
    whole = wb.model("llama-3-70b")
    table, truth = kernels(Shapes(whole, 4).part, [decode(8, 1024.0)])
    table = table.assign(source="torch.profiler", gpu="", framework="", dtype="bf16", time_s=1e-5)
    ds = wb.explain(table, "h100-sxm", whole)
    assert ds.attrs["assigned_share"] == 1
    one = ds.flops.sel(operator="o_proj").max().item()
    assert one == 2 * 8 * (64 / 4 * 128) * 8192
    assert "tp" not in ds.dims
    assert set(truth) == set(ds.operator.values)


# Kernels without sizes --------------------------------------------------------------------------------------------

LAYER = [  # a decoding step as engines run it: class by name, microseconds, operator
    ("fused_add_rms_norm_kernel", 3, "elementwise"), ("nvjet_tst_64x8_64x16_4x1_v_bz_TNT", 20, "qkv_proj"),
    ("rotary_embedding_kernel", 2, "elementwise"), ("reshape_and_cache_flash_kernel", 2, "elementwise"),
    ("flash::flash_fwd_splitkv_kernel", 20, "attention"), ("flash::flash_fwd_splitkv_combine_kernel", 2, "attention"),
    ("nvjet_tst_64x8_64x16_2x1_v_bz_splitK_TNT", 14, "o_proj"), ("splitKreduce_kernel", 2, "o_proj"),
    ("fused_add_rms_norm_kernel", 3, "elementwise"), ("nvjet_tst_128x8_64x12_2x1_v_bz_TNT", 75, "gate_up_proj"),
    ("act_and_mul_kernel", 3, "elementwise"), ("nvjet_tst_64x8_64x16_4x1_v_bz_TNT", 40, "down_proj"),
]  # fmt: skip
HEAD = [("fused_add_rms_norm_kernel", 3, "elementwise"), ("nvjet_tst_256x8_64x12_4x1_v_bz_TNT", 330, "lm_head"),
        ("argmax_kernel", 4, "")]  # fmt: skip


def trace(path, kernels, sizes=()):
    """A trace of kernels in a row, with the calls of those that have sizes: operator and dims by place."""
    events, time = [], 0.0
    for i, (name, us, _) in enumerate(kernels):
        call = dict(sizes).get(i)
        if call:
            args = {"External id": i, "Input Dims": call[1], "Input type": ["c10::BFloat16"] * 2}
            events.append({"ph": "X", "cat": "cpu_op", "name": call[0], "ts": 0, "dur": 1, "args": args})
        args = {"device": 0, "correlation": 10_000 + i} | ({"External id": i} if call else {})
        events.append({"ph": "X", "cat": "kernel", "name": name, "ts": time, "dur": us, "args": args})
        time += us + 1
    device = {"id": 0, "name": "NVIDIA H100 80GB HBM3"}
    path.write_text(json.dumps({"deviceProperties": [device], "traceEvents": events[::-1]}))
    return path


def names_of(path, model, setting=None):
    table = timings.read(path).sort_values("start_s").reset_index(drop=True)
    shapes = Shapes(model)
    found, _ = with_anchors(table, shapes, assign(table, shapes, ordered=True), setting)
    return [each.operator for each in found]


def test_a_cuda_graph_is_explained_by_the_order_of_its_kernels(tmp_path):
    model = wb.model("llama-3-8b")
    ran = 2 * [*model.n_layers * LAYER, *HEAD]
    path = trace(tmp_path / "graph.json", ran)
    assert names_of(path, model) == [operator for *_, operator in ran]
    ds = wb.explain(path, model=model, step=(8, 1, 1024))
    cell = ds.sel(operator="gate_up_proj", phase="decode", batch_size=8, seq_len=1024)
    assert cell.measured_time.item() == pytest.approx(75e-6)
    assert cell.measured_calls == 64
    assert cell.performance.item() == pytest.approx(2 * 8 * 4096 * 28672 / 75e-6)
    split = ds.sel(operator="o_proj", phase="decode", batch_size=8, seq_len=1024)
    assert (split.measured_time.item(), split.kernels) == (pytest.approx(16e-6), 128)
    elementwise = ds.sel(operator="elementwise", phase="decode", batch_size=8, seq_len=1024)
    assert elementwise.measured_time.item() == pytest.approx((13 * 32 + 3) / 32 * 1e-6)  # of a layer


def test_without_a_step_no_work_is_made_up(tmp_path):
    path = trace(tmp_path / "graph.json", [*32 * LAYER, *HEAD])
    ds = wb.explain(path, model="llama-3-8b")
    assert (*ds.phase.values, *ds.batch_size.values) == ("any", 0)
    assert ds.performance.isnull().all()
    assert ds.time.isnull().all()
    assert tables.explained(ds)["time [ms]"].sum() == pytest.approx(1e-3 * (32 * 186 + 337))
    assert (tables.explained(ds)["waits for"].iloc[:-1] == "unknown").all()


def test_products_of_another_number_are_not_assigned(tmp_path):
    odd = [*LAYER, *4 * [("nvjet_something_else", 9, "")]]  # 8 in a layer, where a model has 4 to 7
    ds = wb.explain(trace(tmp_path / "odd.json", [*32 * odd, *HEAD]), model="llama-3-8b", step=(8, 1, 1024))
    assert set(ds.operator.values) == {"attention", "elementwise"}
    left = tables.unassigned(ds)
    assert "a product without sizes" in set(left.why)
    assert left["share [%]"].sum() == pytest.approx(100 * (1 - ds.attrs["assigned_share"]))


def test_eager_prompts_and_graphs_in_one_trace(tmp_path):
    model = wb.model("llama-3-8b")
    dims = {"qkv_proj": (4096, 6144), "o_proj": (4096, 4096), "gate_up_proj": (4096, 28672), "down_proj": (14336, 4096)}
    prompt = [kernel for kernel in LAYER if kernel[0] not in ("splitKreduce_kernel",)] * 32
    sizes = [
        (i, ("aten::mm", [[512, dims[operator][0]], list(dims[operator])]))
        for i, (*_, operator) in enumerate(prompt)
        if operator in dims
    ]
    ran = [*prompt, *HEAD, *32 * LAYER, *HEAD]
    head = next(i for i, (*_, operator) in enumerate(ran) if operator == "lm_head")
    path = trace(tmp_path / "both.json", ran, [*sizes, (head, ("aten::mm", [[1, 4096], [4096, 128256]]))])
    assert names_of(path, model) == [operator for *_, operator in ran]
    ds = wb.explain(path, model=model, step=(8, 1, 1024))
    assert (
        ds.measured_calls.sel(operator="down_proj", phase="any", batch_size=512).sum() == 32
    )  # whose prompt, no one says
    assert ds.measured_calls.sel(operator="down_proj", phase="decode", batch_size=8, seq_len=1024).sum() == 32


NSYS = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name\n"


def summary(path, *, shared=False):
    """A summary of nsys of three decoding steps."""
    lines = {}
    for name, us, _ in [*32 * LAYER, *HEAD]:
        name = name if shared else {"nvjet_tst_64x8_64x16_4x1_v_bz_TNT": f"{name}_{us}"}.get(name, name)
        time, count = lines.get(name, (0, 0))
        lines[name] = (time + 3000 * us, count + 3)
    rows = [f"1,{time},{count},{time / count},1,1,1,0,{name}\n" for name, (time, count) in lines.items()]
    path.write_text(NSYS + "".join(rows))
    return path


def test_a_summary_of_nsys_is_explained_by_number_and_time(tmp_path):
    ds = wb.explain(summary(tmp_path / "s.csv"), "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    assert ds.attrs["assigned_share"] > 0.98
    times = ds.measured_time.sel(phase="decode", batch_size=8, seq_len=1024).squeeze()
    expected = {"qkv_proj": 20, "o_proj": 16, "gate_up_proj": 75, "down_proj": 40, "lm_head": 330, "attention": 22}
    for operator, us in expected.items():
        assert times.sel(operator=operator) == pytest.approx(1e-6 * us)


def test_a_kernel_of_two_products_and_a_missing_step_are_said(tmp_path):
    ds = wb.explain(summary(tmp_path / "s.csv", shared=True), "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    why = tables.unassigned(ds).set_index("kernel").why
    assert why["nvjet_tst_64x8_64x16_4x1_v_bz_TNT"] == "a product that ran 192 times, where a layer's ran 96"
    ds = wb.explain(summary(tmp_path / "s.csv"), "h100-sxm", "llama-3-8b")
    assert any("which one is unknown without step=" in each for each in tables.unassigned(ds).why)


NCU = (
    '"ID","Process ID","Kernel Name","Block Size","Grid Size","CC","gpu__time_duration.sum","dram__bytes.sum"\n'
    '"","","","","","","us","Mbyte"\n'
)


def report(path, layers):
    rows = [
        f'"{i}","1","{name}","(1, 1, 1)","(1, 1, 1)","9.0","{us}","{2 * us}"\n'
        for i, (name, us, _) in enumerate([*layers * LAYER, *HEAD])
    ]
    path.write_text(NCU + "".join(rows))
    return path


def test_counted_bytes_make_a_measured_intensity(tmp_path):
    ds = wb.explain(report(tmp_path / "r.csv", 32), "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    cell = ds.sel(operator="gate_up_proj", phase="decode", batch_size=8, seq_len=1024)
    assert cell.measured_bytes.item() == pytest.approx(150e6)
    assert cell.measured_intensity.item() == pytest.approx(2 * 8 * 4096 * 28672 / 150e6)
    assert cell.intensity != cell.measured_intensity
    row = tables.explained(ds).set_index("operator").loc["gate_up_proj"]
    assert row["GB/s"] == pytest.approx(2000)  # 2 MB a microsecond


def test_gb_per_second_and_the_share_of_the_roof_have_the_same_bytes(tmp_path):
    ds = wb.explain(report(tmp_path / "r.csv", 32), "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    table = tables.explained(ds).iloc[:-1]
    assert set(table["bytes"]) == {"counted"}
    assert table["of the roof [%]"].to_numpy() == pytest.approx(100 * table["GB/s"] / 3350)  # memory-bound, all
    half = ds.assign(measured_bytes=ds.measured_bytes.where(ds.operator == "o_proj"))
    said = tables.explained(half).set_index("operator")["bytes"]
    assert (said["o_proj"], said["qkv_proj"]) == ("counted", "model")


def one_layer(path, kernels, bytes_of=None):
    """A report of ncu of these kernels, which read 2 MB a microsecond, or so many bytes by operator."""
    rows = [
        f'"{i}","1","{name}","(1, 1, 1)","(1, 1, 1)","9.0","{us}","{(bytes_of or {}).get(operator, 2e6 * us) / 1e6}"\n'
        for i, (name, us, operator) in enumerate(kernels)
    ]
    path.write_text(NCU + "".join(rows))
    return path


@pytest.mark.parametrize("kernels", [LAYER, [*LAYER, *HEAD], [*LAYER, *LAYER[:4]], [*LAYER[6:], *LAYER]])
def test_a_report_of_one_layer_is_explained_by_its_order(tmp_path, kernels):
    table = timings.read(one_layer(tmp_path / "one.csv", kernels))
    shapes = Shapes(wb.model("llama-3-8b"))
    found, _ = with_anchors(table, shapes, assign(table, shapes, ordered=True), None)
    assert [each.operator for each in found] == [operator for *_, operator in kernels]


def test_products_alone_are_told_by_the_bytes_that_were_counted(tmp_path):
    model = {"qkv_proj": 50.3e6, "o_proj": 33.6e6, "gate_up_proj": 235e6, "down_proj": 117.5e6}
    products = [kernel for kernel in LAYER if kernel[2] in model and not kernel[0].startswith("splitK")]
    path = one_layer(tmp_path / "gemms.csv", products, model)
    ds = wb.explain(path, "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    assert ds.attrs["assigned_share"] == 1
    assert ds.measured_calls.sum(
        ["gpu", "model", "phase", "batch_size", "seq_len"]
    ).to_series().to_dict() == dict.fromkeys(model, 1.0)
    with pytest.raises(ValueError, match="no kernel could be assigned to llama-3-8b: a product without sizes"):
        wb.explain(path, "h100-sxm", "llama-3-8b")  # without the step, bytes say nothing


def test_of_part_of_a_layer_elementwise_kernels_have_no_share_of_the_roof(tmp_path):
    ds = wb.explain(trace(tmp_path / "part.json", LAYER[1:8]), model="llama-3-8b", step=(8, 1, 1024))
    row = tables.explained(ds).set_index("operator").loc["elementwise"]
    assert np.isnan(row["of the roof [%]"])
    assert any("part of a layer was captured" in note for note in notes(ds))


# What a reader has to know --------------------------------------------------------------------------------------


def notes(ds):
    return json.loads(ds.attrs["notes"])


def test_what_is_faster_than_its_roof_is_flagged_with_the_likely_reason(tmp_path):
    fast = [(name, us / 4, operator) for name, us, operator in LAYER]
    path = trace(tmp_path / "fast.json", [*32 * fast, *HEAD])
    ds = wb.explain(path, model="llama-3-8b", step=(8, 1, 1024))
    assert any("qkv_proj decode 301 %" in note and "another GPU, format, model or step" in note for note in notes(ds))
    table = tables.explained(ds).set_index("operator")
    assert table["waits for"]["qkv_proj"] == "faster than the roof"
    assert table["waits for"]["lm_head"] == "memory"
    counted = wb.explain(report(tmp_path / "r.csv", 32).rename(tmp_path / "r2.csv"), "h100-sxm", "llama-3-70b",
                         step=(8, 1, 1024))  # fmt: skip
    assert any("fewer bytes were counted than the model has" in note for note in notes(counted))
    small = wb.explain(path, model="llama-3-8b", step=(8, 1, 1024), tp=8)
    assert not any("301 %" in note for note in notes(small))
    sure = wb.explain(trace(tmp_path / "graph.json", [*32 * LAYER, *HEAD]), model="llama-3-8b", step=(8, 1, 1024))
    assert notes(sure) == []


def test_a_model_of_another_depth_is_told(tmp_path):
    path = trace(tmp_path / "graph.json", 2 * [*24 * LAYER, *HEAD])
    said = "24 attention calls a pass, where llama-3-8b has 32 layers with attention: a model of another depth"
    assert any(said in note for note in notes(wb.explain(path, model="llama-3-8b", step=(8, 1, 1024))))


def test_rates_that_are_missing_say_what_would_give_them(tmp_path):
    path = trace(tmp_path / "graph.json", [*32 * LAYER, *HEAD])
    assert any("say no sizes, give step=(sequences" in note for note in notes(wb.explain(path, model="llama-3-8b")))
    done = CliRunner().invoke(app, ["explain", str(path), "--model", "llama-3-8b"])
    assert "say no sizes, give --step SEQUENCES,NEW_TOKENS,CONTEXT" in done.output


def test_a_cpu_is_told_from_the_gpu_that_it_is_compared_with(tmp_path):
    ds = wb.explain(TRACES / "fused-sdpa.json.gz", "h100-sxm", tiny(tmp_path, 2))
    assert any(each.startswith("it ran on a CPU") for each in json.loads(ds.attrs["ambiguous"]))


def test_elementwise_kernels_of_a_summary_are_those_of_its_layers(tmp_path):
    ds = wb.explain(summary(tmp_path / "s.csv"), "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    cell = ds.sel(operator="elementwise", phase="decode", batch_size=8, seq_len=1024)
    grid = wb.roofline_grid("h100-sxm", "llama-3-8b", "elementwise", phase="decode", batch_size=8, seq_len=1024,
                            weight_dtype="bf16", activation_dtype="bf16", kv_dtype="bf16")  # fmt: skip
    assert (cell.measured_calls.item(), cell.bytes.item()) == (96, grid.bytes.item())


# Experts one by one, all-reduces, and kernels that finish attention -----------------------------------------------


def test_experts_that_run_one_by_one_are_one_call_and_no_shared_expert():
    """As in transformers: gate, up and down of every expert that has tokens, then the shared one of the same sizes."""
    model = wb.model("deepseek-v3")
    tokens, own = 3, model.moe
    rows = [1] * (tokens * own.experts_per_token - tokens) + [tokens]  # one expert has all tokens
    expert = [(own.intermediate_size, model.hidden_size)] * 2 + [(model.hidden_size, own.intermediate_size)]
    router = [(tokens, own.n_experts, model.hidden_size)]
    ran = router + [(m, n, k) for m in [*rows, tokens] for n, k in expert]
    table = pd.DataFrame([{"operator_class": "gemm", "name": "aten::mm", "m": m, "n": n, "k": k} for m, n, k in ran])
    found, _ = assign(table, Shapes(model), ordered=True)
    calls = [each.operator for each in found if not each.tail]
    assert calls == ["router", "moe_gate_up_proj", "moe_down_proj", "shared_gate_up_proj", "shared_down_proj"]


def reduced(name):
    """Layers with an all-reduce after attention and after the MLP."""
    return [part for kernel in LAYER for part in ([kernel, (name, 10, "all_reduce")] if kernel[1] in (2, 40) and
            kernel[2] in ("o_proj", "down_proj") else [kernel])]  # fmt: skip


def test_gpus_that_share_a_model_are_counted_or_asked_for(tmp_path):
    custom = reduced("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 4>(vllm::RankData*)")
    ds = wb.explain(trace(tmp_path / "a.json", [*32 * custom, *HEAD]), model="llama-3-8b", step=(8, 1, 1024))
    assert ds.flops.sel(operator="o_proj").max() == 2 * 8 * 1024 * 4096  # of 4 GPUs
    assert any("tp=4" in note for note in notes(ds))
    nccl = trace(tmp_path / "b.json", [*32 * reduced("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(x)"), *HEAD])
    ds = wb.explain(nccl, model="llama-3-8b", step=(8, 1, 1024))
    assert ds.flops.isnull().all()  # of how many, no one says
    assert any(note.endswith("give tp=") for note in notes(ds))
    assert wb.explain(nccl, model="llama-3-8b", step=(8, 1, 1024), tp=2).flops.notnull().any()


@pytest.mark.parametrize("finish", [
    "vllm::paged_attention_v2_reduce_kernel<unsigned short, 128>", "flash_fwd_splitkv_combine_kernel",
    "flashinfer::PersistentVariableLengthMergeStatesKernel<8u>", "FlashAttnFwdCombine<cute::tuple<>>",
])  # fmt: skip
def test_what_finishes_attention_is_no_call_of_its_own(tmp_path, finish):
    layer = [(finish if "combine" in name else name, us, operator) for name, us, operator in LAYER]
    ds = wb.explain(trace(tmp_path / "a.json", [*32 * layer, *HEAD]), model="llama-3-8b", step=(8, 1, 1024))
    cell = ds.sel(operator="attention", phase="decode", batch_size=8, seq_len=1024)
    assert (cell.measured_calls.item(), cell.kernels.item()) == (32, 64)


# The project's own measurements -----------------------------------------------------------------------------------

MEASURED = sorted(path.stem for path in (ROOT / "workbench" / "data" / "measured").iterdir())


@pytest.mark.parametrize("name", MEASURED)
def test_our_own_measurements_are_explained(name):
    ds = wb.explain(name)
    assert ds.attrs["assigned_share"] > 0.95
    assert (ds.ideal_time / ds.measured_time).max() < 1  # operands in memory: none beats its roof


def test_names_and_sizes_agree():
    """The files name what was measured; where several operators have the same sizes the name decides."""
    ds = wb.explain("llama-7b-unfused-h100")
    assert list(ds.operator.values) == ["q_proj", "qk", "pv", "gate_proj", "down_proj"]
    assert json.loads(ds.attrs["ambiguous"]) == [
        "gate_proj: the sizes of up_proj, too", "q_proj: the sizes of k_proj v_proj o_proj, too",
    ]  # fmt: skip
    cell = ds.sel(operator="down_proj", phase="any", batch_size=4)
    assert cell.measured_time.max() == pytest.approx(3.5296e-05)


def test_bf16_kernels_of_an_h100_are_predicted_within_a_tenth():
    table = tables.explained(wb.explain("today-kernels-h100", model="llama-3-8b", engine="pytorch"))
    products = table[(table.dtype == "bf16") & table.operator.str.contains("proj|head")]
    assert len(products) == 5
    assert products["predicted / measured"].between(0.9, 1.1).all()
    assert (products["of the roof [%]"] > 60).all()
    prompt = table[(table.operator == "attention") & (table.phase == "prefill")].iloc[0]
    assert prompt["waits for"] == "its own kernel"  # PyTorch's FlashAttention 2, half as fast as the law's


def test_whole_passes_are_the_sum_of_their_operators():
    ds = wb.explain("forward-h100", engine="pytorch").sel(operator="forward", framework="CUDA graph")
    cell = ds.sel(model="llama-3-8b", phase="decode", batch_size=8, seq_len=2048)
    formats = {f"{role}_dtype": "bf16" for role in ("weight", "activation", "kv")}
    grid = wb.roofline_grid("h100-sxm", "llama-3-8b", phase="decode", batch_size=8, seq_len=2048,
                            time_model="kernel", engine="pytorch", **formats)  # fmt: skip
    one = wb.forward_pass(grid)
    assert cell.flops.item() == pytest.approx(one.flops.item())
    assert cell.time.item() == pytest.approx(one.time.item(), rel=1e-3)


# On the chart -----------------------------------------------------------------------------------------------------


def test_measured_points_are_filled_and_predicted_ones_open(tmp_path):
    ds = wb.explain(report(tmp_path / "r.csv", 32), "h100-sxm", "llama-3-8b", step=(8, 1, 1024), l2_bandwidth=5.5e12)
    ds = ds.assign(measured_intensity=ds.measured_intensity.where(ds.operator == "o_proj"))
    figure, ax = plt.subplots()
    plots.roofline(ax=ax, measured=ds)
    drawn = [dots for dots in ax.collections if len(dots.get_offsets())]
    filled = [dots for dots in drawn if len(dots.get_facecolors())]
    opened = [dots for dots in drawn if not len(dots.get_facecolors())]
    measured = {tuple(np.round(np.log(dots.get_offsets()[0]), 6)) for dots in filled}
    predicted = {tuple(np.round(np.log(dots.get_offsets()[0]), 6)) for dots in opened}
    cells = ds.sel(phase="decode", batch_size=8, seq_len=1024).squeeze()
    x = cells.measured_intensity.fillna(cells.intensity)
    wanted = zip(np.log(x.values), np.log(cells.performance.values), strict=True)
    assert measured == {tuple(np.round(point, 6)) for point in wanted}
    wanted = zip(np.log(cells.intensity.values), np.log((cells.flops / cells.time).values), strict=True)
    assert predicted == {tuple(np.round(point, 6)) for point in wanted}
    black = [dots.get_label() for dots in filled if tuple(dots.get_edgecolors()[0]) == (0, 0, 0, 1)]
    assert black == ["o_proj"]  # whose bytes were counted
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"measured, bytes of the model", "measured, bytes counted", "predicted", "L2 5,500GB/s"} <= {*labels}
    plt.close(figure)


def test_without_counted_bytes_and_l2_neither_is_on_the_chart(tmp_path):
    path = trace(tmp_path / "graph.json", [*32 * LAYER, *HEAD])
    grid = wb.roofline_grid("h100-sxm", "llama-3-8b", "qkv_proj")
    figure, ax = plt.subplots()
    plots.roofline(grid, ax, measured=wb.explain(path, model="llama-3-8b", step=(8, 1, 1024)))
    labels = " ".join(text.get_text() for text in ax.get_legend().get_texts())
    assert "counted" not in labels
    assert "L2" not in labels
    assert "qkv_proj prefill" in labels  # the grid's own
    plt.close(figure)


# Bad input, and the command line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "message"), [
    ({"model": "llama-3-8b", "step": (8, 1)}, r"step = \(8, 1\): expected sequences, new tokens and context"),
    ({"model": "llama-3-8b", "step": (8, 4, 2)}, "4 new tokens are more than the context"),
    ({"model": "llama-3-8b", "step": (8, 0, 2)}, "new tokens of step = 0: allowed are whole numbers from 1"),
    ({"model": "llama-3-8c"}, "unknown model 'llama-3-8c'. Did you mean 'llama-3-8b'"),
    ({"model": "llama-3-8b", "gpu": "h10x"}, "unknown GPU 'h10x'. Did you mean 'h100-sxm'"),
    ({"model": "llama-3-8b", "tp": 5}, "tp = 5 does not divide n_heads = 32 of llama-3-8b"),
    ({"model": "llama-3-8b", "time_model": "real"}, "unknown time_model 'real'"),
    ({"model": "llama-3-8b", "l2_bandwidth": -1.0}, "l2_bandwidth = -1"),
    ({}, "model is missing: no kernel's name says which it is"),
])  # fmt: skip
def test_what_cannot_be_explained_is_refused_in_one_line(tmp_path, arguments, message):
    path = trace(tmp_path / "graph.json", [*32 * LAYER, *HEAD])
    with pytest.raises(ValueError, match=message) as error:
        wb.explain(path, **arguments)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 240


def test_a_table_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="explain: timings"):
        wb.explain([1.0])
    with pytest.raises(ValueError, match="timings has no 'source': expected a table of timings.read, it has time_s"):
        wb.explain(pd.DataFrame({"time_s": [1.0]}))
    with pytest.raises(ValueError, match="gpu is missing: it ran on a CPU, which has no roof here: give gpu="):
        wb.explain(TRACES / "fused-sdpa.json.gz", model=tiny(tmp_path, 2))
    with pytest.raises(ValueError, match="no kernel could be assigned to llama-7b: no product of llama-7b has n = "):
        wb.explain(TRACES / "fused-sdpa.json.gz", "h100-sxm", "llama-7b")
    with pytest.raises(ValueError, match="ds has no attribute 'unassigned'"):
        tables.unassigned(xr.Dataset())
    with pytest.raises(ValueError, match="roofline of nothing"):
        plots.roofline()


def test_the_command_prints_the_table_and_what_is_left(tmp_path):
    path = trace(tmp_path / "graph.json", [*32 * LAYER, *HEAD])
    chart, table = tmp_path / "chart.png", tmp_path / "table.csv"
    done = CliRunner().invoke(app, [
        "explain", str(path), "--model", "llama-3-8b", "--step", "8,1,1024", "--plot", str(chart), "-o", str(table)
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    for told in ("gate_up_proj", "99.9 % of 6.289 ms assigned (llama-3-8b)", "argmax_kernel", "sampling, no operator"):
        assert told in done.output
    assert chart.stat().st_size > 10_000
    assert list(pd.read_csv(table).operator)[:2] == ["qkv_proj", "attention"]


@pytest.mark.parametrize(("options", "message"), [
    (["--step", "8,1"], "--step '8,1': expected SEQUENCES,NEW_TOKENS,CONTEXT"),
    (["--plot", "chart.txt"], "unknown file suffix of --plot '.txt'"),
    (["-o", "table.txt"], "unknown file suffix of --output '.txt'"),
    (["--step", "0,1,8"], "--step '0,1,8': expected SEQUENCES,NEW_TOKENS,CONTEXT, such as 8,1,1024, each a whole"),
    (["--step", "1:3"], "--step '1:3': expected SEQUENCES"),
    (["--step", ""], "--step '': expected SEQUENCES"),
    (["--step", "8,4,2"], "--step '8,4,2': 4 new tokens, of a context of 2: allowed are 1 to 2"),
    (["--step", "8,1,8193"], "context of --step = 8,193: llama-3-8b takes 1 to 8,192"),
    (["--time-model", "real"], "unknown --time-model 'real'"),
    (["--tp", "5"], "--tp 5 does not divide n_heads = 32 of llama-3-8b"),
    (["--l2-gbs", "5"], "--l2-gbs is for the chart: give --plot, too"),
    (["--l2-gbs", "-5", "--plot", "chart.png"], "--l2-gbs -5: allowed are 0.001 to 1e9 GB/s"),
])  # fmt: skip
def test_the_command_says_what_is_wrong(tmp_path, options, message):
    path = trace(tmp_path / "graph.json", [*LAYER, *HEAD])
    done = CliRunner().invoke(app, ["explain", str(path), "--model", "llama-3-8b", *options])
    assert done.exit_code == 1
    assert message in done.output


def test_nothing_is_written_where_one_target_cannot_be(tmp_path):
    path, table = trace(tmp_path / "graph.json", [*LAYER, *HEAD]), tmp_path / "table.csv"
    chart = tmp_path / "none" / "chart.png"
    done = CliRunner().invoke(
        app, ["explain", str(path), "--model", "llama-3-8b", "-o", str(table), "--plot", str(chart)]
    )
    assert done.exit_code == 1
    assert "there is no folder" in done.output
    assert not table.exists()


def test_the_command_draws_the_roof_of_the_l2_cache(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("workbench.cli.explained._draw", lambda ds, path: drawn.append(ds.l2_bandwidth.item()))
    path = trace(tmp_path / "graph.json", [*LAYER, *HEAD])
    options = ["--model", "llama-3-8b", "--step", "8,1,64", "--plot", str(tmp_path / "c.svg"), "--l2-gbs", "5500"]
    assert CliRunner().invoke(app, ["explain", str(path), *options]).exit_code == 0
    assert drawn == [5.5e12]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("load.csv", "sent_s,first_token_s,last_token_s,prompt_tokens,output_tokens\n0,1,2,10,10\n",
     "this is a load test (csv): workbench loadtest FILE"),
    ("ab.csv", "a,b\n1,2\n", "no kernel timings, it starts with 'a,b': expected a trace of PyTorch's profiler"),
    ("empty.csv", "", "no kernel timings, its first line is empty: expected a trace"),
    ("none.csv", None, "none.csv: no such file"),
])  # fmt: skip
def test_files_of_other_kinds_are_told(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    done = CliRunner().invoke(app, ["explain", name])
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output) <= 201


def test_a_trace_of_a_cpu_asks_for_a_gpu():
    done = CliRunner().invoke(app, ["explain", str(TRACES / "fused-sdpa.json.gz"), "--model", "llama-7b"])
    assert "it ran on a CPU, which has no roof here: give --gpu, the GPU to compare it with" in done.output


def test_a_legend_has_no_marker_without_points(tmp_path):
    figure, ax = plt.subplots()
    ds = wb.explain(report(tmp_path / "r.csv", 32), "h100-sxm", "llama-3-8b", step=(8, 1, 1024))
    plots.roofline(ax=ax, measured=ds)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "measured, bytes of the model" not in labels
    assert "measured, bytes counted" in labels
    plt.close(figure)


def test_kernels_of_several_models_are_a_table_of_each():
    ds = wb.explain(ROOT / "workbench" / "data" / "measured" / "today-kernels-h100.csv", gpu="h100-sxm")
    assert ds.sizes["model"] > 1
    rows = tables.explained(ds)
    seen = [name for name in ds.model.values if ds.measured_time.sel(model=name).notnull().any()]
    assert len(seen) > 1
    assert set(rows.model) - {""} == set(seen)
    assert rows["share [%]"].sum() == pytest.approx(100, rel=1e-6)
