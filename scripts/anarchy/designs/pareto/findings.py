"""What a sweep over (tau, omega) found, in sentences of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from anarchy.designs.notes import condition_notes
from anarchy.ground.words import interval, is_missing, percent, whole
from anarchy.tables import System

BOUNDS: Final = 10.0
"""A CV that is bounded by more than so much is not bounded at all: two pairs tell next to nothing."""


def at_most(bound: float) -> str:
    """An upper bound of a CV, in words: ``at most 1.04 %``, ``without a bound``."""
    return f"at most {percent(bound)}" if bound <= BOUNDS else "without a bound"


def parts(system: System, workload: str) -> list[str]:
    """How far pairs differ at each load, each a clause of numbers."""
    spread = system.of(workload, "spread")
    spread = spread[(spread["quantity"] == "poa_hat") & (spread["factor"] == "pair")]
    several = spread.groupby("way")["routing_set"].nunique() > 1
    clauses = []
    for row in spread[spread["valid"].astype(bool)].to_dict("records"):
        verdict = "they differ" if row["effect"] is True else "no difference seen"
        bound = "" if is_missing(row["cv_bound"]) else f", {at_most(row['cv_bound'])} (95 %)"
        way = f"{row['way']} ({row['routing_set']})" if several[row["way"]] else row["way"]
        noise = percent(row["cv_noise"]) if row["noise"] else "not known"
        words = f"{way}, {row['load']} (C = {whole(row['concurrency'])}): CV of PoA-hat over "
        words += f"{whole(row['n_levels'])} pairs {percent(row['cv'])}, noise {noise}{bound}: {verdict}"
        if not is_missing(row["variance_ratio"]):
            bounds = (row[f"variance_ratio{end}"] for end in ("", "_lo", "_hi"))
            words += f", variance {interval(*bounds)} times that of {row['against_load']}"
        clauses.append(words)
    return clauses or ["no spread over pairs could be estimated"]


def notes(system: System, workload: str) -> list[str]:
    """Where mean latency bends most, and how much of the rise of PoA-hat is routing."""
    return condition_notes(system, workload)


def answer(systems: Sequence[System]) -> str:
    """How far pairs can differ in PoA-hat and throughput, by the bounds of every system, way and workload."""
    spread = pd.concat([system.frames["spread"] for system in systems])
    spread = spread[(spread["factor"] == "pair") & spread["valid"].astype(bool)]
    words = []
    for name, title in (("poa_hat", "PoA-hat"), ("throughput_rps", "throughput")):
        mine = spread[(spread["quantity"] == name) & spread["cv_bound"].notna()]
        if len(mine):
            seen = int(mine["effect"].eq(True).sum())
            bound = mine["cv_bound"].max()
            most = f"of {at_most(bound)}" if bound <= BOUNDS else at_most(bound)
            told = f"a difference is seen in {seen} of {len(mine)} comparisons"
            words.append(f"{title} differs between pairs by a CV {most} ({told})")
    return f"{'; '.join(words) or 'No spread over pairs could be estimated'}."
