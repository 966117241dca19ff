"""Every figure of one system, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.ground.layout import Layout
from anarchy.tables import System

Drawing: TypeAlias = tuple[Callable[[System, str, float], Figure], float]
"""A function of a system, a workload and a width, and the width that its figure has of its own."""


def draw(system: System, drawings: Mapping[str, Drawing], width: float | None = None) -> dict[str, Figure]:
    """Every figure of one system, by name.

    ``poa``, ``series``, ... show its first workload, ``poa_<workload>``, ... each further one. ``width``
    replaces the width that each figure has of its own.
    """
    return {
        name if place == 0 else f"{name}_{workload}": function(system, workload, width or own)
        for place, workload in enumerate(system.info["workloads"])
        for name, (function, own) in drawings.items()
    }


def further(drawn: Mapping[str, Figure], drawings: Mapping[str, Drawing]) -> list[Figure]:
    """Those figures of `draw` that show workloads other than the first."""
    return [figure for name, figure in drawn.items() if name not in drawings]


def save_all(drawn: Mapping[str, Figure], layout: Layout, system: System) -> list[Path]:
    """Write what `draw` made as ``<model>_<topology>_<name>.{pdf,svg,png}`` of the system's experiment."""
    folder = layout.figures(system.experiment)
    stem = "_".join(system.key)
    return [
        path
        for name, figure in drawn.items()
        for path in style.save(figure, folder / f"{stem}_{name}", system.rows)
    ]
