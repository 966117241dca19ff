"""The log of decisions: lines while it runs, one whole table at the end, and clear words when it cannot."""

from __future__ import annotations

import errno
import gc
import json
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anarchy.ground.errors import UserError
from anarchy.trace.decisions import DECISION_SCHEMA, DECISIONS_FILE, Decision, DecisionLog, read_decisions
from anarchy.trace.state import CellState, cell_state

BY_DYNAMO = Decision(
    request_id="0000-000001",
    t=1.25,
    policy="kv",
    way="pinned",
    regime="below",
    tau=0.0,
    omega=1.0,
    prefill_worker=0,
    decode_worker=1,
    in_flight=(3, 2),
    costs=(24.0, 8.5),
    overlaps=(0.0, 1.0),
    loads=(8.0, 8.0),
    prefill_costs=None,
    prefill_overlaps=None,
    prefill_loads=None,
    wall_us=310.0,
)
BASELINE = replace(
    BY_DYNAMO, request_id="0001-000000", tau=None, omega=None, costs=None, overlaps=None, loads=None
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "cell")
    log.open()
    for decision in (BY_DYNAMO, BASELINE):
        log.write(decision)
    lines = (tmp_path / "cell" / "decisions.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["costs"] == [24.0, 8.5]  # there before anything is closed
    path = log.seal()
    assert path == tmp_path / "cell" / DECISIONS_FILE
    assert sorted(file.name for file in path.parent.iterdir()) == [DECISIONS_FILE]
    rows = read_decisions(path).to_pylist()
    assert [row["request_id"] for row in rows] == ["0000-000001", "0001-000000"]
    assert rows[0]["overlaps"] == [0.0, 1.0]
    assert rows[0]["in_flight"] == [3, 2]
    assert rows[1]["costs"] is None
    assert rows[1]["tau"] is None


def test_the_columns_are_the_fields_of_a_decision() -> None:
    assert DECISION_SCHEMA.names == [field.name for field in fields(Decision)]


def test_a_cell_without_decisions_has_an_empty_table(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.open()
    assert read_decisions(log.seal()).num_rows == 0


def test_a_second_attempt_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        log = DecisionLog(tmp_path)
        log.open()
        log.write(BY_DYNAMO)
        log.close()
    assert read_decisions(log.seal()).num_rows == 1


def test_closing_twice_or_before_the_start_is_harmless(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.close()
    log.open()
    log.close()
    log.close()


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(tmp_path)
    log.open()

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "_file", type("Full", (), {"write": staticmethod(full)})())
    with pytest.raises(UserError, match="no disk space"):
        log.write(BY_DYNAMO)


def test_a_disk_full_at_the_end_leaves_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(tmp_path)
    log.open()
    log.write(BY_DYNAMO)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match="no disk space"):
        log.seal()
    assert (tmp_path / "decisions.jsonl").exists()
    assert not (tmp_path / DECISIONS_FILE).exists()


def fill(log: DecisionLog) -> None:
    """Write until the disk is full; the kernel says when."""
    for number in range(10_000):
        log.write(replace(BY_DYNAMO, request_id=f"{number:04}-000000"))


def test_a_disk_that_fills_up_is_told_and_nothing_is_sealed(tiny_disk: Path) -> None:
    log = DecisionLog(tiny_disk / "cell")
    log.open()
    with pytest.raises(UserError, match="no disk space is left") as full:
        fill(log)
    assert full.value.where == tiny_disk / "cell" / "decisions.jsonl"
    assert "sealed cells are kept" in full.value.remedy
    lines = (tiny_disk / "cell" / "decisions.jsonl").read_bytes().split(b"\n")
    assert len(lines) > 100, "what fitted is there"
    with pytest.raises(UserError, match="no disk space is left"):
        log.close()  # the line that did not fit is in the buffer still
    log.close()
    with pytest.raises(UserError, match="not whole"):
        log.seal()
    assert [file.name for file in (tiny_disk / "cell").iterdir()] == ["decisions.jsonl"]
    assert cell_state(tiny_disk / "cell", "") is CellState.PARTIAL


def test_a_disk_without_space_for_the_table_keeps_the_lines(tiny_disk: Path) -> None:
    log = DecisionLog(tiny_disk / "cell")
    log.open()
    log.write(BY_DYNAMO)
    with pytest.raises(OSError, match="No space"):
        (tiny_disk / "another").write_bytes(bytes(100_000))
    with pytest.raises(UserError, match="no disk space is left") as full:
        log.seal()
    assert full.value.where == tiny_disk / "cell" / DECISIONS_FILE
    assert [file.name for file in (tiny_disk / "cell").iterdir()] == ["decisions.jsonl"]
    assert cell_state(tiny_disk / "cell", "") is CellState.PARTIAL
    del full
    gc.collect()  # its traceback holds the table's open file, and with it the disk
    (tiny_disk / "another").unlink()
    assert read_decisions(log.seal()).num_rows == 1


def test_lines_that_were_cut_off_are_not_sealed(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.open()
    log.write(BY_DYNAMO)
    log.close()
    with (tmp_path / "decisions.jsonl").open("a") as lines:
        lines.write('{"request_id": "00')
    with pytest.raises(UserError, match="not whole"):
        log.seal()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_decisions(tmp_path / "none.parquet")
    pq.write_table(pa.table({"request_id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="columns"):
        read_decisions(tmp_path / "other.parquet")
