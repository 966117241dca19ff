"""The project stands alone: no address, no absolute path, no name of a place in any file of it."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT

FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"(?<![\w./-])/(?:root|home|work|Users)/\w"),
    "the address of a package registry": re.compile(
        r"--(?:extra-)?index-url|--find-links|pypi\.org|registry\.npmjs"
    ),
    "an address of a private network": re.compile(
        r"\b(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b"
    ),
    "a folder outside the project": re.compile(r"\.\./shared"),
}
HERE = "tests/workflow/test_tree.py"
MADE_UP = ("tests/unit/telemetry/", "tests/helpers/telemetry_samples.py")
"""Tests that give made-up places to the code which takes them out."""


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [
        name
        for name in done.stdout.splitlines()
        if name != HERE and not name.startswith(MADE_UP) and not name.endswith((".png", ".parquet"))
    ]


def text_of(file: Path) -> str:
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).decode()


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names_a_place(what: str) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in tracked()
        for number, line in enumerate(text_of(PROJECT / name).splitlines(), start=1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found, f"{what} in: " + "; ".join(found)
