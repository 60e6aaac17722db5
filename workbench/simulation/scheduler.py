"""The scheduler: which sequences are in the next step, with which tokens, on which blocks of the KV cache.

It is that of vLLM's first-come-first-served engine (vllm/v1/core/sched/scheduler.py, versions 0.8 to 0.15). Every step
has a budget of tokens. Running sequences come first, in the order of their admission: a token each (with a draft, their
candidates), or the next part of a prompt. A sequence that finds no free block of the KV cache makes the engine preempt
the latest admitted, which gives up its blocks, goes to the head of the queue, and is computed again but for what it
still finds of them (`cache`). In a step without preemption the queue is then served in its order, as far as sequences,
tokens and blocks for the first part go; its head, if it has to wait, holds up the rest. `policies` has what other
engines do.

Simplified: one prompt at a time is in parts; outputs are found by no other request; a draft model's cache grows with
the target's; layers with a window give up what is behind it at once, and are computed again, but not stored, with what
is found of the others.
"""

from collections import deque
from typing import NamedTuple

from ..servers.server import Server
from .batch import DecodingBatch
from .cache import NOT_FOUND, Found, KVCache
from .requests import Request


class PromptPart(NamedTuple):
    """The part of a prompt that one step computes."""

    request: Request
    start: int  # its first token, counted from 0
    upto: int  # the first token that it leaves to later steps
    held: int  # blocks that the request has already, with what is found of it
    blocks: int  # that it has then
    completes: bool  # nothing is left
    found: Found = NOT_FOUND  # as it starts


class Scheduler:
    """The queue, the running sequences and the free blocks of the KV cache.

    What a policy decides is in its methods: `_next_in_queue` (who is admitted first), `_has_room` (whether it may
    start), `_part_of` (how a prompt is chunked), `_victim` (who is preempted) and `_requeue` (where it waits).

    Parameters
    ----------
    server : Server
        Its max_num_seqs, max_num_batched_tokens, chunked_prefill, draft, and those of its `KVCache` are used.
    """

    #: Prompts go in steps of their own, before any decoding.
    prompts_first = False

    def __init__(self, server: Server) -> None:
        """Begin with an empty queue and all blocks free."""
        self.max_sequences, self.max_tokens = server.max_num_seqs, server.max_num_batched_tokens
        self.chunked, self.candidates = server.chunked_prefill, server.candidates
        self.cache = KVCache(server)
        self.footprint = self.cache.footprint
        self.waiting: deque[Request] = deque()
        self.running: dict[Request, None] = {}  # in the order of admission
        self.partial: PromptPart | None = None  # the latest, of a prompt that is not complete
        self.batch = DecodingBatch(self.footprint, server.draft)
        self.preemptions = 0

    # What a policy decides -----------------------------------------------------------------------------------------

    def _next_in_queue(self) -> Request:
        return self.waiting[0]

    def _has_room(self, part: PromptPart) -> bool:
        """Whether a request may start, besides that there are blocks for the part."""
        return True

    def _part_of(self, request: Request, budget: int) -> PromptPart | None:
        """The next part of a prompt for a step that has `budget` tokens left; None where it must wait."""
        found, before = NOT_FOUND, self.partial
        if before and before.request is request:
            start, held, owned = before.upto, before.blocks, before.blocks
        else:
            found = self.cache.find(request)
            start, held, owned = self.cache.start(request, found), found.blocks, 0
        upto = min(request.known, start + budget)
        completes = upto == request.known
        blocks = self.footprint.blocks(upto + (self.batch.ahead if completes else 0))
        if self.cache.needed(owned, blocks, found) > self.cache.free or not (completes or self.chunked):
            return None
        return PromptPart(request, start, upto, held, blocks, completes, found)

    def _victim(self) -> Request:
        return next(reversed(self.running))

    def _requeue(self, request: Request) -> None:
        self.waiting.appendleft(request)

    def _kept(self, request: Request, computed: int) -> int:
        """Tokens that a preempted request may find again of those that were computed [token]."""
        return computed

    # A step --------------------------------------------------------------------------------------------------------

    def only_decodes(self) -> bool:
        """Whether the next step is of decoding sequences alone, and every one has its blocks."""
        if self.partial or self.batch.next_units() > self.cache.free:
            return False
        if not self.waiting or len(self.running) >= self.max_sequences:
            return True
        budget = self._budget()
        return budget <= 0 or self._starting(budget) is None

    def schedule(self) -> list[PromptPart]:
        """Make room for the decoding sequences, then choose the parts of prompts that the step computes.

        Where prompts go first, a step that has any has no decoding sequences.
        """
        preempted = self.preemptions
        if not self.prompts_first:
            self._make_room()
        budget = self._budget()
        parts = []
        if self.partial:
            part = self._part_of(self.partial.request, budget)
            if part is None:
                self._preempt()
            else:
                budget -= self._take(part)
                parts.append(part)
        if self.preemptions == preempted:
            parts += self._admit(budget)
        if self.prompts_first and not parts:
            self._make_room()
        return parts

    def _make_room(self) -> None:
        """Take the blocks that the decoding sequences need for a step, preempting until there are enough."""
        while self.batch.next_units() > self.cache.free:
            self._preempt()
        self.cache.take_units(self.batch.next_units())

    def _budget(self) -> int:
        """Tokens of prompts that a step has room for [token]."""
        return self.max_tokens - (0 if self.prompts_first else self.batch.size * self.candidates)

    def _starting(self, budget: int) -> PromptPart | None:
        """The first part of the next request, where it may start."""
        part = self._part_of(self._next_in_queue(), budget)
        return part if part and self._has_room(part) else None

    def _admit(self, budget: int) -> list[PromptPart]:
        parts = []
        while self.waiting and budget > 0 and len(self.running) < self.max_sequences:
            if self.partial and not self.partial.completes:  # a policy may leave budget
                break
            part = self._starting(budget)
            if part is None:
                break
            self._start(part)
            budget -= self._take(part)
            parts.append(part)
        return parts

    def _start(self, part: PromptPart) -> None:
        if self.waiting[0] is part.request:
            self.waiting.popleft()
        else:
            self.waiting.remove(part.request)
        self.running[part.request] = None
        if part.found is NOT_FOUND:
            part.request.hits = part.request.hits or 0
        else:
            self.cache.take_found(part.request, part.found)

    def _take(self, part: PromptPart) -> int:
        """Give a part its blocks; returns its tokens [token]."""
        self.cache.take(part.request, part.held, part.upto, part.blocks)
        self.partial = part  # until `complete`, even where it is the prompt's last
        return part.upto - part.start

    def complete(self, parts: list[PromptPart]) -> list[Request]:
        """End a step: the requests whose prompts it has completed, which do not decode yet."""
        self.partial = None
        completed = []
        for part in parts:
            if part.completes:
                completed.append(part.request)
            else:
                self.partial = part
        return completed

    def finish(self) -> list[Request]:
        """Take out the sequences that have come to their end."""
        finished = []
        for request, blocks in self.batch.pop_finished():
            self._leave(request)
            self.cache.give_back(request, blocks)
            finished.append(request)
        return finished

    # Before the end ------------------------------------------------------------------------------------------------

    def cancel(self, request: Request) -> None:
        """Drop a request, running or waiting."""
        if request in self.running:
            self._stop(request)
        else:
            self.waiting.remove(request)

    def _preempt(self) -> None:
        request = self._victim()
        self._stop(request)
        self._requeue(request)
        self.preemptions += 1

    def _leave(self, request: Request) -> None:
        del self.running[request]

    def _stop(self, request: Request) -> None:
        """Take a request out of the running ones; what was computed of it may be found again."""
        self._leave(request)
        if self.partial and self.partial.request is request:
            computed, blocks = self.partial.upto, self.partial.blocks
            self.partial = None
        else:
            blocks = self.batch.take_out(request)
            computed = request.known - 1
        self.cache.give_back(request, blocks, self._kept(request, computed))
