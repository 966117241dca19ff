"""What a notebook shows of one system: each figure and table, once drawn, saved and displayed in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from anarchy.designs.registry import design_of
from anarchy.designs.tables import Made, Maker, make, save
from anarchy.figures import style
from anarchy.ground.layout import Layout
from anarchy.tables import System

Draw = Callable[..., Figure]
"""A function of a system, a workload and, where it is not to be its own, the width in inches."""

ON_SCREEN: Final = 96.0
"""Pixels an inch of a figure has in a notebook."""


@dataclass(frozen=True)
class Shown:
    """Figures that were saved, as a notebook displays them: the PNG of each workload."""

    images: tuple[tuple[Path, float], ...]
    """File and width in inches."""

    def _ipython_display_(self) -> None:
        from IPython.display import Image, display

        for file, inches in self.images:
            image = Image(data=file.read_bytes(), format="png", width=round(ON_SCREEN * inches))  # type: ignore[no-untyped-call]
            display(image)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Sheet:
    """The figures and tables of one system, and where they are saved."""

    layout: Layout
    system: System
    makers: Mapping[str, Maker]
    """The tables of the system's design."""

    def figure(self, name: str, draw: Draw) -> Shown:
        """Draw a figure for every workload and save it: PDF, SVG, PNG, and SVG for a narrow screen.

        The files are ``<model>_<topology>_<name>.<format>`` of the system's experiment; those of each further
        workload have its name after ``name``.
        """
        folder, rows = self.layout.figures(self.system.experiment), self.system.rows
        images = []
        workloads = design_of(self.system.design).drawn(name, list(self.system.info["workloads"]))
        for place, workload in enumerate(workloads):
            stem = folder / "_".join((*self.system.key, name, *([workload] if place else [])))
            figure = draw(self.system, workload)
            narrow = figure.get_figwidth() <= style.SINGLE
            small = figure if narrow else draw(self.system, workload, style.SINGLE)
            style.save(figure, stem, rows, small)
            images.append((stem.with_name(f"{stem.name}.png"), figure.get_figwidth()))
        return Shown(tuple(images))

    def table(self, name: str = "") -> pd.DataFrame:
        """Save a table as CSV (raw numbers) and LaTeX, and return it in words."""
        label = style.engine_label(self.system.rows)
        save({name: self._tables[name]}, self.layout, self.system, label)
        return self._tables[name].words

    @cached_property
    def _tables(self) -> dict[str, Made]:
        return make(self.system, self.makers)
