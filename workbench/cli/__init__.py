"""The `workbench` command. Exit status 0, or not 0 with one clear line on standard error."""

import sys
from typing import TYPE_CHECKING

from ..common.extras import MissingLibrary, check_libraries

if TYPE_CHECKING:
    from .application import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the `workbench` command."""
    try:
        check_libraries("rich", "typer")
        from .application import app

        app()
    except MissingLibrary as error:
        sys.exit(f"workbench: {error}")
    except KeyboardInterrupt:
        print("workbench: interrupted", file=sys.stderr)
        sys.exit(130)


def __getattr__(name: str) -> object:
    """`app`, when it is asked for: `main` must run without typer, to say what installs it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_libraries("rich", "typer")
    from .application import app

    return app
