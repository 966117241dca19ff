"""Tables of a pool of caches: cells, affinity against balance, the games, and the step at capacity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from anarchy.designs.tables import Maker
from anarchy.ground.words import MISSING, counted, intervals, is_missing, milliseconds, number, whole
from anarchy.tables import System

_LABELS: Final = ["experiment", "model", "model_title", "topology", "topology_title"]
_SET: Final = ["workload_title", "templates", "working_set", "concurrency", "policy_title"]
_MEASURED: Final = (
    "hit_share",
    "copies",
    "price",
    "cost",
    "ttft_mean",
    "ttft_p50",
    "ttft_p99",
    "throughput_rps",
)


def cell_table(system: System) -> pd.DataFrame:
    """One row a working set, C and policy: latencies and prefill times in ms."""
    rows = system.rows
    table = rows[["workload", *_SET]].copy()
    for name in _MEASURED:
        milliseconds(table, rows, name)
    columns = ["n_requests", "n_launches", "interval_kind", "valid", "reasons", "engine", "dilation"]
    table[columns] = rows[columns]
    return table


def cell_words(table: pd.DataFrame) -> pd.DataFrame:
    """`cell_table` for people."""
    return pd.DataFrame(
        {
            **_set_words(table),
            "policy": list(table["policy_title"]),
            "hit share": intervals(table, "hit_share"),
            "copies": intervals(table, "copies"),
            "price": intervals(table, "price"),
            "mean TTFT, ms": intervals(table, "ttft_mean_ms"),
            "P50": intervals(table, "ttft_p50_ms"),
            "P99": intervals(table, "ttft_p99_ms"),
            "requests/s": intervals(table, "throughput_rps"),
            "counted": counted(table),
        }
    )


def duel_table(system: System) -> pd.DataFrame:
    """One row a working set and C, as it was estimated."""
    return system.frames["duels"].drop(columns=_LABELS)


def duel_words(table: pd.DataFrame) -> pd.DataFrame:
    """`duel_table` for people."""
    return pd.DataFrame(
        {
            **_set_words(table),
            "mean TTFT, balance over affinity": intervals(table, "ttft"),
            "throughput, affinity over balance": intervals(table, "throughput"),
            "hit share, affinity less balance": intervals(table, "hits"),
            "faster": [MISSING if is_missing(one) or not one else str(one) for one in table["winner"]],
            "counted": counted(table),
        }
    )


def game_table(system: System) -> pd.DataFrame:
    """One row a working set, as it was computed."""
    return system.frames["games"].drop(columns=_LABELS)


def game_words(table: pd.DataFrame) -> pd.DataFrame:
    """`game_table` for people."""
    ends = zip(table["price_low"], table["price_high"], table["price_exact"], strict=True)
    return pd.DataFrame(
        {
            "popularity": list(table["workload_title"]),
            "templates": list(map(whole, table["templates"])),
            "working set": list(map(number, table["working_set"])),
            "best hit share": list(map(number, table["best_hit_share"])),
            "one cache that sees all": list(map(number, table["lru_hit_share"])),
            "one of the pool's size": list(map(number, table["pooled_hit_share"])),
            "price of anarchy": [
                number(low) if exact else f"{number(low)} to {number(high)}" for low, high, exact in ends
            ],
            "fullest of homes": list(map(number, table["fullest"])),
            "at least": _bound(table["least_fullest"], table["least_exact"]),
            "homes over balance": list(map(number, table["affinity_over_balance"])),
        }
    )


def regime_table(system: System) -> pd.DataFrame:
    """One row a skew, C and policy, as it was estimated."""
    return system.frames["regimes"].drop(columns=_LABELS)


def regime_words(table: pd.DataFrame) -> pd.DataFrame:
    """`regime_table` for people."""
    return pd.DataFrame(
        {
            "popularity": list(table["workload_title"]),
            "C": list(map(whole, table["concurrency"])),
            "policy": list(table["policy_title"]),
            "from": list(map(number, table["smallest"])),
            "to, below capacity": list(map(number, table["below"])),
            "price grows": intervals(table, "before"),
            "to, at or above it": list(map(number, table["above"])),
            "and grows": intervals(table, "step"),
            "counted": counted(table),
        }
    )


def _set_words(table: pd.DataFrame) -> dict[str, list[str]]:
    return {
        "popularity": list(table["workload_title"]),
        "templates": list(map(whole, table["templates"])),
        "working set": list(map(number, table["working_set"])),
        "C": list(map(whole, table["concurrency"])),
    }


def _bound(values: Iterable[Any], exact: Iterable[Any]) -> list[str]:
    return [
        f"{number(value)} ({'exact' if known is True else 'bound'})"
        for value, known in zip(values, exact, strict=True)
    ]


TABLES: Final[dict[str, Maker]] = {
    "": (cell_table, cell_words),
    "duels": (duel_table, duel_words),
    "games": (game_table, game_words),
    "regimes": (regime_table, regime_words),
}
"""Name of a table -> what makes it, and what puts it in words."""
