"""Proposition 1 and the question of 1P/5D: every verdict from both sides, on games written out."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from anarchy.claims import Verdict, judge, load

CLAIMS = load()
NAN = float("nan")


def game(C: int, **changes: Any) -> dict[str, Any]:
    """A game that names one split, which is this one."""
    row = {
        "workload": "unique",
        "concurrency": C,
        "n_launches": 5,
        "valid": True,
        "variational": "1p5d",
        "crossings": 1,
        "valley_most": 0.01,
        "flat": False,
        "unbounded": "",
        "price_here": 1.0,
        "price_here_lo": 1.0,
        "price_here_hi": 1.01,
        "best": "1p5d",
        "best_unshared": "",
        "price_unshared": NAN,
        "price_unshared_lo": NAN,
        "price_unshared_hi": NAN,
    }
    return {**row, **changes}


def verdicts_on(claim: str, *games: dict[str, Any], experiment: str = "split") -> list[Verdict]:
    splits = [{"workload": "unique", "split": f"{P}p{6 - P}d", "prefill": P} for P in range(1, 6)]
    system = {
        "experiment": experiment,
        "tier": "quick",
        "design": "split",
        "model": "llama-3.1-70b",
        "model_title": "Llama-3.1-70B",
        "topology": "1p5d",
        "topology_title": "1P/5D",
        "engine": "simulated in virtual time",
        "dilation": 1.0,
        "pool": 5,
        "workloads": {"unique": {"title": "unique prompts", "notes": []}},
        "frames": {
            "prices": pd.DataFrame(games, columns=list(game(1))),
            "game": pd.DataFrame(splits),
        },
    }
    return [verdict for verdict in judge(CLAIMS, [system]) if verdict.id == claim]


def verdict_on(claim: str, *games: dict[str, Any], experiment: str = "split") -> Verdict:
    (found,) = verdicts_on(claim, *games, experiment=experiment)
    return found


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "reproduced"),
        ({"crossings": 2}, "not reproduced"),
        ({"crossings": 2, "flat": True}, "reproduced"),
        ({"n_launches": 2}, "inconclusive"),
        ({"crossings": 3, "valid": False}, "reproduced"),
        ({"valley_most": 0.06}, "inconclusive"),
        ({"valley_most": NAN}, "inconclusive"),
        ({"valley_most": 0.06, "crossings": 2}, "not reproduced"),
        ({"valley_most": 0.06, "flat": True}, "reproduced"),
    ],
)
def test_gains_cross_at_one_place_or_they_do_not(changes: dict[str, Any], verdict: str) -> None:
    found = verdict_on("P1", game(64), game(192, **changes))
    assert found.verdict == verdict
    assert "1p5d at C = 64" in found.parts[0].reason


def test_what_speaks_against_one_place_rests_on_its_own_launches() -> None:
    few, apart = game(64, n_launches=2), game(192, crossings=2)
    assert verdict_on("P1", few, apart).verdict == "not reproduced"
    assert verdict_on("P1", game(64), {**apart, "n_launches": 2}).verdict == "inconclusive"
    served = {**here(NAN, None, None), "unbounded": "price_here"}
    one = verdict_on("Q1", game(64, **served), game(192, **served, n_launches=2))
    assert one.verdict == "not reproduced", "five launches speak against it at C = 64"


def here(value: float, lo: float | None, hi: float | None, **more: Any) -> dict[str, Any]:
    return {"price_here": value, "price_here_lo": lo, "price_here_hi": hi, **more}


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({}, "reproduced", "against 1.05 at C = "),
        (here(1.2, 1.1, 1.3), "not reproduced", "C = 192"),
        (here(1.06, 1.0, 1.1), "inconclusive", "C = 192"),
        (here(NAN, None, None, unbounded="price_here"), "not reproduced", "serves nothing"),
        (here(NAN, None, None, unbounded="price_of_anarchy, price_here"), "not reproduced", "C = 192"),
        (here(9.0, None, None), "inconclusive", "no interval"),
        (here(9.0, 8.0, 10.0, n_launches=2), "inconclusive", "within 2 launch"),
        (here(NAN, None, None), "reproduced", "C = 64, where its interval reaches highest"),
    ],
)
def test_the_split_is_the_best_or_it_is_not(changes: dict[str, Any], verdict: str, why: str) -> None:
    found = verdict_on("Q1", game(64), game(192, **changes))
    assert found.verdict == verdict
    assert why in found.parts[0].reason


def test_every_concurrency_counts_and_not_the_largest_price_alone() -> None:
    quiet, noisy = here(1.04, 1.03, 1.049), here(1.02, 0.7, 1.5)
    assert verdict_on("Q1", game(64, **quiet), game(192, **noisy)).verdict == "inconclusive"
    sure, wide = here(1.08, 1.06, 1.1), here(1.1, 0.9, 1.35)
    found = verdict_on("Q1", game(64, **wide), game(192, **sure))
    assert found.verdict == "not reproduced"
    assert "lies above 1 at C = 192" in found.parts[0].reason


@pytest.mark.parametrize("claim", ["P1", "Q1"])
def test_without_a_game_nothing_is_said(claim: str) -> None:
    assert verdict_on(claim).verdict == "inconclusive"
    assert verdict_on(claim, game(64, valid=False)).verdict == "inconclusive"


def test_a_split_whose_price_no_concurrency_tells_is_open() -> None:
    found = verdict_on("Q1", game(64, **here(NAN, None, None)))
    assert found.verdict == "inconclusive"
    assert "no split serves" in found.parts[0].reason


def test_games_in_which_every_split_serves_the_same_name_none() -> None:
    assert verdict_on("P1", game(64, flat=True)).verdict == "inconclusive"


def kept(before: str, best: str, lo: float, hi: float, **more: Any) -> dict[str, Any]:
    """A game with shared prefixes, and the price of staying at the split that is best without."""
    price = {"price_unshared": (lo + hi) / 2, "price_unshared_lo": lo, "price_unshared_hi": hi}
    return {"best": best, "best_unshared": before, **price, **more}


UNBOUNDED = {"price_unshared": NAN, "price_unshared_lo": NAN, "price_unshared_hi": NAN}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        (kept("4p2d", "1p5d", 1.3, 1.4), "reproduced"),
        (kept("4p2d", "1p5d", 1.3, 1.4, unbounded="price_unshared", **UNBOUNDED), "reproduced"),
        (kept("1p5d", "4p2d", 1.3, 1.4), "not reproduced"),
        (kept("4p2d", "1p5d", 1.0, 1.04), "not reproduced"),
        (kept("4p2d", "1p5d", 1.0, 1.2), "inconclusive"),
        (kept("4p2d", "1p5d", 1.3, 1.4, n_launches=2), "inconclusive"),
        (kept("4p2d", "1p5d", 1.3, 1.4, valid=False), "not reproduced"),
    ],
)
def test_the_best_split_follows_the_cache_or_it_does_not(changes: dict[str, Any], verdict: str) -> None:
    """Below, staying costs nothing; past it, what `changes` say."""
    below = game(64, **kept("3p3d", "2p4d", 1.0, 1.02))
    found = verdict_on("Q2", below, game(192, **changes), experiment="sharing")
    assert found.verdict == verdict
    assert "3p3d and 2p4d at C = 64" in found.parts[0].reason


def test_a_mix_without_a_twin_says_nothing_of_the_cache() -> None:
    (found,) = verdicts_on("Q2", game(64), experiment="sharing")
    assert found.verdict == "not testable here"
    assert found.reason == "no workload that was measured can show it"
