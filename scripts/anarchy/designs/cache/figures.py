"""Figures of a pool of caches: price and hits against the working set, and affinity against balance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from anarchy.figures import style
from anarchy.figures.parts import with_bars
from anarchy.figures.style import BLACK, BLUE, DOUBLE, GREY, SERIES, VERMILLION, styled
from anarchy.ground.words import number
from anarchy.tables import System

TALL: Final = 2.2
"""Height of a panel, inches."""
BAND: Final = "#d9d9d9"
WINNERS: Final = {
    "affinity": (BLUE, "o", BLUE, "affinity is faster"),
    "balance": (VERMILLION, "s", VERMILLION, "balance is faster"),
    "": (GREY, "o", "none", "no difference seen"),
}
"""Winner of a cell -> colour, marker, face and name."""


@styled
def price_of_sets(system: System, workload: str, width: float = DOUBLE) -> Figure:  # noqa: ARG001
    """Prefill time over that with the best placement, by policy, and what the price of anarchy is within."""
    return _panels(system, width, _price)


@styled
def hits_of_sets(system: System, workload: str, width: float = DOUBLE) -> Figure:  # noqa: ARG001
    """Hit share by policy, beside that of the best placement and of a cache without affinity."""
    return _panels(system, width, _hits)


@styled
def map_of_sets(system: System, workload: str, width: float = DOUBLE) -> Figure:  # noqa: ARG001
    """Which of affinity and balance has the lower time to first token, by working set and skew."""
    duels = _at_most_users(system.frames["duels"])
    figure = style.new_figure(width, 3.0)
    axes = figure.subplots()
    for winner, (colour, marker, face, label) in WINNERS.items():
        rows = duels[duels["valid"].astype(bool) & (duels["winner"].fillna("") == winner)]
        axes.plot(rows["working_set"], rows["skew"], linestyle="", marker=marker, markersize=6, zorder=4,
                  markerfacecolor=face, markeredgecolor=colour, label=label)  # fmt: skip
        for row in rows.to_dict("records"):
            axes.annotate(number(row["ttft"]), (row["working_set"], row["skew"]), xytext=(0, 6),
                          textcoords="offset points", ha="center")  # fmt: skip
    line = system.frames["line"]
    known = line[line["skew"].notna()]
    axes.plot(known["working_set"], known["skew"], color=BLACK, zorder=2,
              label="a home for each template is too full above (model)")  # fmt: skip
    _capacity(axes, system)
    _by_working_set(axes)
    axes.set_ylabel("skew (Zipf exponent)")
    top = float(max(duels["skew"].max(), known["skew"].max() if len(known) else 0.0))
    axes.set_ylim(-0.25, top + 0.4)
    figure.suptitle(_title(system, duels))
    style.legend(figure, [axes], columns=2 if width >= DOUBLE else 1)
    return style.stamp(figure, system.rows)


def _panels(system: System, width: float, draw: Callable[[Axes, System, str, pd.DataFrame], None]) -> Figure:
    """A panel for each skew: side by side where there is room."""
    workloads = system.info["workloads"]
    columns = len(workloads) if width >= DOUBLE else 1
    lines = -(-len(workloads) // columns)
    figure = style.new_figure(width, 0.3 + TALL * lines)
    panels = np.ravel(figure.subplots(lines, columns, squeeze=False, sharey=True))
    cells = _at_most_users(system.rows)
    for axes, (name, found) in zip(panels, workloads.items(), strict=True):
        axes.set_title(found["title"], loc="left")
        draw(axes, system, name, cells[cells["workload"] == name])
        _capacity(axes, system)
        _by_working_set(axes)
    figure.suptitle(_title(system, cells))
    style.legend(figure, list(panels), columns=2 if width >= DOUBLE else 1)
    return style.stamp(figure, system.rows)


def _at_most_users(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the largest C."""
    deepest: pd.DataFrame = rows[rows["concurrency"] == rows["concurrency"].max()]
    return deepest


def _title(system: System, rows: pd.DataFrame) -> str:
    return f"{system.title}, C = {int(rows['concurrency'].max())}"


def _price(axes: Axes, system: System, workload: str, cells: pd.DataFrame) -> None:
    game = system.of(workload, "games")
    if not game.empty:
        axes.fill_between(game["working_set"], game["price_low"], game["price_high"], color=BAND, zorder=1,
                          label="price of anarchy: within")  # fmt: skip
    _policies(axes, cells, "price")
    axes.set_ylabel("price, over the best placement")


def _hits(axes: Axes, system: System, workload: str, cells: pd.DataFrame) -> None:
    game = system.of(workload, "games")
    axes.plot(game["working_set"], game["best_hit_share"], color=BLACK, zorder=2, label="best placement")
    axes.plot(game["working_set"], game["lru_hit_share"], color=BLACK, linestyle="--", zorder=2,
              label="a cache that sees every template (model)")  # fmt: skip
    _policies(axes, cells, "hit_share")
    axes.set_ylim(0.0, 1.05)
    axes.set_ylabel("hit share")


def _policies(axes: Axes, cells: pd.DataFrame, column: str) -> None:
    for place, (title, rows) in enumerate(cells.groupby("policy_title", sort=False)):
        colour, marker, line = SERIES[place % len(SERIES)]
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
        with_bars(axes, rows["working_set"].to_numpy(dtype=float), rows, column, label=str(title), **look)


def _capacity(axes: Axes, system: System) -> None:
    """Dotted lines where a worker's cache, and the whole pool's, is full."""
    workers = system.info["workers"]
    for at in dict.fromkeys([1.0, 1.0 / workers] if workers else []):
        axes.axvline(at, color=GREY, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=1)


def _by_working_set(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_xlabel("working set over the pool's capacity")
