"""The operators' page says nothing of its own: each number stands on a page that its paragraph links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT

PAGE = PROJECT / "docs" / "operators.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[\w-]+)?\)")
NUMBER = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w/])")
NAMES = re.compile(
    r"`[^`]*`|\d+B\b|\d+P/\d+D|Dynamo \d[\d.]*|\d+\.\d+\.\d+|P99|C = [\d,]+|claim C\d+|of a nominal 95 %"
)
PARAGRAPHS = [
    one
    for one in re.split(r"\n(?=- |\n)", PAGE.read_text(encoding="utf-8"))
    if one.strip().startswith("- ") and LINK.search(one)
]


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(NAMES.sub(" ", LINK.sub(" ", text))))


@pytest.mark.parametrize("paragraph", PARAGRAPHS, ids=lambda one: str(one).strip()[2:40])
def test_every_number_stands_where_the_link_leads(paragraph: str) -> None:
    there = " ".join(_text(PAGE.parent / target) for target in LINK.findall(paragraph))
    assert numbers(paragraph) - numbers(there) == set()


def test_the_pages_paragraphs_with_numbers_have_links() -> None:
    lines = re.split(r"\n(?=- |\n)", PAGE.read_text(encoding="utf-8"))
    bare = [one for one in lines if one.strip().startswith("- ") and numbers(one) and not LINK.search(one)]
    assert bare == []
    assert len(PARAGRAPHS) > 20


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
