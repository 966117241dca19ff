"""Every command of README and docs is well formed; what takes under a minute runs as it is printed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.places import PROJECT, SAMPLES
from tests.helpers.printed_commands import PAGES, Printed, fault, printed, project_copy

COMMANDS: Final = printed()
TRACES: Final = "data/sample/live/raw/equilibrium/llama-3.1-70b/1p2d/static/1"
NAMES: Final[Mapping[str, str]] = {
    "TRACES": TRACES,
    "CELL": "unique-c0064",
    "FOLDER [NODE ...]": "data/profiles some-node",
}
"""What stands on a page for a reader's own -> what stands for it here."""

IMPORTED: Final = "--concurrency 64 --assume-intended-is-sent -o traces/c0064"
RUN: Final[Mapping[str, str]] = {
    "make help": "make reproduce",
    "make doctor": "python",
    "make plan": "one after the other",
    "anarchy estimate TRACES": "PoA-hat",
    "anarchy estimate TRACES --explain CELL": "PoA-hat",
    f"anarchy estimate {TRACES} --explain unique-c0064": "PoA-hat",
    "anarchy leaks FOLDER [NODE ...]": "",
    "anarchy advise --help": "goodput",
    f"anarchy import dynamo.jsonl --model llama-3.1-70b {IMPORTED}": "",
    "anarchy import artifacts/ --workers-from dynamo.jsonl -o traces/c0064": "",
    f"anarchy import frontend-0.jsonl frontend-1.jsonl {IMPORTED}": "",
}
"""Run by every `make test`, and a word that it says."""
RUN_NIGHTLY: Final[Mapping[str, str]] = {
    "make redraw": "report",
    "make plan TIER=full": "one after the other",
    "snakemake -n": "sweep",
}
"""Run by `make test-nightly`: minutes of work."""
NOT_RUN: Final[Mapping[str, tuple[str, ...]]] = {
    "measures for minutes to days": (
        "make reproduce*", "make lab-reproduce*", "make smoke-b200*", "snakemake --config*", "make bench*",
        "make fuzz", "snakemake --profile slurm*", "anarchy serve", "snakemake -n --quiet host",
        "anarchy advise --trace *",
    ),
    "needs root, Slurm or a cluster": (
        "make lab-*", "anarchy doctor --site*", "apptainer *", "enroot *", "anarchy plan --cost --launcher *",
    ),
    "runs the tests, of which this is one": ("make test*", "make lint", "make format"),
    "removes what others may need": ("make clean", "make distclean"),
    "builds an environment": ("envs/build *", "make docs", "make profiles", "pip install*", "make setup"),
    "writes pages of the project, which tests of their own hold": ("make schemas pages", "make pages"),
    "needs results or a server of the reader's own": (
        "anarchy claims*", "anarchy compare*", "anarchy estimate traces --metric e2e", "anarchy hypotheses*",
        "anarchy control*", "anarchy system*", "anarchy report", "anarchy fingerprint diff*",
        "make archive*", "anarchy archive FOLDER *", "anarchy verify *", "anarchy quiet results/*",
        "snakemake --report*", "mkdir *", "cp *",
    ),
    "is named in a sentence, in part": (
        "anarchy estimate", "anarchy estimate --*", "anarchy estimate FOLDER", "anarchy import SOURCE *",
        "anarchy unlock", "anarchy leaks", "anarchy plan --cost",
        "anarchy advise", "anarchy verify", "anarchy quiet",
    ),
}  # fmt: skip
"""Why a command is only looked at -> patterns of such commands."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose results are its own, with the files of the examples in it."""
    folder = project_copy(tmp_path_factory.mktemp("printed") / "project")
    trace = SAMPLES / "dynamo_request_trace.jsonl"
    shutil.copy(trace, folder / "dynamo.jsonl")
    shutil.copytree(SAMPLES / "aiperf", folder / "artifacts")
    lines = trace.read_text(encoding="utf-8").splitlines(keepends=True)
    for place in range(2):
        (folder / f"frontend-{place}.jsonl").write_text("".join(lines[place::2]), encoding="utf-8")
    return folder


def run(project: Path, command: str, word: str) -> None:
    for name, stands in NAMES.items():
        command = command.replace(name, stands)
    shutil.rmtree(project / "traces", ignore_errors=True)
    path = f"{PROJECT / '.envs/driver/bin'}{os.pathsep}{os.environ['PATH']}"
    # As a reader calls it, and not as `make test`, whose variables another make would take over.
    env = {name: word for name, word in os.environ.items() if not name.startswith("MAKE")} | {"PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], cwd=project, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert word in done.stdout + done.stderr


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: f"{one.page}: {one.text[:50]}")
def test_a_command_is_well_formed(one: Printed) -> None:
    assert fault(one) == ""


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: f"{one.page}: {one.text[:50]}")
def test_a_command_is_run_or_there_is_a_reason(one: Printed) -> None:
    text = one.text.removeprefix(".envs/driver/bin/")
    reasons = [why for why, patterns in NOT_RUN.items() if any(fnmatchcase(text, one) for one in patterns)]
    assert (text in {*RUN, *RUN_NIGHTLY}) != bool(reasons), f"{text}: {reasons or 'in no list'}"


def test_no_list_names_what_no_page_prints() -> None:
    texts = {one.text.removeprefix(".envs/driver/bin/") for one in COMMANDS}
    assert {*RUN, *RUN_NIGHTLY} <= texts
    patterns = [pattern for patterns in NOT_RUN.values() for pattern in patterns]
    assert [one for one in patterns if not any(fnmatchcase(text, one) for text in texts)] == []
    assert len(PAGES) > 25


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs_as_it_is_printed(project: Path, command: str) -> None:
    run(project, command, RUN[command])


@pytest.mark.nightly
@pytest.mark.parametrize("command", RUN_NIGHTLY)
def test_a_long_command_runs_as_it_is_printed(project: Path, command: str) -> None:
    run(project, command, RUN_NIGHTLY[command])
