"""The documentation, built offline: `make docs`. Pages of numbers are computed by `pages.py`; notebooks are not run."""

import inspect
import os
import re
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

import pages  # noqa: E402

project = "Roofline Workbench"
author = copyright = "The Roofline Workbench authors"
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "generated/benchmarks_tables.md"]
nb_execution_mode = "off"  # the stored outputs, which the tests hold against the code
myst_enable_extensions = ["dollarmath", "deflist", "substitution"]
myst_substitutions = {"binder": ""}
if repository := os.environ.get("GITHUB_REPOSITORY"):  # where the pages are published from
    launch = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/notebooks/tour.ipynb"
    myst_substitutions["binder"] = f"[![Open the tour on Binder](https://mybinder.org/badge_logo.svg)]({launch})"
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]  # the latter: fields that share a builtin's name

html_theme = "furo"
html_title = "Roofline Workbench"
html_show_sphinx = False
html_math_renderer = "mathml"

numpydoc_show_class_members = False
# the functions that wings hand out have to describe every parameter and what they return, in numpydoc's sections;
# those of `common` and `files` say it in a line
CHECKED = [name for name in pages.wings() if name not in ("common", "files")]
numpydoc_validation_checks = {"GL06", "GL07", "GL08", "PR01", "PR02", "PR03", "PR07", "RT01", "RT03", "YD01"}
numpydoc_validation_exclude = {rf"^(?!({'|'.join(pages.functions(CHECKED))})$)"}

default_role = "py:obj"  # a name in backticks is a link where it is one of the package's
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the docstrings say them in words
python_maximum_signature_line_length = 100
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:.*", r"(?!workbench\.).*"), ("py:class", r".*\.(Array|\w+T|Rows)")]


# Docstrings -----------------------------------------------------------------------------------------------------------


def _constant(app, what, name, obj, options, lines):
    """A constant that a wing hands out is described where it is set, in one of the wing's files."""
    if what == "data":
        wing, constant = re.split(r"::|\.(?=\w+$)", name)
        files = [file for file in sorted(sys.modules) if f"{file}.".startswith(f"{wing}.")]
        comments = (ModuleAnalyzer.for_module(file).find_attr_docs().get(("", constant)) for file in files)
        lines[:] = next(filter(None, comments), [])


def _signature(app, what, name, obj, options, signature, returns):
    """Records say their fields in words; their generated signatures are long and say less."""
    if inspect.isclass(obj) and hasattr(obj, "model_fields"):
        return "", None
    return None


def _leave_out_long_values(app, domain, objtype, content):
    for value in list(content.parent.findall(addnodes.desc_annotation)):
        if len(value.astext()) > 80:
            value.parent.remove(value)


# Equations as MathML, which browsers draw without a script from elsewhere -----------------------------------------


def _inline_math(self, node):
    self.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block_math(self, node):
    self.body.append(f"<p>{latex2mathml.tex2mathml(node.astext(), as_block=True)}</p>")
    raise nodes.SkipNode


def setup(app):
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _constant, priority=400)  # before numpydoc's
    app.connect("autodoc-process-signature", _signature)
    app.connect("object-description-transform", _leave_out_long_values)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    pages.write(HERE / "generated")
