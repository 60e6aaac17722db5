"""What a model's operators look like from outside: the sizes of their products, and the order in which they run."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from ..catalog import Model
from ..operators import OPERATORS, Conventions, Widths, decode, has_operator, operator_set, shard

#: Operators whose kernels have no weights, and those of attention by the part of it that they are.
ATTENTION = ("attention", "sliding_attention")
SCORES = {"qk": ("qk", "sliding_qk"), "pv": ("pv", "sliding_pv")}


@dataclass(frozen=True)
class Shapes:
    """A model on one of `tp` GPUs, as its kernels show it."""

    model: Model  #: of the catalog
    tp: int = 1  #: GPUs that share every layer [1]
    experts: int | None = None  #: of the routed ones, how many are on it where others hold the rest [1]
    part: Model = field(init=False)  #: what one of them runs

    def __post_init__(self) -> None:
        """Cut the model; `CannotRun` where it cannot be shared evenly."""
        part = shard(self.model, self.tp)
        if self.experts is not None and part.moe is not None:
            part = part.model_copy(update={"moe": part.moe.model_copy(update={"n_experts": self.experts})})
        object.__setattr__(self, "part", part)

    @cached_property
    def has(self) -> list[str]:
        """Operators that it has, in either view, in the order of the forward pass."""
        return [name for name in OPERATORS if has_operator(self.part, name)]

    @cached_property
    def place(self) -> dict[str, int]:
        """The place of each operator in the forward pass."""
        return {name: i for i, name in enumerate(self.has)}

    @cached_property
    def products(self) -> dict[tuple[str, float, float], list[str]]:
        """Products with weights by kind of kernel, columns and depth (n, k) [1]; of some sizes there are several."""
        found: dict[tuple[str, float, float], list[str]] = {}
        for name in self.has:
            cost = OPERATORS[name](self.part, decode(1, 1), Widths(), Conventions())
            if cost is not None and cost.kernel in ("gemm", "moe"):
                found.setdefault((cost.kernel, float(cost.n), float(cost.k)), []).append(name)
        return found

    @cached_property
    def halves(self) -> dict[tuple[str, float, float], str]:
        """Gate and up, each a product of its own, of operators that are both in one; by kind, n and k [1]."""
        both = {(kind, n, k): name for (kind, n, k), names in self.products.items() for name in names}
        return {
            (kind, n / 2, k): name
            for (kind, n, k), name in both.items()
            if name.endswith("gate_up_proj") and self.part.gated
        }

    @cached_property
    def fused(self) -> list[str]:
        """What engines run of it."""
        return operator_set(self.part, "fused")

    @cached_property
    def attention(self) -> str:
        """Its fused attention: of the full layers, where there are such; "" where it has none."""
        return next((name for name in ATTENTION if name in self.place), "")

    def heads(self, n_heads: float, head_dim: float) -> bool:
        """Whether an attention of so many query heads of that size may be its own [1]."""
        mla = self.part.mla
        own = {(float(kind.n_heads), float(kind.qk_dim)) for kind in self.part.kinds}
        if mla is not None:
            own |= {(float(self.part.n_heads), float(size)) for size in (mla.qk_head_dim, mla.latent_dim)}
        return (n_heads, head_dim) in own

    @cached_property
    def layouts(self) -> list[tuple[list[str], list[str]]]:
        """Products of a layer before and after attention, as kernels may run them: merged ones whole or in parts."""
        wide = [name for name in self.fused if self._is_product(name)]
        parts = {name: [each for each in self.has if OPERATORS[each].within == name] for name in wide}
        merged = [name for name in wide if parts[name]]
        found = []
        for apart in product((False, True), repeat=len(merged)):
            split = {name for name, each in zip(merged, apart, strict=True) if each}
            names = [each for name in wide for each in (parts[name] if name in split else [name])]
            middle = self.place[self.attention] if self.attention else 0
            found.append(([n for n in names if self.place[n] < middle], [n for n in names if self.place[n] > middle]))
        return found

    def _is_product(self, name: str) -> bool:
        return name != "lm_head" and any(name in names for names in self.products.values())
