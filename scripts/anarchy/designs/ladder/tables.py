"""Tables of a concurrency sweep (E1): every cell of a system, and one row a system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from anarchy.designs.tables import Maker
from anarchy.ground.words import MISSING, counted, intervals, is_missing, milliseconds, whole
from anarchy.tables.step import COLUMNS, HEADING, dispersions
from anarchy.tables.systems import System, ordered


def equilibrium_table(cells: pd.DataFrame) -> pd.DataFrame:
    """One row a cell of one system: PoA-hat, PoA-cal, latencies in ms, throughput, regime and validity."""
    cells = ordered(cells, list(dict.fromkeys(cells["workload"])))
    table = cells[["workload", "concurrency"]].copy()
    for name in ("poa_hat", "poa_cal"):
        table[[name, f"{name}_lo", f"{name}_hi"]] = cells[[name, f"{name}_lo", f"{name}_hi"]]
    table[["dynamics", "routing", "freezing"]] = cells[["dynamics", "routing", "freezing"]]
    for name in ("ttft_p50", "ttft_p99", "itl_mean", "throughput_rps"):
        milliseconds(table, cells, name)
    columns = [
        "n_windows",
        "n_requests",
        "n_launches",
        "interval_kind",
        *COLUMNS,
        "regime",
        "valid",
        "reasons",
        "engine",
    ]
    table[columns] = cells[columns]
    table["dilation"] = cells["dilation"]
    return table


def summary_table(systems: Sequence[System]) -> pd.DataFrame:
    """One row a system and workload: plateau, knee, first post-knee point, deepest point."""
    return pd.DataFrame(
        [_summary_row(system, name) for system in systems for name in system.info["workloads"]]
    )


def _summary_row(system: System, workload: str) -> dict[str, Any]:
    info = system.info
    found = info["workloads"][workload]
    plateau, knee, deepest = found.get("plateau") or {}, found.get("knee") or {}, found.get("deepest") or {}
    rows = system.cells[system.cells["workload"] == workload]
    exists = bool(knee.get("exists"))
    return {
        "model": info["model"],
        "topology": info["topology"],
        "system": system.title,
        "workload": found.get("title", workload),
        "plateau": plateau.get("poa_hat"),
        "plateau_lo": plateau.get("lo"),
        "plateau_hi": plateau.get("hi"),
        "plateau_c_from": plateau.get("c_from"),
        "plateau_c_to": plateau.get("c_to"),
        "knee": knee.get("knee") if exists else None,
        "knee_lo": knee.get("lo") if exists else None,
        "knee_hi": knee.get("hi") if exists else None,
        "first_post_knee": knee.get("first_post_knee") if exists else None,
        "kneedle": knee.get("kneedle"),
        "slo_crossing": knee.get("slo_crossing"),
        "note": knee.get("note") or "",
        "deepest_concurrency": deepest.get("concurrency"),
        "deepest": deepest.get("poa_hat"),
        "deepest_lo": deepest.get("lo"),
        "deepest_hi": deepest.get("hi"),
        "cells_valid": int(rows["valid"].sum()),
        "cells": len(rows),
        "engine": info["engine"],
        "dilation": info["dilation"],
    }


def equilibrium_words(table: pd.DataFrame) -> pd.DataFrame:
    """`equilibrium_table` for people: numbers with their intervals as text, units in the headings."""
    words: dict[str, Any] = {}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["C"] = list(map(whole, table["concurrency"]))
    words["PoA-hat"] = intervals(table, "poa_hat")
    words["PoA-cal"] = intervals(table, "poa_cal")
    words["TTFT P50, ms"] = intervals(table, "ttft_p50_ms")
    words["TTFT P99, ms"] = intervals(table, "ttft_p99_ms")
    words["ITL, ms"] = intervals(table, "itl_mean_ms")
    words["requests/s"] = intervals(table, "throughput_rps")
    words["windows"] = list(map(whole, table["n_windows"]))
    words[HEADING] = dispersions(table)
    words["regime"] = [MISSING if is_missing(regime) else str(regime) for regime in table["regime"]]
    words["counted"] = counted(table)
    return pd.DataFrame(words)


def summary_words(table: pd.DataFrame) -> pd.DataFrame:
    """`summary_table` for people."""
    words: dict[str, Any] = {"system": list(table["system"])}
    if table["workload"].nunique() > 1:
        words["workload"] = list(table["workload"])
    words["plateau"] = intervals(table, "plateau")
    words["knee at C"] = [
        "none found" if text == MISSING else text for text in intervals(table, "knee")
    ]  # fmt: skip
    words["first post-knee C"] = list(map(whole, table["first_post_knee"]))
    words["PoA-hat at deepest C"] = [
        MISSING if depth == MISSING else f"{text} at {depth}"
        for text, depth in zip(
            intervals(table, "deepest"), list(map(whole, table["deepest_concurrency"])), strict=True
        )
    ]
    words["valid cells"] = [
        f"{valid} of {total}" for valid, total in zip(table["cells_valid"], table["cells"], strict=True)
    ]
    return pd.DataFrame(words)


TABLES: Final[dict[str, Maker]] = {
    "": (lambda system: equilibrium_table(system.cells), equilibrium_words),
}
"""Name of a table -> what makes it, and what puts it in words."""
