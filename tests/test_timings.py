"""Readers of kernel timings: small files of every format typed by hand, and broken ones."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from workbench import calibration, cli, kernels, measure, timings
from workbench.timings.kernel_names import guess_kernel

OWN = """\
# machine: a desk, NVIDIA RTX A6000
# date: 2026-11-20
source,gpu,framework,operator_class,name,dtype,m,n,k,batch_size,seq_len_q,seq_len_kv,n_heads,n_kv_heads,head_dim,time_s,p10_s,runs,note
measure,NVIDIA RTX A6000,torch 2.13,gemm,llama-7b:qkv_proj,fp16,16,12288,4096,,,,,,,1.5e-4,1.4e-4,20,
measure,NVIDIA RTX A6000,torch 2.13,attention_decode,llama-7b:attention,fp16,,,,4,1,1024,32,32,128,5e-5,4e-5,20,
measure,NVIDIA RTX A6000,torch 2.13,gemm,llama-7b:lm_head,fp16,524288,32000,4096,,,,,,,,,,out of memory
"""

VIDUR_OPERATIONS = ["emb", "attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "mlp_act", "add"]
VIDUR = (
    ",".join(f"time_stats.{op}.{stat}" for op in VIDUR_OPERATIONS for stat in ("min", "median"))
    + ",n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,num_tensor_parallel_workers\n"
    + ",".join(f"0.001,0.0{i}" for i in range(10, 17)) + ",32,8,4096,14336,128256,True,64,1\n"
    + ",".join(f"0.001,0.0{i}" for i in range(20, 27)) + ",32,8,4096,14336,128256,True,64,2\n"
)  # fmt: skip

GEMM = """\
framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency
VLLM,0.20.0,NVIDIA B200,gemm,vllm_default,bfloat16,9,3584,32,0.002
VLLM,0.20.0,NVIDIA B200,gemm,vllm_default,nvfp4,4353,1024,8192,0.0375
"""
ATTENTION = """\
framework,version,device,op_name,kernel_source,batch_size,isl,num_heads,num_key_value_heads,head_dim,beam_width,attn_dtype,kv_cache_dtype,step,latency
VLLM,0.20.0,NVIDIA B200,context_attention,vllm_flashinfer,4,12288,40,8,128,1,bfloat16,bfloat16,0,4.0
VLLM,0.20.0,NVIDIA B200,generation_attention,vllm_flash_attn,16,1,12,1,128,1,bfloat16,fp8,8191,0.08
"""

NCU_RAW = """\
my program says hello
==PROF== Connected to process 1234
"ID","Process ID","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC","gpu__time_duration.sum"
"","","","","","","","","","usecond"
"0","1234","ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_tn","1","7","(128, 1, 1)","(64, 8, 1)","0","8.0","1,025.50"
"1","1234","void flash_fwd_splitkv_kernel<cutlass::half_t>(Params)","1","7","(64, 1, 1)","(1, 4, 32)","0","8.0","12.25"
"2","1234","void at::native::vectorized_elementwise_kernel<4, float>","1","7","(128, 1, 1)","(9, 1, 1)","0","8.0","2"
"""
NCU_HEAD = '"ID","Process ID","Kernel Name","Stream","CC","Section Name","Metric Name","Metric Unit","Metric Value"\n'
NCU_DETAILS = (
    NCU_HEAD
    + """\
"0","1","nvjet_hsh_128x256_64x4","7","9.0","Command line profiler metrics","dram__bytes.sum","Mbyte","2,000.00"
"0","1","nvjet_hsh_128x256_64x4","7","9.0","Command line profiler metrics","gpu__time_duration.sum","ns","10,196"
"1","1","copy(float*)","7","9.0","Command line profiler metrics","gpu__time_duration.sum","msecond","2.00"
"""
)


def op(name, dims, types, external):
    args = {"External id": external, "Input Dims": dims, "Input type": types}
    return {"ph": "X", "cat": "cpu_op", "name": name, "ts": 1, "dur": 30, "args": args}


def kernel(name, dur, **args):
    return {"ph": "X", "cat": "kernel", "name": name, "ts": 2, "dur": dur, "args": {"device": 0, **args}}


HALF, BF16 = "c10::Half", "c10::BFloat16"
TRACE = {
    "schemaVersion": 1,
    "deviceProperties": [{"id": 0, "name": "NVIDIA A100-SXM4-80GB"}],
    "traceEvents": [
        op("aten::linear", [[2, 8, 4096], [12288, 4096], []], [BF16, BF16, ""], 1),
        op("aten::mm", [[16, 4096], [4096, 12288]], [BF16, BF16], 2),
        op("aten::addmm", [[512], [8, 256], [256, 512], [], []], [HALF, HALF, HALF, "Scalar", "Scalar"], 3),
        op("aten::bmm", [[64, 1, 128], [64, 128, 900]], [HALF, HALF], 4),
        op("aten::_flash_attention_forward", [[2, 5, 32, 128], [2, 5, 8, 128], [2, 5, 8, 128]], [BF16, BF16, BF16], 5),
        op("aten::_scaled_dot_product_flash_attention", [[2, 32, 1, 128], [2, 8, 900, 128]], [BF16, BF16], 6),
        op("aten::silu", [[16, 11008]], [BF16], 7),
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "args": {"External id": 3, "correlation": 70}},
        kernel("sm80_xmma_gemm_bf16", 20, **{"External id": 2, "correlation": 69}),
        kernel("splitKreduce_kernel", 5, **{"External id": 2, "correlation": 68}),
        kernel("ampere_fp16_gemm", 4, correlation=70),
        kernel("bmm_kernel", 7, **{"External id": 4}),
        kernel("flash_fwd_kernel", 9, **{"External id": 5}),
        kernel("flash_fwd_splitkv_kernel", 3.5, **{"External id": 6}),
        kernel("vectorized_elementwise_kernel<silu, c10::BFloat16>", 2, **{"External id": 7}),
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "dur": 100, "args": {}},
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python"}},
    ],
}


def save(tmp_path, text, name="timings.csv"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def known(row):
    """The fields of a row that say something."""
    return {name: value for name, value in row.items() if value != "" and value == value}


# Formats ----------------------------------------------------------------------------------------------------------


def test_own_csv_keeps_its_header_and_reports_what_was_not_measured(tmp_path):
    table = timings.read(save(tmp_path, OWN))
    assert list(table.columns) == list(measure.TIMING_COLUMNS)
    assert table.attrs["header"] == ["machine: a desk, NVIDIA RTX A6000", "date: 2026-11-20"]
    assert table.attrs["problems"] == ["line 6: not measured: out of memory"]
    assert known(table.loc[0]) == {
        "source": "measure", "gpu": "NVIDIA RTX A6000", "framework": "torch 2.13", "operator_class": "gemm",
        "name": "llama-7b:qkv_proj", "dtype": "fp16", "m": 16, "n": 12288, "k": 4096, "time_s": 1.5e-4,
    }  # fmt: skip
    assert table.seq_len_kv[1] == 1024


def test_sizes_that_a_kernel_does_not_have_may_be_zero(tmp_path):
    text = OWN.replace("fp16,,,,4,1,1024", "fp16,0,0,0,4,1,1024").replace(
        "4096,,,,,,,1.5e-4", "4096,0,0,0,0,0,0,1.5e-4"
    )
    pd.testing.assert_frame_equal(timings.read(save(tmp_path, text)), timings.read(save(tmp_path, OWN)))
    bad = OWN.replace("fp16,16,12288,4096", "fp16,-1,12288,4096")
    assert timings.read(save(tmp_path, bad)).attrs["problems"][1] == "line 4: m = '-1': expected a whole number above 0"


def test_vidur_shapes_follow_its_parallel_layers(tmp_path):
    path = save(tmp_path, VIDUR, "compute/a100/meta-llama/Meta-Llama-3-8B/mlp.csv")
    table = timings.read(path)
    table = table.assign(time_s=table.time_s.round(9)).set_index(["name", "time_s"])
    assert set(table.gpu) == {"a100"}
    assert (table.m == 64).all()
    sizes = table[["operator_class", "n", "k"]].fillna(0).T.to_dict("list")
    model = "Meta-Llama-3-8B"
    assert sizes == {  # (32 + 2 x 8) heads of 128; 2 x 14336; halves on two workers
        (f"{model}:emb", 1e-5): ["other", 4096, 0], (f"{model}:emb", 2e-5): ["other", 4096, 0],
        (f"{model}:attn_pre_proj", 1.1e-5): ["gemm", 6144, 4096],
        (f"{model}:attn_pre_proj", 2.1e-5): ["gemm", 3072, 4096],
        (f"{model}:attn_post_proj", 1.2e-5): ["gemm", 4096, 4096],
        (f"{model}:attn_post_proj", 2.2e-5): ["gemm", 4096, 2048],
        (f"{model}:mlp_up_proj", 1.3e-5): ["gemm", 28672, 4096],
        (f"{model}:mlp_up_proj", 2.3e-5): ["gemm", 14336, 4096],
        (f"{model}:mlp_down_proj", 1.4e-5): ["gemm", 4096, 14336],
        (f"{model}:mlp_down_proj", 2.4e-5): ["gemm", 4096, 7168],
        (f"{model}:mlp_act", 1.5e-5): ["elementwise", 14336, 0],
        (f"{model}:mlp_act", 2.5e-5): ["elementwise", 7168, 0],
        (f"{model}:add", 1.6e-5): ["elementwise", 4096, 0], (f"{model}:add", 2.6e-5): ["elementwise", 4096, 0],
    }  # fmt: skip


def test_a_bad_vidur_cell_costs_its_operation_only_and_a_bad_size_its_line(tmp_path):
    text = VIDUR.replace("0.001,0.010", "0.001,", 1).replace("0.001,0.016", "0.001,-3", 1).replace("64,2\n", "none,2\n")
    table = timings.read(save(tmp_path, text))
    assert len(table) == len(VIDUR_OPERATIONS) - 2
    assert table.attrs["problems"] == [
        "line 3: num_tokens = 'none': expected a whole number above 0",
        "time_stats.emb.median: empty in 1 rows",
        "line 2: time_stats.add.median = '-3': expected a time above 0",
    ]


@pytest.mark.parametrize(
    ("size", "to"), [("64,2\n", "64,3\n"), (",14336,128256,True,64,2", f",{2**53 - 2},128256,True,64,1")]
)
def test_a_vidur_layer_that_its_workers_cannot_share_costs_its_line(tmp_path, size, to):
    path = save(tmp_path, VIDUR.replace(size, to))
    table = timings.read(path)
    workers = to.rstrip().rpartition(",")[2]
    assert table.attrs["problems"] == [
        f"line 3: num_tensor_parallel_workers = '{workers}': expected a divisor of every layer's size"
    ]
    timings.write(table, path.with_suffix(".out.csv"))


def test_aiconfigurator_gemm(tmp_path):
    table = timings.read(save(tmp_path, GEMM, "gemm_perf.txt"))
    assert known(table.loc[0]) == {
        "source": "aiconfigurator", "gpu": "NVIDIA B200", "framework": "vllm-0.20.0", "operator_class": "gemm",
        "name": "vllm_default", "dtype": "bf16", "m": 9, "n": 3584, "k": 32, "time_s": 2e-6,
    }  # fmt: skip
    assert table.dtype[1] == "nvfp4"


def test_aiconfigurator_attention_counts_new_and_cached_tokens(tmp_path):
    table = timings.read(save(tmp_path, ATTENTION, "context_attention_perf.txt"))
    sizes = {"batch_size": 4, "seq_len_q": 12288, "seq_len_kv": 12288, "n_heads": 40, "n_kv_heads": 8, "head_dim": 128}
    assert known(table.loc[0]).items() >= {**sizes, "operator_class": "attention_prefill", "time_s": 4e-3}.items()
    decode = {"operator_class": "attention_decode", "seq_len_q": 1, "seq_len_kv": 8192, "dtype": "bf16/fp8"}
    assert known(table.loc[1]).items() >= decode.items()


@pytest.mark.parametrize("text", [GEMM, ATTENTION])
def test_aiconfigurator_parquet_is_the_same_table(tmp_path, text):
    path = save(tmp_path, text)
    pd.read_csv(path).to_parquet(tmp_path / "perf.parquet")
    pd.testing.assert_frame_equal(timings.read(tmp_path / "perf.parquet"), timings.read(path))


def test_parquet_problems_are_counted_in_rows(tmp_path):
    frame = pd.read_csv(save(tmp_path, GEMM)).assign(latency=[0.5, np.nan])
    frame.to_parquet(tmp_path / "gemm.parquet")
    table = timings.read(tmp_path / "gemm.parquet")
    assert table.attrs["problems"] == ["row 2: latency = nan: expected a time above 0"]


def test_ncu_raw_page(tmp_path):
    table = timings.read(save(tmp_path, NCU_RAW))
    assert table.attrs["format"] == "ncu"
    assert table.time_s.tolist() == pytest.approx([1025.5e-6, 12.25e-6, 2e-6], rel=1e-12)
    assert table.operator_class.tolist() == ["gemm", "attention_decode", "elementwise"]
    assert table.dtype.tolist() == ["bf16", "fp16", "fp32"]
    assert set(table.gpu) == {"compute capability 8.0"}
    assert table.m.isna().all()
    assert set(timings.read(save(tmp_path, NCU_RAW), gpu="a100-80gb-sxm").gpu) == {"a100-80gb-sxm"}


def test_ncu_details_page_has_a_unit_a_row(tmp_path):
    table = timings.read(save(tmp_path, NCU_DETAILS))
    assert table.time_s.tolist() == pytest.approx([10196e-9, 2e-3], rel=1e-12)
    assert table.operator_class.tolist() == ["gemm", "other"]


def test_ncu_basic_set_calls_it_duration(tmp_path):
    text = NCU_HEAD + '"0","1","k","7","9.0","GPU Speed Of Light Throughput","Duration","us","3.5"\n'
    assert timings.read(save(tmp_path, text)).time_s.tolist() == [3.5e-6]


def test_trace_adds_the_kernels_of_one_call_and_takes_its_sizes(tmp_path):
    table = timings.read(save(tmp_path, json.dumps(TRACE), "trace.json"))
    assert table.attrs["problems"] == []
    assert set(table.gpu) == {"NVIDIA A100-SXM4-80GB"}
    rows = [
        {k: v for k, v in known(row).items() if k not in ("source", "gpu", "framework", "kernel", "start_s")}
        for _, row in table.iterrows()
    ]
    head = {"n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "batch_size": 2, "dtype": "bf16"}
    assert rows == [
        {"operator_class": "gemm", "name": "aten::mm", "dtype": "bf16", "m": 16, "n": 12288, "k": 4096,
         "time_s": pytest.approx(25e-6)},
        {"operator_class": "gemm", "name": "aten::addmm", "dtype": "fp16", "m": 8, "n": 512, "k": 256, "time_s": 4e-6},
        {"operator_class": "other", "name": "aten::bmm", "dtype": "fp16", "m": 1, "n": 900, "k": 128,
         "batch_size": 64, "time_s": 7e-6},
        {"operator_class": "attention_prefill", "name": "aten::_flash_attention_forward", "seq_len_q": 5,
         "seq_len_kv": 5, "time_s": pytest.approx(9e-6), **head},
        {"operator_class": "attention_decode", "name": "aten::_scaled_dot_product_flash_attention", "seq_len_q": 1,
         "seq_len_kv": 900, "time_s": 3.5e-6, **head},
        {"operator_class": "elementwise", "name": "vectorized_elementwise_kernel<silu, c10::BFloat16>",
         "dtype": "bf16", "time_s": 2e-6},
    ]  # fmt: skip


def test_a_gzipped_trace_and_a_bare_list_of_events(tmp_path):
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps(TRACE["traceEvents"]).encode()))
    assert len(timings.read(path)) == 6


def test_a_kernel_is_of_the_call_that_launched_it(tmp_path):
    events = [
        op("aten::mm", [[1, 2], [2, 3]], [HALF, HALF], 27),
        op("aten::mm", [[4, 5], [5, 6]], [HALF, HALF], 322),
        {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "args": {"External id": 27, "correlation": 100}},
        kernel("gemm", 1, **{"External id": 33, "correlation": 100}),
        kernel("triton_rms_norm", 2, **{"External id": 322, "correlation": 322}),  # of no call, its id is by chance
    ]
    table = timings.read(save(tmp_path, json.dumps({"traceEvents": events})))
    assert table.name.tolist() == ["aten::mm", "triton_rms_norm"]
    assert table.m.fillna(0).tolist() == [1, 0]


@pytest.mark.parametrize(("causal", "kind"), [("True", "attention_prefill"), ("False", "other")])
def test_attention_without_a_causal_mask_is_no_prefill(tmp_path, causal, kind):
    attention = op("aten::_scaled_dot_product_flash_attention", [[1, 32, 64, 128]] * 3, [BF16] * 3, 1)
    attention["args"]["Concrete Inputs"] = ["", "", "", "0.", causal, "False"]
    trace = {"traceEvents": [attention, kernel("attn_fwd.kd", 5, **{"External id": 1})]}
    assert timings.read(save(tmp_path, json.dumps(trace))).operator_class.tolist() == [kind]


def test_trace_problems_name_their_event(tmp_path):
    events = [
        op("aten::mm", [[16, 4096]], [HALF], 1),
        op("aten::mm", [[16, 4096, 3], [4096, 2]], [HALF, HALF], 2),
        kernel("gemm", 3, **{"External id": 1}), kernel("gemm", -1), kernel("gemm", None),
    ]  # fmt: skip
    table = timings.read(save(tmp_path, json.dumps({"traceEvents": events})))
    assert [problem.split(" = ")[0] for problem in table.attrs["problems"]] == [
        "event 0: Input Dims", "event 1: Input Dims", "event 3: dur", "event 4: dur",
    ]  # fmt: skip
    assert (len(table), table.m.isna().all()) == (1, True)


RULES = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
    '"CC","Section Name","Metric Name","Metric Unit","Metric Value","Rule Name","Rule Type","Rule Description",'
    '"Estimated Speedup Type","Estimated Speedup"\n'
)
KERNEL_CELLS = '"0","1","app","127.0.0.1","ampere_bf16_s16816gemm","1","7","(128, 1, 1)","(64, 1, 1)","0","8.0",'


def details(*metrics, cells=KERNEL_CELLS):
    return "".join(f'{cells}"{section}","{name}","{unit}","{value}",\n' for section, name, unit, value in metrics)


LIGHT = "GPU Speed Of Light Throughput"


def test_ncu_rows_may_end_before_the_columns_of_rules(tmp_path):
    rule = (
        KERNEL_CELLS + '"SpeedOfLight","","","","SOLBottleneck","WRN","This kernel is small, it is","global","12.5"\n'
    )
    table = timings.read(save(tmp_path, RULES + details((LIGHT, "Duration", "us", "6.75")) + rule))
    assert table.time_s.tolist() == [pytest.approx(6.75e-6, rel=1e-12)]
    assert (table.operator_class[0], table.dtype[0], table.attrs["problems"]) == ("gemm", "bf16", [])


def test_ncu_counts_bytes_and_tensor_instructions_where_its_sections_have_them(tmp_path):
    """Names as Nsight Compute's details page prints them; a rate times the duration is what moved."""
    text = RULES + details(
        (LIGHT, "Memory Throughput", "%", "61.50"), (LIGHT, "Duration", "us", "10.00"),
        (LIGHT, "Compute (SM) Throughput", "%", "12.25"),
        ("Memory Workload Analysis", "Memory Throughput", "Gbyte/second", "1,200.00"),
    )  # fmt: skip
    table = timings.read(save(tmp_path, text))
    assert table.dram_bytes.tolist() == [pytest.approx(1.2e7)]
    assert (table.memory_percent[0], table.compute_percent[0]) == (61.5, 12.25)
    raw = NCU_RAW.replace(
        'sum"',
        'sum","dram__bytes_read.sum","dram__bytes_write.sum","lts__t_sectors.sum",'
        '"sm__inst_executed_pipe_tensor.sum","sm__ops_path_tensor_src_bf16_dst_fp32.sum"',
    )
    raw = raw.replace('"usecond"', '"usecond","Mbyte","Kbyte","sector","inst",""')
    raw = raw.replace('"1,025.50"', '"1,025.50","3.00","500.00","1,000","2,048","8,388,608"')
    raw = raw.replace('"12.25"', '"12.25","1","n/a","","0","0"').replace('"2"\n', '"2","1","1","1","0","0"\n')
    table = timings.read(save(tmp_path, raw))
    assert table.dram_bytes.tolist() == pytest.approx([3.5e6, 1e6, 1.001e6])
    assert table.l2_bytes.fillna(0).tolist() == [32_000, 0, 32]
    assert table.tensor_instructions.tolist() == [2048, 0, 0]
    assert table.tensor_flops.tolist() == [8388608, 0, 0]
    timings.write(table, tmp_path / "out.csv")
    pd.testing.assert_frame_equal(timings.read(tmp_path / "out.csv"), table, check_dtype=False)


NSYS = """\
Processing [report1.sqlite] with [cuda_gpu_kern_sum.py]...

Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name
80.0,8000000,4,2000000.0,1900000.0,1800000,2400000,1.5,nvjet_tst_128x256_64x4_bf16
20.0,2000000,1000,2000.0,2000.0,1900,2300,10.5,"void at::native::vectorized_elementwise_kernel<4, float>(int)"
"""  # the report's columns: Nsight Systems User Guide, "CUDA GPU Kernel Summary"
NSYS_TRACE = """\
Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (MB),DymSMem (MB),Bytes (MB),\
Throughput (MB/s),SrcMemKd,DstMemKd,Device,Ctx,GreenCtx,Strm,Name
1000,2500,11,64,1,1,128,1,1,90,0.0,0.0,,,,,NVIDIA A100-SXM4-80GB (0),1,,7,ampere_fp16_s16816gemm
4000,900,12,,,,,,,,,,1.5,200.0,Pageable,Device,NVIDIA A100-SXM4-80GB (0),1,,7,[CUDA memcpy Host-to-Device]
6000,1500,13,1,1,1,128,1,1,16,0.0,0.0,,,,,NVIDIA A100-SXM4-80GB (0),1,,7,softmax_kernel
"""


def test_nsys_kernel_summary(tmp_path):
    table = timings.read(save(tmp_path, NSYS))
    assert table.attrs["format"] == "nsys"
    assert table.time_s.tolist() == pytest.approx([2e-3, 2e-6], rel=1e-12)
    assert table.calls.tolist() == [4, 1000]
    assert table.operator_class.tolist() == ["gemm", "elementwise"]
    older = NSYS.replace("Time (%)", "Time(%)").replace("Avg (ns)", "Average (ns)").replace("(ns)", "(us)")
    assert timings.read(save(tmp_path, older)).time_s.tolist() == pytest.approx([2, 2e-3], rel=1e-12)


def test_nsys_trace_of_the_gpu(tmp_path):
    table = timings.read(save(tmp_path, NSYS_TRACE))
    assert table.time_s.tolist() == pytest.approx([2.5e-6, 1.5e-6], rel=1e-12)
    assert table.start_s.tolist() == pytest.approx([0, 5e-6], rel=1e-12)
    assert set(table.gpu) == {"NVIDIA A100-SXM4-80GB"}


@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        ("void vllm::paged_attention_v1_kernel<__nv_bfloat16, __nv_bfloat16, 128, 16, 128, "
         "(vllm::Fp8KVCacheDataType)0, false>(__nv_bfloat16*)", "attention_decode", "bf16"),
        ("kernelIDF16bDF16b", "other", "bf16"),
        ("void cutlass::device_kernel<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<cutlass::bfloat16_t>>>",
         "attention_prefill", "bf16"),
        ("kernel_unified_attention_3d", "attention_decode", ""),
        ("kernel_unified_attention_2d", "attention_prefill", ""),
        ("void fbgemm_gpu::permute_2D_data_kernel<int, float>(int)", "other", "fp32"),
        ("permute_2D_data_kernel", "other", ""),
        ("void cublasLt::cuda::utils::transpose<__half>(int)", "other", "fp16"),
        ("cuda::utils::transpose", "other", ""),
        ("triton_poi_fused__scaled_dot_product_flash_attention_0", "elementwise", ""),
        ("moe::dev::routing::routingRenormalize::routingIndicesBlockKernel<bf16, gemm>", "other", "bf16"),
        ("Cijk_Ailk_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x256x64", "gemm", "bf16"),
        ("Cijk_Alik_Bljk_HHS_BH_MT128x128x32", "gemm", "fp16"), ("fused_moe_kernel", "gemm", ""),
        ("void Marlin<(vllm::ScalarTypeId)1, 256, 1, 8, 8, 4>(int4 const*)", "gemm", ""),
        ("marlin::Marlin<__half, 4>", "gemm", "fp16"), ("ampere_sgemm_128x64_tn", "gemm", "fp32"),
        ("void layer_norm_kernel<c10::Half>", "elementwise", "fp16"),
        ("sm90_xmma_gemm_e4m3bf16_e4m3f32", "gemm", "fp8"),
    ],
)  # fmt: skip
def test_what_kernels_names_say(name, kind, dtype):
    assert guess_kernel(name) == {"name": name, "operator_class": kind, "dtype": dtype}


def test_a_trace_of_2021_and_a_device_that_is_not_listed(tmp_path):
    """PyTorch 1.8 to 1.10: categories Kernel, Operator and Runtime, "external id" and "Input dims" in lower case."""
    events = [
        {"ph": "X", "cat": "Operator", "name": "aten::mm", "ts": 1, "dur": 9,
         "args": {"External id": "5", "Input Dims": [[16, 64], [64, 32]], "Input type": ["float", "float"]}},
        {"ph": "X", "cat": "Kernel", "name": "sgemm", "ts": 3, "dur": 2,
         "args": {"device": 1, "correlation": 7, "external id": 5}},
        {"ph": "X", "cat": "Kernel", "name": "softmax", "ts": 6, "dur": 1, "args": {"device": 1, "correlation": 8}},
    ]  # fmt: skip
    names = [{"id": i, "name": "AMD Instinct MI300X"} for i in (4, 5)]
    table = timings.read(save(tmp_path, json.dumps({"traceEvents": events, "deviceProperties": names})))
    assert set(table.gpu) == {"AMD Instinct MI300X"}
    assert table.m.fillna(0).tolist() == [16, 0]
    assert table.start_s.tolist() == pytest.approx([0, 3e-6])
    assert table.kernel.tolist() == ["sgemm", "softmax"]
    names[1]["name"] = "AMD Instinct MI250X"
    table = timings.read(save(tmp_path, json.dumps({"traceEvents": events, "deviceProperties": names})))
    assert set(table.gpu) == {""}


AICONFIGURATOR_HEAD = "framework,version,device,op_name,kernel_source,"
#: One row each of the other tables, with the columns of ai-dynamo/aiconfigurator's collector/, and what it is.
AICONFIGURATOR_ROWS = {
    "moe": (
        "moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,latency\n"
        "VLLM,0.14.0,NVIDIA H200,moe,vllm_fused_moe,bfloat16,16,4096,1536,8,128,2,4,power_law_1.2,0.25\n",
        {"operator_class": "moe", "m": 16, "n": 1536, "k": 4096, "n_experts": 128, "experts_per_token": 8, "tp": 2,
         "ep": 4, "skew": 1.2, "dtype": "bf16", "time_s": 2.5e-4},
    ),
    "mla": (
        "mla_dtype,kv_cache_dtype,num_heads,batch_size,isl,tp_size,step,latency\n"
        "TRTLLM,1.0.0,NVIDIA H200,generation_mla,default,bfloat16,fp8,32,8,1,4,4095,0.05\n",
        {"operator_class": "mla_decode", "batch_size": 8, "seq_len_q": 1, "seq_len_kv": 4096, "n_heads": 32,
         "dtype": "bf16/fp8", "time_s": 5e-5},
    ),
    "mla without heads": (
        "mla_dtype,kv_cache_dtype,batch_size,isl,tp_size,step,latency\n"
        "TRTLLM,0.20.0,NVIDIA H200,mla_context,default,bfloat16,bfloat16,2,512,4,0,0.5\n",
        {"operator_class": "mla_prefill", "batch_size": 2, "seq_len_q": 512, "seq_len_kv": 512, "n_heads": 32,
         "dtype": "bf16", "time_s": 5e-4},
    ),
    "nccl": (
        "nccl_dtype,num_gpus,message_size,latency\n"
        "TRTLLM,2.26.2,NVIDIA H200,all_gather,NCCL,half,8,1024,0.02\n",
        {"operator_class": "all_gather", "gpus": 8, "message_bytes": 2048, "dtype": "fp16", "time_s": 2e-5},
    ),
    "all-reduce": (
        "allreduce_dtype,num_gpus,message_size,latency\n"
        "SGLang,0.5.0,NVIDIA H200,all_reduce,CUDA_Graph,bfloat16,4,32768,0.01\n",
        {"operator_class": "all_reduce", "gpus": 4, "message_bytes": 65536, "dtype": "bf16", "time_s": 1e-5},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), AICONFIGURATOR_ROWS.values(), ids=AICONFIGURATOR_ROWS)
def test_aiconfigurator_tables_of_experts_latent_attention_and_collectives(tmp_path, text, expected):
    table = timings.read(save(tmp_path, AICONFIGURATOR_HEAD + text))
    row = known(table.loc[0])
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert table.attrs["problems"] == []


def test_aiconfigurator_windows_are_kept(tmp_path):
    text = (
        ATTENTION.replace(",latency", ",window_size,latency")
        .replace(",4.0\n", ",0,4.0\n")
        .replace(",0.08", ",128,0.08")
    )
    table = timings.read(save(tmp_path, text))
    assert table.window.fillna(0).tolist() == [0, 128]
    assert calibration.usable(table.assign(dtype="bf16")).window.fillna(0).tolist() == [0, 128]


def test_calibrating_on_windows_finds_what_made_the_times(tmp_path):
    """Decoding by a card's own law, most of it under a window; read as full attention it is faster than any memory."""
    rng = np.random.default_rng(0)
    pick = {"batch_size": [1, 4, 16, 64], "isl": [1], "step": [1023, 4095, 16383], "window_size": [0, 128, 1024],
            "num_heads": [16, 32, 64], "num_key_value_heads": [4, 8], "head_dim": [64, 128]}  # fmt: skip
    rows = pd.DataFrame({name: rng.choice(values, 300) for name, values in pick.items()})
    seconds = [
        kernels.attention_time(
            "h100-sxm", new_tokens=1, context=row.step + 1, batch_size=row.batch_size, n_heads=row.num_heads,
            n_kv_heads=row.num_key_value_heads, head_dim=row.head_dim, dtype="bf16", window=row.window_size or None,
        ).item()
        for row in rows.itertuples()
    ]  # fmt: skip
    rows = rows.assign(framework="VLLM", version="1", device="NVIDIA H100", op_name="generation_attention",
                       kernel_source="fa", attn_dtype="bfloat16", kv_cache_dtype="bfloat16",
                       latency=1e3 * np.array(seconds))  # fmt: skip
    rows.to_csv(tmp_path / "perf.csv", index=False)
    table = timings.read(tmp_path / "perf.csv")
    errors = calibration.fit(calibration.usable(table), "h100-sxm").errors
    assert errors.error_percent[errors.regime == "all"].item() < 5
    with pytest.raises(ValueError, match="decode rows beat the roof"):
        calibration.fit(calibration.usable(table.drop(columns="window")), "h100-sxm")


def test_an_aiconfigurator_table_that_is_not_read_says_which_are(tmp_path):
    text = (
        AICONFIGURATOR_HEAD
        + "bmm_dtype,num_tokens,num_heads,latency\nTRTLLM,1,H200,mla_gen_pre,default,bfloat16,1,128,0.1\n"
    )
    with pytest.raises(ValueError, match=r"no column of gemm_dtype, attn_dtype, .*: not a table that is read; its col"):
        timings.read(save(tmp_path, text))


def test_vidur_attention(tmp_path):
    """microsoft/vidur, vidur/profiling/attention: `kv_cache_size` tokens of each sequence before the new ones."""
    text = (
        "time_stats.attn_prefill.median,time_stats.attn_decode.median,n_embd,n_q_head,n_kv_head,block_size,"
        "num_tensor_parallel_workers,max_model_len,batch_size,prefill_chunk_size,kv_cache_size,is_prefill,"
        "attention_backend\n0.5,,4096,32,8,16,2,4096,1,256,512,True,FLASHINFER\n,0.25,4096,32,8,16,1,4096,3,0,95,False,F\n"
    )
    table = timings.read(save(tmp_path, text, "compute/a100/meta-llama/Meta-Llama-3-8B/attention.csv"))
    assert table.operator_class.tolist() == ["attention_prefill", "attention_decode"]
    columns = ["batch_size", "seq_len_q", "seq_len_kv", "n_heads", "n_kv_heads", "head_dim"]
    assert table[columns].to_numpy().tolist() == [[1, 256, 768, 16, 4, 128], [3, 1, 96, 32, 8, 128]]
    assert table.time_s.tolist() == pytest.approx([5e-4, 2.5e-4])


@pytest.mark.parametrize("name", ["report.ncu-rep", "report.nsys-rep", "report.sqlite"])
def test_a_profilers_own_file_says_how_to_export_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"NVR\x00\xff\xfe")
    with pytest.raises(ValueError, match=rf"{name}: Nsight .*: run `n.* {name}.*` and read that"):
        timings.read(path)


def test_what_can_be_fitted_is_and_of_the_rest_is_said_why_not(tmp_path):
    rng = np.random.default_rng(0)
    events = []
    for i in range(60):
        m, n, k = (int(rng.choice([64, 512, 2048, 8192])) for _ in "mnk")
        seconds = kernels.gemm_time("a100-80gb-sxm", m=m, n=n, k=k, dtype="bf16", engine="pytorch").item()
        events += [op("aten::mm", [[m, k], [k, n]], [BF16, BF16], i), kernel("g", 1e6 * seconds, **{"External id": i})]
    events += [kernel("ampere_bf16_gemm", 5), kernel("softmax", 2), kernel("unheard_of", 1)]
    path = save(tmp_path, json.dumps(events))
    result = CliRunner().invoke(cli.app, ["calibrate", str(path), "--gpu", "a100-80gb-sxm"])
    assert result.exit_code == 0, result.output
    assert "3 of 63 rows are of no kind that is fitted" in result.stderr
    assert "left out: 1 rows of class 'gemm' without m" in result.stderr
    assert "left out: 1 rows of class 'other': no law is fitted to it" in result.stderr
    result = CliRunner().invoke(cli.app, ["calibrate", str(save(tmp_path, NSYS)), "--gpu", "a100-80gb-sxm"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "no timing that can be fitted: 1 rows of class 'gemm' without m; a profile of Nsight has no sizes: use "
        "PyTorch's profiler with record_shapes=True"
    )


def test_the_command_ends_with_how_much_is_known(tmp_path):
    assert invoke(save(tmp_path, json.dumps(TRACE))).stdout.splitlines()[-1] == (
        "of 6 rows 5 have sizes, 6 a format, 6 a GPU: NVIDIA A100-SXM4-80GB"
    )
    assert invoke(save(tmp_path, NSYS)).stdout.splitlines()[-1] == "of 2 rows 0 have sizes, 2 a format, 0 a GPU"


# Broken files -----------------------------------------------------------------------------------------------------

BROKEN = {
    "unknown": ("a,b\n1,2\n", "not a known timing format, it starts with 'a,b'. Known: workbench, vidur"),
    "empty": ("", "not a known timing format, it starts with ''"),
    "lfs": ("version https://git-lfs.github.com/spec/v1\noid sha256:6a\n", "a pointer of Git LFS, not the data"),
    "no row": (GEMM.splitlines()[0] + "\n", "no timing could be read: the table is empty"),
    "only bad rows": (GEMM.replace(",0.0", ",-0.0"), "no timing could be read: line 2: latency = '-0.002': expected a"),
    "no m": (GEMM.replace(",m,", ",rows,"), "no column 'm'; its columns: framework, version"),
    "json": ('{"traceEvents": [', "event 0: not valid JSON, or cut off ("),
    "other json": ('{"a": 1}', "no list traceEvents: expected a Chrome trace"),
    "cpu trace": (json.dumps({"traceEvents": [op("aten::mm", [[1, 2], [2, 3]], [HALF, HALF], 1)]}), "no event of cat"),
    "ncu unit": (NCU_RAW.replace("usecond", "cycle"), "gpu__time_duration.sum in 'cycle': expected a unit of time: ns"),
    "ncu metric": (NCU_DETAILS.replace("gpu__time_duration", "gpu__cycles"), "no gpu__time_duration.sum: profile with"),
    "binary": (b"\x00\xff\xfe\x01" * 50, "not a text file"),
    "half gzip": (gzip.compress(json.dumps(TRACE).encode())[:200], "not a whole gzip file"),
    "half parquet": (b"PAR1" + b"\x00" * 40, "not a readable parquet file"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:  # noqa: PT011  the message is compared below
        timings.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_rows_are_reported_by_line_and_left_out(tmp_path):
    lines = OWN.splitlines()[:5]
    lines[4:4] = ["", "# a comment in the table", lines[3].replace(",16,", ",16.5,"), lines[3].replace("gemm", "gem")]
    lines += [lines[3] + ",extra", lines[3].replace("1.5e-4", "soon")]
    table = timings.read(save(tmp_path, "\n".join(lines)))
    assert len(table) == 2
    assert table.attrs["problems"] == [
        "line 10: 20 fields: expected 19",
        f"line 8: operator_class = 'gem': expected one of {', '.join(measure.OPERATOR_CLASSES)}",
        "line 7: m = '16.5': expected a whole number above 0",
        "line 11: time_s = 'soon': expected a time above 0",
    ]


def test_an_unknown_format_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"unknown format 'vidure'. Did you mean 'vidur'"):
        timings.read(save(tmp_path, OWN), "vidure")
    with pytest.raises(ValueError, match="no column 'n_head'"):
        timings.read(save(tmp_path, OWN), "vidur")
    with pytest.raises(ValueError, match="path = None: expected the path of a file"):
        timings.read(None)
    with pytest.raises(ValueError, match="a folder: expected a file"):
        timings.read(tmp_path)


# Properties -------------------------------------------------------------------------------------------------------

sizes = st.integers(1, 10**9)


@given(
    st.lists(st.tuples(sizes, sizes, sizes, st.floats(1e-9, 1e3), st.text("ab,\"' :#é", max_size=9)), min_size=1),
    st.sampled_from(measure.OPERATOR_CLASSES),
)
def test_what_is_written_is_read_back(tmp_path_factory, rows, kind):
    table = pd.DataFrame(rows, columns=["m", "n", "k", "time_s", "name"]).reindex(columns=list(measure.TIMING_COLUMNS))
    table = table.assign(source="s", gpu="g", framework="f", operator_class=kind, dtype="fp16")
    table["name"] = table["name"].str.strip()
    table.attrs["header"] = ["machine: a, b"]
    path = tmp_path_factory.mktemp("t") / "t.csv"
    timings.write(table, path)
    again = timings.read(path)
    pd.testing.assert_frame_equal(again, table, check_dtype=False, check_exact=True)
    assert again.attrs["header"] == ["machine: a, b"]


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("t") / "t"
    path.write_text(text, encoding="utf-8")
    for format in (None, *timings.TIMING_FORMATS):
        with pytest.raises(ValueError, match=r"\A[^\n]*\Z"):
            timings.read(path, format)


ids = st.one_of(st.none(), st.integers(0, 3), st.text("ab", max_size=1), st.lists(st.integers(), max_size=1))
dims = st.lists(st.one_of(st.lists(st.integers(-1, 4), max_size=4), st.none(), st.just("x")), max_size=3)
event_args = st.one_of(
    st.none(),
    st.just("args"),
    st.fixed_dictionaries(
        {},
        optional={
            "External id": ids, "correlation": ids, "device": ids, "Input Dims": dims,
            "Input type": st.one_of(st.none(), st.lists(st.sampled_from([HALF, "", None]), max_size=3)),
        },
    ),
)  # fmt: skip
events = st.fixed_dictionaries(
    {},
    optional={
        "cat": st.sampled_from(["kernel", "cpu_op", "cuda_runtime", 3]),
        "name": st.sampled_from(["aten::mm", "aten::bmm", "aten::_flash_attention_forward", "gemm", None]),
        "dur": st.one_of(st.floats(), st.integers(-1, 3), st.text(max_size=1)),
        "args": event_args,
    },
)  # fmt: skip


def positive(value):
    return isinstance(value, int | float) and 1e-200 < value < 1e200


@given(st.lists(st.one_of(events, st.integers(), st.none()), max_size=8))
def test_any_trace_is_read_or_refused_in_one_line(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("t") / "trace.json"
    path.write_text(json.dumps({"traceEvents": found, "deviceProperties": found}))
    good = [e for e in found if isinstance(e, dict) and e.get("cat") == "kernel" and positive(e.get("dur"))]
    if good:
        table = timings.read(path)
        assert table.time_s.sum() == pytest.approx(sum(e["dur"] for e in good) * 1e-6)
        assert table.operator_class.isin(measure.OPERATOR_CLASSES).all()
    else:
        with pytest.raises(ValueError, match=r"\A[^\n]*\Z"):
            timings.read(path)


# Command line -----------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["timings", *map(str, arguments)])


def test_command_writes_the_tidy_table_and_prints_problems(tmp_path):
    result = invoke(save(tmp_path, OWN), "-o", tmp_path / "tidy.csv")
    assert result.exit_code == 0, result.output
    assert result.stderr == "workbench: line 6: not measured: out of memory\n"
    assert "2 timings (workbench)" in result.stdout
    lines = (tmp_path / "tidy.csv").read_text().splitlines()
    assert lines[0] == "# machine: a desk, NVIDIA RTX A6000"
    assert lines[3] == "measure,NVIDIA RTX A6000,torch 2.13,gemm,llama-7b:qkv_proj,fp16,16,12288,4096,,,,,,,,,,0.00015"
    assert len(timings.read(tmp_path / "tidy.csv")) == 2


def test_command_prints_the_first_problems_and_how_many_more(tmp_path):
    row = GEMM.splitlines()[1]
    result = invoke(save(tmp_path, GEMM + (row[: row.rindex(",")] + ",?\n") * 30))
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 11
    assert result.stderr.endswith("workbench: and 20 more\n")


def test_command_refuses_in_one_line(tmp_path):
    result = invoke(save(tmp_path, "a,b\n"))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert invoke(tmp_path / "none.csv").stderr == f"workbench: {tmp_path / 'none.csv'}: No such file or directory\n"
    assert invoke(save(tmp_path, GEMM), "--gpu", "h100-sxm").exit_code == 0
    result = invoke(save(tmp_path, GEMM), "-o", tmp_path / "t.parquet")
    assert (result.exit_code, result.stderr) == (1, "workbench: unknown file suffix '.parquet'. Allowed: .csv.\n")
