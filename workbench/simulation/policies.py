"""What engines do differently with a full KV cache, and with prompts beside decoding sequences.

"recompute" is the scheduler of vLLM itself (`scheduler`). With sequences as long as their limit, as load tests ask for,
what a request asks for is what it generates.
"""

from ..servers.server import Server
from .requests import Request
from .scheduler import PromptPart, Scheduler


class MaxUtilization(Scheduler):
    """TensorRT-LLM's MAX_UTILIZATION: a request starts when its whole prompt has blocks, not just the first part of it.

    Otherwise as vLLM: the latest started is paused where one that started earlier finds no block, and starts again
    before the others, in the order of their arrival. cpp/tensorrt_llm/batch_manager/capacityScheduler.cpp, 1.0.
    """

    def _has_room(self, part: PromptPart) -> bool:
        blocks = self.footprint.blocks(part.request.known + self.batch.ahead)
        return self.cache.needed(0, blocks, part.found) <= self.cache.free


class GuaranteedNoEvict(Scheduler):
    """TensorRT-LLM's default: a request starts when all that it will need, to its last token, is left for it.

    None is preempted. What it shares with running requests is left already. (The same file.)
    """

    def __init__(self, server: Server) -> None:
        """Begin with nothing promised."""
        super().__init__(server)
        self.promised = 0  # units that the running requests will have taken at their ends

    def _whole(self, request: Request) -> int:
        """Units that a request takes in the end, at most [1]."""
        return self.footprint.units(self.footprint.blocks(request.prompt + request.output - 1 + self.batch.most_ahead))

    def _has_room(self, part: PromptPart) -> bool:
        cache, found = self.cache, part.found
        shared = self.footprint.full * (cache.claimed - cache.stored + found.blocks) - found.idle
        return self.promised + self._whole(part.request) - shared <= cache.units

    def _start(self, part: PromptPart) -> None:
        super()._start(part)
        self.promised += self._whole(part.request)

    def _leave(self, request: Request) -> None:
        super()._leave(request)
        self.promised -= self._whole(request)


#: SGLang's estimate of how much of what they may still generate running requests will: at first, at least, and the
#: decoding steps in which it falls from one to the other (python/sglang/srt/environ.py) [1].
FIRST_RATIO, LEAST_RATIO, RATIO_STEPS = 0.7, 0.7 * 0.14, 600
#: Tokens that a request is taken to generate at most, in that estimate [token].
MOST_ESTIMATED = 4096
#: Decoding steps for which a retraction makes room [1].
RETRACT_STEPS = 20


class PrefillFirst(Scheduler):
    """SGLang: prompts go in steps of their own, before any decoding.

    A request starts when there is room for its prompt, all that it may generate, and a share of what those that run may
    still generate: the "new token ratio". Where one has to wait, all do until a sequence ends or is retracted. Where
    decoding finds no blocks, those with the fewest output tokens (of equal ones, the longest prompt) go until
    there is room for 20 more steps of the rest, to the end of the queue; the ratio becomes that of the rest.
    python/sglang/srt/managers: schedule_policy.py, schedule_batch.py, 0.4 to 0.5.
    """

    prompts_first = True

    def __init__(self, server: Server) -> None:
        """Begin with the first ratio."""
        super().__init__(server)
        self.full = False  # one had to wait, and none has ended since
        self._ratio, self._since = FIRST_RATIO, 0  # and the batch's step at which it was so

    @property
    def ratio(self) -> float:
        """The new token ratio [1]."""
        fallen = (FIRST_RATIO - LEAST_RATIO) / RATIO_STEPS * (self.batch.steps - self._since)
        return min(self._ratio, max(self._ratio - fallen, LEAST_RATIO))

    def only_decodes(self) -> bool:
        """Whether the next step is of decoding sequences alone, and every one has its blocks."""
        if self.full and self.running and not self.partial:
            return self.batch.next_units() <= self.cache.free
        decodes = super().only_decodes()
        self.full = decodes and bool(self.waiting)
        return decodes

    def _starting(self, budget: int) -> PromptPart | None:
        if not self.running:
            self._ratio, self._since = FIRST_RATIO, self.batch.steps
        return super()._starting(budget)

    def _admit(self, budget: int) -> list[PromptPart]:
        if self.full and self.running:
            return []
        parts = super()._admit(budget)
        self.full = bool(self.waiting) and budget > sum(part.upto - part.start for part in parts)
        return parts

    def _has_room(self, part: PromptPart) -> bool:
        if not self.running:
            return True
        request, block = part.request, self.footprint.block_size
        coming = self.batch.remaining(MOST_ESTIMATED) * self.ratio
        for other in self.running:
            if other.joined is None:  # it is in this step, or in parts
                coming += min(other.output - other.generated, MOST_ESTIMATED) + block
        own = min(request.output - request.generated, MOST_ESTIMATED) + block
        prompt = self.cache.needed(0, self.footprint.blocks(request.known), part.found) / self.footprint.block * block
        return prompt + own < self.cache.free / self.footprint.block * block - coming

    def _victim(self) -> Request:
        return min(self.running, key=lambda request: (self.batch.generated(request), -request.prompt))

    def _make_room(self) -> None:
        if self.batch.next_units() > self.cache.free:
            block = self.footprint.block_size
            self._preempt()
            while self.batch.size > 1 and (
                self.cache.free // self.footprint.block * block < self.batch.size * RETRACT_STEPS
                or self.batch.next_units() > self.cache.free
            ):
                self._preempt()
            left = list(self.running)
            generated = sum(self.batch.generated(request) for request in left)
            asked = sum(request.output for request in left)
            self._ratio = min((generated + RETRACT_STEPS * len(left)) / (asked + 1), 1.0)
            self._since = self.batch.steps
            self.full = False
        super()._make_room()

    def _requeue(self, request: Request) -> None:
        self.waiting.append(request)

    def _leave(self, request: Request) -> None:
        super()._leave(request)
        self.full = False

    def _kept(self, request: Request, computed: int) -> int:
        """What it generated is given up."""
        return min(computed, request.prompt)


SCHEDULERS: dict[str, type[Scheduler]] = {
    "recompute": Scheduler, "max_utilization": MaxUtilization, "guaranteed_no_evict": GuaranteedNoEvict,
    "prefill_first": PrefillFirst,
}  # fmt: skip
