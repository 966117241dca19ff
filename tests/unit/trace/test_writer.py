"""The writer: round trip, sealing, a full disk, a killed process."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, sha256_of, write_json
from anarchy.ground.layout import MANIFEST_FILE, REQUESTS_FILE, TRACE_FILE
from anarchy.trace.reader import companion, read_cell
from anarchy.trace.schema import TRACE_SCHEMA, RequestRecord
from anarchy.trace.state import CellState, cell_state
from anarchy.trace.writer import TraceWriter, read_rows, seal
from tests.helpers.places import with_tests
from tests.helpers.trace_samples import (
    PLAN_HASH,
    STAGES,
    manifest,
    record,
    records,
    sealed,
    staged_records,
    write_rows,
)


def test_record_and_table_have_the_same_columns_in_the_same_order() -> None:
    assert [field.name for field in dataclasses.fields(RequestRecord)] == TRACE_SCHEMA.names


def test_round_trip_keeps_every_value_and_orders_by_sending(tmp_path: Path) -> None:
    rows = [
        record(3, cached_tokens=96, template=4, regime="saturated"),
        record(1, status="timeout", t_first_token=None, t_last_token=None, output_tokens=0),
        record(2, request_id="b", t_sent=0.25),
        record(2, request_id="a", t_sent=0.25),
    ]
    sealed(tmp_path / "cell", rows)
    trace = read_cell(tmp_path / "cell")
    wanted = [dataclasses.asdict(rows[index]) for index in (1, 0, 3, 2)]
    wanted = sorted(wanted, key=lambda row: (row["t_sent"], row["request_id"]))
    assert trace.table.to_pylist() == wanted
    assert list(trace.column("request_id")) == [row["request_id"] for row in wanted]


def test_a_null_stays_a_null_and_is_never_zero(tmp_path: Path) -> None:
    rows = [record(0, cached_tokens=0), record(1, status="timeout", t_first_token=None, t_last_token=None)]
    sealed(tmp_path / "cell", rows)
    trace = read_cell(tmp_path / "cell")
    assert trace.table.column("cached_tokens").to_pylist() == [0, None]
    assert list(trace.column("cached_tokens")) == [0, -1]
    assert np.isnan(trace.column("t_first_token")[1])
    assert list(trace.measured) == [True, False]


def test_seal_records_rows_and_digest_and_removes_the_lines(tmp_path: Path) -> None:
    cell = tmp_path / "cell"
    made = sealed(cell)
    assert made.seal is not None
    assert made.seal.rows == 200
    assert made.seal.sha256 == sha256_of(cell / TRACE_FILE)
    assert sorted(os.listdir(cell)) == [MANIFEST_FILE, TRACE_FILE]
    assert read_cell(cell).manifest == made


def test_companions_are_sealed_beside_the_trace(tmp_path: Path) -> None:
    cell = tmp_path / "cell"
    table = read_rows(write_rows(cell, records()))
    (cell / "decisions.parquet").write_bytes(b"PAR1")
    (cell / "controller.jsonl").write_text("{}\n")
    made = seal(cell, table, manifest(), [cell / "decisions.parquet", cell / "controller.jsonl"])
    assert made.companions == {
        name: sha256_of(cell / name) for name in ("decisions.parquet", "controller.jsonl")
    }
    trace = read_cell(cell)
    assert trace.manifest == made
    assert companion(trace, "controller.jsonl") == cell / "controller.jsonl"
    assert companion(trace, "nothing.jsonl") is None


def test_a_companion_from_elsewhere_is_not_sealed(tmp_path: Path) -> None:
    table = read_rows(write_rows(tmp_path / "cell", records()))
    (tmp_path / "controller.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="does not lie in"):
        seal(tmp_path / "cell", table, manifest(), [tmp_path / "controller.jsonl"])
    with pytest.raises(FileNotFoundError):
        seal(tmp_path / "cell", table, manifest(), [tmp_path / "cell" / "controller.jsonl"])
    assert cell_state(tmp_path / "cell", PLAN_HASH) is CellState.PARTIAL


def test_a_policy_without_parameters_has_none(tmp_path: Path) -> None:
    sealed(tmp_path / "cell", [record(0, tau=None, omega=None), record(1)])
    trace = read_cell(tmp_path / "cell")
    assert trace.table.column("tau").to_pylist() == [None, 0.0]
    assert np.isnan(trace.column("omega")[0])


def test_a_staged_cell_keeps_its_stages(tmp_path: Path) -> None:
    made = sealed(tmp_path / "cell", staged_records(), stages=STAGES, load="past", repeat=2, way="pinned")
    assert made.stages == STAGES
    assert read_cell(tmp_path / "cell").manifest == made
    stage = json.loads((tmp_path / "cell" / MANIFEST_FILE).read_text())["stages"][1]
    assert stage == {"name": "past", "concurrency": 4, "start_s": 9.99, "settled_s": 11.0, "end_s": 19.99}


def test_a_sealed_cell_is_never_sealed_over(tmp_path: Path) -> None:
    cell = tmp_path / "cell"
    sealed(cell)
    before = (cell / TRACE_FILE).read_bytes()
    table = read_rows(write_rows(cell, records(10)))
    with pytest.raises(UserError, match="never rewritten"):
        seal(cell, table, manifest())
    assert (cell / TRACE_FILE).read_bytes() == before


def test_the_manifest_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = tmp_path / "cell"
    table = read_rows(write_rows(cell, records()))

    def cut_off(path: Path, document: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anarchy.trace.writer.write_json", cut_off)
    with pytest.raises(KeyboardInterrupt):
        seal(cell, table, manifest())
    assert cell_state(cell, PLAN_HASH) is CellState.PARTIAL
    with pytest.raises(UserError, match="no manifest"):
        read_cell(cell)


def test_each_row_reaches_the_operating_system_as_it_is_written(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path)
    writer.append(record(0))
    assert read_rows(writer.path).num_rows == 1
    writer.append(record(1))
    assert read_rows(writer.path).num_rows == 2
    writer.close()
    writer.close()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"request_id": "r1", "us', "not a whole JSON row"),
        ("17", "fields of a request"),
        ('{"request_id": "r1"}', "fields of a request"),
        ("\xff", "not a whole JSON row"),
    ],
)
def test_a_line_that_is_not_a_whole_row_is_named_by_its_number(tmp_path: Path, line: str, what: str) -> None:
    path = write_rows(tmp_path, [record(0), record(1)])
    with path.open("ab") as file:
        file.write(line.encode("latin-1"))
    with pytest.raises(UserError, match=what) as caught:
        read_rows(path)
    assert str(caught.value.where) == f"{path}:3"
    assert "measured again" in caught.value.remedy


def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path, [record(0)])
    row = json.loads(path.read_text()) | {"user": "somebody"}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="wrong type"):
        read_rows(path)


def test_missing_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows"):
        read_rows(tmp_path / REQUESTS_FILE)


KILLED_WRITER = """
    import sys, time
    from pathlib import Path
    from tests.helpers.trace_samples import record
    from anarchy.trace.writer import TraceWriter
    writer = TraceWriter(Path(sys.argv[1]))
    for index in range(10**9):
        writer.append(record(index))
        if index == 500:
            print("going", flush=True)
"""


def test_kill_in_the_middle_leaves_every_written_row_readable_and_no_data(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "unique-c0004"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(cell)],
        stdout=subprocess.PIPE,
        env=with_tests(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"going\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    table = read_rows(cell / REQUESTS_FILE)
    assert table.num_rows > 500
    assert table.column("request_id").to_pylist() == [f"r{n:05d}" for n in range(table.num_rows)]
    assert cell_state(cell, PLAN_HASH) is CellState.PARTIAL
    with pytest.raises(UserError, match="no manifest"):
        read_cell(cell)


def in_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose limits may be spoiled; UserErrors are printed and end with 2."""
    wrapped = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from anarchy.ground.errors import UserError\n"
        "from anarchy.trace.writer import TraceWriter, read_rows, seal, write_json\n"
        "from tests.helpers.trace_samples import manifest, record, records, write_rows\n"
        f"try:\n{textwrap.indent(textwrap.dedent(code), '    ')}\n"
        "except UserError as error:\n    print(error)\n    sys.exit(2)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", wrapped, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=with_tests(),
    )


def test_a_file_size_limit_is_told_and_rows_stay(tmp_path: Path) -> None:
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with TraceWriter(Path(sys.argv[1])) as writer:
            for index in range(1000):
                writer.append(record(index))
    """
    done = in_child(code, str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "may not grow further" in done.stdout
    assert "ulimit -f" in done.stdout
    assert done.stderr == ""
    whole = (tmp_path / REQUESTS_FILE).read_bytes().rsplit(b"\n", 1)[0]
    assert len(whole.split(b"\n")) > 30


def fill(writer: TraceWriter) -> None:
    with writer:
        for index in range(1000):
            writer.append(record(index))


def test_a_full_disk_while_measuring_is_told(tiny_disk: Path) -> None:
    cell = tiny_disk / "cell"
    writer = TraceWriter(cell)
    with pytest.raises(UserError, match="no disk space is left") as caught:
        fill(writer)
    assert "sealed cells are kept" in caught.value.remedy
    assert writer._file.closed
    assert cell_state(cell, PLAN_HASH) is CellState.PARTIAL


def test_a_full_disk_while_sealing_leaves_no_sealed_cell(tiny_disk: Path, tmp_path: Path) -> None:
    cell = tiny_disk / "cell"
    cell.mkdir()
    table = read_rows(write_rows(tmp_path / "elsewhere", records(5000)))
    with pytest.raises(UserError, match="no disk space is left"):
        seal(cell, table, manifest())
    assert not (cell / MANIFEST_FILE).exists()
    assert not (cell / TRACE_FILE).exists()


def test_a_full_device_is_told_without_root() -> None:
    with pytest.raises(UserError, match="no disk space is left"), disk_errors(Path("/dev/full")):
        Path("/dev/full").write_text("x")


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="may not be written") as caught, disk_errors(tmp_path):
        raise PermissionError(13, "Permission denied")
    assert "write access" in caught.value.remedy


def test_another_fault_of_the_system_is_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "none").read_text()


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "deployment.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": {1, 2}})
    assert json.loads(path.read_text()) == {"a": 1}


def test_what_json_does_not_know_becomes_null(tmp_path: Path) -> None:
    write_json(tmp_path / "facts.json", {"a": [float("nan"), 1.5], "b": {"c": float("inf")}})
    assert json.loads((tmp_path / "facts.json").read_text()) == {"a": [None, 1.5], "b": {"c": None}}
