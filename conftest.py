"""Python in the README and in docs/ runs as tests: blocks of code, and examples at the prompt with what they print."""

from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

import matplotlib as mpl
import matplotlib.font_manager  # makes its cache, which on a new machine the first cell to draw would tell of
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

mpl.use("Agg")
collect_ignore = ["workbench/explorer/templates/page.ipynb"]  # the page that Voila serves: no notebook to be read

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE), SkipParser()],
    patterns=["README.md", "docs/*.md"],
).pytest()
