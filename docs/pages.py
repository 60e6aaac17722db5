"""Pages of the documentation that are computed, from gallery to benchmarks, and copies of the notebooks."""

import re
import shutil
from collections.abc import Iterable
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import pandas as pd

import workbench as wb
from workbench import audit, figures, operators, studies, tables

ROOT = Path(__file__).resolve().parents[1]


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; what Markdown would read as its own in a cell is escaped."""
    head = list(header)
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return re.sub(r"([|*_`<\[\]$])", r"\\\1", " ".join(str(value).split()))


def gallery() -> str:
    """Every chart of the batch with its caption."""
    parts = ["# Gallery\n", "Every chart of `make figures`; a click shows it in full size.\n"]
    for figure in figures.find(ROOT).values():
        name, values = figure.id, figure.values
        parts += [
            f"## {name}\n", f"**{_cell(values['title'])}**\n",
            f"```{{image}} ../../figures/{name}.png\n:alt: {values['title']}\n:target: ../_images/{name}.png\n```\n",
            f"{_cell(values['caption'])}\n",
            f"{{download}}`CSV <../../figures/{name}.csv>` · {{download}}`SVG <../../figures/{name}.svg>` · "
            f"{{download}}`params <../../{figure.params.relative_to(ROOT)}>` · "
            f"[notebook](notebooks/{figure.notebook.name})\n",
        ]  # fmt: skip
    return "\n".join(parts)


def audit_page() -> str:
    """Every claim: published, recomputed by the source's formula and by ours, and the verdict."""
    claims = audit.run()
    counts = audit.by_source(claims).astype(object).fillna("-").rename_axis("source").reset_index()
    parts = [
        "# Audit\n", f"{audit.summary(claims)}.\n",
        "A number that does not reproduce stays, with the reason. What a program misread when it transcribed a figure "
        "is wrong as transcribed, apart from what the paper prints.\n",
        table(counts.columns, counts.itertuples(index=False)),
        "A verdict at the edge of its tolerance would be another with 1.5 times that tolerance, or with 1/1.5 of it. "
        f"A tolerance is one of these: {'; '.join(f'{basis}, {said}' for basis, said in audit.BASES.items())}.\n",
    ]  # fmt: skip
    for source, rows in claims.groupby("source", sort=False):
        parts += [f"## {source}\n", table(
            ("claim", "printed", "published", "source's formula", "ours", "verdict"),
            (
                (
                    row["id"], f"{row['statement']} ({row['where']})",
                    f"{audit.show_published(row['published'], row['kind'])} {row['unit'].removeprefix('1')}",
                    audit.show(row["source_formula"]), audit.show(row["ours"]),
                    audit.show_verdict(row["verdict"], row["hangs"]) + (f": {row['reason']}" if row["reason"] else ""),
                )
                for row in rows.to_dict("records")
            ),
        )]  # fmt: skip
    return "\n".join(parts)


def fidelity() -> str:
    """Errors of the kernel-time model and of each fit, whose fits are borrowed, and errors of whole servers."""
    errors, fits, lenders = tables.fidelity(), tables.fits(), tables.lenders()
    served = studies.serving_predictions()
    summary, sources = studies.serving_summary(served), studies.serving_sources()
    return "\n".join([
        "# Fidelity of the kernel-time model\n",
        "Errors on public timings: ideal, of the ideal roofline; error and bias, mean absolute and mean, of the fit "
        "on the timings that it was made from; held out, on shapes that it did not see; elsewhere, of the fit to "
        "another GPU of the architecture; noise, how far apart engines are on the same shapes.\n",
        table(errors.columns, errors[errors.regime == "all"].itertuples(index=False)),
        "## The catalog's fits\n",
        "Mean absolute and mean relative error on the timings that a fit did not see, by GPU and kind of kernel.\n",
        table(fits.columns, fits.itertuples(index=False)),
        "## Whose fit each GPU computes with\n",
        table(["gpu", *lenders.columns], lenders.reset_index().itertuples(index=False)),
        "## Servers, as they were measured\n",
        "Published runs of whole servers, simulated: median of predicted over measured, mean absolute error, share "
        "within 25 %. The other tool's are of its own set of runs, partly those that it is tested against.\n",
        table(summary.columns, summary.itertuples(index=False)),
        "![Predicted over measured of published runs](../../figures/serving-benchmarks.png)\n",
        *(part for column in ("source", "engine", "gpu", "model") for part in _served_by(served, column)),
        "Where the runs are from:\n",
        table(sources.columns, sources.itertuples(index=False)),
    ])  # fmt: skip


def _served_by(served: pd.DataFrame, column: str) -> list[str]:
    """Errors of servers by the values of a column."""
    errors = studies.serving_errors(served, [column]).round(2)
    return [
        f"By {column}, with the kernels' times and by the ideal roofline:\n",
        table(errors.columns, errors.itertuples(index=False)),
    ]


def benchmarks() -> str:
    """The tables that `benchmarks.md` includes."""
    rows = tables.benchmarks()
    grids, sweeps = rows[rows.copy_seconds.notna()], rows[rows.points.notna()]
    rest = rows[rows.copy_seconds.isna() & rows.points.isna()]
    return "\n".join([
        f"Machine: {rows.attrs['machine']}.\n",
        "## Grids beside copies of their bytes\n",
        table(
            ("what", "times", "cells", "MB", "copy (ms)", "grid (ms)", "grid / copy", "ns a cell", "M cells/s"),
            (
                (
                    row.benchmark, row.time_model, f"{row.cells:,}", f"{row.result_bytes / 1e6:,.0f}",
                    f"{1e3 * row.copy_seconds:,.1f}", f"{1e3 * row.seconds:,.1f}", f"{row.over_copy:.2f}",
                    f"{row.ns_per_cell:.1f}", f"{1e3 / row.ns_per_cell:.0f}",
                )
                for row in grids.itertuples()
            ),
        ),
        "## Sweeps of one model on one GPU\n",
        table(
            ("what", "times", "points", "kernels", "ms", "points/s", "kernels/s"),
            (
                (
                    row.benchmark, row.time_model, f"{row.points:,}", f"{row.cells:,}", f"{1e3 * row.seconds:.3g}",
                    f"{row.points_per_second:,.0f}", f"{row.cells / row.seconds:,.0f}",
                )
                for row in sweeps.itertuples()
            ),
        ),
        "## Single answers, memory, disk, import, figures\n",
        table(
            ("what", "times", "cells", "seconds", "peak memory", "on disk (MB)"),
            (
                (
                    row.case or row.benchmark, row.time_model,
                    "" if pd.isna(row.cells) else f"{row.cells:,}", f"{row.seconds:.3g}", _peak(row),
                    "" if pd.isna(row.disk_bytes) else f"{row.disk_bytes / 1e6:,.0f}",
                )
                for row in rest.itertuples()
            ),
        ),
    ])  # fmt: skip


def _peak(row) -> str:
    if pd.notna(row.peak_over_result):
        return f"{row.peak_over_result:.2f} times the result"
    return "" if pd.isna(row.peak_bytes) else f"{row.peak_bytes / 1e6:,.0f} MB"


def catalog() -> str:
    """Every GPU and model of the catalog."""
    cards, models = tables.gpu_numbers(), map(wb.model, wb.models())
    return "\n".join([
        "# Catalog\n", "`wb.gpu(id)` and `wb.model(id)` print an entry with its sources and what is less sure.\n",
        "## GPUs\n",
        f"{len(cards)} entries, `wb.tables.gpu_numbers()`. Peaks are dense, with fp32 accumulation. Memory is the "
        "vendor's and what the driver reports of it, which has to hold weights and cache; a link, all of a GPU's own "
        "links in one direction.\n",
        table(
            ("id", *map(str, cards)),
            ((row[0], *("" if pd.isna(n) else f"{n:g}" if isinstance(n, float) else n for n in row[1:]))
             for row in cards.itertuples()),
        ),
        "## Models\n",
        table(
            ("id", "name", "parameters", "layers", "hidden size", "query heads", "KV heads"),
            (
                (
                    model.id, model.name, f"{model.parameters / 1e9:.4g} G", model.n_layers, model.hidden_size,
                    model.n_heads, model.n_kv_heads,
                )
                for model in models
            ),
        ),
    ])  # fmt: skip


def operators_page() -> str:
    """Every operator: what its function says that it computes, in which view, and how many models have it."""
    models = [wb.model(name) for name in wb.models()]
    views = {view: [operators.operator_set(model, view) for model in models] for view in ("fused", "unfused")}
    return "\n".join([
        "# Operators\n",
        f"In the order of the forward pass, with how many of the catalog's {len(models)} models run them; "
        "{doc}`the equations <../equations>` say what each computes and moves.\n",
        table(
            ("operator", "computes", *views),
            (
                (
                    name, (entry.function.__doc__ or "").partition("\n")[0].replace("`", ""),
                    *(sum(name in run for run in runs) or "" for runs in views.values()),
                )
                for name, entry in operators.OPERATORS.items()
            ),
        ),
    ])  # fmt: skip


def wings() -> list[str]:
    """Names of the wings and modules of the package, in the order of the data, which the README gives."""
    found = {path.stem for path in ROOT.glob("workbench/[!_]*.py")}
    found |= {path.parent.name for path in ROOT.glob("workbench/*/__init__.py")}
    _, _, tree = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Find your way\n")
    order = dict.fromkeys(re.findall(r"\b(\w+)(?:\.py|/)[ ,]", tree))
    return [name for name in order if name in found] + sorted(found - set(order))


def public(wing: ModuleType) -> list[str]:
    """What a wing hands out, or a module defines."""
    return getattr(wing, "__all__", None) or [
        name for name, value in vars(wing).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == wing.__name__
    ]  # fmt: skip


def _wing(value: object) -> str:
    """The wing that a function or class is from."""
    return ".".join(value.__module__.split(".")[:2])


def functions(names: Iterable[str]) -> list[str]:
    """The functions that these wings hand out, by their full names."""
    modules = [import_module(f"workbench.{name}") for name in names]
    return [f"{wing.__name__}.{item}" for wing in modules for item in public(wing) if isfunction(getattr(wing, item))]


def modules() -> str:
    """Every wing with the first lines of what it hands out, each of which links to its page."""
    parts = ["# Modules\n", "```{toctree}\n:hidden:\n", *(f"api/{name}" for name in wings()), "```\n"]
    for name in wings():
        wing = import_module(f"workbench.{name}")
        about = (wing.__doc__ or "").partition("\n")[0]
        directive = [
            ".. autosummary::",
            "   :nosignatures:",
            "",
            *(f"   ~{wing.__name__}.{item}" for item in public(wing)),
        ]
        parts += [f"## [{name}](api/{name})\n", f"{about}\n", "```{eval-rst}", *directive, "```\n"]
    return "\n".join(parts)


def reference(name: str) -> str:
    """The page of one wing: all that it hands out but what is another one's, its constants last."""
    wing = import_module(f"workbench.{name}")
    handed = {item: getattr(wing, item) for item in getattr(wing, "__all__", [])}
    constants = [item for item, value in handed.items() if not callable(value)]
    others = [
        item for item, value in handed.items()
        if callable(value) and _wing(value).startswith("workbench.") and _wing(value) != wing.__name__
    ]  # fmt: skip
    links = (f":py:obj:`{item} <{_wing(handed[item])}.{item}>`" for item in others)
    directives = [
        f".. automodule:: {wing.__name__}", f"   :exclude-members: +{','.join((*constants, *others))}", "",
        *([f"Also here: {', '.join(links)}.", ""] if others else []), *(f".. autodata:: {item}" for item in constants),
    ]  # fmt: skip
    return "\n".join([f"# {name}\n", "```{eval-rst}", *directives, "```\n"])


PAGES = {
    "modules": modules, "gallery": gallery, "audit": audit_page, "fidelity": fidelity, "catalog": catalog,
    "operators": operators_page, "benchmarks_tables": benchmarks,
}  # fmt: skip


def write(folder: Path) -> None:
    """Write every page below `folder`, beside the notebooks as they are stored; what has not changed is not touched."""
    for part in ("notebooks", "api"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    texts = {name: page() for name, page in PAGES.items()}
    for name, text in (texts | {f"api/{name}": reference(name) for name in wings()}).items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for notebook in ROOT.glob("notebooks/*.ipynb"):
        copy = folder / "notebooks" / notebook.name
        if not copy.is_file() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)
