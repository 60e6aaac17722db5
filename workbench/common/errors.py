"""One way to refuse a name: say which one, what is allowed, and what was probably meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: Characters of a line that says what is wrong; a path in it may make it longer [1].
LINE = 200
#: Of these, for what stands before it, such as a file and a field [1].
PLACE = 40


def shown(value: object) -> str:
    """A value in a message: in one line, and not much of it."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # more than `sys.get_int_max_str_digits`
        return "an integer of thousands of digits"
    return text if len(text) < 80 else text[:77] + "..."


def either(names: Iterable[object], more: int = 0) -> str:
    """Names that one has to be chosen from, in words, and how many more there are."""
    *some, last = map(repr, names)
    if more:
        return f"{', '.join([*some, last])} and {more} more"
    return f"{', '.join(some)} or {last}" if some else last


def unknown(kind: str, name: object, allowed: Iterable[object], where: str = "") -> ValueError:
    """The error for a name outside an allowed set, in one line, with the nearest of those that exist.

    `kind` is what the name should have been, such as "GPU"; `where`, what the message begins with: the longer it is,
    the fewer names are listed.
    """
    options = [str(option) for option in allowed]
    given = shown(name).strip("'").lower()
    lower = {option.lower(): option for option in reversed(options)}
    near = [each for each in lower if given and given in each][::-1] or get_close_matches(given, lower, cutoff=0.5)
    place, told = (f"{where}: " if where else ""), f"unknown {kind} {shown(name)}."
    free = LINE - max(PLACE, len(place)) - len(told)
    hints = [f" Did you mean {either([lower[each] for each in near[:few]])}?" for few in (3, 2, 1) if near]
    meant = next((hint for hint in hints if len(hint) < free), hints[-1] if hints else "")
    line, listed, rest = f"{place}{told}{meant}", ", ".join(options), f", ... ({len(options)} in all)"
    room = free - len(f"{meant} Allowed: .") - bool(where)
    if len(listed) <= room:
        return ValueError(f"{line} Allowed: {listed}.")
    first = listed[: max(room - len(rest), 0)].rpartition(", ")[0]
    if where and not first:
        return ValueError(line)
    return ValueError(line if meant else f"{line} Allowed: {first}{rest}.")


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
