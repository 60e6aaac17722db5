"""The times of a server's steps, tabulated once for a simulation."""

from typing import Any

import numpy as np

from ..operators import Step, decode, sees
from ..servers import steps
from ..servers.server import Server

#: How many contexts times are tabulated at, in equal ratios; between them they are interpolated [1].
CONTEXTS = 256


class StepTimes:
    """The parts that a step's time (`steps.step_time`) is the sum of.

    Attributes
    ----------
    linear : list of float
        By the tokens in the step: every operator but those below, and the step's overhead [s].
    head : list of float
        By the sequences in the step: lm_head and the sequences' overhead [s].
    least : float
        What the host takes to launch a step, which takes no less [s].
    contexts : numpy.ndarray
        Lengths at which the attention is tabulated, for `decode` and `prefill` [token].
    """

    def __init__(self, server: Server) -> None:
        """Tabulate the times of a server's steps."""
        tokens = np.arange(1, server.max_num_batched_tokens + 1)
        sequences = np.arange(1, server.max_num_seqs + 1)
        contexts = np.unique(np.geomspace(1, server.max_model_len, CONTEXTS).round()).astype(int)
        linear, _, _ = _parts(server, decode(tokens, 1))
        _, heads, self._decode = _parts(server, decode(sequences[:, None], contexts))
        _, _, self._prefill = _parts(server, steps.prefill_piece(1, contexts))
        self.contexts = contexts.astype(float)  # as np.interp wants them
        host = server.calibration
        self.linear: list[float] = [0.0, *(linear + host.step_overhead).tolist()]
        self.head: list[float] = [0.0, *(heads[:, 0] + sequences * host.sequence_overhead).tolist()]
        self.least = host.launching

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


def _parts(server: Server, piece: Step) -> tuple[Any, Any, Any]:
    """Times of a step's operators [s]: by its tokens, lm_head, and by its sequences' contexts."""
    parts: dict[str, Any] = dict.fromkeys(("tokens", "sequences", "context"), 0.0)
    for name, work in steps.step(server, piece).items():
        parts[sees(name)] = parts[sees(name)] + work.time
    return parts["tokens"], parts["sequences"], parts["context"]
