"""Kernel timings that are stored as plain tables: this project's CSV, Vidur's mlp.csv, AIConfigurator's perf tables."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..common.extras import check_libraries
from ..files import reading
from ..files.formulas import as_given
from ..files.reading import Piped, open_bytes
from ..measure.columns import OPERATOR_CLASSES, SIZES, TEXTS, TIMING_COLUMNS
from .cells import EXTRA_COLUMNS, LARGEST, NATURAL, TEXT_EXTRAS, TIME, Cells, read_cells

#: How number formats are written in timing files, and what they are called here.
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32", "fp8_e4m3": "fp8"}


# This project's own ----------------------------------------------------------------------------------------------


def read_workbench(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read the CSV that `measure` and `timings.write` write; its comment lines are kept as the header."""
    cells = read_cells(path, keep={*TIMING_COLUMNS, *EXTRA_COLUMNS, "note"}.__contains__)
    cells.require("operator_class", "time_s")
    notes = cells.text("note")
    noted = (cells.text("time_s") == "") & (notes != "")
    for line, note in notes[noted].items():
        cells.problems.append(f"line {line}: not measured: {' '.join(note[:200].split())}")
    cells.set_aside(noted)
    texts = {name: cells.text(name).map(as_given) for name in TEXTS} | {
        "operator_class": cells.text("operator_class", OPERATOR_CLASSES)
    }
    sized = [name for name in SIZES if name in cells.frame]
    cells.frame[sized] = cells.frame[sized].replace(["0", "0.0", " "], "")  # as some write what a kernel does not have
    sizes = {name: cells.number(name, optional=True) for name in SIZES}
    for name in (name for name in EXTRA_COLUMNS if name in cells.frame):
        texts[name] = (
            cells.text(name).map(as_given)
            if name in TEXT_EXTRAS
            else pd.to_numeric(cells.frame[name], errors="coerce").where(lambda values: np.isfinite(values))
        )
    return cells.table(**texts, **sizes, time_s=cells.number("time_s", TIME)), cells


def plain_dtype(dtype: pd.Series) -> pd.Series:
    """Formats under the names that they have here."""
    return dtype.str.lower().replace(DTYPES)


# Vidur ------------------------------------------------------------------------------------------------------------

VIDUR_SIZES = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "num_tokens", "num_tensor_parallel_workers")
VIDUR_COLUMNS = (*VIDUR_SIZES, "use_gated_mlp")


def _is_median(column: str) -> bool:
    return column.startswith("time_stats.") and column.endswith(".median")


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
    cells = read_cells(path, keep=lambda name: name in VIDUR_COLUMNS or _is_median(name))
    cells.require(*VIDUR_COLUMNS)
    timed = [name for name in map(str, cells.frame) if _is_median(name)]
    if len(timed) * len(cells.frame) > reading.BUDGET.rows:
        raise ValueError(f"{path}: over {reading.BUDGET.rows:,} timings, {len(timed)} in each row: split it")
    size = {name: cells.number(name) for name in VIDUR_SIZES}
    gated = cells.text("use_gated_mlp", ("True", "False")) == "True"
    gpu, model = _vidur_place(path)
    shapes = {column: _vidur_shape(column.split(".")[1], size, gated) for column in timed}
    lengths = pd.DataFrame({(column, at): shapes[column][at] for column in timed for at in (1, 2)}, cells.frame.index)
    divides = (lengths.isna() | ((lengths % 1 == 0) & (lengths < LARGEST))).all(axis=1)
    cells.refuse("num_tensor_parallel_workers", ~divides, "a divisor of every layer's size")
    parts = []
    for column, (kind, n, k) in shapes.items():
        operation = column.split(".")[1]
        if empty := int((cells.text(column) == "").sum()):
            cells.problems.append(f"{column}: empty in {empty} rows")
        part = cells.table(
            source="vidur", gpu=gpu, framework="sarathi", operator_class=kind, dtype="fp16",
            name=f"{model}:{operation}".lstrip(":"), m=size["num_tokens"], n=n, k=k,
            time_s=cells.number(column, TIME, optional=True, drop=False) / 1e3,
        )  # fmt: skip
        parts.append(part[part.time_s.notna()])
    return pd.concat(parts or [cells.table(time_s=np.nan).iloc[:0]]), cells


def _vidur_place(path: Path) -> tuple[str, str]:
    """GPU and model of a file, after its folders: profiling/compute/<gpu>/<model>; empty elsewhere."""
    places = path.absolute().parts[:-1]
    if "compute" not in places[:-2]:
        return "", ""
    at = len(places) - 1 - places[::-1].index("compute")
    return places[at + 1], places[-1]


VIDUR_ATTENTION = ("n_embd", "n_q_head", "n_kv_head", "num_tensor_parallel_workers", "batch_size")
VIDUR_ATTENTION_TIMES = {True: "time_stats.attn_prefill.median", False: "time_stats.attn_decode.median"}


def read_vidur_attention(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read Vidur's data/profiling/compute/<gpu>/<model>/attention.csv (microsoft/vidur): medians in ms, fp16.

    A row is a prompt of `prefill_chunk_size` tokens for each of `batch_size` sequences, or one token for each; both
    over `kv_cache_size` tokens that each has in its cache (vidur/profiling/attention/attention_wrapper.py).
    """
    more = ("prefill_chunk_size", "kv_cache_size", "is_prefill")
    cells = read_cells(path, keep={*VIDUR_ATTENTION, *more, *VIDUR_ATTENTION_TIMES.values()}.__contains__)
    cells.require(*VIDUR_ATTENTION, *more, *VIDUR_ATTENTION_TIMES.values())
    prompt = cells.text("is_prefill", ("True", "False")) == "True"
    size = {name: cells.number(name) for name in VIDUR_ATTENTION}
    chunk, cache = cells.number("prefill_chunk_size", NATURAL), cells.number("kv_cache_size", NATURAL)
    tp, heads = size["num_tensor_parallel_workers"], size["n_q_head"]
    divides = (heads % tp == 0) & ((size["n_kv_head"] % tp == 0) | (tp % size["n_kv_head"] == 0))
    cells.refuse("num_tensor_parallel_workers", ~divides, "a divisor of the number of heads")
    gpu, model = _vidur_place(path)
    new = chunk.where(prompt, 1.0)
    both = {which: cells.number(name, TIME, optional=True, drop=False) for which, name in VIDUR_ATTENTION_TIMES.items()}
    table = cells.table(
        source="vidur", gpu=gpu, framework="sarathi", dtype="fp16", name=f"{model}:attention".lstrip(":"),
        operator_class=np.where(prompt, "attention_prefill", "attention_decode"), batch_size=size["batch_size"],
        seq_len_q=new, seq_len_kv=(cache + new).clip(lower=1), n_heads=heads / tp,
        n_kv_heads=(size["n_kv_head"] / tp).clip(lower=1), head_dim=size["n_embd"] / heads,
        time_s=both[True].where(prompt, both[False]) / 1e3,
    )  # fmt: skip
    return table[table.time_s.notna() & (table.seq_len_q > 0)], cells


# Parquet ----------------------------------------------------------------------------------------------------------

PARQUET = b"PAR1"


def read_parquet(path: Path, wanted: Collection[str]) -> Cells:
    """Those columns of a parquet file that are wanted, unfolded by a process with limits of its own (`parquet`)."""
    check_libraries("pyarrow")
    import pyarrow as pa

    most = reading.BUDGET
    limits = {
        "wanted": sorted(wanted), "rows": most.rows, "columns": most.columns, "texts": most.text // 4,
        "footer": most.small,
    }  # fmt: skip
    command = [sys.executable, "-P", str(Path(__file__).with_name("parquet.py")), json.dumps(limits)]
    with open_bytes(path, unfold=False) as file:
        given: dict[str, Any] = {"input": path.content} if isinstance(path, Piped) else {"stdin": file}
        run = subprocess.run(command, capture_output=True, check=False, **given)
    told = run.stderr.decode(errors="replace").strip().splitlines() if run.returncode > 0 else []
    try:
        if run.returncode:
            raise ValueError(told[-1][:300] if told else "Arrow breaks, or takes over 512 MiB or 10 s")
        table = pa.ipc.open_stream(run.stdout).read_all()
        words = _words(table)
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error})") from None
    frame = pd.DataFrame({n: words[n] if n in words else table.column(n).to_numpy() for n in table.column_names})
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Cells(path, frame, unit="row", columns=json.loads(table.schema.metadata[b"names"]))


def _words(table: Any) -> dict[str, np.ndarray]:
    """Columns of texts, each text held once; None where it is null."""
    columns, size, room = dict[str, np.ndarray](), 0, reading.BUDGET.text // 2
    for name in (field.name for field in table.schema if hasattr(field.type, "index_type")):
        parts = [np.array([], object)]
        for chunk in table.column(name).chunks:
            words = [*chunk.dictionary.to_pylist(), None]
            places = chunk.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)
            size += int(np.array([_held(word or "") for word in words])[places].sum())
            if size > room:
                raise ValueError(f"texts of over {room >> 20:,} MiB")
            parts.append(np.array(words, object)[places])
        columns[name] = np.concatenate(parts)
    return columns


def _held(text: str) -> int:
    """What a text takes as it is held, at most [byte]."""
    return len(text) * (1 if text.isascii() else 4)
