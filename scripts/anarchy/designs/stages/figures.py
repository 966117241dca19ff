"""Figures of staged cells over time (E3): latency, throughput and loads of each policy around the switch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.figures.parts import WAYS, name_uncounted, named, write_title
from anarchy.figures.style import DOUBLE, SERIES, styled
from anarchy.figures.timeline import mark_stages, middle, name_launch, name_regimes, offered, strip
from anarchy.tables import System

MS = 1e3


def compared(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Policy set -> its reference policy and the adaptive ones, or the first other where it has none.

    Sets without an adaptive policy are left out where another set has one.
    """
    found: dict[str, list[str]] = {}
    kinds: dict[str, bool] = {}
    for name, group in rows.groupby("routing_set", sort=False):
        reference = list(dict.fromkeys(group.loc[group["reference"].astype(bool), "policy"]))
        adaptive = list(dict.fromkeys(group.loc[group["kind"] == "adaptive", "policy"]))
        others = [p for p in dict.fromkeys(group["policy"]) if p not in reference]
        found[str(name)] = [*reference, *(adaptive or others[:1])]
        kinds[str(name)] = bool(adaptive)
    return {name: shown for name, shown in found.items() if kinds[name] or not any(kinds.values())}


@styled
def policies_over_time(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """TTFT P99, throughput and load spread of each compared policy second by second, a column a policy set.

    Lines are medians over launches, areas reach from the lowest to the highest launch. Under them the regimes
    that each adaptive policy was in, framed in its colour, of the first launch; above them the offered C.
    """
    rows, series = system.of(workload), system.of(workload, "series")
    sets = compared(rows)
    wide = width >= DOUBLE
    heights = [0.7, 1.5, 1.1, 1.1, 0.45]
    figure = style.new_figure(width, 5.2 if wide else 4.6 * len(sets))
    shape = (1, len(sets)) if wide else (len(sets), 1)
    blocks = figure.subfigures(*shape, squeeze=False).ravel()
    panels: list[Axes] = []
    for block, (name, policies) in zip(blocks, sets.items(), strict=True):
        column = block.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
        way = rows.loc[rows["routing_set"] == name, "way"].iloc[0]
        mine = series[series["routing_set"] == name]
        room = (width / len(sets) if wide else width) - 0.8
        _column(list(column), system, mine, policies, f"{WAYS[way][2]} routing", room)
        panels += list(column)
    for quantity, among in (
        ("ttft", slice(1, None, 5)),
        ("rate", slice(2, None, 5)),
        ("load", slice(3, None, 5)),
    ):
        _same_limits(panels[among], bottom=None if quantity == "ttft" else 0.0)
    there = rows[rows["policy"].isin([policy for policies in sets.values() for policy in policies])]
    name_uncounted(panels[0], there, there["policy"] + " in " + there["stage"], width)
    if series["launch"].nunique() > 1:
        words = "lowest to highest launch, in the policy's colour"
        panels[0].fill_between([], [], [], color="#bdbdbd", linewidth=0, label=words)
    write_title(figure, system.info, rows)
    style.legend(figure, panels, columns=2 if wide else 1)
    return style.stamp(figure, rows.assign(interval_kind=None))


def _column(
    panels: Sequence[Axes], system: System, series: pd.DataFrame, policies: Sequence[str], title: str,
    room: float,
) -> None:  # fmt: skip
    """The panels of one policy set, each ``room`` inches wide."""
    top, latency, rate, spread, regimes = panels
    latency.set_yscale("log")
    controllers = 0
    for place, policy in enumerate(policies):
        mine = series[series["policy"] == policy]
        look = SERIES[place]
        _line(latency, mine.assign(value=MS * mine["ttft_p99"]), look, policy)
        _line(rate, mine.assign(value=mine["throughput_rps"]), look, "")
        _line(spread, mine.assign(value=mine["load"].map(_range)), look, "")
        told = mine[(mine["regime"].fillna("") != "") & (mine["launch"] == mine["launch"].min())]
        if len(told):
            start = told["t"].to_numpy(dtype=float)
            end = start + told["seconds"].to_numpy(dtype=float)
            strip(regimes, start, end, list(told["regime"]), controllers, 0.7, edge=look[0])
            controllers += 1
    offered(top, system.info, room, title)
    for axes, words in zip(
        panels, ("offered C", "TTFT P99, ms", "requests/s", "load range", "regime"), strict=True
    ):
        axes.set_ylabel(words)
        mark_stages(axes, system.info)
    regimes.set_ylim(max(controllers, 1) - 0.5, -0.5)
    regimes.set_yticks([])
    regimes.set_xlabel("model time since the cell's start, s")
    name_regimes(regimes)


def _range(load: Any) -> float:
    values = np.asarray(load, dtype=float)
    return float(values.max() - values.min()) if values.size else float("nan")


def _line(axes: Axes, rows: pd.DataFrame, look: tuple[str, str, str], label: str) -> None:
    """The median over launches at each second, and how far launches reach."""
    colour, _, line = look
    table = rows.assign(t=middle(rows)).pivot_table(
        index="t", columns="launch", values="value", aggfunc="first"
    )
    if table.empty:
        return
    x = table.index.to_numpy(dtype=float)
    axes.plot(x, table.median(axis=1), color=colour, linestyle=line, label=label or None, zorder=4)
    if table.shape[1] > 1:
        axes.fill_between(
            x, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.2, linewidth=0, zorder=3,
        )  # fmt: skip


def _same_limits(panels: Sequence[Axes], bottom: float | None) -> None:
    """Give panels of one quantity one scale; a logarithmic one gets ticks that are written out."""
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low if bottom is None else bottom, high)
        if bottom is None:
            style.log_ticks(axes.yaxis, (1.0, 2.0, 5.0) if high / low < 400 else (1.0,))


@styled
def loads_over_time(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Requests in flight on each decode worker second by second, a panel a compared policy; first launch."""
    rows, series = system.of(workload), system.of(workload, "series")
    shown = [(name, policy) for name, policies in compared(rows).items() for policy in policies]
    columns = 2 if width >= DOUBLE else 1
    lines = -(-len(shown) // columns)
    figure = style.new_figure(width, 0.5 + 1.35 * lines)
    panels = np.ravel(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False))
    for axes, (name, policy) in zip(panels, shown, strict=False):
        mine = series[(series["routing_set"] == name) & (series["policy"] == policy)]
        mine = mine[mine["launch"] == mine["launch"].min()].sort_values("t")
        loads = np.array(mine["load"].tolist(), dtype=float).reshape(len(mine), -1).T if len(mine) else ()
        for worker, load in enumerate(loads):
            colour, _, line = SERIES[worker % len(SERIES)]
            label = f"decode worker {worker}"
            axes.plot(middle(mine), load, color=colour, linestyle=line, linewidth=0.9, label=label)
        mark_stages(axes, system.info)
        way = rows.loc[(rows["routing_set"] == name) & (rows["policy"] == policy), "way"].iloc[0]
        axes.set_title(named(policy, way), loc="left")
    for axes in panels[len(shown) :]:
        axes.remove()
    for place, axes in enumerate(panels[: len(shown)]):
        if place % columns == 0:
            axes.set_ylabel("requests in flight")
        if place + columns >= len(shown):
            axes.set_xlabel("model time since the cell's start, s")
            axes.tick_params(labelbottom=True)
    panels[0].set_ylim(0, None)
    name_launch(panels[0], series)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels[: len(shown)]), columns=3 if columns > 1 else 2)
    return style.stamp(figure, rows.assign(interval_kind=None))
