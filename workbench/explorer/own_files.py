"""A reader's own files by path, where `explore` is called in Python; a link or a saved view names none."""

from collections.abc import Mapping
from typing import Any

from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.loading import Entry, as_id, entry_files
from ..catalog.model_entries import model as find_model
from ..files.reading import YAML, given_file, own_path, parse_json, read_small
from .bounds import MAX_TEXT, check_json
from .view import own_model

#: Fields in which a model that is read anew may differ: what it is called.
SAID_OF_IT = {"id", "name", "sources", "notes"}


def with_files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a view, with each path of a config.json among the models as one of its `configs`."""
    configs, models = dict(fields.get("configs") or {}), fields.get("model")
    for name in fields.get("gpu", []):
        card = find_gpu(name) if own_path(name) or isinstance(name, Entry) else None
        if card and (own_path(name) or card.id not in entry_files("gpus")):
            raise ValueError(f"the explorer has the catalog's GPUs: compute {card.id} in Python")
    if not isinstance(models, list):
        return dict(fields)
    named = []
    for name in models:
        if isinstance(name, Entry):
            name = name.id
            if name not in entry_files("models"):
                raise ValueError(f"{name}: the explorer has the catalog's models and config.json files")
        if path := own_path(name):
            entry = find_model(path)
            if path.suffix in YAML:
                raise ValueError(f"{path}: the explorer takes models as config.json")
            file = path / "config.json" if path.is_dir() else path
            name = entry.id if entry.id not in entry_files("models") else f"{entry.id}-own"
            configs[name] = read_json(read_small(given_file(file)).decode("utf-8", "replace"), str(file))
            alone = dict(own_model(name, configs[name]))
            if any(alone[field] != value for field, value in dict(entry).items() if field not in SAID_OF_IT):
                raise ValueError(f"{path}: the explorer reads a config.json alone, and files beside it change this one")
        named.append(name if name in configs else as_id(name, "models") if isinstance(name, str) else name)
    return {**fields, "model": named, "configs": configs}


def read_json(text: str, what: str) -> dict[str, Any]:
    """A JSON object that the reader uploaded or pasted; anything else raises ValueError in one line."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{what}: {len(text):,} characters: a page takes {MAX_TEXT:,}")
    found = parse_json(text, what)
    check_json(found, what)
    if not isinstance(found, dict):
        raise ValueError(f"{what}: expected a JSON object, found {type(found).__name__}")
    return found
