"""The file that a reader brought to the tab Measured, and what is found of it, worked out beside the page."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..common.errors import shown
from .background import Background
from .bounds import MAX_PIECES, PIECE
from .messages import in_one_line
from .tab_calls import measured_code
from .view import View

if TYPE_CHECKING:
    from .measured import Measured

#: Fields of a view that what is found depends on.
DEPENDS_ON = (
    "gpu", "model", "configs", "cards", "tp", "weight_dtype", "activation_dtype", "kv_dtype", "server",
)  # fmt: skip
#: What goes on, by the kind of the file.
DOING = {"": "reading", "timings": "explaining its kernels", "load test": "simulating the same requests"}


class Brought:
    """A file of timings or a load test, and what is found of it for the view that is shown.

    Parameters
    ----------
    redraw : callable
        Draws the page again, once there is more to show.
    """

    def __init__(self, redraw: Callable[[], None]) -> None:
        """Begin without a file."""
        self._redraw = redraw
        self._background = Background(self._tell, self._fail)
        self._source: tuple[str, bytes | Path] | None = None
        self.file: Measured | None = None
        self.found: dict[str, Any] = {}
        self.busy = self.error = self.wrong_step = ""
        self.step: tuple[int, ...] | None = None
        self._asked: object = None

    def bring(self, name: str, source: bytes | Path) -> None:
        """Take a file's content, or a path, in place of the file before it; `section` begins to read it."""
        self.forget()
        self._source = plain_name(name), source

    def forget(self) -> None:
        """Know of no file."""
        self._background.stop()
        self.__init__(self._redraw)  # type: ignore[misc]

    def set_step(self, text: str) -> None:
        """Take what a step works on, as people write it: "8, 1, 1024"; anything else is said beside the field."""
        try:
            self.step = tuple(map(int, text.replace(",", " ").split())) or None
            if self.step and (len(self.step) != 3 or min(self.step) < 1):
                raise ValueError
        except ValueError:
            self.step = None
            self.wrong_step = f"{shown(text[:80])}: expected sequences, new tokens and context, such as 8, 1, 1024"
            return
        self.wrong_step = ""

    def read(self, view: View) -> None:
        """Read the file and find all of it now; raises what is wrong with it."""
        while self._asked != self._question(view):
            self._asked = self._question(view)
            for answer in self._steps(view):
                self._take(answer)

    def section(self, view: View) -> dict[str, Any]:
        """What the page shows of it; where that is not known yet, work on it begins."""
        if self._source and self._asked != self._question(view):
            self.busy, self.error = DOING[self.file.kind if self.file else ""], ""
            if _running():
                self._asked = self._question(view)
                self._background.start(self._steps(view))
            else:
                self._now(view)
        most = MAX_PIECES * PIECE
        said = {"name": self._source[0] if self._source else "", "busy": self.busy, "error": self.error, "most": most}
        said |= {"step": ", ".join(map(str, self.step or ())), "wrongStep": self.wrong_step}
        if self.file:
            said |= {"kind": self.file.kind, "about": about(self.file), "warnings": self.file.warnings}
            given = {"gpu": [self.file.gpu], "model": [self.file.model]}
            said["offer"] = offered(view, given | {key: self.found[key] for key in given if key in self.found})
        return said | {key: self.found[key] for key in ("explained", "compared") if key in self.found}

    def code(self, view: View) -> str:
        """Python that computes what is found of it, the file by its name."""
        return measured_code(view, self.file, self._source[0] if self._source else "", self.step)

    def numbers(self) -> pd.DataFrame:
        """The table of what is found: operators of timings, or both sides of a load test; ValueError without any."""
        found = self.found.get("explained") or self.found.get("compared")
        if not found:
            raise ValueError("nothing is measured yet: bring a file of timings or a load test")
        return pd.DataFrame(found["rows"]).assign(file=self.file.name if self.file else "")

    def _now(self, view: View) -> None:
        """All of it in place, as in a script, where no loop runs."""
        try:
            self.read(view)
        except Exception as error:
            self._failed(error)

    def _question(self, view: View) -> object:
        return "read" if self.file is None else ([getattr(view, name) for name in DEPENDS_ON], self.step)

    def _steps(self, view: View) -> Iterator[dict[str, Any]]:
        """The file; once it is there, what is found of it."""
        from .measured import compared, explained_file  # what reads measurements is not loaded for a page that has none

        file = self.file
        if file is None:
            assert self._source
            yield {"file": read_brought(*self._source), "busy": ""}
        elif file.kind == "timings":
            found = explained_file(view, file, self.step)
            yield {
                "file": file,
                "busy": "",
                "found": {"explained": found, "gpu": found["gpu"], "model": found["model"]},
            }
        else:
            yield {"file": file, "busy": "", "found": {"compared": compared(view, file)}}

    def _take(self, answer: dict[str, Any]) -> None:
        self.file, self.busy, self.found = answer["file"], answer["busy"], answer.get("found", self.found)

    def _tell(self, answer: dict[str, Any]) -> None:
        self._take(answer)
        self._redraw()

    def _fail(self, error: Exception) -> None:
        self._failed(error)
        self._redraw()

    def _failed(self, error: Exception) -> None:
        self.busy, self.error, self.found = "", in_one_line(error), {}
        if self.file is None and self._source:
            self._source = None  # a file that cannot be read is not there


def _running() -> bool:
    """Whether a loop runs that work beside it can report to."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def read_brought(name: str, source: bytes | Path) -> "Measured":
    """A file as it is read; of an uploaded one the copy that readers open is deleted after that.

    Raises ValueError, in one line with the reader's name of the file, where it cannot be read.
    """
    from .measured import read_measured

    if isinstance(source, Path):
        try:
            return read_measured(source)
        except OSError as error:
            raise ValueError(f"{source}: {error.strerror or error}") from None
    with tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / name
        path.write_bytes(source)
        try:
            return read_measured(path, name)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from None


def offered(view: View, found: Mapping[str, Any]) -> dict[str, list[str]]:
    """GPU and models that a file says, where they are not the view's."""
    said = {name: [each for each in found.get(name, ()) if each] for name in ("gpu", "model")}
    return {name: ids for name, ids in said.items() if ids and ids != list(getattr(view, name))}


def plain_name(name: str) -> str:
    """The name of a file without folders and without what no file of ours is called."""
    plain = "".join(letter if letter.isalnum() or letter in "._- " else "_" for letter in PurePosixPath(name).name)
    return plain.strip(". ")[-120:] or "file"


def about(file: "Measured") -> str:
    """What a file is, in words."""
    rows = f"{len(file.table):,} {'kernels' if file.kind == 'timings' else 'requests'}"
    said = [each for each in (file.model, file.gpu) if each]
    ran = f", of {' on '.join(said)} as it says" if said else ""
    return f"{file.name}: {file.kind}, format {file.table.attrs.get('format', 'unknown')}, {rows}{ran}"
