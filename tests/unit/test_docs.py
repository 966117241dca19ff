"""The pages say what the code does: what they link to is there, under the name that they use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT

PAGES = sorted([*PROJECT.glob("docs/*.md"), PROJECT / "README.md", PROJECT / "data" / "README.md"])
LINK = re.compile(r"\[(`?)([^\]`]+)`?\]\(([^)#\s]+)(#[\w-]+)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for code, name, target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file = page.parent / target
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor[1:] in anchors(file), f"{page.name} links to {target}{anchor}"
        if code and file.suffix == ".py":
            found = re.search(rf"^(?:def|class) {re.escape(name)}\b", file.read_text(), re.MULTILINE)
            assert found, f"{page.name} names {name}, which is not in {target}"


def test_every_link_inside_a_page_leads_to_one_of_its_headings() -> None:
    for page in PAGES:
        inside = re.findall(r"\]\(#([\w-]+)\)", page.read_text(encoding="utf-8"))
        assert set(inside) <= anchors(page), page.name


def anchors(page: Path) -> set[str]:
    """What a link can name on a page: its headings, in the words of GitHub's links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_formula_is_linked_to_its_function() -> None:
    page = (PROJECT / "docs" / "estimator.md").read_text(encoding="utf-8")
    named = {name for code, name, _, _ in LINK.findall(page) if code}
    needed = {
        "windows",
        "loads",
        "fit_affine",
        "fit_full",
        "window_costs",
        "poa_hat",
        "poa_cal",
        "decomposition",
    }
    assert needed <= named
