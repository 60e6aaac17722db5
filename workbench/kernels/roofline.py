"""The roofline of Williams, Waterman and Patterson (2009): arrays in, arrays out, broadcast as numpy does."""

from typing import Any

import numpy as np


def ridge_point(peak_flop_rate: Any, bandwidth: Any) -> Any:
    """Operational intensity at which the two ceilings meet [FLOP/byte].

    peak_flop_rate [FLOP/s], bandwidth [byte/s]
    """
    return peak_flop_rate / bandwidth


def attainable(intensity: Any, peak_flop_rate: Any, bandwidth: Any, *, out: np.ndarray | None = None) -> Any:
    """The roof above an operational intensity [FLOP/s].

    intensity [FLOP/byte], peak_flop_rate [FLOP/s], bandwidth [byte/s]; out : an array to write it to
    """
    return np.minimum(peak_flop_rate, np.multiply(intensity, bandwidth, out=out), out=out)


def bound(intensity: Any, ridge: Any, *, out: np.ndarray | None = None) -> Any:
    """0 where memory limits a kernel, 1 where compute does (the ridge point itself counts as compute).

    intensity, ridge [FLOP/byte]; out : an int8 array to write it to
    """
    if out is None:
        return np.greater_equal(intensity, ridge).astype(np.int8)
    np.greater_equal(intensity, ridge, out=out.view(np.bool_))
    return out


def ideal_time(flops: Any, bytes_: Any, peak_flop_rate: Any, bandwidth: Any, *, out: np.ndarray | None = None) -> Any:
    """Time of a kernel that reaches its roof: the longer of computing and of moving the data [s].

    flops [FLOP], bytes_ [byte], peak_flop_rate [FLOP/s], bandwidth [byte/s]; out : an array to write it to
    """
    return np.maximum(np.divide(flops, peak_flop_rate, out=out), bytes_ / bandwidth, out=out)
