"""The reader's own models: a config.json of Hugging Face, or an entry as the catalog's are, both as one mapping."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from pprint import pformat
from typing import Any

import yaml

from ..catalog.model_entries import Model
from ..catalog.model_entries import models as catalog_models
from ..common.yaml_records import validated
from ..files.reading import parse_json
from ..files.yaml_files import read_mapping
from ..hugging_face import from_hf_config
from .bounds import MAX_TEXT, check_json
from .own_cards import Pasted

#: What an entry says of itself where its reader does not.
UNSAID_OF_MODEL = {"sources": {"own": "entered by the reader of this page"}}


def is_entry(fields: Mapping[str, Any]) -> bool:
    """Whether a mapping is an entry as the catalog's are, not a config.json."""
    return "family" in fields and "model_type" not in fields


def own_model(name: str, fields: dict[str, Any]) -> Model:
    """The model of a config.json or of an entry, under a name of the reader's (lower case, without slashes)."""
    if is_entry(fields):
        return validated(Model, UNSAID_OF_MODEL | {"name": name} | fields | {"id": name}, f"configs: {name}")
    return from_hf_config(fields, name=name)


def model_of_text(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """A model in a text: its name, and the mapping that a view holds among its `configs`.

    Parameters
    ----------
    text : str
        A config.json, or an entry in YAML.
    what : str
        What the text is called in messages; a YAML file gives the name where the entry does not.

    Returns
    -------
    tuple
        The name, which the catalog does not have, and the mapping.

    Raises
    ------
    ValueError
        In one line, where it is neither.
    """
    if text.lstrip()[:1] in ("{", ""):
        found = read_object(text, what)
        name = from_hf_config(found).id
    else:
        fields: dict[str, Any] = read_mapping(Pasted(text, what))  # type: ignore[arg-type]
        said = str(fields.pop("id", None) or PurePosixPath(what).name.removesuffix(".yaml").removesuffix(".yml"))
        name = said.lower().replace(" ", "-")
        entry = validated(Model, UNSAID_OF_MODEL | {"name": name} | fields | {"id": name}, what)
        found = stored_model(entry)
    return (f"{name}-own" if name in catalog_models() else name), found


def stored_model(entry: Model) -> dict[str, Any]:
    """The fields of an entry as a view holds them: plain JSON, without what is unknown."""
    return entry.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"id"})


def model_code(name: str, fields: dict[str, Any]) -> str:
    """Python that makes an entry."""
    entry = own_model(name, fields)
    return (
        f"wb.catalog.Model(**{pformat({'id': name} | stored_model(entry), width=100, sort_dicts=False, compact=True)})"
    )


def model_text(fields: Mapping[str, Any]) -> str:
    """A model as the text that it was taken from has it: JSON of a config.json, YAML of an entry."""
    if is_entry(fields):
        return yaml.safe_dump(dict(fields), sort_keys=False, width=100, allow_unicode=True, default_flow_style=None)
    return json.dumps(fields, indent=2, ensure_ascii=False)


def read_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object that the reader uploaded or pasted; anything else raises ValueError in one line."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{what}: {len(text):,} characters: a page takes {MAX_TEXT:,}")
    found = parse_json(text, what)
    check_json(found, what)
    if not isinstance(found, dict):
        raise ValueError(f"{what}: expected a JSON object, found {type(found).__name__}")
    return found
