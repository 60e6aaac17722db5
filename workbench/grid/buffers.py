"""Memory for results: new each time, in pages as large as the system has, or the memory of earlier results again.

Finding and clearing pages takes longer than computing what goes on them. `reused_memory` spares a loop that; it is off
elsewhere, as a session that keeps its grids has nothing to reuse: there it brings less than a tenth.
"""

import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from weakref import finalize

import numpy as np

#: From here on numpy asks the system for huge pages, and an array is worth keeping [byte].
LARGE_BUFFER = 2**22
#: A huge page; what begins on one has no small pages before it [byte].
PAGE = 2**21

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
    before, _kept = _kept, int(share * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        yield
    finally:
        with _lock:
            _kept = before
            _free.clear()


def empty(shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str]) -> dict[str, np.ndarray]:
    """Arrays with arbitrary values; the small ones share one block, so that its pages are huge, too."""
    sizes = {name: prod(shape) * np.dtype(dtypes[name]).itemsize for name, shape in shapes.items()}
    small = [name for name in shapes if sizes[name] < LARGE_BUFFER]
    ends = np.cumsum([0, *(-(-sizes[name] // 8) * 8 for name in small)]).tolist()
    block = _new(ends[-1])
    parts = {name: block[start : start + sizes[name]] for name, start in zip(small, ends, strict=False)}
    return {
        name: (parts[name] if name in parts else _large(sizes[name])).view(dtypes[name]).reshape(shape)
        for name, shape in shapes.items()
    }


def _large(nbytes: int) -> np.ndarray:
    """Bytes of a large array; within `reused_memory` taken back when the last view of them is gone."""
    if not _kept or not hasattr(mmap, "MADV_FREE"):
        return _new(nbytes)
    buffer = _taken(nbytes) or _mapped(nbytes)
    array = np.frombuffer(buffer, np.int8)
    assert array.base is not None
    finalize(array.base, _keep, buffer).atexit = False  # which every view holds, be it through others
    return array


def _new(nbytes: int) -> np.ndarray:
    """Bytes of new memory; those of a large array begin on a huge page."""
    if nbytes < LARGE_BUFFER:
        return np.empty(nbytes, np.int8)
    array = np.empty(nbytes + PAGE, np.int8)
    start = -array.__array_interface__["data"][0] % PAGE
    return array[start : start + nbytes]


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
