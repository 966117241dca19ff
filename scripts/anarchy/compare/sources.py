"""Every table of estimates that two runs can be compared by, of every design."""

from __future__ import annotations

from functools import cache

from anarchy.designs.metrics import Source
from anarchy.designs.registry import designs


@cache
def sources() -> tuple[Source, ...]:
    """All that has intervals, each file once. Within one experiment no two have a metric of one name."""
    found: dict[str, Source] = {}
    for design in designs():
        for source in design.part("comparison").SOURCES:
            found.setdefault(source.file, source)
    return tuple(found.values())
