"""Kinds of controls: how each reads a value of the page, checks it, and writes a view; what people type, as numbers."""

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

from ..catalog.loading import catalog_name
from ..common.errors import shown, unknown
from .pictures import at_setting
from .view import Tab, View

#: A number that is typed in, where nothing else bounds it.
MOST_TYPED = 10**12
TIME_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0}
#: Fields whose numbers are whole, though the view may have None there.
WHOLE_NUMBERS = {"dp", "max_num_batched_tokens", "max_num_seqs"}
#: Names of a list, and characters of a text, at most [1].
MAX_NAMES, MAX_TYPED = 100, 500

TABS: tuple[str, ...] = get_args(Tab)
SERVERS = ("server", "frontier", "plan")
#: Those where a server is deployed: a load test is sent to one, too.
DEPLOYED = (*SERVERS, "measured")
#: Those of what the reader chooses; a published chart is as it is printed.
COMPUTED = tuple(tab for tab in TABS if tab != "published")

Fields = dict[str, Any]
ControlKind = Literal["names", "choice", "number", "text", "slider", "range"]
#: Values of a control, and the words for each.
Options = Sequence[tuple[Any, str]]


class Control(NamedTuple):
    """One control: `read` turns its value into fields of a view, `write` a view into its value (None: it is hidden)."""

    label: str
    group: str
    kind: ControlKind
    read: Callable[[Any, View], Fields]
    write: Callable[[View], Any]
    tabs: Sequence[str] = TABS
    help: str = ""
    options: Options | Callable[[View], Options] = ()
    least: float | None = None
    most: float | None = None
    #: What a number counts, as a reader would say it: "tokens".
    unit: str = ""
    placeholder: str = ""


def read_control(control: Control, value: Any, view: View) -> Fields:
    """The fields that a value of a control stands for; ValueError in one line for what it cannot be."""
    told = f"{control.label} = {shown(value)}"
    match control.kind:
        case "choice":
            options = control.options(view) if callable(control.options) else control.options
            if value not in (known := [each for each, _ in options]):
                raise unknown(control.label, value, filter(None, known))
        case "names" if not (_listed(value, str) and len(value) <= MAX_NAMES):
            raise ValueError(f"{told}: expected a list of at most {MAX_NAMES} names")
        case "names" if not value:
            raise ValueError(f"{control.label}: there has to be one at least")
        case "text" if not (isinstance(value, str) and len(value) <= MAX_TYPED):
            raise ValueError(f"{told}: expected a text of at most {MAX_TYPED} characters")
        case "number" | "slider" if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError(f"{told}: expected a number")
        case "range" if not (_listed(value, int) and len(value) == 2):
            raise ValueError(f"{told}: expected the least and the greatest")
    return control.read(value, view)


def _listed(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(each) is kind for each in value)


# Kinds ------------------------------------------------------------------------------------------------------------


def numeric(
    label: str, group: str, about: str, at: str, unit: str = "", *, least: float | None = None,
    most: float | None = None, tabs: Sequence[str] = SERVERS, optional: bool = False,
) -> Control:  # fmt: skip
    """A number at a place of the view, such as "server.pp"; one that may be left out is None."""
    part, _, field = at.rpartition(".")

    def now(view: View) -> Any:
        return getattr(getattr(view, part) if part else view, field)

    def read(value: Any, view: View) -> Fields:
        if value is not None:
            value = _checked(label, value, least, most, whole=field in WHOLE_NUMBERS or isinstance(now(view), int))
        elif not optional:
            raise ValueError(f"{label} is empty: give a number")
        return {part: {field: value}} if part else {field: value}

    def write(view: View) -> Any:
        return "" if now(view) is None else now(view)

    return Control(label, group, "number", read, write, tabs, about, (), least, most, unit)


def _checked(label: str, value: float, least: float | None, most: float | None, *, whole: bool) -> float:
    if not isfinite(value):
        raise ValueError(f"{label} = {value}: expected a number")
    if most is None and abs(value) > MOST_TYPED:
        raise ValueError(f"{label} = {value:.3g}: at most {MOST_TYPED:,}")
    if (least is not None and value < least) or (most is not None and value > most):
        allowed = f"at least {least:,}" if most is None else f"from {least or 0:,} to {most:,}"
        raise ValueError(f"{label} = {value:,}: {allowed}")
    if whole and value != int(value):
        raise ValueError(f"{label} = {value:,}: expected a whole number")
    return int(value) if whole else float(value)


def duration(label: str, field: str, about: str, example: str) -> Control:
    """A limit of the service level, as a time in words."""
    return Control(
        label, "Goal", "text", lambda value, view: {"goal": {field: seconds(label, value)}},
        lambda view: in_units(getattr(view.goal, field)), SERVERS, about, placeholder=f"none; e.g. {example}",
    )  # fmt: skip


def size_range(label: str, field: str, stops: list[int], unit: str) -> Control:
    """The ends of a list of sizes; the list's own sizes are stops as well, so that what is shown is what is drawn."""

    def all_stops(view: View) -> list[int]:
        return sorted({*stops, *getattr(view, field)})

    def read(value: Any, view: View) -> Fields:
        low, high = sorted(value)
        return {field: [stop for stop in all_stops(view) if low <= stop <= high]}

    return Control(
        label, "Sizes", "range", read, lambda view: [min(getattr(view, field)), max(getattr(view, field))],
        ("roofline",), options=lambda view: [(stop, size_words(stop)) for stop in all_stops(view)], unit=unit,
    )  # fmt: skip


def one_size(label: str, field: str, place: int, unit: str) -> Control:
    """The one setting, among the sizes of the view: what bars and tables are computed at."""
    return Control(
        label, "One setting", "slider", lambda value, view: {"setting": {field: value}},
        lambda view: getattr(view, field)[at_setting(view)[place]], ("roofline", "published"),
        "Of bars, tables and the ringed points",
        options=lambda view: [(size, size_words(size)) for size in sorted({*getattr(view, field)})], unit=unit,
    )  # fmt: skip


def number_format(label: str, field: str, formats: Sequence[str]) -> Control:
    """A number format of the view; as stored without one."""
    return Control(
        label, "Number formats", "choice", lambda value, view: {field: value or None},
        lambda view: getattr(view, field) or "", COMPUTED,
        options=[("", "as stored"), *((name, name) for name in formats)],
    )  # fmt: skip


# What people type -------------------------------------------------------------------------------------------------


def named(kind: str, folder: str, names: list[str], own: dict[str, Any]) -> list[str]:
    """Ids of the catalog, or the reader's own names, that names as people write them mean."""
    return [*dict.fromkeys(name if name in own else catalog_name(kind, name, folder) for name in names)]


def size_words(value: int) -> str:
    """A size as sliders show it: 16K is 16,384."""
    return f"{value // 1024}K" if value >= 16384 and value % 1024 == 0 else f"{value:,}"


def counts(label: str, text: str) -> list[int]:
    """Whole numbers as people list them."""
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"{label} {text[:80]!r}: expected whole numbers, e.g. 1, 16, 64") from None


def seconds(label: str, text: str) -> float | None:
    """A time as people write it, "500 ms" or "1.5 s" [s]; None for an empty text."""
    if not text.strip():
        return None
    written = re.fullmatch(r"(\d{0,9}\.?\d{1,9}) ?(ms|s|min)", text.strip())
    if not written:
        raise ValueError(f"{label} {text[:80]!r}: expected a time with its unit, e.g. 40 ms or 1.5 s")
    return float(written[1]) * TIME_UNITS[written[2]]


def in_units(value: float | None) -> str:
    """A time as people write it; empty for None."""
    if value is None:
        return ""
    return f"{value:.6g} s" if value >= 1 else f"{1000 * value:.6g} ms"


def prices(text: str, view: View) -> float | dict[str, float] | None:
    """Prices as people write them: one number, or GPU=PRICE of each."""
    if not text.strip():
        return None
    found = dict[str, float]()
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.rpartition("="))
        try:
            price = float(value)
        except ValueError:
            raise ValueError(f"price {part.strip()[:80]!r}: expected a number, or GPU=PRICE, e.g. l4=0.8") from None
        if not equals and "," not in text:
            return price
        found[name if name in view.cards else catalog_name("GPU", name, "gpus")] = price
    return found


def price_words(view: View) -> str:
    """The prices of a view as people write them."""
    price = view.server.price
    return ", ".join(f"{gpu}={each:g}" for gpu, each in price.items()) if isinstance(price, dict) else f"{price or '':}"
