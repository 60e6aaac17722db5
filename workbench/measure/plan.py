"""What `measure` times: every distinct kernel of the grid, in an order in which even a short run says much.

Imports the standard library and the operators alone, like everything that `python -m workbench.measure` needs before
PyTorch.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

from ..operators import OPERATORS, PHASES, Conventions, Cost, Step, Widths, decode, operator_set, prefill
from .models import ModelSizes, find_model
from .timed_kernels import ELEMENT_BYTES, ELEMENTWISE, Kernel

#: The models of the Medusa paper (Cai et al. 2024, arXiv 2401.10774).
MEDUSA_MODELS = ("llama-7b", "llama-13b", "llama-33b")
#: Models that have every operator between them.
EXAMPLES = ("llama-7b", "gpt-oss-20b", "deepseek-v3")


def operator_groups() -> dict[str, tuple[str, ...]]:
    """Operators to measure: those that engines run, what the papers' view has besides, PyTorch's elementwise ones."""
    models: list[Any] = [find_model(name) for name in EXAMPLES]
    views = {
        view: {name for model in models for name in operator_set(model, view) if _cost(name, model, prefill(1, 1))}
        for view in ("fused", "unfused")
    }
    fused = tuple(name for name in OPERATORS if name in views["fused"])
    besides = tuple(name for name in OPERATORS if name in views["unfused"] and name not in fused)
    return {"fused": fused, "unfused": besides, "elementwise": tuple(ELEMENTWISE)}


@dataclass(frozen=True)
class Grid:
    """The settings to measure; the defaults are those of the Medusa paper's charts."""

    models: Sequence[str | ModelSizes] = MEDUSA_MODELS
    operators: Sequence[str] = field(default_factory=lambda: sum(operator_groups().values(), ()))
    phases: Sequence[str] = PHASES
    batch_sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    seq_lens: Sequence[int] = (128, 256, 512, 1024, 2048, 4096, 8192)
    candidates: Sequence[int] = (1, 16, 32, 48, 64, 80, 96, 112)
    dtypes: Sequence[str] = tuple(ELEMENT_BYTES)


def grid_kernels(grid: Grid) -> list[Kernel]:
    """The distinct kernels of a grid: operators of the same sizes are one, named after all of them."""
    found: dict[tuple[str, ...], Kernel] = {}
    for kernel in _every_kernel(grid):
        known = found.setdefault(kernel.key, kernel)
        if kernel.operator not in known.operator.split("+"):
            found[kernel.key] = replace(known, name=f"{known.name}+{kernel.operator}")
    return list(found.values())


def _every_kernel(grid: Grid) -> Iterator[Kernel]:
    models = [find_model(model) for model in grid.models]
    for dtype, model, batch, seq_len in product(grid.dtypes, models, grid.batch_sizes, grid.seq_lens):
        for phase, step in _steps(grid, batch, seq_len):
            for operator in grid.operators:
                yield from _kernels(model, operator, dtype, phase, step)


def _steps(grid: Grid, batch: int, seq_len: int) -> Iterator[tuple[str, Step]]:
    for phase in grid.phases:
        if phase == "prefill":
            yield phase, prefill(batch, seq_len)
        else:
            yield from ((phase, decode(batch, seq_len, candidates=new)) for new in grid.candidates)


def _cost(operator: str, model: Any, step: Step) -> Cost | None:
    """What an operator's one kernel works on; None where a model lacks it, and where PyTorch has no kernel for it."""
    row = OPERATORS[operator]
    cost = row(model, step, Widths(), Conventions())
    if cost is None or (row.view == "unfused" and row.operand == "kv" and model.mla):
        return None
    return cost if row.routed or row.operand == "kv" or cost.kernel == "gemm" else None


def _kernels(model: ModelSizes, operator: str, dtype: str, phase: str, step: Step) -> Iterator[Kernel]:
    """The kernels of an operator in one layer and step: one, or none; of an elementwise one each width."""
    name, fp8 = f"{model.id}:{operator}", dtype == "fp8"
    if operator in ELEMENTWISE:
        if fp8 == (operator == "quantize"):
            widths, _ = ELEMENTWISE[operator]
            yield from (Kernel("elementwise", name, dtype, m=int(step.tokens), n=width) for width in widths(model))
        return
    cost, row = _cost(operator, model, step), OPERATORS[operator]
    if cost is None or (fp8 and (row.routed or row.operand == "kv")):  # PyTorch has fp8 matrix products and no more
        return
    if row.routed and model.moe:
        experts: dict[str, Any] = {"n_experts": model.moe.n_experts, "experts_per_token": model.moe.experts_per_token}
        yield Kernel("moe", name, dtype, m=int(step.tokens), n=int(cost.n), k=int(cost.k), **experts)
    elif row.operand != "kv":
        sizes: dict[str, Any] = {"m": int(cost.m), "n": int(cost.n), "k": int(cost.k)}
        yield Kernel("gemm", name, dtype, **sizes, scales="token" if fp8 else "")
    elif row.view == "unfused":
        sizes = {"m": int(cost.m), "n": int(cost.n), "k": int(cost.k), **_heads(model, step)}
        yield Kernel("other", name, dtype, **sizes)
    else:
        yield from _attention(model, name, dtype, phase, step)


def _heads(model: ModelSizes, step: Step) -> dict[str, Any]:
    return {
        "batch_size": int(step.sequences), "seq_len_q": int(step.new_tokens), "seq_len_kv": int(step.context),
        "n_heads": model.n_heads, "n_kv_heads": model.n_kv_heads, "head_dim": model.head_dim,
    }  # fmt: skip


def _attention(model: ModelSizes, name: str, dtype: str, phase: str, step: Step) -> Iterator[Kernel]:
    """Fused attention; under a window, decode over its last tokens, and prompts that fit into it."""
    heads, window = _heads(model, step), model.sliding_window
    if mla := model.mla:
        latent = {"n_kv_heads": 1, "head_dim": mla.latent_dim, "v_head_dim": mla.kv_lora_rank}
        expanded = {"head_dim": mla.qk_head_dim, "v_head_dim": mla.v_head_dim}
        yield Kernel(f"mla_{phase}", name, dtype, **(heads | (expanded if phase == "prefill" else latent)))
        return
    if window and ("sliding" in name.split(":")[1] or window.layers == model.n_layers):
        if phase == "prefill" and step.context > window.size:
            return
        heads["seq_len_kv"] = min(heads["seq_len_kv"], window.size)
    yield Kernel(f"attention_{phase}", name, dtype, **heads)


def forward_kernels(grid: Grid, *, eager: bool = False) -> list[Kernel]:
    """Whole forward passes of a grid, those of one model and format together: as CUDA graphs, or launched eagerly.

    Not there: mixtures of experts in fp8, prompts longer than a window or than a table of positions.
    """
    passes = ("forward", "forward_eager") if eager else ("forward",)
    found = []
    for model, dtype in product(map(find_model, grid.models), grid.dtypes):
        if dtype == "fp8" and model.moe:
            continue
        group = [
            Kernel(f"forward_{phase}", f"{model.id}:{name}", dtype, batch_size=batch, seq_len_kv=length, model=model,
                   seq_len_q=length if phase == "prefill" else 1)
            for name, phase, batch, length in product(passes, grid.phases, grid.batch_sizes, grid.seq_lens)
            if length <= _longest(model, phase)
        ]  # fmt: skip
        random.Random(0).shuffle(group)
        found += group
    return found


def _longest(model: ModelSizes, phase: str) -> float:
    """Sequences that a pass can have [token]."""
    positions = model.learned_positions or math.inf
    return min(positions, model.sliding_window.size if phase == "prefill" and model.sliding_window else math.inf)


def in_order(found: Iterable[Kernel], first_dtype: str) -> list[Kernel]:
    """Kernels in the order to measure them in: each operator's shuffled, the operators taking turns.

    What engines run comes four times as often as elementwise operators, the papers' unfused view twice as often, and a
    format other than `first_dtype` a quarter as often: a short run is a small copy of the whole. The shuffle is always
    the same.
    """
    fused, unfused, _ = map(set, operator_groups().values())
    groups: dict[tuple[str, ...], list[Kernel]] = defaultdict(list)
    for kernel in found:
        groups[kernel.operator, kernel.operator_class, kernel.dtype].append(kernel)
    order: list[tuple[float, int, Kernel]] = []
    for number, ((operator, _, dtype), group) in enumerate(sorted(groups.items())):
        parts = set(operator.split("+"))
        value = (4 if parts & fused else 2 if parts & unfused else 1) * (1 if dtype == first_dtype else 0.25)
        random.Random(number).shuffle(group)
        order += [((turn + 1) / value, number, kernel) for turn, kernel in enumerate(group)]
    return [kernel for *_, kernel in sorted(order, key=lambda entry: entry[:2])]


# Time and memory --------------------------------------------------------------------------------------------------

#: What a schedule assumes of the GPU, and an estimate without the kernel-time model: an A100 80GB's datasheet in every
#: format [FLOP/s], [byte/s].
ASSUMED_FLOP_RATE, ASSUMED_BANDWIDTH = 312e12, 2.0e12
SETUP, FLUSH = 0.05, 1e-3  # assumed: making operands and a graph, and emptying the cache before a run [s]
WARM_UPS = 3


class Schedule(NamedTuple):
    """How often a kernel is run: `runs` timings [1] of `calls` calls [1], each call on operands of its own."""

    calls: int
    runs: int


def roofline_seconds(kernel: Kernel) -> float:
    """Time of one call on the roofline of the assumed GPU [s]."""
    return max(kernel.flops / ASSUMED_FLOP_RATE, kernel.bytes / ASSUMED_BANDWIDTH, 1e-6)


def fewer(runs: int, once: float) -> int:
    """Runs [1] that keep to a second, at least 5, where one takes `once` [s]."""
    return min(runs, max(5, int(1 / once)))


def schedule(kernel: Kernel, memory: float) -> Schedule:
    """Calls per run for 200 us of work, as far as they fit in `memory` [byte]; 5 to 25 runs, for a second of work."""
    once = roofline_seconds(kernel)
    if kernel.model:
        return Schedule(1, fewer(15, once))
    calls = min(32, math.ceil(200e-6 / once), int(memory // kernel.bytes))
    return Schedule(max(1, calls), fewer(25, once))


def expected(kernel: Kernel, memory: float, call: float) -> float:
    """Time to measure a kernel, one call of which takes `call` [s]."""
    calls, runs = schedule(kernel, memory)
    return SETUP + (runs + WARM_UPS) * (calls * call + FLUSH)


def describe(plan: Sequence[Kernel], too_large: int, memory: float, calls: Sequence[float], assumed: str) -> str:
    """The plan in a few lines: counts by operator and format, and the expected time.

    It follows from `calls`, the time of one call of each kernel [s]; `assumed` says where those are from.
    """
    dtypes = list(dict.fromkeys(kernel.dtype for kernel in plan))
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(dtypes, 0))
    for kernel in plan:
        counts[kernel.operator_class, kernel.operator][kernel.dtype] += 1
    lines = [f"{'class':<18}{'operator':<30}" + "".join(f"{dtype:>8}" for dtype in dtypes)]
    for (kind, operator), by_dtype in sorted(counts.items()):
        lines.append(f"{kind:<18}{operator:<30}" + "".join(f"{count:>8}" for count in by_dtype.values()))
    minutes = sum(expected(kernel, memory, call) for kernel, call in zip(plan, calls, strict=True)) / 60
    models = Counter(kernel.name.split(":")[0] for kernel in plan)
    lines += [
        "by model: " + ", ".join(f"{model} {count}" for model, count in models.most_common()),
        f"{len(plan)} kernels, about {minutes:.0f} minutes; {too_large} more do not fit in {memory / 1e9:.3g} GB",
        f"assumed: {assumed},",
        f"{SETUP:g} s to prepare a kernel, {FLUSH * 1e3:g} ms to empty the cache before each of its runs",
    ]
    return "\n".join(lines)
