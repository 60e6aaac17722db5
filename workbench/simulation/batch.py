"""Requests at the engine, and the batch of those that decode: what each has follows from one clock of steps."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np


@dataclass(slots=True, eq=False)
class Request:
    """What the client hands to the engine, and how far the engine has come with it.

    Parameters
    ----------
    place : int
        In the order of sends; of two that end in one step, the earlier comes first [1].
    prompt, output : int
        Tokens that it brings, and after which it ends [token].
    cached : int
        Of its prompt, found in the prefix cache [token].
    generated : int
        Output tokens [token]; while it decodes, those from before it joined the batch (see `DecodingBatch.generated`).
    joined : int, optional
        The batch's clock when it joined it [1]; None while it does not decode.
    """

    place: int
    prompt: int
    output: int
    cached: int
    generated: int = 0
    joined: int | None = None


class DecodingBatch:
    """Sequences that decode, one token each in every step.

    They advance together: what each has generated, its context and the blocks of the KV cache that it holds follow from
    `clock`, which counts steps, and from the clock when it joined. A leap over many steps costs no more than one step.

    Parameters
    ----------
    block_size : int
        Tokens in a block of the KV cache [token].
    """

    def __init__(self, block_size: int) -> None:
        """Begin empty."""
        self.block_size = block_size
        self.clock = self.size = self.context = 0  # steps, sequences, sum of their contexts [token]
        self._ends: list[tuple[int, int, Request]] = []  # clock at which each ends, its place
        self._growing = [0] * block_size  # sequences by the clock (modulo block_size) at which they need a block

    def generated(self, request: Request) -> int:
        """Output tokens of a request so far [token]."""
        return request.generated + (0 if request.joined is None else self.clock - request.joined)

    def join(self, request: Request) -> None:
        """Decode from the next step on."""
        tokens = request.prompt + request.generated
        request.joined = clock = self.clock
        self.size += 1
        self.context += tokens
        self._growing[(clock - tokens + 1) % self.block_size] += 1
        heappush(self._ends, (clock + request.output - request.generated, request.place, request))

    def take_out(self, request: Request) -> int:
        """Stop decoding before the end; returns the blocks that it held [1]."""
        self._ends = [end for end in self._ends if end[2] is not request]
        heapify(self._ends)
        return self._leave(request)

    def pop_finished(self) -> tuple[list[Request], int]:
        """Take out the sequences that have come to their end; returns them, and the blocks that they held [1]."""
        finished, blocks = [], 0
        while self._ends and self._ends[0][0] <= self.clock:
            request = heappop(self._ends)[2]
            blocks += self._leave(request)
            finished.append(request)
        return finished, blocks

    def _leave(self, request: Request) -> int:
        tokens, steps = request.prompt + request.generated, self.generated(request) - request.generated
        self._growing[(self.clock - steps - tokens + 1) % self.block_size] -= 1
        request.joined = None
        self.size -= 1
        self.context -= tokens + steps
        request.generated += steps
        return -(-(tokens + steps - 1) // self.block_size)

    def advance(self, steps: int) -> int:
        """Let every sequence generate a token in each of the steps; returns how many tokens that is [token]."""
        tokens = steps * self.size
        self.clock += steps
        self.context += tokens
        return tokens

    def next_blocks(self) -> int:
        """Blocks that the next step takes [1]."""
        return self._growing[self.clock % self.block_size]

    def blocks_of(self, steps: int) -> int:
        """Blocks that the next steps take [1]."""
        whole, rest = divmod(steps, self.block_size)
        start = self.clock % self.block_size
        around = max(start + rest - self.block_size, 0)  # the ring is read past its end
        return whole * self.size + sum(self._growing[start : start + rest]) + sum(self._growing[:around])

    def steps_within(self, free: int) -> int:
        """Steps until a sequence ends, or until the free blocks run out [1]."""
        steps = self._ends[0][0] - self.clock
        if self.size * (steps // self.block_size + 1) > free:
            growing = np.resize(np.roll(self._growing, -(self.clock % self.block_size)), steps)
            steps = min(steps, int(np.searchsorted(np.cumsum(growing), free, side="right")))
        return steps
