"""Forks itself for each job, a line of JSON that `tests.helpers.warm` writes, and tells its exit status."""

from __future__ import annotations

import atexit
import importlib
import json
import logging
import os
import runpy
import signal
import sys
import threading
import time
from typing import Any, NoReturn

LIBRARIES = (
    "jinja2",
    "jsonschema",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "scipy.optimize",
    "scipy.stats",
    "snakemake.cli",
    "snakemake.report",
    "yaml",
)
POLL_S = 0.005


def main() -> None:
    """Load the libraries, then serve until standard input ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "anarchy" not in sys.modules, "a fork would run this package and not that of its own folder"
    path = sys.path[1:]
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(job, path)
        print(json.dumps({"status": _status(pid, job["timeout"])}), flush=True)


def _status(pid: int, timeout: float) -> int | None:
    """Wait for a job; past its time it is killed with what it started, and the answer is None."""
    ends = time.monotonic() + timeout
    while time.monotonic() < ends:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _become(job: dict[str, Any], path: list[str]) -> NoReturn:
    """Run a job in this fork as a new interpreter would, and end."""
    os.setpgid(0, 0)
    for number, name in enumerate((os.devnull, job["out"], job["err"])):
        file = os.open(name, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.executable = job["starts"]
    os._exit(_run(job["words"], job["env"].get("PYTHONPATH", ""), path))


def _run(words: list[str], python_path: str, path: list[str]) -> int:
    """Exit status of a command line."""
    kind, *rest = words
    by_name = kind in {"-m", "-c"}
    here = os.getcwd() if kind == "-m" else "" if by_name else os.path.dirname(os.path.abspath(kind))
    sys.path[:] = [here, *filter(None, python_path.split(os.pathsep)), *path]
    sys.argv = ["-c", *rest[1:]] if kind == "-c" else rest if by_name else words
    try:
        if kind == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_path(kind, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = _of_exit(end)
    except BaseException:  # noqa: BLE001 - as an interpreter does: printed, status 1
        sys.excepthook(*sys.exc_info())
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _of_exit(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
