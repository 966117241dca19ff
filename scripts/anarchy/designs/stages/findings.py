"""What stages found, in sentences of numbers."""

from __future__ import annotations

from anarchy.designs.notes import condition_notes
from anarchy.ground.words import whole
from anarchy.tables import TITLES, System, ratio_interval


def parts(system: System, workload: str) -> list[str]:
    """Ratios of the reference to adaptive policies at the deepest stage, each a clause of numbers."""
    ratios = system.of(workload, "ratios")
    ratios = ratios[ratios["against_reference"].astype(bool) & ratios["valid"].astype(bool)]
    if ratios.empty:
        return ["no ratio of the reference to an adaptive policy counts"]
    deepest = ratios[ratios["concurrency"] == ratios["concurrency"].max()]
    clauses = []
    for (stage, policy, against, way), mine in deepest.groupby(
        ["stage", "policy", "against", "way"], sort=False
    ):
        by_name = {str(row["quantity"]): row for row in mine.to_dict("records")}
        shown = [
            f"{TITLES[name]} {ratio_interval(by_name[name])}"
            for name in ("poa_hat", "poa_cal", "ttft_p99", "throughput_rps")
            if name in by_name
        ]
        C = whole(mine["concurrency"].iloc[0])
        clauses.append(f"{stage}, C = {C}, {way}: {against} over {policy}: {', '.join(shown)}")
    return clauses


def notes(system: System, workload: str) -> list[str]:
    """Where mean latency bends most, and how much of the rise of PoA-hat is routing."""
    return condition_notes(system, workload)
