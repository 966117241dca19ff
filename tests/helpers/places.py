"""Where the tests find the project, and how a process that they start finds the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).parent / "samples"
PROFILE = PROJECT / "data" / "profiles" / "llama-3.1-70b-tp4"
"""Timing table that is shipped for Llama-3.1-70B."""


def with_tests() -> dict[str, str]:
    """An environment in which a child can import `tests`."""
    path = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def child(code: str) -> subprocess.Popen[str]:
    """A Python of its own that runs the code and may import `tests`; its output is piped."""
    return subprocess.Popen([sys.executable, "-c", code], env=with_tests(), stdout=subprocess.PIPE, text=True)
