"""Figures of the P/D resource game: goodput of every split, and what a worker is worth to either pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.figures.parts import bars, with_bars
from anarchy.figures.style import BLACK, BLUE, DOUBLE, GREY, SERIES, VERMILLION, styled
from anarchy.tables import System

TALL: Final = 2.3
"""Height of a panel, inches."""
MOST: Final = 0.5
"""Share of the launches from which a split is marked as an equilibrium."""


@styled
def goodput_of_splits(system: System, workload: str, width: float = DOUBLE) -> Figure:  # noqa: ARG001
    """Goodput of every split, a line each C, a panel each workload; equilibria and the best are marked."""
    return _panels(system, width, _goodput)


@styled
def gains_of_workers(system: System, workload: str, width: float = DOUBLE) -> Figure:  # noqa: ARG001
    """What the next worker is worth to prefill and to decode at the deepest C that a split serves."""
    return _panels(system, width, _gains)


def _panels(system: System, width: float, draw: Callable[[Axes, pd.DataFrame], None]) -> Figure:
    """A panel for each workload: two in a row where there is room."""
    workloads = system.info["workloads"]
    columns = 2 if width >= DOUBLE and len(workloads) > 1 else 1
    lines = -(-len(workloads) // columns)
    figure = style.new_figure(width, 0.3 + TALL * lines)
    panels = np.ravel(figure.subplots(lines, columns, squeeze=False))
    for axes in panels[len(workloads) :]:
        axes.set_axis_off()
    for axes, (name, found) in zip(panels, workloads.items(), strict=False):
        game = system.of(name, "game")
        axes.set_title(found["title"], loc="left")
        if game.empty:
            axes.set_xlabel("no other split was measured")
        else:
            draw(axes, game)
            here = game.loc[game["here"].astype(bool), "prefill"].iloc[0] - game["prefill"].min()
            axes.axvline(here, color=GREY, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=1,
                         label=f"this system, {system.info['topology_title']}")  # fmt: skip
    figure.suptitle(f"{system.info['model_title']}, {system.info['budget']} workers")
    style.legend(figure, list(panels), columns=3 if width >= DOUBLE else 1)
    return style.stamp(figure, system.rows)


def _goodput(axes: Axes, game: pd.DataFrame) -> None:
    splits = list(dict.fromkeys(game["split_title"]))
    users = sorted(game["concurrency"].unique())
    for place, C in enumerate(users):
        rows = game[game["concurrency"] == C]
        colour, marker, line = SERIES[place % len(SERIES)]
        at = np.arange(len(splits)) + 0.08 * (place - (len(users) - 1) / 2)
        with_bars(axes, at, rows, "goodput", color=colour, marker=marker, linestyle=line, label=f"C = {C}")
        stable = pd.to_numeric(rows["equilibrium_share"], errors="coerce").to_numpy(dtype=float) > MOST
        best = rows["best"].eq(True).to_numpy()
        stable &= bool(best.any())  # where no split serves anything, no number is at stake
        _mark(axes, at, rows, stable, "o", 9.0, "equilibrium in most launches")
        _mark(axes, at, rows, best, "*", 6.0, "best split")
    axes.set_xticks(range(len(splits)), splits)
    axes.set_xlim(-0.5, len(splits) - 0.5)
    axes.set_ylim(bottom=-0.04 * max(float(game["goodput"].max()), 1.0))
    axes.set_ylabel("within both, requests/s")


def _mark(
    axes: Axes, at: np.ndarray[Any, Any], rows: pd.DataFrame, which: np.ndarray[Any, Any],
    marker: str, size: float, label: str,
) -> None:  # fmt: skip
    """A mark in black on the splits of which something holds."""
    face = "none" if marker == "o" else BLACK
    axes.plot(
        at[which], rows["goodput"].to_numpy(dtype=float)[which], linestyle="", marker=marker, markersize=size,
        markerfacecolor=face, markeredgecolor=BLACK, markeredgewidth=0.8, zorder=6, label=label,
    )  # fmt: skip


def _gains(axes: Axes, game: pd.DataFrame) -> None:
    served = game.groupby("concurrency")["goodput"].max()
    C = int(max(served.index[served > 0], default=served.index.max()))
    rows = game[game["concurrency"] == C]
    between = rows.iloc[:-1]
    at = np.arange(len(between)) + 0.5
    pools = (
        ("gain_prefill", "to prefill", BLUE, "o", "-"),
        ("gain_decode", "to decode", VERMILLION, "s", "--"),
    )
    for shift, (column, label, colour, marker, line) in zip((-0.03, 0.03), pools, strict=True):
        with_bars(axes, at + shift, between, column, color=colour, marker=marker, linestyle=line,
                  label=f"worth of the worker between two splits {label}")  # fmt: skip
    axes.axhline(0.0, color=GREY, linewidth=0.6, zorder=0)
    axes.set_xticks(range(len(rows)), list(rows["split_title"]))
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel("requests/s a worker")
    axes.set_xlabel(f"C = {C}")
    reach = bars(between, "gain_prefill")
    if not np.isfinite(reach).all():
        axes.set_xlabel(f"C = {C}, without intervals")
