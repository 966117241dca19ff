"""What a sweep still has to measure, and what it remembers of earlier sittings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from trace_samples import sealed

from anarchy.layout import cell_directory
from anarchy.plan import Cell
from anarchy.session import attempts_at
from anarchy.sittings import SITTINGS_FILE, Sitting, note_sitting, read_sittings
from anarchy.study import open_run
from anarchy.sweep import is_open
from anarchy.trace.schema import GateResult
from anarchy.trace.state import set_aside


@pytest.fixture
def cell() -> Cell:
    return open_run({"tier": "smoke"}).deployments[0].cells[0]


@pytest.mark.parametrize(
    ("reasons", "still_open"),
    [
        ((), False),
        (("client_bound",), True),
        (("errors", "worker_silent"), True),
        (("not_steady",), False),
        (("client_bound", "not_steady"), False),
    ],
)
def test_only_the_machine_earns_a_cell_another_attempt(
    tmp_path: Path, cell: Cell, reasons: tuple[str, ...], still_open: bool
):
    gates = GateResult(valid=not reasons, reasons=reasons)
    sealed(cell_directory(tmp_path, cell.name), plan_hash=cell.plan_hash, gates=gates)
    assert is_open(tmp_path, cell) is still_open


def test_a_cell_of_another_plan_or_none_is_open(tmp_path: Path, cell: Cell):
    assert is_open(tmp_path, cell)
    sealed(cell_directory(tmp_path, cell.name), plan_hash="another", gates=GateResult(valid=True))
    assert is_open(tmp_path, cell)


def test_attempts_are_counted_over_sittings_and_only_under_this_plan(tmp_path: Path, cell: Cell):
    directory = cell_directory(tmp_path, cell.name)
    for plan_hash in (cell.plan_hash, "another", cell.plan_hash):
        sealed(directory, plan_hash=plan_hash, gates=GateResult(valid=False, reasons=("client_bound",)))
        set_aside(directory)
    assert attempts_at(tmp_path, cell) == 2


def test_a_sitting_that_was_killed_is_known_up_to_its_last_cell(tmp_path: Path):
    sitting = Sitting("2026-01-01T00:00:00+00:00", "plan")
    note_sitting(tmp_path, sitting)
    note_sitting(tmp_path, replace(sitting, start_s=4.0, cells_s=30.0, sealed=2))
    note_sitting(tmp_path, Sitting("2026-01-02T00:00:00+00:00", "another plan", cells_s=99.0))
    with (tmp_path / SITTINGS_FILE).open("a") as file:
        file.write(json.dumps({"plan_hash": "plan"})[:-3])
    found = read_sittings(tmp_path, "plan")
    assert [(entry["wall_s"], entry["sealed"]) for entry in found] == [(34.0, 2)]


def test_no_sitting_at_all_is_no_fault(tmp_path: Path):
    assert read_sittings(tmp_path, "plan") == []
