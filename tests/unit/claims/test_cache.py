"""Proposition 5: every verdict from both sides, on prices written out."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from anarchy.claims import Verdict, judge, load

CLAIMS = load()


def regime(**changes: Any) -> dict[str, Any]:
    """A price that rises at capacity and not before, under affinity."""
    row = {
        "workload": "document-s0",
        "policy_title": "tau 0, omega 1",
        "concurrency": 48,
        "n_launches": 5,
        "valid": True,
        "below": 0.67,
        "above": 1.0,
        "before": 1.0,
        "before_lo": 0.99,
        "before_hi": 1.02,
        "step": 1.5,
        "step_lo": 1.4,
        "step_hi": 1.6,
    }
    return {**row, **changes}


def verdict_on(*regimes: dict[str, Any]) -> Verdict:
    system = {
        "experiment": "cache",
        "tier": "quick",
        "design": "cache",
        "model": "llama-3.1-70b",
        "model_title": "Llama-3.1-70B",
        "topology": "3p3d",
        "topology_title": "3P/3D",
        "engine": "simulated in virtual time",
        "dilation": 1.0,
        "pool": 3,
        "affinity": "tau 0, omega 1",
        "workloads": {"document-s0": {"title": "uniform", "notes": []}},
        "frames": {"regimes": pd.DataFrame(regimes, columns=list(regime()))},
    }
    (found,) = (verdict for verdict in judge(CLAIMS, [system]) if verdict.id == "P5")
    return found


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "reproduced"),
        ({"step": 1.02, "step_lo": 1.0, "step_hi": 1.04}, "not reproduced"),
        ({"step": 1.05, "step_lo": 1.0, "step_hi": 1.1}, "inconclusive"),
        ({"before": 1.2, "before_lo": 1.1, "before_hi": 1.3}, "not reproduced"),
        ({"before": 1.04, "before_lo": 1.0, "before_hi": 1.08}, "inconclusive"),
        ({"step_lo": None, "step_hi": None}, "inconclusive"),
        ({"n_launches": 2}, "inconclusive"),
        ({"valid": False}, "inconclusive"),
        ({"policy_title": "Dynamo's round robin"}, "inconclusive"),
    ],
)
def test_a_price_that_rises_at_capacity_and_not_before_speaks_for_it(
    changes: dict[str, Any], verdict: str
) -> None:
    assert verdict_on(regime(**changes)).verdict == verdict


def test_the_policy_that_looks_for_caches_is_the_one_that_counts() -> None:
    other = regime(policy_title="Dynamo's round robin", before=1.5, before_lo=1.4, before_hi=1.6)
    assert verdict_on(other, regime()).verdict == "reproduced"


def test_a_reason_says_between_which_sizes() -> None:
    (part,) = verdict_on(regime()).parts
    assert part.reason == (
        "is a rise from 0.670 to 1.00 of the capacity, and there is none below; 1.05 counts as none"
    )
