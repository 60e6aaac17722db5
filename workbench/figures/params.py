"""Figures and their params: which notebook draws a chart, and with which parameters."""

import ast
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Optional, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model

from ..common.errors import checked_file_name, shown, unknown
from ..common.project import digest
from ..common.yaml_records import validated
from ..files.yaml_files import read_mapping

FIGURE_FORMATS = ("csv", "png", "svg")
#: Parameters that make no other figure of one.
LABELS = {"figure_id", "title", "caption", "output_dir"}
TYPES = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)} | {"Optional": Optional}


@dataclass(frozen=True)
class Figure:
    """One figure of the batch.

    Attributes
    ----------
    id : str
        Its name, that of the params file.
    params, notebook : pathlib.Path
        Its params file, and the notebook that draws it.
    """

    id: str
    params: Path
    notebook: Path

    @cached_property
    def values(self) -> dict[str, Any]:
        """What the params file says, checked against the notebook's parameters."""
        return read_params(self.params, self.notebook)

    def fingerprint(self, package: str) -> str:
        """Hash of all that the figure depends on: its params, its notebook, and the package with its data.

        Parameters
        ----------
        package : str
            Of the package, from `common.project.package_fingerprint`.

        Returns
        -------
        str
            In hexadecimal digits.
        """
        return digest(package.encode(), self.params.read_bytes(), self.notebook.read_bytes())


def find(root: Path) -> dict[str, Figure]:
    """Find every figure of a project.

    Parameters
    ----------
    root : pathlib.Path
        The folder with ``params/<notebook>/<figure_id>.yaml`` and ``notebooks/<notebook>.ipynb``.

    Returns
    -------
    dict of Figure
        By id, in alphabetical order.

    Raises
    ------
    ValueError
        Where a params file has no notebook, or a name that is taken or cannot name a figure.
    """
    figures: dict[str, Figure] = {}
    for params in sorted(root.glob("params/*/*.yaml"), key=lambda path: path.stem):
        notebook = root / "notebooks" / f"{params.parent.name}.ipynb"
        if not notebook.is_file():
            raise ValueError(f"{params}: there is no notebook {notebook}")
        if params.stem in figures:
            raise ValueError(f"{params}: the figure {params.stem!r} exists already in {figures[params.stem].params}")
        figures[params.stem] = Figure(checked_file_name(f"{params}: figure", params.stem), params, notebook)
    return figures


def read_params(params: Path, notebook: Path) -> dict[str, Any]:
    """Read the values of a params file and check them against its notebook.

    Parameters
    ----------
    params, notebook : pathlib.Path
        The file, and the notebook whose parameters it sets.

    Returns
    -------
    dict
        The value of each parameter.

    Raises
    ------
    ValueError
        Where keys or types are not those of the notebook's `parameters` cell, or `figure_id` is not the file's name.
    """
    fields: dict[str, Any] = {name: (annotation, ...) for name, annotation in notebook_parameters(notebook).items()}
    values: dict[str, Any] = validated(_schema(fields), read_mapping(params), str(params)).model_dump()
    if values.get("figure_id") != params.stem:
        raise ValueError(
            f"{params}: figure_id = {shown(values.get('figure_id'))}: must be the file's name, {params.stem!r}"
        )
    return values


def check_parameters() -> None:
    """Check what papermill gave to the notebook that calls this, in its first cell after the parameters.

    papermill itself only warns of a name that no parameter has, and draws the default chart. One value of a list is a
    list of it. A figure with other parameters and no id of its own is not the one of the defaults: "-changed" is added
    to that id, so that neither its file nor what is printed of it are taken for this one's, and the arrows of the
    defaults are left out. Where a notebook is opened and run by hand nothing was given.

    Raises
    ------
    ValueError
        Where a name or type is not that of a parameter, or the parameters' own cell has not run before.
    """
    from IPython.core.getipython import get_ipython

    names: dict[str, Any] = shell.user_ns if (shell := get_ipython()) else {}
    cells: list[str] = names.get("In", [])
    given = max((n for n, cell in enumerate(cells) if cell.startswith("# Parameters\n")), default=0)
    if not given:
        return
    annotated = (_annotations(cell) for cell in reversed(cells[:given]))  # between the two, cells may have run again
    declared = next(filter(None, annotated), None)
    if declared is None:
        raise ValueError("papermill's parameters: the cell tagged `parameters` must run before those that it gives")
    fields: dict[str, Any] = {
        name: (_type("the notebook", name, annotation), None) for name, annotation in declared.items()
    }
    values = {
        target.id: names[target.id]
        for node in ast.parse(cells[given]).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    checked = validated(_schema(fields), values, "papermill's parameters")
    names |= {name: getattr(checked, name) for name in values}
    if values.keys() - LABELS and "figure_id" in declared.keys() - values.keys():
        names["figure_id"] += "-changed"
        if "arrows" in declared.keys() - values.keys():  # they point at what the defaults draw
            names["arrows"] = []


def _annotations(cell: str) -> dict[str, str]:
    """Annotation of each name that a cell declares with one; none of a cell that does not parse, and did not run."""
    try:
        nodes = ast.parse(cell).body
    except SyntaxError:
        return {}
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in nodes
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _schema(fields: dict[str, Any]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    fields = {name: (_one_or_many(kind), default) for name, (kind, default) in fields.items()}
    return create_model("Params", __config__=config, **fields)


def _one_or_many(kind: Any) -> Any:
    """The type of a list, or of an optional one, that takes one value as a list of it; any other type as it is."""
    if list not in (kind, get_origin(kind), *map(get_origin, get_args(kind))):
        return kind
    return Annotated[kind, BeforeValidator(lambda given: given if isinstance(given, list | None) else [given])]


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Name and type of each parameter that a notebook's `parameters` cell declares."""
    import papermill

    declared = papermill.inspect_notebook(str(notebook))
    if not declared:
        raise ValueError(f"{notebook}: no cell is tagged `parameters`")
    return {name: _type(notebook, name, info["inferred_type_name"]) for name, info in declared.items()}


def _type(notebook: object, parameter: str, annotation: str) -> Any:
    try:
        if kind := eval(annotation, {"__builtins__": {}}, TYPES):  # papermill calls no annotation "None"
            return kind
    except Exception:  # names nothing known, or is not an expression
        pass
    raise ValueError(f"{notebook}: parameter {parameter} has the type {annotation!r}. Allowed: {', '.join(TYPES)}.")


class Listed(BaseModel):
    """Figures as a list, checked without the libraries that `signatures` loads."""

    model_config = ConfigDict(strict=True)
    figures: Sequence[Figure]


class _Chosen(BaseModel):
    model_config = ConfigDict(strict=True)
    figures: dict[str, Figure]
    patterns: Sequence[str]


def choose(figures: dict[str, Figure], patterns: Sequence[str]) -> list[Figure]:
    """Choose figures by id or glob.

    Parameters
    ----------
    figures : dict of Figure
        From `find`.
    patterns : sequence of str
        Ids and globs such as ``"medusa-*"``; without any, all figures.

    Returns
    -------
    list of Figure
        Each once, in the order of the patterns.

    Raises
    ------
    ValueError
        Where a pattern fits no figure; the message has the nearest name.
    """
    validated(_Chosen, {"figures": figures, "patterns": patterns}, "choose")
    chosen: dict[str, Figure] = {}
    for pattern in patterns:
        ids = fnmatch.filter(figures, pattern)
        if not ids:
            raise unknown("figure", pattern, figures)
        chosen |= {i: figures[i] for i in ids}
    return list(chosen.values()) if chosen else list(figures.values())
