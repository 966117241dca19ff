"""Rules on the split of a budget between prefill and decode (G1): claim, system and workload -> a verdict."""

from __future__ import annotations

from typing import Final

import pandas as pd

from anarchy.claims.frames import bounded, frame_of, nothing, of_launches
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


def _games(system: System, workload: str) -> pd.DataFrame | None:
    """The games that count, by C."""
    rows = frame_of(system, "prices", workload)
    return None if rows is None else rows[rows["valid"].astype(bool)].sort_values("concurrency")


def gains_cross(_: Claim, system: System, workload: str) -> list[Part]:
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
    outcome = REPRODUCED
    if not several.empty:
        outcome, why = NOT_REPRODUCED, f"{why}; at places apart at C = {_users(several)}"
    outcome, why, decides = of_launches(
        games.sort_values("n_launches", kind="stable").iloc[0].to_dict(), outcome, why
    )
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
        row = unbounded.iloc[-1].to_dict()
        why = f"serves nothing within both objectives at C = {_users(unbounded)}, where another split does"
        outcome, why, decides = of_launches(row, NOT_REPRODUCED, why)
        return [Part(system_title(system), outcome, why, HERE, decides=decides)]
    row = games.sort_values("price_here", kind="stable").iloc[-1].to_dict()
    value, lo, hi = bounded(row, "price_here")
    at = f"at C = {whole(row['concurrency'])}, where it is largest; {limit:g} counts as none"
    if lo is None or hi is None:
        outcome, why = INCONCLUSIVE, f"has no interval, {at}"
    elif lo > limit:
        outcome, why = NOT_REPRODUCED, f"lies above 1 {at}"
    else:
        outcome, why = (REPRODUCED if hi <= limit else INCONCLUSIVE), f"against {limit:g} {at}"
    outcome, why, decides = of_launches(row, outcome, why)
    return [Part(system_title(system), outcome, why, HERE, value, lo, hi, decides=decides)]


def _users(rows: pd.DataFrame) -> str:
    return ", ".join(map(whole, rows["concurrency"]))


RULES: Final[dict[str, Rule]] = {"gains_cross": gains_cross, "best_split": best_split}
"""By the name that a claim calls them."""
