"""What stages found, in sentences of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from anarchy.designs.notes import condition_notes
from anarchy.designs.stages.switched import DIFFER, SAME, compared
from anarchy.ground.words import span, whole
from anarchy.tables import TITLES, System, ratio_interval

NOTHING: Final = "no controller switched, so adaptive routing was static routing: nothing to compare"


def parts(system: System, workload: str) -> list[str]:
    """Ratios of the reference to adaptive policies that switched, at the deepest stage, each a clause."""
    ratios = _deepest(system, workload)
    if ratios.empty:
        return ["no ratio of the reference to an adaptive policy counts"]
    differ = ratios[ratios["policies"] == DIFFER]
    return _clauses(system, workload, differ) or [NOTHING]


def notes(system: System, workload: str) -> list[str]:
    """Ratios of a policy to itself, where mean latency bends most, and how much of the rise is routing."""
    ratios = _deepest(system, workload)
    rest = ratios[ratios["policies"] != DIFFER]
    return [
        f"{words[:1].upper()}{words[1:]} ({clause})"
        for words in dict.fromkeys(rest["policies"])
        for clause in _clauses(system, workload, rest[rest["policies"] == words])
    ] + condition_notes(system, workload)


def _deepest(system: System, workload: str) -> pd.DataFrame:
    """Rows of ratios to the reference that count, in the stages of the most load, and what each compares."""
    ratios = system.of(workload, "ratios")
    ratios = ratios[ratios["against_reference"].astype(bool) & ratios["valid"].astype(bool)]
    deepest: pd.DataFrame = ratios[ratios["concurrency"] == ratios["concurrency"].max()]
    return deepest.assign(policies=compared(deepest, system.of(workload)))


def _clauses(system: System, workload: str, ratios: pd.DataFrame) -> list[str]:
    """A clause of numbers for each stage and policy."""
    clauses = []
    for (stage, policy, against, way), mine in ratios.groupby(
        ["stage", "policy", "against", "way"], sort=False
    ):
        by_name = {str(row["quantity"]): row for row in mine.to_dict("records")}
        shown = [
            f"{TITLES[name]} {ratio_interval(by_name[name])}"
            for name in ("poa_hat", "poa_cal", "ttft_p99", "throughput_rps")
            if name in by_name
        ]
        C = whole(mine["concurrency"].iloc[0])
        some = "" if (mine["policies"] == SAME).all() else _some_launches(system, workload, policy, way)
        clauses.append(f"{stage}, C = {C}, {way}: {against} over {policy}{some}: {', '.join(shown)}")
    return clauses


def _some_launches(system: System, workload: str, policy: object, way: object) -> str:
    """In how many launches a policy's controller switched, where it was not in all of them."""
    logs = system.of(workload, "detection")
    logs = logs[logs["acts"].astype(bool) & logs["valid"].astype(bool)]
    logs = logs[(logs["policy"] == policy) & (logs["way"] == way)]
    switched = int((logs["switches"] > 0).sum())
    return f" (switched in {switched} of {len(logs)} launches)" if switched < len(logs) else ""


def answer(systems: Sequence[System]) -> str:
    """Ratios of all systems and workloads in which a controller switched, from the lowest to the highest."""
    ratios = pd.concat([_deepest(system, name) for system in systems for name in system.info["workloads"]])
    differ = ratios[ratios["policies"] == DIFFER]
    if differ.empty:
        return f"{NOTHING[:1].upper()}{NOTHING[1:]}."
    words = []
    for name in ("poa_hat", "ttft_p99", "throughput_rps"):
        mine = differ[differ["quantity"] == name]
        apart = int(((mine["ratio_lo"] > 1.0) | (mine["ratio_hi"] < 1.0)).sum())
        told = f"{apart} of {len(mine)} intervals lie apart from 1"
        words.append(f"{TITLES[name]} {span(list(mine['ratio']))} ({told})")
    return f"Where a controller switched, static over adaptive is {', '.join(words)}."
