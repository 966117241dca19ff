"""Where each setting puts the knee and how far PoA-hat grows from it, with what is published of both."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.designs.readings.published import Published, published
from anarchy.figures import style
from anarchy.figures.style import GREY, PURPLE, SERIES, SINGLE, styled
from anarchy.stats.knee import STABLE_SLOPE
from anarchy.tables import System

DRAWN: Final = ("fitted", "idle")
"""Readings that the figure shows, a panel each: `table` is `idle` times a number, `both-sides` stays at 1."""


@styled
def knees_and_growths(system: System, workload: str, width: float = SINGLE) -> Figure:  # noqa: ARG001
    """A mark a setting and depth: its knee against PoA-hat at the deepest C over the plateau."""
    rows = system.frames["depths"]
    readings = [name for name in DRAWN if (rows["reading"] == name).any()] or list(rows["reading"].unique())
    figure = style.new_figure(width, 2.3 * len(readings) + 0.6)
    panels = np.ravel(figure.subplots(len(readings), 1, sharex=True, squeeze=False))
    for axes, reading in zip(panels, readings, strict=True):
        _panel(axes, rows[rows["reading"] == reading], published(*system.key))
        axes.set_title(f"reading {reading}", loc="left")
        axes.set_ylabel("deepest C over plateau")
    panels[-1].set_xlabel("knee, C")
    figure.suptitle(system.title, x=0.02, ha="left")
    style.legend(figure, list(panels))
    return style.stamp(figure, system.frames["readings"])


def _panel(axes: Axes, rows: pd.DataFrame, paper: Published) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axvspan(*paper.knee, color=GREY, alpha=0.25, linewidth=0, zorder=0,
                 label=f"published knee, in ({paper.knee[0]:g}, {paper.knee[1]:g}]")  # fmt: skip
    if paper.growth is not None:
        low, high = paper.growth
        axes.axhspan(low, high, color=PURPLE, alpha=0.25, linewidth=0, zorder=0,
                     label=f"published growth, {low:g} to {high:g}, if C7 is of the 340B")  # fmt: skip
    stable = rows["slope_before"].abs() <= STABLE_SLOPE
    for look, synchrony in zip(SERIES, rows["synchrony"].unique(), strict=False):
        mine = rows["synchrony"] == synchrony
        for kept, filled, said in ((stable, True, "plateau stable"), (~stable, False, "not stable")):
            some = rows[mine & kept & rows["knee"].notna() & rows["rise"].notna()]
            axes.plot(
                some["knee"], some["rise"], linestyle="none", marker=look[1], markersize=3.2, color=look[0],
                markerfacecolor=look[0] if filled else "white", label=f"{synchrony}, {said}",
            )  # fmt: skip
    style.log_ticks(axes.xaxis)
    style.log_ticks(axes.yaxis)
