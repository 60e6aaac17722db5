"""A server: a replica with a scheduler, by the names of vLLM's settings and the defaults of its engine."""

import math
from dataclasses import dataclass
from typing import Any

from ..catalog import DEFAULT_ENGINE, POLICIES, ServingEngine
from ..catalog import engine as find_engine
from ..common.arguments import check_range, one_of, whole_number
from ..common.errors import shown
from . import memory, replica
from .drafts import Draft, drafting_replica

#: Largest settings: a table has a row for each.
SETTING_LIMITS = {
    "max_num_seqs": 10**4, "max_num_batched_tokens": 2 * 10**5, "max_model_len": 10**7, "block_size": 10**7,
    "kv_tokens": 10**12,
}  # fmt: skip


def caps(replica: replica.Replica, max_num_seqs: int | None, max_num_batched_tokens: int | None) -> dict[str, int]:
    """The caps of a step by name, the engine's default where one is not given.

    Of defaults, tokens are no fewer than the sequences that were asked for, and sequences no more than the tokens.
    """
    default = find_engine(replica.engine or DEFAULT_ENGINE).caps_of(replica.gpu.chip, replica.gpu.memory_bytes)
    tokens, sequences = (
        None if given is None else whole_number(name, given)
        for name, given in (("max_num_batched_tokens", max_num_batched_tokens), ("max_num_seqs", max_num_seqs))
    )
    if tokens is None:
        tokens = default.max_num_batched_tokens if sequences is None else max(default.max_num_batched_tokens, sequences)
    if sequences is None:
        sequences = min(default.max_num_seqs, tokens)
    return {"max_num_seqs": sequences, "max_num_batched_tokens": tokens}


@dataclass(frozen=True)
class Server(replica.Replica):
    """A `Replica` with the scheduler's settings, by vLLM's names; those left out are its engine's, where it has any.

    Of `dp` groups each has its own queue, cache and budget of tokens, and takes its steps together with the others. The
    sequences of a step go through the stages of `pp` in as many micro-batches, which keep all of them busy.

    Parameters
    ----------
    max_num_seqs : int, optional
        Sequences in a step at most, of each of `dp` groups [1]; None is the engine's default on that GPU
        (`catalog.Caps`).
    max_num_batched_tokens : int, optional
        Tokens in a step at most, of each of them [token]; None is the engine's default.
    max_model_len : int
        Prompt and output of one request at most [token].
    chunked_prefill : bool
        A prompt may be spread over steps; without it max_num_batched_tokens must hold the longest.
    block_size : int
        Tokens in a block of the KV cache [token].
    kv_tokens : int, "fit" or None
        Size of the KV cache of each of them [token]; "fit": what fits in gpu_memory_utilization of the memory beside
        weights and activations (`memory.left_for_cache`); None: never full.
    gpu_memory_utilization : float, optional
        Share of the memory that "fit" may use, by the engine's rule (`memory.left_for_cache`); None: its own [1].
    policy : str, optional
        One of `POLICIES`; None is the engine's.
    prefix_caching : bool, optional
        Blocks of the KV cache are found again, by prompts that begin alike (`Workload.block_hashes`) and by preempted
        requests; None is the engine's default, but not with linear attention, whose states are of a prompt's end.
    draft : Draft, optional
        Speculative decoding, made by `draft_model`, `medusa` or `mtp`: a step computes its candidates, and brings each
        sequence its tokens per step on average, all of them alike.

    Raises
    ------
    ValueError
        For what `Replica` refuses, and for a number outside its range.
    """

    max_num_seqs: int = None  # type: ignore[assignment]  # until __post_init__
    max_num_batched_tokens: int = None  # type: ignore[assignment]  # until __post_init__
    max_model_len: int = 2048
    chunked_prefill: bool = True
    block_size: int = memory.BLOCK_SIZE
    kv_tokens: int | str | None = None
    gpu_memory_utilization: float | None = None
    policy: str | None = None
    prefix_caching: bool | None = None
    draft: Draft | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, default in caps(self, self.max_num_seqs, self.max_num_batched_tokens).items():
            object.__setattr__(self, name, default)
        for name, most in SETTING_LIMITS.items():
            words = ("fit", None) if name == "kv_tokens" else ()
            value, also = getattr(self, name), "".join(f", {word!r}" for word in words)
            if not isinstance(value, str | None) or value not in words:
                object.__setattr__(self, name, whole_number(name, value, high=most, also=also))
        if (share := self.gpu_memory_utilization) is not None:
            share = check_range("gpu_memory_utilization", share, 1, "shares")
            object.__setattr__(self, "gpu_memory_utilization", share)
        object.__setattr__(self, "chunked_prefill", one_of("chunked_prefill", self.chunked_prefill, (True, False)))
        policy = self._engine.policy if self.policy is None else self.policy
        object.__setattr__(self, "policy", one_of("policy", policy, POLICIES))
        states = self.model.linear_attention is not None
        caching = self._engine.prefix_caching and not states if self.prefix_caching is None else self.prefix_caching
        object.__setattr__(self, "prefix_caching", one_of("prefix_caching", caching, (True, False)))
        if states and self.prefix_caching:
            raise ValueError(
                f"prefix_caching = True: {self.model.id} has linear attention, whose states are not found again"
            )
        if self.draft is not None:
            if not isinstance(self.draft, Draft):
                raise ValueError(f"draft = {shown(self.draft)}: make one with serving.draft_model, medusa or mtp")
            self.draft.check(self.model, self.max_model_len)
        if self.max_num_batched_tokens < self.max_num_seqs * self.candidates:
            needed = "every sequence needs a token" if self.candidates == 1 else f"each needs {self.candidates} tokens"
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} is less than max_num_seqs ="
                f" {self.max_num_seqs}: {needed} of the step"
            )
        if not self.chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} is less than max_model_len ="
                f" {self.max_model_len}: without chunked_prefill a prompt must fit in one step"
            )
        if self._longest > self.kv_blocks * (1 + 1e-9):
            if isinstance(self.kv_tokens, str):
                raise ValueError(self._unfit())
            raise ValueError(
                f"kv_tokens = {self.kv_tokens!r} makes {self.kv_blocks} blocks of {self.block_size}, fewer than"
                f" max_model_len = {self.max_model_len} needs: a single request may need more than the whole cache"
            )

    def _unfit(self) -> str:
        """Why the longest request does not fit in what is left of the memory."""
        stored, device = memory.weights(self), memory.device_memory(self)
        alive = memory.activations(self, tokens=self.max_num_batched_tokens, sequences=self.max_num_seqs)
        left = self.kv_blocks * self.block_size
        return (
            f"{self.model.id} does not fit on {self.gpu.id} at tp {self.tp}: weights of {stored / 1e9:.1f} GB and"
            f" activations of {alive / 1e9:.1f} leave {left:,} tokens of {device / 1e9:.1f} GB, where max_model_len is"
            f" {self.max_model_len:,}"
        )

    @property
    def request_latency(self) -> float:
        """What a request takes to the scheduler, on average [s]; nothing with the kernels alone (engine=None)."""
        alone = self.engine is None or self.time_model == "ideal"
        return 0.0 if alone else 1e-3 * self._engine.request_ms

    @property
    def _engine(self) -> ServingEngine:
        return find_engine(self.engine or DEFAULT_ENGINE)

    @property
    def candidates(self) -> int:
        """Tokens that a decoding step computes for a sequence [1]."""
        return self.draft.candidates if self.draft else 1

    @property
    def _longest(self) -> float:
        """Blocks of all layers that the cache of the longest sequence, with its candidates, is as large as [1]."""
        tokens = self.max_model_len + (self.candidates if self.draft else 0)
        block = memory.kv_bytes_per_token(self) * self.block_size
        return float(memory.kv_bytes_per_sequence(self, tokens, block_size=self.block_size)) / block

    @property
    def kv_blocks(self) -> int:
        """Whole blocks of the KV cache of each of `dp` groups, in all layers [1]."""
        if self.kv_tokens is None:
            return self.max_num_seqs * math.ceil(self._longest - 1e-9)
        if not isinstance(self.kv_tokens, str):
            return self.kv_tokens // self.block_size
        left = memory.left_for_cache(
            self, tokens=self.max_num_batched_tokens, sequences=self.max_num_seqs,
            gpu_memory_utilization=self.gpu_memory_utilization,
        )  # fmt: skip
        per_token = memory.kv_bytes_per_token(self)
        if self.draft:
            left -= memory.draft_weights(self, self.draft)
            if drafter := drafting_replica(self, self.draft):
                per_token += memory.kv_bytes_per_token(drafter)
        return int(max(left, 0.0) // (per_token * self.block_size))

    def settings(self) -> dict[str, Any]:
        """The fields by name, GPU and model as ids, the host's time as it is used."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        host = {name: getattr(self.calibration, name) for name in ("step_overhead", "sequence_overhead")}
        draft = None if self.draft is None else self.draft.settings()
        return fields | host | {"gpu": self.gpu.id, "model": self.model.id, "draft": draft}
