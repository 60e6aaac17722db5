"""The roofline of Williams, Waterman and Patterson (2009, doi:10.1145/1498765.1498785), on arrays that broadcast.

The one rule for what limits a kernel, `bound`, and for what limits a step of many, `longest`, stand here.
"""

from collections.abc import Sequence

import numpy as np

from ..common.arguments import one_of
from ..common.arrays import Array

TIME_MODELS = ("ideal", "kernel")


def check_time_model(time_model: object) -> None:
    """Raise ValueError for an unknown time model."""
    one_of("time_model", time_model, TIME_MODELS)


def ridge_point(peak_flop_rate: Array, bandwidth: Array) -> Array:
    """Operational intensity at which the two ceilings meet, P / W.

    Parameters
    ----------
    peak_flop_rate, bandwidth : float or ndarray
        Dense peak P [FLOP/s], memory bandwidth W [byte/s].

    Returns
    -------
    float or ndarray
        [FLOP/byte]
    """
    return peak_flop_rate / bandwidth


def attainable(
    intensity: Array, peak_flop_rate: Array, bandwidth: Array, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The roof above an operational intensity, min(P, I W).

    Parameters
    ----------
    intensity, peak_flop_rate, bandwidth : float or ndarray
        I [FLOP/byte], P [FLOP/s], W [byte/s].
    out : ndarray, optional
        Where to write it.

    Returns
    -------
    ndarray
        [FLOP/s]
    """
    return np.minimum(peak_flop_rate, np.multiply(intensity, bandwidth, out=out), out=out)


def bound(intensity: Array, ridge: Array, *, out: np.ndarray | None = None) -> np.ndarray:
    """What limits a kernel: compute at or above the ridge point, memory below it.

    Parameters
    ----------
    intensity, ridge : float or ndarray
        Its operational intensity, and the ridge point of the format that it computes in [FLOP/byte].
    out : ndarray of int8, optional
        Where to write it.

    Returns
    -------
    ndarray of int8
        0, memory, or 1, compute.
    """
    if out is None:
        return np.greater_equal(intensity, ridge).astype(np.int8)
    np.greater_equal(intensity, ridge, out=out.view(np.bool_))
    return out


def longest(times: Sequence[Array]) -> np.ndarray:
    """What limits a step: the limit that most of its time goes to, of equal ones the first.

    Parameters
    ----------
    times : sequence of float or ndarray
        Time of what each limit holds up, in their order: memory, compute, link, and the host where there is one [s].

    Returns
    -------
    ndarray of int8
        The place of the longest.
    """
    place: np.ndarray = np.argmax(np.stack(np.broadcast_arrays(*times)), axis=0)
    return place.astype(np.int8)


def ideal_time(
    flops: Array, bytes_: Array, peak_flop_rate: Array, bandwidth: Array, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Time of a kernel that reaches its roof, the longer of computing and of moving the data: max(F / P, M / W).

    Parameters
    ----------
    flops, bytes_ : float or ndarray
        F [FLOP], M [byte].
    peak_flop_rate, bandwidth : float or ndarray
        P [FLOP/s], W [byte/s].
    out : ndarray, optional
        Where to write it.

    Returns
    -------
    ndarray
        [s]
    """
    return np.maximum(np.divide(flops, peak_flop_rate, out=out), bytes_ / bandwidth, out=out)
