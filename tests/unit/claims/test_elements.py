"""Every table and figure of the paper is answered by an output that exists, or by a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from anarchy.claims.elements import ELEMENTS_FILE, load_elements
from anarchy.ground.errors import UserError


def test_each_is_there_once_with_an_output_or_a_reason() -> None:
    found = load_elements()
    assert [one.id for one in found] == [f"Table {n}" for n in range(1, 9)] + [
        f"Figure {n}" for n in range(1, 8)
    ]
    assert all(bool(one.outputs) != bool(one.reason) for one in found)
    assert all(one.shows or "not known to us" in one.reason for one in found)


@pytest.mark.parametrize(
    ("change", "key", "what", "remedy"),
    [
        (lambda e: e[1]["outputs"][0].update(page="knobs.md"), "elements.1.outputs.0.page",
         "there is no page 'knobs.md' in docs", "controller.md"),
        (lambda e: e[6]["outputs"][0].update(design="stagez"), "elements.6.outputs.0.design",
         "there is no design 'stagez'", "stages"),
        (lambda e: e[6]["outputs"][0].update(table="phases"), "elements.6.outputs.0",
         "design 'stages' has no table 'phases'", '"", ratios'),
        (lambda e: e[6]["outputs"].append({"design": "ladder", "figure": "pao"}), "elements.6.outputs.2",
         "design 'ladder' has no figure 'pao'", "poa, depth"),
        (lambda e: e[6]["outputs"].append({"design": "ladder"}), "elements.6.outputs.2",
         "is no output", "name a design with one of its figures or tables"),
        (lambda e: e[0].pop("reason"), "elements.0", "has outputs and a reason, or neither", "give one"),
        (lambda e: e[1].pop("shows"), "elements.1", "does not say what it shows", "add shows"),
        (lambda e: e.pop(3), "elements", "missing: Table 4", "8 tables and 7 figures"),
        (lambda e: e[0].update(id="Table 2"), "elements", "missing: Table 1; there twice: Table 2", "once"),
        (lambda e: e[0].update(id="Table 9"), "elements", "not in the paper: Table 9", "once"),
        (lambda e: e[0].update(show="x"), "elements.0.show", "unknown key", "did you mean 'shows'"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_with_file_key_and_remedy(
    tmp_path: Path, change: Callable[[Any], Any], key: str, what: str, remedy: str
) -> None:
    document = yaml.safe_load(ELEMENTS_FILE.read_text(encoding="utf-8"))
    change(document["elements"])
    file = tmp_path / "elements.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError) as caught:
        load_elements(file)
    assert caught.value.where == file
    assert what in caught.value.what
    assert key.split(".")[0] in str(caught.value)
    assert remedy in (caught.value.remedy or "")
