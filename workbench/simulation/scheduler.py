"""The scheduler: which sequences are in the next step, with which tokens, on which blocks of the KV cache.

It is that of vLLM's first-come-first-served engine (vllm/v1/core/sched/scheduler.py, versions 0.8 to 0.15). Every step
has a budget of tokens. Running sequences come first, in the order of their admission: one token each, or the next part
of a prompt. A sequence that finds no free block of the KV cache makes the engine preempt the latest admitted, which
gives up its blocks, goes to the head of the queue, and is computed again, what it had generated included. In a step
without preemption the queue is then served in its order, as far as sequences, tokens and blocks go; its head, if it has
to wait, holds up the rest.

Simplified: the blocks of one prefix are not shared (the cached tokens of a prompt only save their computation, and a
preempted sequence finds them again).
"""

from collections import deque
from typing import NamedTuple

from ..servers.server import Server
from .batch import DecodingBatch, Request


class PromptPart(NamedTuple):
    """The part of a prompt that one step computes."""

    request: Request
    start: int  # its first token, counted from 0
    upto: int  # the first token that it leaves to later steps
    blocks: int  # of the KV cache, that it takes
    completes: bool  # nothing is left


class Scheduler:
    """The queue, the running sequences and the free blocks of the KV cache.

    What a policy decides is in four methods: `_next_in_queue` (who is admitted first), `_part_of` (how a prompt is
    chunked), `_victim` (who is preempted) and `_requeue` (where it waits). One prompt at a time is in parts.

    Parameters
    ----------
    server : Server
        Its max_num_seqs, max_num_batched_tokens, chunked_prefill, block_size and kv_blocks are used.
    """

    def __init__(self, server: Server) -> None:
        """Begin with an empty queue and all blocks free."""
        self.max_sequences, self.max_tokens = server.max_num_seqs, server.max_num_batched_tokens
        self.chunked, self.block_size = server.chunked_prefill, server.block_size
        self.blocks = self.free = server.kv_blocks
        self.waiting: deque[Request] = deque()
        self.running: dict[Request, None] = {}  # in the order of admission
        self.partial: PromptPart | None = None  # the latest, of a prompt that is not complete
        self.batch = DecodingBatch(server.block_size)
        self.preemptions = 0
        #: Prompts go in steps of their own, before any decoding.
        self.prompts_first = server.policy == "prefill_first"
        #: Of the running sequences, blocks that they will have taken at their ends; None where none are set aside [1].
        self.promised: int | None = 0 if server.policy == "guaranteed_no_evict" else None

    # What a policy decides -----------------------------------------------------------------------------------------

    def _next_in_queue(self) -> Request:
        return self.waiting[0]

    def _part_of(self, request: Request, start: int, budget: int) -> PromptPart | None:
        """The part of a prompt for a step that has `budget` tokens left; None where it must wait."""
        target = request.prompt + request.generated
        upto = min(target, start + budget)
        held = -(-start // self.block_size) if self.partial and self.partial.request is request else 0
        blocks = -(-upto // self.block_size) - held
        if blocks > self.free or (upto < target and not self.chunked):
            return None
        return PromptPart(request, start, upto, blocks, upto == target)

    def _victim(self) -> Request:
        return next(reversed(self.running))

    def _requeue(self, request: Request) -> None:
        self.waiting.appendleft(request)

    # A step --------------------------------------------------------------------------------------------------------

    def only_decodes(self) -> bool:
        """Whether the next step is of decoding sequences alone, and every one has its block."""
        if self.partial or self.batch.next_blocks() > self.free:
            return False
        if not self.waiting or len(self.running) >= self.max_sequences:
            return True
        request, budget = self._next_in_queue(), self._budget()
        return budget <= 0 or not self._has_room(request) or self._part_of(request, request.cached, budget) is None

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
            part = self._part_of(self.partial.request, self.partial.upto, budget)
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
        while self.batch.next_blocks() > self.free:
            self._preempt()
        self.free -= self.batch.next_blocks()

    def _budget(self) -> int:
        """Tokens of prompts that a step has room for [token]."""
        return self.max_tokens - (0 if self.prompts_first else self.batch.size)

    def _has_room(self, request: Request) -> bool:
        """Whether a request may start: without eviction, only where all that it will need is left."""
        return self.promised is None or self.promised + self._whole(request) <= self.blocks

    def _whole(self, request: Request) -> int:
        """Blocks that a request holds at its end [1]."""
        return -(-(request.prompt + request.output - 1) // self.block_size)

    def _admit(self, budget: int) -> list[PromptPart]:
        parts = []
        while self.waiting and budget and len(self.running) < self.max_sequences:
            if self.partial and not self.partial.completes:  # a policy may leave budget
                break
            request = self._next_in_queue()
            part = self._part_of(request, request.cached, budget) if self._has_room(request) else None
            if part is None:
                break
            self.waiting.remove(request)
            self.running[request] = None
            if self.promised is not None:
                self.promised += self._whole(request)
            budget -= self._take(part)
            parts.append(part)
        return parts

    def _take(self, part: PromptPart) -> int:
        """Give a part its blocks; returns its tokens [token]."""
        self.free -= part.blocks
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
        finished, blocks = self.batch.pop_finished()
        self.free += blocks
        for request in finished:
            self._leave(request)
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
        if self.promised is not None:
            self.promised -= self._whole(request)

    def _stop(self, request: Request) -> None:
        self._leave(request)
        if self.partial and self.partial.request is request:
            self.free += -(-self.partial.upto // self.block_size)
            self.partial = None
        else:
            self.free += self.batch.take_out(request)
