"""The explorer itself: controls on the left, pictures on the right, a view between them."""

import os
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anywidget
import ipywidgets
import traitlets
import xarray as xr

from ..catalog.model_entries import models
from ..common.errors import shown, unknown
from ..common.extras import check_libraries
from ..common.variables import with_units
from ..common.yaml_records import validated
from ..files.reading import read_small
from ..files.writing import whole, write_netcdf, write_table
from ..hugging_face import from_hf_config
from .bounds import MAX_LINK
from .controls import Control, chosen_set, make_controls, read_json
from .export import code, params
from .messages import (
    DownloadAsked,
    HeatAsked,
    PinAsked,
    SettingAsked,
    UnpinAsked,
    in_one_line,
    log_unforeseen,
    read_message,
)
from .own_files import with_files
from .pictures import picture
from .view import LISTS, Pin, Settings, View, drawn, grid

HERE = Path(__file__).parent


class Pictures(anywidget.AnyWidget):
    """What the browser draws: one dict, so that all views of a state change together."""

    _esm = HERE / "pictures.js"
    _css = HERE / "pictures.css"
    picture = traitlets.Dict().tag(sync=True)


class Explorer(ipywidgets.HBox):  # type: ignore[misc]
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
    ds : xr.Dataset
        The grid behind it [SI].
    """

    def __init__(self, view: View, *, page: bool = False, message: str = "") -> None:
        """Make the controls and draw a view; raises ValueError where it has no picture."""
        self.view, self.ds = view, xr.Dataset()
        self.controls = make_controls()
        self.pictures = Pictures()
        self._page, self._quiet = page, False
        for name, control in self.controls.items():
            control.widget.observe(lambda change, name=name: self._changed(name, change["new"]), "value")
        full = ipywidgets.Layout(width="auto")
        self.upload = ipywidgets.FileUpload(accept=".json", description="config.json or saved view", layout=full)
        self.paste = ipywidgets.Textarea(placeholder="or paste a config.json here", rows=4, layout=full)
        self.add = ipywidgets.Button(description="Add as a model", layout=full)
        self.upload.observe(self._uploaded, "value")
        self.add.on_click(lambda _: self._attempt(lambda: self.take(self.paste.value, "pasted text")))
        self.pictures.on_msg(lambda _, content, buffers: self._asked(content))
        super().__init__([self._panel(), self.pictures])
        self.add_class("wb-explorer")
        self._draw(message)

    def _panel(self) -> Any:
        by = {name: control.widget for name, control in self.controls.items()}
        own = ipywidgets.Accordion([ipywidgets.VBox([self.upload, self.paste, self.add])], titles=["Your own model"])
        self._chosen = ipywidgets.VBox([by["operator"]])
        groups = {
            "": ["figure"], "GPUs": ["gpu", "tp"], "Models": ["model", own],
            "What runs": ["set", self._chosen, "phase"],
            "Range of settings": ["batch_size", "seq_len", "candidates"],
            "Number formats": ["weight_dtype", "activation_dtype", "kv_dtype"],
            "Times and points": ["time_model", "launch_latency_us", "points"],
            "One setting, for bars and summary": ["at_batch_size", "at_seq_len"],
            "Its server, for memory and latency": ["ep", "dp", "pp", "network_gbs", "engine"],
        }  # fmt: skip
        children = [ipywidgets.HTML("<h2>Roofline Workbench</h2>")]
        for title, names in groups.items():
            children += [ipywidgets.HTML(f"<h3>{title}</h3>")] if title else []
            children += [by[name] if isinstance(name, str) else name for name in names]
        panel = ipywidgets.VBox(children)
        panel.add_class("wb-controls")
        return panel

    # From a change to the picture

    def update(self, **fields: Any) -> None:
        """Change fields of the view and draw it; why a view cannot be drawn is said above the last picture.

        Parameters
        ----------
        **fields
            Fields of `View`, in their units.

        Raises
        ------
        ValueError
            For a field that does not exist or does not fit.
        """
        self.view = validated(View, self.view.model_dump() | fields, "view")
        self._attempt(self._draw)

    def _draw(self, message: str = "") -> None:
        """The picture of the view; raises ValueError where it has none."""
        self.ds = grid(self.view)
        new = picture(self.view, self.ds)
        self._write_controls()
        self.pictures.picture = new | {
            "message": message, "state": self.view.state(), "page": MAX_LINK if self._page else 0,
            "code": {"python": code(self.view), "params": params(self.view)},
        }  # fmt: skip

    def _changed(self, name: str, value: Any) -> None:
        if not self._quiet:
            self._attempt(lambda: self.update(**self._fields(self.controls[name], value)))

    def _fields(self, control: Control, value: Any) -> dict[str, Any]:
        fields = control.read(value)
        if control is self.controls["set"] and not fields["operator"]:  # to choose from what there is
            fields["operator"] = self.ds.operator.values.tolist()
        for name in {"setting", "server"} & fields.keys():
            fields[name] = getattr(self.view, name).model_dump() | fields[name]
        if "model" in fields:
            used = {*value, *(pin.model for pin in self.view.pins)}
            fields["configs"] = {name: config for name, config in self.view.configs.items() if name in used}
        return fields

    def _attempt(self, action: Any) -> None:
        """Do what a reader asked for, or say in place why not; a notebook shows where what nobody foresaw is."""
        try:
            action()
        except Exception as error:
            told = {"message": in_one_line(error), "state": self.view.state()}
            self.pictures.picture = self.pictures.picture | told
            if self._page:
                log_unforeseen(error)
            elif not isinstance(error, ValueError):
                raise

    def _write_controls(self) -> None:
        """Set every control to the view, without reacting to the change."""
        self._quiet = True
        try:
            for control in self.controls.values():
                value = control.write(self.view)
                if control.widget.value == value:
                    continue
                if isinstance(control.widget, ipywidgets.TagsInput):
                    more = [tag for tag in value if tag not in control.widget.allowed_tags]
                    control.widget.allowed_tags = [*control.widget.allowed_tags, *more]
                control.widget.value = value
            chosen = chosen_set(self.view) == "chosen"
            self._chosen.layout.display = "" if chosen else "none"
        finally:
            self._quiet = False

    # What the reader brings, and takes away

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        for file in change["new"]:
            self._attempt(lambda file=file: self.take(bytes(file["content"]).decode("utf-8", "replace"), file["name"]))

    def take(self, text: str, what: str) -> None:
        """Take a config.json as a model, or a saved view.

        Parameters
        ----------
        text : str
            The file's content, JSON.
        what : str
            The file's name, for messages.

        Raises
        ------
        ValueError
            Where it is neither of the two, or cannot be drawn.
        """
        found = read_json(text, what)
        if "view" in found:
            before, self.view = self.view, validated(View, found["view"], what)
            try:
                return self._draw()
            except ValueError:
                self.view = before
                raise
        name = from_hf_config(found).id
        while name in models() or self.view.configs.get(name, found) != found:
            name += "-own"
        self.update(configs=self.view.configs | {name: found}, model=[*dict.fromkeys([*self.view.model, name])])

    def _asked(self, content: object) -> None:
        self._attempt(lambda: self._answer(content))

    def _answer(self, content: object) -> None:
        """Do what a message of the page asks for: a pin, a choice of the heat map, a setting, a download."""
        match read_message(content):
            case PinAsked(at=at):
                self.pin(**at)
            case UnpinAsked(number=number):
                self.unpin(number)
            case HeatAsked(chosen=chosen):
                self.update(heat=self.view.heat.model_dump() | chosen)
            case SettingAsked(setting=setting):
                self.update(setting=setting)
            case DownloadAsked(format=kind):
                self.pictures.send({"kind": "file", "name": f"view.{kind}"}, [self.data(kind)])

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
        if kind not in ("csv", "nc"):
            raise unknown("format", kind, ("csv", "nc"))
        ds = drawn(self.ds, self.view.points)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / f"view.{kind}"
            if kind == "csv":
                write_table(with_units(ds.to_dataframe(dim_order=list(ds.dims)).reset_index()), path)
            else:
                check_libraries("netCDF4")
                with whole(path) as temporary:
                    write_netcdf(ds, temporary)
            return path.read_bytes()


def explore(view: "str | Path | Mapping[str, Any] | View | None" = None, **fields: Any) -> Explorer:
    """The explorer, a widget for JupyterLab and Voila.

    Parameters
    ----------
    view : str, Path, mapping or View, optional
        A saved view (its path, or the mapping in it) or a `View`. None is the one to begin with, or under Voila the one
        that the page's address holds; a broken link is reported on the page.
    **fields
        Fields of `View` to set, in their units; a model may be the path of a config.json.

    Returns
    -------
    Explorer
        The widget.

    Raises
    ------
    ValueError
        For a file that is not a saved view, and for a field that does not exist or does not fit.

    Examples
    --------
    >>> explore(gpu=["t4", "l4"], model="llama-2-7b-awq").view.gpu
    ['t4', 'l4']
    """
    page = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
    linked = parse_qs(os.environ.get("QUERY_STRING", "")).get("view") if page else None
    if linked and view is None:
        try:
            return Explorer(validated(View, read_json(linked[0], "the link"), "the link"), page=page)
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
    fields |= {name: [fields[name]] for name in LISTS if isinstance(fields.get(name), str | int | PathLike)}
    return Explorer(validated(View, given | with_files(fields), "view"), page=page)


def _saved(path: Path) -> dict[str, Any]:
    """The view in a file that the page saved."""
    try:
        found = read_json(read_small(path).decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(found.get("view"), dict):
        raise ValueError(f"{path}: not a saved view: it has no `view`")
    return dict(found["view"])
