"""A plan in print: its first rows as a table within the width of a terminal, and what the plan leaves out."""

import numpy as np
import pandas as pd

from ..common.arguments import whole_number
from ..signatures import typed
from .text_tables import cell, folded, text_table
from .verdicts import BEST, NOT_SIMULATED, OWN_CURRENCY, counted

#: Lines of a plan in print that say what it assumes [1].
MOST_ASSUMED = 4
#: Columns of a plan in print: heading, column, what it is multiplied with, digits.
PLAN_CELLS = (
    ("TTFT\nms", "ttft_s", 1e3, 0), ("TPOT\nms", "tpot_s", 1e3, 1), ("tokens\n/s", "tokens_per_second", 1, 0),
    ("GB a\nGPU", "memory_gb", 1, 1), ("replicas", "replicas", 1, 0), ("GPUs", "gpus", 1, 0),
    ("load\n%", "utilization", 1, 0), ("req.\n/s", "request_rate", 1, 2), ("cost", "cost", 1, 3),
)  # fmt: skip
#: Those that a plan for a rate, or for the GPUs that there are, has no room for.
OF_ONE_REPLICA = ("tokens_per_second", "memory_gb")
#: Of a time in print that is the estimate's, where others are simulated.
ESTIMATED = "~"


@typed(table=("gpu", "tp", "batch_size", "cost", "verdict"))
def plan_text(
    table: pd.DataFrame, rows: int = 20, *, width: int = 80, currency: str | None = None, most_gpus: int = 64
) -> str:
    """A plan in print: its first rows in ms and GB, and how many rows have each verdict.

    Parameters
    ----------
    table : pandas.DataFrame
        From `plan`.
    rows : int
        Rows that are shown [1].
    width : int
        Of the text at most [character].
    currency : str, optional
        Of the prices, such as "$" or "EUR".
    most_gpus : int
        Rows that take more GPUs are left out, except for the best [1].

    Returns
    -------
    str
        With lines on what the plan leaves out.
    """
    rows, width = whole_number("rows", rows), whole_number("width", width, low=40, high=1000)
    most_gpus = whole_number("most_gpus", most_gpus)
    large = table["gpus"].gt(most_gpus) & table.verdict.ne(BEST) if "gpus" in table else table.cost.isna() & False
    shown = table[~large].head(rows)
    lines = [text_table(_columns(shown), width), ""]
    if more := len(table) - len(shown) - int(large.sum()):
        lines.append(f"{more} more rows.")
    if large.any():
        lines.append(f"{large.sum()} rows of more than {most_gpus} GPUs are left out (most_gpus).")
    lines.append(f"{counted(table.verdict)}.")
    if not (table.verdict == BEST).any():
        lines.append("Nothing meets the service level." if table.attrs.get("slo") else "Nothing fits.")
    lines += [*_notes(table, currency), *_assumptions(table, shown)]
    return "\n".join(folded(line, width) for line in lines)


def _columns(shown: pd.DataFrame) -> dict[str, list[str]]:
    """Cells by heading."""
    cells = {
        "GPU": shown.gpu.tolist(), "tp": shown.tp.astype(str).tolist(),
        "batch": shown.batch_size.astype(str).tolist(),
    }  # fmt: skip
    for heading, column, scale, digits in PLAN_CELLS:
        if column in shown and not ("gpus" in shown and column in OF_ONE_REPLICA):
            cells[heading] = [cell(value * scale, digits) for value in shown[column]]
    for heading, column, digits in (("TTFT\nms", "simulated_ttft_s", 0), ("TPOT\nms", "simulated_tpot_s", 1)):
        if column in shown:
            estimated = [text if text == "-" else ESTIMATED + text for text in cells[heading]]
            cells[heading] = [
                cell(1e3 * value, digits) if np.isfinite(value) else before
                for value, before in zip(shown[column], estimated, strict=True)
            ]
    return cells | {"": shown["why" if "why" in shown else "verdict"].tolist()}


def _notes(table: pd.DataFrame, currency: str | None) -> list[str]:
    """What the numbers are."""
    unit = "GPU-hours" if table.attrs["cost"] == "GPU-h" else currency or OWN_CURRENCY
    lines = [f"Cost: of a million output tokens, in {unit}."]
    if table.attrs.get("formats"):
        lines.append(f"Formats: {table.attrs['formats']}.")
    if "simulated_ttft_s" in table:
        percentile, arrivals = table.attrs["percentile"], table.attrs["arrivals"]
        lines.insert(0, f"Times: {percentile:g} % of the requests keep them, simulated, {arrivals} arrivals;"
                     f" {ESTIMATED} the estimate's mean at full load.")  # fmt: skip
        if (table.verdict == NOT_SIMULATED).any():
            lines.append(f"Rows that are {NOT_SIMULATED} come out no better than those above, or as another batch.")
    elif "replicas" in table:
        lines.insert(0, "Replicas are those of the estimate's throughput, without a queue: nothing is simulated.")
    return lines


def _assumptions(table: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """What the rows shown assume, in a few lines; GPUs that assume the same share one."""
    hidden, found = {*table.gpu} - {*shown.gpu}, dict[str, list[str]]()
    for sentence in filter(None, table.attrs.get("assumed", "").split(". ")):
        name, _, text = sentence.partition(": ")
        if name not in hidden:
            found.setdefault(text, []).append(name)
    lines = [f"Assumed of {', '.join(names)}: {text}." for text, names in found.items()]
    more = len(lines) - MOST_ASSUMED
    return lines[:MOST_ASSUMED] + [f"{more} more in the plan's attribute `assumed`."] * (more > 0)
