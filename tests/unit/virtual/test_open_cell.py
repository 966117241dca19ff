"""A cell of an open loop: its phases, its rows and what it asks of the library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anarchy.load.phases import PhasePlan
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.trace.schema import TRACE_SCHEMA
from anarchy.virtual.cell import Outcome, VirtualCell
from anarchy.virtual.open_cell import open_phases, simulate_open
from tests.helpers.replays import Library

PLAN = PhasePlan(warmup_s=2.0, measure_s=4.0, measure_max_s=9.0)
RATE = 50.0


def outcome(library: Any, plan: PhasePlan = PLAN, **changes: Any) -> Outcome:
    told: dict[str, Any] = {
        "workload": Workload(WorkloadSpec(templates=2), seed=1),
        "users": 8,
        "phases": plan,
        "stagger_s": 0.0,
        "deadline_s": 60.0,
        "residence_s": 1.0,
        "pools": (1, 2),
        "engines": ({}, {}),
        "router": {},
        "labels": {"policy": "static", "tau": 0.0, "omega": 1.0},
    }
    return simulate_open(VirtualCell(**told | changes), RATE, library)


def test_rows_are_all_that_came_before_measuring_ended(tmp_path: Path) -> None:
    library = Library(tmp_path)
    found = outcome(library)
    assert found.table.schema == TRACE_SCHEMA
    rows = found.table.to_pandas()
    assert (found.phases.measure_start, found.phases.measure_end) == (2.0, 6.0)
    assert set(rows["phase"]) == {"warmup", "measure"}
    assert (rows["phase"] == "measure").tolist() == (rows["t_sent"] >= 2.0).tolist()
    assert rows["t_sent"].max() < 6.0
    assert rows["t_sent"].is_monotonic_increasing
    assert len(rows) == pytest.approx(RATE * 6.0, rel=0.2)
    asked = library.jobs[0].trace.read_text().splitlines()
    assert len(asked) - 1 == pytest.approx(RATE * 8.0, rel=0.2), "the load lasts two requests longer"


def test_requests_come_however_many_wait(tmp_path: Path) -> None:
    """A request takes 30 s or more: 300 are in flight, although C is 8."""
    rows = outcome(Library(tmp_path, takes_s=30.0), deadline_s=200.0).table.to_pandas()
    assert len(rows) > 200
    assert (rows["t_end"] > rows["t_sent"].max()).all()
    gaps = np.diff(rows["t_sent"])
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(1.0, abs=0.15), "as by chance"


def test_a_seed_and_nothing_else_decides_when_they_come(tmp_path: Path) -> None:
    workloads = [Workload(WorkloadSpec(templates=2), seed=seed) for seed in (1, 1, 2)]
    sent = [outcome(Library(tmp_path), workload=workload) for workload in workloads]
    first, again, other = (one.table.column("t_sent").to_pylist() for one in sent)
    assert first == again
    assert first[:5] != other[:5]


@pytest.mark.parametrize(
    ("asked", "end", "bounds"), [(3, 6.0, ()), (6, 7.0, ()), (9, 11.0, ("measure_max_s",))]
)
def test_measuring_goes_on_until_enough_have_come(asked: int, end: float, bounds: tuple[str, ...]) -> None:
    """One a second from 0.0 on; measuring begins at 2 s and lasts 4 to 9 s."""
    plan = dataclasses.replace(PLAN, min_requests=asked)
    times = np.arange(8 if asked == 9 else 20, dtype=np.float64)
    found = open_phases(times, plan)
    assert found.measure_end == pytest.approx(end)
    assert found.bounds_hit == bounds
