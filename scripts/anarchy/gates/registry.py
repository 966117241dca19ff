"""Every gate: the modules of this room that define one. A new gate is a file here, and no list."""

from __future__ import annotations

from functools import cache

from anarchy.gates.gate import Gate
from anarchy.ground.plugins import parts


@cache
def gates() -> dict[str, Gate]:
    """Every gate by its name, in the order in which verdicts name them."""
    found = (module.GATE for module in parts("anarchy.gates").values() if hasattr(module, "GATE"))
    return {gate.name: gate for gate in sorted(found, key=lambda gate: (gate.rank, gate.name))}


@cache
def machine_gates() -> frozenset[str]:
    """Names of the gates that speak of the machine: a cell that failed only these is measured again."""
    return frozenset(name for name, gate in gates().items() if gate.machine)
