"""Sweeps: what a grid is computed over, checked, and cut into regions."""

import sys
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from ..catalog.engine_entries import DEFAULT_ENGINE
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.loading import entries
from ..catalog.model_entries import Model
from ..catalog.model_entries import model as find_model
from ..common.arguments import as_list, checked_names, one_of, whole_number, whole_numbers
from ..common.errors import unknown
from ..kernels.collectives import check_machine
from ..kernels.formats import Formats, OperandFormats, one_for_all
from ..kernels.times import Timing
from ..operators import OPERATORS, PHASES, Conventions, has_operator, operator_set

#: Variables without the dim gpu, and those with all dims.
COSTS, RATES = ("flops", "bytes", "intensity"), ("attainable", "time", "performance", "bound")
#: Cells of a chunk of a lazy grid [1].
CHUNK = 2**21
#: Regions that a sweep is cut into at most: a lazy grid holds about 4 kB for each [1].
REGIONS = 100_000


@dataclass(frozen=True)
class Sweep:
    """What a grid is computed over: the arguments of `grid.roofline_grid`, checked, by label.

    Each model `has` operators and `formats` of its operands. The `sizes` are batch_size [1], seq_len [token] and, where
    asked for, candidates [token] and tp [1]; `attrs` are those of the grid, which say how it was computed.
    """

    gpus: dict[str, GPU]
    models: dict[str, Model]
    operators: list[str]
    has: dict[str, set[str]]
    phases: list[str]
    sizes: dict[str, np.ndarray]
    formats: dict[str, OperandFormats]
    conventions: Conventions
    logits: str
    timing: Timing
    dtype: str = "float64"
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def coords(self) -> dict[str, Any]:
        """Labels by dim, in the order of the dims."""
        labels = {"gpu": list(self.gpus), "model": list(self.models), "operator": self.operators, "phase": self.phases}
        return labels | self.sizes

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dim [1]."""
        return tuple(len(labels) for labels in self.coords.values())

    @property
    def nbytes(self) -> float:
        """Memory that its variables take [byte]."""
        rates, one = prod(self.shape), np.dtype(self.dtype).itemsize
        return rates * ((len(RATES) - 1) * one + 1) + rates / len(self.gpus) * len(COSTS) * one

    def part(self, region: dict[str, slice]) -> "Sweep":
        """The sweep over some of the labels: a slice for each dim that is not taken whole."""
        coords = {dim: labels[region.get(dim, slice(None))] for dim, labels in self.coords.items()}
        return replace(
            self, gpus={name: self.gpus[name] for name in coords["gpu"]},
            models={name: self.models[name] for name in coords["model"]}, operators=coords["operator"],
            phases=coords["phase"], sizes={name: coords[name] for name in self.sizes},
        )  # fmt: skip

    def chunks(self, chunks: str | int | Mapping[str, int] = "auto") -> dict[str, list[slice]]:
        """Slices of every dim that cut the sweep into regions; ValueError for more than `REGIONS` of them.

        By the labels in a slice for each dim, the rest whole; or by the cells in a region at most, the inner dims whole
        as far as possible; "auto" is `CHUNK` cells [1].
        """
        lengths = dict(zip(self.coords, self.shape, strict=True))
        if isinstance(chunks, Mapping):
            for dim in chunks:
                if dim not in lengths:
                    raise unknown("dim in chunks", dim, lengths)
            steps = lengths | {dim: whole_number(f"chunks[{dim!r}]", length) for dim, length in chunks.items()}
        else:
            auto = isinstance(chunks, str) and chunks == "auto"
            steps = _steps(lengths, CHUNK if auto else whole_number("chunks", chunks, also=", or 'auto'"))
        if (count := _regions(lengths, steps)) > REGIONS:
            cells = range(1, min(prod(self.shape) + 1, sys.maxsize))
            least = cells[bisect(cells, -REGIONS - 1, key=lambda c: -_regions(lengths, _steps(lengths, c)))]
            raise ValueError(
                f"chunks = {chunks!r} makes {count:,} regions: allowed are {REGIONS:,}, from chunks = {least} cells on"
            )
        return {
            dim: [slice(i, min(i + steps[dim], length)) for i in range(0, length, steps[dim])]
            for dim, length in lengths.items()
        }


def _steps(lengths: dict[str, int], cells: int) -> dict[str, int]:
    """Labels in a slice of each dim, the inner dims whole as far as a region has no more than `cells`."""
    steps = {}
    for dim, length in reversed(lengths.items()):
        steps[dim] = min(length, max(cells, 1))
        cells //= length
    return steps


def _regions(lengths: dict[str, int], steps: dict[str, int]) -> int:
    return prod(-(-length // steps[dim]) for dim, length in lengths.items())


def checked(
    gpu: Any, model: Any, operator: Any = None, phase: Any = PHASES, batch_size: Any = 1, seq_len: Any = 1024, *,
    candidates: Any = None, tp: Any = None, weight_dtype: str | None = None, activation_dtype: str | None = None,
    kv_dtype: str | None = None, lm_head_dtype: str | None = None, causal: bool | None = None, logits: str = "last",
    scores: str | None = None, time_model: str = "ideal", launch_latency: float = 0.0, engine: str | None = None,
    dtype: str = "float64",
) -> Sweep:  # fmt: skip
    """The arguments of `roofline_grid` as a sweep that is yet to be computed; its errors."""
    gpus = entries("gpu", gpu, find_gpu)
    models = entries("model", model, find_model)
    phases = checked_names("phase", phase, PHASES)
    sizes = {"batch_size": whole_numbers("batch_size", batch_size), "seq_len": whole_numbers("seq_len", seq_len)}
    if candidates is not None:
        sizes["candidates"] = whole_numbers("candidates", candidates)
    logits, scores = one_of("logits", logits, ("last", "all")), one_of("scores", scores, (None, "memory", "chip"))
    causal, dtype = one_of("causal", causal, (None, True, False)), one_of("dtype", dtype, ("float64", "float32"))
    timing = Timing(time_model, launch_latency, engine)
    asked = Formats(weight_dtype, activation_dtype, kv_dtype, lm_head_dtype)
    formats = {name: asked.of(entry, gpus.values()) for name, entry in models.items()}
    wanted = as_list("operator", "fused" if operator is None else operator)
    if tp is not None:
        sizes["tp"] = whole_numbers("tp", tp)
    operators, has = _operators(wanted, models, max(sizes["tp"]) if tp is not None else 1)
    for card in gpus.values() if tp is not None else ():
        check_machine(card, max(sizes["tp"]), "tp")
    attrs = {
        "title": "Roofline of LLM inference operators",
        "forward_pass": " ".join(operators) if wanted == ["fused"] else "",
        "weight_dtype": asked.weight or "as stored", "activation_dtype": one_for_all(formats.values(), "activation"),
        "kv_dtype": one_for_all(formats.values(), "kv"),
        "causal": str(causal), "logits": logits, "scores": str(scores), "time_model": time_model,
        "launch_latency": timing.launch_latency,
    }  # fmt: skip
    if time_model == "kernel":
        attrs["engine"] = engine or DEFAULT_ENGINE
    return Sweep(
        gpus=gpus, models=models, operators=operators, has=has, phases=phases, sizes=sizes,
        formats=formats, conventions=Conventions(causal, scores), logits=logits, timing=timing, dtype=dtype,
        attrs=attrs,
    )  # fmt: skip


def _operators(wanted: list[str], models: dict[str, Model], gpus: int) -> tuple[list[str], dict[str, set[str]]]:
    """The operators of the grid in order, and for each model those of them that it runs."""
    shared = {"all_reduce"} if gpus > 1 else set()  # of tp; a grid does not spread experts, as all_to_all does
    known = [*OPERATORS, "all_reduce"]
    given = checked_names("operator", wanted, known, also=("fused", "unfused"))
    if given in (["fused"], ["unfused"]):
        sets = {name: set(operator_set(model, given[0])) for name, model in models.items()}
        if given == ["fused"]:
            sets = {name: ops | shared for name, ops in sets.items()}
        return [op for op in known if any(op in ops for ops in sets.values())], sets
    if "all_reduce" in given and not shared:
        raise ValueError("operator 'all_reduce' is between GPUs: give tp, with a size above 1")
    has = {
        name: shared | {op for op in given if op in OPERATORS and has_operator(model, op)}
        for name, model in models.items()
    }
    for op in given:
        if not any(op in ops for ops in has.values()):
            runs = operator_set(next(iter(models.values())), "fused")
            raise ValueError(f"no operator {op!r} in {', '.join(models)}, which has: {', '.join(runs)}")
    return given, has
