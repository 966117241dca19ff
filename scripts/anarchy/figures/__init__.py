"""One function a figure: tidy rows of one or more systems in, a labelled figure out; no reading, no writing.

Every function takes the width in print, one column or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from anarchy import style
from anarchy.figures.concurrency import (
    decomposition_against_concurrency,
    overview,
    performance_against_concurrency,
    poa_against_concurrency,
)
from anarchy.figures.latency import latency_against_load
from anarchy.layout import Layout
from anarchy.style import DOUBLE, SINGLE
from anarchy.tables import System

__all__ = [
    "NAMES",
    "decomposition_against_concurrency",
    "draw",
    "further",
    "latency_against_load",
    "overview",
    "performance_against_concurrency",
    "poa_against_concurrency",
    "save_all",
]

NAMES: Final = ("poa", "decomposition", "costmodel", "performance")
"""Figures that `draw` makes of every workload."""


def draw(system: System, width: float | None = None) -> dict[str, Figure]:
    """Every figure of one system, by name.

    ``poa``, ``decomposition``, ... show its first workload, ``poa_<workload>``, ... each further one.
    ``width`` replaces the width that each figure has of its own.
    """
    drawn: dict[str, Figure] = {}
    cells, info = system.cells, system.info
    for place, workload in enumerate(info["workloads"]):
        tail = "" if place == 0 else f"_{workload}"
        drawn[f"poa{tail}"] = poa_against_concurrency(cells, info, workload, width or SINGLE)
        drawn[f"decomposition{tail}"] = decomposition_against_concurrency(
            cells, info, workload, width or SINGLE
        )
        drawn[f"costmodel{tail}"] = latency_against_load(
            cells, system.curves, info, workload, width or DOUBLE
        )
        drawn[f"performance{tail}"] = performance_against_concurrency(cells, info, workload, width or DOUBLE)
    return drawn


def further(drawn: Mapping[str, Figure]) -> list[Figure]:
    """Those figures of `draw` that show workloads other than the first."""
    return [figure for name, figure in drawn.items() if name not in NAMES]


def save_all(drawn: Mapping[str, Figure], layout: Layout, system: System) -> list[Path]:
    """Write what `draw` made as ``<model>_<topology>_<name>.{pdf,svg,png}`` of the system's experiment."""
    folder = layout.figures(str(system.info["experiment"]))
    stem = "_".join(system.key)
    return [
        path
        for name, figure in drawn.items()
        for path in style.save(figure, folder / f"{stem}_{name}", system.cells)
    ]
