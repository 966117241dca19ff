"""How far policies at one load differ, held against the noise of measuring one of them again.

All in logarithms, so that spreads are relative. The level of a factor: a policy itself (`pair`), or one value
of tau or of omega with the other averaged out, which finds an effect of one of them that is lost among pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Any, Final, Protocol

import numpy as np

from anarchy.estimate.columns import QUANTITIES
from anarchy.estimate.conditions import Estimate
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.grouping import grouped
from anarchy.games.requests import FloatArray
from anarchy.stats.variance import (
    LevelEffect,
    Variance,
    cv_of,
    geometric_mean,
    level_effect,
    level_noise,
    variance_of,
    variance_ratio,
)

Row = dict[str, Any]

SPREAD_OF: Final = (*QUANTITIES, "load_range")
FACTORS: Final = ("pair", "tau", "omega")
ALPHA: Final = 0.05


class Measured(Protocol):
    """One policy at one load, one of its repeats."""

    @property
    def head(self) -> MeasuredCell:
        """A cell that speaks for it."""

    @property
    def estimate(self) -> Estimate:
        """What it measured, launch by launch."""


@dataclass(frozen=True, eq=False)
class Levels:
    """One quantity of one factor at one load, as logarithms.

    `table` (levels, launches); `noise`: the variance that noise gives the mean of a level over launches;
    `noise_from`: what it comes from. `left_out` policies lack a launch.
    """

    table: FloatArray
    noise: Variance | None
    noise_from: str
    n_repeats: int
    left_out: int

    @property
    def values(self) -> FloatArray:
        """Each level's geometric mean over launches, (levels,)."""
        return np.asarray(np.exp(self.table.mean(axis=1)), dtype=np.float64)


def spread_rows(pairs: Sequence[Measured], times: Mapping[str, float]) -> list[Row]:
    """Rows of spread.parquet of one set of policies under one workload, loads by rising C."""
    loads = grouped(sorted(pairs, key=lambda pair: pair.head.concurrency), lambda pair: pair.head.load)
    rows: list[Row] = []
    for factor in FACTORS:
        compared = {load: here for load, here in loads.items() if len(planned_levels(here, factor)) > 1}
        if compared:
            rows += _factor_rows(factor, compared, times)
    return rows


def planned_levels(pairs: Sequence[Measured], factor: str) -> list[Any]:
    """The levels of a factor that were planned at one load; a load for the curves alone has one."""
    return _factor_levels([pair.head for pair in pairs], factor)


def _factor_rows(
    factor: str, loads: Mapping[str, Sequence[Measured]], times: Mapping[str, float]
) -> list[Row]:
    """Rows of one factor: every quantity at every load."""
    lowest = next(iter(loads))
    rows = []
    for quantity in SPREAD_OF:
        base = levels_of(loads[lowest], factor, quantity)
        for load, here in loads.items():
            head = here[0].head
            levels = base if load == lowest else levels_of(here, factor, quantity)
            rows.append(
                {
                    "routing_set": head.routing,
                    "way": _way(here),
                    "load": load,
                    "knee_times": times[load],
                    "concurrency": head.concurrency,
                    "factor": factor,
                    "quantity": quantity,
                    **_spread(levels),
                    **_against(levels, base, "" if load == lowest else lowest),
                }
            )
    return rows


def _way(pairs: Sequence[Measured]) -> str:
    return ", ".join(dict.fromkeys(pair.head.policy.way for pair in pairs))


def _factor_levels(cells: Sequence[MeasuredCell], factor: str) -> list[Any]:
    """Levels of a factor: policies in their order, values of tau or omega rising."""
    if factor == "pair":
        return list(dict.fromkeys(cell.policy.name for cell in cells))
    found = {_value(cell, factor) for cell in cells}
    return sorted(value for value in found if value is not None)


def _value(cell: MeasuredCell, factor: str) -> float | None:
    """Tau or omega of a cell's policy; None where it has none."""
    tau, omega = cell.policy.pair or (None, None)
    return {"tau": tau, "omega": omega}[factor]


def levels_of(pairs: Sequence[Measured], factor: str, quantity: str) -> Levels:
    """The levels of one factor at one load; policies that lack a launch, or a positive value, are left out.

    With several launches noise is how far launches disagree about the levels; with one it is the spread of
    the reference's repeats, divided by the policies that a level averages over.
    """
    first = [pair for pair in pairs if pair.head.repeat == 1]
    logs = {pair.head.policy.name: _logs(pair, quantity) for pair in first}
    whole = [pair.head for pair in first if np.isfinite(logs[pair.head.policy.name]).all()]
    rows, share = [], []
    for level in _factor_levels(whole, factor):
        members = [
            logs[cell.policy.name]
            for cell in whole
            if (cell.policy.name if factor == "pair" else _value(cell, factor)) == level
        ]
        rows.append(np.mean(members, axis=0))
        share.append(1.0 / len(members))
    launches = len(first[0].estimate.launches)
    table = np.array(rows).reshape(len(rows), launches)
    repeats = [_logs(pair, quantity) for pair in pairs if pair.head.reference]
    noise, told = level_noise(table), "pair-by-launch"
    if noise is None:
        noise, told = _repeat_noise(repeats, share), "repeats"
    return Levels(table, noise, told if noise else "", len(repeats), len(first) - len(whole))


def _logs(pair: Measured, quantity: str) -> FloatArray:
    """Logarithm of one quantity on each launch, (launches,); NaN where there is no positive value."""
    values = np.array([float(row.get(quantity, nan)) for row in pair.estimate.launches])
    positive = np.isfinite(values) & (values > 0.0)
    return np.asarray(np.log(values, out=np.full(values.size, nan), where=positive), dtype=np.float64)


def _repeat_noise(repeats: Sequence[FloatArray], share: Sequence[float]) -> Variance | None:
    """Variance of a level from the spread of repeats on the same launch, launches pooled.

    `share`: of each level, 1 / the policies that it averages over, by which its noise is smaller.
    """
    squares, df = 0.0, 0
    for values in np.array(repeats).T if repeats else ():
        one = variance_of(values[np.isfinite(values)])
        if one is not None:
            squares, df = squares + one.value * one.df, df + one.df
    return Variance(squares / df * float(np.mean(share)), df) if df and share else None


def _spread(levels: Levels) -> Row:
    """What one load says about one factor; NaN with fewer than two levels."""
    values = levels.values
    row: Row = {
        "n_levels": values.size,
        "n_launches": levels.table.shape[1],
        "n_repeats": levels.n_repeats,
        "left_out": levels.left_out,
        "noise": levels.noise_from,
    }
    between = variance_of(levels.table.mean(axis=1))
    if between is None:
        return {**row, "effect": False, "valid": False, "reasons": "fewer than two levels have valid cells"}
    effect = level_effect(between, levels.noise)
    reasons = f"{levels.left_out} policies lack a valid cell" if levels.left_out else ""
    return {
        **row,
        "mean": geometric_mean(values),
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "half_spread": float(np.ptp(values)) / 2.0,
        **_effect_row(effect),
        "valid": True,
        "reasons": reasons,
    }


def _effect_row(effect: LevelEffect) -> Row:
    noise = effect.noise
    return {
        "cv": cv_of(sqrt(effect.between.value)),
        "cv_noise": cv_of(sqrt(noise.value)) if noise else nan,
        "f": effect.f,
        "df": effect.between.df,
        "df_noise": noise.df if noise else 0,
        "p_value": effect.p_value,
        "effect": isfinite(effect.p_value) and effect.p_value < ALPHA,
        "cv_effect": cv_of(effect.sd) if noise else nan,
        "cv_bound": cv_of(effect.sd_bound),
    }


def _against(levels: Levels, base: Levels, against: str) -> Row:
    """The variance at this load over that at the lowest, of the quantity and of its logarithm."""
    row: Row = {"against_load": against}
    for name, over, under in (
        ("variance_ratio", levels.values, base.values),
        ("variance_ratio_log", np.log(levels.values), np.log(base.values)),
    ):
        sides = variance_of(over), variance_of(under)
        if not against or sides[0] is None or sides[1] is None:
            continue
        ratio = variance_ratio(sides[0], sides[1])
        row |= {name: ratio.value, f"{name}_lo": ratio.lo, f"{name}_hi": ratio.hi}
    return row
