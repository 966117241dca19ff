"""A cell in virtual time: replayed as far as its phases take, cut into rows as a live client has them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anarchy.ground.errors import UserError
from anarchy.load.phases import PhasePlan
from anarchy.load.phases import Phases as LivePhases
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.trace.schema import TRACE_SCHEMA
from anarchy.virtual.cell import Outcome, VirtualCell, simulate
from anarchy.virtual.replayer import Replayed
from tests.helpers.replays import Library

PLAN = PhasePlan(warmup_s=2.0, warmup_max_s=62.0, measure_s=4.0, measure_max_s=9.0)


def outcome(library: Any, **changes: Any) -> Outcome:
    told: dict[str, Any] = {
        "workload": Workload(WorkloadSpec(templates=2), seed=1),
        "users": 8,
        "phases": PLAN,
        "stagger_s": 0.8,
        "deadline_s": 60.0,
        "residence_s": 1.0,
        "pools": (1, 2),
        "engines": ({}, {}),
        "router": {},
        "labels": {"policy": "static", "tau": 0.0, "omega": 1.0},
    }
    return simulate(VirtualCell(**told | changes), library)


def test_rows_are_those_of_the_format_and_of_the_live_phases(tmp_path: Path) -> None:
    found = outcome(Library(tmp_path))
    assert found.table.schema == TRACE_SCHEMA
    rows = found.table.to_pandas()
    live = LivePhases(PLAN, 8, 0.8)
    for at, user, end in sorted(
        [(t, u, False) for t, u in zip(rows["t_sent"], rows["user"], strict=True)]
        + [(t, u, True) for t, u in zip(rows["t_end"], rows["user"], strict=True)]
    ):
        live.advance(at)
        if end:
            live.ended(user, "warmup")
        elif live.phase == "warmup":
            live.sent(user)
    assert live.measure_start is not None
    # The live client looks when something happens, so that its start lies on an event.
    gap = live.measure_start - found.phases.measure_start
    assert 0.0 <= gap < 0.2
    assert found.phases.measure_end == pytest.approx(found.phases.measure_start + 4.0)
    assert set(rows["phase"]) == {"warmup", "measure"}
    assert (rows["phase"] == "measure").tolist() == (rows["t_sent"] >= found.phases.measure_start).tolist()
    assert rows["t_sent"].max() < found.phases.measure_end
    assert rows["t_sent"].is_monotonic_increasing


def test_warm_up_waits_for_every_user(tmp_path: Path) -> None:
    assert outcome(Library(tmp_path, takes_s=5.0)).phases.measure_start == pytest.approx(5.0 * 1.07 + 0.7)


@pytest.mark.parametrize(("takes_s", "residence_s"), [(1.0, 30.0), (20.0, 1.0), (0.05, 1.0)])
def test_a_wrong_guess_costs_tries_and_no_rows(tmp_path: Path, takes_s: float, residence_s: float) -> None:
    """Every user's requests are known without a gap up to the end of measuring, whatever the first guess."""
    found = outcome(Library(tmp_path, takes_s=takes_s), residence_s=residence_s)
    rows = found.table.to_pandas()
    for user, own in rows.groupby("user"):
        assert np.diff(own["t_sent"]) == pytest.approx(np.full(len(own) - 1, takes_s * (1 + user / 100)))
        assert own["t_end"].max() >= found.phases.measure_end
    assert (found.tries > 1) == (residence_s == 1.0)


@pytest.mark.parametrize("think_s", [0.2, 1.0, 10.0])
def test_users_who_think_send_all_that_they_would_until_measuring_ends(
    tmp_path: Path, think_s: float
) -> None:
    """Told by hand, user after user: a user who thinks beyond the end of the replay has nothing unknown."""
    workload = Workload(WorkloadSpec(think_s=think_s), seed=1)
    found = outcome(Library(tmp_path), workload=workload)
    rows = found.table.to_pandas()
    expected = []
    for user in range(8):
        sent, turn = 0.8 * user / 8, 0
        while sent < found.phases.measure_end:
            expected.append((f"{user:04d}-{turn:06d}", pytest.approx(sent)))
            sent, turn = sent + 1.0 + user / 100 + workload.think_s(user, turn), turn + 1
    assert sorted(zip(rows["request_id"], rows["t_sent"], strict=True)) == expected
    assert found.tries == 1


def test_measuring_goes_on_for_enough_windows_and_no_longer_than_it_may(tmp_path: Path) -> None:
    more = PhasePlan(warmup_s=2.0, warmup_max_s=62.0, measure_s=4.0, measure_max_s=9.0, min_requests=50)
    found = outcome(Library(tmp_path), phases=more)
    measured = found.table.to_pandas().query("phase == 'measure'")
    assert len(measured) == 50
    assert found.phases.bounds_hit == ()
    bound = PhasePlan(warmup_s=2.0, warmup_max_s=62.0, measure_s=4.0, measure_max_s=5.0, min_requests=500)
    found = outcome(Library(tmp_path), phases=bound)
    assert found.phases.measure_end - found.phases.measure_start == pytest.approx(5.0)
    assert found.phases.bounds_hit == ("measure_max_s",)


def test_warm_up_ends_at_its_bound(tmp_path: Path) -> None:
    short = PhasePlan(warmup_s=2.0, warmup_max_s=3.0, measure_s=4.0, measure_max_s=9.0)
    found = outcome(Library(tmp_path, takes_s=5.0), phases=short)
    assert found.phases.measure_start == 3.0
    assert found.phases.bounds_hit == ("warmup_max_s",)


def test_what_a_client_would_have_cut_off_is_a_timeout(tmp_path: Path) -> None:
    rows = outcome(Library(tmp_path, takes_s=2.0), deadline_s=2.05).table.to_pandas()
    assert set(rows[rows["user"] <= 2]["status"]) == {"ok"}
    assert set(rows[rows["user"] >= 3]["status"]) == {"timeout"}


def test_users_who_never_get_through_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8 users do not get through") as caught:
        outcome(Library(tmp_path, takes_s=math.inf))
    assert "limits of the workers" in caught.value.remedy


def test_requests_that_the_engine_drops_are_refused(tmp_path: Path) -> None:
    class Dropping(Library):
        def run(self, job: Any) -> Replayed:
            told = super().run(job)
            return Replayed({**told.columns, "completed": told.columns["completed"] & False}, 0.1, 0.0)

    with pytest.raises(UserError, match="dropped") as caught:
        outcome(Dropping(tmp_path))
    assert "num_gpu_blocks" in caught.value.remedy
