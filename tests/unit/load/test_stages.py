"""The stages of a cell whose C changes, on a clock of the test's own and in a run."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anarchy.config.loads import Stage
from anarchy.load.client import run_client
from anarchy.load.report import ClientProgress
from anarchy.load.stages import START_SPREAD_S, StagedPhases
from anarchy.load.workload import Workload
from anarchy.trace.schema import RequestRecord
from tests.helpers.load_fault_server import FaultServer, Reply
from tests.helpers.load_samples import FIXED, SLOW, WORKLOAD, NotingRouter, config, late_s, run_cell

DEADLINE_S = 5.0
UP_AND_DOWN = (Stage("below", 2, 1.0, 4.0), Stage("past", 6, 2.0, 4.0), Stage("recovery", 2, 0.5, 4.0))


def at(phases: StagedPhases, now: float) -> tuple[str, int, bool]:
    phases.advance(now)
    return phases.phase, phases.stage, phases.draining


def test_each_stage_settles_and_measures() -> None:
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    assert at(phases, 0.0) == ("warmup", 0, False)
    assert at(phases, 0.99) == ("warmup", 0, False)
    assert at(phases, 1.0) == ("measure", 0, False)
    assert at(phases, 4.99) == ("measure", 0, False)
    assert at(phases, 5.0) == ("warmup", 1, False)
    assert at(phases, 7.0) == ("measure", 1, False)
    assert at(phases, 11.0) == ("warmup", 2, False)
    assert at(phases, 11.5) == ("measure", 2, False)
    assert at(phases, 15.5) == ("cooldown", 2, True), "nothing is under way"
    assert (phases.measure_start, phases.measure_end, phases.drain_start) == (1.0, 15.5, 15.5)
    assert phases.measure_s == 12.0
    assert [(s.name, s.concurrency, s.start_s, s.settled_s, s.end_s) for s in phases.spans] == [
        ("below", 2, 0.0, 1.0, 5.0),
        ("past", 6, 5.0, 7.0, 11.0),
        ("recovery", 2, 11.0, 11.5, 15.5),
    ]


def test_a_late_look_shortens_no_part() -> None:
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    assert at(phases, 9.0) == ("measure", 0, False), "settled only now, as far as anybody can tell"
    assert at(phases, 12.9) == ("measure", 0, False)
    assert at(phases, 20.0) == ("warmup", 1, False)
    assert phases.spans[0].settled_s == 9.0
    assert phases.spans[0].end_s == 20.0


def test_a_stage_may_measure_at_once() -> None:
    phases = StagedPhases((Stage("a", 1, 0.0, 1.0), Stage("b", 2, 0.0, 1.0)), DEADLINE_S)
    assert at(phases, 0.0) == ("measure", 0, False)
    assert at(phases, 1.0) == ("measure", 1, False)
    assert phases.opens_at(1) == 1.0, "nothing to spread over"


def test_users_follow_the_stage() -> None:
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    assert [phases.opens_at(user) for user in range(6)] == [0.0, 0.5, None, None, None, None]
    phases.advance(1.0)
    phases.advance(5.0)
    spread = [5.0 + START_SPREAD_S * user / 4 for user in range(4)]
    assert [phases.opens_at(user) for user in range(6)] == [0.0, 0.0, *spread]
    phases.advance(7.0)
    phases.advance(11.0)
    assert [phases.opens_at(user) for user in range(6)] == [0.0, 0.0, None, None, None, None]


def test_cool_down_keeps_the_load_until_the_last_measured_request_has_ended() -> None:
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    for now in (1.0, 5.0):
        phases.advance(now)
    assert phases.sent(0) == "warmup"
    phases.advance(7.0)
    assert phases.sent(1) == "measure"
    for now in (11.0, 11.5, 15.5):
        phases.advance(now)
    assert (phases.phase, phases.draining) == ("cooldown", False)
    assert phases.opens_at(1) == 0.0
    assert phases.opens_at(2) is None
    assert phases.sent(0) == "cooldown"
    phases.ended(0, "warmup")
    assert not phases.advance(16.0)
    phases.ended(1, "measure")
    assert phases.advance(17.0)
    assert (phases.draining, phases.drain_start, phases.measured) == (True, 17.0, 1)


def past_the_knee() -> StagedPhases:
    """The middle stage of three, just before its end at 11 s, with users 1, 4 and 5 under way."""
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    for now in (1.0, 5.0, 7.0):
        phases.advance(now)
    for user in (1, 4, 5):
        assert phases.sent(user) == "measure"
    return phases


def test_a_backlog_of_users_that_have_left_is_not_measured() -> None:
    phases = past_the_knee()
    assert at(phases, 11.0) == ("warmup", 2, False)
    phases.ended(4, "measure")
    assert at(phases, 11.5) == ("warmup", 2, False), "the planned settling is over, user 5 is not"
    assert phases.sent(0) == "warmup"
    phases.ended(5, "measure")
    assert at(phases, 13.25) == ("measure", 2, False), "user 1 is of this stage"
    assert phases.bounds_hit == []
    assert at(phases, 17.24)[0] == "measure"
    assert at(phases, 17.25)[0] == "cooldown", "what is measured is as long as planned"
    assert phases.spans[2].settled_s == 13.25


def test_settling_is_not_cut_short_by_a_backlog_that_ends_early() -> None:
    phases = past_the_knee()
    phases.advance(11.0)
    for user in (4, 5):
        phases.ended(user, "measure")
    assert at(phases, 11.49) == ("warmup", 2, False)
    assert at(phases, 11.5) == ("measure", 2, False)


def test_a_backlog_that_does_not_end_is_waited_for_no_longer_than_a_deadline() -> None:
    phases = past_the_knee()
    phases.advance(11.0)
    assert at(phases, 11.5 + DEADLINE_S - 0.01) == ("warmup", 2, False)
    assert at(phases, 11.5 + DEADLINE_S) == ("measure", 2, False)
    assert phases.bounds_hit == ["settling of recovery"]


def test_where_c_rises_nothing_is_waited_for() -> None:
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    for now in (1.0, 5.0):
        phases.sent(0)
        phases.advance(now)
    assert at(phases, 7.0) == ("measure", 1, False)


def test_expected_remaining_shrinks_to_nothing() -> None:
    phases = StagedPhases(UP_AND_DOWN, DEADLINE_S)
    assert phases.expected_remaining_s(0.0, 1.0) == pytest.approx(15.5 + 2)
    phases.advance(1.0)
    assert phases.expected_remaining_s(3.0, 1.0) == pytest.approx(12.5 + 2)
    phases.advance(5.0)
    assert phases.expected_remaining_s(6.0, 1.0) == pytest.approx(9.5 + 2)
    for now in (7.0, 11.0, 11.5):
        phases.advance(now)
    phases.sent(0)
    phases.advance(15.5)
    assert phases.expected_remaining_s(15.5, 1.0) == pytest.approx(2)
    phases.ended(0, "measure")
    phases.advance(16.0)
    assert phases.expected_remaining_s(16.0, 1.0) == pytest.approx(1)


STAGES = st.lists(
    st.builds(Stage, st.just(""), st.integers(1, 9), st.floats(0, 3), st.floats(0.1, 4)),
    min_size=1,
    max_size=5,
).map(
    lambda stages: tuple(
        Stage(f"s{n}", stage.concurrency, stage.settle_s, stage.seconds) for n, stage in enumerate(stages)
    )
)


@dataclass
class Simulated:
    """A closed loop on a model clock: users that follow the phases as the client's do."""

    phases: StagedPhases
    latency_s: float
    tick_s: float

    def run(self, until: float) -> tuple[list[tuple[int, float, str, int]], float | None]:
        """Requests (user, sending, phase, stage), and when the last of them had ended."""
        sent: list[tuple[int, float, str, int]] = []
        under_way: dict[int, tuple[float, str]] = {}
        for tick in range(round(until / self.tick_s) + 1):
            now = tick * self.tick_s
            for user, (ends, phase) in list(under_way.items()):
                if ends <= now:
                    self.phases.ended(user, phase)
                    del under_way[user]
            self.phases.advance(now)
            if self.phases.draining and not under_way:
                return sent, now
            for user in range(9):
                opens = self.phases.opens_at(user)
                if user in under_way or self.phases.draining or opens is None or opens > now:
                    continue
                phase = self.phases.sent(user)
                sent.append((user, now, phase, self.phases.stage))
                under_way[user] = (now + min(self.latency_s, DEADLINE_S), phase)
        return sent, None


@settings(max_examples=60, deadline=None)
@given(stages=STAGES, latency_s=st.floats(0.05, 8), tick_s=st.sampled_from([0.02, 0.1, 0.37]))
def test_whatever_the_stages_the_load_follows_them_and_the_cell_ends(
    stages: tuple[Stage, ...], latency_s: float, tick_s: float
) -> None:
    phases = StagedPhases(stages, DEADLINE_S)
    planned = sum(stage.settle_s + stage.seconds for stage in stages)
    # What a fall of C left under way ends by its deadline, like the last measured requests.
    bound = planned + 2 * len(stages) * tick_s + (len(stages) + 2) * DEADLINE_S + 4 * tick_s
    sent, ended = Simulated(phases, latency_s, tick_s).run(bound + 1)
    assert ended is not None, "a cell ends, also where nothing answers before the deadline"
    assert ended <= bound
    assert [span.name for span in phases.spans] == [stage.name for stage in stages]
    assert phases.bounds_hit == []
    before = 0
    for span, stage in zip(phases.spans, stages, strict=True):
        assert span.settled_s - span.start_s >= stage.settle_s
        assert span.end_s - span.settled_s >= stage.seconds
        left = max(stage.settle_s, min(latency_s, DEADLINE_S))
        settled = stage.settle_s if stage.concurrency >= before else left
        assert span.end_s - span.start_s <= settled + stage.seconds + 2 * tick_s + 1e-9
        before = stage.concurrency
        beyond = [t for user, t, _, _ in sent if user >= stage.concurrency and t < span.settled_s]
        assert all(t + min(latency_s, DEADLINE_S) <= span.settled_s + 1e-9 for t in beyond), "no backlog"
    for user, t, phase, number in sent:
        assert user < stages[number].concurrency, "only the users of the stage send"
        span = phases.spans[number]
        if phase == "measure":
            assert span.settled_s <= t < span.end_s
        elif phase == "warmup":
            assert span.start_s <= t < span.settled_s
        else:
            assert (phase, number) == ("cooldown", len(stages) - 1)
            assert t >= span.end_s
    assert phases.measured == sum(phase == "measure" for _, _, phase, _ in sent)
    spread = START_SPREAD_S + tick_s
    for number, (span, stage) in enumerate(zip(phases.spans, stages, strict=True)):
        # Whoever is active has time to finish what is under way, to start, and to send.
        if span.end_s - span.start_s > spread + min(latency_s, DEADLINE_S) + 2 * tick_s:
            active = {user for user, _, _, at_stage in sent if at_stage == number}
            assert active == set(range(stage.concurrency)), "nobody is stuck"


STEPS = (Stage("low", 2, 0.2, 0.5), Stage("high", 8, 0.2, 0.5), Stage("low again", 3, 0.2, 0.5))


def loads_of(server: FaultServer, records: list[RequestRecord]) -> list[int]:
    """Requests under way at the server at the arrival of each of these."""
    arrived = {tuple(body["prompt"]): n for n, body in enumerate(server.requests)}
    prompts = [WORKLOAD.request(r.user, int(r.request_id.split("-")[1])).prompt for r in records]
    return [server.loads[arrived[prompt]] for prompt in prompts]


def test_the_server_sees_the_stages() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=8, stages=STEPS)
    assert report.status_counts == {"ok": len(records)}
    assert [(span.name, span.concurrency) for span in report.stages] == [
        ("low", 2),
        ("high", 8),
        ("low again", 3),
    ]
    assert [span.start_s for span in report.stages] == [0.0, *(span.end_s for span in report.stages[:-1])]
    for span, stage in zip(report.stages, STEPS, strict=True):
        assert span.settled_s - span.start_s >= stage.settle_s
        assert 0 <= span.end_s - span.settled_s - stage.seconds < late_s(report)
        in_it = [r for r in records if span.settled_s <= r.t_sent < span.end_s and r.phase == "measure"]
        assert max(loads_of(server, in_it)) == stage.concurrency
        assert {record.user for record in in_it} == set(range(stage.concurrency))
    # C rises into the second stage: nothing is waited for.
    assert report.stages[1].settled_s - report.stages[1].start_s < STEPS[1].settle_s + late_s(report)
    assert report.measure_s == pytest.approx(sum(span.end_s - span.settled_s for span in report.stages))
    assert report.measured == sum(record.phase == "measure" for record in records)
    # What ends in a measured part differs from what was sent in it by what was under way at its ends.
    assert report.requests_per_s is not None
    assert report.measure_s is not None
    assert report.requests_per_s * report.measure_s == pytest.approx(report.measured, abs=2 + 8 + 3)
    by_phase = Counter(record.phase for record in records)
    assert set(by_phase) <= {"warmup", "measure", "cooldown"}
    assert len({record.request_id for record in records}) == len(records)
    assert report.reconnects == 0


def test_what_a_larger_c_left_behind_is_over_before_the_smaller_is_measured() -> None:
    stages = (Stage("high", 6, 0.1, 0.4), Stage("low", 2, 0.0, 0.4))
    with FaultServer(lambda n, body: Reply(delay=0.06)) as server:
        report, records = run_cell(server, concurrency=6, stages=stages)
    low = report.stages[1]
    backlog = [r.t_last_token for r in records if r.user >= 2]
    assert all(t is not None and t <= low.settled_s for t in backlog)
    assert low.settled_s > low.start_s, "though nothing was planned for settling"
    assert 0 <= low.end_s - low.settled_s - 0.4 < late_s(report)
    assert report.bounds_hit == ()


def test_a_parked_user_is_not_late_and_starts_spread() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=8, stages=STEPS)
    high = report.stages[1]
    for user in range(2, 8):
        first = min((r for r in records if r.user == user), key=lambda r: r.t_sent)
        opens = high.start_s + 0.2 * (user - 2) / 6
        assert opens <= first.t_intended <= first.t_sent, "parking is no schedule delay"
        assert first.t_sent < opens + late_s(report)
    # C falls to 3 and rises again: the same users come back with new requests.
    again = (*STEPS, Stage("high again", 8, 0.2, 0.5))
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=8, stages=again)
    last = report.stages[3]
    assert {r.user for r in records if r.t_sent >= last.settled_s} == set(range(8))
    assert all(r.t_intended >= last.start_s for r in records if r.user >= 3 and r.t_sent >= last.start_s)


def test_users_who_think_follow_the_stages() -> None:
    """One that leaves while it thinks sends nothing until its stage comes, and nobody holds up settling."""
    thinking = Workload(dataclasses.replace(WORKLOAD.spec, think_s=0.05), seed=3)
    stages = (Stage("high", 6, 0.2, 0.4), Stage("low", 2, 0.2, 0.4), Stage("again", 6, 0.2, 0.4))
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=6, stages=stages, workload=thinking)
    assert [span.concurrency for span in report.stages] == [6, 2, 6]
    assert report.bounds_hit == ()
    low = report.stages[1]
    for record in records:
        if low.settled_s <= record.t_sent < low.end_s:
            assert record.user < 2
        assert record.t_intended <= record.t_sent
    assert {record.user for record in records if record.t_sent >= low.end_s} == set(range(6))


def test_what_the_client_says_of_each_stage() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, records = run_cell(server, concurrency=8, stages=STEPS, dilation=2.0)
    assert len(report.stage_loads) == 3
    assert sum(load.schedule_delay.n for load in report.stage_loads) == report.measured
    assert sum(load.loop_lag.n for load in report.stage_loads) == report.loop_lag_measure.n
    for span, load in zip(report.stages, report.stage_loads, strict=True):
        measured = [r for r in records if r.phase == "measure" and span.settled_s <= r.t_sent < span.end_s]
        assert load.schedule_delay.n == len(measured)
        assert 0 < load.cpu_share < 2
    facts = report.facts()
    assert set(facts["stages"]) == {"low", "high", "low again"}
    lag = report.stage_loads[0].loop_lag.p99
    assert lag is not None
    assert facts["stages"]["low"]["loop_lag_p99_s"] == pytest.approx(2 * lag), "wall seconds"
    assert facts["measure_s"] == report.measure_s
    assert facts["report"]["stages"][0]["name"] == "low"


def test_a_constant_cell_says_nothing_of_stages() -> None:
    with FaultServer(lambda n, body: SLOW) as server:
        report, _ = run_cell(server)
    assert (report.stages, report.stage_loads) == ((), ())
    assert "stages" not in report.facts()
    assert report.measure_start_s is not None
    assert report.measure_end_s is not None
    assert report.measure_s == report.measure_end_s - report.measure_start_s


def test_a_staged_cell_ends_though_nothing_answers() -> None:
    router = NotingRouter()
    with FaultServer(lambda n, body: Reply("silent")) as server:
        started = time.monotonic()
        report, _ = run_cell(server, concurrency=8, stages=STEPS, deadline_s=0.4, router=router)
        assert time.monotonic() - started < 60, "the server would take an hour"
    assert set(report.status_counts) == {"timeout"}
    assert [span.name for span in report.stages] == ["low", "high", "low again"]
    assert sorted(router.ended_ids) == sorted(router.routed)


def test_progress_names_the_stage() -> None:
    seen: list[ClientProgress] = []
    records: list[RequestRecord] = []
    stages = tuple(Stage(stage.name, stage.concurrency, 0.6, 0.6) for stage in STEPS)
    with FaultServer(lambda n, body: SLOW) as server:
        cell = config(server.port, concurrency=8, stages=stages)
        report = run_client(cell, WORKLOAD, records.append, router=FIXED, on_progress=seen.append)
    told = list(dict.fromkeys(progress.phase for progress in seen))
    assert told[0] == "low, warmup"
    assert {"high, warmup", "high, measure"} & set(told)
    assert told[-1] == "drain"
    slowest = max(r.t_last_token - r.t_sent for r in records if r.t_last_token is not None)
    for progress in seen:  # at least what is planned, and on top no more than two requests
        assert 3.59 < progress.elapsed_s + progress.remaining_s <= report.duration_s + 2 * slowest
