"""The detector's rules one by one, and every setting that it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from anarchy.control.detector import PARAMETERS, Detector, DetectorState, Regime, polls_to_cross
from anarchy.control.observation import Observation
from anarchy.control.thresholds import Multiples, baseline
from anarchy.ground.errors import UserError

PLAIN = Detector(1.0, 10.0, weight=1.0)  # without averaging, so that a P99 is its own EWMA


def seen(p99: float | None) -> Observation:
    return Observation(0.0, 5.0, None, p99, reason="" if p99 is not None else "away")


def regimes(detector: Detector, *p99s: float | None, start: Regime = Regime.BELOW) -> str:
    """First letters of the regimes after each poll."""
    state, letters = DetectorState(start), ""
    for p99 in p99s:
        state, _ = detector.step(state, seen(p99))
        letters += state.regime.word[0]
    return letters


def test_the_paper_s_parameters() -> None:
    assert [tuple(PARAMETERS[regime]) for regime in Regime] == [(0.0, 1.0), (0.7, 1.0), (0.8, 0.1)]
    assert [regime.word for regime in Regime] == ["below", "transition", "saturated"]


def test_three_consecutive_polls_confirm_and_two_do_not() -> None:
    assert regimes(PLAIN, 2, 2, 2) == "bbt"
    assert regimes(PLAIN, 2, 2, 0.5, 2, 2, 0.5) == "bbbbbb"


def test_a_threshold_must_be_passed_and_not_only_reached() -> None:
    assert regimes(PLAIN, 1, 1, 1, 1) == "bbbb"
    assert regimes(PLAIN, 0.8, 0.8, 0.8, start=Regime.TRANSITION) == "ttt"
    assert regimes(PLAIN, 0.79, 0.79, 0.79, start=Regime.TRANSITION) == "ttb"


def test_straight_to_the_regime_that_all_k_polls_support() -> None:
    assert regimes(PLAIN, 20, 20, 20) == "bbs"
    assert regimes(PLAIN, 2, 20, 20, 20) == "bbts"
    assert regimes(PLAIN, 0.1, 0.1, 0.1, start=Regime.SATURATED) == "ssb"
    assert regimes(PLAIN, 5, 0.1, 0.1, 0.1, start=Regime.SATURATED) == "sstb"


def test_missing_polls_neither_confirm_nor_break_a_run() -> None:
    assert regimes(PLAIN, 2, None, 2, None, None, 2) == "bbbbbt"


def test_a_long_absence_starts_anew_and_says_so() -> None:
    assert regimes(PLAIN, 2, 2, *[None] * 6, 2, 2, 2) == "b" * 10 + "t"
    state = DetectorState(Regime.TRANSITION, 2.0, (5, 0), (0, 5))
    told = []
    for _ in range(8):
        state, decision = PLAIN.step(state, seen(None))
        told.append(decision)
    assert [decision.forgot for decision in told] == [False] * 5 + [True] + [False] * 2
    assert "6 polls without a P99" in told[5].reason
    assert state == DetectorState(Regime.TRANSITION, missing=8)


def test_decisions_are_told_in_words() -> None:
    state, decision = PLAIN.step(DetectorState(), seen(2.0))
    assert (decision.verdict, decision.reason) == ("confirming", "EWMA 2 s above theta1's 1 s: 1 of 3 polls")
    for _ in range(2):
        state, decision = PLAIN.step(state, seen(2.0))
    assert (decision.verdict, decision.reason) == ("switch", "EWMA 2 s above theta1's 1 s for 3 polls")
    _, decision = PLAIN.step(state, seen(2.0))
    assert (decision.verdict, decision.reason) == ("steady", "EWMA 2 s")


def test_the_delay_s_formula_by_hand() -> None:
    assert polls_to_cross(0.0, 2.0, 1.0, 0.5) == 2  # 1.0 is not above 1.0; 1.5 is
    assert polls_to_cross(0.0, 2.0, 1.0, 1.0) == 1
    assert polls_to_cross(100.0, 0.1, 0.8, 0.5) == 8
    assert polls_to_cross(5.0, 3.0, 1.0, 0.5) == 1  # already past
    assert polls_to_cross(0.0, 1.0, 1.0, 0.5) is None


@pytest.mark.parametrize(
    "settings",
    [{"theta1": 10.0, "theta2": 1.0}, {"theta1": 1.0, "theta2": 1.0}, {"theta1": 0.0}, {"theta1": -1.0},
     {"theta1": math.nan}, {"theta2": math.nan}, {"theta2": math.inf}, {"weight": 0.0}, {"weight": 1.01},
     {"weight": math.nan}, {"confirm": 0}, {"hysteresis": -0.1}, {"hysteresis": 1.0},
     {"hysteresis": math.nan}, {"forget": 0}],
)  # fmt: skip
def test_settings_without_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="remedy:") as refused:
        Detector(**{"theta1": 1.0, "theta2": 10.0, **settings})
    assert refused.value.where == "controller"


@pytest.mark.parametrize(
    "settings", [(1.0, 10.0), (3.0, 3.0), (30.0, 3.0), (math.nan, 3.0), (3.0, math.inf), (3.0, 30.0, 0)]
)
def test_multiples_without_sense_are_refused(settings: tuple[Any, ...]) -> None:
    with pytest.raises(UserError, match="remedy:"):
        Multiples(*settings)


def test_thresholds_are_multiples_of_the_median() -> None:
    assert baseline([0.1, 0.3, 9.0]) == 0.3
    assert Multiples(2.0, 20.0).thresholds([0.1, 0.3, 9.0]) == (0.6, 6.0)
    with pytest.raises(UserError, match="baseline TTFT P99 is 0 s"):
        Multiples().thresholds([0.0])


@pytest.mark.parametrize(("p99", "reason"), [(math.nan, ""), (-1.0, ""), (1.0, "away"), (None, "")])
def test_an_observation_is_a_p99_or_a_reason(p99: float | None, reason: str) -> None:
    with pytest.raises(ValueError, match="P99"):
        Observation(0.0, 5.0, 1, p99, reason=reason)
