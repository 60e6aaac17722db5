"""From a Hugging Face config.json to a `Model`: no download, and no guess beyond transformers' class defaults.

What reads the sizes (`reading`) needs the standard library alone, as `measure` runs on machines that have no other.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..common.errors import shown
from ..files.reading import check_depth, given_file, parse_json, read_small
from .reading import read_sizes

if TYPE_CHECKING:
    from ..catalog import Model

__all__ = ["from_hf_config"]


def from_hf_config(path_or_dict: str | Path | Mapping[str, object], *, name: str | None = None) -> "Model":
    """Model that a Hugging Face ``config.json`` describes; nothing is downloaded.

    Parameters
    ----------
    path_or_dict : str, Path or mapping
        The path of the file, of a directory that holds a ``config.json``, or of a repository's folder in Hugging Face's
        cache; or the parsed file.
    name : str, optional
        What to call the model. By default that of the directory, of the file where it is called otherwise, or of the
        repository in Hugging Face's cache; of a mapping, its ``_name_or_path``.

    Returns
    -------
    Model
        The sizes that a catalog entry has, without a published parameter count. Of a model of pictures or sound, the
        language model; `notes` says so.

    Raises
    ------
    ValueError
        In one line with the file, the field and the value, where a size is missing or is not a count, where the model
        type is unknown or no `Model` holds what it has, and where the file is that of a draft head.
    """
    from ..catalog import Model
    from ..common.yaml_records import validated
    from .checkpoint import SIDECARS, quantization

    if name is not None and (not isinstance(name, str) or not PurePosixPath(name).name):
        raise ValueError(f"name = {shown(name)}: expected what to call the model")
    sidecars: dict[str, object] = {}
    if isinstance(path_or_dict, Mapping):
        check_depth(dict(path_or_dict), "config dict")
        given, where, source, called = path_or_dict, "config dict", "dict", ""
    else:
        path = config_path(path_or_dict)
        given, where, source, called = read_config(path), str(path), path.name, folder_name(path)
        stem = path.name.removesuffix("config.json")  # flat files have their model's name in front of it
        there = {file: path.with_name(stem + file) for file in SIDECARS if path.name.endswith("config.json")}
        sidecars = {file: read_config(beside) for file, beside in there.items() if beside.is_file()}
    sizes, config = read_sizes(given, where)
    title = PurePosixPath(name).name if name else model_name(given, called)
    fields = {"id": title.lower(), "name": title, "sources": {"config": source}, "tied_embeddings": False} | sizes
    model = validated(Model, fields, where)
    return model.model_copy(update={"quantization": quantization(config, sidecars, model, where)})


def config_path(given: object) -> Path:
    """The path of a config.json that a user gave, or gave the directory of."""
    if not isinstance(given, str | Path):
        raise ValueError(f"expected the path of a config.json or a dict, found {type(given).__name__}")
    try:
        path = Path(given).expanduser()
        if not path.is_dir():
            return path
        kept = (path / "snapshots").is_dir() and not (path / "config.json").is_file()
        return (_snapshot(path) if kept else path) / "config.json"
    except (OSError, RuntimeError, ValueError) as error:  # a path too long, a null character, a home of nobody
        raise ValueError(f"{str(given)[:200]}: {getattr(error, 'strerror', None) or error}") from None


def _snapshot(repository: Path) -> Path:
    """The folder of a repository's main revision in Hugging Face's cache, else of the only one there."""
    main, found = repository / "refs" / "main", sorted(each.name for each in (repository / "snapshots").iterdir())
    revision = main.read_text(errors="replace").strip()[:200] if main.is_file() else ""
    if revision not in found and len(found) == 1:
        revision = found[0]
    if revision not in found:
        there = f", such as {found[0]}" if found else ""
        raise ValueError(f"{repository}: {len(found)} snapshots and no refs/main of one; give the folder of one{there}")
    return repository / "snapshots" / revision


def read_config(path: Path) -> dict[str, object]:
    """The JSON object of a config.json, or ValueError in one line."""
    try:
        config = parse_json(read_small(given_file(path)), str(path), infinite=True)  # Nemotron-H has one
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give a config.json on this machine, nothing is downloaded") from None
    except OSError as error:  # a path too long, a folder without permission
        raise ValueError(f"{str(path)[:200]}: {error.strerror or error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def folder_name(path: Path) -> str:
    """What a config.json's place says its model is called: links are not followed, so a cache has its names."""
    path = path.absolute()
    for folder in path.parents:
        if folder.name.startswith("models--"):  # Hugging Face's cache: models--org--name/snapshots/revision
            return folder.name.split("--")[-1]
    if path.name == "config.json":
        return path.parent.name if path.parent.name != ".." else path.resolve().parent.name
    return path.stem.removesuffix("config").rstrip("_-.") or path.parent.name


def model_name(given: Mapping[str, object], called: str) -> str:
    """What a model is called: after its place, else as its config.json says, else after its model type."""
    path = given.get("_name_or_path")
    return called or (PurePosixPath(path).name if isinstance(path, str) else "") or str(given["model_type"])
