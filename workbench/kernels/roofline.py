"""The roofline of Williams, Waterman and Patterson (2009): arrays in, arrays out, broadcast as numpy does.

The one rule for what limits a kernel, `bound`, and for what limits a step of many, `longest`, stand here.
"""

from collections.abc import Sequence

import numpy as np

from ..common.arrays import Array


def ridge_point(peak_flop_rate: Array, bandwidth: Array) -> Array:
    """Operational intensity at which the two ceilings meet.

    Parameters
    ----------
    peak_flop_rate : float or ndarray
        [FLOP/s]
    bandwidth : float or ndarray
        [byte/s]

    Returns
    -------
    float or ndarray
        [FLOP/byte]
    """
    return peak_flop_rate / bandwidth


def attainable(
    intensity: Array, peak_flop_rate: Array, bandwidth: Array, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The roof above an operational intensity.

    Parameters
    ----------
    intensity : float or ndarray
        [FLOP/byte]
    peak_flop_rate : float or ndarray
        [FLOP/s]
    bandwidth : float or ndarray
        [byte/s]
    out : ndarray, optional
        Where to write it.

    Returns
    -------
    ndarray
        [FLOP/s]
    """
    return np.minimum(peak_flop_rate, np.multiply(intensity, bandwidth, out=out), out=out)


def bound(intensity: Array, ridge: Array, *, out: np.ndarray | None = None) -> np.ndarray:
    """What limits a kernel: 0, memory, or 1, compute. The ridge point itself counts as compute.

    Parameters
    ----------
    intensity, ridge : float or ndarray
        [FLOP/byte]
    out : ndarray of int8, optional
        Where to write it.

    Returns
    -------
    ndarray of int8
    """
    if out is None:
        return np.greater_equal(intensity, ridge).astype(np.int8)
    np.greater_equal(intensity, ridge, out=out.view(np.bool_))
    return out


def longest(times: Sequence[Array]) -> np.ndarray:
    """What limits a step: where most of its time goes, the first of equal ones.

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
    """Time of a kernel that reaches its roof: the longer of computing and of moving the data.

    Parameters
    ----------
    flops : float or ndarray
        [FLOP]
    bytes_ : float or ndarray
        [byte]
    peak_flop_rate : float or ndarray
        [FLOP/s]
    bandwidth : float or ndarray
        [byte/s]
    out : ndarray, optional
        Where to write it.

    Returns
    -------
    ndarray
        [s]
    """
    return np.maximum(np.divide(flops, peak_flop_rate, out=out), bytes_ / bandwidth, out=out)
