"""Every table of one system by the design of its experiment, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from anarchy.designs import ByDesign
from anarchy.ground.layout import Layout
from anarchy.ground.words import caption
from anarchy.tables.files import write_csv, write_latex
from anarchy.tables.ladder import equilibrium_table, equilibrium_words, workload_titles
from anarchy.tables.pareto import pair_table, pair_words, spread_table, spread_words
from anarchy.tables.stages import (
    detection_table,
    detection_words,
    ratio_table,
    ratio_words,
    stage_table,
    stage_words,
)
from anarchy.tables.systems import System

Maker = tuple[str, Callable[[System], pd.DataFrame], Callable[[pd.DataFrame], pd.DataFrame]]

_CELLS: Final[Maker] = (
    "Cells",
    lambda system: equilibrium_table(system.cells),
    equilibrium_words,
)
_STAGES: Final[Maker] = ("Policies and stages", stage_table, stage_words)
_RATIOS: Final[Maker] = ("Ratios between policies", ratio_table, ratio_words)
_DETECTION: Final[Maker] = ("Detectors", detection_table, detection_words)
_PAIRS: Final[Maker] = ("Pairs of tau and omega", pair_table, pair_words)
_SPREAD: Final[Maker] = ("Spread over the pairs", spread_table, spread_words)

MAKERS: Final[ByDesign[Mapping[str, Maker]]] = {
    "ladder": {"": _CELLS},
    "detection": {"": _STAGES, "detection": _DETECTION},
    "stages": {"": _STAGES, "ratios": _RATIOS},
    "pareto": {"": _PAIRS, "spread": _SPREAD},
}
"""Name of a design -> name of a table -> what it holds, and what makes it and puts it in words."""


@dataclass(frozen=True)
class Made:
    """One table of one system."""

    what: str
    """What it holds, of which system, under which workloads."""
    raw: pd.DataFrame
    words: pd.DataFrame


def make(system: System) -> dict[str, Made]:
    """Every table of one system, by name; the empty name is the one named as the system."""
    made = {}
    for name, (what, table, words) in MAKERS[system.design.name].items():
        raw = table(system)
        made[name] = Made(f"{what} of {system.title}, {workload_titles([system])}.", raw, words(raw))
    return made


def save(made: Mapping[str, Made], layout: Layout, system: System, label: str) -> list[Path]:
    """Write what `make` made as ``<model>_<topology>[_<name>].{csv,tex}``; ``label`` is the engine's."""
    folder = layout.tables(system.experiment)
    saved = []
    for name, table in made.items():
        stem = "_".join((*system.key, name) if name else system.key)
        saved += [
            write_csv(table.raw, folder / f"{stem}.csv"),
            write_latex(table.words, folder / f"{stem}.tex", caption=caption(table.what, label)),
        ]
    return saved
