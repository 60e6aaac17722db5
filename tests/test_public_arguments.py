"""Every public function, every argument, every kind of value: a result, or one line that names what is wrong."""

import importlib
import inspect
import re
import warnings
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes

import workbench as wb
from workbench import audit, figures, loadtest, operators, serving, simulation, speculation, studies, tables

#: Wings whose functions users call; those of the others are the insides of commands, and of reading files.
WINGS = (
    "catalog", "kernels", "grid", "published", "servers", "serving", "simulation", "search", "speculation",
    "hugging_face", "calibration", "explanation", "loadtest", "tables", "plots", "studies", "audit", "figures",
)  # fmt: skip
#: Equations, in loops over operators or claims, whose callers have checked what they hand on.
EQUATIONS = {
    "kernels.attainable", "kernels.bound", "kernels.check_machine", "kernels.ideal_time", "kernels.link_rate",
    "kernels.fit_of", "kernels.longest", "kernels.machine_size", "kernels.operator_time", "kernels.ridge_point",
    "kernels.timed",
    "audit.deviation", "audit.flips", "audit.hangs", "audit.show", "audit.show_published", "audit.show_verdict",
    "audit.verdict",
}  # fmt: skip
#: What functions hand out, and readers and writers of files, which have tests of their own.
OTHERS = {
    "catalog.read_fits", "kernels.OperandFormats", "calibration.CalibrationResult",
    "calibration.read_operators", "calibration.write_fits", "explanation.own_file", "loadtest.read",
    "loadtest.own_recording",
    "loadtest.read_workload", "loadtest.recognize", "loadtest.runs", "loadtest.write", "loadtest.Comparison",
    "loadtest.Limits",
    "figures.Figure", "figures.Outcome", "figures.differences", "figures.draw", "figures.find", "figures.is_current",
    "figures.read_params", "figures.run", "figures.save", "figures.write_index", "studies.closed_loops",
    "studies.fit_hosts", "studies.write_held_out", "studies.write_predictions",
}  # fmt: skip
#: Those that simulate for seconds: what they refuse is refused before.
SLOW = {
    "calibration.fit", "calibration.fit_catalog", "loadtest.compare", "studies.capacity", "studies.draw_chart",
    "studies.gains", "studies.load_test_requests",
    "studies.p99_reduction", "studies.recommendations", "studies.replicas_needed", "studies.roadmap",
    "studies.server_rate", "studies.t4_calibration", "studies.t4_comparison", "studies.t4_replay",
}  # fmt: skip
GPU, MODEL = "h100-sxm", "llama-3.2-1b"
FILES = {GPU: {"file": "llama-7b-unfused-h100", "dtype": "fp16"}}


def public():
    """Every public function, dataclass and plain class by its name, once; `workbench` hands out its wings' own."""
    for wing in WINGS:
        module = importlib.import_module(f"workbench.{wing}")
        for name in getattr(module, "__all__", vars(module)):
            value = getattr(module, name)
            made_here = getattr(value, "__module__", "").startswith(f"workbench.{wing}")
            called = inspect.isfunction(value) or is_dataclass(value) or getattr(value, "__bases__", ()) == (object,)
            if made_here and not name.startswith("_") and called:
                yield f"{wing}.{name}", value


FUNCTIONS = dict(public()) | {
    f"catalog.GPU.{name}": getattr(wb.gpu(GPU), name) for name in ("override", "peak_flop_rate", "ridge_point")
}


@cache
def made():
    """What the examples are made of, each by the function that it comes from."""
    ds = wb.roofline_grid(GPU, MODEL, batch_size=[1, 2], seq_len=[128, 256])
    server = simulation.Server(GPU, MODEL, max_num_seqs=4, max_num_batched_tokens=64, max_model_len=128)
    requests = simulation.simulate(server, simulation.poisson(50, requests=6, prompt=20, output=5))
    steps = simulation.simulate(server, simulation.closed_loop(2, requests=4, prompt=20, output=5), steps=True)
    static = studies.static_tables("decode", [1, 4], [512, 2048])
    batching = studies.batching_effects(GPU, MODEL, ["o_proj"], batch_size=[1, 2], seq_len=128)
    timings = pd.DataFrame({
        "kind": "gemm", "regime": "compute", "time_s": [1e-4, 2e-4], "ideal_s": [8e-5, 1e-4],
        "held_out_s": [1.1e-4, 2e-4], "predicted_s": [1.1e-4, 2e-4],
    })  # fmt: skip
    requests.attrs["source"] = "simulated"
    beside = studies.operator_times(FILES, "llama-7b", ["q_proj"], ["decode"], [1, 2], [128], candidates=[1])
    gains = pd.DataFrame({
        "change": ["a", "b"], "unit": ["x tokens/s", "% of memory saved"], "gain": [2.0, 50.0],
        "guess_low": [1.0, 40.0], "guess_high": [3.0, 60.0], "sequences": [1.0, np.nan],
        "computed_by": ["server", "memory"],
    })  # fmt: skip
    kernels_timed = pd.DataFrame({
        "gpu": "A", "operator_class": "gemm", "name": "x", "dtype": "fp16", "batch_size": 1.0, "n_heads": [1.0],
        "m": 8.0, "n": 8.0, "k": 8.0,
    })  # fmt: skip
    products = pd.DataFrame({
        "gpu": GPU, "engine": "vllm", "version": "0", "family": "cublas", "format": "bf16", "operator_class": "gemm",
        "dtype": "bf16", "m": [1.0, 64.0, 4096.0], "n": 4096.0, "k": [4096.0, 2048.0, 1024.0], "time_s": 1e-3,
    })  # fmt: skip
    return SimpleNamespace(
        products=products, claims=audit.run("t4-queue"), figures=figures.find(Path(__file__).resolve().parents[1]),
        grid=ds, server=server, requests=requests, steps=steps, static=static, batching=batching, timings=timings,
        gains=gains, kernels_timed=kernels_timed, card=wb.gpu(GPU), model=wb.model(MODEL),
        replica=serving.Replica(GPU, MODEL),
        workload=simulation.poisson(50, requests=3, prompt=20, output=5),
        plan=serving.plan(MODEL, prompt=100, output=10, gpu=GPU, tp=1, batch_size=[1, 4], request_rate=2.0),
        both=loadtest.timeline(requests, step=0.1).expand_dims(source=["measured", "simulated"]).assign(step=0.1),
        runs=pd.DataFrame({
            "run": [0, 1], "label": ["1/s", "2/s"], "source": ["requests", "summary"], "finished_rate": [1.0, 2.0],
            "output_token_rate": [10.0, 20.0], "ttft_p99": [0.1, 0.2], "tpot_p99": [0.01, np.nan],
        }).reindex(columns=list(loadtest.RUN_COLUMNS)),
        metrics=loadtest.metrics(requests), timeline=loadtest.timeline(requests, step=0.1),
        speedup=speculation.speedup(GPU, MODEL, [1, 2], 128, [1, 4]),
        fidelity=tables.fidelity().query("regime == 'all'"), benchmarks=tables.benchmarks(),
        explained=wb.explain("llama-7b-unfused-h100"),
        lines=tables.lines(batching, PANEL), beside=beside, passes=studies.forward_passes(),
        served=studies.serving_predictions().iloc[260:300],
        config={"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "max_position_embeddings": 128, "vocab_size": 100},
    )  # fmt: skip


m = made

#: A valid call of each; what has several forms has several, by a suffix behind "/".
CALLS = {
    "catalog.GPU.override": lambda: {"peak_tflops": 500.0, "bandwidth_gbs": 4000, "memory_gib": 64},
    "catalog.GPU.peak_flop_rate": lambda: {"dtype": "fp16"},
    "catalog.GPU.ridge_point": lambda: {"dtype": "fp8"},
    "catalog.compute_dtype": lambda: {"stored": "fp8", "activation": "fp16"},
    "catalog.element_bytes": lambda: {"dtype": "awq", "group_size": 128},
    "catalog.engine": lambda: {"name": "vllm"},
    "catalog.engines": dict,
    "catalog.gpu": lambda: {"name": GPU},
    "catalog.gpus": dict,
    "catalog.kernel_fit": lambda: {
        "card": m().card,
        "kind": "all_reduce",
        "format": "bf16",
        "engine": "sglang",
        "family": "nccl",
        "pcie": False,
    },
    "catalog.model": lambda: {"name": MODEL},
    "catalog.models": dict,
    "kernels.Formats": lambda: {"weight": "fp16", "activation": "fp16", "kv": "fp8", "lm_head": "fp16"},
    "kernels.Timing": lambda: {"engine": "trtllm", "time_model": "kernel", "launch_latency": 1e-6, "fused": True},
    "kernels.assumptions": lambda: {
        "gpus": [m().card],
        "time_model": "kernel",
        "kinds": ["gemm", "decode fp8_cache"],
        "engine": "sglang",
    },
    "kernels.all_gather_time": lambda: {
        "gpu": GPU,
        "bytes_": [10, 20],
        "gpus": 2,
        "time_model": "kernel",
        "engine": "trtllm",
    },
    "kernels.all_reduce_time": lambda: {
        "gpu": GPU,
        "bytes_": [10, 20],
        "gpus": 2,
        "time_model": "kernel",
        "engine": "trtllm",
    },
    "kernels.all_to_all_time": lambda: {
        "gpu": GPU,
        "bytes_": [10, 20],
        "gpus": 2,
        "time_model": "kernel",
        "engine": "trtllm",
    },
    "kernels.reduce_scatter_time": lambda: {
        "gpu": GPU,
        "bytes_": [10, 20],
        "gpus": 2,
        "time_model": "kernel",
        "engine": "trtllm",
    },
    "kernels.send_time": lambda: {
        "gpu": GPU,
        "bytes_": [10, 20],
        "gpus": 2,
        "time_model": "kernel",
        "engine": "trtllm",
    },
    "kernels.attention_time": lambda: {
        "gpu": GPU,
        "new_tokens": 1,
        "context": [64, 128],
        "batch_size": 2,
        "n_heads": 8,
        "n_kv_heads": 2,
        "head_dim": 64,
        "dtype": "fp16",
        "kv_dtype": "fp8",
        "window": 96,
        "causal": True,
        "time_model": "kernel",
        "engine": "sglang",
        "replayed": False,
    },
    "kernels.mla_time": lambda: {
        "gpu": GPU,
        "new_tokens": 1,
        "context": [64, 128],
        "batch_size": 2,
        "n_heads": 8,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "dtype": "fp16",
        "kv_dtype": "fp8",
        "causal": True,
        "time_model": "kernel",
        "engine": "sglang",
        "replayed": False,
    },
    "kernels.linear_attention_time": lambda: {
        "gpu": GPU,
        "new_tokens": [1, 64],
        "batch_size": 2,
        "n_heads": 8,
        "n_key_heads": 4,
        "key_dim": 128,
        "value_dim": 128,
        "dtype": "bf16",
        "state_dtype": "fp32",
        "time_model": "kernel",
        "engine": "vllm",
        "replayed": False,
    },
    "kernels.gemm_time": lambda: {
        "gpu": GPU,
        "m": [1, 64],
        "n": 64,
        "k": 128,
        "dtype": "fp16",
        "weight_dtype": None,
        "batch": 1,
        "time_model": "kernel",
        "engine": None,
        "replayed": False,
    },
    "kernels.quantize_time": lambda: {"gpu": GPU, "m": [1, 64], "k": 128, "dtype": "fp8", "engine": None},
    "kernels.moe_time": lambda: {
        "gpu": GPU,
        "tokens": [1, 64],
        "hidden_size": 256,
        "intermediate_size": 128,
        "n_experts": 8,
        "experts_per_token": 2,
        "gated": True,
        "format": "bf16",
        "tp": 1,
        "ep": 1,
        "routing": "skewed",
        "skew": 1.2,
        "engine": "vllm",
        "time_model": "kernel",
        "replayed": False,
    },
    "grid.forward_pass": lambda: {"ds": m().grid},
    "grid.with_roof": lambda: {"ds": m().grid, "peak_tflops": 100.0},
    "grid.roofline_grid": lambda: {
        "gpu": [GPU],
        "model": MODEL,
        "operator": ["o_proj"],
        "phase": ["decode"],
        "batch_size": [1, 2],
        "seq_len": 64,
        "candidates": [1, 4],
        "tp": [1, 2],
        "weight_dtype": "fp16",
        "activation_dtype": "fp16",
        "kv_dtype": "fp16",
        "lm_head_dtype": "fp16",
        "causal": True,
        "logits": "last",
        "scores": "chip",
        "time_model": "ideal",
        "launch_latency": 0.5,
        "engine": "trtllm",
        "dtype": "float64",
        "chunks": None,
    },
    "grid.roofline_grid/lazy": lambda: {"gpu": GPU, "model": MODEL, "operator": ["o_proj"], "chunks": 2},
    "published.medusa_acceleration_rate": lambda: {"candidates": [1, 2, 4]},
    "published.medusa_table5": lambda: {
        "operator": "qkv",
        "phase": "decode",
        "h": 64,
        "i": 100,
        "n": 4,
        "d": 16,
        "b": [1, 2],
        "s": 100,
        "q": 4,
    },
    "published.t4_report": lambda: {"phase": "decode", "batch_size": [1, 2], "seq_len": 100},
    "published.t4_requests": lambda: {"rate": 2, "duration": 4},
    "servers.Draft": lambda: {
        "candidates": 3,
        "tokens_per_step": 2.0,
        "model": m().model,
        "depth": 2,
        "mtp": False,
        "heads": 0,
    },
    "servers.Replica": lambda: {
        "gpu": GPU,
        "model": MODEL,
        "tp": 2,
        "pp": 2,
        "ep": 1,
        "weight_dtype": "fp16",
        "activation_dtype": "fp16",
        "kv_dtype": "fp16",
        "lm_head_dtype": "fp16",
        "time_model": "kernel",
        "launch_latency": 0.5,
        "step_overhead": 0.5,
        "sequence_overhead": 0.25,
        "gemm_efficiency": 0.5,
        "gemm_rows": 16,
        "dequantize_rows": 64,
        "engine": "vllm",
        "dp": 1,
        "network_gbs": 25.0,
        "network_us": 4.0,
        "expert_skew": 0.0,
        "redundant_experts": 0,
        "expert_spread": 1.25,
    },
    "servers.draft_model": lambda: {"model": MODEL, "depth": 2, "alpha": 0.5},
    "servers.mtp": lambda: {"depth": 2, "alpha": 0.5},
    "servers.medusa": lambda: {"candidates": 4, "heads": 2, "acceptance": {4: 2.0}},
    "servers.medusa/list": lambda: {"candidates": 4, "acceptance": [2]},
    "servers.expected_tokens": lambda: {"alpha": [0.5, 0.25], "depth": 2},
    "serving.estimate": lambda: {
        "gpu": [GPU],
        "model": MODEL,
        "batch_size": [1, 2],
        "prompt": 64,
        "output": [8, 16],
        "tp": 1,
        "pp": 1,
        "ep": 1,
        "weight_dtype": "fp16",
        "activation_dtype": "fp16",
        "kv_dtype": "fp16",
        "lm_head_dtype": "fp16",
        "time_model": "kernel",
        "schedule": "static",
        "cached_prefix": 16,
        "draft": serving.medusa(candidates=4),
        "max_num_batched_tokens": 256,
        "max_num_seqs": 16,
        "max_model_len": 128,
        "gpu_memory_utilization": 0.5,
        "workspace": 1024,
        "price": 2,
        "power_floor": 0.5,
        "launch_latency": 0.25,
        "step_overhead": 0.25,
        "sequence_overhead": 0.25,
        "gemm_efficiency": 0.5,
        "gemm_rows": 16,
        "dequantize_rows": 64,
        "engine": "vllm",
        "dp": 1,
        "network_gbs": 25.0,
        "network_us": 4.0,
        "expert_skew": 0.0,
        "redundant_experts": 0,
        "expert_spread": 1.25,
    },
    "serving.estimate/continuous": lambda: {
        "gpu": GPU,
        "model": MODEL,
        "batch_size": 4,
        "prompt": 64,
        "output": 8,
        "schedule": "continuous",
    },
    "serving.plan": lambda: {
        "model": MODEL,
        "prompt": 64,
        "output": 8,
        "ttft": 2,
        "tpot": 1,
        "request_rate": 4,
        "gpu": [GPU],
        "tp": [1],
        "batch_size": [1, 4],
        "price": {GPU: 2},
        "schedule": "continuous",
        "arrivals": "bursty",
        "percentile": 90,
        "utilization": 0.5,
        "confirm": 1,
        "seed": 3,
        "progress": False,
    },
    "serving.plan/gpus": lambda: {
        "model": MODEL,
        "prompt": 64,
        "output": 8,
        "gpus": 2,
        "gpu": GPU,
        "tp": 1,
        "batch_size": [4],
        "confirm": 0,
    },
    "serving.plan_text": lambda: {
        "table": m().plan,
        "rows": 2,
        "width": 80,
        "currency": "EUR",
        "most_gpus": 8,
    },
    "servers.step": lambda: {"replica": m().replica, "pieces": operators.decode(2, 64), "own": None},
    "servers.step_time": lambda: {"replica": m().replica, "pieces": operators.decode(2, 64), "own": None},
    "servers.Server": lambda: {
        "gpu": GPU,
        "model": MODEL,
        "tp": 2,
        "pp": 1,
        "ep": 1,
        "step_overhead": 0.5,
        "gemm_rows": 16,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 128,
        "max_model_len": 64,
        "chunked_prefill": True,
        "block_size": 16,
        "kv_tokens": 512,
        "gpu_memory_utilization": 0.5,
        "policy": "recompute",
        "prefix_caching": True,
        "draft": serving.medusa(candidates=4),
    },
    "simulation.Workload": lambda: {
        "sent_s": np.array([0.0, 1.0]),
        "prompt_tokens": np.array([8, 8]),
        "output_tokens": np.array([2, 2]),
        "cached_tokens": np.array([0, 0]),
        "concurrency": 2,
        "settings": {},
        "block_hashes": [[1], [1]],
        "block_tokens": 8,
    },
    "simulation.poisson": lambda: {
        "rate": 4,
        "requests": 5,
        "duration": None,
        "prompt": [16, 32],
        "output": 4,
        "cached": 8,
        "seed": 1,
    },
    "simulation.poisson/duration": lambda: {"rate": 4, "duration": 2, "prompt": 16, "output": 4},
    "simulation.bursty": lambda: {
        "rate": 4,
        "burstiness": 0.5,
        "requests": 5,
        "duration": None,
        "prompt": [16, 32],
        "output": 4,
        "cached": 8,
        "seed": 1,
    },
    "simulation.closed_loop": lambda: {
        "concurrency": 2,
        "requests": 5,
        "prompt": [16, 32],
        "output": 4,
        "cached": 8,
        "seed": 1,
    },
    "simulation.trace": lambda: {
        "frame": None,
        "sent_s": [0, 1],
        "prompt_tokens": [8, 16],
        "output_tokens": [2, 4],
        "cached_tokens": 4,
        "block_hashes": [[1], [1, 2]],
        "block_tokens": 8,
    },
    "simulation.trace/frame": lambda: {"frame": m().requests},
    "simulation.simulate": lambda: {
        "server": m().server,
        "workload": m().workload,
        "in_flight": 2,
        "timeout": 4,
        "horizon": 8,
        "progress": False,
        "steps": True,
    },
    "search.best": lambda: {
        "source": m().grid,
        "objective": "time",
        "limits": {"time": 1},
        "by": ["phase"],
        "maximize": [],
        "minimize": "time",
    },
    "search.pareto": lambda: {
        "source": [m().grid],
        "x": "time",
        "y": "intensity",
        "limits": {"time": 1},
        "by": "phase",
        "maximize": [],
        "minimize": "time",
    },
    "search.estimates": lambda: {
        "gpu": [GPU],
        "model": MODEL,
        "batch_size": [1, 2],
        "prompt": 64,
        "output": [8, 16],
        "tp": 1,
    },
    "speculation.speedup": lambda: {
        "gpu": [GPU],
        "model": MODEL,
        "batch_size": [1, 2],
        "seq_len": 64,
        "candidates": [1, 4],
        "acceptance": {1: 1, 4: 2},
        "operators": ["o_proj"],
        "time_model": "kernel",
        "launch_latency": 0.5,
    },
    "hugging_face.from_hf_config": lambda: {"path_or_dict": m().config, "name": "mine"},
    "calibration.errors": lambda: {"table": m().timings},
    "loadtest.metrics": lambda: {"table": m().requests, "window": 0.1, "slo": {"ttft": 1}},
    "loadtest.timeline": lambda: {"table": m().requests, "step": 0.5},
    "loadtest.report": lambda: {"ds": m().metrics},
    "loadtest.compare": lambda: {
        "load_test": m().requests,
        "gpu": GPU,
        "model": MODEL,
        "users": 2,
        "in_flight": 4,
        "cached_prefix": 0,
        "window": 0.1,
        "progress": False,
    },
    "loadtest.report_runs": lambda: {"table": m().runs},
    "tables.default_series": lambda: {"ds": m().grid},
    "tables.select": lambda: {"ds": m().grid, "selection": {"phase": "decode"}},
    "tables.points": lambda: {"ds": m().grid, "series": {"a": {"phase": "decode"}}},
    "tables.candidate_color": lambda: {"candidates": 2, "most": 4},
    "tables.series_ranges": lambda: {"ds": m().grid, "series": {"a": {"phase": "decode"}}},
    "tables.lines": lambda: {"ds": m().batching, "panel": PANEL},
    "tables.curves": lambda: {"ds": m().batching, "panels": [PANEL]},
    "tables.fits": dict,
    "tables.fidelity": dict,
    "tables.fit_parameters": dict,
    "tables.gpu_numbers": dict,
    "tables.lenders": dict,
    "tables.benchmarks": dict,
    "tables.measured": lambda: {"name": "forward-h100"},
    "tables.explained": lambda: {"ds": m().explained},
    "tables.unassigned": lambda: {"ds": m().explained},
    "explanation.explain": lambda: {
        "timings": "llama-7b-unfused-h100",
        "gpu": GPU,
        "model": ["llama-7b"],
        "tp": 1,
        "step": [8, 1, 1024],
        "weight_dtype": "fp16",
        "activation_dtype": "fp16",
        "kv_dtype": "fp16",
        "engine": "pytorch",
        "time_model": "kernel",
        "l2_bandwidth": 1000.0,
    },
    "plots.by_operator": lambda: {"ds": m().explained},
    "tables.measured_points": lambda: {"ds": m().beside, "series": {"a": {"phase": "decode"}}},
    "tables.series_errors": lambda: {"ds": m().beside, "series": {"a": {"phase": "decode"}}},
    "tables.measurements": dict,
    "tables.by_candidates": lambda: {
        "ds": wb.roofline_grid(GPU, MODEL, ["o_proj"], "decode", 1, 64, candidates=[1, 4]),
    },
    "tables.speedups": lambda: {"ds": m().speedup},
    "tables.best_candidates": lambda: {"ds": m().speedup},
    "tables.timeline_rows": lambda: {"ds": m().both},
    "tables.step_rows": lambda: {"runs": {"a": m().steps}},
    "tables.plan_rows": lambda: {"table": m().plan},
    "tables.table": lambda: {"value": m().fidelity, "caption": "a", "variables": ["gpu", "kind"]},
    "tables.chosen": lambda: {"table": m().fidelity, "column": "gpu", "values": ["l40s"]},
    "tables.subject": lambda: {"model": MODEL, "gpu": [GPU]},
    "plots.against_batch": lambda: {
        "table": tables.lines(m().batching, PANEL),
        "quantity": "time",
        "ax": None,
        "title": "a",
    },
    "plots.ceilings": lambda: {"ds": m().grid, "ax": None},
    "plots.cell_costs": lambda: {"table": m().benchmarks, "ax": None},
    "plots.costs": lambda: {"table": m().plan, "ax": None, "unit": "EUR", "title": "a"},
    "plots.fidelity": lambda: {"table": m().fidelity, "ax": None, "error": "elsewhere [%]"},
    "plots.hold": lambda: {"ax": plt.gca(), "intensity": m().grid.intensity, "performance": m().grid.performance},
    "plots.latencies": lambda: {"ds": m().metrics, "ax": None, "title": "a"},
    "plots.log_axes": lambda: {"ax": plt.gca()},
    "plots.measured_roofline": lambda: {
        "ds": m().beside,
        "ax": None,
        "series": {"a": {"phase": "decode"}},
        "title": "a",
    },
    "plots.time_ratios": lambda: {"ds": m().beside, "ax": None, "series": {"a": {"phase": "decode"}}},
    "plots.passes": lambda: {"table": m().passes, "ax": None, "title": "a"},
    "plots.pareto": lambda: {"table": m().plan, "ax": None, "tpot": 1, "title": "a"},
    "plots.point_rates": lambda: {
        "table": m().benchmarks.dropna(subset="points"),
        "others": {"a": 2},
        "ax": None,
    },
    "plots.predicted_against_measured": lambda: {"table": m().timings, "ax": None, "title": "a"},
    "plots.published_ranges": lambda: {
        "ranges": pd.DataFrame({"series": ["a"], "x_low": 1.0, "x_high": 2.0, "y_low": 1e12, "y_high": 2e12}),
        "colors": {"a": "red"},
        "ax": plt.gca(),
        "points": None,
    },
    "plots.load_curve": lambda: {
        "table": m().runs,
        "ax": None,
        "over": "output_token_rate",
        "statistic": "p99",
    },
    "plots.queue": lambda: {"ds": m().timeline, "ax": None, "title": "a"},
    "plots.over_time": lambda: {"ds": m().both, "variable": "waiting", "ax": None, "title": "a"},
    "plots.requests": lambda: {"table": m().requests, "ax": None, "title": "a"},
    "plots.steps": lambda: {"table": m().steps, "ax": None, "title": "a"},
    "plots.residuals": lambda: {"table": m().timings, "ax": None, "title": "a"},
    "plots.roofline": lambda: {
        "ds": m().grid,
        "ax": None,
        "measured": m().explained,
        "series": {"a": {"phase": "decode"}},
        "ranges": None,
        "highlight": "a",
        "arrows": [{"text": "a", "start": [1, 1e12], "end": [10, 1e13], "at": [5, 5e12]}],
        "title": "a",
    },
    "plots.speculation": lambda: {"ds": m().speedup, "ax": None, "printed": None, "title": "a"},
    "plots.token_rate": lambda: {"ds": m().timeline, "ax": None, "title": "a"},
    "calibration.fit": lambda: {"table": m().timings, "gpu": GPU, "by": "model"},
    "calibration.fit_catalog": lambda: {"table": m().products, "source": "x", "processes": 1, "tick": None},
    "calibration.judge": lambda: {"table": m().products},
    "calibration.of_one_gpu": lambda: {"timings": m().kernels_timed, "name": "A"},
    "calibration.usable": lambda: {"timings": m().kernels_timed},
    "audit.audit_text": lambda: {"table": m().claims, "everything": True},
    "audit.by_source": lambda: {"table": m().claims},
    "audit.by_source_text": lambda: {"table": m().claims},
    "audit.by_verdict": lambda: {"table": m().claims},
    "audit.changes": lambda: {"table": m().claims},
    "audit.printed_cells": lambda: {"figure": "t4-decode"},
    "audit.printed_ranges": lambda: {"figure": "medusa-fig09"},
    "audit.printed_speedups": lambda: {"figure": "medusa-fig21"},
    "audit.readable": lambda: {"table": m().claims},
    "audit.run": lambda: {"figure": "t4-queue"},
    "serving.disaggregate": lambda: {
        "prefill": serving.Replica(GPU, MODEL),
        "decode": serving.Replica(GPU, MODEL),
        "prompt": 128,
        "output": 8,
        "link_gbs": 50.0,
        "gpus": 4,
        "batch_size": [4],
        "prefill_batch": 2,
        "cached_prefix": 16,
        "draft": serving.medusa(candidates=4),
    },
    "audit.select_claims": lambda: {"table": m().claims, "source": "T4 report", "verdict": None},
    "audit.sources": dict,
    "audit.summary": lambda: {"table": m().claims},
    "audit.verdict_counts": lambda: {"table": m().claims},
    "figures.check_parameters": dict,
    "figures.choose": lambda: {"figures": m().figures, "patterns": ["medusa-*"]},
    "figures.parts": lambda: {"figures": list(m().figures.values())},
    "plots.predictor_legend": dict,
    "plots.served_ratios": lambda: {"table": m().served, "by": "gpu", "ax": None, "quantity": "tpot_s"},
    "plots.served_scatter": lambda: {"table": m().served, "quantity": "ttft_s", "ax": None},
    "studies.other_tools": dict,
    "studies.predict_serving": lambda: {
        "rows": m().served.iloc[:1],
        "engine": "as named",
        "time_model": "ideal",
        "processes": 1,
        "progress": False,
    },
    "studies.server_of": lambda: {
        "row": m().served.iloc[0].to_dict(),
        "engine": "sglang",
        "time_model": "ideal",
    },
    "studies.serving_benchmarks": dict,
    "studies.serving_errors": lambda: {
        "table": m().served,
        "by": ["gpu", "model"],
        "quantity": ["tpot_s"],
        "within": 0.2,
    },
    "studies.serving_predictions": dict,
    "studies.serving_sources": dict,
    "studies.serving_summary": lambda: {"table": m().served},
    "studies.forward_passes": lambda: {"engine": "pytorch"},
    "studies.pass_errors": lambda: {"table": m().passes},
    "studies.operator_times": lambda: {
        "files": FILES,
        "model": "llama-7b",
        "operator": ["q_proj"],
        "phase": ["decode"],
        "batch_size": [1, 2],
        "seq_len": [128],
        "candidates": [1],
        "engine": "pytorch",
    },
    "studies.batching_effects": lambda: {
        "gpu": GPU,
        "model": MODEL,
        "operator": ["o_proj"],
        "phase": ["decode"],
        "batch_size": [1, 2],
        "seq_len": 128,
        "launch_latency": 0.5,
    },
    "studies.bandwidth_use": lambda: {"run": "default"},
    "studies.batching_gain": lambda: {"batch_size": [4], "seq_len": [512]},
    "studies.capacity": lambda: {"offered": 2.0},
    "studies.compare_sources": lambda: {"ds": m().static, "column": "intensity", "ax": None, "printed": None},
    "studies.decode_parts": lambda: {"gpu": GPU, "model": MODEL, "batch_size": 2, "seq_len": 64},
    "studies.decode_share": lambda: {"sequences": 1},
    "studies.draw_chart": lambda: {"chart": "queue", "requests": m().requests, "title": "a"},
    "studies.gains": lambda: {"change": "L4", "setting": "kernels alone", "computed_by": "kernels"},
    "studies.gains_chart": lambda: {"table": m().gains, "axes": [plt.gca()] * 2, "title": "a"},
    "studies.kernel_rate": lambda: {"sequences": 2, "card": "t4"},
    "studies.kv_cache_saved": lambda: {"sizes": m().model, "dtype": "fp8"},
    "studies.latency_breakdown": lambda: {"table": m().requests},
    "studies.load_test_requests": lambda: {"load_test": "nowhere"},
    "studies.load_test_table": lambda: {"table": m().requests},
    "studies.p99_reduction": lambda: {"max_num_seqs": 4},
    "studies.pass_limits": lambda: {
        "phase": "decode",
        "batch_size": [1],
        "seq_len": [512],
        "gpu": GPU,
        "model": MODEL,
    },
    "studies.prefill_time": lambda: {"prompt": 50, "cached_prefix": 16},
    "studies.ratios_chart": lambda: {
        "table": pd.DataFrame({"run": ["a"], "quantity": ["sent"], "ratio": [1.0]}),
        "ax": None,
        "title": "a",
    },
    "studies.recommendations": lambda: {"table": m().requests},
    "studies.recorded_step": lambda: {"run": "default"},
    "studies.replicas_needed": lambda: {"offered": 2.0, "gpus": ("t4",)},
    "studies.ridge_batch_size": lambda: {"ds": m().grid},
    "studies.roadmap": dict,
    "studies.server_rate": lambda: {"sequences": 2},
    "studies.side_by_side": lambda: {"ds": m().static},
    "studies.static_rows": lambda: {"phases": {"decode": m().static}},
    "studies.static_tables": lambda: {
        "phase": "decode",
        "batch_size": [1, 4],
        "seq_len": [512],
        "gpu": GPU,
        "model": MODEL,
    },
    "studies.t4_calibration": dict,
    "studies.t4_comparison": lambda: {"server": m().server},
    "studies.t4_metrics": lambda: {"frame": m().requests},
    "studies.t4_replay": lambda: {"run": "default", "server": m().server, "max_num_seqs": 4},
    "studies.t4_roofline": lambda: {
        "phases": {"decode": m().static},
        "spans": {"decode": [1.0, 2.0]},
        "ax": None,
        "title": "a",
        "marks": None,
    },
    "studies.traffic": lambda: {"settings": ((1, 512),)},
    "studies.utilization": lambda: {"tokens_per_second": 8.0},
}
PANEL = {"quantity": "time", "operator": ["o_proj"], "phase": "decode", "seq_len": [128]}


def takes_none(parameter):
    """Whether None is a value of an argument: its default, or one that it annotates."""
    return parameter.default is None or "None" in str(parameter.annotation)


def spent(values):
    yield from values


#: Values of every kind, each tried for every argument; what can be used up, or changed, is made anew by a function.
VALUES = {
    "None": None, "0": 0, "-1": -1, "NaN": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "0.5": 0.5,
    "1e300": 1e300, "5e-324": 5e-324, "10**9": 10**9, "10**12": 10**12, "2**63": 2**63, "10**30": 10**30,
    "10**400": 10**400, "True": True, "False": False, "'x'": "x", "''": "", "'1'": "1", "bytes": b"x",
    "complex": 1j, "object": object(), "type": int, "[]": [], "()": (), "[[1, 2], [3]]": [[1, 2], [3]],
    "[None]": [None], "[1, 'x']": [1, "x"], "{}": {}, "{1: 2}": {1: 2}, "set": set(), "Dataset": xr.Dataset(),
    "DataArray": xr.DataArray([1.5, 2.5], dims="x"), "DataFrame": pd.DataFrame(), "Series": pd.Series(["x"]),
    "array": np.arange(4).reshape(2, 2), "empty array": np.array([]), "array of None": np.array([None]),
    "0-d array": np.array(-1), "NaT": pd.NaT, "NA": pd.NA, "datetime64": np.datetime64("2020-01-01"),
    "complex64": np.complex64(1), "float16": np.float16("nan"), "uint64": np.uint64(2**64 - 1), "int8": np.int8(-1),
    "bool_": np.bool_(True), "str_": np.str_("x"), "masked": np.ma.masked, "longdouble": np.longdouble(10) ** 400,
    "iterator": lambda: iter([1.5, "x"]),
}  # fmt: skip
NEVER = ("NaN", "object", "complex")  # which no argument takes
BOOLS = ("True", "False", "bool_")  # which are no numbers
NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
LISTS = (tuple, iter, spent, np.array, pd.Series, pd.Index, lambda values: xr.DataArray(values, dims="x"))
#: What a message calls an argument where it is not by its name.
CALLED = {
    "acceptance": "candidates", "cached_tokens": "cached tokens", "card": "gpu", "ds": "quantity of a panel|grid|dim",
    "figures": "figure", "frame": "trace|sent_s",
    "gpus": "gpu", "limits": "variable", "name": "engine|gpu|model|measured-on", "objective": "variable",
    "operators": "operator", "path_or_dict": "config|no such file", "patterns": "figure", "price": "gpu",
    "ranges": "argument",
    "settings": "batch_size|seq_len", "sequences": "concurrency|max_num_seqs|batch_size|requests",
    "slo": "objective", "source": "variable",
    "spans": "phases", "x": "variable", "y": "variable",
}  # fmt: skip


def equals(value):
    """The same number, text or bool, or list of them, as other kinds hold it: a function for each kind."""
    if isinstance(value, bool):
        return {"bool_": lambda: np.bool_(value)}
    if isinstance(value, str):
        return {"str_": lambda: np.str_(value)}
    if isinstance(value, int | float):
        kinds = [kind for kind in NUMBERS if np.array(value).astype(kind).astype(float) == value]
        made = {kind: lambda kind=kind: np.array(value).astype(kind)[()] for kind in kinds}
        return made | {"0-d array": lambda: np.array(value)}
    if not isinstance(value, list) or not value or not all(isinstance(each, int | float | str) for each in value):
        return {}
    made = {f"list {i}": lambda make=make: make(value) for i, make in enumerate(LISTS)}
    kinds = NUMBERS if not isinstance(value[0], str) else ()
    kinds = [kind for kind in kinds if (np.array(value).astype(kind).astype(float) == np.array(value)).all()]
    return made | {f"list of {kind}": lambda kind=kind: list(np.array(value).astype(kind)) for kind in kinds}


def call(name, arguments):
    """What a function gives; a warning of arithmetic is an error."""
    function = FUNCTIONS[name.partition("/")[0]]
    first = [arguments.pop(key) for key in ("replica", "pieces") if key in arguments]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        result = function(*first, **arguments)
        return list(result) if name == "search.estimates" else result


def same(a, b):
    """Whether two results are equal, NaN like NaN; charts are not compared."""
    if isinstance(a, Axes):
        return True
    if isinstance(a, xr.Dataset | xr.DataArray):
        return a.identical(b)
    if isinstance(a, pd.DataFrame):
        return a.equals(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    if isinstance(a, float | np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    return bool(a == b)


def fault(name, parameter, value, expected=None, *, refused=False):
    """What is wrong with the answer to a call with another value for one argument, or nothing."""
    arguments = CALLS[name]() | {parameter: value}
    try:
        result = call(name, arguments)
    except ValueError as error:
        message = str(error)
        names = rf"\b({parameter.strip('_')}(_dtype)?|{CALLED.get(parameter, parameter)})\b"
        if "\n" in message or len(message) > 2000:
            return f"not one line: {message[:200]!r}"
        return None if re.search(names, message, re.IGNORECASE) else f"does not name it: {message[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        plt.close("all")
    if expected is not None and not same(expected, result):
        return "another result than for the plain value"
    return "a result" if refused or name in SLOW else None


def test_every_public_function_has_an_example():
    assert {name.partition("/")[0] for name in CALLS} | EQUATIONS | OTHERS == set(FUNCTIONS)
    for name, example in CALLS.items():
        named = set(inspect.signature(FUNCTIONS[name.partition("/")[0]]).parameters) - {"options", "changes"}
        assert set(example()) <= named, name
    whole = {name.partition("/")[0]: set() for name in CALLS}
    for name, example in CALLS.items():
        whole[name.partition("/")[0]] |= set(example())
    for name, given in whole.items():
        left = set(inspect.signature(FUNCTIONS[name]).parameters) - {"options", "changes"} - given
        assert not left or name == "servers.Server", (name, left)  # which has those of `Replica`, too


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_takes_a_value_or_refuses_it_in_one_line(name):
    expected = None if name in SLOW else call(name, CALLS[name]())
    faults, asked = {}, inspect.signature(FUNCTIONS[name.partition("/")[0]]).parameters
    for parameter, example in CALLS[name]().items():
        if name in SLOW:
            tried = {"None": None, "object": object(), "complex": 1j, "array": np.arange(4).reshape(2, 2)}
            if takes_none(asked[parameter]):
                del tried["None"]
        else:
            tried = VALUES
        for kind, value in tried.items():
            made_anew = value() if kind == "iterator" else value
            other = isinstance(example, int | float) and not isinstance(example, bool) and kind in BOOLS
            never = kind in NEVER or (kind == "None" and not takes_none(asked[parameter]))
            faults[parameter, kind] = fault(name, parameter, made_anew, refused=other or never)
        for kind, make in {} if name in SLOW else equals(example).items():
            faults[parameter, f"equal {kind}"] = fault(name, parameter, make(), expected)
    assert {place: what for place, what in faults.items() if what} == {}
