"""Growth of PoA-hat, beside the levels that it never decides."""

from __future__ import annotations

from typing import Any

import pytest

from anarchy.claims.growth import GROWTH, REACHES, reaches
from tests.unit.claims.test_claims import System, all_systems, verdict_on

POINTS = [(64, 1.0), (128, 2.0), (256, 8.0), (512, 32.0)]


def points(half: float = 0.0) -> list[dict[str, Any]]:
    return [
        {"concurrency": C, "value": value, "lo": value * (1 - half), "hi": value * (1 + half)}
        for C, value in POINTS
    ]


def grown(value: float, half: float = 0.05, level: float = 1.0) -> list[System]:
    """Systems whose plateau has this level, and that grow by so much up to C = 512."""
    systems = all_systems()
    for each in systems:
        found = each["workloads"]["unique"]
        found["plateau"] |= {"poa_hat": level, "lo": level * 0.98, "hi": level * 1.02}
        share = value / 32.0
        found["rises"] = [
            {"concurrency": p["concurrency"], **{k: max(1.0, p[k] * share) for k in ("value", "lo", "hi")}}
            for p in points(half)
        ]
        found["rise"] = {key: found["rises"][-1][key] for key in ("value", "lo", "hi")}
    return systems


@pytest.mark.parametrize(
    ("level", "C"), [(4.0, 128 * 2**0.5), (2.0, 128.0), (1.0, 64.0), (0.5, 64.0), (32.0, 512.0), (33.0, None)]
)
def test_a_growth_is_reached_between_grid_points_in_log_log(level: float, C: float | None) -> None:
    found = reaches(points(), level)
    assert found == (C if C is None else pytest.approx(C))


def test_a_growth_that_is_not_known_is_not_reached() -> None:
    assert reaches([], 2.0) is None
    assert reaches([*points()[:1], {"concurrency": 128, "value": float("nan")}, *points()[2:]], 4.0) is None


@pytest.mark.parametrize(
    ("value", "outcome", "word"),
    [
        (13.0, "reproduced", "lies inside [10.7, 16.5]"),
        (5.0, "inconclusive", "lies outside [10.7, 16.5]"),
        (11.0, "inconclusive", "partly inside"),
        (32.0, "inconclusive", "passes through that range between C = 296 and 368"),
    ],
)
@pytest.mark.parametrize("claim", ["C3", "C7"])
def test_growth_is_held_against_that_of_the_340b(claim: str, value: float, outcome: str, word: str) -> None:
    verdict = verdict_on(claim, grown(value))
    of_340b, *others = [part for part in verdict.parts if part.quantity == GROWTH]
    assert of_340b.verdict == outcome
    assert of_340b.measured == pytest.approx(value)
    assert word in of_340b.reason
    assert "if C7's values are of the 340B, which we do not know" in of_340b.notes[0]
    assert of_340b.published == (10.7, 16.5)
    assert {part.published for part in others} == {None}
    assert {part.verdict for part in others} == {"inconclusive"}, "no growth of theirs is published"


@pytest.mark.parametrize("value", [5.0, 13.0, 32.0])
def test_growth_turns_no_level(value: float) -> None:
    verdict = verdict_on("C3", grown(value))
    assert verdict.verdict == "not reproduced"
    assert "of 3 systems: 3 not reproduced; other values stand beside it" in verdict.reason
    reproduced = [part for part in verdict_on("C3", grown(value, level=12.0)).parts if not part.aside]
    assert [part.verdict for part in reproduced] == ["not reproduced", "reproduced", "reproduced"]


def test_where_growth_gets_there_has_its_interval() -> None:
    verdict = verdict_on("C7", grown(32.0, half=0.1))
    first, second = [part for part in verdict.parts if part.system.startswith("Nemotron") and part.aside][1:]
    assert (first.quantity, second.quantity) == (REACHES.format("10.7"), REACHES.format("16.5"))
    ends = [first.lo, first.measured, first.hi, second.hi]
    known = [end for end in ends if end is not None]
    assert len(known) == len(ends)
    assert known == sorted(known)
    never = [part for part in verdict_on("C7", grown(5.0)).parts if part.quantity == REACHES.format("10.7")]
    assert [part.measured for part in never] == [None] * 3
    assert never[0].reason == "never up to C = 512"
