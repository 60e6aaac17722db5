"""Where the project's notebooks and params are."""

from pathlib import Path


def project_root() -> Path:
    """The folder with ``notebooks/`` and ``params/``: the current one, one above it, or the package's own clone."""
    for folder in (*(Path.cwd() / "x").parents, Path(__file__).resolve().parents[1]):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    raise ValueError(f"no notebooks/ and params/ in {Path.cwd()} or above: run this in a clone of the project")
