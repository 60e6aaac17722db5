"""Text of CSV files that no spreadsheet takes for a formula.

A cell, or a column's name, that begins as a formula does gets an apostrophe in front, as OWASP advises ("CSV
Injection"); so does one that begins with apostrophes and then as a formula, so that `as_given` can take it off again.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_BEGINNING = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def inert(text: str) -> str:
    """A cell's text as it stands in a file: numbers as they are, an apostrophe before what would be a formula."""
    if not _BEGINNING.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def as_given(text: str) -> str:
    """The text that `inert` made this of."""
    return text[1:] if text.startswith("'") and _BEGINNING.match(text) else text


def inert_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table whose text and whose columns' names are `inert`; everything else as it is."""
    table = table.rename(columns=lambda name: inert(name) if isinstance(name, str) else name)
    for place, dtype in enumerate(table.dtypes):
        if dtype.kind == "O":
            column = table.iloc[:, place].tolist()
            changed = {cell: inert(cell) for cell in {cell for cell in column if isinstance(cell, str)}}
            if any(cell != new for cell, new in changed.items()):
                table.isetitem(place, [changed[cell] if isinstance(cell, str) else cell for cell in column])
    return table
