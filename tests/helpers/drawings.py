"""Every figure and table of a system in memory: what the notebooks of its design show one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from matplotlib.figure import Figure

from anarchy.designs.cache import figures as cache
from anarchy.designs.detection import figures as detection
from anarchy.designs.engines import figures as engines
from anarchy.designs.ladder import cost_model
from anarchy.designs.ladder import figures as ladder
from anarchy.designs.ladder import step as ladder_step
from anarchy.designs.loading import load_systems
from anarchy.designs.pareto import figures as pareto
from anarchy.designs.readings import figures as readings
from anarchy.designs.readings import settings as readings_settings
from anarchy.designs.registry import design_of
from anarchy.designs.sheet import Sheet
from anarchy.designs.split import figures as split
from anarchy.designs.stages import by_stage
from anarchy.designs.stages import figures as stages
from anarchy.designs.tables import Made, make
from anarchy.ground.layout import Layout
from anarchy.tables import System
from tests.helpers.shared import made_once
from tests.helpers.synthetic_cache import write_cache
from tests.helpers.synthetic_engines import write_engines
from tests.helpers.synthetic_estimates import write_results
from tests.helpers.synthetic_pareto import write_pareto
from tests.helpers.synthetic_readings import write_readings
from tests.helpers.synthetic_split import write_split
from tests.helpers.synthetic_staged import write_staged

Draw = Callable[..., Figure]

FIGURES: Final[Mapping[str, Mapping[str, Draw]]] = {
    "ladder": {
        "poa": ladder.poa_against_concurrency,
        "depth": ladder.knee_against_depth,
        "decomposition": ladder.decomposition_against_concurrency,
        "costmodel": cost_model.latency_against_load,
        "performance": ladder.performance_against_concurrency,
        "step": ladder_step.arrivals_over_time,
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
    "engines": {
        "sides": engines.sides_against_concurrency,
        "differences": engines.differences_against_concurrency,
    },
    "readings": {"march": readings.march_of_users, "settings": readings_settings.knees_and_growths},
    "split": {"goodput": split.goodput_of_splits, "gains": split.gains_of_workers},
    "cache": {"price": cache.price_of_sets, "hits": cache.hits_of_sets, "map": cache.map_of_sets},
}
"""Name of a design -> name of a figure -> what draws it."""

WRITERS: Final[Mapping[str, Callable[[Path], Layout]]] = {
    "equilibrium": write_results,
    "saturation": partial(write_staged, experiment="saturation"),
    "adaptive": partial(write_staged, experiment="adaptive"),
    "pareto": write_pareto,
    "engines": write_engines,
    "step": write_readings,
    "split": write_split,
    "cache": write_cache,
}
"""Name of an experiment -> what writes made-up estimates of it."""


def draw_all(system: System, width: float | None = None) -> dict[str, Figure]:
    """Every figure of one system: those of its first workload by name, of each further one with its name."""
    widths = () if width is None else (width,)
    design, workloads = design_of(system.design), list(system.info["workloads"])
    return {
        name if place == 0 else f"{name}_{workload}": draw(system, workload, *widths)
        for place, workload in enumerate(workloads)
        for name, draw in FIGURES[system.design].items()
        if workload in design.drawn(name, workloads)
    }


def drawn_results(temporary: pytest.TempPathFactory, root: Path, *experiments: str) -> Layout:
    """Made-up results of these experiments under ``root/quick``, with every figure as the notebooks save it.

    E1 has three systems, the others one. They are drawn once in a run of the tests, and copied.
    """
    for experiment in experiments:
        made = made_once(temporary, f"drawn-{experiment}", partial(_draw, experiment))
        shutil.copytree(made, root, dirs_exist_ok=True)
    return Layout(root / "quick")


def _draw(experiment: str, root: Path) -> None:
    """Write the estimates of an experiment and save their figures."""
    layout = WRITERS[experiment](root)
    for system in load_systems(layout):
        sheet = Sheet(layout, system, {})
        for name, draw in FIGURES[system.design].items():
            sheet.figure(name, draw)


def make_all(system: System) -> dict[str, Made]:
    """Every table of one system, by name."""
    return make(system, design_of(system.design).part("tables").TABLES)
