"""Kernel timings from the formats that people have them in, as one table: a row a kernel, times in seconds."""

from .reading import TIMING_FORMATS, read, read_any, recognize, write

__all__ = [
    "TIMING_FORMATS",
    "read",
    "read_any",
    "recognize",
    "write",
]
