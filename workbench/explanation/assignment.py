"""Kernels assigned to operators of a model: by sizes, by name, by their order in the layer, and by repetition."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .patterns import AROUND, BESIDES, FINISHERS, REDUCE
from .shapes import SCORES, Shapes

#: What a whole forward pass is called among operators.
WHOLE_PASS = "forward"
#: Why a product, or what finishes it, is not assigned as long as its place is not looked at (`anchors`).
NO_SIZES, TAIL = "a product without sizes", "the rest of a product without sizes"

#: How a product without sizes is found by what a profiler counted.
BY_BYTES = "bytes counted"


class StepSizes(NamedTuple):
    """What a step works on: sequences [1], and new tokens and the context of each [token]."""

    batch_size: int
    new: int
    context: int


@dataclass
class Assignment:
    """What is known of one kernel: its operator, "" where none is found, and how, or why not."""

    operator: str = ""
    evidence: str = ""
    step: int = -1  #: the forward pass that it is in, from 0
    rows: float = float("nan")  #: of a product, those of its activations [1]
    own: StepSizes | None = None  #: what it works on, where its own sizes say it
    tail: bool = False  #: of the call before it
    also: tuple[str, ...] = ()  #: other operators that it may be, of the same sizes


KERNEL_COLUMNS = (
    "operator_class",
    "name",
    "m",
    "n",
    "k",
    "batch_size",
    "seq_len_q",
    "seq_len_kv",
    "n_heads",
    "head_dim",
    "n_experts",
)


def experts_of(row: Any) -> float:
    """Experts of a grouped product [1], NaN where it does not say; some files have them where others have sequences."""
    return float(row.n_experts if row.n_experts == row.n_experts else row.batch_size)


class Walk:
    """A walk over kernels in their order, which knows at each of them what came before it in the forward pass."""

    def __init__(self, shapes: Shapes, *, ordered: bool, grouped: bool) -> None:
        """Nothing has come before the first kernel; experts are `grouped` in kernels of all, or run one by one."""
        self.shapes, self.ordered, self.grouped = shapes, ordered, grouped
        self.last = -1  # the place of the operator before
        self.routed: dict[str, float] = {}  # rows of single experts' products in this layer, by operator
        self.unsized = False  # whether the product before said no sizes
        self.step = 0
        self.tokens: float | None = None  # of this step
        self.steps: list[StepSizes | None] = [None]
        self.layers = 0  # attention calls of this step
        self.head = False  # whether this step's head is past

    def row(self, row: Any) -> Assignment:
        """What one kernel is."""
        kind = row.operator_class
        if (self.unsized or self.last >= 0) and FINISHERS["gemm"].search(row.name):
            operator = "" if self.unsized else self.shapes.has[self.last]
            return Assignment(operator, "name" if operator else TAIL, self.step, tail=True)
        here = self._at(self.shapes.attention) or (not self.ordered and kind.startswith("attention"))
        if here and self.shapes.attention and FINISHERS["attention"].search(row.name):
            return Assignment(self.shapes.attention, "name", self.step, tail=True)
        if kind in ("gemm", "moe"):
            return self._product(row)
        if kind.startswith(("attention", "mla")) or (
            kind == "other" and row.seq_len_q == row.seq_len_q and row.k != row.k
        ):
            return self._attention(row)
        if kind == "other" and row.n == row.n and row.k == row.k:
            return self._batched(row)
        return self._whole(row) if kind.startswith("forward") else self._rest(row)

    # Products --------------------------------------------------------------------------------------------------

    def _product(self, row: Any) -> Assignment:
        if row.n != row.n or row.k != row.k:
            self.unsized = True
            return Assignment(evidence=NO_SIZES, step=self.step)
        self.unsized = False
        kind = "moe" if row.operator_class == "moe" else "gemm"
        known = self.shapes.products.get((kind, row.n, row.k))
        tokens = row.m
        if not known and kind == "gemm" and (known := self.shapes.products.get((kind, row.m, row.k))):
            tokens = row.n  # the weights came first
        if kind == "gemm" and (expert := self._one_expert(row, known)):
            return self._expert(expert, row.m)
        if not known and (half := self.shapes.halves.get((kind, row.n, row.k))):
            again = self._at(half)
            self._enter(half, tokens)
            return Assignment(half, "sizes", self.step, tokens, tail=again)
        if not known:
            return Assignment(evidence=f"no product of {self.shapes.model.id} has n = {row.n:.0f}, k = {row.k:.0f}")
        if kind == "moe" and (wrong := self._experts(row)):
            return Assignment(evidence=wrong)
        operator = self._chosen(known, row.name)
        self._enter(operator, tokens)
        others = tuple(each for each in known if each != operator)
        how = "sizes" if not others else "sizes, order" if self.ordered else "sizes, name"
        return Assignment(operator, how, self.step, tokens, also=() if self.ordered else others)

    def _one_expert(self, row: Any, known: list[str] | None) -> str:
        """The operator of a product by one expert alone; a shared one of the same sizes runs after them."""
        own = self.shapes.part.moe
        whole = self.shapes.products.get(("moe", row.n, row.k), [""])[0]
        operator = whole or self.shapes.halves.get(("moe", row.n, row.k), "")
        shared = known or self.shapes.halves.get(("gemm", row.n, row.k))
        if own is None or not operator or not shared or self.tokens is None:
            return operator
        if self.grouped:
            return ""
        chosen = self.tokens * own.experts_per_token * (1 if whole else 2)  # rows of all experts of a layer
        return operator if self.routed.get(operator, 0.0) + row.m <= chosen else ""

    def _expert(self, operator: str, tokens: float) -> Assignment:
        """One expert's product, where each runs by itself: all those of a layer are one call."""
        again = operator in self.routed
        self.routed[operator] = self.routed.get(operator, 0.0) + tokens
        self._enter(operator, None)
        return Assignment(operator, "sizes", self.step, tail=again)

    def _experts(self, row: Any) -> str:
        """Why a grouped product is not the model's, as far as it says how many experts it has."""
        given, own = experts_of(row), self.shapes.part.moe
        if own is None or given != given or given == own.n_experts:
            return ""
        return f"{given:.0f} experts, of which {self.shapes.model.id} has {own.n_experts}"

    def _chosen(self, known: list[str], name: str) -> str:
        """Of operators of the same sizes the next one in the order of the layer; without an order the one named."""
        if len(known) == 1:
            return known[0]
        if self.ordered:
            count = len(self.shapes.has)
            return min(known, key=lambda each: (self.shapes.place[each] - self.last - 1) % count)
        named = name.rpartition(":")[2].split("+")
        likely = [each for each in named if each in known] or known
        return next((each for each in likely if each in self.shapes.fused), likely[0])

    def _enter(self, operator: str, tokens: float | None) -> None:
        """Go on to an operator; a step ends at its head, and where the number of tokens changes."""
        place, is_head = self.shapes.place[operator], operator == "lm_head"
        if self.ordered and not is_head:
            changed = tokens is not None and self.tokens is not None and tokens != self.tokens
            full = self.layers >= self.shapes.part.n_layers and place < self.shapes.place.get(self.shapes.attention, 0)
            if self.head or changed or (full and place < self.last):
                self._next_step()
        if not self.ordered:
            self._next_step()
        if not is_head and tokens is not None:
            self.tokens = tokens
        self.head |= is_head
        self.last = place

    def _next_step(self) -> None:
        self.step += 1
        self.steps.append(None)
        self.tokens, self.layers, self.head = None, 0, False

    # Attention ---------------------------------------------------------------------------------------------------

    def _attention(self, row: Any) -> Assignment:
        operator = self.shapes.attention
        if not operator:
            return Assignment(evidence=f"{self.shapes.model.id} has no attention")
        if row.seq_len_q != row.seq_len_q or row.seq_len_kv != row.seq_len_kv:
            self._at_attention(operator, None)
            return Assignment(operator, "name", self.step)
        if row.n_heads == row.n_heads and not self.shapes.heads(row.n_heads, row.head_dim):
            return Assignment(
                evidence=f"no attention of {self.shapes.model.id} has {row.n_heads:.0f} heads of {row.head_dim:.0f}"
            )
        setting = StepSizes(int(row.batch_size), int(row.seq_len_q), int(row.seq_len_kv))
        self._at_attention(operator, setting)
        return Assignment(operator, "sizes", self.step, own=setting)

    def _at_attention(self, operator: str, setting: StepSizes | None, *, counted: bool = True) -> None:
        if not self.ordered or (setting and self.steps[self.step] not in (None, setting) and self._layers_are_done()):
            self._next_step()
        self.routed = {}
        if setting and self.steps[self.step] is None:
            self.steps[self.step] = setting
        self.layers += counted
        self.last = self.shapes.place[operator]

    def _layers_are_done(self) -> bool:
        return self.head or self.layers >= self.shapes.part.n_layers

    def _batched(self, row: Any) -> Assignment:
        """Attention's scores, or their product with the values: one product for every sequence and head."""
        part, has = self.shapes.part, self.shapes.place
        asked = row.name.rpartition(":")[2]
        sizes = {"qk": [kind.qk_dim for kind in part.kinds], "pv": [kind.v_dim for kind in part.kinds]}
        fits = [each for each, size in sizes.items() if (row.k if each == "qk" else row.n) in size]
        if len(fits) > 1 and asked in fits:
            fits = [asked]
        elif len(fits) > 1 and self.ordered:
            fits = ["pv" if self._scored() else "qk"]
        operator = next((name for each in fits for name in SCORES[each] if name in has), "")
        if row.k == 1 and not self._scored():
            return self._rest(row)  # the angles of rotary embeddings
        if not operator:
            return Assignment(evidence=f"batched product of n = {row.n:.0f}, k = {row.k:.0f}, no part of attention")
        context = row.n if fits[0] == "qk" else row.k
        setting = self._sequences(row.batch_size, row.m, context, given=row.n_heads == row.n_heads)
        if setting is None:
            return Assignment(evidence=f"batched product of {row.batch_size:.0f}, no multiple of the heads")
        self._at_attention(operator, setting, counted=fits[0] == "qk")
        return Assignment(operator, "sizes, order" if self.ordered else "sizes", self.step, own=setting)

    def _scored(self) -> bool:
        """Whether the operator before is attention's scores."""
        return any(self._at(name) for name in SCORES["qk"])

    def _sequences(self, batch: float, rows: float, context: float, *, given: bool) -> StepSizes | None:
        """The step of a batched product: heads are part of its batch, or those that share keys part of its rows."""
        heads, kv = self.shapes.part.n_heads, self.shapes.part.n_kv_heads
        if given:
            return StepSizes(int(batch), int(rows), int(context))
        if batch % heads == 0:
            return StepSizes(int(batch) // heads, int(rows), int(context))
        if batch % kv == 0 and rows % (heads // kv) == 0:
            return StepSizes(int(batch) // kv, int(rows) // (heads // kv), int(context))
        return None

    # All else ----------------------------------------------------------------------------------------------------

    def _whole(self, row: Any) -> Assignment:
        """A whole forward pass."""
        self._next_step()
        self.steps[self.step] = setting = StepSizes(int(row.batch_size), int(row.seq_len_q), int(row.seq_len_kv))
        return Assignment(WHOLE_PASS, "name", self.step, own=setting)

    def _rest(self, row: Any) -> Assignment:
        """What is no product: elementwise where it stands between the products of a layer, or by its name."""
        kind, name = row.operator_class, row.name
        if self.shapes.tp > 1 and REDUCE.search(name):
            return Assignment("all_reduce", "name", self.step)
        for what, pattern in BESIDES.items():
            if pattern.search(name) and not (what == "sampling" and self.ordered and self._in_layer()):
                return Assignment(evidence=f"{what}, no operator of the model", step=self.step)
        if not self.ordered:
            if kind != "elementwise" and "reshape_and_cache" not in name:
                return Assignment(evidence="no sizes, and no order")
            self._next_step()
            return Assignment("elementwise", "name", self.step, row.m)
        if self._in_layer():
            return Assignment("elementwise", "order", self.step)
        if kind == "elementwise" or AROUND.search(name):
            return Assignment("elementwise", "name", self.step + self.head)  # after the head: of the next step
        return Assignment(evidence="between two steps", step=self.step)

    def _at(self, operator: str) -> bool:
        return self.last >= 0 and self.shapes.place.get(operator) == self.last

    def _in_layer(self) -> bool:
        return self.last >= 0 and not self.head


def assign(table: pd.DataFrame, shapes: Shapes, *, ordered: bool) -> tuple[list[Assignment], list[StepSizes | None]]:
    """What every kernel of a table is, and what the steps work on that they are in."""
    walk = Walk(shapes, ordered=ordered, grouped=bool(table.operator_class.eq("moe").any()))
    rows = table.reindex(columns=list(KERNEL_COLUMNS)).itertuples(index=False)
    return [walk.row(row) for row in rows], [*walk.steps, None]  # one more, for what follows the last head


def settled(found: list[Assignment]) -> list[Assignment]:
    """Without elementwise kernels of steps in which nothing else is the model's."""
    steps = {each.step for each in found if each.operator not in ("", "elementwise")}
    last = max(steps, default=-1)
    why = "in no step that has a product or attention of the model"
    return [
        Assignment(evidence=why, step=each.step)
        if each.operator == "elementwise" and each.step not in steps and (last < 0 or each.step - 1 != last)
        else each
        for each in found
    ]


def share(found: list[Assignment], times: np.ndarray, *, sized: bool = False) -> float:
    """Share of the time that is assigned [1]; `sized`, without elementwise kernels, which fit any model."""
    left = ("", "elementwise") if sized else ("",)
    return float(sum(time for each, time in zip(found, times, strict=True) if each.operator not in left) / times.sum())
