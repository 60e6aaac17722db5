"""Pareto fronts: what nothing else beats in one respect without being worse in another."""

from collections.abc import Sequence

import numpy as np


def pareto_front(measures: Sequence[np.ndarray], *, ties: bool = False) -> np.ndarray:
    """Places of the rows that no other one dominates: no larger in any measure, and smaller in one.

    Parameters
    ----------
    measures : sequence of ndarray
        Of every row; less is better.
    ties : bool
        Keep all rows of equal measures, not the first alone.

    Returns
    -------
    ndarray of int
        By the first measure, then the next; of equal ones the first given first.
    """
    order = np.lexsort(measures[::-1])  # stable
    rows = np.stack(measures, axis=-1)[order]
    if len(measures) == 2:
        before = np.minimum.accumulate(np.r_[np.inf, rows[:-1, 1]])
        kept = rows[:, 1] < before
    else:
        kept = np.zeros(len(rows), dtype=bool)
        for place, row in enumerate(rows):
            kept[place] = not (rows[:place][kept[:place]] <= row).all(axis=1).any()
    if ties:
        same = np.r_[False, (rows[1:] == rows[:-1]).all(axis=1)]
        for place in np.flatnonzero(same).tolist():
            kept[place] = kept[place - 1]
    return order[kept]
