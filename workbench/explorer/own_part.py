"""The part of the explorer that takes what a reader brings: models, GPUs, saved views, measurements."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..common.errors import unknown
from ..common.yaml_records import validated
from .brought import Brought
from .messages import ForgetAsked, PieceAsked
from .own_cards import card_of_yaml
from .own_messages import (
    CardAsked,
    CardFormAsked,
    CardTextAsked,
    DropOwnAsked,
    ModelFormAsked,
    ModelTextAsked,
    StepAsked,
    dropped,
    form_of,
    free_name,
    is_card,
    renamed,
    taken_card,
    taken_model,
    text_of,
)
from .own_models import model_of_text, read_object
from .uploads import Uploads
from .view import View

#: The variable by which `workbench explore --measured` tells the page its file.
MEASURED_FILE = "WORKBENCH_MEASURED"


class OwnPart:
    """What `Explorer` does with files and texts of its reader.

    Attributes
    ----------
    brought : Brought
        The measurement that the tab Measured shows.
    uses : dict of callable
        What a file is taken for, by the name that the page uses: each gets the content and the file's name.
    """

    view: View
    send: Any
    update: Any
    _draw: Any
    _attempt: Any
    _change: Any

    def _begin_own(self) -> None:
        self._uploads = Uploads()
        self.brought = Brought(lambda: self._attempt(self._draw))
        self.uses: dict[str, Callable[[bytes, str], None]] = {
            "own": lambda content, name: self.take(content.decode("utf-8", "replace"), name), "measured": self._bring,
        }  # fmt: skip

    def measured(self, file: str | Path, *, wait: bool = True) -> None:
        """Show a file of timings or a load test in the tab Measured.

        Parameters
        ----------
        file : str or Path
            What `workbench.timings.read` or `workbench.loadtest.read` reads, or the name of one of the project's own
            measurements.
        wait : bool
            Whether it is read and worked out before this returns, or beside the page.

        Raises
        ------
        ValueError
            Where it is neither, or nothing can be said of it.
        """
        self.brought.bring(str(file), Path(file))
        if wait:
            self.brought.read(self.view)
        self.update(tab="measured")

    def _bring(self, content: bytes, name: str) -> None:
        self.brought.bring(name, content)
        self._change({"tab": "measured"})
        self._draw()

    def take(self, text: str, what: str) -> None:
        """Take a config.json or an entry in YAML as a model, an entry of a GPU in YAML, or a saved view.

        Parameters
        ----------
        text : str
            The file's content.
        what : str
            The file's name, for messages.

        Raises
        ------
        ValueError
            Where it is none of them, or cannot be drawn.
        """
        if text.lstrip()[:1] not in ("{", "[", "") and is_card(text):
            name, card = card_of_yaml(text, what)
            return self._replace(renamed(self.view, "card", "", free_name(name, card, self.view.cards), card))
        found = read_object(text, what) if text.lstrip()[:1] in ("{", "[", "") else {}
        if isinstance(found.get("view"), Mapping):
            return self._replace(found["view"], whole=what)
        name, config = model_of_text(text, what)
        self._replace(renamed(self.view, "model", "", free_name(name, config, self.view.configs), config))

    def _replace(self, fields: Mapping[str, Any], whole: str = "") -> None:
        """Change the view, or take another one whole, and keep the one before where that cannot be drawn."""
        before = self.view
        try:
            if whole:
                self.view = validated(View, fields, whole)
            else:
                self._change(fields)
            self._draw()
        except ValueError:
            self.view = before
            raise

    def _piece(self, piece: PieceAsked, buffers: list[Any]) -> None:
        """Take a piece of a file, and say that it arrived; -1 is the page's sign to send no more."""
        number = -1
        try:
            if piece.use not in self.uses:
                raise unknown("use of a file", piece.use, self.uses)
            content = self._uploads.take(piece, buffers)
            number = piece.number
        finally:
            self.send({"kind": "received", "number": number})
        if content is not None:
            self.uses[piece.use](content, piece.name)

    def _answer_own(self, asked: object, buffers: list[Any]) -> None:
        """Do what a message of the page asks of the reader's own files and entries."""
        view = self.view
        match asked:
            case CardFormAsked(start=start):
                self.send(form_of(start, view.cards))
                self._draw()
            case CardAsked() | CardTextAsked():
                self._replace(taken_card(asked, view))
                self.send({"kind": "card-taken"})
            case ModelFormAsked(name=name):
                self.send(text_of(name, view.configs))
                self._draw()
            case ModelTextAsked():
                self._replace(taken_model(asked, view))
                self.send({"kind": "model-taken"})
            case DropOwnAsked():
                self._replace(dropped(view, asked))
            case PieceAsked():
                self._piece(asked, buffers)
            case ForgetAsked():
                self.brought.forget()
                self._draw()
            case StepAsked(text=text):
                self.brought.set_step(text)
                self._draw()
