"""Which experiment of the study shows a design."""

from __future__ import annotations

from functools import cache

from anarchy.config import Study
from anarchy.config.files import load_study
from anarchy.designs.design import Design
from anarchy.ground.layout import CONFIG


@cache
def study() -> Study:
    """The study as it is."""
    return load_study(CONFIG)


def experiment_of(design: Design) -> str:
    """The experiment that is named as the notebook of its design, else the first of that design by its id."""
    named = {name: one.id for name, one in study().experiments.items() if one.design == design.name}
    return design.notebook if design.notebook in named else min(named, key=named.__getitem__)
