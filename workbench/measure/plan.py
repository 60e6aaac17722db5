"""What `measure` times: every distinct kernel of the grid, in an order in which even a short run says much.

Imports the standard library and the operators alone, like everything that `python -m workbench.measure` needs before
PyTorch.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..operators import OPERATORS, PHASES, Conventions, Cost, Step, Widths, decode, operator_set, prefill
from ..operators.cost import Heads, attention, gemm
from .columns import SIZES


@dataclass(frozen=True)
class ModelSizes:
    """What operators read of a gated model without grouped heads, sizes in [1].

    It stands in for the catalog's `Model`, which needs more than the standard library; an operator that such a model
    lacks is left out.
    """

    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    head_dim: int
    vocab_size: int
    gated: bool = True
    learned_positions: None = None
    sliding_window: None = None
    moe: None = None
    mla: None = None

    @property
    def n_kv_heads(self) -> int:
        """As many as there are query heads."""
        return self.n_heads

    @property
    def dense_layers(self) -> int:
        """All layers."""
        return self.n_layers

    @property
    def kv_elements_per_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.n_layers * self.n_heads * self.head_dim


#: The models of the Medusa paper (Cai et al. 2024, arXiv 2401.10774); sizes of Touvron et al. 2023, arXiv 2302.13971.
MODELS: dict[str, Any] = {
    "llama-7b": ModelSizes(4096, 11008, 32, 32, 128, 32000),
    "llama-13b": ModelSizes(5120, 13824, 40, 40, 128, 32000),
    "llama-33b": ModelSizes(6656, 17920, 60, 52, 128, 32000),
}

#: Width of each elementwise operator of PyTorch, and the tensors of m x n that it reads and writes.
ELEMENTWISE: dict[str, tuple[Callable[[ModelSizes], int], int]] = {
    "rms_norm": (lambda s: s.hidden_size, 2),
    "add": (lambda s: s.hidden_size, 3),
    "silu_mul": (lambda s: s.intermediate_size, 5),  # two kernels in PyTorch: silu(gate), then the product with up
}
ELEMENT_BYTES = {"fp16": 2, "bf16": 2, "fp8": 1}


@dataclass(frozen=True)
class Kernel:
    """One kernel call. Sizes [1] are those of `SIZES`, 0 where they do not apply."""

    operator_class: str
    #: Model and operators, as in ``llama-7b:q_proj+k_proj+v_proj+o_proj``, which are one and the same kernel.
    name: str
    dtype: str
    m: int = 0
    n: int = 0
    k: int = 0
    batch_size: int = 0
    seq_len_q: int = 0
    seq_len_kv: int = 0
    n_heads: int = 0
    n_kv_heads: int = 0
    head_dim: int = 0

    @property
    def operator(self) -> str:
        """The name without its model."""
        return self.name.split(":")[1]

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a kernel from any other, as it stands in a CSV."""
        operator = "" if self.operator_class == "gemm" else self.operator
        return (self.operator_class, operator, self.dtype, *(str(getattr(self, name) or "") for name in SIZES))

    @property
    def cost(self) -> Cost:
        """What one call works on; elementwise kernels are counted as PyTorch runs them (`ELEMENTWISE`)."""
        width = ELEMENT_BYTES[self.dtype]
        if not self.operator_class.startswith("attention"):
            batch = max(1, self.batch_size * self.n_heads)
            return gemm(self.m, self.k, self.n, weight=width, activation=width, batch=batch)
        cached = 0 if self.operator_class == "attention_prefill" else self.seq_len_kv
        a_token = self.n_kv_heads * self.head_dim * width
        heads = Heads(self.n_heads, self.head_dim, self.head_dim, a_token, a_token, group=1)
        return attention(Step(self.batch_size, self.seq_len_q, self.seq_len_kv, cached), heads, width)

    @property
    def flops(self) -> float:
        """FLOPs of one call; a causal prompt has s (s + 1) / 2 scores [FLOP]."""
        return 5.0 * self.m * self.n if self.operator_class == "elementwise" else float(self.cost.flops)

    @property
    def bytes(self) -> float:
        """Operands and results of one call; what it needs of memory, and the least that it moves [byte]."""
        width = ELEMENT_BYTES[self.dtype]
        if self.operator_class == "elementwise":
            return float(ELEMENTWISE.get(self.operator, (None, 2))[1] * self.m * self.n * width)
        cost = self.cost
        return float(cost.bytes + cost.batch * self.m * self.n * (2 - width))  # the product of fp8 is in 16 bit


def operator_groups() -> dict[str, tuple[str, ...]]:
    """Operators to measure: those that engines run, what the papers' view has besides, PyTorch's elementwise ones."""
    views = {
        view: dict.fromkeys(
            name for model in MODELS.values() for name in operator_set(model, view) if _cost(name, model, prefill(1, 1))
        )
        for view in ("fused", "unfused")
    }
    besides = (name for name in views["unfused"] if name not in views["fused"])
    return {"fused": tuple(views["fused"]), "unfused": tuple(besides), "elementwise": tuple(ELEMENTWISE)}


@dataclass(frozen=True)
class Grid:
    """The settings to measure; the defaults are those of the Medusa paper's charts."""

    models: Sequence[str] = tuple(MODELS)
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
    for dtype in grid.dtypes:
        for model in grid.models:
            for batch in grid.batch_sizes:
                for seq_len in grid.seq_lens:
                    for phase, step in _steps(grid, batch, seq_len):
                        found = (_kernel(model, operator, dtype, phase, step) for operator in grid.operators)
                        yield from filter(None, found)


def _steps(grid: Grid, batch: int, seq_len: int) -> Iterator[tuple[str, Step]]:
    for phase in grid.phases:
        if phase == "prefill":
            yield phase, prefill(batch, seq_len)
        else:
            yield from ((phase, decode(batch, seq_len, candidates=new)) for new in grid.candidates)


def _cost(operator: str, model: Any, step: Step) -> Cost | None:
    """What an operator's one kernel works on; None where a model lacks it, and where PyTorch has no kernel for it."""
    cost = OPERATORS[operator](model, step, Widths(), Conventions())
    if cost is None or cost.kernel not in ("gemm", "attention", "unfused"):
        return None
    return None if cost.kernel == "gemm" and cost.batch != 1 else cost  # grouped: one GEMM of another kind


def _kernel(model: str, operator: str, dtype: str, phase: str, step: Step) -> Kernel | None:
    """The kernel of an operator in one layer and step; None where there is none."""
    name, sizes = f"{model}:{operator}", MODELS[model]
    if operator in ELEMENTWISE:
        width, _ = ELEMENTWISE[operator]
        return None if dtype == "fp8" else Kernel("elementwise", name, dtype, m=int(step.tokens), n=width(sizes))
    cost = _cost(operator, sizes, step)
    if cost is None or (dtype == "fp8" and cost.kernel != "gemm"):  # PyTorch has fp8 matrix products and no more
        return None
    product = {"m": int(cost.m), "n": int(cost.n), "k": int(cost.k)}
    if cost.kernel == "gemm":
        return Kernel("gemm", name, dtype, **product)
    n_heads = int(cost.batch / cost.sequences)
    heads = {
        "batch_size": int(step.sequences), "seq_len_q": int(step.new_tokens), "seq_len_kv": int(step.context),
        "n_heads": n_heads, "n_kv_heads": int(n_heads / cost.group), "head_dim": sizes.head_dim,
    }  # fmt: skip
    if cost.kernel == "attention":
        return Kernel(f"attention_{phase}", name, dtype, **heads)
    return Kernel("other", name, dtype, **product, **heads)


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
