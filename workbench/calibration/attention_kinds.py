"""How attention is fitted: of heads, of a latent cache, and linear."""

from dataclasses import replace

import numpy as np
import pandas as pd

from ..catalog import Mla
from ..kernels import attention, linear_attention, mla
from ..kernels.attention_times import attention_cost, mla_cost
from ..operators.cost import Cost
from .records import Bounds, FittedKind, OperandWidths, Sizes

_STEP = ("batch_size", "seq_len_q", "seq_len_kv")
_HEADS = ["n_heads", "n_kv_heads", "head_dim"]
#: What timings of latent attention are of that do not say otherwise: DeepSeek-V3 (arXiv 2412.19437).
_MLA = Mla(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128)
#: Width of the state of linear attention, which engines keep in fp32 [byte].
_STATE = 4.0
_NAMES = {"seq_len_q": "new_tokens", "seq_len_kv": "context", "n_kv_heads": "n_key_heads"}


def _named(sizes: Sizes, *kept: str) -> Sizes:
    return {name if name in kept else _NAMES.get(name, name): size for name, size in sizes.items()}


def _attention(rows: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    given = rows.window.to_numpy(dtype=float) if "window" in rows else np.zeros(len(rows))
    window = np.where(given > 0, given, np.inf)
    return attention_cost(**_named(sizes, "n_kv_heads"), width=widths.activation, kv_width=widths.stored, window=window)


def _latent(_: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    return mla_cost(_MLA, **_named(sizes), width=widths.activation, kv_width=widths.stored)


def _linear(_: pd.DataFrame, sizes: Sizes, widths: OperandWidths) -> Cost:
    size = sizes.pop("head_dim")
    return linear_attention.linear_attention_cost(
        **_named(sizes), key_dim=size, value_dim=size, width=widths.activation, state_width=_STATE
    )


def _shapes(kind: FittedKind, _: str, rows: pd.DataFrame) -> FittedKind:
    """What large heads, single heads and windows do is fitted where there are such rows and others, else left as is."""
    single = rows.n_heads == rows.n_kv_heads
    seen = {
        "large_head": rows.head_dim >= attention.LARGE_HEAD, "single_head": single,
        "window_edge": (rows.window > 0) & (rows.seq_len_kv > rows.window) if "window" in rows else single & False,
    }  # fmt: skip
    fixed = {name: kind.bounds[name][0] for name, one in seen.items() if name in kind.bounds and one.nunique() < 2}
    bounds = {name: bound for name, bound in kind.bounds.items() if name not in fixed}
    return replace(kind, bounds=bounds, variants=[variant | fixed for variant in kind.variants])


_PREFILL: Bounds = {
    "launch_us": (8.0, 0.0, 100.0), "wave_us": (1.0, 0.0, 20.0), "token_ns": (1.0, 0.0, 60.0),
    "exponentials": (1.3, 0.0, 10.0), "compute_fraction": (0.7, 0.1, 1.0), "bandwidth_fraction": (0.7, 0.1, 1.0),
    "tail": (0.4, 0.0, 2.0),
}  # fmt: skip
_DECODE: Bounds = {
    "launch_us": (8.0, 0.0, 100.0), "context_us": (3.0, 0.0, 60.0), "wave_us": (1.0, 0.0, 20.0),
    "bandwidth_fraction": (0.8, 0.1, 1.0), "overlap": (1.5, 1.0, 4.0), "compute_fraction": (0.4, 0.02, 1.0),
    "block_gbs": (30.0, 2.0, 300.0), "max_splits": (16.0, 1.0, 128.0),
}  # fmt: skip
_BOTH = (False, True)

#: How each kind of attention kernel is fitted.
ATTENTION_KINDS: dict[str, FittedKind] = {
    "prefill": FittedKind(
        (*_STEP, *_HEADS), [*_HEADS, "window"], _attention, attention.prefill_seconds,
        _PREFILL | {"large_head": (1.0, 0.3, 2.0), "window_edge": (2.0, 0.0, 12.0)},
        variants=[{"packed_heads": p, "operands_in_l2": c} for p in _BOTH for c in _BOTH],
        cached=True, replayed=True, alias="attention_prefill", adapted=_shapes,
    ),
    "decode": FittedKind(
        (*_STEP, *_HEADS), [*_HEADS, "window"], _attention, attention.decode_seconds,
        _DECODE | {"large_head": (1.0, 0.3, 2.0), "single_head": (1.0, 0.3, 2.0)},
        variants=[
            {"tile_rows": rows} | split
            for rows in (16, 64) for split in ({}, {"whole_context": True}, {"split": "shared"}, {"split": "single"})
        ],
        cached=True, replayed=True, alias="attention_decode", adapted=_shapes,
    ),
    "mla_prefill": FittedKind(
        (*_STEP, "n_heads"), ["n_heads", "batch_size"], _latent, mla.expanded_seconds, _PREFILL,
        variants=[{"packed_heads": False, "operands_in_l2": c} for c in _BOTH],
        cached=True, replayed=True,
    ),
    "mla_decode": FittedKind(
        (*_STEP, "n_heads"), ["n_heads", "batch_size"], _latent, mla.absorbed_seconds,
        _DECODE | {"overlap": (2.0, 1.0, 8.0), "block_gbs": (30.0, 2.0, 1000.0), "reread": (0.2, 0.0, 1.0)}
        | {"joined_splits": (2.0, 0.0, 64.0)},
        variants=[
            {"tile_rows": rows, "wide_rows": wide}
            for rows, wide in ((16, None), (64, None), (128, None), (16, 64), (16, 128))
        ],
        cached=True, replayed=True,
    ),
    "linear_step": FittedKind(
        ("batch_size", "seq_len_q", *_HEADS), ["n_heads", "n_kv_heads"], _linear, linear_attention.step_seconds,
        {
            "launch_us": (3.0, 0.0, 60.0), "wave_us": (0.5, 0.0, 30.0), "bandwidth_fraction": (0.8, 0.1, 1.0),
            "overlap": (2.0, 1.0, 8.0),
        },
        cached=True, replayed=True,
    ),
    "linear_chunk": FittedKind(
        ("batch_size", "seq_len_q", *_HEADS), ["n_heads", "n_kv_heads"], _linear, linear_attention.chunk_seconds,
        {
            "launch_us": (20.0, 0.0, 300.0), "chunk_us": (2.0, 0.01, 60.0), "compute_fraction": (0.5, 0.01, 1.0),
            "bandwidth_fraction": (0.7, 0.1, 1.0), "passes": (4.0, 1.0, 30.0), "l2_share": (0.5, 0.01, 6.0),
            "overlap": (1.5, 1.0, 8.0),
        },
    ),
}  # fmt: skip
