"""Timings of whole forward passes, a row a pass: gpu, model, phase, batch_size, seq_len and time_s."""

from pathlib import Path

import pandas as pd

from .cells import TIME, Cells, read_cells

PASS_COLUMNS = ("gpu", "model", "phase", "batch_size", "seq_len", "time_s", "dtype")
#: By the phase of a row, the class of its pass, and how it was launched: as a CUDA graph or eagerly.
PASS_PHASES = {
    f"{launched}{phase}": (f"forward_{phase}", name)
    for launched, name in (("", "forward"), ("eager-", "forward_eager"))
    for phase in ("prefill", "decode")
}


def read_passes(path: Path) -> tuple[pd.DataFrame, Cells]:
    """Read a CSV of whole forward passes; the format, where no column says it, is bf16 or as its comments say."""
    cells = read_cells(path, keep=PASS_COLUMNS.__contains__)
    cells.require("gpu", "model", "phase", "batch_size", "seq_len", "time_s")
    phase = cells.text("phase", PASS_PHASES)
    context, said = cells.number("seq_len"), " ".join(cells.header)
    kinds = phase.map({each: kind for each, (kind, _) in PASS_PHASES.items()})
    launched = phase.map({each: name for each, (_, name) in PASS_PHASES.items()})
    dtype = cells.text("dtype") if "dtype" in cells.frame else "bf16" if "random bf16 weights" in said else ""
    if "FP8=1" in said:
        dtype = "fp8"
    table = cells.table(
        gpu=cells.text("gpu"), framework=launched.map({"forward": "CUDA graph", "forward_eager": "eager"}),
        operator_class=kinds, name=cells.text("model") + ":" + launched, dtype=dtype,
        batch_size=cells.number("batch_size"), seq_len_q=context.where(kinds == "forward_prefill", 1.0),
        seq_len_kv=context, time_s=cells.number("time_s", TIME),
    )  # fmt: skip
    return table, cells
