"""What a sweep still has to measure, and what it remembers of earlier sittings."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from trace_samples import sealed

from anarchy.errors import UserError
from anarchy.layout import cell_directory
from anarchy.plan import Cell
from anarchy.serving.stack import DeploymentFaultError, Fault
from anarchy.session import Session, attempts_at
from anarchy.sittings import SITTINGS_FILE, Sitting, note_sitting, read_sittings, recorded_start_s
from anarchy.study import open_run
from anarchy.sweep import _refuse_a_mixture, _timed, is_open
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


def test_a_start_that_failed_was_held_all_the_same(tmp_path: Path):
    sitting = Sitting("2026-01-01T00:00:00+00:00", "plan", gpus=16)
    with pytest.raises(RuntimeError, match="on purpose"), _timed(sitting, tmp_path, time.monotonic() - 30.0):
        raise RuntimeError("on purpose")
    ((_, told),) = ((s["launched_at"], s) for s in read_sittings(tmp_path, "plan"))
    assert told["gpus"] == 16
    assert 30.0 <= told["start_s"] == told["wall_s"] < 40.0


def test_the_next_start_is_predicted_from_the_recorded_ones(tmp_path: Path):
    for trial, (took, sealed_cells, engine) in enumerate(
        [(100, 3, "vllm"), (400, 0, "vllm"), (140, 1, "vllm"), (4, 9, "mocker")]
    ):
        folder = tmp_path / f"quick/raw/equilibrium/m/1p2d/static/{trial}"
        folder.mkdir(parents=True)
        note_sitting(folder, Sitting("t", "plan", start_s=took, sealed=sealed_cells, engine=engine))
    assert recorded_start_s(tmp_path, "vllm", "m") == 120.0, "the one that sealed nothing did not come up"
    assert recorded_start_s(tmp_path, "mocker", "m") == 4.0
    assert recorded_start_s(tmp_path, "vllm", "another") is None


def test_cells_of_two_devices_or_stacks_are_not_mixed(tmp_path: Path):
    plan = open_run({"tier": "smoke"}).deployments[0]
    cell = plan.cells[0]
    directory = cell_directory(tmp_path, cell.name)
    b200 = {"ai-dynamo": "1.5.1", "vllm": "0.28.0"}
    sealed(
        directory, plan_hash=cell.plan_hash, gates=GateResult(valid=True), device="NVIDIA B200", versions=b200
    )
    _refuse_a_mixture(plan, tmp_path, "NVIDIA B200", {**b200, "python": "3.12"})
    for device, versions in (("NVIDIA H200", b200), ("NVIDIA B200", {**b200, "vllm": "0.29.0"})):
        with pytest.raises(
            UserError, match=r"measured on something else: (device NVIDIA B200, now|vllm 0.28.0, now)"
        ):
            _refuse_a_mixture(plan, tmp_path, device, versions)


def test_a_refused_connection_is_told_as_the_death_behind_it():
    class Dying:
        looks = 0

        def raise_if_faulty(self) -> None:
            self.looks += 1
            if self.looks == 3:
                raise DeploymentFaultError(
                    [Fault("process_died", "frontend-static", "exited with status 137")]
                )

    session = Session.__new__(Session)
    session.deployment = Dying()  # type: ignore[assignment]
    with pytest.raises(DeploymentFaultError, match="process_died frontend-static"):
        session._tell_the_cause()


def test_no_sitting_at_all_is_no_fault(tmp_path: Path):
    assert read_sittings(tmp_path, "plan") == []
