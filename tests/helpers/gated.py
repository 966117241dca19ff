"""What a deployment on one small and busy machine may say against its cells."""

from __future__ import annotations

from collections.abc import Iterable

from anarchy.gates.registry import machine_gates


def told_of_the_machine(reasons: Iterable[str]) -> bool:
    """Whether gates found no fault but a busy machine, on which cells drift and end short."""
    return set(reasons) <= machine_gates() | {"not_steady", "short"}
