"""What a system's figures show, in sentences of numbers, with the intervals that the estimates hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anarchy.designs.registry import design_of
from anarchy.ground.words import is_missing
from anarchy.tables import System
from anarchy.tables.knees import knee_words
from anarchy.tables.step import step_words


@dataclass(frozen=True)
class Finding:
    """What the figures of one system show of one workload."""

    of: str
    """System and workload, for people."""
    parts: tuple[str, ...]
    """Each a clause of numbers."""
    notes: tuple[str, ...]
    """What to know beside them, each a sentence."""

    def __str__(self) -> str:
        return f"{self.of}: {'; '.join(self.parts)}."


def find(system: System, workload: str) -> Finding:
    """Put one system's numbers under one workload in words."""
    title = system.info["workloads"][workload].get("title", workload)
    told = design_of(system.design).part("findings")
    parts = told.parts(system, workload)
    if is_missing((system.info.get("knee_from") or {"used": 0}).get("used")):
        parts = [knee_words(system.info, workload)]
    rows = system.rows[system.rows["workload"] == workload]
    if not rows["valid"].all():
        count = int((~rows["valid"].astype(bool)).sum())
        parts.append(f"{count} of {len(rows)} cells not counted")
    return Finding(f"{system.title}, {title}", tuple(parts), tuple(_notes(system, workload, told)))


def findings(system: System) -> list[Finding]:
    """One for each workload of a system."""
    return [find(system, workload) for workload in system.info["workloads"]]


def _notes(system: System, workload: str, told: Any) -> list[str]:
    """What the design notes, whose knee it is, where users marched in step, and the estimates' own notes."""
    beside = (knee_words(system.info, workload), step_words(system.of(workload)))
    own = system.info["workloads"][workload].get("notes") or ()
    return [*told.notes(system, workload), *(words[0].upper() + words[1:] for words in beside if words), *own]


def answer(systems: Sequence[System]) -> str:
    """What an experiment found, in one sentence over all its systems; else its first finding."""
    told = design_of(systems[0].design).part("findings")
    return str(told.answer(systems)) if hasattr(told, "answer") else str(findings(systems[0])[0])
