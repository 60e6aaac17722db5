"""The page's program and style: plain files of `page/`, joined in one order."""

from functools import cache
from pathlib import Path

PAGE_FOLDER = Path(__file__).parent / "page"


@cache
def page_script() -> str:
    """The libraries, `elements.js`, all else by name, and `page.js`, which hands out `render`, as one module."""
    first, last = PAGE_FOLDER / "elements.js", PAGE_FOLDER / "page.js"
    between = sorted(path for path in PAGE_FOLDER.glob("*.js") if path not in (first, last))
    return "\n".join(
        path.read_text("utf-8") for path in (*sorted(PAGE_FOLDER.glob("vendor/*.js")), first, *between, last)
    )


@cache
def page_style() -> str:
    """`page.css`, and all else by name."""
    first = PAGE_FOLDER / "page.css"
    return "\n".join(path.read_text("utf-8") for path in (first, *sorted({*PAGE_FOLDER.rglob("*.css")} - {first})))
