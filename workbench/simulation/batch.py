"""The batch of requests that decode: what each has follows from one clock."""

from heapq import heapify, heappop, heappush
from typing import Any

from ..servers.drafts import Draft
from .cache import Footprint
from .requests import Request

#: Parts of a token in which tokens per step are counted: whole numbers, so that no rounding adds up [1].
TOKEN_PARTS = 2**20


class DecodingBatch:
    """Sequences that decode, as many tokens each in every step: one, or what a draft yields.

    They advance together: what each has generated, its context and the blocks of the KV cache that it holds follow from
    `clock`, which counts the tokens of one that was always there, and from the clock when it joined. After so many
    steps it is their number times the tokens per step, rounded down. A leap over many steps costs no more than one.

    Parameters
    ----------
    footprint : Footprint
        What a sequence takes of the KV cache.
    draft : Draft, optional
        Of speculative decoding: each sequence holds blocks for all its candidates.
    """

    def __init__(self, footprint: Footprint, draft: Draft | None = None) -> None:
        """Begin empty."""
        self.footprint, self.block_size = footprint, footprint.block_size
        self.rate = round(TOKEN_PARTS * draft.tokens_per_step) if draft else TOKEN_PARTS
        #: Tokens of a sequence that are written ahead of those that came [token].
        self.ahead = draft.candidates - self.rate // TOKEN_PARTS if draft else 0
        #: Those beyond the last token asked for, at most [token].
        self.most_ahead = self.ahead + -(-self.rate // TOKEN_PARTS) - 1
        self.clock = self.steps = self.size = 0  # tokens of a sequence, steps, sequences
        self.context = 0  # sum over the sequences [token]
        self.beyond = 0  # tokens that steps brought to sequences after their ends [token]
        self._ends: list[tuple[int, int, Request]] = []  # clock at which each ends, its place
        self._growing = [0] * self.block_size  # sequences by the clock (modulo) at which they need a block
        self._sliding = [0] * self.block_size if footprint.sliding else []  # those whose window is not full yet
        self._filling: list[tuple[int, int, Request]] = []  # clock at which it is

    def generated(self, request: Request) -> int:
        """Output tokens of a request so far [token]."""
        return request.generated + (0 if request.joined is None else self.clock - request.joined)

    def requests(self) -> list[Request]:
        """Those that decode, in no order."""
        return [request for _, _, request in self._ends]

    def join(self, request: Request) -> None:
        """Decode from the next step on."""
        request.joined = clock = self.clock
        self.size += 1
        self.context += request.known
        self._growing[self._phase(request)] += 1
        heappush(self._ends, (clock + request.output - request.generated, request.place, request))
        if self._sliding and (full := self._window_full(request)) > clock:
            self._sliding[self._phase(request)] += 1
            heappush(self._filling, (full, request.place, request))

    def take_out(self, request: Request) -> int:
        """Stop decoding before the end; returns the blocks that it held [1]."""
        self._ends = [end for end in self._ends if end[2] is not request]
        heapify(self._ends)
        return self._leave(request)

    def pop_finished(self) -> list[tuple[Request, int]]:
        """Take out the sequences that have come to their end; returns them, and the blocks that each held [1]."""
        finished = []
        while self._ends and self._ends[0][0] <= self.clock:
            end, _, request = heappop(self._ends)
            blocks = self._leave(request)
            request.generated -= self.clock - end
            self.beyond += self.clock - end
            finished.append((request, blocks))
        return finished

    def _phase(self, request: Request) -> int:
        """The clock (modulo the block size) at which a sequence needs another block."""
        assert request.joined is not None
        return (request.joined - request.known - self.ahead + 1) % self.block_size

    def _window_full(self, request: Request) -> int:
        """The clock from which on a sequence needs no more blocks in layers with a window."""
        assert request.joined is not None
        return request.joined + self.footprint.window * self.block_size - request.known - self.ahead + 1

    def _leave(self, request: Request) -> int:
        assert request.joined is not None
        self._growing[self._phase(request)] -= 1
        if self._sliding and self._window_full(request) > self.clock:
            self._filling = [entry for entry in self._filling if entry[2] is not request]
            heapify(self._filling)
            self._sliding[self._phase(request)] -= 1
        request.generated += self.clock - request.joined
        request.joined = None
        self.size -= 1
        self.context -= request.known
        return self.footprint.blocks(request.known - 1 + self.ahead)

    def remaining(self, most: int) -> int:
        """Tokens that the sequences may still generate, each taken for so many at most [token]."""
        clock = self.clock
        return sum(min(end - clock, most) for end, _, _ in self._ends)

    def tokens(self, steps: Any) -> Any:
        """Tokens that each sequence gets in the next steps, a number or several [token]."""
        if self.rate == TOKEN_PARTS:
            return steps
        return (self.steps + steps) * self.rate // TOKEN_PARTS - self.clock

    def advance(self, steps: int) -> int:
        """Let every sequence generate tokens in each of the steps; returns how many that is [token]."""
        each: int = self.tokens(steps)
        self.steps += steps
        self.clock += each
        self.context += each * self.size
        while self._filling and self._filling[0][0] <= self.clock:
            self._sliding[self._phase(heappop(self._filling)[2])] -= 1
        return each * self.size

    def next_units(self) -> int:
        """Units of the KV cache that the next step takes [1]."""
        if self._sliding or self.rate != TOKEN_PARTS:
            return self.units_of(1)
        return self._growing[self.clock % self.block_size]

    def units_of(self, steps: int) -> int:
        """Units that the next steps take [1]."""
        tokens = self.tokens(steps)
        units = self.footprint.full * self._grown(self._growing, tokens, self.size)
        if self._filling:
            windowed = self._grown(self._sliding, tokens, len(self._filling))
            for full, *_ in self._filling:
                if full < self.clock + tokens:  # it stops growing on the way
                    windowed -= -((full - self.clock - tokens) // self.block_size)
            units += self.footprint.sliding * windowed
        return units

    def _grown(self, growing: list[int], tokens: int, size: int) -> int:
        """Blocks that sequences which grow so take for some tokens each [1]."""
        whole, rest = divmod(tokens, self.block_size)
        start = self.clock % self.block_size
        around = max(start + rest - self.block_size, 0)  # the ring is read past its end
        return whole * size + sum(growing[start : start + rest]) + sum(growing[:around])

    def steps_within(self, free: int) -> int:
        """Steps until a sequence ends, or until the free units run out [1]."""
        steps = -(-self._ends[0][0] * TOKEN_PARTS // self.rate) - self.steps
        if self.footprint.block * self.size * (self.tokens(steps) // self.block_size + 1) <= free:
            return steps
        if self.units_of(steps) <= free:
            return steps
        low, high = 0, steps  # the first are within, the last are not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.units_of(middle) <= free else (low, middle)
        return low
