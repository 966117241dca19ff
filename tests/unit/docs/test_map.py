"""The map of the docs is their navigation: every page stands on it, once, and every entry leads to a page."""

from __future__ import annotations

from itertools import chain

import site_pages
from tests.helpers.places import PROJECT

DOCS = PROJECT / "docs"


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    sections = site_pages.navigation((DOCS / "index.md").read_text(encoding="utf-8"))
    entries = list(chain.from_iterable(sections.values()))
    assert sorted(entries) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")
    assert list(sections) == ["Start", "Results", "Use", "Reference", "Developers", "Artifact"]
