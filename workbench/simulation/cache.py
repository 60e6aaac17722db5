"""The KV cache: what a sequence takes of it, which blocks are free, and what of a prompt is found in it again.

Blocks are counted, not named. Those that nobody uses stay as they are until somebody needs room: the least recently
used go first, of one sequence the last first. A prompt that begins with the same blocks as an earlier one then finds
them (its `Request.hashes` say which), and so does a preempted request with what it had computed. A block is found from
the step on in which it is computed, is stored once, and is given back when the last of its users has left. Kwon et al.
2023, arXiv 2309.06180; vllm/v1/core/block_pool.py; sglang/srt/mem_cache/radix_cache.py.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil, gcd
from typing import NamedTuple

from ..servers.memory import kv_bytes_per_token, state_bytes
from ..servers.server import Server
from .requests import Request, Run


@dataclass(frozen=True)
class Footprint:
    """What a sequence takes of the cache, in units: layers that see everything keep all blocks, others their window.

    A model whose layers are all alike has one unit a block. Layers with linear attention have a state of one size from
    the first token on, in whole units.

    Parameters
    ----------
    block_size : int
        Tokens in a block [token].
    full, sliding : int
        Units that a block takes in the layers that see everything, and in those with a window [1].
    window : int
        Blocks that the latter keep at most [1].
    state : int
        Units of a sequence's states [1].
    """

    block_size: int
    full: int = 1
    sliding: int = 0
    window: int = 0
    state: int = 0

    @classmethod
    def of(cls, server: Server) -> "Footprint":
        """That of a server's model."""
        (full, sliding), seeing = server.shard.kv_elements, server.model.sliding_window
        elements = gcd(full, sliding)
        unit = kv_bytes_per_token(server) * server.block_size * elements / (full + sliding)
        window = -(-seeing.size // server.block_size) if seeing else 0
        state = ceil(state_bytes(server) / unit - 1e-9)
        return cls(server.block_size, full // elements, sliding // elements, window, state)

    @property
    def block(self) -> int:
        """Units of a block in all layers [1]."""
        return self.full + self.sliding

    def blocks(self, tokens: int) -> int:
        """Blocks that so many tokens are in [1]."""
        return -(-tokens // self.block_size)

    def units(self, blocks: int) -> int:
        """Of a sequence of so many blocks [1]."""
        return self.full * blocks + self.bounded(blocks)

    def bounded(self, blocks: int) -> int:
        """Those of them in layers that keep no more than a window, or a state [1]."""
        return self.sliding * min(blocks, self.window) + (self.state if blocks else 0)


class Found(NamedTuple):
    """What the cache has of a request's beginning."""

    runs: int = 0  # of its hashes, with some block
    blocks: int = 0
    idle: int = 0  # units, of blocks that nobody uses: they are free until the request takes them


NOT_FOUND = Found()


class KVCache:
    """The blocks of a server.

    Parameters
    ----------
    server : Server
        Its kv_blocks, block_size, prefix_caching and model are used.

    Attributes
    ----------
    free : int
        Units that no running request uses [1].
    hit_tokens : int
        Of prompts, found in blocks of other requests [token].
    refound_tokens : int
        Of preempted requests, found again in blocks of their own [token].
    """

    def __init__(self, server: Server) -> None:
        """Begin empty."""
        self.footprint = Footprint.of(server)
        self.units = self.free = server.kv_blocks * self.footprint.block
        self.caching = bool(server.prefix_caching and self.footprint.full)
        self.hit_tokens = self.refound_tokens = 0
        #: Blocks that running requests hold of runs, each counted for every user, and once [1].
        self.claimed = self.stored = 0
        self._runs: dict[int, Run] = {}
        self._idle: OrderedDict[Run, None] = OrderedDict()  # that nobody uses, the least recently used first
        self._idle_units = 0
        self._lost: Run | None = None  # the latest of them that nobody finds

    def find(self, request: Request) -> Found:
        """What it has of a request that waits."""
        if not self.caching or not (request.hashes or request.own):
            return NOT_FOUND
        runs = blocks = idle = end = 0
        for key in request.hashes:
            if (run := self._runs.get(key)) is None:
                return Found(runs, blocks, idle)
            runs += 1
            begin, end = end, self._end(request, runs)
            size = end - begin
            blocks += min(run.blocks, size)
            idle += 0 if run.users else run.blocks * run.unit
            if run.blocks < size:
                return Found(runs, blocks, idle)
        if request.own:
            blocks += request.own.blocks
            idle += request.own.blocks * request.own.unit
        return Found(runs, blocks, idle)

    def start(self, request: Request, found: Found) -> int:
        """Its first token that has to be computed; at least one has, for its logits [token]."""
        size = self.footprint.block_size
        last = (request.known - 1) // size * size
        return max(request.cached, min(found.blocks * size, last))

    def needed(self, held: int, blocks: int, found: Found = NOT_FOUND) -> int:
        """Units of the free ones that a request takes which holds some blocks and needs so many, at most [1]."""
        fresh = self.footprint.units(blocks) - self.footprint.units(held)
        return fresh - self.footprint.full * found.blocks + found.idle

    def take_found(self, request: Request, found: Found) -> None:
        """Let a request that starts use what was found of it."""
        for j in range(found.runs):
            self._use(request, request.hashes[j])
        shared = min(found.blocks, self._end(request, found.runs))
        self._claim(request, shared)
        tokens = min(found.blocks * self.footprint.block_size, request.known - 1)
        if request.hits is None:
            request.hits = tokens
            self.hit_tokens += tokens
        else:
            self.refound_tokens += tokens
        if request.own and found.blocks > shared:
            self._unidle(request.own)
        request.own = None
        self.take_units(self.footprint.bounded(found.blocks))

    def take(self, request: Request, held: int, upto: int, blocks: int) -> None:
        """Give a request that holds some blocks (what was found among them) those for its tokens up to `upto`.

        Those that have become full are found by whoever asks from now on.
        """
        full, bounded = self.footprint.full, self.footprint.bounded
        self.free += full * (held - request.shared)
        if self.caching and request.hashes:
            self._publish(request, min(upto, request.prompt) // self.footprint.block_size)
        self.take_units(full * (blocks - request.shared) + bounded(blocks) - bounded(held))

    def take_units(self, units: int) -> None:
        """Take some of the free ones; what was in them is lost [1]."""
        self.free -= units
        while self._idle_units > self.free:
            run = next(iter(self._idle))
            lost = min(run.blocks, -(-(self._idle_units - self.free) // run.unit))
            run.blocks -= lost
            self._idle_units -= lost * run.unit
            if not run.blocks:
                self._idle.popitem(last=False)
                if run.key is not None:
                    del self._runs[run.key]

    def give_back(self, request: Request, blocks: int, computed: int = 0) -> None:
        """Take back all the blocks that a request held.

        Parameters
        ----------
        request : Request
            That has ended or is preempted.
        blocks : int
            That it held [1].
        computed : int
            Tokens of it that may be found again if it starts once more [token].
        """
        private = self.footprint.units(blocks) - self.footprint.full * request.shared
        self.free += private
        if not self.caching:
            return
        if own := max(computed // self.footprint.block_size - request.shared, 0):
            request.own = Run(own, None, self.footprint.full)
            private -= own * self.footprint.full
        self._put_lost(private)
        if request.own:
            self._put_idle(request.own)
        if not request.runs:
            return
        for run in reversed(request.runs):
            run.users -= 1
            if not run.users:
                self.stored -= run.blocks
                self.free += run.blocks * run.unit
                self._put_idle(run)
        self.claimed -= request.shared
        request.runs.clear()
        request.shared = 0

    def _end(self, request: Request, runs: int) -> int:
        """Blocks of the first of a request's runs [1]."""
        return min(runs * request.hashed, request.prompt) // self.footprint.block_size

    def _publish(self, request: Request, full: int) -> None:
        """Hand the blocks of a prompt that are full by now to its runs."""
        j = max(len(request.runs) - 1, 0)
        while j < len(request.hashes) and self._end(request, j) < full:
            if j == len(request.runs):
                self._use(request, request.hashes[j])
            run, end = request.runs[j], min(self._end(request, j + 1), full)
            if (more := end - self._end(request, j) - run.blocks) > 0:
                run.blocks += more
                self.stored += more
                self.take_units(more * run.unit)
            self._claim(request, max(end - request.shared, 0))
            j += 1

    def _claim(self, request: Request, blocks: int) -> None:
        request.shared += blocks
        self.claimed += blocks

    def _use(self, request: Request, key: int) -> None:
        """Let a request use the run of a hash, which begins empty."""
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = Run(0, key, self.footprint.full)
        elif not run.users:
            self._unidle(run)
            self.stored += run.blocks
        run.users += 1
        request.runs.append(run)

    def _unidle(self, run: Run) -> None:
        del self._idle[run]
        units = run.blocks * run.unit
        self._idle_units -= units
        self.take_units(units)

    def _put_idle(self, run: Run) -> None:
        """Leave blocks, free by now, as they are until they are needed."""
        if run.blocks:
            self._idle_units += run.blocks * run.unit
            self._idle[run] = None
        elif run.key is not None:
            del self._runs[run.key]

    def _put_lost(self, units: int) -> None:
        """The same of blocks that nobody finds, which take their turn as all do."""
        if self._lost is None or next(reversed(self._idle), None) is not self._lost:
            self._lost = Run(units, None, 1)
            self._put_idle(self._lost)
        else:
            self._lost.blocks += units
            self._idle_units += units
