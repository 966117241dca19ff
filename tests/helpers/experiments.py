"""Which experiment of the study shows a design."""

from __future__ import annotations

from anarchy.config.files import load_study
from anarchy.designs.design import Design
from anarchy.ground.layout import CONFIG


def experiment_of(design: Design) -> str:
    """The experiment that is named as the notebook of its design, else the only one of that design."""
    named = [name for name, one in load_study(CONFIG).experiments.items() if one.design == design.name]
    if design.notebook in named:
        return design.notebook
    (only,) = named
    return only
