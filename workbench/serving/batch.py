"""A batch of requests, and how an engine schedules it."""

from dataclasses import dataclass, replace

import numpy as np

from ..catalog import Model
from ..common.arguments import one_of, whole_number
from ..common.errors import shown
from ..servers.drafts import Draft
from ..servers.replica import Replica
from ..servers.server import caps

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
    max_num_batched_tokens: int = None  # type: ignore[assignment]  # until `on`
    max_num_seqs: int = None  # type: ignore[assignment]  # until `on`
    max_model_len: int | None = None

    def __post_init__(self) -> None:
        one_of("schedule", self.schedule, SCHEDULES)
        if self.draft is not None and not isinstance(self.draft, Draft):
            raise ValueError(f"draft = {shown(self.draft)}: make one with serving.draft_model, medusa or mtp")
        for name in ("max_num_batched_tokens", "max_num_seqs", "max_model_len", "cached_prefix"):
            if (value := getattr(self, name)) is not None or name == "cached_prefix":
                object.__setattr__(self, name, whole_number(name, value, low=int(name != "cached_prefix")))
        shortest = int(np.min(self.prompt))
        if self.cached_prefix >= shortest:
            raise ValueError(
                f"cached_prefix = {self.cached_prefix}: allowed is less than the shortest prompt, {shortest}"
            )

    def on(self, replica: Replica) -> "Batch":
        """The batch with the caps of a step that a replica's engine has, where they are not given.

        By default an engine takes as many sequences as there are in the largest batch.
        """
        most = -(-int(np.max(self.batch_size)) // replica.dp_ranks)
        known = caps(replica, self.max_num_seqs, self.max_num_batched_tokens)
        if self.max_num_seqs is None and known["max_num_seqs"] < most:
            known = caps(replica, most, self.max_num_batched_tokens)
        if most > known["max_num_seqs"]:
            spread = f" and dp = {replica.dp_ranks}" if replica.dp_ranks > 1 else ""
            raise ValueError(
                f"batch_size = {int(np.max(self.batch_size))}: an engine of max_num_seqs ="
                f" {known['max_num_seqs']}{spread} runs {replica.dp_ranks * known['max_num_seqs']:,} at a time"
            )
        return replace(self, **known)  # type: ignore[arg-type]

    @property
    def candidates(self) -> int:
        """Tokens that a decoding step computes for a sequence [1]."""
        return self.draft.candidates if self.draft else 1

    def longest(self, model: Model) -> float:
        """Prompt and output of a sequence together at most, by the engine or else by the model [token]."""
        return self.max_model_len or model.max_context or np.inf
