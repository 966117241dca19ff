"""Look through a built site: links inside it lead somewhere, and no page fetches anything from a network.

``python docs/site/built_pages.py site`` prints what is wrong, and then exits 1.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""Elements that a browser fetches something for by itself -> the attribute that names it."""
STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


@dataclass
class Page(HTMLParser):
    """What a page links to, what it fetches, and what in it can be linked to."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        has = {name: value or "" for name, value in attrs}
        self.anchors |= {has[name] for name in ("id", "name") if has.get(name)}
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        if tag in FETCHED and FETCHED[tag] in has:
            self.fetched.append(has[FETCHED[tag]])


def problems(site: Path) -> list[str]:
    """What is wrong with a built site, one line each."""
    pages: dict[Path, Page] = {}
    for file in sorted(site.rglob("*.html")):
        if "_static" in file.parts:
            continue  # the theme's own templates, which no page shows
        pages[file] = Page()
        pages[file].feed(file.read_text(encoding="utf-8"))
    found = []
    for file, page in pages.items():
        here = file.relative_to(site)
        found += [f"{here} fetches {one}" for one in page.fetched if _outside(one)]
        for link in {*page.links, *page.fetched}:
            if _outside(link) or link.startswith(("mailto:", "data:")) or link in {"", "#"}:
                continue
            parts = urlsplit(link)
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{here} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{here} links to {link}: there is no such place on that page")
    for file in sorted(site.rglob("*.css")):
        found += [
            f"{file.relative_to(site)} fetches {one}"
            for one in STYLE.findall(file.read_text(encoding="utf-8"))
        ]
    return found


def _outside(link: str) -> bool:
    return link.startswith(("http://", "https://", "//"))


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).resolve())
    print("\n".join(wrong) or "every link leads somewhere, and nothing is fetched from a network")
    sys.exit(bool(wrong))
