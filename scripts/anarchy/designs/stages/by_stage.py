"""Figures that hold policies of staged cells against each other (E3): ratios, levels, factors by stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.designs.stages import switched
from anarchy.designs.stages.figures import compared
from anarchy.figures import style
from anarchy.figures.factors import stack_factors
from anarchy.figures.parts import WAYS, fit, log_range, name_uncounted, named, with_bars, write_title
from anarchy.figures.style import BLACK, DOUBLE, GREY, SERIES, VERMILLION, styled
from anarchy.tables import HEADINGS, TITLES, System


@styled
def ratios_by_stage(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Reference over adaptive policy of the same policy set: a panel a stage, a row a quantity.

    Right of the line at 1 the adaptive policy has less of the quantity. Grey: the same policy on both sides.
    """
    rows, ratios = system.of(workload), system.of(workload, "ratios")
    ratios = ratios[ratios["against_reference"].astype(bool)]
    noise = switched.compared(ratios, rows) == switched.SAME
    stages = list(dict.fromkeys(rows.sort_values("stage_index")["stage"]))
    columns = min(len(stages), 4 if width >= DOUBLE else 2)
    lines = -(-len(stages) // columns)
    figure = style.new_figure(width, 0.4 + 1.9 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    bounds = ratios[["ratio", "ratio_lo", "ratio_hi"]].to_numpy(dtype=float).ravel()
    names = list(TITLES)
    pairs = list(dict.fromkeys(zip(ratios["routing_set"], ratios["policy"], strict=True)))
    for axes, stage in zip(panels.ravel(), stages, strict=False):
        log_range(axes, bounds, 1.0, "x")
        axes.axvline(1, color=GREY, linewidth=0.9, zorder=1)
        for place, (group, policy) in enumerate(pairs):
            mine = ratios[(ratios["routing_set"] == group) & (ratios["policy"] == policy)]
            mine = mine[mine["stage"] == stage]
            same = bool(noise[mine.index].any())
            mine = mine.set_index("quantity").reindex(names)
            way = ratios.loc[ratios["routing_set"] == group, "way"].iloc[0]
            colour, marker, title = WAYS[way]
            offset = 0.6 / len(pairs) * (place - (len(pairs) - 1) / 2)
            label = fit(f"{title}: reference over {policy}, 95 % interval", width)
            if same:
                colour, label = GREY, "grey: same policy, noise"
            second = group in [name for name, _ in pairs[:place]]
            with_bars(
                axes, np.arange(len(names)) + offset, mine, "ratio", across=True, color=colour,
                marker=marker, linestyle="", label=label, markerfacecolor="white" if second else colour,
                markeredgecolor=colour if second else "white",
            )  # fmt: skip
        C = rows.loc[rows["stage"] == stage, "concurrency"].iloc[0]
        axes.set_title(f"{stage}, C = {C}", loc="left")
        axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
    for axes in panels.ravel()[len(stages) :]:
        axes.remove()
    for axes in panels.ravel()[max(0, len(stages) - columns) : len(stages)]:
        axes.set_xlabel("reference / adaptive" if columns > 2 else "ref. / adaptive")
        axes.tick_params(labelbottom=True)
    first = panels.ravel()[0]
    name_uncounted(first, ratios, ratios["against"] + " in " + ratios["stage"], width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels.ravel()[: len(stages)]))
    return style.stamp(figure, _with_label(ratios, rows))


def _with_label(shown: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows to make the engine's label from: those shown, or all where none is."""
    return shown if len(shown) else rows.assign(interval_kind=None)


@styled
def policies_by_stage(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Every policy of every policy set, a row each: PoA-hat, TTFT P99, throughput, load range by stage."""
    rows = system.of(workload)
    stages = list(dict.fromkeys(rows.sort_values("stage_index")["stage"]))
    policies = list(dict.fromkeys(zip(rows["routing_set"], rows["policy"], rows["way"], strict=True)))
    shown = ("poa_hat", "ttft_p99", "throughput_rps", "load_range")
    wide = width >= DOUBLE
    tall = 0.35 + 0.21 * len(policies)
    figure = style.new_figure(width, 0.4 + tall if wide else 0.3 + len(shown) * (tall + 0.25))
    panels = figure.subplots(*((1, len(shown)) if wide else (len(shown), 1)), sharey=True)
    for axes, name in zip(panels, shown, strict=True):
        heading, factor = HEADINGS[name]
        for place, stage in enumerate(stages):
            mine = rows[rows["stage"] == stage].set_index(["routing_set", "policy"])
            mine = mine.reindex([key[:2] for key in policies])
            colour, marker, _ = SERIES[place % len(SERIES)]
            offset = 0.17 * (place - (len(stages) - 1) / 2)
            with_bars(
                axes, np.arange(len(policies)) + offset, mine, name, across=True, factor=factor,
                color=colour, marker=marker, linestyle="", label=f"{stage}, 95 % interval",
            )  # fmt: skip
        numbers = rows[[name, f"{name}_lo", f"{name}_hi"]].to_numpy(dtype=float).ravel() * factor
        if name in ("poa_hat", "ttft_p99"):
            log_range(axes, numbers, 1.0 if name == "poa_hat" else float(np.nanmin([*numbers, 1e9])), "x")
        else:
            axes.set_xlim(0, 1.08 * float(np.nanmax([*numbers, 1e-9])))
        axes.set_xlabel(heading)
        _rows_of_policies(axes, [named(policy, way) for _, policy, way in policies])
        for place in range(1, len(policies)):
            if policies[place][0] != policies[place - 1][0]:
                axes.axhline(place - 0.5, color=GREY, linewidth=0.6, zorder=1)
    name_uncounted(panels[0], rows, rows["policy"] + " in " + rows["stage"], width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels), columns=3 if wide else 1)
    return style.stamp(figure, rows)


def _rows_of_policies(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#ececec", linewidth=0.6)


@styled
def factors_by_stage(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """PoA-hat as a product of routing, freezing and dynamics in every stage, a panel a compared policy."""
    rows = system.of(workload)
    sets = compared(rows)
    shown = [(name, policy) for name, policies in sets.items() for policy in policies]
    wide = width >= DOUBLE
    columns = min(len(shown), 4 if wide else 2)
    lines = -(-len(shown) // columns)
    figure = style.new_figure(width, 0.4 + 2.2 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    stacks = []
    for axes, (name, policy) in zip(panels, shown, strict=False):
        mine = rows[(rows["routing_set"] == name) & (rows["policy"] == policy)].sort_values("stage_index")
        mine = mine.reset_index(drop=True)
        slots = np.arange(len(mine), dtype=float)
        good = mine[mine["valid"].astype(bool)]
        axes.set_yscale("log")
        stacks.append(
            good.assign(
                **dict(zip(("up", "down"), stack_factors(axes, slots[good.index], good), strict=True))
            )
        )
        for column, (colour, marker), label in (
            ("poa_hat", (BLACK, "o"), "PoA-hat"), ("poa_cal", (VERMILLION, "D"), "PoA-cal"),
        ):  # fmt: skip
            with_bars(axes, slots, mine, column, color=colour, marker=marker, linestyle="",
                      label=f"{label}, 95 % interval")  # fmt: skip
        axes.set_xlim(-0.6, len(mine) - 0.4)
        axes.set_xticks(slots, list(mine["stage"]), rotation=90)
        axes.set_title(named(policy, mine["way"].iloc[0], "\n"), loc="left")
    bounds = ["up", "down", *(n + b for n in ("poa_hat", "poa_cal") for b in ("_lo", "_hi"))]
    for place, axes in enumerate(panels[: len(shown)]):
        style.log_values(axes, pd.concat(stacks), bounds, include=1.0, headroom=0.04)
        if place % columns == 0:
            axes.set_ylabel("PoA-hat and its factors")
        axes.tick_params(labelbottom=place + columns >= len(shown))
    for axes in panels[len(shown) :]:
        axes.remove()
    name_uncounted(panels[0], rows[rows["policy"].isin([p for _, p in shown])], rows["policy"], width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels[: len(shown)]), columns=3 if wide else 1)
    return style.stamp(figure, rows)
