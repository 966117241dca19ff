"""Lock files: which versions they pin, and whether an environment was built from one as it is now."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from anarchy.ground.errors import UserError

STAMP_FILE = ".stamp"
"""In an environment's folder: the SHA-256 of the lock it was built from, written when it was whole."""


def environment_digest(lock_file: Path) -> str:
    """The SHA-256 that the stamp of a whole environment holds: that of its lock file, as ``sha256sum``."""
    return hashlib.sha256(lock_file.read_bytes()).hexdigest()


def check_environment(env_dir: Path, lock_file: Path, *, remedy: str = "make setup") -> None:
    """Make sure that an environment was built to the end and from the lock file as it is now.

    Raises UserError when it is missing, half-built or older than its lock; `remedy` is what builds it.
    """
    if not lock_file.is_file():
        raise UserError(
            "the lock file is missing", where=lock_file, remedy="restore it: git checkout -- envs"
        )
    try:
        stamp = (env_dir / STAMP_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        stamp = ""
    if stamp == environment_digest(lock_file):
        return
    if not env_dir.is_dir():
        found = "there is no such environment"
    elif stamp:
        found = f"outdated environment: it was not built from {lock_file.name} as it is now"
    else:
        found = "half-built environment: its set-up did not come to the end"
    # The bench has an environment of its own.
    raise UserError(found, where=env_dir, remedy="make bench" if env_dir.name == "bench" else remedy)


def pinned_version(lock_file: Path, package: str) -> str:
    """Version of a package in a lock file, ``?`` when it is not there."""
    try:
        text = lock_file.read_text(encoding="utf-8")
    except OSError:
        return "?"
    match = re.search(rf"^{re.escape(package)}==(\S+)", text, flags=re.MULTILINE)
    return match.group(1) if match else "?"
