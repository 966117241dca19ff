"""Anybody's trace is read: least columns, least manifest, no seal; what cannot be is refused by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anarchy.gates.verdict import evaluate_public
from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.reader import read_trace
from anarchy.trace.schema import ADDED_COLUMNS, PUBLIC_SCHEMA, TRACE_SCHEMA, TraceRow
from tests.helpers.ladder_samples import closed_loop, write_trace


@pytest.fixture
def table() -> pd.DataFrame:
    return closed_loop(8, n=100)


def refused(folder: Path, what: str, where: str = TRACE_FILE) -> None:
    with pytest.raises(UserError, match=what) as caught:
        read_trace(folder)
    assert caught.value.where == folder / where
    assert caught.value.remedy


def test_the_least_manifest_and_pandas_types_are_enough(tmp_path: Path, table: pd.DataFrame) -> None:
    trace = read_trace(write_trace(tmp_path / "cell", table))
    assert trace.table.schema.equals(PUBLIC_SCHEMA)
    assert trace.manifest.seal is None
    assert trace.measured.sum() == 90


def test_columns_that_nobody_needs_may_be_missing(tmp_path: Path, table: pd.DataFrame) -> None:
    bare = table[["request_id", "t_sent", "t_first_token", "t_last_token", "phase", "status"]].assign(
        decode_worker=table["decode_worker"].astype("Int64"), prefill_worker=-1
    )
    trace = read_trace(write_trace(tmp_path / "cell", bare))
    assert np.isnan(trace.column("t_intended")).all()
    assert (trace.column("input_tokens") == -1).all()
    assert trace.column("policy").tolist() == [None] * 100


@pytest.mark.parametrize("name", ["request_id", "t_sent", "phase", "status", "decode_worker"])
def test_a_needed_column_is_named(tmp_path: Path, table: pd.DataFrame, name: str) -> None:
    refused(write_trace(tmp_path / "cell", table.drop(columns=name)), f"lacks the columns {name}")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("t_sent", None, "row 7 has no t_sent"),
        ("status", None, "row 7 has no status"),
        ("t_first_token", -1.0, r"row 7 \(r000007\) has its first token before it was sent"),
        ("t_last_token", 0.0, r"row 7 \(r000007\) has its last token before it was sent"),
        ("t_intended", 1e9, r"row 7 \(r000007\) was sent before it was intended"),
        ("decode_worker", 2, r"row 7 \(r000007\) names an unknown decode worker"),
        ("decode_worker", -3, "worker below -1"),
        ("request_id", "r000003", r"row 7 \(r000003\) has the request_id of an earlier row"),
        ("policy", "adaptive", "mixed deployments"),
        ("phase", "lunch", "unknown phase"),
        ("t_sent", float("inf"), "t_sent is not a number"),
    ],
)
def test_impossible_rows_are_refused(
    tmp_path: Path, table: pd.DataFrame, name: str, value: Any, what: str
) -> None:
    table = table.astype({name: object}) if value is None else table
    table.loc[7, name] = value
    refused(write_trace(tmp_path / "cell", table), what)


def test_a_time_of_another_type_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    stamped = table.assign(t_sent=pd.to_datetime(table["t_sent"], unit="s"))
    refused(write_trace(tmp_path / "cell", stamped), "wrong type")


def test_an_unknown_worker_may_be_null(tmp_path: Path, table: pd.DataFrame) -> None:
    unknown = table.assign(prefill_worker=pd.array([None] * 100, dtype="Int64"))
    assert (read_trace(write_trace(tmp_path / "cell", unknown)).column("prefill_worker") == -1).all()


def test_rows_come_back_in_order_of_sending(tmp_path: Path, table: pd.DataFrame) -> None:
    straight = read_trace(write_trace(tmp_path / "a", table))
    shuffled = read_trace(write_trace(tmp_path / "b", table.sample(frac=1.0, random_state=1)))
    assert straight.table.equals(shuffled.table)


def test_ties_in_time_are_ordered_by_id(tmp_path: Path, table: pd.DataFrame) -> None:
    table["t_sent"] = table["t_intended"] = 0.0
    trace = read_trace(write_trace(tmp_path / "cell", table.iloc[::-1]))
    assert trace.column("request_id").tolist() == sorted(table["request_id"])


@pytest.mark.parametrize(
    "missing", ["cell", "model", "topology", "policy", "concurrency", "n_workers", "launch"]
)
def test_every_key_of_the_least_manifest_is_needed(tmp_path: Path, table: pd.DataFrame, missing: str) -> None:
    folder = write_trace(tmp_path / "cell", table)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    del manifest[missing]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    refused(folder, f"key '{missing}'", MANIFEST_FILE)


@pytest.mark.parametrize("version", [2, "1", None, True])
def test_another_schema_version_is_refused(tmp_path: Path, table: pd.DataFrame, version: object) -> None:
    refused(write_trace(tmp_path / "cell", table, schema_version=version), "schema version", MANIFEST_FILE)


def test_a_seal_is_checked_where_there_is_one(tmp_path: Path, table: pd.DataFrame) -> None:
    folder = write_trace(tmp_path / "cell", table)
    good = {"file": TRACE_FILE, "rows": 100, "sha256": sha256_of(folder / TRACE_FILE)}
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"seal": good}))
    assert read_trace(folder).manifest.seal is not None
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"seal": good | {"sha256": "0" * 64}}))
    refused(folder, "does not match its seal")
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"seal": good | {"rows": 99}}))
    refused(folder, "100 rows, sealed 99")


def test_half_a_trace_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="holds no trace"):
        read_trace(tmp_path)
    folder = write_trace(tmp_path / "cell", table)
    (folder / TRACE_FILE).unlink()
    refused(folder, "there is no trace")
    other = write_trace(tmp_path / "other", table)
    (other / MANIFEST_FILE).unlink()
    refused(other, "no manifest", MANIFEST_FILE)


def test_overlap_columns_are_kept(tmp_path: Path, table: pd.DataFrame) -> None:
    told = table.assign(decode_overlap=pd.Series([[0.0, 1.0]] * 99 + [None]))
    assert read_trace(write_trace(tmp_path / "cell", told)).table.column("decode_overlap").null_count == 1


def test_the_models_of_a_row_agree() -> None:
    assert TRACE_SCHEMA.names == PUBLIC_SCHEMA.names
    required = {name for name, field in TraceRow.model_fields.items() if field.is_required()}
    never_null = {field.name for field in PUBLIC_SCHEMA if not field.nullable}
    assert required == never_null
    extra = set(TraceRow.model_fields) - set(PUBLIC_SCHEMA.names)
    assert extra == {"prefill_overlap", "decode_overlap"}
    assert set(ADDED_COLUMNS) <= {field.name for field in TRACE_SCHEMA if field.nullable}


def test_gates_that_a_trace_alone_can_answer(tmp_path: Path, table: pd.DataFrame) -> None:
    cell = write_trace(tmp_path / "good", closed_loop(8, n=400), concurrency=8)
    good = evaluate_public(read_trace(cell), "decode")
    assert (good.valid, good.reasons) == (True, ())
    failed = closed_loop(8, n=400)
    failed.loc[100:140, "status"] = "timeout"
    failed["decode_worker"] = 0
    failed["prefill_worker"] = -1
    bad = evaluate_public(read_trace(write_trace(tmp_path / "bad", failed, concurrency=8)), "decode")
    assert bad.reasons == ("errors", "worker_silent")
    nothing = evaluate_public(
        read_trace(write_trace(tmp_path / "none", table.assign(status="http_503"))), "decode"
    )
    assert set(nothing.reasons) == {"errors", "zero_tokens", "in_flight", "short"}


def test_the_wrong_file_is_not_parquet(tmp_path: Path, table: pd.DataFrame) -> None:
    folder = write_trace(tmp_path / "cell", table)
    (folder / TRACE_FILE).write_text("not parquet")
    refused(folder, "not a Parquet file")


def test_an_empty_trace_is_read(tmp_path: Path) -> None:
    folder = write_trace(tmp_path / "cell", closed_loop(8, n=40))
    pq.write_table(pa.Table.from_pylist([], schema=PUBLIC_SCHEMA), folder / TRACE_FILE)
    assert read_trace(folder).table.num_rows == 0


@pytest.mark.parametrize("name", ["t_sent", "t_first_token", "decode_worker", "output_tokens"])
def test_numbers_as_texts_are_refused(tmp_path: Path, table: pd.DataFrame, name: str) -> None:
    texts = table.assign(**{name: table[name].astype(str)})
    refused(write_trace(tmp_path / "cell", texts), f"column {name} has the wrong type: .*string, not numbers")


def test_truth_values_are_no_times(tmp_path: Path, table: pd.DataFrame) -> None:
    refused(write_trace(tmp_path / "cell", table.assign(t_sent=True)), "bool, not numbers")


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    cell = write_trace(tmp_path / "cell", table)
    arrow = pq.read_table(cell / TRACE_FILE)
    pq.write_table(arrow.append_column("t_sent", arrow.column("t_sent")), cell / TRACE_FILE)
    refused(cell, "has the column t_sent more than once")


def test_more_rows_than_anybody_measures_are_refused_before_they_are_read(
    tmp_path: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anarchy.trace.reader.MAX_ROWS", 99)
    refused(write_trace(tmp_path / "cell", table), "100 rows; at most 99 are read")


def test_texts_that_are_no_utf_8_are_refused(tmp_path: Path, table: pd.DataFrame) -> None:
    folder = write_trace(tmp_path / "cell", table)
    spoiled = pq.read_table(folder / TRACE_FILE)
    ids = pa.array([b"\x80"] + [b"r%05d" % n for n in range(1, spoiled.num_rows)], pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(ids), ids.buffers())
    at = spoiled.column_names.index("request_id")
    pq.write_table(spoiled.set_column(at, "request_id", text), folder / TRACE_FILE)
    refused(folder, "UTF8")
