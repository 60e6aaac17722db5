"""A reader's own files by path, and entries, where `explore` is called in Python; a link or a saved view names none."""

from collections.abc import Mapping
from typing import Any

from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.loading import Entry, as_id, entry_files
from ..catalog.model_entries import Model
from ..catalog.model_entries import model as find_model
from ..files.reading import YAML, given_file, own_path, read_small
from .own_cards import stored
from .own_models import own_model, read_object, stored_model

#: Fields in which a model that is read anew may differ: what it is called.
SAID_OF_IT = {"id", "name", "sources", "notes"}


def with_files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a view, with paths and entries among its GPUs and models as its `cards` and `configs`."""
    cards, configs = dict(fields.get("cards") or {}), dict(fields.get("configs") or {})
    found = dict(fields)
    if isinstance(gpus := fields.get("gpu"), list):
        found |= {"gpu": [_gpu(name, cards) for name in gpus], "cards": cards}
    if isinstance(models := fields.get("model"), list):
        found |= {"model": [_model(name, configs) for name in models], "configs": configs}
    return found


def _gpu(name: Any, cards: dict[str, Any]) -> Any:
    """The name of a GPU in a view; one that is no GPU of the catalog is put among the reader's own."""
    if name in cards if isinstance(name, str) else False:
        return name
    if not isinstance(name, Entry) and not own_path(name):
        return as_id(name, "gpus")
    card: GPU = find_gpu(name)
    if card.id in entry_files("gpus"):
        return card.id
    own = card.id.lower().replace("/", "-")
    cards[own] = stored(card)
    return own


def _model(name: Any, configs: dict[str, Any]) -> Any:
    """The name of a model in a view, likewise; of a config.json its fields, of any other entry the entry."""
    if isinstance(name, str) and name in configs:
        return name
    path = own_path(name) if not isinstance(name, Entry) else None
    if not isinstance(name, Entry) and not path:
        return as_id(name, "models")
    entry: Model = find_model(name)
    if isinstance(name, Entry) and entry.id in entry_files("models"):
        return entry.id
    own = (entry.id if entry.id not in entry_files("models") else f"{entry.id}-own").lower().replace("/", "-")
    configs[own] = stored_model(entry)
    if path and path.suffix not in YAML:
        file = path / "config.json" if path.is_dir() else path
        config = read_object(read_small(given_file(file)).decode("utf-8", "replace"), str(file))
        alone = dict(own_model(own, config))
        if all(alone[field] == value for field, value in dict(entry).items() if field not in SAID_OF_IT):
            configs[own] = config  # else files beside it say more
    return own
