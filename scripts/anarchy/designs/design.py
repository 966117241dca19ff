"""What a design of experiment is: facts that the workflow needs, and parts that are loaded when used.

A folder of this room is a design. Its files:

======================  ===========================================================================
`design.py`             `DESIGN`: these facts
`tier.py`               `TIER`: its keys in an experiment's file, and the conditions they make
`columns.py`            `TABLES`: its Parquet files, as schemas with units
`document.py`           `DOCUMENT`: its `system.json`, as a model
`estimate.py`           `estimate`: from measured cells to these
`figures.py`            one function a figure, which its notebook calls
`tables.py`             `TABLES`: one function a table, and one that puts it in words
`findings.py`           `parts` and `notes`: what it found, in sentences; `answer`: all systems in one
`comparison.py`         `SOURCES`: what `anarchy compare` compares
======================  ===========================================================================
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False, kw_only=True)
class Design:
    """One design of experiment."""

    name: str
    """Its folder, and the word `design` of its experiments."""
    id: str
    """The experiment of the paper that it is, E1 to E4; G1, G2, V1, W1 and W2 are ours."""
    title: str
    """What its notebook and its section of the report answer."""
    question: str = ""
    """What it asks, as its section of the report begins; its title where it asks nothing in words."""
    key: str = ""
    """The figure that answers it, shown before all others; empty: the first of `figures`."""
    notebook: str
    """Stem of its file in notebooks/."""
    main: str
    """The table with a row for everything that was planned; figures take their labels from it."""
    figures: Mapping[str, str]
    """Name of a figure -> what it shows and how to read it. A system's first workload is drawn under this
    name, each further one with the workload's name after it."""
    whole: frozenset[str] = frozenset()
    """Those of them that show all workloads at once: drawn one time a system, under its first workload."""
    published: bool = False
    """Whether figures hold published values (data/paper) beside its own."""
    shows: Mapping[str, str]
    """Name of a figure -> the table that it shows most of, where that is not `main`."""
    budget: bool = False
    """Whether a system is estimated together with the model's other topologies in the same experiment: they
    share a budget of workers. `estimate` then takes the cells of each, its own among them, as a fifth."""
    tables: Mapping[str, str]
    """Name of a table -> what it holds. Each is a CSV and a LaTeX file; the empty name is the system's."""
    sort_keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Table of estimates -> columns that its rows are put in order by when they are read back; rows of one
    that is not named stay as they were written. Workloads are in the order of the document."""

    def part(self, file: str) -> Any:
        """One of its files, as a module."""
        return importlib.import_module(f"anarchy.designs.{self.name}.{file}")

    @property
    def files(self) -> tuple[str, ...]:
        """What `anarchy system` writes."""
        return (*(f"{stem}.parquet" for stem in self.part("columns").TABLES), "system.json")

    def drawn(self, name: str, workloads: Sequence[str]) -> list[str]:
        """The workloads of a system that a figure is drawn for."""
        return list(workloads)[:1] if name in self.whole else list(workloads)
