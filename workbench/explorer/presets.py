"""Published charts as views: read from the params files that draw them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from .. import audit, t4_report
from ..project import project_root
from ..published import T4_SERVER
from ..records import read_mapping
from .view import View

T4_ROOFLINE = "t4-roofline"
#: Params files whose charts the explorer can show: operators or steps on a roofline.
FILES = ("roofline/*.yaml", "medusa/*.yaml", f"t4_report/{T4_ROOFLINE}.yaml")


@cache
def presets() -> dict[str, Path]:
    """Params files of the published rooflines by figure id; none outside a clone of the project."""
    try:
        root = project_root()
    except ValueError:
        return {}
    paths = [path for pattern in FILES for path in sorted((root / "params").glob(pattern))]
    return {path.stem: path for path in paths}


@cache
def names() -> dict[str, str]:
    """What the presets are called, by figure id: "Medusa figure 9", "T4 report, roofline"."""
    found = {}
    for figure in presets():
        source, rest = figure.split("-", 1)
        number = rest.removeprefix("fig")
        found[figure] = f"Medusa figure {int(number)}" if number.isdigit() else f"{source.upper()} report, {rest}"
    return found


@cache
def fields(figure: str) -> Mapping[str, Any]:
    """The params of a published chart; the T4 report's are the package's own."""
    given = read_mapping(presets()[figure])
    if figure == T4_ROOFLINE:
        given = given | {"gpu": T4_SERVER["gpu"], "model": T4_SERVER["model"], "batch_size": t4_report.BATCH_SIZES}
    return given


def view(figure: str) -> View:
    """The view that shows a published chart."""
    given = fields(figure)
    shared = {
        "gpu": [given["gpu"]], "model": [given["model"]], "batch_size": given["batch_size"], "figure": figure,
    }  # fmt: skip
    if figure == T4_ROOFLINE:  # whole passes, each phase with lengths of its own
        lengths = sorted({length for lengths in t4_report.TOKENS.values() for length in lengths})
        series = {phase: {"phase": phase} for phase in ("prefill", "decode")}
        return View(**shared, seq_len=lengths, points="steps", series=series)
    return View(
        **shared, seq_len=given["seq_len"], series=given["series"], operator=given.get("operator", ["unfused"]),
        phase=["decode"] if "candidates" in given else ["prefill", "decode"], candidates=given.get("candidates", []),
        time_model=given["time_model"], launch_latency_us=given["launch_latency_us"],
        peak_tflops=given.get("peak_tflops"),
    )  # fmt: skip


@cache
def ranges(figure: str) -> pd.DataFrame:
    """Published ranges of a chart, as `audit.published_ranges` has them; the T4 report's of whole passes."""
    if figure != T4_ROOFLINE:
        return audit.published_ranges(figure)
    printed = t4_report.PRINTED_INTENSITY
    rows = [{"series": phase, "x_low": ends[0], "x_high": ends[1]} for phase, ends in printed.items()]
    return pd.DataFrame(rows).assign(y_low=float("nan"), y_high=float("nan"))


@cache
def audit_rows(figure: str) -> list[dict[str, str]]:
    """What the source prints of a chart beside what is recomputed, as text, a row a claim."""
    table = audit.run(figure)
    return [
        {
            "statement": row["statement"], "where": row["where"],
            "published": audit.show_published(row["published"], row["kind"]), "unit": row["unit"],
            "source_formula": audit.show(row["source_formula"]), "ours": audit.show(row["ours"]),
            "verdict": row["verdict"], "reason": row["reason"],
        }
        for row in table.to_dict("records")
    ]  # fmt: skip


@cache
def citation(figure: str) -> dict[str, str]:
    """Title, citation and address of the document that a chart is from."""
    for source in audit.sources().values():
        if any(claim.figure == figure for claim in source.claims):
            return {"title": source.title, "citation": source.citation, "url": source.url or ""}
    return {}
