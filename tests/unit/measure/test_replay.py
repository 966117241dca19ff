"""A deployment in virtual time, with a library of the test's own: sealed cell by cell, packed, resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anarchy.ground.errors import UserError
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE, cell_directory
from anarchy.measure import replay, sweep
from anarchy.plan.launches import UnboundDeployment
from anarchy.plan.workbench import Workbench, open_run
from anarchy.trace import packed
from anarchy.trace.packed import packed_names
from anarchy.trace.reader import read_cell, sealed_cells
from anarchy.trace.writer import seal
from anarchy.virtual.cell import simulate
from anarchy.virtual.errors import CellError
from anarchy.virtual.replayer import Job, Replayed, ReplayError
from tests.helpers.replays import Library

CHOICES = {
    "experiments": "equilibrium", "tier": "smoke", "engine": "virtual", "models": "llama-3.1-70b",
    "topologies": "1p2d",
}  # fmt: skip


class Process(Library):
    """The library in the place of its process; it may fail at a job."""

    fails_at: int | None = None
    started: int = 0
    alone: bool = False
    """Whether the first decode worker takes every request."""
    scratch: Path

    def __init__(self, python: Path, log: Path, scratch: Path) -> None:
        type(self).scratch = scratch
        super().__init__(log.parent)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, job: Job) -> Replayed:
        type(self).started += 1
        if self.started == self.fails_at:
            raise ReplayError("the library's process ended with signal 11")
        told = super().run(job)
        if self.alone:
            told.columns["decode_worker_idx"][:] = 0
        return told


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workbench, UnboundDeployment, Path]:
    monkeypatch.setattr(replay, "Replayer", Process)
    monkeypatch.setattr(replay, "library_versions", lambda *_: {"ai-dynamo-runtime": "1.5.1"})
    monkeypatch.setattr(
        replay, "prove", lambda _, policies, *__: {policy.name: {"ok": True} for policy in policies}
    )
    monkeypatch.setattr(sweep, "check_serving", lambda *_: None)
    monkeypatch.setattr(Process, "fails_at", None)
    monkeypatch.setattr(Process, "started", 0)
    monkeypatch.setattr(Process, "alone", False)
    bench = open_run({**CHOICES, "results": str(tmp_path)})
    (deployment,) = bench.deployments
    return bench, deployment, bench.folder(deployment)


def test_all_cells_of_a_deployment_become_one_file(opened: tuple[Any, ...]) -> None:
    bench, deployment, folder = opened
    sweep.sweep(bench, deployment)
    plan = bench.bound(deployment)
    assert sorted(packed_names(folder)) == sorted(cell.name for cell in plan.cells)
    assert list((folder / "cells").iterdir()) == []
    assert Process.scratch == folder, "where a sweep clears away what a kill left"
    for cell in plan.cells:
        trace = read_cell(cell_directory(folder, cell.name))
        assert trace.manifest.plan_hash == cell.plan_hash
        assert trace.manifest.gates is not None
        assert trace.manifest.gates.valid
        assert trace.manifest.versions["ai-dynamo-runtime"] == "1.5.1"
    started = Process.started
    sweep.sweep(bench, deployment)
    assert Process.started == started, "nothing is left to replay"


def test_a_crash_costs_its_cell_and_the_next_call_replays_that_alone(opened: tuple[Any, ...]) -> None:
    bench, deployment, folder = opened
    Process.fails_at = 3
    with pytest.raises(UserError, match="1 of 6 cells could not be replayed") as caught:
        sweep.sweep(bench, deployment)
    assert "signal 11" in caught.value.what
    kept = {cell.name: read_cell(cell).manifest.started_at for cell in sealed_cells(folder)}
    assert len(kept) == 5
    assert packed_names(folder) == ()
    Process.fails_at = None
    sweep.sweep(bench, deployment)
    assert len(packed_names(folder)) == 6
    for name, started_at in kept.items():
        assert read_cell(cell_directory(folder, name)).manifest.started_at == started_at


def test_a_packing_that_was_killed_is_gone_on_with(opened: tuple[Any, ...]) -> None:
    bench, deployment, folder = opened
    sweep.sweep(bench, deployment)
    first = sealed_cells(folder)[0]
    first.mkdir()
    (first / TRACE_FILE).write_bytes(b"half of a trace")
    bench.layout.summary(*deployment.key).unlink()
    times = {cell.name: read_cell(cell).manifest.started_at for cell in sealed_cells(folder)}
    sweep.sweep(bench, deployment)
    assert {cell.name: read_cell(cell).manifest.started_at for cell in sealed_cells(folder)} == times
    replay.unpack(folder)
    assert {cell.name: read_cell(cell).manifest.started_at for cell in sealed_cells(folder)} == times


def in_a_folder(cell: Path) -> None:
    """Give a packed cell its folder again, as one that is to be removed."""
    trace = read_cell(cell)
    cell.mkdir()
    seal(cell, trace.table, trace.manifest.model_copy(update={"seal": None}))


def test_a_manifest_that_a_killed_removal_left_costs_no_cell(opened: tuple[Any, ...]) -> None:
    bench, deployment, folder = opened
    sweep.sweep(bench, deployment)
    tables = {cell: read_cell(cell).table for cell in sealed_cells(folder)}
    first, second, *_ = tables
    in_a_folder(first)
    (first / TRACE_FILE).unlink()
    in_a_folder(second)
    (second / MANIFEST_FILE).unlink()
    replay.unpack(folder)
    assert packed_names(folder) == ()
    assert all(read_cell(cell).table.equals(table) for cell, table in tables.items())


@pytest.mark.parametrize("packed_before", [False, True])
def test_sealed_cells_are_packed_where_none_is_open(opened: tuple[Any, ...], *, packed_before: bool) -> None:
    bench, deployment, folder = opened
    sweep.sweep(bench, deployment)
    started, names = Process.started, packed_names(folder)
    if packed_before:
        in_a_folder(sealed_cells(folder)[0])
    else:
        replay.unpack(folder)
    sweep.sweep(bench, deployment)
    assert sorted(packed_names(folder)) == sorted(names)
    assert list((folder / "cells").iterdir()) == []
    assert Process.started == started


def test_cells_too_many_for_one_file_stay_folders(
    opened: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, deployment, folder = opened
    monkeypatch.setattr(packed, "MAX_JSON_BYTES", 1000)
    log = tmp_path / "sweep.log"
    sweep.sweep(bench, deployment, log=log)
    assert packed_names(folder) == ()
    assert len([read_cell(cell) for cell in sealed_cells(folder)]) == 6
    assert "6 cells stay folders" in log.read_text()


def test_a_cell_that_the_engine_cannot_serve_costs_no_other(
    opened: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, deployment, folder = opened

    def refuses(cell: Any, replayer: Any) -> Any:
        if cell.users == 64:
            raise CellError("its 64 users do not get through", where="cell", remedy="lower C")
        return simulate(cell, replayer)

    monkeypatch.setattr(replay, "simulate", refuses)
    with pytest.raises(UserError, match=r"1 of 6 cells could not be replayed; .*0064: .*do not get through"):
        sweep.sweep(bench, deployment)
    assert len(sealed_cells(folder)) == 5


def test_a_cell_of_another_plan_is_replayed_and_the_others_are_kept(opened: tuple[Any, ...]) -> None:
    bench, deployment, folder = opened
    sweep.sweep(bench, deployment)
    times = {cell.name: read_cell(cell).manifest.started_at for cell in sealed_cells(folder)}
    *kept, last = deployment.cells
    changed = replace(last, workload=last.workload.model_copy(update={"output_tokens": 32}))
    bench.layout.summary(*deployment.key).unlink()
    sweep.sweep(bench, replace(deployment, cells=(*kept, changed)))
    now = {cell.name: read_cell(cell).manifest.started_at for cell in sealed_cells(folder)}
    (new,) = [name for name in now if now[name] != times[name]]
    assert new.endswith(f"{changed.condition.concurrency:04d}")
    assert [path.name for path in (folder / "attempts").iterdir()] == [f"{new}.1"], "the old one is set aside"


def test_a_policy_without_effect_measures_nothing(
    opened: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, deployment, folder = opened
    failed = {"static": {"ok": False, "checks": ["drawn 400 of 400"]}}
    monkeypatch.setattr(replay, "prove", lambda *_: failed)
    with pytest.raises(UserError, match="override_inert") as caught:
        sweep.sweep(bench, deployment)
    assert "build the version that is pinned: make setup" in caught.value.remedy
    assert sealed_cells(folder) == []


def test_a_timing_table_that_ends_below_the_context_is_refused(opened: tuple[Any, ...]) -> None:
    bench, deployment, _ = opened
    long = deployment.cells[0].workload.model_copy(update={"input_tokens": 1_000_000})
    plan = bench.bound(replace(deployment, cells=(replace(deployment.cells[0], workload=long),)))
    with pytest.raises(UserError, match="contexts of up to 1000083 tokens"):
        replay.check_table(plan, bench.profiles[plan.model.profile])


def test_attempts_are_counted_over_calls_and_each_has_requests_of_its_own(
    opened: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One decode worker takes everything, which speaks of the machine: every attempt is kept and numbered."""
    bench, deployment, folder = opened
    busy = tuple(cell for cell in deployment.cells if cell.condition.concurrency == 64)
    alone = replace(deployment, cells=busy)
    monkeypatch.setattr(Process, "alone", True)
    for calls in (1, 2):
        bench.layout.summary(*deployment.key).unlink(missing_ok=True)
        sweep.sweep(bench, alone)
        (cell,) = sealed_cells(folder)
        earlier = sorted((folder / "attempts").iterdir())
        manifests = [read_cell(one).manifest for one in (*earlier, cell)]
        assert [manifest.attempt for manifest in manifests] == list(range(1, 2 + calls))
        assert len({manifest.seed for manifest in manifests}) == 1 + calls
        assert all(manifest.gates and "worker_silent" in manifest.gates.reasons for manifest in manifests)
