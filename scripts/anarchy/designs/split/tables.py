"""Tables of a split of a budget: its cells, the game, prices, and the load that moves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from anarchy.config.objectives import RATES
from anarchy.designs.tables import Maker
from anarchy.ground.words import MISSING, counted, intervals, is_missing, milliseconds, share, whole
from anarchy.tables import System

_LABELS: Final = ["experiment", "model", "model_title", "topology", "topology_title"]
_LATENCIES: Final = ("ttft_p50", "ttft_p99", "itl_mean", "throughput_rps", "backlog_rps")
UNBOUNDED: Final = "unbounded"


def cell_table(system: System) -> pd.DataFrame:
    """One row a workload and C of this split: latencies in ms, and rates within the objectives."""
    rows = system.rows
    table = rows[["workload", "concurrency"]].copy()
    for name in (*_LATENCIES, *RATES):
        milliseconds(table, rows, name)
    columns = ["n_requests", "n_launches", "interval_kind", "valid", "reasons", "engine", "dilation"]
    table[columns] = rows[columns]
    return table


def cell_words(table: pd.DataFrame) -> pd.DataFrame:
    """`cell_table` for people."""
    return pd.DataFrame(
        {
            "workload": list(table["workload"]),
            "C": list(map(whole, table["concurrency"])),
            "TTFT P50, ms": intervals(table, "ttft_p50_ms"),
            "TTFT P99, ms": intervals(table, "ttft_p99_ms"),
            "ITL, ms": intervals(table, "itl_mean_ms"),
            "requests/s": intervals(table, "throughput_rps"),
            "more in flight each second": intervals(table, "backlog_rps"),
            "within TTFT": intervals(table, "within_ttft"),
            "within ITL": intervals(table, "within_itl"),
            "within both": intervals(table, "goodput"),
            "counted": counted(table),
        }
    )


def game_table(system: System) -> pd.DataFrame:
    """One row a workload, C and split, as it was estimated."""
    return system.frames["game"].drop(columns=_LABELS)


def game_words(table: pd.DataFrame) -> pd.DataFrame:
    """`game_table` for people."""
    titles = dict(zip(table["split"], table["split_title"], strict=True))
    return pd.DataFrame(
        {
            "workload": list(table["workload"]),
            "C": list(map(whole, table["concurrency"])),
            "split": list(table["split_title"]),
            "within TTFT": intervals(table, "within_ttft"),
            "within ITL": intervals(table, "within_itl"),
            "within both": intervals(table, "goodput"),
            "next worker, to prefill": intervals(table, "gain_prefill"),
            "to decode": intervals(table, "gain_decode"),
            "equilibrium in": list(map(share, table["equilibrium_share"])),
            "gains cross": _yes(table["variational"]),
            "best": _yes(table["best"]),
            "moves to": [titles.get(name, MISSING) for name in table["moves_to"]],
        }
    )


def price_table(system: System) -> pd.DataFrame:
    """One row a workload and C, as it was estimated."""
    return system.frames["prices"].drop(columns=_LABELS)


def price_words(table: pd.DataFrame) -> pd.DataFrame:
    """`price_table` for people."""
    named = {
        "price_of_anarchy": "price of anarchy",
        "price_of_stability": "of stability",
        "price_of_variational": "of the variational equilibrium",
        "price_here": "of staying here",
    }
    words = {
        "workload": list(table["workload"]),
        "C": list(map(whole, table["concurrency"])),
        "best split": _known(table["best"]),
        "its requests/s within both": intervals(table, "best_goodput"),
        "equilibria": _known(table["equilibria"]),
        "gains cross at": _known(table["variational"]),
        "best responses end at": _known(table["ends"]),
        **{title: prices(table, name) for name, title in named.items()},
        **_sharing(table),
        "counted": [
            f"{text}; nearest: {nearest}" if not is_missing(nearest) and nearest else text
            for text, nearest in zip(counted(table), table["nearest"], strict=True)
        ],
    }
    return pd.DataFrame(words)


def _sharing(table: pd.DataFrame) -> dict[str, list[str]]:
    """What shared prefixes change; nothing where no mix shares one."""
    if not table["best_unshared"].fillna("").any():
        return {}
    return {
        "best without shared prefixes": _known(table["best_unshared"]),
        "of staying there": prices(table, "price_unshared"),
    }


def prices(table: pd.DataFrame, name: str) -> list[str]:
    """A price of each row with its interval, or that it is unbounded."""
    return [
        UNBOUNDED if not is_missing(which) and name in str(which).split(", ") else text
        for text, which in zip(intervals(table, name), table["unbounded"], strict=True)
    ]


def moving_table(system: System) -> pd.DataFrame:
    """One row a split that is kept while the load moves, as it was estimated."""
    return system.frames["moving"].drop(columns=_LABELS)


def moving_words(table: pd.DataFrame) -> pd.DataFrame:
    """`moving_table` for people."""
    return pd.DataFrame(
        {
            "split that is kept": list(table["split_title"]),
            "best split of each stage, over it": [
                UNBOUNDED if unbounded is True else text
                for text, unbounded in zip(intervals(table, "price"), table["unbounded"], strict=True)
            ],
            "stages": list(map(whole, table["n_stages"])),
            "this system": _yes(table["here"]),
            "counted": counted(table),
        }
    )


def _yes(flags: Iterable[Any]) -> list[str]:
    return ["yes" if flag is True else "" for flag in flags]


def _known(texts: Iterable[Any]) -> list[str]:
    return [MISSING if is_missing(text) or not text else str(text) for text in texts]


TABLES: Final[dict[str, Maker]] = {
    "": (cell_table, cell_words),
    "prices": (price_table, price_words),
    "game": (game_table, game_words),
    "moving": (moving_table, moving_words),
}
"""Name of a table -> what makes it, and what puts it in words."""
