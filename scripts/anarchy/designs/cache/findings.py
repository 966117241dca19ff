"""What a pool of caches found, in sentences of numbers and one of advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from anarchy.ground.words import interval, number, span, whole
from anarchy.tables import System

Row = Mapping[Any, Any]


def parts(system: System, workload: str) -> list[str]:
    """Affinity against balance, a clause each working set."""
    rows = system.of(workload, "duels").to_dict("records")
    return [_clause(row, C_too=len({one["concurrency"] for one in rows}) > 1) for row in rows]


def _clause(row: Row, *, C_too: bool) -> str:
    at = f"{number(row['working_set'])} of the pool's capacity"
    at += f", C = {whole(row['concurrency'])}" if C_too else ""
    if not row["valid"]:
        return f"{at}: {row['reasons'] or 'not counted'}"
    hits = _ends(row, "hits")
    words = f"{at}: hit share {interval(*hits)} higher with affinity, mean TTFT without it "
    return f"{words}{interval(*_ends(row, 'ttft'))} times, {row['winner'] or 'neither'} faster"


def notes(system: System, workload: str) -> list[str]:
    """How the price changes at capacity, of each policy."""
    found = []
    for row in system.of(workload, "regimes").to_dict("records"):
        if row["valid"]:
            words = f"{row['policy_title']}: from {number(row['smallest'])} to {number(row['below'])} of the "
            words += f"pool's capacity the price grows {interval(*_ends(row, 'before'))} times, "
            words += f"to {number(row['above'])} another {interval(*_ends(row, 'step'))} times"
            found.append(words)
    return found


def answer(systems: Sequence[System]) -> str:
    """How often affinity and balance are faster, the range of their ratio, and the price with affinity."""
    duels = pd.concat([system.frames["duels"] for system in systems])
    duels = duels[duels["valid"].astype(bool)]
    if duels.empty:
        return "No working set was measured under both policies."
    won = duels["winner"].fillna("").value_counts()
    prices = pd.concat([_of_affinity(system) for system in systems])
    words = f"Affinity has the lower mean time to first token in {won.get('affinity', 0)} of {len(duels)} "
    words += (
        f"working sets, balance in {won.get('balance', 0)}; without affinity it is {span(duels['ttft'])} "
    )
    words += "times. "
    return f"{words}With affinity prefill takes {span(prices['price'])} times what the best placement would."


def _of_affinity(system: System) -> pd.DataFrame:
    rows = system.rows
    mine: pd.DataFrame = rows[rows["valid"].astype(bool) & (rows["policy_title"] == system.info["affinity"])]
    return mine


def _ends(row: Row, name: str) -> list[Any]:
    return [row[f"{name}{end}"] for end in ("", "_lo", "_hi")]
