"""Limits of the machine that would break a run half-way: open files and disk space."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

from anarchy.errors import UserError

FILES_A_REQUEST = 2
"""Open files that a request in flight takes in the busiest process: both sides of a frontend (measured)."""
FILES_BASE = 256


def files_needed(concurrency: int) -> int:
    """Open files that one process may need at `concurrency` requests in flight."""
    return FILES_BASE + FILES_A_REQUEST * concurrency


def check_open_files(concurrency: int, *, limit: int | None = None) -> None:
    """Raise `UserError` when too few open files are allowed; `limit` replaces the machine's own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = soft if limit is None else limit
    needed = files_needed(concurrency)
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        reach = (
            ""
            if hard == resource.RLIM_INFINITY or hard >= needed
            else f" (the hard limit is {hard}: ask root)"
        )
        raise UserError(
            f"only {allowed} open files are allowed; {concurrency} requests in flight need {needed}",
            where="ulimit -n",
            remedy=f"run `ulimit -n {needed}` in this shell first{reach}, or lower the concurrency",
        )


def check_disk_space(folder: Path, needed_bytes: int) -> None:
    """Raise `UserError` when less than `needed_bytes` are free where `folder` is, or will be."""
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise UserError(
            f"{free / 1e9:.2f} GB free, {needed_bytes / 1e9:.2f} GB needed",
            where=folder,
            remedy="free some space, or choose another results folder",
        )
