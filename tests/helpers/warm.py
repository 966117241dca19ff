"""Python commands, each in a fork of a process that has the large libraries loaded.

Half of the time of a short command goes into importing pandas, SciPy and Snakemake. The project's own package
is imported anew by every fork, so that a test may run another copy of it. What needs its own limits, signals
or Slurm is started in the usual way.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.helpers.places import PROJECT

SERVER = Path(__file__).with_name("warm_server.py")


def run_python(
    *words: str | Path,
    cwd: Path = PROJECT,
    env: Mapping[str, str] | None = None,
    timeout: float,
    starts: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run ``python`` with these words: ``-m MODULE ...``, ``-c CODE ...`` or a file with its arguments.

    Its output is captured; `starts` is the Python that it starts others with. Raises TimeoutExpired after
    `timeout` seconds, the command ended.
    """
    command = [str(word) for word in words]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        job = {
            "words": command,
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "out": f"/proc/{os.getpid()}/fd/{out.fileno()}",
            "err": f"/proc/{os.getpid()}/fd/{err.fileno()}",
            "timeout": timeout,
            "starts": starts,
        }
        status = _answer(json.dumps(job))
        out.seek(0)
        err.seek(0)
        told, complained = out.read(), err.read()
    if status is None:
        raise subprocess.TimeoutExpired(command, timeout, told, complained)
    return subprocess.CompletedProcess([sys.executable, *command], status, told, complained)


def _answer(job: str) -> int | None:
    """Exit status of a job; None where it was ended for its time."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{job}\n")
    server.stdin.flush()
    answer: dict[str, Any] = json.loads(server.stdout.readline())
    status: int | None = answer["status"]
    return status


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; one for each process of the tests."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, str(SERVER)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.terminate)
    return server
