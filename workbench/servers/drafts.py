"""Drafts of speculative decoding: what guesses ahead, how many tokens that yields, and what it takes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..catalog.dtypes import element_bytes
from ..catalog.model_entries import Model
from ..catalog.model_entries import model as find_model
from ..common.arguments import MAX_SIZE, as_list, check_broadcast, check_range, numbers, one_of, whole_number
from ..common.arrays import Array
from ..kernels import timed
from ..operators import cost, decode
from ..published.medusa import medusa_acceleration_rate
from .replica import Replica
from .steps import step_time

#: Fields of a model that say which of its layers have what; its one MTP layer sees everything.
OF_LAYERS = (
    "attention_layers", "mlp_layers", "kv_heads_by_layer", "intermediate_by_layer", "sliding_window",
    "linear_attention", "shared_kv_layers", "per_layer_embedding", "published_parameters",
)  # fmt: skip

Acceptance = Callable[[int], Array] | Mapping[int, float] | Iterable[float]


def expected_tokens(alpha: Any, depth: Any) -> Any:
    """Mean tokens per step of speculative decoding with a draft model.

    Parameters
    ----------
    alpha : array_like
        Chance that a drafted token is accepted, from 0 to 1 [1].
    depth : array_like
        Tokens drafted one after another, so that a step verifies depth + 1 candidates [token].

    Returns
    -------
    float or ndarray
        With the dims of both, broadcast [token].

    Raises
    ------
    ValueError
        For an alpha outside 0 to 1, and a depth that is not a whole number from 0.

    Notes
    -----
    With alpha a and depth d

    .. math:: (1 - a^{d + 1}) / (1 - a)

    As an acceptance of `speculation.speedup`: ``lambda candidates: expected_tokens(0.8, candidates - 1)``.

    References
    ----------
    Leviathan, Kalman and Matias 2023, arXiv 2211.17192, equation 1.
    """
    chance = numbers("alpha", alpha, "allowed are chances from 0 to 1", low=0, high=1)
    drafted = numbers("depth", depth, "allowed are whole numbers from 0", low=0, whole=True)
    check_broadcast(alpha=chance, depth=drafted)
    below = np.where(chance < 1, chance, 0.0)
    rate = np.where(chance < 1, (1 - below ** (drafted + 1)) / (1 - below), drafted + 1)
    return rate.item() if rate.ndim == 0 else rate


@dataclass(frozen=True)
class Draft:
    """How a replica's decoding steps guess ahead; made by `draft_model`, `mtp` and `medusa`.

    Parameters
    ----------
    candidates : int
        Tokens that a step verifies for each sequence [token].
    tokens_per_step : float
        Mean tokens that it yields [token].
    model : Model, optional
        The draft model; None for the target's own layers or heads.
    depth : int
        Tokens that are drafted one after another, each with a pass of its own [token].
    mtp : bool
        The passes are those of a multi-token-prediction layer of the target.
    heads : int
        Medusa heads, which run once a step [1].
    """

    candidates: int
    tokens_per_step: float
    model: Model | None = None
    depth: int = 0
    mtp: bool = False
    heads: int = 0

    def __post_init__(self) -> None:
        for name, low in (("candidates", 1), ("depth", 0), ("heads", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), low=low))
        most = self.candidates * (1 + 1e-9)
        object.__setattr__(
            self, "tokens_per_step", check_range("tokens_per_step", self.tokens_per_step, most, low=1 - 1e-9)
        )
        object.__setattr__(self, "mtp", one_of("mtp", self.mtp, (True, False)))
        if self.model is not None:
            object.__setattr__(self, "model", find_model(self.model))

    def check(self, target: Model, tokens: float) -> None:
        """Raise ValueError where it cannot guess for `target`, in sequences of up to `tokens` [token].

        A draft model has the target's vocabulary (vLLM, vllm/config/speculative.py) and context, and is no larger.
        """
        if self.mtp and target.mtp_layers is None:
            raise ValueError(f"draft = mtp: {target.id} has no layer for multi-token prediction (mtp_layers)")
        if (small := self.model) is None:
            return
        sizes = {"vocabulary": (small.vocab_size, target.vocab_size), "weights": (small.parameters, target.parameters)}
        for what, (own, other) in sizes.items():
            if own > other or (what == "vocabulary" and own != other):
                raise ValueError(f"draft = {small.id}: its {what}, {own:,}, cannot go with {target.id}'s {other:,}")
        if small.max_context is not None and tokens > small.max_context:
            raise ValueError(
                f"draft = {small.id}: its context is {small.max_context:,} tokens, sequences take {tokens:,g}"
            )

    def settings(self) -> dict[str, Any]:
        """The fields by name, the model as its id."""
        return asdict(self) | {"model": self.model and self.model.id}

    def passes_of(self, target: Model) -> Model | None:
        """The model whose passes draft for `target`; an MTP layer is one of its last layers, with the same head.

        Its projection of hidden state and embedding, 2 h -> h, is left out (about 1 % of a layer of DeepSeek-V3).
        """
        if not self.mtp:
            return self.model
        changes: dict[str, object] = dict.fromkeys(OF_LAYERS) | {"n_layers": 1}
        if target.indexer:
            changes["indexer"] = target.indexer.model_copy(update={"layers": None})
        if target.moe:
            changes["moe"] = target.moe.model_copy(update={"layers": 1})
        return target.model_copy(update=changes)


def draft_model(model: str | Model, *, depth: int, alpha: float) -> Draft:
    """A draft model that guesses some tokens, one after another.

    Parameters
    ----------
    model : str or Model
        Id or catalog object.
    depth : int
        Tokens that it guesses [token].
    alpha : float
        Chance that one is accepted [1].

    Returns
    -------
    Draft
        A step yields `expected_tokens`.

    Raises
    ------
    ValueError
        For an unknown model, a depth that is not a positive whole number, and an alpha outside 0 to 1.
    """
    depth, alpha = whole_number("depth", depth, high=MAX_SIZE - 1), check_range("alpha", alpha, 1, "chances")
    return Draft(depth + 1, expected_tokens(alpha, depth), find_model(model), depth)


def mtp(*, alpha: float, depth: int = 1) -> Draft:
    """The target's own multi-token-prediction layer, run once for each token that it guesses.

    Parameters
    ----------
    alpha : float
        Chance that its token is accepted; the reference gives 0.85 to 0.9 for the second token [1].
    depth : int
        Tokens that it guesses [token].

    Returns
    -------
    Draft
        A step yields `expected_tokens`.

    Raises
    ------
    ValueError
        For a depth that is not a positive whole number, and an alpha outside 0 to 1.

    References
    ----------
    DeepSeek-AI 2024, *DeepSeek-V3*, arXiv 2412.19437.
    """
    depth, alpha = whole_number("depth", depth, high=MAX_SIZE - 1), check_range("alpha", alpha, 1, "chances")
    return Draft(depth + 1, expected_tokens(alpha, depth), depth=depth, mtp=True)


def medusa(*, candidates: int, heads: int = 4, acceptance: Acceptance = medusa_acceleration_rate) -> Draft:
    """Medusa heads, each a residual h x h layer and a head of its own over the vocabulary.

    Parameters
    ----------
    candidates : int
        Tokens that a step verifies for each sequence [token].
    heads : int
        How many, which run once a step [1].
    acceptance : callable, mapping or iterable of float
        Mean tokens that a step yields, as for `speculation.speedup`; the Medusa paper's fit unless given [token].

    Returns
    -------
    Draft
        A step yields what `acceptance` says.

    Raises
    ------
    ValueError
        For sizes that are not positive whole numbers, and an acceptance outside 1 to `candidates`.

    References
    ----------
    Cai et al. 2024, *Medusa*, arXiv 2401.10774.
    """
    count = whole_number("candidates", candidates)
    rate = float(acceptance_rates(acceptance, np.array([count]))[0])
    return Draft(count, rate, heads=whole_number("heads", heads))


def drafting_time(replica: Replica, draft: Draft, sequences: Any, context: Any) -> Any:
    """What guessing adds to one decoding step of `sequences` [1] over `context` [token] each [s].

    The draft's passes run on the same GPUs (of one stage), with the same formats and overheads; Medusa heads in 16 bit.
    """
    if drafter := drafting_replica(replica, draft):
        return draft.depth * step_time(drafter, decode(sequences, context))
    shard, width, own = replica.shard, element_bytes("fp16"), np.ceil(np.asarray(sequences) / replica.dp_ranks)
    parts = [
        cost.gemm(own, shard.hidden_size, columns, weight=width, activation=width)
        for columns in (shard.hidden_size, shard.vocab_size)
    ]
    peak = replica.gpu.peak_16_bit
    return draft.heads * sum(timed(replica.gpu, part, peak, replica.timing) for part in parts)


def drafting_replica(replica: Replica, draft: Draft) -> Replica | None:
    """What runs the draft's passes, beside the target on the same GPUs; None for heads, which have none."""
    passes = draft.passes_of(replica.model)
    if passes is None:
        return None
    whole: dict[str, Any] = {} if passes.moe else {"ep": 1, "redundant_experts": 0, "expert_skew": 0.0}
    server: dict[str, Any] = {name: None for name in ("draft", "kv_tokens", "prefix_caching") if hasattr(replica, name)}
    return replace(replica, model=passes, pp=1, **whole, **server)


def acceptance_rates(acceptance: Acceptance, candidates: np.ndarray) -> np.ndarray:
    """The acceptance of each candidate count, checked [1]."""
    counts = [int(count) for count in candidates]
    if callable(acceptance):
        values = [acceptance(count) for count in counts]
    elif isinstance(acceptance, Mapping):
        if missing := [count for count in counts if count not in acceptance]:
            raise ValueError(f"acceptance has no value for {missing[0]} candidates")
        values = [acceptance[count] for count in counts]
    else:
        values = as_list("acceptance", acceptance)
        if len(values) != len(counts):
            raise ValueError(f"acceptance has {len(values)} values, candidates {len(counts)}: give one for each")
    return np.array([
        check_range(f"acceptance of {count} candidates", value, count * (1 + 1e-9), "tokens per step", low=1 - 1e-9)
        for count, value in zip(counts, values, strict=True)
    ])  # fmt: skip
