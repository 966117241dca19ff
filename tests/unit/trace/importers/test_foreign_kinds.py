"""Foreign traces as people have them, through the command line: right, or marked, or refused with a way out.

Each kind is made here from one closed loop whose truth is known, so that every number has its right value.
"""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anarchy.cli.main import main
from anarchy.trace.importers import formats
from tests.helpers.foreign_samples import (
    Made,
    closed_loop,
    tear,
    write_aiperf,
    write_dynamo,
    write_lines,
    write_segments,
    write_settings,
)

FEW = ("-B", "100", "--jobs", "1")
DYNAMO = ("--assume-intended-is-sent", "--assume-ttft-is-first-token")


def run(*words: object) -> int:
    return main([str(word) for word in words])


def estimated(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """The record of the one cell that these words estimate."""
    assert run("estimate", *words, *FEW, "--format", "json") == 0, capsys.readouterr().err
    (found,) = json.loads(capsys.readouterr().out)
    return dict(found)


def imported(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> dict[str, Any]:
    """The estimate of the cell that these words import into a folder."""
    assert run("import", *words, "-o", folder) == 0, capsys.readouterr().err
    capsys.readouterr()
    return estimated(capsys, folder)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The message, of one fault, that these words are refused with."""
    assert run(*words) == 2
    message = capsys.readouterr().err
    assert message.count("remedy:") == 1
    assert "Traceback" not in message
    return message


@pytest.fixture(scope="module")
def loop() -> list[Made]:
    return closed_loop()


@pytest.fixture
def right(tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The estimate of the whole cell, client's and server's records joined."""
    trace = write_dynamo(tmp_path / "right.jsonl", loop)
    whole = imported(
        capsys, tmp_path / "right-cell", write_aiperf(tmp_path / "right", loop), "--workers-from", trace
    )
    assert (whole["valid"], whole["reasons"]) == (True, [])
    return whole


# Load ends when the record says so


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("C", [8, 32])
def test_a_cancelled_request_is_load_until_it_was_cancelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], C: int, late: bool
) -> None:
    """A tenth is cancelled: the estimate stays by that of the same loop without cancellations."""
    made = closed_loop(C, cancel=0.1)
    trace = write_dynamo(tmp_path / "trace.jsonl", made)
    export = write_aiperf(tmp_path / "export", made, C, late=late)
    joined = imported(capsys, tmp_path / "joined", export, "--workers-from", trace)
    server = imported(capsys, tmp_path / "server", trace, "--concurrency", C, *DYNAMO)
    calm = closed_loop(C)
    trace = write_dynamo(tmp_path / "calm.jsonl", calm)
    whole = imported(
        capsys, tmp_path / "calm-cell", write_aiperf(tmp_path / "calm", calm, C), "--workers-from", trace
    )
    for cell in (joined, server):
        assert cell["poa_hat"] == pytest.approx(whole["poa_hat"], rel=0.02)
        assert (cell["reasons"], cell["counted"], cell["unended"]) == (["errors"], False, 0)


def test_an_end_that_one_source_lacks_comes_from_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = closed_loop(cancel=0.004)
    trace = write_dynamo(tmp_path / "trace.jsonl", made)
    export = write_aiperf(tmp_path / "export", made)
    known = imported(capsys, tmp_path / "a", export, "--workers-from", trace)
    assert (known["valid"], known["unended"]) == (True, 0)
    lines = [json.loads(line) for line in (export / "profile_export.jsonl").read_text().splitlines()]
    for line in lines:
        del line["metadata"]["request_end_ns"]
    write_lines(export / "profile_export.jsonl", lines)
    joined = imported(capsys, tmp_path / "b", export, "--workers-from", trace)
    assert joined["poa_hat"] == pytest.approx(known["poa_hat"], rel=0.005)
    assert (joined["valid"], joined["unended"]) == (True, 0)
    workers = ("--prefill-workers", "1", "--decode-workers", "1")
    assert run("import", export, *workers, "-o", tmp_path / "alone") == 0
    unended = sum(request.cancelled for request in made)
    assert f"{unended} requests have no end in any source" in capsys.readouterr().out


# A cell that contradicts itself is marked


def of_frontend(made: Sequence[Made], which: int, of: int) -> list[Made]:
    return [request for number, request in enumerate(made) if number % of == which]


@pytest.mark.parametrize("frontends", [2, 3, 8])
def test_a_missing_frontend_is_seen_and_all_of_them_are_one_cell(
    tmp_path: Path,
    loop: list[Made],
    right: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    frontends: int,
) -> None:
    traces = [
        write_dynamo(tmp_path / f"frontend-{which}.jsonl", of_frontend(loop, which, frontends))
        for which in range(frontends)
    ]
    facts = ("--concurrency", 32, *DYNAMO)
    some = imported(capsys, tmp_path / "some", *traces[1:], *facts)
    assert (some["valid"], some["reasons"], some["counted"]) == (False, ["in_flight"], False)
    merged = imported(capsys, tmp_path / "all", *traces, *facts)
    assert (merged["valid"], merged["n_requests"]) == (True, right["n_requests"])
    export = write_aiperf(tmp_path / "export", loop)
    sources = [word for trace in traces for word in ("--workers-from", trace)]
    joined = imported(capsys, tmp_path / "joined", export, *sources)
    assert joined["poa_hat"] == right["poa_hat"]
    assert "nobody knows its decode worker" in refused(capsys, "estimate", export, *sources[2:])


def test_clients_of_one_cell_are_merged_and_their_users_add_up(
    tmp_path: Path, loop: list[Made], right: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    exports = [
        write_aiperf(tmp_path / f"client-{which}", of_frontend(loop, which, 2), C=16) for which in (0, 1)
    ]
    trace = write_dynamo(tmp_path / "trace.jsonl", loop)
    merged = imported(capsys, tmp_path / "cell", *exports, "--workers-from", trace)
    assert (merged["concurrency"], merged["poa_hat"]) == (32, right["poa_hat"])
    one = estimated(capsys, exports[0], "--workers-from", trace)
    assert one["concurrency"] == 16
    assert "is named twice" in refused(
        capsys, "import", trace, trace, "--concurrency", 32, *DYNAMO, "-o", tmp_path / "twice"
    )


@pytest.mark.parametrize("told", [8, 16, 32, 48])
def test_several_concurrencies_in_one_trace_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: int
) -> None:
    gap = 3_000_000_000
    parts, start = [], 0
    for C in (8, 16, 32):
        made = closed_loop(C, n=400)
        moved = [
            each._replace(
                free=each.free + start, sent=each.sent + start, first=each.first + start, end=each.end + start
            )
            for each in made
        ]
        parts += moved
        start = max(each.end for each in moved) + gap
    trace = write_dynamo(tmp_path / "ladder.jsonl", parts)
    cell = imported(capsys, tmp_path / f"c{told}", trace, "--concurrency", told, *DYNAMO)
    assert "in_flight" in cell["reasons"]


@pytest.mark.parametrize(("lost", "marked"), [(range(400, 500), True), (range(1190, 1200), False)])
def test_a_hole_is_seen(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str], lost: range, marked: bool
) -> None:
    """The last ones may be missing: the trace is shorter then, and a little emptier at its end."""
    rest = [request for number, request in enumerate(loop) if number not in lost]
    trace = write_dynamo(tmp_path / "trace.jsonl", rest)
    cell = imported(capsys, tmp_path / "cell", trace, "--concurrency", 32, *DYNAMO)
    assert ("in_flight" in cell["reasons"]) is marked


def test_users_who_think_are_no_contradiction(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str]
) -> None:
    trace = write_dynamo(tmp_path / "trace.jsonl", loop)
    facts = ("--concurrency", 50, *DYNAMO)
    assert imported(capsys, tmp_path / "a", trace, *facts)["reasons"] == ["in_flight"]
    assert imported(capsys, tmp_path / "b", trace, *facts, "--loop", "think")["valid"]
    assert imported(capsys, tmp_path / "c", trace, *facts, "--loop", "open")["valid"]
    too_many = imported(capsys, tmp_path / "d", trace, "--concurrency", 20, *DYNAMO, "--loop", "think")
    assert too_many["reasons"] == ["in_flight"], "more than C is impossible for them too"


def test_times_rounded_by_their_source_are_no_contradiction(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str]
) -> None:
    def rounded(ns: int) -> int:
        return round(ns / 1e7) * 10_000_000

    coarse = [
        each._replace(
            free=rounded(each.free),
            sent=rounded(each.free) + 10_000_000,
            first=rounded(each.first) + 10_000_000,
            end=rounded(each.end) + 10_000_000,
        )
        for each in loop
    ]
    export = write_aiperf(tmp_path / "export", coarse)
    trace = write_dynamo(tmp_path / "trace.jsonl", coarse)
    assert imported(capsys, tmp_path / "cell", export, "--workers-from", trace)["valid"]


def test_the_mark_stands_in_every_output(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    trace = write_dynamo(tmp_path / "trace.jsonl", of_frontend(loop, 0, 2))
    words = ("estimate", trace, "--concurrency", 32, *DYNAMO, *FEW)
    assert run(*words) == 0
    table = capsys.readouterr().out
    assert "not valid: in_flight" in table
    assert "not counted in curves, plateau and knee" in table
    assert run(*words, "--format", "csv") == 0
    header, line = capsys.readouterr().out.splitlines()
    cell = dict(zip(header.split(","), line.split(","), strict=False))
    assert (cell["valid"], cell["counted"], cell["reasons"]) == ("False", "False", "in_flight")
    assert estimated(capsys, *words[1:6], "--ungated")["counted"] is True


# Remedies: followed literally, what comes out is right or marked


def test_of_torn_segments_what_is_whole_is_taken(
    tmp_path: Path, loop: list[Made], right: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_segments(tmp_path / "trace", loop)
    tear(paths[-1])
    words = ["import", tmp_path / "trace", "--concurrency", 32, *DYNAMO, "-o", tmp_path / "cell"]
    message = refused(capsys, *words)
    assert "--accept-torn" in message
    taken = imported(capsys, tmp_path / "cell", *words[1:-2], "--accept-torn")
    assert taken["n_requests"] > 1100, "the eleven whole segments, and what is whole of the twelfth"
    assert taken["poa_hat"] == pytest.approx(right["poa_hat"], rel=0.03)
    assert any(note.startswith(f"torn: {paths[-1].name}") for note in taken["notes"])
    assert any("others of that time may be missing" in note for note in taken["notes"])


@pytest.mark.parametrize("middle", ["missing", "torn"])
def test_a_hole_in_the_middle_is_told_and_marked(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str], middle: str
) -> None:
    paths = write_segments(tmp_path / "trace", loop)
    if middle == "missing":
        paths[5].unlink()
    else:
        tear(paths[5], 0.9)
    words = [tmp_path / "trace", "--concurrency", 32, *DYNAMO]
    assert "--accept-torn" in refused(capsys, "import", *words, "-o", tmp_path / "cell")
    taken = imported(capsys, tmp_path / "cell", *words, "--accept-torn")
    assert "in_flight" in taken["reasons"]
    assert any(note.startswith("torn: ") and "000005" in note for note in taken["notes"])


def test_segments_of_several_frontends_are_named_as_one_command(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str]
) -> None:
    for which in (0, 1):
        write_segments(tmp_path / "traces", of_frontend(loop, which, 2), count=3, prefix=f"f{which}")
    facts = ["--concurrency", "32", *DYNAMO]
    message = refused(capsys, "import", tmp_path / "traces", *facts, "-o", tmp_path / "x")
    _, _, command = message.partition("anarchy import ")
    words = shlex.split(command.replace("FOLDER", str(tmp_path / "cell")))
    assert run("import", *words, *facts) == 0
    capsys.readouterr()
    assert estimated(capsys, tmp_path / "cell")["valid"]


@pytest.mark.parametrize(("lost", "outcome"), [(1, "right"), (6, "right"), (8, "refused")])
def test_a_few_records_that_dynamo_dropped_are_left_out_and_told(
    tmp_path: Path,
    loop: list[Made],
    right: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    lost: int,
    outcome: str,
) -> None:
    """At most 0.5 % of the measured requests may lack their worker."""
    trace = write_dynamo(tmp_path / "trace.jsonl", loop[: 600 - lost] + loop[600:])
    export = write_aiperf(tmp_path / "export", loop)
    assert run("import", export, "--workers-from", trace, "-o", tmp_path / "cell") == 0
    assert f"{1200 - lost} of 1200 requests are in the Dynamo trace" in capsys.readouterr().out
    if outcome == "refused":
        message = refused(capsys, "estimate", tmp_path / "cell")
        assert "every frontend (--workers-from, once for each)" in message
        return
    cell = estimated(capsys, tmp_path / "cell")
    assert cell["poa_hat"] == pytest.approx(right["poa_hat"], rel=0.01)
    assert (cell["valid"], cell["counted"]) == (True, True)
    assert any(f"{lost} measured requests on unknown workers are left out" in note for note in cell["notes"])


def test_two_starts_in_one_trace_are_refused_and_each_part_is_right(
    tmp_path: Path, loop: list[Made], right: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    start = max(each.end for each in loop) + 10**9
    again = [
        each._replace(
            name="b" + each.name,
            free=each.free + start,
            sent=each.sent + start,
            first=each.first + start,
            end=each.end + start,
            decode=each.decode + 10,
        )
        for each in loop
    ]
    trace = write_dynamo(tmp_path / "trace.jsonl", [*loop, *again])
    facts = ("--concurrency", 32, *DYNAMO)
    for more in ((), ("--decode-workers", 4)):
        message = refused(capsys, "import", trace, *facts, *more, "-o", tmp_path / "x")
        assert "2 of 4 decode workers served nothing after" in message
    moment = int(message.partition("request_received_ms ")[2].partition(")")[0])
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    for name, late in (("first", False), ("second", True)):
        part = [line for line in lines if (line["event"]["request"]["request_received_ms"] >= moment) is late]
        cell = imported(capsys, tmp_path / name, write_lines(tmp_path / f"{name}.jsonl", part), *facts)
        assert (cell["valid"], cell["n_requests"]) == (True, right["n_requests"])


def test_lines_that_are_damaged_are_counted_and_too_many_marked(
    tmp_path: Path, loop: list[Made], capsys: pytest.CaptureFixture[str]
) -> None:
    trace = write_dynamo(tmp_path / "trace.jsonl", loop)
    facts = ("--concurrency", 32, *DYNAMO)
    lines = trace.read_text().splitlines(keepends=True)
    for count, marked in ((3, False), (12, True)):
        spoiled = [line[:40] + "\n" if n % (1200 // count) == 5 else line for n, line in enumerate(lines)]
        trace.write_text("".join(spoiled))
        message = refused(capsys, "import", trace, *facts, "-o", tmp_path / f"x{count}")
        assert f"{trace}:6" in message
        cell = imported(capsys, tmp_path / f"cell{count}", trace, *facts, "--accept-torn")
        assert (cell["reasons"] == ["lost_records"]) is marked
        assert cell["n_requests"] == pytest.approx(1200 - count, abs=1)


def test_phases_of_one_export_are_cells_of_their_own(
    tmp_path: Path, right: dict[str, Any], loop: list[Made], capsys: pytest.CaptureFixture[str]
) -> None:
    other = [each._replace(name="b" + each.name) for each in closed_loop(16, n=400)]
    start = max(each.end for each in other) + 10**9
    later = [
        each._replace(
            free=each.free + start, sent=each.sent + start, first=each.first + start, end=each.end + start
        )
        for each in loop
    ]
    phases = [
        {"name": name, "kind": "profiling", "type": "concurrency", "concurrency": C}
        for name, C in (("sixteen", 16), ("thirty-two", 32))
    ]
    export = write_aiperf(tmp_path / "export", other, phases=phases, benchmark_phase="sixteen")
    more = write_aiperf(tmp_path / "more", later, benchmark_phase="thirty-two")
    with (export / "profile_export.jsonl").open("a") as lines:
        lines.write((more / "profile_export.jsonl").read_text())
    trace = write_dynamo(tmp_path / "trace.jsonl", other + later)
    words = [export, "--workers-from", trace]
    for extra in ([], ["--concurrency", 32]):
        assert "--phase sixteen" in refused(capsys, "import", *words, *extra, "-o", tmp_path / "x")
    message = refused(capsys, "import", *words, "--phase", "no", "-o", tmp_path / "x")
    assert "has no profiling phase 'no'; it has sixteen, thirty-two" in message
    low = imported(capsys, tmp_path / "low", *words, "--phase", "sixteen")
    high = imported(capsys, tmp_path / "high", *words, "--phase", "thirty-two")
    assert (low["concurrency"], low["valid"], high["concurrency"], high["valid"]) == (16, True, 32, True)
    assert high["poa_hat"] == pytest.approx(right["poa_hat"], rel=1e-6)
    write_settings(export, [phase | {"name": "profiling"} for phase in phases])
    write_lines(
        export / "profile_export.jsonl",
        [json.loads(line.replace("sixteen", "profiling").replace("thirty-two", "profiling"))
         for line in (export / "profile_export.jsonl").read_text().splitlines()],
    )  # fmt: skip
    message = refused(capsys, "import", *words, "--concurrency", 32, "-o", tmp_path / "x")
    assert "run aiperf once for each concurrency" in message


# Formats are told apart


OTHERS = {
    "vllm": ({"backend": "vllm", "model_id": "m", "num_prompts": 5, "request_rate": "inf"}, "vLLM"),
    "sglang": ({"backend": "sglang", "dataset_name": "random", "request_rate": 4.0}, "SGLang"),
    "guidellm": ({"metadata": {}, "args": {}, "benchmarks": [{"config": {}}]}, "guidellm"),
    "genai": ({"service_kind": "openai", "experiments": [{"requests": []}]}, "genai-perf"),
    "workload": ({"timestamp": 0, "input_length": 9, "output_length": 5, "hash_ids": [0]}, "workload"),
    "summary": ({"aiperf_version": "0.13.0", "input_config": {}}, "--export-level records"),
    "older": (
        {"metadata": {"x_request_id": "a", "timestamp_ns": 1, "credit_phase": "profiling"}, "metrics": {}},
        "form of 2025",
    ),
    "raw": ({"metadata": {"x_request_id": "a"}, "payload": {}, "responses": []}, "raw payloads"),
    "manifest": ({"cell": "c", "concurrency": 8, "n_workers": {}}, "name the folder"),
    "unknown": ({"a": {"b": 1}}, "no format known here (it has a)"),
    "schema": (
        {"schema": "dynamo.request.trace.v2", "event_type": "request_end", "request": {}},
        "has schema 'dynamo.request.trace.v2'",
    ),
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_another_format_is_called_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, indent: int | None
) -> None:
    document, word = OTHERS[name]
    if indent and name == "schema":
        word = "several lines a record"
    path = tmp_path / "result.json"
    path.write_text(json.dumps(document, indent=indent) + "\n")
    for words in (["import", path, "-o", tmp_path / "x"], ["estimate", path]):
        message = refused(capsys, *words)
        assert word in message
        assert "damaged" not in message
        assert "whole copy" not in message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"PAR1....", "Parquet"),
        (b"PK\x03\x04", "zip archive"),
        (b"\x28\xb5\x2f\xfdxx", "zstd"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"# HELP x y\n# TYPE x counter\nx 1\n", "page of metrics"),
        (b"a,b,c\n1,2,3\n", "comma-separated"),
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"no such thing\n", "no format known here"),
        (b'[{"metadata": {"request_start_ns": 1}, "metrics": {}}]', "one list of records"),
    ],
)
def test_what_is_no_json_is_called_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, word: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    message = refused(capsys, "estimate", path)
    assert word in message
    assert "damaged" not in message


def test_a_large_result_of_another_program_answers_by_its_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    document = {"backend": "vllm", "model_id": "m", "num_prompts": 9, "itls": [[0.01] * 100] * 4000}
    path.write_text(json.dumps(document))
    assert path.stat().st_size > formats.HEAD
    assert "vLLM" in refused(capsys, "estimate", path)


def test_a_folder_of_another_program_is_called_by_what_lies_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], loop: list[Made]
) -> None:
    folder = write_aiperf(tmp_path / "run", loop)
    (folder / "profile_export.jsonl").unlink()
    assert "--export-level records" in refused(capsys, "estimate", folder)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "notes.json").write_text("{}")
    assert "holds no trace" in refused(capsys, "estimate", folder)


def test_every_known_format_has_keys_of_its_own() -> None:
    """None hides another that stands after it."""
    for first, later in itertools.combinations(formats.OTHERS, 2):
        assert not (first.keys < later.keys), (first.name, later.name)
