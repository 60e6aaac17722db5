"""The explorer itself: a view, the controls that change it, and the one picture that the page draws of it."""

import os
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anywidget
import traitlets
import xarray as xr

from ..catalog.loading import Entry
from ..common.errors import shown, unknown
from ..common.yaml_records import Record, validated
from ..files.reading import read_small
from . import published_charts
from .background import Background, unfinished
from .bounds import MAX_LINK
from .choices import Pin, Settings
from .control_kinds import read_control
from .controls import descriptions, make_controls, written
from .export import code, file_name, in_words, params, title
from .messages import (
    ControlAsked,
    DownloadAsked,
    FieldsAsked,
    PinAsked,
    UnpinAsked,
    in_one_line,
    log_unforeseen,
    read_message,
)
from .own_files import with_files
from .own_models import read_object
from .own_part import MEASURED_FILE, OwnPart
from .page_files import page_script, page_style
from .presets import basis_of
from .table_files import VERSION, table_file
from .tabs import ON_GRID, TAB_SECTIONS, TAB_STEPS
from .view import LISTS, View, grid

#: Parts of a view that a change replaces as a whole.
REPLACED_WHOLE = {"configs", "cards", "series"}


class Explorer(OwnPart, anywidget.AnyWidget):
    """The explorer as a widget.

    Parameters
    ----------
    view : View
        What it shows first.
    page : bool
        Whether it is a page of its own, whose address holds the view.
    message : str
        A line above the picture.

    Attributes
    ----------
    view : View
        What it shows; `update` changes it.
    picture : dict
        What the browser draws, all of which changes together; only the visible tab's sections are in it.
    controls : dict
        The values of all controls, and options that depend on the view.
    described : list of dict
        What the page has to know of every control, whatever the view.
    """

    _esm = page_script()
    _css = page_style()
    picture = traitlets.Dict().tag(sync=True)
    controls = traitlets.Dict().tag(sync=True)
    described: Any = traitlets.List().tag(sync=True)

    def __init__(self, view: View, *, page: bool = False, message: str = "") -> None:
        """Make the controls and draw a view; raises ValueError where it has no picture."""
        self.view, self._drawn, self._page = view, view, page
        self._controls, self._background = make_controls(), Background(self._complete, self._failed)
        self._grid: tuple[View | None, xr.Dataset] = (None, xr.Dataset())
        self._begin_own()
        super().__init__(described=descriptions(self._controls))
        self.on_msg(lambda _, content, buffers: self._asked(content, buffers))
        self._draw(message)

    @property
    def ds(self) -> xr.Dataset:
        """The grid behind the view [SI]; raises ValueError where there is none."""
        if self._grid[0] is not self.view:
            self._grid = (self.view, grid(self.view))
        return self._grid[1]

    # From a change to the picture

    def update(self, **fields: Any) -> None:
        """Change fields of the view and draw it; why a view cannot be drawn is said above the last picture.

        Parameters
        ----------
        **fields
            Fields of `View`, in their units; of its parts (setting, server, goal, heat) some, as a mapping.

        Raises
        ------
        ValueError
            For a field that does not exist or does not fit.
        """
        self._change(fields)
        self._attempt(self._draw)

    def set(self, control: str, value: Any) -> None:
        """Set a control, as the page does; what is wrong with its value is said beside it.

        Parameters
        ----------
        control : str
            The control's name.
        value
            As the control has it.
        """
        self._asked({"kind": "set", "control": control, "value": value})

    def finish(self) -> None:
        """Work out now what the tab computes beside the page, for a script or a cell that reads the picture."""
        self._background.stop()
        for sections in TAB_STEPS[self.view.tab](self.view) if self.view.tab in TAB_STEPS else ():
            self.picture = self.picture | sections

    def _change(self, fields: Mapping[str, Any]) -> None:
        before = self.view.model_dump()
        given = {
            name: before[name] | dict(value)
            if isinstance(before.get(name), dict) and isinstance(value, Mapping | Record) and name not in REPLACED_WHOLE
            else value
            for name, value in fields.items()
        }
        self.view = validated(View, before | given, "view")
        if "figure" not in fields and not published_charts.is_as_printed(self.view):
            self.view = validated(View, self.view.model_dump() | {"figure": None}, "view")

    def _draw(self, message: str = "") -> None:
        """The picture of the view; raises ValueError where it has none."""
        view = self.view
        ds = self.ds if view.tab in ON_GRID else xr.Dataset()
        more = (self.brought,) if view.tab == "measured" else ()
        steps = TAB_STEPS[view.tab](view) if view.tab in TAB_STEPS else iter([TAB_SECTIONS[view.tab](view, ds, *more)])
        sections = next(steps)
        self._drawn = view
        self._show({
            "tab": view.tab, "message": message, "wrong": None, "notes": basis_of(view),
            "page": MAX_LINK if self._page else 0,
            "sizes": {"batch_size": view.batch_size, "seq_len": view.seq_len}, "version": VERSION,
            "title": title(view), "setting": in_words(view), "file": file_name(view),
            "code": {"python": self.brought.code(view) if more else code(view), "params": params(view)},
        } | sections)  # fmt: skip
        self._background.stop()
        if unfinished(sections):
            self._background.start(steps)

    def _show(self, picture: dict[str, Any]) -> None:
        """Hand out a picture and the controls in one message; it is stale where the view has none of its own."""
        with self.hold_sync():
            self.controls = written(self._controls, self.view)
            self.picture = picture | {"state": self.view.state(), "stale": self._drawn is not self.view}

    def _complete(self, sections: dict[str, Any]) -> None:
        """Put in what was computed since the picture was handed out."""
        self.picture = self.picture | sections

    def _failed(self, error: Exception) -> None:
        self.picture = self.picture | {"message": in_one_line(error)}
        log_unforeseen(error)

    def _attempt(self, action: Callable[[], None], control: str = "") -> None:
        """Do what a reader asked for, or say in place why not; a notebook shows where what nobody foresaw is."""
        try:
            action()
        except Exception as error:
            line, control = in_one_line(error), getattr(error, "control", control)
            if line == self.picture.get("message") and (before := self.picture.get("wrong")):
                control = before["control"]  # what it said before is still so, whatever was changed now
            wrong = {"control": control, "message": line} if control else None
            self._show(self.picture | {"message": line, "wrong": wrong})
            if self._page:
                log_unforeseen(error)
            elif not isinstance(error, ValueError):
                raise

    # What the page asks for

    def _asked(self, content: object, buffers: list[Any] | None = None) -> None:
        control = content.get("control") or content.get("use") if isinstance(content, dict) else None
        try:
            self._attempt(lambda: self._answer(content, buffers or []), control if isinstance(control, str) else "")
        finally:
            self.send({"kind": "answered"})

    def _answer(self, content: object, buffers: list[Any]) -> None:
        """Do what a message of the page asks for."""
        match read_message(content):
            case ControlAsked(control=name, value=value):
                if name not in self._controls:
                    raise unknown("control", name, self._controls)
                self._change(read_control(self._controls[name], value, self.view))
                self._draw()
            case FieldsAsked(fields=fields):
                self._change(fields)
                self._draw()
            case PinAsked(at=at):
                self.pin(**at)
            case UnpinAsked(number=number):
                self.unpin(number)
            case DownloadAsked(format=kind):
                self.send({"kind": "file", "name": f"{file_name(self.view)}.{kind}"}, [self.data(kind)])
            case own:
                self._answer_own(own, buffers)

    def pin(self, /, **at: Any) -> None:
        """Pin a point of the chart under the view's settings, or unpin it where it is pinned.

        Parameters
        ----------
        **at
            gpu, model, operator (without one, the whole step), phase, batch_size [1], seq_len [token], candidates [1].
        """
        pin = validated(Pin, {name: getattr(self.view, name) for name in Settings.model_fields} | at, "pin")
        pins = [*self.view.pins, pin] if pin not in self.view.pins else [p for p in self.view.pins if p != pin]
        self.update(pins=[p.model_dump() for p in pins])

    def unpin(self, number: int | None = None) -> None:
        """Unpin one point or all.

        Parameters
        ----------
        number : int, optional
            Which, from 0 [1]; None is all of them.
        """
        left = [] if number is None else [p for i, p in enumerate(self.view.pins) if i != number]
        self.update(pins=[p.model_dump() for p in left])

    # What the reader takes away

    def data(self, kind: str) -> bytes:
        """The numbers of the view as a file.

        Parameters
        ----------
        kind : str
            "csv", a row a setting, or "nc" (NetCDF).

        Returns
        -------
        bytes
            The file's content.

        Raises
        ------
        ValueError
            For another kind of file.
        """
        return table_file(self.view, kind, self.brought.numbers() if self.view.tab == "measured" else None)


def explore(
    view: "str | Path | Mapping[str, Any] | View | None" = None, *, measured: str | Path | None = None, **fields: Any
) -> Explorer:
    """The explorer, a widget for JupyterLab and Voila.

    Parameters
    ----------
    view : str, Path, mapping or View, optional
        A saved view (its path, or the mapping in it) or a `View`. None is the one to begin with, or under Voila the one
        that the page's address holds; a broken link is reported on the page.
    measured : str or Path, optional
        A file of timings or a load test to show in the tab Measured, or one of the project's own measurements by name.
    **fields
        Fields of `View` to set, in their units; a GPU or a model may be an entry, or the path of a YAML file like those
        of the catalog or of a config.json.

    Returns
    -------
    Explorer
        The widget.

    Raises
    ------
    ValueError
        For a file that is not a saved view or no measurement, and for a field that does not exist or does not fit.

    Examples
    --------
    >>> explore(gpu=["t4", "l4"], model="llama-2-7b-awq").view.gpu
    ['t4', 'l4']
    """
    page = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
    linked = parse_qs(os.environ.get("QUERY_STRING", "")).get("view") if page else None
    if linked and view is None:
        try:
            return Explorer(validated(View, read_object(linked[0], "the link"), "the link"), page=page)
        except Exception as error:
            log_unforeseen(error)
            why = in_one_line(error).removeprefix("the link: ")
            return Explorer(View(), page=page, message=f"The link cannot be shown: {why}")
    if isinstance(view, str | Path):
        given = _saved(Path(view))
    elif view is None or isinstance(view, Mapping):
        given = dict(view or {})
    elif isinstance(view, View):
        given = view.model_dump()
    else:
        raise ValueError(f"view = {shown(view)}: give a saved view, its path or a View")
    fields |= {name: [fields[name]] for name in LISTS if isinstance(fields.get(name), str | int | PathLike | Entry)}
    explorer = Explorer(validated(View, given | with_files(fields), "view"), page=page)
    if measured is not None:
        explorer.measured(measured)
    elif page and (path := os.environ.get(MEASURED_FILE)):
        explorer.measured(path, wait=False)
    return explorer


def _saved(path: Path) -> dict[str, Any]:
    """The view in a file that the page saved."""
    try:
        found = read_object(read_small(path).decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(found.get("view"), dict):
        raise ValueError(f"{path}: not a saved view: it has no `view`")
    return dict(found["view"])
