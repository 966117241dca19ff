"""What is hostile on a command line: names of others, outputs that cannot be, words that mean nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from anarchy.cli.main import main
from anarchy.ground.layout import MANIFEST_FILE
from tests.helpers.places import SAMPLES

DYNAMO = SAMPLES / "dynamo_request_trace.jsonl"
FACTS = ("--concurrency", 8, "--assume-intended-is-sent", "--assume-ttft-is-first-token")
NAMED_BY_OTHERS = "\x1b[31mred\u202e\nremedy: none"

Anarchy = Callable[..., tuple[int, str, str]]


@pytest.fixture
def anarchy(capsys: pytest.CaptureFixture[str]) -> Anarchy:
    """Run a command here: its exit status, and what it said on stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = int(str(end.code))
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def refused(done: tuple[int, str, str], *words: str) -> str:
    """The one message."""
    status, _, said = done
    assert status == 2, said
    assert said.count("remedy:") == 1
    assert all(line.isprintable() for line in said.split("\n"))
    for word in words:
        assert word in said
    return said


def test_names_of_a_foreign_trace_do_not_reach_the_terminal(tmp_path: Path, anarchy: Anarchy) -> None:
    source = tmp_path / "trace.jsonl"
    text = DYNAMO.read_text(encoding="utf-8")
    source.write_text(text.replace('"model":"llama-3.1-70b"', f'"model":{json.dumps(NAMED_BY_OTHERS)}'))
    made = anarchy("import", source, "-o", tmp_path / "out", *FACTS)
    assert made[0] == 0, made
    estimated = anarchy("estimate", tmp_path / "out", "-B", 20)
    as_csv = anarchy("estimate", tmp_path / "out", "-B", 20, "--format", "csv")
    for status, said, complained in (made, estimated, as_csv):
        assert status == 0
        assert all(line.isprintable() for line in (said + complained).split("\n"))
    for _, said, _ in (made, estimated):
        assert r"\x1b[31mred\u202e\nremedy: none" in said
    # Data stay data: JSON has escapes of its own.
    as_json = anarchy("estimate", tmp_path / "out", "-B", 20, "--format", "json")
    assert json.loads(as_json[1])[0]["model"] == NAMED_BY_OTHERS
    assert json.loads((tmp_path / "out" / MANIFEST_FILE).read_text())["model"] == NAMED_BY_OTHERS


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A folder with what cannot be a folder to write into."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    "where",
    [
        "file/x",
        "pipe/x",
        "pipe",
        "file",
        "full",
        "loop/x",
        "x" * 300,
        "/proc/x/y",
        "/dev/null/x",
        "/dev/null",
    ],
)
def test_a_folder_that_cannot_be_made(spoiled: Path, where: str, anarchy: Anarchy) -> None:
    before = sorted(spoiled.rglob("*"))
    refused(
        anarchy("import", DYNAMO, "--model", "toy", *FACTS, "-o", spoiled / where), where.split("/")[-1][:50]
    )
    assert sorted(spoiled.rglob("*")) == before


@pytest.mark.parametrize(
    "where", ["file/x", "pipe/x", "pipe", "full", "loop/x", "x" * 250, "/proc/x", "/dev/null"]
)
def test_a_file_that_cannot_be_made_is_refused_before_the_work(
    spoiled: Path, where: str, anarchy: Anarchy
) -> None:
    before = sorted(spoiled.rglob("*"))
    # There is no such trace: whoever begins to work says so.
    said = refused(anarchy("estimate", spoiled / "none", "-o", spoiled / where))
    assert f"{spoiled}/none" not in said
    assert sorted(spoiled.rglob("*")) == before


def test_work_that_fails_leaves_no_folder(tmp_path: Path, anarchy: Anarchy) -> None:
    refused(anarchy("import", tmp_path / "none", "-o", tmp_path / "a" / "b"))
    refused(anarchy("estimate", tmp_path / "none", "-o", tmp_path / "a" / "b.json"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["pipe", "full", "/dev/zero", "none"])
def test_a_source_that_is_no_file(spoiled: Path, source: str, anarchy: Anarchy) -> None:
    refused(anarchy("import", spoiled / source, "-o", spoiled / "out", *FACTS))
    refused(anarchy("estimate", spoiled / source))


@pytest.mark.parametrize("results", ["file/x", "pipe", "x" * 300])
def test_results_that_cannot_be(spoiled: Path, results: str, anarchy: Anarchy) -> None:
    refused(anarchy("plan", "--tier", "smoke", "--results", spoiled / results), "key 'results'")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--models", ","), "'models'"),
        (("--models", " , "), "'models'"),
        (("--experiments", ""), "'experiments'"),
        (("--topologies", ",,"), "'topologies'"),
    ],
)
def test_lists_that_name_nothing(words: tuple[str, ...], named: str, anarchy: Anarchy) -> None:
    refused(anarchy("plan", *words), named, "names nothing")


@pytest.mark.parametrize("seed", ["9" * 5000, "9" * 19, "-1", "1.0", "\x1b[31m", ""])
def test_numbers_on_the_command_line(seed: str, anarchy: Anarchy) -> None:
    status, _, said = anarchy("plan", f"--seed={seed}")
    assert status == 2
    assert "is not a whole number from 0 to" in said
    assert "\x1b" not in said
    assert len(said) < 2000


@pytest.mark.parametrize(
    "words", [("--decode-workers", 10_001), ("--prefill-workers", 10**7), ("--concurrency", "9" * 5000)]
)
def test_facts_that_no_cluster_has(tmp_path: Path, words: tuple[object, ...], anarchy: Anarchy) -> None:
    status, _, said = anarchy("import", DYNAMO, "--model", "toy", *FACTS, *words, "-o", tmp_path / "out")
    assert status == 2
    assert f"argument {words[0]}: " in said
    assert len(said) < 5000
