"""What a cell's folder holds, and how room is made without losing data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anarchy.ground.layout import MANIFEST_FILE, REQUESTS_FILE, TRACE_FILE
from anarchy.trace.packed import INDEX_FILE
from anarchy.trace.reader import read_cell
from anarchy.trace.schema import GateResult
from anarchy.trace.state import CellState, cell_state, set_aside
from tests.helpers.trace_samples import PLAN_HASH, records, sealed, write_rows


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return tmp_path / "cells" / "unique-c0004"


def edit(cell: Path, **changes: object) -> None:
    path = cell / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_absent(cell: Path) -> None:
    assert cell_state(cell, PLAN_HASH) is CellState.ABSENT
    cell.mkdir(parents=True)
    assert cell_state(cell, PLAN_HASH) is CellState.ABSENT


def test_partial(cell: Path) -> None:
    write_rows(cell, records())
    assert cell_state(cell, PLAN_HASH) is CellState.PARTIAL


def test_a_trace_without_its_manifest_is_partial(cell: Path) -> None:
    sealed(cell)
    (cell / MANIFEST_FILE).unlink()
    assert cell_state(cell, PLAN_HASH) is CellState.PARTIAL


def test_done_and_stale(cell: Path) -> None:
    sealed(cell)
    assert cell_state(cell, PLAN_HASH) is CellState.DONE
    assert cell_state(cell, "b" * 64) is CellState.STALE


def test_rows_left_beside_a_sealed_cell_do_not_matter(cell: Path) -> None:
    sealed(cell)
    (cell / REQUESTS_FILE).write_text("{")
    assert cell_state(cell, PLAN_HASH) is CellState.DONE


@pytest.mark.parametrize(
    "gates", [None, GateResult(valid=False, reasons=("errors",)).model_dump(mode="json")]
)
def test_invalid(cell: Path, gates: object) -> None:
    sealed(cell)
    edit(cell, gates=gates)
    assert cell_state(cell, PLAN_HASH) is CellState.INVALID


def test_broken_by_a_lost_trace(cell: Path) -> None:
    sealed(cell)
    (cell / TRACE_FILE).unlink()
    assert cell_state(cell, PLAN_HASH) is CellState.BROKEN


def test_broken_by_an_edited_trace(cell: Path) -> None:
    sealed(cell)
    (cell / TRACE_FILE).write_bytes((cell / TRACE_FILE).read_bytes() + b" ")
    assert cell_state(cell, PLAN_HASH) is CellState.BROKEN


def test_broken_by_a_lost_companion(cell: Path) -> None:
    sealed(cell)
    edit(cell, companions={"decisions.parquet": "0" * 64})
    assert cell_state(cell, PLAN_HASH) is CellState.BROKEN


def test_broken_by_a_manifest_that_is_not_one(cell: Path) -> None:
    sealed(cell)
    (cell / MANIFEST_FILE).write_text("{")
    assert cell_state(cell, PLAN_HASH) is CellState.BROKEN


def test_broken_by_a_manifest_without_a_seal(cell: Path) -> None:
    sealed(cell)
    edit(cell, seal=None, plan_hash="other")
    assert cell_state(cell, PLAN_HASH) is CellState.BROKEN


def test_broken_by_an_index_that_is_not_one(cell: Path) -> None:
    cell.mkdir(parents=True)
    (cell.parent.parent / INDEX_FILE).write_text("{")
    assert cell_state(cell, PLAN_HASH) is CellState.BROKEN


def test_stale_is_told_before_broken(cell: Path) -> None:
    sealed(cell)
    (cell / TRACE_FILE).unlink()
    assert cell_state(cell, "b" * 64) is CellState.STALE


def test_set_aside_of_nothing(cell: Path) -> None:
    assert set_aside(cell) is None
    assert not cell.exists()


def test_set_aside_deletes_rows_that_were_never_sealed(cell: Path) -> None:
    write_rows(cell, records())
    (cell / "trace.partial").write_text("half")
    assert set_aside(cell) is None
    assert not cell.exists()
    assert cell_state(cell, PLAN_HASH) is CellState.ABSENT


def test_set_aside_keeps_every_sealed_attempt(cell: Path, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    for number in (1, 2, 3):
        sealed(cell, attempt=number, gates=GateResult(valid=False, reasons=("errors",)))
        assert set_aside(cell) == attempts / f"unique-c0004.{number}"
        assert not cell.exists()
    kept = [read_cell(attempts / f"unique-c0004.{number}").manifest.attempt for number in (1, 2, 3)]
    assert kept == [1, 2, 3]


def test_set_aside_keeps_a_sealed_cell_with_a_lost_trace(cell: Path, tmp_path: Path) -> None:
    sealed(cell)
    (cell / TRACE_FILE).unlink()
    assert set_aside(cell) == tmp_path / "attempts" / "unique-c0004.1"


@pytest.mark.parametrize("spoil", ["lost", "corrupt"])
def test_what_was_sealed_but_has_no_readable_manifest_is_kept_apart(
    cell: Path, tmp_path: Path, spoil: str
) -> None:
    sealed(cell)
    if spoil == "lost":
        (cell / MANIFEST_FILE).unlink()
    else:
        (cell / MANIFEST_FILE).write_text("{")
    trace = (cell / TRACE_FILE).read_bytes()
    kept = set_aside(cell)
    assert kept == tmp_path / "unreadable" / "unique-c0004.1"
    assert (kept / TRACE_FILE).read_bytes() == trace
    assert not (tmp_path / "attempts").exists()
