"""The page's program and style: plain files of `page/`, joined in one order."""

from functools import cache
from pathlib import Path

PAGE = Path(__file__).parent / "page"


@cache
def page_script() -> str:
    """The libraries, `elements.js`, all else by name, and `page.js`, which hands out `render`, as one module."""
    first, last = PAGE / "elements.js", PAGE / "page.js"
    between = sorted(path for path in PAGE.glob("*.js") if path not in (first, last))
    return "\n".join(path.read_text("utf-8") for path in (*sorted(PAGE.glob("vendor/*.js")), first, *between, last))


@cache
def page_style() -> str:
    """`page.css`, and all else by name."""
    first = PAGE / "page.css"
    return "\n".join(path.read_text("utf-8") for path in (first, *sorted({*PAGE.rglob("*.css")} - {first})))
