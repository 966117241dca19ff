"""Rules that judge claims, by name: every file of this folder has `RULES`, and `NOTES` where it needs them.

A rule takes a claim, a system's document and a workload, and answers with parts, one a way to route.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from anarchy.claims.model import Claim, Part, System
from anarchy.ground.plugins import parts

Rule = Callable[[Claim, System, str], Sequence[Part]]


def alone(rule: Callable[[Claim, System, str], Part]) -> Rule:
    """A rule that has one answer a system."""

    def judged(claim: Claim, system: System, workload: str) -> list[Part]:
        return [rule(claim, system, workload)]

    return judged


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its name."""
    return {name: rule for module in parts(__name__).values() for name, rule in module.RULES.items()}


@cache
def notes() -> Mapping[Any, str]:
    """What has to be known with every verdict of a rule, or of a rule and a way to route, whichever it is."""
    return {
        key: note for module in parts(__name__).values() for key, note in getattr(module, "NOTES", {}).items()
    }
