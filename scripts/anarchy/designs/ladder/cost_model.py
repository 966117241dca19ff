"""The cost model behind the index: both fitted latency curves over what was measured at each load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from anarchy.figures import style
from anarchy.figures.parts import Info, name_not_counted, rows_of, write_title
from anarchy.figures.style import BLACK, COLOURS, DOUBLE, GREY, SINGLE, VERMILLION, styled
from anarchy.games.latency import AffineLatency, FullLatency
from anarchy.games.requests import FloatArray
from anarchy.tables import System, number

MS: Final = 1e3
NBSP: Final = "\N{NO-BREAK SPACE}"
LARGEST: Final = 110.0
"""Area of a point that stands for all requests of its cell, square points."""
BEYOND: Final = (0, (4, 1.6))
"""Line style of the affine curve outside the loads that it was fitted to."""


@dataclass(frozen=True)
class _Fit:
    """Both curves of one launch as system.json holds them, and the rows that they were fitted to."""

    launch: int
    affine: AffineLatency
    full: FullLatency
    quality: Mapping[str, Mapping[str, Any]]
    """Of ``affine`` and ``full``: r2 and rmse in seconds, where known."""
    points: pd.DataFrame

    @property
    def reference(self) -> pd.DataFrame:
        """Rows of the cells that the affine curve was fitted to."""
        return self.points[self.points["reference"].astype(bool)]

    @property
    def loads(self) -> FloatArray:
        """Loads to draw at: from 1 to the largest seen, evenly spaced on a logarithmic axis."""
        return np.geomspace(1.0, max(2.0, float(self.points["x"].max())), 300)


@styled
def latency_against_load(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Latency against the load on the chosen worker, both logarithmic: measured means and fitted curves.

    The affine curve l_A is solid where it was fitted and dashed beyond; the full curve l_F is solid. Points
    and words are of the first launch that has curves; those of the other launches are thin.
    """
    rows, _ = rows_of(system.cells, workload)
    points = system.curves[system.curves["workload"] == workload]
    fits = _fits(points, system.info["workloads"][workload])
    figure = style.new_figure(width, 3.1)
    axes = figure.add_subplot()
    room = width - 0.6 if width < DOUBLE else width / 2 - 0.25
    _axes(axes, fits)
    if fits:
        _affine(axes, fits[0], room)
        _full(axes, fits[0], room)
        _others(axes, fits[1:], room)
        _points(axes, fits[0], _colour_bar(figure, axes, fits[0]), room)
    else:
        axes.plot([], [], linestyle="", label="no latency curve could be fitted")
    name_not_counted(axes, rows, width)
    write_title(figure, system.info, rows)
    style.legend(figure, [axes], columns=1 if width < DOUBLE else 2)
    # No interval is drawn here, so the label names none.
    return style.stamp(figure, rows.assign(interval_kind=None))


def _fits(points: pd.DataFrame, found: Info) -> list[_Fit]:
    """Every launch that has curves and rows, in order."""
    fits = []
    for launch, curves in sorted((found.get("curves") or {}).items(), key=lambda entry: int(entry[0])):
        mine = points[points["launch"] == int(launch)]
        if mine.empty:
            continue
        affine, full = curves["affine"], curves["full"]
        slopes = {float(knot): float(slope) for knot, slope in full["slopes"].items()}
        fits.append(
            _Fit(
                int(launch),
                AffineLatency(affine["alpha"], affine["beta"], affine.get("kappa") or 0.0),
                FullLatency(full["c0"], tuple(slopes), tuple(slopes.values())),
                {name: curves[name].get("quality") or {} for name in ("affine", "full")},
                mine,
            )
        )
    return fits


def _axes(axes: Axes, fits: Sequence[_Fit]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("load x on the chosen worker, itself counted")
    axes.set_ylabel("time to first token, ms")
    if fits:
        axes.set_xlim(1 / 1.25, 1.25 * max(float(fit.points["x"].max()) for fit in fits))
        curves = np.concatenate([curve(fit.loads) for fit in fits for curve in (fit.affine, fit.full)])
        seen = pd.DataFrame({"latency": np.concatenate([curves, fits[0].points["latency"]])})
        style.log_values(axes, seen, ["latency"], factor=MS, headroom=0.06)
    style.log_ticks(axes.xaxis)


def _affine(axes: Axes, fit: _Fit, room: float) -> None:
    """l_A: solid over the loads that it was fitted to, dashed where it is carried on."""
    inside = fit.reference["x"]
    if not inside.empty:
        x = np.geomspace(inside.min(), inside.max(), 100)
        alpha, beta = MS * fit.affine.alpha, MS * fit.affine.beta
        words = f"affine l_A = {number(alpha)} + {number(beta)}{NBSP}x{NBSP}ms"
        label = _wrap(f"{words}{_quality(fit, 'affine')}", room)
        axes.plot(x, MS * fit.affine(x), color=VERMILLION, linewidth=2.8, zorder=4, label=label)
    axes.plot(
        fit.loads, MS * fit.affine(fit.loads), color=VERMILLION, linestyle=BEYOND, linewidth=1.5, zorder=4,
        label=_wrap(_beyond(fit), room),
    )  # fmt: skip


def _beyond(fit: _Fit) -> str:
    """What the dashed line is, and how far it is from what was measured at the deepest cell."""
    deepest = fit.points[fit.points["concurrency"] == fit.points["concurrency"].max()]
    if deepest["reference"].any():
        return "l_A beyond its fit"
    measured = float((deepest["weight"] * deepest["latency"]).sum())
    charged = float((deepest["weight"] * fit.affine(deepest["x"].to_numpy())).sum())
    concurrency = int(deepest["concurrency"].iloc[0])
    times = f"{number(measured / charged)}{NBSP}times{NBSP}it"
    return f"l_A beyond its fit: at C{NBSP}={NBSP}{concurrency} the measured mean is {times}"


def _full(axes: Axes, fit: _Fit, room: float) -> None:
    """l_F over all loads seen, and what is to be known of both curves."""
    label = _wrap(f"full l_F{_quality(fit, 'full')}", room)
    axes.plot(fit.loads, MS * fit.full(fit.loads), color=BLACK, linewidth=1.1, zorder=5, label=label)
    if fit.affine.kappa > 0:
        credit = f"{number(MS * fit.affine.kappa)}{NBSP}ms x omega x overlap"
        words = f"curves: of no overlap; the points hold a credit of {credit}"
        axes.plot([], [], linestyle="", label=_wrap(words, room))
    if _quality(fit, "full"):
        words = "R² and RMSE: of single requests, not means"
        axes.plot([], [], linestyle="", label=_wrap(words, room))


def _quality(fit: _Fit, curve: str) -> str:
    """How well a curve describes single requests, not their means, in words."""
    found = fit.quality[curve]
    if found.get("r2") is None or found.get("rmse") is None:
        return ""
    return f", R²{NBSP}{number(found['r2'])}, RMSE{NBSP}{number(MS * found['rmse'])}{NBSP}ms"


def _others(axes: Axes, fits: Sequence[_Fit], room: float) -> None:
    """The curves of the launches after the first, thin."""
    for fit in fits:
        for curve, colour in ((fit.affine, VERMILLION), (fit.full, BLACK)):
            axes.plot(fit.loads, MS * curve(fit.loads), color=colour, linewidth=0.5, alpha=0.8, zorder=2)
    if fits:
        launches = ", ".join(str(fit.launch) for fit in fits)
        label = f"both curves of launch{'es' if len(fits) > 1 else ''} {launches}; the rest is the first's"
        axes.plot([], [], color=GREY, linewidth=0.5, label=_wrap(label, room))


def _points(axes: Axes, fit: _Fit, norm: LogNorm, room: float) -> None:
    """One point a cell and load: its area the share of the cell's requests, its colour the cell's C."""
    reference = fit.points["reference"].astype(bool)
    for shown, marker, label in (
        (fit.points[reference], "D", "measured mean at a load, cells of the affine fit"),
        (fit.points[~reference], "o", "measured mean at a load, other cells"),
    ):
        axes.scatter(
            shown["x"], MS * shown["latency"], s=LARGEST * shown["weight"], c=shown["concurrency"],
            cmap=COLOURS, norm=norm, marker=marker, zorder=6, edgecolors="white",
            linewidths=0.8 * np.sqrt(shown["weight"]),
        )  # fmt: skip
        axes.plot([], [], marker=marker, markersize=5, color=GREY, linestyle="", label=_wrap(label, room))
    words = "area of a point: share of its cell's requests"
    axes.plot([], [], linestyle="", label=_wrap(words, room))


def _colour_bar(figure: Figure, axes: Axes, fit: _Fit) -> LogNorm:
    """Say above the axes which colour is which C, as wide as the axes; returns the scale."""
    low, high = (float(fit.points["concurrency"].agg(end)) for end in ("min", "max"))
    norm = LogNorm(low / 1.15, high * 1.15)
    bar = figure.colorbar(
        ScalarMappable(norm, COLOURS), ax=axes, location="top", fraction=0.04, pad=0.02,
        aspect=40 * figure.get_figwidth() / SINGLE, label="concurrency C",
    )  # fmt: skip
    bar.ax.xaxis.set_major_locator(FixedLocator(style.concurrency_ticks(low, high)))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.tick_params(length=2)
    # As shapes, not as an image inside a PDF or SVG; their edges hide the seams between them.
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")
    return norm


def _wrap(words: str, room: float) -> str:
    """Words on lines of at most ``room`` inches."""
    return style.wrap(words.split(" "), room, " ")
