"""Kernel timings that are stored as plain tables: this project's CSV, Vidur's mlp.csv, AIConfigurator's perf tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..common.extras import check_libraries
from ..files.formulas import as_given
from ..measure.columns import OPERATOR_CLASSES, SIZES, TEXTS
from .cells import NATURAL, TIME, Cells, read_cells

#: How number formats are written in timing files, and what they are called here.
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32", "fp8_e4m3": "fp8"}


# This project's own ----------------------------------------------------------------------------------------------


def read_workbench(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read the CSV that `measure` and `timings.write` write; its comment lines are kept as the header."""
    cells = read_cells(path)
    cells.require("operator_class", "time_s")
    notes = cells.text("note")
    noted = (cells.text("time_s") == "") & (notes != "")
    cells.set_aside(noted, [f"line {line}: not measured: {note}" for line, note in notes[noted].items()])
    texts = {name: cells.text(name).map(as_given) for name in TEXTS} | {
        "operator_class": cells.text("operator_class", OPERATOR_CLASSES)
    }
    sizes = {name: cells.number(name, optional=True) for name in SIZES}
    return cells.table(**texts, **sizes, time_s=cells.number("time_s", TIME)), cells


# Vidur ------------------------------------------------------------------------------------------------------------

VIDUR_SIZES = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "num_tokens", "num_tensor_parallel_workers")


def _vidur_shape(operation: str, size: dict[str, pd.Series], gated: pd.Series) -> tuple[str, Any, Any]:
    """Class, n and k of one of Vidur's operations on one of its tensor-parallel workers.

    After vidur/profiling/mlp/mlp_impl.py: column-parallel up and QKV projections, row-parallel down and output.
    """
    h, i, tp = size["n_embd"], size["n_expanded_embd"], size["num_tensor_parallel_workers"]
    head_dim = h / size["n_head"]
    shapes: dict[str, tuple[str, Any, Any]] = {
        "attn_pre_proj": ("gemm", (size["n_head"] + 2 * size["n_kv_head"]) * head_dim / tp, h),
        "attn_post_proj": ("gemm", h, h / tp),
        "mlp_up_proj": ("gemm", i * (1 + gated) / tp, h),
        "mlp_down_proj": ("gemm", h, i / tp),
        "mlp_act": ("elementwise", i / tp, np.nan),
        "attn_rope": ("elementwise", (size["n_head"] + size["n_kv_head"]) * head_dim / tp, np.nan),
        "input_layernorm": ("elementwise", h, np.nan),
        "post_attention_layernorm": ("elementwise", h, np.nan),
        "add": ("elementwise", h, np.nan),
        "emb": ("other", h, np.nan),
    }
    return shapes.get(operation, ("other", np.nan, np.nan))


def read_vidur(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read Vidur's data/profiling/compute/<gpu>/<model>/mlp.csv (microsoft/vidur): medians in ms, fp16.

    A row of the file becomes a row for each timed operation. GPU and model are taken from the path.
    """
    cells = read_cells(path, keep=lambda name: not name.startswith("time_stats.") or name.endswith(".median"))
    cells.require(*VIDUR_SIZES, "use_gated_mlp")
    size = {name: cells.number(name) for name in VIDUR_SIZES}
    gated = cells.text("use_gated_mlp", ("True", "False")) == "True"
    places = path.absolute().parts[:-1]
    gpu, model = ("", "")
    if "compute" in places[:-2]:
        at = len(places) - 1 - places[::-1].index("compute")
        gpu, model = places[at + 1], places[-1]
    parts = []
    for column in filter(lambda name: name.startswith("time_stats."), map(str, cells.frame)):
        operation = column.split(".")[1]
        if empty := int((cells.text(column) == "").sum()):
            cells.problems.append(f"{column}: empty in {empty} rows")
        kind, n, k = _vidur_shape(operation, size, gated)
        part = cells.table(
            source="vidur", gpu=gpu, framework="sarathi", operator_class=kind, dtype="fp16",
            name=f"{model}:{operation}".lstrip(":"), m=size["num_tokens"], n=n, k=k,
            time_s=cells.number(column, TIME, optional=True, drop=False) / 1e3,
        )  # fmt: skip
        parts.append(part[part.time_s.notna()])
    return pd.concat(parts or [cells.table(time_s=np.nan).iloc[:0]]), cells


# AIConfigurator ---------------------------------------------------------------------------------------------------

AICONFIGURATOR_CLASSES = {
    "gemm": "gemm", "context_attention": "attention_prefill", "generation_attention": "attention_decode",
}  # fmt: skip


def read_aiconfigurator(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read AIConfigurator's gemm, context_attention or generation_attention table (ai-dynamo/aiconfigurator), in ms.

    CSV or parquet. `isl` new tokens after `step` cached ones make a context of both; generation computes one token.
    """
    with path.open("rb") as raw:
        parquet = raw.read(4) == b"PAR1"
    cells = _read_parquet(path) if parquet else read_cells(path)
    cells.require("op_name", "latency")
    kind = cells.text("op_name", AICONFIGURATOR_CLASSES).map(AICONFIGURATOR_CLASSES)
    framework = cells.text("framework").str.lower() + "-" + cells.text("version")
    common = {
        "source": "aiconfigurator", "gpu": cells.text("device"), "framework": framework.str.strip("-"),
        "name": cells.text("kernel_source"), "time_s": cells.number("latency", TIME) / 1e3,
    }  # fmt: skip
    if "gemm_dtype" in cells.frame:
        cells.require("m", "n", "k")
        sizes = {name: cells.number(name) for name in ("m", "n", "k")}
        dtype = _plain(cells.text("gemm_dtype"))
        return cells.table(**common, **sizes, operator_class=kind, dtype=dtype), cells
    named = {"batch_size": "batch_size", "n_heads": "num_heads", "n_kv_heads": "num_key_value_heads"}
    cells.require("attn_dtype", "isl", "step", "head_dim", *named.values())
    new = cells.number("isl")
    sizes = {name: cells.number(column) for name, column in named.items()} | {
        "seq_len_q": new.where(kind != "attention_decode", 1.0),
        "seq_len_kv": new + cells.number("step", NATURAL),
        "head_dim": cells.number("head_dim"),
    }
    dtype, cache = _plain(cells.text("attn_dtype")), _plain(cells.text("kv_cache_dtype"))
    dtype = dtype.where((cache == dtype) | (cache == ""), dtype + "/" + cache)
    return cells.table(**common, **sizes, operator_class=kind, dtype=dtype), cells


def _plain(dtype: pd.Series) -> pd.Series:
    return dtype.str.lower().replace(DTYPES)


def _read_parquet(path: Path) -> Cells:
    check_libraries("pyarrow")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Cells(path, frame, header=[], problems=[], unit="row")
