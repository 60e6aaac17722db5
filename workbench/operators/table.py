"""Every operator, in the order of the forward pass, and the operators that a model runs.

An operator is a function of a family's file and a row of `OPERATORS`. The row says all that grids, steps, drafts,
measurements, the documentation and the explorer need. Its weights are those of its matrix in `common.matrices`.

The unfused operators are table 5 of the Medusa paper (Cai et al. 2024, arXiv 2401.10774v3), which follows Chen,
"Dissecting Batching Effects in GPT Inference" (2023), with grouped-query heads, other MLPs and byte widths added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import attention, moe, projections, states
from .cost import Conventions, Cost, Step, Widths, prefill
from .elementwise import elementwise_layer
from .projections import matmul

if TYPE_CHECKING:
    from ..catalog import Model


@dataclass(frozen=True)
class Operator:
    """One operator; calling it gives its cost, or None where a model has no such operator."""

    #: ``(model, step, widths, conventions) -> Cost | None``.
    function: Callable[[Model, Step, Widths, Conventions], Cost | None]
    #: The stored operand that activations are multiplied with: one of `cost.WEIGHT_OPERANDS`, "kv", "index" (the
    #: keys that an indexer chooses by), or one in the "residual" format; else "activation".
    operand: str = "weight"
    #: "fused", one kernel for several of the papers' operators; "unfused", of the papers' view alone; or "both".
    view: str = "both"
    #: What its work follows from: the step's "tokens", its "sequences", or each sequence's own "context".
    sees: str = "tokens"
    routed: bool = False  #: of routed experts, which expert parallelism spreads
    group: str = "other"  #: its label in the Medusa charts, one of `OPERATOR_GROUPS`
    within: str = ""  #: the operator that does its work in the fused view, in a model that has that one

    def __call__(self, model: Model, step: Step, widths: Widths, conventions: Conventions) -> Cost | None:
        """Cost of one kernel call."""
        return self.function(model, step, widths.of(self.operand), conventions)


#: Labels of the Medusa charts, in their order; all else is in the last.
OPERATOR_GROUPS = ("qk/pv", "qkv", "up/gate/down", "other")

_ATTENTION: dict[str, Any] = {"operand": "attention"}
_QKV: dict[str, Any] = {"group": "qkv", "within": "qkv_proj", **_ATTENTION}
_LINEAR: dict[str, Any] = {"operand": "linear_attention"}
_SCORES: dict[str, Any] = {"operand": "kv", "sees": "context", "group": "qk/pv"}
_MLP: dict[str, Any] = {"operand": "mlp", "group": "up/gate/down"}
_EXPERTS: dict[str, Any] = _MLP | {"operand": "experts", "routed": True}
_SHARED: dict[str, Any] = _MLP | {"operand": "shared"}

#: Every operator by name, in the order of the forward pass.
OPERATORS: dict[str, Operator] = {
    "qkv_proj": Operator(
        matmul("Q, K and V in one GEMM: h -> (H + 2 Hkv) D.", "q_proj", "k_proj", "v_proj"),
        view="fused", group="qkv", **_ATTENTION,
    ),
    "q_a_proj": Operator(
        matmul("Latent attention, queries down: h -> q rank (arXiv 2405.04434).", "q_a_proj"), **_ATTENTION
    ),
    "q_b_proj": Operator(
        matmul("Latent attention, queries up: q rank -> H (D_nope + D_rope).", "q_b_proj"), **_ATTENTION
    ),
    "q_proj": Operator(matmul("Queries: h -> H D, with a gate of the output h -> 2 H D.", "q_proj"), **_QKV),
    "k_proj": Operator(matmul("Keys: h -> Hkv D.", "k_proj"), view="unfused", **_QKV),
    "v_proj": Operator(matmul("Values: h -> Hkv D_v.", "v_proj"), view="unfused", **_QKV),
    "kv_a_proj": Operator(
        matmul("Latent attention, down to what is cached: h -> kv rank + D_rope.", "kv_a_proj"), **_ATTENTION
    ),
    "kv_b_proj": Operator(projections.kv_b_proj, sees="context", **_ATTENTION),
    "index_q_proj": Operator(
        matmul("Queries that choose the tokens to attend to: q rank -> H D.", "index_q_proj"), **_ATTENTION
    ),
    "index_k_proj": Operator(
        matmul("Their key of a token, and weights of the heads: h -> D + H.", "index_k_proj"), **_ATTENTION
    ),
    "index_scores": Operator(attention.index_scores, **_SCORES | {"operand": "index"}),
    "attention": Operator(attention.fused_attention, view="fused", **_SCORES),
    "sliding_attention": Operator(attention.fused_sliding_attention, view="fused", **_SCORES),
    "qk": Operator(attention.qk, view="unfused", within="attention", **_SCORES),
    "sliding_qk": Operator(attention.sliding_qk, view="unfused", within="sliding_attention", **_SCORES),
    "pv": Operator(attention.pv, view="unfused", within="attention", **_SCORES),
    "sliding_pv": Operator(attention.sliding_pv, view="unfused", within="sliding_attention", **_SCORES),
    "o_proj": Operator(matmul("Heads back to the hidden size: H D_v -> h.", "o_proj"), **_ATTENTION),
    "linear_in_proj": Operator(
        matmul("Linear attention's queries, keys, values, gates.", "linear_in_proj"), **_LINEAR
    ),
    "linear_gate_proj": Operator(
        matmul("Its decay and gate, up from a rank that they have.", "linear_gate_proj"), **_LINEAR
    ),
    "linear_attention": Operator(states.linear_attention, operand="residual", sees="context"),
    "linear_out_proj": Operator(
        matmul("Its outputs back to the hidden size: H D_v -> h.", "linear_out_proj"), **_LINEAR
    ),
    "gate_up_proj": Operator(matmul("MLP gate and up: h -> 2 i.", "gate_proj", "up_proj"), view="fused", **_MLP),
    "gate_proj": Operator(
        matmul("MLP gate, where it has one: h -> i.", "gate_proj"), view="unfused", within="gate_up_proj", **_MLP
    ),
    "up_proj": Operator(matmul("MLP up: h -> i.", "up_proj"), within="gate_up_proj", **_MLP),
    "down_proj": Operator(matmul("MLP down: i -> h.", "down_proj"), **_MLP),
    "router": Operator(matmul("Scores of all experts: h -> E.", "router", residual=True), operand="residual"),
    "latent_in_proj": Operator(matmul("Tokens down to the width that routed experts work in.", "latent_in_proj")),
    "moe_gate_up_proj": Operator(moe.moe_gate_up_proj, **_EXPERTS),
    "moe_down_proj": Operator(moe.moe_down_proj, **_EXPERTS),
    "latent_out_proj": Operator(matmul("The experts' sum back up to the hidden size.", "latent_out_proj")),
    "shared_gate_up_proj": Operator(
        matmul("Shared experts, gate and up: h -> 2 i.", "shared_gate_up_proj"), **_SHARED
    ),
    "shared_down_proj": Operator(matmul("Shared experts, down: i -> h.", "shared_down_proj"), **_SHARED),
    "per_layer_model_proj": Operator(matmul("Layers' own inputs, once a pass (Gemma 4).", "per_layer_model_proj")),
    "per_layer_gate": Operator(matmul("A gate of each layer's own input: h -> its size.", "per_layer_gate")),
    "per_layer_proj": Operator(matmul("Each layer's own input, gated, back: its size -> h.", "per_layer_proj")),
    "lm_head": Operator(projections.lm_head, operand="lm_head", sees="sequences"),
    "elementwise": Operator(elementwise_layer, operand="activation", view="fused"),
}  # fmt: skip


def sees(name: str) -> str:
    """What the work of an operator, or of a collective, follows from.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    str
        "tokens", "sequences" or "context", as for `Operator`; a collective's is the tokens.
    """
    return OPERATORS[name].sees if name in OPERATORS else "tokens"


_ONE_TOKEN = (prefill(1, 1), Widths(), Conventions())


def has_operator(model: Model, operator: str) -> bool:
    """Whether a model has an operator, in either view.

    Parameters
    ----------
    model, operator : Model, str
        A catalog entry; a key of `OPERATORS`.

    Returns
    -------
    bool
        Whether its function gives a cost.
    """
    return OPERATORS[operator](model, *_ONE_TOKEN) is not None


def kernel_of(model: Model, operator: str) -> str:
    """The kind of kernel that runs an operator, or a collective, of a model.

    Parameters
    ----------
    model, operator : Model, str
        A catalog entry, and an operator that it has or the name of a collective.

    Returns
    -------
    str
        As `Cost.kernel`.
    """
    cost = OPERATORS[operator](model, *_ONE_TOKEN) if operator in OPERATORS else None
    return cost.kernel if cost else operator


def operator_set(model: Model, view: str) -> list[str]:
    """Names of the operators that one forward pass runs, in order.

    Parameters
    ----------
    model : Model
        Catalog entry.
    view : str
        "fused", what engines run, a whole forward pass; or "unfused", the papers' view, its matmuls alone.

    Returns
    -------
    list of str
        Keys of `OPERATORS`.
    """
    has = [name for name in OPERATORS if has_operator(model, name)]
    if view == "unfused":
        return [name for name in has if OPERATORS[name].view != "fused"]
    return [name for name in has if OPERATORS[name].view != "unfused" and OPERATORS[name].within not in has]
