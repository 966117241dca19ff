"""Tables of ladders under every reading: cells, and a row a ladder."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from anarchy.designs.readings.sets import set_words
from anarchy.designs.tables import Maker
from anarchy.ground.words import MISSING, counted, intervals, is_missing, milliseconds, number, whole
from anarchy.tables import System
from anarchy.tables.step import COLUMNS, HEADING, dispersions

_LATENCIES: Final = ("ttft_mean", "ttft_p99", "itl_mean", "throughput_rps")


def cell_table(system: System) -> pd.DataFrame:
    """One row a workload, set, policy and C: latencies in ms, and whether users marched in step."""
    rows = system.rows
    table = rows[["workload", "routing_set", "policy", "concurrency"]].copy()
    for name in _LATENCIES:
        milliseconds(table, rows, name)
    columns = [
        "n_requests",
        "n_launches",
        "interval_kind",
        *COLUMNS,
        "valid",
        "reasons",
        "engine",
        "dilation",
    ]
    table[columns] = rows[columns]
    return table


def cell_words(table: pd.DataFrame) -> pd.DataFrame:
    """`cell_table` for people."""
    return pd.DataFrame(
        {
            "workload": list(table["workload"]),
            **set_words(table),
            "policy": list(table["policy"]),
            "C": list(map(whole, table["concurrency"])),
            "TTFT, mean, ms": intervals(table, "ttft_mean_ms"),
            "TTFT P99, ms": intervals(table, "ttft_p99_ms"),
            "ITL, ms": intervals(table, "itl_mean_ms"),
            "requests/s": intervals(table, "throughput_rps"),
            HEADING: dispersions(table),
            "counted": counted(table),
        }
    )


def ladder_table(system: System) -> pd.DataFrame:
    """One row a workload, set, policy and reading, as it was estimated."""
    return system.frames["ladders"].drop(
        columns=["experiment", "model", "model_title", "topology", "topology_title"]
    )


def ladder_words(table: pd.DataFrame) -> pd.DataFrame:
    """`ladder_table` for people."""
    return pd.DataFrame(
        {
            "workload": list(table["workload"]),
            **set_words(table),
            "tau": list(map(number, table["tau"])),
            "reading": list(table["reading"]),
            "level": intervals(table, "level"),
            "plateau below the knee": intervals(table, "plateau"),
            "knee at C": [_none(text) for text in intervals(table, "knee")],
            "exponent of C before it": list(map(number, table["slope_before"])),
            "growth": intervals(table, "growth"),
            "deepest": intervals(table, "deepest"),
            "cells in step": [
                f"{whole(marched)} of {whole(of)}"
                for marched, of in zip(table["in_step_cells"], table["cells"], strict=True)
            ],
            "refused": [MISSING if is_missing(why) or not why else str(why) for why in table["refused"]],
        }
    )


def depth_table(system: System) -> pd.DataFrame:
    """One row a workload, set, policy, reading and depth of the grid, as it was estimated."""
    return system.frames["depths"].drop(
        columns=["experiment", "model", "model_title", "topology", "topology_title"]
    )


def depth_words(table: pd.DataFrame) -> pd.DataFrame:
    """`depth_table` for people."""
    return pd.DataFrame(
        {
            "users": list(table["synchrony"]),
            **set_words(table),
            "tau": list(map(number, table["tau"])),
            "tokens out": list(map(number, table["output_tokens"])),
            "tokens shared": [
                f"{whole(shared)} of {whole(of)}"
                for shared, of in zip(table["shared_tokens"], table["input_tokens"], strict=True)
            ],
            "tokens a step": list(map(whole, table["max_num_batched_tokens"])),
            "reading": list(table["reading"]),
            "grid ends at C": list(map(whole, table["deepest_c"])),
            "knee at C": [_none(text) for text in intervals(table, "knee")],
            "exponent of C before it": list(map(number, table["slope_before"])),
            "plateau": intervals(table, "plateau"),
            "deepest over plateau": intervals(table, "rise"),
        }
    )


def _none(text: Any) -> str:
    return "none found" if text == MISSING else str(text)


TABLES: Final[dict[str, Maker]] = {
    "": (cell_table, cell_words),
    "ladders": (ladder_table, ladder_words),
    "depths": (depth_table, depth_words),
}
"""Name of a table -> what makes it, and what puts it in words."""
