"""Pages of the docs that are made from the code are as the code has them."""

from __future__ import annotations

import tomllib

import pytest

from anarchy.cli import pages
from tests.helpers.places import PROJECT


def test_every_page_is_as_the_code_has_it() -> None:
    assert pages.drift() == [], "run `make pages`"


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert pages.shortest(graph) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}


def test_every_room_has_a_layer_and_a_row_on_the_page() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    named = {room.strip() for layer in layers["layers"] for room in layer.split("|")}
    assert named == set(pages.rooms())
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {room for room in named if f"`{room}`" not in page} == set()


def test_a_page_without_a_place_for_a_part_is_told() -> None:
    with pytest.raises(ValueError, match="there is no place for rooms"):
        pages.made("# A page\n", {"rooms": pages.diagram})
