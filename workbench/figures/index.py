"""The index page of the figures: every chart with its caption, its numbers and its claims."""

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from ..common.project import DATA, digest, package_fingerprint
from ..common.yaml_records import validated
from ..files.writing import whole
from .params import FIGURE_FORMATS, Figure, Listed
from .state import file_digests, is_unchanged, record_state

#: The parts of the page: what each says of its charts, and their ids. A chart stands in the first that fits.
PARTS = {
    "Published charts": ("{} charts that the sources print, drawn again", ("medusa-fig??", "t4-roofline")),
    "Published tables": ("{} charts of what the T4 report prints as tables and prose", (
        "t4-prefill", "t4-decode", "t4-queue", "t4-roadmap",
    )),
    "Fidelity": ("{} charts of predictions beside measurements", (
        "kernel-fidelity", "t4-comparison", "*-measured", "forward-passes", "serving-benchmarks",
    )),
    "The workbench's own charts": ("{} charts that no source prints", ("*",)),
}  # fmt: skip


def parts(figures: Sequence[Figure]) -> list[tuple[str, str, list[Figure]]]:
    """Part the figures of a page.

    Parameters
    ----------
    figures : sequence of Figure
        From `find`.

    Returns
    -------
    list of tuple of str, str and list of Figure
        Title of a part that has figures, how many of which kind, and the figures.
    """
    left, parted = list(validated(Listed, {"figures": figures}, "parts").figures), []
    for title, (sentence, patterns) in PARTS.items():
        found = [figure for figure in left if any(fnmatch(figure.id, pattern) for pattern in patterns)]
        left = [figure for figure in left if figure not in found]
        if found:
            counted = sentence.format(len(found))
            parted.append((title, counted if len(found) > 1 else counted.replace("charts", "chart"), found))
    return parted


def write_index(figures: Iterable[Figure], output: Path) -> Path:
    """Write ``index.html``: every chart with its caption, its audit rows, and links to all that it is made from.

    Parameters
    ----------
    figures : iterable of Figure
        From `find`; those whose files are not all there yet are left out.
    output : pathlib.Path
        The folder with their files.

    Returns
    -------
    pathlib.Path
        The page; one that is up to date is not touched.
    """
    index, state, package = output / "index.html", output / ".state" / "index.json", package_fingerprint()
    shown = [figure for figure in figures if all((output / f"{figure.id}.{kind}").is_file() for kind in FIGURE_FORMATS)]
    inputs = digest(*(part for figure in shown for part in (
        figure.fingerprint(package).encode(), *(target.encode() for target in _links(figure, output).values()),
    )))  # fmt: skip
    if not is_unchanged(state, inputs, {"html": index}):
        text = _render(shown, output)
        with whole(index) as path:
            path.write_text(text, encoding="utf-8")
            digests = file_digests({"html": path})
        record_state(state, inputs, digests)
    return index


def _links(figure: Figure, output: Path) -> dict[str, str]:
    return {
        **{kind.upper(): f"{figure.id}.{kind}" for kind in ("svg", "png", "csv")},
        "params": os.path.relpath(figure.params, output), "notebook": os.path.relpath(figure.notebook, output),
    }  # fmt: skip


def _render(figures: list[Figure], output: Path) -> str:
    import jinja2

    from .. import audit

    table = audit.run()
    charts = {
        title: {
            "counted": counted,
            "charts": [
                {
                    "id": figure.id, "title": figure.values["title"], "caption": figure.values["caption"],
                    "links": _links(figure, output), "claims": {
                        verdict: rows.to_dict("records")
                        for verdict, rows in audit.by_verdict(table[table.figure == figure.id]).items()
                    },
                }
                for figure in found
            ],
        }
        for title, counted, found in parts(figures)
    }  # fmt: skip
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((DATA / "index.html.jinja").read_text(encoding="utf-8"))
    return template.render(parts=charts, summary=audit.summary(table))
