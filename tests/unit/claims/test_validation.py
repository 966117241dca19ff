"""Numbers in virtual time: who decided, and whether the comparison of engines lets them."""

from __future__ import annotations

from typing import Any

import pytest

from anarchy.claims import Verdict, judge, load
from anarchy.claims.engines import decided, measured_by, remark
from tests.unit.claims.test_claims import System, all_systems, verdict_on

VIRTUAL = "simulated in virtual time"
OUTSIDE = {"quantity": "poa_hat", "difference": 0.31, "tolerance": 0.1, "concurrency": 192}


def virtual() -> list[System]:
    return [{**each, "engine": VIRTUAL, "dilation": 1.0} for each in all_systems()]


def found(within: bool | None) -> dict[str, Any]:
    return {"within": within, "outside": [OUTSIDE] if within is False else []}


def compared(within: bool | None, **sides: bool | None) -> System:
    """A comparison of engines on 70B 1P/2D that found this over all C, and on either side of the knee."""
    entry: dict[str, Any] = {
        "workload": "unique",
        "title": "unique prompts",
        "concurrency": [16, 384],
        **found(within),
        **{side: found(agree) for side, agree in sides.items()},
    }
    of = next(
        each for each in all_systems() if (each["model"], each["topology"]) == ("llama-3.1-70b", "1p2d")
    )
    head = {key: of[key] for key in ("model", "topology", "model_title", "topology_title", "tier")}
    return {
        **head,
        "experiment": "engines",
        "design": "engines",
        "engine": f"mixed: simulated and {VIRTUAL}",
        "dilation": 3.0,
        "workloads": {"unique": {"title": "unique prompts"}},
        "agreement": [entry],
    }


def of_70b(verdict: Verdict) -> tuple[str, str]:
    """Verdict and reason of the system that was compared."""
    part = next(part for part in verdict.parts if part.system == "Llama-3.1-70B 1P2D" and not part.aside)
    return part.verdict, "; ".join((part.reason, *part.notes))


def test_without_a_comparison_it_is_said() -> None:
    verdict = verdict_on("C1", virtual())
    assert verdict.verdict == "reproduced"
    assert all("not cross-validated in this run" in part.notes for part in verdict.parts)


def test_the_engine_that_decided_is_said() -> None:
    verdict = verdict_on("C1", virtual())
    assert verdict.notes[-2] == "decided in virtual time"
    assert verdict.notes[-1].startswith("by simulated engines, which follow predicted times")
    assert verdict.engine == VIRTUAL
    assert verdict.label.startswith("simulated in virtual time, predicted B200 timing table")
    assert "decided by the live stack with mock engines" in verdict_on("C1", all_systems()).notes
    assert decided("B200") == "decided by the live stack on B200"
    assert remark("B200") == ""


def test_live_numbers_need_no_comparison() -> None:
    verdict = verdict_on("C1", [*all_systems(), compared(within=False)])
    assert "cross-validated" not in " ".join(
        note for part in verdict.parts for note in (part.reason, *part.notes)
    )
    assert verdict.verdict == "reproduced"


@pytest.mark.parametrize(
    ("claim", "sides", "outcome"),
    [
        ("C1", {"below": True, "past": True}, "inconclusive"),  # about both sides
        ("C3", {"below": True, "past": False}, "reproduced"),
        ("C3", {"below": False, "past": True}, "inconclusive"),
        ("C7", {"below": False, "past": True}, "reproduced"),
        ("C7", {"below": True, "past": False}, "inconclusive"),
    ],
)
def test_the_side_of_the_knee_that_a_claim_is_about_must_agree(
    claim: str, sides: dict[str, bool], outcome: str
) -> None:
    verdict, reason = of_70b(verdict_on(claim, [*virtual(), compared(False, **sides)]))
    assert verdict == outcome
    if outcome == "inconclusive":
        assert "PoA-hat at C = 192 differs by 31.0 %, tolerance 10.0 %" in reason
        assert "by these numbers alone: reproduced" in reason
    else:
        assert "cross-validated, within tolerance of the live stack" in reason


def test_a_comparison_of_one_system_says_nothing_of_another() -> None:
    verdict = verdict_on("C1", [*virtual(), compared(within=False)])
    assert [part.verdict for part in verdict.parts] == ["reproduced", "inconclusive", "reproduced"]
    assert verdict.verdict == "inconclusive"


def test_what_speaks_against_a_claim_is_left_open_too() -> None:
    systems = virtual()
    for each in systems:
        each["workloads"]["unique"]["plateau"] |= {"lo": 1.0, "hi": 1.1}
    assert of_70b(verdict_on("C3", [*systems, compared(False, below=False)]))[0] == "inconclusive"


def test_a_comparison_that_does_not_tell_leaves_the_verdict() -> None:
    verdict, reason = of_70b(verdict_on("C1", [*virtual(), compared(None)]))
    assert verdict == "reproduced"
    assert "did not decide" in reason
    partly = compared(None)
    lacking = {"quantity": "ttft_p99", "concurrency": 384, "reason": "no number: live"}
    partly["agreement"][0]["not_compared"] = [lacking]
    assert "agree, without TTFT P99 at C = 384" in of_70b(verdict_on("C1", [*virtual(), partly]))[1]
    unnamed = {**compared(False), "agreement": [{**compared(False)["agreement"][0], "outside": ["TTFT P99"]}]}
    assert "TTFT P99" in of_70b(verdict_on("C1", [*virtual(), unnamed]))[1]


def test_a_growth_needs_both_sides() -> None:
    verdict = verdict_on("C3", [*virtual(), compared(False, below=True, past=False)])
    beside = [part for part in verdict.parts if part.aside and part.system == "Llama-3.1-70B 1P2D"]
    assert all("do not agree" in part.reason for part in beside)


def test_sets_of_policies_may_have_engines_of_their_own() -> None:
    system = {
        "engine": f"mixed: simulated and {VIRTUAL}",
        "routing": {way: {"policies": [{"way": way}]} for way in ("builtin", "pinned")},
        "deployments": [
            {"routing_set": "builtin", "engine": VIRTUAL},
            {"routing_set": "pinned", "engine": "simulated"},
        ],
    }
    assert (measured_by(system, "builtin"), measured_by(system, "pinned")) == (VIRTUAL, "simulated")
    assert measured_by(system) == f"mixed: simulated and {VIRTUAL}"
    assert decided(measured_by(system)) == "decided in virtual time and by the live stack with mock engines"


def test_the_comparison_itself_is_not_judged() -> None:
    with_it, without = (judge(load(), systems) for systems in ([*virtual(), compared(None)], virtual()))
    assert [(v.id, v.verdict) for v in with_it] == [(v.id, v.verdict) for v in without]
