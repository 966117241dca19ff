"""Command lines as a user types them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def snakemake_words(results: Path, *config: str, options: tuple[str, ...] = ()) -> list[str]:
    """What follows ``python`` on the command line of a run whose results lie in ``results``."""
    return ["-m", "snakemake", *options, "--config", f"results={results}", *config]


def snakemake_command(
    results: Path, *config: str, options: tuple[str, ...] = (), python: str = sys.executable
) -> list[str]:
    """Command line of a run whose results lie in ``results``."""
    return [python, *snakemake_words(results, *config, options=options)]
