"""Memory for results: new each time, in pages as large as the system has, or the memory of earlier results again.

Finding and clearing pages takes longer than computing what goes on them. `reused_memory` spares a loop that; it is off
elsewhere, as a notebook that keeps its grids has nothing to reuse: there it brings less than a tenth.
"""

import mmap
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from weakref import finalize

import numpy as np

from ..common.machine import memory_size

#: A huge page; finding and clearing the small ones of an array takes longer than computing what goes on them [byte].
PAGE = 2**21
#: From here on an array is put on huge pages [byte].
LARGE_ARRAY = PAGE // 2
#: From here on numpy asks the system for them, and an array is worth keeping [byte].
ASKED = 2 * PAGE

_lock = threading.RLock()  # a finalizer may run inside it
_free: OrderedDict[int, mmap.mmap] = OrderedDict()  # by id, the longest free first
_kept = 0  # at most, of free memory [byte]; 0 outside `reused_memory`


@contextmanager
def reused_memory(share: float = 0.25) -> Iterator[None]:
    """Keep the memory of grids that are dropped for the next ones, in a loop; all of it is given back at the end.

    Parameters
    ----------
    share : float
        Of the machine's memory that is kept at most [1].
    """
    global _kept
    before, _kept = _kept, int(share * memory_size())
    try:
        yield
    finally:
        with _lock:
            _kept = before
            _free.clear()


def empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array with arbitrary values; within `reused_memory` its memory is kept when the last view of it is gone."""
    nbytes = prod(shape) * np.dtype(dtype).itemsize
    if nbytes < LARGE_ARRAY:
        return np.empty(shape, dtype)
    if not _kept or nbytes < ASKED or not hasattr(mmap, "MADV_FREE"):
        block = np.empty(max(nbytes, ASKED) + PAGE, np.int8)  # what is not written to takes no memory
        start = -block.__array_interface__["data"][0] % PAGE
        return block[start : start + nbytes].view(dtype).reshape(shape)
    buffer = _taken(nbytes) or _mapped(nbytes)
    array = np.frombuffer(buffer, dtype)
    assert array.base is not None
    finalize(array.base, _keep, buffer).atexit = False  # which every view holds, be it through others
    return array.reshape(shape)


def _mapped(nbytes: int) -> mmap.mmap:
    buffer = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without them
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def _taken(nbytes: int) -> mmap.mmap | None:
    """A free buffer of that size, if there is one."""
    with _lock:
        found = next((key for key, buffer in _free.items() if len(buffer) == nbytes), None)
        return None if found is None else _free.pop(found)


def _keep(buffer: mmap.mmap) -> None:
    """Take back a buffer that no array uses any more; let the longest free go where there are too many."""
    with suppress(OSError):
        buffer.madvise(mmap.MADV_FREE)  # the system may take its pages when anything else needs memory
    with _lock:
        if _kept:
            _free[id(buffer)] = buffer
        while sum(map(len, _free.values())) > _kept:
            _free.popitem(last=False)
