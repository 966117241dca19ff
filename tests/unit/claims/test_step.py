"""That users marched in step is said with every verdict that rests on such a cell, and decides none."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from anarchy.claims import Verdict, judge, load
from anarchy.claims.step import BEHIND, behind
from anarchy.designs.loading import load_systems
from anarchy.report.findings import find
from tests.helpers.synthetic_estimates import write_results
from tests.helpers.synthetic_staged import KNEE, write_staged

Documents = list[dict[str, Any]]
MARCHED = "users marched in step at C = 64: the variance of arrivals in a prefill step is up to 57.6 times"


@pytest.fixture(scope="module")
def ladders(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """Three systems, of which the 340B's users march at C = 64, below its knee."""
    return [system.document for system in load_systems(write_results(tmp_path_factory.mktemp("e1")))]


def by_id(documents: Documents) -> dict[str, Verdict]:
    return {verdict.id: verdict for verdict in judge(load(), documents)}


def unmarched(documents: Documents) -> Documents:
    found = copy.deepcopy(documents)
    for document in found:
        document["frames"]["cells"]["in_step"] = False
    return found


def test_a_claim_below_the_knee_says_it_and_one_past_it_does_not(ladders: Documents) -> None:
    found = by_id(ladders)
    level = {part.system: part for part in found["C3"].parts if not part.aside}
    assert MARCHED in " ".join(level["Nemotron-4-340B 1P/2D"].notes)
    assert MARCHED not in " ".join(level["Llama-3.1-70B 1P/2D"].notes)
    assert BEHIND in found["C3"].notes
    assert BEHIND not in found["C7"].notes
    deep = {part.aside for part in found["C7"].parts if "marched" in " ".join(part.notes)}
    assert deep == {True}  # a growth rests on the plateau too
    assert BEHIND in found["C1"].notes


def test_it_decides_nothing(ladders: Documents) -> None:
    here, there = by_id(ladders), by_id(unmarched(ladders))
    for claim, verdict in here.items():
        assert verdict.verdict == there[claim].verdict
        assert BEHIND not in there[claim].notes
        for one, other in zip(verdict.parts, there[claim].parts, strict=True):
            left, right = asdict(one), asdict(other)
            assert set(left.pop("notes")) >= set(right.pop("notes"))
            assert left == right


def test_a_ladder_in_step_that_has_no_curves_is_told_too(ladders: Documents) -> None:
    documents = copy.deepcopy(ladders)
    for document in documents:
        cells = document["frames"]["cells"]
        cells.loc[cells["in_step"].eq(True), "valid"] = False
    assert BEHIND in by_id(documents)["C3"].notes


def test_of_several_ways_and_loads_those_in_reach_are_asked(tmp_path: Path) -> None:
    (system,) = load_systems(write_staged(tmp_path))
    document = system.document
    stages = document["frames"]["stages"]
    chosen = (stages["way"] == "pinned") & (stages["concurrency"] > KNEE) & stages["reference"].astype(bool)
    stages.loc[chosen, ["in_step", "arrivals_dispersion"]] = True, 8.0
    told = behind(document, "unique", "past", "pinned")
    assert "under pinned-static" in told
    assert f"C = {int(stages['concurrency'].max())}" in told
    assert "up to 8.00 times" in told
    assert behind(document, "unique", "both", "") == told
    assert behind(document, "unique", "below", "pinned") == ""
    assert behind(document, "unique", "past", "builtin") == ""


def test_a_document_of_before_there_was_the_column_says_nothing(ladders: Documents) -> None:
    documents = copy.deepcopy(ladders)
    for document in documents:
        del document["frames"]["cells"]["in_step"]
    found = judge(load(), documents)
    assert found
    assert not any("marched" in note for verdict in found for note in verdict.notes)


def test_the_report_remarks_it(tmp_path: Path) -> None:
    systems = {system.title: system for system in load_systems(write_results(tmp_path))}
    notes = find(systems["Nemotron-4-340B 1P/2D"], "unique").notes
    assert [note for note in notes if note.startswith("U" + MARCHED[1:])]
    assert not any("marched" in note for note in find(systems["Llama-3.1-70B 1P/2D"], "unique").notes)
