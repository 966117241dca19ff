"""Cells of a deployment in one Parquet file: read as folders are, and refused when they are not whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from anarchy.estimate.traces import find_traces
from anarchy.ground.errors import UserError
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE, cell_directory
from anarchy.trace import packed
from anarchy.trace.packed import INDEX_FILE, PACK_FILE, packed_names, remove_folders, write_pack
from anarchy.trace.reader import is_sealed, read_cell, read_trace, sealed_cells
from anarchy.trace.state import CellState, cell_state
from tests.helpers.trace_samples import PLAN_HASH, records, sealed

NAMES = ("unique-c0004", "unique-c0008", "templates-c0004")


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    """A deployment of three cells of different lengths, packed; their folders are gone."""
    for index, name in enumerate(NAMES):
        sealed(cell_directory(tmp_path, name), records(100 + 20 * index), cell=name)
    traces = [read_cell(cell_directory(tmp_path, name)) for name in NAMES]
    write_pack(tmp_path, [(trace.manifest, trace.table) for trace in traces])
    remove_folders(tmp_path, NAMES)
    return tmp_path


def test_packed_cells_are_read_as_those_in_folders(tmp_path: Path) -> None:
    before = {}
    for index, name in enumerate(NAMES):
        sealed(cell_directory(tmp_path, name), records(100 + 20 * index), cell=name)
        before[name] = read_cell(cell_directory(tmp_path, name))
    write_pack(tmp_path, [(trace.manifest, trace.table) for trace in before.values()])
    remove_folders(tmp_path, NAMES)
    assert packed_names(tmp_path) == NAMES
    for name, was in before.items():
        directory = cell_directory(tmp_path, name)
        now = read_cell(directory)
        assert now.table.equals(was.table)
        assert now.manifest.model_copy(update={"seal": was.manifest.seal}) == was.manifest
        assert read_trace(directory).table.num_rows == was.table.num_rows
        assert is_sealed(directory)
        assert cell_state(directory, PLAN_HASH) is CellState.DONE
        assert cell_state(directory, "another") is CellState.STALE
    assert [cell.name for cell in sealed_cells(tmp_path)] == sorted(NAMES)
    assert [path.name for path in find_traces([tmp_path])] == sorted(NAMES)


def test_what_a_killed_unpacking_left_beside_a_pack_is_not_read(deployment: Path) -> None:
    directory = cell_directory(deployment, NAMES[0])
    was = read_cell(directory).table
    directory.mkdir(parents=True)
    (directory / TRACE_FILE).write_bytes(b"half of a trace")
    assert read_cell(directory).table.equals(was)
    assert read_trace(directory).table.num_rows == was.num_rows
    assert cell_state(directory, PLAN_HASH) is CellState.DONE


def test_the_file_alone_says_which_cell_a_row_is_of(deployment: Path) -> None:
    table = pq.read_table(deployment / PACK_FILE)
    assert table.column("cell").value_counts().to_pylist() == [
        {"values": name, "counts": 100 + 20 * index} for index, name in enumerate(NAMES)
    ]


def test_a_cell_that_is_not_in_the_pack_is_absent(deployment: Path) -> None:
    other = cell_directory(deployment, "unique-c0016")
    assert not is_sealed(other)
    assert cell_state(other, PLAN_HASH) is CellState.ABSENT


def test_a_pack_that_was_edited_or_cut_is_refused(deployment: Path) -> None:
    path = deployment / PACK_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(1, 1))
    directory = cell_directory(deployment, NAMES[0])
    with pytest.raises(UserError, match="does not match its seal"):
        read_cell(directory)
    assert cell_state(directory, PLAN_HASH) is CellState.BROKEN
    path.unlink()
    with pytest.raises(UserError, match="no requests beside the index"):
        read_cell(directory)


@pytest.mark.parametrize("document", [{}, {"cells": 3}, {"cells": [{"name": "a"}]}])
def test_an_index_without_cells_is_refused(tmp_path: Path, document: object) -> None:
    (tmp_path / INDEX_FILE).write_text(json.dumps(document))
    with pytest.raises(UserError, match="names no cells"):
        packed_names(tmp_path)


def test_rows_without_an_index_are_no_pack(deployment: Path) -> None:
    (deployment / INDEX_FILE).unlink()
    assert packed_names(deployment) == ()
    assert sealed_cells(deployment) == []


def test_a_pack_is_never_written_over(deployment: Path) -> None:
    with pytest.raises(UserError, match="packed already"):
        write_pack(deployment, [])


def test_a_pack_whose_index_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = cell_directory(tmp_path, NAMES[0])
    sealed(directory, cell=NAMES[0])
    trace = read_cell(directory)
    monkeypatch.setattr(packed, "MAX_JSON_BYTES", 1000)
    assert write_pack(tmp_path, [(trace.manifest, trace.table)]) is False
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]
    assert read_cell(directory).table.equals(trace.table)


def test_of_a_folder_the_manifest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = cell_directory(tmp_path, NAMES[0])
    sealed(directory, cell=NAMES[0])
    trace = read_cell(directory)
    assert write_pack(tmp_path, [(trace.manifest, trace.table)])
    seen: list[Path] = []
    monkeypatch.setattr("shutil.rmtree", lambda folder, **_: seen.extend(folder.iterdir()))
    remove_folders(tmp_path, NAMES[:1])
    names = [path.name for path in seen]
    assert TRACE_FILE in names
    assert MANIFEST_FILE not in names


def test_a_folder_is_kept_beside_a_pack_that_is_not_whole(deployment: Path) -> None:
    directory = cell_directory(deployment, NAMES[0])
    sealed(directory, cell=NAMES[0])
    path = deployment / PACK_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match="does not match its seal"):
        remove_folders(deployment, NAMES)
    assert (directory / MANIFEST_FILE).exists()
