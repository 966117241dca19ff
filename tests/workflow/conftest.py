"""Commands as a user types them, in the project's own folder, with results in a folder of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT
from tests.workflow.commands import Run, snakemake_command


@pytest.fixture
def snakemake(tmp_path: Path) -> Run:
    """Run Snakemake with ``--config key=value ...`` and further options after it."""

    def run(*config: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = snakemake_command(tmp_path / "results", *config, options=options)
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=500)

    return run


@pytest.fixture
def anarchy() -> Run:
    """Run the command `anarchy`."""

    def run(*arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "anarchy.cli.main", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
