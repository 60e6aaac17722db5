"""What the page may ask of the widget, each a record; anything else is refused in one line."""

from typing import Annotated, Any, Literal

from pydantic import Field
from traitlets.log import get_logger

from ..common.extras import MissingLibrary
from ..common.yaml_records import Record, validated
from .bounds import MAX_PIECES, Label, at_most
from .own_messages import OwnAsked

#: Characters of a message above the picture [1]; the longest lists the catalog's models.
MAX_WORDS = 2000


class ControlAsked(Record):
    """A control's new value."""

    kind: Literal["set"]
    control: Label
    value: Any


class FieldsAsked(Record):
    """Fields of the view, all at once; those of its parts may be some of a part."""

    kind: Literal["update"]
    fields: dict[str, Any]


class PinAsked(Record):
    """A point of the chart, to be pinned or unpinned."""

    kind: Literal["pin"]
    at: dict[str, Any]


class UnpinAsked(Record):
    """The pin of that number, or all of them, to be unpinned."""

    kind: Literal["unpin"]
    number: int | None


class DownloadAsked(Record):
    """The numbers of the view as a file."""

    kind: Literal["download"]
    format: str


class PieceAsked(Record):
    """A piece of a file, the message's only buffer: `number`, from 0, of `of`; `use` is a key of `Explorer.uses`."""

    kind: Literal["piece"]
    use: Label
    name: Annotated[str, at_most(1000, "characters")]
    number: int = Field(ge=0)
    of: int = Field(ge=1, le=MAX_PIECES)


class ForgetAsked(Record):
    """Something that the reader brought, to be forgotten."""

    kind: Literal["forget"]
    use: Label


Asked = ControlAsked | FieldsAsked | PinAsked | UnpinAsked | DownloadAsked | PieceAsked | ForgetAsked | OwnAsked


class _Message(Record):
    asked: Annotated[Asked, Field(discriminator="kind")]


def read_message(content: object) -> Asked:
    """What a message asks for; ValueError for any that the page does not send."""
    return validated(_Message, {"asked": content}, "message").asked


def in_one_line(error: Exception) -> str:
    """Why something cannot be shown; of what nobody foresaw only its kind, as its words may hold paths."""
    words = str(error) if isinstance(error, ValueError | MissingLibrary) else getattr(error, "strerror", None)
    words = words or f"this cannot be shown ({type(error).__name__})"
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    return line if len(line) <= MAX_WORDS else f"{line[: MAX_WORDS - 3]}..."


def log_unforeseen(error: Exception) -> None:
    """Tell the server's terminal what nobody foresaw; the kernel's stderr, which would do so too, reaches the page."""
    if not isinstance(error, ValueError | MissingLibrary):
        get_logger().error("The explorer failed.", exc_info=error)
