"""The verdict of every gate on a cell."""

from __future__ import annotations

from anarchy.gates.gate import Asked, Role
from anarchy.gates.registry import gates
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import GateResult


def evaluate(trace: CellTrace, planned_measure_s: float) -> GateResult:
    """Every gate on one cell; ``planned_measure_s`` in model seconds, over all stages of a staged cell."""
    asked = Asked(trace, planned_measure_s=planned_measure_s)
    return _judged(asked, [name for name, gate in gates().items() if gate.own])


def evaluate_public(trace: CellTrace, pool: Role) -> GateResult:
    """The gates that a trace alone can answer, for one whose maker has not judged it.

    What only the client or the plan knows is not asked, nor is `warm_cache`: elsewhere prompts of their own
    may well share a beginning.
    """
    asked = Asked(trace, pool, (pool,))
    return _judged(asked, [name for name, gate in gates().items() if gate.public])


def _judged(asked: Asked, names: list[str]) -> GateResult:
    failed: list[str] = []
    measures: dict[str, float | None] = {}
    for name in names:
        bad, numbers = gates()[name].ask(asked)
        measures.update(numbers)
        if bad:
            failed.append(name)
    return GateResult(valid=not failed, reasons=tuple(failed), measures=measures)
