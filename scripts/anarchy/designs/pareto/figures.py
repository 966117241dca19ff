"""Figures of a sweep over (tau, omega) (E4): every pair, their spread against the noise, the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.figures.parts import WAYS, bars, log_range, name_uncounted, with_bars, write_title
from anarchy.figures.style import BLACK, COLOURS, DOUBLE, GREY, SERIES, styled
from anarchy.tables import TITLES, System

MS: Final = 1e3
PERCENT: Final = 100.0
FAR: Final = 10.0
"""How many times the farthest point an interval may reach inside a panel; longer ones leave it."""
PUBLISHED_RATIO: Final = (37.0, 58.0)
"""What the paper gives for the variance of PoA-hat at saturation over that below the knee (claim C5)."""


def _grids(rows: pd.DataFrame) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """Policy sets with their ways, and by rising C the loads that are not the reference pair's alone."""
    rows = rows[rows.groupby(["routing_set", "load"])["policy"].transform("nunique") > 1]
    sets = list(dict.fromkeys(zip(rows["routing_set"].astype(str), rows["way"].astype(str), strict=True)))
    loads = rows.sort_values("concurrency", kind="stable")
    return sets, list(dict.fromkeys(zip(loads["load"].astype(str), loads["concurrency"], strict=True)))


def _panels(figure: Figure, sets: int, loads: int, width: float) -> np.ndarray[Any, Any]:
    """A panel for each policy set (row) and load (column); on a narrow page one column, load by load."""
    if width >= DOUBLE:
        return np.asarray(figure.subplots(sets, loads, squeeze=False))
    return np.asarray(figure.subplots(sets * loads, 1, squeeze=False)).reshape(loads, sets).T


def _pair(rows: pd.DataFrame) -> pd.Series[Any]:
    """What a row is, in words: ``(0.7, 0.3) builtin, below``."""
    numbers = rows["tau"].map("({:g}, ".format) + rows["omega"].map("{:g})".format)
    return numbers + " " + rows["way"].astype(str) + ", " + rows["load"].astype(str)


@styled
def poa_of_pairs(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """PoA-hat of every pair against tau, a look for each omega; a panel a way and load.

    The band reaches over the repeats of the reference pair: what one pair differs by when measured again.
    """
    rows = system.of(workload)
    sets, loads = _grids(rows)
    wide = width >= DOUBLE
    figure = style.new_figure(width, 0.4 + 1.75 * len(sets) * (1 if wide else len(loads)))
    panels = _panels(figure, len(sets), len(loads), width)
    for column, (load, C) in enumerate(loads):
        here = rows[rows["load"] == load]
        numbers = here[["poa_hat", "poa_hat_lo", "poa_hat_hi"]].to_numpy(dtype=float)
        low, high = (float(f(numbers)) if np.isfinite(numbers).any() else 1.0 for f in (np.nanmin, np.nanmax))
        room = 0.06 * max(high - low, 0.01 * high)
        for line, (name, way) in enumerate(sets):
            axes = panels[line, column]
            _pairs(axes, here[here["routing_set"] == name])
            axes.set_title(f"{WAYS[way][2]}, {load}, C = {C}", loc="left")
            axes.set_ylim(low - room, high + room)
            axes.set_ylabel("PoA-hat" if column == 0 or not wide else "")
            axes.set_xlabel("tau" if line == len(sets) - 1 or not wide else "")
    name_uncounted(panels[0, 0], rows, _pair(rows), width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels.ravel()), columns=3 if wide else 2)
    return style.stamp(figure, rows)


def _pairs(axes: Axes, rows: pd.DataFrame) -> None:
    """The pairs of one policy set at one load, and the range of the reference's repeats."""
    again = rows.loc[rows["reference"].astype(bool) & rows["valid"].astype(bool), "poa_hat"].astype(float)
    taus, omegas = (sorted(rows[name].dropna().unique()) for name in ("tau", "omega"))
    if len(again) > 1:
        label = "range of the repeats of the reference pair"
        axes.axhspan(again.min(), again.max(), color="#dcdcdc", linewidth=0, zorder=0.5, label=label)
    for place, omega in enumerate(omegas):
        mine = rows[(rows["omega"] == omega) & (rows["repeat"] == 1)].set_index("tau").reindex(taus)
        colour, marker, _ = SERIES[place % len(SERIES)]
        at = np.arange(len(taus)) + 0.17 * (place - (len(omegas) - 1) / 2)
        with_bars(axes, at, mine, "poa_hat", color=colour, marker=marker, linestyle="",
                  label=f"omega = {omega:g}, 95 % interval")  # fmt: skip
    axes.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
    axes.set_xlim(-0.6, len(taus) - 0.4)


@styled
def spread_of_pairs(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Coefficients of variation over the pairs against the noise and the bound, and the variance ratio.

    A row a quantity; of PoA-hat also the levels of tau and of omega alone. Filled: the pairs differ by more
    than the noise (p < 0.05). The bound is what the true CV between pairs is below with 95 % confidence.
    """
    rows, spread = system.of(workload), system.of(workload, "spread")
    sets, loads = _grids(rows)
    wide = width >= DOUBLE
    wanted = [("poa_hat", "pair"), ("poa_hat", "tau"), ("poa_hat", "omega"),
              *((name, "pair") for name in TITLES if name != "poa_hat")]  # fmt: skip
    words = [TITLES[name] if factor == "pair" else f"of it {factor} alone" for name, factor in wanted]
    tall = 0.5 + 0.21 * len(wanted)
    count = len(loads) + 1
    figure = style.new_figure(width, tall if wide else count * (tall + 0.25))
    panels = np.ravel(figure.subplots(*((1, count) if wide else (count, 1)), sharey=True, squeeze=False))
    cvs = PERCENT * spread[["cv", "cv_noise"]].to_numpy(dtype=float).ravel()
    cvs = cvs[np.isfinite(cvs) & (cvs > 0)]
    bounds = np.fmin(PERCENT * spread["cv_bound"].to_numpy(dtype=float), FAR * max(cvs, default=1.0))
    for axes, (load, C) in zip(panels, loads, strict=False):
        here = spread[spread["load"] == load]
        for place, (name, way) in enumerate(sets):
            mine = here[here["routing_set"] == name].set_index(["quantity", "factor"]).reindex(wanted)
            _variation(axes, np.arange(len(wanted)) + 0.3 * (place - (len(sets) - 1) / 2), mine, way)
        log_range(axes, [*cvs, *bounds], float(np.median(cvs)) if len(cvs) else 1.0, "x")
        axes.set_title(f"{load}, C = {C}", loc="left")
        axes.set_xlabel("CV over the pairs, %")
    _variance_ratio(panels[-1], spread, sets, wanted)
    panels[-1].set_title("variance ratio", loc="left")
    panels[-1].set_xlabel("over that at the lowest load")
    for axes in panels:
        axes.set_yticks(range(len(wanted)), words)
        axes.set_ylim(len(wanted) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", color="#ececec", linewidth=0.6)
    name_uncounted(panels[0], rows, _pair(rows), width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels), columns=2 if wide else 1)
    return style.stamp(figure, rows)


def _variation(axes: Axes, at: np.ndarray[Any, Any], rows: pd.DataFrame, way: str) -> None:
    """CV, its noise and its bound of each row, in per cent."""
    colour, marker, title = WAYS[way]
    cv, noise, bound = (PERCENT * rows[name].to_numpy(dtype=float) for name in ("cv", "cv_noise", "cv_bound"))
    told = rows["noise"].fillna("").to_numpy() != ""
    effect = np.array([value is True or value is np.True_ for value in rows["effect"]])
    axes.hlines(at, np.fmin(cv, bound), bound, color=colour, linewidth=1.0, zorder=3)
    axes.plot(
        bound, at, color=colour, marker=4, linestyle="", markersize=4.5, zorder=3,
        label=f"{title}: 95 % upper bound of the CV between pairs",
    )  # fmt: skip
    axes.plot(
        np.where(told, noise, math.nan), at, color=BLACK, marker="|", linestyle="", markersize=7,
        markeredgewidth=1.4, zorder=5, label="CV of the noise",
    )  # fmt: skip
    for chosen, fill, words in (
        (effect, colour, "differ (p < 0.05)"),
        (~effect, "white", "no difference seen"),
    ):
        axes.plot(
            np.where(chosen, cv, math.nan), at, color=colour, marker=marker, markerfacecolor=fill,
            linestyle="", zorder=4, label=f"{title}: pairs: {words}",
        )  # fmt: skip


def _variance_ratio(
    axes: Axes, spread: pd.DataFrame, sets: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, str]]
) -> None:
    """Variance over the pairs at each load over that at the lowest, with F intervals; the paper's band."""
    there = spread[spread["against_load"].fillna("") != ""]
    top = there[there["concurrency"] == there["concurrency"].max()]
    axes.axvline(1, color=GREY, linewidth=0.9, zorder=1)
    axes.fill_betweenx(
        [-0.5, 0.5], *PUBLISHED_RATIO, color=style.YELLOW, alpha=0.6, linewidth=0, zorder=0.6,
        label="published for PoA-hat: 37 to 58",
    )  # fmt: skip
    known = [*top["variance_ratio"].dropna(), *PUBLISHED_RATIO]
    ends = top[["variance_ratio_lo", "variance_ratio_hi"]].to_numpy(dtype=float).ravel()
    bounds = [*known, *np.clip(ends, min(known) / FAR, max(known) * FAR)]
    for place, (name, way) in enumerate(sets):
        colour, marker, title = WAYS[way]
        mine = top[top["routing_set"] == name].set_index(["quantity", "factor"]).reindex(list(wanted))
        at = np.arange(len(wanted)) + 0.3 * (place - (len(sets) - 1) / 2)
        with_bars(
            axes, at, mine, "variance_ratio", across=True, color=colour, marker=marker, linestyle="",
            label=f"{title}: variance ratio, 95 % F interval",
        )  # fmt: skip
    log_range(axes, bounds, 1.0, "x")


@styled
def pareto_front(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """TTFT P99 against throughput of every pair, coloured by PoA-hat; the Pareto front is ringed."""
    rows = system.of(workload)
    rows_once = rows[rows["repeat"] == 1]
    sets, loads = _grids(rows)
    wide = width >= DOUBLE
    figure = style.new_figure(width, 0.8 + 1.8 * len(sets) * (1 if wide else len(loads)))
    panels = _panels(figure, len(sets), len(loads), width)
    for column, (load, C) in enumerate(loads):
        here = rows_once[rows_once["load"] == load]
        poa = here["poa_hat"].astype(float).dropna()
        low, high = (float(poa.min()), float(poa.max())) if len(poa) else (1.0, 1.0)
        norm = Normalize(low - 0.005 * low, high + 0.005 * high)
        for line, (name, way) in enumerate(sets):
            axes = panels[line, column]
            _scatter(axes, here[here["routing_set"] == name], norm)
            axes.set_title(f"{WAYS[way][2]}, {load}, C = {C}", loc="left")
            axes.set_ylabel("TTFT P99, ms" if column == 0 or not wide else "")
            axes.set_xlabel("requests/s" if line == len(sets) - 1 or not wide else "")
        bar = figure.colorbar(
            ScalarMappable(norm, COLOURS), ax=list(panels[:, column]), location="right", fraction=0.05,
            aspect=20 * len(sets), pad=0.02, label=f"PoA-hat, {load}",
        )  # fmt: skip
        bar.ax.locator_params(nbins=4)
        if bar.solids is not None:
            bar.solids.set(rasterized=False, edgecolor="face")
    name_uncounted(panels[0, 0], rows_once, _pair(rows_once), width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels.ravel()), columns=3 if wide else 2)
    return style.stamp(figure, rows_once)


def _scatter(axes: Axes, rows: pd.DataFrame, norm: Normalize) -> None:
    """Pairs as points with intervals both ways; the marker tells tau, a ring the Pareto front."""
    for place, (tau, mine) in enumerate(rows.groupby("tau", sort=True)):
        good = mine[mine["valid"].astype(bool)]
        marker = SERIES[place % len(SERIES)][1]
        axes.errorbar(
            good["throughput_rps"], MS * good["ttft_p99"], xerr=bars(good, "throughput_rps"),
            yerr=bars(good, "ttft_p99", MS), linestyle="", ecolor="#c4c4c4", elinewidth=0.8, capsize=0,
            zorder=2,
        )  # fmt: skip
        axes.scatter(
            good["throughput_rps"], MS * good["ttft_p99"], c=good["poa_hat"], cmap=COLOURS, norm=norm,
            marker=marker, s=26, linewidths=0.4, edgecolors="white", zorder=4,
        )  # fmt: skip
        axes.plot([], [], color=GREY, marker=marker, linestyle="", label=f"tau = {tau:g}")
    front = rows[rows["front"].fillna(False).astype(bool) & rows["valid"].astype(bool)]
    axes.plot(
        front["throughput_rps"], MS * front["ttft_p99"], marker="o", markersize=8.5, markerfacecolor="none",
        markeredgecolor=BLACK, markeredgewidth=0.9, linestyle="", zorder=3, label="on the Pareto front",
    )  # fmt: skip
    axes.plot([], [], color="#c4c4c4", linewidth=0.8, label="95 % intervals")
