"""Commands as a user types them, in the project's own folder, with results in a folder of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.helpers.places import PROJECT
from tests.helpers.warm import run_python
from tests.workflow.commands import Run, snakemake_words


@pytest.fixture
def snakemake(tmp_path: Path) -> Run:
    """Run Snakemake with ``--config key=value ...`` and further options after it."""

    def run(*config: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return run_python(*snakemake_words(tmp_path / "results", *config, options=options), timeout=500)

    return run


@pytest.fixture
def anarchy() -> Run:
    """Run the command `anarchy`."""

    def run(*arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "anarchy.cli.main", *arguments, cwd=cwd, timeout=120)

    return run
