"""Large arrays whose memory is used again: pages that the system must first find and clear cost more than the results.

What a result leaves is kept for the next one of its size, and offered to the system (MADV_FREE), which takes the pages
when anything else needs memory.
"""

import mmap
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from math import prod
from weakref import finalize

import numpy as np

#: From here on an array is worth it [byte]: malloc keeps smaller ones itself.
LARGE_BUFFER = 2**22
#: What is kept at most [byte].
MOST_KEPT = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4

# Freed at once: glibc has then seen a large block go, and keeps twice as much for a computation's next temporaries.
np.empty(2**24, np.uint8)

_lock = threading.RLock()  # a finalizer may run inside it
_free: OrderedDict[int, mmap.mmap] = OrderedDict()  # by id, the longest free first


def empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array with arbitrary values, as from `numpy.empty`; its memory is kept when the last view of it is gone."""
    nbytes = prod(shape) * np.dtype(dtype).itemsize
    if nbytes < LARGE_BUFFER or not hasattr(mmap, "MADV_FREE"):
        return np.empty(shape, dtype)
    buffer = _taken(nbytes) or _mapped(nbytes)
    array = np.frombuffer(buffer, dtype)
    assert array.base is not None
    finalize(array.base, _keep, buffer).atexit = False  # which every view holds, be it through others
    return array.reshape(shape)


def _mapped(nbytes: int) -> mmap.mmap:
    buffer = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
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
        buffer.madvise(mmap.MADV_FREE)
    with _lock:
        _free[id(buffer)] = buffer
        while sum(map(len, _free.values())) > MOST_KEPT:
            _free.popitem(last=False)
