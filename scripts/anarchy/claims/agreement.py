"""Verdicts of two runs side by side: a claim that seeds disagree about is decided by neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anarchy.claims.model import INCONCLUSIVE

KEYS: Final = "id", "workload", "way", "engine"
"""What makes a verdict the same one in both runs."""


@dataclass(frozen=True)
class Pair:
    """A claim under one workload, engine and way to route, in both runs; None where one did not judge it."""

    id: str
    workload: str
    way: str
    engine: str
    first: str | None
    second: str | None

    @property
    def agrees(self) -> bool | None:
        """Whether both runs say the same; None where one did not judge it."""
        return None if self.first is None or self.second is None else self.first == self.second

    @property
    def together(self) -> str:
        """The verdict of both: that on which they agree, else inconclusive."""
        return str(self.first) if self.agrees else INCONCLUSIVE


def pair_verdicts(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Every verdict of either run, in the order of the first; what it lacks comes last."""
    one, other = ({_key(verdict): verdict["verdict"] for verdict in run} for run in (first, second))
    return [Pair(*key, one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])]


def _key(verdict: Mapping[str, Any]) -> tuple[str, str, str, str]:
    claim, workload, way, engine = (verdict[key] for key in KEYS)
    return claim, workload, way, engine


def render_verdicts(pairs: Sequence[Pair], first: Path, second: Path) -> str:
    """A table in Markdown, and under it how many agree."""
    lines = [
        f"first: {first}; second: {second}",
        "",
        "| claim | workload | way | engine | first | second | both |",
        "|---|---|---|---|---|---|---|",
    ]
    for pair in pairs:
        verdicts = (pair.first or "not judged", pair.second or "not judged", pair.together)
        lines.append("| " + " | ".join((pair.id, pair.workload, pair.way, pair.engine, *verdicts)) + " |")
    both = [pair for pair in pairs if pair.agrees is not None]
    agree = sum(bool(pair.agrees) for pair in both)
    lines += ["", f"{agree} of {len(both)} verdicts agree; what disagrees is {INCONCLUSIVE}."]
    if alone := len(pairs) - len(both):
        lines.append(f"{alone} more were judged in one run alone.")
    return "\n".join(lines) + "\n"
