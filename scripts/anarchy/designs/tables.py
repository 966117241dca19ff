"""Every table of one system, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pandas as pd

from anarchy.designs.registry import design_of
from anarchy.ground.layout import Layout
from anarchy.ground.words import caption
from anarchy.tables.files import write_csv, write_latex
from anarchy.tables.systems import System

Maker: TypeAlias = tuple[Callable[[System], pd.DataFrame], Callable[[pd.DataFrame], pd.DataFrame]]
"""What makes a table of a system, and what puts it in words."""
MANY: Final = 12
"""Workloads that are still named one by one."""


@dataclass(frozen=True)
class Made:
    """One table of one system."""

    what: str
    """What it holds, of which system, under which workloads."""
    raw: pd.DataFrame
    words: pd.DataFrame


def make(system: System, makers: Mapping[str, Maker]) -> dict[str, Made]:
    """Every table of one system, by name; the empty name is the one named as the system."""
    holds = design_of(system.design).tables
    made = {}
    for name, (table, words) in makers.items():
        raw = table(system)
        made[name] = Made(f"{holds[name]} of {system.title}, {workload_titles([system])}.", raw, words(raw))
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


def workload_titles(systems: Sequence[System]) -> str:
    """The workloads of systems, for people and once each: ``unique prompts, 5 prompt templates``.

    Of more than `MANY` their number.
    """
    titles = dict.fromkeys(
        str(found.get("title", name))
        for system in systems
        for name, found in system.info["workloads"].items()
    )
    return ", ".join(titles) if len(titles) <= MANY else f"{len(titles)} workloads"
