"""Figures of both engines: what they measured side by side, and how far they differ against the tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from anarchy.designs.engines.tables import HEADINGS, NOT_TOLD, engine_of_set
from anarchy.figures import style
from anarchy.figures.parts import name_uncounted, with_bars, write_title
from anarchy.figures.style import BLUE, DOUBLE, GREEN, GREY, SERIES, VERMILLION, styled
from anarchy.tables import System

LOGARITHMIC: Final = frozenset({"ttft_p50", "ttft_p99", "poa_hat"})
"""Quantities that grow by factors."""
PERCENT: Final = 100.0
ACROSS: Final = 3
"""Panels side by side in a wide figure."""


@styled
def sides_against_concurrency(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Every compared quantity against C, a panel each: live and virtual with their intervals."""
    rows = system.of(workload)
    good = rows[rows["valid"].astype(bool)]
    figure, panels = _panels(system, rows, width)
    for quantity, axes in panels:
        title, factor = HEADINGS[quantity]
        for (routing, mine), look in zip(rows.groupby("routing_set", sort=True), SERIES, strict=False):
            _points(axes, mine[mine["valid"].astype(bool)], quantity, factor, look, str(routing))
        if quantity in LOGARITHMIC:
            ends = [quantity + end for end in ("", "_lo", "_hi")]
            style.log_values(axes, good, ends, factor=factor)
        else:
            top = float(np.nanmax([*good[quantity], *good[f"{quantity}_hi"], 0.0])) * factor
            axes.set_ylim(0, 1.12 * top if top > 0 else 1)
            axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylabel(title)
    what = rows["routing_set"] + ", C = " + rows["concurrency"].astype(str)
    name_uncounted(panels[0][1], rows, what, width)
    return _finish(figure, panels, system, rows, rows)


@styled
def differences_against_concurrency(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Virtual over live less 1 in every quantity against C, a panel each, on its tolerance."""
    rows = system.of(workload, "differences")
    figure, panels = _panels(system, rows, width)
    c_ref = int(system.info["c_ref"])
    for quantity, axes in panels:
        mine = rows[rows["quantity"] == quantity]
        good = mine[mine["valid"].astype(bool) & mine["difference"].notna()]
        _band(axes, good)
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        axes.axvline(c_ref, color=GREY, linewidth=1.0, linestyle=(0, (1, 2)), label=f"C_ref = {c_ref}")
        for within, colour, marker, label in (
            (True, BLUE, "o", "difference within its tolerance"),
            (False, VERMILLION, "s", "difference outside it"),
            (None, GREY, "D", NOT_TOLD),
        ):
            shown = good[good["within"].isna() if within is None else good["within"].eq(within)]
            if not shown.empty:
                at = shown["concurrency"].to_numpy(dtype=float)
                with_bars(
                    axes, at, shown, "difference",
                    factor=PERCENT, color=colour, fmt=marker, linestyle="", label=label,
                )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylabel(f"{HEADINGS[quantity][0].partition(',')[0]}, %")
    what = "C = " + rows["concurrency"].astype(str)
    name_uncounted(panels[0][1], rows, what, width)
    names = system.info["engines"]
    words = " over ".join(engine_of_set(side, names[side]) for side in ("virtual", "live")) + ", less 1"
    panels[0][1].plot([], [], linestyle="", label=words)
    return _finish(figure, panels, system, rows, system.of(workload))


def _panels(system: System, rows: pd.DataFrame, width: float) -> tuple[Figure, Sequence[tuple[str, Axes]]]:
    """A panel a quantity with C along it: below each other, or in rows where there is room."""
    wide = width >= DOUBLE
    across = ACROSS if wide else 1
    quantities = list(system.info["tolerances"])
    down = -(-len(quantities) // across)
    figure = style.new_figure(width, (1.75 if wide else 1.35) * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.ravel():
        style.log_concurrency(axes, rows, sparse=True)
    for axes in grid[:-1].ravel():
        axes.set_xlabel("")
    return figure, list(zip(quantities, grid.ravel(), strict=False))


def _points(
    axes: Axes, good: pd.DataFrame, quantity: str, factor: float, look: tuple[str, str, str], routing: str
) -> None:
    """One engine's numbers, joined, named by its set and engine."""
    colour, marker, line = look
    name = next((name for name in good["engine_name"] if name), "")
    at = good["concurrency"].to_numpy(dtype=float)
    label = f"{engine_of_set(routing, name)}, 95 % interval"
    with_bars(
        axes, at, good, quantity, factor=factor, color=colour, marker=marker, linestyle=line, label=label
    )


def _band(axes: Axes, good: pd.DataFrame) -> None:
    """The tolerance around 0 at every C compared, as wide steps: it can change with C."""
    for (low, high), share in zip(_spans(good["concurrency"]), PERCENT * good["tolerance"], strict=True):
        axes.fill_between(
            [low, high], -share, share, color=GREEN, alpha=0.22, linewidth=0, zorder=0, label="tolerance"
        )


def _spans(concurrency: pd.Series[Any]) -> Iterator[tuple[float, float]]:
    """Around each C, to the geometric middle of it and its neighbour."""
    grid = concurrency.to_numpy(dtype=float)
    middles = np.sqrt(grid[:-1] * grid[1:])
    edges = [*grid[:1] / 2.0, *middles, *grid[-1:] * 2.0]
    yield from pairwise(edges)


def _finish(
    figure: Figure,
    panels: Sequence[tuple[str, Axes]],
    system: System,
    rows: pd.DataFrame,
    labelled: pd.DataFrame,
) -> Figure:
    """Title, legend and label; ``labelled``: the rows that say engine and kind of interval."""
    write_title(figure, system.info, rows)
    style.legend(figure, [axes for _, axes in panels], columns=2 if figure.get_figwidth() >= DOUBLE else 1)
    return style.stamp(figure, labelled)
