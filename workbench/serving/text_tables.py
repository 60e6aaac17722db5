"""Tables in print, within the width of a terminal."""

from io import StringIO
from textwrap import fill

import numpy as np

from ..common.extras import check_libraries


def cell(value: float, digits: int) -> str:
    """A number in print; "-" for none."""
    return f"{value:,.{digits}f}" if np.isfinite(value) else "-"


def text_table(cells: dict[str, list[str]], width: int) -> str:
    """A table of text without lines, its first and last column folded to the width."""
    check_libraries("rich")
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    first, *_, last = cells
    for heading in cells:
        words = heading in (first, last)
        drawn.add_column(heading, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for row in zip(*cells.values(), strict=True):
        drawn.add_row(*row)
    console = Console(
        file=StringIO(), width=width, color_system=None, markup=False, highlight=False, emoji=False,
        force_jupyter=False,
    )  # fmt: skip
    with console.capture() as capture:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))


def assumed_lines(assumed: str) -> list[str]:
    """What `kernels.unknowns.joined` gives, in print: a line a sentence."""
    return [f"Assumed of {sentence}." for sentence in assumed.split(". ") if sentence]


def folded(line: str, width: int) -> str:
    """A line within the width; a table has it already."""
    return line if "\n" in line or len(line) <= width else fill(line, width, break_on_hyphens=False)
