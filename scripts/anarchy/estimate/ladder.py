"""Every estimate of one ladder: the cells of one system under one workload and policy, launches pooled.

Curves are fitted for each launch, because a launch is one placement of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from anarchy.estimate.game import CellGame
from anarchy.games.latency import AffineLatency, FullLatency, fit_affine, fit_full, in_reference
from anarchy.games.readings import ReadCosts, Reading
from anarchy.games.requests import FloatArray
from anarchy.games.routing import WindowCosts, decomposition, spread, window_costs
from anarchy.stats.bootstrap import bootstrap_ratios
from anarchy.stats.intervals import Resampled
from anarchy.stats.knee import C_MIN, MIN_POINTS, Knee, find_knee, kneedle, regime, ttft_crossing

REPLICATES: Final = 10_000
C_REF: Final = 64
DEPTHS: Final = 12
"""Of so many depths of a grid, at most, the knee is told: each is a fit of all replicates."""
WINDOW_COLUMNS: Final = ("SC", "SCm", "OPTf", "OPTc")
RATIOS: Final = {"poa_hat": ("SC", "OPTf"), "poa_cal": ("SCm", "OPTc")}

Row = dict[str, Any]


@dataclass(frozen=True)
class Curves:
    """The two latency curves of one launch."""

    affine: AffineLatency
    full: FullLatency


@dataclass(frozen=True)
class Ladder:
    """Cells by concurrency, one game a launch, and how they are to be estimated.

    `reference`: by launch, the cells that the curves are fitted to where these are not the ladder's own
    (the static default's, for a policy measured on the same workers).
    """

    n_workers: int
    cells: Mapping[int, Sequence[CellGame]]
    c_ref: int = C_REF
    replicates: int = REPLICATES
    seed: int = 0
    processes: int = 1
    reference: Mapping[int, Sequence[CellGame]] = field(default_factory=dict)
    reading: Reading = "fitted"
    """What PoA-hat is read as; every other one is `reading.estimate_reading`'s."""

    @property
    def grid(self) -> list[int]:
        """Concurrencies, ascending."""
        return sorted(self.cells)

    def of_launch(self, launch: int) -> list[CellGame]:
        """The cells that a launch's curves are fitted to."""
        own = [game for C in self.grid for game in self.cells[C] if game.launch == launch]
        return list(self.reference.get(launch) or own)


@dataclass(frozen=True)
class LadderEstimate:
    """What a ladder gives: a row a concurrency, the knee, the curves, and what stands above the rows.

    `without_curves`: by launch, why it has none. `draws`: PoA-hat by concurrency with its replicates.
    `aside`: rows of cells that do not count, priced by the same curves. `read`: launches that another reading
    than the default priced; it has no curves.
    """

    rows: list[Row]
    knee: Knee
    curves: dict[int, Curves]
    without_curves: dict[int, str]
    draws: dict[int, Resampled]
    aside: list[Row] = field(default_factory=list)
    read: tuple[int, ...] = ()


def estimate_ladder(ladder: Ladder, done: Callable[[int], None] = lambda _: None) -> LadderEstimate:
    """Every estimate of a ladder; a concurrency whose launches have no curve gives a row without numbers.

    `done` hears of each concurrency that is finished.
    """
    curves, without = fit_launches(ladder)
    launches = sorted(curves)
    rows, draws = [], {}
    for stream, C in enumerate(ladder.grid):
        usable = [game for game in ladder.cells[C] if game.launch in curves]
        costs = [window_costs(game.windows, *_pair(curves[game.launch])) for game in usable]
        ids = [launches.index(game.launch) for game in usable]
        ratios = bootstrap_costs(costs, ladder, stream, ids, len(launches))
        draws[C] = ratios["poa_hat"]
        rows.append(_row(C, usable, costs, ratios))
        done(C)
    knee = find_ladder_knee(rows, draws)
    for row in rows:
        row["regime"] = regime(row["n_windows"], row["concurrency"], ladder.n_workers, knee.knee)
    return LadderEstimate(rows, knee, curves, without, draws)


def fit_launches(ladder: Ladder) -> tuple[dict[int, Curves], dict[int, str]]:
    """Both curves of each launch; for a launch that has none, why."""
    curves, without = {}, {}
    for launch in sorted({game.launch for cells in ladder.cells.values() for game in cells}):
        try:
            curves[launch] = fit_curves(ladder.of_launch(launch), ladder.n_workers, ladder.c_ref)
        except ValueError as error:
            without[launch] = str(error)
    return curves, without


def fit_curves(cells: Sequence[CellGame], n_workers: int, c_ref: int = C_REF) -> Curves:
    """Both latency curves of one launch: affine on the cells below C_ref, full on all of them.

    Raises ValueError saying what is missing.
    """
    reference = [game.summary for game in cells if in_reference(game.manifest.concurrency, n_workers, c_ref)]
    if not reference:
        raise ValueError(f"no valid cell with {max(8, n_workers)} <= C <= {c_ref} to fit the affine curve to")
    affine = fit_affine(reference)
    return Curves(affine, fit_full([game.summary for game in cells], affine.kappa))


def bootstrap_costs(
    costs: Sequence[WindowCosts | ReadCosts],
    ladder: Ladder,
    stream: int,
    ids: Sequence[int],
    of: int,
    ratios: Mapping[str, tuple[str, str]] = RATIOS,
) -> dict[str, Resampled]:
    """Ratios of sums of one concurrency with their draws, over the windows of all its launches.

    `ids` numbers these launches among the `of` of the ladder; `ratios` names two columns of the costs each.
    """
    columns = dict.fromkeys(name for pair in ratios.values() for name in pair)
    return bootstrap_ratios(
        {name: [getattr(c, name) for c in costs] for name in columns},
        ratios,
        series="SC",
        replicates=ladder.replicates,
        seed=ladder.seed,
        stream=stream,
        workers=ladder.processes,
        ids=ids,
        of=of,
    )


def _pair(curves: Curves) -> tuple[AffineLatency, FullLatency]:
    return curves.affine, curves.full


def _row(
    C: int, games: Sequence[CellGame], costs: Sequence[WindowCosts], ratios: Mapping[str, Resampled]
) -> Row:
    pooled = pool_costs(costs)
    hat, cal = ratios["poa_hat"].interval(), ratios["poa_cal"].interval()
    ttft = np.concatenate([game.ttft for game in games] or [np.empty(0)])
    return {
        "concurrency": C,
        "n_launches": len(games),
        "n_requests": int(sum(game.windows.row.size for game in games)),
        "n_windows": len(pooled),
        "poa_hat": hat.value,
        "poa_hat_lo": hat.lo,
        "poa_hat_hi": hat.hi,
        "poa_cal": cal.value,
        "poa_cal_lo": cal.lo,
        "poa_cal_hi": cal.hi,
        **asdict(decomposition(pooled)),
        **asdict(spread(pooled)),
        "interval_kind": hat.kind,
        "block_length": hat.block_length,
        "ttft_p99": float(np.quantile(ttft, 0.99)) if ttft.size else float("nan"),
        "valid": bool(games),
        "reasons": "",
    }


def pool_costs(costs: Sequence[WindowCosts]) -> WindowCosts:
    """The windows of several launches, one after the other."""
    return WindowCosts(
        *(np.concatenate([getattr(c, name) for c in costs] or [np.empty(0)]) for name in WINDOW_COLUMNS)
    )


def find_ladder_knee(rows: Sequence[Row], draws: Mapping[int, Resampled]) -> Knee:
    """The knee of rows by rising C and the replicates of their PoA-hat, which belong together."""
    joint = np.column_stack([draws[C].draws for C in draws]) if draws else np.empty((0, 0))
    return find_knee(np.array(list(draws)), np.array([row["poa_hat"] for row in rows]), joint)


def ended_at(estimate: LadderEstimate, C: int, n_workers: int) -> LadderEstimate:
    """The same cells as if the grid ended at C: knee and regimes are told anew, curves and prices stay."""
    rows = [dict(row) for row in estimate.rows if row["concurrency"] <= C]
    draws = {kept: drawn for kept, drawn in estimate.draws.items() if kept <= C}
    knee = find_ladder_knee(rows, draws)
    for row in rows:
        row["regime"] = regime(row["n_windows"], row["concurrency"], n_workers, knee.knee)
    return replace(estimate, rows=rows, knee=knee, draws=draws)


def summarise(estimate: LadderEstimate, c_ref: int = C_REF) -> dict[str, Any]:
    """What stands above the rows, as plain values: knee, plateau, rise, deepest cell, regimes, curves."""
    rises = rises_of(estimate)
    return {
        "knee": describe_knee(estimate, c_ref),
        "knee_by_depth": knee_by_depth(estimate),
        "plateau": plateau_of(estimate),
        "rise": {key: rises[-1][key] for key in ("value", "lo", "hi")} if rises else None,
        "rises": rises,
        "deepest": deepest_of(estimate.rows),
        "regimes": [[row["concurrency"], row["regime"]] for row in estimate.rows],
        "curves": {str(launch): describe_curves(curves) for launch, curves in estimate.curves.items()},
        "notes": [f"launch {launch}: {why}" for launch, why in estimate.without_curves.items()],
    }


def describe_knee(estimate: LadderEstimate, c_ref: int = C_REF) -> dict[str, Any]:
    """The knee with what stands beside it: Kneedle, and where TTFT P99 leaves its plateau."""
    C = np.array([row["concurrency"] for row in estimate.rows])
    described = asdict(estimate.knee)
    described["note"] = described.pop("reason")
    described["kneedle"] = kneedle(C, np.array([row["poa_hat"] for row in estimate.rows]))
    ttft_p99 = np.array([row["ttft_p99"] for row in estimate.rows])
    described["slo_crossing"] = ttft_crossing(C, ttft_p99, c_ref=c_ref)
    return described


def knee_by_depth(estimate: LadderEstimate) -> list[dict[str, Any]]:
    """The knee that the same cells tell where the grid ends sooner, by the deepest C; at most 12 depths.

    A depth is told from five cells on from C = 8: with four a bend hangs on one of them.
    """
    usable = [C for C in estimate.draws if C >= C_MIN and np.isfinite(estimate.draws[C].value)]
    depths = sorted(usable)[MIN_POINTS:]
    chosen = sorted({depths[round(i)] for i in np.linspace(0, len(depths) - 1, DEPTHS)}) if depths else []
    found = []
    for deepest in chosen:
        rows = [row for row in estimate.rows if row["concurrency"] <= deepest]
        knee = find_ladder_knee(
            rows, {row["concurrency"]: estimate.draws[row["concurrency"]] for row in rows}
        )
        found.append({"deepest": deepest, "knee": knee.knee, "lo": knee.lo, "hi": knee.hi})
    return found


def plateau_of(estimate: LadderEstimate) -> dict[str, Any] | None:
    """PoA-hat of the plateau: the geometric mean of its cells, each weighing the same, with its interval.

    A sum over all windows would be the value of the cells with the most windows, the ones next to the knee.
    """
    inside = plateau_cells(estimate.rows)
    if not inside:
        return None
    value, lo, hi = value_and_interval(*geometric_mean([estimate.draws[C] for C in inside]))
    cells = [estimate.draws[C].value for C in inside]
    return {
        "poa_hat": value,
        "lo": lo,
        "hi": hi,
        "cells_lo": min(cells),
        "cells_hi": max(cells),
        "c_from": min(inside),
        "c_to": max(inside),
        "n_cells": len(inside),
    }


def rises_of(estimate: LadderEstimate) -> list[dict[str, Any]]:
    """PoA-hat over the plateau's of its last cell and every deeper one: ratios, free of the model's scale."""
    inside = plateau_cells(estimate.rows)
    if not inside:
        return []
    level, draws = geometric_mean([estimate.draws[C] for C in inside])
    found = []
    for C in (row["concurrency"] for row in estimate.rows if np.isfinite(row["poa_hat"])):
        if inside[-1] <= C:
            one = estimate.draws[C]
            value, lo, hi = value_and_interval(one.value / level, one.draws / draws)
            found.append({"concurrency": C, "value": value, "lo": lo, "hi": hi})
    return found


def plateau_cells(rows: Sequence[Row]) -> list[int]:
    """Concurrencies of the plateau, ascending."""
    return [r["concurrency"] for r in rows if r["regime"] == "plateau" and np.isfinite(r["poa_hat"])]


def geometric_mean(cells: Sequence[Resampled]) -> tuple[float, FloatArray]:
    """Geometric mean of ratios, each weighing the same, and its replicates. Shapes: (B,)."""
    value = float(np.exp(np.mean([np.log(cell.value) for cell in cells])))
    draws: FloatArray = np.exp(np.mean([np.log(cell.draws) for cell in cells], axis=0))
    return value, draws


def value_and_interval(value: float, draws: FloatArray) -> tuple[float, float, float]:
    """A value with the ends of its 95 % interval. Shapes: draws (B,)."""
    lo, hi = np.quantile(draws, [0.025, 0.975])
    return value, float(lo), float(hi)


def deepest_of(rows: Sequence[Row]) -> dict[str, Any] | None:
    """The deepest C of which PoA-hat is known, with its interval and what that rests on."""
    finite = [row for row in rows if np.isfinite(row["poa_hat"])]
    if not finite:
        return None
    deepest = finite[-1]
    return {
        "concurrency": deepest["concurrency"],
        "poa_hat": deepest["poa_hat"],
        "lo": deepest["poa_hat_lo"],
        "hi": deepest["poa_hat_hi"],
        "n_launches": deepest["n_launches"],
        "interval_kind": deepest["interval_kind"],
    }


def describe_curves(curves: Curves) -> dict[str, Any]:
    """Both curves with the quality of their fits, as plain values."""
    affine, full = curves.affine, curves.full
    used = {str(int(k)): b for k, b in zip(full.knots, full.slopes, strict=True) if b > 0}
    return {
        "affine": {
            "alpha": affine.alpha,
            "beta": affine.beta,
            "kappa": affine.kappa,
            "quality": asdict(affine.quality) if affine.quality else None,
        },
        "full": {
            "c0": full.c0,
            "slopes": used,
            "quality": asdict(full.quality) if full.quality else None,
        },
    }


def curve_points(ladder: Ladder) -> list[Row]:
    """What the curves were fitted to: mean latency (s) and weight by launch, cell and load."""
    return [
        {
            "launch": launch,
            "concurrency": game.manifest.concurrency,
            "reference": in_reference(game.manifest.concurrency, ladder.n_workers, ladder.c_ref),
            "x": float(x),
            "latency": float(latency),
            "weight": float(weight),
            "n": round(weight * game.summary.n_rows),
        }
        for launch in sorted({g.launch for cells in ladder.cells.values() for g in cells})
        for game in ladder.of_launch(launch)
        for x, latency, weight in zip(game.summary.x, game.summary.latency, game.summary.weight, strict=True)
    ]
