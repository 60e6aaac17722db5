"""The times of a server's steps, tabulated once for a simulation."""

from copy import copy
from typing import Any

import numpy as np

from ..operators import OPERATORS, Step, decode, sees
from ..servers import steps
from ..servers.drafts import drafting_replica, drafting_time
from ..servers.exchange import between_stages
from ..servers.replica import Calibration
from ..servers.server import Server

#: How many contexts times are tabulated at, in equal ratios; between them they are interpolated [1].
CONTEXTS = 256


class StepTimes:
    """The parts that a step's time (`steps.step_time`) is the sum of; of one of `dp` groups, all of which have as much.

    Attributes
    ----------
    linear : list of float
        By the tokens in the step: every operator but those below, the step's overhead, and sends between stages [s].
    experts : list of float
        By the mean tokens of a group, of several: routed experts, which are in `linear` where there is one [s].
    head : list of float
        By the tokens whose logits are computed, one of each sequence: lm_head and the sequences' overhead [s].
    least : float
        What the host takes to launch a step, which takes no less [s].
    contexts : numpy.ndarray
        Lengths at which the attention is tabulated, for `decode` and `prefill` [token].
    """

    def __init__(self, server: Server) -> None:
        """Tabulate the times of a server's steps, and of its draft's."""
        draft, self.candidates = server.draft, server.candidates
        tokens = np.arange(1, server.max_num_batched_tokens + 1)
        sequences = np.arange(1, server.max_num_seqs + 1)
        contexts = np.unique(np.geomspace(1, server.max_model_len, CONTEXTS).round()).astype(int)
        groups, host = server.dp_ranks, server.calibration
        every = _parts(server, decode(groups * tokens, 1))
        rows = np.arange(1, server.max_num_seqs * self.candidates + 1)
        heads = _parts(server, decode(groups * rows, 1))["sequences"]
        decoding = decode(groups * sequences[:, None], contexts, candidates=self.candidates)
        self._decode = _parts(server, decoding)["context"]
        self._prefill = _parts(server, steps.prefill_piece(groups, contexts))["context"]
        self.contexts = contexts.astype(float)  # as np.interp wants them
        self._kernels = every["tokens"] + between_stages(server, decode(tokens, 1)), np.broadcast_to(heads, rows.shape)
        self.experts: list[float] = [0.0, *np.broadcast_to(every["experts"], tokens.shape).tolist()]
        self._add_host(host)
        drafter = draft and drafting_replica(server, draft)
        self._drafter = StepTimes(drafter) if isinstance(drafter, Server) else None
        self._passes = draft.depth if draft else 0
        self._heads = drafting_time(server, draft, sequences, 1) if draft and draft.heads else None
        self.drafts = self._drafter is not None or self._heads is not None

    def _add_host(self, host: Calibration) -> None:
        tokens, heads = self._kernels
        self.linear: list[float] = [0.0, *(tokens + host.step_overhead).tolist()]
        self.head: list[float] = [0.0, *(heads + np.arange(1, len(heads) + 1) * host.sequence_overhead).tolist()]
        self.sequence_overhead, self.least = host.sequence_overhead, host.launching

    def with_host(self, host: Calibration) -> "StepTimes":
        """The same steps with another host, which need not be tabulated again; a draft's keep theirs."""
        other = copy(self)
        other._add_host(host)
        return other

    def group(self, chunks: list[tuple[int, int]], sequences: int, context: Any, *, batches: int = 1) -> Any:
        """A step of one group but for its routed experts, if they are spread, and for drafting [s].

        Parameters
        ----------
        chunks, sequences, context
            As for `prefill` and `decode`.
        batches : int
            Micro-batches that all of it is spread over [1].
        """
        seconds = self.base(sum(upto - start for start, upto in chunks), len(chunks), sequences, batches)
        if chunks:
            seconds += self.prefill(chunks) / batches
        return seconds + self.decode(-(-sequences // batches), context) if sequences else seconds

    def base(self, tokens: int, parts: int, sequences: int, batches: int = 1) -> float:
        """What of `group` no context changes, by the tokens and number of its chunks [s]."""
        tokens += sequences * self.candidates
        both, rows = sequences + parts, sequences * self.candidates + parts
        if batches > 1:
            tokens, both, rows = -(-tokens // batches), -(-both // batches), -(-rows // batches)
        seconds = self.linear[tokens] + self.head[rows]
        return seconds - (rows - both) * self.sequence_overhead if rows > both else seconds  # the host sees sequences

    def alone(self, chunks: list[tuple[int, int]], sequences: int, context: Any) -> Any:
        """A whole step of groups that all have as much, without drafting; as for `group` [s]."""
        tokens = sequences * self.candidates + sum(upto - start for start, upto in chunks)
        return np.maximum(self.group(chunks, sequences, context) + self.experts[tokens], self.least)

    def drafting(self, chunks: list[tuple[int, int]], sequences: int, context: Any) -> Any:
        """What guessing ahead adds to a step: passes of the draft for its sequences and its prompts [s]."""
        if self._heads is not None:
            return float(self._heads[sequences - 1]) if sequences else 0.0
        if self._drafter is None:
            return 0.0
        seconds = self._passes * self._drafter.alone([], sequences, context) if sequences else 0.0
        return seconds + self._drafter.alone(chunks, 0, 0.0) if chunks else seconds

    def decode(self, sequences: int, context: Any) -> Any:
        """Attention of decoding sequences, each over the mean context [token], a number or one a step [s]."""
        return np.interp(context, self.contexts, self._decode[sequences - 1])

    def prefill(self, chunks: list[tuple[int, int]]) -> float:
        """Attention of parts of prompts, each from a token up to another, in one launch [s].

        A part takes what the prompt up to its end takes more than up to its start, but no less than by itself.
        """
        launch = float(self._prefill[0])
        starts, ends = np.array(chunks).T
        times = np.interp(ends, self.contexts, self._prefill)
        if starts.any():
            before = np.where(starts > 0, np.interp(starts, self.contexts, self._prefill), 0.0)
            alone = np.interp(ends - starts, self.contexts, self._prefill)
            times = np.maximum(times - before, alone)
        return launch + float((times - launch).sum())


def _parts(server: Server, piece: Step) -> dict[str, Any]:
    """Times of a step's operators by what their work follows from: `sees`, or "experts" of several groups [s]."""
    parts: dict[str, Any] = dict.fromkeys(("tokens", "sequences", "context", "experts"), 0.0)
    for name, work in steps.step(server, piece).items():
        spread = server.dp_ranks > 1 and name in OPERATORS and OPERATORS[name].routed
        kind = "experts" if spread else sees(name)
        parts[kind] = parts[kind] + work.time
    return parts
