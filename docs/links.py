"""Links of the built documentation that lead nowhere, anchors included: `python docs/links.py docs/_build/html`.

Sphinx checks the links that it resolves itself. What themes and extensions write, such as those between a page and its
source, only the built pages show.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse


class Page(HTMLParser):
    """What a page links to, and what may be linked to in it."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what each element says."""
        self.links |= {value for name, value in attrs if name in ("href", "src") and value}
        self.anchors |= {value for name, value in attrs if (name == "id" or (tag, name) == ("a", "name")) and value}


def dead_links(folder: Path) -> list[str]:
    """Page and link, in their order, of all links within a folder to a file or an anchor that there is not."""
    pages = {path: Page(path) for path in sorted(folder.resolve().rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links):
            url = urlparse(link)
            if url.scheme or url.netloc:
                continue
            to = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchors = pages[to].anchors if to in pages else {url.fragment}
            if not to.exists() or (url.fragment and unquote(url.fragment) not in anchors):
                dead.append(f"{path.relative_to(folder.resolve())}: {link}")
    if not pages:
        raise FileNotFoundError(f"{folder}: no page")
    return dead


if __name__ == "__main__":
    found = dead_links(Path(sys.argv[1]))
    sys.exit("\n".join([*found, f"{len(found)} dead links"]) if found else 0)
