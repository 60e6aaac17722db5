"""A batch of requests, and how an engine schedules it."""

from dataclasses import dataclass

import numpy as np

from ..catalog import Model
from ..common.arguments import one_of, whole_number
from ..common.errors import shown
from ..servers.drafts import Draft

SCHEDULES = ("static", "continuous")


@dataclass(frozen=True)
class Batch:
    """What is asked of a server: sizes as arrays that broadcast, and how its engine schedules them.

    Parameters
    ----------
    batch_size : ndarray
        Sequences at a time [1].
    prompt, output : ndarray
        Of each sequence [token].
    schedule, cached_prefix, draft, max_num_batched_tokens, max_num_seqs, max_model_len
        As for `serving.estimate`.

    Raises
    ------
    ValueError
        For a size or an option out of range.
    """

    batch_size: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    schedule: str = "static"
    cached_prefix: int = 0
    draft: Draft | None = None
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        one_of("schedule", self.schedule, SCHEDULES)
        if self.draft is not None and not isinstance(self.draft, Draft):
            raise ValueError(f"draft = {shown(self.draft)}: make one with serving.draft_model, medusa or mtp")
        for name in ("max_num_batched_tokens", "max_num_seqs", "max_model_len", "cached_prefix"):
            if (value := getattr(self, name)) is not None or name != "max_model_len":
                object.__setattr__(self, name, whole_number(name, value, low=int(name != "cached_prefix")))
        shortest = int(np.min(self.prompt))
        if self.cached_prefix >= shortest:
            raise ValueError(
                f"cached_prefix = {self.cached_prefix}: allowed is less than the shortest prompt, {shortest}"
            )
        decoding = (int(np.max(self.batch_size)) - 1) * self.candidates
        if self.schedule == "continuous" and decoding >= self.max_num_batched_tokens:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} leaves no room for a prompt: the other"
                f" sequences of batch_size = {int(np.max(self.batch_size))} decode {decoding} tokens a step"
            )

    @property
    def candidates(self) -> int:
        """Tokens that a decoding step computes for a sequence [1]."""
        return self.draft.candidates if self.draft else 1

    def longest(self, model: Model) -> float:
        """Prompt and output of a sequence together at most, by the engine or else by the model [token]."""
        return self.max_model_len or model.max_context or np.inf
