"""Attempts at a cell: how often it was measured, the seed of each, and whether it deserves another."""

from __future__ import annotations

from pathlib import Path

from anarchy.gates.registry import machine_gates
from anarchy.ground.layout import cell_directory
from anarchy.plan.launches import Cell, derive_seed
from anarchy.trace.schema import GateResult
from anarchy.trace.state import CellState, cell_state

MEASURED = frozenset({CellState.DONE, CellState.INVALID})
"""States of a cell that was measured to its end under this plan."""


def attempts_at(folder: Path, cell: Cell) -> int:
    """How often a cell has been measured to its end under this plan."""
    kept = [*folder.glob(f"attempts/{cell.name}.*"), cell_directory(folder, cell.name)]
    return sum(cell_state(directory, cell.plan_hash) in MEASURED for directory in kept)


def seed_of(cell: Cell, attempt: int) -> int:
    """Seed of an attempt, counted from 1: the same prompts once more would be found in a cache."""
    return cell.seed if attempt == 1 else derive_seed(cell.seed, "attempt", attempt)


def deserves_another(gates: GateResult | None, attempt: int, attempts: int) -> bool:
    """Whether a cell failed because of the machine alone, and has an attempt left."""
    reasons = set(gates.reasons) if gates else set()
    return attempt < attempts and bool(reasons) and reasons <= machine_gates()
