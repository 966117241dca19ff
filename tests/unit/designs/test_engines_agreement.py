"""The agreement of two engines, against every combination of what a comparison can be, written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from anarchy.designs.engines.agreement import Comparison, Tolerance, agreement, over

NAN = float("nan")
SHARE = Tolerance(0.15)
RANGE = Tolerance(0.25, 2.0)
C_REF = 64


def one(
    live: float, virtual: float, tolerance: Tolerance = SHARE, absent: str = "", C: int = 16
) -> Comparison:
    return Comparison("ttft_p50", C, live, virtual, tolerance, absent)


@pytest.mark.parametrize("live", [0.2, 1.0, 3.7, 1e-3, 1e6])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_just_inside_is_inside_and_just_outside_is_not(live: float, side: float) -> None:
    assert one(live, live * (1.0 + side * 0.15)).within is True, "the edge itself"
    assert one(live, live * (1.0 + side * 0.15 * (1.0 - 1e-6))).within is True
    assert one(live, live * (1.0 + side * 0.15 * (1.0 + 1e-6))).within is False
    assert one(live, live).difference == 0.0
    assert one(live, live * (1.0 + side * 0.3)).difference == pytest.approx(side * 0.3)


@pytest.mark.parametrize(
    ("live", "virtual", "within", "allowed"),
    [
        (1.0, 3.0, True, 2.0),  # two requests, more than a quarter of one
        (1.0, 3.1, False, 2.0),
        (40.0, 50.0, True, 0.25),  # a quarter, more than two requests
        (40.0, 50.1, False, 0.25),
        (8.0, 10.0, True, 0.25),  # both the same
        (8.0, 5.99, False, 0.25),
    ],
)
def test_the_larger_of_a_share_and_some_requests_counts(
    live: float, virtual: float, within: bool, allowed: float
) -> None:
    found = one(live, virtual, RANGE)
    assert found.within is within
    assert found.allowed == pytest.approx(allowed)


def test_a_live_0_is_compared_only_where_the_unit_of_the_quantity_decides() -> None:
    assert one(0.0, 1.9, RANGE).within is True
    assert one(0.0, 2.1, RANGE).within is False
    assert one(0.0, 2.1, RANGE).difference is None
    assert one(0.0, 2.1, RANGE).allowed is None
    assert one(0.0, 0.0).within is None
    assert one(0.0, 0.0).reason == one(-1.0, 1.0).reason == "live is not above 0"


@pytest.mark.parametrize(
    ("live", "virtual", "reason"),
    [
        (NAN, 1.0, "no number: live"),
        (1.0, NAN, "no number: virtual"),
        (NAN, NAN, "no number: live and virtual"),
        (math.inf, 1.0, "no number: live"),
        (1.0, -math.inf, "no number: virtual"),
    ],
)
def test_what_is_no_number_is_not_compared(live: float, virtual: float, reason: str) -> None:
    found = one(live, virtual)
    assert (found.within, found.difference, found.allowed) == (None, None, None)
    assert found.reason == reason


def test_a_cell_that_does_not_count_is_not_compared_whatever_its_numbers() -> None:
    found = one(1.0, 1.0, absent="live: client_bound")
    assert (found.within, found.difference, found.reason) == (None, None, "live: client_bound")


KINDS: dict[str, tuple[float, float, str]] = {
    "inside": (1.0, 1.14, ""),
    "outside": (1.0, 0.84, ""),
    "nan": (1.0, NAN, ""),
    "invalid": (1.0, 1.0, "live: errors"),
}
GRID = (16, C_REF, C_REF + 1, 192)


def test_every_combination_over_a_grid() -> None:
    """The last two C lie past C_ref; a kind `missing` is a C that was not planned at all."""
    for kinds in itertools.product([*KINDS, "missing"], repeat=len(GRID)):
        planned = [(C, kind) for C, kind in zip(GRID, kinds, strict=True) if kind != "missing"]
        compared = [Comparison("ttft_p50", C, *KINDS[kind][:2], SHARE, KINDS[kind][2]) for C, kind in planned]
        found = agreement("unique", "unique prompts", compared, C_REF)
        assert_told(found, planned)
        assert_told(found["below"], [one for one in planned if one[0] <= C_REF])
        assert_told(found["past"], [one for one in planned if one[0] > C_REF])


def assert_told(told: dict[str, Any], mine: list[tuple[int, str]]) -> None:
    """A range tells just what was planned in it."""
    assert told["within"] is expected(mine), mine
    made = [C for C, kind in mine if kind in ("inside", "outside")]
    assert told["concurrency"] == ([min(made), max(made)] if made else None)
    assert [one["concurrency"] for one in told["outside"]] == [C for C, kind in mine if kind == "outside"]
    assert [(one["concurrency"], one["reason"]) for one in told["not_compared"]] == [
        (C, "live: errors" if kind == "invalid" else "no number: virtual")
        for C, kind in mine
        if kind in ("nan", "invalid")
    ]


def expected(mine: list[tuple[int, str]]) -> bool | None:
    kinds = {kind for _, kind in mine}
    if "outside" in kinds:
        return False
    return True if kinds == {"inside"} else None


def test_what_is_outside_says_by_how_much_and_what_it_may_be() -> None:
    (told,) = over([one(2.0, 3.0)])["outside"]
    expected: dict[str, Any] = {
        "quantity": "ttft_p50",
        "concurrency": 16,
        "difference": pytest.approx(0.5),
        "tolerance": pytest.approx(0.15),
    }
    assert told == expected


def test_nothing_planned_is_not_known() -> None:
    assert over([]) == {"concurrency": None, "within": None, "outside": [], "not_compared": []}


@pytest.mark.parametrize(
    ("virtual", "interval", "within"),
    [
        (1.1, (-0.5, 0.9), True),  # inside is inside, however noisy
        (1.3, (0.16, 0.5), False),  # all of the interval is outside
        (1.3, (0.14, 0.5), None),  # some of it is inside: noise alone may do that
        (0.7, (-0.5, -0.16), False),
        (0.7, (-0.5, -0.10), None),
        (0.1, (-1.0, math.inf), None),  # live may be 0
        (1.3, None, False),  # nobody knows the noise: the point decides
    ],
)
def test_what_noise_alone_may_do_is_left_open(
    virtual: float, interval: tuple[float, float] | None, within: bool | None
) -> None:
    found = Comparison("ttft_p50", 16, 1.0, virtual, SHARE, interval=interval)
    assert found.within is within
    assert bool(found.open) == (within is None)
    whole = over([found, one(1.0, 1.0)])
    assert whole["within"] is within
    assert [each["reason"][:9] for each in whole["not_compared"]] == (["too noisy"] if within is None else [])
    assert len(whole["outside"]) == (within is False)
