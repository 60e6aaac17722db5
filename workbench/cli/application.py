"""The application: every command, in the order of its help, and how one of them fails."""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..common.extras import MissingLibrary
from ..ending import one_line, printed, was_interrupted
from .catalog import gpus, models
from .explained import explain
from .load_tests import loadtest
from .measured import calibrate, measure, timings
from .planned import plan
from .predicted import explore, grid
from .published import audit, figures
from .served import estimate, simulate


class OneLine(TyperGroup):
    """Commands that say in one line, with exit status 1, what a user can get wrong."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().main(*arguments, **options)
        except BrokenPipeError:  # whoever read what is printed has gone
            raise
        except (ValueError, OSError, MissingLibrary) as error:
            if was_interrupted():
                raise KeyboardInterrupt from None
            status = isinstance(error, OSError) and printed()
            if not status:
                with suppress(OSError):
                    typer.echo(f"workbench: {one_line(error)}", err=True)
            sys.exit(status or 1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workbench {version('roofline-workbench')}")
        raise typer.Exit


def _workbench(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Roofline analysis of LLM inference."""


app = typer.Typer(
    cls=OneLine, help="Roofline analysis of LLM inference.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.callback()(_workbench)
first: list[Callable[..., None]] = [
    figures, audit, grid, estimate, plan, simulate, explore, calibrate, timings, explain, loadtest,
]  # fmt: skip
for command in first:
    app.command()(command)
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(measure)
app.command()(gpus)
app.command()(models)
