"""What can be known before a run starts: each check passes silently or raises a UserError with the remedy."""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path

import psutil

from anarchy.ground.errors import UserError
from anarchy.ground.layout import PROJECT

PYTHON_NEEDED = (3, 11)
FILES_PER_USER = 3
"""Open files of the busiest process for each closed-loop user: a frontend takes two a request in flight
(measured), the client one; one to spare."""
FILES_BASE = 256
"""Open files that a process needs with no load at all: a frontend takes 93 (measured)."""


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    """Raise UserError when the interpreter is older than 3.11."""
    if version[:2] < PYTHON_NEEDED:
        found, needed = (".".join(map(str, parts)) for parts in (version, PYTHON_NEEDED))
        raise UserError(
            f"Python {found} is too old: {needed} or newer is needed",
            where=sys.executable,
            remedy="install it (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv), "
            "or name another one: make setup PYTHON=/path/to/python3.12",
        )


def open_files_needed(concurrency: int) -> int:
    """How many files one process may have to hold open at this concurrency."""
    return FILES_BASE + FILES_PER_USER * concurrency


def check_open_files(concurrency: int) -> int:
    """Make sure that processes may open enough files for C users, and return the soft limit.

    Raises this process's soft limit up to the hard one when that is enough (children inherit it); raises
    UserError when the hard limit is too low.
    """
    needed = open_files_needed(concurrency)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _at_least(soft, needed):
        return soft
    if _at_least(hard, needed):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return needed
    raise UserError(
        f"at most {hard} open files are allowed, C = {concurrency} needs {needed} "
        f"({FILES_PER_USER} for each user and {FILES_BASE})",
        where="ulimit -n",
        remedy=f"raise the hard limit (as root: ulimit -Hn {needed}, or nofile in "
        f"/etc/security/limits.conf, then log in again), or take the highest C out of the concurrency grid",
    )


def _at_least(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def check_disk(path: Path, needed_bytes: int) -> int:
    """Make sure that the file system of a folder, which need not exist yet, has room; return its free bytes.

    Raises UserError with both numbers when it does not.
    """
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise UserError(
            f"{_size(free)} of disk are free, {_size(needed_bytes)} are needed",
            where=existing,
            remedy="free space there, or point results to another disk (--config results=/path)",
        )
    return free


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def stale_lock(project: Path = PROJECT) -> Path | None:
    """Folder of the lock that a killed Snakemake left in a project; None without one or while one runs."""
    locks = project / ".snakemake" / "locks"
    if not locks.is_dir() or not any(locks.iterdir()) or snakemake_in(project) is not None:
        return None
    return locks


def remove_stale_lock(project: Path = PROJECT) -> bool:
    """Remove the lock that a killed Snakemake left behind; say whether there was one.

    The lock of a Snakemake that runs on this machine stays. Snakemakes of other machines cannot be seen.
    """
    locks = stale_lock(project)
    if locks is None:
        return False
    for lock in locks.iterdir():
        lock.unlink(missing_ok=True)
    return True


def snakemake_in(project: Path) -> int | None:
    """Process id of a Snakemake working in this folder; one whose folder may not be looked at counts."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            # Inside a job of the cluster it runs one rule and holds no lock.
            if "--nolock" in words or not any(Path(word).name == "snakemake" for word in words[:4]):
                continue
        except (psutil.Error, OSError):
            continue
        try:
            if Path(process.cwd()) == project.resolve():
                return process.pid
        except psutil.AccessDenied:
            return process.pid
        except (psutil.Error, OSError):
            continue
    return None
