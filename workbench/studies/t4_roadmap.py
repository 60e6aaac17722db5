"""The T4 report's optimization roadmap: what each change would gain, computed, beside the report's guess.

There are two ways to compute a gain. "server" is the report's server as `published.T4_SERVER` is calibrated: its AWQ
kernel, which unpacks the weights for every 16 rows, and its overhead of each sequence stay. "kernels" are its kernels
alone (`serving.estimate`), which unpack the weights once. "roof" is the ideal roof at contexts of the report's table.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from ..catalog.dtypes import element_bytes
from ..catalog.gpu_entries import gpu
from ..catalog.model_entries import Model, model
from ..common.errors import unknown
from ..kernels.times import EAGER_LAUNCH
from ..published.t4 import (
    PRINTED_ROWS,
    T4_ASKED_TOKENS,
    T4_CALIBRATED,
    T4_PROMPT,
    T4_RUNNING,
    T4_SERVER,
    t4_requests,
)
from ..servers import drafts
from ..servers.server import Server
from ..serving import estimation
from ..signatures import typed
from ..simulation.client import simulate
from ..simulation.workloads import closed_loop
from .t4_static import batching_gain

Row = tuple[str, int | None, str, float]  # setting, sequences, computed by, gain

#: Units of the gains.
THROUGHPUT, LATENCY_SAVED, MEMORY_SAVED = "x tokens/s", "% of latency saved", "% of memory saved"
#: The share of drafted tokens that is accepted, low and high: a guess, as the report names none [1].
ACCEPTANCE = (0.6, 0.8)
DRAFTED = 4  # tokens a step
TENSOR_PARALLEL = (2, 4)  # T4s over PCIe [1]


def roadmap() -> pd.DataFrame:
    """Compute every change of the report's roadmap and of its recommendations.

    Returns
    -------
    pandas.DataFrame
        A row for each change and setting. sequences, how many run at a time, NaN where it does not matter [1];
        computed_by, "server", "kernels" or "roof" (see the module), "requests", by the lengths asked for, or "memory";
        guess_low and guess_high, what the report expects, NaN where it gives no figure; gain; and the unit of all
        three: "x tokens/s", over those of today, "% of latency saved" or "% of memory saved".
    """
    rows = [
        (change, setting, sequences or np.nan, computed_by, *(guess or (np.nan, np.nan)), gain, unit)
        for change, (unit, guess, _) in CHANGES.items()
        for setting, sequences, computed_by, gain in _rows(change)
    ]
    columns = ["change", "setting", "sequences", "computed_by", "guess_low", "guess_high", "gain", "unit"]
    return pd.DataFrame(rows, columns=columns)


@typed()
def gains(change: str, setting: str = "*", *, computed_by: str = "*") -> list[float]:
    """Compute what one change of the roadmap gains.

    Parameters
    ----------
    change : str
        Its name in `roadmap`.
    setting, computed_by : str, optional
        Globs over those columns of `roadmap`; by default all of its rows.

    Returns
    -------
    list of float
        The gain in each of these rows, in the unit that `roadmap` names.

    Raises
    ------
    ValueError
        For an unknown change, or where it has no such row; the message has the nearest name.
    """
    if change not in CHANGES:
        raise unknown("change", change, CHANGES)
    rows = _rows(change)
    for place, name, pattern in ((0, "setting", setting), (2, "computed_by", computed_by)):
        names = list(dict.fromkeys(str(row[place]) for row in rows))
        rows = tuple(row for row in rows if fnmatchcase(str(row[place]), pattern))
        if not rows:
            raise unknown(f"{name} of {change!r}", pattern, names)
    return [gain for *_, gain in rows]


@cache
def _rows(change: str) -> tuple[Row, ...]:
    return tuple(CHANGES[change][2]())


# Two rates --------------------------------------------------------------------------------------------------------


@typed()
def server_rate(sequences: int, **changes: Any) -> float:
    """Simulate the throughput of the report's server, always full.

    Parameters
    ----------
    sequences : int
        Requests of the report's mean size that run at a time [1].
    **changes
        To the server: fields of `simulation.Server`.

    Returns
    -------
    float
        Tokens generated per second [1/s].
    """
    server = replace(Server(**T4_SERVER), max_num_seqs=sequences, **changes)
    load = closed_loop(
        sequences, requests=4 * sequences, prompt=T4_PROMPT, output=T4_ASKED_TOKENS, cached=T4_PROMPT - 4
    )
    engine = simulate(server, load).attrs["engine"]
    return float(engine["generated_tokens"] / engine["duration"])


@cache
def _rate_today(sequences: int) -> float:
    return server_rate(sequences)


def _server_gain(sequences: int, **changes: Any) -> float:
    return server_rate(sequences, **changes) / _rate_today(sequences)


@typed()
def kernel_rate(sequences: int, *, card: str = T4_SERVER["gpu"], **options: Any) -> float:
    """Compute the throughput of the kernels alone, always full.

    Parameters
    ----------
    sequences : int
        Requests of the report's mean size that run at a time [1].
    card : str, optional
        Catalog id of the GPU; by default the report's T4.
    **options
        Of `serving.estimate`.

    Returns
    -------
    float
        Tokens generated per second of decoding: prompts take no time [1/s].
    """
    own = ("gemm_efficiency", "max_model_len", "engine")
    given = {name: T4_SERVER[name] for name in own} | options
    ds = estimation.estimate(card, T4_SERVER["model"], sequences, T4_PROMPT, T4_ASKED_TOKENS, **given)
    return sequences / float(ds.tpot.squeeze())


# The changes ------------------------------------------------------------------------------------------------------


def _batch() -> Iterator[Row]:
    for ways, rate in (("server", _rate_today), ("kernels", kernel_rate)):
        for sequences in (4, 8):
            yield f"{sequences} in place of 1", sequences, ways, rate(sequences) / rate(1)
    for context in PRINTED_ROWS["decode"]:
        ideal = batching_gain([4, 8], context).sel(source="workbench").squeeze("seq_len")
        for sequences in (4, 8):
            gain = float(ideal.sel(batch_size=sequences))
            yield f"{sequences} in place of 1, at {context:,} tokens", sequences, "roof", gain


def _recommended_batch() -> Iterator[Row]:
    for sequences in (4, 8):
        gain = _rate_today(sequences) / _rate_today(T4_RUNNING)
        yield f"{sequences} in place of {T4_RUNNING}", sequences, "server", gain


def _graphs() -> Iterator[Row]:
    """Launches run ahead of the GPU unless the kernels are shorter; at worst every kernel waits for its own."""
    for sequences in (1, T4_RUNNING):
        step = sequences / kernel_rate(sequences)
        launches = sequences / kernel_rate(sequences, launch_latency=EAGER_LAUNCH) - step
        yield "launches ahead of the GPU", sequences, "kernels", 100 * (1 - step / max(step, launches))
        yield "every launch waited for", sequences, "kernels", 100 * launches / (step + launches)


def _flash() -> Iterator[Row]:
    """Scores of one layer, which a fused kernel never writes, of a step full of short prompts or of the longest."""
    card, sizes = _server_card(), model(T4_SERVER["model"])
    for prompt in (T4_PROMPT, T4_SERVER["max_model_len"]):
        prompts = T4_SERVER["max_num_batched_tokens"] // prompt
        scores = prompts * sizes.n_heads * prompt**2 * element_bytes("fp16")
        yield f"prompts of {prompt:,} tokens", None, "memory", 100 * scores / card


def _speculation() -> Iterator[Row]:
    """98 sequences and a draft model do not fit on the card together."""
    drafter = model("tinyllama-1.1b").model_copy(update={"quantization": model(T4_SERVER["model"]).quantization})
    for sequences in (1, 64):
        for alpha in ACCEPTANCE:
            draft = drafts.draft_model(drafter, depth=DRAFTED, alpha=alpha)
            gain = kernel_rate(sequences, draft=draft, **T4_CALIBRATED) / kernel_rate(sequences, **T4_CALIBRATED)
            yield f"TinyLlama drafts {DRAFTED}, {alpha:.0%} accepted", sequences, "server", gain


@typed()
def kv_cache_saved(sizes: Model, dtype: str = "fp16") -> float:
    """How much smaller a KV cache is than one in fp16 with a KV head for every query head.

    Parameters
    ----------
    sizes : Model
        The model.
    dtype : str, default "fp16"
        Format of the cache.

    Returns
    -------
    float
        Of that cache's bytes [%].
    """
    full = 2 * sizes.n_layers * sizes.n_heads * sizes.head_dim * element_bytes("fp16")
    return 100 * (1 - sizes.kv_elements_per_token * element_bytes(dtype) / full)


def _narrow_cache(dtype: str) -> Iterator[Row]:
    sizes = model(T4_SERVER["model"])
    saved = kv_cache_saved(sizes, dtype)
    cache_bytes = T4_SERVER["kv_tokens"] * sizes.kv_elements_per_token * element_bytes("fp16")
    yield "of the cache", None, "memory", saved
    yield "of the GPU's memory", None, "memory", saved * cache_bytes / _server_card()


def _narrow_cache_speed() -> Iterator[Row]:
    for dtype, bits in (("int8", 8), ("int4", 4)):
        for sequences in (1, T4_RUNNING):
            yield f"{bits} bit", sequences, "server", _server_gain(sequences, kv_dtype=dtype)


def _continuous() -> Iterator[Row]:
    """A static batch runs until its longest answer ends, every step as long as with all of them in it."""
    lengths = np.array(t4_requests(20, 60)["output_tokens"])
    batches = lengths[: len(lengths) // T4_RUNNING * T4_RUNNING].reshape(-1, T4_RUNNING)
    gain = float(T4_RUNNING * batches.max(axis=1).sum() / batches.sum())
    yield "against batches that wait for their longest", T4_RUNNING, "requests", gain


def _with_heads() -> Iterator[tuple[str, Model]]:
    """The report's model with fewer KV heads."""
    sizes = model(T4_SERVER["model"])
    for heads in (8, 1):
        variant = sizes.model_copy(update={"n_kv_heads": heads, "published_parameters": None})
        yield f"GQA, {heads} KV heads" if heads > 1 else "MQA, 1 KV head", variant


def _fewer_heads() -> Iterator[Row]:
    for name, variant in _with_heads():
        yield name, None, "memory", kv_cache_saved(variant)


def _fewer_heads_speed() -> Iterator[Row]:
    for name, variant in _with_heads():
        for sequences in (1, T4_RUNNING):
            yield name, sequences, "server", _server_gain(sequences, model=variant)


def _distillation() -> Iterator[Row]:
    for name, size in (("llama-3.2-3b", "3B"), ("tinyllama-1.1b", "1.1B")):
        for sequences in (1, T4_RUNNING):
            gain = _server_gain(sequences, model=name, weight_dtype="awq")
            yield f"to {size}, AWQ as well", sequences, "server", gain


def _tensor_parallel() -> Iterator[Row]:
    for count in TENSOR_PARALLEL:
        for sequences in (1, T4_RUNNING):
            yield f"{count} T4 over PCIe", sequences, "server", _server_gain(sequences, tp=count)


def _other(card: str) -> Iterator[Row]:
    for sequences in (1, T4_RUNNING):
        yield "same kernel and host", sequences, "server", _server_gain(sequences, gpu=card)
        yield "kernels alone", sequences, "kernels", kernel_rate(sequences, card=card) / kernel_rate(sequences)


def _unpacked_once() -> Iterator[Row]:
    for sequences in (1, T4_RUNNING):
        gain = _server_gain(sequences, gemm_rows=None, dequantize_rows=None)
        yield "a kernel without m16", sequences, "server", gain


def _free_host() -> Iterator[Row]:
    for sequences in (1, T4_RUNNING):
        yield "no overhead of a sequence", sequences, "server", _server_gain(sequences, sequence_overhead=0.0)


def _server_card() -> float:
    """Memory of the card as it is sold, of which the report takes shares [byte]."""
    return 1e9 * (gpu(T4_SERVER["gpu"]).memory.capacity_gb or np.nan)


#: By name: the unit of the gain, what the report expects of it, and what computes its rows.
CHANGES: dict[str, tuple[str, tuple[float, float] | None, Callable[[], Iterator[Row]]]] = {
    "Larger batch": (THROUGHPUT, (3, 5), _batch),
    "Batch of 4 to 8, as recommended": (THROUGHPUT, None, _recommended_batch),
    "CUDA graphs": (LATENCY_SAVED, (10, 20), _graphs),
    "Flash attention": (MEMORY_SAVED, (20, 30), _flash),
    "Speculative decoding": (THROUGHPUT, (2, 3), _speculation),
    "KV cache in 8 bit": (MEMORY_SAVED, (30, 30), lambda: _narrow_cache("int8")),
    "KV cache in 4 bit": (MEMORY_SAVED, (30, 30), lambda: _narrow_cache("int4")),
    "Narrow KV cache, speed": (THROUGHPUT, None, _narrow_cache_speed),
    "Continuous batching": (THROUGHPUT, None, _continuous),
    "GQA or MQA": (MEMORY_SAVED, (50, 50), _fewer_heads),
    "GQA or MQA, speed": (THROUGHPUT, None, _fewer_heads_speed),
    "Distillation": (THROUGHPUT, (2, 4), _distillation),
    "Tensor parallelism": (THROUGHPUT, None, _tensor_parallel),
    "L4": (THROUGHPUT, (2, 3), lambda: _other("l4")),
    "A10G": (THROUGHPUT, (2, 3), lambda: _other("a10g")),
    "Weights unpacked once": (THROUGHPUT, None, _unpacked_once),
    "A host that takes no time": (THROUGHPUT, None, _free_host),
}
