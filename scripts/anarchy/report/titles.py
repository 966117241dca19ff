"""What an experiment is called: several may share a design, and each has an id and a title of its own."""

from __future__ import annotations

from functools import cache

from anarchy.config import Experiment
from anarchy.config.files import load_block
from anarchy.designs.design import Design
from anarchy.designs.registry import design_of
from anarchy.ground.layout import CONFIG
from anarchy.tables import System


def title_of(design: Design, experiment: str) -> str:
    """Id and what it is about, such as "E1, PoA-hat over concurrency".

    The design's own experiment has the words of the design, any other those of its file.
    """
    other = _other(design, experiment)
    if other is None:
        return f"{design.id}, {design.title}"
    return f"{other.id}, {other.title[:1].lower()}{other.title[1:]}"


def named(system: System) -> str:
    """A system with the id of its experiment."""
    design = design_of(system.design)
    return f"{(_other(design, system.experiment) or design).id}, {system.title}"


def _other(design: Design, experiment: str) -> Experiment | None:
    """The experiment where it is not the design's own one, and this project knows it."""
    return None if experiment == design.notebook else _read(experiment)


@cache
def _read(experiment: str) -> Experiment | None:
    """An experiment by its file; None where a run from elsewhere names one that this project lacks."""
    file = CONFIG / "experiments" / f"{experiment}.yaml"
    return load_block(file, Experiment) if file.is_file() else None
