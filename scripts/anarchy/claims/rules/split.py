"""Rules on the split of a budget between prefill and decode (G1): claim, system and workload -> a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

import pandas as pd

from anarchy.claims.frames import Row, bounded, frame_of, nothing, of_launches
from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    REPRODUCED,
    Claim,
    Part,
    System,
    system_title,
)
from anarchy.claims.rules import Rule
from anarchy.tables import whole

CROSSING: Final = "places of the budget at which marginal gains cross"
HERE: Final = "goodput of the best split over that of this one"
KEPT: Final = "with shared prefixes, goodput of the best split over that of the split that is best without"


def _games(system: System, workload: str) -> pd.DataFrame | None:
    """The games that count, by C."""
    rows = frame_of(system, "prices", workload)
    return None if rows is None else rows[rows["valid"].astype(bool)].sort_values("concurrency")


def gains_cross(claim: Claim, system: System, workload: str) -> list[Part]:
    """Whether both pools' marginal gains cross at one place of the budget, wherever splits differ."""
    games = _games(system, workload)
    if games is None or games.empty:
        return nothing(system, CROSSING, "no game of two or more splits counts")
    games = games[~games["flat"].astype(bool)]
    if games.empty:
        return nothing(
            system, CROSSING, "at every C all splits serve about the same, so that gains name none"
        )
    several = games[games["crossings"] > 1]
    places = zip(games["variational"], games["concurrency"], strict=True)
    splits = "; ".join(f"{at} at C = {whole(C)}" for at, C in places)
    why = f"gains cross at {splits} (means over launches, within the tie)"
    unsure = games[~(games["valley_most"] <= claim.tolerance)]
    outcome = REPRODUCED
    if not several.empty:
        outcome, why = NOT_REPRODUCED, f"{why}; at places apart at C = {_users(several)}"
    elif not unsure.empty:
        most = f"a valley of {claim.tolerance:.0%} between two places is not ruled out"
        outcome, why = INCONCLUSIVE, f"{why}; {most} at C = {_users(unsure)}"
    # One C speaks against it; all have to speak for it.
    fewest = (games if several.empty else several).sort_values("n_launches", kind="stable")
    behind = fewest.iloc[0 if several.empty else -1].to_dict()
    outcome, why, decides = of_launches(behind, outcome, why)
    value = float(games["crossings"].max())
    return [Part(system_title(system), outcome, why, CROSSING, value, decides=decides)]


def best_split(claim: Claim, system: System, workload: str) -> list[Part]:
    """Whether no split of the budget serves more than this one at any C, within the claim's tolerance."""
    games = _games(system, workload)
    if games is None or games.empty:
        return nothing(system, HERE, "no game of two or more splits counts")
    limit = 1.0 + claim.tolerance
    unbounded = games[games["unbounded"].fillna("").str.split(", ").map(lambda names: "price_here" in names)]
    if not unbounded.empty:
        row = unbounded.sort_values("n_launches", kind="stable").iloc[-1].to_dict()
        why = f"serves nothing within both objectives at C = {_users(unbounded)}, where another split does"
        outcome, why, decides = of_launches(row, NOT_REPRODUCED, why)
        return [Part(system_title(system), outcome, why, HERE, decides=decides)]
    games = games.dropna(subset=["price_here"])
    if games.empty:
        return nothing(system, HERE, "in a launch of each C no split serves")
    above = games[games["price_here_lo"].astype(float) > limit]
    # What speaks loudest: the C at which it lies above for sure, else that at which it may lie highest.
    by = ["n_launches", "price_here_lo"] if len(above) else ["price_here_hi"]
    row = (above if len(above) else games).sort_values(by, kind="stable").iloc[-1].to_dict()
    value, lo, hi = bounded(row, "price_here")
    at = f"at C = {whole(row['concurrency'])}"
    if lo is None or hi is None:
        outcome, why = INCONCLUSIVE, f"has no interval {at}"
    elif lo > limit:
        outcome, why = NOT_REPRODUCED, f"lies above 1 {at}; up to {limit:g} counts as none"
    else:
        highest = f"{at}, where its interval reaches highest"
        outcome, why = (REPRODUCED if hi <= limit else INCONCLUSIVE), f"against {limit:g} {highest}"
    outcome, why, decides = of_launches(row, outcome, why)
    return [Part(system_title(system), outcome, why, HERE, value, lo, hi, decides=decides)]


def follows_cache(claim: Claim, system: System, workload: str) -> list[Part]:
    """Whether shared prefixes move the best split towards decode; said of mixes that have a twin without."""
    games = _games(system, workload)
    known = games is not None and games["best_unshared"].fillna("").ne("").any()
    if games is None or not known:
        shares = frame_of(system, "prices", workload)
        twin = shares is not None and shares["best_unshared"].fillna("").ne("").any()
        return nothing(system, KEPT, "no game of two or more splits counts") if twin else []
    games = games[games["best_unshared"].fillna("").ne("")]
    limit = 1.0 + claim.tolerance
    prefill = frame_of(system, "game", workload)
    assert prefill is not None, "a game has its splits"
    workers = dict(zip(prefill["split"], prefill["prefill"], strict=True))
    moves = [_move(row, workers, limit) for row in games.to_dict("records")]
    said = "; ".join(f"{move.words} at C = {whole(move.row['concurrency'])}" for move in moves)
    costly = [move for move in moves if move.costs]
    widest = max(costly or moves, key=lambda move: move.value)
    outcome = INCONCLUSIVE
    if any(move.steps >= 0 for move in costly) or all(move.costs is False for move in moves):
        outcome = NOT_REPRODUCED
    elif costly:
        outcome = REPRODUCED
    why = f"best split without and with shared prefixes: {said}; {limit:g} counts as no price"
    outcome, why, decides = of_launches(widest.row, outcome, why)
    value, lo, hi = bounded(widest.row, "price_unshared")
    return [Part(system_title(system), outcome, why, KEPT, value, lo, hi, decides=decides)]


@dataclass(frozen=True)
class _Move:
    """Where the best split goes at one C when prefixes are shared."""

    row: Row
    steps: int
    """Prefill workers that it has more."""
    value: float
    """Price of staying."""
    costs: bool | None
    """Whether staying costs more than the limit; None where its interval does not say."""
    words: str


def _move(row: Row, workers: Mapping[str, int], limit: float) -> _Move:
    before, after = str(row["best_unshared"]), str(row["best"])
    words = f"{before} and {after}"
    steps = int(workers[after] - workers[before])
    if "price_unshared" in str(row["unbounded"]).split(", "):
        return _Move(row, steps, inf, True, words)
    value, lo, hi = bounded(row, "price_unshared")
    costs = None if lo is None or hi is None or lo <= limit < hi else lo > limit
    return _Move(row, steps, value or 1.0, costs, words)


def _users(rows: pd.DataFrame) -> str:
    return ", ".join(map(whole, rows["concurrency"]))


RULES: Final[dict[str, Rule]] = {
    "gains_cross": gains_cross,
    "best_split": best_split,
    "follows_cache": follows_cache,
}
"""By the name that a claim calls them."""
