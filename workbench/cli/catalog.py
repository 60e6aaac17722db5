"""Commands on the catalog: one of its GPUs or models in print, or all of them with the numbers that one chooses by."""

from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import OWN_ENDINGS, Entries, own_gpu, own_model, terminal_width

if TYPE_CHECKING:
    from ..catalog import GPU, Model
    from ..catalog.loading import Entry

Named = Annotated[str | None, typer.Argument(help="Print this one, or list those with this in their names.")]


def gpus(name: Named = None, entries: Entries = None) -> None:
    """List the GPUs of the catalog with their peaks, memory and links, or print one."""
    _show("GPU", "gpus", name, entries, own_gpu, _gpu_row)
    if name is None:
        typer.echo("\nDense peaks in TFLOP/s; memory as sold; link to other GPUs, GB/s each way.")


def models(name: Named = None, entries: Entries = None) -> None:
    """List the models of the catalog with their sizes, or print one."""
    _show("model", "models", name, entries, own_model, _model_row)
    if name is None:
        typer.echo("\nActive: parameters of one token; KV cache at 16 bit; context in tokens.")


def _show(
    what: str, folder: str, name: str | None, entries: Path | None,
    find: Callable[[str, Path | None], Any], row: Callable[[Any], dict[str, str]],
) -> None:  # fmt: skip
    """One entry whose name is clear, or a row for each whose names have the text."""
    from ..catalog.loading import known_names
    from ..common.names import meant
    from ..files.reading import own_path
    from ..serving.text_tables import text_table

    known = known_names(folder)
    files = sorted((entries / folder).glob("*")) if entries else []
    own = [path.name if path.is_dir() else path.stem for path in files if path.is_dir() or path.suffix in OWN_ENDINGS]
    part = (name or "").strip().lower()
    if name is not None and (name in own or own_path(name) or len(meant(name, known)) == 1):
        return _print(find(name, entries), [i for i in known if part in i])
    found = {i: row(find(i, entries)) for i in [*known, *own]}
    rows = [each for i, each in found.items() if part in " ".join((*each.values(), *known.get(i, ()))).lower()]
    if not rows:
        find(part, entries)  # which says what is near
    width = terminal_width()
    typer.echo(text_table({heading: [each[heading] for each in rows] for heading in rows[0]}, width))


def _print(entry: "Entry", alike: list[str]) -> None:
    """An entry within the width of the terminal, and others that are called alike."""
    others = [i for i in alike if i != entry.id]
    lines = [*str(entry).split("\n"), *([f"  {'others':<24}{', '.join(others)}"] if others else [])]
    width = terminal_width()
    typer.echo("\n".join(fill(line, width, subsequent_indent=26 * " ", break_on_hyphens=False) for line in lines))


def _gpu_row(card: "GPU") -> dict[str, str]:
    peaks = card.dense_tflops
    sixteen = peaks.get("fp16") or peaks.get("bf16")
    link = card.link.gbs_per_direction if card.link else None
    numbers = {
        "fp16": sixteen, "fp8": peaks.get("fp8"), "fp4": peaks.get("fp4"), "memory\nGB": card.memory.capacity_gb,
        "memory\nGB/s": card.memory.bandwidth_gbs, "link\nGB/s": link, "power\nW": card.tdp_w,
    }  # fmt: skip
    shown = {heading: _number(value) for heading, value in numbers.items()}
    return {"GPU": card.id, **shown, "chip": card.architecture.split()[0]}


def _model_row(entry: "Model") -> dict[str, str]:
    return {
        "model": entry.id, "total\n10^9": _number(entry.parameters / 1e9),
        "active\n10^9": _number(entry.active_parameters / 1e9), "layers": str(entry.n_layers),
        "KV cache\nkB/token": _number(2 * entry.kv_elements_per_token / 1e3), "context": _number(entry.max_context),
        "weights": entry.quantization.format if entry.quantization else "16 bit",
    }  # fmt: skip


def _number(value: float | None) -> str:
    """A number in print, to three or four digits; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{4 if value >= 100 else 3}g}"
