"""Catalog files as entries, entries by the names and files that a user gives, what-ifs, and an entry in print."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources.abc import Traversable
from os.path import isdir
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field

from ..common.arguments import as_list, check_unique, plain
from ..common.errors import unknown
from ..common.names import found, meant, written_names
from ..common.project import DATA
from ..common.yaml_records import Record, RecordT, Text, validated
from ..files.reading import given_file, own_path
from ..files.yaml_files import read_mapping


class Entry(Record):
    """What every entry of the catalog has: its id is the file's name, its numbers say where they are from."""

    id: Text
    name: Text
    aliases: Annotated[tuple[Text, ...], Field(strict=False)] = ()  #: other names that it is known by
    modified: Text | None = None  #: what a what-if has changed of it

    @property
    def original(self) -> str:
        """Its id before any what-if."""
        return self.id.removesuffix(f" (modified: {self.modified})")


EntryT = TypeVar("EntryT", bound=Entry)


# By name or file ---------------------------------------------------------------------------------------------------


def entries(kind: str, values: Any, find: Callable[[Any], EntryT]) -> dict[str, EntryT]:
    """Catalog entries by id, out of names, files and entries."""
    listed = [find(value) for value in as_list(kind, values)]
    for entry in listed:
        if any(other.id == entry.id and other != entry for other in listed):
            raise ValueError(f"{kind}: two entries are called {entry.id!r}: give one of the files another name")
    check_unique(kind, [entry.id for entry in listed])
    return {entry.id: entry for entry in listed}


def find_entry(kind: type[EntryT], what: str, folder: str, name: object) -> EntryT:
    """The entry that a name means, or that a user's file holds, or the one that is given; errors as of `gpu`."""
    if isinstance(name, kind):
        return name
    entry: EntryT
    if not (path := file_of(name, folder)):
        entry = catalog_entry(kind, folder, catalog_name(what, name, folder))
        return entry
    try:
        entry = load_entry(kind, given_file(path))
    except OSError as error:
        raise ValueError(f"{str(path)[:100]}: {error.strerror or error}") from None
    if entry.id in entry_files(folder) and entry != catalog_entry(kind, folder, entry.id):
        raise ValueError(f"{path}: {entry.id!r} is in the catalog: give the file, or its id, another name")
    return entry


def file_of(name: object, folder: str) -> Path | None:
    """The path that a user gives in place of a name in a folder of the catalog; None for an id and any other name."""
    return None if isinstance(name, str) and name in entry_files(folder) else own_path(name)


def catalog_name(what: str, name: object, folder: str) -> str:
    """The id of the entry in a folder of the catalog that a name means; ValueError in one line with the nearest."""
    try:
        return found(what, plain(name), known_names(folder), f"workbench {folder}")
    except ValueError as error:
        if folder == "models" and isinstance(name, str) and isdir(name):  # noqa: PTH112 - it never raises
            raise ValueError(f"{error}; the folder of that name has no config.json") from None
        raise


def as_id(name: Any, folder: str) -> Any:
    """The id that a name means, or what is given as it is; no file is read."""
    ids = meant(name, known_names(folder)) if isinstance(name, str) else []
    return ids[0] if len(ids) == 1 else name


@cache  # an installed entry does not change while the program runs
def catalog_entry(kind: type[EntryT], folder: str, name: str) -> EntryT:
    """An entry of the catalog, by its id."""
    return load_entry(kind, entry_files(folder)[name])


@cache
def known_names(folder: str) -> dict[str, list[str]]:
    """Other names of each entry in a folder of the catalog, by its id."""
    return {name: written_names(path.read_text("utf-8")) for name, path in entry_files(folder).items()}


@cache
def entry_files(folder: str) -> dict[str, Traversable]:
    """Entry files of a folder of the catalog, by id."""
    paths = (path for path in (DATA / folder).iterdir() if path.name.endswith(".yaml"))
    return {path.name.removesuffix(".yaml"): path for path in sorted(paths, key=lambda path: path.name)}


def load_entry(kind: type[RecordT], path: Traversable | Path) -> RecordT:
    """Read one entry file; its id is the file's name."""
    return validated(kind, {"id": path.name.removesuffix(".yml").removesuffix(".yaml")} | read_mapping(path), str(path))


# What if -----------------------------------------------------------------------------------------------------------


#: Of an entry, a field, and one within it where that is a part or a table, or "".
FieldPlace = tuple[str, str]


def what_if(
    entry: EntryT,
    changes: Mapping[str, Any],
    implied: Callable[[set[FieldPlace]], Mapping[FieldPlace, Any]] = lambda _: {},
) -> EntryT:
    """A copy of an entry with other fields, checked as an entry is, that says in its id what was changed.

    Parameters
    ----------
    entry : Entry
        Of the catalog, or one's own.
    changes : mapping
        Values by field; those of a part, such as memory, also by their own names.
    implied : callable
        What else changes, by the places that do.

    Returns
    -------
    Entry
        The entry itself where nothing changes.

    Raises
    ------
    ValueError
        For an unknown field, with the nearest, and for what no entry may have.
    """
    where, told, new = f"what if of {entry.id}", list[str](), dict[FieldPlace, Any]()
    for name, value in changes.items():
        part, field = _place(type(entry), name, where)
        inner = {f"{name}.{key}": (key, each) for key, each in value.items()} if isinstance(value, Mapping) else {}
        for label, (key, each) in (inner or {name: (field, value)}).items():
            if (each := plain(each)) != _at(entry, (part, key)):
                new[part, key] = each
                told.append(label if isinstance(each, list | tuple) else f"{label}={' '.join(str(each).split())[:80]}")
    if not new:
        return entry
    fields: dict[str, Any] = dict(entry)
    for (part, key), value in (new | dict(implied(set(new)))).items():
        fields[part] = {**dict(fields[part] or ()), key: value} if key else value
    again = {text.partition("=")[0] for text in told}
    before = [text for text in (entry.modified or "").split(", ") if text and text.partition("=")[0] not in again]
    modified = ", ".join([*before, *told])
    fields |= {"id": f"{entry.original} (modified: {modified})", "modified": modified}
    return validated(type(entry), fields, where)


def _at(entry: Entry, place: FieldPlace) -> Any:
    """What an entry has at a place; None where it has no such part."""
    part = getattr(entry, place[0])
    return dict(part or ()).get(place[1]) if place[1] else part


def _place(kind: type[Entry], name: str, where: str) -> FieldPlace:
    """The field that a name is, and the one within it where that is a part; ValueError for an unknown one."""
    own = [field for field in kind.model_fields if field not in ("id", "modified")]
    if name in own:
        return name, ""
    inner = {
        field: [*part.model_fields]
        for field in own
        for part in (kind.model_fields[field].annotation, *get_args(kind.model_fields[field].annotation))
        if isinstance(part, type) and issubclass(part, Record)
    }
    places = [field for field, names in inner.items() if name in names]
    if len(places) > 1:
        raise ValueError(f"{where}: {name} is of {' and of '.join(places)}: give {places[0]}={{{name!r}: ...}}")
    if not places:
        known = [*own, *(each for names in inner.values() for each in names)]
        raise ValueError(f"{where}: {unknown('field', name, known)}")
    return places[0], name


# In print ----------------------------------------------------------------------------------------------------------


def with_unit(value: float | None, unit: str) -> str | None:
    """A number with its unit, in print; None where there is none."""
    return None if value is None else f"{value:g} {unit}".strip()


def describe_entry(title: str, rows: Mapping[str, object], entry: Any) -> str:
    """An entry in print: a title, rows of a label and a text, and where its numbers are from."""
    changed = {"modified": entry.modified and f"{entry.modified}; the rest is as its sources say"}
    lines = [title] + [f"  {label:<24}{text}" for label, text in (changed | dict(rows)).items() if text]
    for label in ("confidence", "provenance", "weaker_fields"):
        if text := getattr(entry, label, None):
            lines.append(f"  {label.replace('_', ' '):<24}{text}")
    lines += [f"  {'source':<24}{kind}: {text}" for kind, text in entry.sources.items()]
    return "\n".join(lines + ([f"  {'notes':<24}{entry.notes}"] if entry.notes else []))
