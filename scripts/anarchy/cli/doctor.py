"""Look at the machine and say, for people, what is there, what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from anarchy.engines.profiles import load_profile
from anarchy.ground import locks, preflight
from anarchy.ground.errors import UserError
from anarchy.ground.findings import Finding
from anarchy.ground.layout import DYNAMO_PYTHON, ENVS, PROFILES, PROJECT
from anarchy.ground.surroundings import without_foreign_python

LOCKS = PROJECT / "envs"
MIN_CORES = 2
"""Below two cores the client and the engines take the processor from each other, and cells fail
`client_bound`."""
MIN_MEMORY = 2_000_000_000
"""Bytes: 1P/5D is six workers of some 105 MB, frontend, client, Snakemake and a notebook."""
MIN_DISK = 3_000_000_000
"""Bytes: environments that may have to be built again, and the results of tier full."""
MAX_CONCURRENCY = 512
"""The deepest C of the grids as they are shipped."""
PORTS = 32
"""Loopback ports that the largest deployment takes: frontend, six workers with several each, events."""
IMPORT_TIMEOUT_S = 60.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Programs that the report's tests can open it in."""


def diagnose() -> list[Finding]:
    """Look at everything that a run needs; never raises for what it finds."""
    return [
        _passes("Python", preflight.check_python, good=_python_version()),
        cores(),
        memory(),
        _passes("disk", lambda: preflight.check_disk(PROJECT, MIN_DISK), good=_free_disk()),
        _passes("open files", lambda: preflight.check_open_files(MAX_CONCURRENCY), good=_open_files()),
        environment("driver"),
        environment("dynamo"),
        dynamo_stack(DYNAMO_PYTHON, LOCKS / "dynamo.lock"),
        loopback_ports(),
        timing_tables(PROFILES),
        snakemake_lock(PROJECT),
        chromium(),
    ]


def cores() -> Finding:
    """Count the processors that this process may use."""
    count = len(os.sched_getaffinity(0))
    return Finding(
        "cores",
        count >= MIN_CORES,
        f"{count} usable; engines, router and load client share them, so time is slowed down to fit",
        remedy=f"give this machine or container {MIN_CORES} cores, or raise `dilation` of the models",
    )


def memory() -> Finding:
    """Look how much memory can be had without swapping."""
    available = psutil.virtual_memory().available
    return Finding(
        "memory",
        available >= MIN_MEMORY,
        f"{available / 1e9:.1f} GB available, {MIN_MEMORY / 1e9:.0f} GB needed (a mock worker takes 0.1)",
        remedy="close other programs or give the machine more memory",
    )


def environment(name: str) -> Finding:
    """Look whether one environment was built to the end from its present lock file."""
    return _passes(
        f"environment {name}",
        lambda: locks.check_environment(ENVS / name, LOCKS / f"{name}.lock"),
        good=f"whole, built from envs/{name}.lock",
    )


def dynamo_stack(python: Path, lock_file: Path) -> Finding:
    """Start the serving environment's Python and import what a deployment runs."""
    name = "serving stack"
    code = (
        "import importlib.metadata as m, importlib.util as u, dynamo._core\n"
        "missing = [n for n in ('dynamo.frontend', 'dynamo.mocker') if u.find_spec(n) is None]\n"
        "assert not missing, missing\n"
        "print(m.version('ai-dynamo'), m.version('ai-dynamo-runtime'))"
    )
    try:
        done = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False,
            env=without_foreign_python(os.environ),  # as its processes run
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, False, f"{python} does not run: {error}", remedy="make setup")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding(
            name, False, f"Dynamo cannot be imported: {last}", remedy="rm -rf .envs/dynamo; make setup"
        )
    found = done.stdout.split()
    wanted = [locks.pinned_version(lock_file, package) for package in ("ai-dynamo", "ai-dynamo-runtime")]
    detail = f"Dynamo and its runtime, {' and '.join(found) or 'no version'}"
    if found != wanted:
        detail += f"; the lock says {' and '.join(wanted)}"
    return Finding(name, found == wanted, detail, remedy="rm -rf .envs/dynamo; make setup")


def loopback_ports(count: int = PORTS) -> Finding:
    """Take free ports on the loopback interface, all at once, and let them go again."""
    taken: list[socket.socket] = []
    try:
        for _ in range(count):
            taken.append(_bound())  # noqa: PERF401 (those taken before a failure must be closed)
    except OSError as error:
        return Finding(
            "loopback ports",
            False,
            f"only {len(taken)} of {count} ports on 127.0.0.1 could be taken: {error}",
            remedy="bring the interface up (ip link set lo up), or end programs that hold very many sockets",
        )
    finally:
        for each in taken:
            each.close()
    return Finding("loopback ports", True, f"{count} free ones on 127.0.0.1, all that a deployment takes")


def _bound() -> socket.socket:
    """A socket on a free loopback port."""
    made = socket.socket()
    try:
        made.bind(("127.0.0.1", 0))
    except OSError:
        made.close()
        raise
    return made


def timing_tables(directory: Path) -> Finding:
    """Load every timing table that the simulated engines follow."""
    folders = sorted(folder for folder in directory.glob("*") if folder.is_dir())
    if not folders:
        return Finding(
            "timing tables", False, f"none in {directory}", remedy="restore them: git checkout -- data"
        )
    try:
        for folder in folders:
            load_profile(folder)
    except UserError as error:
        return Finding("timing tables", False, f"{error.where}: {error.what}", remedy=error.remedy)
    return Finding("timing tables", True, ", ".join(folder.name for folder in folders))


def snakemake_lock(project: Path) -> Finding:
    """Find the lock that a killed Snakemake leaves behind; one that is running holds it rightly."""
    name = "Snakemake lock"
    stale = preflight.stale_lock(project)
    if stale is not None:
        return Finding(
            name,
            False,
            f"{stale} is left over from a run that was killed",
            remedy="anarchy unlock (`make reproduce` does it by itself); sealed cells are kept",
        )
    running = preflight.snakemake_in(project)
    return Finding(name, True, "none" if running is None else f"a run is in progress (process {running})")


def chromium() -> Finding:
    """Look for the browser in which the tests open the report, and for what drives it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = importlib.util.find_spec("playwright") is not None
    lacking = [
        *([] if browser else [f"no browser ({', '.join(BROWSERS)})"]),
        *([] if driver else ["no driver for it (the Python package playwright)"]),
    ]
    ways = [
        *([] if browser else ["make test installs a browser (Debian, Ubuntu: apt-get install chromium)"]),
        *([] if driver else ["make test-setup installs playwright"]),
    ]
    return Finding(
        "chromium",
        not lacking,
        f"{' and '.join(lacking) or browser}; only the tests of the report need it",
        remedy=f"{', '.join(ways)}; a run does without",
        required=False,
    )


def _passes(name: str, check: Callable[[], object], good: str) -> Finding:
    """Turn a pre-flight check into a finding."""
    try:
        check()
    except UserError as error:
        where = f" ({error.where})" if error.where is not None else ""
        return Finding(name, False, f"{error.what}{where}", remedy=error.remedy)
    return Finding(name, True, good)


def _python_version() -> str:
    return f"{platform.python_version()} ({sys.executable})"


def _free_disk() -> str:
    return f"{shutil.disk_usage(PROJECT).free / 1e9:.1f} GB free, {MIN_DISK / 1e9:.0f} GB wanted"


def _open_files() -> str:
    needed = preflight.open_files_needed(MAX_CONCURRENCY)
    return f"{needed} may be opened, enough for C = {MAX_CONCURRENCY}"
