"""Every figure and table of a system in memory: what the notebooks of its design show one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from matplotlib.figure import Figure

from anarchy.designs.detection import figures as detection
from anarchy.designs.ladder import cost_model
from anarchy.designs.ladder import figures as ladder
from anarchy.designs.pareto import figures as pareto
from anarchy.designs.registry import design_of
from anarchy.designs.sheet import Sheet
from anarchy.designs.stages import by_stage
from anarchy.designs.stages import figures as stages
from anarchy.designs.tables import Made, make
from anarchy.ground.layout import Layout
from anarchy.tables import System

Draw = Callable[..., Figure]

FIGURES: Final[Mapping[str, Mapping[str, Draw]]] = {
    "ladder": {
        "poa": ladder.poa_against_concurrency,
        "decomposition": ladder.decomposition_against_concurrency,
        "costmodel": cost_model.latency_against_load,
        "performance": ladder.performance_against_concurrency,
    },
    "detection": {
        "series": detection.detectors_over_time,
        "curvature": detection.curvature_over_concurrency,
    },
    "stages": {
        "series": stages.policies_over_time,
        "ratios": by_stage.ratios_by_stage,
        "policies": by_stage.policies_by_stage,
        "balance": stages.loads_over_time,
        "decomposition": by_stage.factors_by_stage,
    },
    "pareto": {
        "pairs": pareto.poa_of_pairs,
        "spread": pareto.spread_of_pairs,
        "front": pareto.pareto_front,
    },
}
"""Name of a design -> name of a figure -> what draws it."""


def draw_all(system: System, width: float | None = None) -> dict[str, Figure]:
    """Every figure of one system: those of its first workload by name, of each further one with its name."""
    widths = () if width is None else (width,)
    return {
        name if place == 0 else f"{name}_{workload}": draw(system, workload, *widths)
        for place, workload in enumerate(system.info["workloads"])
        for name, draw in FIGURES[system.design].items()
    }


def save_figures(layout: Layout, systems: list[System]) -> None:
    """Save every figure of these systems, as the notebooks do."""
    for system in systems:
        sheet = Sheet(layout, system, {})
        for name, draw in FIGURES[system.design].items():
            sheet.figure(name, draw)


def make_all(system: System) -> dict[str, Made]:
    """Every table of one system, by name."""
    return make(system, design_of(system.design).part("tables").TABLES)
