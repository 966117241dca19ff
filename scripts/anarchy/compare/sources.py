"""Every table of estimates that two runs can be compared by, of every design."""

from __future__ import annotations

from functools import cache

from anarchy.designs.design import Design
from anarchy.designs.metrics import Source
from anarchy.designs.registry import designs


@cache
def sources() -> tuple[Source, ...]:
    """All that has intervals, each once: designs may share one, and call different ones by one file's name.

    Within one design no two have a metric of one name.
    """
    return tuple(dict.fromkeys(source for design in designs() for source in sources_of(design)))


def sources_of(design: Design) -> tuple[Source, ...]:
    """Those of one design."""
    found: tuple[Source, ...] = design.part("comparison").SOURCES
    return found
