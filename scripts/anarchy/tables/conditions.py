"""What tables of conditions share: quantities, their headings, and columns that say which policy it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from anarchy.ground.words import MISSING, counted, interval, intervals, is_missing, milliseconds, whole
from anarchy.tables.step import COLUMNS as STEP
from anarchy.tables.step import HEADING, dispersions
from anarchy.tables.systems import System

NUMBERS: Final = ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps", "load_range")
"""Quantities of a condition that have an interval and a column of their own."""

TITLES: Final = {
    "poa_hat": "PoA-hat",
    "poa_cal": "PoA-cal",
    "ttft_p50": "TTFT P50",
    "ttft_p99": "TTFT P99",
    "itl_mean": "ITL",
    "throughput_rps": "throughput",
    "load_range": "load range",
}
"""What each is called; the load range is the largest less the smallest decode worker, in requests."""

HEADINGS: Final = {
    "poa_hat": ("PoA-hat", 1.0),
    "poa_cal": ("PoA-cal", 1.0),
    "ttft_p50": ("TTFT P50, ms", 1e3),
    "ttft_p99": ("TTFT P99, ms", 1e3),
    "itl_mean": ("ITL, ms", 1e3),
    "throughput_rps": ("requests/s", 1.0),
    "load_range": ("load range", 1.0),
}
"""Heading of each in a table, and the factor into the unit that it names."""

POLICY: Final = ("routing_set", "policy", "way", "tau", "omega")


def head(table: pd.DataFrame) -> dict[str, Any]:
    """The columns that say which policy a row is of, for people; those that never differ are left out."""
    words: dict[str, Any] = {}
    for name, heading in (("workload", "workload"), ("routing_set", "policy set")):
        if table[name].nunique() > 1:
            words[heading] = list(table[name])
    words["policy"] = list(table["policy"])
    words["way"] = list(table["way"])
    return words


def estimates(table: pd.DataFrame) -> dict[str, list[str]]:
    """A column of text for every quantity of `HEADINGS`, each number with its interval."""
    return {
        heading: intervals(table, f"{name}_ms" if factor != 1.0 else name)
        for name, (heading, factor) in HEADINGS.items()
    }


def ratio_interval(row: Mapping[Any, Any]) -> str:
    """The ratio of a row of ratios.parquet with its interval."""
    return interval(row["ratio"], row["ratio_lo"], row["ratio_hi"])


def stage_table(system: System) -> pd.DataFrame:
    """One row a workload, policy and stage of one system: estimates, latencies in ms, shares of regimes."""
    rows = system.rows
    table = rows[["workload", *POLICY, "stage", "direction", "concurrency", "knee_times"]].copy()
    for name in NUMBERS:
        milliseconds(table, rows, name)
    plain = [
        *("dynamics", "routing", "freezing", "curvature", "curvature_lo", "curvature_hi"),
        *("share_below", "share_transition", "share_saturated", "cached_share"),
        *("overlap_chosen", "overlap_best", "poa_hat_cv", "poa_hat_cv_lo", "poa_hat_cv_hi"),
        *("n_windows", "n_requests", "n_launches", "interval_kind", *STEP),
        *("regime", "valid", "reasons", "engine", "dilation"),
    ]
    table[plain] = rows[plain]
    return table


def stage_words(table: pd.DataFrame) -> pd.DataFrame:
    """`stage_table` for people: numbers with their intervals as text, units in the headings."""
    words = head(table)
    words["stage"] = list(table["stage"])
    words["C"] = list(map(whole, table["concurrency"]))
    words |= estimates(table)
    if table["share_below"].notna().any():
        regimes = ("share_below", "share_transition", "share_saturated")
        words["below / transition / saturated, %"] = [
            MISSING if is_missing(shares[0]) else " / ".join(f"{100 * share:.0f}" for share in shares)
            for shares in table[list(regimes)].to_numpy(dtype=float).tolist()
        ]
    words[HEADING] = dispersions(table)
    words["windows"] = list(map(whole, table["n_windows"]))
    words["counted"] = counted(table)
    return pd.DataFrame(words)
