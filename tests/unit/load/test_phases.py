"""The phases of a cell, on a clock of the test's own."""

from __future__ import annotations

import pytest

from anarchy.ground.errors import UserError
from anarchy.load.phases import PhasePlan, Phases


def plan(**changes: float) -> PhasePlan:
    fields = {"warmup_s": 2.0, "measure_s": 5.0, "measure_max_s": 20.0, "min_requests": 3} | changes
    return PhasePlan(**fields)  # type: ignore[arg-type]


def test_warm_up_waits_for_its_time_and_for_every_user() -> None:
    phases = Phases(plan(), users=2)
    phases.ended(0, phases.sent(0))
    phases.ended(1, phases.sent(1))
    assert not phases.advance(1.99)
    assert phases.advance(2.0)
    assert (phases.phase, phases.measure_start) == ("measure", 2.0)

    slow = Phases(plan(), users=2)
    slow.ended(0, slow.sent(0))
    slow.ended(0, slow.sent(0))
    assert not slow.advance(9.0), "user 1 has not finished a request"
    slow.ended(1, "warmup")
    assert slow.advance(9.5)
    assert slow.bounds_hit == []


def test_warm_up_is_bounded() -> None:
    phases = Phases(plan(warmup_max_s=4.0), users=2)
    phases.ended(0, phases.sent(0))
    assert not phases.advance(3.9)
    assert phases.advance(4.0)
    assert phases.phase == "measure"
    assert phases.bounds_hit == ["warmup_max_s"]


def warmed_up(**changes: float) -> Phases:
    phases = Phases(plan(**changes), users=1)
    phases.ended(0, phases.sent(0))
    phases.advance(2.0)
    assert phases.phase == "measure"
    return phases


def test_measure_waits_for_its_time_and_its_requests() -> None:
    phases = warmed_up()
    for _ in range(3):
        phases.ended(0, phases.sent(0))
    assert not phases.advance(6.9)
    assert phases.advance(7.0)
    assert (phases.phase, phases.measure_end, phases.measured) == ("cooldown", 7.0, 3)

    few = warmed_up()
    few.ended(0, few.sent(0))
    assert not few.advance(10.0)
    few.sent(0)
    few.sent(0)
    assert few.advance(10.1)
    assert few.bounds_hit == []


def test_measure_is_bounded() -> None:
    phases = warmed_up()
    phases.sent(0)
    assert not phases.advance(21.9)
    assert phases.advance(22.0)
    assert phases.bounds_hit == ["measure_max_s"]


def test_cool_down_keeps_sending_until_the_last_measured_request_has_ended() -> None:
    phases = warmed_up(min_requests=0)
    assert phases.sent(0) == "measure"
    assert phases.sent(0) == "measure"
    phases.advance(7.0)
    assert phases.sent(0) == "cooldown"
    phases.ended(0, "measure")
    assert not phases.advance(7.5)
    assert not phases.draining
    phases.ended(0, "measure")
    assert phases.advance(8.0)
    assert phases.draining
    assert phases.drain_start == 8.0
    assert phases.phase == "cooldown"


def test_with_nothing_under_way_all_phases_may_end_at_once() -> None:
    phases = Phases(plan(warmup_s=0.0, min_requests=0), users=1)
    phases.ended(0, phases.sent(0))
    phases.advance(0.0)
    assert phases.advance(5.0)
    assert phases.draining


def test_users_of_a_constant_cell_start_evenly_over_the_stagger() -> None:
    phases = Phases(plan(), users=4, stagger_s=2.0)
    assert [phases.opens_at(user) for user in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert phases.spans == ()


def test_length_of_the_measure_phase() -> None:
    phases = warmed_up(min_requests=0)
    assert phases.measure_s is None
    phases.advance(7.5)
    assert phases.measure_s == 5.5


def test_expected_remaining_shrinks_to_nothing() -> None:
    phases = Phases(plan(min_requests=0), users=1)
    assert phases.expected_remaining_s(0.0, 1.0) == pytest.approx(2 + 5 + 2)
    phases.ended(0, phases.sent(0))
    phases.advance(2.0)
    assert phases.expected_remaining_s(4.0, 1.0) == pytest.approx(3 + 2)
    phases.sent(0)
    phases.advance(7.0)
    assert phases.expected_remaining_s(7.0, 1.0) == pytest.approx(2)
    phases.ended(0, "measure")
    phases.advance(8.0)
    assert phases.expected_remaining_s(8.0, 1.0) == pytest.approx(1)


def test_expected_remaining_follows_the_rate_where_requests_are_few() -> None:
    phases = warmed_up(min_requests=40)
    for _ in range(10):
        phases.sent(0)
    assert phases.expected_remaining_s(6.0, 0.0) == pytest.approx(12), "10 in 4 s, 30 to go"
    assert phases.expected_remaining_s(20.0, 0.0) == pytest.approx(2), "never past the bound"


@pytest.mark.parametrize(
    "changes",
    [{"warmup_s": -1}, {"measure_s": 0}, {"min_requests": -1}, {"measure_max_s": 4}, {"warmup_max_s": 1}],
)
def test_a_plan_without_sense_is_a_user_error(changes: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        plan(**changes)
