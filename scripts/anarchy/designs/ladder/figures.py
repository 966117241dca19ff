"""The figures of a ladder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from matplotlib.figure import Figure

from anarchy.designs.ladder.cost_model import latency_against_load
from anarchy.designs.ladder.over_concurrency import (
    decomposition_against_concurrency,
    performance_against_concurrency,
    poa_against_concurrency,
)
from anarchy.figures.drawing import Drawing
from anarchy.figures.style import DOUBLE, SINGLE
from anarchy.tables import System


def _of_cells(draw: Callable[..., Figure]) -> Callable[[System, str, float], Figure]:
    """A figure of the ladder as a function of the whole system."""
    return lambda system, workload, width: draw(system.cells, system.info, workload, width)


FIGURES: Final[dict[str, Drawing]] = {
    "poa": (_of_cells(poa_against_concurrency), SINGLE),
    "decomposition": (_of_cells(decomposition_against_concurrency), SINGLE),
    "costmodel": (
        lambda system, workload, width: latency_against_load(
            system.cells, system.curves, system.info, workload, width
        ),
        DOUBLE,
    ),
    "performance": (_of_cells(performance_against_concurrency), DOUBLE),
}
"""Name of a figure -> how it is drawn."""
