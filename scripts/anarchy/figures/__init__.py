"""One function a figure: tidy rows of one or more systems in, a labelled figure out; no reading, no writing.

Every function takes the width in print, one column or two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from matplotlib.figure import Figure

from anarchy.designs import ByDesign
from anarchy.figures.comparison import factors_by_stage, policies_by_stage, ratios_by_stage
from anarchy.figures.concurrency import (
    decomposition_against_concurrency,
    overview,
    performance_against_concurrency,
    poa_against_concurrency,
)
from anarchy.figures.detection import curvature_over_concurrency, detectors_over_time
from anarchy.figures.latency import latency_against_load
from anarchy.figures.pareto import pareto_front, poa_of_pairs, spread_of_pairs
from anarchy.figures.sheet import Sheet
from anarchy.figures.stages import loads_over_time, policies_over_time
from anarchy.figures.style import DOUBLE, SINGLE
from anarchy.tables import System

__all__ = [
    "FIGURES",
    "Sheet",
    "curvature_over_concurrency",
    "decomposition_against_concurrency",
    "detectors_over_time",
    "draw",
    "factors_by_stage",
    "latency_against_load",
    "loads_over_time",
    "overview",
    "pareto_front",
    "performance_against_concurrency",
    "poa_against_concurrency",
    "poa_of_pairs",
    "policies_by_stage",
    "policies_over_time",
    "ratios_by_stage",
    "spread_of_pairs",
]

Drawing = tuple[Callable[[System, str, float], Figure], float]
"""A function of a system, a workload and a width, and the width that its figure has of its own."""


FIGURES: Final[ByDesign[Mapping[str, Drawing]]] = {
    "ladder": {
        "poa": (poa_against_concurrency, SINGLE),
        "decomposition": (decomposition_against_concurrency, SINGLE),
        "costmodel": (latency_against_load, DOUBLE),
        "performance": (performance_against_concurrency, DOUBLE),
    },
    "detection": {
        "series": (detectors_over_time, DOUBLE),
        "curvature": (curvature_over_concurrency, DOUBLE),
    },
    "stages": {
        "series": (policies_over_time, DOUBLE),
        "ratios": (ratios_by_stage, DOUBLE),
        "policies": (policies_by_stage, DOUBLE),
        "balance": (loads_over_time, DOUBLE),
        "decomposition": (factors_by_stage, DOUBLE),
    },
    "pareto": {
        "pairs": (poa_of_pairs, DOUBLE),
        "spread": (spread_of_pairs, DOUBLE),
        "front": (pareto_front, DOUBLE),
    },
}
"""Name of a design -> name of a figure -> how it is drawn. The names are those of `designs`."""


def draw(system: System, width: float | None = None) -> dict[str, Figure]:
    """Every figure of one system, by name.

    ``poa``, ``series``, ... show its first workload, ``poa_<workload>``, ... each further one. ``width``
    replaces the width that each figure has of its own.
    """
    return {
        name if place == 0 else f"{name}_{workload}": function(system, workload, width or own)
        for place, workload in enumerate(system.info["workloads"])
        for name, (function, own) in FIGURES[system.design.name].items()
    }
