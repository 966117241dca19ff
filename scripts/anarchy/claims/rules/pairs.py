"""Rules for claims on pairs of (tau, omega) (E4): claim, system and workload -> a verdict a way to route.

They read `spread`, in which all launches of all pairs lie: levels are means over launches, and their noise is
how launches disagree about the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from anarchy.claims.deciding import Needed, at_least_three, needed_pairs
from anarchy.claims.equivalence import equivalent
from anarchy.claims.frames import Row, bounded, frame_of, nothing, of_launches, past_no_knee
from anarchy.claims.model import (
    INCONCLUSIVE,
    Claim,
    Outcome,
    Part,
    System,
    against_range,
    ends_of,
    system_title,
)
from anarchy.stats.variance import levels_own_bounds
from anarchy.tables import TITLES, is_missing, percent, whole

OMEGA: Final = (
    "with one prefill worker the built-in router has nothing to choose there, and on the decode choice it "
    "sets the overlap weight to 0: omega can act in the pinned way alone"
)
NOTES: Final = {
    "pair_spread, builtin": OMEGA,
    "variance_growth, builtin": OMEGA,
    "pair_effect, builtin": OMEGA,
}
"""What has to be known with every verdict of a rule and a way to route, whichever it is."""


def _pairs(system: System, workload: str, quantity: str, *, past: bool) -> Iterator[Row]:
    """Of each way the spread over the pairs at the lowest load below the knee, or at the highest past it."""
    spread = frame_of(system, "spread", workload)
    if spread is None:
        return
    rows = spread[(spread["factor"] == "pair") & (spread["quantity"] == quantity)]
    rows = rows[(rows["knee_times"] > 1) if past else (rows["knee_times"] < 1)]
    for _, mine in rows.sort_values("concurrency").groupby("routing_set", sort=False):
        yield mine.iloc[-1 if past else 0].to_dict()


def pair_spread(claim: Claim, system: System, workload: str) -> list[Part]:
    """C4: equivalence of the pairs below the knee: their CV of PoA-hat against the published one."""
    assert claim.published.hi is not None
    parts = [
        _equivalence_part(system, row, claim.published.hi, "published")
        for row in _pairs(system, workload, "poa_hat", past=False)
    ]
    return parts or nothing(system, "CV of PoA-hat over pairs", "no load below the knee was measured")


def pair_effect(claim: Claim, system: System, workload: str) -> list[Part]:
    """C6: equivalence of the pairs past the knee: the CV of the throughput against what counts as none."""
    if untold := past_no_knee(system, workload, "CV of throughput over pairs"):
        return untold
    parts = [
        _equivalence_part(system, row, claim.negligible, "ours")
        for row in _pairs(system, workload, "throughput_rps", past=True)
    ]
    return parts or nothing(system, "CV of throughput over pairs", "no load past the knee was measured")


def _equivalence_part(system: System, row: Row, margin: float, whose: str) -> Part:
    """A CV between the planned pairs, which a claim is about and not about others, against a margin."""
    quantity = f"CV of {TITLES[row['quantity']]} between pairs, noise taken out, %"

    def part(verdict: Outcome, reason: str, *values: float | None, decides: str = "") -> Part:
        return Part(
            system_title(system),
            verdict,
            reason,
            quantity,
            *values,
            way=str(row["way"]),
            decides=decides,
            published=(0.0, 100 * margin),
        )

    if not row["valid"] or is_missing(row["cv_bound"]):
        return part(INCONCLUSIVE, f"not estimated: {row['reasons'] or 'too few pairs'}")
    lo, hi = _bounds(row)
    clear, why = equivalent(lo, hi, margin, whose)
    outcome, why, decides = of_launches(row, clear, why)
    noise = percent(row["cv_noise"]) if row["noise"] else "not known"
    seen = f"p = {row['p_value']:.2g}" if not is_missing(row["p_value"]) else "no test without noise"
    launches = int(row["n_launches"])
    reason = (
        f"{row['load']}, C = {whole(row['concurrency'])}, {whole(row['n_levels'])} pairs, "
        f"{launches} launch{'es' if launches != 1 else ''}: "
        f"CV {percent(row['cv'])}, of it noise {noise} ({seen}); {why}"
    )
    value = row["cv_effect"] if not is_missing(row["cv_effect"]) else row["cv"]
    return part(outcome, reason, *(100 * float(end) for end in (value, lo, hi)), decides=decides)


def _bounds(row: Row) -> tuple[float, float]:
    """One-sided 95 % bounds of the CV between just these pairs; without noise, 0 and that of their sum."""
    if is_missing(row["f"]) or not row["cv_noise"] > 0.0:
        return 0.0, float(row["cv_bound"])
    return levels_own_bounds(float(row["f"]), int(row["df"]), int(row["df_noise"]), float(row["cv_noise"]))


def variance_growth(claim: Claim, system: System, workload: str) -> list[Part]:
    """C5: the variance of PoA-hat over the pairs past the knee over that below it, against the range."""
    if untold := past_no_knee(system, workload, "variance ratio of PoA-hat"):
        return untold
    parts = [_growth_part(claim, system, row) for row in _pairs(system, workload, "poa_hat", past=True)]
    return parts or nothing(system, "variance ratio of PoA-hat", "no load past the knee was measured")


def _growth_part(claim: Claim, system: System, row: Row) -> Part:
    """A variance ratio with its F interval, and what would decide it."""
    told = bounded(row, "variance_ratio")
    clear, why = against_range(claim, told[1], told[2])
    outcome, why, _ = of_launches(row, clear, why)
    pairs = int(row["n_levels"])
    reason = f"C = {whole(row['concurrency'])} over {row['against_load']}, {pairs} pairs: {why}"
    if told[1] is not None and told[1] > 1:
        reason += "; the variance does grow"
    count, needs = _needs(claim, clear, outcome, told[0], pairs)
    quantity = "variance of PoA-hat over pairs, past the knee over below it"
    return Part(
        system_title(system),
        outcome,
        reason,
        quantity,
        *told,
        way=str(row["way"]),
        launches_to_decide=count,
        decides=needs,
        published=ends_of(claim),
    )


def _needs(claim: Claim, clear: Outcome, outcome: Outcome, ratio: float | None, pairs: int) -> Needed:
    """What would decide a ratio that is left open, by its interval or for its launches."""
    if outcome != clear:
        return at_least_three()
    return needed_pairs(ratio, claim, pairs) if outcome == INCONCLUSIVE and ratio else (None, "")


RULES: Final[dict[str, Callable[[Claim, System, str], Sequence[Part]]]] = {
    "pair_spread": pair_spread,
    "variance_growth": variance_growth,
    "pair_effect": pair_effect,
}
