"""The `workbench` command. Exit status 0, or not 0 with one clear line on standard error."""

import sys

TYPE_CHECKING = False  # without `typing`: Ctrl-C has its one line only from `main` on
if TYPE_CHECKING:
    from collections.abc import Callable

    from .application import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the `workbench` command."""
    try:
        from ..ending import run_command
    except KeyboardInterrupt:
        print("workbench: interrupted", file=sys.stderr)
        sys.exit(130)
    run_command("workbench", _run)


def _run() -> None:
    from ..common.extras import MissingLibrary
    from ..ending import interrupts_raise

    try:
        app = __getattr__("app")
    except MissingLibrary as error:
        sys.exit(f"workbench: {error}")
    interrupts_raise()
    app()


def __getattr__(name: str) -> "Callable[[], None]":
    """`app`, when it is asked for: `main` must run without typer, to say what installs it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..common.extras import check_libraries

    check_libraries("rich", "typer")
    from .application import app

    return app
