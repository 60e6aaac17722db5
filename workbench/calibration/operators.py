"""Reader of a table of operator timings of many GPUs and engines, which the catalog's fits are made from.

A parquet file with a row a timing and the columns gpu, engine, version, operator, dtype, kv_dtype, kernel_source,
distribution, m, n, k, batch_size, new_tokens, context, n_heads, n_kv_heads, head_dim, window, n_experts, top_k, tp, ep,
gpus, message_bytes (in elements), phase and time_s: AIConfigurator's tables (github.com/ai-dynamo/aiconfigurator,
Apache-2.0) put together.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ..catalog.dtypes import KERNEL_FORMATS
from ..catalog.engine_entries import engines
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.gpu_entries import gpus
from ..common.errors import unknown
from ..files.reading import given_file, starts_with
from ..kernels.gemm import replayed_sets
from ..timings.cells import Cells
from ..timings.tables import PARQUET, read_parquet

#: Columns of numbers under the names that the fits know them by.
COLUMNS_AS = {
    "m": "m", "n": "n", "k": "k", "batch_size": "batch_size", "new_tokens": "seq_len_q", "context": "seq_len_kv",
    "n_heads": "n_heads", "n_kv_heads": "n_kv_heads", "head_dim": "head_dim", "window": "window",
    "n_experts": "n_experts", "top_k": "experts_per_token", "tp": "tp", "ep": "ep", "gpus": "gpus",
    "message_bytes": "message_bytes", "time_s": "time_s",
}  # fmt: skip
WORDS = ("gpu", "engine", "version", "operator", "dtype", "kv_dtype", "kernel_source", "distribution", "phase")
#: GPUs whose id in the catalog is not their name with dashes.
NAMES = {"a100-sxm": "a100-80gb-sxm"}
BLACKWELL, HOPPER = ("b200-sxm", "b300-sxm", "gb200", "gb300"), ("h100-sxm", "h200-sxm")
#: Kinds of kernels by operator; those of linear attention follow from the kernel.
KINDS_OF = {
    "gemm": "gemm", "moe": "moe", "attention_prefill": "prefill", "attention_decode": "decode",
    "mla_prefill": "mla_prefill", "mla_decode": "mla_decode", "all_reduce": "all_reduce", "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter", "alltoall": "all_to_all",
}  # fmt: skip
LINEAR = ("gdn", "kda")
#: Formats by dtype, where it is not the format's own name.
FORMAT_OF = {
    "": "bf16", "bfloat16": "bf16", "float16": "bf16", "half": "bf16", "sq": "int8", "w4a16_mxfp4": "mxfp4_wo",
    "w4a8_mxfp4_mxfp8": "mxfp4_fp8",
}  # fmt: skip
#: Kernel libraries by what a kernel's name holds, the first that is found.
LIBRARIES = {
    "gemm": {
        "deepgemm": "deepgemm", "triton": "triton", "cutedsl": "cutedsl", "cutlass": "cutlass",
        "sgl_kernel": "cutlass", "flashinferfp8block": "trtllm-gen", "plugin": "trtllm-plugin", "linear": "cublas",
        "sglang": "cublas", "vllm_default": "cublas", "": "trtllm",
    },
    "moe": {
        "trtllm": "trtllm-gen", "marlin": "marlin", "triton": "triton", "vllm_fused_moe": "triton",
        "cutlass": "cutlass", "nongated": "cutlass", "": "trtllm",
    },
    "gdn": {"flashinfer": "flashinfer", "": "triton"},
    "kda": {"flashkda": "flashkda", "fused_kda": "cuda", "kda_fused": "cuda", "": "triton-kda"},
    "": {
        "trtllm": "trtllm-gen", "fa3": "fa3", "flashmla": "flashmla", "triton": "triton", "flashinfer": "flashinfer",
        "flash_attn_mla": "fa3", "flash_attn": "fa2", "flash_attention": "fa2",
        "nccl": "nccl", "custom": "one-shot", "": "trtllm",
    },
}  # fmt: skip


def read_operators(path: str | Path) -> pd.DataFrame:
    """Read a table of operator timings.

    Parameters
    ----------
    path : str or Path
        The parquet file.

    Returns
    -------
    pd.DataFrame
        For `fit`: gpu, a catalog id; operator_class; engine, version, family and format, by which fits differ; kernel;
        sizes [1], message_bytes [byte] and time_s [s]; skew, the exponent of a power law by which tokens choose
        experts, 0 where all get the same; gated, false of experts without a gate. ``attrs["left_out"]`` counts the rows
        that no fit is to see, by reason.

    Raises
    ------
    ValueError
        In one line, for a file that is not such a table.
    """
    path = given_file(path)
    if not starts_with(path, PARQUET):
        raise ValueError(f"{path}: not a table of operators, which is a parquet file")
    cells = read_parquet(path, {*WORDS, *COLUMNS_AS})
    cells.require("gpu", "engine", "operator", "dtype", "time_s")
    texts = pd.DataFrame({name: cells.text(name) for name in WORDS})
    numbers = pd.DataFrame({name: pd.to_numeric(column(cells, name)) for name in COLUMNS_AS})
    ids = texts.gpu.str.replace("_", "-").replace(NAMES)
    linear = np.where(texts.kernel_source.str.contains("chunk|flashkda"), "linear_chunk", "linear_step")
    kinds = texts.operator.map(KINDS_OF).mask(texts.operator.isin(LINEAR), pd.Series(linear, texts.index))
    form = texts["dtype"].replace(FORMAT_OF)
    attention = texts.operator.str.contains("attention|mla")
    cached = attention & texts.kv_dtype.eq("fp8") & form.ne("fp8")
    collective = numbers.message_bytes.notna()
    table = numbers.rename(columns=COLUMNS_AS).assign(
        gpu=ids, operator_class=kinds, engine=texts.engine, version=texts.version, kernel=texts.kernel_source,
        family=[_family(*row) for row in zip(texts.operator, texts.kernel_source, ids, strict=True)],
        format=form.mask(cached, "fp8_cache").mask(collective, "bf16"),
        dtype=np.where(form.eq("fp8"), "fp8", "bf16"),
        skew=pd.to_numeric(texts.distribution.str.rpartition("_")[2], errors="coerce").fillna(0.0),
        message_bytes=numbers.message_bytes * np.where(texts["dtype"].eq("int8"), 1, 2),
        gated=_gated(numbers, texts.kernel_source),
    )  # fmt: skip
    table["copies"] = _copies(table)
    table["launched"] = np.where(
        kinds.eq("gemm") & table.format.eq("fp8_block") & texts.engine.eq("vllm"), "host", "graph"
    )
    if bad := sorted(set(table.format) - set(KERNEL_FORMATS)):
        raise unknown(f"dtype of {path}", bad[0], [*FORMAT_OF, *KERNEL_FORMATS])
    if strange := sorted(set(table.engine) - {*engines(), "nccl"}):
        raise unknown(f"engine of {path}", strange[0], [*engines(), "nccl"])
    reasons = _left_out(texts, table)
    why = pd.Series("", index=table.index)
    for reason, rows in reasons.items():
        why = why.mask(rows & why.eq(""), reason)
    kept = table[why.eq("")].reset_index(drop=True)
    if kept.empty:
        raise ValueError(f"{path}: no row that a fit is to see: {', '.join(set(why)) or 'the table is empty'}")
    kept.attrs["left_out"] = why[why.ne("")].value_counts().to_dict()
    return kept


def column(cells: Cells, name: str) -> pd.Series:
    """A column as it stands, NaN where the file has none."""
    return cells.frame[name] if name in cells.frame else pd.Series(np.nan, index=cells.frame.index)


def _family(operator: str, kernel: str, gpu: str) -> str:
    names = LIBRARIES.get(operator, LIBRARIES[""])
    found = next(family for part, family in names.items() if part in kernel.lower())
    if found == "fa2" and operator.startswith("mla"):
        found = "fa3"
    if found == "fa2" and gpu in HOPPER:
        found = "fa3"
    if found == "trtllm" and operator == "all_reduce":
        return "one-shot"
    if found == "trtllm" and operator not in ("gemm", *LINEAR):
        return "trtllm-gen" if gpu in BLACKWELL else "cutlass" if operator == "moe" else "trtllm"
    return found


def _copies(table: pd.DataFrame) -> np.ndarray:
    """Sets of weights that an engine's benchmark of GEMMs uses in turn, 1 elsewhere [1]."""
    copies = pd.Series(1.0, table.index)
    products = table[table.operator_class.eq("gemm") & table.gpu.isin(gpus())]
    for key, rows in products.groupby(["gpu", "engine", "format"]):
        name, engine, form = map(str, key)
        stored = KERNEL_FORMATS[form].stored * (rows.n * rows.k).to_numpy()
        copies[rows.index] = replayed_sets(engine, form, stored, find_gpu(name))
    return copies.to_numpy()


def _gated(numbers: pd.DataFrame, kernel: pd.Series) -> np.ndarray:
    """Whether experts have a gate: not those of a shape that some kernel named "nongated" runs, in any engine."""
    shapes = pd.MultiIndex.from_frame(numbers[["k", "n", "n_experts", "top_k"]])
    return ~shapes.isin(shapes[kernel.str.contains("nongated")].unique())


def _left_out(texts: pd.DataFrame, table: pd.DataFrame) -> dict[str, pd.Series]:
    """Rows that no fit is to see, by reason."""
    hopper, kernel, engine, operator = table.gpu.isin(HOPPER), texts.kernel_source, texts.engine, texts.operator
    sglang, vllm = engine.eq("sglang"), engine.eq("vllm")
    short = (operator == "attention_decode") & (table.seq_len_kv < 128)
    shared = (operator == "attention_decode") & (table.n_heads > 16 * table.n_kv_heads)
    untuned = kernel.str.contains("cutlass") & (
        vllm & texts["dtype"].eq("fp8") | sglang & texts["dtype"].eq("bfloat16")
    )
    return {
        "GPUs that are not in the catalog": ~table.gpu.isin(gpus()),
        "operators without a law": table.operator_class.isna(),
        "convolutions of linear attention, and its verification of drafts": operator.isin(LINEAR)
        & (kernel.str.contains("conv1d") | texts.phase.eq("verify")),
        "SGLang's B300, the numbers of its GB300": sglang & table.gpu.eq("b300-sxm"),
        "NCCL 1.3.0rc10": table.message_bytes.notna() & texts.version.eq("1.3.0rc10"),
        "MLA of vLLM 0.14, timed with its host": vllm
        & texts.version.str.startswith("0.14")
        & operator.str.match("mla"),
        "SGLang's MLA on Hopper, which casts the fp8 cache": sglang & hopper & operator.eq("mla_decode")
        & texts.kv_dtype.eq("fp8"),
        "SGLang's MLA prefill by FA3 and Triton, several times slower than others": sglang & operator.eq("mla_prefill")
        & (kernel.eq("triton") | hopper),
        "MLA prefill by TensorRT-LLM 1.0 in fp8 on an A100, which has none": table.gpu.eq("a100-80gb-sxm")
        & operator.str.match("mla") & texts.kv_dtype.eq("fp8"),
        "FlashInfer's CUTLASS MoE on Hopper, untuned": hopper & operator.eq("moe") & untuned,
        "MoE of vLLM 0.14 and TensorRT-LLM 1.0, whose benchmarks put few rows on one GPU": operator.eq("moe")
        & (vllm & texts.version.str.startswith("0.14") | engine.eq("trtllm") & texts.version.str.startswith("1.0"))
        & (table.ep > 1)
        & (table.m * table.experts_per_token <= table.n_experts),
        "SGLang's Triton attention": sglang & kernel.eq("triton") & operator.str.startswith("attention"),
        "decoding over fewer than 128 tokens": short,
        "more than 16 query heads a KV head": shared,
        "prompts of fewer than 128 tokens": operator.str.endswith("_prefill") & (table.seq_len_q < 128),
        "latent decoding over fewer than 256 tokens": operator.eq("mla_decode") & (table.seq_len_kv < 256),
        "decoding of shared KV heads by TensorRT-LLM 1.0 on an A100, faster than its memory": engine.eq("trtllm")
        & table.gpu.eq("a100-80gb-sxm") & operator.eq("attention_decode") & (table.n_heads > table.n_kv_heads),
        "linear attention that moves less than its state in fp32": operator.isin(LINEAR)
        & kernel.eq("fused_recurrent_gated_delta_rule"),
        "collectives launched eagerly": kernel.str.endswith("_eager"),
    }  # fmt: skip
