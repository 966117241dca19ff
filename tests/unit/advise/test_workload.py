"""An operator's trace: both formats, what is left out, and every refusal with file, line, key and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from anarchy.advise.example import rows
from anarchy.advise.workload import Reading, TraceLoad, read_load
from anarchy.ground.errors import UserError
from tests.helpers.places import PROJECT

ROW = {"timestamp": 27482, "input_length": 1000, "output_length": 52, "hash_ids": [46, 47]}
"""As the README of Mooncake's traces shows one, shortened."""


def replay(**changes: Any) -> dict[str, Any]:
    told = {"trace_block_size": 16, "input_length": 33, "input_sequence_hashes": [2**63 + 1, 5, 7]}
    return told | changes


def dynamo(**request: Any) -> dict[str, Any]:
    told = {"request_id": "a", "model": "m", "output_tokens": 9, "request_received_ms": 1795303534053}
    return {
        "timestamp": 10638,
        "event": {
            "schema": "dynamo.request.trace.v1", "event_type": "request_end",
            "event_time_unix_ms": 1795303534444, "request": {**told, "replay": replay(), **request},
        },
    }  # fmt: skip


def read(tmp_path: Path, lines: list[dict[str, Any]], **reading: Any) -> TraceLoad:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_load([path], Reading(**reading))


def test_a_mooncake_trace_is_read_in_the_order_of_coming_from_its_first_request(tmp_path: Path) -> None:
    late = {"timestamp": 29482.5, "input_length": 1025, "output_length": 1, "hash_ids": [46, 47, 99]}
    load = read(tmp_path, [late, ROW])
    arrivals = load.arrivals
    assert (load.format, load.notes, arrivals.block_size) == ("mooncake", (), 512)
    assert arrivals.at_s.tolist() == [0.0, 2.0005]
    assert (arrivals.input_tokens.tolist(), arrivals.output_tokens.tolist()) == ([1000, 1025], [52, 1])
    assert arrivals.prompt(0).tolist() == arrivals.prompt(1).tolist()[:2]
    assert arrivals.prompt(1)[2] not in arrivals.prompt(0)
    assert load.longest == 1052


def test_dynamos_other_names_of_the_same_columns_are_read(tmp_path: Path) -> None:
    other = {"created_time": 27483, "input_tokens": 1000, "output_tokens": 52, "hash_ids": [46, 48]}
    assert read(tmp_path, [ROW, other]).arrivals.at_s.tolist() == [0.0, 0.001]


@pytest.mark.parametrize("wrapped", [True, False])
def test_dynamos_request_trace_is_read_with_or_without_its_wrapping(tmp_path: Path, wrapped: bool) -> None:
    tool = {"timestamp": 1, "event": {"schema": "dynamo.request.trace.v1", "event_type": "tool_end"}}
    lines = [dynamo(), tool, dynamo(request_received_ms=1795303534000), dynamo(output_tokens=0)]
    load = read(tmp_path, lines if wrapped else [line["event"] for line in lines])
    assert load.format == "dynamo"
    assert load.arrivals.at_s.tolist() == pytest.approx([0.0, 0.053])
    assert load.arrivals.block_size == 16
    assert load.arrivals.prompt(0).tolist() == load.arrivals.prompt(1).tolist()
    assert load.notes == (
        "1 without an answer were left out", "1 of records that are no requests were left out"
    )  # fmt: skip


def test_load_first_and_longest_change_what_is_taken(tmp_path: Path) -> None:
    lines = [{**ROW, "timestamp": 1000 * at, "output_length": 1 + at} for at in range(6)]
    load = read(tmp_path, lines, load=2.0, first=3, longest=1004)
    assert load.arrivals.at_s.tolist() == [0.0, 0.5, 1.0]
    assert load.notes == ("2 of more than 1004 tokens were left out",)


def test_unique_prompts_need_no_hashes_and_share_none(tmp_path: Path) -> None:
    bare = {key: ROW[key] for key in ("timestamp", "input_length", "output_length")}
    arrivals = read(tmp_path, [bare, ROW], unique=True).arrivals
    assert sorted(arrivals.hashes.tolist()) == [0, 1, 2, 3]
    recorded = dynamo(replay=None, input_tokens=128)
    assert read(tmp_path, [recorded, recorded], unique=True).arrivals.input_tokens.tolist() == [128, 128]


def test_gzip_and_several_files_are_one_trace(tmp_path: Path) -> None:
    for number, name in enumerate(("b.jsonl.gz", "a.jsonl.gz")):
        with gzip.open(tmp_path / name, "wt") as file:
            file.write(json.dumps({**ROW, "timestamp": 1000 * number}) + "\n")
    load = read_load([tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"], Reading())
    assert load.arrivals.at_s.tolist() == [0.0, 1.0]


def test_of_a_mix_of_models_one_is_named(tmp_path: Path) -> None:
    lines = [dynamo(), dynamo(model="n"), dynamo(model="n")]
    with pytest.raises(UserError, match=r"several models: n \(2\), m \(1\)") as caught:
        read(tmp_path, lines)
    assert "--served-model" in caught.value.remedy
    load = read(tmp_path, lines, model="n")
    assert (len(load.arrivals), load.notes) == (2, ("1 of other models than n were left out",))


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        ({**ROW, "input_length": None}, "has no input_length", "lengths are what is simulated"),
        ({**ROW, "output_length": None}, "has no output_length", "lengths are what is simulated"),
        ({**ROW, "input_length": 0}, "input_length is 0", "lengths"),
        ({**ROW, "input_length": 1.5}, "not a whole number", "docs/traces.md"),
        ({**ROW, "input_length": True}, "not a whole number", "docs/traces.md"),
        ({**ROW, "input_length": 10**12}, "not within 0 and", "docs/traces.md"),
        ({**ROW, "output_length": -1}, "not within 0 and", "docs/traces.md"),
        ({**ROW, "hash_ids": None}, "has no hash_ids", "--unique-prompts"),
        ({**ROW, "hash_ids": "46"}, "is not a list of whole numbers", "--unique-prompts"),
        ({**ROW, "hash_ids": [1, "2"]}, "is not a list of whole numbers", "--unique-prompts"),
        ({**ROW, "hash_ids": [1, -2]}, "outside 0 to", "--unique-prompts"),
        ({**ROW, "hash_ids": [1, 2**64]}, "outside 0 to", "--unique-prompts"),
        ({**ROW, "hash_ids": [1]}, "1000 tokens of prompt take 2 blocks of 512", "--block-size"),
        ({**ROW, "timestamp": None}, "has no timestamp", "docs/traces.md"),
        ({**ROW, "timestamp": -1}, "not negative", "docs/traces.md"),
        ({**ROW, "timestamp": "1"}, "not a duration", "docs/traces.md"),
        ({"delay": 5, "session_id": "1", "input_length": 1}, "a delay and no timestamp", "write the time"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_named(tmp_path: Path, line: dict[str, Any], what: str, remedy: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        read(tmp_path, [ROW, line])
    assert str(caught.value.where).endswith("trace.jsonl:2")
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        (dynamo(replay=None), "has no request.replay", "--unique-prompts"),
        (dynamo(output_tokens=None), "has no output_tokens", "lengths"),
        (dynamo(request_received_ms=None), "has no request_received_ms", "docs/traces.md"),
        (dynamo(replay=replay(input_sequence_hashes=None)), "has no input_sequence_hashes", "hashes"),
        (dynamo(replay=replay(input_length=None)), "has no input_length", "lengths"),
        (dynamo(replay=replay(trace_block_size=0)), "trace_block_size is 0", "docs/traces.md"),
        (dynamo(replay=replay(trace_block_size=None)), "has no trace_block_size", "docs/traces.md"),
        ({"event": {**dynamo()["event"], "event_type": "x"}}, "event_type 'x'", "docs/traces.md"),
        ({"event": {**dynamo()["event"], "event_type": {}}}, "event_type is {}, not", "docs/traces.md"),
        ({"event": {**dynamo()["event"], "schema": "y"}}, "schema 'y'", "docs/traces.md"),
        ({"event": {**dynamo()["event"], "request": 3}}, "has no object 'request'", "docs/traces.md"),
        ({"event": 3}, "has no object 'event'", "docs/traces.md"),
    ],
)  # fmt: skip
def test_a_record_of_dynamo_that_cannot_be_is_named(
    tmp_path: Path, line: dict[str, Any], what: str, remedy: str
) -> None:
    with pytest.raises(UserError, match=what) as caught:
        read(tmp_path, [dynamo(), line])
    assert str(caught.value.where).endswith("trace.jsonl:2")
    assert remedy in caught.value.remedy


def test_files_that_are_no_trace_are_told_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its first record has keys a, b") as caught:
        read(tmp_path, [{"a": 1, "b": 2}])
    assert "Mooncake" in caught.value.remedy
    with pytest.raises(UserError, match="is empty"):
        read(tmp_path, [])
    with pytest.raises(UserError, match="no request is left: 1 without an answer"):
        read(tmp_path, [{**ROW, "output_length": 0}])
    with pytest.raises(UserError, match="no such file"):
        read_load([tmp_path / "none"], Reading())
    (tmp_path / "dynamo.jsonl").write_text(json.dumps(dynamo()))
    (tmp_path / "mooncake.jsonl").write_text(json.dumps(ROW))
    with pytest.raises(UserError, match="different formats"):
        read_load([tmp_path / "dynamo.jsonl", tmp_path / "mooncake.jsonl"], Reading())
    wider = replay(trace_block_size=32, input_sequence_hashes=[1, 2])
    with pytest.raises(UserError, match="blocks of several sizes: 16, 32"):
        read(tmp_path, [dynamo(), dynamo(replay=wider)])


def test_more_than_may_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anarchy.advise.workload.MOST_REQUESTS", 3)
    with pytest.raises(UserError, match="more than 3 requests") as caught:
        read(tmp_path, [ROW] * 4)
    assert "head -n" in caught.value.remedy


def test_the_example_is_what_its_recipe_makes() -> None:
    stored = PROJECT / "data" / "traces" / "example.jsonl.gz"
    with gzip.open(stored, "rt", encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == list(rows())
    load = read_load([stored], Reading())
    assert len(load.arrivals) == 10_000
    assert load.longest <= 8_000
