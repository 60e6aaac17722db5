"""A server with a scheduler, and the times of its steps, tabulated once for a simulation."""

from typing import Any

import numpy as np

from ..operators import Step, decode, sees
from ..serving import steps
from .server import Server

#: Lengths of context that times are tabulated at, in equal ratios; between them they are interpolated [1].
CONTEXTS = 256


class StepTimes:
    """The parts that a step's time (`steps.step_time`) is the sum of.

    linear : by the tokens in the step, every operator but those below, and the step's overhead [s]
    head : by the sequences in the step, the head and the sequences' overhead [s]
    decode, prefill : the operators that see each sequence's context, of decoding sequences and of parts of prompts [s]
    """

    def __init__(self, server: Server) -> None:
        """Tabulate the times of a server's steps."""
        tokens = np.arange(1, server.max_num_batched_tokens + 1)
        sequences = np.arange(1, server.max_num_seqs + 1)
        self.contexts = np.unique(np.geomspace(1, server.max_model_len, CONTEXTS).round()).astype(int)
        linear, _, _ = _parts(server, decode(tokens, 1))
        _, heads, self._decode = _parts(server, decode(sequences[:, None], self.contexts))
        _, _, self._prefill = _parts(server, steps.prefill_piece(1, self.contexts))
        self.linear: list[float] = [0.0, *(linear + server.step_overhead).tolist()]
        self.head: list[float] = [0.0, *(heads[:, 0] + sequences * server.sequence_overhead).tolist()]

    def decode(self, sequences: int, context: Any) -> Any:
        """Attention of so many sequences, each over the mean context [token], a number or an array of steps [s]."""
        return np.interp(context, self.contexts, self._decode[sequences - 1])

    def prefill(self, chunks: list[tuple[int, int]]) -> float:
        """Attention of parts of prompts, each from a token up to another, in one launch [s].

        A part takes what the prompt up to its end takes more than up to its start, but no less than by itself.
        """
        launch = float(self._prefill[0])
        starts, ends = np.array(chunks).T
        whole = np.interp(ends, self.contexts, self._prefill)
        before = np.where(starts > 0, np.interp(starts, self.contexts, self._prefill), 0.0)
        alone = np.interp(ends - starts, self.contexts, self._prefill)
        return launch + float((np.maximum(whole - before, alone) - launch).sum())


def _parts(server: Server, piece: Step) -> tuple[Any, Any, Any]:
    """Times of a step's operators [s]: by its tokens, lm_head, and by its sequences' contexts."""
    parts: dict[str, Any] = dict.fromkeys(("tokens", "sequences", "context"), 0.0)
    for name, work in steps.step(server, piece).items():
        parts[sees(name)] = parts[sees(name)] + work.time
    return parts["tokens"], parts["sequences"], parts["context"]
