"""Catalog files as entries, entries by the names that a user gives, and an entry in print."""

from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from ..common.arguments import as_list, check_unique
from ..common.project import DATA
from ..common.yaml_records import Record, RecordT, Text, validated
from ..files.yaml_files import read_mapping


class Entry(Record):
    """What every entry of the catalog has: its id is the file's name, its numbers say where they are from."""

    id: Text
    name: Text
    aliases: Annotated[tuple[Text, ...], Field(strict=False)] = ()  #: other names that it is known by


EntryT = TypeVar("EntryT", bound=Entry)


def entries(kind: str, values: Any, find: Callable[[Any], EntryT]) -> dict[str, EntryT]:
    """Catalog entries by label: the name that was asked for, or the object's id."""
    pairs = [(v.id if isinstance(v, Entry) else v, find(v)) for v in as_list(kind, values)]
    check_unique(kind, [label for label, _ in pairs])
    return dict(pairs)


def with_unit(value: float | None, unit: str) -> str | None:
    """A number with its unit, in print; None where there is none."""
    return None if value is None else f"{value:g} {unit}".strip()


def describe_entry(title: str, rows: Mapping[str, object], entry: Any) -> str:
    """An entry in print: a title, rows of a label and a text, and where its numbers are from."""
    lines = [title] + [f"  {label:<24}{text}" for label, text in rows.items() if text]
    for label in ("confidence", "provenance", "weaker_fields"):
        if text := getattr(entry, label, None):
            lines.append(f"  {label.replace('_', ' '):<24}{text}")
    lines += [f"  {'source':<24}{kind}: {text}" for kind, text in entry.sources.items()]
    return "\n".join(lines + ([f"  {'notes':<24}{entry.notes}"] if entry.notes else []))


def load_entry(kind: type[RecordT], path: Traversable | Path) -> RecordT:
    """Read one catalog file; its id is the file's name."""
    return validated(kind, {"id": path.name.removesuffix(".yaml")} | read_mapping(path), str(path))


def entry_files(folder: str) -> dict[str, Traversable]:
    """Entry files of a folder of the catalog, by id."""
    paths = (path for path in (DATA / folder).iterdir() if path.name.endswith(".yaml"))
    return {path.name.removesuffix(".yaml"): path for path in sorted(paths, key=lambda path: path.name)}
