"""One way to refuse a name: say which one, what is allowed, and what was probably meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: Characters of a line that says what is wrong; a path in it may make it longer [1].
LONGEST = 200


def shown(value: object) -> str:
    """A value in a message: in one line, and not much of it."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # more than `sys.get_int_max_str_digits`
        return "an integer of thousands of digits"
    return text if len(text) < 80 else text[:77] + "..."


def unknown(kind: str, name: object, allowed: Iterable[object]) -> ValueError:
    """The error for a name outside an allowed set, in one line, with the nearest of those that exist.

    `kind` is what the name should have been, such as "GPU".
    """
    options = [str(option) for option in allowed]
    given = shown(name).strip("'").lower()
    near = [option for option in options if given and given in option] or get_close_matches(given, options, cutoff=0.5)
    meant = f" Did you mean {' or '.join(repr(option) for option in near[:3])}?" if near else ""
    line = f"unknown {kind} {shown(name)}.{meant} Allowed: "
    listed, room = ", ".join(options), LONGEST - len(line) - 20
    if len(listed) > room:  # the first of them
        listed = f"{listed[: max(room, 0)].rpartition(', ')[0]}, ... ({len(options)} in all)".removeprefix(", ")
    return ValueError(f"{line}{listed}.")


class CannotRun(ValueError):
    """A GPU cannot run a model; `reason` says why in a few words."""

    def __init__(self, message: str, reason: str) -> None:
        """The message names everything."""
        super().__init__(message)
        self.reason = reason


def checked_file_name(kind: str, name: str) -> str:
    """The name itself, if a file in the folder where it is put may have it; otherwise ValueError."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"{kind} {name!r}: must be letters, digits, '_', '-' and '.', as it names files")
    return name
