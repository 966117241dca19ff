"""What a cell's folder holds, and how room is made for measuring it again without losing data."""

from __future__ import annotations

import enum
import itertools
import os
import shutil
from pathlib import Path

from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors
from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE
from anarchy.trace.reader import is_sealed, read_cell, read_manifest


class CellState(enum.Enum):
    """How far a cell is; only DONE counts as measured."""

    ABSENT = "absent"
    """Nothing was written."""
    PARTIAL = "partial"
    """Rows without a manifest: the cell was cut off."""
    STALE = "stale"
    """Sealed, but measured under another plan."""
    BROKEN = "broken"
    """There is a manifest, but it or the trace cannot be read or does not match its seal."""
    INVALID = "invalid"
    """Sealed and whole, but a gate failed or the gates were never asked."""
    DONE = "done"
    """Sealed, whole, valid, and measured under this plan."""


def cell_state(cell_directory: Path, plan_hash: str) -> CellState:
    """Tell the state of one cell; ``plan_hash`` is the hash of the cell as it is planned now.

    Never raises for whatever the folder holds: what cannot be read is BROKEN.
    """
    try:
        if not is_sealed(cell_directory):
            holds_something = cell_directory.is_dir() and any(cell_directory.iterdir())
            return CellState.PARTIAL if holds_something else CellState.ABSENT
        manifest = read_manifest(cell_directory)
        if manifest.seal is not None and manifest.plan_hash != plan_hash:
            return CellState.STALE
        read_cell(cell_directory)
    except UserError:
        return CellState.BROKEN
    valid = manifest.gates is not None and manifest.gates.valid
    return CellState.DONE if valid else CellState.INVALID


def set_aside(cell_directory: Path) -> Path | None:
    """Make room for measuring a cell (again) and return where the earlier data went, if there were any.

    A sealed cell moves to ``attempts/<cell>.<n>`` beside ``cells``; what was sealed but has no manifest that
    can be read moves to ``unreadable/<cell>.<n>``. Nothing sealed is ever deleted. Rows that were never
    sealed are not data and go. The caller decides whether a cell is to be measured again: a DONE cell would
    be moved as well.
    """
    if not cell_directory.is_dir():
        return None
    with disk_errors(cell_directory):
        if any((cell_directory / name).exists() for name in (MANIFEST_FILE, TRACE_FILE)):
            target = _free_name(cell_directory)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(cell_directory, target)
            return target
        shutil.rmtree(cell_directory)
    return None


def _free_name(cell_directory: Path) -> Path:
    """First of ``<cell>.1``, ``<cell>.2``, ... that is free in the folder that the cell belongs to."""
    try:
        read_manifest(cell_directory)
        folder = cell_directory.parent.parent / "attempts"
    except UserError:
        folder = cell_directory.parent.parent / "unreadable"
    names = (folder / f"{cell_directory.name}.{number}" for number in itertools.count(1))
    return next(path for path in names if not path.exists())
