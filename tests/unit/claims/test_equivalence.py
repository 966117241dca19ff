"""Equivalence of pairs on synthetic data of known truth: 16 pairs, 5 launches, 200 seeds each."""

from __future__ import annotations

import functools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.claims import load
from anarchy.claims.equivalence import equivalent
from anarchy.claims.rules.pairs import pair_effect, pair_spread
from anarchy.estimate import spread

SEEDS = 200
LAUNCHES = 5
CLAIMS = {claim.id: claim for claim in load().claims}
GRID = [(tau, omega) for tau in (0.0, 0.3, 0.7, 1.0) for omega in (0.0, 0.3, 0.7, 1.0)]
HEAD = {"model": "m", "topology": "t", "model_title": "M", "topology_title": "T"}


def measured(cv: float, noise: float, quantity: str, load: str, seed: int) -> list[Any]:
    """Cells of 16 pairs whose own values differ by this CV, on launches of their own levels, and noise."""
    rng = np.random.default_rng([seed, round(1e5 * cv), round(1e5 * noise)])
    effect = rng.standard_normal(len(GRID))
    effect = cv * (effect - effect.mean()) / effect.std(ddof=1)
    launch = 0.1 * rng.standard_normal(LAUNCHES)
    logs = effect[:, None] + launch + noise * rng.standard_normal((len(GRID), LAUNCHES))
    cells = []
    for (tau, omega), values in zip(GRID, np.exp(logs), strict=True):
        policy = SimpleNamespace(name=f"t{tau}w{omega}", way="builtin", tau=tau, omega=omega)
        head = SimpleNamespace(
            policy=policy,
            repeat=1,
            reference=(tau, omega) == (0.0, 1.0),
            routing=f"set {seed}",
            load=load,
            concurrency=50,
        )
        estimate = SimpleNamespace(launches=[{quantity: float(value)} for value in values])
        cells.append(SimpleNamespace(head=head, estimate=estimate))
    return cells


@functools.cache
def outcomes(claim: str, cv: float, noise: float) -> Counter[str]:
    """Verdicts over all seeds."""
    quantity, load, times = ("poa_hat", "below", 0.5) if claim == "C4" else ("throughput_rps", "at", 2.5)
    rule = pair_spread if claim == "C4" else pair_effect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "FACTORS", ("pair",))  # the others take their time, and no rule reads them
        patch.setattr(spread, "SPREAD_OF", (quantity,))
        sets = [measured(cv, noise, quantity, load, seed) for seed in range(SEEDS)]
        rows = [row for cells in sets for row in spread.spread_rows(cells, {load: times})]
    # Every seed is a set of policies of its own, so that one call judges them all.
    document = {**HEAD, "frames": {"spread": pd.DataFrame(rows).assign(workload="unique")}}
    found: Counter[str] = Counter(part.verdict for part in rule(CLAIMS[claim], document, "unique"))
    assert found.total() == SEEDS
    return found


@pytest.mark.parametrize("noise", [0.002, 0.03], ids=["small noise", "large noise"])
@pytest.mark.parametrize(
    ("claim", "cv", "wrong"),
    [
        ("C4", 0.0, "not reproduced"),
        ("C4", 0.002, "not reproduced"),
        ("C4", 0.02, "reproduced"),
        ("C6", 0.0, "not reproduced"),
        ("C6", 0.002, "not reproduced"),
        ("C6", 0.02, "not reproduced"),
        ("C6", 0.08, "reproduced"),
    ],
)
def test_a_verdict_is_seldom_wrong(claim: str, cv: float, noise: float, wrong: str) -> None:
    assert outcomes(claim, cv, noise)[wrong] < 0.05 * SEEDS


@pytest.mark.parametrize(
    ("claim", "cv", "noise", "right"),
    [
        ("C4", 0.0, 0.002, "reproduced"),
        ("C4", 0.002, 0.002, "reproduced"),
        ("C4", 0.02, 0.002, "not reproduced"),
        ("C6", 0.0, 0.03, "reproduced"),
        ("C6", 0.02, 0.03, "reproduced"),
        ("C6", 0.08, 0.002, "not reproduced"),
    ],
)
def test_it_decides_when_the_data_decide(claim: str, cv: float, noise: float, right: str) -> None:
    assert outcomes(claim, cv, noise)[right] > 0.95 * SEEDS


def test_much_noise_leaves_no_effect_open() -> None:
    assert outcomes("C4", 0.0, 0.03)["inconclusive"] > 0.8 * SEEDS


def test_a_verdict_at_the_margin_itself_is_wrong_in_one_of_twenty_at_most() -> None:
    assert outcomes("C4", 0.0051, 0.002)["reproduced"] < 0.05 * SEEDS


@pytest.mark.parametrize(
    ("lo", "hi", "outcome"),
    [
        (0.0, 0.005, "reproduced"),
        (0.0, 0.0051, "inconclusive"),
        (0.005, 0.02, "inconclusive"),
        (0.0051, 0.02, "not reproduced"),
    ],
)
def test_bounds_against_a_margin(lo: float, hi: float, outcome: str) -> None:
    verdict, why = equivalent(lo, hi, 0.005, "published")
    assert verdict == outcome
    assert why.startswith("equivalence test, margin 0.500 % (published)")
