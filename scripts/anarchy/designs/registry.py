"""Every design there is: the folders of this room, in the order of the paper's experiments, ours last."""

from __future__ import annotations

from functools import cache

from anarchy.designs.design import Design
from anarchy.ground.errors import UserError
from anarchy.ground.plugins import parts


@cache
def designs() -> tuple[Design, ...]:
    """Every design, by the experiment that it is."""
    found = (module.DESIGN for module in parts("anarchy.designs", "design").values())
    return tuple(sorted(found, key=lambda design: (design.id, design.name)))


def design_of(name: str) -> Design:
    """The design of a name; raises UserError where there is none."""
    known = {design.name: design for design in designs()}
    if name not in known:
        raise UserError(f"there is no design {name!r}", remedy=f"known: {', '.join(known)}")
    return known[name]
