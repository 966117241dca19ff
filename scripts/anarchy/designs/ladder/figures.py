"""Figures over concurrency: the index, its factors, latency and throughput of one system, and all systems.

A cell that was not counted is drawn at the bottom of its figure and named with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.figures.factors import stack_factors
from anarchy.figures.parts import Info, name_not_counted, not_counted, rows_of, write_title
from anarchy.figures.style import BLACK, DOUBLE, GREY, SERIES, SINGLE, styled
from anarchy.ground.errors import UserError
from anarchy.tables import System, interval, is_missing


@styled
def poa_against_concurrency(system: System, workload: str, width: float = SINGLE) -> Figure:
    """PoA-hat against C, both logarithmic: points with intervals, regimes, plateau, knee and its interval."""
    rows, good = rows_of(system.cells, workload)
    found = system.info["workloads"][workload]
    figure = style.new_figure(width, 2.5 if width < DOUBLE else 2.9)
    axes = figure.add_subplot()
    style.log_concurrency(axes, rows)
    _shade_regimes(axes, rows, found, width)
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1, label="PoA-hat = 1")
    plateau = found.get("plateau")
    if plateau and not is_missing(plateau.get("poa_hat")):
        span = np.array([plateau["c_from"], plateau["c_to"]], dtype=float)
        if not is_missing(plateau.get("lo")) and not is_missing(plateau.get("hi")):
            axes.fill_between(
                span, plateau["lo"], plateau["hi"], color=style.GREEN, alpha=0.35, linewidth=0, zorder=2
            )
        words = interval(plateau["poa_hat"], plateau.get("lo"), plateau.get("hi"))
        axes.plot(
            span, [plateau["poa_hat"]] * 2, color=style.GREEN, linestyle="-.", zorder=4.5,
            label=f"plateau, mean of its cells {words}",
        )  # fmt: skip
    _knee(axes, found, label=True)
    _curve(axes, good, "poa_hat", SERIES[0], "PoA-hat, 95 % interval")
    _first_post_knee(axes, good, found)
    style.log_values(axes, good, ["poa_hat", "poa_hat_lo", "poa_hat_hi"], include=1.0)
    not_counted(axes, rows, legend_width=width)
    axes.set_ylabel("PoA-hat")
    write_title(figure, system.info, rows)
    style.legend(figure, [axes])
    return style.stamp(figure, rows)


@styled
def knee_against_depth(system: System, workload: str, width: float = SINGLE) -> Figure:
    """The knee that the same cells tell where the grid ends sooner, with its interval, by the deepest C."""
    rows, _ = rows_of(system.cells, workload)
    found = system.info["workloads"][workload]
    depths = pd.DataFrame(
        found.get("knee_by_depth", []), columns=["deepest", "knee", "lo", "hi"], dtype=float
    )
    figure = style.new_figure(width, 2.2)
    axes = figure.add_subplot()
    style.log_concurrency(axes, rows)
    _knees(axes, depths.dropna(subset=["knee"]))
    without = depths[depths["knee"].isna()]
    if not without.empty:
        axes.plot(
            without["deepest"], [0.03] * len(without), marker="x", linestyle="", color=GREY, clip_on=False,
            transform=axes.get_xaxis_transform(), label="no knee found up to this C",
        )  # fmt: skip
    name_not_counted(axes, rows, width)
    axes.set_xlabel("deepest C of the grid")
    axes.set_ylabel("knee, C")
    axes.set_ylim(bottom=0)
    write_title(figure, system.info, rows)
    style.legend(figure, [axes])
    return style.stamp(figure, rows)


def _knees(axes: Axes, depths: pd.DataFrame) -> None:
    """The depths that have a knee, and how far apart these lie."""
    if depths.empty:
        axes.plot([], [], linestyle="", label="no knee found at any depth")
        return
    colour, marker, line = SERIES[0]
    bars = np.abs(depths[["lo", "hi"]].to_numpy().T - depths["knee"].to_numpy())
    label = f"knee, 95 % interval: C = {depths['knee'].min():.0f} to {depths['knee'].max():.0f}"
    axes.errorbar(
        depths["deepest"], depths["knee"], yerr=bars, color=colour, marker=marker, linestyle=line, label=label
    )


@styled
def performance_against_concurrency(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """TTFT P50 and P99, inter-token latency and throughput against C, a panel each, with intervals."""
    rows, good = rows_of(system.cells, workload)
    found = system.info["workloads"][workload]
    wide = width >= DOUBLE
    figure = style.new_figure(width, 2.1 if wide else 5.0)
    panels = figure.subplots(1, 3) if wide else figure.subplots(3, 1, sharex=True)
    content = (
        ("TTFT, ms", 1e3, (("ttft_p50", "TTFT P50"), ("ttft_p99", "TTFT P99"))),
        ("inter-token latency, ms", 1e3, (("itl_mean", "ITL, mean"),)),
        ("throughput, requests/s", 1.0, (("throughput_rps", "throughput"),)),
    )
    looks = iter((*SERIES[:3], (BLACK, "D", "-")))
    for axes, (ylabel, factor, series) in zip(panels, content, strict=True):
        style.log_concurrency(axes, rows, sparse=wide)
        _shade_regimes(axes, rows, found)
        _knee(axes, found, label=axes is panels[0])
        for column, label in series:
            _curve(axes, good, column, next(looks), label, factor)
        axes.set_ylabel(ylabel)
        if axes is panels[0]:
            names = [name + bound for name, _ in series for bound in ("", "_lo", "_hi")]
            style.log_values(axes, good, names, factor=factor)
        else:
            top = float(good[[column, f"{column}_hi"]].max().max()) * factor
            axes.set_ylim(0, 1.12 * top if top > 0 else 1)
        not_counted(axes, rows, legend_width=width if axes is panels[0] else None)
        if not wide and axes is not panels[-1]:
            axes.set_xlabel("")
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels), columns=4 if wide else 1)
    return style.stamp(figure, rows)


@styled
def decomposition_against_concurrency(system: System, workload: str, width: float = SINGLE) -> Figure:
    """The factors of PoA-hat at each measured C, stacked on a logarithmic axis, with PoA-hat and PoA-cal.

    A factor above 1 stands on top of those below it, one below 1 hangs under the line at 1; the
    logarithms of the three add up to that of PoA-hat.
    """
    rows, good = rows_of(system.cells, workload)
    found = system.info["workloads"][workload]
    figure = style.new_figure(width, 2.5 if width < DOUBLE else 2.9)
    axes = figure.add_subplot()
    axes.set_yscale("log")
    grid = rows["concurrency"].to_numpy(dtype=float)
    slots = pd.Series(np.arange(len(grid), dtype=float), index=rows.index)
    up, down = stack_factors(axes, slots[good.index].to_numpy(), good)
    on_slots = good.assign(concurrency=slots[good.index])
    on_slots.attrs["grid"] = slots.tolist()
    _curve(axes, on_slots, "poa_hat", (BLACK, "o", "-"), "PoA-hat, 95 % interval")
    _curve(axes, on_slots, "poa_cal", (style.VERMILLION, "D", "--"), "PoA-cal, 95 % interval")
    shown = on_slots.assign(stack_up=up, stack_down=down)
    bounds = ["stack_up", "stack_down", "poa_hat", "poa_hat_hi", "poa_hat_lo", "poa_cal_lo", "poa_cal_hi"]
    style.log_values(axes, shown, bounds, include=1.0, headroom=0.04)
    knee = found.get("knee") or {}
    if knee.get("exists") and len(grid) > 1:
        at = np.interp(math.log(knee["knee"]), np.log(grid), slots)
        words = interval(knee["knee"], knee.get("lo"), knee.get("hi"))
        axes.axvline(at, color=style.PURPLE, linewidth=1.2, zorder=1.5, label=f"knee C = {words}")
    axes.set_xlim(-0.6, len(grid) - 0.4)
    crowded = len(grid) * style.text_width("000 ") > 0.8 * width
    axes.set_xticks(slots, [f"{int(C)}" for C in grid], rotation=90 if crowded else 0)
    axes.set_xlabel("measured concurrency C, evenly spaced")
    axes.set_ylabel("PoA-hat and its factors")
    not_counted(axes, rows, legend_width=width, at=slots)
    write_title(figure, system.info, rows)
    style.legend(figure, [axes], columns=2 if width < DOUBLE else 3)
    return style.stamp(figure, rows)


@styled
def overview(cells: pd.DataFrame, systems: Sequence[Info], width: float = DOUBLE) -> Figure:
    """PoA-hat of every system against C in one figure, a panel a workload; dotted lines are the knees.

    ``cells``: the rows of all systems together; ``systems``: their documents.
    """
    if not systems:
        raise UserError("there is no system to draw", remedy="run `make reproduce` first")
    workloads = list(dict.fromkeys(name for system in systems for name in system["workloads"]))
    rows = cells[cells["workload"].isin(workloads)]
    wide = width >= DOUBLE and len(workloads) > 1
    shape = (1, len(workloads)) if wide else (len(workloads), 1)
    figure = style.new_figure(width, 2.7 if wide else 2.6 * len(workloads))
    panels = np.ravel(figure.subplots(*shape, sharex=True, sharey=True))
    panels[0].set_ylabel("PoA-hat")
    for axes, workload in zip(panels, workloads, strict=True):
        there = rows[rows["workload"] == workload]
        style.log_concurrency(axes, there)
        axes.axhline(1, color=GREY, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
        for place, system in enumerate(systems):
            colour, marker, line = SERIES[place % len(SERIES)]
            chosen = (there["model"] == system["model"]) & (there["topology"] == system["topology"])
            mine, good = rows_of(there[chosen], workload, may_be_empty=True)
            label = f"{system['model_title']} {system['topology_title']}"
            _curve(axes, good, "poa_hat", (colour, marker, line), label)
            knee = (system["workloads"].get(workload) or {}).get("knee") or {}
            if knee.get("exists"):
                axes.axvline(knee["knee"], color=colour, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1.2)
            not_counted(axes, mine, legend_width=None, colour=colour)
        if not wide:
            axes.set_ylabel("PoA-hat")
        axes.set_title(str(there["workload_title"].iloc[0]), loc="left")
        bounds = ["poa_hat", "poa_hat_lo", "poa_hat_hi"]
        style.log_values(
            axes, rows[rows["valid"].astype(bool)], bounds, include=1.0, headroom=0.06, to_tick=True
        )
    if any((info.get("knee") or {}).get("exists") for s in systems for info in s["workloads"].values()):
        panels[0].plot(
            [],
            [],
            color=GREY,
            linewidth=1.0,
            linestyle=(0, (1, 2)),
            label="knee, in the colour of its system",
        )
    if not rows["valid"].all():
        panels[0].plot([], [], color=GREY, marker="x", linestyle="", label="cell not counted")
    style.legend(figure, list(panels), columns=3 if width >= DOUBLE else 1)
    return style.stamp(figure, rows)


def _curve(
    axes: Axes, good: pd.DataFrame, column: str, look: tuple[str, str, str], label: str, factor: float = 1.0
) -> None:
    """Points with interval bars, joined where neighbours on the grid both count."""
    colour, marker, line = look
    shown = good.set_index("concurrency").reindex(good.attrs["grid"])
    x = shown.index.to_numpy(dtype=float)
    y, lo, hi = (
        pd.to_numeric(shown[name], errors="coerce").to_numpy(dtype=float) * factor
        for name in (column, f"{column}_lo", f"{column}_hi")
    )
    bars = np.nan_to_num(np.clip(np.vstack([y - lo, hi - y]), 0, None))
    axes.errorbar(
        x, y, yerr=bars, color=colour, marker=marker, linestyle=line, label=label, elinewidth=1.0, zorder=4,
        markeredgecolor="white", markeredgewidth=0.4,
    )  # fmt: skip


def _regime_spans(rows: pd.DataFrame, found: Info) -> list[tuple[str, float, float]]:
    """Name, start and end in C of each stretch of one regime; the knee divides where it lies between."""
    known = rows[rows["regime"].notna() & (rows["regime"] != "")]
    knee = (found.get("knee") or {}).get("knee") if (found.get("knee") or {}).get("exists") else None
    spans: list[tuple[str, float, float]] = []
    last_c = 0.0
    for concurrency, regime in zip(
        known["concurrency"].astype(float), known["regime"].astype(str), strict=True
    ):
        if not spans:
            spans.append((regime, 0.5 * concurrency, concurrency))
        elif spans[-1][0] != regime:
            middle = math.sqrt(last_c * concurrency)
            border = float(knee) if knee and last_c <= knee <= concurrency else middle
            spans[-1] = (*spans[-1][:2], border)
            spans.append((regime, border, concurrency))
        last_c = concurrency
    if spans:
        spans[-1] = (*spans[-1][:2], 2 * last_c)
    return spans


def _shade_regimes(axes: Axes, rows: pd.DataFrame, found: Info, width: float | None = None) -> None:
    """Tint each regime's stretch and name it at its top, or in the legend where there is no room.

    ``width``: of the panel, inches; None names all of them in the legend.
    """
    low, high = axes.get_xlim()
    inches = ((width or 0.65) - 0.65) / math.log(high / low)
    for regime, start, end in _regime_spans(rows, found):
        start, end = max(start, low), min(end, high)
        fits = inches * math.log(end / start) > style.text_width(regime) + 0.06
        tint = style.REGIME_TINT.get(regime, "#f2f2f2")
        axes.axvspan(start, end, color=tint, linewidth=0, zorder=0, label=None if fits else regime)
        if fits:
            axes.text(
                math.sqrt(start * end), 0.975, regime, transform=axes.get_xaxis_transform(), ha="center",
                va="top", color="#333333", zorder=6,
            )  # fmt: skip


def _knee(axes: Axes, found: Info, label: bool) -> None:
    knee = found.get("knee") or {}
    if not knee.get("exists"):
        if label:
            axes.plot([], [], linestyle="", label="no knee found on this grid")
        return
    if not is_missing(knee.get("lo")) and not is_missing(knee.get("hi")):
        axes.axvspan(knee["lo"], knee["hi"], color=style.PURPLE, alpha=0.28, linewidth=0, zorder=0.5)
    words = interval(knee["knee"], knee.get("lo"), knee.get("hi"))
    axes.axvline(
        knee["knee"],
        color=style.PURPLE,
        linewidth=1.2,
        zorder=2,
        label=f"knee C = {words}" if label else None,
    )


def _first_post_knee(axes: Axes, good: pd.DataFrame, found: Info) -> None:
    knee = found.get("knee") or {}
    at = good[good["concurrency"] == knee.get("first_post_knee")] if knee.get("exists") else good.iloc[:0]
    if not at.empty:
        axes.plot(
            at["concurrency"], at["poa_hat"], marker="o", markersize=9, markerfacecolor="none", linestyle="",
            markeredgecolor=style.VERMILLION, markeredgewidth=1.4, zorder=6,
            label=f"first post-knee point, C = {int(knee['first_post_knee'])}",
        )  # fmt: skip
