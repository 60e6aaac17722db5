"""Formulas of the Medusa paper (Cai et al. 2024, arXiv 2401.10774v3), as it prints them."""

from typing import Any

import numpy as np
import xarray as xr

from ..common.arguments import check_broadcast, numbers, one_of, positive_numbers, whole_number
from ..common.arrays import Array
from ..operators import PHASES


def medusa_table5(
    operator: str, phase: str, *, h: int, i: int, n: int, d: int, b: Array, s: Array, q: Array = 1
) -> tuple[Array, Array]:
    """Count the FLOPs and the elements moved of one matmul, by table 5 of the paper.

    Parameters
    ----------
    operator : str
        "qkv" (each of XW_Q, XW_K, XW_V), "qk/pv" (each of QK^T, PV) or "up/gate/down" (each of the three).
    phase : str
        "prefill", or "decode" of q candidates.
    h, i, n, d : int
        Hidden size, MLP size, heads and head size [1].
    b : array_like
        Batch size [1].
    s : array_like
        Sequence length [token].
    q : array_like, default 1
        Candidates, that is rows for each sequence of a decoding step; 1 is plain decoding [1].

    Returns
    -------
    flops, elements : array_like
        FLOPs [FLOP] and elements read and written [1], with the dims of b, s and q, broadcast.

    References
    ----------
    Cai et al. 2024, "Medusa: Simple LLM Inference Acceleration Framework with Multiple Decoding Heads",
    arXiv 2401.10774v3, table 5.
    """
    operator = one_of("operator", operator, ("qkv", "qk/pv", "up/gate/down"))
    h, i, n, d = (whole_number(name, size) for name, size in (("h", h), ("i", i), ("n", n), ("d", d)))
    sizes = {name: _sizes(name, size) for name, size in (("b", b), ("s", s), ("q", q))}
    if not any(isinstance(size, xr.DataArray) for size in sizes.values()):
        check_broadcast(**sizes)
    b, s, q = sizes.values()
    rows = s if one_of("phase", phase, PHASES) == "prefill" else q
    if operator == "qkv":
        return 2 * b * rows * h**2, 2 * b * rows * h + h**2
    if operator == "up/gate/down":
        return 2 * b * rows * h * i, b * rows * (h + i) + h * i
    return 2 * b * rows * s * n * d, b * rows * n * d + b * s * n * d + b * n * rows * s


def medusa_acceleration_rate(candidates: Array) -> Array:
    """Tokens accepted in a decoding step, by the curve that the paper's figures 21 to 23 are simulated with.

    Parameters
    ----------
    candidates : array_like
        Candidates in the step [1].

    Returns
    -------
    array_like
        1 + 0.477 ln(candidates) [1], with the dims of the input.

    Notes
    -----
    The legend of figure 21 prints "0.477 log(candidates)"; the points drawn there are 1 + 0.477 ln(candidates).

    References
    ----------
    Cai et al. 2024, arXiv 2401.10774v3, figures 21 to 23.
    """
    given = numbers("candidates", candidates, "expected numbers from 1", low=1)
    rate: Array = 1 + 0.477 * np.log(given)
    return rate


def _sizes(name: str, values: Any) -> Any:
    """Positive numbers as float64 [1]; a DataArray keeps the names of its dims, by which it broadcasts."""
    sizes = positive_numbers(name, values)
    return values.astype(float) if isinstance(values, xr.DataArray) else sizes
