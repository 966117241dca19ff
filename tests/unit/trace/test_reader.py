"""The reader refuses what is not sealed, not whole or not possible, and says where and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.reader import MEASURE_AGAIN, read_cell, read_manifest, read_trace
from anarchy.trace.schema import SCHEMA_VERSION, TRACE_SCHEMA
from tests.helpers.trace_samples import manifest, record, records, sealed, write_rows


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    sealed(tmp_path / "cell")
    return tmp_path / "cell"


def refused(cell: Path, what: str, where: Path, remedy: str = MEASURE_AGAIN) -> None:
    with pytest.raises(UserError, match=what) as caught:
        read_cell(cell)
    assert caught.value.where == where
    assert remedy in caught.value.remedy


def edit_manifest(cell: Path, **changes: Any) -> None:
    path = cell / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_table(cell: Path, table: pa.Table) -> None:
    """Put another table in place and seal it anew, as somebody who makes a trace of their own would."""
    pq.write_table(table, cell / TRACE_FILE)
    edit_manifest(
        cell,
        seal={"file": TRACE_FILE, "rows": table.num_rows, "sha256": sha256_of(cell / TRACE_FILE)},
    )


def test_a_clean_cell_is_read(cell: Path) -> None:
    trace = read_cell(cell)
    assert trace.table.num_rows == 200
    assert trace.measured.sum() == 180


def test_no_manifest(tmp_path: Path) -> None:
    write_rows(tmp_path, records())
    refused(tmp_path, "no manifest", tmp_path / MANIFEST_FILE)


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no manifest", tmp_path / "none" / MANIFEST_FILE)


def test_not_sealed(cell: Path) -> None:
    edit_manifest(cell, seal=None)
    refused(cell, "not sealed", cell / MANIFEST_FILE)


def test_missing_trace(cell: Path) -> None:
    (cell / TRACE_FILE).unlink()
    refused(cell, "no trace", cell / TRACE_FILE)


def test_truncated_trace(cell: Path) -> None:
    whole = (cell / TRACE_FILE).read_bytes()
    (cell / TRACE_FILE).write_bytes(whole[:-100])
    refused(cell, "truncated or edited", cell / TRACE_FILE)


def test_edited_trace(cell: Path) -> None:
    content = bytearray((cell / TRACE_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (cell / TRACE_FILE).write_bytes(content)
    refused(cell, "truncated or edited", cell / TRACE_FILE)


def test_wrong_number_of_rows(cell: Path) -> None:
    seal = json.loads((cell / MANIFEST_FILE).read_text())["seal"]
    edit_manifest(cell, seal=seal | {"rows": 201})
    refused(cell, "200 rows, sealed 201", cell / TRACE_FILE)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, "1", None])
def test_wrong_version(cell: Path, version: object) -> None:
    edit_manifest(cell, schema_version=version)
    refused(cell, "schema version", cell / MANIFEST_FILE, "release that wrote it")


@pytest.mark.parametrize("text", ["{", ""])
def test_a_manifest_that_is_not_json(cell: Path, text: str) -> None:
    (cell / MANIFEST_FILE).write_text(text)
    refused(cell, "is not JSON", cell / MANIFEST_FILE)


def test_a_manifest_in_another_encoding(cell: Path) -> None:
    (cell / MANIFEST_FILE).write_text("{}", encoding="utf-16")
    refused(cell, "looks like UTF-16", cell / MANIFEST_FILE, "iconv -f UTF-16 -t UTF-8")


def test_a_manifest_that_is_no_object(cell: Path) -> None:
    (cell / MANIFEST_FILE).write_text("[1]")
    refused(cell, "not a JSON object", cell / MANIFEST_FILE)


def test_a_manifest_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).mkdir()
    refused(tmp_path, "cannot be read: it is a folder", tmp_path / MANIFEST_FILE, "name a file")


def test_a_manifest_with_a_wrong_value_names_the_key(cell: Path) -> None:
    edit_manifest(cell, n_workers={"prefill": 1, "decode": 0})
    refused(cell, "n_workers.decode", cell / MANIFEST_FILE)


STAGE = {"name": "a", "concurrency": 4, "start_s": 0.0, "settled_s": 1.0, "end_s": 2.0}


@pytest.mark.parametrize(
    ("stages", "what"),
    [
        ([{**STAGE, "more": 1}], "stages.0.more"),
        ([{**STAGE, "concurrency": "many"}], "stages.0.concurrency"),
        ([{"name": "a"}], "stages.0.concurrency"),
        ([STAGE, STAGE], "two stages have one name"),
        ([{**STAGE, "settled_s": 3.0}], "follow one another"),
        (
            [STAGE, {**STAGE, "name": "b", "start_s": 1.9, "settled_s": 3.0, "end_s": 4.0}],
            "follow one another",
        ),
    ],
)
def test_stages_that_cannot_be_are_refused(cell: Path, stages: list[dict[str, object]], what: str) -> None:
    edit_manifest(cell, stages=stages)
    refused(cell, what, cell / MANIFEST_FILE)


@pytest.mark.parametrize("changes", [{"repeat": 0}, {"way": "by hand"}, {"companions": {"../x": "ab"}}])
def test_new_keys_with_wrong_values_are_refused(cell: Path, changes: dict[str, object]) -> None:
    edit_manifest(cell, **changes)
    refused(cell, next(iter(changes)), cell / MANIFEST_FILE)


@pytest.mark.parametrize(
    ("spoil", "what"), [("lost", "is missing beside"), ("edited", "truncated or edited")]
)
def test_a_cell_with_a_spoiled_companion_is_refused(cell: Path, spoil: str, what: str) -> None:
    log = cell / "controller.jsonl"
    log.write_text("{}\n")
    edit_manifest(cell, companions={log.name: sha256_of(log)})
    assert read_cell(cell).manifest.companions
    log.unlink() if spoil == "lost" else log.write_text("{ }\n")
    refused(cell, what, log)
    assert read_trace(cell).measured.any(), "a copy of the trace alone is enough for an estimate"


def test_a_manifest_may_hold_more_than_the_schema_knows(cell: Path) -> None:
    edit_manifest(cell, somebody="else")
    assert read_manifest(cell).model_extra == {"somebody": "else"}


def test_not_parquet(cell: Path) -> None:
    (cell / TRACE_FILE).write_text("nothing")
    edit_manifest(cell, seal={"file": TRACE_FILE, "rows": 0, "sha256": sha256_of(cell / TRACE_FILE)})
    refused(cell, "not a Parquet file", cell / TRACE_FILE)


def test_missing_column(cell: Path) -> None:
    replace_table(cell, read_cell(cell).table.drop_columns(["t_sent", "status"]))
    refused(cell, "lacks the columns t_sent, status", cell / TRACE_FILE, "docs/traces.md")


def test_a_column_of_the_wrong_type(cell: Path) -> None:
    table = read_cell(cell).table
    replace_table(cell, table.set_column(1, "user", pa.array(["u"] * table.num_rows)))
    refused(cell, "wrong type", cell / TRACE_FILE, "docs/traces.md")


def test_a_null_where_none_may_be(cell: Path) -> None:
    table = read_cell(cell).table
    place = table.column_names.index("t_sent")
    holes = pa.array([None, *table.column("t_sent").to_pylist()[1:]])
    replace_table(cell, table.set_column(place, "t_sent", holes))
    refused(cell, "row 0 has no t_sent", cell / TRACE_FILE, "docs/traces.md")


def test_columns_in_another_order_and_more_of_them_are_read(cell: Path) -> None:
    table = read_cell(cell).table
    other = table.select(table.column_names[::-1]).append_column("note", pa.array(["x"] * 200))
    replace_table(cell, other)
    assert read_cell(cell).table.schema.names == TRACE_SCHEMA.names


def spoil(cell: Path, row: int, **values: object) -> None:
    rows = read_cell(cell).table.to_pylist()
    rows[row] |= values
    replace_table(cell, pa.Table.from_pylist(rows, schema=TRACE_SCHEMA))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"request_id": "r00003"}, "has the request_id of an earlier row"),
        ({"t_first_token": None}, "status ok but no time"),
        ({"t_last_token": float("nan")}, "status ok but no time"),
        ({"t_first_token": 0.5}, "first token before it was sent"),
        ({"t_first_token": 0.1 * 7 + 0.0005}, "first token before it was sent"),
        ({"t_last_token": 0.71}, "last token before its first"),
        ({"t_last_token": float("inf")}, "time without end"),
        ({"t_intended": 0.8}, "sent before it was intended"),
        ({"t_sent": float("nan")}, "t_sent is not a number"),
        ({"t_intended": float("-inf")}, "t_intended is not a number"),
        ({"prefill_worker": 1}, "unknown prefill worker"),
        ({"decode_worker": 2}, "unknown decode worker"),
        ({"decode_worker": -2}, "worker below -1"),
        ({"phase": "lunch"}, "unknown phase"),
        ({"output_tokens": -1}, "negative number of tokens"),
        ({"input_tokens": -1}, "negative number of tokens"),
    ],
)
def test_impossible_rows_are_refused_by_number_and_id(
    cell: Path, values: dict[str, object], what: str
) -> None:
    spoil(cell, 7, **values)
    named = values.get("request_id", "r00007")
    refused(cell, rf"row 7 \({named}\) .*{what}", cell / TRACE_FILE)


def test_rows_are_counted_in_the_order_of_the_file(cell: Path) -> None:
    rows = read_cell(cell).table.to_pylist()[::-1]
    rows[0] |= {"decode_worker": 9}
    replace_table(cell, pa.Table.from_pylist(rows, schema=TRACE_SCHEMA))
    refused(cell, r"row 0 \(r00199\) names an unknown decode worker", cell / TRACE_FILE)


def test_a_trace_in_another_order_is_read_in_the_order_of_sending(cell: Path) -> None:
    replace_table(cell, pa.Table.from_pylist(read_cell(cell).table.to_pylist()[::-1], schema=TRACE_SCHEMA))
    assert np.all(np.diff(read_cell(cell).column("t_sent")) > 0)


@pytest.mark.parametrize("workers", [{"prefill_worker": -1}, {"decode_worker": -1}])
def test_an_unknown_worker_is_not_an_impossible_one(cell: Path, workers: dict[str, object]) -> None:
    spoil(cell, 7, **workers)
    assert read_cell(cell).table.num_rows == 200


def test_a_failed_request_needs_no_times(tmp_path: Path) -> None:
    sealed(tmp_path, [record(0), record(1, status="http_503", t_first_token=None, t_last_token=None)])
    assert read_cell(tmp_path).table.num_rows == 2


def test_an_empty_cell_is_read_and_measures_nothing(tmp_path: Path) -> None:
    sealed(tmp_path, [])
    assert not read_cell(tmp_path).measured.any()


def test_somebody_elses_trace_needs_the_first_block_alone(tmp_path: Path) -> None:
    sealed(tmp_path)
    least = manifest().model_dump(
        include={"cell", "model", "topology", "policy", "concurrency", "n_workers", "launch"}
    )
    seal = json.loads((tmp_path / MANIFEST_FILE).read_text())["seal"]
    (tmp_path / MANIFEST_FILE).write_text(json.dumps({"schema_version": 1, "seal": seal, **least}))
    trace = read_cell(tmp_path)
    assert trace.manifest.engine == "unknown"
    assert trace.manifest.gates is None
