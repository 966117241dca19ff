"""PoA-hat against concurrency for users who keep apart more or less, with the published values on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.designs.readings.columns import READING
from anarchy.designs.readings.published import Published, published
from anarchy.figures import style
from anarchy.figures.parts import with_bars
from anarchy.figures.style import BLACK, DOUBLE, GREEN, GREY, PURPLE, SERIES, SINGLE, styled
from anarchy.tables import System


@styled
def march_of_users(system: System, workload: str, width: float = SINGLE) -> Figure:  # noqa: ARG001
    """PoA-hat (reading idle) of one system against C, and what is published of it."""
    return _figure([system], width, 2.9)


@styled
def march_of_systems(systems: Sequence[System], width: float = DOUBLE) -> Figure:
    """The same of every system, a panel each."""
    return _figure(systems, width, 2.7 if width >= DOUBLE else 2.5 * len(systems))


def _figure(systems: Sequence[System], width: float, height: float) -> Figure:
    figure = style.new_figure(width, height)
    shape = (1, len(systems)) if width >= DOUBLE else (len(systems), 1)
    panels = np.ravel(figure.subplots(*shape, sharex=True, sharey=True, squeeze=False))
    for axes, system in zip(panels, systems, strict=True):
        _panel(axes, system, sparse=width >= DOUBLE)
    for axes in panels[:: 1 if width < DOUBLE else len(systems)]:
        axes.set_ylabel("PoA-hat, idle: TTFT over an idle system's")
    style.legend(figure, list(panels), columns=2 if width >= DOUBLE else 1)
    rows = [system.frames["readings"] for system in systems]
    return style.stamp(figure, pd.concat(rows))


def _panel(axes: Axes, system: System, *, sparse: bool) -> None:
    rows = system.frames["readings"]
    rows = rows[rows["reading"] == READING]
    style.log_concurrency(axes, rows, sparse=sparse)
    axes.set_yscale("log")
    _published(axes, published(*system.key))
    for (colour, marker, line), (title, mine) in zip(SERIES, _lines(system, rows), strict=False):
        with_bars(
            axes, mine["concurrency"].to_numpy(dtype=float), mine, "poa_hat",
            color=colour, marker=marker, linestyle=line, label=title,
        )  # fmt: skip
    style.log_ticks(axes.yaxis)
    axes.set_title(system.title, loc="left")


def _lines(system: System, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of each line: one a curve, and where sets share its policy one a set."""
    for curve in system.info["curves"]:
        mine = rows[(rows["workload"] == curve["workload"]) & (rows["policy"] == curve["policy"])]
        sets = mine.groupby("routing_set", sort=False)
        for name, of_set in sets:
            yield curve["title"] if len(sets) == 1 else f"{curve['title']} ({name})", of_set


def _published(axes: Axes, paper: Published) -> None:
    """Bands over all C, for at which the paper saw them is not known, and where its knee lies."""
    axes.axhspan(*paper.plateau, color=GREEN, alpha=0.22, linewidth=0, zorder=0,
                 label=f"published plateau, {paper.plateau[0]:g} to {paper.plateau[1]:g}")  # fmt: skip
    axes.axhspan(*paper.deep, color=PURPLE, alpha=0.25, linewidth=0, zorder=0,
                 label=f"published deep saturation, {paper.deep[0]:g} to {paper.deep[1]:g}")  # fmt: skip
    axes.axvspan(*paper.knee, color=GREY, alpha=0.25, linewidth=0, zorder=0,
                 label=f"published knee, in ({paper.knee[0]:g}, {paper.knee[1]:g}]")  # fmt: skip
    if paper.own is not None:
        axes.axhline(paper.own, color=BLACK, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=1,
                     label=f"published plateau of the 340B, {paper.own:g}")  # fmt: skip
