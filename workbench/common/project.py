"""Where the package's data and the project's notebooks and params are, and a fingerprint of them all."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

#: The package's catalog, claims and tables.
DATA = files("workbench") / "data"
#: The project's notebooks and params, as they are installed with it.
INSTALLED = Path(__file__).resolve().parents[1] / "charts"


def project_root() -> Path:
    """The folder with ``notebooks/`` and ``params/``: the current one, one above it, the clone, or `INSTALLED`."""
    for folder in (*(Path.cwd() / "x").parents, Path(__file__).resolve().parents[2], INSTALLED):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    raise ValueError(f"no notebooks/ and params/ in {Path.cwd()} or above: run this in a clone of the project")


#: Libraries that the numbers of a chart go through.
CHART_LIBRARIES = ("numpy", "xarray", "pandas", "matplotlib")


def package_fingerprint() -> str:
    """Hash of the package, its catalog and claims, and the versions of the libraries that numbers go through.

    All of the catalog: a GPU may borrow the fit of another one.
    """
    package = Path(str(DATA)).parent
    paths = sorted([*package.rglob("*.py"), *package.glob("data/**/*.*")])
    libraries = [f"{name} {installed_version(name)}".encode() for name in CHART_LIBRARIES]
    return digest(*libraries, *(part for path in paths for part in (path.name.encode(), path.read_bytes())))


def installed_version(library: str) -> str:
    """The version of a library, "none" where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def digest(*parts: bytes) -> str:
    """SHA-256 of several parts, each with its length, in hexadecimal."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.hexdigest()
