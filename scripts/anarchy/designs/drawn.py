"""The files that a system's notebook makes: every figure and table, computed in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from anarchy.designs.design import Design
from anarchy.ground.layout import FIGURE_SUFFIXES, NARROW, Layout

TABLE_SUFFIXES: Final = ("csv", "tex")


def drawn_files(
    layout: Layout, design: Design, experiment: str, stem: str, workloads: Sequence[str] = ()
) -> list[Path]:
    """Every figure and table of one system, figures first.

    ``stem``: ``<model>_<topology>``. ``workloads``: those of its estimates; without them its first alone.
    """
    figures, tables = layout.figures(experiment), layout.tables(experiment)
    names = [f"_{workload}" if place else "" for place, workload in enumerate(workloads or ("",))]
    return [
        *(
            figures / f"{stem}_{name}{tail}.{suffix}"
            for name in design.figures
            for tail in names[: 1 if name in design.whole else None]
            for suffix in (*FIGURE_SUFFIXES, NARROW)
        ),
        *(
            tables / f"{stem}{table_tail(name)}.{suffix}"
            for name in design.tables
            for suffix in TABLE_SUFFIXES
        ),
    ]


def table_tail(table: str) -> str:
    """What the name of a table adds to the name of its file; that of the system itself adds nothing."""
    return f"_{table}" if table else ""
