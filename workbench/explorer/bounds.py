"""How much a page may hold: of a link, a file, a saved view or a message from elsewhere, whatever it says."""

import re
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ..common.yaml_records import Count
from ..files.reading import BUDGET

#: Points that a browser draws without a stutter, and those of all series and operators together [1].
MAX_POINTS, MAX_MARKERS = 20_000, 400_000
#: Pairs of a GPU and a model, each of which is a row of the tables; half a second to compute [1].
MAX_PAIRS = 200
#: Characters of the reader's own configs as JSON, all together [1].
MAX_CONFIGS = 2**18
#: Characters of a page's address that its server takes [1].
MAX_LINK = 2**15
#: Characters of an uploaded or pasted text [1].
MAX_TEXT = 2**20
#: Bytes of a piece of an uploaded file, so that no message is larger than a websocket takes; and pieces of one [1].
PIECE, MAX_PIECES = 2**20, 128


def at_most(most: int, what: str = "entries") -> AfterValidator:
    """What a page holds, or ValueError with the count."""

    def check(value: Any) -> Any:
        if len(value) > most:
            raise ValueError(f"{len(value):,} {what}, of {most:,} that a page holds")
        return value

    return AfterValidator(check)


def _printable(text: str) -> str:
    if not text.isprintable():  # line breaks, and marks that turn the direction of what follows
        raise ValueError("must have no control characters")
    return text


def _selecting(selection: dict[str, Any]) -> dict[str, Any]:
    for key, value in selection.items():
        parts = value if isinstance(value, list) else [value]
        if len(parts) > 100 or not all(isinstance(part, str | int) and len(str(part)) <= 200 for part in parts):
            raise ValueError(f"{key} selects by a name or a number, or by a list of at most 100 of them")
    return selection


Label = Annotated[str, Field(min_length=1), at_most(200, "characters"), AfterValidator(_printable)]
Labels = Annotated[list[Label], at_most(100)]
SizeList = Annotated[list[Count], at_most(1000)]
Selection = Annotated[dict[Label, Any], AfterValidator(_selecting)]


def check_json(tree: object, where: str) -> None:
    """Raise ValueError for what a page cannot hold: NaN, half a character, more levels than the budget."""

    def check(item: object, path: tuple[object, ...]) -> None:
        wrong = isinstance(item, float) and not isfinite(item)
        if wrong or (isinstance(item, str) and re.search("[\ud800-\udfff]", item)):
            what = "must be a finite number" if wrong else "must have no half characters"
            raise ValueError(f"{where}: {'.'.join(map(str, path))} = {str(item)[:40]!r}: {what}")
        if isinstance(item, dict | list | tuple) and len(path) == BUDGET.depth:
            raise ValueError(f"{where}: nested over {BUDGET.depth} levels deep")
        inside = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list | tuple) else ()
        for key, inner in inside:
            check(key, (*path, "a key"))
            check(inner, (*path, key))

    check(tree, ())
