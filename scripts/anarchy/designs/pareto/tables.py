"""Tables of a sweep over (tau, omega) at named loads (E4): every pair, and what the pairs differ by."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from anarchy.designs.pareto.findings import BOUNDS
from anarchy.designs.tables import Maker
from anarchy.ground.words import (
    MISSING,
    counted,
    interval,
    is_missing,
    milliseconds,
    number,
    percent,
    whole,
)
from anarchy.tables.conditions import HEADINGS, NUMBERS, POLICY, estimates
from anarchy.tables.step import COLUMNS as STEP
from anarchy.tables.step import HEADING, dispersions
from anarchy.tables.systems import System


def pair_table(system: System) -> pd.DataFrame:
    """One row a workload, policy set, load, pair and repeat of one system; latencies in ms."""
    order = ["concurrency", "way", "routing_set", "tau", "omega", "repeat"]
    rows = pd.concat(
        [system.of(name).sort_values(order, kind="stable") for name in system.info["workloads"]],
        ignore_index=True,
    )
    table = rows[["workload", *POLICY, "load", "concurrency", "knee_times", "repeat", "reference"]].copy()
    for name in NUMBERS:
        milliseconds(table, rows, name)
    plain = [
        *("dynamics", "routing", "freezing", "cached_share", "overlap_chosen", "overlap_best"),
        *STEP,
        *("front", "front_share", "n_windows", "n_requests", "n_launches", "interval_kind", "regime"),
        *("valid", "reasons", "engine", "dilation"),
    ]
    table[plain] = rows[plain]
    return table


def pair_words(table: pd.DataFrame) -> pd.DataFrame:
    """`pair_table` for people: numbers with their intervals as text, units in the headings."""
    words: dict[str, Any] = {}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["load"] = [
        f"{load}, C = {whole(C)}" for load, C in zip(table["load"], table["concurrency"], strict=True)
    ]
    words["way"] = list(table["way"])
    words["tau"] = [_level(value) for value in table["tau"]]
    words["omega"] = [_level(value) for value in table["omega"]]
    words["repeat"] = list(map(whole, table["repeat"]))
    words |= estimates(table)
    words["on the front (share of replicates)"] = [
        MISSING if is_missing(share) else f"{'yes' if front else 'no'} ({percent(share)})"
        for front, share in zip(table["front"], table["front_share"], strict=True)
    ]
    words[HEADING] = dispersions(table)
    words["windows"] = list(map(whole, table["n_windows"]))
    words["counted"] = counted(table)
    return pd.DataFrame(words)


def _level(value: Any) -> str:
    """A level of tau or omega as it was configured."""
    return MISSING if is_missing(value) else f"{float(value):g}"


def spread_table(system: System) -> pd.DataFrame:
    """One row a workload, policy set, load, factor and quantity: the spread over pairs against the noise."""
    return system.frames["spread"].reset_index(drop=True)


def spread_words(table: pd.DataFrame) -> pd.DataFrame:
    """`spread_table` for people: CVs in per cent, with the bound that makes "no effect" a statement."""
    words: dict[str, Any] = {}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["load"] = [
        f"{load}, C = {whole(C)}" for load, C in zip(table["load"], table["concurrency"], strict=True)
    ]
    words["way"] = list(table["way"])
    words["between"] = [
        f"{'pairs' if factor == 'pair' else f'levels of {factor}'} ({whole(levels)})"
        for factor, levels in zip(table["factor"], table["n_levels"], strict=True)
    ]
    words["quantity"] = [HEADINGS[name][0] for name in table["quantity"]]
    factors = [HEADINGS[name][1] for name in table["quantity"]]
    for column, heading in (("mean", "mean"), ("half_spread", "half the range, +-")):
        words[heading] = [
            MISSING if is_missing(value) else number(value * factor)
            for value, factor in zip(table[column], factors, strict=True)
        ]
    words["CV"] = list(map(percent, table["cv"]))
    words["CV of the noise"] = [
        percent(cv) if noise else "not known"
        for cv, noise in zip(table["cv_noise"], table["noise"], strict=True)
    ]
    words["p (no difference)"] = [
        MISSING if is_missing(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p_value"]
    ]
    words["CV without noise"] = list(map(percent, table["cv_effect"]))
    words["at most (95 %)"] = [
        "no bound" if bound > BOUNDS else percent(bound) for bound in table["cv_bound"]
    ]
    words["variance over that below the knee"] = [
        interval(*row) for row in zip(*_bounds(table, "variance_ratio"), strict=True)
    ]
    words["the same of logarithms"] = [
        interval(*row) for row in zip(*_bounds(table, "variance_ratio_log"), strict=True)
    ]
    words["counted"] = counted(table)
    return pd.DataFrame(words)


def _bounds(table: pd.DataFrame, name: str) -> list[pd.Series[Any]]:
    return [table[name + bound] for bound in ("", "_lo", "_hi")]


TABLES: Final[dict[str, Maker]] = {"": (pair_table, pair_words), "spread": (spread_table, spread_words)}
"""Name of a table -> what makes it, and what puts it in words."""
