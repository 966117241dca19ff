"""What must hold of the detector on every series of polls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anarchy.control.detector import Decision, Detector, DetectorState, Regime, polls_to_cross, smooth
from anarchy.control.observation import Observation

RELAXED = settings(max_examples=200, deadline=None)
seconds = st.floats(1e-3, 1e3)
weights = st.floats(0.05, 1.0)


@st.composite
def detectors(draw: st.DrawFn) -> Detector:
    theta1 = draw(st.floats(0.01, 10.0))
    return Detector(
        theta1,
        theta1 * draw(st.floats(1.01, 30.0)),
        weight=draw(weights),
        confirm=draw(st.integers(1, 5)),
        hysteresis=draw(st.floats(0.0, 0.9)),
        forget=draw(st.integers(1, 8)),
    )


def seen(p99: float | None) -> Observation:
    missing = p99 is None
    return Observation(0.0, 5.0, None if missing else 100, p99, reason="away" if missing else "")


def follow(
    detector: Detector, p99s: Sequence[float | None], state: DetectorState | None = None
) -> list[tuple[DetectorState, Decision]]:
    """States and decisions of a series of polls."""
    state = state or DetectorState()
    steps = []
    for p99 in p99s:
        state, decision = detector.step(state, seen(p99))
        steps.append((state, decision))
    return steps


@RELAXED
@given(detectors(), st.lists(st.one_of(st.none(), seconds), max_size=60))
def test_no_switch_on_fewer_than_k_confirming_polls(detector: Detector, p99s: Sequence[float | None]) -> None:
    ewmas: list[float] = []
    regime = Regime.BELOW
    for state, decision in follow(detector, p99s):
        if decision.forgot:
            ewmas = []
        if decision.verdict != "missing":
            assert state.ewma is not None
            ewmas.append(state.ewma)
        assert decision.before is regime
        assert (decision.verdict == "switch") == (decision.regime is not regime)
        if decision.regime > regime:
            theta = detector.rise[decision.regime - 1]
            assert len(ewmas) >= detector.confirm
            assert all(ewma > theta for ewma in ewmas[-detector.confirm :])
        elif decision.regime < regime:
            theta = detector.fall[decision.regime]
            assert len(ewmas) >= detector.confirm
            assert all(ewma < theta for ewma in ewmas[-detector.confirm :])
        regime = decision.regime


@RELAXED
@given(detectors(), st.data())
def test_noise_inside_a_hysteresis_band_never_switches(detector: Detector, data: st.DataObject) -> None:
    which = data.draw(st.sampled_from([0, 1]))
    low, high = detector.fall[which], detector.rise[which]
    p99s = data.draw(st.lists(st.floats(low, high), min_size=1, max_size=60))
    # The two regimes on either side of this threshold; where the bands overlap the other threshold may act.
    assume(which == 0 or low >= detector.theta1)
    assume(which == 1 or high <= detector.fall[1])
    for regime in (Regime(which), Regime(which + 1)):
        start = DetectorState(regime, data.draw(st.floats(low, high)))
        assert {state.regime for state, _ in follow(detector, p99s, start)} == {regime}


@RELAXED
@given(detectors(), st.floats(1e-3, 1.0), st.floats(1.001, 1e3))
def test_a_step_in_load_is_detected_after_exactly_as_many_polls_as_the_formula_says(
    detector: Detector, below: float, above: float
) -> None:
    start, level = detector.theta1 * below, detector.theta1 * above
    assume(not_a_tie(start, level, detector.theta1, detector.weight))
    crossing = polls_to_cross(start, level, detector.theta1, detector.weight)
    assert crossing is not None
    bound = crossing + detector.confirm - 1
    steps = follow(detector, [level] * bound, DetectorState(Regime.BELOW, start))
    assert [state.regime > Regime.BELOW for state, _ in steps] == [False] * (bound - 1) + [True]


@RELAXED
@given(detectors(), st.lists(seconds, max_size=30), st.floats(1e-3, 0.9))
def test_it_recovers_after_load_falls_within_the_formula(
    detector: Detector, before: list[float], share: float
) -> None:
    steps = follow(detector, before)
    state = steps[-1][0] if steps else DetectorState()
    start = state.ewma if state.ewma is not None else 1e3
    level = detector.fall[0] * share
    assume(not_a_tie(start, level, detector.fall[0], detector.weight))
    crossing = polls_to_cross(start, level, detector.fall[0], detector.weight)
    assert crossing is not None
    bound = crossing + detector.confirm - 1
    after = follow(detector, [level] * bound, DetectorState(Regime.SATURATED, start))
    assert after[-1][0].regime is Regime.BELOW


def not_a_tie(start: float, level: float, threshold: float, weight: float) -> bool:
    """Whether rounding cannot decide at which poll the threshold is crossed."""
    if start == level or weight == 1.0:
        return True
    gap = (level - threshold) / (level - start)
    if gap <= 0 or gap >= 1 - 1e-9:
        return not 0 < abs(gap - 1) < 1e-9
    polls = math.log(gap) / math.log1p(-weight)
    return abs(polls - round(polls)) > 1e-6 and polls < 2000


@RELAXED
@given(detectors(), st.lists(seconds, max_size=20), st.integers(1, 30))
def test_missing_polls_never_switch_and_forget_only_as_told(
    detector: Detector, p99s: Sequence[float | None], gap: int
) -> None:
    steps = follow(detector, p99s)
    start = steps[-1][0] if steps else DetectorState()
    missed = follow(detector, [None] * gap, start)
    assert {state.regime for state, _ in missed} == {start.regime}
    assert {decision.verdict for _, decision in missed} == {"missing"}
    forgets = [decision.forgot for _, decision in missed]
    assert sum(forgets) == (start.ewma is not None and gap >= detector.forget)
    if not any(forgets):
        assert (missed[-1][0].ewma, missed[-1][0].above, missed[-1][0].under) == (
            start.ewma,
            start.above,
            start.under,
        )


@RELAXED
@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), weights)
def test_the_average_never_leaves_what_it_averages(ewma: float, p99: float, weight: float) -> None:
    assert min(ewma, p99) <= smooth(ewma, p99, weight) <= max(ewma, p99)
