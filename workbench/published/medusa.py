"""Formulas of the Medusa paper (Cai et al. 2024, arXiv 2401.10774v3), as it prints them."""

import numpy as np

from ..common.arrays import Array


def medusa_table5(
    operator: str, phase: str, *, h: int, i: int, n: int, d: int, b: Array, s: Array, q: Array = 1
) -> tuple[Array, Array]:
    """FLOPs [FLOP] and elements moved [1] of one matmul: table 5 of Cai et al. 2024 (arXiv 2401.10774v3).

    operator : "qkv" (each of XW_Q, XW_K, XW_V), "qk/pv" (each of QK^T, PV) or "up/gate/down" (each)
    phase : "prefill" or "decode" (of q candidates; 1 is plain decoding)
    h hidden size, i MLP size, n heads, d head size, b batch, s sequence length, q candidates [1]
    """
    rows = s if phase == "prefill" else q
    if operator == "qkv":
        return 2 * b * rows * h**2, 2 * b * rows * h + h**2
    if operator == "up/gate/down":
        return 2 * b * rows * h * i, b * rows * (h + i) + h * i
    return 2 * b * rows * s * n * d, b * rows * n * d + b * s * n * d + b * n * rows * s


def medusa_acceleration_rate(candidates: Array) -> Array:
    """Tokens accepted per decoding step, the curve that the paper's figures 21 to 23 are simulated with [1].

    The legend of figure 21 prints "0.477 log(candidates)"; the points drawn there are 1 + 0.477 ln(candidates).
    """
    return 1 + 0.477 * np.log(candidates)
