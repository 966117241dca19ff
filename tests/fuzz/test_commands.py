"""Hostile files through the real command line: status 2, one message, nothing left behind."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from anarchy.ground.layout import MANIFEST_FILE, PROJECT, TRACE_FILE
from tests.fuzz.fuzz_traces import FACTS, MANIFEST
from tests.fuzz.hostile import aliases
from tests.helpers.places import SAMPLES
from tests.helpers.warm import run_python

DYNAMO = SAMPLES / "dynamo_request_trace.jsonl"


def anarchy(*words: object, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run the command; ten minutes are a watchdog, as pytest has one."""
    return run_python("-m", "anarchy.cli.main", *map(str, words), cwd=cwd, timeout=600)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """The one message."""
    said = done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    assert said.count("remedy:") == 1
    assert all(line.isprintable() for line in said.split("\n"))
    for word in words:
        assert word in said
    return said


HOSTILE = {
    "nested aliases": aliases(30, 10, merged=False).encode(),
    "brackets": b"models: " + b"[" * 3000 + b"]" * 3000,
    "digits": b"max_minutes: " + b"9" * 5000,
    "latin-1": "partition: é".encode("latin-1"),
    "control characters": b'partition: "\\e[2J"\n',
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_site_file(tmp_path: Path, content: bytes) -> None:
    site = tmp_path / "site.yaml"
    site.write_bytes(content)
    refused(anarchy("plan", "--tier", "smoke", "--launcher", "slurm", "--site", site), "site.yaml")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"cell": ' + b"[" * 100_000, "nested more than"),
        (json.dumps(MANIFEST).replace('"seed": 1', f'"seed": {"9" * 5000}').encode(), "key 'seed'"),
    ],
    ids=["brackets", "digits"],
)
def test_a_hostile_manifest(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / TRACE_FILE).write_bytes(b"PAR1")
    (tmp_path / MANIFEST_FILE).write_bytes(content)
    refused(anarchy("estimate", tmp_path), MANIFEST_FILE, word)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000 + b"\n",
        b'{"timestamp": ' + b"9" * 5000 + b"}\n",
        gzip.compress(b" " * 50_000_000),
    ],
    ids=["brackets", "digits", "a line without end"],
)
def test_a_hostile_foreign_trace(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "trace.jsonl"
    source.write_bytes(content)
    refused(anarchy("import", source, "-o", tmp_path / "out", *FACTS), "trace.jsonl")
    assert not (tmp_path / "out").exists()
