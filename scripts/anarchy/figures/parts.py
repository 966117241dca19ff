"""What all figures share: a workload's cells, the mark of a cell that is not counted, and the title."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy import style
from anarchy.errors import UserError
from anarchy.style import BLACK
from anarchy.tables import spaced

Info = Mapping[str, Any]
"""system.json of one system."""


def rows_of(
    cells: pd.DataFrame, workload: str, may_be_empty: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of a workload by rising C, and those of them that count; keeps the grid for gaps in lines."""
    rows = (
        cells[cells["workload"] == workload].sort_values("concurrency", kind="stable").reset_index(drop=True)
    )
    if rows.empty and not may_be_empty:
        known = ", ".join(sorted(set(cells["workload"].astype(str)))) or "none"
        raise UserError(f"there is no cell of workload {workload!r}", remedy=f"workloads with cells: {known}")
    good = rows[rows["valid"].astype(bool)].copy()
    good.attrs["grid"] = rows["concurrency"].tolist()
    return rows, good


def not_counted(
    axes: Axes,
    rows: pd.DataFrame,
    legend_width: float | None,
    at: pd.Series[Any] | None = None,
    colour: str = BLACK,
) -> None:
    """A cross on the axis at each cell that does not count; its reason goes to the legend."""
    bad = rows[~rows["valid"].astype(bool)]
    if bad.empty:
        return
    x = bad["concurrency"] if at is None else at[bad.index]
    axes.plot(
        x, np.full(len(bad), 0.035), marker="x", markersize=5, markeredgewidth=1.4, color=colour,
        linestyle="", transform=axes.get_xaxis_transform(), zorder=7, clip_on=False,
    )  # fmt: skip
    if legend_width is not None:
        name_not_counted(axes, rows, legend_width, marker="x", markeredgewidth=1.4, color=colour)


def name_not_counted(axes: Axes, rows: pd.DataFrame, legend_width: float, **look: Any) -> None:
    """An entry of the legend for each reason why cells do not count."""
    bad = rows[~rows["valid"].astype(bool)]
    for reasons, group in bad.groupby(bad["reasons"].fillna("").astype(str).map(spaced), sort=False):
        points = ", ".join(str(int(C)) for C in group["concurrency"])
        words = f"not counted, C = {points}: {reasons}".split(" ")
        label = style.wrap(words, legend_width - 0.6, " ")
        axes.plot([], [], linestyle="", label=label, **look)


def write_title(figure: Figure, system: Info, rows: pd.DataFrame) -> None:
    """Name the system, the workload and the routing policy above a figure."""
    parts = [
        f"{system['model_title']} {system['topology_title']}",
        str(rows["workload_title"].iloc[0]),
        f"routing {system['policy']}",
    ]
    size = style.TEXT + 0.5
    figure.suptitle(style.wrap(parts, figure.get_figwidth() - 0.2, size=size), fontsize=size)
