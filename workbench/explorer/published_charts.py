"""Published charts as views: read from the params files that draw them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from .. import audit
from ..common.project import project_root
from ..files.yaml_files import read_mapping
from ..operators import PHASES
from ..published.t4 import PRINTED_INTENSITY, T4_BATCH_SIZES, T4_SERVER, T4_TOKENS
from .view import View

#: Colours of the T4 report's roofline.
_PHASE_COLORS = dict(zip(PHASES, ("blue", "orange"), strict=True))
#: Params files whose charts the explorer can show: operators or steps on a roofline.
ROOFLINES = ("roofline/*.yaml", "medusa/*.yaml", "t4_report/t4-roofline.yaml")


@cache
def params_files() -> dict[str, Path]:
    """Params files of the published rooflines by figure id; none outside a clone of the project."""
    try:
        root = project_root()
    except ValueError:
        return {}
    paths = [path for pattern in ROOFLINES for path in sorted((root / "params").glob(pattern))]
    return {path.stem: path for path in paths}


@cache
def chart_names() -> dict[str, str]:
    """What those charts are called, by figure id: "Medusa figure 9", "T4 report, roofline"."""
    found = {}
    for figure in params_files():
        source, rest = figure.split("-", 1)
        number = rest.removeprefix("fig")
        found[figure] = f"Medusa figure {int(number)}" if number.isdigit() else f"{source.upper()} report, {rest}"
    return found


@cache
def chart_params(figure: str) -> Mapping[str, Any]:
    """The params of a published chart."""
    return read_mapping(params_files()[figure])


def chart_view(figure: str) -> View:
    """The view that shows a published chart."""
    given = chart_params(figure)
    if given.get("chart") == "roofline":  # the T4 report's: whole passes, each phase with lengths of its own
        run, lengths = T4_SERVER, sorted({*T4_TOKENS["prefill"], *T4_TOKENS["decode"]})
        return View(
            gpu=[run["gpu"]], model=[run["model"]], batch_size=T4_BATCH_SIZES, seq_len=lengths, points="steps",
            series={phase: {"phase": phase, "color": color, "marker": "o"} for phase, color in _PHASE_COLORS.items()},
            figure=figure,
        )  # fmt: skip
    return View(
        gpu=[given["gpu"]], model=[given["model"]], batch_size=given["batch_size"], seq_len=given["seq_len"],
        series=given["series"], figure=figure, operator=given.get("operator", ["unfused"]),
        phase=["decode"] if "candidates" in given else ["prefill", "decode"], candidates=given.get("candidates", []),
        time_model=given["time_model"], launch_latency_us=given["launch_latency_us"],
        peak_tflops=given.get("peak_tflops"),
    )  # fmt: skip


@cache
def chart_ranges(figure: str) -> pd.DataFrame:
    """Published ranges of a chart, as `audit.printed_ranges` has them, or as the T4 report states them."""
    if chart_params(figure).get("chart") != "roofline":
        return audit.printed_ranges(figure)
    rows = [{"series": p, "x_low": low, "x_high": high} for p, (low, high) in PRINTED_INTENSITY.items()]
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
