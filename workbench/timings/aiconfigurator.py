"""Kernel timings out of AIConfigurator's tables: matrix products, attention, latent attention, experts, collectives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..files.reading import starts_with
from .cells import NATURAL, TIME, Cells, read_cells
from .tables import PARQUET, plain_dtype, read_parquet

AICONFIGURATOR_CLASSES = {
    "gemm": "gemm", "context_attention": "attention_prefill", "generation_attention": "attention_decode",
    "context_mla": "mla_prefill", "mla_context": "mla_prefill", "generation_mla": "mla_decode",
    "mla_generation": "mla_decode", "moe": "moe", "all_reduce": "all_reduce", "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter", "alltoall": "all_to_all",
}  # fmt: skip
AICONFIGURATOR_COLUMNS = {
    "op_name", "latency", "framework", "version", "device", "kernel_source", "gemm_dtype", "m", "n", "k", "attn_dtype",
    "kv_cache_dtype", "batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "window_size",
    "mla_dtype", "tp_size", "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts",
    "moe_tp_size", "moe_ep_size", "distribution", "nccl_dtype", "allreduce_dtype", "num_gpus", "message_size",
}  # fmt: skip
MLA_HEADS = 128  #: of DeepSeek-V3, which older tables are of, without a column of heads
MESSAGE_WIDTH = {"int8": 1.0, "fp8": 1.0, "fp32": 4.0}  #: of an element, where it has not 2 bytes [byte]


def read_aiconfigurator(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read one of AIConfigurator's perf tables (ai-dynamo/aiconfigurator, collector/), CSV or parquet, times in ms.

    gemm, attention, mla, moe, nccl and custom_allreduce. `isl` new tokens after `step` cached ones make a context of
    both; generation computes one token. `window_size` is the column window, empty where a token sees all. A moe row is
    a whole layer, its experts over moe_tp_size and moe_ep_size GPUs; messages are in elements there, in bytes here.
    """
    parquet = starts_with(path, PARQUET)
    cells = (
        read_parquet(path, AICONFIGURATOR_COLUMNS)
        if parquet
        else read_cells(path, keep=AICONFIGURATOR_COLUMNS.__contains__)
    )
    if {"operator", "kernel_source"} <= {*cells.columns}:
        raise ValueError(f"{path}: a table of operators: workbench calibrate --judge FILE")
    cells.require("op_name", "latency")
    named = [name for name in TABLES if name in cells.frame]
    if not named:
        found = ", ".join(cells.columns or map(str, cells.frame))[:300]
        raise ValueError(f"{path}: no column of {', '.join(TABLES)}: not a table that is read; its columns: {found}")
    kind = cells.text("op_name", AICONFIGURATOR_CLASSES).map(AICONFIGURATOR_CLASSES)
    framework = cells.text("framework").str.lower() + "-" + cells.text("version")
    sizes = TABLES[named[0]](cells, kind)
    dtype = plain_dtype(cells.text(named[0]))
    if named[0] in ("attn_dtype", "mla_dtype"):
        cache = plain_dtype(cells.text("kv_cache_dtype"))
        dtype = dtype.where((cache == dtype) | (cache == ""), dtype + "/" + cache)
    table = cells.table(
        source="aiconfigurator", gpu=cells.text("device"), framework=framework.str.strip("-"),
        name=cells.text("kernel_source"), time_s=cells.number("latency", TIME) / 1e3, operator_class=kind, dtype=dtype,
        **sizes,
    )  # fmt: skip
    return table, cells


def _product(cells: Cells, _: pd.Series) -> dict[str, Any]:
    cells.require("m", "n", "k")
    return {name: cells.number(name) for name in ("m", "n", "k")}


def _tokens(cells: Cells, decode: pd.Series) -> dict[str, Any]:
    new = cells.number("isl")
    return {
        "batch_size": cells.number("batch_size"), "seq_len_q": new.where(~decode, 1.0),
        "seq_len_kv": new + cells.number("step", NATURAL),
    }  # fmt: skip


def _heads(cells: Cells, kind: pd.Series) -> dict[str, Any]:
    named = {"n_heads": "num_heads", "n_kv_heads": "num_key_value_heads", "head_dim": "head_dim"}
    cells.require("batch_size", "isl", "step", *named.values())
    sizes = _tokens(cells, kind == "attention_decode") | {name: cells.number(column) for name, column in named.items()}
    if "window_size" in cells.frame:
        given = pd.to_numeric(cells.frame["window_size"], errors="coerce")  # 0 or -1: none
        sizes["window"] = given.where(given > 0)
    return sizes


def _latent(cells: Cells, kind: pd.Series) -> dict[str, Any]:
    cells.require("batch_size", "isl", "step")
    if "num_heads" not in cells.frame:
        cells.require("tp_size")
    heads = cells.number("num_heads") if "num_heads" in cells.frame else MLA_HEADS / cells.number("tp_size")
    return _tokens(cells, kind == "mla_decode") | {"n_heads": heads}


def _experts(cells: Cells, _: pd.Series) -> dict[str, Any]:
    named = {
        "m": "num_tokens", "n": "inter_size", "k": "hidden_size", "n_experts": "num_experts",
        "experts_per_token": "topk", "tp": "moe_tp_size", "ep": "moe_ep_size",
    }  # fmt: skip
    cells.require(*named.values())
    skew = cells.text("distribution").str.extract(r"power_law_([\d.]+)", expand=False)
    return {name: cells.number(column) for name, column in named.items()} | {
        "skew": pd.to_numeric(skew, errors="coerce").fillna(0.0)
    }


def _message(cells: Cells, _: pd.Series) -> dict[str, Any]:
    cells.require("num_gpus", "message_size")
    column = "nccl_dtype" if "nccl_dtype" in cells.frame else "allreduce_dtype"
    width = plain_dtype(cells.text(column)).map(MESSAGE_WIDTH).astype(float).fillna(2.0)
    return {"gpus": cells.number("num_gpus"), "message_bytes": cells.number("message_size") * width}


#: Sizes of a table's rows, by the column of its format.
TABLES: dict[str, Callable[[Cells, pd.Series], dict[str, Any]]] = {
    "gemm_dtype": _product, "attn_dtype": _heads, "mla_dtype": _latent, "moe_dtype": _experts, "nccl_dtype": _message,
    "allreduce_dtype": _message,
}  # fmt: skip
