"""What all figures share: a workload's cells, the mark of a cell that is not counted, and the title."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from anarchy.figures import style
from anarchy.figures.style import BLACK
from anarchy.ground.errors import UserError
from anarchy.tables import spaced

Info = Mapping[str, Any]
"""system.json of one system."""


WAYS: Final = {
    "builtin": (style.GREEN, "^", "built-in"),
    "pinned": (style.PURPLE, "D", "pinned"),
}
"""Colour, marker and name of each way to route."""

MOST_NAMED: Final = 8
"""Conditions without a number that a legend names one by one."""

REGIMES: Final = {"below": "#d3e5f2", "transition": "#f2c14e", "saturated": "#b5481a"}
"""Colour of each regime of the controller: from light to dark, so that a grey print can be read."""


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
    """Name the system, the workload and, where there is but one, the routing policy above a figure."""
    parts = [
        f"{system['model_title']} {system['topology_title']}",
        str(rows["workload_title"].iloc[0]),
        *([f"routing {system['policy']}"] if system.get("policy") else []),
    ]
    size = style.TEXT + 0.5
    figure.suptitle(style.wrap(parts, figure.get_figwidth() - 0.2, size=size), fontsize=size)


def name_uncounted(axes: Axes, rows: pd.DataFrame, what: pd.Series[Any], width: float) -> None:
    """An entry of the legend for each reason why conditions do not count; ``what`` names each row."""
    bad = rows[~rows["valid"].astype(bool)]
    for reasons, group in bad.groupby(bad["reasons"].fillna("").astype(str).map(spaced), sort=False):
        each = list(dict.fromkeys(what[group.index]))
        names = ", ".join(each) if len(each) <= MOST_NAMED else f"{len(each)} of {what.nunique()}"
        label = fit(f"not counted: {names}: {reasons}", width)
        axes.plot([], [], linestyle="", marker="x", markeredgewidth=1.4, color=BLACK, label=label)


def fit(label: str, width: float) -> str:
    """An entry of a legend on as many lines as a figure of ``width`` inches needs."""
    return style.wrap(label.split(" "), width - 0.6, " ")


def named(policy: str, way: str, separator: str = ", ") -> str:
    """A policy and its way to route, unless its name says it."""
    return policy if way in policy else f"{policy}{separator}{WAYS[way][2]}"


def bars(rows: pd.DataFrame, column: str, factor: float = 1.0) -> np.ndarray[Any, Any]:
    """How far the interval of each row reaches below and above its number; 0 where it has none."""
    value, lo, hi = (
        pd.to_numeric(rows[column + bound], errors="coerce").to_numpy(dtype=float) * factor
        for bound in ("", "_lo", "_hi")
    )
    return np.nan_to_num(np.clip(np.vstack([value - lo, hi - value]), 0, None))


def with_bars(
    axes: Axes, at: Sequence[float] | np.ndarray[Any, Any], rows: pd.DataFrame, column: str, *,
    factor: float = 1.0, across: bool = False, **look: Any,
) -> None:  # fmt: skip
    """Points of a column with their intervals at these places: upright, or ``across``, along the x axis.

    A row without a number leaves its place empty.
    """
    value = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=float) * factor
    around = bars(rows, column, factor)
    look = {"elinewidth": 1.0, "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 4, **look}
    if across:
        axes.errorbar(value, at, xerr=around, **look)
    else:
        axes.errorbar(at, value, yerr=around, **look)


def log_range(axes: Axes, values: Sequence[float] | np.ndarray[Any, Any], include: float, axis: str) -> None:
    """A logarithmic axis around positive values and one more, with ticks written out where there is room."""
    numbers = np.asarray(values, dtype=float)
    numbers = np.append(numbers[np.isfinite(numbers) & (numbers > 0)], include)
    low, high = float(numbers.min()), float(numbers.max())
    room = max(0.08 * math.log(high / low), 0.05)
    low, high = low * math.exp(-room), high * math.exp(room)
    at = axes.xaxis if axis == "x" else axes.yaxis
    if axis == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    at.set_major_locator(FixedLocator(round_numbers(low, high, 3 if axis == "x" else 4)))
    at.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    at.set_minor_locator(NullLocator())


def round_numbers(low: float, high: float, most: int) -> list[float]:
    """At most so many round numbers for a logarithmic axis, about evenly spaced, 1 among them if inside."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside: list[float] = []
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), _FINE, _FINEST):
        found = [float(f"{digit * 10.0**k:.3g}") for k in decades for digit in digits]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            break
    step = math.ceil(len(inside) / most) or 1
    start = inside.index(1.0) % step if 1.0 in inside else 0
    return inside[start::step] or [float(f"{math.sqrt(low * high):.3g}")]


_FINE = tuple(k / 10 for k in range(10, 100, 2))
_FINEST = tuple(k / 100 for k in range(100, 1000, 2))
