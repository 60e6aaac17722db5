"""Published charts as views: read from the params files that draw them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ..common.project import project_root
from ..files.yaml_files import read_mapping
from ..published.t4 import PRINTED_INTENSITY, T4_BATCH_SIZES, T4_SERVER, T4_TOKENS
from ..tables.looks import PHASE_COLORS
from .view import View

#: Params files whose charts the explorer can show: operators or steps on a roofline.
ROOFLINES = ("roofline/*.yaml", "medusa/*.yaml", "t4_report/t4-roofline.yaml")
#: What the first part of a figure's id stands for.
PRINTED_IN = {
    "medusa": "Medusa (Cai et al. 2024, arXiv 2401.10774), appendix", "t4": "A report on a server with two T4",
}  # fmt: skip


#: Fields of a view that no published chart sets.
READERS_OWN = {"pins", "configs", "cards", "tab", "setting", "heat", "goal", "server", "preset"}


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
def chart_list() -> list[dict[str, Any]]:
    """The charts by their source: what each is of, and how many of its claims the audit records as reproduced."""
    from .. import audit  # two seconds: not for a page that shows no claim

    sources = audit.sources()
    claims = [claim for source in sources.values() for claim in source.claims]
    return [
        {
            "figure": figure, "name": name, "source": PRINTED_IN[figure.split("-", 1)[0]],
            "title": chart_params(figure)["title"],
            "claims": sum(claim.figure == figure for claim in claims),
            "reproduce": sum(claim.figure == figure and claim.verdict == "reproduces" for claim in claims),
        }
        for figure, name in chart_names().items()
    ]  # fmt: skip


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
            series={phase: {"phase": phase, "color": color, "marker": "o"} for phase, color in PHASE_COLORS.items()},
            figure=figure,
        )  # fmt: skip
    return View(
        gpu=[given["gpu"]], model=[given["model"]], batch_size=given["batch_size"], seq_len=given["seq_len"],
        series=given["series"], figure=figure, operator=given.get("operator", ["unfused"]),
        phase=["decode"] if "candidates" in given else ["prefill", "decode"], candidates=given.get("candidates", []),
        time_model=given["time_model"], launch_latency_us=given["launch_latency_us"],
        peak_tflops=given.get("peak_tflops"),
    )  # fmt: skip


def is_as_printed(view: View) -> bool:
    """Whether a view that is named after a published chart still has all that the chart sets."""
    if view.figure not in params_files():
        return True  # of no chart, or refused where it is drawn
    chart = chart_view(str(view.figure))
    return all(getattr(view, name) == getattr(chart, name) for name in ({*View.model_fields} - READERS_OWN))


@cache
def chart_ranges(figure: str) -> pd.DataFrame:
    """Published ranges of a chart, as `audit.printed_ranges` has them, or as the T4 report states them.

    Parameters
    ----------
    figure : str
        Id of a figure; one without published ranges, or "", has none.

    Returns
    -------
    pandas.DataFrame
        A row a range: series, x_low, x_high [FLOP/byte], y_low and y_high [FLOP/s], NaN where none is published.
    """
    from .. import audit

    if figure not in params_files() or chart_params(figure).get("chart") != "roofline":
        return audit.printed_ranges(figure)
    rows = [{"series": p, "x_low": low, "x_high": high} for p, (low, high) in PRINTED_INTENSITY.items()]
    return pd.DataFrame(rows).assign(y_low=float("nan"), y_high=float("nan"))


@cache
def audit_by_source(figure: str) -> list[dict[str, Any]]:
    """What each document says of a chart beside what is recomputed: its citation, and its claims by verdict as text."""
    from .. import audit

    documents = {source.title: source for source in audit.sources().values()}
    return [
        {
            "title": title, "citation": documents[title].citation, "url": documents[title].url or "",
            "verdicts": {
                verdict: [_audit_row(row) for row in claims[claims.verdict == verdict].to_dict("records")]
                for verdict, count in audit.verdict_counts(claims).items() if count
            },
        }
        for title, claims in ((str(name), rows) for name, rows in audit.run(figure).groupby("source", sort=False))
    ]  # fmt: skip


def _audit_row(row: Mapping[Any, Any]) -> dict[str, str]:
    from .. import audit

    return {
        "statement": row["statement"], "where": row["where"],
        "published": audit.show_published(row["published"], row["kind"]), "unit": row["unit"],
        "source_formula": audit.show(row["source_formula"]), "ours": audit.show(row["ours"]),
        "verdict": audit.show_verdict(row["verdict"], row["hangs"]), "reason": row["reason"],
    }  # fmt: skip
