"""One kernel call, or one whole forward pass, that is timed: its sizes, work and operands."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..operators import OPERATORS, Conventions, Cost, Step, Widths, decode, operator_set, prefill
from ..operators.cost import WEIGHT_OPERANDS, Heads, attention, gemm
from ..operators.routing import experts_drawn
from .columns import SIZES
from .models import ModelSizes

#: Widths of each elementwise operator of PyTorch, and the tensors of m x n that it reads and writes.
ELEMENTWISE: dict[str, tuple[Callable[[ModelSizes], tuple[int, ...]], int]] = {
    "rms_norm": (lambda s: (s.hidden_size,), 2),
    "add": (lambda s: (s.hidden_size,), 3),
    "silu_mul": (lambda s: (s.intermediate_size,), 5),  # two kernels in PyTorch: silu(gate), then the product with up
    "quantize": (lambda s: (s.hidden_size, s.intermediate_size), 3),  # 2 bytes an element read, 1 written
}
ELEMENT_BYTES = {"fp16": 2, "bf16": 2, "fp8": 1}


class LeftOut(RuntimeError):
    """A kernel that the device has no way to run, and why."""


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
    v_head_dim: int = 0
    n_experts: int = 0
    experts_per_token: int = 0
    scales: str = ""  #: of fp8 operands: "token", one a row of each
    model: ModelSizes | None = field(default=None, compare=False)  #: of a whole forward pass

    @property
    def operator(self) -> str:
        """The name without its model."""
        return self.name.split(":")[1]

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a kernel from any other, as it stands in a CSV."""
        sizes = (str(getattr(self, name) or "") for name in SIZES)
        return (self.operator_class, told_apart(self.operator_class, self.name), self.dtype, self.scales, *sizes)

    @property
    def cost(self) -> Cost:
        """What one call works on; elementwise kernels are counted as PyTorch runs them (`ELEMENTWISE`)."""
        width = ELEMENT_BYTES[self.dtype]
        if self.operator_class == "moe":
            pairs = self.m * self.experts_per_token
            return gemm(pairs / self.touched, self.k, self.n, weight=width, activation=width, batch=self.touched)
        if self.operator_class in ("gemm", "other", "elementwise"):
            batch = max(1, self.batch_size * self.n_heads)
            return gemm(self.m, self.k, self.n, weight=width, activation=width, batch=batch)
        cached = 0 if self.operator_class.endswith("prefill") else self.seq_len_kv
        keys = self.n_kv_heads * self.head_dim * width
        values = 0 if self.operator_class == "mla_decode" else self.n_kv_heads * self.v_size * width
        heads = Heads(self.n_heads, self.head_dim, self.v_size, keys, values, group=1)
        return attention(Step(self.batch_size, self.seq_len_q, self.seq_len_kv, cached), heads, width)

    @property
    def v_size(self) -> int:
        """Size of a head's value [1]."""
        return self.v_head_dim or self.head_dim

    @property
    def touched(self) -> float:
        """Experts that get tokens, each token choosing at random, on average [1]."""
        return float(experts_drawn(self.m, self.n_experts, self.experts_per_token))

    @property
    def flops(self) -> float:
        """FLOPs of one call; a causal prompt has s (s + 1) / 2 scores [FLOP]."""
        if self.model:
            return sum(float(cost.flops) * cost.calls for cost in self.pass_costs)
        return 5.0 * self.m * self.n if self.operator_class == "elementwise" else float(self.cost.flops)

    @property
    def bytes(self) -> float:
        """Operands and results of one call; the least that it moves [byte]."""
        width = ELEMENT_BYTES[self.dtype]
        if self.model:
            return sum(float(cost.bytes) * cost.calls for cost in self.pass_costs)
        if self.operator_class == "elementwise":
            return float(ELEMENTWISE.get(self.operator, (None, 2))[1] * self.m * self.n * width)
        cost = self.cost
        return float(cost.bytes + cost.batch * self.m * self.n * (2 - width))  # the product of fp8 is in 16 bit

    @property
    def memory(self) -> float:
        """What one call needs of memory: its operands; a whole pass its weights, cache and activations [byte]."""
        if not (model := self.model):
            return self.bytes
        step = self.step
        weights = sum(float(c.k * c.n * c.calls * (e or 1)) * w for c, w, e in self._matrices())
        embedding = 2 * model.vocab_size * model.hidden_size
        cache = 2 * self.batch_size * self.seq_len_kv * model.kv_elements_per_token
        wide = 12 * model.hidden_size + 6 * max(model.intermediate_size, model.n_heads * model.head_dim)
        logits = 8 * self.batch_size * model.vocab_size
        return weights + embedding + cache + 2.0 * float(step.tokens) * wide + logits

    @property
    def step(self) -> Step:
        """What a whole forward pass works on."""
        if self.operator_class == "forward_prefill":
            return prefill(self.batch_size, self.seq_len_q)
        return decode(self.batch_size, self.seq_len_kv)

    @property
    def pass_widths(self) -> Widths:
        """Widths of a whole pass: in fp8 all GEMMs but the LM head and the experts [byte]."""
        return Widths(weight=ELEMENT_BYTES[self.dtype], activation=2, kv=2, lm_head=2, experts=2)

    @property
    def pass_costs(self) -> list[Cost]:
        """Every operator of a whole forward pass."""
        model = self.model
        assert model is not None
        names = operator_set(model, "fused")  # type: ignore[arg-type]  # the fields that operators read
        found = (OPERATORS[name](model, self.step, self.pass_widths, Conventions()) for name in names)  # type: ignore[arg-type]
        return [cost for cost in found if cost is not None]

    def _matrices(self) -> list[tuple[Cost, float, int]]:
        """Of each operator with weights: its cost, the width of a weight [byte], how many experts have one [1]."""
        model, widths = self.model, self.pass_widths
        assert model is not None
        found = []
        for name in operator_set(model, "fused"):  # type: ignore[arg-type]
            row = OPERATORS[name]
            cost = row(model, prefill(1, 1), widths, Conventions())  # type: ignore[arg-type]
            if cost is not None and row.operand in WEIGHT_OPERANDS:
                experts = model.moe.n_experts if row.routed and model.moe else 0
                found.append((cost, float(widths.stored(row.operand)), experts))
        return found


def told_apart(operator_class: str, name: str) -> str:
    """The part of a kernel's name that tells it from others of its class and sizes."""
    if operator_class in ("gemm", "moe"):
        return ""
    return name if operator_class.startswith("forward") else name.split(":")[-1]
