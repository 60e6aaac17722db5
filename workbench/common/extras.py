"""The libraries of the layers: one that is missing is named with what installs it."""

import re
from importlib.util import find_spec

PACKAGE = "roofline-workbench"


class MissingLibrary(ModuleNotFoundError):
    """A library of a layer that is not installed; its message says in one line what installs it."""


def check_libraries(*libraries: str) -> None:
    """Raise MissingLibrary unless all these libraries can be imported."""
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        named = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise MissingLibrary(f"{named}: pip install '{PACKAGE}[{extra_with(missing)}]'", name=missing[0])


def extra_with(libraries: list[str]) -> str:
    """The smallest extra of the package that has all these libraries, read from its metadata; "all" without any."""
    wanted = {library.lower() for library in libraries}
    having = {extra: found for extra, found in libraries_by_extra().items() if wanted <= found}
    return min(having, key=lambda extra: len(having[extra]), default="all")


def libraries_by_extra() -> dict[str, set[str]]:
    """The libraries of each extra of the installed package; none in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, requires  # only where something is missing

    try:
        listed = requires(PACKAGE) or []
    except PackageNotFoundError:
        return {}
    found: dict[str, set[str]] = {}
    for requirement in listed:
        if extra := re.search(r"extra == ['\"]([\w-]+)", requirement):
            found.setdefault(extra[1], set()).add(re.split(r"[^\w.-]", requirement)[0].lower())
    return found
