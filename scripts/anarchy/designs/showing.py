"""What shows a system, by the design that it was measured by: its figures and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anarchy.designs.registry import design_of
from anarchy.designs.tables import Maker
from anarchy.tables.systems import System

if TYPE_CHECKING:
    from anarchy.figures.drawing import Drawing


def figures_of(system: System) -> Mapping[str, Drawing]:
    """Name of a figure -> how it is drawn. Loads what draws."""
    found: Mapping[str, Drawing] = design_of(system.design).part("figures").FIGURES
    return found


def tables_of(system: System) -> Mapping[str, Maker]:
    """Name of a table -> what makes it and puts it in words."""
    found: Mapping[str, Maker] = design_of(system.design).part("tables").TABLES
    return found
