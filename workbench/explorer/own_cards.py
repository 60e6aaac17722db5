"""The reader's own GPUs: a catalog entry with other numbers, as a form or as YAML, checked as the catalog's are."""

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import PurePosixPath
from pprint import pformat
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from ..catalog.dtypes import WIDTH
from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.loading import as_id, catalog_name, entry_files
from ..common.errors import shown
from ..common.yaml_records import describe_error, validated
from ..files.reading import YAML
from ..files.yaml_files import read_mapping
from .bounds import MAX_TEXT, check_json

#: What an entry says of itself where its reader does not: nothing that a number follows from.
UNSAID: dict[str, Any] = {
    "vendor": "unknown", "architecture": "unknown", "confidence": "unverified",
    "provenance": "entered by the reader of this page", "sources": {"own": "entered by the reader of this page"},
}  # fmt: skip
#: Of a catalog entry, what its copy does not have: it is about the documents, or not of the GPU itself.
NOT_COPIED = {
    "id", "aliases", "modified", "fits", "confidence", "provenance", "weaker_fields", "sources", "notes",
}  # fmt: skip


class Field(NamedTuple):
    """One field of the form: where it stands in the entry, what it is called, its unit, and what to write there."""

    path: str
    label: str
    unit: str = ""
    help: str = ""


#: The form, in its order; what has a unit is a number. A field that is left empty is unknown.
FORM = (
    Field("name", "Name", help="As charts and tables call it"),
    Field("architecture", "Architecture", help="Kernel times go by fits of the same one, such as hopper"),
    Field("memory.capacity_gb", "Memory", "GB", "The vendor's, of 10^9 bytes"),
    Field("memory.reported_gib", "Memory as reported", "GiB", "What the driver reports to programs"),
    Field("memory.bandwidth_gbs", "Memory bandwidth", "GB/s"),
    *(
        Field(f"dense_tflops.{dtype}", f"Peak, {dtype}", "TOP/s" if dtype.startswith("int") else "TFLOP/s")
        for dtype in WIDTH
    ),
    Field("sm_count", "SMs or compute units", "1"),
    Field("boost_mhz", "Boost clock", "MHz"),
    Field("l2_mb", "L2 cache", "MB"),
    Field("tdp_w", "Power limit", "W"),
    Field("link.name", "Link to other GPUs", help="Such as NVLink 4"),
    Field("link.gbs_per_direction", "Link rate", "GB/s", "All links of a GPU together, in one direction"),
    Field("link.max_gpus", "GPUs that the link joins", "1"),
    Field("pcie", "PCIe", help="Generation and lanes, such as 5.0 x16"),
)  # fmt: skip
WHOLE_FIELDS = {"sm_count", "link.max_gpus"}


class WrongField(ValueError):
    """What is wrong with one field of a form: `path` says which, `control` what the page calls it."""

    def __init__(self, message: str, path: str) -> None:
        """The message says it in one sentence."""
        super().__init__(message)
        self.path, self.control = path, f"card.{path}"


class Pasted:
    """A text as a file of that name, for what reads files."""

    def __init__(self, text: str, name: str) -> None:
        """The name is said in messages."""
        if len(text) > MAX_TEXT:
            raise ValueError(f"{name}: {len(text):,} characters: a page takes {MAX_TEXT:,}")
        self._text, self.name = text, name

    def open(self, _mode: str) -> BytesIO:
        """The bytes of the text."""
        return BytesIO(self._text.encode("utf-8", "replace"))

    def __str__(self) -> str:
        return self.name


def own_card(name: str, fields: Mapping[str, Any]) -> GPU:
    """The GPU of an entry of the reader's own.

    Parameters
    ----------
    name : str
        Its id: lower case, no slashes, not one that means a GPU of the catalog.
    fields : mapping
        As in a file of the catalog; what says where its numbers are from may be left out.

    Returns
    -------
    GPU
        The entry.

    Raises
    ------
    ValueError
        Where the name or a field is not as it must be.
    """
    check_card_name(name)
    check_json(fields, f"cards: {name}")
    return validated(GPU, UNSAID | {"name": name} | dict(fields) | {"id": name}, f"cards: {name}")


def check_card_name(name: str) -> None:
    """Raise ValueError for a name that no own GPU may have."""
    if (known := as_id(name, "gpus")) in entry_files("gpus"):
        raise ValueError(f"cards: {name!r} means {known} of the catalog: give yours another name")
    if not name or name != PurePosixPath(name).name.lower() or not name.isprintable():
        raise ValueError(f"cards: {name!r}: the name of a GPU is in lower case, without slashes")


def stored(card: GPU) -> dict[str, Any]:
    """The fields of an entry as a view holds them: plain JSON, without what is unknown or said of every own one."""
    found = card.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"id"})
    return {name: value for name, value in found.items() if UNSAID.get(name) != value}


def card_code(name: str, fields: Mapping[str, Any]) -> str:
    """Python that makes an entry."""
    whole = UNSAID | {"id": name} | stored(own_card(name, fields))
    return f"wb.catalog.GPU(**{pformat(whole, width=100, sort_dicts=False, compact=True)})"


def copied(start: GPU) -> dict[str, Any]:
    """The fields of an entry to begin with: those of the GPU itself, without its documents."""
    own = start.model_dump(mode="json", exclude_none=True, exclude=NOT_COPIED)
    return own | {"notes": f"Began as {start.id}."}


def card_form(card: GPU) -> dict[str, str]:
    """The form of an entry: the text of each field of `FORM`, empty where it is unknown."""
    entry = card.model_dump(mode="json")
    return {field.path: _text(_at_path(entry, field.path)) for field in FORM}


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.12g}" if isinstance(value, int | float) else str(value)


def _at_path(entry: Mapping[str, Any], path: str) -> Any:
    value: Any = entry
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def card_of_form(name: str, start: GPU, form: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an entry as a form has them, the rest as where it began.

    Parameters
    ----------
    name : str
        Its id.
    start : GPU
        What it began as.
    form : mapping of str to str
        Texts by path, as `card_form` has them; what is empty is unknown.

    Returns
    -------
    dict
        As `stored` has them.

    Raises
    ------
    WrongField
        For a field that is no such number, or that the record refuses.
    """
    try:
        check_card_name(name)
    except ValueError as error:
        raise WrongField(str(error).removeprefix("cards: "), "id") from None
    known = {field.path: field for field in FORM}
    if strange := [path for path in form if path not in known]:
        raise ValueError(f"form: {strange[0]!r} is no field of a GPU")
    entry = copied(start) | ({"notes": start.notes} if start.id not in entry_files("gpus") else {})
    before = card_form(start)
    for path, text in form.items():
        _put(entry, path, _value(known[path], text))
    resized = form.get("memory.capacity_gb", "") != before["memory.capacity_gb"]
    if resized and form.get("memory.reported_gib", "") == before["memory.reported_gib"]:
        _put(entry, "memory.reported_gib", None)  # what the driver reports is of the size that it was
    if not _at_path(entry, "link.name"):
        entry.pop("link", None)
    try:
        return stored(GPU.model_validate(UNSAID | entry | {"id": name}))
    except ValidationError as error:
        path = ".".join(map(str, error.errors()[0]["loc"]))
        field = known.get(path, known.get("memory.bandwidth_gbs" if path == "memory" else path))
        said = ": nothing is computed without it"
        if error.errors()[0]["type"] != "missing":
            said = describe_error(GPU, error).removeprefix(path)
        raise WrongField(f"{field.label if field else path}{said}", path) from None


def _value(field: Field, text: str) -> Any:
    """What the text of a field stands for; None where it is empty."""
    text = text.strip()
    if not text or not field.unit:
        return text or None
    plain = text.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", text) else text
    try:
        number = float(plain)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e13 or (field.path in WHOLE_FIELDS and number != int(number)):
        kind = "a whole number" if field.path in WHOLE_FIELDS else "a number"
        unit = "" if field.unit == "1" else f" of {field.unit}"
        raise WrongField(f"{field.label} = {shown(text)}: expected {kind}{unit} above 0", field.path)
    return int(number) if field.path in WHOLE_FIELDS else number


def _put(entry: dict[str, Any], path: str, value: Any) -> None:
    """Set a field of an entry; None removes it."""
    part, _, key = path.rpartition(".")
    inner = entry.setdefault(part, {}) if part else entry
    if value is None:
        inner.pop(key, None)
    else:
        inner[key] = value


def card_yaml(card: GPU) -> str:
    """An entry as YAML, to be edited or kept as a file."""
    text = yaml.safe_dump(stored(card), sort_keys=False, width=100, allow_unicode=True, default_flow_style=None)
    return f"# {card.id}: GB/s, TFLOP/s (dense, without sparsity), MHz, W; what is unknown is left out.\n{text}"


def card_of_yaml(text: str, what: str, name: str = "") -> tuple[str, dict[str, Any]]:
    """An entry in a text of YAML: its name and its fields, as `stored` has them.

    Parameters
    ----------
    text : str
        The entry, as a file of the catalog has it.
    what : str
        What the text is called in messages.
    name : str
        Its id; without one, the file's name, or what it says of its own name.

    Returns
    -------
    tuple
        The id and the fields.

    Raises
    ------
    ValueError
        In one line, where the text is no YAML, or no GPU.
    """
    fields: dict[str, Any] = read_mapping(Pasted(text, what))  # type: ignore[arg-type]
    said = fields.pop("id", None) or (what if what.endswith(YAML) else fields.get("name"))
    name = name or card_name(str(said or what))
    return name, stored(validated(GPU, UNSAID | {"name": name} | fields | {"id": name}, what))


def card_name(said: str) -> str:
    """An id out of what a GPU is called; one that the catalog has gets an ending."""
    name = (
        re.sub(r"[^a-z0-9.]+", "-", PurePosixPath(said).name.lower().removesuffix(".yaml").removesuffix(".yml")).strip(
            "-."
        )[:60]
        or "gpu"
    )
    return f"{name}-own" if as_id(name, "gpus") in entry_files("gpus") else name


def start_card(name: str, cards: Mapping[str, Mapping[str, Any]]) -> GPU:
    """What an entry begins as: one of the reader's own, or of the catalog by any of its names."""
    return own_card(name, cards[name]) if name in cards else find_gpu(catalog_name("GPU", name, "gpus"))
