"""What accumulates over time in a load test, requests present and tokens so far, and its means over intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

SHORTEST_SPAN = 1e-3  # s; tokens of a shorter span come at once: below clients' resolution, and its rate has no digits
Ramps = list[tuple[np.ndarray, np.ndarray]]  # (times, weights): each adds weight x (t - time) after its time
Parts = tuple[Ramps, Ramps]  # what grows linearly from a time on; what comes at once


def presence(begin: np.ndarray, over: np.ndarray) -> Parts:
    """Requests present from `begin` to `over` [s], as their integral over time; unknown spans add nothing."""
    known = ~(np.isnan(begin) | np.isnan(over))
    ones = np.ones(int(known.sum()))
    return [(begin[known], ones), (over[known], -ones)], []


def tokens_so_far(t: Mapping[str, Any]) -> Parts:
    """Output tokens so far: spread evenly from first to last token, at once where there is no such span."""
    first, last, output = t["first"], t["running"][1], t["output"]
    known = ~(np.isnan(output) | np.isnan(last)) & t["started"]
    spread = known & (last - first > SHORTEST_SPAN)  # NaN compares as False
    rate = output[spread] / (last - first)[spread]
    at_once = known & ~spread
    return [(first[spread], rate), (last[spread], -rate)], [(last[at_once], output[at_once])]


def mean_over(parts: Parts, edges: np.ndarray) -> np.ndarray:
    """Mean over each interval between edges [s] of what accumulates as `parts` say; NaN over an empty one."""
    total = np.zeros(len(edges))
    for linear, group in zip((True, False), parts, strict=True):
        for times, weights in group:
            order = np.argsort(times, kind="stable")
            behind = np.searchsorted(times[order], edges, side="right")
            weight = np.concatenate([[0.0], np.cumsum(weights[order])])[behind]
            moment = np.concatenate([[0.0], np.cumsum((weights * times)[order])])[behind]
            total += weight * edges - moment if linear else weight
    if edges[0] == 0 and parts[1]:  # what comes at time 0 belongs to the first interval
        total[0] = 0.0
    widths = np.diff(edges)
    mean: np.ndarray = np.divide(np.diff(total), widths, out=np.full(len(widths), np.nan), where=widths > 0)
    return mean
