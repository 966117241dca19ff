"""Imported traces: recorded samples row by row, the join of both formats, and every fault."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anarchy.ground.errors import UserError
from anarchy.ground.files import sha256_of
from anarchy.trace.importers import Facts, detect, import_trace
from anarchy.trace.importers.lines import json_lines
from anarchy.trace.reader import CellTrace, read_trace
from anarchy.trace.schema import PUBLIC_SCHEMA
from anarchy.trace.writer import seal
from tests.helpers.places import SAMPLES

DYNAMO = SAMPLES / "dynamo_request_trace.jsonl"
KINDS = SAMPLES / "dynamo_kinds.jsonl"
AIPERF = SAMPLES / "aiperf"
ERRORS = SAMPLES / "aiperf_errors.jsonl"
PREFILL = "14221839149408555312"
DECODE = ("12088615845958562245", "16901787718543993641")

LOADED = Facts(concurrency=8)
TOLD = Facts(concurrency=8, model="m", prefill_workers=1, decode_workers=2)

Change = Callable[[dict[str, Any]], None]


def rows_of(trace: CellTrace) -> dict[str, dict[str, Any]]:
    return {row["request_id"]: row for row in trace.table.to_pylist()}


def records(sample: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sample.read_text().splitlines()]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def spoiled(tmp_path: Path, sample: Path, change: Change) -> Path:
    """The sample with its third record changed."""
    rows = records(sample)
    change(rows[2])
    return written(tmp_path / "spoiled.jsonl", rows)


# Dynamo's request trace


def test_dynamo_sample_is_recognised_and_whole() -> None:
    assert detect(DYNAMO) == "dynamo"
    trace = import_trace(DYNAMO, LOADED)
    assert trace.table.schema.equals(PUBLIC_SCHEMA)
    assert trace.table.num_rows == 60
    assert Counter(trace.table.column("status").to_pylist()) == {"ok": 60}
    assert Counter(trace.table.column("decode_worker").to_pylist()) == {0: 29, 1: 31}
    sent = trace.table.column("t_sent").to_pylist()
    assert sent == sorted(sent)
    assert sent[0] == 0.0


def test_a_dynamo_row_is_what_the_record_says() -> None:
    row = rows_of(import_trace(DYNAMO, LOADED))["482e354c-9a85-4622-a626-b2f0319f226d"]
    # received at ...534 053 ms, the earliest of the sample at ...534 050; ttft 47.729 ms, in all 390.818 ms
    assert row["t_sent"] == pytest.approx(0.003, abs=1e-9)
    assert row["t_first_token"] is None  # ttft_ms is the end of prefill
    assumed = import_trace(DYNAMO, dataclasses.replace(LOADED, assume_ttft_is_first_token=True))
    first = rows_of(assumed)["482e354c-9a85-4622-a626-b2f0319f226d"]["t_first_token"]
    assert first == pytest.approx(0.003 + 0.047729, abs=1e-9)
    assert any("end of prefill" in word for word in assumed.manifest.source["assumptions"])
    assert row["t_last_token"] == pytest.approx(0.003 + 0.390818, abs=1e-9)
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"]) == (128, 21, 0)
    assert (row["prefill_worker"], row["phase"], row["status"]) == (0, "measure", "ok")
    unknown = ("t_intended", "user", "template", "policy", "tau", "omega", "regime")
    assert [row[name] for name in unknown] == [None] * len(unknown)


def test_dynamo_manifest_says_what_is_known() -> None:
    manifest = import_trace(DYNAMO, LOADED).manifest
    assert (manifest.cell, manifest.model, manifest.topology) == (
        "dynamo_request_trace",
        "llama-3.1-70b",
        "1p2d",
    )
    assert (manifest.policy, manifest.engine, manifest.launch, manifest.concurrency) == (
        "unknown",
        "unknown",
        1,
        8,
    )
    assert [(worker.role, worker.index, worker.instance_id) for worker in manifest.workers] == [
        ("prefill", 0, PREFILL),
        ("decode", 0, DECODE[0]),
        ("decode", 1, DECODE[1]),
    ]
    assert manifest.started_at == "2026-11-21T23:25:34.050+00:00"
    assert manifest.duration_s == pytest.approx(3.546955, abs=1e-9)
    assert manifest.source["file"] == DYNAMO.name
    assert manifest.source["sha256"] == sha256_of(DYNAMO)
    assert manifest.source["format"] == "dynamo.request.trace.v1"
    assert manifest.source["assumptions"] == []
    assert any("n_workers.decode is 2, the workers seen" in note for note in manifest.source["notes"])


def test_every_kind_of_dynamo_record() -> None:
    trace = import_trace(KINDS, LOADED)
    assert Counter(trace.table.column("status").to_pylist()) == {"ok": 7, "truncated": 4, "zero_tokens": 1}
    assert trace.manifest.n_workers.prefill == 1, "a routing query names a decode worker as both"
    assert (
        "2 records of type routing query are no requests and were left out"
        in (trace.manifest.source["notes"])
    )
    (assumed,) = trace.manifest.source["assumptions"]
    assert assumed.startswith("ok_without_finish_reason: 4 requests")
    by_name = {record["event"]["request"].get("x_request_id"): record for record in records(KINDS)}
    rows = rows_of(trace)

    def row(name: str) -> dict[str, Any]:
        return rows[by_name[name]["event"]["request"]["request_id"]]

    assert row("s-one")["output_tokens"] == 1
    assert row("s-abort-mid")["status"] == "truncated"
    assert row("s-abort-mid")["t_last_token"] > row("s-abort-mid")["t_sent"]
    assert row("s-abort-early")["t_last_token"] is None, "it never had a token at the client"
    assert row("s-workerdeath-0")["status"] == "truncated"


def test_dynamo_rows_of_other_shapes(tmp_path: Path) -> None:
    """Without the sink's envelope, compact as without session header, tool records between."""
    bare = [record["event"] for record in records(DYNAMO)[:4]]
    bare[0] = {
        **{key: bare[0][key] for key in ("schema", "event_type", "event_time_unix_ms")},
        "request": {
            **{
                key: bare[0]["request"][key] for key in ("request_id", "output_tokens", "request_received_ms")
            },
            "replay": {"trace_block_size": 16, "input_length": 77, "input_sequence_hashes": [2**63 + 1]},
        },
    }
    bare.insert(1, {"schema": bare[0]["schema"], "event_type": "tool_start", "event_time_unix_ms": 1})
    trace = import_trace(written(tmp_path / "t.jsonl", bare), LOADED)
    row = rows_of(trace)[bare[0]["request"]["request_id"]]
    took = (bare[0]["event_time_unix_ms"] - bare[0]["request"]["request_received_ms"]) / 1000
    assert row["t_last_token"] - row["t_sent"] == pytest.approx(took, abs=1e-9)
    assert (row["t_first_token"], row["cached_tokens"]) == (None, None)
    assert (row["input_tokens"], row["status"]) == (77, "ok")
    assert (row["prefill_worker"], row["decode_worker"]) == (-1, -1)
    notes = trace.manifest.source["notes"]
    assert "1 requests name no decode worker" in notes
    assert "1 records of type tool_start are no requests and were left out" in notes


@pytest.mark.parametrize(
    ("reasons", "status"),
    [
        ({"finish_reason": "stop", "backend_finish_reason": "error: out of memory"}, "error"),
        ({"finish_reason": "stop", "backend_finish_reason": "cancelled"}, "cancelled"),
        ({"backend_finish_reason": "eos"}, "ok"),
        ({"finish_reason": "content_filter"}, "ok"),
        ({"finish_reason": "insufficient_quota"}, "insufficient_quota"),
    ],
)
def test_finish_reasons_become_statuses(tmp_path: Path, reasons: dict[str, str], status: str) -> None:
    def change(record: dict[str, Any]) -> None:
        record["event"]["request"]["finish_reason_metadata"] = reasons

    trace = import_trace(spoiled(tmp_path, DYNAMO, change), LOADED)
    assert rows_of(trace)[records(DYNAMO)[2]["event"]["request"]["request_id"]]["status"] == status


def segments(folder: Path, prefix: str = "trace", count: int = 3) -> list[Path]:
    """The sample as Dynamo's gzip segments, each of several gzip members, as its sink flushes them."""
    lines = DYNAMO.read_bytes().splitlines(keepends=True)
    share = len(lines) // count
    paths = []
    for number in range(count):
        mine = lines[number * share : (number + 1) * share]
        path = folder / f"{prefix}.{number:06d}.jsonl.gz"
        path.write_bytes(gzip.compress(b"".join(mine[:5])) + gzip.compress(b"".join(mine[5:])))
        paths.append(path)
    return paths


def test_segments_are_one_trace(tmp_path: Path) -> None:
    segments(tmp_path)
    whole = import_trace(DYNAMO, LOADED)
    for source in (tmp_path, tmp_path / "trace"):
        assert detect(source) == "dynamo"
        trace = import_trace(source, LOADED)
        assert trace.table.equals(whole.table)
        assert trace.manifest.cell == "trace"
        assert list(trace.manifest.source["files"]) == [f"trace.{number:06d}.jsonl.gz" for number in range(3)]


def test_one_segment_says_that_there_are_others(tmp_path: Path) -> None:
    trace = import_trace(segments(tmp_path)[1], LOADED)
    assert trace.table.num_rows == 20
    assert any("2 others lie beside it" in note for note in trace.manifest.source["notes"])


def test_a_trace_that_lost_its_first_segment_says_so(tmp_path: Path) -> None:
    segments(tmp_path, prefix="run[1]")[0].unlink()
    trace = import_trace(tmp_path / "run[1]", LOADED)
    assert trace.table.num_rows == 40
    assert trace.manifest.cell == "run-1-"
    assert any("begins with segment 000001" in note for note in trace.manifest.source["notes"])


def test_segments_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    paths = segments(tmp_path)
    paths[1].rename(tmp_path / "away")
    with pytest.raises(UserError, match="segment 000001 is missing"):
        import_trace(tmp_path, LOADED)
    assert import_trace(paths[2], LOADED).table.num_rows == 20, "by itself it may be read"
    segments(tmp_path, prefix="other")
    with pytest.raises(UserError, match="several traces: other, trace"):
        import_trace(tmp_path, LOADED)
    with pytest.raises(UserError, match="neither a file nor a folder"):
        import_trace(tmp_path / "nothing", LOADED)


def test_several_models_are_refused(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["event"]["request"]["model"] = "another"

    with pytest.raises(UserError, match=r"several models: another, llama-3\.1-70b"):
        import_trace(spoiled(tmp_path, DYNAMO, change), LOADED)


def test_data_parallel_ranks_are_workers_of_their_own(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["event"]["request"]["worker"] |= {"decode_worker_id": int(DECODE[0]), "decode_dp_rank": 1}

    manifest = import_trace(spoiled(tmp_path, DYNAMO, change), LOADED).manifest
    names = [worker.instance_id for worker in manifest.workers if worker.role == "decode"]
    assert names == [f"{DECODE[0]}:0", f"{DECODE[0]}:1", f"{DECODE[1]}:0"]


# aiperf's export


def test_aiperf_sample_tells_its_own_settings() -> None:
    assert detect(AIPERF) == detect(AIPERF / "profile_export.jsonl") == "aiperf"
    trace = import_trace(AIPERF, Facts(prefill_workers=1, decode_workers=2))
    assert trace.table.schema.equals(PUBLIC_SCHEMA)
    assert trace.table.num_rows == 80
    assert Counter(trace.table.column("phase").to_pylist()) == {"warmup": 16, "measure": 64}
    manifest = trace.manifest
    assert (manifest.cell, manifest.model, manifest.concurrency) == ("aiperf", "llama-3.1-70b", 8)
    assert manifest.versions == {"aiperf": "0.13.0"}
    assert manifest.workers == ()
    assert set(trace.table.column("decode_worker").to_pylist()) == {-1}
    assert set(trace.table.column("cached_tokens").to_pylist()) == {None}


def test_an_aiperf_row_is_what_the_record_says() -> None:
    trace = import_trace(AIPERF, Facts(prefill_workers=1, decode_workers=2))
    row = rows_of(trace)["5b52738f-02b0-4ae0-9a40-69cd1a131b60"]
    record = records(AIPERF / "profile_export.jsonl")[0]
    assert record["metadata"]["x_request_id"] == row["request_id"]
    # credit ...034 032 662 882, start ...034 046 163 238; first token after 103.425299, last 399.241166 ms
    assert row["t_sent"] - row["t_intended"] == pytest.approx(0.013500356, abs=1e-9)
    assert row["t_first_token"] - row["t_sent"] == pytest.approx(0.103425299, abs=1e-9)
    assert row["t_last_token"] - row["t_sent"] == pytest.approx(0.399241166, abs=1e-9)
    assert (row["input_tokens"], row["output_tokens"], row["phase"], row["status"]) == (
        128,
        21,
        "warmup",
        "ok",
    )
    assert min(row["t_intended"] for row in trace.table.to_pylist()) == 0.0


def test_the_join_takes_times_from_the_client_and_workers_from_the_server() -> None:
    trace = import_trace(AIPERF, Facts(), workers_from=(DYNAMO,))
    alone = import_trace(AIPERF, Facts(prefill_workers=1, decode_workers=2))
    for name in ("request_id", "t_intended", "t_sent", "t_first_token", "t_last_token", "output_tokens"):
        assert trace.table.column(name).equals(alone.table.column(name))
    server = {record["event"]["request"]["x_request_id"]: record for record in records(DYNAMO)}
    for name, row in rows_of(trace).items():
        if name in server:
            request = server[name]["event"]["request"]
            assert row["decode_worker"] == DECODE.index(str(request["worker"]["decode_worker_id"]))
            assert (row["prefill_worker"], row["cached_tokens"]) == (0, request["cached_tokens"])
        else:
            assert (row["prefill_worker"], row["decode_worker"], row["cached_tokens"]) == (-1, -1, None)
    assert trace.manifest.topology == "1p2d"
    assert trace.manifest.source["workers_from"]["sha256"] == sha256_of(DYNAMO)
    assert any(
        note.startswith("60 of 80 requests are in the Dynamo") for note in trace.manifest.source["notes"]
    )


def test_what_aiperf_saw_fail() -> None:
    trace = import_trace(ERRORS, TOLD)
    assert Counter(trace.table.column("status").to_pylist()) == {
        "http_404": 1,
        "timeout": 2,
        "cancelled": 2,
        "ok": 2,
    }
    for row in trace.table.to_pylist():
        assert (row["t_last_token"] is None) == (row["status"] != "ok")
        assert row["input_tokens"] == 128
        assert row["t_end"] >= row["t_sent"], "whatever became of it, its end is known"
    assert any("2 cancelled requests were stamped late" in note for note in trace.manifest.source["notes"])
    cancelled = [row for row in trace.table.to_pylist() if row["status"] == "cancelled"]
    for row in cancelled:
        assert row["t_sent"] - row["t_intended"] < 0.01, "stamped 165 ms later"
        assert row["t_end"] - row["t_sent"] == pytest.approx(0.163, abs=1e-3)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"type": "ServerDisconnectedError", "message": "x"}, "disconnect"),
        ({"type": "ClientConnectorError", "message": "x"}, "disconnect"),
        ({"type": "RequestSendTimeout", "code": 0, "message": "x"}, "timeout"),
        ({"type": "Service Unavailable", "code": 503, "message": "x"}, "http_503"),
        ({"type": "InvalidInferenceResultError", "message": "x"}, "invalid_inference_result_error"),
        ({"message": "x"}, "error"),
    ],
)
def test_errors_become_statuses(tmp_path: Path, error: dict[str, Any], status: str) -> None:
    def change(record: dict[str, Any]) -> None:
        record.update(error=error, metrics={})

    source = spoiled(tmp_path, AIPERF / "profile_export.jsonl", change)
    name = records(source)[2]["metadata"]["x_request_id"]
    assert rows_of(import_trace(source, TOLD))[name]["status"] == status


def test_good_without_a_token_is_zero_tokens(tmp_path: Path) -> None:
    source = spoiled(tmp_path, AIPERF / "profile_export.jsonl", lambda record: record.update(metrics={}))
    name = records(source)[2]["metadata"]["x_request_id"]
    assert rows_of(import_trace(source, TOLD))[name]["status"] == "zero_tokens"


def test_no_remedy_names_an_option_that_does_not_exist(tmp_path: Path) -> None:
    def forty_years_later(row: dict[str, Any]) -> None:
        row["event"]["request"]["request_received_ms"] += 40 * 365 * 86_400_000

    with pytest.raises(UserError, match="duration s") as refused:
        import_trace(spoiled(tmp_path, DYNAMO, forty_years_later), LOADED)
    assert "--" not in refused.value.remedy


def test_a_foreign_x_request_id_or_one_used_twice_is_refused(tmp_path: Path) -> None:
    rows = records(DYNAMO)
    for row in rows:
        row["event"]["request"]["x_request_id"] = "same"
    other = written(tmp_path / "other.jsonl", rows)
    with pytest.raises(UserError, match="no x-request-id is in both"):
        import_trace(AIPERF, Facts(), workers_from=(other,))
    rows[0]["event"]["request"]["x_request_id"] = rows[1]["event"]["request"]["x_request_id"] = "5b52738f"
    export = records(AIPERF / "profile_export.jsonl")
    export[0]["metadata"]["x_request_id"] = "5b52738f"
    with pytest.raises(UserError, match="more than once"):
        import_trace(
            written(tmp_path / "export.jsonl", export),
            TOLD,
            workers_from=(written(tmp_path / "t.jsonl", rows),),
        )


def test_a_trace_without_session_headers_cannot_be_joined(tmp_path: Path) -> None:
    rows = records(DYNAMO)
    for row in rows:
        del row["event"]["request"]["x_request_id"]
    with pytest.raises(UserError, match="session header") as error:
        import_trace(AIPERF, Facts(), workers_from=(written(tmp_path / "t.jsonl", rows),))
    assert "--session-header X-Dynamo-Session-ID" in error.value.remedy
    with pytest.raises(UserError, match="names its workers itself"):
        import_trace(DYNAMO, LOADED, workers_from=(DYNAMO,))


def settings(tmp_path: Path, phases: list[dict[str, Any]], models: list[str]) -> Path:
    """The export beside settings of these phases and models."""
    (tmp_path / "profile_export.jsonl").write_bytes((AIPERF / "profile_export.jsonl").read_bytes())
    config = {"models": {"items": [{"name": name} for name in models]}, "phases": phases}
    (tmp_path / "profile_export_aiperf.json").write_text(json.dumps({"input_config": config}))
    return tmp_path


def phase(**values: Any) -> dict[str, Any]:
    return {"kind": "profiling", "type": "concurrency", "concurrency": 8, **values}


def test_settings_that_do_not_decide_are_refused(tmp_path: Path) -> None:
    known = Facts(prefill_workers=1, decode_workers=2)
    several = settings(tmp_path, [phase(), phase(concurrency=16)], ["m"])
    for facts in (known, dataclasses.replace(known, concurrency=8)):
        with pytest.raises(UserError, match=r"several values of concurrency: 8, 16[\s\S]*run aiperf once"):
            import_trace(several, facts)
    with pytest.raises(UserError, match=r"several values of model: a, b[\s\S]*once for each model"):
        import_trace(settings(tmp_path, [phase()], ["a", "b"]), known)
    with pytest.raises(UserError, match=r"tells the concurrency[\s\S]*--concurrency 64"):
        import_trace(settings(tmp_path, [phase(type="request_rate")], ["a"]), known)
    (tmp_path / "profile_export_aiperf.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        import_trace(tmp_path, known)


# What the caller tells


def test_the_caller_may_know_more_than_the_source() -> None:
    facts = Facts(
        cell="c",
        model="other",
        topology="2p4d",
        policy="static",
        engine="mocker",
        launch=3,
        concurrency=9,
        prefill_workers=2,
        decode_workers=4,
    )
    trace = import_trace(AIPERF, facts, workers_from=(DYNAMO,))
    manifest = trace.manifest
    told = {
        name: getattr(manifest, name) for name in ("cell", "model", "topology", "policy", "engine", "launch")
    }
    assert told == {name: getattr(facts, name) for name in told}
    assert (manifest.concurrency, manifest.n_workers.prefill, manifest.n_workers.decode) == (9, 2, 4)
    assert set(trace.table.column("policy").to_pylist()) == {"static"}
    assert "concurrency: the source says 8, the caller 9; the caller's stands" in manifest.source["notes"]
    assert not any("the workers seen" in note for note in manifest.source["notes"])


@pytest.mark.parametrize("source", [DYNAMO, AIPERF])
def test_intended_is_sent_only_when_asked(source: Path) -> None:
    trace = import_trace(source, dataclasses.replace(TOLD, assume_intended_is_sent=True))
    assert trace.table.column("t_intended").equals(trace.table.column("t_sent"))
    assert trace.table.column("t_sent")[0].as_py() == 0.0
    assert any(text.startswith("intended_is_sent") for text in trace.manifest.source["assumptions"])


def test_cuts_turn_the_ends_into_warmup_and_cooldown() -> None:
    trace = import_trace(DYNAMO, Facts(concurrency=8, warmup_s=1.0, cooldown_s=0.5))
    sent = trace.table.column("t_sent").to_pylist()
    for time, name in zip(sent, trace.table.column("phase").to_pylist(), strict=True):
        assert name == ("warmup" if time < 1.0 else "cooldown" if time > sent[-1] - 0.5 else "measure")
    assert len(trace.manifest.source["assumptions"]) == 2
    aiperf = import_trace(AIPERF, dataclasses.replace(TOLD, warmup_s=0.5))
    assert Counter(aiperf.table.column("phase").to_pylist())["warmup"] > 16
    with pytest.raises(UserError, match="no measured request is left of 60"):
        import_trace(DYNAMO, Facts(concurrency=8, warmup_s=100.0))


@pytest.mark.parametrize(
    ("source", "facts", "option"),
    [
        (DYNAMO, Facts(), "--concurrency 64"),
        (ERRORS, Facts(concurrency=8, prefill_workers=1, decode_workers=2), "--model"),
        (AIPERF, Facts(), "--prefill-workers 2"),
        (AIPERF, Facts(prefill_workers=1), "--decode-workers 2"),
        (DYNAMO, Facts(concurrency=8, decode_workers=1), "--decode-workers 2 or more"),
        (DYNAMO, Facts(concurrency=8, engine="Tensor RT"), "--engine"),
    ],
)
def test_facts_that_nobody_tells_name_their_option(source: Path, facts: Facts, option: str) -> None:
    with pytest.raises(UserError) as error:
        import_trace(source, facts)
    assert option in error.value.remedy


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"prefill_workers": 0},
        {"launch": -1},
        {"warmup_s": -1.0},
        {"cooldown_s": float("nan")},
        {"warmup_s": float("inf")},
    ],
)
def test_facts_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--"):
        Facts(**wrong)


@pytest.mark.parametrize(
    ("source", "facts", "workers_from"),
    [(DYNAMO, LOADED, ()), (AIPERF, Facts(), (DYNAMO,)), (ERRORS, TOLD, ())],
)
def test_an_imported_trace_can_be_sealed_and_read(
    tmp_path: Path, source: Path, facts: Facts, workers_from: tuple[Path, ...]
) -> None:
    trace = import_trace(source, facts, workers_from=workers_from)
    folder = tmp_path / "cell"
    folder.mkdir()
    seal(folder, trace.table, trace.manifest)
    again = read_trace(folder)
    assert again.table.equals(trace.table)
    assert again.manifest.source == trace.manifest.source


# Faults


def test_neither_format_is_told_apart(tmp_path: Path) -> None:
    other = written(tmp_path / "other.jsonl", [{"a": 1}])
    with pytest.raises(UserError, match="JSON, but of no format known here"):
        import_trace(other, TOLD)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        import_trace(tmp_path / "empty.jsonl", TOLD)


def set_request(**values: Any) -> Change:
    return lambda record: record["event"]["request"].update(values)


def set_metric(name: str, **values: Any) -> Change:
    return lambda record: record["metrics"][name].update(values)


def set_meta(**values: Any) -> Change:
    return lambda record: record["metadata"].update(values)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda record: record["event"].update(schema="dynamo.request.trace.v2"),
            "has schema 'dynamo.request",
        ),
        (lambda record: record["event"].pop("schema"), "has schema None"),
        (lambda record: record["event"].update(event_type="surprise"), "unknown event type 'surprise'"),
        (lambda record: record["event"].pop("request"), "has no object 'request'"),
        (set_request(ttft_ms=-1.0), "a duration is not negative"),
        (set_request(ttft_ms="5"), "ttft_ms is '5', not a duration"),
        (set_request(ttft_ms=True), "not a duration"),
        (set_request(total_time_ms=1.0), "ended 0.0[0-9]+ s before its prefill did"),
        (set_request(request_received_ms=None), "has no request_received_ms"),
        (set_request(request_received_ms=1.5), "not a whole number"),
        (set_request(request_received_ms=1795303534053000), "not within 0 and"),
        (set_request(request_id=None), "has no request_id"),
        (set_request(request_id=7), "request_id is 7, not a text"),
        (set_request(output_tokens=-1), "output_tokens is -1, not within 0"),
        (set_request(worker=3), "has no object 'worker'"),
        (set_request(worker={"decode_worker_id": "a"}), "decode_worker_id is 'a', not a whole number"),
        (set_request(request_id="482e354c-9a85-4622-a626-b2f0319f226d"), "repeats the request id"),
    ],
)
def test_a_bad_dynamo_record_is_refused_with_its_line(tmp_path: Path, change: Change, what: str) -> None:
    source = spoiled(tmp_path, DYNAMO, change)
    with pytest.raises(UserError, match=what) as error:
        import_trace(source, LOADED)
    assert error.value.where == f"{source}:3"


def test_a_compact_row_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["event"]["event_time_unix_ms"] = 5
        del record["event"]["request"]["total_time_ms"]

    with pytest.raises(UserError, match="ended before it was received"):
        import_trace(spoiled(tmp_path, DYNAMO, change), LOADED)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda record: record.pop("metrics"), "has no object 'metrics'"),
        (lambda record: record.update(error="bad"), "has no object 'error'"),
        (set_meta(request_start_ns=None), "has no request_start_ns"),
        (set_meta(request_end_ns=1), "ended [0-9.e+]+ s before it started"),
        (set_meta(benchmark_phase="cooldown"), "unknown benchmark_phase 'cooldown'"),
        (set_meta(credit_issued_ns=1795303535000000000), "before it was meant to be"),
        (set_meta(x_request_id="5b52738f-02b0-4ae0-9a40-69cd1a131b60"), "repeats the request id"),
        (set_metric("request_latency", value=-1), "a duration is not negative"),
        (set_metric("request_latency", value=1.0), "has its last token [0-9.]+ s before its first"),
        (set_metric("time_to_first_token", unit="fortnight"), "unknown unit 'fortnight'"),
        (set_metric("time_to_first_token", value=None), "has no time_to_first_token"),
        (set_metric("usage_completion_tokens", value=2.5), "not a whole number"),
        (set_metric("usage_completion_tokens", value=[1]), "not a whole number"),
    ],
)
def test_a_bad_aiperf_record_is_refused_with_its_line(tmp_path: Path, change: Change, what: str) -> None:
    source = spoiled(tmp_path, AIPERF / "profile_export.jsonl", change)
    with pytest.raises(UserError, match=what) as error:
        import_trace(source, TOLD)
    assert error.value.where == f"{source}:3"


JUNK: tuple[Any, ...] = (None, [], {}, [1], "", "x", "\ud800", -1, 1.5, True, 10**30, 1e300)


def places(data: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value of an object, objects themselves included."""
    for key, value in data.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from places(value, (*at, key))


@pytest.mark.parametrize("sample", [DYNAMO, AIPERF / "profile_export.jsonl", ERRORS])
def test_whatever_a_record_holds_it_is_a_row_or_a_user_error(tmp_path: Path, sample: Path) -> None:
    rows = records(sample)[:2]
    refused = 0
    for path in list(places(rows[1])):
        for junk in JUNK:
            changed = json.loads(json.dumps(rows[1]))
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = junk
            source = written(tmp_path / "t.jsonl", [rows[0], changed])
            try:
                import_trace(source, TOLD, workers_from=(DYNAMO,) if AIPERF in sample.parents else ())
            except UserError:
                refused += 1
    assert refused > 20


def test_clocks_that_disagree_are_survived_on_request(tmp_path: Path) -> None:
    source = spoiled(
        tmp_path, AIPERF / "profile_export.jsonl", set_meta(credit_issued_ns=1795303535000000000)
    )
    with pytest.raises(UserError) as error:
        import_trace(source, TOLD)
    assert "--assume-intended-is-sent" in error.value.remedy
    trace = import_trace(source, dataclasses.replace(TOLD, assume_intended_is_sent=True))
    assert trace.table.num_rows == 80


@pytest.mark.parametrize("text", ['{"a": ', "[1]", '{"a": NaN}', '{"a": "\xff"}'])
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    source = tmp_path / "t.jsonl"
    lines = DYNAMO.read_bytes().splitlines(keepends=True)
    source.write_bytes(lines[0] + b"\n" + text.encode("latin-1") + b"\n" + lines[1])
    with pytest.raises(UserError, match="is not") as error:
        import_trace(source, LOADED)
    assert error.value.where == f"{source}:3", "blank lines count"


def test_a_last_line_that_is_cut_off_is_refused_with_the_way_out(tmp_path: Path) -> None:
    source = tmp_path / "t.jsonl"
    whole = DYNAMO.read_bytes()
    source.write_bytes(whole[:-40])
    with pytest.raises(UserError, match="the last line is cut off") as error:
        import_trace(source, LOADED)
    assert error.value.where == f"{source}:60"
    assert "--accept-torn" in error.value.remedy
    taken = import_trace(source, dataclasses.replace(LOADED, accept_torn=True))
    assert taken.table.num_rows == 59
    assert taken.manifest.source["lost_records"] == 1
    source.write_bytes(whole.rstrip(b"\n"))
    assert import_trace(source, LOADED).table.num_rows == 60, "only the newline is missing"


def test_a_truncated_gzip_is_refused_with_the_way_out(tmp_path: Path) -> None:
    source = segments(tmp_path, count=1)[0]
    whole = source.read_bytes()
    source.write_bytes(whole[:-50])
    with pytest.raises(UserError, match="truncated or damaged after line") as error:
        import_trace(source, LOADED)
    assert "--accept-torn" in error.value.remedy
    taken = import_trace(source, dataclasses.replace(LOADED, accept_torn=True))
    assert 0 < taken.table.num_rows < 60
    assert any(note.startswith(f"torn: {source.name}") for note in taken.manifest.source["notes"])
    source.write_bytes(whole[:200] + bytes(50) + whole[250:])
    with pytest.raises(UserError, match="truncated or damaged"):
        list(json_lines(source))


def test_a_file_that_may_not_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        import_trace(DYNAMO, LOADED)


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(json_lines(tmp_path / "missing.jsonl"))
    with pytest.raises(UserError, match="cannot be read: it is a folder"):
        list(json_lines(tmp_path))
    with pytest.raises(UserError, match="neither a file nor a folder"):
        import_trace(AIPERF, Facts(), workers_from=(tmp_path / "missing.jsonl",))


def test_records_without_a_request_are_not_a_trace(tmp_path: Path) -> None:
    queries = [record for record in records(KINDS) if "total_time_ms" not in record["event"]["request"]]
    with pytest.raises(UserError, match="holds no request"):
        import_trace(written(tmp_path / "t.jsonl", queries), LOADED)
