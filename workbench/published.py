"""The sources' own formulas, as they printed them, right or wrong: what a published number is recomputed with first."""

from typing import Any

import numpy as np

Array = Any


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


#: What the static half of the T4 report assumes of Llama-2-7B-AWQ and of the Tesla T4.
T4_REPORT = {
    "h": 4096, "i": 11008, "layers": 32, "vocabulary": 32000, "parameters": 6.7e9, "bytes_per_element": 0.5,
    "peak_flop_rate": 65e12, "bandwidth": 320e9,
}  # fmt: skip


def t4_report(phase: str, batch_size: Array, seq_len: Array) -> dict[str, Array]:
    """A row of the T4 report's static tables, by its own cost model (kshyp/varcas, roofline_static.py, 2026).

    phase : "prefill" of `seq_len` tokens, or "decode" of one token at that context
    Returns flops [FLOP], bytes [byte], intensity [FLOP/byte], performance [FLOP/s], time [s] per forward pass and
    tokens_per_second [1/s], with the dims of the inputs.

    Two MLP matrices where Llama has three, half of the attention FLOPs, lm_head for every prompt token, and a KV cache
    in the weights' 4 bits.
    """
    a, b, s = T4_REPORT, np.asarray(batch_size, dtype=float), np.asarray(seq_len, dtype=float)
    h, i, layers, v, width = a["h"], a["i"], a["layers"], a["vocabulary"], a["bytes_per_element"]
    tokens = b * s if phase == "prefill" else b
    flops = 2 * tokens * h * (4 * h + s) * layers + 4 * tokens * h * i * layers + 2 * tokens * h * v
    moved = a["parameters"] * width + (
        16 * b * s * h * layers if phase == "prefill" else 2 * b * s * h * layers * width
    )
    time = np.maximum(flops / a["peak_flop_rate"], moved / a["bandwidth"])
    return {
        "flops": flops, "bytes": moved, "intensity": flops / moved, "performance": flops / time, "time": time,
        "tokens_per_second": tokens / time,
    }  # fmt: skip
