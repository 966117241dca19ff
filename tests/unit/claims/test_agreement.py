"""Verdicts of two runs: what agrees stands, what does not is inconclusive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anarchy.claims import read
from anarchy.claims.agreement import pair_verdicts
from anarchy.cli.main import main
from anarchy.ground.errors import UserError


def verdict(claim: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"id": claim, "workload": "unique", "way": "", "engine": "simulated", "verdict": outcome, **more}


FIRST = [
    verdict("C1", "reproduced"),
    verdict("C4", "reproduced", way="builtin"),
    verdict("C11", "inconclusive"),
]
SECOND = [
    verdict("C1", "reproduced"),
    verdict("C4", "not reproduced", way="builtin"),
    verdict("C13", "reproduced"),
]


def test_what_seeds_disagree_about_is_decided_by_neither() -> None:
    found = {pair.id: (pair.agrees, pair.together) for pair in pair_verdicts(FIRST, SECOND)}
    assert found == {
        "C1": (True, "reproduced"),
        "C4": (False, "inconclusive"),
        "C11": (None, "inconclusive"),
        "C13": (None, "inconclusive"),
    }


def test_ways_workloads_and_engines_are_held_apart() -> None:
    other = verdict("C1", "not reproduced", engine="simulated in virtual time")
    assert [pair.agrees for pair in pair_verdicts([FIRST[0]], [other])] == [None, None]


def test_the_command_tells_how_many_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder, found in zip(folders, (FIRST, SECOND), strict=True):
        folder.mkdir()
        (folder / "claims.json").write_text(json.dumps(found))
    assert main(["compare", "--verdicts", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    assert "| C4 | unique | builtin | simulated | reproduced | not reproduced | inconclusive |" in said
    assert "1 of 2 verdicts agree; what disagrees is inconclusive." in said
    assert "2 more were judged in one run alone." in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ("{}", "is no list of verdicts"),
        ('[{"id": 1}]', "is no list"),
    ],
)
def test_what_is_no_file_of_verdicts(tmp_path: Path, text: str | None, what: str) -> None:
    if text is not None:
        (tmp_path / "claims.json").write_text(text)
    with pytest.raises(UserError, match="anarchy claims") as refused:
        read(tmp_path / "claims.json")
    assert what in str(refused.value)
