"""Drafts by a line of text, as the command line's ``--draft`` and the explorer take them."""

from collections.abc import Callable
from typing import Any

from ..catalog.model_entries import model as find_model
from ..servers.drafts import Draft, draft_model, medusa, mtp


def named_draft(text: str, *, find: Callable[[str], Any] = find_model, what: str = "draft") -> Draft:
    """The draft that a text names.

    Parameters
    ----------
    text : str
        "MODEL:DEPTH:ALPHA", "mtp:DEPTH:ALPHA" or "medusa:CANDIDATES"; ALPHA is the chance of a token.
    find : callable
        The draft model that a name means.
    what : str
        Where it was given, for messages.

    Returns
    -------
    Draft
        As of `serving.draft_model`, `mtp` or `medusa`.

    Raises
    ------
    ValueError
        For any other text, and for what these refuse.
    """
    kind, *numbers = text.split(":")
    try:
        if kind == "medusa":
            (candidates,) = map(int, numbers)
            return medusa(candidates=candidates)
        depth, alpha = int(numbers[0]), float(numbers[1])
        if len(numbers) > 2:
            raise IndexError
    except (IndexError, ValueError):
        raise ValueError(
            f"{what} {text!r}: expected MODEL:DEPTH:ALPHA, e.g. llama-3.2-1b:4:0.7, mtp:1:0.85 or medusa:16"
        ) from None
    return mtp(depth=depth, alpha=alpha) if kind == "mtp" else draft_model(find(kind), depth=depth, alpha=alpha)
