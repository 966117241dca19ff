"""The recorded run as an archive: accepted by roc-validator, the same twice, and made again to the bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anarchy.archive.building import build
from anarchy.archive.contents import code_of
from anarchy.archive.software import load_software
from anarchy.archive.zipped import Entry, write_zip
from anarchy.telemetry.alias import own_names
from tests.helpers.archived import committed_project, entries_of, finished_run
from tests.helpers.places import PROJECT

pytestmark = pytest.mark.nightly
VALIDATE = PROJECT / "scripts" / "anarchy" / "archive" / "validate_crate.py"


@pytest.fixture(scope="module")
def validator() -> Path:
    """The Python of the environment that validates."""
    subprocess.run(["envs/build", "archive"], cwd=PROJECT, check=True)
    return PROJECT / ".envs" / "archive" / "bin" / "python"


def validate(validator: Path, archive: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([validator, VALIDATE, archive], capture_output=True, text=True, check=False)


def test_the_citation_follows_its_schema(validator: Path) -> None:
    checked = [str(validator.with_name("cffconvert")), "--validate"]
    done = subprocess.run(checked, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_validator_tells_an_archive_from_what_is_none(validator: Path, tmp_path: Path) -> None:
    entries = entries_of(finished_run(tmp_path / "results"), committed_project(tmp_path / "p"))
    write_zip(tmp_path / "whole.zip", entries)
    done = validate(validator, tmp_path / "whole.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 requirements of Workflow Run RO-Crate are not met" in done.stdout
    without = [
        Entry(one.name, one.content().replace(b"CreateAction", b"Thing"), one.executable)
        for one in entries
        if one.name != "code/Snakefile"
    ]
    write_zip(tmp_path / "less.zip", without)
    done = validate(validator, tmp_path / "less.zip")
    assert done.returncode == 1
    assert "MUST reference the root data entity's mainEntity as its instrument" in done.stdout
    assert "code/Snakefile" in done.stdout


@pytest.mark.timeout(1800)
def test_the_recorded_run_is_made_again_to_the_bit(tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(PROJECT / "data" / "sample" / "live" / "raw", results / "live" / "raw")
    config = ("--config", "tier=live", "knees=recorded", f"results={results}")
    subprocess.run([sys.executable, "-m", "snakemake", *config], cwd=PROJECT, check=True)
    for name in ("one.zip", "two.zip"):
        entries = build(results / "live", code_of(), load_software(), own_names())
        write_zip(tmp_path / name, entries)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    verify = [sys.executable, "-m", "anarchy.cli.main", "verify", str(tmp_path / "one.zip"), "--redraw"]
    done = subprocess.run(verify, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "estimates, verdicts, tables and figures come out as they are archived" in done.stdout
