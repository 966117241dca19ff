"""Which of a claim's verdicts stands for it, and how the values are told in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from anarchy.claims.model import OUTCOMES
from anarchy.claims.scoreboard import counts, headline, of_paper, scoreboard


def verdict(outcome: str = "reproduced", **changes: Any) -> dict[str, Any]:
    return {
        "id": "C4", "claim": "long", "sentence": "Short.", "published": "p", "verdict": outcome,
        "reason": "r",
        "workload": "unique", "workload_title": "unique prompts", "way": "builtin", "engine": "simulated",
        "parts": [], **changes,
    }  # fmt: skip


def part(measured: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "system": "s",
        "quantity": "q",
        "measured": measured,
        "lo": 1.0,
        "hi": 3.0,
        "aside": False,
        **changes,
    }


def test_the_workload_with_a_knee_and_dynamos_router_stand_for_a_claim() -> None:
    pinned = verdict("inconclusive", way="pinned")
    hot = verdict("not reproduced", workload="hot", workload_title="one hot")
    (tile,) = scoreboard([hot, pinned, verdict()])
    assert (tile.verdict, tile.sentence, tile.engine) == ("reproduced", "Short.", "simulated")
    assert tile.others == (
        "one hot, Dynamo's router, simulated: not reproduced",
        "unique prompts, pinned router, simulated: inconclusive",
    )


def test_what_was_measured_alone_stands_where_nothing_better_was() -> None:
    (tile,) = scoreboard([verdict("inconclusive", workload="hot", way="pinned")])
    assert (tile.verdict, tile.others) == ("inconclusive", ())


def test_engines_that_do_not_agree_leave_it_open() -> None:
    (tile,) = scoreboard([verdict(), verdict("not reproduced", engine="B200")])
    assert tile.verdict == "inconclusive"
    conditions = "unique prompts, Dynamo's router"
    assert tile.reason == (
        f"engines do not agree, {conditions}, simulated: reproduced; {conditions}, B200: not reproduced"
    )
    assert scoreboard([verdict(), verdict(engine="B200")])[0].verdict == "reproduced"


def test_workloads_that_do_not_agree_leave_it_open_where_none_stands_before_the_others() -> None:
    found = [
        verdict(outcome, workload=f"set-{number}", workload_title=f"set {number}", way="")
        for number, outcome in enumerate(("reproduced", "not reproduced"))
    ]
    for verdicts in (found, found[::-1]):
        (tile,) = scoreboard(verdicts)
        assert (tile.verdict, tile.measured, tile.others) == ("inconclusive", "", ())
        assert tile.reason.startswith("workloads do not agree, set ")
        assert "set 0, simulated: reproduced" in tile.reason
    assert scoreboard([found[0], {**found[0], "workload": "set-2"}])[0].verdict == "reproduced"
    assert headline(found) == found[:1]


def test_what_was_not_tested_stands_for_nothing_that_was() -> None:
    none = verdict("not testable here", workload="", way="", engine="")
    (tile,) = scoreboard([none, verdict("inconclusive", workload="hot")])
    assert tile.verdict == "inconclusive"
    assert scoreboard([none])[0].verdict == "not testable here"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([part(2.0)], "q: 2.00 [1.00, 3.00]"),
        ([part(2.0), part(9.0), part(4.0)], "q: 2.00 to 9.00 (3 systems)"),
        ([part(2.0), part(9.0, aside=True)], "q: 2.00 [1.00, 3.00]"),
        ([part(2.0), part(7.0, quantity="r", lo=None, hi=None)], "q: 2.00 [1.00, 3.00]; r: 7.00"),
        ([part(None)], ""),
    ],
)
def test_values_in_a_few_words(parts: list[dict[str, Any]], words: str) -> None:
    assert scoreboard([verdict(parts=parts)])[0].measured == words


def test_what_the_paper_did_not_measure_is_beside_its_claims() -> None:
    tiles = scoreboard([verdict(id="C1"), verdict(id="P1"), verdict(id="Q1")])
    assert [tile.id for tile in of_paper(tiles)] == ["C1"]


def test_every_outcome_is_counted() -> None:
    tiles = scoreboard([verdict(id="C1"), verdict("inconclusive", id="C2"), verdict(id="C3")])
    found = counts(tiles)
    assert list(found) == list(OUTCOMES)
    assert found["reproduced"] == ["C1", "C3"]
    assert found["not testable here"] == []
