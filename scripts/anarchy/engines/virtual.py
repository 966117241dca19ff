"""Simulation in virtual time: an engine whose traces are read, and which nothing here starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from anarchy.engines.engine import SIMULATED, Engine, Ran


def label(_: str | None) -> str:
    """It computes on nothing, so no device names it."""
    return SIMULATED


def deviations(_: Sequence[Ran]) -> list[str]:
    """How cells of this engine depart from the paper's."""
    return ["simulated in virtual time; no serving stack and no GPU was used"]


ENGINE: Final = Engine(
    name="virtual",
    about="simulation in virtual time",
    simulated=True,
    served=False,
    label=label,
    deviations=deviations,
)
